/* SPDX-License-Identifier: Apache-2.0 */
/* encoder_internal.h: what an encoder must offer to encode.c.
 *
 * One mechanism for all: workers take the next slices that the loader has decoded, prepare them
 * and call encode(), which must be thread-safe; so decoding, preparation and encoding overlap. */
#ifndef CMIR_ENCODER_INTERNAL_H
#define CMIR_ENCODER_INTERNAL_H

#include <cmir/encoder.h>

/* Pixels of one slice in HU (or, where there is no HU, scaled as encode.c tells). */
typedef struct cmir_picture {
    const float *pixels; /* rows * cols */
    uint32_t rows, cols;
} cmir_picture;

typedef struct cmir_encoder_class {
    /* n pictures (1..batch) -> n rows of dim floats, not yet normalised. */
    cmir_status (*encode)(const cmir_encoder *encoder, const cmir_picture *pictures, uint32_t n,
                          float *rows, cmir_error *err);
    cmir_status (*describe)(const cmir_encoder *encoder, char **out, cmir_error *err);
    void (*close)(cmir_encoder *encoder); /* frees the class's own state */
} cmir_encoder_class;

struct cmir_encoder {
    const cmir_encoder_class *class_;
    cmir_encoder_info info; /* strings owned */
    uint32_t batch;         /* slices per encode() call */
    uint32_t n_threads;
    void *state;            /* of the class */
};

#endif
