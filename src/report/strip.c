/* SPDX-License-Identifier: Apache-2.0 */
/* strip.c: where the query's slices were found, as inline SVG.
 *
 * The one idea: all marks of a kind are one path of points with round caps ("M x y h0"), a dozen
 * bytes per match, so that a strip of thousands of slices stays small and needs no script.
 * Coordinates are whole numbers, tenths of a pixel, since printf writes fractions in the caller's
 * locale. */
#include "report/strip.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* A plot's place in its drawing, in tenths of a pixel, and the values at its borders. */
struct plot {
    long left, top, width, height;
    double x_low, x_high, y_low, y_high;
};

/* Below a plot: tick labels, a second line of them, and what the axis is. */
enum { LINE_1 = 160, LINE_2 = 300, LINE_3 = 450, ROOM_BELOW = 500 };

static long
plot_x(const struct plot *p, double x)
{
    return p->left + lround((x - p->x_low) / (p->x_high - p->x_low) * (double)p->width);
}

static long
plot_y(const struct plot *p, double y)
{
    const double down = (p->y_high - y) / (p->y_high - p->y_low) * (double)p->height;

    return p->top + (isfinite(down) ? lround(down) : 0);
}

/* 1, 2 or 5 times a power of ten, so that about `n_wanted` ticks fit into `range`. */
static double
nice_step(double range, double n_wanted)
{
    const double raw = range / n_wanted, power = pow(10, floor(log10(raw)));
    const double share = raw / power;

    return power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
}

/* The drawing around `p`, and the plot's frame. */
static void
open_svg(cmir_buf *out, const struct plot *p, const char *label)
{
    const long width = p->left + p->width + 120, height = p->top + p->height + ROOM_BELOW;

    cmir_buf_printf(out,
                    "<svg class=\"strip\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" "
                    "aria-label=\"%s\" width=\"%ld\" height=\"%ld\" viewBox=\"0 0 %ld %ld\">\n"
                    "<rect class=\"frame\" x=\"%ld\" y=\"%ld\" width=\"%ld\" height=\"%ld\"/>\n",
                    label, width / 10, height / 10, width, height, p->left, p->top, p->width,
                    p->height);
}

static void
draw_text(cmir_buf *out, long x, long y, const char *anchor, const char *text)
{
    cmir_buf_printf(out, "<text x=\"%ld\" y=\"%ld\" text-anchor=\"%s\">%s</text>\n", x, y, anchor,
                    text);
}

/* A number at a tick; the axis of values when `anchor` is "end". */
static void
draw_number(cmir_buf *out, long x, long y, const char *anchor, int n_digits, double value)
{
    cmir_buf_printf(out, "<text x=\"%ld\" y=\"%ld\" text-anchor=\"%s\">%.*f</text>\n", x, y, anchor,
                    n_digits, value);
}

static void
draw_box(cmir_buf *out, const char *class, long x0, long y0, long x1, long y1)
{
    cmir_buf_printf(out, "<rect class=\"%s\" x=\"%ld\" y=\"%ld\" width=\"%ld\" height=\"%ld\"/>\n",
                    class, x0, y0, x1 - x0, y1 - y0);
}

