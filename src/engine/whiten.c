/* SPDX-License-Identifier: Apache-2.0 */
/* whiten.c: embeddings of the base encoder become those of a fitted archive.  Called by archive.c,
 * import.c, fit.c and search.c, wherever embeddings go into such an archive or meet it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "fit/whitening.h"
#include "store/codes.h"

static cmir_status
make_room(uint32_t n_slices, uint32_t dim, const char *name, cmir_embeddings *out, cmir_error *err)
{
    *out = (cmir_embeddings){.n_slices = n_slices, .dim = dim};
    out->rows = cmir_alloc_zeroed((size_t)n_slices * dim, sizeof *out->rows);
    out->marks = cmir_alloc_zeroed(n_slices, 1);
    if (out->rows != NULL && out->marks != NULL)
        return CMIR_OK;
    cmir_embeddings_free(out);
    return FAIL(err, CMIR_ENOMEM, "%s: no memory for %u x %u embeddings", name, n_slices, dim);
}

cmir_status
cmir_whiten_embeddings(const cmir_whitening *whitening, const cmir_embeddings *from,
                       const char *name, cmir_embeddings *room, const cmir_embeddings **out,
                       cmir_error *err)
{
    int16_t row[CMIR_MAX_DIM];
    cmir_status st;

    *room = (cmir_embeddings){0};
    *out = whitening == NULL ? from : room;
    if (whitening == NULL)
        return CMIR_OK;
    if ((st = make_room(from->n_slices, whitening->dim, name, room, err)) != CMIR_OK)
        return st;
    memcpy(room->marks, from->marks, from->n_slices);
    for (uint32_t i = 0; i < from->n_slices; i++) {
        const float *x = from->rows + (size_t)i * from->dim;
        const double norm = cmir_row_norm(x, from->dim);

        if (!(norm > 0) || isinf(norm)) {
            cmir_embeddings_free(room);
            return FAIL(err, CMIR_EINVAL, "%s: the embedding of slice %u has no direction", name,
                        i);
        }
        cmir_row_fix(x, from->dim, norm, from->dim, row);
        cmir_whitening_apply(whitening, row, room->rows + (size_t)i * room->dim);
    }
    return CMIR_OK;
}

cmir_status
cmir_whiten_rows(const cmir_whitening *whitening, const cmir_rows *from, const char *name,
                 cmir_embeddings *out, cmir_error *err)
{
    cmir_status st;

    *out = (cmir_embeddings){0};
    if (!cmir_rows_slices_rise(from))
        return FAIL(err, CMIR_ECORRUPT, "%s: impossible slice numbers", name);
    if ((st = make_room(from->n_rows, whitening->dim, name, out, err)) != CMIR_OK)
        return st;
    for (uint32_t r = 0; r < from->n_rows; r++) {
        const uint32_t slice = from->slice[r];

        out->marks[slice] = (uint8_t)(r < from->n_scored ? 0 : CMIR_SLICE_AIR);
        cmir_whitening_apply(whitening, from->exact + (size_t)r * from->padded_dim,
                             out->rows + (size_t)slice * out->dim);
    }
    return CMIR_OK;
}
