/* SPDX-License-Identifier: Apache-2.0 */
/* strip.h: where the query's slices were found, as inline SVG.  Called by hit.c and
 * evidence.c. */
#ifndef CMIR_REPORT_STRIP_H
#define CMIR_REPORT_STRIP_H

#include <cmir/evidence.h>
#include <cmir/search.h>

#include "base/memory.h"

/* The candidate's slices along x, a mark per match at its similarity, the matched run shaded. */
void cmir_strip_similarity(cmir_buf *out, const cmir_hit *hit);

/* The query's searched slices along x, the candidate's slices along y, a mark per match. */
void cmir_strip_pairs(cmir_buf *out, const cmir_result *result, const cmir_hit *hit);

/* The query's slices along x, the curve of the contrast with its interval, the run shaded; below it
 * how sure each slice is to be in the run. */
void cmir_strip_contrast(cmir_buf *out, const cmir_record *query, const cmir_contrast *contrast);

#endif
