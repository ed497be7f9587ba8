/* SPDX-License-Identifier: Apache-2.0 */
/* evaluation.c: an evaluation as one self-contained HTML file.  Called by the command.
 *
 * The one idea: everything a reviewer needs to doubt a figure stands on the page beside it: what
 * the ranking must beat, how sure the figure is, which queries made it, and the command. */
#include "report/evaluation.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "report/html.h"
#include "report/page.h"

#define MAX_CASES 40u

void
cmir_line_name(cmir_buf *out, const cmir_eval_line *line)
{
    cmir_html_text(out, line->name);
    if (line->kind == CMIR_EVAL_COHORT || line->kind == CMIR_EVAL_NUISANCE)
        cmir_buf_puts(out, " alone");
}

void
cmir_line_class(cmir_buf *out, const cmir_evaluation *e, size_t line)
{
    static const char *const kinds[] = {"method", "random", "majority", "cohort", "nuisance"};
    const cmir_eval_kind kind = e->lines[line].kind;
    size_t number = 0;

    for (size_t i = 0; i < line; i++)
        number += e->lines[i].kind == CMIR_EVAL_METHOD;
    if (kind == CMIR_EVAL_METHOD)
        cmir_buf_printf(out, "line method%zu", number % 8);
    else
        cmir_buf_printf(out, "line %s", kinds[kind]);
}

uint32_t
cmir_metric_precision(const char *metric)
{
    char *end;

    if (strncmp(metric, "P@", 2) != 0 || metric[2] < '0' || metric[2] > '9')
        return 0;
    const unsigned long k = strtoul(metric + 2, &end, 10);
    return *end == '\0' && k <= UINT32_MAX ? (uint32_t)k : 0;
}

size_t
cmir_evaluation_main_metric(const cmir_evaluation *e)
{
    size_t best = 0;

    for (size_t m = 1; m < e->n_metrics; m++)
        if (cmir_metric_precision(e->metrics[m]) > cmir_metric_precision(e->metrics[best]))
            best = m;
    return best;
}

bool
cmir_metric_is_usual(const char *metric)
{
    return cmir_metric_precision(metric) > 0 || strncmp(metric, "AP@", 3) == 0;
}

static void
write_facts(cmir_buf *out, const cmir_evaluation *e, const cmir_evaluation_report_options *o)
{
    cmir_buf_puts(out, "<section>\n<h2>How it was evaluated</h2>\n<dl>\n");
    for (size_t i = 0; i < o->n_facts; i++) {
        cmir_buf_puts(out, "<dt>");
        cmir_html_text(out, o->facts[i].name);
        cmir_buf_puts(out, "</dt><dd>");
        cmir_html_text(out, o->facts[i].value);
        cmir_buf_puts(out, "</dd>\n");
    }
    if (e->n_short > 0)
        cmir_buf_printf(out,
                        "<dt>Short lists</dt><dd>of %u queries some list has fewer volumes than "
                        "the largest k; what is missing counts as not relevant</dd>\n",
                        e->n_short);
    if (o->command != NULL)
        cmir_page_fact(out, "Command", o->command);
    cmir_page_written(out);
    cmir_buf_puts(out, "</dl>\n</section>\n");
}

const char *
cmir_evaluation_caveat(const cmir_evaluation *e)
{
    return e->leak ? " (leaks)" : e->seen ? " (whitening has seen the queries)" : "";
}

static void
write_caveats(cmir_buf *out, const cmir_evaluation *e)
{
    if (e->leak)
        cmir_buf_puts(out,
                      "<p class=\"notice leak\" role=\"note\">This evaluation leaks: a query's own "
                      "patient is in its database. Every figure on this page is too good.</p>\n");
    if (e->seen)
        cmir_buf_puts(
            out, "<p class=\"notice leak\" role=\"note\">The whitening has seen the queries: it "
                 "was learnt, without labels, from volumes of the very patients that ask. "
                 "Figures on this page may be too good.</p>\n");
}

