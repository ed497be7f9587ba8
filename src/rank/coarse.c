/* SPDX-License-Identifier: Apache-2.0 */
/* coarse.c: a first look at every candidate of a large archive.  Called by rank.c.
 *
 * The one idea: late interaction as in the exact stage, but of a sample of the query with a few
 * representatives of each volume (means of runs of its slices), which lie together at the start of
 * its record: one tile of codes instead of all.  docs/decisions/coarse.md tells what else was measured. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "rank/scores.h"

enum { AT_A_TIME = 64 };

struct coarse_job {
    const cmir_prepared *p;
    const cmir_snapshot *snapshot;
    cmir_scores scores;
    size_t n;
    atomic_size_t next;
};

static double
look(const cmir_prepared *p, const cmir_rows *rows)
{
    _Alignas(64) float best[CMIR_SAMPLE_ROWS];
    const cmir_codes reps = {
        rows->rep_codes, rows->rep_scale, rows->rep_base, rows->rep_sum, NULL, NULL,
        rows->n_reps,    rows->padded_dim};
    double sum = 0;

    p->kernels.maxsim(&p->sample, &reps, best, NULL, NULL);
    for (uint32_t i = 0; i < p->n_sample; i++)
        sum += (double)best[i];
    return sum / p->n_sample + cmir_mean_product(p, p->n_stages, rows);
}

/* What a look reads lies in one piece. */
static void
prefetch(const cmir_rows *rows)
{
    const char *start = (const char *)rows->mean;
    const char *end = (const char *)rows->rep_codes + (size_t)rows->n_reps * rows->padded_dim;

    for (; start < end; start += 64)
        CMIR_PREFETCH(start);
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
            if (c + 1 < job->n)
                prefetch(&cmir_snapshot_get(job->snapshot, c + 1)->rows);
            job->scores.score[c] = look(job->p, &cmir_snapshot_get(job->snapshot, c)->rows);
        }
    }
}

cmir_status
cmir_coarse(const cmir_prepared *p, const cmir_snapshot *snapshot, size_t n_keep,
            uint32_t n_threads, cmir_ranked *out, cmir_error *err)
{
    struct coarse_job job = {.p = p, .snapshot = snapshot, .n = cmir_snapshot_count(snapshot)};
    cmir_status st = cmir_scores_make(job.n, false, false, &job.scores, err);

    if (st != CMIR_OK)
        return st;
    atomic_init(&job.next, 0);
    cmir_parallel(n_threads, look_at_candidates, &job);
    (void)cmir_select_best(&job.scores, job.n, n_keep, out);
    cmir_scores_free(&job.scores);
    return CMIR_OK;
}
