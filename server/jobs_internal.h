/* SPDX-License-Identifier: Apache-2.0 */
/* jobs_internal.h: a job and its file; what jobs.c and jobs_file.c share. */
#ifndef CMIR_SERVER_JOBS_INTERNAL_H
#define CMIR_SERVER_JOBS_INTERNAL_H

#include <pthread.h>
#include <time.h>

#include "child.h"
#include "server_internal.h"

typedef struct job {
    char id[FILES_ID_NCHARS + 1], created[21];
    uint64_t number;   /* that it was accepted as, from 1 */
    const job_kind *kind;
    char *user;
    json_t *input;     /* NULL once it has ended */
    job_state state;
    int attempts;      /* processes that were started for it */
    time_t finished;   /* 0: not yet */
    bool kept;         /* something refers to its folder */
    bool cancelled;    /* asked to stop by its user */
    int in;            /* of its process while it runs, else -1 */
    char what[32];     /* progress: of what, how much, since when */
    uint64_t done, total;
    struct timespec since;
    struct job *next;  /* in order of acceptance */
} job;

/* Writes STATE/jobs/ID.json.  `result` or `error` of a job that has ended; borrowed, may be NULL. */
cmir_status job_save(const char *state, const job *j, const json_t *result, const json_t *error,
                     cmir_error *err);
/* NULL where the file is none of a job. */
job *job_load(const char *state, const char *name);
void job_free(job *j); /* NULL is fine */
/* Removes its files; its folder as well where nothing refers to it. */
void job_discard(const char *state, const job *j);
/* As clients see it; of an ended one the result is read from its file. */
json_t *job_json(const char *state, const job *j);

#define JOBS_N_THREADS 2

struct jobs {
    server *server;
    const char *state;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t threads[JOBS_N_THREADS];
    size_t n_threads;
    job *first;
    uint64_t n_deaths, n_accepted; /* ever: the latest number */
    bool stopping;
};

/* jobs.c.  The lock is held by who calls these. */
bool job_has_ended(const job *j);
void job_end(jobs *all, job *j, job_state state, const json_t *result, const json_t *error);
void job_drop(jobs *all, job *j); /* forgets it and frees it */

#endif
