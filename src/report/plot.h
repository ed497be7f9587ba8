/* SPDX-License-Identifier: Apache-2.0 */
/* plot.h: what all drawings of the reports share: inline SVG with axes.  Called by strip.c and
 * eval_plot.c.
 *
 * Coordinates are whole numbers, tenths of a pixel, since printf writes fractions in the caller's
 * locale. */
#ifndef CMIR_REPORT_PLOT_H
#define CMIR_REPORT_PLOT_H

#include "base/memory.h"

/* A plot's place in its drawing, in tenths of a pixel, and the values at its borders. */
typedef struct cmir_plot {
    long left, top, width, height;
    double x_low, x_high, y_low, y_high;
} cmir_plot;

/* Below a plot: tick labels, a second line of them, and what the axis is. */
enum { LINE_1 = 160, LINE_2 = 300, LINE_3 = 450, ROOM_BELOW = 500 };

long cmir_plot_x(const cmir_plot *p, double x);
long cmir_plot_y(const cmir_plot *p, double y);

/* 1, 2 or 5 times a power of ten, so that about `n_wanted` ticks fit into `range`. */
double cmir_nice_step(double range, double n_wanted);

/* The drawing around `p`, called `label`, and the plot's frame; "</svg>" ends it. */
void cmir_plot_open(cmir_buf *out, const cmir_plot *p, const char *label);
void cmir_plot_text(cmir_buf *out, long x, long y, const char *anchor, const char *text);
/* A number at a tick; of the axis of values when `anchor` is "end". */
void cmir_plot_number(cmir_buf *out, long x, long y, const char *anchor, int n_digits,
                      double value);
void cmir_plot_box(cmir_buf *out, const char *class, long x0, long y0, long x1, long y1);

#endif
