/* SPDX-License-Identifier: Apache-2.0 */
/* preview.c: a preview record: its bytes from slices, and slices from untrusted bytes.  The layout is
 * the table of docs/format.md; why this codec: docs/decisions/previews.md.
 *
 * The one idea: a slice's values become 16-bit codes, each less the median of its left, its upper
 * neighbour and what their gradient says; what is left is small, so that its low bytes compress and
 * its high bytes vanish.  Slices are streams of their own: one is read without the others. */
#include "picture/preview.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/igzip_lib.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/memory.h"
#include "picture/picture.h"

#define RECORD_VERSION 1u
#define HEADER_CRC_AT 60u
#define ALIGN 64u
#define MAX_DEFLATE_RATIO 1040u /* deflate cannot shrink by more than 1032 */

static const char magic[8] = "CMIRPREV";

struct stream {
    uint8_t *data;
    uint32_t nbytes;
};

struct cmir_preview_maker {
    uint32_t n_slices, rows, cols; /* of the volume */
    uint32_t out_rows, out_cols; /* of the preview */
    cmir_previews kind;
    struct stream *streams; /* [n_slices] */
};

static void
put_double(uint8_t *p, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    cmir_put_u64(p, bits);
}

static double
get_double(const uint8_t *p)
{
    const uint64_t bits = cmir_get_u64(p);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t
crc_of(const uint8_t *data, uint64_t nbytes)
{
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), data, (z_size_t)nbytes);
}

/* How values are rounded: docs/format.md. */
static void
choose_scale(cmir_previews kind, const cmir_value_range *range, double *scale, double *offset)
{
    const bool small = kind == CMIR_PREVIEWS_SMALL;
    const double width = range->high - range->low;

    *scale = range->has_hu ? (small ? 2 : 1) : width / (small ? 1024 : 4096);
    *offset = range->has_hu ? 0 : range->low;
    if (!(*scale > 0) || !isfinite(*scale))
        *scale = 1;
}

