/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/report.h: a search result, or an evaluation, as one self-contained HTML file. */
#ifndef CMIR_REPORT_H
#define CMIR_REPORT_H

#include <cmir/assess.h>
#include <cmir/search.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cmir_report_options {
    size_t struct_nbytes;    /* sizeof (cmir_report_options) */
    const char *command;     /* the command line that made the result, shown in the report; or NULL */
    cmir_volume *query;      /* the query's voxels if the caller has them loaded; NULL: read again
                                from the path of result->query */
    uint32_t max_hits;       /* shown with pictures; 0: 10; at most 100 */
    cmir_progress_fn progress; /* hits drawn */
    void *progress_ctx;
    bool no_paths;           /* nothing of where archive and files lie, for readers elsewhere */
} cmir_report_options;

/* cmir_report_write() writes the report of `result`, a search in `archive`, to `path`.  Pictures
 * come from the source files; where one can no longer be read, or no longer has the slices it had,
 * the report says so in its place.  An existing file is replaced only when the new one is whole. */
CMIR_API cmir_status
cmir_report_write(const cmir_result *result, const cmir_archive *archive,
                  const cmir_report_options *options, const char *path, cmir_error *err);

/* A query of an evaluation that is shown with pictures: a search by the first method. */
typedef struct cmir_evaluation_case {
    uint32_t query;            /* its number in the evaluation */
    const cmir_result *result; /* its best hits, each drawn beside the slice of the query it matched */
} cmir_evaluation_case;

typedef struct cmir_evaluation_report_options {
    size_t struct_nbytes;    /* sizeof (cmir_evaluation_report_options) */
    const char *task;        /* what was asked for, as the heading names it */
    const char *summary;     /* a sentence or two on how; or NULL */
    const cmir_label *facts; /* how it was done: names and values, in order */
    size_t n_facts;
    const char *command;     /* the command line; or NULL */
    const cmir_eval_localisation *locations; /* [n_methods of the input]; NULL: there are none */
    const char *located;     /* a sentence on what was looked for, in which hits; or NULL */
    const cmir_archive *archive; /* in which the cases were searched; NULL: there are none */
    const cmir_evaluation_case *cases;
    size_t n_cases, n_best;  /* the first n_best are called the best queries, the others the worst */
    cmir_progress_fn progress; /* cases drawn */
    void *progress_ctx;
} cmir_evaluation_report_options;

/* The metric by which queries are called good or bad: P@k of the largest k, else the first one. */
CMIR_API size_t cmir_evaluation_main_metric(const cmir_evaluation *evaluation);

/* cmir_evaluation_report_write() writes the page of `evaluation`, which was made of `input`: the lines
 * with their intervals, precision at k, pairs of methods, where hits lie, every query, votes against the truth, their
 * reliability, and the cases with pictures, to `path`, as cmir_report_write() does. */
CMIR_API cmir_status
cmir_evaluation_report_write(const cmir_evaluation *evaluation, const cmir_eval_input *input,
                             const cmir_evaluation_report_options *options, const char *path,
                             cmir_error *err);

#ifdef __cplusplus
}
#endif
#endif
