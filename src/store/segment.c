/* SPDX-License-Identifier: Apache-2.0 */
/* segment.c: one embedding record: its bytes from embeddings, and its rows from untrusted bytes.
 * Called by store, snapshot and verify.  The layout is the table of docs/format.md. */
#include "store/segment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/memory.h"
#include "store/codes.h"
#include "store/planes.h"

#define RECORD_VERSION 2u
#define HEADER_CRC_AT 60u

static const char magic[8] = "CMIRROWS";

uint64_t
cmir_record_nbytes(uint32_t n_rows, uint32_t dim)
{
    cmir_layout lay;

    return cmir_layout_of(n_rows, dim, &lay) ? lay.nbytes : 0;
}

static uint32_t
crc_of(const uint8_t *data, uint64_t nbytes)
{
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), data, (z_size_t)nbytes);
}

static void
put_float(uint8_t *p, float value)
{
    memcpy(p, &value, sizeof value); /* archives are for little-endian machines (store.c) */
}

static float
get_float(const uint8_t *p)
{
    float value;

    memcpy(&value, p, sizeof value);
    return value;
}

static void
fill_header(const cmir_record_claim *claim, const cmir_extent *extent, uint8_t *record)
{
    memcpy(record, magic, sizeof magic);
    cmir_put_u32(record + 8, RECORD_VERSION);
    cmir_put_u32(record + 12, claim->n_rows);
    cmir_put_u32(record + 16, claim->n_scored);
    cmir_put_u32(record + 20, claim->dim);
    memcpy(record + 24, claim->encoder_tag, CMIR_ENCODER_TAG_NBYTES);
    cmir_put_u64(record + 32, claim->nbytes);
    cmir_put_u32(record + 40, crc_of(record + CMIR_RECORD_HEADER_NBYTES,
                                     claim->nbytes - CMIR_RECORD_HEADER_NBYTES));
    put_float(record + 44, extent->radius);
    put_float(record + 48, extent->residual);
    put_float(record + 52, extent->base_max);
    cmir_put_u32(record + 56, extent->n_reps);
    cmir_put_u32(record + HEADER_CRC_AT, crc_of(record, HEADER_CRC_AT));
}

cmir_status
cmir_record_build(const cmir_embeddings *embeddings,
                  const uint8_t encoder_tag[CMIR_ENCODER_TAG_NBYTES], int16_t *center,
                  bool center_given, uint8_t **out, cmir_record_claim *claim, cmir_error *err)
{
    cmir_layout lay;

    *out = NULL;
    if (!cmir_layout_of(embeddings->n_slices, embeddings->dim, &lay))
        return FAIL(err, CMIR_EINVAL, "embeddings of %u slices and dimension %u are out of range",
                    (unsigned)embeddings->n_slices, (unsigned)embeddings->dim);
    uint8_t *record = cmir_alloc_aligned((size_t)lay.nbytes, 1);
    if (record == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a record of %llu bytes",
                    (unsigned long long)lay.nbytes);
    memset(record, 0, (size_t)lay.nbytes);
    *claim = (cmir_record_claim){
        .n_rows = embeddings->n_slices, .dim = embeddings->dim, .nbytes = lay.nbytes};
    memcpy(claim->encoder_tag, encoder_tag, CMIR_ENCODER_TAG_NBYTES);
    const cmir_status st = cmir_planes_exact(embeddings, &lay, record, &claim->n_scored, err);
    if (st != CMIR_OK) {
        free(record);
        return st;
    }
    if (!center_given)
        cmir_rows_mean((const int16_t *)(const void *)(record + lay.exact), claim->n_scored,
                       lay.padded_dim, center);
    const cmir_extent extent = cmir_planes_derive(center, &lay, claim->n_scored, record);
    fill_header(claim, &extent, record);
    claim->crc = cmir_get_u32(record + HEADER_CRC_AT);
    *out = record;
    return CMIR_OK;
}

bool
cmir_rows_slices_rise(const cmir_rows *rows)
{
    for (uint32_t r = 0; r < rows->n_rows; r++)
        if (rows->slice[r] >= rows->n_rows ||
            (r > 0 && r != rows->n_scored && rows->slice[r] <= rows->slice[r - 1]))
            return false;
    return true;
}

