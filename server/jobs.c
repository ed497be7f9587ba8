/* SPDX-License-Identifier: Apache-2.0 */
/* jobs.c: the queue of jobs and the threads that serve it.
 *
 * The one idea: a job is a file before it is anything else, so that what was accepted runs, though the
 * service be killed: what had not ended is queued again at the next start.  Two threads take jobs in
 * order of acceptance, one of them only quick kinds, so that a search need not wait for an upload. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jobs_internal.h"

#define MAX_ATTEMPTS 3      /* starts of a job that the service did not survive */
#define MAX_SKIPPED 8u      /* files of a job that end its process */
#define KEEP_S (24 * 3600)
#define TIDY_S 60

struct lane {
    jobs *jobs;
    bool only_quick;
};

bool
job_has_ended(const job *j)
{
    return j->state != JOB_QUEUED && j->state != JOB_RUNNING;
}

void
job_drop(jobs *all, job *j)
{
    for (job **p = &all->first; *p != NULL; p = &(*p)->next)
        if (*p == j) {
            *p = j->next;
            break;
        }
    job_discard(all->state, j);
    job_free(j);
}

void
job_end(jobs *all, job *j, job_state state, const json_t *result, const json_t *error)
{
    cmir_error err = {0};

    j->state = state;
    j->finished = time(NULL);
    json_decref(j->input);
    j->input = NULL;
    if (j->kind->folder != NULL && !j->kept) { /* nothing refers to its files */
        char *folder = files_path(all->state, j->kind->folder, j->id, NULL);
        (void)files_remove_tree(folder, NULL);
        free(folder);
    }
    if (job_save(all->state, j, result, error, &err) != CMIR_OK) {
        json_t *why = json_pack("{s:s, s:s}", "Status", cmir_status_name(err.code), "Message",
                                "the result could not be written");
        j->state = JOB_FAILED; /* as it will be found at the next start, too: it runs again */
        (void)job_save(all->state, j, NULL, why, NULL);
        json_decref(why);
    }
}

static json_t *
error_json(const char *status, const char *message)
{
    return json_pack("{s:s, s:s}", "Status", status, "Message", message);
}

static void
hear_progress(job *j, const char *what, json_int_t done, json_int_t total)
{
    if (strcmp(j->what, what) != 0) {
        (void)snprintf(j->what, sizeof j->what, "%s", what);
        (void)clock_gettime(CLOCK_MONOTONIC, &j->since);
    }
    j->done = (uint64_t)done;
    j->total = (uint64_t)total;
}

/* Listens until the process has no more to say; *last is its last line, *at the file it was at. */
static void
listen_to(jobs *all, job *j, child *c, json_t **last, json_t **at)
{
    json_t *line;

    while ((line = child_read(c)) != NULL) {
        const char *what;
        json_int_t done, total;

        (void)pthread_mutex_lock(&all->lock);
        if (json_unpack(line, "{s:s, s:I, s:I}", "What", &what, "Done", &done, "Total", &total) ==
            0)
            hear_progress(j, what, done, total);
        if (json_is_true(json_object_get(line, "Keep")))
            j->kept = true;
        (void)pthread_mutex_unlock(&all->lock);
        if (json_object_get(line, "At") != NULL) {
            json_decref(*at);
            *at = json_incref(json_object_get(line, "At"));
        }
        if (json_object_get(line, "Result") != NULL || json_object_get(line, "Error") != NULL) {
            json_decref(*last);
            *last = json_incref(line);
        }
        json_decref(line);
    }
}

/* The process died at a file: it is left out, and the others have their turn.  The lock is held. */
static bool
skip_and_retry(job *j, json_t *at)
{
    json_t *skip = json_object_get(j->input, "Skip");

    if (at == NULL)
        return false;
    if (skip == NULL) {
        skip = cmir_json_need(json_array());
        cmir_json_set(j->input, "Skip", skip);
    }
    if (json_array_size(skip) >= MAX_SKIPPED)
        return false;
    cmir_json_add(skip, json_incref(at));
    j->attempts = 0;
    return true;
}

static json_t *
death_json(int status)
{
    char text[160];

    if (WIFSIGNALED(status))
        (void)snprintf(text, sizeof text,
                       "the process that worked on it was ended by signal %d; nothing else was "
                       "harmed",
                       WTERMSIG(status));
    else
        (void)snprintf(text, sizeof text,
                       "the process that worked on it %s; nothing else was harmed",
                       WEXITSTATUS(status) == CHILD_EXIT_STALLED ? "made no progress"
                                                                 : "ended before it was done");
    return error_json("CMIR_EUNSUPPORTED", text);
}

