/* SPDX-License-Identifier: Apache-2.0 */
/* resize.c: a slice, or one window of it, resized with antialiasing.  Both encoders prepare their
 * input with it; pictures and previews are made with it.
 *
 * The filters are separable: for every output row the input rows under it are windowed, weighted
 * and summed into one scratch row, which is then resampled across.  So each pixel is read once
 * where the axis shrinks by averaging, and no intermediate picture exists. */
#include "picture/resize.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* Kernels in units of the scale, centred at 0. */
static double
bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* Cubic convolution with a = -0.5 (Catmull-Rom), as Pillow has it. */
static double
bicubic(double x)
{
    x = fabs(x);
    if (x < 1.0)
        return (1.5 * x - 2.5) * x * x + 1.0;
    if (x < 2.0)
        return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0;
    return 0.0;
}

/* How much of pixel `i` lies under a box `scale` wide. */
static double
area(double middle, double scale, double i)
{
    const double low = fmax(middle - 0.5 * scale, i), high = fmin(middle + 0.5 * scale, i + 1.0);

    return high > low ? (high - low) / scale : 0.0;
}

/* Weight of input pixel `i` for an output pixel centred on `middle`. */
static double
weight(cmir_filter filter, double middle, double scale, uint32_t i)
{
    const double x = (i + 0.5 - middle) / scale;

    return filter == CMIR_BICUBIC    ? bicubic(x)
           : filter == CMIR_BILINEAR ? bilinear(x)
                                     : area(middle, scale, i);
}

/* One output pixel, `step` wide; `pad`: what lies outside the input is 0 rather than left out. */
static void
fill_tap(cmir_taps *taps, uint32_t o, cmir_filter filter, double middle, double step, uint32_t n_in,
         bool pad)
{
    const double scale = filter == CMIR_COVER ? step : fmax(step, 1.0);
    const double inside = fmin(middle + 0.5 * step, n_in) - fmax(middle - 0.5 * step, 0.0);
    const double support = (filter == CMIR_BICUBIC ? 2.0 : 1.0) * scale;
    const double low = fmax(floor(middle - support), 0.0);
    const double high = fmin(ceil(middle + support), n_in);
    float *w = taps->weights + (size_t)o * taps->stride;
    double sum = 0.0;

    taps->first[o] = taps->count[o] = 0;
    for (double at = low; at < high; at++) {
        const uint32_t i = (uint32_t)at;
        const double wi = weight(filter, middle, scale, i);
        if (wi == 0.0)
            continue;
        if (taps->count[o] == 0)
            taps->first[o] = i;
        taps->count[o] = i - taps->first[o] + 1;
        sum += wi;
    }
    if (pad)
        sum *= step / fmax(inside, 0.0);
    for (uint32_t t = 0; t < taps->count[o]; t++)
        w[t] = (float)(weight(filter, middle, scale, taps->first[o] + t) / sum);
}

