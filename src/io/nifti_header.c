/* SPDX-License-Identifier: Apache-2.0 */
/* nifti_header.c: the header of a NIfTI-1 or NIfTI-2 file, checked.  For nifti.c.
 *
 * Both versions hold the same fields at other places and in other sizes; they are first read into
 * one struct of wide types (struct fields), then checked once.
 *
 *                 NIfTI-1        NIfTI-2                          NIfTI-1        NIfTI-2
 *   magic         344  4 char      4  8 char        xyzt_units    123  u8        500  i32
 *   dim            40  8 i16      16  8 i64         qform_code    252  i16       344  i32
 *   datatype       70  i16        12  i16           sform_code    254  i16       348  i32
 *   bitpix         72  i16        14  i16           quatern_bcd   256  3 f32     352  3 f64
 *   pixdim         76  8 f32     104  8 f64         qoffset_xyz   268  3 f32     376  3 f64
 *   vox_offset    108  f32       168  i64           srow_xyz      280  12 f32    400  12 f64
 *   scl_slope     112  f32       176  f64           scl_inter     116  f32       184  f64 */
#include "io/nifti_header.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/error.h"

#define MAX_MM 1e9 /* no coordinate in a patient is larger, whatever the unit */
#define MAX_FRAMES (1 << 24)

struct fields {
    int64_t dim[8];
    int datatype, bitpix, units, qform_code, sform_code;
    double pixdim[8], vox_offset, slope, inter, quatern[3], qoffset[3], srow[3][4];
};

/* Bytes of a header in its own byte order. */
struct source {
    const uint8_t *bytes;
    bool big_endian;
};

static uint64_t
get(const struct source *s, size_t at, size_t nbytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < nbytes; i++) {
        const size_t place = s->big_endian ? i : nbytes - 1 - i;
        value = value << 8 | s->bytes[at + place];
    }
    return value;
}

static int
get_i16(const struct source *s, size_t at)
{
    const int value = (int)get(s, at, 2);

    return value > INT16_MAX ? value - 65536 : value;
}

static int
get_i32(const struct source *s, size_t at)
{
    const int64_t value = (int64_t)get(s, at, 4);

    return (int)(value > INT32_MAX ? value - ((int64_t)1 << 32) : value);
}

static int64_t
get_i64(const struct source *s, size_t at)
{
    const uint64_t bits = get(s, at, 8);
    int64_t value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static void
get_f32(const struct source *s, size_t at, size_t n, double *out)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)get(s, at + 4 * i, 4);
        float value;
        memcpy(&value, &bits, sizeof value);
        out[i] = (double)value;
    }
}

static void
get_f64(const struct source *s, size_t at, size_t n, double *out)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t bits = get(s, at + 8 * i, 8);
        memcpy(&out[i], &bits, sizeof out[i]);
    }
}

static void
read_nifti1(const struct source *s, struct fields *f)
{
    for (size_t i = 0; i < 8; i++)
        f->dim[i] = get_i16(s, 40 + 2 * i);
    f->datatype = get_i16(s, 70);
    f->bitpix = get_i16(s, 72);
    get_f32(s, 76, 8, f->pixdim);
    get_f32(s, 108, 1, &f->vox_offset);
    get_f32(s, 112, 1, &f->slope);
    get_f32(s, 116, 1, &f->inter);
    f->units = s->bytes[123];
    f->qform_code = get_i16(s, 252);
    f->sform_code = get_i16(s, 254);
    get_f32(s, 256, 3, f->quatern);
    get_f32(s, 268, 3, f->qoffset);
    for (size_t p = 0; p < 3; p++)
        get_f32(s, 280 + 16 * p, 4, f->srow[p]);
}

