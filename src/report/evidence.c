/* SPDX-License-Identifier: Apache-2.0 */
/* evidence.c: what the nearest cases say, in the report: counts, intervals drawn as bars, and links to
 * the cases that speak for and against.  Called by report.c.
 *
 * The one idea: the interval is drawn as large as the share, so that 8 of 10 looks as uncertain as it
 * is. */
#include "report/evidence.h"

#include <math.h>
#include <string.h>

#include "report/hit.h"
#include "report/html.h"
#include "report/strip.h"

enum { VALUES_SHOWN = 6 };
enum { BAR_LEFT = 60, BAR_WIDTH = 2400, BAR_HEIGHT = 220 }; /* tenths of a pixel */

static long
bar_x(double share)
{
    return BAR_LEFT + lround(share * BAR_WIDTH);
}

static void
open_bar(cmir_buf *out, const char *label)
{
    cmir_buf_printf(out,
                    "<svg class=\"share\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" "
                    "aria-label=\"%s\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n",
                    label, (BAR_WIDTH + 2 * BAR_LEFT) / 10, BAR_HEIGHT / 10,
                    BAR_WIDTH + 2 * BAR_LEFT, BAR_HEIGHT);
    cmir_buf_printf(out, "<rect class=\"frame\" x=\"%d\" y=\"30\" width=\"%d\" height=\"160\"/>\n",
                    BAR_LEFT, BAR_WIDTH);
}

/* A line from a to b with ends, and a mark in between. */
static void
draw_interval(cmir_buf *out, double a, double b, double mark)
{
    cmir_buf_printf(out, "<path class=\"interval\" d=\"M%ld 110H%ldM%ld 70v80M%ld 70v80\"/>\n",
                    bar_x(a), bar_x(b), bar_x(a), bar_x(b));
    cmir_buf_printf(out, "<circle class=\"weight\" cx=\"%ld\" cy=\"110\" r=\"38\"/>\n</svg>",
                    bar_x(mark));
}

/* Links to the hits that have `value`, or that have another. */
static void
write_hits(cmir_buf *out, const cmir_evidence *e, const cmir_evidence_label *label,
           const char *value, bool same, size_t n_shown)
{
    for (size_t i = 0; i < e->n_neighbours; i++) {
        const uint32_t rank = e->neighbours[i].rank;

        if (label->text[i] == NULL || (strcmp(label->text[i], value) == 0) != same)
            continue;
        if (rank <= n_shown)
            cmir_buf_printf(out, "<a href=\"#hit-%u\">%u</a> ", rank, rank);
        else
            cmir_buf_printf(out, "%u ", rank);
    }
}

static void
write_value(cmir_buf *out, const cmir_evidence *e, const cmir_evidence_label *label,
            const cmir_evidence_value *value, size_t n_shown)
{
    cmir_buf_puts(out, "<tr><td><b>");
    cmir_html_text(out, value->text);
    cmir_buf_printf(out, "</b></td><td class=\"number\">%u of %u</td><td>", value->n,
                    label->n_labelled);
    open_bar(out, "Share of the cases with its 95 percent interval, and the weighted share");
    cmir_buf_printf(out, "<rect class=\"part\" x=\"%d\" y=\"30\" width=\"%ld\" height=\"160\"/>\n",
                    BAR_LEFT, bar_x(value->share) - BAR_LEFT);
    draw_interval(out, value->low, value->high, value->weighted_share);
    cmir_buf_printf(out,
                    "</td><td class=\"number\">%.0f %%, %.0f to %.0f %%</td>"
                    "<td class=\"number\">%.0f %%</td><td>",
                    100 * value->share, 100 * value->low, 100 * value->high,
                    100 * value->weighted_share);
    write_hits(out, e, label, value->text, true, n_shown);
    cmir_buf_puts(out, "</td><td>");
    write_hits(out, e, label, value->text, false, n_shown);
    cmir_buf_puts(out, "</td></tr>\n");
}

