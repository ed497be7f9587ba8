/* SPDX-License-Identifier: Apache-2.0 */
/* thread.c: one way to run work on several threads. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>

uint32_t
cmir_cpu_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    const int n = CPU_COUNT(&set);
    return n<1 ? 1 : n>(int) CMIR_MAX_THREADS ? CMIR_MAX_THREADS : (uint32_t)n;
}

struct task {
    void (*fn)(void *ctx, uint32_t thread);
    void *ctx;
    uint32_t thread;
};

static void *
run_task(void *arg)
{
    const struct task *t = arg;

    t->fn(t->ctx, t->thread);
    return NULL;
}

void
cmir_parallel(uint32_t n_threads, void (*fn)(void *ctx, uint32_t thread), void *ctx)
{
    pthread_t threads[CMIR_MAX_THREADS];
    struct task tasks[CMIR_MAX_THREADS];
    uint32_t started = 1;

    if (n_threads > CMIR_MAX_THREADS)
        n_threads = CMIR_MAX_THREADS;
    for (; started < n_threads; started++) {
        tasks[started] = (struct task){fn, ctx, started};
        if (pthread_create(&threads[started], NULL, run_task, &tasks[started]) != 0)
            break;
    }
    fn(ctx, 0);
    for (uint32_t i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
}
