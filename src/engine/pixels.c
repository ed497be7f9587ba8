/* SPDX-License-Identifier: Apache-2.0 */
/* pixels.c: a volume that can be looked at: its source's voxels, or the preview that the archive
 * keeps.  Part of the public interface.
 *
 * The one idea: whatever the values come from, a picture is made of them in one way. */
#include <cmir/picture.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "picture/picture.h"
#include "volume/volume_internal.h"

/* Slices are where they were if they lie within this distance. */
#define SAME_PLACE_MM 0.05

struct cmir_pixels {
    cmir_pixels_info info;
    cmir_plane plane;
    const cmir_volume *volume; /* NULL: it is the preview */
    cmir_volume *own;          /* the same, if opened here */
    cmir_preview_view view;
    char *name;                /* of the volume, for messages */
    double frame[3][4];        /* (column, row, slice, 1) -> LPS mm */
    cmir_error problem;
};

static const cmir_window_preset presets[] = {
    {"lung", {-600, 1500}}, {"abdomen", {40, 400}}, {"mediastinum", {50, 500}},
    {"bone", {500, 2000}},  {"brain", {40, 80}},    {"liver", {60, 160}},
};

const cmir_window_preset *
cmir_window_preset_get(size_t index)
{
    return index < sizeof presets / sizeof presets[0] ? &presets[index] : NULL;
}

cmir_status
cmir_record_stack(const cmir_record *record, cmir_plane plane, cmir_stack *out, cmir_error *err)
{
    const cmir_volume_info *info = &record->info;
    bool known = true;

    if (!cmir_is_plane(plane))
        return FAIL(err, CMIR_EINVAL, "%s: no plane %d", info->volume_id, (int)plane);
    for (unsigned i = 0; i < 12; i++)
        known = known && isfinite(info->affine[i / 4][i % 4]);
    for (unsigned i = 0; i < 3; i++)
        known = known && info->dims[i] > 0;
    if (!known)
        return FAIL(err, CMIR_EINVAL, "%s: its geometry is unknown", info->volume_id);
    *out = cmir_info_stack(info, plane);
    out->slice_spacing_mm = record->slice_spacing_mm;
    return CMIR_OK;
}

void
cmir_preview_view_close(cmir_preview_view *view)
{
    cmir_map_close(&view->map);
    *view = (cmir_preview_view){0};
}

cmir_status
cmir_preview_view_open(cmir_store *store, const char *volume_id, cmir_preview_view *out,
                       cmir_error *err)
{
    cmir_preview_place place;
    cmir_status st = cmir_store_preview(store, volume_id, &place, err);

    *out = (cmir_preview_view){0};
    if (st != CMIR_OK)
        return st;
    if ((st = cmir_map_open(place.path, &out->map, err)) == CMIR_OK &&
        (place.offset > out->map.nbytes || place.nbytes > out->map.nbytes - place.offset))
        st = FAIL_AT(err, CMIR_ECORRUPT, out->map.nbytes, "%s: cut short, before the preview of %s",
                     place.path, volume_id);
    if (st == CMIR_OK)
        st = cmir_preview_parse(out->map.data + place.offset, place.nbytes, volume_id,
                                &out->preview, err);
    if (st == CMIR_OK && out->preview.crc != place.crc)
        st = FAIL(err, CMIR_ECORRUPT, "%s: the preview is of another volume", volume_id);
    free(place.path);
    if (st != CMIR_OK)
        cmir_preview_view_close(out);
    return st;
}

/* The volume of the record among those at its path: the one of its id, or the only one there. */
static cmir_status
open_volume(const cmir_record *record, cmir_volume **out, cmir_error *err)
{
    const cmir_volume_info *info = &record->info;
    const bool states_modality = strcmp(info->format, "DICOM") == 0;
    const cmir_scan_options options = {
        .struct_nbytes = sizeof options,
        .min_slices = 1,
        .modality = states_modality || info->modality[0] == '\0' ? NULL : info->modality};
    cmir_scan *scan;
    cmir_status st = cmir_scan_open(&info->path, 1, &options, &scan, err);

    if (st != CMIR_OK)
        return st;
    const size_t n = cmir_scan_count(scan);
    size_t found = n, only = n, n_volumes = 0;
    for (size_t i = 0; i < n; i++) {
        const cmir_scan_item *item = cmir_scan_get(scan, i);

        if (item->state != CMIR_SCAN_VOLUME)
            continue;
        if (strcmp(item->volume_id, info->volume_id) == 0)
            found = i;
        only = i;
        n_volumes++;
    }
    if (found == n && n_volumes == 1 && info->series_uid[0] == '\0')
        found = only; /* a NIfTI file that was given an id of its own */
    if (found < n)
        st = cmir_volume_open(scan, found, out, err);
    else if (n == 1 && n_volumes == 0)
        st = FAIL(err, CMIR_ENOTFOUND, "%s", cmir_scan_get(scan, 0)->reason.msg);
    else
        st = FAIL(err, CMIR_ENOTFOUND, "%s: volume %s is not there any more", info->path,
                  info->volume_id);
    cmir_scan_close(scan);
    return st;
}

