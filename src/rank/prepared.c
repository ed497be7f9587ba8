/* SPDX-License-Identifier: Apache-2.0 */
/* prepared.c: a query packed for the kernels, with what its bounds need.  Called by rank, votes and
 * match.
 *
 * The query's codes are of its rows less the archive's center c; a candidate's are of its rows less
 * their own mean u.  With e = q - c and d = v - u:
 *
 *     <q, v> = <q, u> + <c, d> + <e, d>
 *
 * The first part is the same for all rows of a candidate, the second lies in the record (base), and
 * only the third is left to the codes: both e and d are much shorter than rows, so codes lose
 * little. */
#include "rank/prepared.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/codes.h"

#define KEPT_NBYTES                                                                                \
    ((size_t)1 << 20) /* of products kept at once: stays in the second-level cache */

/* Hands out parts of one block: first all sizes, then all pointers. */
struct carve {
    uint8_t *block; /* NULL while sizes are added up */
    size_t used;
};

static void *
part(struct carve *c, size_t n, size_t size)
{
    void *at = c->block == NULL ? NULL : c->block + c->used;

    c->used += (n * size + 63) / 64 * 64;
    return at;
}

static uint32_t
groups_for(uint32_t n_rows)
{
    return (n_rows + CMIR_LANES - 1) / CMIR_LANES;
}

/* Group numbers in an order that halves what is unvisited: 0, the middle, the quarters, ... */
static void
spread(uint32_t n, uint32_t *order)
{
    uint32_t at = 0, bits = 0;

    while ((1u << bits) < n)
        bits++;
    for (uint32_t i = 0; i < 1u << bits; i++) {
        uint32_t reversed = 0;

        for (uint32_t b = 0; b < bits; b++)
            reversed |= (i >> b & 1u) << (bits - 1 - b);
        if (reversed < n)
            order[at++] = reversed;
    }
}

/* Codes and packs the query rows of one group.  `norm` and `residual` may be NULL. */
static void
pack_group(const cmir_kernels *kernels, const cmir_query *query, const int16_t *center,
           const uint32_t *rows, uint32_t n, int8_t *codes, uint8_t *group, float *scale,
           float *norm, float *residual)
{
    const uint32_t width = query->padded_dim;

    for (uint32_t i = 0; i < CMIR_LANES; i++) {
        cmir_coded c = {0};

        if (i < n)
            c = cmir_row_code(query->rows + (size_t)rows[i] * width, center, width,
                              codes + (size_t)i * width);
        scale[i] = c.scale;
        if (norm != NULL) {
            norm[i] = c.norm;
            residual[i] = c.residual;
        }
    }
    kernels->pack(codes, n, width, group);
}

static void
write_mean(const int64_t *sum, uint32_t n, uint32_t width, int16_t *out)
{
    for (uint32_t d = 0; d < width; d++) {
        const double mean = (double)sum[d] / n, high = rint(mean);

        out[d] = (int16_t)high;
        out[width + d] = (int16_t)rint((mean - high) * CMIR_MEAN_LOW);
    }
}

static void
add_row(const cmir_query *q, uint32_t row, int64_t *sum)
{
    for (uint32_t d = 0; d < q->padded_dim; d++)
        sum[d] += q->rows[(size_t)row * q->padded_dim + d];
}

/* Every row, in groups; stages end where the number of groups has doubled. */
static void
pack_whole(cmir_prepared *p, const int16_t *center, const uint32_t *order, int8_t *codes,
           int64_t *sum)
{
    const uint32_t m = p->query->n_rows, width = p->query->padded_dim;
    cmir_stage stage = {0};

    for (uint32_t g = 0; g < p->whole.n_groups; g++) {
        const uint32_t first = order[g] * CMIR_LANES, lane = g * CMIR_LANES;
        const uint32_t n = m - first < CMIR_LANES ? m - first : CMIR_LANES;

        for (uint32_t i = 0; i < CMIR_LANES; i++)
            p->lane_row[lane + i] = i < n ? first + i : CMIR_NO_ROW;
        pack_group(&p->kernels, p->query, center, p->lane_row + lane, n, codes,
                   (uint8_t *)(uintptr_t)p->whole.groups + g * p->group_nbytes,
                   (float *)(uintptr_t)p->whole.scale + lane,
                   (float *)(uintptr_t)p->whole.norm + lane,
                   (float *)(uintptr_t)p->whole.residual + lane);
        for (uint32_t i = 0; i < n; i++) {
            stage.norm_sum += (double)p->whole.norm[lane + i];
            stage.residual_sum += (double)p->whole.residual[lane + i];
            add_row(p->query, first + i, sum);
        }
        stage.n_rows += n;
        stage.n_groups = g + 1;
        if ((stage.n_groups >= 2 && (stage.n_groups & g) == 0) ||
            stage.n_groups == p->whole.n_groups) {
            write_mean(sum, stage.n_rows, width, p->means + (size_t)2 * p->n_stages * width);
            p->stages[p->n_stages++] = stage;
        }
    }
}

