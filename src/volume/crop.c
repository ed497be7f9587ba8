/* SPDX-License-Identifier: Apache-2.0 */
/* crop.c: a box of a volume as a volume of its own, for searches by a part of a scan.
 *
 * The one idea: a box in pictures is a box of voxels, for a plane shows voxel axes as they are; so a
 * crop copies voxels, and nothing is resampled. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "volume/volume_internal.h"

/* First voxel and number of voxels along i, j, k. */
struct range {
    uint32_t first[3], n[3];
};

static cmir_status
find_axis(const cmir_volume *volume, unsigned axis, bool reversed, const uint32_t ends[2],
          const char *what, struct range *range, cmir_error *err)
{
    const uint32_t n = volume->info.dims[axis];

    if (ends[0] > ends[1] || ends[1] >= n)
        return FAIL(err, CMIR_EINVAL, "box: %s %u to %u do not lie within 0 to %u", what, ends[0],
                    ends[1], n - 1);
    range->first[axis] = reversed ? n - 1 - ends[1] : ends[0];
    range->n[axis] = ends[1] - ends[0] + 1;
    return CMIR_OK;
}

static cmir_status
copy_info(const cmir_volume *from, const struct range *range, cmir_volume *to, cmir_error *err)
{
    const cmir_volume_info *a = &from->info;
    cmir_volume_info *b = &to->info;
    const char *const values[] = {a->volume_id,  a->path,      a->format,       a->modality,
                                  a->series_uid, a->study_uid, a->patient_id,   a->patient_sex,
                                  a->study_date, a->body_part, a->manufacturer, a->description};
    const char **const fields[] = {&b->volume_id,  &b->path,         &b->format,
                                   &b->modality,   &b->series_uid,   &b->study_uid,
                                   &b->patient_id, &b->patient_sex,  &b->study_date,
                                   &b->body_part,  &b->manufacturer, &b->description};

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (!cmir_volume_set(fields[i], values[i]))
            return FAIL(err, CMIR_ENOMEM, "%s: no memory for a crop", a->path);
    b->patient_age = a->patient_age;
    b->has_hu = a->has_hu;
    b->value_low = a->value_low;
    b->value_high = a->value_high;
    memcpy(b->dims, range->n, sizeof b->dims);
    memcpy(b->affine, a->affine, sizeof b->affine);
    for (unsigned p = 0; p < 3; p++)
        for (unsigned axis = 0; axis < 3; axis++)
            b->affine[p][3] += a->affine[p][axis] * range->first[axis];
    to->type = from->type;
    return CMIR_OK;
}

/* What there is of each slice k. */
static bool
copy_slices(const cmir_volume *from, const struct range *range, cmir_volume *to)
{
    const uint32_t first = range->first[2], n = range->n[2];

    if (from->slope != NULL) {
        to->slope = cmir_alloc(n, sizeof *to->slope);
        to->intercept = cmir_alloc(n, sizeof *to->intercept);
        if (to->slope == NULL || to->intercept == NULL)
            return false;
        memcpy(to->slope, from->slope + first, n * sizeof *to->slope);
        memcpy(to->intercept, from->intercept + first, n * sizeof *to->intercept);
    }
    if (from->slice_position != NULL) {
        to->slice_position = cmir_alloc(n, sizeof *to->slice_position);
        if (to->slice_position == NULL)
            return false;
        for (uint32_t k = 0; k < n; k++)
            for (unsigned p = 0; p < 3; p++)
                to->slice_position[k][p] = from->slice_position[first + k][p] +
                                           from->info.affine[p][0] * range->first[0] +
                                           from->info.affine[p][1] * range->first[1];
    }
    if (from->slice_uids != NULL) {
        to->slice_uids = cmir_alloc_zeroed(n, sizeof *to->slice_uids);
        for (uint32_t k = 0; to->slice_uids != NULL && k < n; k++)
            if (from->slice_uids[first + k] != NULL &&
                (to->slice_uids[k] = cmir_strdup(from->slice_uids[first + k])) == NULL)
                return false;
        return to->slice_uids != NULL;
    }
    return true;
}

static bool
copy_voxels(const cmir_volume *from, const struct range *range, cmir_volume *to)
{
    const uint32_t *dims = from->info.dims, *n = range->n;
    const size_t nbytes = cmir_voxel_nbytes(from->type), run = n[0] * nbytes;

    to->voxels = cmir_alloc_aligned((size_t)n[0] * n[1] * n[2], nbytes);
    if (to->voxels == NULL)
        return false;
    for (uint32_t k = 0; k < n[2]; k++)
        for (uint32_t j = 0; j < n[1]; j++) {
            const size_t at =
                ((size_t)(range->first[2] + k) * dims[1] + range->first[1] + j) * dims[0] +
                range->first[0];

            memcpy(to->voxels + ((size_t)k * n[1] + j) * run, from->voxels + at * nbytes, run);
        }
    return true;
}

cmir_status
cmir_volume_crop(const cmir_volume *volume, cmir_plane plane, const cmir_box *box,
                 cmir_volume **out, cmir_error *err)
{
    struct range range;
    cmir_status st;

    *out = NULL;
    if (!cmir_is_plane(plane))
        return FAIL(err, CMIR_EINVAL, "%s: no plane %d", volume->info.path, (int)plane);
    if (atomic_load(&volume->load_state) != 2)
        return FAIL(err, CMIR_EINVAL, "%s: is not loaded", volume->info.path);
    const cmir_view view = cmir_view_of(&volume->info, plane);
    if ((st = find_axis(volume, view.row, view.row_reversed, box->rows, "rows", &range, err)) !=
            CMIR_OK ||
        (st = find_axis(volume, view.col, view.col_reversed, box->columns, "columns", &range,
                        err)) != CMIR_OK ||
        (st = find_axis(volume, view.slice, false, box->slices, "slices", &range, err)) != CMIR_OK)
        return st;
    cmir_volume *crop = cmir_volume_new();
    if (crop == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for a crop", volume->info.path);
    if ((st = copy_info(volume, &range, crop, err)) == CMIR_OK &&
        !(copy_slices(volume, &range, crop) && copy_voxels(volume, &range, crop)))
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory for a crop", volume->info.path);
    if (st != CMIR_OK) {
        cmir_volume_close(crop);
        return st;
    }
    crop->n_done = range.n[2];
    atomic_store(&crop->n_ready, range.n[2]);
    atomic_store(&crop->load_state, 2);
    *out = crop;
    return CMIR_OK;
}