/* What the job did for its user goes into the audit log before anybody can ask for the result. */
static cmir_status
remember(jobs *all, const job *j, const json_t *line, cmir_error *err)
{
    const char *what = json_string_value(json_object_get(line, "What"));
    const json_t *hits = json_object_get(line, "Hits"), *id;
    size_t i;

    if (what == NULL)
        return CMIR_OK;
    const char **ids = cmir_json_need(malloc((json_array_size(hits) + 1) * sizeof *ids));
    json_array_foreach(hits, i, id) ids[i] = json_string_value(id);
    const cmir_status st =
        audit_write(all->server, j->user, what, json_string_value(json_object_get(line, "Query")),
                    ids, json_array_size(hits), err);
    free(ids);
    return st;
}

/* What became of the job; the lock is held. */
static void
conclude(jobs *all, job *j, int status, const json_t *last, json_t *at)
{
    const json_t *result = json_object_get(last, "Result");
    json_t *error = json_object_get(last, "Error"), *own = NULL;
    cmir_error err = {0};

    if (remember(all, j, json_object_get(last, "Audit"), &err) != CMIR_OK) {
        error = own = error_json(cmir_status_name(err.code), err.msg);
        result = NULL;
    }
    if (result != NULL) {
        j->kept = j->kept || strcmp(j->kind->name, "upload") == 0;
        job_end(all, j, JOB_DONE, result, NULL);
    } else if (j->cancelled) {
        job_end(all, j, JOB_CANCELLED, NULL, NULL);
    } else if (all->stopping) {
        j->state = JOB_QUEUED;
        j->attempts--;
        (void)job_save(all->state, j, NULL, NULL, NULL);
    } else if (error != NULL) {
        job_end(all, j, JOB_FAILED, NULL, error);
    } else {
        all->n_deaths++;
        if (skip_and_retry(j, at)) {
            j->state = JOB_QUEUED;
            (void)job_save(all->state, j, NULL, NULL, NULL);
        } else {
            own = death_json(status);
            job_end(all, j, JOB_FAILED, NULL, own);
        }
    }
    json_decref(own);
}

static uint32_t
child_threads(const jobs *all)
{
    const uint32_t given = server_get_options(all->server)->n_threads;
    const long n = sysconf(_SC_NPROCESSORS_ONLN);

    return given > 0 ? given : n > 1 ? (uint32_t)n - 1 : 1;
}

/* The lock is held when it starts and when it ends, not between. */
static void
run_job(jobs *all, job *j)
{
    json_t *last = NULL, *at = NULL;
    cmir_error err = {0};
    int status = 0;
    child c;

    j->state = JOB_RUNNING;
    j->attempts++;
    j->what[0] = '\0';
    json_t *order =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:O}", "Kind", j->kind->name, "JobId", j->id,
                  "Archive", server_get_options(all->server)->archive, "State", all->state,
                  "Threads", (json_int_t)child_threads(all), "Input", j->input);
    cmir_status st = job_save(all->state, j, NULL, NULL, &err);
    (void)pthread_mutex_unlock(&all->lock);
    if (st == CMIR_OK)
        st = child_start(order, &c, &err);
    json_decref(order);
    (void)pthread_mutex_lock(&all->lock);
    if (st != CMIR_OK) {
        json_t *why = error_json(cmir_status_name(st), err.msg);
        job_end(all, j, JOB_FAILED, NULL, why);
        json_decref(why);
        return;
    }
    j->in = c.in;
    if (j->cancelled || all->stopping) {
        (void)close(j->in);
        j->in = -1;
    }
    (void)pthread_mutex_unlock(&all->lock);
    listen_to(all, j, &c, &last, &at);
    (void)pthread_mutex_lock(&all->lock);
    if (j->in >= 0)
        (void)close(j->in);
    j->in = -1;
    (void)pthread_mutex_unlock(&all->lock);
    status = child_end(&c);
    (void)pthread_mutex_lock(&all->lock);
    conclude(all, j, status, last, at);
    json_decref(last);
    json_decref(at);
}

static bool
has_job(const jobs *all, const char *id)
{
    for (const job *j = all->first; j != NULL; j = j->next)
        if (!job_has_ended(j) && strcmp(j->id, id) == 0)
            return true;
    return false;
}

static void
tidy_upload(void *ctx, const char *name)
{
    const jobs *all = ctx;
    char *path = files_path(all->state, "uploads", name, NULL);
    struct stat st;

    if (stat(path, &st) == 0 && st.st_mtime < time(NULL) - KEEP_S && !has_job(all, name))
        (void)files_remove_tree(path, NULL);
    free(path);
}

