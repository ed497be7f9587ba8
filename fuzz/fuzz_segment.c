/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_segment.c: a damaged record, as a reader of segments meets it.
 *
 * The bytes are taken as they are, and once more with both checksums made right: otherwise hardly
 * an input would get past them.  What parses may be read to its last byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "rank/rank.h"
#include "store/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

static uint32_t
get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void
put_crc(uint8_t *to, const uint8_t *from, size_t nbytes)
{
    const uint32_t crc = (uint32_t)crc32_z(0, from, nbytes);

    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)(crc >> (8 * i));
}

/* Adds up everything; the sanitizers watch. */
static int64_t
touch(const cmir_rows *rows)
{
    int64_t sum = 0;
    const size_t padded = (rows->n_rows + 15u) / 16 * 16;

    if (rows->n_reps < 1 || rows->n_reps > CMIR_MAX_REPS)
        abort();
    for (uint32_t r = 0; r < rows->n_rows; r++)
        sum += rows->code_sum[r] + (rows->scale[r] > 0) + (rows->base[r] > 0) +
               (rows->row_residual[r] > 0) + (rows->row_reach[r] > 0) + rows->slice[r];
    for (size_t i = 0; i < padded * rows->padded_dim; i++)
        sum += rows->codes[i];
    for (size_t i = 0; i < (size_t)rows->n_rows * rows->padded_dim; i++)
        sum += rows->exact[i];
    for (size_t i = 0; i < (size_t)CMIR_MAX_REPS * rows->padded_dim; i++)
        sum += rows->rep_codes[i];
    for (size_t i = 0; i < CMIR_MAX_REPS; i++)
        sum += rows->rep_sum[i] + (rows->rep_scale[i] > 0) + (rows->rep_base[i] > 0);
    for (size_t i = 0; i < rows->padded_dim; i++)
        sum += rows->mean[i];
    return sum;
}

/* One query row, taken from the record itself, matched in it: what a search does with rows whose
 * header alone was checked. */
static void
match(const cmir_rows *rows, const int16_t *center)
{
    static const uint32_t slice[1] = {0};
    int16_t *row = cmir_alloc_aligned(rows->padded_dim, sizeof *row);
    cmir_match found;

    if (row == NULL)
        return;
    memcpy(row, rows->exact, rows->padded_dim * sizeof *row);
    const cmir_query query = {row, slice, 1, rows->padded_dim};
    for (int cpu = 0; cpu < 2; cpu++)
        if (cmir_match_rows(&query, center, &rows, 1, cpu == 0 ? 0 : cmir_cpu_flags(), &found,
                            NULL) == CMIR_OK &&
            found.match_slice >= rows->n_rows)
            abort();
    free(row);
}

static void
read_record(const uint8_t *record, size_t nbytes)
{
    static _Alignas(64) int16_t center[CMIR_MAX_DIM];

    cmir_record_claim claim = {.n_rows = get_u32(record + 12),
                               .n_scored = get_u32(record + 16),
                               .dim = get_u32(record + 20),
                               .crc = get_u32(record + 60)};
    cmir_rows rows;
    cmir_error err = {0};

    memcpy(claim.encoder_tag, record + 24, sizeof claim.encoder_tag);
    claim.nbytes = cmir_record_nbytes(claim.n_rows, claim.dim);
    if (claim.nbytes > nbytes) /* the map is too short: nobody parses it */
        return;
    if (cmir_record_parse(record, &claim, "fuzz", 0, &rows, &err) != CMIR_OK)
        return;
    if (touch(&rows) == INT64_MAX) /* never: but the sum is wanted */
        abort();
    uint8_t *marks = cmir_alloc_zeroed(rows.n_rows, 1);
    if (marks == NULL)
        return;
    memcpy(center, rows.mean, rows.padded_dim * sizeof *center);
    if (cmir_rows_slices_rise(&rows)) {
        for (uint32_t r = rows.n_scored; r < rows.n_rows; r++)
            marks[rows.slice[r]] = CMIR_SLICE_AIR;
    }
    (void)cmir_record_check(record, &rows, marks, center, "fuzz", 0, &err);
    match(&rows, center);
    free(marks);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
    if (nbytes < CMIR_RECORD_HEADER_NBYTES)
        return 0;
    const size_t whole = nbytes / CMIR_RECORD_ALIGN * CMIR_RECORD_ALIGN;
    uint8_t *record = cmir_alloc_aligned(whole, 1);
    if (record == NULL)
        return 0;
    memcpy(record, data, whole);
    read_record(record, whole);
    put_crc(record + 40, record + 64, whole - 64);
    put_crc(record + 60, record, 60);
    read_record(record, whole);
    free(record);
    return 0;
}
