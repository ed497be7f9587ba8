/* SPDX-License-Identifier: Apache-2.0 */
/* plot.c: what all drawings of the reports share: inline SVG with axes.  Called by strip.c and
 * eval_plot.c. */
#include "report/plot.h"

#include <math.h>

long
cmir_plot_x(const cmir_plot *p, double x)
{
    return p->left + lround((x - p->x_low) / (p->x_high - p->x_low) * (double)p->width);
}

long
cmir_plot_y(const cmir_plot *p, double y)
{
    const double down = (p->y_high - y) / (p->y_high - p->y_low) * (double)p->height;

    return p->top + (isfinite(down) ? lround(down) : 0);
}

double
cmir_nice_step(double range, double n_wanted)
{
    const double raw = range / n_wanted, power = pow(10, floor(log10(raw)));
    const double share = raw / power;

    return power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
}

void
cmir_plot_open(cmir_buf *out, const cmir_plot *p, const char *label)
{
    const long width = p->left + p->width + 120, height = p->top + p->height + ROOM_BELOW;

    cmir_buf_printf(out,
                    "<svg class=\"strip\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" "
                    "aria-label=\"%s\" width=\"%ld\" height=\"%ld\" viewBox=\"0 0 %ld %ld\">\n"
                    "<rect class=\"frame\" x=\"%ld\" y=\"%ld\" width=\"%ld\" height=\"%ld\"/>\n",
                    label, width / 10, height / 10, width, height, p->left, p->top, p->width,
                    p->height);
}

void
cmir_plot_text(cmir_buf *out, long x, long y, const char *anchor, const char *text)
{
    cmir_buf_printf(out, "<text x=\"%ld\" y=\"%ld\" text-anchor=\"%s\">%s</text>\n", x, y, anchor,
                    text);
}

void
cmir_plot_number(cmir_buf *out, long x, long y, const char *anchor, int n_digits, double value)
{
    cmir_buf_printf(out, "<text x=\"%ld\" y=\"%ld\" text-anchor=\"%s\">%.*f</text>\n", x, y, anchor,
                    n_digits, value);
}

void
cmir_plot_box(cmir_buf *out, const char *class, long x0, long y0, long x1, long y1)
{
    cmir_buf_printf(out, "<rect class=\"%s\" x=\"%ld\" y=\"%ld\" width=\"%ld\" height=\"%ld\"/>\n",
                    class, x0, y0, x1 - x0, y1 - y0);
}