cmir_status
cmir_record_parse(const uint8_t *data, const cmir_record_claim *claim, const char *where,
                  uint64_t offset, cmir_rows *rows, cmir_error *err)
{
    cmir_layout lay;

    if (!cmir_layout_of(claim->n_rows, claim->dim, &lay) || claim->nbytes != lay.nbytes ||
        claim->n_scored < 1 || claim->n_scored > claim->n_rows)
        return FAIL(err, CMIR_ECORRUPT, "%s: the catalogue gives it an impossible size", where);
    if (memcmp(data, magic, sizeof magic) != 0)
        return FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: no record where the catalogue names one",
                       where);
    if (cmir_get_u32(data + HEADER_CRC_AT) != crc_of(data, HEADER_CRC_AT))
        return FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: damaged record header (checksum)", where);
    if (cmir_get_u32(data + 8) != RECORD_VERSION)
        return FAIL_AT(err, CMIR_EUNSUPPORTED, offset + 8,
                       "%s: record version %u; this cmir reads version %u", where,
                       (unsigned)cmir_get_u32(data + 8), RECORD_VERSION);
    if (cmir_get_u32(data + HEADER_CRC_AT) != claim->crc)
        return FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: the record is of another volume", where);
    const uint32_t n_reps = cmir_get_u32(data + 56);
    if (cmir_get_u32(data + 12) != claim->n_rows || cmir_get_u32(data + 16) != claim->n_scored ||
        cmir_get_u32(data + 20) != claim->dim || cmir_get_u64(data + 32) != claim->nbytes ||
        memcmp(data + 24, claim->encoder_tag, CMIR_ENCODER_TAG_NBYTES) != 0 || n_reps < 1 ||
        n_reps > CMIR_MAX_REPS)
        return FAIL_AT(err, CMIR_ECORRUPT, offset,
                       "%s: record header and catalogue contradict each other", where);
    *rows = (cmir_rows){.n_rows = claim->n_rows,
                        .n_scored = claim->n_scored,
                        .dim = claim->dim,
                        .n_reps = n_reps,
                        .radius = get_float(data + 44),
                        .residual = get_float(data + 48),
                        .base_max = get_float(data + 52)};
    cmir_planes_at(data, &lay, rows);
    return CMIR_OK;
}

/* The first plane in which two records of one layout differ, the header last; NULL: none. */
static const char *
difference(const uint8_t *a, const uint8_t *b, const cmir_layout *lay, uint64_t *at)
{
    const struct {
        const char *name;
        uint64_t start, end;
    } parts[] = {{"its representatives", lay->rep_scale, lay->mean},
                 {"the mean of its rows", lay->mean, lay->slice},
                 {"its slice numbers", lay->slice, lay->scale},
                 {"the scales of its codes", lay->scale, lay->base},
                 {"its products with the center", lay->base, lay->code_sum},
                 {"the sums of its codes", lay->code_sum, lay->residual},
                 {"the bounds of its codes", lay->residual, lay->codes},
                 {"its codes", lay->codes, lay->exact},
                 {"its header", 0, CMIR_RECORD_HEADER_NBYTES}};

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (memcmp(a + parts[i].start, b + parts[i].start, parts[i].end - parts[i].start) != 0) {
            *at = parts[i].start;
            return parts[i].name;
        }
    return NULL;
}

/* Rows in fixed point have unit norm but for rounding; their padding is zero. */
static cmir_status
check_exact(const cmir_rows *rows, const char *where, uint64_t offset, cmir_error *err)
{
    const double tolerance = 1e-4 + sqrt((double)rows->dim) / CMIR_UNIT;

    for (uint32_t r = 0; r < rows->n_rows; r++) {
        const int16_t *row = rows->exact + (size_t)r * rows->padded_dim;
        double sum = 0;

        for (uint32_t d = 0; d < rows->padded_dim; d++)
            sum += (double)row[d] * row[d];
        if (!(fabs(sqrt(sum) / CMIR_UNIT - 1) <= tolerance))
            return FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: row %u: its length is %g, not 1", where,
                           (unsigned)r, sqrt(sum) / CMIR_UNIT);
        for (uint32_t d = rows->dim; d < rows->padded_dim; d++)
            if (row[d] != 0)
                return FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: row %u: padding that is not zero",
                               where, (unsigned)r);
    }
    return CMIR_OK;
}

cmir_status
cmir_record_check(const uint8_t *data, const cmir_rows *rows, const uint8_t *marks,
                  const int16_t *center, const char *where, uint64_t offset, cmir_error *err)
{
    cmir_layout lay;
    cmir_record_claim claim = {rows->n_rows, rows->n_scored, rows->dim, 0, 0, {0}};
    uint64_t at = 0;

    if (!cmir_layout_of(rows->n_rows, rows->dim, &lay))
        return FAIL(err, CMIR_ECORRUPT, "%s: impossible size", where);
    if (crc_of(data + CMIR_RECORD_HEADER_NBYTES, lay.nbytes - CMIR_RECORD_HEADER_NBYTES) !=
        cmir_get_u32(data + 40))
        return FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: damaged embeddings (checksum)", where);
    cmir_status st = check_exact(rows, where, offset, err);
    if (st != CMIR_OK)
        return st;
    uint8_t *again = cmir_alloc_aligned((size_t)lay.nbytes, 1);
    if (again == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory to check it", where);
    memset(again, 0, (size_t)lay.exact);
    memcpy(again + lay.exact, data + lay.exact, (size_t)(lay.nbytes - lay.exact));
    claim.nbytes = lay.nbytes;
    memcpy(claim.encoder_tag, data + 24, CMIR_ENCODER_TAG_NBYTES);
    const uint32_t n_scored =
        cmir_order_rows(marks, rows->n_rows, (uint32_t *)(void *)(again + lay.slice));
    if (n_scored != rows->n_scored)
        st = FAIL_AT(err, CMIR_ECORRUPT, offset,
                     "%s: the order of its rows contradicts the slices' marks", where);
    if (st == CMIR_OK) {
        const cmir_extent extent = cmir_planes_derive(center, &lay, n_scored, again);

        fill_header(&claim, &extent, again);
        const char *what = difference(again, data, &lay, &at);
        if (what != NULL)
            st = FAIL_AT(err, CMIR_ECORRUPT, offset + at,
                         "%s: %s: not what its rows and the archive's center give", where, what);
    }
    free(again);
    return st;
}
