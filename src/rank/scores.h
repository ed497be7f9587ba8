/* SPDX-License-Identifier: Apache-2.0 */
/* scores.h: scores of candidates, and the best of them.  Shared by the files of rank. */
#ifndef CMIR_RANK_SCORES_H
#define CMIR_RANK_SCORES_H

#include "rank/prepared.h"

/* Scores of all candidates.  `score` has one entry per candidate.  `first` orders equal scores:
 * lower first; NULL where the order of the snapshot does.  `listed` tells which candidates may
 * appear; NULL where all may. */
typedef struct cmir_scores {
    double *score;
    uint64_t *first;
    uint8_t *listed;
} cmir_scores;

cmir_status cmir_scores_make(size_t n, bool with_first, bool with_listed, cmir_scores *out,
                             cmir_error *err); /* zeroed */
void cmir_scores_free(cmir_scores *scores);    /* a zeroed one is fine */

/* Writes the best min(limit, listed) candidates in order; gives how many. */
size_t cmir_select_best(const cmir_scores *scores, size_t n_candidates, size_t limit,
                        cmir_ranked *out);

/* screen.c: maxsim, exactly, of every candidate that may be among the best `limit` of the `n` of
 * `order` (indices in the snapshot; good ones first make it cheaper, the result does not depend on
 * it); `scores`, made with listed, gets those. */
cmir_status cmir_screen(const cmir_prepared *p, const cmir_snapshot *snapshot, const size_t *order,
                        size_t n, uint32_t limit, uint32_t n_threads, cmir_scores *scores,
                        cmir_rank_work *work, cmir_error *err);

/* The score of one candidate.  Called by many threads at once, `thread` tells which. */
typedef double (*cmir_score_fn)(void *ctx, uint32_t thread, size_t candidate);

/* score[c] = fn(ctx, ., c) for all n candidates, which the threads share out. */
void cmir_score_each(cmir_score_fn fn, void *ctx, size_t n, uint32_t n_threads, double *score);

/* Scores of every candidate, each in the file of its name; pooled.c: mean, median, max-pool, std. */
cmir_status cmir_rank_symmetric(const cmir_prepared *p, const cmir_snapshot *snapshot,
                                uint32_t n_threads, cmir_scores *scores, cmir_error *err);
cmir_status cmir_rank_pooled(const cmir_prepared *p, const cmir_snapshot *snapshot,
                             cmir_score score, uint32_t n_threads, cmir_scores *scores,
                             cmir_error *err);
cmir_status cmir_rank_length_corrected(const cmir_prepared *p, const cmir_snapshot *snapshot,
                                       uint32_t n_threads, cmir_scores *scores, cmir_error *err);
cmir_status cmir_rank_weighted(const cmir_prepared *p, const cmir_snapshot *snapshot,
                               uint32_t n_threads, cmir_scores *scores, cmir_error *err);
/* ordered.c; `spacing_ratio` as in rank.h. */
cmir_status cmir_rank_ordered(const cmir_prepared *p, const cmir_snapshot *snapshot,
                              const double *spacing_ratio, uint32_t n_threads, cmir_scores *scores,
                              cmir_error *err);

/* votes.c: freq, max and sum; `scores` is made with first and listed. */
cmir_status cmir_rank_votes(const cmir_prepared *p, const cmir_snapshot *snapshot, cmir_score score,
                            uint32_t n_threads, cmir_scores *scores, cmir_error *err);

/* One scratch per thread, with room for the largest candidate. */
cmir_status cmir_scratches_make(const cmir_prepared *p, const cmir_snapshot *snapshot,
                                uint32_t n_threads, cmir_scratch **out, cmir_error *err);
void cmir_scratches_free(cmir_scratch *scratches, uint32_t n_threads); /* NULL is fine */

#endif
