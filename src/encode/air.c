/* SPDX-License-Identifier: Apache-2.0 */
/* air.c: which slices hold only air; encode.c asks for every slice.
 *
 * A table, cushions and noise are thin or faint, a body is not: a slice is cut into blocks of 10 mm,
 * and it is air if fewer than 0.5 % of them are dense on average (docs/decisions/air-slices.md). */
#include "encode/air.h"

#include <math.h>

#define BLOCK_MM 10.0
#define LOW_HU (-1024.0f) /* pixels are clipped to this range first */
#define HIGH_HU 1500.0f
#define DENSE_HU (-200.0f)
#define DENSE_UNIT 0.1f /* where there is no HU: of the robust range */
#define LEAST_DENSE_PERMILLE 5

/* Whole blocks only: what remains at the far edges is left out. */
static uint32_t
count_blocks(uint32_t n_pixels, double mm, double *covered)
{
    const double n = floor(BLOCK_MM / mm + 0.5);
    const uint32_t size = n >= n_pixels ? n_pixels : n >= 1.0 ? (uint32_t)n : 1;

    *covered = (double)(n_pixels / size) * size;
    return n_pixels / size;
}

cmir_status
cmir_air_init(cmir_resizer *blocks, const cmir_stack *stack, cmir_error *err)
{
    cmir_part box = {0};
    const uint32_t rows = count_blocks(stack->rows, stack->row_spacing_mm, &box.bottom);
    const uint32_t cols = count_blocks(stack->cols, stack->col_spacing_mm, &box.right);

    return cmir_resizer_init(blocks, CMIR_AREA, stack->rows, stack->cols, &box, rows, cols, err);
}

size_t
cmir_air_scratch(const cmir_resizer *blocks)
{
    return blocks->cols + (size_t)blocks->out_rows * blocks->out_cols;
}

bool
cmir_air_is(const cmir_resizer *blocks, const cmir_picture *picture, float *scratch)
{
    const float range = HIGH_HU - LOW_HU;
    const float limit = picture->has_hu ? (DENSE_HU - LOW_HU) / range : DENSE_UNIT;
    const uint64_t n = (uint64_t)blocks->out_rows * blocks->out_cols;
    float *means = scratch + blocks->cols;
    uint64_t n_dense = 0;

    if (picture->has_hu)
        cmir_resize(blocks, picture->pixels, LOW_HU, 1.0f / range, scratch, means);
    else
        cmir_resize(blocks, picture->pixels, 0.0f, 1.0f, scratch, means);
    for (uint64_t i = 0; i < n; i++)
        n_dense += means[i] > limit;
    return n_dense * 1000 < n * LEAST_DENSE_PERMILLE;
}
