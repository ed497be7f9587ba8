/* SPDX-License-Identifier: Apache-2.0 */
/* evaluation_table.c: the figures of an evaluation with their intervals, tests of pairs, and where hits
 * lie. */
#include <math.h>

#include "report/evaluation.h"
#include "report/html.h"

/* Figures that are of all queries together stand behind those of the metrics. */
enum { ACCURACY, AUROC, AUPRC, BRIER, N_OTHERS };
static const char *const others[N_OTHERS] = {"Accuracy", "AUROC", "AUPRC", "Brier"};

static const cmir_eval_figure *
other_figure(const cmir_eval_line *line, int which)
{
    return which == ACCURACY ? &line->accuracy
           : which == AUROC  ? &line->auroc
           : which == AUPRC  ? &line->auprc
                             : &line->brier;
}

static void
write_figure(cmir_buf *out, const cmir_eval_figure *f)
{
    if (isnan(f->value)) {
        cmir_buf_puts(out, "<td class=\"number\">&#8211;</td>");
        return;
    }
    cmir_buf_printf(out, "<td class=\"number\">%.3f", f->value);
    if (isfinite(f->low) && isfinite(f->high))
        cmir_buf_printf(out, " <span class=\"soft\">%.2f&#8211;%.2f</span>", f->low, f->high);
    cmir_buf_puts(out, "</td>");
}

static bool
is_shown(const cmir_evaluation *e, size_t metric, bool all)
{
    return all || cmir_metric_is_usual(e->metrics[metric]);
}

static bool
is_other_shown(const cmir_evaluation *e, int which, bool all)
{
    return (which == ACCURACY || e->positive != NULL) && (all || which == AUROC);
}

/* The start of a row: which ranking it is. */
static void
write_ranking(cmir_buf *out, const cmir_evaluation *e, size_t line)
{
    cmir_buf_puts(out, "<tr class=\"");
    cmir_line_class(out, e, line);
    cmir_buf_puts(out, "\"><th scope=\"row\"><span class=\"key\"></span>");
    cmir_line_name(out, &e->lines[line]);
    cmir_buf_puts(out, "</th>");
}

static void
write_table(cmir_buf *out, const cmir_evaluation *e, bool all)
{
    cmir_buf_puts(out, "<div class=\"wide\"><table class=\"figures\">\n<thead><tr><th>Ranking");
    cmir_buf_printf(out, "%s</th>", cmir_evaluation_caveat(e));
    for (size_t m = 0; m < e->n_metrics; m++)
        if (is_shown(e, m, all)) {
            cmir_buf_puts(out, "<th>");
            cmir_html_text(out, e->metrics[m]);
            cmir_buf_puts(out, "</th>");
        }
    for (int i = 0; i < N_OTHERS; i++)
        if (is_other_shown(e, i, all))
            cmir_buf_printf(out, "<th>%s</th>", others[i]);
    cmir_buf_puts(out, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < e->n_lines; i++) {
        const cmir_eval_line *line = &e->lines[i];

        write_ranking(out, e, i);
        for (size_t m = 0; m < e->n_metrics; m++)
            if (is_shown(e, m, all))
                write_figure(out, &line->figures[m]);
        for (int k = 0; k < N_OTHERS; k++)
            if (is_other_shown(e, k, all))
                write_figure(out, other_figure(line, k));
        cmir_buf_puts(out, "</tr>\n");
    }
    cmir_buf_puts(out, "</tbody>\n</table></div>\n");
}

void
cmir_evaluation_lines(cmir_buf *out, const cmir_evaluation *e, const char *summary)
{
    cmir_buf_puts(out, "<section>\n<h2>Rankings</h2>\n<p>");
    if (summary != NULL)
        cmir_html_text(out, summary);
    cmir_buf_printf(
        out,
        "</p>\n<p class=\"soft\">Means over %zu quer%s of %zu patient%s, with 95 %% "
        "intervals over patients; of random, cohort and nuisances over their random orders. A "
        "ranking shows something only where it beats every line below the "
        "methods.</p>\n",
        e->n_queries, e->n_queries == 1 ? "y" : "ies", e->n_groups, e->n_groups == 1 ? "" : "s");
    write_table(out, e, false);
    cmir_buf_puts(out, "<details><summary>All figures</summary>\n");
    write_table(out, e, true);
    cmir_buf_puts(out, "</details>\n</section>\n");
}

