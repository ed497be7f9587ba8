/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/evidence.h: what past cases with labels say of a query, how far that can be trusted, and where
 * in the query it shows.  Research use only, not for diagnosis: it counts cases, it decides nothing.
 *
 * A search computes evidence where its options ask for it (cmir_search_options: n_neighbours,
 * contrast_label).  A case is a patient: of several volumes of one patient the one that ranks highest
 * stands for all.  docs/method.md has the definitions. */
#ifndef CMIR_EVIDENCE_H
#define CMIR_EVIDENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/archive.h>
#include <cmir/search.h>
#include <cmir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CMIR_EVIDENCE_LEAST 5u   /* labelled cases; with fewer there is not enough evidence */
#define CMIR_EVIDENCE_MOST 1000u /* neighbours that may be asked for */

typedef enum cmir_label_kind {
    CMIR_LABEL_CLASS = 0,
    CMIR_LABEL_NUMBER = 1 /* every value in the archive is a decimal number, and one is not whole or
                             more than ten are different */
} cmir_label_kind;

/* One of the nearest cases. */
typedef struct cmir_neighbour {
    const char *volume_id;
    uint32_t rank; /* of the hit; where so many were not listed, the rank it would have */
    double score;
    double weight; /* in votes, by score: 1 for the nearest case, less for farther ones */
    bool own;      /* of the query's own patient: the search did not leave it out */
} cmir_neighbour;

/* A value, and the cases that have it. */
typedef struct cmir_evidence_value {
    const char *text;
    uint32_t n;            /* cases */
    double share;          /* n of the labelled cases, */
    double low, high;      /* with Wilson's 95 % interval */
    double weighted_share; /* the same by weight */
} cmir_evidence_value;

/* How often a vote of k neighbours was right when every labelled volume of the archive was the query
 * in turn, its patient left out; and how often without looking at any image. */
typedef struct cmir_calibration {
    const char *label;
    cmir_label_kind kind;
    cmir_score score;
    uint32_t k;
    bool stale;            /* the archive has changed since */
    uint32_t n_labelled;   /* volumes with the label */
    uint32_t n_queries;    /* of them, those with enough evidence */
    uint32_t n_patients;   /* of these */
    /* Classes: */
    uint32_t n_right;      /* queries of which the value of most weight was the truth */
    uint32_t n_majority;   /* queries that have the value which most queries have */
    double rate, low, high; /* n_right / n_queries; the interval counts patients, not volumes */
    uint32_t bin_n[11], bin_right[11]; /* by how many of 10 cases (rounded) had the voted value */
    /* Numbers: median of |weighted median - truth|, and of |median of all - truth|; else NAN. */
    double error, error_alone;
} cmir_calibration;

/* One label.  Arrays and strings belong to the result. */
typedef struct cmir_evidence_label {
    const char *name;
    cmir_label_kind kind;
    bool enough;           /* n_labelled >= CMIR_EVIDENCE_LEAST; without, nothing below is set */
    uint32_t n_labelled;   /* neighbours that have the label */
    const char *const *text; /* [n_neighbours] its value in each; NULL: it has none */
    const cmir_evidence_value *values; /* classes: most weight first, then most cases, then by text */
    size_t n_values;
    double median, low, high; /* numbers: weighted median, least and greatest */
    const cmir_calibration *calibration; /* of this label, score and k; NULL: there is none */
} cmir_evidence_label;

typedef struct cmir_evidence {
    uint32_t k;            /* neighbours asked for */
    const cmir_neighbour *neighbours; /* nearest first */
    size_t n_neighbours;   /* fewer than k where there are no more cases */
    uint32_t n_own;        /* of them, of the query's own patient */
    const cmir_evidence_label *labels; /* by name; those that a neighbour has */
    size_t n_labels;
    bool as_calibrated;    /* the search was like those of a calibration: the whole query, no filter,
                              the query's patient left out or unknown here */
} cmir_evidence;

/* One slice of the query: its best similarity to a positive case, on average over these, less the
 * same of negative ones. */
typedef struct cmir_contrast_slice {
    uint32_t slice;
    double value, low, high; /* 95 % */
    double in_run;           /* share of the resampled cases whose run holds it */
} cmir_contrast_slice;

/* Where the query looks more like positive cases than like negative ones.  Intervals are of 1,000
 * bootstrap samples of the cases.  docs/method.md tells what may fool it. */
typedef struct cmir_contrast {
    const char *label, *value; /* as asked; value may be NULL */
    uint32_t n_positive, n_negative; /* the nearest cases of each kind, up to n_neighbours (0: 10) */
    bool enough;               /* both are CMIR_EVIDENCE_LEAST; without, nothing below is set */
    const cmir_contrast_slice *slices; /* those that took part in the search, in order */
    size_t n_slices;
    uint32_t first, last;      /* the run that stands out most: slice numbers */
    double mm[2];              /* where it starts and ends, lower value first; NAN unknown */
    uint32_t first_low, first_high, last_low, last_high; /* 95 % of its ends */
    double rise, rise_low, rise_high; /* mean value in the run less that of the others; NAN where there
                                         are no others */
    double p;                  /* of a run that stands out as much where the cases exchange their labels
                                  at random, 1,000 times */
} cmir_contrast;

typedef struct cmir_calibrate_options {
    size_t struct_nbytes;      /* sizeof (cmir_calibrate_options) */
    uint32_t k;                /* neighbours; 0: 10 */
    const char *const *labels; /* NULL: every label of the archive */
    size_t n_labels;
    uint32_t n_threads;        /* 0: the CPUs this process may use */
    cmir_progress_fn progress; /* counts queries */
    void *progress_ctx;
} cmir_calibrate_options;

/* cmir_calibrate() asks the archive (CMIR_WRITE) about each of its labelled volumes with the default
 * score and keeps what it learnt in the catalogue, replacing what it had of the same label, k and
 * score.  *out (may be NULL) are the *n_out calibrations, by label; free with
 * cmir_calibrations_free().  CMIR_EINVAL: k; CMIR_ENOTFOUND: no volume has such a label. */
CMIR_API cmir_status
cmir_calibrate(cmir_archive *archive, const cmir_calibrate_options *options,
               cmir_calibration **out, size_t *n_out, cmir_error *err);
CMIR_API void cmir_calibrations_free(cmir_calibration *calibrations, size_t n); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