static void
place(cmir_prepared *p, struct carve *c)
{
    const size_t lanes = (size_t)p->whole.n_groups * CMIR_LANES;

    p->whole.groups = part(c, p->whole.n_groups, p->group_nbytes);
    p->whole.scale = part(c, lanes, sizeof(float));
    p->lane_row = part(c, lanes, sizeof *p->lane_row);
    p->whole.norm = part(c, lanes, sizeof(float));
    p->whole.residual = part(c, lanes, sizeof(float));
    p->means = part(c, (size_t)2 * CMIR_MAX_STAGES * p->query->padded_dim, sizeof *p->means);
}

cmir_status
cmir_query_check(const cmir_query *query, cmir_error *err)
{
    const uint32_t m = query->n_rows, width = query->padded_dim;

    if (m == 0 || m > CMIR_MAX_SLICES || width == 0 || width > CMIR_MAX_DIM ||
        width % CMIR_DIM_MULTIPLE != 0)
        return FAIL(err, CMIR_EINVAL, "query: %u slices of %u dimensions cannot be searched with",
                    m, width);
    return CMIR_OK;
}

cmir_status
cmir_prepare(const cmir_query *query, const int16_t *center, unsigned cpu_flags, cmir_prepared *out,
             cmir_error *err)
{
    const uint32_t m = query->n_rows, width = query->padded_dim;
    struct carve c = {0};

    memset(out, 0, sizeof *out);
    const cmir_status st = cmir_query_check(query, err);
    if (st != CMIR_OK)
        return st;
    out->query = query;
    cmir_kernels_init(&out->kernels, cpu_flags);
    out->group_nbytes = out->kernels.group_nbytes(width);
    out->whole.n_groups = groups_for(m);
    place(out, &c);
    out->memory = cmir_alloc_aligned(c.used, 1);
    int8_t *codes = cmir_alloc_aligned(CMIR_LANES, width);
    int64_t *sum = cmir_alloc_zeroed(width, sizeof *sum);
    uint32_t *order = cmir_alloc(out->whole.n_groups, sizeof *order);
    if (out->memory != NULL && codes != NULL && sum != NULL && order != NULL) {
        c = (struct carve){.block = out->memory};
        place(out, &c);
        spread(out->whole.n_groups, order);
        pack_whole(out, center, order, codes, sum);
    }
    const bool ok = out->memory != NULL && codes != NULL && sum != NULL && order != NULL;
    free(codes);
    free(sum);
    free(order);
    if (ok)
        return CMIR_OK;
    cmir_prepared_free(out);
    return FAIL(err, CMIR_ENOMEM, "no memory for a query of %u slices", m);
}

void
cmir_prepared_free(cmir_prepared *prepared)
{
    free(prepared->memory);
    prepared->memory = NULL;
}

/* With room for codes, which are not kept. */
static void
fill_sample(const cmir_query *query, const int16_t *center, size_t group_nbytes, int8_t *codes,
            cmir_sample *s)
{
    uint32_t rows[CMIR_SAMPLE_ROWS];

    for (uint32_t i = 0; i < s->n_rows; i++)
        rows[i] = (uint32_t)((2 * (uint64_t)i + 1) * query->n_rows / (2 * (uint64_t)s->n_rows));
    for (uint32_t g = 0; g < s->packed.n_groups; g++) {
        const uint32_t first = g * CMIR_LANES, left = s->n_rows - first;

        pack_group(&s->kernels, query, center, rows + first, left < CMIR_LANES ? left : CMIR_LANES,
                   codes, (uint8_t *)(uintptr_t)s->packed.groups + g * group_nbytes,
                   (float *)(uintptr_t)s->packed.scale + first, NULL, NULL);
    }
}

