/* SPDX-License-Identifier: Apache-2.0 */
/* external.c: an encoder that runs elsewhere: only its identity is here.  Called by the public
 * interface.  Its card is made from name, version and dimension, and so is its sha256. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "base/thread.h"
#include "encode/encoder_internal.h"

static cmir_status
refuse_encode(const cmir_encoder *encoder, const cmir_picture *pictures, uint32_t n, float *rows,
              cmir_error *err)
{
    (void)pictures;
    (void)n;
    (void)rows;
    return FAIL(err, CMIR_EUNSUPPORTED,
                "encoder %s runs outside of cmir: give its embeddings (.npy), not scans",
                encoder->info.name);
}

static cmir_status
describe(const cmir_encoder *encoder, char **out, cmir_error *err)
{
    (void)encoder;
    *out = cmir_strdup("runs:      outside of cmir; its embeddings are imported\n");
    return *out != NULL ? CMIR_OK : FAIL(err, CMIR_ENOMEM, "no memory to describe an encoder");
}

static void
close_nothing(cmir_encoder *encoder)
{
    (void)encoder;
}

static const cmir_encoder_class external = {refuse_encode, describe, close_nothing};

/* Names and versions go into JSON as they are. */
static bool
is_plain(const char *text)
{
    if (text == NULL || *text == '\0' || strlen(text) > 200)
        return false;
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
            return false;
    return true;
}

cmir_status
cmir_encoder_external(const char *name, const char *version, uint32_t dim, cmir_encoder **out,
                      cmir_error *err)
{
    char sha256[CMIR_SHA256_HEX_NBYTES];

    *out = NULL;
    if (!is_plain(name) || !is_plain(version))
        return FAIL(err, CMIR_EINVAL,
                    "an external encoder has a name and a version of 1..200 printable ASCII "
                    "characters without quotes and backslashes");
    if (dim < 1 || dim > CMIR_MAX_DIM)
        return FAIL(err, CMIR_EINVAL, "encoder %s: dimension %u; 1..%u are possible", name, dim,
                    CMIR_MAX_DIM);
    cmir_encoder *encoder = cmir_alloc_zeroed(1, sizeof *encoder);
    char *card = cmir_asprintf("{\"dim\":%u,\"external\":true,\"name\":\"%s\",\"version\":\"%s\"}",
                               dim, name, version);
    if (encoder == NULL || card == NULL) {
        free(encoder);
        free(card);
        return FAIL(err, CMIR_ENOMEM, "no memory for encoder %s", name);
    }
    encoder->class_ = &external;
    encoder->info.dim = dim;
    encoder->batch = 1;
    encoder->n_threads = 1;
    cmir_sha256(card, strlen(card), sha256);
    const bool ok = cmir_encoder_identify(encoder, name, version, "not stated", sha256, card, "");
    free(card);
    if (!ok) {
        cmir_encoder_close(encoder);
        return FAIL(err, CMIR_ENOMEM, "no memory for encoder %s", name);
    }
    *out = encoder;
    return CMIR_OK;
}
