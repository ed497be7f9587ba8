/* SPDX-License-Identifier: Apache-2.0 */
/* evaluate_internal.h: what the files of an evaluation share.
 *
 *   evaluate.c           options, the order of work, memory
 *   evaluate_input.c     is the input what it claims to be?  texts become numbers
 *   evaluate_line.c      lists to figures of every query; figures of every query to a line
 *   evaluate_baseline.c  the lines that a ranking must beat
 *   evaluate_pairs.c     methods against each other
 *   evaluate_locations.c where hits lie: a table of its own */
#ifndef CMIR_ASSESS_EVALUATE_INTERNAL_H
#define CMIR_ASSESS_EVALUATE_INTERNAL_H

#include <cmir/assess.h>

#define CMIR_EVAL_NONE UINT32_MAX /* no value, no cohort */
#define CMIR_EVAL_AP_DEPTH 10u    /* of 3D-MIR's average precision */
enum { CMIR_EVAL_BINS = 10 };

/* After P@k of every cut-off. */
enum {
    CMIR_EVAL_NOTEBOOK,
    CMIR_EVAL_AP,
    CMIR_EVAL_MAP,
    CMIR_EVAL_NDCG,
    CMIR_EVAL_RECALL,
    CMIR_EVAL_MRR,
    CMIR_EVAL_N_OTHERS
};

/* Zeroed memory that is freed together. */
typedef struct cmir_eval_memory {
    void **blocks;
    size_t n, cap;
} cmir_eval_memory;
void *cmir_eval_alloc(cmir_eval_memory *memory, size_t n, size_t size); /* NULL: there is none */
void cmir_eval_release(cmir_eval_memory *memory);

/* An evaluation in the making. */
typedef struct cmir_eval_job {
    const cmir_eval_input *in;
    cmir_eval_options opt;    /* every default filled in; of opt.positive see `positive` */
    cmir_eval_memory scratch; /* of what follows */
    uint32_t *value;          /* [n_volumes] its number, in order of text */
    uint32_t *group;          /* [n_volumes] */
    uint32_t *cohort;         /* [n_volumes]; CMIR_EVAL_NONE where unknown */
    const char **values;      /* [n_values] texts */
    uint32_t n_values, n_groups, n_cohorts;
    uint32_t *query_group; /* [n_queries] 0 .. n_query_groups-1 */
    uint32_t n_query_groups;
    uint32_t *n_relevant; /* [n_queries] in its database */
    uint8_t *is_positive; /* [n_queries] */
    uint32_t positive;    /* value; CMIR_EVAL_NONE: none */
    uint32_t n_short;
    bool leak;
    size_t n_metrics;
    cmir_eval_memory *result; /* what the evaluation will own */
    uint64_t n_done, n_steps; /* progress: a query of a line, or a pair */
} cmir_eval_job;

/* Whether to go on, after one more step. */
cmir_status cmir_eval_step(cmir_eval_job *job, cmir_error *err);

/* Zeros become defaults. */
cmir_status cmir_eval_fill_options(cmir_eval_options *options, cmir_error *err);
cmir_status cmir_eval_check_input(cmir_eval_job *job, cmir_error *err);

/* A line before its intervals.  Everything is of n_queries; memory of the result or of a scratch. */
typedef struct cmir_eval_draft {
    double *per_query; /* [n_queries][n_metrics] */
    double *confusion; /* [n_values][n_values] */
    double *correct;   /* [n_queries] how often the most voted value is right */
    double *drawn;     /* [n_rows][n_queries] evidence: one row, or one of each shuffle */
    size_t n_rows;
    double *means; /* [n_metrics + 1][n_rows] of all queries in each shuffle, accuracy last; NULL:
                      intervals are bootstrapped over patients */
} cmir_eval_draft;
cmir_status cmir_eval_draft_start(cmir_eval_job *job, size_t n_rows, cmir_eval_memory *scratch,
                                  cmir_eval_draft *draft, cmir_error *err);
cmir_status cmir_eval_finish_line(cmir_eval_job *job, const cmir_eval_draft *draft,
                                  cmir_eval_line *line, cmir_error *err);

/* All metrics of one list: relevant[n] of a query with n_relevant. */
void cmir_eval_measure(const cmir_eval_job *job, const uint8_t *relevant, size_t n,
                       size_t n_relevant, double *metrics);

/* The vote of n neighbours with these values and weights: the share of `positive` (NAN without it or
 * without neighbours) and the value that gets most, of equals the nearer (CMIR_EVAL_NONE without
 * neighbours).  `tally` is scratch for n_values numbers. */
typedef struct cmir_eval_vote {
    double evidence;
    uint32_t voted;
} cmir_eval_vote;
cmir_eval_vote cmir_eval_count_votes(const cmir_eval_job *job, const uint32_t *value,
                                     const double *weight, size_t n, double *tally);

/* Enters what was voted for a query into the draft's row, confusion and correct, `share` times. */
void cmir_eval_enter_vote(const cmir_eval_job *job, cmir_eval_draft *draft, size_t row,
                          size_t query, cmir_eval_vote vote, double share);

cmir_status cmir_eval_method_line(cmir_eval_job *job, const cmir_eval_method *method,
                                  cmir_eval_line *line, cmir_error *err);
/* `nuisance` is read for CMIR_EVAL_NUISANCE only. */
cmir_status cmir_eval_baseline_line(cmir_eval_job *job, cmir_eval_kind kind, size_t nuisance,
                                    cmir_eval_line *line, cmir_error *err);
cmir_status cmir_eval_compare(cmir_eval_job *job, const cmir_eval_line *lines,
                              cmir_eval_pair *pairs, cmir_error *err);

#endif
