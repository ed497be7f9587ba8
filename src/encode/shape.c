/* SPDX-License-Identifier: Apache-2.0 */
/* shape.c: the shapes of a model's tensors, held against its card; called by onnx.c.
 *
 * A model's output may be one vector per slice, [N, dim], a list of tokens, [N, tokens, dim], or a
 * map, [N, dim, rows, cols] (channels last: [N, rows, cols, dim]).  All three are one layout of
 * strides, found by the same code when the model is opened and when it has run. */
#include "encode/shape.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"

/* Value v of token t of item i is at i * item + t * token + v * value. */
struct layout {
    size_t n_tokens, item, token, value;
};

struct text {
    char s[128];
};

/* "[N, 3, 224, 224]" */
static struct text
show(const cmir_shape *shape)
{
    struct text text;
    size_t n = (size_t)snprintf(text.s, sizeof text.s, "[");

    for (size_t i = 0; i < shape->rank && n < 100; i++) {
        const char *gap = i > 0 ? ", " : "";
        if (shape->dims[i] < 0)
            n += (size_t)snprintf(text.s + n, sizeof text.s - n, "%sN", gap);
        else
            n += (size_t)snprintf(text.s + n, sizeof text.s - n, "%s%lld", gap,
                                  (long long)shape->dims[i]);
    }
    (void)snprintf(text.s + n, sizeof text.s - n, "]");
    return text;
}

static bool
fits(int64_t dim, uint64_t want)
{
    return dim < 0 || (uint64_t)dim == want;
}

cmir_status
cmir_shape_check_input(const cmir_card *card, const cmir_shape *shape, cmir_error *err)
{
    const uint32_t c = card->n_channels, h = card->rows, w = card->cols;
    const cmir_shape want = {4,
                             {-1, card->channels_last ? h : c, card->channels_last ? w : h,
                              card->channels_last ? c : w}};
    bool ok = shape->rank == 4;

    for (size_t i = 1; ok && i < 4; i++)
        ok = fits(shape->dims[i], (uint64_t)want.dims[i]);
    if (!ok)
        return FAIL(err, CMIR_ECORRUPT, "%s: input: the model wants %s, the card says %s",
                    card->path, show(shape).s, show(&want).s);
    return CMIR_OK;
}

static bool
find_layout(const cmir_card *card, const cmir_shape *shape, struct layout *out)
{
    const int64_t *d = shape->dims;
    const size_t dim = card->dim, a = (size_t)d[1], b = (size_t)d[2], c = (size_t)d[3];

    if (card->pooling == CMIR_POOL_NONE) {
        *out = (struct layout){1, dim, dim, 1};
        for (size_t i = 2; i < shape->rank; i++)
            if (!fits(d[i], 1))
                return false;
        return fits(d[1], dim);
    }
    if (shape->rank == 3) {
        *out = (struct layout){card->pooling == CMIR_POOL_CLS ? 1 : a, a * dim, dim, 1};
        return a > 0 && fits(d[2], dim);
    }
    if (shape->rank != 4 || card->pooling == CMIR_POOL_CLS)
        return false;
    if (card->channels_last) {
        *out = (struct layout){a * b, a * b * dim, dim, 1};
        return a > 0 && b > 0 && fits(d[3], dim);
    }
    *out = (struct layout){b * c, b * c * dim, 1, b * c};
    return b > 0 && c > 0 && fits(d[1], dim);
}

cmir_status
cmir_shape_check_embedding(const cmir_card *card, const cmir_shape *shape, cmir_error *err)
{
    struct layout layout;

    if (!find_layout(card, shape, &layout))
        return FAIL(err, CMIR_ECORRUPT,
                    "%s: output.dim, output.pooling: %s of the model is %s, "
                    "not %u values per slice",
                    card->path, card->embedding, show(shape).s, card->dim);
    return CMIR_OK;
}

cmir_status
cmir_shape_check_patches(const cmir_card *card, const cmir_shape *shape, cmir_error *err)
{
    const uint64_t rows = card->patch_rows, cols = card->patch_cols;
    const int first = card->channels_last ? 1 : 2; /* of the grid, in an output of rank 4 */
    bool ok = shape->rank == 3 || shape->rank == 4;

    if (ok && rows > 0)
        ok = shape->rank == 3
                 ? fits(shape->dims[1], rows * cols)
                 : fits(shape->dims[first], rows) && fits(shape->dims[first + 1], cols);
    if (!ok)
        return FAIL(err, CMIR_ECORRUPT,
                    "%s: output.patch_grid: %s of the model is %s, not a grid "
                    "of %u x %u vectors",
                    card->path, card->patches, show(shape).s, card->patch_rows, card->patch_cols);
    return CMIR_OK;
}

void
cmir_shape_pool(const cmir_card *card, const cmir_shape *shape, const float *data, uint32_t n,
                float *rows)
{
    struct layout l = {0};

    (void)find_layout(card, shape, &l);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t v = 0; v < card->dim; v++) {
            const float *at = data + i * l.item + v * l.value;
            double sum = 0.0;
            for (size_t t = 0; t < l.n_tokens; t++)
                sum += (double)at[t * l.token];
            *rows++ = (float)(sum / (double)l.n_tokens);
        }
}

void
cmir_shape_describe(const cmir_card *card, const cmir_shape *input, const cmir_shape *embedding,
                    const cmir_shape *patches, cmir_buf *text)
{
    static const char *const filters[] = {"area", "bilinear", "bicubic"};
    static const char *const poolings[] = {"none", "cls", "mean"};

    cmir_buf_printf(text, "weights:   %s\nmodality:  %s\ninput:     %s %s, float32 %s\n",
                    card->weights_path, card->modality, card->input, show(input).s,
                    card->channels_last ? "NHWC" : "NCHW");
    cmir_buf_printf(text,
                    "resize:    to %u x %u, %s; without HU, the robust range of values as "
                    "0..1\n",
                    card->rows, card->cols, filters[card->filter]);
    for (uint32_t c = 0; c < card->n_channels; c++) {
        const cmir_window *w = &card->windows[card->bgr ? card->n_channels - 1 - c : c];
        cmir_buf_printf(text,
                        "channel %u: window centre %g, width %g HU as 0..1; mean %g, std %g\n", c,
                        w->centre, w->width, (double)card->mean[c], (double)card->std[c]);
    }
    cmir_buf_printf(text, "output:    %s %s, float32, pooling %s\n", card->embedding,
                    show(embedding).s, poolings[card->pooling]);
    if (card->patches != NULL)
        cmir_buf_printf(text, "patches:   %s %s\n", card->patches, show(patches).s);
}
