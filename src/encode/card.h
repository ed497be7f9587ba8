/* SPDX-License-Identifier: Apache-2.0 */
/* card.h: an encoder card, read and checked (docs/encoders.md). */
#ifndef CMIR_ENCODE_CARD_H
#define CMIR_ENCODE_CARD_H

#include <stdbool.h>
#include <stdint.h>

#include <cmir/picture.h>
#include <cmir/status.h>

#include "base/sha256.h"
#include "picture/resize.h"

#define CMIR_MAX_CHANNELS 16u

/* What becomes of an output that holds more than one vector per slice. */
typedef enum cmir_pooling { CMIR_POOL_NONE, CMIR_POOL_CLS, CMIR_POOL_MEAN } cmir_pooling;

typedef struct cmir_card {
    char *path;         /* absolute */
    char *json;         /* canonical: keys sorted, no spaces */
    char *name, *version, *licence;
    char *modality;     /* "CT, MR" */
    char sha256[CMIR_SHA256_HEX_NBYTES]; /* of the weights, lower case */
    char *weights_path; /* absolute */

    char *input;        /* name of the model's input */
    bool channels_last; /* NHWC */
    uint32_t rows, cols, n_channels;
    cmir_filter filter;
    bool bgr;           /* channel c shows window n_channels - 1 - c */
    float mean[CMIR_MAX_CHANNELS], std[CMIR_MAX_CHANNELS]; /* of the model's channels */
    cmir_window windows[CMIR_MAX_CHANNELS]; /* HU; n_channels of them, in RGB order */

    char *embedding;    /* name of the model's output */
    uint32_t dim;
    cmir_pooling pooling;
    char *patches;      /* name of the output of patch tokens; NULL if none */
    uint32_t patch_rows, patch_cols; /* 0 if the card does not say */
} cmir_card;

/* A card's text; `path`, absolute, is where it lies.  The weights are not looked at.  Free with
 * cmir_card_free(), after a failure too. */
cmir_status cmir_card_parse(cmir_card *card, const char *path, const char *text, size_t nbytes,
                            cmir_error *err);

/* The same of a file. */
cmir_status cmir_card_read(cmir_card *card, const char *path, cmir_error *err);
void cmir_card_free(cmir_card *card);

#endif
