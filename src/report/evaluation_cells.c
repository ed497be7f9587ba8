/* SPDX-License-Identifier: Apache-2.0 */
/* evaluation_cells.c: an evaluation query by query, and votes against the truth.
 *
 * The one idea: queries stand in the same order for all rankings, those of one value together and
 * the easy ones first, so that a column is one query and what one ranking finds and another does not
 * is seen at a glance. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/evaluation.h"
#include "report/html.h"
#include "report/plot.h"

enum { CELL_HEIGHT = 200, NAME_WIDTH = 1700, WIDTH = 11600, GAP = 60, MOST_TITLES = 20000 };

struct place {
    uint32_t query, value;
    double mean; /* over the methods */
};

static int
by_value(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    if (x->mean < y->mean || x->mean > y->mean)
        return x->mean > y->mean ? -1 : 1;
    return x->query < y->query ? -1 : x->query > y->query;
}

static uint32_t
value_number(const cmir_evaluation *e, const char *value)
{
    for (size_t v = 0; v < e->n_values; v++)
        if (strcmp(e->values[v], value) == 0)
            return (uint32_t)v;
    return 0;
}

static struct place *
order_queries(const cmir_evaluation *e, const cmir_eval_input *input, size_t metric)
{
    struct place *order = cmir_alloc(e->n_queries, sizeof *order);

    for (size_t q = 0; order != NULL && q < e->n_queries; q++) {
        double sum = 0;

        for (size_t i = 0; i < input->n_methods; i++) {
            const double value = e->lines[i].per_query[q * e->n_metrics + metric];
            sum += isnan(value) ? 0 : value;
        }
        order[q] = (struct place){
            (uint32_t)q, value_number(e, input->volumes[input->queries[q].volume].value), sum};
    }
    if (order != NULL)
        qsort(order, e->n_queries, sizeof *order, by_value);
    return order;
}

/* Where the i-th query of the order stands: cells of equal width, a gap between values. */
static long
cell_left(const cmir_evaluation *e, const struct place *order, size_t i)
{
    const long room = WIDTH - (long)(e->n_values - 1) * GAP;
    const uint32_t value = i < e->n_queries ? order[i].value : (uint32_t)e->n_values - 1;

    return NAME_WIDTH + (long)value * GAP + room * (long)i / (long)e->n_queries;
}

static void
draw_row(cmir_buf *out, const cmir_evaluation *e, const cmir_eval_input *input,
         const struct place *order, size_t line, size_t metric)
{
    const long top = (long)line * (CELL_HEIGHT + 20);
    const bool titled = e->n_queries * e->n_lines <= MOST_TITLES;

    cmir_buf_printf(out, "<text x=\"%d\" y=\"%ld\" text-anchor=\"end\">", NAME_WIDTH - 80,
                    top + 140);
    cmir_line_name(out, &e->lines[line]);
    cmir_buf_puts(out, "</text>\n");
    for (size_t i = 0; i < e->n_queries; i++) {
        const cmir_eval_volume *volume = &input->volumes[input->queries[order[i].query].volume];
        const double value = e->lines[line].per_query[order[i].query * e->n_metrics + metric];
        const long left = cell_left(e, order, i), full = cell_left(e, order, i + 1) - left;
        const bool last = i + 1 == e->n_queries || order[i + 1].value != order[i].value;
        const long width = last && i + 1 < e->n_queries
                               ? full - (long)(order[i + 1].value - order[i].value) * GAP
                               : full;

        cmir_buf_printf(out, "<rect class=\"s%ld\" x=\"%ld\" y=\"%ld\" width=\"%ld\" height=\"%d\"",
                        isnan(value) ? -1 : lround(10 * fmin(fmax(value, 0), 1)), left, top,
                        width > 60 ? width - 10 : width, CELL_HEIGHT);
        if (!titled) {
            cmir_buf_puts(out, "/>");
            continue;
        }
        cmir_buf_puts(out, "><title>");
        cmir_html_text(out, volume->id);
        cmir_buf_puts(out, ", ");
        cmir_html_text(out, volume->value);
        cmir_buf_printf(out, ": %.3f</title></rect>", value);
    }
    cmir_buf_puts(out, "\n");
}

