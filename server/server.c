/* SPDX-License-Identifier: Apache-2.0 */
/* server.c: the service from start to end.
 *
 * The one idea: parts start in the order of a table and stop in reverse, whatever started of them;
 * the last to start, and the first to stop, is the one that takes requests. */
#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit.h"
#include "auth.h"
#include "files.h"
#include "http_internal.h"
#include "metrics.h"
#include "pixels.h"
#include "secret.h"

#define MAX_ARENAS 2 /* of the heap, which the threads of connections share */
#define DEFAULT_LISTEN "127.0.0.1:8043"
#define DEFAULT_UPLOAD_NBYTES (4ull << 30)
#define DEFAULT_REQUESTS_PER_MINUTE 12000

static cmir_status
start_handles(server *s, cmir_error *err)
{
    return handles_start(s, &s->handles, err);
}

static void
stop_handles(server *s)
{
    handles_stop(s->handles);
}

static cmir_status
start_jobs(server *s, cmir_error *err)
{
    return jobs_start(s, &s->jobs, err);
}

static void
stop_jobs(server *s)
{
    jobs_stop(s->jobs);
}

/* auth refuses what is unsafe before anything is written; audit takes the state folder, of which there is
 * one service; with http, the last, requests come. */
static const struct part {
    cmir_status (*start)(server *s, cmir_error *err);
    void (*stop)(server *s);
} parts[] = {
    {auth_start, auth_stop},       {audit_start, audit_stop},   {metrics_start, metrics_stop},
    {start_handles, stop_handles}, {pixels_start, pixels_stop}, {start_jobs, stop_jobs},
    {http_start, http_stop},
};
#define N_PARTS (sizeof parts / sizeof parts[0])

double
server_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void
server_sleep(double seconds)
{
    const struct timespec t = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};

    (void)nanosleep(&t, NULL);
}

void
server_log(const char *event, json_t *fields)
{
    char when[32];
    const time_t now = time(NULL);
    struct tm tm;

    if (fields == NULL || gmtime_r(&now, &tm) == NULL)
        return;
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_t *line = json_pack("{s:s, s:s}", "Time", when, "Event", event);
    if (line != NULL && json_object_update(line, fields) == 0) {
        char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(6));
        if (text != NULL)
            fprintf(stderr, "%s\n", text);
        free(text);
    }
    json_decref(line);
    json_decref(fields);
}

const server_options *
server_get_options(const server *s)
{
    return &s->options;
}

const char *
server_state_dir(const server *s)
{
    return s->state_dir;
}

handles *
server_handles(server *s)
{
    return s->handles;
}

jobs *
server_jobs(server *s)
{
    return s->jobs;
}

cmir_status
server_state_folder(const server *s, const char *name, char **out, cmir_error *err)
{
    *out = files_path(s->state_dir, name, (char *)NULL);
    const cmir_status st = files_mkdir(*out, err);
    if (st != CMIR_OK) {
        free(*out);
        *out = NULL;
    }
    return st;
}

/* What `path` names from anywhere; free(). */
static cmir_status
absolute(const char *path, char **out, cmir_error *err)
{
    *out = realpath(path, NULL);
    return *out != NULL ? CMIR_OK : files_fail(err, CMIR_EIO, "%s: %s", path, strerror(errno));
}

/* A folder that others could look into, or that is another's, is no place for what is kept here. */
static cmir_status
make_private(const char *path, cmir_error *err)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return files_fail(err, CMIR_EIO, "%s: %s", path, strerror(errno));
    if (st.st_uid != geteuid())
        return files_fail(err, CMIR_EINVAL, "--state %s: the folder belongs to another user", path);
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0 && chmod(path, 0700) != 0)
        return files_fail(err, CMIR_EIO, "%s: %s", path, strerror(errno));
    return CMIR_OK;
}

/* Options with defaults, the folder of the state, and whether the archive can be served. */
static cmir_status
prepare(server *s, const server_options *options, cmir_error *err)
{
    cmir_archive *archive;
    cmir_status st = cmir_archive_open(options->archive, CMIR_READ, &archive, err);

    if (st != CMIR_OK)
        return st;
    cmir_archive_close(archive);
    s->options = *options;
    if (s->options.listen == NULL)
        s->options.listen = DEFAULT_LISTEN;
    if (s->options.upload_nbytes == 0)
        s->options.upload_nbytes = DEFAULT_UPLOAD_NBYTES;
    if (s->options.requests_per_minute == 0)
        s->options.requests_per_minute = DEFAULT_REQUESTS_PER_MINUTE;
    char *state = options->state != NULL ? files_path(options->state, (char *)NULL)
                                         : files_path(options->archive, "service", (char *)NULL);
    if ((st = files_mkdir(state, err)) == CMIR_OK)
        st = absolute(state, &s->state_dir, err);
    free(state);
    if (st == CMIR_OK)
        st = make_private(s->state_dir, err);
    if (st == CMIR_OK)
        st = absolute(options->archive, &s->archive_dir, err);
    s->options.archive = s->archive_dir;
    return st;
}

static void
announce(const server *s, void (*ready)(const char *url))
{
    char url[128];
    const char *at = s->options.listen, *colon = strrchr(at, ':');

    snprintf(url, sizeof url, "%s://%.*s:%u/", s->options.certificate != NULL ? "https" : "http",
             (int)(colon - at), at, http_port(s));
    ready(url);
}

cmir_status
server_run(const server_options *options, bool (*stop)(void), void (*ready)(const char *url),
           cmir_error *err)
{
    server s = {0};
    size_t n_started = 0;
    cmir_status st = secret_start(err);

    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077);
#ifdef M_ARENA_MAX
    (void)mallopt(M_ARENA_MAX, MAX_ARENAS); /* else each keeps what its largest request took */
#endif
    if (st == CMIR_OK)
        st = prepare(&s, options, err);
    while (st == CMIR_OK && n_started < N_PARTS)
        st = parts[n_started++].start(&s, err);
    if (st == CMIR_OK) {
        announce(&s, ready);
        while (!stop())
            server_sleep(0.1);
        http_quiesce(&s);
    }
    while (n_started > 0)
        parts[--n_started].stop(&s);
    free(s.state_dir);
    free(s.archive_dir);
    return st;
}
