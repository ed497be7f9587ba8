/* SPDX-License-Identifier: Apache-2.0 */
/* hit.h: one volume found, in the report.  Called by report.c and evaluation_case.c. */
#ifndef CMIR_REPORT_HIT_H
#define CMIR_REPORT_HIT_H

#include <cmir/search.h>

#include "base/memory.h"
#include "report/picture.h"

/* Appends the hit's section to `section` and its row of the summary to `row`.  `query` is open;
 * `found` is the hit's source, open as well. */
cmir_status cmir_hit_write(const cmir_result *result, const cmir_hit *hit, const cmir_source *query,
                           const cmir_source *found, cmir_buf *section, cmir_buf *row,
                           cmir_error *err);

/* A match as two small pictures, the query's left, in the window that suits it. */
cmir_status cmir_pair_write(cmir_buf *out, const cmir_source *query, const cmir_source *found,
                            const cmir_match *match, cmir_error *err);

/* A slice in a square of `side` pixels: 384, 288, 176 or 72.  Small ones carry no letters. */
cmir_status cmir_picture_write(cmir_buf *out, const cmir_frame *frame, cmir_preset window,
                               cmir_plane plane, unsigned side, const char *alt, cmir_error *err);

/* What is known of a volume, as <dt>, <dd> pairs. */
void cmir_facts_write(cmir_buf *out, const cmir_record *record, bool no_paths);

/* Where pictures are of a preview: that, and why the scan itself is not shown. */
void cmir_preview_note(cmir_buf *out, const cmir_source *source);

/* A place, such as "-87.5 mm"; nothing where it is not known. */
void cmir_mm_write(cmir_buf *out, double mm);

#endif