static void
write_classes(cmir_buf *out, const cmir_evidence *e, const cmir_evidence_label *label,
              size_t n_shown)
{
    cmir_buf_puts(out, "<table class=\"values\">\n<thead><tr><th>Value</th><th>Cases</th><th>0 to "
                       "100 %</th><th>Share, 95 % interval</th><th>By similarity</th>"
                       "<th>Hits for</th><th>Hits against</th></tr></thead>\n<tbody>\n");
    for (size_t v = 0; v < label->n_values && v < VALUES_SHOWN; v++)
        write_value(out, e, label, &label->values[v], n_shown);
    cmir_buf_puts(out, "</tbody>\n</table>\n");
    if (label->n_values > VALUES_SHOWN)
        cmir_buf_printf(out, "<p class=\"soft\">and %zu further values</p>\n",
                        label->n_values - VALUES_SHOWN);
}

static void
write_numbers(cmir_buf *out, const cmir_evidence_label *label)
{
    const double range = label->high - label->low;
    const double place = range > 0 ? (label->median - label->low) / range : 0.5;

    cmir_buf_printf(out, "<p class=\"numbers\"><span class=\"number\">%.6g</span> ", label->low);
    open_bar(out, "Range of the cases and their weighted median");
    draw_interval(out, 0, 1, place);
    cmir_buf_printf(out,
                    " <span class=\"number\">%.6g</span> <span class=\"median\">weighted median "
                    "<b>%.6g</b> of %u "
                    "cases</span></p>\n",
                    label->high, label->median, label->n_labelled);
}

/* How often votes like these were right. */
static void
write_calibration(cmir_buf *out, const cmir_evidence *e, const cmir_evidence_label *label)
{
    const cmir_calibration *c = label->calibration;

    cmir_buf_puts(out, "<p class=\"soft\">");
    if (c == NULL || c->n_queries == 0) {
        cmir_buf_puts(out, "How often such cases are right in this archive is not known"
                           " (<b>cmir calibrate</b> measures it).</p>\n");
        return;
    }
    if (c->kind == CMIR_LABEL_NUMBER) {
        cmir_buf_printf(out,
                        "In this archive half of %u such medians were within %.6g of the truth; "
                        "the median of all volumes would have been within %.6g.",
                        c->n_queries, c->error, c->error_alone);
    } else {
        const uint32_t n = label->n_labelled, bin = (20 * label->values[0].n + n) / (2 * n);

        cmir_buf_printf(out,
                        "In this archive the value of most weight was right in %u of %u volumes "
                        "(%.0f %%, %.0f to %.0f %%; %u patients); always the commonest value "
                        "would have been in %u.",
                        c->n_right, c->n_queries, 100 * c->rate, 100 * c->low, 100 * c->high,
                        c->n_patients, c->n_majority);
        if (c->bin_n[bin] > 0)
            cmir_buf_printf(out, "  With %u of 10 cases for it: in %u of %u.", bin,
                            c->bin_right[bin], c->bin_n[bin]);
    }
    if (!e->as_calibrated)
        cmir_buf_puts(out,
                      "  Measured with whole volumes, no filter and other patients only, which "
                      "this search was not.");
    if (c->stale)
        cmir_buf_puts(out, " <b class=\"warn\">Out of date: the archive has changed since.</b>");
    cmir_buf_puts(out, "</p>\n");
}

static void
write_label(cmir_buf *out, const cmir_evidence *e, const cmir_evidence_label *label, size_t n_shown)
{
    cmir_buf_puts(out, "<h3>");
    cmir_html_text(out, label->name);
    cmir_buf_puts(out, "</h3>\n");
    if (!label->enough) {
        cmir_buf_printf(out,
                        "<p><b>Not enough evidence</b>: %u of the %zu nearest cases have this "
                        "label; %u are wanted.</p>\n",
                        label->n_labelled, e->n_neighbours, CMIR_EVIDENCE_LEAST);
        return;
    }
    if (label->kind == CMIR_LABEL_CLASS && label->values[0].n == 1) {
        cmir_buf_printf(out, "<p>Nothing to count: %u cases, all with another value.</p>\n",
                        label->n_labelled);
        return;
    }
    if (label->kind == CMIR_LABEL_NUMBER)
        write_numbers(out, label);
    else
        write_classes(out, e, label, n_shown);
    write_calibration(out, e, label);
}

