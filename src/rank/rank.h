/* SPDX-License-Identifier: Apache-2.0 */
/* rank.h: scoring candidates against a query and locating the match.  Called by engine.
 *
 * The one idea: late interaction.  For each query slice the most similar slice of the candidate;
 * the mean of those similarities is the score, and which slices they were is the localisation. */
#ifndef CMIR_RANK_RANK_H
#define CMIR_RANK_RANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/search.h>
#include <cmir/status.h>

#include "store/store.h"

/* The query's rows in fixed point (store/codes.h) like the stored ones, so that a volume scores the
 * same from a file and from the archive. */
typedef struct cmir_query {
    const int16_t *rows;   /* [n_rows][padded_dim], 64-byte aligned */
    const uint32_t *slice; /* [n_rows] slice numbers, ascending */
    uint32_t n_rows, padded_dim;
} cmir_query;

typedef struct cmir_ranked {
    size_t candidate; /* index in the snapshot */
    double score;
} cmir_ranked;

typedef struct cmir_rank_options {
    cmir_score score;
    uint32_t limit;      /* hits wanted */
    uint32_t n_threads;  /* 0: the CPUs this process may use */
    bool exhaustive;     /* no first look: every candidate is ranked */
    uint32_t n_rerank;   /* candidates that a first look keeps; 0: by the size of the archive */
    unsigned cpu_flags;  /* base/cpu.h */
    const double *looked; /* a first look that was taken already: by number in the listing
                             (cmir_snapshot_number()); NULL: none */
    const double *spacing_ratio; /* ordered: the query's slice spacing over that of each candidate,
                                    by its index; not above 0: unknown.  NULL: all unknown */
} cmir_rank_options;

/* What a search did. */
typedef struct cmir_rank_work {
    uint64_t n_reranked; /* candidates left after the first look */
    uint64_t n_exact; /* of them, scored exactly */
    double screened; /* share of the products of query rows with rows of the n_reranked that were
                            computed; the others could not matter */
} cmir_rank_work;

/* cmir_coarse() takes a first look at every candidate of `snapshot`, for several queries at once:
 * scores[i * count + c] is query i's of candidate c.  Higher is better; no more is promised. */
cmir_status cmir_coarse(const cmir_query *const *queries, size_t n_queries,
                        const cmir_snapshot *snapshot, unsigned cpu_flags, uint32_t n_threads,
                        double *scores, cmir_error *err);

/* Whether cmir_rank() with these options takes a first look at n candidates. */
bool cmir_rank_looks_first(const cmir_rank_options *options, size_t n);

/* cmir_rank() ranks the candidates of `snapshot` and writes the best min(limit, count) to `out`
 * (room for `limit`), best first; *n_out tells how many.  freq, max and sum list only volumes that received a vote.
 *
 * Exact: a score is computed from integers, so it is the same bits on every CPU, with any number of
 * threads; it equals a brute force over the stored rows but for the rounding of one division, or,
 * where a score is more than a sum, of a few operations in a fixed order.
 * Volumes are left unscored only where a proven bound keeps them out of the list (screen.c), or,
 * for maxsim in large archives unless `exhaustive`, where the first look did not keep them
 * (coarse.c).  Equal scores by volume id unless search.h says otherwise. */
cmir_status cmir_rank(const cmir_query *query, const cmir_snapshot *snapshot,
                      const cmir_rank_options *options, cmir_ranked *out, size_t *n_out,
                      cmir_rank_work *work, cmir_error *err);

/* cmir_match_rows() gives for each query row its match in each of `n` candidates: slice numbers and
 * exact similarity ([n][query->n_rows]).  Equal similarities: the first slice. */
cmir_status cmir_match_rows(const cmir_query *query, const int16_t *center,
                            const cmir_rows *const *rows, size_t n, unsigned cpu_flags,
                            cmir_match *out, cmir_error *err);

/* cmir_match_ordered() gives the matches of `ordered` instead (ordered.c); spacing_ratio of each
 * candidate as in cmir_rank_options. */
cmir_status cmir_match_ordered(const cmir_query *query, const cmir_rows *const *rows,
                               const double *spacing_ratio, size_t n, unsigned cpu_flags,
                               cmir_match *out, cmir_error *err);

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
