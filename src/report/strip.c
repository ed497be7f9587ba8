/* SPDX-License-Identifier: Apache-2.0 */
/* strip.c: where the query's slices were found, as inline SVG.
 *
 * The one idea: all marks of a kind are one path of points with round caps ("M x y h0"), a dozen
 * bytes per match, so that a strip of thousands of slices stays small and needs no script. */
#include "report/strip.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "report/plot.h"

/* Slice numbers from a to b below the plot, and where they lie in mm where slice_mm is not NULL. */
static void
draw_slice_axis(cmir_buf *out, const cmir_plot *p, uint32_t a, uint32_t b, const double *slice_mm)
{
    const double step = fmax(cmir_nice_step(fmax(b - a, 1), (double)p->width / 600), 1);
    const long bottom = p->top + p->height;

    for (double slice = ceil(a / step) * step; slice <= b; slice += step) {
        const long x = cmir_plot_x(p, slice);

        cmir_buf_printf(out, "<path class=\"tick\" d=\"M%ld %ldv40\"/>\n", x, bottom);
        cmir_plot_number(out, x, bottom + LINE_1, "middle", 0, slice);
        if (slice_mm != NULL && isfinite(slice_mm[(uint32_t)slice]))
            cmir_plot_number(out, x, bottom + LINE_2, "middle", 0, slice_mm[(uint32_t)slice]);
    }
}

static bool
in_run(const cmir_hit *hit, const cmir_match *match)
{
    return match->match_slice >= hit->match_first && match->match_slice <= hit->match_last;
}

/* The marks of the matches inside or outside the run; up goes the similarity or, for pairs, the
 * slice of the candidate. */
static void
draw_marks(cmir_buf *out, const cmir_plot *p, const cmir_hit *hit, bool inside, bool pairs)
{
    cmir_buf_printf(out, "<path class=\"%s\" d=\"", inside ? "mark in" : "mark");
    for (uint32_t i = 0; i < hit->n_matches; i++) {
        const cmir_match *m = &hit->matches[i];

        if (in_run(hit, m) == inside)
            cmir_buf_printf(out, "M%ld %ldh0",
                            cmir_plot_x(p, pairs ? m->query_slice : m->match_slice),
                            cmir_plot_y(p, pairs ? m->match_slice : (double)m->similarity));
    }
    cmir_buf_puts(out, "\"/>\n");
}

static void
draw_best(cmir_buf *out, const cmir_plot *p, double x, double y)
{
    cmir_buf_printf(out, "<circle class=\"best\" cx=\"%ld\" cy=\"%ld\" r=\"55\"/>\n",
                    cmir_plot_x(p, x), cmir_plot_y(p, y));
}

/* Slices marked as air, one box per run of them. */
static void
draw_air(cmir_buf *out, const cmir_plot *p, const cmir_record *record)
{
    for (uint32_t i = 0; i < record->n_slices;) {
        uint32_t end = i;

        while (end < record->n_slices && (record->slice_marks[end] & CMIR_SLICE_AIR))
            end++;
        if (end > i)
            cmir_plot_box(out, "air", cmir_plot_x(p, i - 0.5), p->top, cmir_plot_x(p, end - 0.5),
                          p->top + p->height);
        i = end > i ? end : i + 1;
    }
}

/* The range from low to high, widened to a round step, and lines at the steps. */
static void
draw_value_axis(cmir_buf *out, cmir_plot *p, double low, double high, double n_steps)
{
    const double step = cmir_nice_step(high - low, n_steps);
    p->y_low = floor(low / step - 0.15) * step;
    p->y_high = fmin(ceil(high / step + 0.15) * step, fmax(1.0, high) + 0.1 * step);
    for (int i = 0; i < 20 && p->y_low + i * step <= p->y_high; i++) {
        const double value = p->y_low + i * step;

        cmir_buf_printf(out, "<path class=\"grid\" d=\"M%ld %ldh%ld\"/>\n", p->left,
                        cmir_plot_y(p, value), p->width);
        cmir_plot_number(out, p->left - 60, cmir_plot_y(p, value) + 40, "end",
                         step < 0.001  ? 4
                         : step < 0.01 ? 3
                         : step < 0.1  ? 2
                                       : 1,
                         value);
    }
}

static void
draw_similarity_axis(cmir_buf *out, cmir_plot *p, const cmir_hit *hit)
{
    double low = 1.0, high = -1.0;

    for (uint32_t i = 0; i < hit->n_matches; i++) {
        low = fmin(low, hit->matches[i].similarity);
        high = fmax(high, hit->matches[i].similarity);
    }
    draw_value_axis(out, p, low, fmax(high, low + 0.02), 3);
}

