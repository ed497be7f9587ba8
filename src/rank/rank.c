/* SPDX-License-Identifier: Apache-2.0 */
/* rank.c: the score of every candidate, and the best of them.  Called by engine.
 *
 * The one idea: threads take candidates one by one and write each score to the candidate's own
 * place; the order is made afterwards by one thread, so the result does not depend on how many
 * threads ran. */
#include "rank/rank.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"
#include "base/thread.h"
#include "rank/rank_internal.h"

/* Candidate rows whose dot products with the whole query are held at a time. */
enum { ROWS_AT_A_TIME = 64 };

/* What one thread needs beside the job; allocated before any thread starts. */
struct scratch {
    double *best;       /* [m] */
    uint32_t *best_row; /* [m] */
    double *dots;       /* symmetric: [m][ROWS_AT_A_TIME] */
    double *sum;        /* mean: [dim] */
};

struct job {
    const cmir_query *query;
    const cmir_snapshot *snapshot;
    cmir_score score;
    struct cmir_kernels kernels;
    const double *query_sum; /* mean: [dim] */
    struct scratch *scratch; /* one per thread */
    double *scores;          /* one per candidate */
    size_t n_candidates;
    atomic_size_t next;
};

static double
score_maxsim(const struct job *job, const cmir_rows *rows, struct scratch *s)
{
    const cmir_query *q = job->query;
    double sum = 0.0;

    job->kernels.maxsim_exact(q->rows, q->n_rows, rows->exact, rows->n_scored, q->dim, s->best_row,
                              s->best);
    for (uint32_t i = 0; i < q->n_rows; i++)
        sum += s->best[i];
    return sum / q->n_rows;
}

/* Both directions from one pass over the dot products. */
static double
score_symmetric(const struct job *job, const cmir_rows *rows, struct scratch *s)
{
    const cmir_query *q = job->query;
    double forth = 0.0, back = 0.0;

    for (uint32_t i = 0; i < q->n_rows; i++)
        s->best[i] = -INFINITY;
    for (uint32_t start = 0; start < rows->n_scored; start += ROWS_AT_A_TIME) {
        const uint32_t left = rows->n_scored - start;
        const uint32_t n = left < ROWS_AT_A_TIME ? left : ROWS_AT_A_TIME;

        job->kernels.dots_exact(q->rows, q->n_rows, rows->exact + (size_t)start * q->dim, n, q->dim,
                                s->dots);
        for (uint32_t j = 0; j < n; j++) {
            double best = -INFINITY;

            for (uint32_t i = 0; i < q->n_rows; i++) {
                const double dot = s->dots[(size_t)i * n + j];

                best = dot > best ? dot : best;
                s->best[i] = dot > s->best[i] ? dot : s->best[i];
            }
            back += best;
        }
    }
    for (uint32_t i = 0; i < q->n_rows; i++)
        forth += s->best[i];
    return 0.5 * (forth / q->n_rows + back / rows->n_scored);
}

/* Cosine of the mean embeddings; the means' lengths cancel, so sums do.  0 where a mean is 0. */
static double
score_mean(const struct job *job, const cmir_rows *rows, struct scratch *s)
{
    const uint32_t dim = job->query->dim;
    double dot = 0.0, query_norm = 0.0, norm = 0.0;

    memset(s->sum, 0, dim * sizeof *s->sum);
    for (uint32_t i = 0; i < rows->n_scored; i++)
        for (uint32_t d = 0; d < dim; d++)
            s->sum[d] += cmir_half_to_float(rows->exact[(size_t)i * dim + d]);
    for (uint32_t d = 0; d < dim; d++) {
        dot += job->query_sum[d] * s->sum[d];
        query_norm += job->query_sum[d] * job->query_sum[d];
        norm += s->sum[d] * s->sum[d];
    }
    return query_norm > 0.0 && norm > 0.0 ? dot / (sqrt(query_norm) * sqrt(norm)) : 0.0;
}

static void
score_candidates(void *ctx, uint32_t thread)
{
    struct job *job = ctx;

    for (;;) {
        const size_t index = atomic_fetch_add(&job->next, 1);

        if (index >= job->n_candidates)
            return;
        const cmir_rows *rows = &cmir_snapshot_get(job->snapshot, index)->rows;
        struct scratch *s = &job->scratch[thread];

        job->scores[index] = job->score == CMIR_MEAN        ? score_mean(job, rows, s)
                             : job->score == CMIR_SYMMETRIC ? score_symmetric(job, rows, s)
                                                            : score_maxsim(job, rows, s);
    }
}

