/* SPDX-License-Identifier: Apache-2.0 */
/* resize.h: one window of a slice, resized with antialiasing. */
#ifndef CMIR_PICTURE_RESIZE_H
#define CMIR_PICTURE_RESIZE_H

#include <stdint.h>

#include <cmir/status.h>

/* How an axis is resampled.  All of them widen with the scale when an axis shrinks, so nothing is
 * skipped.  AREA is the exact average of what an output pixel covers, at least one pixel wide: an
 * axis that grows is interpolated linearly.  COVER is that average however little it covers. */
typedef enum cmir_filter { CMIR_AREA, CMIR_BILINEAR, CMIR_BICUBIC, CMIR_COVER } cmir_filter;

/* The weights of one axis: output i is the sum of weights[i * stride + t] * input[first[i] + t]
 * over t < count[i]. */
typedef struct cmir_taps {
    uint32_t *first, *count;
    float *weights;
    uint32_t stride;
} cmir_taps;

typedef struct cmir_resizer {
    uint32_t rows, cols, out_rows, out_cols;
    cmir_taps down, across; /* over rows, over columns */
} cmir_resizer;

/* A part of a picture, in pixels from its first corner; may reach outside it. */
typedef struct cmir_part {
    double top, bottom, left, right;
} cmir_part;

/* Resizes `box`, outside of which all is 0, or the whole picture (NULL).  Free with
 * cmir_resizer_free(), after a failure too. */
cmir_status cmir_resizer_init(cmir_resizer *resizer, cmir_filter filter, uint32_t rows,
                              uint32_t cols, const cmir_part *box, uint32_t out_rows,
                              uint32_t out_cols, cmir_error *err);
void cmir_resizer_free(cmir_resizer *resizer);

/* out (out_rows * out_cols) = the resized picture.  `scratch` holds cols floats. */
void cmir_resize_values(const cmir_resizer *resizer, const float *pixels, float *scratch,
                        float *out);

/* out (out_rows * out_cols) = the resized picture of (pixel - low) * gain clipped to 0..1, clipped
 * again.  `scratch` holds cols floats. */
void cmir_resize(const cmir_resizer *resizer, const float *pixels, float low, float gain,
                 float *scratch, float *out);

#endif
