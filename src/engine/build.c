/* SPDX-License-Identifier: Apache-2.0 */
/* build.c: many volumes with one commit.
 *
 * The one idea: building records is arithmetic, done by all threads; naming them is one thread's
 * work, within one transaction.  The first volume of an archive gives it its center, so it is
 * built alone. */
#include "engine/build.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

struct work {
    const cmir_build_job *job;
    cmir_built **built; /* [n]; NULL where there is none */
    atomic_size_t next;
};

static void
build_some(void *ctx, uint32_t thread)
{
    struct work *w = ctx;

    (void)thread;
    for (;;) {
        const size_t i = atomic_fetch_add(&w->next, 1);

        if (i >= w->job->n)
            return;
        w->built[i] = w->job->build(w->job->ctx, i);
    }
}

/* Within the transaction. */
static cmir_status
build_and_put(struct work *w, uint32_t n_threads, cmir_error *err)
{
    const cmir_build_job *job = w->job;
    size_t first = 0;
    cmir_status st = CMIR_OK;

    for (; first < job->n && st == CMIR_OK && !cmir_store_has_center(job->store); first++) {
        w->built[first] = job->build(job->ctx, first);
        st = job->put(job->ctx, first, w->built[first], err);
    }
    if (st != CMIR_OK)
        return st;
    atomic_init(&w->next, first);
    cmir_parallel(n_threads, build_some, w);
    for (size_t i = first; i < job->n && st == CMIR_OK; i++)
        st = job->put(job->ctx, i, w->built[i], err);
    return st;
}

cmir_status
cmir_build_all(const cmir_build_job *job, uint32_t n_threads, cmir_error *err)
{
    struct work w = {.job = job, .built = cmir_alloc_zeroed(job->n, sizeof *w.built)};
    cmir_status st;

    if (w.built == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu volumes", job->n);
    if ((st = cmir_store_begin(job->store, err)) == CMIR_OK) {
        st = build_and_put(&w, n_threads == 0 ? cmir_cpu_count() : n_threads, err);
        if (st == CMIR_OK)
            st = cmir_store_commit(job->store, err);
        if (st != CMIR_OK)
            cmir_store_rollback(job->store);
    }
    for (size_t i = 0; i < job->n; i++)
        cmir_built_free(w.built[i]);
    free(w.built);
    return st;
}
