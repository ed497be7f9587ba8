/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/status.h: what every cmir function returns, and the error it fills.
 *
 * What is not declared in include/cmir is not part of the interface.  Argument order is always:
 * self, inputs, outputs, `err` last.  `err` may be NULL.  All text is UTF-8. */
#ifndef CMIR_STATUS_H
#define CMIR_STATUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CMIR_API __attribute__((visibility("default")))
#else
#define CMIR_API
#endif

#define CMIR_VERSION_MAJOR 0
#define CMIR_VERSION_MINOR 1
#define CMIR_VERSION_PATCH 0

/* The sentence that accompanies every output that could be taken for advice. */
#define CMIR_NOTICE "research use only, not for diagnosis"

/* Values are pinned: they never change their meaning. */
typedef enum cmir_status {
    CMIR_OK = 0,
    CMIR_EINVAL = 1,       /* an argument is outside its stated range */
    CMIR_EIO = 2,          /* the operating system refused a file operation */
    CMIR_ENOMEM = 3,       /* memory ran out */
    CMIR_ECORRUPT = 4,     /* the bytes contradict their format */
    CMIR_EUNSUPPORTED = 5, /* a valid input of a kind that cmir does not handle */
    CMIR_ENOTFOUND = 6,    /* no such file, volume, slice or label */
    CMIR_EEXIST = 7,       /* it is there already, and differs */
    CMIR_ELIMIT = 8,       /* larger than a stated limit */
    CMIR_EBUSY = 9,        /* another process is writing to the archive */
    CMIR_EMISMATCH = 10,   /* embeddings of different encoders do not compare */
    CMIR_ECANCELLED = 11   /* a progress callback asked to stop */
} cmir_status;

/* The first cause of a failure.  Caller-owned, 256 bytes for ever, nothing to free.  Start from
 * a zeroed struct; functions leave it alone on success. */
typedef struct cmir_error {
    cmir_status code;
    uint32_t line;   /* of the source file where it was raised, for bug reports */
    uint64_t offset; /* byte offset in the input, or UINT64_MAX where none applies */
    char msg[240];   /* one sentence that names the file or argument, NUL-terminated */
} cmir_error;

/* cmir_version() returns "MAJOR.MINOR.PATCH" of the library in use; static storage. */
CMIR_API const char *cmir_version(void);

/* cmir_status_name() returns the name of `status`, such as "CMIR_EIO"; static storage. */
CMIR_API const char *cmir_status_name(cmir_status status);

/* cmir_free() releases memory that a cmir function says is freed with it.  NULL is fine. */
CMIR_API void cmir_free(void *memory);

/* A progress callback: `done` of `total` units (slices, files, bytes: the caller of the callback
 * says which).  Returns 0 to go on, anything else to stop with CMIR_ECANCELLED.  Called from one
 * thread at a time, not necessarily the one that made the call. */
typedef int (*cmir_progress_fn)(void *ctx, uint64_t done, uint64_t total);

#ifdef __cplusplus
}
#endif
#endif
