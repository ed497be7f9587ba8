/* SPDX-License-Identifier: Apache-2.0 */
/* match.h: exact matches in one candidate, and the bound they rest on.  Shared by the files of
 * rank. */
#ifndef CMIR_RANK_MATCH_H
#define CMIR_RANK_MATCH_H

#include "rank/prepared.h"

/* What rounding in single precision can add: f and base are below 4 in magnitude, so each of their
 * roundings is below 2.4e-7. */
#define CMIR_SCREENING_SLACK 2e-6

/* The sum of the bounds of n query rows on how far f is from the truth (match.c) in any row of the
 * candidate, from the sums of their norms and residuals. */
static inline double
cmir_screening_bound(double norm_sum, double residual_sum, double n, const cmir_rows *rows)
{
    const double left = (double)rows->residual, radius = (double)rows->radius;

    return norm_sum * left + residual_sum * (radius + left) * 1.000002 + n * CMIR_SCREENING_SLACK;
}

/* Groups first .. first + n - 1 of the whole query. */
static inline cmir_packed
cmir_packed_part(const cmir_prepared *p, uint32_t first, uint32_t n)
{
    const size_t lane = (size_t)first * CMIR_LANES;

    return (cmir_packed){p->whole.groups + first * p->group_nbytes, p->whole.scale + lane,
                         p->whole.norm + lane, p->whole.residual + lane, n};
}

/* What f of a pair must reach, with its bound, for the product to reach `product` ([16], of the lanes
 * of group `group`, whose rows have `of_mean` as their products with the candidate's mean); and the
 * same less the largest bound.  Infinity in lanes without a row. */
void cmir_thresholds(const cmir_prepared *p, const cmir_rows *rows, uint32_t group,
                     const int32_t *product, const int32_t *of_mean, float least[CMIR_LANES],
                     float threshold[CMIR_LANES]);

/* Fills of_mean: the product of every query row with the mean of the candidate's rows. */
void cmir_products_with_mean(const cmir_prepared *p, const cmir_rows *rows, cmir_scratch *s);

/* Fills winner and winner_row for every query row (lowest row of equals); gives the maxsim score. */
double cmir_match_exact(const cmir_prepared *p, const cmir_rows *rows, cmir_scratch *s);

/* Whether a candidate can be matched, asked before its slice numbers index arrays. */
cmir_status cmir_match_check(const cmir_query *query, const cmir_rows *rows, cmir_error *err);

#endif
