/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/assess.h: how good are ranked lists?  An evaluation that a reviewer can check.
 *
 * Every table carries the lines that a ranking must beat: random, majority, the cohort alone, each
 * nuisance alone; intervals are bootstrapped over patients; methods are compared in pairs.  The
 * protocol of 3D-MIR (arXiv 2311.13752) is among the metrics.  Definitions: docs/evaluation.md. */
#ifndef CMIR_ASSESS_H
#define CMIR_ASSESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most that one evaluation takes; more is CMIR_EINVAL, of the last two CMIR_ELIMIT. */
#define CMIR_EVAL_MAX_METHODS 100u
#define CMIR_EVAL_MAX_NUISANCES 100u
#define CMIR_EVAL_MAX_K 100u
#define CMIR_EVAL_MAX_ROUNDS 100000u /* bootstrap samples, shuffles */
#define CMIR_EVAL_MAX_VALUES 1000u
#define CMIR_EVAL_MAX_DRAWN ((size_t)1 << 27) /* queries x shuffles: 1 GiB of scratch */

/* A volume as an evaluation sees it.  Strings and arrays are borrowed for the call. */
typedef struct cmir_eval_volume {
    const char *id;
    const char *value;  /* what the task asks for; equal text is relevant.  Never NULL */
    const char *group;  /* the patient: resampled together, must not answer itself; NULL: the id */
    const char *cohort; /* where it comes from; NULL: unknown */
    const double *nuisances; /* [n_nuisances] what the task must not be solvable by; NAN unknown */
} cmir_eval_volume;

/* What one method found for one query, best first.  Only the evidence reads the scores, and neither
 * their unit nor their zero matters. */
typedef struct cmir_eval_list {
    const uint32_t *found; /* numbers of volumes of the query's database */
    const double *scores;  /* of them, finite, falling; NULL: 1 / rank */
    uint32_t n_found;
} cmir_eval_list;

typedef struct cmir_eval_method {
    const char *name;
    const cmir_eval_list *lists; /* [n_queries] */
} cmir_eval_method;

/* A query and the database that it was searched in. */
typedef struct cmir_eval_query {
    uint32_t volume;
    const uint32_t *database; /* numbers of volumes */
    uint32_t n_database;
} cmir_eval_query;

typedef struct cmir_eval_input {
    size_t struct_nbytes; /* sizeof (cmir_eval_input) */
    const cmir_eval_volume *volumes;
    size_t n_volumes;
    const cmir_eval_query *queries;
    size_t n_queries;
    const cmir_eval_method *methods;
    size_t n_methods;
    const char *const *nuisances; /* names */
    size_t n_nuisances;
} cmir_eval_input;

typedef struct cmir_eval_options {
    size_t struct_nbytes;    /* sizeof (cmir_eval_options); zero of the others means default */
    const uint32_t *k;       /* cut-offs, rising; NULL: 3, 5, 10 */
    size_t n_k;
    uint32_t n_neighbours;   /* that vote for the evidence score; 0: 10 */
    const char *positive;    /* value that AUROC, AUPRC and calibration are about; NULL: "1" where it
                                is one of two, else none: then those are left out */
    uint32_t n_bootstrap;    /* 0: 2,000 */
    uint32_t n_shuffles;     /* of databases, for votes and the spread of random lists; 0: 2,000 */
    uint64_t seed;
    bool allow_leak;         /* a query's own group may be in its database; every table says so */
    bool seen;               /* the embeddings were whitened with volumes of the queries' groups: every
                                table says so; no figure depends on it */
    cmir_progress_fn progress; /* units: a query of a line, a pair of methods on a metric */
    void *progress_ctx;
} cmir_eval_options;

typedef struct cmir_eval_figure {
    double value, low, high; /* mean over queries and its 95 % interval; NAN where it has none */
} cmir_eval_figure;

/* Intervals resample patients, but those of the random line: they are where the mean of shuffled
 * databases lies.  Figures of the lines that are not methods are expected values, exact but for
 * those of votes (evidence, confusion, accuracy), which are means over shuffles. */
typedef enum cmir_eval_kind {
    CMIR_EVAL_METHOD = 0,
    CMIR_EVAL_RANDOM = 1,   /* any order */
    CMIR_EVAL_MAJORITY = 2, /* the database's most frequent value first; each part in any order */
    CMIR_EVAL_COHORT = 3,   /* the query's cohort first, in random order */
    CMIR_EVAL_NUISANCE = 4  /* nearest by one nuisance; ties in random order */
} cmir_eval_kind;

/* One line of the table. */
typedef struct cmir_eval_line {
    const char *name;
    cmir_eval_kind kind;
    const cmir_eval_figure *figures; /* [n_metrics] */
    const double *per_query;         /* [n_queries][n_metrics]; NAN where a query has none */
    /* [n_queries] share of the vote for `positive` among the nearest; NAN without `positive` or
     * neighbours, and then left out of what follows. */
    const double *evidence;
    cmir_eval_figure auroc, auprc, brier; /* of it, over queries */
    /* Most voted value against the truth: confusion[truth * n_values + voted], counts; of a random
     * line: means over its shuffles. */
    const double *confusion;
    cmir_eval_figure accuracy; /* of the most voted value; a query without neighbours is wrong */
    /* Reliability of `evidence`, in 10 equal bins: how many queries, their mean, their rate. */
    double bin_n[10], bin_evidence[10], bin_rate[10];
} cmir_eval_line;

