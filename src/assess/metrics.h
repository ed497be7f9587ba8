/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h: figures of one ranked list, and of scores against truth.  Called by evaluate.c and
 * engine.
 *
 * A list is `relevant`: 1 or 0 for each of the n volumes found, best first.  Lists may be shorter
 * than k: what is missing counts as not relevant.  Nothing here allocates or fails. */
#ifndef CMIR_ASSESS_METRICS_H
#define CMIR_ASSESS_METRICS_H

#include <stddef.h>
#include <stdint.h>

/* P@k: relevant ones among the first k (> 0), over k. */
double cmir_precision_at(const uint8_t *relevant, size_t n, size_t k);

/* "P@10 (3D-MIR notebook)": (sum of the first 10 relevances + P@5) / 11, as published by accident
 * (arXiv 2311.13752, its notebooks). */
double cmir_notebook_p10(const uint8_t *relevant, size_t n);

/* Average precision over the first `depth` (0: the whole list): the mean, over the relevant ones in
 * it, of the precision at their rank.  Divided by the number of relevant ones found there, as 3D-MIR
 * does; or, with n_relevant > 0, by min(n_relevant, depth).  0 where there are none. */
double cmir_average_precision(const uint8_t *relevant, size_t n, size_t depth, size_t n_relevant);

/* Share of the n_relevant of the database among the first k; NAN where there is none. */
double cmir_recall_at(const uint8_t *relevant, size_t n, size_t k, size_t n_relevant);

/* 1 / rank of the first relevant one; 0 where there is none. */
double cmir_reciprocal_rank(const uint8_t *relevant, size_t n);

/* nDCG@k of binary gains, discount 1 / log2(rank + 1); the ideal list has n_relevant.  NAN where
 * n_relevant is 0. */
double cmir_ndcg_at(const uint8_t *relevant, size_t n, size_t k, size_t n_relevant);

/* Area under the ROC curve of scores for positive[i] = 1 against 0; ties count half.  NAN where
 * either kind is missing.  Scores that are NAN are left out, here and below.  `order` is scratch
 * for n numbers. */
double cmir_auroc(const double *score, const uint8_t *positive, size_t n, size_t *order);

/* Average precision of the scores (the step-wise area under the precision-recall curve, ties taken
 * together), as scikit-learn defines it; NAN without positives. */
double cmir_auprc(const double *score, const uint8_t *positive, size_t n, size_t *order);

/* The same two where scores are put in order once and then weighed often (bootstrap). */
typedef struct cmir_scored {
    const double *score;
    const uint8_t *positive;
    const double *weight; /* >= 0: how often each counts; NULL: once */
    const size_t *order;  /* [n] numbers of items, from cmir_order_falling */
    size_t n;
} cmir_scored;
double cmir_auroc_of(const cmir_scored *scored);
double cmir_auprc_of(const cmir_scored *scored);

/* order[] becomes the numbers of the scores that are not NAN, highest first; how many is returned. */
size_t cmir_order_falling(const double *score, size_t n, size_t *order);

/* Mean squared difference of probability and truth; NAN of nothing. */
double cmir_brier(const double *probability, const uint8_t *positive, size_t n);

/* Reliability in n_bins (> 0) equal bins of [0, 1]: how many, their mean probability, their rate of
 * positives (NAN in empty bins). */
typedef struct cmir_reliability_bin {
    size_t n;
    double probability, rate;
} cmir_reliability_bin;
void cmir_reliability(const double *probability, const uint8_t *positive, size_t n,
                      cmir_reliability_bin *bins, size_t n_bins);

/* Weights of the votes of n neighbours with falling, finite scores: score - last score + mean gap,
 * where the mean gap is (first - last) / (n - 1).  The last one counts a little, and neither a factor
 * nor a constant in the scores changes a share of the vote; scores 1 / rank are their own weights.
 * All 1 where the scores are equal. */
void cmir_vote_weights(const double *score, size_t n, double *weight);

#endif