/* Slice numbers from a to b below the plot, and where they lie in mm where slice_mm is not NULL. */
static void
draw_slice_axis(cmir_buf *out, const struct plot *p, uint32_t a, uint32_t b, const double *slice_mm)
{
    const double step = fmax(nice_step(fmax(b - a, 1), (double)p->width / 600), 1);
    const long bottom = p->top + p->height;

    for (double slice = ceil(a / step) * step; slice <= b; slice += step) {
        const long x = plot_x(p, slice);

        cmir_buf_printf(out, "<path class=\"tick\" d=\"M%ld %ldv40\"/>\n", x, bottom);
        draw_number(out, x, bottom + LINE_1, "middle", 0, slice);
        if (slice_mm != NULL && isfinite(slice_mm[(uint32_t)slice]))
            draw_number(out, x, bottom + LINE_2, "middle", 0, slice_mm[(uint32_t)slice]);
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
draw_marks(cmir_buf *out, const struct plot *p, const cmir_hit *hit, bool inside, bool pairs)
{
    cmir_buf_printf(out, "<path class=\"%s\" d=\"", inside ? "mark in" : "mark");
    for (uint32_t i = 0; i < hit->n_matches; i++) {
        const cmir_match *m = &hit->matches[i];

        if (in_run(hit, m) == inside)
            cmir_buf_printf(out, "M%ld %ldh0", plot_x(p, pairs ? m->query_slice : m->match_slice),
                            plot_y(p, pairs ? m->match_slice : (double)m->similarity));
    }
    cmir_buf_puts(out, "\"/>\n");
}

static void
draw_best(cmir_buf *out, const struct plot *p, double x, double y)
{
    cmir_buf_printf(out, "<circle class=\"best\" cx=\"%ld\" cy=\"%ld\" r=\"55\"/>\n", plot_x(p, x),
                    plot_y(p, y));
}

/* Slices marked as air, one box per run of them. */
static void
draw_air(cmir_buf *out, const struct plot *p, const cmir_record *record)
{
    for (uint32_t i = 0; i < record->n_slices;) {
        uint32_t end = i;

        while (end < record->n_slices && (record->slice_marks[end] & CMIR_SLICE_AIR))
            end++;
        if (end > i)
            draw_box(out, "air", plot_x(p, i - 0.5), p->top, plot_x(p, end - 0.5),
                     p->top + p->height);
        i = end > i ? end : i + 1;
    }
}

/* The range from low to high, widened to a round step, and lines at the steps. */
static void
draw_value_axis(cmir_buf *out, struct plot *p, double low, double high, double n_steps)
{
    const double step = nice_step(high - low, n_steps);
    p->y_low = floor(low / step - 0.15) * step;
    p->y_high = fmin(ceil(high / step + 0.15) * step, fmax(1.0, high) + 0.1 * step);
    for (int i = 0; i < 20 && p->y_low + i * step <= p->y_high; i++) {
        const double value = p->y_low + i * step;

        cmir_buf_printf(out, "<path class=\"grid\" d=\"M%ld %ldh%ld\"/>\n", p->left,
                        plot_y(p, value), p->width);
        draw_number(out, p->left - 60, plot_y(p, value) + 40, "end",
                    step < 0.001  ? 4
                    : step < 0.01 ? 3
                    : step < 0.1  ? 2
                                  : 1,
                    value);
    }
}

static void
draw_similarity_axis(cmir_buf *out, struct plot *p, const cmir_hit *hit)
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
    struct plot p = {.left = 700, .top = 100, .width = 6500, .height = 1280, .x_low = -0.5};
    const long bottom = p.top + p.height;

    p.x_high = record->n_slices - 0.5;
    open_svg(out, &p,
             "Similarity of each query slice at the slice of the volume it matched, with "
             "the matched run shaded");
    draw_air(out, &p, record);
    draw_box(out, "run", plot_x(&p, hit->match_first - 0.5), p.top,
             plot_x(&p, hit->match_last + 0.5), bottom);
    draw_similarity_axis(out, &p, hit);
    draw_marks(out, &p, hit, false, false);
    draw_marks(out, &p, hit, true, false);
    draw_best(out, &p, best->match_slice, best->similarity);
    draw_slice_axis(out, &p, 0, record->n_slices - 1, record->slice_mm);
    draw_text(out, p.left - 260, bottom + LINE_1, "end", "slice");
    draw_text(out, p.left - 260, bottom + LINE_2, "end", "mm");
    draw_text(out, p.left + p.width / 2, bottom + LINE_3, "middle",
              "slice of this volume; height: cosine similarity of the query slice matched there");
    cmir_buf_puts(out, "</svg>\n");
}

void
cmir_strip_pairs(cmir_buf *out, const cmir_result *result, const cmir_hit *hit)
{
    const cmir_match *best = &hit->matches[hit->best];
    const uint32_t n_slices = hit->record->n_slices;
    struct plot p = {.left = 520, .top = 100, .width = 3100, .height = 1280};

    p.x_low = result->first_slice - 0.5;
    p.x_high = result->last_slice + 0.5;
    p.y_low = -0.5;
    p.y_high = n_slices - 0.5;
    open_svg(out, &p, "Which slice of the volume each query slice matched");
    draw_box(out, "run", p.left, plot_y(&p, hit->match_last + 0.5), p.left + p.width,
             plot_y(&p, hit->match_first - 0.5));
    const double step = fmax(nice_step(fmax(n_slices - 1, 1), 4), 1);
    for (double slice = 0; slice < n_slices; slice += step)
        draw_number(out, p.left - 60, plot_y(&p, slice) + 40, "end", 0, slice);
    draw_marks(out, &p, hit, false, true);
    draw_marks(out, &p, hit, true, true);
    draw_best(out, &p, best->query_slice, best->match_slice);
    draw_slice_axis(out, &p, result->first_slice, result->last_slice, NULL);
    draw_text(out, p.left + p.width / 2, p.top + p.height + LINE_2, "middle",
              "slice of the query; height: slice of this volume");
    cmir_buf_puts(out, "</svg>\n");
}

/* The curve and the band of its interval; slices that hold only air leave gaps in neither. */
static void
draw_curve(cmir_buf *out, const struct plot *p, const cmir_contrast *c)
{
    cmir_buf_puts(out, "<path class=\"band\" d=\"");
    for (size_t i = 0; i < c->n_slices; i++)
        cmir_buf_printf(out, "%s%ld %ld", i == 0 ? "M" : "L", plot_x(p, c->slices[i].slice),
                        plot_y(p, c->slices[i].high));
    for (size_t i = c->n_slices; i > 0; i--)
        cmir_buf_printf(out, "L%ld %ld", plot_x(p, c->slices[i - 1].slice),
                        plot_y(p, c->slices[i - 1].low));
    cmir_buf_puts(out, "Z\"/>\n<path class=\"curve\" d=\"");
    for (size_t i = 0; i < c->n_slices; i++)
        cmir_buf_printf(out, "%s%ld %ld", i == 0 ? "M" : "L", plot_x(p, c->slices[i].slice),
                        plot_y(p, c->slices[i].value));
    cmir_buf_puts(out, "\"/>\n");
}

void
cmir_strip_contrast(cmir_buf *out, const cmir_record *query, const cmir_contrast *c)
{
    enum { SURE_HEIGHT = 130 };
    struct plot p = {.left = 1000, .top = 100, .width = 9000, .height = 1700, .x_low = -0.5};
    const long bottom = p.top + p.height;
    double low = c->slices[0].low, high = c->slices[0].high;

    for (size_t i = 0; i < c->n_slices; i++) {
        low = fmin(low, c->slices[i].low);
        high = fmax(high, c->slices[i].high);
    }
    p.x_high = query->n_slices - 0.5;
    open_svg(out, &p,
             "Contrast of each slice of the query, with its interval and the run that stands out");
    draw_air(out, &p, query);
    draw_box(out, "run", plot_x(&p, c->first - 0.5), p.top, plot_x(&p, c->last + 0.5), bottom);
    draw_value_axis(out, &p, low, fmax(high, low + 0.002), 6);
    draw_curve(out, &p, c);
    for (size_t i = 0; i < c->n_slices; i++)
        draw_box(out, "sure", plot_x(&p, c->slices[i].slice - 0.5),
                 bottom - lround(SURE_HEIGHT * c->slices[i].in_run),
                 plot_x(&p, c->slices[i].slice + 0.5), bottom);
    draw_slice_axis(out, &p, 0, query->n_slices - 1, query->slice_mm);
    draw_text(out, p.left - 260, bottom + LINE_1, "end", "slice");
    draw_text(out, p.left - 260, bottom + LINE_2, "end", "mm");
    draw_text(out, p.left + p.width / 2, bottom + LINE_3, "middle",
              "slice of the query; height: similarity to cases with the label less that to cases "
              "without");
    cmir_buf_puts(out, "</svg>\n");
}