/* Two methods on the same queries; NAN where no query has the metric. */
typedef struct cmir_eval_pair {
    uint32_t a, b, metric; /* lines, metric */
    double difference, low, high; /* mean of a - b over queries, 95 % interval over patients */
    double wilcoxon, sign_flip; /* two-sided p; a group's mean difference is one sample */
    double wilcoxon_holm, sign_flip_holm; /* corrected over all pairs of this metric */
} cmir_eval_pair;

typedef struct cmir_evaluation {
    const char *const *metrics; /* names: "P@3", "P@10 (3D-MIR notebook)", "AP@10", ... */
    size_t n_metrics;
    const char *const *values;  /* what the task asks for, in order of text */
    size_t n_values;
    const char *positive;       /* or NULL */
    const cmir_eval_line *lines;
    size_t n_lines;
    const cmir_eval_pair *pairs;
    size_t n_pairs;
    size_t n_queries, n_groups; /* groups: patients of the queries */
    uint32_t n_short;           /* queries for which a method found fewer than the largest k */
    bool leak;                  /* a query's group is in its database */
    bool seen;                  /* as the options say */
} cmir_evaluation;

/* cmir_evaluate() scores the lists; options NULL: every default.  One seed gives one result; a line
 * does not depend on the others.  CMIR_EINVAL: a number out of range, a volume twice in a list or a
 * database, or found outside its query's database, a score that rises or is no number, a `positive`
 * that no volume has, no query, or a query whose own group is in its database (the sentence names
 * both volumes) without allow_leak.  CMIR_ELIMIT, CMIR_ECANCELLED, CMIR_ENOMEM; *out is then NULL.
 * The result is the caller's, cmir_evaluation_free(), and borrows nothing.  Any number of threads
 * may call at once. */
CMIR_API cmir_status
cmir_evaluate(const cmir_eval_input *input, const cmir_eval_options *options,
              cmir_evaluation **out, cmir_error *err);
CMIR_API void cmir_evaluation_free(cmir_evaluation *evaluation); /* NULL is fine */

/* Where a hit lies, against the slices that are known to show what was searched for: a search with
 * those slices of a query that show some structure, and a hit of which they are known as well. */
typedef struct cmir_eval_location {
    uint32_t method, query, volume;    /* their numbers; the volume is the hit */
    uint32_t n_matches, n_inside;      /* matches; of them, those with a slice that shows it */
    uint32_t n_slices, n_shown;        /* the hit's slices, air left out; of them, those that show it */
    uint32_t run_first, run_last;      /* the matched run */
    uint32_t n_structure, n_in_run;    /* the hit's slices that show it, air as well, with or without
                                          gaps; of them, those of the run */
} cmir_eval_location;

/* How well the hits of one method are placed: means over the hits of a query, then over queries, with
 * intervals as of a method.  NAN, all of them, where n_queries is 0. */
typedef struct cmir_eval_localisation {
    cmir_eval_figure ratio;  /* localisation ratio: n_inside / n_matches */
    cmir_eval_figure chance; /* of a match with any slice: n_shown / n_slices */
    cmir_eval_figure gain;   /* ratio / chance, of the means */
    cmir_eval_figure iou;    /* intersection over union of the run's slices and those that show it */
    cmir_eval_figure placed; /* share of hits whose iou is CMIR_EVAL_PLACED or more */
    size_t n_hits, n_queries, n_groups; /* that have any */
} cmir_eval_localisation;
#define CMIR_EVAL_PLACED 0.6

/* out[n_methods] of the hits given, in any order.  Of the input no list is scored; input and options
 * are those of cmir_evaluate(), as are the errors.  CMIR_EINVAL too: a number out of range, a hit
 * twice or of no database of its query, n_matches or n_shown 0, a part larger than its whole or than
 * what it is a part of. */
CMIR_API cmir_status
cmir_evaluate_locations(const cmir_eval_input *input, const cmir_eval_options *options,
                        const cmir_eval_location *hits, size_t n_hits, cmir_eval_localisation *out,
                        cmir_error *err);

/* Ranked lists that were made elsewhere, a line per volume found, best first within a query and
 * method.  CSV with a header that names the columns `query` and `volume`, and `score` and `method` if
 * wanted; or a TREC run (query Q0 volume rank score tag, parted by blanks; the order of lines counts,
 * not the rank).  ".nii" and ".nii.gz" are dropped from names.  Lines of a query need not stand
 * together. */
typedef struct cmir_ranking {
    const char *query, *volume;
    const char *method; /* "" where the file does not say */
    double score;       /* NAN where the file does not say */
    size_t line;        /* of the file, from 1 */
} cmir_ranking;

/* CMIR_ECORRUPT names the line; CMIR_EUNSUPPORTED (separators, not UTF-8), CMIR_ENOTFOUND, CMIR_EIO,
 * CMIR_ELIMIT (more than 1 GiB), CMIR_ENOMEM.  The caller frees *out, all in one, with cmir_free(). */
CMIR_API cmir_status
cmir_rankings_read(const char *path, cmir_ranking **out, size_t *n, cmir_error *err);

/* The stage of a tumour by the rules of 3D-MIR: 1..4, or -1 where number is 0 (the size is then not
 * read).  `site` is "colon", "pancreas", "liver" or "lung"; size is the largest diameter in cm.
 * CMIR_EINVAL for another site, or a size that is negative or no number. */
CMIR_API cmir_status
cmir_tumour_stage(const char *site, double size_cm, uint32_t number, int *stage, cmir_error *err);

#ifdef __cplusplus
}
#endif
#endif
