/* SPDX-License-Identifier: Apache-2.0 */
/* segment.c: one embedding record: its bytes from embeddings, and its rows from untrusted bytes.
 * Called by store, snapshot and verify.  The layout is the table of docs/format.md. */
#include "store/segment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"

#define RECORD_VERSION 1u
#define HEADER_CRC_AT 60u
#define NORM_TOLERANCE_IN 1e-3     /* of embeddings handed in */
#define NORM_TOLERANCE_STORED 2e-3 /* of the same after rounding to halves */

static const char magic[8] = "CMIRROWS";

/* Where the planes of a record begin. */
struct layout {
    uint64_t slice, scale, code_sum, codes, exact, nbytes;
    uint32_t padded_rows, padded_dim;
};

static uint64_t
round_up(uint64_t n, uint64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Sizes stay below 2^29: both numbers have limits. */
static bool
lay_out(uint32_t n_rows, uint32_t dim, struct layout *out)
{
    if (n_rows < 1 || n_rows > CMIR_MAX_SLICES || dim < 1 || dim > CMIR_MAX_DIM)
        return false;
    const uint64_t column = round_up((uint64_t)n_rows * 4, CMIR_RECORD_ALIGN);

    out->padded_rows = (uint32_t)round_up(n_rows, 16);
    out->padded_dim = (uint32_t)round_up(dim, 64);
    out->slice = CMIR_RECORD_HEADER_NBYTES;
    out->scale = out->slice + column;
    out->code_sum = out->scale + column;
    out->codes = out->code_sum + column;
    out->exact = out->codes + (uint64_t)out->padded_rows * out->padded_dim;
    out->nbytes = out->exact + round_up((uint64_t)n_rows * dim * 2, CMIR_RECORD_ALIGN);
    return true;
}

uint64_t
cmir_record_nbytes(uint32_t n_rows, uint32_t dim)
{
    struct layout lay;

    return lay_out(n_rows, dim, &lay) ? lay.nbytes : 0;
}

static void
put_u32(uint8_t *p, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

static void
put_u64(uint8_t *p, uint64_t value)
{
    put_u32(p, (uint32_t)value);
    put_u32(p + 4, (uint32_t)(value >> 32));
}

static uint32_t
get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t
get_u64(const uint8_t *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

static uint32_t
crc_of(const uint8_t *data, uint64_t nbytes)
{
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), data, (z_size_t)nbytes);
}

/* The codes, scale and sum of a row of `dim` halves. */
static void
quantise(const uint16_t *exact, uint32_t dim, int8_t *codes, float *scale, int32_t *code_sum)
{
    float largest = 0;
    int32_t sum = 0;

    for (uint32_t k = 0; k < dim; k++)
        largest = fmaxf(largest, fabsf(cmir_half_to_float(exact[k])));
    *scale = largest / 127.0f;
    for (uint32_t k = 0; k < dim; k++) {
        const float code = *scale > 0 ? nearbyintf(cmir_half_to_float(exact[k]) / *scale) : 0;

        codes[k] = (int8_t)code;
        sum += codes[k];
    }
    *code_sum = sum;
}

/* Slice numbers in row order: those not marked as air, then the marked.  Gives n_scored. */
static uint32_t
order_rows(const uint8_t *marks, uint32_t n, uint32_t *slice)
{
    uint32_t at = 0, n_scored;

    for (uint32_t i = 0; i < n; i++)
        if ((marks[i] & CMIR_SLICE_AIR) == 0)
            slice[at++] = i;
    n_scored = at;
    for (uint32_t i = 0; i < n; i++)
        if ((marks[i] & CMIR_SLICE_AIR) != 0)
            slice[at++] = i;
    return n_scored;
}

static cmir_status
round_row(const float *row, uint32_t slice, uint32_t dim, uint16_t *exact, cmir_error *err)
{
    double sum = 0;

    for (uint32_t k = 0; k < dim; k++) {
        sum += (double)row[k] * (double)row[k];
        exact[k] = cmir_float_to_half(row[k]);
    }
    if (!(fabs(sqrt(sum) - 1) <= NORM_TOLERANCE_IN))
        return FAIL(err, CMIR_EINVAL,
                    "embedding of slice %u has the length %g; an embedding has unit length",
                    (unsigned)slice, sqrt(sum));
    return CMIR_OK;
}

/* Planes of `record`, zeroed before. */
static cmir_status
fill_planes(const cmir_embeddings *embeddings, const struct layout *lay, uint8_t *record,
            uint32_t *n_scored, cmir_error *err)
{
    const uint32_t n = embeddings->n_slices, dim = embeddings->dim;
    uint32_t *slice = (uint32_t *)(void *)(record + lay->slice);
    float *scale = (float *)(void *)(record + lay->scale);
    int32_t *code_sum = (int32_t *)(void *)(record + lay->code_sum);
    int8_t *codes = (int8_t *)(record + lay->codes);
    uint16_t *exact = (uint16_t *)(void *)(record + lay->exact);

    *n_scored = order_rows(embeddings->marks, n, slice);
    if (*n_scored == 0)
        return FAIL(err, CMIR_EINVAL, "all slices of the embeddings are marked as air");
    for (uint32_t r = 0; r < n; r++) {
        uint16_t *row = exact + (size_t)r * dim;
        const float *from = embeddings->rows + (size_t)slice[r] * dim;
        const cmir_status st = round_row(from, slice[r], dim, row, err);

        if (st != CMIR_OK)
            return st;
        quantise(row, dim, codes + (size_t)r * lay->padded_dim, &scale[r], &code_sum[r]);
    }
    return CMIR_OK;
}

static void
fill_header(const cmir_record_claim *claim, uint8_t *record)
{
    memcpy(record, magic, sizeof magic);
    put_u32(record + 8, RECORD_VERSION);
    put_u32(record + 12, claim->n_rows);
    put_u32(record + 16, claim->n_scored);
    put_u32(record + 20, claim->dim);
    memcpy(record + 24, claim->encoder_tag, CMIR_ENCODER_TAG_NBYTES);
    put_u64(record + 32, claim->nbytes);
    put_u32(record + 40,
            crc_of(record + CMIR_RECORD_HEADER_NBYTES, claim->nbytes - CMIR_RECORD_HEADER_NBYTES));
    put_u32(record + HEADER_CRC_AT, crc_of(record, HEADER_CRC_AT));
}

cmir_status
cmir_record_build(const cmir_embeddings *embeddings,
                  const uint8_t encoder_tag[CMIR_ENCODER_TAG_NBYTES], uint8_t **out,
                  cmir_record_claim *claim, cmir_error *err)
{
    struct layout lay;

    *out = NULL;
    if (!lay_out(embeddings->n_slices, embeddings->dim, &lay))
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
    const cmir_status st = fill_planes(embeddings, &lay, record, &claim->n_scored, err);
    if (st != CMIR_OK) {
        free(record);
        return st;
    }
    fill_header(claim, record);
    claim->crc = get_u32(record + HEADER_CRC_AT);
    *out = record;
    return CMIR_OK;
}

/* Slice numbers are in range and rise within the scored rows and within the others: what users of
 * the rows rely on to index arrays. */
static bool
slices_rise(const cmir_rows *rows)
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
    struct layout lay;

    if (!lay_out(claim->n_rows, claim->dim, &lay) || claim->nbytes != lay.nbytes ||
        claim->n_scored < 1 || claim->n_scored > claim->n_rows)
        return FAIL(err, CMIR_ECORRUPT, "%s: the catalogue gives it an impossible size", where);
    if (memcmp(data, magic, sizeof magic) != 0)
        return FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: no record where the catalogue names one",
                       where);
    if (get_u32(data + HEADER_CRC_AT) != crc_of(data, HEADER_CRC_AT))
        return FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: damaged record header (checksum)", where);
    if (get_u32(data + 8) != RECORD_VERSION)
        return FAIL_AT(err, CMIR_EUNSUPPORTED, offset + 8,
                       "%s: record version %u; this cmir reads version %u", where,
                       (unsigned)get_u32(data + 8), RECORD_VERSION);
    if (get_u32(data + HEADER_CRC_AT) != claim->crc)
        return FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: the record is of another volume", where);
    if (get_u32(data + 12) != claim->n_rows || get_u32(data + 16) != claim->n_scored ||
        get_u32(data + 20) != claim->dim || get_u64(data + 32) != claim->nbytes ||
        memcmp(data + 24, claim->encoder_tag, CMIR_ENCODER_TAG_NBYTES) != 0)
        return FAIL_AT(err, CMIR_ECORRUPT, offset,
                       "%s: record header and catalogue contradict each other", where);
    *rows = (cmir_rows){
        .n_rows = claim->n_rows,
        .n_scored = claim->n_scored,
        .dim = claim->dim,
        .padded_dim = lay.padded_dim,
        .slice = (const uint32_t *)(const void *)(data + lay.slice),
        .scale = (const float *)(const void *)(data + lay.scale),
        .code_sum = (const int32_t *)(const void *)(data + lay.code_sum),
        .codes = (const int8_t *)(data + lay.codes),
        .exact = (const uint16_t *)(const void *)(data + lay.exact),
    };
    if (!slices_rise(rows))
        return FAIL_AT(err, CMIR_ECORRUPT, offset + lay.slice, "%s: impossible slice numbers",
                       where);
    return CMIR_OK;
}

