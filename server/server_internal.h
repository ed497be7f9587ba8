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

typedef struct handles handles; /* handles.c */
typedef struct jobs jobs; /* jobs.c */
typedef struct audit audit; /* audit.c */

/* The running service.  Each part has one member, made by its start function and used by its own
 * file only; server.c starts the parts in order and stops them in reverse. */
struct server {
    server_options options; /* complete: defaults filled in */
    char *archive_dir, *state_dir; /* absolute: jobs and catalogue name files by them */
    handles *handles;
    jobs *jobs;
    audit *audit;
    struct pixels *pixels; /* pixels.c */
    struct auth *auth; /* auth.c */
    struct metrics *metrics; /* metrics.c */
    struct http *http; /* http.c */
};

#define SERVER_MAX_HITS 200 /* of one search */
#define SERVER_MAX_FILES 100000 /* of one upload */
#define SERVER_MAX_NEIGHBOURS 200 /* that give evidence: each costs a look at its record */

const server_options *server_get_options(const server *s);
const char *server_state_dir(const server *s);
/* "STATE/name", which is made (0700) where it is not there; free(). */
cmir_status server_state_folder(const server *s, const char *name, char **out, cmir_error *err);
double server_now(void); /* seconds of a clock that never jumps */
void server_sleep(double seconds);
/* One line of JSON on standard error; takes the reference of `fields`.  Nothing of patients. */
void server_log(const char *event, json_t *fields);

/* ---- handles.c: a cmir_archive is used by one thread at a time, so a request borrows one.  At most
 * as many are out as there are CPUs for searching; others wait their turn, in order, for at most 30 s
 * (CMIR_EBUSY).  `dir` NULL: the served archive; else an upload's, opened for the caller. */
handles *server_handles(server *s);
cmir_status handles_start(server *s, handles **out, cmir_error *err);
void handles_stop(handles *h); /* NULL is fine */
cmir_status handle_take(server *s, const char *dir, cmir_archive **out, cmir_error *err);
void handle_give(server *s, const char *dir, cmir_archive *archive); /* NULL archive is fine */
/* Threads for one search: its share of the CPUs, by how many handles are out. */
uint32_t handle_threads(server *s);

/* ---- api_upload.c: the archive of an upload of the request's user; free().  NULL: there is none, and
 * the request has been answered with 404. */
char *upload_archive_dir(request *r, const char *upload_id);

/* ---- audit.c: append-only JSON lines, each with the hash of the one before it.  `what` is the route's
 * name; query and hits are volume ids (never names of patients), may be NULL.  Fails only where the log
 * cannot be written: then the request is answered with 500, nothing is shown. */
cmir_status audit_write(server *s, const char *user, const char *what, const char *query,
                        const char *const *hits, size_t n_hits, cmir_error *err);

/* ---- jobs.c: work that outlives its request, or that reads what strangers sent: each job runs in a
 * process of its own (child.c), which its crash or its hunger ends and nothing else.  A job is a file
 * STATE/jobs/ID.json from the moment it is accepted. */
jobs *server_jobs(server *s);
/* Takes up what STATE/jobs holds: what had not ended runs again. */
cmir_status jobs_start(server *s, jobs **out, cmir_error *err);
void jobs_stop(jobs *j); /* running jobs go back into the queue of the next start; NULL is fine */

typedef enum job_state {
    JOB_QUEUED = 0,
    JOB_RUNNING = 1,
    JOB_DONE = 2,
    JOB_FAILED = 3,
    JOB_CANCELLED = 4
} job_state;
#define JOB_N_STATES 5
extern const char *const job_state_names[JOB_N_STATES];
/* How many jobs there are of each state, and how many processes died at work since the start. */
void jobs_count(server *s, uint64_t by_state[JOB_N_STATES], uint64_t *worker_deaths);

/* Puts a job of `kind` (a row of work.c's table) into the queue with its input (takes the reference),
 * durably, and answers: 202 with Location /api/v1/jobs/ID; 429 where the user has too many waiting.
 * `files`: the request's folder, which becomes STATE/FOLDER/ID/files of the job, or NULL. */
void job_submit(request *r, const char *kind, const char *files, json_t *input);

/* Jobs that the request's user may see: their own; all, as admin. */
json_t *jobs_list(request *r);
json_t *job_get(request *r, const char *id); /* NULL: no such job */
bool job_remove(request *r, const char *id); /* cancels what runs, forgets what has ended */

#endif
