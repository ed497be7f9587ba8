/* SPDX-License-Identifier: Apache-2.0 */
/* evaluation_plot.c: curves of an evaluation as inline SVG.
 *
 * The one idea: at every k the rankings stand side by side, not on top of each other, so that every
 * interval can be seen. */
#include <math.h>

#include "report/evaluation.h"
#include "report/html.h"
#include "report/plot.h"

/* The metrics that are a precision, by k. */
struct cutoffs {
    size_t metric[64];
    uint32_t k[64];
    size_t n;
};

static struct cutoffs
find_cutoffs(const cmir_evaluation *e)
{
    struct cutoffs c = {.n = 0};

    for (size_t m = 0; m < e->n_metrics && c.n < 64; m++)
        if ((c.k[c.n] = cmir_metric_precision(e->metrics[m])) > 0)
            c.metric[c.n++] = m;
    return c;
}

/* Lines at every fifth of a scale from 0 to 1. */
static void
draw_share_axis(cmir_buf *out, const cmir_plot *p)
{
    for (int i = 0; i <= 5; i++) {
        const long y = cmir_plot_y(p, 0.2 * i);

        cmir_buf_printf(out, "<path class=\"grid\" d=\"M%ld %ldh%ld\"/>\n", p->left, y, p->width);
        cmir_plot_number(out, p->left - 60, y + 40, "end", 1, 0.2 * i);
    }
}

/* One ranking: its intervals, the curve and its points, `shift` beside the ticks. */
static void
draw_curve(cmir_buf *out, const cmir_plot *p, const cmir_evaluation *e, size_t line,
           const struct cutoffs *c, double shift)
{
    const cmir_eval_figure *figures = e->lines[line].figures;

    cmir_buf_puts(out, "<g class=\"");
    cmir_line_class(out, e, line);
    cmir_buf_puts(out, "\"><title>");
    cmir_line_name(out, &e->lines[line]);
    cmir_buf_puts(out, "</title>\n<path class=\"bars\" d=\"");
    for (size_t i = 0; i < c->n; i++) {
        const cmir_eval_figure *f = &figures[c->metric[i]];

        if (isfinite(f->low) && isfinite(f->high))
            cmir_buf_printf(out, "M%ld %ldV%ld", cmir_plot_x(p, (double)i + shift),
                            cmir_plot_y(p, f->low), cmir_plot_y(p, f->high));
    }
    cmir_buf_puts(out, "\"/>\n<path class=\"curve\" d=\"");
    for (size_t i = 0; i < c->n; i++)
        if (isfinite(figures[c->metric[i]].value))
            cmir_buf_printf(out, "%c%ld %ld", i == 0 ? 'M' : 'L', cmir_plot_x(p, (double)i + shift),
                            cmir_plot_y(p, figures[c->metric[i]].value));
    cmir_buf_puts(out, "\"/>\n<path class=\"points\" d=\"");
    for (size_t i = 0; i < c->n; i++)
        if (isfinite(figures[c->metric[i]].value))
            cmir_buf_printf(out, "M%ld %ldh0", cmir_plot_x(p, (double)i + shift),
                            cmir_plot_y(p, figures[c->metric[i]].value));
    cmir_buf_puts(out, "\"/></g>\n");
}

static void
write_legend(cmir_buf *out, const cmir_evaluation *e)
{
    cmir_buf_puts(out, "<ul class=\"legend\">\n");
    for (size_t i = 0; i < e->n_lines; i++) {
        cmir_buf_puts(out, "<li class=\"");
        cmir_line_class(out, e, i);
        cmir_buf_puts(out, "\"><span class=\"key\"></span>");
        cmir_line_name(out, &e->lines[i]);
        cmir_buf_puts(out, "</li>\n");
    }
    cmir_buf_puts(out, "</ul>\n");
}

