/* SPDX-License-Identifier: Apache-2.0 */
/* symmetric.c: the score that needs every product: maxsim in both directions.  Called by rank.c. */
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "rank/scores.h"
#include "store/codes.h"

/* What one thread needs. */
struct symmetric_scratch {
    uint32_t *q, *r; /* [m] */
    int32_t *dots; /* [m] */
    int32_t *best; /* [m] */
};

struct symmetric_job {
    const cmir_prepared *p;
    const cmir_snapshot *snapshot;
    struct symmetric_scratch *scratch; /* one per thread */
};

/* Both directions from one pass over the products, candidate row by candidate row. */
static double
score_symmetric(void *ctx, uint32_t thread, size_t candidate)
{
    const struct symmetric_job *job = ctx;
    const cmir_rows *rows = &cmir_snapshot_get(job->snapshot, candidate)->rows;
    struct symmetric_scratch *s = &job->scratch[thread];
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
free_scratch(struct symmetric_scratch *scratch, uint32_t n)
{
    for (uint32_t i = 0; scratch != NULL && i < n; i++) {
        free(scratch[i].q);
        free(scratch[i].r);
        free(scratch[i].dots);
        free(scratch[i].best);
    }
    free(scratch);
}

static struct symmetric_scratch *
make_scratch(const cmir_query *q, uint32_t n)
{
    struct symmetric_scratch *scratch = cmir_alloc_zeroed(n, sizeof *scratch);
    bool ok = scratch != NULL;

    for (uint32_t i = 0; ok && i < n; i++) {
        struct symmetric_scratch *s = &scratch[i];

        s->q = cmir_alloc(q->n_rows, sizeof *s->q);
        s->r = cmir_alloc(q->n_rows, sizeof *s->r);
        s->dots = cmir_alloc(q->n_rows, sizeof *s->dots);
        s->best = cmir_alloc(q->n_rows, sizeof *s->best);
        ok = s->q != NULL && s->r != NULL && s->dots != NULL && s->best != NULL;
    }
    if (ok)
        return scratch;
    free_scratch(scratch, n);
    return NULL;
}

cmir_status
cmir_rank_symmetric(const cmir_prepared *p, const cmir_snapshot *snapshot, uint32_t n_threads,
                    cmir_scores *scores, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(snapshot);
    struct symmetric_job job = {
        .p = p, .snapshot = snapshot, .scratch = make_scratch(p->query, n_threads)};

    if (job.scratch == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to score %zu volumes", n);
    cmir_score_each(score_symmetric, &job, n, n_threads, scores->score);
    free_scratch(job.scratch, n_threads);
    return CMIR_OK;
}
