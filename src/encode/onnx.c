/* SPDX-License-Identifier: Apache-2.0 */
/* onnx.c: encoders that are ONNX models, described by a card. */
#include "base/error.h"
#include "encode/encoder_internal.h"

cmir_status
cmir_onnx_init(cmir_encoder *encoder, const char *card_path, const char *onnxruntime_path,
               cmir_error *err)
{
    (void)encoder;
    (void)onnxruntime_path;
    return FAIL(err, CMIR_EUNSUPPORTED, "%s: this build has no ONNX encoders", card_path);
}