static void
free_scratch(struct scratch *scratch, uint32_t n)
{
    if (scratch == NULL)
        return;
    for (uint32_t i = 0; i < n; i++) {
        free(scratch[i].best);
        free(scratch[i].best_row);
        free(scratch[i].dots);
        free(scratch[i].sum);
    }
    free(scratch);
}

static struct scratch *
make_scratch(const cmir_query *q, cmir_score score, uint32_t n)
{
    struct scratch *scratch = cmir_alloc_zeroed(n, sizeof *scratch);
    bool ok = scratch != NULL;

    for (uint32_t i = 0; ok && i < n; i++) {
        struct scratch *s = &scratch[i];

        s->best = cmir_alloc(q->n_rows, sizeof *s->best);
        s->best_row = cmir_alloc(q->n_rows, sizeof *s->best_row);
        ok = s->best != NULL && s->best_row != NULL;
        if (score == CMIR_SYMMETRIC)
            ok = ok && (s->dots = cmir_alloc((size_t)q->n_rows * ROWS_AT_A_TIME,
                                             sizeof *s->dots)) != NULL;
        if (score == CMIR_MEAN)
            ok = ok && (s->sum = cmir_alloc(q->dim, sizeof *s->sum)) != NULL;
    }
    if (ok)
        return scratch;
    free_scratch(scratch, n);
    return NULL;
}

