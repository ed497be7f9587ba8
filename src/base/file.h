/* SPDX-License-Identifier: Apache-2.0 */
/* file.h: whole-file reads, durable writes, atomic replacement, read-only maps. */
#ifndef CMIR_BASE_FILE_H
#define CMIR_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include <cmir/status.h>

/* Reads a regular file of at most `limit` bytes whole; one NUL follows the data.  The caller frees
 * *data.  CMIR_ENOTFOUND, CMIR_EIO, CMIR_ELIMIT, CMIR_ENOMEM. */
cmir_status cmir_file_read(const char *path, uint64_t limit, char **data, size_t *nbytes,
                           cmir_error *err);

/* Replaces `path` by `data` so that readers see the old file or the new one, never a part. */
cmir_status cmir_file_replace(const char *path, const void *data, size_t nbytes, cmir_error *err);

/* Where the file `path` lies: its folder resolved, its own name kept even where it is a link (a
 * volume's id is made of it).  Not for folders.  The caller frees *out.  CMIR_ENOTFOUND, CMIR_EIO,
 * CMIR_ENOMEM. */
cmir_status cmir_file_absolute(const char *path, char **out, cmir_error *err);

/* fsync of a directory, so that names created in it last. */
cmir_status cmir_dir_sync(const char *path, cmir_error *err);

/* Writes all of `data` at `offset` of `fd`. */
cmir_status cmir_file_write_at(int fd, const char *path, uint64_t offset, const void *data,
                               size_t nbytes, cmir_error *err);

/* A read-only map of a file's first `nbytes`. */
typedef struct cmir_map {
    const uint8_t *data; /* NULL if nbytes is 0 */
    size_t nbytes;
} cmir_map;
/* Maps the whole file.  Pointers into the map are valid until it is closed. */
cmir_status cmir_map_open(const char *path, cmir_map *out, cmir_error *err);
void cmir_map_close(cmir_map *map); /* a zeroed map is fine */

#endif
