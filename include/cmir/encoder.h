/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/encoder.h: from slices to embeddings.
 *
 * An encoder turns a slice into one unit-norm vector of `dim` floats.  "builtin" needs no weights;
 * any other encoder is an ONNX model described by an encoder card (JSON; docs/encoders.md). */
#ifndef CMIR_ENCODER_H
#define CMIR_ENCODER_H

#include <cmir/status.h>
#include <cmir/volume.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CMIR_MAX_DIM 4096u

typedef struct cmir_encoder cmir_encoder;

typedef struct cmir_encoder_options {
    size_t struct_nbytes;         /* sizeof (cmir_encoder_options) */
    const char *onnxruntime_path; /* libonnxruntime.so; NULL: beside the program, then the system */
    uint32_t n_threads;           /* workers of cmir_encode(); 0: the CPUs this process may use */
} cmir_encoder_options;

/* What identifies an encoder; strings borrowed from it, never NULL. */
typedef struct cmir_encoder_info {
    const char *name, *version, *licence;
    const char *sha256;    /* of the weights, 64 hex digits; builtin: of its card */
    const char *card_json; /* the whole card as canonical JSON */
    const char *card_path; /* absolute; "" for builtin */
    uint32_t dim;          /* 1..CMIR_MAX_DIM */
} cmir_encoder_info;

/* cmir_encoder_open() opens "builtin" or a card file.  An ONNX encoder's weights are checked
 * against the card's sha256 and its model against the card's inputs and outputs.  Errors:
 * CMIR_ENOTFOUND (card, weights), CMIR_ECORRUPT (card, hash, model), CMIR_EUNSUPPORTED (no ONNX
 * Runtime on this machine: the message says how to get it). */
CMIR_API cmir_status
cmir_encoder_open(const char *card, const cmir_encoder_options *options, cmir_encoder **out,
                  cmir_error *err);

/* cmir_encoder_external() stands for an encoder that runs elsewhere and whose embeddings are
 * imported (cmir_archive_import()): it has a name, a version and a dimension (1..CMIR_MAX_DIM), and
 * cmir_encode() refuses it with CMIR_EUNSUPPORTED.  Archives of the same three compare. */
CMIR_API cmir_status
cmir_encoder_external(const char *name, const char *version, uint32_t dim, cmir_encoder **out,
                      cmir_error *err);

CMIR_API void cmir_encoder_close(cmir_encoder *encoder); /* NULL is fine */
CMIR_API const cmir_encoder_info *cmir_encoder_get_info(const cmir_encoder *encoder);

/* cmir_encoder_describe() writes what the model expects and gives, as text for people, into a
 * string that the caller frees with cmir_free(). */
CMIR_API cmir_status
cmir_encoder_describe(const cmir_encoder *encoder, char **out, cmir_error *err);

/* Marks of a slice. */
#define CMIR_SLICE_AIR 1u /* holds only air: kept, but left out of every score */

/* The embeddings of one volume in one plane.  `rows` is n_slices x dim, row-major, unit L2 norm;
 * row i is slice i.  Free with cmir_embeddings_free(). */
typedef struct cmir_embeddings {
    float *rows;
    uint8_t *marks;    /* n_slices: CMIR_SLICE_* bits; if all slices are air, none is marked */
    uint32_t n_slices;
    uint32_t dim;
} cmir_embeddings;

/* cmir_encode() encodes every slice of `volume` in `plane`.  A volume that is open but not yet
 * loaded is loaded by the call, and encoding overlaps with decoding.  `progress` counts slices;
 * may be NULL.  On success the caller owns what `out` points to; on failure `out` is zeroed. */
CMIR_API cmir_status
cmir_encode(const cmir_encoder *encoder, cmir_volume *volume, cmir_plane plane,
            cmir_progress_fn progress, void *progress_ctx, cmir_embeddings *out, cmir_error *err);

/* cmir_encode_streamed() is cmir_encode() for a volume that is encoded and no more: its slices may be
 * read one by one as they are encoded, so that its voxels are never all in memory (now: uncompressed
 * DICOM in HU, along the plane of its slices).  A volume that was not loaded then may be still not,
 * and loading it reads it again; after a failure it can only be closed. */
CMIR_API cmir_status
cmir_encode_streamed(const cmir_encoder *encoder, cmir_volume *volume, cmir_plane plane,
                     cmir_progress_fn progress, void *progress_ctx, cmir_embeddings *out,
                     cmir_error *err);
CMIR_API void cmir_embeddings_free(cmir_embeddings *embeddings); /* NULL is fine; zeroes it */

#ifdef __cplusplus
}
#endif
#endif
