/* SPDX-License-Identifier: Apache-2.0 */
/* planes.h: where the planes of a record lie, and what they hold.  Called by segment.c.  The layout
 * is the table of docs/format.md. */
#ifndef CMIR_STORE_PLANES_H
#define CMIR_STORE_PLANES_H

#include <stdbool.h>
#include <stdint.h>

#include <cmir/encoder.h>
#include <cmir/status.h>

#include "store/store.h"

/* Offsets from the start of the record. */
typedef struct cmir_layout {
    uint64_t rep_scale, rep_base, rep_sum, rep_codes; /* what a first look reads */
    uint64_t mean, slice, scale, base, code_sum, residual, reach, codes, exact;
    uint64_t nbytes;
    uint32_t n_rows, padded_rows, padded_dim;
} cmir_layout;

/* False where a number is outside its range. */
bool cmir_layout_of(uint32_t n_rows, uint32_t dim, cmir_layout *out);

/* Slice numbers in row order: those not marked as air, then the marked.  Gives n_scored. */
uint32_t cmir_order_rows(const uint8_t *marks, uint32_t n, uint32_t *slice);

/* Points `out` into the record at `data`; its numbers are the caller's to fill. */
void cmir_planes_at(const uint8_t *data, const cmir_layout *lay, cmir_rows *out);

/* Writes the slice numbers and the rows in fixed point of a zeroed record; gives n_scored.
 * CMIR_EINVAL where a row is not of unit norm or all slices are marked as air. */
cmir_status cmir_planes_exact(const cmir_embeddings *embeddings, const cmir_layout *lay,
                              uint8_t *record, uint32_t *n_scored, cmir_error *err);

/* What is known of the scored rows of a record: the numbers of its header. */
typedef struct cmir_extent {
    float radius, residual, base_max;
    uint32_t n_reps;
} cmir_extent;

/* Writes every other plane, all of which follow from the rows in fixed point and the archive's
 * center ([padded_dim]). */
cmir_extent cmir_planes_derive(const int16_t *center, const cmir_layout *lay, uint32_t n_scored,
                               uint8_t *record);

#endif