/* The values below their queries. */
static void
draw_values(cmir_buf *out, const cmir_evaluation *e, const struct place *order)
{
    const long top = (long)e->n_lines * (CELL_HEIGHT + 20) + 130;

    for (size_t i = 0, end; i < e->n_queries; i = end) {
        for (end = i + 1; end < e->n_queries && order[end].value == order[i].value;)
            end++;
        cmir_buf_printf(out, "<text x=\"%ld\" y=\"%ld\" text-anchor=\"middle\">",
                        (cell_left(e, order, i) + cell_left(e, order, end)) / 2, top);
        cmir_html_text(out, e->values[order[i].value]);
        cmir_buf_puts(out, "</text>\n");
    }
}

static void
write_scale(cmir_buf *out)
{
    cmir_buf_puts(out, "<p class=\"scale\">0");
    for (int i = 0; i <= 10; i++)
        cmir_buf_printf(out, "<span class=\"s%d\"></span>", i);
    cmir_buf_puts(out, "1</p>\n");
}

void
cmir_evaluation_strip(cmir_buf *out, const cmir_evaluation *e, const cmir_eval_input *input)
{
    const size_t metric = cmir_evaluation_main_metric(e);
    struct place *order = order_queries(e, input, metric);
    const long height = (long)e->n_lines * (CELL_HEIGHT + 20) + 200;

    if (order == NULL) {
        out->failed = true;
        return;
    }
    cmir_buf_puts(out, "<section>\n<h2>Query by query</h2>\n<p>A column is a query, by its value "
                       "(below); the colour is its ");
    cmir_html_text(out, e->metrics[metric]);
    cmir_buf_printf(out, "%s.</p>\n", cmir_evaluation_caveat(e));
    write_scale(out);
    cmir_buf_printf(out,
                    "<svg class=\"strip cells\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" "
                    "aria-label=\"Every query by every ranking\" width=\"%d\" height=\"%ld\" "
                    "viewBox=\"0 0 %d %ld\">\n",
                    (NAME_WIDTH + WIDTH) / 10, height / 10, NAME_WIDTH + WIDTH, height);
    for (size_t i = 0; i < e->n_lines; i++)
        draw_row(out, e, input, order, i, metric);
    draw_values(out, e, order);
    cmir_buf_puts(out, "</svg>\n</section>\n");
    free(order);
}

static void
write_matrix(cmir_buf *out, const cmir_evaluation *e, const cmir_eval_line *line)
{
    cmir_buf_puts(out, "<figure class=\"matrix\"><table>\n<thead><tr><th></th>");
    for (size_t v = 0; v < e->n_values; v++) {
        cmir_buf_puts(out, "<th>");
        cmir_html_text(out, e->values[v]);
        cmir_buf_puts(out, "</th>");
    }
    cmir_buf_puts(out, "</tr></thead>\n<tbody>\n");
    for (size_t t = 0; t < e->n_values; t++) {
        const double *row = line->confusion + t * e->n_values;
        double sum = 0;

        for (size_t v = 0; v < e->n_values; v++)
            sum += row[v];
        cmir_buf_puts(out, "<tr><th>");
        cmir_html_text(out, e->values[t]);
        cmir_buf_puts(out, "</th>");
        for (size_t v = 0; v < e->n_values; v++)
            cmir_buf_printf(out,
                            "<td class=\"number%s\" style=\"background:rgb(255 191 105 / %ld%%)\">"
                            "%.3g</td>",
                            v == t ? " right" : "", sum > 0 ? lround(70 * row[v] / sum) : 0,
                            row[v]);
        cmir_buf_puts(out, "</tr>\n");
    }
    cmir_buf_puts(out, "</tbody></table>\n<figcaption>");
    cmir_line_name(out, line);
    cmir_buf_printf(out, "%s</figcaption></figure>\n", cmir_evaluation_caveat(e));
}

void
cmir_evaluation_confusion(cmir_buf *out, const cmir_evaluation *e)
{
    enum { MOST_VALUES = 20 };

    cmir_buf_puts(out, "<section>\n<h2>What the nearest vote for</h2>\n");
    if (e->n_values > MOST_VALUES) {
        cmir_buf_printf(out,
                        "<p class=\"soft\">%zu values: too many for a table.</p>\n</section>\n",
                        e->n_values);
        return;
    }
    cmir_buf_puts(out,
                  "<p>Queries by their value (rows) and the value with most of the vote of the "
                  "nearest volumes (columns). Stronger colour: a larger share of the row.</p>\n"
                  "<div class=\"row\">\n");
    for (size_t i = 0; i < e->n_lines; i++)
        if (e->lines[i].kind == CMIR_EVAL_METHOD || e->lines[i].kind == CMIR_EVAL_COHORT)
            write_matrix(out, e, &e->lines[i]);
    cmir_buf_puts(out, "</div>\n</section>\n");
}
