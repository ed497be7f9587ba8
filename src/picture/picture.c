/* SPDX-License-Identifier: Apache-2.0 */
/* picture.c: values of a slice as a grey picture: fitted, averaged, windowed, written as PNG.
 *
 * The one idea: a picture's pixels are square in millimetres, so a length on it means the same in
 * every direction, and it never has more pixels than the slice. */
#include "picture/picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "picture/png.h"
#include "picture/resize.h"

void
cmir_picture_fit(const cmir_stack *stack, uint32_t side, uint32_t *width, uint32_t *height)
{
    const double width_mm = stack->cols * stack->col_spacing_mm,
                 height_mm = stack->rows * stack->row_spacing_mm;
    const double fine = fmin(stack->col_spacing_mm, stack->row_spacing_mm);
    const double pixel = fmax(fmax(width_mm, height_mm) / side, fine);
    const double w = floor(width_mm / pixel + 0.5), h = floor(height_mm / pixel + 0.5);

    *width = w < 1 ? 1 : w > side ? side : (uint32_t)w;
    *height = h < 1 ? 1 : h > side ? side : (uint32_t)h;
}

cmir_status
cmir_picture_scale(const float *values, uint32_t rows, uint32_t cols, uint32_t width,
                   uint32_t height, float *out, cmir_error *err)
{
    cmir_resizer resizer = {0};
    cmir_status st;

    if (rows == height && cols == width) {
        memcpy(out, values, (size_t)rows * cols * sizeof *out);
        return CMIR_OK;
    }
    float *scratch = cmir_alloc(cols, sizeof *scratch);
    if (scratch == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory for a picture of %u x %u", width, height);
    else
        st = cmir_resizer_init(&resizer, CMIR_COVER, rows, cols, NULL, height, width, err);
    if (st == CMIR_OK)
        cmir_resize_values(&resizer, values, scratch, out);
    cmir_resizer_free(&resizer);
    free(scratch);
    return st;
}

void
cmir_picture_grey(const float *values, size_t n, double centre, double width, uint8_t *grey)
{
    const float low = (float)(centre - width / 2), gain = width > 0 ? (float)(255 / width) : 0.0f;

    for (size_t i = 0; i < n; i++)
        grey[i] = (uint8_t)(fminf(fmaxf((values[i] - low) * gain, 0.0f), 255.0f) + 0.5f);
}

cmir_status
cmir_picture_png(const float *values, uint32_t width, uint32_t height, const cmir_window *window,
                 cmir_buf *out, cmir_error *err)
{
    const size_t n = (size_t)width * height;
    uint8_t *grey = cmir_alloc(n, 1);

    if (grey == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a picture of %u x %u", width, height);
    cmir_picture_grey(values, n, window->centre, window->width, grey);
    const cmir_status st = cmir_png_write(grey, width, height, out, err);
    free(grey);
    return st;
}
