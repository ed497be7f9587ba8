/* SPDX-License-Identifier: Apache-2.0 */
/* covariance.c: mean and covariance of an archive's slices.  Called by whitening.c.
 *
 * The one idea: rows are integers, and sums of fewer than 2^23 products of two of their elements are
 * exact in float64; so blocks of rows are multiplied by any number of threads, in tiles, in any
 * order, and the covariance is the same bits. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "fit/moments.h"
#include "store/codes.h"

#define MAX_ROWS ((uint64_t)1 << 18) /* that a covariance is made of */

enum {
    SIDE = CMIR_DIM_MULTIPLE, /* of a tile: rows are padded to it */
    STEP = 4,                 /* a tile is done in squares of this side, which fit in registers */
    AT_ONCE = 512             /* rows of a block */
};

struct moments {
    uint32_t n_panels;      /* of SIDE elements, of a row */
    double *block;          /* [n_panels][AT_ONCE][SIDE] rows */
    uint32_t n_rows;        /* in the block */
    int64_t *sum;           /* [n_panels * SIDE] of the rows before */
    double *products;       /* [n_panels][n_panels][SIDE][SIDE]; tiles from the diagonal on */
    atomic_uint_fast32_t next; /* tile */
};

/* tile += a' b over n rows. */
static void
multiply_tile(const double *a, const double *b, uint32_t n, double *tile)
{
    for (uint32_t i = 0; i < SIDE; i += STEP)
        for (uint32_t j = 0; j < SIDE; j += STEP) {
            double sum[STEP][STEP] = {{0}};

            for (uint32_t r = 0; r < n; r++)
                for (uint32_t x = 0; x < STEP; x++)
                    for (uint32_t y = 0; y < STEP; y++)
                        sum[x][y] += a[(size_t)r * SIDE + i + x] * b[(size_t)r * SIDE + j + y];
            for (uint32_t x = 0; x < STEP; x++)
                for (uint32_t y = 0; y < STEP; y++)
                    tile[(i + x) * SIDE + j + y] += sum[x][y];
        }
}

static void
multiply_tiles(void *ctx, uint32_t thread)
{
    struct moments *m = ctx;
    const uint32_t n = m->n_panels;
    const size_t panel = (size_t)AT_ONCE * SIDE;

    (void)thread;
    for (;;) {
        const uint32_t at = (uint32_t)atomic_fetch_add(&m->next, 1), i = at / n, j = at % n;

        if (at >= n * n)
            return;
        if (i <= j)
            multiply_tile(m->block + i * panel, m->block + j * panel, m->n_rows,
                          m->products + (size_t)at * SIDE * SIDE);
    }
}

static void
multiply_block(struct moments *m, uint32_t n_threads)
{
    atomic_store(&m->next, 0);
    cmir_parallel(n_threads, multiply_tiles, m);
    m->n_rows = 0;
}

static void
take_row(struct moments *m, const int16_t *row)
{
    for (uint32_t d = 0; d < m->n_panels * SIDE; d++) {
        m->block[((size_t)d / SIDE * AT_ONCE + m->n_rows) * SIDE + d % SIDE] = row[d];
        m->sum[d] += row[d];
    }
    m->n_rows++;
}

static uint64_t
count_scored(const cmir_snapshot *snapshot)
{
    uint64_t n = 0;

    for (size_t i = 0; i < cmir_snapshot_count(snapshot); i++)
        n += cmir_snapshot_get(snapshot, i)->rows.n_scored;
    return n;
}

/* Takes every step-th row; gives how many. */
static cmir_status
take_rows(struct moments *m, const cmir_snapshot *snapshot, uint64_t step, uint32_t n_threads,
          cmir_progress_fn progress, void *progress_ctx, uint64_t *n_taken, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(snapshot);
    uint64_t seen = 0;

    *n_taken = 0;
    for (size_t i = 0; i < n; i++) {
        const cmir_rows *rows = &cmir_snapshot_get(snapshot, i)->rows;

        for (uint32_t r = 0; r < rows->n_scored; r++)
            if (seen++ % step == 0) {
                take_row(m, rows->exact + (size_t)r * rows->padded_dim);
                ++*n_taken;
                if (m->n_rows == AT_ONCE)
                    multiply_block(m, n_threads);
            }
        if (progress != NULL && progress(progress_ctx, i + 1, n) != 0)
            return FAIL(err, CMIR_ECANCELLED, "stopped after %zu of %zu volumes", i + 1, n);
    }
    multiply_block(m, n_threads);
    return CMIR_OK;
}

/* Sums of fixed point to the mean and the covariance of embeddings. */
static void
finish(const struct moments *m, uint32_t dim, double n, double *mean, double *covariance)
{
    const double unit = CMIR_UNIT;

    for (uint32_t i = 0; i < dim; i++)
        mean[i] = (double)m->sum[i] / n / unit;
    for (uint32_t i = 0; i < dim; i++)
        for (uint32_t j = i; j < dim; j++) {
            const size_t tile = (size_t)(i / SIDE) * m->n_panels + j / SIDE;
            const double product = m->products[(tile * SIDE + i % SIDE) * SIDE + j % SIDE];

            covariance[(size_t)i * dim + j] = covariance[(size_t)j * dim + i] =
                product / n / (unit * unit) - mean[i] * mean[j];
        }
}

cmir_status
cmir_covariance(const cmir_snapshot *snapshot, uint32_t dim, uint32_t n_threads,
                cmir_progress_fn progress, void *progress_ctx, double *mean, double *covariance,
                uint64_t *n_rows, cmir_error *err)
{
    const uint64_t n_scored = count_scored(snapshot);
    const uint32_t n_panels = (dim + SIDE - 1) / SIDE, width = n_panels * SIDE;
    struct moments m = {.n_panels = n_panels,
                        .block = cmir_alloc_aligned((size_t)width * AT_ONCE, sizeof(double)),
                        .sum = cmir_alloc_zeroed(width, sizeof(int64_t)),
                        .products = cmir_alloc_zeroed((size_t)width * width, sizeof(double))};
    cmir_status st;

    if (m.block == NULL || m.sum == NULL || m.products == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory for a covariance of %u dimensions", (unsigned)dim);
    else
        st = take_rows(&m, snapshot, (n_scored + MAX_ROWS - 1) / MAX_ROWS, n_threads, progress,
                       progress_ctx, n_rows, err);
    if (st == CMIR_OK)
        finish(&m, dim, (double)*n_rows, mean, covariance);
    free(m.block);
    free(m.sum);
    free(m.products);
    return st;
}
