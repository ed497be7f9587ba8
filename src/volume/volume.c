/* SPDX-License-Identifier: Apache-2.0 */
/* volume.c: a volume's life: made by a reader, loaded once, closed.
 *
 * The one idea: slices are published through n_ready.  The loader's thread writes voxels, scaling
 * and the decision about HU, then stores n_ready; whoever loads n_ready may read what lies below
 * it.  Volumes in HU publish slice by slice, so that encoding overlaps decoding; others need the
 * range of all their values first. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "volume/volume_internal.h"

#define MAX_WARNINGS 1000u
/* A slice of which 1 % lies below -200 is CT: air in HU (fat has about -100).  MR that was
 * resampled undershoots that low at a few voxels only. */
#define AIR_BELOW (-200.0f)
#define AIR_PERCENT 1u

static const size_t string_offsets[] = {
    offsetof(cmir_volume_info, volume_id),    offsetof(cmir_volume_info, path),
    offsetof(cmir_volume_info, format),       offsetof(cmir_volume_info, modality),
    offsetof(cmir_volume_info, series_uid),   offsetof(cmir_volume_info, study_uid),
    offsetof(cmir_volume_info, patient_id),   offsetof(cmir_volume_info, patient_sex),
    offsetof(cmir_volume_info, study_date),   offsetof(cmir_volume_info, body_part),
    offsetof(cmir_volume_info, manufacturer), offsetof(cmir_volume_info, description),
};
#define N_STRINGS (sizeof string_offsets / sizeof string_offsets[0])

static const char **
string_field(cmir_volume_info *info, size_t index)
{
    return (const char **)(void *)((char *)info + string_offsets[index]);
}

cmir_volume *
cmir_volume_new(void)
{
    cmir_volume *volume = cmir_alloc_zeroed(1, sizeof *volume);

    if (volume == NULL)
        return NULL;
    volume->info.patient_age = NAN;
    for (size_t i = 0; i < N_STRINGS; i++) {
        if (!cmir_volume_set(string_field(&volume->info, i), "")) {
            cmir_volume_close(volume);
            return NULL;
        }
    }
    return volume;
}

void
cmir_volume_close(cmir_volume *volume)
{
    if (volume == NULL)
        return;
    if (volume->reader != NULL && volume->reader->free_state != NULL)
        volume->reader->free_state(volume->reader_state);
    for (size_t i = 0; i < N_STRINGS; i++)
        free((void *)(uintptr_t)*string_field(&volume->info, i));
    for (size_t i = 0; i < volume->n_warnings; i++)
        free(volume->warnings[i]);
    for (uint32_t k = 0; volume->slice_uids != NULL && k < volume->info.dims[2]; k++)
        free(volume->slice_uids[k]);
    free(volume->warnings);
    free(volume->slice_uids);
    free(volume->slice_position);
    free(volume->slope);
    free(volume->intercept);
    free(volume->voxels);
    free(volume->row);
    free(volume);
}

const cmir_volume_info *
cmir_volume_get_info(const cmir_volume *volume)
{
    return volume == NULL ? NULL : &volume->info;
}

const char *
cmir_volume_warning(const cmir_volume *volume, size_t index)
{
    return volume == NULL || index >= volume->n_warnings ? NULL : volume->warnings[index];
}

bool
cmir_volume_set(const char **field, const char *value)
{
    char *copy = cmir_strdup(value == NULL ? "" : value);

    if (copy == NULL)
        return false;
    free((void *)(uintptr_t)*field);
    *field = copy;
    return true;
}

void
cmir_volume_warn(cmir_volume *volume, const char *format, ...)
{
    char text[512];
    va_list args;

    if (volume->n_warnings >= MAX_WARNINGS ||
        !cmir_grow((void **)&volume->warnings, &volume->warnings_cap, volume->n_warnings + 1,
                   sizeof *volume->warnings))
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *copy = cmir_strdup(text);
    if (copy != NULL)
        volume->warnings[volume->n_warnings++] = copy;
}

cmir_status
cmir_volume_nbytes(const cmir_volume *volume, uint64_t *nbytes, cmir_error *err)
{
    const uint32_t *dims = volume->info.dims;

    if (dims[0] > CMIR_MAX_SIDE || dims[1] > CMIR_MAX_SIDE || dims[2] > CMIR_MAX_SLICES)
        return FAIL(err, CMIR_ELIMIT, "%s: %u x %u x %u voxels, more than %u along one axis",
                    volume->info.path, dims[0], dims[1], dims[2], CMIR_MAX_SIDE);
    /* At most 2^15 * 2^15 * 2^15 * 2^3: no overflow. */
    const uint64_t n = (uint64_t)dims[0] * dims[1] * dims[2] * cmir_voxel_nbytes(volume->type);
    if (n > CMIR_MAX_VOXELS_NBYTES)
        return FAIL(err, CMIR_ELIMIT, "%s: %u x %u x %u voxels need %llu MiB, the limit is %llu",
                    volume->info.path, dims[0], dims[1], dims[2], (unsigned long long)(n >> 20),
                    (unsigned long long)(CMIR_MAX_VOXELS_NBYTES >> 20));
    *nbytes = n;
    return CMIR_OK;
}

