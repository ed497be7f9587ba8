/* SPDX-License-Identifier: Apache-2.0 */
/* pooled.c: the volume-based scores of 3D-MIR (arXiv 2311.13752): one vector for a volume, pooled
 * element by element from its rows, and the cosine of two.  Called by rank.c.
 *
 * The one idea: columns side by side, row after row, which compilers make vector code of; the
 * median too, which is found bit by bit by counting how many elements lie below. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "rank/scores.h"
#include "store/codes.h"

/* Columns of a median at once: their rows stay in the first-level cache.  Divides every
 * padded_dim. */
enum { COLUMNS = CMIR_DIM_MULTIPLE };

struct pooled_job {
    const cmir_snapshot *snapshot;
    cmir_score score;
    const double *query; /* [padded_dim] */
    double query_norm; /* squared */
    double *pooled; /* [n_threads][padded_dim] */
    uint32_t width;
};

/* The sum: its direction is the mean's. */
static void
pool_mean(const int16_t *rows, uint32_t n, uint32_t width, double *out)
{
    memset(out, 0, width * sizeof *out);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t d = 0; d < width; d++)
            out[d] += rows[(size_t)i * width + d];
}

static void
pool_max(const int16_t *rows, uint32_t n, uint32_t width, double *out)
{
    int16_t most[CMIR_MAX_DIM];

    memcpy(most, rows, width * sizeof *rows);
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t d = 0; d < width; d++) {
            const int16_t x = rows[(size_t)i * width + d];

            most[d] = x > most[d] ? x : most[d];
        }
    for (uint32_t d = 0; d < width; d++)
        out[d] = most[d];
}

/* n times the standard deviation: n^2 var = n sum x^2 - (sum x)^2, an integer below 2^60. */
static void
pool_std(const int16_t *rows, uint32_t n, uint32_t width, double *out)
{
    int32_t sum[CMIR_MAX_DIM] = {0};
    int64_t squares[CMIR_MAX_DIM] = {0};

    for (uint32_t i = 0; i < n; i++)
        for (uint32_t d = 0; d < width; d++) {
            const int32_t x = rows[(size_t)i * width + d];

            sum[d] += x;
            squares[d] += x * x;
        }
    for (uint32_t d = 0; d < width; d++)
        out[d] = sqrt((double)(n * squares[d] - (int64_t)sum[d] * sum[d]));
}

/* The k-th smallest element of each column, from 0.  It is the largest t that at most k elements
 * are below; the bits of t are found from the highest on, as of numbers from -32768. */
static void
select_kth(const int16_t *rows, uint32_t n, uint32_t width, uint32_t k, int16_t out[COLUMNS])
{
    uint16_t found[COLUMNS] = {0};

    for (uint16_t bit = 0x8000; bit > 0; bit >>= 1) {
        int16_t below[COLUMNS];
        uint16_t count[COLUMNS] = {0};

        for (uint32_t d = 0; d < COLUMNS; d++)
            below[d] = (int16_t)((found[d] | bit) - 0x8000);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t d = 0; d < COLUMNS; d++)
                count[d] = (uint16_t)(count[d] + (rows[(size_t)i * width + d] < below[d]));
        for (uint32_t d = 0; d < COLUMNS; d++)
            found[d] = count[d] <= k ? found[d] | bit : found[d];
    }
    for (uint32_t d = 0; d < COLUMNS; d++)
        out[d] = (int16_t)(found[d] - 0x8000);
}

/* The (k + 1)-th smallest, from the k-th. */
static void
select_next(const int16_t *rows, uint32_t n, uint32_t width, uint32_t k, const int16_t kth[COLUMNS],
            int16_t out[COLUMNS])
{
    uint16_t count[COLUMNS] = {0};
    int16_t above[COLUMNS];

    for (uint32_t d = 0; d < COLUMNS; d++)
        above[d] = INT16_MAX;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t d = 0; d < COLUMNS; d++) {
            const int16_t x = rows[(size_t)i * width + d];

            count[d] = (uint16_t)(count[d] + (x <= kth[d]));
            above[d] = x > kth[d] && x < above[d] ? x : above[d];
        }
    for (uint32_t d = 0; d < COLUMNS; d++)
        out[d] = count[d] > k + 1 ? kth[d] : above[d];
}

/* Twice the median: of an even number of rows the mean of the two in the middle. */
static void
pool_median(const int16_t *rows, uint32_t n, uint32_t width, double *out)
{
    for (uint32_t at = 0; at < width; at += COLUMNS) {
        int16_t low[COLUMNS], high[COLUMNS];

        select_kth(rows + at, n, width, (n - 1) / 2, low);
        if (n % 2 == 0)
            select_next(rows + at, n, width, (n - 1) / 2, low, high);
        for (uint32_t d = 0; d < COLUMNS; d++)
            out[at + d] = low[d] + (n % 2 == 0 ? high[d] : low[d]);
    }
}

static void
pool(cmir_score score, const int16_t *rows, uint32_t n, uint32_t width, double *out)
{
    if (score == CMIR_MEAN)
        pool_mean(rows, n, width, out);
    else if (score == CMIR_MEDIAN)
        pool_median(rows, n, width, out);
    else if (score == CMIR_MAX_POOL)
        pool_max(rows, n, width, out);
    else
        pool_std(rows, n, width, out);
}

/* The vectors' lengths cancel, so multiples of them do.  0 where one is 0. */
static double
score_pooled(void *ctx, uint32_t thread, size_t candidate)
{
    const struct pooled_job *job = ctx;
    const cmir_rows *rows = &cmir_snapshot_get(job->snapshot, candidate)->rows;
    double *pooled = job->pooled + (size_t)thread * job->width, dot = 0.0, norm = 0.0;

    pool(job->score, rows->exact, rows->n_scored, job->width, pooled);
    for (uint32_t d = 0; d < job->width; d++) {
        dot += job->query[d] * pooled[d];
        norm += pooled[d] * pooled[d];
    }
    return job->query_norm > 0.0 && norm > 0.0 ? dot / (sqrt(job->query_norm) * sqrt(norm)) : 0.0;
}

cmir_status
cmir_rank_pooled(const cmir_prepared *p, const cmir_snapshot *snapshot, cmir_score score,
                 uint32_t n_threads, cmir_scores *scores, cmir_error *err)
{
    const cmir_query *q = p->query;
    double query[CMIR_MAX_DIM];
    const size_t n = cmir_snapshot_count(snapshot);
    struct pooled_job job = {.snapshot = snapshot,
                             .score = score,
                             .query = query,
                             .pooled = cmir_alloc((size_t)n_threads * q->padded_dim, sizeof *query),
                             .width = q->padded_dim};

    if (job.pooled == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to score %zu volumes", n);
    pool(score, q->rows, q->n_rows, q->padded_dim, query);
    for (uint32_t d = 0; d < q->padded_dim; d++)
        job.query_norm += query[d] * query[d];
    cmir_score_each(score_pooled, &job, n, n_threads, scores->score);
    free(job.pooled);
    return CMIR_OK;
}
