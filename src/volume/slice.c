/* SPDX-License-Identifier: Apache-2.0 */
/* slice.c: a volume as a stack of slices in any plane.
 *
 * Nothing is resampled: a plane's slices, rows and columns are voxel axes, chosen as the
 * permutation nearest to the patient's axes and flipped so that the picture has the orientation
 * stated in cmir/volume.h. */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "volume/volume_internal.h"

#define AIR_HU (-1024.0f)

/* The patient's axes (x = 0 left, y = 1 posterior, z = 2 superior) of slices, rows and columns in
 * each plane; rows run along their axis or against it, columns always along. */
static const struct {
    unsigned slice, row, col;
    double row_sign;
} planes[] = {
    [CMIR_AXIAL] = {2, 1, 0, 1},
    [CMIR_CORONAL] = {1, 2, 0, -1},
    [CMIR_SAGITTAL] = {0, 2, 1, -1},
};

static double
column_norm(const cmir_volume_info *info, unsigned axis)
{
    const double (*a)[4] = info->affine;

    return sqrt(a[0][axis] * a[0][axis] + a[1][axis] * a[1][axis] + a[2][axis] * a[2][axis]);
}

/* voxel_axis[p] is the voxel axis for the patient's axis p: of the six permutations the one with
 * the greatest sum of |direction cosines|; among equals the earlier in this list. */
static void
find_axes(const cmir_volume_info *info, unsigned voxel_axis[3])
{
    static const unsigned permutations[6][3] = {{0, 1, 2}, {1, 0, 2}, {0, 2, 1},
                                                {2, 0, 1}, {1, 2, 0}, {2, 1, 0}};
    const double norms[3] = {column_norm(info, 0), column_norm(info, 1), column_norm(info, 2)};
    double best = -1;

    for (unsigned i = 0; i < 6; i++) {
        double sum = 0;
        for (unsigned p = 0; p < 3; p++) {
            const unsigned axis = permutations[i][p];
            sum += fabs(info->affine[p][axis]) / norms[axis];
        }
        if (sum > best + 1e-6) {
            best = sum;
            for (unsigned p = 0; p < 3; p++)
                voxel_axis[p] = permutations[i][p];
        }
    }
}

cmir_view
cmir_view_of(const cmir_volume_info *info, cmir_plane plane)
{
    unsigned axes[3] = {0, 1, 2};

    find_axes(info, axes);
    cmir_view view = {axes[planes[plane].slice], axes[planes[plane].row], axes[planes[plane].col],
                      false, false};
    view.row_reversed = info->affine[planes[plane].row][view.row] * planes[plane].row_sign < 0;
    view.col_reversed = info->affine[planes[plane].col][view.col] < 0;
    return view;
}

bool
cmir_is_plane(cmir_plane plane)
{
    return plane == CMIR_AXIAL || plane == CMIR_CORONAL || plane == CMIR_SAGITTAL;
}

static int
compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Distance along the unit normal `n` between neighbouring slices k: the median. */
static double
median_gap(const cmir_volume *volume, const double n[3])
{
    const uint32_t n_gaps = volume->info.dims[2] - 1;
    double (*p)[3] = volume->slice_position;
    double *gaps = cmir_alloc(n_gaps, sizeof *gaps);

    if (gaps == NULL)
        return NAN;
    for (uint32_t k = 0; k < n_gaps; k++)
        gaps[k] = fabs((p[k + 1][0] - p[k][0]) * n[0] + (p[k + 1][1] - p[k][1]) * n[1] +
                       (p[k + 1][2] - p[k][2]) * n[2]);
    qsort(gaps, n_gaps, sizeof *gaps, compare_doubles);
    const double median = (gaps[(n_gaps - 1) / 2] + gaps[n_gaps / 2]) / 2;
    free(gaps);
    return median;
}

static double
slice_spacing(const cmir_volume *volume, const cmir_view *view)
{
    const double (*a)[4] = volume->info.affine;
    const unsigned r = view->row, c = view->col, s = view->slice;
    double n[3] = {a[1][r] * a[2][c] - a[2][r] * a[1][c], a[2][r] * a[0][c] - a[0][r] * a[2][c],
                   a[0][r] * a[1][c] - a[1][r] * a[0][c]};
    const double norm = sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);

    for (unsigned p = 0; p < 3; p++)
        n[p] /= norm;
    if (s == 2 && volume->slice_position != NULL && volume->info.dims[2] > 1)
        return median_gap(volume, n);
    return fabs(a[0][s] * n[0] + a[1][s] * n[1] + a[2][s] * n[2]);
}

cmir_stack
cmir_info_stack(const cmir_volume_info *info, cmir_plane plane)
{
    const cmir_view view = cmir_view_of(info, plane);

    return (cmir_stack){
        .n_slices = info->dims[view.slice],
        .rows = info->dims[view.row],
        .cols = info->dims[view.col],
        .row_spacing_mm = column_norm(info, view.row),
        .col_spacing_mm = column_norm(info, view.col),
        .native = view.slice == 2,
    };
}

void
cmir_info_frame(const cmir_volume_info *info, cmir_plane plane, double out[3][4])
{
    const cmir_view v = cmir_view_of(info, plane);
    const double row_sign = v.row_reversed ? -1 : 1, col_sign = v.col_reversed ? -1 : 1;

    for (unsigned p = 0; p < 3; p++) {
        const double *a = info->affine[p];

        out[p][0] = a[v.col] * col_sign;
        out[p][1] = a[v.row] * row_sign;
        out[p][2] = a[v.slice];
        out[p][3] = a[3] + (v.col_reversed ? a[v.col] * (info->dims[v.col] - 1) : 0) +
                    (v.row_reversed ? a[v.row] * (info->dims[v.row] - 1) : 0);
    }
}