static void
read_nifti2(const struct source *s, struct fields *f)
{
    for (size_t i = 0; i < 8; i++)
        f->dim[i] = get_i64(s, 16 + 8 * i);
    f->datatype = get_i16(s, 12);
    f->bitpix = get_i16(s, 14);
    get_f64(s, 104, 8, f->pixdim);
    f->vox_offset = (double)get_i64(s, 168);
    get_f64(s, 176, 1, &f->slope);
    get_f64(s, 184, 1, &f->inter);
    f->units = get_i32(s, 500);
    f->qform_code = get_i32(s, 344);
    f->sform_code = get_i32(s, 348);
    get_f64(s, 352, 3, f->quatern);
    get_f64(s, 376, 3, f->qoffset);
    for (size_t p = 0; p < 3; p++)
        get_f64(s, 400 + 32 * p, 4, f->srow[p]);
}

bool
cmir_nifti_header_kind(const uint8_t start[4], cmir_nifti_header *header)
{
    for (int big = 0; big < 2; big++) {
        const struct source s = {start, big != 0};
        const uint64_t nbytes = get(&s, 0, 4);
        if (nbytes == CMIR_NIFTI1_NBYTES || nbytes == CMIR_NIFTI2_NBYTES) {
            header->nbytes = (size_t)nbytes;
            header->big_endian = s.big_endian;
            return true;
        }
    }
    return false;
}

static cmir_status
check_magic(const uint8_t *bytes, size_t nbytes, const char *path, cmir_error *err)
{
    const bool one = nbytes == CMIR_NIFTI1_NBYTES;
    const uint8_t *magic = bytes + (one ? 344 : 4);

    if (memcmp(magic, one ? "ni1" : "ni2", 4) == 0)
        return FAIL(err, CMIR_EUNSUPPORTED,
                    "%s: header of a .hdr/.img pair, convert it to one .nii file", path);
    if (memcmp(magic, one ? "n+1" : "n+2\0\r\n\032\n", one ? 4 : 8) != 0)
        return FAIL_AT(err, CMIR_ECORRUPT, one ? 344 : 4, "%s: not NIfTI, its magic is wrong",
                       path);
    return CMIR_OK;
}

static cmir_status
check_dims(const struct fields *f, const char *path, cmir_nifti_header *header, cmir_error *err)
{
    const int64_t n_dims = f->dim[0];

    if (n_dims < 1 || n_dims > 7)
        return FAIL(err, CMIR_ECORRUPT, "%s: dim[0] is %lld, not 1 to 7", path, (long long)n_dims);
    for (int64_t i = 1; i <= n_dims; i++)
        if (f->dim[i] < 1)
            return FAIL(err, CMIR_ECORRUPT, "%s: dim[%d] is %lld", path, (int)i,
                        (long long)f->dim[i]);
    if (n_dims < 3 || f->dim[3] == 1)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: one slice is not a volume", path);
    for (size_t i = 0; i < 3; i++) {
        const uint32_t limit = i < 2 ? CMIR_MAX_SIDE : CMIR_MAX_SLICES;
        if (f->dim[i + 1] > limit)
            return FAIL(err, CMIR_ELIMIT, "%s: dim[%d] is %lld, the limit is %u", path, (int)i + 1,
                        (long long)f->dim[i + 1], limit);
        header->dims[i] = (uint32_t)f->dim[i + 1];
    }
    header->n_frames = 1;
    for (int64_t i = 4; i <= n_dims; i++) {
        if (f->dim[i] > MAX_FRAMES || header->n_frames * (uint64_t)f->dim[i] > MAX_FRAMES)
            return FAIL(err, CMIR_ELIMIT, "%s: more than %d frames", path, MAX_FRAMES);
        header->n_frames *= (uint64_t)f->dim[i];
    }
    return CMIR_OK;
}

