/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_stream.c: checks on compressed bytes before a library decodes them; called by
 * dicom_dcmtk.cc.  A stream must agree with its data set about what it holds. */
#define _GNU_SOURCE /* memfd_create */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/file.h"
#include "io/dicom.h"

enum {
    SOF0 = 0xC0,  /* baseline */
    SOF1 = 0xC1,  /* extended sequential */
    SOF3 = 0xC3,  /* lossless */
    SOF55 = 0xF7, /* JPEG-LS */
    SOI = 0xD8,
    SOS = 0xDA
};

static bool
is_frame_header(unsigned marker)
{
    return marker == SOF55 ||
           (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC);
}

/* Segments that may stand before the first scan: tables, application data, comments. */
static bool
is_passed_over(unsigned marker)
{
    return marker == 0xC4 || marker == 0xDB || marker == 0xDD ||
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

cmir_status
cmir_dicom_check_jpeg(const cmir_dicom_file *file, const uint8_t *data, size_t nbytes,
                      uint32_t *precision, cmir_error *err)
{
    const char *shown = cmir_shown_path(file->path);
    bool has_frame = false;
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
            if (has_frame && n >= 6 && data[at + 4] == 1)
                return CMIR_OK;
            break;
        }
        if (is_frame_header(marker)) {
            const cmir_status st =
                has_frame ? FAIL(err, CMIR_ECORRUPT,
                                 "%s: two JPEG frame "
                                 "headers in one frame",
                                 shown)
                          : check_frame_header(file, marker, data + at + 4, n - 2, precision, err);
            if (st != CMIR_OK)
                return st;
            has_frame = true;
        } else if (!is_passed_over(marker)) {
            break; /* TEM among them, at which DCMTK 3.6.7 stays for ever */
        }
        at += 2 + n;
    }
    return FAIL_AT(err, CMIR_ECORRUPT, at, "%s: broken JPEG stream", shown);
}

/* Inflates from `in` to `out`; a zlib status, Z_ERRNO if a file failed, Z_MEM_ERROR if too large. */
static int
inflate_file(z_stream *z, int in, uint64_t offset, int out)
{
    unsigned char from[16384], to[65536];
    uint64_t written = 0;
    int rc = Z_OK;

    while (rc == Z_OK) {
        if (z->avail_in == 0) {
            const ssize_t n = pread(in, from, sizeof from, (off_t)offset);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return n < 0 ? Z_ERRNO : Z_BUF_ERROR;
            offset += (uint64_t)n;
            z->next_in = from;
            z->avail_in = (unsigned)n;
        }
        z->next_out = to;
        z->avail_out = sizeof to;
        rc = inflate(z, Z_NO_FLUSH);
        const size_t n = sizeof to - z->avail_out;
        if (written + n > CMIR_DICOM_MAX_INFLATED_NBYTES)
            return Z_MEM_ERROR;
        if (cmir_file_write_at(out, "inflated data set", written, to, n, NULL) != CMIR_OK)
            return Z_ERRNO;
        written += n;
    }
    return rc;
}

cmir_status
cmir_dicom_inflate(const char *path, uint64_t offset, int *out, cmir_error *err)
{
    const char *shown = cmir_shown_path(path);
    const int in = open(path, O_RDONLY | O_CLOEXEC);
    z_stream z = {0};
    int rc = Z_ERRNO;

    *out = memfd_create("cmir", MFD_CLOEXEC);
    if (in >= 0 && *out >= 0 && (rc = inflateInit2(&z, -MAX_WBITS)) == Z_OK) {
        rc = inflate_file(&z, in, offset, *out);
        (void)inflateEnd(&z);
    }
    if (in >= 0)
        (void)close(in);
    if (rc == Z_STREAM_END)
        return CMIR_OK;
    if (*out >= 0)
        (void)close(*out);
    *out = -1;
    if (rc == Z_ERRNO)
        return FAIL(err, CMIR_EIO, "%s: the deflated data set cannot be read", shown);
    if (rc == Z_MEM_ERROR)
        return FAIL(err, CMIR_ELIMIT, "%s: the deflated data set is larger than %u MiB", shown,
                    (unsigned)(CMIR_DICOM_MAX_INFLATED_NBYTES >> 20));
    return FAIL(err, CMIR_ECORRUPT, "%s: the deflated data set is %s", shown,
                rc == Z_BUF_ERROR ? "cut short" : "broken");
}
