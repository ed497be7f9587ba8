/* SPDX-License-Identifier: Apache-2.0 */
/* planes.c: the planes of a record from embeddings.  Called by segment.c.
 *
 * The one idea: the rows in fixed point are the truth; everything else follows from them, so that
 * verification can derive it again and compare. */
#include "store/planes.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "store/codes.h"
#include "store/segment.h"

static uint64_t
round_up(uint64_t n, uint64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Sizes stay below 2^29: both numbers have limits. */
bool
cmir_layout_of(uint32_t n_rows, uint32_t dim, cmir_layout *out)
{
    if (n_rows < 1 || n_rows > CMIR_MAX_SLICES || dim < 1 || dim > CMIR_MAX_DIM)
        return false;
    const uint64_t column = round_up((uint64_t)n_rows * 4, CMIR_RECORD_ALIGN);

    out->n_rows = n_rows;
    out->padded_rows = (uint32_t)round_up(n_rows, 16);
    out->padded_dim = (uint32_t)round_up(dim, CMIR_DIM_MULTIPLE);
    out->rep_scale = CMIR_RECORD_HEADER_NBYTES;
    out->rep_base = out->rep_scale + CMIR_MAX_REPS * 4;
    out->rep_sum = out->rep_base + CMIR_MAX_REPS * 4;
    out->rep_codes = out->rep_scale + round_up(3 * CMIR_MAX_REPS * 4, CMIR_RECORD_ALIGN);
    out->mean = out->rep_codes + (uint64_t)CMIR_MAX_REPS * out->padded_dim;
    out->slice = out->mean + (uint64_t)out->padded_dim * 2;
    out->scale = out->slice + column;
    out->base = out->scale + column;
    out->code_sum = out->base + column;
    out->residual = out->code_sum + column;
    out->reach = out->residual + column;
    out->codes = out->reach + column;
    out->exact = out->codes + (uint64_t)out->padded_rows * out->padded_dim;
    out->nbytes = out->exact + (uint64_t)n_rows * out->padded_dim * 2;
    return true;
}

void
cmir_planes_at(const uint8_t *data, const cmir_layout *lay, cmir_rows *out)
{
    out->padded_dim = lay->padded_dim;
    out->mean = (const int16_t *)(const void *)(data + lay->mean);
    out->rep_scale = (const float *)(const void *)(data + lay->rep_scale);
    out->rep_base = (const float *)(const void *)(data + lay->rep_base);
    out->rep_sum = (const int32_t *)(const void *)(data + lay->rep_sum);
    out->rep_codes = (const int8_t *)(data + lay->rep_codes);
    out->slice = (const uint32_t *)(const void *)(data + lay->slice);
    out->scale = (const float *)(const void *)(data + lay->scale);
    out->base = (const float *)(const void *)(data + lay->base);
    out->code_sum = (const int32_t *)(const void *)(data + lay->code_sum);
    out->row_residual = (const float *)(const void *)(data + lay->residual);
    out->row_reach = (const float *)(const void *)(data + lay->reach);
    out->codes = (const int8_t *)(data + lay->codes);
    out->exact = (const int16_t *)(const void *)(data + lay->exact);
}

uint32_t
cmir_order_rows(const uint8_t *marks, uint32_t n, uint32_t *slice)
{
    uint32_t at = 0, n_scored;

    for (uint32_t i = 0; i < n; i++)
        if ((marks[i] & CMIR_SLICE_AIR) == 0)
            slice[at++] = i;
    n_scored = at;
    for (uint32_t i = 0; i < n; i++)
        if ((marks[i] & CMIR_SLICE_AIR) != 0)
            slice[at++] = i;
    return n_scored;
}

cmir_status
cmir_planes_exact(const cmir_embeddings *embeddings, const cmir_layout *lay, uint8_t *record,
                  uint32_t *n_scored, cmir_error *err)
{
    const uint32_t dim = embeddings->dim;
    uint32_t *slice = (uint32_t *)(void *)(record + lay->slice);
    int16_t *exact = (int16_t *)(void *)(record + lay->exact);

    *n_scored = cmir_order_rows(embeddings->marks, lay->n_rows, slice);
    if (*n_scored == 0)
        return FAIL(err, CMIR_EINVAL, "all slices of the embeddings are marked as air");
    for (uint32_t r = 0; r < lay->n_rows; r++) {
        const float *row = embeddings->rows + (size_t)slice[r] * dim;
        const double norm = cmir_row_norm(row, dim);

        if (!cmir_norm_is_unit(norm))
            return FAIL(err, CMIR_EINVAL,
                        "embedding of slice %u has the length %g; an embedding has unit length",
                        (unsigned)slice[r], norm);
        cmir_row_fix(row, dim, norm, lay->padded_dim, exact + (size_t)r * lay->padded_dim);
    }
    return CMIR_OK;
}

/* <center, row - from>. */
static float
base_of(const int16_t *center, const int16_t *row, const int16_t *from, uint32_t width)
{
    const int64_t of_row = cmir_row_dot(center, row, width);
    const int64_t of_from = cmir_row_dot(center, from, width);

    return (float)((double)(of_row - of_from) / ((double)CMIR_UNIT * CMIR_UNIT));
}

/* Codes, scale and sum of every row, and its part of the products with the center that the codes
 * leave out. */
static void
derive_rows(const int16_t *center, const cmir_layout *lay, uint32_t n_scored, uint8_t *record,
            cmir_extent *extent)
{
    const int16_t *mean = (const int16_t *)(const void *)(record + lay->mean);
    const int16_t *exact = (const int16_t *)(const void *)(record + lay->exact);
    float *scale = (float *)(void *)(record + lay->scale);
    float *base = (float *)(void *)(record + lay->base);
    int32_t *code_sum = (int32_t *)(void *)(record + lay->code_sum);
    float *residual = (float *)(void *)(record + lay->residual);
    float *reach = (float *)(void *)(record + lay->reach);
    int8_t *codes = (int8_t *)(record + lay->codes);
    const uint32_t width = lay->padded_dim;

    for (uint32_t r = 0; r < lay->n_rows; r++) {
        const int16_t *row = exact + (size_t)r * width;
        const cmir_coded c = cmir_row_code(row, mean, width, codes + (size_t)r * width);

        scale[r] = c.scale;
        code_sum[r] = c.sum;
        residual[r] = c.residual;
        reach[r] = (c.norm + c.residual) * 1.000001f;
        base[r] = base_of(center, row, mean, width);
        if (r >= n_scored)
            continue;
        extent->radius = c.norm > extent->radius ? c.norm : extent->radius;
        extent->residual = c.residual > extent->residual ? c.residual : extent->residual;
        extent->base_max = r == 0 || base[r] > extent->base_max ? base[r] : extent->base_max;
    }
}

/* Row k stands for rows [k n / n_reps, (k + 1) n / n_reps): their mean, made as long as a row.  Less
 * the center, so that a first look needs nothing but representatives. */
static void
derive_representatives(const int16_t *center, const cmir_layout *lay, uint32_t n_scored,
                       uint32_t n_reps, uint8_t *record)
{
    const int16_t *exact = (const int16_t *)(const void *)(record + lay->exact);
    float *scale = (float *)(void *)(record + lay->rep_scale);
    float *base = (float *)(void *)(record + lay->rep_base);
    int32_t *sum = (int32_t *)(void *)(record + lay->rep_sum);
    const uint32_t width = lay->padded_dim;
    int16_t row[CMIR_MAX_DIM];

    for (uint32_t k = 0; k < n_reps; k++) {
        const uint64_t first = (uint64_t)k * n_scored / n_reps;
        const uint64_t end = ((uint64_t)k + 1) * n_scored / n_reps;

        cmir_rows_direction(exact + first * width, (uint32_t)(end - first), width, row);
        const cmir_coded c = cmir_row_code(row, center, width,
                                           (int8_t *)(record + lay->rep_codes) + (size_t)k * width);
        scale[k] = c.scale;
        sum[k] = c.sum;
        base[k] = base_of(center, row, center, width);
    }
}

cmir_extent
cmir_planes_derive(const int16_t *center, const cmir_layout *lay, uint32_t n_scored,
                   uint8_t *record)
{
    cmir_extent extent = {.n_reps = n_scored < CMIR_MAX_REPS ? n_scored : CMIR_MAX_REPS};

    cmir_rows_mean((const int16_t *)(const void *)(record + lay->exact), n_scored, lay->padded_dim,
                   (int16_t *)(void *)(record + lay->mean));
    derive_rows(center, lay, n_scored, record, &extent);
    derive_representatives(center, lay, n_scored, extent.n_reps, record);
    return extent;
}
