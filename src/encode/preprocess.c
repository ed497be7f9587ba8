/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess.c: from slices to what a card says its model wants to see; called by onnx.c.
 *
 * The window comes first and the resize second, as if the slice had been shown on a screen and
 * the screen's picture been shrunk: that is what encoders made for pictures were trained on. */
#include "encode/preprocess.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

static void
put_channel(const cmir_card *card, const float *plane, uint32_t channel, float *tensor)
{
    const size_t n_pixels = (size_t)card->rows * card->cols;
    const size_t step = card->channels_last ? card->n_channels : 1;
    const float mean = card->mean[channel], std = card->std[channel];

    tensor += channel * (card->channels_last ? 1 : n_pixels);
    for (size_t i = 0; i < n_pixels; i++)
        tensor[i * step] = (plane[i] - mean) / std;
}

static void
put_picture(const cmir_card *card, const cmir_resizer *resizer, const cmir_picture *picture,
            float *scratch, float *plane, float *tensor)
{
    const cmir_window unit = {0.5, 1.0}, *shown = NULL;

    for (uint32_t c = 0; c < card->n_channels; c++) {
        const cmir_window *w = &card->windows[card->bgr ? card->n_channels - 1 - c : c];
        if (!picture->has_hu)
            w = &unit;
        if (shown == NULL || shown->centre != w->centre || shown->width != w->width)
            cmir_resize(resizer, picture->pixels, (float)(w->centre - 0.5 * w->width),
                        (float)(1.0 / w->width), scratch, plane);
        shown = w;
        put_channel(card, plane, c, tensor);
    }
}

cmir_status
cmir_preprocess(const cmir_card *card, const cmir_picture *pictures, uint32_t n, float *tensor,
                cmir_error *err)
{
    const size_t n_pixels = (size_t)card->rows * card->cols;
    float *plane = cmir_alloc(n_pixels, sizeof *plane);
    float *scratch = cmir_alloc(pictures[0].cols, sizeof *scratch);
    cmir_resizer resizer;
    cmir_status st = cmir_resizer_init(&resizer, card->filter, pictures[0].rows, pictures[0].cols,
                                       NULL, card->rows, card->cols, err);

    if (st == CMIR_OK && (plane == NULL || scratch == NULL))
        st = FAIL(err, CMIR_ENOMEM, "no memory to prepare a slice for encoder %s", card->name);
    for (uint32_t i = 0; st == CMIR_OK && i < n; i++)
        put_picture(card, &resizer, &pictures[i], scratch, plane,
                    tensor + i * n_pixels * card->n_channels);
    cmir_resizer_free(&resizer);
    free(scratch);
    free(plane);
    return st;
}
