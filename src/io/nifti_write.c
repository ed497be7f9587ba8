/* SPDX-License-Identifier: Apache-2.0 */
/* nifti_write.c: volumes made by programs (the phantom, tests) as NIfTI-1 files of int16.
 *
 * Header and voxels are written in the host's byte order, which NIfTI allows. */
#include <math.h>
#include <string.h>
#include <strings.h>

#include <cmir/volume.h>

#include "base/error.h"
#include "io/gzip.h"

#define HEADER_NBYTES 352u /* with four bytes that say: no extensions */

static void
put_i16(uint8_t *header, size_t at, int16_t value)
{
    memcpy(header + at, &value, sizeof value);
}

static void
put_f32(uint8_t *header, size_t at, double value)
{
    const float narrow = (float)value;

    memcpy(header + at, &narrow, sizeof narrow);
}

static void
make_header(const uint32_t dims[3], const double affine[3][4], uint8_t header[HEADER_NBYTES])
{
    const int32_t sizeof_hdr = 348;

    memset(header, 0, HEADER_NBYTES);
    memcpy(header, &sizeof_hdr, sizeof sizeof_hdr);
    put_i16(header, 40, 3);
    for (size_t i = 0; i < 7; i++)
        put_i16(header, 42 + 2 * i, i < 3 ? (int16_t)dims[i] : 1);
    put_i16(header, 70, 4);      /* int16 */
    put_i16(header, 72, 16);     /* bits */
    put_f32(header, 76, 1);      /* qfac */
    for (size_t axis = 0; axis < 3; axis++)
        put_f32(header, 80 + 4 * axis,
                sqrt(affine[0][axis] * affine[0][axis] + affine[1][axis] * affine[1][axis] +
                     affine[2][axis] * affine[2][axis]));
    put_f32(header, 108, HEADER_NBYTES);
    put_f32(header, 112, 1);     /* slope */
    header[123] = 2;             /* mm */
    put_i16(header, 254, 1);     /* sform: scanner coordinates */
    for (size_t p = 0; p < 3; p++)
        for (size_t axis = 0; axis < 4; axis++)
            put_f32(header, 280 + 16 * p + 4 * axis, p < 2 ? -affine[p][axis] : affine[p][axis]);
    memcpy(header + 344, "n+1", 4);
}

cmir_status
cmir_nifti_write(const char *path, const int16_t *voxels, const uint32_t dims[3],
                 const double affine[3][4], cmir_error *err)
{
    uint8_t header[HEADER_NBYTES];
    cmir_gzip_writer *writer;
    cmir_status st;

    if (path == NULL || voxels == NULL || dims == NULL || affine == NULL)
        return FAIL(err, CMIR_EINVAL, "an argument of cmir_nifti_write is NULL");
    for (size_t i = 0; i < 3; i++)
        if (dims[i] < 1 || dims[i] > INT16_MAX)
            return FAIL(err, CMIR_EINVAL, "%s: dims[%d] is %u, not 1 to %d", path, (int)i, dims[i],
                        INT16_MAX);
    for (size_t i = 0; i < 12; i++)
        if (!isfinite(affine[i / 4][i % 4]))
            return FAIL(err, CMIR_EINVAL, "%s: the affine is not finite", path);
    make_header(dims, affine, header);
    const size_t n = strlen(path), n_slice = (size_t)dims[0] * dims[1];
    const bool compress = n >= 3 && strcasecmp(path + n - 3, ".gz") == 0;
    if ((st = cmir_gzip_create(path, compress, &writer, err)) != CMIR_OK)
        return st;
    st = cmir_gzip_write(writer, header, sizeof header, err);
    for (uint32_t k = 0; k < dims[2] && st == CMIR_OK; k++)
        st = cmir_gzip_write(writer, voxels + k * n_slice, n_slice * sizeof *voxels, err);
    if (st == CMIR_OK)
        st = cmir_gzip_commit(writer, err);
    cmir_gzip_discard(writer);
    return st;
}
