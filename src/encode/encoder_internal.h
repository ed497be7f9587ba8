/* SPDX-License-Identifier: Apache-2.0 */
/* encoder_internal.h: what an encoder must offer to encode.c.
 *
 * One mechanism for all: workers take the next slices that the loader has decoded, prepare them
 * and call encode(), which must be thread-safe; so decoding, preparation and encoding overlap. */
#ifndef CMIR_ENCODER_INTERNAL_H
#define CMIR_ENCODER_INTERNAL_H

#include <cmir/encoder.h>

/* Pixels of one slice. */
typedef struct cmir_picture {
    const float *pixels; /* rows * cols, finite */
    uint32_t rows, cols;
    double row_mm, col_mm; /* between neighbouring rows, between columns */
    bool has_hu; /* HU; otherwise 0..1 between the robust ends of the volume's values */
} cmir_picture;

typedef struct cmir_encoder_class {
    /* n pictures of one size (1..batch) -> n rows of dim floats, not yet normalised. */
    cmir_status (*encode)(const cmir_encoder *encoder, const cmir_picture *pictures, uint32_t n,
                          float *rows, cmir_error *err);
    cmir_status (*describe)(const cmir_encoder *encoder, char **out, cmir_error *err);
    void (*close)(cmir_encoder *encoder); /* frees the class's own state; NULL state is fine */
} cmir_encoder_class;

struct cmir_encoder {
    const cmir_encoder_class *class_;
    cmir_encoder_info info; /* strings owned */
    uint32_t batch;         /* slices per encode() call */
    uint32_t n_threads;
    void *state;            /* of the class */
};

/* Fill class_, info, batch and state of a zeroed encoder.  On failure the caller closes it. */
cmir_status cmir_builtin_init(cmir_encoder *encoder, cmir_error *err);
cmir_status cmir_onnx_init(cmir_encoder *encoder, const char *card_path,
                           const char *onnxruntime_path, cmir_error *err);

/* info's identity strings, copied; false where memory runs out. */
bool cmir_encoder_identify(cmir_encoder *encoder, const char *name, const char *version,
                           const char *licence, const char *sha256, const char *card_json,
                           const char *card_path);

#endif
