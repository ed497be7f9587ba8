/* SPDX-License-Identifier: Apache-2.0 */
/* evaluation.h: the parts of the report of an evaluation.  Called by evaluation.c.
 *
 * The one idea: a ranking has one name, one colour and one dash pattern on the whole page: methods
 * are coloured, what they must beat is grey and dashed. */
#ifndef CMIR_REPORT_EVALUATION_H
#define CMIR_REPORT_EVALUATION_H

#include <stdbool.h>

#include <cmir/report.h>

#include "base/memory.h"

/* evaluation.c.  "cohort alone" and the like; the name of a method as it is. */
void cmir_line_name(cmir_buf *out, const cmir_eval_line *line);
/* The classes of its marks, such as "line method3"; every method of a page has another colour, up
 * to eight. */
void cmir_line_class(cmir_buf *out, const cmir_evaluation *e, size_t line);
/* What stands behind every heading, such as " (leaks)"; "" where there is nothing to say. */
const char *cmir_evaluation_caveat(const cmir_evaluation *e);
/* The k of a metric "P@k"; 0 for every other. */
uint32_t cmir_metric_precision(const char *metric);
/* Shown at first: precision at k and average precision, as tables of papers have them. */
bool cmir_metric_is_usual(const char *metric);

/* evaluation_table.c: figures with intervals, tests of pairs, and where hits lie. */
void cmir_evaluation_lines(cmir_buf *out, const cmir_evaluation *e, const char *summary);
void cmir_evaluation_pairs(cmir_buf *out, const cmir_evaluation *e);
void cmir_evaluation_locations(cmir_buf *out, const cmir_evaluation *e,
                               const cmir_evaluation_report_options *o, size_t n_methods);

/* evaluation_plot.c: precision at k with intervals, and how reliable votes are. */
void cmir_evaluation_curves(cmir_buf *out, const cmir_evaluation *e);
void cmir_evaluation_reliability(cmir_buf *out, const cmir_evaluation *e);

/* evaluation_cells.c: a cell per ranking and query, and votes against the truth. */
void cmir_evaluation_strip(cmir_buf *out, const cmir_evaluation *e, const cmir_eval_input *input);
void cmir_evaluation_confusion(cmir_buf *out, const cmir_evaluation *e);

/* evaluation_case.c: a query and its best hits with pictures. */
cmir_status cmir_evaluation_draw(cmir_buf *out, const cmir_evaluation *e,
                                 const cmir_eval_input *input, const cmir_evaluation_case *shown,
                                 const cmir_archive *archive, cmir_error *err);

#endif
