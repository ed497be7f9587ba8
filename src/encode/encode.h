/* SPDX-License-Identifier: Apache-2.0 */
/* encode.h: the pipeline from a volume to its embeddings, with somebody looking on.  Called by engine,
 * which makes previews of the slices as they pass. */
#ifndef CMIR_ENCODE_ENCODE_H
#define CMIR_ENCODE_ENCODE_H

#include <cmir/encoder.h>

#include "picture/preview.h"

/* Sees every slice once, as cmir_volume_slice() gives it, from the worker that encodes it; several at
 * once.  An error ends the encoding. */
typedef struct cmir_onlooker {
    cmir_status (*see)(void *ctx, uint32_t slice, const float *values,
                       const cmir_value_range *range, cmir_error *err);
    void *ctx;
} cmir_onlooker;

/* Like cmir_encode_streamed(); `onlooker` may be NULL. */
cmir_status cmir_encode_seen(const cmir_encoder *encoder, cmir_volume *volume, cmir_plane plane,
                             const cmir_onlooker *onlooker, cmir_progress_fn progress,
                             void *progress_ctx, cmir_embeddings *out, cmir_error *err);

#endif
