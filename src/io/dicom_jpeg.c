/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_jpeg.c: checks on a JPEG or JPEG-LS stream before DCMTK decodes it; called by
 * dicom_dcmtk.cc.
 *
 * The one idea: the stream must agree with its data set about what it holds, and hold nothing that
 * makes the decoders of DCMTK 3.6.7 read past a table or past the stream, as they were found to
 * do under a memory checker. */
#include <string.h>

#include "base/error.h"
#include "io/dicom.h"

enum {
    SOF0 = 0xC0,  /* baseline */
    SOF1 = 0xC1,  /* extended sequential */
    SOF3 = 0xC3,  /* lossless */
    SOF55 = 0xF7, /* JPEG-LS */
    DHT = 0xC4,
    RST0 = 0xD0,
    RST7 = 0xD7,
    SOI = 0xD8,
    EOI = 0xD9,
    SOS = 0xDA
};

static bool
is_frame_header(unsigned marker)
{
    return marker == SOF55 ||
           (marker >= 0xC0 && marker <= 0xCF && marker != DHT && marker != 0xC8 && marker != 0xCC);
}

/* Segments that may stand before the first scan: tables, application data, comments. */
static bool
is_passed_over(unsigned marker)
{
    return marker == DHT || marker == 0xDB || marker == 0xDD ||
           (marker >= 0xE0 && marker <= 0xEF) || marker == 0xF8 || marker == 0xFE;
}

static bool
process_fits(const cmir_dicom_file *file, unsigned marker)
{
    const char *uid = file->syntax_uid;
    const char *tail = strrchr(uid, '.');

    if (file->syntax == CMIR_DICOM_JPEG_LS)
        return marker == SOF55;
    if (tail != NULL && (strcmp(tail, ".50") == 0 || strcmp(tail, ".51") == 0))
        return marker == SOF0 || marker == SOF1;
    return marker == SOF3;
}

/* The frame header at data[0 .. n): precision, height, width, components. */
static cmir_status
check_frame_header(const cmir_dicom_file *file, unsigned marker, const uint8_t *data, size_t n,
                   uint32_t *precision, cmir_error *err)
{
    const char *shown = cmir_shown_path(file->path);

    if (!process_fits(file, marker))
        return FAIL(err, CMIR_ECORRUPT,
                    "%s: JPEG process SOF%u does not belong to transfer "
                    "syntax %s",
                    shown, marker - SOF0, file->syntax_uid);
    if (n < 9)
        return FAIL(err, CMIR_ECORRUPT, "%s: JPEG frame header cut short", shown);
    const unsigned rows = (unsigned)data[1] << 8 | data[2], cols = (unsigned)data[3] << 8 | data[4];
    if (rows != file->rows || cols != file->cols || data[5] != 1)
        return FAIL(err, CMIR_ECORRUPT,
                    "%s: the JPEG stream is %u x %u with %u components, the "
                    "data set says %u x %u with 1",
                    shown, rows, cols, (unsigned)data[5], (unsigned)file->rows,
                    (unsigned)file->cols);
    if (data[0] < 2 || data[0] > 16 || data[0] > file->bits_allocated || file->bits_allocated > 16)
        return FAIL(err, CMIR_ECORRUPT, "%s: JPEG precision of %u bits for %u allocated ones",
                    shown, (unsigned)data[0], (unsigned)file->bits_allocated);
    *precision = data[0];
    return CMIR_OK;
}

/* Huffman tables at data[0 .. n): the largest category of any DC (lossless: difference) table is
 * raised into *most, since the decoders take a category as an index. */
static bool
check_huffman(const uint8_t *data, size_t n, unsigned *most)
{
    while (n > 0) {
        size_t n_codes = 0;

        if (n < 17 || data[0] >> 4 > 1 || (data[0] & 15) > 3)
            return false;
        for (size_t i = 1; i <= 16; i++)
            n_codes += data[i];
        if (n_codes > 256 || n_codes > n - 17)
            return false;
        for (size_t i = 0; data[0] >> 4 == 0 && i < n_codes; i++)
            *most = data[17 + i] > *most ? data[17 + i] : *most;
        data += 17 + n_codes;
        n -= 17 + n_codes;
    }
    return true;
}

/* One scan and the end: no marker but restarts before EOI, so that no table or header comes after
 * the checks.  A JPEG-LS stream must have its EOI, since that decoder does not look where the
 * bytes end; the other decoders do. */
static bool
check_scan(bool is_ls, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        const unsigned next = data[i + 1];

        if (data[i] != 0xFF || next == 0xFF)
            continue;
        if (next == EOI)
            return true;
        if (is_ls ? next >= 0x80 : next != 0 && (next < RST0 || next > RST7))
            return false;
    }
    return !is_ls;
}

cmir_status
cmir_dicom_check_jpeg(const cmir_dicom_file *file, const uint8_t *data, size_t nbytes,
                      uint32_t *precision, cmir_error *err)
{
    const char *shown = cmir_shown_path(file->path);
    const bool is_ls = file->syntax == CMIR_DICOM_JPEG_LS;
    unsigned sof = 0, most = 0;
    size_t at = 2;

    if (nbytes < 4 || data[0] != 0xFF || data[1] != SOI)
        return FAIL(err, CMIR_ECORRUPT, "%s: no JPEG stream", shown);
    while (nbytes - at >= 4 && data[at] == 0xFF) {
        const unsigned marker = data[at + 1];
        if (marker == 0xFF) { /* fill byte */
            at++;
            continue;
        }
        const size_t n = (size_t)data[at + 2] << 8 | data[at + 3];
        if (n < 2 || n > nbytes - at - 2)
            break;
        if (marker == SOS) {
            if (sof == 0 || n < 6 || data[at + 4] != 1 || most > (sof == SOF3 ? 16u : 15u) ||
                !check_scan(is_ls, data + at + 2 + n, nbytes - at - 2 - n))
                break;
            return CMIR_OK;
        }
        if (is_frame_header(marker)) {
            const cmir_status st =
                sof != 0 ? FAIL(err, CMIR_ECORRUPT,
                                "%s: two JPEG frame "
                                "headers in one frame",
                                shown)
                         : check_frame_header(file, marker, data + at + 4, n - 2, precision, err);
            if (st != CMIR_OK)
                return st;
            sof = marker;
        } else if (!is_passed_over(marker) ||
                   (marker == DHT && !check_huffman(data + at + 4, n - 2, &most))) {
            break; /* TEM among them, at which DCMTK 3.6.7 stays for ever */
        }
        at += 2 + n;
    }
    return FAIL_AT(err, CMIR_ECORRUPT, at, "%s: broken JPEG stream", shown);
}