/* A p; in bold where it was corrected and is small. */
static void
write_p(cmir_buf *out, double p, bool corrected)
{
    const bool bold = corrected && p < 0.05;

    cmir_buf_printf(out, "<td class=\"number\">%s", bold ? "<b>" : "");
    if (isnan(p))
        cmir_buf_puts(out, "&#8211;");
    else if (p < 0.001)
        cmir_buf_puts(out, "&lt; 0.001");
    else
        cmir_buf_printf(out, "%.3f", p);
    cmir_buf_puts(out, bold ? "</b></td>" : "</td>");
}

static void
write_pair(cmir_buf *out, const cmir_evaluation *e, const cmir_eval_pair *p)
{
    cmir_buf_puts(out, "<tr><td>");
    cmir_html_text(out, e->metrics[p->metric]);
    cmir_buf_puts(out, "</td><td>");
    cmir_line_name(out, &e->lines[p->a]);
    cmir_buf_puts(out, "</td><td>");
    cmir_line_name(out, &e->lines[p->b]);
    cmir_buf_printf(out, "</td><td class=\"number\">%+.3f", p->difference);
    if (isfinite(p->low) && isfinite(p->high))
        cmir_buf_printf(out, " <span class=\"soft\">%+.2f to %+.2f</span>", p->low, p->high);
    cmir_buf_puts(out, "</td>");
    write_p(out, p->wilcoxon, false);
    write_p(out, p->wilcoxon_holm, true);
    write_p(out, p->sign_flip, false);
    write_p(out, p->sign_flip_holm, true);
    cmir_buf_puts(out, "</tr>\n");
}

static void
write_pairs(cmir_buf *out, const cmir_evaluation *e, bool all)
{
    cmir_buf_printf(out,
                    "<div class=\"wide\"><table>\n<thead><tr><th>Metric%s</th><th>A</th>"
                    "<th>B</th><th>A &#8722; B</th><th>Wilcoxon p</th><th>Holm</th><th>Sign flip p"
                    "</th><th>Holm</th></tr></thead>\n<tbody>\n",
                    cmir_evaluation_caveat(e));
    for (size_t i = 0; i < e->n_pairs; i++)
        if (all || e->pairs[i].metric == cmir_evaluation_main_metric(e))
            write_pair(out, e, &e->pairs[i]);
    cmir_buf_puts(out, "</tbody>\n</table></div>\n");
}

void
cmir_evaluation_pairs(cmir_buf *out, const cmir_evaluation *e)
{
    if (e->n_pairs == 0)
        return;
    cmir_buf_puts(out,
                  "<section>\n<h2>Methods in pairs</h2>\n<p>Mean difference, and p of two-sided "
                  "tests over patients: as they are, and corrected (Holm) over all pairs of a "
                  "metric. Corrected ones below 0.05 in bold.</p>\n");
    write_pairs(out, e, false);
    cmir_buf_puts(out, "<details><summary>All metrics</summary>\n");
    write_pairs(out, e, true);
    cmir_buf_puts(out, "</details>\n</section>\n");
}

void
cmir_evaluation_locations(cmir_buf *out, const cmir_evaluation *e,
                          const cmir_evaluation_report_options *o, size_t n_methods)
{
    cmir_buf_puts(out, "<section>\n<h2>Where structures are found</h2>\n<p>");
    if (o->located != NULL)
        cmir_html_text(out, o->located);
    cmir_buf_printf(
        out,
        "</p>\n<p class=\"soft\">Ratio: the share of matches that lie in slices which "
        "show the structure. Chance: the share of the same hits' slices that show it. "
        "IoU: of the matched run with these slices. Means over the hits of a query, then "
        "over queries, with 95 %% intervals over patients.</p>\n"
        "<div class=\"wide\"><table class=\"figures\">\n<thead><tr><th>Ranking%s</th>"
        "<th>Queries</th><th>Hits</th><th>Ratio</th><th>Chance</th><th>&#215; chance</th>"
        "<th>Run IoU</th><th>IoU &#8805; %.1f</th></tr></thead>\n<tbody>\n",
        cmir_evaluation_caveat(e), CMIR_EVAL_PLACED);
    for (size_t i = 0; i < n_methods; i++) {
        const cmir_eval_localisation *l = &o->locations[i];

        write_ranking(out, e, i);
        cmir_buf_printf(out, "<td class=\"number\">%zu</td><td class=\"number\">%zu</td>",
                        l->n_queries, l->n_hits);
        write_figure(out, &l->ratio);
        write_figure(out, &l->chance);
        write_figure(out, &l->gain);
        write_figure(out, &l->iou);
        write_figure(out, &l->placed);
        cmir_buf_puts(out, "</tr>\n");
    }
    cmir_buf_puts(out, "</tbody>\n</table></div>\n</section>\n");
}
