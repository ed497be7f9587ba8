/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_preview.c: a damaged preview record, as a reader of previews meets it.
 *
 * The bytes are taken as they are, and once more with the header's checksum made right: otherwise hardly
 * an input would get past it.  What parses may be asked for every slice. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/memory.h"
#include "picture/preview.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

static void
read_record(const uint8_t *record, size_t nbytes)
{
    cmir_preview preview;
    cmir_error err = {0};

    if (cmir_preview_parse(record, nbytes, "fuzz", &preview, &err) != CMIR_OK)
        return;
    const size_t n = (size_t)preview.rows * preview.cols;
    float *values = cmir_alloc(n, sizeof *values);
    if (values == NULL)
        return;
    for (uint32_t i = 0; i < preview.n_slices; i++) {
        cmir_error why = {0};

        if (cmir_preview_slice(&preview, i, "fuzz", values, &why) == CMIR_OK &&
            !(isfinite(values[0]) && isfinite(values[n - 1])))
            abort();
    }
    if (cmir_preview_slice(&preview, preview.n_slices, "fuzz", values, &err) != CMIR_EINVAL)
        abort();
    (void)cmir_preview_check(&preview, "fuzz", NULL);
    free(values);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
    const size_t whole = nbytes / 64 * 64;
    uint8_t *record = cmir_alloc_aligned(whole + 64, 1);

    if (record == NULL || whole == 0) {
        free(record);
        return 0;
    }
    memcpy(record, data, whole);
    read_record(record, whole);
    for (unsigned i = 0; i < 8; i++)
        record[40 + i] = (uint8_t)((uint64_t)whole >> (8 * i));
    const uint32_t crc = (uint32_t)crc32_z(0, record, 60);
    for (unsigned i = 0; i < 4; i++)
        record[60 + i] = (uint8_t)(crc >> (8 * i));
    read_record(record, whole);
    free(record);
    return 0;
}
