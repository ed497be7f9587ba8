/* SPDX-License-Identifier: Apache-2.0 */
/* shape.h: the shapes of a model's tensors, held against its card. */
#ifndef CMIR_ENCODE_SHAPE_H
#define CMIR_ENCODE_SHAPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"
#include "encode/card.h"

#define CMIR_MAX_RANK 8u

typedef struct cmir_shape {
    size_t rank;                 /* 2..CMIR_MAX_RANK */
    int64_t dims[CMIR_MAX_RANK]; /* < 0: any */
} cmir_shape;

/* CMIR_ECORRUPT, naming the card's field, where the model contradicts the card. */
cmir_status cmir_shape_check_input(const cmir_card *card, const cmir_shape *shape, cmir_error *err);
cmir_status cmir_shape_check_embedding(const cmir_card *card, const cmir_shape *shape,
                                       cmir_error *err);
cmir_status cmir_shape_check_patches(const cmir_card *card, const cmir_shape *shape,
                                     cmir_error *err);

/* rows (n * dim) = the first n items of an output of a known shape that was checked, pooled as the
 * card says. */
void cmir_shape_pool(const cmir_card *card, const cmir_shape *shape, const float *data, uint32_t n,
                     float *rows);

/* Adds what the model sees and gives, for people; `patches` counts if the card names it. */
void cmir_shape_describe(const cmir_card *card, const cmir_shape *input,
                         const cmir_shape *embedding, const cmir_shape *patches, cmir_buf *text);

#endif
