/* SPDX-License-Identifier: Apache-2.0 */
/* match.c: the exact match of every query row in one candidate.  Called by rank.c and the engine.
 *
 * The screening of kernel.h finds for each query row the row with the largest f.  By prepared.h
 *
 *     |f_ij - (<q_i, v_j> - <q_i, u>)| <= |e_i| r_j + |g_i| (|d_j| + r_j) + SLACK   (Cauchy-Schwarz)
 *
 * where g_i is what the codes of e_i leave out, and r_j the norm of what those of d_j do.  So once the
 * product with the row that f prefers is known exactly, only rows whose f reaches it less this bound
 * can be better, and those few are computed exactly as well.  Every product is an integer: no
 * rounding, no order of summation, the same winner and the same score everywhere. */
#include "rank/match.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/codes.h"

void
cmir_thresholds(const cmir_prepared *p, const cmir_rows *rows, uint32_t group,
                const int32_t *product, const int32_t *of_mean, float least[CMIR_LANES],
                float threshold[CMIR_LANES])
{
    const float unit = 1.0f / ((float)CMIR_UNIT * CMIR_UNIT), slack = 2 * CMIR_SCREENING_SLACK;
    const float *norm = p->whole.norm + (size_t)group * CMIR_LANES;
    const float *residual = p->whole.residual + (size_t)group * CMIR_LANES;
    const float left = rows->residual * 1.00001f;
    const float reach = (rows->radius + rows->residual) * 1.00001f;

    for (uint32_t i = 0; i < CMIR_LANES; i++) {
        threshold[i] = ((float)product[i] - (float)of_mean[i]) * unit - slack;
        least[i] = threshold[i] - norm[i] * left - residual[i] * reach;
    }
    for (uint32_t i = CMIR_LANES; i > 0; i--) {
        if (p->lane_row[group * CMIR_LANES + i - 1] != CMIR_NO_ROW)
            break;
        threshold[i - 1] = least[i - 1] = INFINITY;
    }
}

/* The rows that may beat the winners of one group, exactly. */
static void
recheck(const cmir_prepared *p, const cmir_rows *rows, const cmir_packed *part,
        const cmir_codes *codes, cmir_scratch *s, uint32_t group, uint32_t group_of_part)
{
    const uint32_t first = p->lane_row[group * CMIR_LANES];
    _Alignas(64) float least[CMIR_LANES], threshold[CMIR_LANES];
    uint32_t n = 0;

    cmir_thresholds(p, rows, group, s->winner + first, s->of_mean + first, least, threshold);
    const uint32_t n_selected =
        p->kernels.select(part, codes, &s->kept, group_of_part, least, threshold, s->selected);
    for (uint32_t k = 0; k < n_selected; k++) {
        const uint32_t row = first + s->selected[k] % CMIR_LANES;
        const uint32_t candidate_row = s->selected[k] / CMIR_LANES;

        s->q[n] = row;
        s->r[n] = candidate_row;
        n += candidate_row != s->winner_row[row];
    }
    p->kernels.dots_exact(p->query->rows, rows->exact, rows->padded_dim, s->q, s->r, n, s->dots);
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t row = s->q[k];

        if (s->dots[k] > s->winner[row] ||
            (s->dots[k] == s->winner[row] && s->r[k] < s->winner_row[row])) {
            s->winner[row] = s->dots[k];
            s->winner_row[row] = s->r[k];
        }
    }
}

/* Groups first .. first + n - 1. */
static void
match_groups(const cmir_prepared *p, const cmir_rows *rows, uint32_t first, uint32_t n,
             cmir_scratch *s)
{
    const cmir_codes codes = cmir_codes_of(rows);
    const cmir_packed part = cmir_packed_part(p, first, n);

    p->kernels.maxsim(&part, &codes, s->best, s->best_row, &s->kept);
    for (uint32_t g = 0; g < n; g++) {
        const uint32_t row = p->lane_row[(first + g) * CMIR_LANES];
        const uint32_t left = p->query->n_rows - row;
        const uint32_t n_rows = left < CMIR_LANES ? left : CMIR_LANES;

        memcpy(s->winner_row + row, s->best_row + (size_t)g * CMIR_LANES, n_rows * sizeof *s->r);
        p->kernels.dots_exact(p->query->rows, rows->exact, rows->padded_dim, s->every + row,
                              s->winner_row + row, n_rows, s->winner + row);
    }
    for (uint32_t g = 0; g < n; g++)
        recheck(p, rows, &part, &codes, s, first + g, g);
}

void
cmir_products_with_mean(const cmir_prepared *p, const cmir_rows *rows, cmir_scratch *s)
{
    p->kernels.dots_exact(p->query->rows, rows->mean, rows->padded_dim, s->every, s->none,
                          p->query->n_rows, s->of_mean);
}

double
cmir_match_exact(const cmir_prepared *p, const cmir_rows *rows, cmir_scratch *s)
{
    const uint32_t m = p->query->n_rows;
    int64_t sum = 0;

    cmir_products_with_mean(p, rows, s);
    for (uint32_t g = 0; g < p->whole.n_groups; g += s->groups_at_once) {
        const uint32_t left = p->whole.n_groups - g;

        match_groups(p, rows, g, left < s->groups_at_once ? left : s->groups_at_once, s);
    }
    for (uint32_t i = 0; i < m; i++)
        sum += s->winner[i];
    return (double)sum / ((double)m * CMIR_UNIT * CMIR_UNIT);
}

cmir_status
cmir_match_check(const cmir_query *query, const cmir_rows *rows, cmir_error *err)
{
    if (rows->padded_dim != query->padded_dim || rows->n_scored == 0)
        return FAIL(err, CMIR_EMISMATCH, "candidate: %u rows of %u dimensions, query of %u",
                    rows->n_scored, rows->padded_dim, query->padded_dim);
    if (!cmir_rows_slices_rise(rows))
        return FAIL(err, CMIR_ECORRUPT, "a stored volume has impossible slice numbers");
    return CMIR_OK;
}

cmir_status
cmir_match_rows(const cmir_query *query, const int16_t *center, const cmir_rows *const *rows,
                size_t n, unsigned cpu_flags, cmir_match *out, cmir_error *err)
{
    const double unit = 1.0 / ((double)CMIR_UNIT * CMIR_UNIT);
    cmir_prepared prepared = {0};
    cmir_scratch scratch = {0};
    uint32_t n_rows_max = 1;
    cmir_status st = CMIR_OK;

    for (size_t c = 0; c < n && st == CMIR_OK; c++) {
        st = cmir_match_check(query, rows[c], err);
        n_rows_max = rows[c]->n_scored > n_rows_max ? rows[c]->n_scored : n_rows_max;
    }
    if (st == CMIR_OK)
        st = cmir_prepare(query, center, cpu_flags, &prepared, err);
    if (st == CMIR_OK)
        st = cmir_scratch_make(&prepared, n_rows_max, &scratch, err);
    for (size_t c = 0; c < n && st == CMIR_OK; c++) {
        (void)cmir_match_exact(&prepared, rows[c], &scratch);
        for (uint32_t i = 0; i < query->n_rows; i++)
            *out++ = (cmir_match){query->slice[i], rows[c]->slice[scratch.winner_row[i]],
                                  (float)((double)scratch.winner[i] * unit)};
    }
    cmir_scratch_free(&scratch);
    cmir_prepared_free(&prepared);
    return st;
}
