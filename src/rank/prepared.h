/* SPDX-License-Identifier: Apache-2.0 */
/* prepared.h: a query made ready for one search, and what a thread needs to work on it.  Shared by
 * the files of rank. */
#ifndef CMIR_RANK_PREPARED_H
#define CMIR_RANK_PREPARED_H

#include "kernel/kernel.h"
#include "rank/rank.h"

#define CMIR_MAX_STAGES 16u
#define CMIR_SAMPLE_ROWS 32u /* query rows of a first look */
#define CMIR_NO_ROW UINT32_MAX

/* The first groups of a query, up to a stage of the screening. */
typedef struct cmir_stage {
    uint32_t n_groups, n_rows;
    double norm_sum, residual_sum; /* over its rows: of the row less the center; of its codes */
} cmir_stage;

/* Lanes are query rows, 16 neighbours to a group; the groups are in an order that visits the whole
 * query early. */
typedef struct cmir_prepared {
    const cmir_query *query;
    cmir_kernels kernels;
    size_t group_nbytes;
    cmir_packed whole;  /* every row; norm is of the row less the center, residual of its codes */
    uint32_t *lane_row; /* [whole.n_groups * 16] query row of each lane, or CMIR_NO_ROW; rows of a
                           group follow each other, and only its last lanes can have none */
    cmir_stage stages[CMIR_MAX_STAGES]; /* the last one is the whole query */
    uint32_t n_stages;
    /* Means of the rows of each stage as two rows in fixed point, value = high + low /
     * CMIR_MEAN_LOW: [2 * n_stages][padded_dim]. */
    int16_t *means;
    void *memory;
} cmir_prepared;

#define CMIR_MEAN_LOW 64

/* A few rows of the query, for a first look (coarse.c). */
typedef struct cmir_sample {
    cmir_kernels kernels;
    cmir_packed packed; /* without bounds */
    uint32_t n_rows;    /* at most CMIR_SAMPLE_ROWS, evenly spaced */
    void *memory;
} cmir_sample;

cmir_status cmir_sample_make(const cmir_query *query, const int16_t *center, unsigned cpu_flags,
                             cmir_sample *out, cmir_error *err);
void cmir_sample_free(cmir_sample *sample); /* a zeroed one is fine */

/* CMIR_EINVAL for a query that cannot be searched with: no rows, too many, an odd width. */
cmir_status cmir_query_check(const cmir_query *query, cmir_error *err);

cmir_status cmir_prepare(const cmir_query *query, const int16_t *center, unsigned cpu_flags,
                         cmir_prepared *out, cmir_error *err);
void cmir_prepared_free(cmir_prepared *prepared); /* a zeroed one is fine */

/* <mean of query rows, in the form above, mean of the candidate's rows>. */
double cmir_mean_product(const cmir_kernels *kernels, const int16_t *mean, const cmir_rows *rows);

/* What one thread needs for candidates of at most n_rows_max rows. */
typedef struct cmir_scratch {
    float *best; /* [lanes] */
    uint32_t *best_row; /* [lanes] */
    cmir_kept kept;
    uint32_t groups_at_once; /* that `kept` has room for */
    uint32_t *selected; /* [16 * n_rows_max] */
    uint32_t *q, *r; /* [n_pairs_max] */
    int32_t *dots; /* [n_pairs_max] */
    uint32_t *every, *none; /* [m] 0, 1, 2, ...; [m] zeros */
    int32_t *of_mean; /* [m + 16] <query row, mean of the candidate's rows> */
    int32_t *winner; /* [m + 16] the best product of each query row */
    uint32_t *winner_row; /* [m] and where */
    /* What screen.c did: query rows screened, and that there were; candidates scored exactly. */
    uint64_t n_screened, n_total, n_exact;
    void *memory;
} cmir_scratch;

cmir_status cmir_scratch_make(const cmir_prepared *p, uint32_t n_rows_max, cmir_scratch *out,
                              cmir_error *err);
void cmir_scratch_free(cmir_scratch *scratch); /* a zeroed one is fine */

/* The rows that take part in scores, as the kernels want them. */
cmir_codes cmir_codes_of(const cmir_rows *rows);

#endif
