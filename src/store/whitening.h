/* SPDX-License-Identifier: Apache-2.0 */
/* whitening.h: the whitening that a fitted archive is bound to (docs/format.md).  Learnt and applied
 * by fit/whitening.c, kept by catalog_whitening.c. */
#ifndef CMIR_STORE_WHITENING_H
#define CMIR_STORE_WHITENING_H

#include <stdint.h>

#include <cmir/archive.h>
#include <cmir/status.h>

#include "base/sha256.h"
#include "store/db.h"

/* y[k] = sum_d weights[k][d] (x[d] - mean[d]), then brought to unit length. */
typedef struct cmir_whitening {
    cmir_whitening_info info; /* its strings are owned */
    uint32_t dim;
    float *mean; /* [info.base_dim] */
    float *weights; /* [dim][info.base_dim] */
} cmir_whitening;

/* Room for a whitening; weights and mean are not set. */
cmir_status cmir_whitening_new(uint32_t base_dim, uint32_t dim, const char *base_name,
                               const char *base_sha256, const char *where, cmir_whitening **out,
                               cmir_error *err);
void cmir_whitening_free(cmir_whitening *whitening); /* NULL is fine */

/* What identifies embeddings that went through it. */
cmir_status cmir_whitening_sha256(const cmir_whitening *whitening, char hex[CMIR_SHA256_HEX_NBYTES],
                                  cmir_error *err);

/* Within the transaction that makes a catalogue. */
cmir_status cmir_catalog_put_whitening(cmir_db *db, const cmir_whitening *whitening,
                                       cmir_error *err);

/* That of an archive of `dim` dimensions whose encoder is said to be `sha256`; NULL where it has
 * none.  CMIR_ECORRUPT where it is not the one that is said. */
cmir_status cmir_catalog_whitening(cmir_db *db, const char *path, uint32_t dim, const char *sha256,
                                   cmir_whitening **out, cmir_error *err);

#endif