static cmir_status
init_taps(cmir_taps *taps, cmir_filter filter, uint32_t n_in, double from, double to, bool pad,
          uint32_t n_out, cmir_error *err)
{
    const double step = (to - from) / n_out;
    const double widest = (filter == CMIR_BICUBIC ? 4.0 : 2.0) * ceil(fmax(step, 1.0)) + 2.0;

    taps->stride = widest < n_in ? (uint32_t)widest : n_in;
    taps->first = cmir_alloc(n_out, sizeof *taps->first);
    taps->count = cmir_alloc(n_out, sizeof *taps->count);
    taps->weights = cmir_alloc((size_t)n_out * taps->stride, sizeof *taps->weights);
    if (taps->first == NULL || taps->count == NULL || taps->weights == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to resize %u pixels to %u", n_in, n_out);
    for (uint32_t o = 0; o < n_out; o++)
        fill_tap(taps, o, filter, from + (o + 0.5) * step, step, n_in, pad);
    return CMIR_OK;
}

cmir_status
cmir_resizer_init(cmir_resizer *resizer, cmir_filter filter, uint32_t rows, uint32_t cols,
                  const cmir_part *box, uint32_t out_rows, uint32_t out_cols, cmir_error *err)
{
    const cmir_part all = {0.0, rows, 0.0, cols};
    const cmir_part *b = box == NULL ? &all : box;
    const bool pad = box != NULL;

    *resizer = (cmir_resizer){rows, cols, out_rows, out_cols, {0}, {0}};
    const cmir_status st =
        init_taps(&resizer->down, filter, rows, b->top, b->bottom, pad, out_rows, err);
    if (st != CMIR_OK)
        return st;
    return init_taps(&resizer->across, filter, cols, b->left, b->right, pad, out_cols, err);
}

static void
free_taps(cmir_taps *taps)
{
    free(taps->first);
    free(taps->count);
    free(taps->weights);
}

void
cmir_resizer_free(cmir_resizer *resizer)
{
    free_taps(&resizer->down);
    free_taps(&resizer->across);
    *resizer = (cmir_resizer){0};
}

#define BLOCK 16 /* pixels; loops of a fixed length are vectorised at every level of optimisation */

/* sum += w * clipped (row - low) * gain.  Floats are clipped to 0..1 by their bits, which order as
 * they do: no compiler makes a branch of integers' extremes. */
static void
add_block(float *restrict sum, const float *restrict row, float low, float gain, float w)
{
    const int32_t one = 0x3F800000;
    union {
        float f[BLOCK];
        int32_t bits[BLOCK];
    } x;

    for (size_t i = 0; i < BLOCK; i++)
        x.f[i] = (row[i] - low) * gain;
    for (size_t i = 0; i < BLOCK; i++) {
        const int32_t positive = x.bits[i] > 0 ? x.bits[i] : 0;
        x.bits[i] = positive < one ? positive : one;
    }
    for (size_t i = 0; i < BLOCK; i++)
        sum[i] += w * x.f[i];
}

static float
clip(float x)
{
    x = x > 0.0f ? x : 0.0f;
    return x < 1.0f ? x : 1.0f;
}

static void
add_row(float *restrict sum, const float *restrict row, uint32_t n, float low, float gain, float w)
{
    uint32_t i = 0;

    for (; i + BLOCK <= n; i += BLOCK)
        add_block(sum + i, row + i, low, gain, w);
    for (; i < n; i++)
        sum[i] += w * clip((row[i] - low) * gain);
}

/* One row across. */
static float *
resample(const cmir_taps *across, uint32_t n, const float *row, float *out)
{
    for (uint32_t x = 0; x < n; x++) {
        const float *w = across->weights + (size_t)x * across->stride;
        const float *s = row + across->first[x];
        float sum = 0.0f;

        for (uint32_t t = 0; t < across->count[x]; t++)
            sum += w[t] * s[t];
        *out++ = sum;
    }
    return out;
}

void
cmir_resize_values(const cmir_resizer *resizer, const float *pixels, float *scratch, float *out)
{
    const cmir_taps *down = &resizer->down;
    const uint32_t cols = resizer->cols;

    for (uint32_t y = 0; y < resizer->out_rows; y++) {
        memset(scratch, 0, cols * sizeof *scratch);
        for (uint32_t t = 0; t < down->count[y]; t++) {
            const float w = down->weights[(size_t)y * down->stride + t];
            const float *row = pixels + (size_t)(down->first[y] + t) * cols;

            for (uint32_t c = 0; c < cols; c++)
                scratch[c] += w * row[c];
        }
        out = resample(&resizer->across, resizer->out_cols, scratch, out);
    }
}

void
cmir_resize(const cmir_resizer *resizer, const float *pixels, float low, float gain, float *scratch,
            float *out)
{
    const cmir_taps *down = &resizer->down;
    const uint32_t cols = resizer->cols;

    for (uint32_t y = 0; y < resizer->out_rows; y++) {
        float *const first = out;

        memset(scratch, 0, cols * sizeof *scratch);
        for (uint32_t t = 0; t < down->count[y]; t++)
            add_row(scratch, pixels + (size_t)(down->first[y] + t) * cols, cols, low, gain,
                    down->weights[(size_t)y * down->stride + t]);
        out = resample(&resizer->across, resizer->out_cols, scratch, out);
        for (uint32_t x = 0; x < resizer->out_cols; x++)
            first[x] = clip(first[x]);
    }
}
