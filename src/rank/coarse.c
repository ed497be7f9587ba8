/* SPDX-License-Identifier: Apache-2.0 */
/* coarse.c: a first look at every candidate of a large archive.  Called by rank.c.
 *
 * The one idea: late interaction as in the exact stage, but of a sample of the query with a few
 * representatives of each volume (means of runs of its slices), which lie together at the start of
 * its record: one tile of codes instead of all.  Several queries share what is read.  docs/decisions/coarse.md tells what else was measured. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "rank/scores.h"

enum { AT_A_TIME = 64 };

struct coarse_job {
    const cmir_sample *samples;
    size_t n_samples;
    const cmir_snapshot *snapshot;
    double *scores; /* [n_samples][n] */
    size_t n;
    atomic_size_t next;
};

/* The mean similarity, but for <q, center>, which is the same for all. */
static double
look(const cmir_sample *s, const cmir_rows *rows)
{
    _Alignas(64) float best[CMIR_SAMPLE_ROWS];
    const cmir_codes reps = {.codes = rows->rep_codes,
                             .scale = rows->rep_scale,
                             .base = rows->rep_base,
                             .code_sum = rows->rep_sum,
                             .n = rows->n_reps,
                             .padded_dim = rows->padded_dim};
    double sum = 0;

    s->kernels.maxsim(&s->packed, &reps, best, NULL, NULL);
    for (uint32_t i = 0; i < s->n_rows; i++)
        sum += (double)best[i];
    return sum / s->n_rows;
}

static void
look_at_candidates(void *ctx, uint32_t thread)
{
    struct coarse_job *job = ctx;

    (void)thread;
    for (;;) {
        const size_t start = atomic_fetch_add(&job->next, AT_A_TIME);
        const size_t end = start + AT_A_TIME < job->n ? start + AT_A_TIME : job->n;

        if (start >= job->n)
            return;
        for (size_t c = start; c < end; c++) {
            const cmir_rows *rows = &cmir_snapshot_get(job->snapshot, c)->rows;

            for (size_t i = 0; i < job->n_samples; i++)
                job->scores[i * job->n + c] = look(&job->samples[i], rows);
        }
    }
}

cmir_status
cmir_coarse(const cmir_query *const *queries, size_t n_queries, const cmir_snapshot *snapshot,
            unsigned cpu_flags, uint32_t n_threads, double *scores, cmir_error *err)
{
    cmir_sample *samples = cmir_alloc_zeroed(n_queries, sizeof *samples);
    cmir_status st = CMIR_OK;

    if (samples == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu queries", n_queries);
    for (size_t i = 0; i < n_queries && st == CMIR_OK; i++)
        st = cmir_sample_make(queries[i], cmir_snapshot_center(snapshot), cpu_flags, &samples[i],
                              err);
    if (st == CMIR_OK) {
        struct coarse_job job = {.samples = samples,
                                 .n_samples = n_queries,
                                 .snapshot = snapshot,
                                 .scores = scores,
                                 .n = cmir_snapshot_count(snapshot)};

        atomic_init(&job.next, 0);
        cmir_parallel(n_threads, look_at_candidates, &job);
    }
    for (size_t i = 0; i < n_queries; i++)
        cmir_sample_free(&samples[i]);
    free(samples);
    return st;
}