cmir_status
cmir_volume_stack(const cmir_volume *volume, cmir_plane plane, cmir_stack *out, cmir_error *err)
{
    if (volume == NULL || out == NULL)
        return FAIL(err, CMIR_EINVAL, "%s is NULL", volume == NULL ? "volume" : "out");
    if (!cmir_is_plane(plane))
        return FAIL(err, CMIR_EINVAL, "%s: no plane %d", volume->info.path, (int)plane);
    const cmir_view view = cmir_view_of(&volume->info, plane);
    const uint32_t *dims = volume->info.dims;
    const double spacing = slice_spacing(volume, &view);
    if (isnan(spacing))
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for %u slices", volume->info.path, dims[2]);
    *out = cmir_info_stack(&volume->info, plane);
    out->slice_spacing_mm = spacing;
    return CMIR_OK;
}

static cmir_status
check_ready(const cmir_volume *volume, const cmir_view *view, uint32_t index, cmir_error *err)
{
    const uint32_t *dims = volume->info.dims;
    const uint32_t n_ready = atomic_load_explicit(&volume->n_ready, memory_order_acquire);

    if (index >= dims[view->slice])
        return FAIL(err, CMIR_EINVAL, "%s: no slice %u, there are %u", volume->info.path, index,
                    dims[view->slice]);
    if (n_ready < (view->slice == 2 ? index + 1 : dims[2]))
        return FAIL(err, CMIR_EINVAL, "%s: slice %u is not loaded", volume->info.path, index);
    return CMIR_OK;
}

/* Slice `index` from `voxels`: those of that slice where it is the source's own, else all. */
static void
write_slice(const cmir_volume *volume, const cmir_view *view, uint32_t index, const uint8_t *voxels,
            float *out)
{
    const uint32_t *dims = volume->info.dims;
    const size_t size = cmir_voxel_nbytes(volume->type);
    const size_t strides[3] = {1, dims[0], view->slice == 2 ? 0 : (size_t)dims[0] * dims[1]};
    const float fill = volume->info.has_hu ? AIR_HU : (float)volume->info.value_low;
    const uint32_t rows = dims[view->row], cols = dims[view->col];
    uint32_t at[3];

    at[view->slice] = index;
    for (uint32_t r = 0; r < rows; r++) {
        at[view->row] = view->row_reversed ? rows - 1 - r : r;
        at[view->col] = view->col_reversed ? cols - 1 : 0;
        const int step = view->col_reversed ? -1 : 1;
        const cmir_voxel_run run = {
            .from = voxels + (at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2]) * size,
            .stride = step * (ptrdiff_t)strides[view->col],
            .k = at[2],
            .k_step = view->col == 2 ? step : 0,
        };
        cmir_voxel_values(volume, &run, cols, fill, out + (size_t)r * cols);
    }
}

cmir_status
cmir_volume_slice(const cmir_volume *volume, cmir_plane plane, uint32_t index, float *out,
                  cmir_error *err)
{
    if (volume == NULL || out == NULL)
        return FAIL(err, CMIR_EINVAL, "%s is NULL", volume == NULL ? "volume" : "out");
    if (!cmir_is_plane(plane))
        return FAIL(err, CMIR_EINVAL, "%s: no plane %d", volume->info.path, (int)plane);
    const cmir_view view = cmir_view_of(&volume->info, plane);
    const cmir_status st = check_ready(volume, &view, index, err);
    if (st != CMIR_OK)
        return st;
    const size_t nbytes =
        (size_t)volume->info.dims[0] * volume->info.dims[1] * cmir_voxel_nbytes(volume->type);
    write_slice(volume, &view, index, volume->voxels + (view.slice == 2 ? nbytes * index : 0), out);
    return CMIR_OK;
}

void
cmir_volume_native_slice(const cmir_volume *volume, cmir_plane plane, uint32_t index,
                         const uint8_t *voxels, float *out)
{
    const cmir_view view = cmir_view_of(&volume->info, plane);

    write_slice(volume, &view, index, voxels, out);
}

double
cmir_volume_slice_mm(const cmir_volume *volume, cmir_plane plane, uint32_t index)
{
    if (volume == NULL || !cmir_is_plane(plane))
        return NAN;
    const cmir_view view = cmir_view_of(&volume->info, plane);
    const cmir_volume_info *info = &volume->info;
    if (index >= info->dims[view.slice])
        return NAN;
    const unsigned p = planes[plane].slice;
    double mm = info->affine[p][view.row] * (info->dims[view.row] - 1) / 2 +
                info->affine[p][view.col] * (info->dims[view.col] - 1) / 2;
    if (view.slice == 2 && volume->slice_position != NULL)
        return mm + volume->slice_position[index][p];
    return mm + info->affine[p][view.slice] * index + info->affine[p][3];
}

const char *
cmir_volume_slice_uid(const cmir_volume *volume, cmir_plane plane, uint32_t index)
{
    if (volume == NULL || !cmir_is_plane(plane) || volume->slice_uids == NULL ||
        index >= volume->info.dims[2] || cmir_view_of(&volume->info, plane).slice != 2 ||
        volume->slice_uids[index] == NULL)
        return "";
    return volume->slice_uids[index];
}
