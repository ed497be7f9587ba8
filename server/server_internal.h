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

const server_options *server_get_options(const server *s);
const char *server_state_dir(const server *s);

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
int job_progress(void *j, uint64_t done, uint64_t total); /* a cmir_progress_fn: stops when cancelled */

#endif
