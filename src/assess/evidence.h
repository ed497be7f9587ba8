/* SPDX-License-Identifier: Apache-2.0 */
/* evidence.h: from neighbours with labels to counts, votes and how far they can be trusted.  Called
 * by engine.  The weights of votes are those of metrics.h.
 *
 * The one idea: one neighbour is one patient and one voice, a little louder the nearer it is. */
#ifndef CMIR_ASSESS_EVIDENCE_H
#define CMIR_ASSESS_EVIDENCE_H

#include <stddef.h>
#include <stdint.h>

#include <cmir/evidence.h>

/* The first of each patient, until there are k: their indices to first[k]; gives how many. */
size_t cmir_first_of_patients(const char *const *patient, size_t n, size_t k, size_t *first);

/* Values of n neighbours (NULL: none) as counts and shares, in the order of evidence.h; values has
 * room for n and borrows the text.  Gives the number of values; *n_labelled: neighbours with one. */
size_t cmir_count_votes(const char *const *text, const double *weight, size_t n,
                        cmir_evidence_value *values, uint32_t *n_labelled);

/* The least value that, with all below it, has half of the weight; NANs have no voice.  *low and *high: the
 * least and the greatest.  NAN where there is none. */
double cmir_weighted_median(const double *value, const double *weight, size_t n, double *low,
                            double *high);

/* One leave-one-out query for one label: what was voted and what is true. */
typedef struct cmir_outcome {
    const char *patient; /* whose volume it is: the same text, the same patient */
    const char *truth;
    double true_number, median; /* of numbers */
    uint32_t n_labelled; /* neighbours with the label */
    bool right; /* classes: the value of most weight is the truth */
    uint32_t n_for; /* neighbours that have it */
} cmir_outcome;

/* rate, low and high of a class, from its counts; else NAN, 0, 1. */
void cmir_calibration_rate(cmir_calibration *calibration);

/* Fills all of `out` but label, score, k and stale, for a label whose kind is set there.  Reorders
 * the outcomes.  CMIR_ENOMEM. */
cmir_status cmir_calibration_of(cmir_outcome *outcomes, size_t n, cmir_calibration *out,
                                cmir_error *err);

#endif