/* Whether the volume still has the slices that were indexed. */
static cmir_status
check_slices(const cmir_record *r, const cmir_volume *volume, cmir_plane plane, cmir_error *err)
{
    cmir_stack stack;
    cmir_status st = cmir_volume_stack(volume, plane, &stack, err);

    if (st != CMIR_OK)
        return st;
    if (stack.n_slices != r->n_slices)
        return FAIL(err, CMIR_EMISMATCH, "%s has %u slices now, %u when it was indexed",
                    r->info.path, stack.n_slices, r->n_slices);
    for (uint32_t i = 0; i < r->n_slices; i++) {
        const double now = cmir_volume_slice_mm(volume, plane, i);

        if (fabs(now - r->slice_mm[i]) > SAME_PLACE_MM ||
            strcmp(cmir_volume_slice_uid(volume, plane, i), r->slice_uids[i]) != 0)
            return FAIL(err, CMIR_EMISMATCH, "%s: slice %u is not the one that was indexed",
                        r->info.path, i);
    }
    return CMIR_OK;
}

static void
set_window(cmir_pixels_info *info)
{
    const double width = info->value_high - info->value_low;

    info->window = info->has_hu ? (cmir_window){40, 400}
                                : (cmir_window){info->value_low + width / 2, width > 0 ? width : 1};
}

/* Takes the voxels of a loaded volume. */
static cmir_status
use_volume(cmir_pixels *p, const cmir_volume *volume, cmir_error *err)
{
    const cmir_volume_info *info = cmir_volume_get_info(volume);
    cmir_status st = cmir_volume_stack(volume, p->plane, &p->info.stack, err);

    if (st != CMIR_OK)
        return st;
    p->info.from = CMIR_PIXELS_SOURCE;
    p->info.has_hu = info->has_hu;
    p->info.value_low = info->value_low;
    p->info.value_high = info->value_high;
    set_window(&p->info);
    cmir_info_frame(info, p->plane, p->frame);
    p->volume = volume;
    return CMIR_OK;
}

/* The source, loaded, if it is as it was and needs no more than max_nbytes; what is in *out must be
 * closed in any case. */
static cmir_status
load_source(const cmir_record *record, cmir_plane plane, uint64_t max_nbytes, cmir_volume **out,
            uint64_t *nbytes, cmir_error *err)
{
    cmir_status st = open_volume(record, out, err);

    if (st != CMIR_OK || (st = check_slices(record, *out, plane, err)) != CMIR_OK ||
        (st = cmir_volume_nbytes(*out, nbytes, err)) != CMIR_OK)
        return st;
    if (max_nbytes > 0 && *nbytes > max_nbytes)
        return FAIL(err, CMIR_ELIMIT, "%s: its voxels need %llu MiB, the limit is %llu",
                    record->info.path, (unsigned long long)(*nbytes >> 20),
                    (unsigned long long)(max_nbytes >> 20));
    return cmir_volume_load(*out, NULL, NULL, err);
}

cmir_status
cmir_record_source(const cmir_record *record, cmir_plane plane, cmir_volume **out, cmir_error *err)
{
    uint64_t nbytes;

    *out = NULL;
    const cmir_status st = load_source(record, plane, 0, out, &nbytes, err);
    if (st != CMIR_OK) {
        cmir_volume_close(*out);
        *out = NULL;
    }
    return st;
}

static cmir_status
open_source(cmir_pixels *p, const cmir_record *record, uint64_t max_nbytes, cmir_error *err)
{
    const cmir_status st = load_source(record, p->plane, max_nbytes, &p->own, &p->info.nbytes, err);

    return st == CMIR_OK ? use_volume(p, p->own, err) : st;
}

/* Whether the archive's own record of this id is the same. */
static bool
is_of_archive(const cmir_archive *archive, const cmir_record *record)
{
    cmir_record *own;
    bool same;

    if (archive == NULL || record->preview_nbytes == 0 ||
        cmir_archive_get(archive, record->info.volume_id, &own, NULL) != CMIR_OK)
        return false;
    same = own->n_slices == record->n_slices && strcmp(own->added, record->added) == 0;
    cmir_record_free(own);
    return same;
}

