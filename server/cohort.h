/* SPDX-License-Identifier: Apache-2.0 */
/* cohort.h: a cohort written out for other programs.  Called by api_cohorts.c. */
#ifndef CMIR_SERVER_COHORT_H
#define CMIR_SERVER_COHORT_H

#include "json/json.h"

/* The cohort with the record of each volume in place of its id, and Missing: ids that are not in the
 * archive any more. */
cmir_status cohort_json(const cmir_archive *archive, const json_t *cohort, json_t **out,
                        cmir_error *err);
/* A row for each volume: ids, what is known of it, a column for every label; free().  Cells that a
 * spreadsheet would take for a formula begin with an apostrophe. */
cmir_status cohort_csv(const cmir_archive *archive, const json_t *cohort, char **out,
                       size_t *nbytes, cmir_error *err);

#endif
