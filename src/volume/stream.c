/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c: a volume that is only looked through, slice by slice; called by encode.c.
 *
 * The one idea: whoever encodes a slice reads it just before, into room of his own, so that its
 * voxels are in his core's cache and the volume is never in memory.  What loading finds out about
 * all slices together is found out here as well: that values vary, and their range. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "volume/volume_internal.h"

bool
cmir_volume_streams(const cmir_volume *volume, cmir_plane plane)
{
    cmir_stack stack;

    return volume->slices_apart && volume->reader->read_slice != NULL &&
           strcmp(volume->info.modality, "CT") == 0 && atomic_load(&volume->load_state) == 0 &&
           cmir_volume_stack(volume, plane, &stack, NULL) == CMIR_OK && stack.native;
}

cmir_status
cmir_volume_stream_start(cmir_volume *volume, cmir_plane plane, cmir_volume_stream *out,
                         cmir_error *err)
{
    int not_loaded = 0;

    *out = (cmir_volume_stream){.volume = volume, .plane = plane, .first_slice = UINT32_MAX};
    if (!atomic_compare_exchange_strong(&volume->load_state, &not_loaded, 1))
        return FAIL(err, CMIR_EINVAL, "%s: loaded already", volume->info.path);
    if (pthread_mutex_init(&out->lock, NULL) != 0) {
        atomic_store(&volume->load_state, 0);
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for a lock", volume->info.path);
    }
    const cmir_status st = cmir_volume_range_start(volume, &out->range, err);
    if (st != CMIR_OK)
        (void)cmir_volume_stream_finish(out, st, NULL);
    volume->info.has_hu = true;
    return st;
}

/* Looks at the rows of a slice until it is known whether values vary, at one at least that has a
 * finite value. */
static void
look(cmir_volume_stream *s, uint32_t k, const uint8_t *voxels, float *row)
{
    const uint32_t *dims = s->volume->info.dims;
    const size_t nbytes = dims[0] * cmir_voxel_nbytes(s->volume->type);
    bool varies = false, any = false;
    float first = 0;

    for (uint32_t j = 0; j < dims[1] && !(any && (varies || atomic_load(&s->varies))); j++) {
        const cmir_voxel_run run = {voxels + j * nbytes, 1, k, 0};
        cmir_voxel_values(s->volume, &run, dims[0], NAN, row);
        for (uint32_t i = 0; i < dims[0]; i++) {
            if (isnan(row[i]))
                continue;
            first = any ? first : row[i];
            any = true;
            varies = varies || row[i] != first;
        }
    }
    if (!any)
        return;
    (void)pthread_mutex_lock(&s->lock);
    if (varies || (s->any_finite && first != s->first))
        atomic_store(&s->varies, true);
    if (k < s->first_slice) {
        s->first_slice = k;
        s->first = first;
    }
    s->any_finite = true;
    (void)pthread_mutex_unlock(&s->lock);
}

cmir_status
cmir_volume_stream_slice(cmir_volume_stream *s, uint32_t k, uint8_t *voxels, float *out,
                         cmir_error *err)
{
    const cmir_volume *volume = s->volume;
    const cmir_status st = volume->reader->read_slice(volume, volume->reader_state, k, voxels, err);

    if (st != CMIR_OK)
        return st;
    look(s, k, voxels, out); /* a row of values has room there */
    cmir_volume_range_take(volume, &s->range, k, voxels);
    cmir_volume_native_slice(volume, s->plane, k, voxels, out);
    return CMIR_OK;
}

cmir_status
cmir_volume_stream_finish(cmir_volume_stream *s, cmir_status status, cmir_error *err)
{
    cmir_volume *volume = s->volume;

    if (status == CMIR_OK)
        status =
            cmir_volume_check_values(volume, s->any_finite, atomic_load(&s->varies), s->first, err);
    if (status == CMIR_OK)
        cmir_volume_range_finish(volume, &s->range, s->first);
    cmir_volume_range_free(&s->range);
    (void)pthread_mutex_destroy(&s->lock);
    atomic_store(&volume->load_state, status == CMIR_OK ? 0 : 3);
    return status;
}