static cmir_status
open_preview(cmir_pixels *p, const cmir_archive *archive, const cmir_record *record,
             cmir_error *err)
{
    const cmir_preview *preview = &p->view.preview;
    cmir_stack *stack = &p->info.stack;
    cmir_status st;

    if (!is_of_archive(archive, record))
        return FAIL(err, CMIR_ENOTFOUND, "%s: the archive keeps no preview of it",
                    record->info.volume_id);
    if ((st = cmir_preview_view_open(archive->store, record->info.volume_id, &p->view, err)) !=
            CMIR_OK ||
        (st = cmir_record_stack(record, p->plane, stack, err)) != CMIR_OK)
        return st;
    if (p->plane != archive->info.plane || preview->n_slices != stack->n_slices ||
        preview->rows > stack->rows || preview->cols > stack->cols)
        return FAIL(err, CMIR_ECORRUPT, "%s: the preview is of another volume",
                    record->info.volume_id);
    cmir_info_frame(&record->info, p->plane, p->frame);
    const double down = (double)stack->rows / preview->rows,
                 across = (double)stack->cols / preview->cols;
    for (unsigned i = 0; i < 3; i++) {
        p->frame[i][3] += p->frame[i][0] * (across - 1) / 2 + p->frame[i][1] * (down - 1) / 2;
        p->frame[i][0] *= across;
        p->frame[i][1] *= down;
    }
    stack->row_spacing_mm *= down;
    stack->col_spacing_mm *= across;
    stack->rows = preview->rows;
    stack->cols = preview->cols;
    p->info.from = CMIR_PIXELS_PREVIEW;
    p->info.has_hu = record->info.has_hu;
    p->info.value_low = record->info.value_low;
    p->info.value_high = record->info.value_high;
    set_window(&p->info);
    return CMIR_OK;
}

