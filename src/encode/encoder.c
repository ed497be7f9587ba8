/* SPDX-License-Identifier: Apache-2.0 */
/* encoder.c: opening, closing and describing encoders, whatever their class. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "encode/encoder_internal.h"

bool
cmir_encoder_identify(cmir_encoder *encoder, const char *name, const char *version,
                      const char *licence, const char *sha256, const char *card_json,
                      const char *card_path)
{
    cmir_encoder_info *info = &encoder->info;

    info->name = cmir_strdup(name);
    info->version = cmir_strdup(version);
    info->licence = cmir_strdup(licence);
    info->sha256 = cmir_strdup(sha256);
    info->card_json = cmir_strdup(card_json);
    info->card_path = cmir_strdup(card_path);
    return info->name != NULL && info->version != NULL && info->licence != NULL &&
           info->sha256 != NULL && info->card_json != NULL && info->card_path != NULL;
}

cmir_status
cmir_encoder_open(const char *card, const cmir_encoder_options *options, cmir_encoder **out,
                  cmir_error *err)
{
    const cmir_encoder_options defaults = {sizeof defaults, NULL, 0};
    const cmir_encoder_options *o = options == NULL ? &defaults : options;
    cmir_status st;

    *out = NULL;
    if (card == NULL || *card == '\0')
        return FAIL(err, CMIR_EINVAL, "encoder: \"builtin\" or the path of a card is wanted");
    if (o->struct_nbytes != sizeof *o || o->n_threads > CMIR_MAX_THREADS)
        return FAIL(err, CMIR_EINVAL, "encoder options: struct_nbytes or n_threads out of range");
    cmir_encoder *encoder = cmir_alloc_zeroed(1, sizeof *encoder);
    if (encoder == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for encoder %s", card);
    encoder->n_threads = o->n_threads == 0 ? cmir_cpu_count() : o->n_threads;
    if (strcmp(card, "builtin") == 0)
        st = cmir_builtin_init(encoder, err);
    else
        st = cmir_onnx_init(encoder, card, o->onnxruntime_path, err);
    if (st != CMIR_OK) {
        cmir_encoder_close(encoder);
        return st;
    }
    *out = encoder;
    return CMIR_OK;
}

static void
free_string(const char *s)
{
    union {
        const char *in;
        char *out;
    } string = {s};

    free(string.out);
}

void
cmir_encoder_close(cmir_encoder *encoder)
{
    if (encoder == NULL)
        return;
    if (encoder->class_ != NULL)
        encoder->class_->close(encoder);
    free_string(encoder->info.name);
    free_string(encoder->info.version);
    free_string(encoder->info.licence);
    free_string(encoder->info.sha256);
    free_string(encoder->info.card_json);
    free_string(encoder->info.card_path);
    free(encoder);
}

const cmir_encoder_info *
cmir_encoder_get_info(const cmir_encoder *encoder)
{
    return &encoder->info;
}

cmir_status
cmir_encoder_describe(const cmir_encoder *encoder, char **out, cmir_error *err)
{
    const cmir_encoder_info *info = &encoder->info;
    char *rest;
    const cmir_status st = encoder->class_->describe(encoder, &rest, err);

    *out = NULL;
    if (st != CMIR_OK)
        return st;
    *out =
        cmir_asprintf("name:      %s\nversion:   %s\nlicence:   %s\nsha256:    %s\n"
                      "card:      %s\n%sdimension: %u, unit length\n",
                      info->name, info->version, info->licence, info->sha256,
                      info->card_path[0] != '\0' ? info->card_path : "built in", rest, info->dim);
    free(rest);
    if (*out == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to describe encoder %s", info->name);
    return CMIR_OK;
}

void
cmir_embeddings_free(cmir_embeddings *embeddings)
{
    if (embeddings == NULL)
        return;
    free(embeddings->rows);
    free(embeddings->marks);
    *embeddings = (cmir_embeddings){0};
}
