/* SPDX-License-Identifier: Apache-2.0 */
/* handles.c: open archives, lent to one request at a time.
 *
 * The one idea: as many handles of the served archive as there are CPUs for searching, so that no more
 * requests work at once than can; the others wait in a queue, first come first served.  An upload's
 * archive is small and opened for its caller. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "server_internal.h"

#define WAIT_S 30
#define MAX_HANDLES 64u

/* Who waits: on the stack of its thread. */
struct waiter {
    pthread_cond_t woken;
    bool served;
    struct waiter *next;
};

struct handles {
    const char *dir;
    pthread_mutex_t lock;
    struct waiter *first, *last;
    cmir_archive *idle[MAX_HANDLES]; /* opened before, lent to nobody */
    uint32_t n_idle, n_lent, n_most;
};

static uint32_t
n_cpus(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n<1 ? 1 : n>(long) MAX_HANDLES ? MAX_HANDLES : (uint32_t)n;
}

cmir_status
handles_start(server *s, handles **out, cmir_error *err)
{
    const server_options *options = server_get_options(s);
    handles *h = cmir_json_need(calloc(1, sizeof *h));
    const cmir_status st = cmir_archive_open(options->archive, CMIR_READ, &h->idle[0], err);

    h->dir = options->archive;
    h->n_most = options->n_threads == 0 ? n_cpus() : options->n_threads;
    if (h->n_most > MAX_HANDLES)
        h->n_most = MAX_HANDLES;
    (void)pthread_mutex_init(&h->lock, NULL);
    h->n_idle = st == CMIR_OK;
    *out = h;
    if (st != CMIR_OK) {
        handles_stop(h);
        *out = NULL;
    }
    return st;
}

void
handles_stop(handles *h)
{
    if (h == NULL)
        return;
    for (uint32_t i = 0; i < h->n_idle; i++)
        cmir_archive_close(h->idle[i]);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
}

static void
leave_queue(handles *h, const struct waiter *w)
{
    struct waiter *before = NULL;

    for (struct waiter *p = h->first; p != NULL; before = p, p = p->next) {
        if (p != w)
            continue;
        if (before == NULL)
            h->first = p->next;
        else
            before->next = p->next;
        if (h->last == p)
            h->last = before;
        return;
    }
}

/* Waits its turn; the lock is held.  False: it took too long. */
static bool
wait_in_queue(handles *h)
{
    struct waiter self = {.served = false};
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    (void)pthread_cond_init(&self.woken, NULL);
    if (h->last == NULL)
        h->first = &self;
    else
        h->last->next = &self;
    h->last = &self;
    while (!self.served && pthread_cond_timedwait(&self.woken, &h->lock, &until) != ETIMEDOUT)
        ;
    if (!self.served)
        leave_queue(h, &self);
    (void)pthread_cond_destroy(&self.woken);
    return self.served;
}

/* A place is free: it goes to whoever waits longest, or back; the lock is held. */
static void
pass_on(handles *h)
{
    struct waiter *next = h->first;

    if (next == NULL) {
        h->n_lent--;
        return;
    }
    h->first = next->next;
    if (h->first == NULL)
        h->last = NULL;
    next->served = true;
    (void)pthread_cond_signal(&next->woken);
}

cmir_status
handle_take(server *s, const char *dir, cmir_archive **out, cmir_error *err)
{
    handles *h = server_handles(s);
    bool mine = true;

    *out = NULL;
    if (dir != NULL)
        return cmir_archive_open(dir, CMIR_READ, out, err);
    (void)pthread_mutex_lock(&h->lock);
    if (h->n_lent < h->n_most)
        h->n_lent++;
    else
        mine = wait_in_queue(h);
    if (mine && h->n_idle > 0)
        *out = h->idle[--h->n_idle];
    (void)pthread_mutex_unlock(&h->lock);
    if (!mine)
        return files_fail(err, CMIR_EBUSY, "the service is busy: nothing was free for %d s",
                          WAIT_S);
    const cmir_status st = *out != NULL ? CMIR_OK : cmir_archive_open(h->dir, CMIR_READ, out, err);
    if (st != CMIR_OK) {
        (void)pthread_mutex_lock(&h->lock);
        pass_on(h);
        (void)pthread_mutex_unlock(&h->lock);
    }
    return st;
}

void
handle_give(server *s, const char *dir, cmir_archive *archive)
{
    if (archive == NULL || dir != NULL) {
        cmir_archive_close(archive);
        return;
    }
    handles *h = server_handles(s);
    (void)pthread_mutex_lock(&h->lock);
    h->idle[h->n_idle++] = archive;
    pass_on(h);
    (void)pthread_mutex_unlock(&h->lock);
}

uint32_t
handle_threads(server *s)
{
    handles *h = server_handles(s);

    (void)pthread_mutex_lock(&h->lock);
    const uint32_t n = h->n_lent == 0 ? h->n_most : h->n_most / h->n_lent;
    (void)pthread_mutex_unlock(&h->lock);
    return n == 0 ? 1 : n;
}