void
cmir_evaluation_curves(cmir_buf *out, const cmir_evaluation *e)
{
    const struct cutoffs c = find_cutoffs(e);
    cmir_plot p = {
        .left = 520, .top = 100, .width = 7700, .height = 3200, .x_low = -0.5, .y_high = 1};

    if (c.n == 0)
        return;
    p.x_high = (double)c.n - 0.5;
    cmir_buf_printf(out, "<section>\n<h2>Precision at k%s</h2>\n<div class=\"two\"><div>\n",
                    cmir_evaluation_caveat(e));
    cmir_plot_open(out, &p, "Precision at k of every ranking, with 95 % intervals");
    draw_share_axis(out, &p);
    for (size_t i = e->n_lines; i-- > 0;) /* methods on top */
        draw_curve(out, &p, e, i, &c, 0.7 * (((double)i + 0.5) / (double)e->n_lines - 0.5));
    for (size_t i = 0; i < c.n; i++)
        cmir_plot_number(out, cmir_plot_x(&p, (double)i), p.top + p.height + LINE_1, "middle", 0,
                         c.k[i]);
    cmir_plot_text(out, p.left + p.width / 2, p.top + p.height + LINE_2, "middle",
                   "k; height: share of relevant volumes among the first k");
    cmir_buf_puts(out, "</svg>\n</div>\n<div class=\"fit\">\n");
    write_legend(out, e);
    cmir_buf_puts(
        out,
        "<p class=\"soft\">At every k they stand in this order.</p>\n</div>\n</div>\n</section>\n");
}

/* One ranking: where the vote for the positive value was so high, how often was it right? */
static void
draw_reliability(cmir_buf *out, const cmir_evaluation *e, size_t number)
{
    const cmir_plot p = {.left = 420,
                         .top = 100,
                         .width = 2000,
                         .height = 2000,
                         .x_low = -0.08,
                         .x_high = 1.08,
                         .y_low = -0.08,
                         .y_high = 1.08};
    const cmir_eval_line *line = &e->lines[number];

    cmir_buf_puts(out, "<figure class=\"small\">\n");
    cmir_plot_open(out, &p, "Reliability of the vote");
    draw_share_axis(out, &p);
    cmir_buf_printf(out, "<path class=\"even\" d=\"M%ld %ldL%ld %ld\"/>\n", cmir_plot_x(&p, 0),
                    cmir_plot_y(&p, 0), cmir_plot_x(&p, 1), cmir_plot_y(&p, 1));
    cmir_buf_puts(out, "<g class=\"");
    cmir_line_class(out, e, number);
    cmir_buf_puts(out, "\">\n");
    for (int b = 0; b < 10; b++)
        if (line->bin_n[b] > 0 && isfinite(line->bin_evidence[b]) && isfinite(line->bin_rate[b]))
            cmir_buf_printf(out,
                            "<circle class=\"bin\" cx=\"%ld\" cy=\"%ld\" r=\"%ld\"><title>%.3g "
                            "queries: vote %.2f, rate %.2f</title></circle>\n",
                            cmir_plot_x(&p, line->bin_evidence[b]),
                            cmir_plot_y(&p, line->bin_rate[b]),
                            30 + lround(140 * sqrt(line->bin_n[b] / (double)e->n_queries)),
                            line->bin_n[b], line->bin_evidence[b], line->bin_rate[b]);
    cmir_buf_puts(out, "</g>\n");
    for (int i = 0; i <= 5; i++)
        cmir_plot_number(out, cmir_plot_x(&p, 0.2 * i), p.top + p.height + LINE_1, "middle", 1,
                         0.2 * i);
    cmir_plot_text(out, p.left + p.width / 2, p.top + p.height + LINE_2, "middle",
                   "share of the vote");
    cmir_buf_puts(out, "</svg>\n<figcaption>");
    cmir_line_name(out, line);
    cmir_buf_printf(out, "%s</figcaption></figure>\n", cmir_evaluation_caveat(e));
}

void
cmir_evaluation_reliability(cmir_buf *out, const cmir_evaluation *e)
{
    if (e->positive == NULL)
        return;
    cmir_buf_puts(out,
                  "<section>\n<h2>How reliable the vote is</h2>\n<p>Queries by the share of the "
                  "vote for ");
    cmir_html_text(out, e->positive);
    cmir_buf_puts(out,
                  " (across) and how often it was true (up); a dot's area is their number. On the "
                  "diagonal the vote can be read as a probability.</p>\n"
                  "<div class=\"row\">\n");
    for (size_t i = 0; i < e->n_lines; i++)
        if (e->lines[i].kind == CMIR_EVAL_METHOD || e->lines[i].kind == CMIR_EVAL_COHORT)
            draw_reliability(out, e, i);
    cmir_buf_puts(out, "</div>\n</section>\n");
}
