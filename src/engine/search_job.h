/* SPDX-License-Identifier: Apache-2.0 */
/* search_job.h: one query against one state of an archive, in three steps: start and finish ask the
 * catalogue, so they take turns; rank is arithmetic, so many jobs may do it at once.  Called by
 * search.c. */
#ifndef CMIR_ENGINE_SEARCH_JOB_H
#define CMIR_ENGINE_SEARCH_JOB_H

#include "engine/engine_internal.h"
#include "engine/result.h"
#include "rank/rank.h"

/* Zero-initialise, set `result` (which knows its query's record); free with
 * cmir_search_job_free(). */
typedef struct cmir_search_job {
    cmir_engine_result *result;
    cmir_snapshot *snapshot; /* what may answer this query */
    cmir_query query; /* its rows that take part, in memory of their own: */
    int16_t *rows;
    uint32_t *slice;
    double *spacing_ratio; /* of the query to each candidate; NULL: the score does not ask */
    cmir_ranked *ranked;
    size_t n_ranked; /* more than hits, where evidence needs more neighbours */
    size_t n_hits;
    bool scores_only;
} cmir_search_job;

/* Do the slices asked for exist? */
cmir_status cmir_search_check_slices(const cmir_search_options *o, const char *name,
                                     uint32_t n_slices, cmir_error *err);

/* What may not answer a query. */
cmir_without cmir_search_exclusion(const cmir_search_options *o, const cmir_volume_info *query);
bool cmir_search_is_blank(const char *where); /* such a filter passes everything */

/* The query's rows are those of `stored`, or, where that is NULL, those of `e`; neither is needed
 * afterwards.  `base` is everything that passes the filter; close it after the job.  `asked` names
 * the candidates; NULL: all. */
cmir_status cmir_search_job_start(cmir_search_job *job, const cmir_snapshot *base,
                                  const cmir_embeddings *e, const cmir_rows *stored,
                                  const cmir_search_query *asked, const cmir_search_options *o,
                                  cmir_error *err);
/* The options of a search of `count` candidates, as rank wants them. */
cmir_rank_options cmir_search_rank_options(const cmir_search_options *o, size_t count,
                                           uint32_t n_threads, const double *looked);
/* `looked`: a first look that was taken already, by number in the listing; NULL: none. */
cmir_status cmir_search_job_rank(cmir_search_job *job, const cmir_search_options *o,
                                 uint32_t n_threads, const double *looked, cmir_error *err);
cmir_status cmir_search_job_finish(cmir_search_job *job, const cmir_search_options *o,
                                   uint32_t n_threads, const double *looked, cmir_error *err);
void cmir_search_job_free(cmir_search_job *job);

#endif
