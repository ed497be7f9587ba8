/* SPDX-License-Identifier: Apache-2.0 */
/* pairwise.c: the scores that need every product, or none: symmetric and mean.  Called by rank.c. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "rank/scores.h"
#include "store/codes.h"

/* What one thread needs. */
struct pairwise_scratch {
    uint32_t *q, *r; /* [m] */
    int32_t *dots; /* [m] */
    int32_t *best; /* [m] */
    double *sum; /* [padded_dim] */
};

struct pairwise_job {
    const cmir_prepared *p;
    const cmir_snapshot *snapshot;
    cmir_score score;
    const double *query_sum; /* mean: [padded_dim] */
    struct pairwise_scratch *scratch; /* one per thread */
    double *scores;
    size_t n;
    atomic_size_t next;
};

/* Both directions from one pass over the products, candidate row by candidate row. */
static double
score_symmetric(const struct pairwise_job *job, const cmir_rows *rows, struct pairwise_scratch *s)
{
    const cmir_query *q = job->p->query;
    int64_t forth = 0, back = 0;

    for (uint32_t j = 0; j < rows->n_scored; j++) {
        int32_t best = INT32_MIN;

        for (uint32_t i = 0; i < q->n_rows; i++) {
            s->q[i] = i;
            s->r[i] = j;
        }
        job->p->kernels.dots_exact(q->rows, rows->exact, q->padded_dim, s->q, s->r, q->n_rows,
                                   s->dots);
        for (uint32_t i = 0; i < q->n_rows; i++) {
            best = s->dots[i] > best ? s->dots[i] : best;
            s->best[i] = j == 0 || s->dots[i] > s->best[i] ? s->dots[i] : s->best[i];
        }
        back += best;
    }
    for (uint32_t i = 0; i < q->n_rows; i++)
        forth += s->best[i];
    return 0.5 * ((double)forth / q->n_rows + (double)back / rows->n_scored) /
           ((double)CMIR_UNIT * CMIR_UNIT);
}

static void
add_rows(const int16_t *rows, uint32_t n, uint32_t width, double *sum)
{
    memset(sum, 0, width * sizeof *sum);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t d = 0; d < width; d++)
            sum[d] += rows[(size_t)i * width + d];
}

/* Cosine of the mean embeddings; the means' lengths cancel, so sums do.  0 where a mean is 0. */
static double
score_mean(const struct pairwise_job *job, const cmir_rows *rows, struct pairwise_scratch *s)
{
    double dot = 0.0, query_norm = 0.0, norm = 0.0;

    add_rows(rows->exact, rows->n_scored, rows->padded_dim, s->sum);
    for (uint32_t d = 0; d < rows->padded_dim; d++) {
        dot += job->query_sum[d] * s->sum[d];
        query_norm += job->query_sum[d] * job->query_sum[d];
        norm += s->sum[d] * s->sum[d];
    }
    return query_norm > 0.0 && norm > 0.0 ? dot / (sqrt(query_norm) * sqrt(norm)) : 0.0;
}

static void
score_candidates(void *ctx, uint32_t thread)
{
    struct pairwise_job *job = ctx;

    for (;;) {
        const size_t index = atomic_fetch_add(&job->next, 1);

        if (index >= job->n)
            return;
        const cmir_rows *rows = &cmir_snapshot_get(job->snapshot, index)->rows;
        struct pairwise_scratch *s = &job->scratch[thread];

        job->scores[index] =
            job->score == CMIR_MEAN ? score_mean(job, rows, s) : score_symmetric(job, rows, s);
    }
}

static void
free_scratch(struct pairwise_scratch *scratch, uint32_t n)
{
    for (uint32_t i = 0; scratch != NULL && i < n; i++) {
        free(scratch[i].q);
        free(scratch[i].r);
        free(scratch[i].dots);
        free(scratch[i].best);
        free(scratch[i].sum);
    }
    free(scratch);
}

static struct pairwise_scratch *
make_scratch(const cmir_query *q, uint32_t n)
{
    struct pairwise_scratch *scratch = cmir_alloc_zeroed(n, sizeof *scratch);
    bool ok = scratch != NULL;

    for (uint32_t i = 0; ok && i < n; i++) {
        struct pairwise_scratch *s = &scratch[i];

        s->q = cmir_alloc(q->n_rows, sizeof *s->q);
        s->r = cmir_alloc(q->n_rows, sizeof *s->r);
        s->dots = cmir_alloc(q->n_rows, sizeof *s->dots);
        s->best = cmir_alloc(q->n_rows, sizeof *s->best);
        s->sum = cmir_alloc(q->padded_dim, sizeof *s->sum);
        ok = s->q != NULL && s->r != NULL && s->dots != NULL && s->best != NULL && s->sum != NULL;
    }
    if (ok)
        return scratch;
    free_scratch(scratch, n);
    return NULL;
}

cmir_status
cmir_rank_pairwise(const cmir_prepared *p, const cmir_snapshot *snapshot, cmir_score score,
                   uint32_t n_threads, cmir_scores *scores, cmir_error *err)
{
    double query_sum[CMIR_MAX_DIM];
    struct pairwise_job job = {.p = p,
                               .snapshot = snapshot,
                               .score = score,
                               .query_sum = query_sum,
                               .scratch = make_scratch(p->query, n_threads),
                               .scores = scores->score,
                               .n = cmir_snapshot_count(snapshot)};

    if (job.scratch == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to score %zu volumes", job.n);
    add_rows(p->query->rows, p->query->n_rows, p->query->padded_dim, query_sum);
    atomic_init(&job.next, 0);
    cmir_parallel(n_threads, score_candidates, &job);
    free_scratch(job.scratch, n_threads);
    return CMIR_OK;
}
