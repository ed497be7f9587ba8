/* SPDX-License-Identifier: Apache-2.0 */
/* cases.h: the nearest patients rather than the nearest volumes.  Called by evidence.c and
 * contrast.c. */
#ifndef CMIR_ENGINE_CASES_H
#define CMIR_ENGINE_CASES_H

#include "rank/rank.h"

/* A patient's volume that ranks highest. */
typedef struct cmir_case {
    size_t candidate; /* index in the snapshot */
    double score;
    uint32_t rank; /* from 1, among volumes */
} cmir_case;

/* cmir_nearest_cases() gives the first k patients (cases[k]) of the ranking of `snapshot`; fewer
 * where it has no more.  `ranked` is the list of a search with `options`, or NULL: none was made. */
cmir_status cmir_nearest_cases(const cmir_query *query, const cmir_snapshot *snapshot,
                               const cmir_rank_options *options, const cmir_ranked *ranked,
                               size_t n_ranked, uint32_t k, cmir_case *cases, size_t *n_cases,
                               cmir_error *err);

#endif
