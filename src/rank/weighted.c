/* SPDX-License-Identifier: Apache-2.0 */
/* weighted.c: maxsim in which slices that every volume has something alike for count less.  Called
 * by rank.c.
 *
 * The one idea: inverse document frequency (Spaerck Jones 1972) for slices.  A word counts the more the
 * fewer documents hold it; a slice counts by how far its best match falls short of the same
 * slice, on average over the candidates.  All candidates are matched twice: once for the weights,
 * whose sums are integers and so the same whoever adds them, once for the scores; keeping every
 * match would take 4 bytes per slice of the query and volume of the archive. */
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "rank/match.h"
#include "rank/scores.h"
#include "store/codes.h"

struct weighted_job {
    const cmir_prepared *p;
    const cmir_snapshot *snapshot;
    cmir_scratch *scratch; /* one per thread */
    int64_t *sum; /* [n_threads][m] of each query row's best products */
    double *weight; /* [m], of mean 1 */
};

/* Its score does not matter yet. */
static double
add_matches(void *ctx, uint32_t thread, size_t candidate)
{
    const struct weighted_job *job = ctx;
    const cmir_scratch *s = &job->scratch[thread];
    const uint32_t m = job->p->query->n_rows;
    int64_t *sum = job->sum + (size_t)thread * m;

    (void)cmir_match_exact(job->p, &cmir_snapshot_get(job->snapshot, candidate)->rows,
                           &job->scratch[thread]);
    for (uint32_t i = 0; i < m; i++)
        sum[i] += s->winner[i];
    return 0.0;
}

static double
score_weighted(void *ctx, uint32_t thread, size_t candidate)
{
    const struct weighted_job *job = ctx;
    const cmir_scratch *s = &job->scratch[thread];
    const uint32_t m = job->p->query->n_rows;
    double sum = 0.0;

    (void)cmir_match_exact(job->p, &cmir_snapshot_get(job->snapshot, candidate)->rows,
                           &job->scratch[thread]);
    for (uint32_t i = 0; i < m; i++)
        sum += job->weight[i] * s->winner[i];
    return sum / ((double)m * CMIR_UNIT * CMIR_UNIT);
}

/* From the sums of all threads.  Where nothing falls short, all rows count the same. */
static void
weigh(const struct weighted_job *job, size_t n, uint32_t n_threads)
{
    const uint32_t m = job->p->query->n_rows;
    const int64_t whole = (int64_t)n * CMIR_UNIT * CMIR_UNIT;
    double total = 0.0;

    for (uint32_t i = 0; i < m; i++) {
        int64_t sum = 0;

        for (uint32_t t = 0; t < n_threads; t++)
            sum += job->sum[(size_t)t * m + i];
        job->weight[i] = sum < whole ? (double)(whole - sum) : 0.0;
        total += job->weight[i];
    }
    for (uint32_t i = 0; i < m; i++)
        job->weight[i] = total > 0.0 ? job->weight[i] * m / total : 1.0;
}

cmir_status
cmir_rank_weighted(const cmir_prepared *p, const cmir_snapshot *snapshot, uint32_t n_threads,
                   cmir_scores *scores, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(snapshot), m = p->query->n_rows;
    struct weighted_job job = {.p = p, .snapshot = snapshot};
    cmir_status st;

    if (n > UINT32_MAX)
        return FAIL(err, CMIR_ELIMIT, "%zu volumes are too many to weigh slices by", n);
    if ((st = cmir_scratches_make(p, snapshot, n_threads, &job.scratch, err)) != CMIR_OK)
        return st;
    job.sum = cmir_alloc_zeroed(n_threads * m, sizeof *job.sum);
    job.weight = cmir_alloc(m, sizeof *job.weight);
    if (job.sum == NULL || job.weight == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory for the weights of %zu slices", m);
    } else {
        cmir_score_each(add_matches, &job, n, n_threads, scores->score);
        weigh(&job, n, n_threads);
        cmir_score_each(score_weighted, &job, n, n_threads, scores->score);
    }
    cmir_scratches_free(job.scratch, n_threads);
    free(job.sum);
    free(job.weight);
    return st;
}
