/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_card.c: any bytes as an encoder card.  One that is taken keeps every limit that the encoder
 * relies on, and its canonical text is a card that says the same. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmir/encoder.h>

#include "encode/card.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

static void
must(bool ok)
{
    if (!ok)
        abort();
}

static void
check(const cmir_card *card)
{
    must(strlen(card->sha256) == 64 && card->weights_path[0] == '/');
    must(strstr(card->weights_path, "/folder/") != card->weights_path ||
         strstr(card->weights_path, "/../") == NULL);
    must(card->rows > 0 && card->rows <= 2048 && card->cols > 0 && card->cols <= 2048);
    must(card->dim > 0 && card->dim <= CMIR_MAX_DIM);
    must(card->n_channels > 0 && card->n_channels <= CMIR_MAX_CHANNELS);
    for (uint32_t c = 0; c < card->n_channels; c++)
        must(isfinite(card->mean[c]) && card->std[c] > 0 && isfinite(card->std[c]) &&
             isfinite(card->windows[c].centre) && card->windows[c].width > 0);
    must(card->patch_rows == 0 || card->patches != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
    const char *path = "/folder/card.json";
    cmir_card card, again;
    cmir_error err = {0};
    const cmir_status st = cmir_card_parse(&card, path, (const char *)data, nbytes, &err);

    must((st == CMIR_OK) == (err.code == CMIR_OK) && (st == CMIR_OK || err.msg[0] != '\0'));
    if (st == CMIR_OK) {
        check(&card);
        must(cmir_card_parse(&again, path, card.json, strlen(card.json), NULL) == CMIR_OK);
        must(strcmp(again.json, card.json) == 0 && again.dim == card.dim);
        cmir_card_free(&again);
    }
    cmir_card_free(&card);
    return 0;
}