/* maxsim, symmetric and mean: one candidate's score needs no other candidate. */
static cmir_status
rank_each(const cmir_query *q, const cmir_snapshot *snapshot, cmir_score score, uint32_t n_threads,
          const struct cmir_kernels *kernels, double *scores, cmir_error *err)
{
    double query_sum[CMIR_MAX_DIM];
    struct job job = {.query = q,
                      .snapshot = snapshot,
                      .score = score,
                      .kernels = *kernels,
                      .query_sum = query_sum,
                      .scratch = make_scratch(q, score, n_threads),
                      .scores = scores,
                      .n_candidates = cmir_snapshot_count(snapshot)};

    if (job.scratch == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to score %zu volumes", job.n_candidates);
    memset(query_sum, 0, sizeof query_sum);
    for (uint32_t i = 0; score == CMIR_MEAN && i < q->n_rows; i++)
        for (uint32_t d = 0; d < q->dim; d++)
            query_sum[d] += q->rows[(size_t)i * q->dim + d];
    atomic_init(&job.next, 0);
    cmir_parallel(n_threads, score_candidates, &job);
    free_scratch(job.scratch, n_threads);
    return CMIR_OK;
}

/* Whether candidate a is listed before candidate b. */
static bool
comes_before(const cmir_scores *s, size_t a, size_t b)
{
    if (s->score[a] != s->score[b])
        return s->score[a] > s->score[b];
    if (s->first != NULL && s->first[a] != s->first[b])
        return s->first[a] < s->first[b];
    return a < b;
}

/* Restores the heap below `i`; the root is the last of those kept. */
static void
sift_down(const cmir_scores *s, cmir_ranked *heap, size_t n, size_t i)
{
    for (;;) {
        size_t last = i;

        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (comes_before(s, heap[last].candidate, heap[child].candidate))
                last = child;
        if (last == i)
            return;
        const cmir_ranked swap = heap[i];
        heap[i] = heap[last];
        heap[last] = swap;
        i = last;
    }
}

/* Writes the best `limit` candidates in order. */
static size_t
select_best(const cmir_scores *s, size_t n_candidates, size_t limit, cmir_ranked *out)
{
    size_t n = 0;

    for (size_t c = 0; c < n_candidates && limit > 0; c++) {
        if (s->listed != NULL && !s->listed[c])
            continue;
        if (n < limit) {
            out[n++] = (cmir_ranked){c, s->score[c]};
            for (size_t i = n == limit ? n / 2 : 0; i-- > 0;)
                sift_down(s, out, n, i);
        } else if (comes_before(s, c, out[0].candidate)) {
            out[0] = (cmir_ranked){c, s->score[c]};
            sift_down(s, out, n, 0);
        }
    }
    for (size_t i = n / 2; i-- > 0;)
        sift_down(s, out, n, i);
    for (size_t end = n; end > 1; end--) { /* heap sort: the last goes to the end */
        const cmir_ranked swap = out[0];
        out[0] = out[end - 1];
        out[end - 1] = swap;
        sift_down(s, out, end - 1, 0);
    }
    return n;
}

static cmir_status
check_shapes(const cmir_query *q, const cmir_snapshot *snapshot, cmir_error *err)
{
    if (q->n_rows == 0 || q->n_rows > CMIR_MAX_SLICES || q->dim == 0 || q->dim > CMIR_MAX_DIM)
        return FAIL(err, CMIR_EINVAL, "query: %u slices of %u dimensions cannot be searched with",
                    q->n_rows, q->dim);
    for (size_t c = 0; c < cmir_snapshot_count(snapshot); c++) {
        const cmir_candidate *candidate = cmir_snapshot_get(snapshot, c);

        if (candidate->rows.dim != q->dim)
            return FAIL(err, CMIR_EMISMATCH,
                        "volume %s has embeddings of %u dimensions, the query of %u",
                        candidate->volume_id, candidate->rows.dim, q->dim);
        if (candidate->rows.n_scored == 0 || candidate->rows.n_scored > candidate->rows.n_rows)
            return FAIL(err, CMIR_ECORRUPT, "volume %s has %u rows to score of %u",
                        candidate->volume_id, candidate->rows.n_scored, candidate->rows.n_rows);
    }
    return CMIR_OK;
}

cmir_status
cmir_rank(const cmir_query *query, const cmir_snapshot *snapshot, cmir_score score, uint32_t limit,
          uint32_t n_threads, cmir_ranked *out, size_t *n_out, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(snapshot);
    const bool votes = score == CMIR_FREQ || score == CMIR_MAX || score == CMIR_SUM;
    struct cmir_kernels kernels;
    cmir_scores s = {0};
    cmir_status st;

    *n_out = 0;
    if ((unsigned)score > CMIR_MEAN)
        return FAIL(err, CMIR_EINVAL, "score: %d is none", (int)score);
    if ((st = check_shapes(query, snapshot, err)) != CMIR_OK || n == 0)
        return st;
    if (n_threads == 0)
        n_threads = cmir_cpu_count();
    if (n_threads > CMIR_MAX_THREADS)
        n_threads = CMIR_MAX_THREADS;
    if (n_threads > n)
        n_threads = (uint32_t)n;
    cmir_kernels_init(&kernels, 0);
    s.score = cmir_alloc_zeroed(n, sizeof *s.score);
    if (votes) {
        s.first = cmir_alloc_zeroed(n, sizeof *s.first);
        s.listed = cmir_alloc_zeroed(n, sizeof *s.listed);
    }
    if (s.score == NULL || (votes && (s.first == NULL || s.listed == NULL)))
        st = FAIL(err, CMIR_ENOMEM, "no memory for the scores of %zu volumes", n);
    else if (votes)
        st = cmir_rank_votes(query, snapshot, score, n_threads, &kernels, &s, err);
    else
        st = rank_each(query, snapshot, score, n_threads, &kernels, s.score, err);
    if (st == CMIR_OK)
        *n_out = select_best(&s, n, limit, out);
    free(s.score);
    free(s.first);
    free(s.listed);
    return st;
}

cmir_status
cmir_match_rows(const cmir_query *query, const cmir_rows *rows, cmir_match *out, cmir_error *err)
{
    const uint32_t m = query->n_rows;
    struct cmir_kernels kernels;
    cmir_status st = CMIR_OK;

    if (rows->dim != query->dim || rows->n_scored == 0)
        return FAIL(err, CMIR_EMISMATCH, "candidate: %u rows of %u dimensions, query of %u",
                    rows->n_scored, rows->dim, query->dim);
    double *best = cmir_alloc(m, sizeof *best);
    uint32_t *best_row = cmir_alloc(m, sizeof *best_row);
    if (best == NULL || best_row == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory for the matches of %u slices", m);
    } else {
        cmir_kernels_init(&kernels, 0);
        kernels.maxsim_exact(query->rows, m, rows->exact, rows->n_scored, query->dim, best_row,
                             best);
        for (uint32_t i = 0; i < m; i++)
            out[i] = (cmir_match){query->slice[i], rows->slice[best_row[i]], (float)best[i]};
    }
    free(best);
    free(best_row);
    return st;
}
