/* SPDX-License-Identifier: Apache-2.0 */
/* segment.h: one embedding record: its bytes from embeddings, and its rows from untrusted bytes.
 * Layout and validity are those of docs/format.md.  Called by store, snapshot and verify. */
#ifndef CMIR_STORE_SEGMENT_H
#define CMIR_STORE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/encoder.h>
#include <cmir/status.h>

#include "store/store.h"

#define CMIR_RECORD_HEADER_NBYTES 64u
#define CMIR_RECORD_ALIGN 64u
#define CMIR_ENCODER_TAG_NBYTES 8u

/* What the catalogue says a record must be. */
typedef struct cmir_record_claim {
    uint32_t n_rows, n_scored, dim;
    uint64_t nbytes;
    uint32_t crc; /* of the record's header */
    uint8_t encoder_tag[CMIR_ENCODER_TAG_NBYTES];
} cmir_record_claim;

/* Length of a record; 0 where a number is outside its range. */
uint64_t cmir_record_nbytes(uint32_t n_rows, uint32_t dim);

/* The record of `embeddings` as bytes (64-byte aligned, free()), and what to claim of it.  `center`
 * ([padded_dim]) is the archive's; where it has none yet (center_given false) it is set to the mean
 * of these embeddings.  CMIR_EINVAL where a row is not of unit norm or all slices are marked as
 * air. */
cmir_status cmir_record_build(const cmir_embeddings *embeddings,
                              const uint8_t encoder_tag[CMIR_ENCODER_TAG_NBYTES], int16_t *center,
                              bool center_given, uint8_t **out, cmir_record_claim *claim,
                              cmir_error *err);

/* Points `rows` into the record at `data`, of which claim->nbytes bytes are readable, after
 * checking its header against `claim`.  Only the header is read.  `where` names the record in
 * messages; `offset` is its place. */
cmir_status cmir_record_parse(const uint8_t *data, const cmir_record_claim *claim,
                              const char *where, uint64_t offset, cmir_rows *rows, cmir_error *err);

/* Checks everything parse does not: the planes' CRC, and that everything in the record follows from
 * its rows and the archive's center.  `marks` [n_rows] are the volume's. */
cmir_status cmir_record_check(const uint8_t *data, const cmir_rows *rows, const uint8_t *marks,
                              const int16_t *center, const char *where, uint64_t offset,
                              cmir_error *err);

#endif
