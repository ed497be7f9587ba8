/* SPDX-License-Identifier: Apache-2.0 */
/* statistics.h: intervals and tests for small samples.  Called by evidence.c, evaluate.c, engine.
 *
 * Random numbers come from a seed of the caller's, so every figure can be had again. */
#ifndef CMIR_ASSESS_STATISTICS_H
#define CMIR_ASSESS_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

#include <cmir/status.h>

/* An estimate with its 95 % interval. */
typedef struct cmir_estimate {
    double value, low, high;
} cmir_estimate;

/* Rate of k in n with Wilson's interval (E. B. Wilson, 1927); of nothing: NAN, 0, 1. */
cmir_estimate cmir_wilson(double k, double n);

/* Uniform numbers below n (> 0) from a state that any seed starts. */
uint32_t cmir_random_below(uint64_t *state, uint32_t n);

/* The interval from the 2.5th to the 97.5th percentile of samples[n], which are put in order.  NANs
 * are left out; of fewer than two: NAN. */
void cmir_interval(double *samples, size_t n, double *low, double *high);

/* Mean of values[n], NANs left out, with the percentile interval of `rounds` bootstrap samples of whole
 * groups: group[i] (0 .. n_groups-1) is the patient of value i.  The interval is NAN for rounds 0
 * and where fewer than two groups have a value. */
cmir_status cmir_bootstrap_mean(const double *values, const uint32_t *group, size_t n,
                                size_t n_groups, uint32_t rounds, uint64_t seed, cmir_estimate *out,
                                cmir_error *err);

/* The same of a quotient of two means: of values[n] by that of by[n], all above 0 (NULL: 1 each); NANs in
 * `values` leave both out. */
cmir_status cmir_bootstrap_quotient(const double *values, const double *by, const uint32_t *group,
                                    size_t n, size_t n_groups, uint32_t rounds, uint64_t seed,
                                    cmir_estimate *out, cmir_error *err);

/* Two-sided p of Wilcoxon's signed-rank test of differences d[n]: zeros and NANs dropped, ties given
 * mean ranks; exact, with ties as well, up to 50 differences that are left (scipy.stats.wilcoxon: so
 * up to 13 with ties), else normal with tie and continuity correction, as scipy with
 * correction=True.  1 where none is left.  Here and below, differences are equal, or zero, if they
 * are so to 1e-9 of the largest: 2/3 - 1/3 is not 1 - 2/3 to the last bit. */
cmir_status cmir_wilcoxon(const double *d, size_t n, double *p, cmir_error *err);

/* Two-sided p of a zero mean of d[n]: signs exchanged, in every way up to 16 differences that are not
 * zero, else `rounds` times at random ((hits + 1) / (rounds + 1)).  NANs are left out. */
cmir_status cmir_sign_flip(const double *d, size_t n, uint32_t rounds, uint64_t seed, double *p,
                           cmir_error *err);

/* Holm's step-down correction of p[n], in place (S. Holm, 1979); NANs are no tests. */
cmir_status cmir_holm(double *p, size_t n, cmir_error *err);

#endif