static void
write_figures(cmir_buf *out, const cmir_evaluation *e, const cmir_eval_input *input,
              const cmir_evaluation_report_options *o)
{
    cmir_evaluation_lines(out, e, o->summary);
    cmir_evaluation_curves(out, e);
    cmir_evaluation_pairs(out, e);
    if (o->locations != NULL)
        cmir_evaluation_locations(out, e, o, input->n_methods);
    cmir_evaluation_strip(out, e, input);
    cmir_evaluation_confusion(out, e);
    cmir_evaluation_reliability(out, e);
}

static cmir_status
write_cases(cmir_buf *out, const cmir_evaluation *e, const cmir_eval_input *input,
            const cmir_evaluation_report_options *o, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    for (size_t i = 0; i < o->n_cases && st == CMIR_OK; i++) {
        if (o->progress != NULL && o->progress(o->progress_ctx, i, o->n_cases) != 0)
            return FAIL(err, CMIR_ECANCELLED, "the report was cancelled");
        if (i == 0 || i == o->n_best) {
            cmir_buf_printf(out, "%s<section>\n<h2>%s queries</h2>\n", i > 0 ? "</section>\n" : "",
                            i < o->n_best ? "Best" : "Worst");
            cmir_buf_puts(out, "<p class=\"soft\">By ");
            cmir_html_text(out, e->metrics[cmir_evaluation_main_metric(e)]);
            cmir_buf_puts(out, " of ");
            cmir_line_name(out, &e->lines[0]);
            cmir_buf_puts(out,
                          ". Each hit is shown by its best pair of slices: the query's left, its "
                          "own right.</p>\n");
        }
        st = cmir_evaluation_draw(out, e, input, &o->cases[i], o->archive, err);
    }
    if (o->n_cases > 0)
        cmir_buf_puts(out, "</section>\n");
    return st;
}

static cmir_status
check_arguments(const cmir_evaluation *e, const cmir_eval_input *input,
                const cmir_evaluation_report_options *o, const char *path, cmir_error *err)
{
    if (e == NULL || input == NULL || o == NULL || path == NULL)
        return FAIL(err, CMIR_EINVAL, "report: evaluation, input, options and path must be given");
    if (o->struct_nbytes != sizeof *o || input->struct_nbytes != sizeof *input)
        return FAIL(err, CMIR_EINVAL, "report: struct_nbytes is not that of this library");
    if (e->n_queries != input->n_queries || e->n_lines < input->n_methods || e->n_lines == 0 ||
        e->n_metrics == 0)
        return FAIL(err, CMIR_EINVAL, "report: the evaluation was not made of this input");
    if (o->n_cases > MAX_CASES || o->n_best > o->n_cases || (o->n_cases > 0 && o->archive == NULL))
        return FAIL(err, CMIR_EINVAL, "report: %zu cases; at most %u, and of an archive",
                    o->n_cases, MAX_CASES);
    for (size_t i = 0; i < o->n_cases; i++)
        if (o->cases[i].query >= e->n_queries || o->cases[i].result == NULL)
            return FAIL(err, CMIR_EINVAL, "report: case %zu is of no query", i);
    return CMIR_OK;
}

cmir_status
cmir_evaluation_report_write(const cmir_evaluation *evaluation, const cmir_eval_input *input,
                             const cmir_evaluation_report_options *options, const char *path,
                             cmir_error *err)
{
    cmir_buf page = {0};
    cmir_status st = check_arguments(evaluation, input, options, path, err);

    if (st != CMIR_OK)
        return st;
    const char *task = options->task == NULL ? "" : options->task;
    cmir_page_open(&page, task, " - evaluation", "Evaluation: ", task);
    write_caveats(&page, evaluation);
    write_figures(&page, evaluation, input, options);
    if ((st = write_cases(&page, evaluation, input, options, err)) == CMIR_OK) {
        write_facts(&page, evaluation, options);
        write_caveats(&page, evaluation);
        cmir_page_close(&page);
        st = page.failed ? FAIL(err, CMIR_ENOMEM, "%s: no memory for the report", path)
                         : cmir_file_replace(path, page.data, page.nbytes, err);
    }
    free(page.data);
    return st;
}