void
cmir_strip_similarity(cmir_buf *out, const cmir_hit *hit)
{
    const cmir_record *record = hit->record;
    const cmir_match *best = &hit->matches[hit->best];
    cmir_plot p = {.left = 700, .top = 100, .width = 6500, .height = 1280, .x_low = -0.5};
    const long bottom = p.top + p.height;

    p.x_high = record->n_slices - 0.5;
    cmir_plot_open(out, &p,
                   "Similarity of each query slice at the slice of the volume it matched, with "
                   "the matched run shaded");
    draw_air(out, &p, record);
    cmir_plot_box(out, "run", cmir_plot_x(&p, hit->match_first - 0.5), p.top,
                  cmir_plot_x(&p, hit->match_last + 0.5), bottom);
    draw_similarity_axis(out, &p, hit);
    draw_marks(out, &p, hit, false, false);
    draw_marks(out, &p, hit, true, false);
    draw_best(out, &p, best->match_slice, best->similarity);
    draw_slice_axis(out, &p, 0, record->n_slices - 1, record->slice_mm);
    cmir_plot_text(out, p.left - 260, bottom + LINE_1, "end", "slice");
    cmir_plot_text(out, p.left - 260, bottom + LINE_2, "end", "mm");
    cmir_plot_text(
        out, p.left + p.width / 2, bottom + LINE_3, "middle",
        "slice of this volume; height: cosine similarity of the query slice matched there");
    cmir_buf_puts(out, "</svg>\n");
}

void
cmir_strip_pairs(cmir_buf *out, const cmir_result *result, const cmir_hit *hit)
{
    const cmir_match *best = &hit->matches[hit->best];
    const uint32_t n_slices = hit->record->n_slices;
    cmir_plot p = {.left = 520, .top = 100, .width = 3100, .height = 1280};

    p.x_low = result->first_slice - 0.5;
    p.x_high = result->last_slice + 0.5;
    p.y_low = -0.5;
    p.y_high = n_slices - 0.5;
    cmir_plot_open(out, &p, "Which slice of the volume each query slice matched");
    cmir_plot_box(out, "run", p.left, cmir_plot_y(&p, hit->match_last + 0.5), p.left + p.width,
                  cmir_plot_y(&p, hit->match_first - 0.5));
    const double step = fmax(cmir_nice_step(fmax(n_slices - 1, 1), 4), 1);
    for (double slice = 0; slice < n_slices; slice += step)
        cmir_plot_number(out, p.left - 60, cmir_plot_y(&p, slice) + 40, "end", 0, slice);
    draw_marks(out, &p, hit, false, true);
    draw_marks(out, &p, hit, true, true);
    draw_best(out, &p, best->query_slice, best->match_slice);
    draw_slice_axis(out, &p, result->first_slice, result->last_slice, NULL);
    cmir_plot_text(out, p.left + p.width / 2, p.top + p.height + LINE_2, "middle",
                   "slice of the query; height: slice of this volume");
    cmir_buf_puts(out, "</svg>\n");
}

/* The curve and the band of its interval; slices that hold only air leave gaps in neither. */
static void
draw_curve(cmir_buf *out, const cmir_plot *p, const cmir_contrast *c)
{
    cmir_buf_puts(out, "<path class=\"band\" d=\"");
    for (size_t i = 0; i < c->n_slices; i++)
        cmir_buf_printf(out, "%s%ld %ld", i == 0 ? "M" : "L", cmir_plot_x(p, c->slices[i].slice),
                        cmir_plot_y(p, c->slices[i].high));
    for (size_t i = c->n_slices; i > 0; i--)
        cmir_buf_printf(out, "L%ld %ld", cmir_plot_x(p, c->slices[i - 1].slice),
                        cmir_plot_y(p, c->slices[i - 1].low));
    cmir_buf_puts(out, "Z\"/>\n<path class=\"contrast\" d=\"");
    for (size_t i = 0; i < c->n_slices; i++)
        cmir_buf_printf(out, "%s%ld %ld", i == 0 ? "M" : "L", cmir_plot_x(p, c->slices[i].slice),
                        cmir_plot_y(p, c->slices[i].value));
    cmir_buf_puts(out, "\"/>\n");
}

void
cmir_strip_contrast(cmir_buf *out, const cmir_record *query, const cmir_contrast *c)
{
    enum { SURE_HEIGHT = 130 };
    cmir_plot p = {.left = 1000, .top = 100, .width = 9000, .height = 1700, .x_low = -0.5};
    const long bottom = p.top + p.height;
    double low = c->slices[0].low, high = c->slices[0].high;

    for (size_t i = 0; i < c->n_slices; i++) {
        low = fmin(low, c->slices[i].low);
        high = fmax(high, c->slices[i].high);
    }
    p.x_high = query->n_slices - 0.5;
    cmir_plot_open(
        out, &p,
        "Contrast of each slice of the query, with its interval and the run that stands out");
    draw_air(out, &p, query);
    cmir_plot_box(out, "run", cmir_plot_x(&p, c->first - 0.5), p.top,
                  cmir_plot_x(&p, c->last + 0.5), bottom);
    draw_value_axis(out, &p, low, fmax(high, low + 0.002), 6);
    draw_curve(out, &p, c);
    for (size_t i = 0; i < c->n_slices; i++)
        cmir_plot_box(out, "sure", cmir_plot_x(&p, c->slices[i].slice - 0.5),
                      bottom - lround(SURE_HEIGHT * c->slices[i].in_run),
                      cmir_plot_x(&p, c->slices[i].slice + 0.5), bottom);
    draw_slice_axis(out, &p, 0, query->n_slices - 1, query->slice_mm);
    cmir_plot_text(out, p.left - 260, bottom + LINE_1, "end", "slice");
    cmir_plot_text(out, p.left - 260, bottom + LINE_2, "end", "mm");
    cmir_plot_text(
        out, p.left + p.width / 2, bottom + LINE_3, "middle",
        "slice of the query; height: similarity to cases with the label less that to cases "
        "without");
    cmir_buf_puts(out, "</svg>\n");
}
