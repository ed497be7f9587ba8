/* SPDX-License-Identifier: Apache-2.0 */
/* rank.h: scoring candidates against a query and locating the match.  Called by engine.
 *
 * The one idea: late interaction.  For each query slice the most similar slice of the candidate;
 * the mean of those similarities is the score, and which slices they were is the localisation. */
#ifndef CMIR_RANK_RANK_H
#define CMIR_RANK_RANK_H

#include <stddef.h>
#include <stdint.h>

#include <cmir/search.h>
#include <cmir/status.h>

#include "store/store.h"

/* The query's rows, rounded to half precision like the stored ones, so that a volume scores the
 * same from a file and from the archive. */
typedef struct cmir_query {
    const float *rows;     /* [n_rows][dim] */
    const uint32_t *slice; /* [n_rows] slice numbers, ascending */
    uint32_t n_rows, dim;
} cmir_query;

typedef struct cmir_ranked {
    size_t candidate; /* index in the snapshot */
    double score;
} cmir_ranked;

/* cmir_rank() scores every candidate of `snapshot` and writes the best min(limit, count) to
 * `out` (room for `limit`), best first; *n_out tells how many.  freq, max and sum list only volumes that received a
 * vote.  Exact: equal to a float64 brute force over the stored halves within 1e-5, in order as
 * well; equal scores by volume id unless search.h says otherwise. */
cmir_status cmir_rank(const cmir_query *query, const cmir_snapshot *snapshot, cmir_score score,
                      uint32_t limit, uint32_t n_threads, cmir_ranked *out, size_t *n_out,
                      cmir_error *err);

/* cmir_match_rows() gives for each query row its match in `rows` (room for query->n_rows): slice
 * numbers and exact similarity.  Equal similarities: the first slice. */
cmir_status cmir_match_rows(const cmir_query *query, const cmir_rows *rows, cmir_match *out,
                            cmir_error *err);

/* The matched run of a hit: locate.c tells the definition. */
typedef struct cmir_run {
    uint32_t match_first, match_last; /* candidate slices */
    uint32_t query_first, query_last; /* query slices matched inside the run */
} cmir_run;

/* cmir_locate() finds the run of candidate slices that `matches` (n >= 1) point to.  Spacings in mm along
 * the normals; 0 if unknown.  n_slices is the candidate's. */
cmir_status cmir_locate(const cmir_match *matches, uint32_t n, double query_spacing_mm,
                        uint32_t n_slices, double spacing_mm, cmir_run *out, cmir_error *err);

#endif
