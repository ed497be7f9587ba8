/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.c: the C reference of every kernel, and the table.  Called by rank.
 *
 * The one idea: eight candidate rows are converted from half to double once, transposed so that
 * they lie side by side, and then meet up to 32 query rows.  Each query element is multiplied with
 * eight neighbours in memory, which compilers turn into vector code without reordering any sum.
 *
 * Halves are multiples of 2^-24, so products of two are multiples of 2^-48: where both sides are
 * halves and no partial sum reaches 32, as with unit-norm rows, a sum in double is exact and its
 * order does not matter. */
#include "kernel/kernel.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

enum {
    BLOCK = 8,   /* candidate rows side by side */
    CHUNK = 32,  /* query rows that share one conversion */
    TILE = 512   /* dims converted at a time: 32 KiB of doubles */
};

/* The dot products of `m` <= CHUNK query rows with `n` <= BLOCK candidate rows.  Columns of `dots`
 * past n are zero. */
static void
dot_block(const float *query, uint32_t m, const uint16_t *rows, uint32_t n, uint32_t dim,
          double dots[CHUNK][BLOCK])
{
    double tile[TILE][BLOCK];

    memset(dots, 0, m * sizeof dots[0]);
    if (n < BLOCK)
        memset(tile, 0, sizeof tile);
    for (uint32_t start = 0; start < dim; start += TILE) {
        const uint32_t width = dim - start < TILE ? dim - start : TILE;

        for (uint32_t j = 0; j < n; j++) {
            const uint16_t *row = rows + (size_t)j * dim + start;

            for (uint32_t d = 0; d < width; d++)
                tile[d][j] = cmir_half_to_float(row[d]);
        }
        for (uint32_t i = 0; i < m; i++) {
            const float *row = query + (size_t)i * dim + start;
            double sum[BLOCK];

            memcpy(sum, dots[i], sizeof sum);
            for (uint32_t d = 0; d < width; d++) {
                const double q = row[d];

                for (uint32_t j = 0; j < BLOCK; j++)
                    sum[j] += q * tile[d][j];
            }
            memcpy(dots[i], sum, sizeof sum);
        }
    }
}

static void
maxsim_exact_c(const float *query, uint32_t m, const uint16_t *rows, uint32_t n, uint32_t dim,
               uint32_t *best_row, double *best)
{
    double dots[CHUNK][BLOCK];

    for (uint32_t i = 0; i < m; i++) {
        best[i] = -INFINITY;
        best_row[i] = 0;
    }
    for (uint32_t i0 = 0; i0 < m; i0 += CHUNK) {
        const uint32_t mi = m - i0 < CHUNK ? m - i0 : CHUNK;

        for (uint32_t j0 = 0; j0 < n; j0 += BLOCK) {
            const uint32_t nj = n - j0 < BLOCK ? n - j0 : BLOCK;

            dot_block(query + (size_t)i0 * dim, mi, rows + (size_t)j0 * dim, nj, dim, dots);
            for (uint32_t i = 0; i < mi; i++)
                for (uint32_t j = 0; j < nj; j++)
                    if (dots[i][j] > best[i0 + i]) {
                        best[i0 + i] = dots[i][j];
                        best_row[i0 + i] = j0 + j;
                    }
        }
    }
}

static void
dots_exact_c(const float *query, uint32_t m, const uint16_t *rows, uint32_t n, uint32_t dim,
             double *out)
{
    double dots[CHUNK][BLOCK];

    for (uint32_t i0 = 0; i0 < m; i0 += CHUNK) {
        const uint32_t mi = m - i0 < CHUNK ? m - i0 : CHUNK;

        for (uint32_t j0 = 0; j0 < n; j0 += BLOCK) {
            const uint32_t nj = n - j0 < BLOCK ? n - j0 : BLOCK;

            dot_block(query + (size_t)i0 * dim, mi, rows + (size_t)j0 * dim, nj, dim, dots);
            for (uint32_t i = 0; i < mi; i++)
                memcpy(out + (size_t)(i0 + i) * n + j0, dots[i], nj * sizeof dots[0][0]);
        }
    }
}

void
cmir_kernels_init(struct cmir_kernels *k, unsigned flags)
{
    (void)flags; /* no instruction set has its own file yet */
    k->maxsim_exact = maxsim_exact_c;
    k->dots_exact = dots_exact_c;
}
