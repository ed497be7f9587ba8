/* SPDX-License-Identifier: Apache-2.0 */
/* jobs_requests.c: what requests ask of the queue: to take a job, to tell of jobs, to forget one.
 *
 * The one idea: who asks sees their own jobs and no others, but for administrators. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs_internal.h"

#define MAX_WAITING 32u /* of one user */
#define MAX_JOBS 4096u  /* kept in all */

/* Room for one more: the oldest that has ended makes it; the lock is held. */
static bool
make_room(jobs *all)
{
    size_t n = 0;
    job *oldest = NULL;

    for (job *j = all->first; j != NULL; j = j->next) {
        n++;
        if (oldest == NULL && job_has_ended(j))
            oldest = j;
    }
    if (n < MAX_JOBS)
        return true;
    if (oldest == NULL)
        return false;
    job_drop(all, oldest);
    return true;
}

static size_t
n_waiting(const jobs *all, const char *user)
{
    size_t n = 0;

    for (const job *j = all->first; j != NULL; j = j->next)
        n += !job_has_ended(j) && strcmp(j->user, user) == 0;
    return n;
}

/* The request's files become the folder of the job. */
static cmir_status
move_files(const jobs *all, const job *j, const char *from, cmir_error *err)
{
    char *folder = files_path(all->state, j->kind->folder, j->id, NULL);
    char *to = files_path(folder, "files", NULL);
    cmir_status st = files_mkdir(folder, err);

    if (st == CMIR_OK && rename(from, to) != 0)
        st = files_fail(err, CMIR_EIO, "the files cannot be kept");
    free(folder);
    free(to);
    return st;
}

static void
append(jobs *all, job *j)
{
    job **end = &all->first;

    while (*end != NULL)
        end = &(*end)->next;
    *end = j;
}

static cmir_status
accept(jobs *all, job *j, const char *files, cmir_error *err)
{
    j->number = all->n_accepted + 1;
    cmir_status st = job_save(all->state, j, NULL, NULL, err);

    if (st == CMIR_OK && files != NULL)
        st = move_files(all, j, files, err);
    if (st != CMIR_OK) {
        job_discard(all->state, j);
    } else {
        append(all, j);
        all->n_accepted = j->number;
    }
    return st;
}

void
job_submit(request *r, const char *kind, const char *files, json_t *input)
{
    jobs *all = server_jobs(request_server(r));
    job *j = cmir_json_need(calloc(1, sizeof *j));
    json_t *answer = NULL;
    cmir_error err = {0};
    unsigned refusal = 0;
    char location[64];

    j->in = -1;
    j->kind = job_kind_find(kind);
    j->user = cmir_json_need(strdup(request_user(r)));
    j->input = input;
    files_now(j->created);
    cmir_status st = files_new_id(j->id, &err);
    (void)snprintf(location, sizeof location, "/api/v1/jobs/%s", j->id);
    (void)pthread_mutex_lock(&all->lock);
    if (n_waiting(all, j->user) >= MAX_WAITING)
        refusal = 429;
    else if (all->stopping || !make_room(all))
        refusal = 503;
    else if (st == CMIR_OK && (st = accept(all, j, files, &err)) == CMIR_OK)
        answer = job_json(all->state, j);
    (void)pthread_cond_broadcast(&all->changed);
    (void)pthread_mutex_unlock(&all->lock);
    if (answer != NULL) {
        reply_json_at(r, 202, location, answer);
        return;
    }
    job_free(j);
    if (refusal != 0)
        reply_error(r, refusal, "%s",
                    refusal == 429 ? "you have too many jobs waiting; try later"
                                   : "no room for another job; try later");
    else
        reply_status(r, &err);
}

static bool
may_see(request *r, const job *j)
{
    return request_role(r) == ROLE_ADMIN || strcmp(request_user(r), j->user) == 0;
}

json_t *
jobs_list(request *r)
{
    jobs *all = server_jobs(request_server(r));
    json_t *list = cmir_json_need(json_array());

    (void)pthread_mutex_lock(&all->lock);
    for (const job *j = all->first; j != NULL; j = j->next)
        if (may_see(r, j))
            cmir_json_add(list, job_json(NULL, j));
    (void)pthread_mutex_unlock(&all->lock);
    return json_pack("{s:o}", "Jobs", list);
}

/* The lock is held. */
static job *
find(request *r, const jobs *all, const char *id)
{
    for (job *j = all->first; j != NULL; j = j->next)
        if (strcmp(j->id, id) == 0)
            return may_see(r, j) ? j : NULL;
    return NULL;
}

json_t *
job_get(request *r, const char *id)
{
    jobs *all = server_jobs(request_server(r));

    (void)pthread_mutex_lock(&all->lock);
    const job *j = find(r, all, id);
    json_t *o = j == NULL ? NULL : job_json(all->state, j);
    (void)pthread_mutex_unlock(&all->lock);
    return o;
}

bool
job_remove(request *r, const char *id)
{
    jobs *all = server_jobs(request_server(r));

    (void)pthread_mutex_lock(&all->lock);
    job *j = find(r, all, id);
    if (j != NULL && j->state == JOB_RUNNING) {
        j->cancelled = true;
        if (j->in >= 0)
            (void)close(j->in);
        j->in = -1;
    } else if (j != NULL && j->state == JOB_QUEUED) {
        job_end(all, j, JOB_CANCELLED, NULL, NULL);
    } else if (j != NULL) {
        job_drop(all, j);
    }
    (void)pthread_mutex_unlock(&all->lock);
    return j != NULL;
}