/* Ended jobs go after a day, and uploads; the lock is held. */
static void
tidy(jobs *all)
{
    const time_t old = time(NULL) - KEEP_S;
    char *uploads = files_path(all->state, "uploads", NULL);

    for (job *j = all->first, *next; j != NULL; j = next) {
        next = j->next;
        if (job_has_ended(j) && j->finished < old)
            job_drop(all, j);
    }
    (void)files_each(uploads, tidy_upload, all, NULL);
    free(uploads);
}

static job *
next_job(const jobs *all, bool only_quick)
{
    for (job *j = all->first; j != NULL; j = j->next)
        if (j->state == JOB_QUEUED && (j->kind->quick || !only_quick))
            return j;
    return NULL;
}

static void *
serve_lane(void *ctx)
{
    struct lane *lane = ctx;
    jobs *all = lane->jobs;
    struct timespec until;

    (void)pthread_mutex_lock(&all->lock);
    while (!all->stopping) {
        job *j = next_job(all, lane->only_quick);

        if (j != NULL) {
            run_job(all, j);
            continue;
        }
        tidy(all);
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += TIDY_S;
        (void)pthread_cond_timedwait(&all->changed, &all->lock, &until);
    }
    (void)pthread_mutex_unlock(&all->lock);
    free(lane);
    return NULL;
}

/* ---- Start and end. */

static void
take_up(void *ctx, const char *name)
{
    jobs *all = ctx;
    job *j = job_load(all->state, name), **place = &all->first;

    if (j == NULL)
        return;
    while (*place != NULL && (*place)->number <= j->number)
        place = &(*place)->next;
    j->next = *place;
    *place = j;
    if (j->number > all->n_accepted)
        all->n_accepted = j->number;
    if (job_has_ended(j))
        return;
    if (j->state == JOB_RUNNING && j->attempts >= MAX_ATTEMPTS) {
        json_t *why = error_json("CMIR_EUNSUPPORTED", "the service ended each time this job ran");
        job_end(all, j, JOB_FAILED, NULL, why);
        json_decref(why);
    } else if (j->input == NULL) {
        job_drop(all, j);
    } else {
        j->state = JOB_QUEUED;
    }
}

static bool
start_thread(jobs *all, bool only_quick)
{
    struct lane *lane = cmir_json_need(malloc(sizeof *lane));

    *lane = (struct lane){all, only_quick};
    if (pthread_create(&all->threads[all->n_threads], NULL, serve_lane, lane) != 0) {
        free(lane);
        return false;
    }
    all->n_threads++;
    return true;
}

cmir_status
jobs_start(server *s, jobs **out, cmir_error *err)
{
    static const char *const folders[] = {"jobs", "uploads", "sources", "cohorts"};
    jobs *all = cmir_json_need(calloc(1, sizeof *all));
    cmir_status st = CMIR_OK;

    all->server = s;
    all->state = server_state_dir(s);
    (void)pthread_mutex_init(&all->lock, NULL);
    (void)pthread_cond_init(&all->changed, NULL);
    *out = all;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0] && st == CMIR_OK; i++) {
        char *path = files_path(all->state, folders[i], NULL);
        st = files_mkdir(path, err);
        if (st == CMIR_OK && i == 0)
            st = files_each(path, take_up, all, err);
        free(path);
    }
    if (st == CMIR_OK && (!start_thread(all, false) || !start_thread(all, true)))
        st = files_fail(err, CMIR_ENOMEM, "the threads of the jobs cannot be started");
    if (st != CMIR_OK) {
        jobs_stop(all);
        *out = NULL;
    }
    return st;
}

void
jobs_stop(jobs *all)
{
    if (all == NULL)
        return;
    (void)pthread_mutex_lock(&all->lock);
    all->stopping = true;
    for (job *j = all->first; j != NULL; j = j->next)
        if (j->in >= 0) {
            (void)close(j->in);
            j->in = -1;
        }
    (void)pthread_cond_broadcast(&all->changed);
    (void)pthread_mutex_unlock(&all->lock);
    for (size_t i = 0; i < all->n_threads; i++)
        (void)pthread_join(all->threads[i], NULL);
    for (job *j = all->first, *next; j != NULL; j = next) {
        next = j->next;
        job_free(j);
    }
    (void)pthread_cond_destroy(&all->changed);
    (void)pthread_mutex_destroy(&all->lock);
    free(all);
}

void
jobs_count(server *s, uint64_t by_state[JOB_N_STATES], uint64_t *worker_deaths)
{
    jobs *all = server_jobs(s);

    memset(by_state, 0, JOB_N_STATES * sizeof *by_state);
    (void)pthread_mutex_lock(&all->lock);
    for (const job *j = all->first; j != NULL; j = j->next)
        by_state[j->state]++;
    *worker_deaths = all->n_deaths;
    (void)pthread_mutex_unlock(&all->lock);
}
