/* SPDX-License-Identifier: Apache-2.0 */
/* child.h: a process of its own for one job, as the service sees it: child.c; as it sees itself: work.c.
 *
 * The process is this program with the argument "serve-job".  It reads one JSON object from standard
 * input, {Kind, JobId, Archive, State, Threads, Input}, and writes JSON objects, one a line:
 *     {What, Done, Total}   how far it is
 *     {At}                  the file (of Input's Files, by its Path) that it reads next
 *     {Keep: true}          something now refers to the job's folder of files
 *     {Result} or {Error: {Status, Message}}   the last line;
 *                           with Audit: {What, Query, Hits} where that is to be remembered
 * It ends when standard input is closed, which is how a job is cancelled and what happens when the
 * service dies. */
#ifndef CMIR_SERVER_CHILD_H
#define CMIR_SERVER_CHILD_H

#include <stdio.h>
#include <sys/types.h>

#include "files.h"

#define CHILD_EXIT_STOPPED 3 /* standard input was closed */
#define CHILD_EXIT_STALLED 4 /* no progress for so long that there will be none */
#define CHILD_STALL_S 900

typedef struct child {
    pid_t pid;
    int in; /* its standard input; closing it stops it */
    FILE *out; /* its standard output */
} child;

/* Starts the process and hands it `request`. */
cmir_status child_start(const json_t *request, child *out, cmir_error *err);
/* The next line, a new reference; NULL where there are no more. */
json_t *child_read(child *c);
/* Waits for its end; `in` must be closed by the caller.  Returns a wait status. */
int child_end(child *c);

/* ---- work.c: what the kinds are. */
typedef struct work work; /* what a job needs to know in its process */
/* The result, or NULL with err set. */
typedef json_t *(*job_run)(work *w, const json_t *input, cmir_error *err);
typedef struct job_kind {
    const char *name;
    job_run run;
    bool quick; /* seconds, not minutes: it does not wait behind those that are not */
    const char *folder; /* STATE/FOLDER/JOBID belongs to the job; NULL: none */
} job_kind;
const job_kind *job_kind_find(const char *name); /* NULL: there is no such kind */

struct work {
    const char *archive, *state, *job_id;
    uint32_t n_threads;
    json_t *audit; /* {What, Query, Hits: [ids]}: who searched what, who added what; or NULL */
};
int work_progress(void *what, uint64_t done, uint64_t total); /* a cmir_progress_fn; ctx: a word */
void work_at(const char *path);
void work_keep(void);
/* STATE/FOLDER/JOBID; free(). */
char *work_folder(const work *w, const char *folder);

/* The encoder of an archive, where the archive remembers it. */
cmir_status work_encoder(const work *w, const cmir_archive *archive, cmir_encoder **out,
                         cmir_error *err);

json_t *work_add(work *w, const json_t *input, cmir_error *err); /* work_add.c */
json_t *work_upload(work *w, const json_t *input, cmir_error *err);
json_t *work_search(work *w, const json_t *input, cmir_error *err); /* work_search.c */
json_t *work_report(work *w, const json_t *input, cmir_error *err);

#endif
