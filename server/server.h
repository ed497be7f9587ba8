/* SPDX-License-Identifier: Apache-2.0 */
/* server.h: the service, as `cmir serve` starts it.  The only header of this folder that others see.
 *
 * The folder is a shell over include/cmir: an HTTP service (libmicrohttpd) in front of one archive,
 * with the page embedded. */
#ifndef CMIR_SERVER_SERVER_H
#define CMIR_SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/cmir.h>

typedef struct server_options {
    const char *archive;
    const char *listen; /* HOST:PORT or [IPv6]:PORT; default 127.0.0.1:8043 */
    const char *state; /* folder of the service's own state; NULL: ARCHIVE/service */
    const char *certificate, *key; /* PEM files: TLS; NULL: none */
    bool behind_proxy; /* a proxy in front ends TLS */
    const char
        *proxy_user_header; /* name of the header by which a trusted proxy names the user; NULL */
    const char *proxy_address; /* the only address from which that header is believed */
    uint64_t upload_nbytes; /* largest upload; default 4 GiB */
    uint32_t requests_per_minute; /* per user; default 12000 */
    uint32_t n_threads; /* for searching; 0: the CPUs */
} server_options;

/* server_run() serves until `stop` says so (asked ten times a second), then ends what runs and returns.
 * `ready` is called once, with the URL, when requests are taken.  CMIR_EINVAL: an unsafe combination
 * of options, by name. */
cmir_status server_run(const server_options *options, bool (*stop)(void),
                       void (*ready)(const char *url), cmir_error *err);

/* server_work() is the process of one job, `cmir serve-job`, which the service starts and speaks to over
 * standard input and output (child.h).  Returns an exit code. */
int server_work(void);
/* ---- Users, as `cmir user` changes them: while the service runs as well.  `dir` is an archive (its
 * folder service/ is meant) or the folder of a service's state. */
#define SERVER_TOKEN_NBYTES 65 /* 64 hex digits and NUL */
typedef struct server_user {
    const char *name, *role;
    bool has_password;
    size_t n_tokens;
} server_user;
/* Roles: reader, contributor, admin.  password NULL: none, for users that a proxy names and for
 * programs that have a token. */
cmir_status server_user_add(const char *dir, const char *name, const char *role,
                            const char *password, cmir_error *err);
cmir_status server_user_remove(const char *dir, const char *name, cmir_error *err);
cmir_status server_user_list(const char *dir, void (*each)(void *ctx, const server_user *user),
                             void *ctx, cmir_error *err);
/* A new token, which is shown this once and kept as a hash; revoke takes all of the user's. */
cmir_status server_user_token(const char *dir, const char *name, char token[SERVER_TOKEN_NBYTES],
                              cmir_error *err);
cmir_status server_user_revoke(const char *dir, const char *name, cmir_error *err);

/* ---- The audit log, as `cmir audit verify` reads it. */
typedef struct server_audit_result {
    uint64_t n_lines; /* that follow from each other, from the first on */
    const char *fault; /* what is wrong with line n_lines + 1; NULL: nothing */
    char head[65]; /* SHA-256 of the last line that was read */
} server_audit_result;
cmir_status server_audit_verify(const char *path, server_audit_result *out, cmir_error *err);

#endif