/* Cases that have no section to link to, and the query's own patient. */
static void
write_cases(cmir_buf *out, const cmir_evidence *e, size_t n_shown)
{
    bool any = false;

    for (size_t i = 0; i < e->n_neighbours; i++)
        if (e->neighbours[i].own)
            cmir_buf_printf(out,
                            "<p class=\"warn\">Hit %u is of the query's own patient: the search "
                            "did not leave it out.</p>\n",
                            e->neighbours[i].rank);
    for (size_t i = 0; i < e->n_neighbours; i++)
        if (e->neighbours[i].rank > n_shown) {
            cmir_buf_puts(out, any ? ", " : "<p class=\"soft\">Cases that are not shown below: ");
            cmir_buf_printf(out, "%u ", e->neighbours[i].rank);
            cmir_html_text(out, e->neighbours[i].volume_id);
            any = true;
        }
    cmir_buf_puts(out, any ? "</p>\n" : "");
}

void
cmir_evidence_write(cmir_buf *out, const cmir_evidence *e, size_t n_shown)
{
    if (e == NULL || e->n_labels == 0)
        return;
    cmir_buf_printf(out,
                    "<section class=\"evidence\">\n<h2>What the %zu nearest cases say</h2>\n"
                    "<p>A case is a patient: of several volumes the nearest counts.  Bars are "
                    "shares of the cases, whiskers their 95 %% intervals, dots shares by "
                    "similarity, in which nearer cases count more.  Cases were chosen by "
                    "resemblance alone; this is no diagnosis.</p>\n",
                    e->n_neighbours);
    write_cases(out, e, n_shown);
    for (size_t l = 0; l < e->n_labels; l++)
        write_label(out, e, &e->labels[l], n_shown);
    cmir_buf_puts(out, "</section>\n");
}

static void
write_run(cmir_buf *out, const cmir_contrast *c)
{
    cmir_buf_printf(out, "<p>Slices <b class=\"query\">%u to %u</b>", c->first, c->last);
    if (isfinite(c->mm[0]) && isfinite(c->mm[1])) {
        cmir_buf_puts(out, " (");
        cmir_mm_write(out, c->mm[0]);
        cmir_buf_puts(out, " to ");
        cmir_mm_write(out, c->mm[1]);
        cmir_buf_puts(out, ")");
    }
    cmir_buf_printf(out,
                    " look most like the %u nearest cases with it and least like the %u nearest "
                    "without.  <b%s</b>: where the cases exchange their labels at random, a run "
                    "stands out as much with p = %.3f.  95 %% intervals over the cases: it begins "
                    "at slice %u to %u and ends at %u to %u.</p>\n",
                    c->n_positive, c->n_negative,
                    c->p < 0.05 ? ">It stands out"
                                : " class=\"warn\">It does not stand out from chance",
                    c->p, c->first_low, c->first_high, c->last_low, c->last_high);
}

void
cmir_contrast_write(cmir_buf *out, const cmir_record *query, const cmir_contrast *c)
{
    if (c == NULL)
        return;
    cmir_buf_puts(out,
                  "<section class=\"contrast\">\n<h2><span>Where the query resembles cases with ");
    cmir_html_text(out, c->label);
    cmir_buf_puts(out, c->value == NULL ? "" : " ");
    cmir_html_text(out, c->value == NULL ? "" : c->value);
    cmir_buf_puts(out, "</span></h2>\n");
    if (c->enough) {
        write_run(out, c);
        cmir_strip_contrast(out, query, c);
        cmir_buf_puts(out, "<p class=\"soft\">Line: how much better a slice matches cases with the "
                           "label than cases without; band: its 95 % interval.  Shaded: the run; "
                           "blocks at the bottom: how often a slice is in it when the cases are "
                           "resampled.  Anything else that these cases share makes a run as well, "
                           "such as another part of the body or contrast medium.</p>\n");
    } else {
        cmir_buf_printf(out,
                        "<p><b>Not enough evidence</b>: %u cases with it, %u without; %u of each "
                        "are wanted.</p>\n",
                        c->n_positive, c->n_negative, CMIR_EVIDENCE_LEAST);
    }
    cmir_buf_puts(out, "</section>\n");
}
