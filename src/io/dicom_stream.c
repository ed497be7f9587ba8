/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_stream.c: inflates a deflated data set within a limit; called by dicom_dcmtk.cc. */
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
