/* SPDX-License-Identifier: Apache-2.0 */
/* picture.h: values of a slice as a grey picture.  Called by engine for the pictures of
 * cmir/picture.h, and by report. */
#ifndef CMIR_PICTURE_PICTURE_H
#define CMIR_PICTURE_PICTURE_H

#include <stdint.h>

#include <cmir/picture.h>

#include "base/memory.h"

/* Width and height of a picture of a slice whose pixels are square in millimetres: the longest side
 * is at most `side`, and no pixel is finer than the slice's own are along its finer axis. */
void cmir_picture_fit(const cmir_stack *stack, uint32_t side, uint32_t *width, uint32_t *height);

/* out [height][width] = the average of what each of its pixels covers of values [rows][cols]. */
cmir_status cmir_picture_scale(const float *values, uint32_t rows, uint32_t cols, uint32_t width,
                               uint32_t height, float *out, cmir_error *err);

/* grey = 255 * (value - (centre - width / 2)) / width, clipped to 0..255 and rounded; where width is
 * 0, all black. */
void cmir_picture_grey(const float *values, size_t n, double centre, double width, uint8_t *grey);

/* Appends a PNG of `values` [height][width] in a window. */
cmir_status cmir_picture_png(const float *values, uint32_t width, uint32_t height,
                             const cmir_window *window, cmir_buf *out, cmir_error *err);

#endif
