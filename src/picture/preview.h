/* SPDX-License-Identifier: Apache-2.0 */
/* preview.h: what an archive keeps of a volume's pixels: one record of slices that are compressed one
 * by one.  The layout is that of docs/format.md.  Made by engine while slices pass on their way to
 * the encoder; read by engine and by store's verification. */
#ifndef CMIR_PICTURE_PREVIEW_H
#define CMIR_PICTURE_PREVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/archive.h>
#include <cmir/volume.h>

#define CMIR_PREVIEW_HEADER_NBYTES 64u
#define CMIR_PREVIEW_SIDE 128u /* longest of a small preview */

/* What is known of a volume's values: what previews of it are rounded by. */
typedef struct cmir_value_range {
    bool has_hu;
    double low, high;
} cmir_value_range;

/* A record in the making. */
typedef struct cmir_preview_maker cmir_preview_maker;
cmir_status cmir_preview_begin(const cmir_stack *stack, cmir_previews kind,
                               cmir_preview_maker **out, cmir_error *err);
/* Takes slice `slice`, stack->rows * stack->cols values.  Several threads may take different slices
 * at once; `range` must be the same for all. */
cmir_status cmir_preview_take(cmir_preview_maker *maker, uint32_t slice, const float *values,
                              const cmir_value_range *range, cmir_error *err);
/* The record of all slices (64-byte aligned, free()); every one must have been taken. */
cmir_status cmir_preview_finish(cmir_preview_maker *maker, const cmir_value_range *range,
                                uint8_t **out, uint64_t *nbytes, cmir_error *err);
void cmir_preview_maker_free(cmir_preview_maker *maker); /* NULL is fine */

/* A record as it lies in memory. */
typedef struct cmir_preview {
    const uint8_t *data;
    uint64_t nbytes;
    uint32_t n_slices, rows, cols;
    double scale, offset; /* value = code * scale + offset */
    uint32_t crc; /* of the header */
} cmir_preview;

/* Reads the header of untrusted bytes and checks that its sizes fit `nbytes`; `where` names the
 * record in messages.  CMIR_ECORRUPT, CMIR_EUNSUPPORTED (a newer version). */
cmir_status cmir_preview_parse(const uint8_t *data, uint64_t nbytes, const char *where,
                               cmir_preview *out, cmir_error *err);
/* The values of a slice, rows * cols.  Everything in its stream is checked. */
cmir_status cmir_preview_slice(const cmir_preview *preview, uint32_t slice, const char *where,
                               float *out, cmir_error *err);
/* Reads all of it: its checksum and every slice. */
cmir_status cmir_preview_check(const cmir_preview *preview, const char *where, cmir_error *err);

#endif
