/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess.h: from slices to what a card says its model wants to see. */
#ifndef CMIR_ENCODE_PREPROCESS_H
#define CMIR_ENCODE_PREPROCESS_H

#include "encode/card.h"
#include "encode/encoder_internal.h"

/* n pictures of one size -> `tensor`, n * channels * rows * cols floats in the card's layout:
 * each channel is a window of the slice mapped to 0..1 (without HU: the 0..1 it has), resized,
 * then (x - mean) / std. */
cmir_status cmir_preprocess(const cmir_card *card, const cmir_picture *pictures, uint32_t n,
                            float *tensor, cmir_error *err);

#endif
