/* SPDX-License-Identifier: Apache-2.0 */
/* server.c: the service from start to end.
 *
 * The one idea: parts start in the order of a table and stop in reverse, whatever started of them;
 * the last to start, and the first to stop, is the one that takes requests. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "http_internal.h"
#include "text.h"

#define DEFAULT_LISTEN "127.0.0.1:8043"
#define DEFAULT_UPLOAD_NBYTES (4ull << 30)
#define DEFAULT_REQUESTS_PER_MINUTE 1200

static const struct part {
    cmir_status (*start)(server *s, cmir_error *err);
    void (*stop)(server *s);
} parts[] = {
    {http_start, http_stop}, /* last */
};
#define N_PARTS (sizeof parts / sizeof parts[0])

cmir_status
server_fail(cmir_error *err, cmir_status code, const char *format, ...)
{
    va_list args;

    if (err == NULL || err->code != CMIR_OK)
        return code;
    err->code = code;
    err->offset = UINT64_MAX;
    va_start(args, format);
    (void)vsnprintf(err->msg, sizeof err->msg, format, args);
    va_end(args);
    return code;
}

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
server_new_id(char out[SERVER_ID_NBYTES])
{
    uint8_t bytes[(SERVER_ID_NBYTES - 1) / 2];

    randombytes_buf(bytes, sizeof bytes);
    text_hex(bytes, sizeof bytes, out);
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

static cmir_status
make_folder(const char *path, cmir_error *err)
{
    struct stat st;

    if (mkdir(path, 0700) == 0 || (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
        return CMIR_OK;
    return server_fail(err, CMIR_EIO, "%s: cannot be made: %s", path, strerror(errno));
}

cmir_status
server_state_folder(const server *s, const char *name, char **out, cmir_error *err)
{
    const size_t n = strlen(s->state_dir) + strlen(name) + 2;

    *out = malloc(n);
    if (*out == NULL)
        return server_fail(err, CMIR_ENOMEM, "no memory");
    snprintf(*out, n, "%s/%s", s->state_dir, name);
    const cmir_status st = make_folder(*out, err);
    if (st != CMIR_OK) {
        free(*out);
        *out = NULL;
    }
    return st;
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
    const size_t n = strlen(options->archive) + sizeof "/service";
    s->state_dir = options->state != NULL ? strdup(options->state) : malloc(n);
    if (s->state_dir == NULL)
        return server_fail(err, CMIR_ENOMEM, "no memory");
    if (options->state == NULL)
        snprintf(s->state_dir, n, "%s/service", options->archive);
    return make_folder(s->state_dir, err);
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
    cmir_status st = sodium_init() < 0
                         ? server_fail(err, CMIR_EIO, "the system gives no random numbers")
                         : CMIR_OK;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077);
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
    return st;
}
