/* SPDX-License-Identifier: Apache-2.0 */
/* http.h: one request and its answer, as handlers see them.  Called by every api_*.c.
 *
 * The one idea: a handler is a plain function that runs in the connection's own thread once the whole
 * body is there; it reads the request, answers exactly once with one of the reply_ calls, and
 * returns.  Who may call it, how large its body may be and where it goes (memory, files) is said by
 * its row in routes.c, so no handler checks any of that. */
#ifndef CMIR_SERVER_HTTP_H
#define CMIR_SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <cmir/cmir.h>

#if defined(__GNUC__)
#define SERVER_PRINTF(format, args) __attribute__((__format__(__printf__, format, args)))
#else
#define SERVER_PRINTF(format, args)
#endif

typedef struct server server;   /* server_internal.h */
typedef struct request request; /* http.c */

/* What a user may do; each may do what those before it may. */
typedef enum role { ROLE_NONE = 0, ROLE_READER, ROLE_CONTRIBUTOR, ROLE_ADMIN } role;

typedef enum body {
    BODY_NONE,  /* a body is refused */
    BODY_JSON,  /* application/json, at most 1 MiB: request_json() */
    BODY_TEXT,  /* text/csv or text/plain, at most 16 MiB: request_text() */
    BODY_FILES /* multipart/form-data, streamed into files of a folder of its own: request_files() */
} body;

typedef void (*handler)(request *r);

typedef struct route {
    const char *method; /* "GET", ... ; HEAD is answered as GET */
    const char *path; /* "/api/v1/volumes/{volume}/slices/{slice}.png"; a part in braces takes
                            one or more characters but '/', percent-decoded after splitting */
    role least; /* ROLE_NONE: anybody, not logged in as well */
    body body;
    handler run;
    const char *name; /* in metrics and the audit log: "search", "slice", ... */
} route;
extern const route server_routes[]; /* routes.c; ends with a NULL method */

/* ---- The request.  Strings are valid UTF-8 without control characters (others were answered with
 * 400), borrowed until the handler returns. */
server *request_server(const request *r);
const char *request_part(const request *r, const char *name); /* {name} of the path */
const char *request_param(const request *r, const char *name); /* ?name=...; NULL: not given */
/* A parameter as a number within [low, high], else `otherwise` where it is not given; *ok becomes
 * false, and the request is answered with 400, where it is neither. */
double request_number(request *r, const char *name, double low, double high, double otherwise,
                      bool *ok);
const char *request_header(const request *r, const char *name); /* NULL: not given */
const char *request_user(const request *r); /* "" where nobody is logged in */
role request_role(const request *r);
const json_t *request_json(const request *r); /* an object, never NULL for BODY_JSON */
const char *request_text(const request *r, size_t *nbytes); /* NUL-terminated */

/* What came with BODY_FILES.  The folder and everything in it is deleted when the handler returns,
 * unless it moved the folder away. */
typedef struct request_file {
    const char *name; /* as the client called it, last component only; may be "" */
    const char
        *path; /* in the folder; "000001", ... with the extension of `name` if that is .nii or
                         .nii.gz */
    uint64_t nbytes;
} request_file;
const char *request_folder(const request *r);
const request_file *request_files(const request *r, size_t *n);
const char *request_field(const request *r, const char *name); /* a part that is no file; or NULL */

/* ---- The answer.  Statuses and what may be cached are the caller's choice; the security headers
 * are http.c's. */
typedef enum caching {
    CACHE_NEVER, /* no-store */
    CACHE_REVALIDATE, /* private, no-cache, with the ETag: asked again each time, answered with 304 */
    CACHE_FOREVER /* private, max-age of a year, immutable, with the ETag */
} caching;

void reply_json(request *r, unsigned status, json_t *value); /* takes the reference; NULL: 500 */
/* 201 or 202 with a Location. */
void reply_json_at(request *r, unsigned status, const char *location, json_t *value);
void reply_nothing(request *r); /* 204 */
/* One more header for the answer that follows; at most 8. */
void reply_header(request *r, const char *name, const char *value);
/* `data` is malloc'ed and becomes the reply's.  `etag` (no quotes) may be NULL: then there is none. */
void reply_bytes(request *r, unsigned status, const char *type, void *data, size_t nbytes,
                 caching cache, const char *etag);
/* As reply_bytes(), of data that outlives the service. */
void reply_static(request *r, unsigned status, const char *type, const void *data, size_t nbytes,
                  caching cache, const char *etag);
/* Sends the file and closes fd, whatever happens.  attachment: the name to save it under, or NULL. */
void reply_file(request *r, const char *type, int fd, uint64_t nbytes, const char *attachment);
/* True, and answered with 304, where the client has `etag` already. */
bool reply_if_known(request *r, caching cache, const char *etag);
/* {"HttpStatus", "Message", "Details"}; the message must hold no patient data. */
SERVER_PRINTF(3, 4) void reply_error(request *r, unsigned status, const char *format, ...);
/* The library's error: CMIR_ENOTFOUND 404, CMIR_EINVAL 400, CMIR_EEXIST 409, CMIR_EMISMATCH 409,
 * CMIR_EBUSY 503 with Retry-After, CMIR_ELIMIT 413, CMIR_ECORRUPT and CMIR_EUNSUPPORTED 422 (of
 * what the client sent or named), CMIR_ENOMEM 503, CMIR_ECANCELLED 409, others 500 without the
 * message.  Of a path in the message only its last part is sent. */
void reply_status(request *r, const cmir_error *err);

#endif