static bool
all_zero(const uint8_t *p, uint64_t nbytes)
{
    for (uint64_t i = 0; i < nbytes; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* One row: codes, scale and sum follow from the exact plane, whose norm is one. */
static const char *
row_fault(const cmir_rows *rows, uint32_t r, int8_t *codes)
{
    const uint16_t *exact = rows->exact + (size_t)r * rows->dim;
    const int8_t *stored = rows->codes + (size_t)r * rows->padded_dim;
    double sum = 0;
    int32_t code_sum;
    float scale;

    for (uint32_t k = 0; k < rows->dim; k++) {
        const double x = (double)cmir_half_to_float(exact[k]);
        sum += x * x;
    }
    if (!(fabs(sqrt(sum) - 1) <= NORM_TOLERANCE_STORED)) /* infinities and NaN too */
        return "its embedding is not of unit length";
    quantise(exact, rows->dim, codes, &scale, &code_sum);
    if (memcmp(&scale, &rows->scale[r], sizeof scale) != 0)
        return "its scale does not follow from the embedding";
    if (memcmp(codes, stored, rows->dim) != 0)
        return "its codes do not follow from the embedding";
    if (code_sum != rows->code_sum[r])
        return "the sum of its codes is wrong";
    if (!all_zero((const uint8_t *)stored + rows->dim, rows->padded_dim - rows->dim))
        return "its codes are padded with something else than zero";
    return NULL;
}

/* Row order against the marks, then every row. */
static cmir_status
check_rows(const cmir_rows *rows, const uint8_t *marks, const char *where, uint64_t offset,
           cmir_error *err)
{
    cmir_status st = CMIR_OK;
    uint32_t *slice = cmir_alloc(rows->n_rows, sizeof *slice);
    int8_t *codes = cmir_alloc(rows->dim, 1);

    if (slice == NULL || codes == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory to check it", where);
    } else if (order_rows(marks, rows->n_rows, slice) != rows->n_scored ||
               memcmp(slice, rows->slice, rows->n_rows * sizeof *slice) != 0) {
        st = FAIL_AT(err, CMIR_ECORRUPT, offset,
                     "%s: the order of its rows contradicts the slices' marks", where);
    }
    for (uint32_t r = 0; r < rows->n_rows && st == CMIR_OK; r++) {
        const char *fault = row_fault(rows, r, codes);

        if (fault != NULL)
            st = FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: slice %u: %s", where, (unsigned)slice[r],
                         fault);
    }
    free(slice);
    free(codes);
    return st;
}

cmir_status
cmir_record_check(const uint8_t *data, const cmir_rows *rows, const uint8_t *marks,
                  const char *where, uint64_t offset, cmir_error *err)
{
    struct layout lay;

    if (!lay_out(rows->n_rows, rows->dim, &lay))
        return FAIL(err, CMIR_ECORRUPT, "%s: impossible size", where);
    if (crc_of(data + CMIR_RECORD_HEADER_NBYTES, lay.nbytes - CMIR_RECORD_HEADER_NBYTES) !=
        get_u32(data + 40))
        return FAIL_AT(err, CMIR_ECORRUPT, offset, "%s: damaged embeddings (checksum)", where);

    const uint64_t used[][2] = {{lay.slice + (uint64_t)rows->n_rows * 4, lay.scale},
                                {lay.scale + (uint64_t)rows->n_rows * 4, lay.code_sum},
                                {lay.code_sum + (uint64_t)rows->n_rows * 4, lay.codes},
                                {lay.codes + (uint64_t)rows->n_rows * lay.padded_dim, lay.exact},
                                {lay.exact + (uint64_t)rows->n_rows * rows->dim * 2, lay.nbytes},
                                {44, HEADER_CRC_AT}};
    for (size_t i = 0; i < sizeof used / sizeof used[0]; i++)
        if (!all_zero(data + used[i][0], used[i][1] - used[i][0]))
            return FAIL_AT(err, CMIR_ECORRUPT, offset + used[i][0], "%s: padding that is not zero",
                           where);
    return check_rows(rows, marks, where, offset, err);
}