static cmir_status
new_pixels(const char *name, cmir_plane plane, cmir_pixels **out, cmir_error *err)
{
    cmir_pixels *p = cmir_alloc_zeroed(1, sizeof *p);

    if (p != NULL && (p->name = cmir_strdup(name)) == NULL) {
        free(p);
        p = NULL;
    }
    if (p == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", name);
    p->plane = plane;
    p->info.problem = p->problem.msg;
    *out = p;
    return CMIR_OK;
}

cmir_status
cmir_pixels_open(const cmir_archive *archive, const cmir_record *record, cmir_plane plane,
                 const cmir_pixels_options *options, cmir_pixels **out, cmir_error *err)
{
    const cmir_pixels_options defaults = {.struct_nbytes = sizeof defaults};
    const cmir_pixels_options *o = options == NULL ? &defaults : options;
    cmir_error second = {0};
    cmir_pixels *p;
    cmir_status st;

    *out = NULL;
    if (o->struct_nbytes != sizeof *o)
        return FAIL(err, CMIR_EINVAL, "pixels options: struct_nbytes is not that of this library");
    if (!cmir_is_plane(plane))
        return FAIL(err, CMIR_EINVAL, "%s: no plane %d", record->info.volume_id, (int)plane);
    if ((st = new_pixels(record->info.volume_id, plane, &p, err)) != CMIR_OK)
        return st;
    if (o->from == CMIR_PIXELS_PREVIEW)
        st = open_preview(p, archive, record, &p->problem);
    else if ((st = open_source(p, record, o->max_nbytes, &p->problem)) != CMIR_OK) {
        cmir_volume_close(p->own);
        p->own = NULL;
        p->info.nbytes = 0;
        if (o->from == CMIR_PIXELS_ANY && open_preview(p, archive, record, &second) == CMIR_OK)
            st = CMIR_OK;
    }
    if (st != CMIR_OK) {
        st = FAIL_AT(err, st, p->problem.offset, "%s", p->problem.msg);
        cmir_pixels_close(p);
        return st;
    }
    *out = p;
    return CMIR_OK;
}

cmir_status
cmir_pixels_of_volume(const cmir_volume *volume, cmir_plane plane, cmir_pixels **out,
                      cmir_error *err)
{
    cmir_pixels *p;
    cmir_status st = new_pixels(cmir_volume_get_info(volume)->volume_id, plane, &p, err);

    *out = NULL;
    if (st != CMIR_OK)
        return st;
    if ((st = use_volume(p, volume, err)) != CMIR_OK) {
        cmir_pixels_close(p);
        return st;
    }
    *out = p;
    return CMIR_OK;
}

void
cmir_pixels_close(cmir_pixels *pixels)
{
    if (pixels == NULL)
        return;
    cmir_volume_close(pixels->own);
    cmir_preview_view_close(&pixels->view);
    free(pixels->name);
    free(pixels);
}

const cmir_pixels_info *
cmir_pixels_get_info(const cmir_pixels *pixels)
{
    return &pixels->info;
}

cmir_status
cmir_pixels_slice(const cmir_pixels *p, uint32_t index, float *out, cmir_error *err)
{
    return p->volume != NULL ? cmir_volume_slice(p->volume, p->plane, index, out, err)
                             : cmir_preview_slice(&p->view.preview, index, p->name, out, err);
}

static cmir_status
take_scaled(const cmir_pixels *p, uint32_t index, uint32_t width, uint32_t height, float *out,
            cmir_error *err)
{
    const cmir_stack *stack = &p->info.stack;
    float *whole = cmir_alloc((size_t)stack->rows * stack->cols, sizeof *whole);
    cmir_status st = whole == NULL
                         ? FAIL(err, CMIR_ENOMEM, "%s: no memory for slice %u", p->name, index)
                         : cmir_pixels_slice(p, index, whole, err);

    if (st == CMIR_OK)
        st = cmir_picture_scale(whole, stack->rows, stack->cols, width, height, out, err);
    free(whole);
    return st;
}

cmir_status
cmir_pixels_png(const cmir_pixels *p, uint32_t index, const cmir_window *window, uint32_t side,
                void **png, size_t *nbytes, cmir_error *err)
{
    uint32_t width, height;
    cmir_buf out = {0};
    cmir_status st;

    *png = NULL;
    *nbytes = 0;
    if (side < 1 || side > CMIR_MAX_SIDE)
        return FAIL(err, CMIR_EINVAL, "side: %u, not 1 to %u", side, CMIR_MAX_SIDE);
    if (window != NULL &&
        !(window->width > 0 && isfinite(window->width) && isfinite(window->centre)))
        return FAIL(err, CMIR_EINVAL, "window: a width above 0 is wanted");
    cmir_picture_fit(&p->info.stack, side, &width, &height);
    float *values = cmir_alloc((size_t)width * height, sizeof *values);
    if (values == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for slice %u", p->name, index);
    if ((st = take_scaled(p, index, width, height, values, err)) == CMIR_OK)
        st = cmir_picture_png(values, width, height, window == NULL ? &p->info.window : window,
                              &out, err);
    if (st == CMIR_OK && out.failed)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory for slice %u", p->name, index);
    free(values);
    if (st != CMIR_OK) {
        free(out.data);
        return st;
    }
    *png = out.data;
    *nbytes = out.nbytes;
    return CMIR_OK;
}

/* Values of a slice as int16. */
static void
round_values(const cmir_pixels_info *info, const float *values, size_t n, int16_t *out)
{
    const float width = (float)(info->value_high - info->value_low);
    const float gain = info->has_hu ? 1.0f : width > 0 ? 4095 / width : 0.0f;
    const float low = info->has_hu ? 0.0f : (float)info->value_low;

    for (size_t i = 0; i < n; i++)
        out[i] = (int16_t)lrintf(fminf(fmaxf((values[i] - low) * gain, INT16_MIN), INT16_MAX));
}

cmir_status
cmir_pixels_nifti_write(const cmir_pixels *p, uint32_t side, uint32_t max_slices, const char *path,
                        cmir_error *err)
{
    const cmir_stack *stack = &p->info.stack;
    cmir_status st = CMIR_OK;

    if (side < 1 || max_slices < 1)
        return FAIL(err, CMIR_EINVAL, "%s: at least one pixel and one slice", path);
    const uint32_t longest = stack->rows > stack->cols ? stack->rows : stack->cols;
    const double shrink = longest > side ? (double)longest / side : 1;
    const uint32_t step = (stack->n_slices + max_slices - 1) / max_slices;
    const uint32_t dims[3] = {(uint32_t)fmax(1, round(stack->cols / shrink)),
                              (uint32_t)fmax(1, round(stack->rows / shrink)),
                              (stack->n_slices + step - 1) / step};
    const double across = (double)stack->cols / dims[0], down = (double)stack->rows / dims[1];
    const size_t area = (size_t)dims[0] * dims[1];
    double affine[3][4];
    float *values = cmir_alloc(area, sizeof *values);
    int16_t *voxels = cmir_alloc(area * dims[2], sizeof *voxels);

    for (unsigned i = 0; i < 3; i++) {
        const double *f = p->frame[i];

        affine[i][0] = f[0] * across;
        affine[i][1] = f[1] * down;
        affine[i][2] = f[2] * step;
        affine[i][3] = f[3] + f[0] * (across - 1) / 2 + f[1] * (down - 1) / 2;
    }
    if (values == NULL || voxels == NULL)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory for its voxels", p->name);
    for (uint32_t k = 0; k < dims[2] && st == CMIR_OK; k++)
        if ((st = take_scaled(p, k * step, dims[0], dims[1], values, err)) == CMIR_OK)
            round_values(&p->info, values, area, voxels + k * area);
    if (st == CMIR_OK)
        st = cmir_nifti_write(path, voxels, dims, affine, err);
    free(values);
    free(voxels);
    return st;
}