cmir_status
cmir_preview_begin(const cmir_stack *stack, cmir_previews kind, cmir_preview_maker **out,
                   cmir_error *err)
{
    cmir_preview_maker *maker = cmir_alloc_zeroed(1, sizeof *maker);

    *out = NULL;
    if (maker == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a preview");
    maker->n_slices = stack->n_slices;
    maker->rows = maker->out_rows = stack->rows;
    maker->cols = maker->out_cols = stack->cols;
    maker->kind = kind;
    if (kind == CMIR_PREVIEWS_SMALL &&
        (stack->rows > CMIR_PREVIEW_SIDE || stack->cols > CMIR_PREVIEW_SIDE)) {
        cmir_picture_fit(stack, CMIR_PREVIEW_SIDE, &maker->out_cols, &maker->out_rows);
        if (maker->out_rows > stack->rows)
            maker->out_rows = stack->rows;
        if (maker->out_cols > stack->cols)
            maker->out_cols = stack->cols;
    }
    maker->streams = cmir_alloc_zeroed(stack->n_slices, sizeof *maker->streams);
    if (maker->streams == NULL) {
        free(maker);
        return FAIL(err, CMIR_ENOMEM, "no memory for a preview of %u slices", stack->n_slices);
    }
    *out = maker;
    return CMIR_OK;
}

void
cmir_preview_maker_free(cmir_preview_maker *maker)
{
    if (maker == NULL)
        return;
    for (uint32_t i = 0; i < maker->n_slices; i++)
        free(maker->streams[i].data);
    free(maker->streams);
    free(maker);
}

/* The middle one of a, b and a + b - c. */
static int32_t
guess(int32_t a, int32_t b, int32_t c)
{
    const int32_t low = a < b ? a : b, high = a < b ? b : a, gradient = a + b - c;

    return gradient < low ? low : gradient > high ? high : gradient;
}

/* Codes less their guesses, signs in the lowest bit, all low bytes before all high ones. */
static void
predict(const int16_t *codes, uint32_t rows, uint32_t cols, uint8_t *bytes)
{
    const size_t n = (size_t)rows * cols;

    for (uint32_t r = 0; r < rows; r++) {
        const int16_t *row = codes + (size_t)r * cols, *above = r > 0 ? row - cols : NULL;

        for (uint32_t c = 0; c < cols; c++) {
            const int32_t a = c > 0 ? row[c - 1] : 0, b = above != NULL ? above[c] : 0,
                          d = above != NULL && c > 0 ? above[c - 1] : 0;
            const int16_t rest = (int16_t)(uint16_t)(row[c] - guess(a, b, d));
            const uint16_t z = (uint16_t)((uint32_t)rest << 1 ^ (rest < 0 ? 0xFFFFu : 0u));
            const size_t at = (size_t)r * cols + c;
            bytes[at] = (uint8_t)z;
            bytes[n + at] = (uint8_t)(z >> 8);
        }
    }
}

static void
restore(const uint8_t *bytes, uint32_t rows, uint32_t cols, int16_t *codes)
{
    const size_t n = (size_t)rows * cols;

    for (uint32_t r = 0; r < rows; r++) {
        int16_t *row = codes + (size_t)r * cols;
        const int16_t *above = r > 0 ? row - cols : NULL;
        int32_t a = 0, d = 0;

        for (uint32_t c = 0; c < cols; c++) {
            const size_t at = (size_t)r * cols + c;
            const uint32_t z = bytes[at] | (uint32_t)bytes[n + at] << 8;
            const uint32_t rest = z >> 1 ^ (0u - (z & 1));
            const int32_t b = above != NULL ? above[c] : 0;
            row[c] = (int16_t)(uint16_t)((uint32_t)guess(a, b, d) + rest);
            a = row[c];
            d = b;
        }
    }
}

/* One zlib stream (RFC 1950) of `nbytes`. */
static cmir_status
compress_bytes(const uint8_t *bytes, size_t nbytes, struct stream *out, cmir_error *err)
{
    struct isal_zstream *z = cmir_alloc(1, sizeof *z);
    uint8_t *level = cmir_alloc(ISAL_DEF_LVL1_DEFAULT, 1);
    const size_t room = nbytes + nbytes / 8 + 1024; /* incompressible: stored blocks */
    uint8_t *data = room > UINT32_MAX ? NULL : cmir_alloc(room, 1);
    int rc = COMP_OK;

    if (z != NULL && level != NULL && data != NULL) {
        isal_deflate_stateless_init(z);
        z->level = 1;
        z->level_buf = level;
        z->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
        z->gzip_flag = IGZIP_ZLIB;
        z->end_of_stream = 1;
        z->flush = NO_FLUSH;
        z->next_in = (uint8_t *)(uintptr_t)bytes; /* only read */
        z->avail_in = (uint32_t)nbytes;
        z->next_out = data;
        z->avail_out = (uint32_t)room;
        rc = isal_deflate_stateless(z);
        out->nbytes = z->total_out;
        out->data = rc == COMP_OK ? realloc(data, z->total_out) : NULL;
        data = out->data != NULL ? NULL : data;
    }
    free(z);
    free(level);
    free(data);
    return out->data != NULL
               ? CMIR_OK
               : FAIL(err, CMIR_ENOMEM, "no memory to compress a slice of %zu bytes", nbytes);
}

cmir_status
cmir_preview_take(cmir_preview_maker *maker, uint32_t slice, const float *values,
                  const cmir_value_range *range, cmir_error *err)
{
    const uint32_t rows = maker->out_rows, cols = maker->out_cols;
    const size_t n = (size_t)rows * cols;
    double scale, offset;
    float *small = cmir_alloc(n, sizeof *small);
    int16_t *codes = cmir_alloc(n, sizeof *codes);
    uint8_t *bytes = cmir_alloc(n, 2);
    cmir_status st = CMIR_OK;

    choose_scale(maker->kind, range, &scale, &offset);
    if (small == NULL || codes == NULL || bytes == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory for the preview of slice %u", slice);
    else
        st = cmir_picture_scale(values, maker->rows, maker->cols, cols, rows, small, err);
    if (st == CMIR_OK) {
        const float gain = (float)(1 / scale), shift = (float)offset;
        for (size_t i = 0; i < n; i++)
            codes[i] =
                (int16_t)lrintf(fminf(fmaxf((small[i] - shift) * gain, INT16_MIN), INT16_MAX));
        predict(codes, rows, cols, bytes);
        st = compress_bytes(bytes, 2 * n, &maker->streams[slice], err);
    }
    free(small);
    free(codes);
    free(bytes);
    return st;
}

static void
fill_header(const cmir_preview_maker *maker, const cmir_value_range *range, uint64_t nbytes,
            uint8_t *record)
{
    double scale, offset;

    choose_scale(maker->kind, range, &scale, &offset);
    memcpy(record, magic, sizeof magic);
    cmir_put_u32(record + 8, RECORD_VERSION);
    cmir_put_u32(record + 12, maker->n_slices);
    cmir_put_u32(record + 16, maker->out_rows);
    cmir_put_u32(record + 20, maker->out_cols);
    put_double(record + 24, scale);
    put_double(record + 32, offset);
    cmir_put_u64(record + 40, nbytes);
    cmir_put_u32(record + 48,
                 crc_of(record + CMIR_PREVIEW_HEADER_NBYTES, nbytes - CMIR_PREVIEW_HEADER_NBYTES));
    cmir_put_u32(record + HEADER_CRC_AT, crc_of(record, HEADER_CRC_AT));
}

cmir_status
cmir_preview_finish(cmir_preview_maker *maker, const cmir_value_range *range, uint8_t **out,
                    uint64_t *nbytes, cmir_error *err)
{
    const uint32_t n = maker->n_slices;
    uint64_t end = CMIR_PREVIEW_HEADER_NBYTES + 8 * ((uint64_t)n + 1);

    *out = NULL;
    for (uint32_t i = 0; i < n; i++) {
        if (maker->streams[i].data == NULL)
            return FAIL(err, CMIR_EINVAL, "the preview lacks slice %u", i);
        end += maker->streams[i].nbytes;
    }
    *nbytes = (end + ALIGN - 1) / ALIGN * ALIGN;
    uint8_t *record = cmir_alloc_aligned((size_t)*nbytes, 1);
    if (record == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a preview of %llu bytes",
                    (unsigned long long)*nbytes);
    memset(record, 0, (size_t)*nbytes);
    uint64_t at = CMIR_PREVIEW_HEADER_NBYTES + 8 * ((uint64_t)n + 1);
    for (uint32_t i = 0; i < n; i++) {
        cmir_put_u64(record + CMIR_PREVIEW_HEADER_NBYTES + 8 * (size_t)i, at);
        memcpy(record + at, maker->streams[i].data, maker->streams[i].nbytes);
        at += maker->streams[i].nbytes;
    }
    cmir_put_u64(record + CMIR_PREVIEW_HEADER_NBYTES + 8 * (size_t)n, at);
    fill_header(maker, range, *nbytes, record);
    *out = record;
    return CMIR_OK;
}

cmir_status
cmir_preview_parse(const uint8_t *data, uint64_t nbytes, const char *where, cmir_preview *out,
                   cmir_error *err)
{
    if (nbytes < CMIR_PREVIEW_HEADER_NBYTES || nbytes % ALIGN != 0 ||
        memcmp(data, magic, sizeof magic) != 0)
        return FAIL(err, CMIR_ECORRUPT, "%s: no preview where the catalogue names one", where);
    const uint32_t crc = cmir_get_u32(data + HEADER_CRC_AT);
    if (crc != crc_of(data, HEADER_CRC_AT))
        return FAIL(err, CMIR_ECORRUPT, "%s: damaged preview header (checksum)", where);
    if (cmir_get_u32(data + 8) != RECORD_VERSION)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: preview version %u; this cmir reads version %u",
                    where, (unsigned)cmir_get_u32(data + 8), RECORD_VERSION);
    *out = (cmir_preview){.data = data,
                          .nbytes = nbytes,
                          .n_slices = cmir_get_u32(data + 12),
                          .rows = cmir_get_u32(data + 16),
                          .cols = cmir_get_u32(data + 20),
                          .scale = get_double(data + 24),
                          .offset = get_double(data + 32),
                          .crc = crc};
    const uint64_t table = CMIR_PREVIEW_HEADER_NBYTES + 8 * ((uint64_t)out->n_slices + 1);
    const uint64_t slice_nbytes = 2 * (uint64_t)out->rows * out->cols;
    if (cmir_get_u64(data + 40) != nbytes || out->n_slices < 1 || out->n_slices > CMIR_MAX_SLICES ||
        out->rows < 1 || out->rows > CMIR_MAX_SIDE || out->cols < 1 || out->cols > CMIR_MAX_SIDE ||
        !(out->scale > 0) || !(out->scale * 32768 + fabs(out->offset) <= (double)FLT_MAX) ||
        table > nbytes || slice_nbytes > UINT32_MAX ||
        slice_nbytes / MAX_DEFLATE_RATIO > nbytes / out->n_slices)
        return FAIL(err, CMIR_ECORRUPT, "%s: impossible preview header", where);
    return CMIR_OK;
}

/* The bytes of a slice's stream; false where the table is damaged. */
static bool
find_stream(const cmir_preview *p, uint32_t slice, const uint8_t **data, uint32_t *nbytes)
{
    const uint8_t *entry = p->data + CMIR_PREVIEW_HEADER_NBYTES + 8 * (size_t)slice;
    const uint64_t first = cmir_get_u64(entry), end = cmir_get_u64(entry + 8);
    const uint64_t table = CMIR_PREVIEW_HEADER_NBYTES + 8 * ((uint64_t)p->n_slices + 1);

    if (first < table || end < first || end > p->nbytes || end - first > UINT32_MAX)
        return false;
    *data = p->data + first;
    *nbytes = (uint32_t)(end - first);
    return true;
}

/* Exactly n bytes from all of a stream. */
static bool
inflate_bytes(const uint8_t *data, uint32_t nbytes, uint8_t *out, uint32_t n)
{
    struct inflate_state *z = cmir_alloc(1, sizeof *z);
    int rc = ISAL_INVALID_BLOCK;

    if (z != NULL) {
        isal_inflate_init(z);
        z->crc_flag = ISAL_ZLIB;
        z->next_in = (uint8_t *)(uintptr_t)data; /* only read */
        z->avail_in = nbytes;
        z->next_out = out;
        z->avail_out = n;
        rc = isal_inflate(z);
    }
    const bool whole = rc == ISAL_DECOMP_OK && z->block_state == ISAL_BLOCK_FINISH &&
                       z->avail_in == 0 && z->total_out == n;
    free(z);
    return whole;
}

cmir_status
cmir_preview_slice(const cmir_preview *preview, uint32_t slice, const char *where, float *out,
                   cmir_error *err)
{
    const size_t n = (size_t)preview->rows * preview->cols;
    const uint8_t *data;
    uint32_t nbytes;
    cmir_status st = CMIR_OK;

    if (slice >= preview->n_slices)
        return FAIL(err, CMIR_EINVAL, "%s: no slice %u, there are %u", where, slice,
                    preview->n_slices);
    if (!find_stream(preview, slice, &data, &nbytes))
        return FAIL(err, CMIR_ECORRUPT, "%s: damaged preview of slice %u (place)", where, slice);
    uint8_t *bytes = cmir_alloc(n, 2);
    int16_t *codes = cmir_alloc(n, sizeof *codes);
    if (bytes == NULL || codes == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory for slice %u", where, slice);
    } else if (!inflate_bytes(data, nbytes, bytes, (uint32_t)(2 * n))) {
        st = FAIL(err, CMIR_ECORRUPT, "%s: damaged preview of slice %u", where, slice);
    } else {
        restore(bytes, preview->rows, preview->cols, codes);
        for (size_t i = 0; i < n; i++)
            out[i] = (float)(codes[i] * preview->scale + preview->offset);
    }
    free(bytes);
    free(codes);
    return st;
}

cmir_status
cmir_preview_check(const cmir_preview *preview, const char *where, cmir_error *err)
{
    const size_t n = (size_t)preview->rows * preview->cols;
    cmir_status st = CMIR_OK;

    if (cmir_get_u32(preview->data + 48) != crc_of(preview->data + CMIR_PREVIEW_HEADER_NBYTES,
                                                   preview->nbytes - CMIR_PREVIEW_HEADER_NBYTES))
        return FAIL(err, CMIR_ECORRUPT, "%s: damaged preview (checksum)", where);
    float *values = cmir_alloc(n, sizeof *values);
    if (values == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for its preview", where);
    for (uint32_t i = 0; i < preview->n_slices && st == CMIR_OK; i++)
        st = cmir_preview_slice(preview, i, where, values, err);
    free(values);
    return st;
}
