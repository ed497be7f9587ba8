/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_rle.c: RLE frames (1.2.840.10008.1.2.5), called by dicom_dcmtk.cc: byte planes, the most
 * significant first, each packed by runs.  Our own, because DCMTK 3.6.7 reads past the end of
 * broken ones. */
#include <string.h>

#include "base/error.h"
#include "io/dicom.h"

enum { HEADER_NBYTES = 64, MAX_PLANES = 15 };

static uint32_t
le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Unpacks one plane into every `step`-th byte of out; returns how many bytes there were, at most
 * n. */
static size_t
unpack_plane(const uint8_t *in, size_t n_in, uint8_t *out, size_t n, size_t step)
{
    size_t at = 0, done = 0;

    while (at < n_in && done < n) {
        const uint8_t control = in[at++];
        const bool is_run = control > 128;
        size_t count = is_run ? 257u - control : control + 1u;
        if (control == 128)
            continue;
        if (is_run ? at >= n_in : count > n_in - at)
            break;
        if (count > n - done)
            count = n - done;
        for (size_t i = 0; i < count; i++)
            out[(done + i) * step] = in[is_run ? at : at + i];
        at += is_run ? 1 : count;
        done += count;
    }
    return done;
}

cmir_status
cmir_dicom_unpack_rle(const cmir_dicom_file *file, const uint8_t *data, size_t nbytes,
                      uint8_t *buffer, cmir_error *err)
{
    const char *shown = cmir_shown_path(file->path);
    const uint32_t n_planes = file->bits_allocated / 8;
    const size_t n = (size_t)file->rows * file->cols;
    const uint16_t one = 1;
    uint8_t is_little;

    memcpy(&is_little, &one, 1);
    if (nbytes < HEADER_NBYTES || le32(data) != n_planes || n_planes > MAX_PLANES)
        return FAIL(err, CMIR_ECORRUPT, "%s: an RLE frame without its %u segments", shown,
                    n_planes);
    for (uint32_t i = 0; i < n_planes; i++) {
        const size_t begin = le32(data + 4 + 4 * (size_t)i);
        const size_t end = i + 1 < n_planes ? le32(data + 8 + 4 * (size_t)i) : nbytes;
        if (begin < HEADER_NBYTES || begin > end || end > nbytes)
            return FAIL(err, CMIR_ECORRUPT, "%s: RLE segment %u lies outside its frame", shown,
                        i + 1);
        const size_t place = is_little ? n_planes - 1 - i : i;
        if (unpack_plane(data + begin, end - begin, buffer + place, n, n_planes) < n)
            return FAIL(err, CMIR_ECORRUPT, "%s: RLE segment %u is cut short", shown, i + 1);
    }
    return CMIR_OK;
}