static cmir_status
check_type(const struct fields *f, const char *path, cmir_voxel_type *type, cmir_error *err)
{
    static const struct {
        int code, bitpix, type; /* type -1: known, not read */
        const char *name;
    } types[] = {
        {2, 8, CMIR_VOXEL_U8, "uint8"},
        {256, 8, CMIR_VOXEL_I8, "int8"},
        {512, 16, CMIR_VOXEL_U16, "uint16"},
        {4, 16, CMIR_VOXEL_I16, "int16"},
        {768, 32, CMIR_VOXEL_U32, "uint32"},
        {8, 32, CMIR_VOXEL_I32, "int32"},
        {1280, 64, CMIR_VOXEL_U64, "uint64"},
        {1024, 64, CMIR_VOXEL_I64, "int64"},
        {16, 32, CMIR_VOXEL_F32, "float32"},
        {64, 64, CMIR_VOXEL_F64, "float64"},
        {1, 1, -1, "binary"},
        {32, 64, -1, "complex64"},
        {128, 24, -1, "RGB"},
        {1536, 128, -1, "float128"},
        {1792, 128, -1, "complex128"},
        {2048, 256, -1, "complex256"},
        {2304, 32, -1, "RGBA"},
    };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].code != f->datatype)
            continue;
        if (types[i].type < 0)
            return FAIL(err, CMIR_EUNSUPPORTED, "%s: voxels of type %s are not read", path,
                        types[i].name);
        if (types[i].bitpix != f->bitpix)
            return FAIL(err, CMIR_ECORRUPT, "%s: bitpix is %d, but %s has %d bits", path, f->bitpix,
                        types[i].name, types[i].bitpix);
        *type = (cmir_voxel_type)types[i].type;
        return CMIR_OK;
    }
    return FAIL(err, CMIR_EUNSUPPORTED, "%s: unknown datatype %d", path, f->datatype);
}

static cmir_status
check_scaling(const struct fields *f, const char *path, cmir_nifti_header *header, cmir_error *err)
{
    const double first = (double)header->nbytes + 4;

    /* 0 is written by some for "right after the header". */
    if (f->vox_offset != 0 && !(f->vox_offset >= first && f->vox_offset < 0x1p53 &&
                                f->vox_offset == floor(f->vox_offset)))
        return FAIL(err, CMIR_ECORRUPT, "%s: vox_offset is %g, not a place after the header", path,
                    f->vox_offset);
    header->data_offset = (uint64_t)(f->vox_offset == 0 ? first : f->vox_offset);
    header->slope = 1;
    header->intercept = 0;
    if (f->slope == 0)
        return CMIR_OK;
    if (!isfinite(f->slope) || !isfinite(f->inter))
        return FAIL(err, CMIR_ECORRUPT, "%s: scl_slope is %g and scl_inter %g, not finite", path,
                    f->slope, f->inter);
    header->slope = f->slope;
    header->intercept = f->inter;
    return CMIR_OK;
}

/* The rotation and spacing of the qform.  Where the quaternion's first part is as good as 0 within
 * the file's precision, it is 0. */
static cmir_status
affine_by_qform(const struct fields *f, bool wide, const char *path, double out[3][4],
                cmir_error *err)
{
    double b = f->quatern[0], c = f->quatern[1], d = f->quatern[2];
    const double square = b * b + c * c + d * d;
    const double threshold = 3 * (wide ? DBL_EPSILON : (double)FLT_EPSILON);
    const double qfac = f->pixdim[0] < 0 ? -1 : 1;
    double a = 0;

    if (!(square <= 1 + 1e-5))
        return FAIL(err, CMIR_ECORRUPT, "%s: the qform's quaternion (%g, %g, %g) is no rotation",
                    path, b, c, d);
    if (1 - square < threshold) {
        const double norm = sqrt(square);
        b /= norm, c /= norm, d /= norm;
    } else {
        a = sqrt(1 - square);
    }
    const double rotation[3][3] = {
        {a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)},
        {2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)},
        {2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c},
    };
    for (size_t p = 0; p < 3; p++) {
        for (size_t axis = 0; axis < 3; axis++)
            out[p][axis] = rotation[p][axis] * f->pixdim[axis + 1] * (axis == 2 ? qfac : 1);
        out[p][3] = f->qoffset[p];
    }
    return CMIR_OK;
}