cmir_status
cmir_sample_make(const cmir_query *query, const int16_t *center, unsigned cpu_flags,
                 cmir_sample *out, cmir_error *err)
{
    const uint32_t m = query->n_rows, width = query->padded_dim;
    int8_t *codes = NULL;

    memset(out, 0, sizeof *out);
    const cmir_status st = cmir_query_check(query, err);
    if (st != CMIR_OK)
        return st;
    cmir_kernels_init(&out->kernels, cpu_flags);
    out->n_rows = m < CMIR_SAMPLE_ROWS ? m : CMIR_SAMPLE_ROWS;
    out->packed.n_groups = groups_for(out->n_rows);
    const size_t group_nbytes = out->kernels.group_nbytes(width);
    for (int pass = 0; pass < 2; pass++) {
        struct carve c = {.block = out->memory};

        out->packed.groups = part(&c, out->packed.n_groups, group_nbytes);
        out->packed.scale = part(&c, CMIR_SAMPLE_ROWS, sizeof(float));
        codes = part(&c, CMIR_LANES, width);
        if (pass == 0 && (out->memory = cmir_alloc_aligned(c.used, 1)) == NULL)
            return FAIL(err, CMIR_ENOMEM, "no memory for a query of %u slices", m);
    }
    fill_sample(query, center, group_nbytes, codes, out);
    return CMIR_OK;
}

void
cmir_sample_free(cmir_sample *sample)
{
    free(sample->memory);
    sample->memory = NULL;
}

double
cmir_mean_product(const cmir_kernels *kernels, const int16_t *mean, const cmir_rows *rows)
{
    static const uint32_t q[2] = {0, 1}, r[2] = {0, 0};
    int32_t dots[2];

    kernels->dots_exact(mean, rows->mean, rows->padded_dim, q, r, 2, dots);
    return ((double)dots[0] + (double)dots[1] / CMIR_MEAN_LOW) / ((double)CMIR_UNIT * CMIR_UNIT);
}

cmir_status
cmir_scratch_make(const cmir_prepared *p, uint32_t n_rows_max, cmir_scratch *out, cmir_error *err)
{
    const size_t m = p->query->n_rows, lanes = (size_t)p->whole.n_groups * CMIR_LANES;
    const size_t n_tiles = (n_rows_max + CMIR_TILE - 1) / CMIR_TILE;
    const size_t tile_nbytes = sizeof(int32_t) * CMIR_TILE * CMIR_LANES;
    const size_t fit = KEPT_NBYTES / (n_tiles * tile_nbytes);
    const size_t at_once = fit < 1 ? 1 : fit < p->whole.n_groups ? fit : p->whole.n_groups;
    const size_t pairs = CMIR_LANES * (size_t)n_rows_max > m ? CMIR_LANES * (size_t)n_rows_max : m;

    memset(out, 0, sizeof *out);
    for (int pass = 0; pass < 2; pass++) {
        struct carve c = {.block = out->memory};

        out->best = part(&c, lanes, sizeof *out->best);
        out->best_row = part(&c, lanes, sizeof *out->best_row);
        out->kept.tile_best = part(&c, n_tiles * at_once * CMIR_LANES, sizeof(float));
        out->kept.dots = part(&c, n_tiles * at_once, tile_nbytes);
        out->selected = part(&c, CMIR_LANES * (size_t)n_rows_max, sizeof *out->selected);
        out->q = part(&c, pairs, sizeof *out->q);
        out->r = part(&c, pairs, sizeof *out->r);
        out->dots = part(&c, pairs, sizeof *out->dots);
        out->every = part(&c, m, sizeof *out->every);
        out->none = part(&c, m, sizeof *out->none);
        out->of_mean = part(&c, m + CMIR_LANES, sizeof *out->of_mean);
        out->winner = part(&c, m + CMIR_LANES, sizeof *out->winner);
        out->winner_row = part(&c, m, sizeof *out->winner_row);
        if (pass == 0 && (out->memory = cmir_alloc_aligned(c.used, 1)) == NULL)
            return FAIL(err, CMIR_ENOMEM, "no memory to compare %zu slices with %u", m, n_rows_max);
    }
    for (size_t i = 0; i < m; i++) {
        out->every[i] = (uint32_t)i;
        out->none[i] = 0;
    }
    memset(out->of_mean + m, 0, CMIR_LANES * sizeof *out->of_mean); /* read, and not minded */
    memset(out->winner + m, 0, CMIR_LANES * sizeof *out->winner);
    out->groups_at_once = (uint32_t)at_once;
    return CMIR_OK;
}

void
cmir_scratch_free(cmir_scratch *scratch)
{
    free(scratch->memory);
    scratch->memory = NULL;
}

cmir_codes
cmir_codes_of(const cmir_rows *rows)
{
    return (cmir_codes){rows->codes,        rows->scale,     rows->base,     rows->code_sum,
                        rows->row_residual, rows->row_reach, rows->n_scored, rows->padded_dim};
}