static void
publish(cmir_volume *volume, uint32_t n_ready)
{
    atomic_store_explicit(&volume->n_ready, n_ready, memory_order_release);
    if (volume->ready != NULL)
        volume->ready(volume->ready_ctx, n_ready);
}

/* Looks at one row of values for what is not known yet: does anything vary, how much is air? */
static void
look_at_row(cmir_volume *volume, uint64_t *n_air)
{
    const uint32_t n = volume->info.dims[0];
    const float *row = volume->row;

    for (uint32_t i = 0; i < n; i++) {
        if (isnan(row[i]) || (row[i] == volume->first && volume->any_finite))
            continue;
        if (!volume->any_finite) {
            volume->any_finite = true;
            volume->first = row[i];
        }
        volume->varies = row[i] != volume->first || volume->varies;
        *n_air += row[i] < AIR_BELOW;
    }
}

void
cmir_volume_slices_done(cmir_volume *volume, uint32_t n_done)
{
    const uint32_t *dims = volume->info.dims;

    for (; volume->n_done < n_done; volume->n_done++) {
        uint64_t n_air = 0;

        for (uint32_t j = 0; j < dims[1] && !(volume->varies && volume->hu_known); j++) {
            const size_t first = ((size_t)volume->n_done * dims[1] + j) * dims[0];
            const uint8_t *from = volume->voxels + first * cmir_voxel_nbytes(volume->type);
            const cmir_voxel_run run = {from, 1, volume->n_done, 0};
            cmir_voxel_values(volume, &run, dims[0], NAN, volume->row);
            look_at_row(volume, &n_air);
            if (!volume->hu_known && 100 * n_air >= (uint64_t)AIR_PERCENT * dims[0] * dims[1]) {
                volume->hu_known = volume->info.has_hu = true;
                (void)cmir_volume_set(&volume->info.modality, "CT");
            }
        }
    }
    if (volume->info.has_hu)
        publish(volume, n_done);
}

cmir_status
cmir_volume_check_values(const cmir_volume *volume, bool any_finite, bool varies, float first,
                         cmir_error *err)
{
    const char *path = volume->info.path;

    if (!any_finite)
        return FAIL(err, CMIR_ECORRUPT, "%s: no voxel has a finite value", path);
    if (!varies && !volume->may_be_constant)
        return FAIL(err, CMIR_ECORRUPT, "%s: every voxel has the same value, %g", path,
                    (double)first);
    return CMIR_OK;
}

static cmir_status
check_loaded(const cmir_volume *volume, cmir_error *err)
{
    if (volume->n_done < volume->info.dims[2])
        return FAIL(err, CMIR_ECORRUPT, "%s: only %u of %u slices", volume->info.path,
                    volume->n_done, volume->info.dims[2]);
    return cmir_volume_check_values(volume, volume->any_finite, volume->varies, volume->first, err);
}

static cmir_status
find_range(cmir_volume *volume, cmir_error *err)
{
    const uint32_t *dims = volume->info.dims;
    const size_t nbytes = (size_t)dims[0] * dims[1] * cmir_voxel_nbytes(volume->type);
    cmir_volume_range range;
    const cmir_status st = cmir_volume_range_start(volume, &range, err);

    if (st != CMIR_OK)
        return st;
    for (uint32_t k = 0; k < dims[2]; k++)
        cmir_volume_range_take(volume, &range, k, volume->voxels + nbytes * k);
    cmir_volume_range_finish(volume, &range, volume->first);
    cmir_volume_range_free(&range);
    return CMIR_OK;
}

static cmir_status
load(cmir_volume *volume, cmir_error *err)
{
    uint64_t nbytes;
    cmir_status st = cmir_volume_nbytes(volume, &nbytes, err);

    if (st != CMIR_OK)
        return st;
    volume->voxels = cmir_alloc_aligned((size_t)nbytes, 1);
    volume->row = cmir_alloc(volume->info.dims[0], sizeof *volume->row);
    if (volume->voxels == NULL || volume->row == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for %llu MiB of voxels", volume->info.path,
                    (unsigned long long)(nbytes >> 20));
    volume->hu_known = volume->info.modality[0] != '\0';
    volume->info.has_hu = strcmp(volume->info.modality, "CT") == 0;
    if ((st = volume->reader->load(volume, volume->reader_state, err)) != CMIR_OK ||
        (st = check_loaded(volume, err)) != CMIR_OK)
        return st;
    return find_range(volume, err);
}

cmir_status
cmir_volume_load(cmir_volume *volume, cmir_volume_ready_fn ready, void *ctx, cmir_error *err)
{
    int not_loaded = 0;

    if (volume == NULL)
        return FAIL(err, CMIR_EINVAL, "volume is NULL");
    if (!atomic_compare_exchange_strong(&volume->load_state, &not_loaded, 1))
        return FAIL(err, CMIR_EINVAL, "%s: loaded already", volume->info.path);
    volume->ready = ready;
    volume->ready_ctx = ctx;
    const cmir_status st = load(volume, err);
    if (st == CMIR_OK && !volume->info.has_hu)
        publish(volume, volume->info.dims[2]);
    atomic_store(&volume->load_state, st == CMIR_OK ? 2 : 3);
    return st;
}