/* Neither form is given: the volume's middle is the origin and x runs to the patient's left, as
 * before NIfTI and as nibabel has it. */
static void
affine_by_pixdim(const struct fields *f, double out[3][4])
{
    memset(out, 0, 3 * sizeof out[0]);
    for (size_t p = 0; p < 3; p++) {
        out[p][p] = p == 0 ? -f->pixdim[1] : f->pixdim[p + 1];
        out[p][3] = -out[p][p] * (double)(f->dim[p + 1] - 1) / 2;
    }
}

static cmir_status
check_affine(const double a[3][4], const char *path, cmir_error *err)
{
    double norms = 1;

    for (size_t p = 0; p < 3; p++)
        for (size_t axis = 0; axis < 4; axis++)
            if (!(fabs(a[p][axis]) <= MAX_MM))
                return FAIL(err, CMIR_ECORRUPT, "%s: the affine holds %g, not a place in mm", path,
                            a[p][axis]);
    for (size_t axis = 0; axis < 3; axis++)
        norms *= sqrt(a[0][axis] * a[0][axis] + a[1][axis] * a[1][axis] + a[2][axis] * a[2][axis]);
    const double volume = a[0][0] * (a[1][1] * a[2][2] - a[1][2] * a[2][1]) -
                          a[0][1] * (a[1][0] * a[2][2] - a[1][2] * a[2][0]) +
                          a[0][2] * (a[1][0] * a[2][1] - a[1][1] * a[2][0]);
    if (!(norms > 1e-18) || fabs(volume) < 1e-4 * norms)
        return FAIL(err, CMIR_ECORRUPT, "%s: the affine is singular", path);
    return CMIR_OK;
}

static cmir_status
find_affine(const struct fields *f, bool wide, const char *path, double out[3][4], cmir_error *err)
{
    const int unit = f->units & 7;
    const double mm = unit == 1 ? 1000 : unit == 3 ? 0.001 : 1; /* metre, micron; else mm */
    cmir_status st = CMIR_OK;

    if (f->sform_code == 0) {
        for (size_t i = 1; i <= 3; i++)
            if (!(f->pixdim[i] > 0 && f->pixdim[i] <= MAX_MM))
                return FAIL(err, CMIR_ECORRUPT, "%s: no sform, and pixdim[%d] is %g", path, (int)i,
                            f->pixdim[i]);
    }
    if (f->sform_code != 0)
        memcpy(out, f->srow, sizeof f->srow);
    else if (f->qform_code != 0)
        st = affine_by_qform(f, wide, path, out, err);
    else
        affine_by_pixdim(f, out);
    if (st != CMIR_OK)
        return st;
    for (size_t p = 0; p < 3; p++)
        for (size_t axis = 0; axis < 4; axis++)
            out[p][axis] *= p < 2 ? -mm : mm; /* RAS to LPS */
    return check_affine((const double (*)[4])out, path, err);
}

cmir_status
cmir_nifti_header_parse(const uint8_t *bytes, const char *path, cmir_nifti_header *header,
                        cmir_error *err)
{
    const struct source source = {bytes, header->big_endian};
    const bool wide = header->nbytes == CMIR_NIFTI2_NBYTES;
    struct fields fields;
    cmir_status st;

    if ((st = check_magic(bytes, header->nbytes, path, err)) != CMIR_OK)
        return st;
    if (wide)
        read_nifti2(&source, &fields);
    else
        read_nifti1(&source, &fields);
    if ((st = check_dims(&fields, path, header, err)) != CMIR_OK ||
        (st = check_type(&fields, path, &header->type, err)) != CMIR_OK ||
        (st = check_scaling(&fields, path, header, err)) != CMIR_OK)
        return st;
    return find_affine(&fields, wide, path, header->affine, err);
}
