/* SPDX-License-Identifier: Apache-2.0 */
/* evidence.h: what a search's nearest cases say.  Called by search_job.c. */
#ifndef CMIR_ENGINE_EVIDENCE_H
#define CMIR_ENGINE_EVIDENCE_H

#include <cmir/evidence.h>

#include "engine/cases.h"
#include "store/store.h"

/* The memory behind a cmir_evidence. */
typedef struct cmir_engine_evidence {
    cmir_evidence view; /* first: what the result shows */
    cmir_record **records; /* [n_neighbours], whose text the view borrows */
    cmir_neighbour *neighbours;
    cmir_evidence_label *labels;
    cmir_calibration *calibrations; /* [n_labels] */
    cmir_evidence_value *values;    /* [n_labels][n_neighbours] */
    const char **text;              /* the same */
} cmir_engine_evidence;

/* cmir_evidence_gather() takes the evidence of `cases`; `query` tells whose volume was searched
 * with. */
cmir_status cmir_evidence_gather(const cmir_snapshot *snapshot, const cmir_record *query,
                                 const cmir_case *cases, size_t n, uint32_t k, cmir_score score,
                                 cmir_engine_evidence **out, cmir_error *err);
void cmir_engine_evidence_free(cmir_engine_evidence *evidence); /* NULL is fine */

#endif
