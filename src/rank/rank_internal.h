/* SPDX-License-Identifier: Apache-2.0 */
/* rank_internal.h: what the files of rank share. */
#ifndef CMIR_RANK_RANK_INTERNAL_H
#define CMIR_RANK_RANK_INTERNAL_H

#include "kernel/kernel.h"
#include "rank/rank.h"

/* Scores of all candidates.  `score` has one entry per candidate.  `first` orders equal scores:
 * lower first; NULL where the order of the snapshot does.  `listed` tells which candidates may
 * appear; NULL where all may. */
typedef struct cmir_scores {
    double *score;
    uint64_t *first;
    uint8_t *listed;
} cmir_scores;

/* freq, max and sum: fills all three members, which the caller allocated and zeroed. */
cmir_status cmir_rank_votes(const cmir_query *query, const cmir_snapshot *snapshot,
                            cmir_score score, uint32_t n_threads,
                            const struct cmir_kernels *kernels, cmir_scores *out, cmir_error *err);

#endif
