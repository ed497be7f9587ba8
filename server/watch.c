/* SPDX-License-Identifier: Apache-2.0 */
/* watch.c: slow connections.
 *
 * The one idea: a client that sends a byte now and then is never idle, so each phase of a request has
 * an end; a thread looks once a second and shuts the sockets of those that are over it. */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "files.h"
#include "server_internal.h"
#include "watch.h"

#define LEAST_RATE 16384.0 /* bytes a second */

static const double allowed_s[] = {45, 30, 0, 60};

struct watched {
    int fd;
    watch_phase phase;
    double since;
    uint64_t nbytes;
    struct watched *before, *next;
};

struct watch {
    pthread_t thread;
    pthread_mutex_t lock;
    watched *first;
    bool stopping;
};

static bool
is_too_slow(const watched *c, double now)
{
    return c->phase != WATCH_AT_WORK &&
           now - c->since > allowed_s[c->phase] + (double)c->nbytes / LEAST_RATE;
}

static void *
run(void *arg)
{
    watch *w = arg;

    (void)pthread_mutex_lock(&w->lock);
    while (!w->stopping) {
        const double now = server_now();
        for (watched *c = w->first; c != NULL; c = c->next)
            if (is_too_slow(c, now))
                (void)shutdown(c->fd, SHUT_RDWR);
        (void)pthread_mutex_unlock(&w->lock);
        for (int i = 0; i < 10; i++)
            server_sleep(0.1);
        (void)pthread_mutex_lock(&w->lock);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

cmir_status
watch_start(watch **out, cmir_error *err)
{
    watch *w = cmir_json_need(calloc(1, sizeof *w));

    (void)pthread_mutex_init(&w->lock, NULL);
    *out = w;
    if (pthread_create(&w->thread, NULL, run, w) == 0)
        return CMIR_OK;
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
    *out = NULL;
    return files_fail(err, CMIR_EIO, "no thread can be started");
}

void
watch_stop(watch *w)
{
    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->stopping = true;
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->thread, NULL);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

watched *
watch_add(watch *w, int fd)
{
    watched *c = cmir_json_need(calloc(1, sizeof *c));

    c->fd = fd;
    c->since = server_now();
    (void)pthread_mutex_lock(&w->lock);
    c->next = w->first;
    if (c->next != NULL)
        c->next->before = c;
    w->first = c;
    (void)pthread_mutex_unlock(&w->lock);
    return c;
}

void
watch_remove(watch *w, watched *c)
{
    (void)pthread_mutex_lock(&w->lock);
    if (c->next != NULL)
        c->next->before = c->before;
    if (c->before != NULL)
        c->before->next = c->next;
    else
        w->first = c->next;
    (void)pthread_mutex_unlock(&w->lock);
    free(c);
}

void
watch_enter(watch *w, watched *c, watch_phase phase, uint64_t nbytes)
{
    (void)pthread_mutex_lock(&w->lock);
    c->phase = phase;
    c->since = server_now();
    c->nbytes = nbytes;
    (void)pthread_mutex_unlock(&w->lock);
}

void
watch_more(watch *w, watched *c, uint64_t nbytes)
{
    (void)pthread_mutex_lock(&w->lock);
    c->nbytes += nbytes;
    (void)pthread_mutex_unlock(&w->lock);
}
