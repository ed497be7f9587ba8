/* SPDX-License-Identifier: Apache-2.0 */
/* mask.c: the slices of a volume in which a mask marks something; called through cmir/volume.h.
 *
 * The one idea: a mask is a volume that may be all the same, and lies where another volume lies; that is
 * checked before a voxel is read, so memory is bounded by the size of the volume it belongs to. */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/io_internal.h"
#include "volume/volume_internal.h"

/* How far grids may differ: in the step along an axis, as a part of its length, and in the place of
 * the first voxel.  Headers hold floats, or angles. */
#define STEP_TOLERANCE 1e-3
#define PLACE_TOLERANCE_MM 0.01

/* Of the affine's column `axis`, less that of `other` (NULL: nothing). */
static double
length(const cmir_volume_info *info, const cmir_volume_info *other, unsigned axis)
{
    double square = 0;

    for (unsigned p = 0; p < 3; p++) {
        const double x = info->affine[p][axis] - (other == NULL ? 0 : other->affine[p][axis]);
        square += x * x;
    }
    return sqrt(square);
}

static cmir_status
check_places(const cmir_volume_info *mask, const cmir_volume_info *volume, cmir_error *err)
{
    static const char axes[] = "ijk";

    for (unsigned axis = 0; axis < 3; axis++)
        if (!(length(mask, volume, axis) <= STEP_TOLERANCE * length(volume, NULL, axis)))
            return FAIL(err, CMIR_EMISMATCH,
                        "%s: a mask on another grid: a step along %c is (%g, %g, %g) mm, the "
                        "volume's (%g, %g, %g)",
                        mask->path, axes[axis], mask->affine[0][axis], mask->affine[1][axis],
                        mask->affine[2][axis], volume->affine[0][axis], volume->affine[1][axis],
                        volume->affine[2][axis]);
    if (!(length(mask, volume, 3) <= PLACE_TOLERANCE_MM))
        return FAIL(err, CMIR_EMISMATCH,
                    "%s: a mask on another grid: its first voxel lies %.3g mm from the volume's",
                    mask->path, length(mask, volume, 3));
    return CMIR_OK;
}

static cmir_status
check_grid(const cmir_volume_info *mask, const cmir_volume_info *volume, cmir_error *err)
{
    const uint32_t *a = mask->dims, *b = volume->dims;

    if (b[0] == 0 || isnan(volume->affine[0][0]))
        return FAIL(err, CMIR_EINVAL,
                    "%s: where the voxels of '%s' lie is not known, so no mask can be compared",
                    mask->path, volume->volume_id);
    if (a[0] != b[0] || a[1] != b[1] || a[2] != b[2])
        return FAIL(err, CMIR_EMISMATCH,
                    "%s: a mask on another grid: %u x %u x %u voxels, the volume has %u x %u x %u",
                    mask->path, a[0], a[1], a[2], b[0], b[1], b[2]);
    return check_places(mask, volume, err);
}

static bool
marks_any(const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (values[i] > 0)
            return true;
    return false;
}

static cmir_status
look(const cmir_volume *mask, cmir_plane plane, uint8_t *shown, uint32_t n_slices, cmir_error *err)
{
    cmir_stack stack;
    cmir_status st = cmir_volume_stack(mask, plane, &stack, err);

    if (st != CMIR_OK)
        return st;
    if (stack.n_slices != n_slices)
        return FAIL(err, CMIR_EINVAL, "%s: a mask of %u slices, room for %u", mask->info.path,
                    stack.n_slices, n_slices);
    const size_t n = (size_t)stack.rows * stack.cols;
    float *values = cmir_alloc(n, sizeof *values);
    if (values == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for a slice", mask->info.path);
    for (uint32_t i = 0; i < n_slices && st == CMIR_OK; i++)
        if ((st = cmir_volume_slice(mask, plane, i, values, err)) == CMIR_OK)
            shown[i] = marks_any(values, n);
    free(values);
    return st;
}

cmir_status
cmir_mask_read(const char *path, const cmir_volume_info *volume, cmir_plane plane, uint8_t *shown,
               uint32_t n_slices, cmir_error *err)
{
    cmir_volume *mask;
    /* As of CT: what is not finite is air then, and marks nothing. */
    cmir_status st = cmir_nifti_open(path, 0, "CT", &mask, err);

    if (st != CMIR_OK)
        return st;
    mask->may_be_constant = true;
    if ((st = check_grid(&mask->info, volume, err)) == CMIR_OK &&
        (st = cmir_volume_load(mask, NULL, NULL, err)) == CMIR_OK)
        st = look(mask, plane, shown, n_slices, err);
    cmir_volume_close(mask);
    return st;
}
