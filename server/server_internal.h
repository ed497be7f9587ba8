/* SPDX-License-Identifier: Apache-2.0 */
/* server_internal.h: what the parts of the service share: the running service, its archive handles,
 * its jobs, its audit log and the folder where it keeps its own state.
 *
 * STATE (ARCHIVE/service by default, mode 0700) holds: audit.jsonl, users.json, jobs/, uploads/,
 * incoming/, sources/, cohorts/, feedback.jsonl. */
#ifndef CMIR_SERVER_INTERNAL_H
#define CMIR_SERVER_INTERNAL_H

#include "http.h"
#include "server.h"

/* The running service.  Each part has one member, made by its start function and used by its own
 * file only; server.c starts the parts in order and stops them in reverse. */
struct server {
    server_options options; /* complete: defaults filled in */
    char *state_dir;
    struct http *http; /* http.c */
    struct handles *handles; /* handles.c */
    struct jobs *jobs; /* jobs.c */
};

const server_options *server_get_options(const server *s);
const char *server_state_dir(const server *s);
/* Fills `err` unless it holds a cause already; returns the code. */
SERVER_PRINTF(3, 4)
cmir_status server_fail(cmir_error *err, cmir_status code, const char *format, ...);
/* "STATE/name"; free().  The folder `name` is made (0700) where it is not there. */
cmir_status server_state_folder(const server *s, const char *name, char **out, cmir_error *err);
double server_now(void); /* seconds of a clock that never jumps */
void server_sleep(double seconds);
/* 32 hex digits that nobody can guess, and NUL. */
#define SERVER_ID_NBYTES 33
void server_new_id(char out[SERVER_ID_NBYTES]);
/* One line of JSON on standard error; takes the reference of `fields`.  Nothing of patients. */
void server_log(const char *event, json_t *fields);

/* ---- handles.c: a cmir_archive is used by one thread at a time, so a request borrows one.  At most
 * as many are out as there are CPUs for searching; others wait their turn, in order, for at most 30 s
 * (CMIR_EBUSY).  `dir` NULL: the served archive; else an upload's, opened for the caller. */
cmir_status handle_take(server *s, const char *dir, cmir_archive **out, cmir_error *err);
void handle_give(server *s, const char *dir, cmir_archive *archive); /* NULL archive is fine */

/* Where a volume of a request lies: "volumes/ID" the served archive, "uploads/ID" an upload's own. */
/* ---- audit.c: append-only JSON lines, each with the hash of the one before it.  `what` is the route's
 * name; query and hits are volume ids (never names of patients), may be NULL.  Fails only where the log
 * cannot be written: then the request is answered with 500, nothing is shown. */
cmir_status audit_write(server *s, const char *user, const char *what, const char *query,
                        const char *const *hits, size_t n_hits, cmir_error *err);

/* ---- jobs.c: work that outlives its request. */
typedef struct job job;
/* Runs in a worker thread; reports through job_progress(); its result, or NULL with err set. */
typedef json_t *(*job_run)(server *s, job *j, const json_t *input, cmir_error *err);
/* Puts a job of `kind` (a row of jobs.c's table, which names its job_run) into the queue with its input,
 * durably; the answer is 202 with Location /api/v1/jobs/ID. */
void job_submit(request *r, const char *kind, json_t *input);
int job_progress(void *j, uint64_t done,
                 uint64_t total); /* a cmir_progress_fn: stops when cancelled */

#endif
