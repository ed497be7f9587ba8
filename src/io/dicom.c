/* SPDX-License-Identifier: Apache-2.0 */
/* dicom.c: a volume made of the files of one DICOM series; called by scan.c.
 *
 * Voxels keep their stored type, one type for all slices, with slope and intercept per slice.
 * Compressed frames are decoded by several threads; slices are reported in order. */
#include "io/dicom.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "volume/volume_internal.h"

#define MAX_DECODERS 16u

/* What loading needs; independent of the scan that found the files. */
struct dicom_state {
    cmir_dicom_file *files; /* no frames */
    size_t n_files;
    struct {
        uint32_t file, frame;
    } *slices; /* [dims[2]] */
};

static void
free_state(void *state)
{
    struct dicom_state *s = state;

    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n_files; i++)
        cmir_dicom_file_clear(&s->files[i]);
    free(s->files);
    free(s->slices);
    free(s);
}

/* (x ^ sign) - sign extends the sign of a word whose upper bits are 0.  Blocks of a fixed size are
 * what compilers vectorise at every level of optimisation; a shift, which widens them, is rare. */
#define DEFINE_UNPACK(name, word)                                                                  \
    static void name(word *words, size_t n, uint32_t shift, uint32_t mask, uint32_t sign)          \
    {                                                                                              \
        const word m = (word)mask, s = (word)sign;                                                 \
        size_t i = 0;                                                                              \
        for (size_t at = 0; shift > 0 && at < n; at++)                                             \
            words[at] = (word)(words[at] >> shift);                                                \
        for (; i + 16 <= n; i += 16)                                                               \
            for (size_t u = 0; u < 16; u++)                                                        \
                words[i + u] = (word)(((words[i + u] & m) ^ s) - s);                               \
        for (; i < n; i++)                                                                         \
            words[i] = (word)(((words[i] & m) ^ s) - s);                                           \
    }
DEFINE_UNPACK(unpack_8, uint8_t)
DEFINE_UNPACK(unpack_16, uint16_t)
DEFINE_UNPACK(unpack_32, uint32_t)

void
cmir_dicom_unpack(const cmir_dicom_file *file, void *buffer, size_t n)
{
    const uint32_t bits = file->bits_stored, shift = file->high_bit + 1 - bits;
    const uint32_t mask = bits == 32 ? UINT32_MAX : (UINT32_C(1) << bits) - 1;
    const uint32_t sign = file->is_signed ? UINT32_C(1) << (bits - 1) : 0;

    if (bits == file->bits_allocated)
        return;
    if (file->bits_allocated == 8)
        unpack_8(buffer, n, shift, mask, sign);
    else if (file->bits_allocated == 16)
        unpack_16(buffer, n, shift, mask, sign);
    else
        unpack_32(buffer, n, shift, mask, sign);
}

/* The file that a thread decodes at the moment; opened when it is needed. */
struct opened {
    const cmir_dicom_file *file;
    cmir_dicom_pixels *pixels;
};

static cmir_status
decode_frame(struct opened *opened, const cmir_dicom_file *file, uint32_t frame, void *buffer,
             size_t nbytes, cmir_error *err)
{
    if (opened->file != file || opened->pixels == NULL) {
        cmir_dicom_pixels_close(opened->pixels);
        opened->file = file;
        const cmir_status st = cmir_dicom_pixels_open(file, &opened->pixels, err);
        if (st != CMIR_OK)
            return st;
    }
    return cmir_dicom_pixels_frame(opened->pixels, frame, buffer, nbytes, err);
}

/* One frame as numbers of the file's own type. */
static cmir_status
read_frame(struct opened *opened, const cmir_dicom_file *file, uint32_t frame, void *buffer,
           cmir_error *err)
{
    const size_t n = (size_t)file->rows * file->cols, nbytes = n * (file->bits_allocated / 8);
    bool done;
    cmir_status st = cmir_dicom_native_frame(file, frame, buffer, nbytes, &done, err);

    if (st == CMIR_OK && !done)
        st = decode_frame(opened, file, frame, buffer, nbytes, err);
    if (st == CMIR_OK)
        cmir_dicom_unpack(file, buffer, n);
    return st;
}

cmir_status
cmir_dicom_same_pixels(const cmir_dicom_slice *a, const cmir_dicom_slice *b, bool *same,
                       cmir_error *err)
{
    const cmir_dicom_slice *slices[2] = {a, b};
    const size_t n = (size_t)a->file->rows * a->file->cols, size = a->file->bits_allocated / 8;
    void *buffer[2] = {NULL, NULL};
    cmir_status st = CMIR_OK;

    *same = false;
    if (b->file->bits_allocated != a->file->bits_allocated ||
        b->file->is_signed != a->file->is_signed)
        return CMIR_OK;
    for (int i = 0; i < 2 && st == CMIR_OK; i++) {
        struct opened opened = {0};
        buffer[i] = cmir_alloc(n, size);
        if (buffer[i] == NULL)
            st = FAIL(err, CMIR_ENOMEM, "no memory to compare slices");
        else
            st = read_frame(&opened, slices[i]->file, slices[i]->frame, buffer[i], err);
        cmir_dicom_pixels_close(opened.pixels);
    }
    if (st == CMIR_OK)
        *same = memcmp(buffer[0], buffer[1], n * size) == 0;
    free(buffer[0]);
    free(buffer[1]);
    return st;
}

/* Reads slice k, widening where the series mixes types. */
static cmir_status
load_slice(const cmir_volume *volume, const struct dicom_state *s, uint32_t k,
           struct opened *opened, uint8_t *out, cmir_error *err)
{
    const cmir_dicom_file *file = &s->files[s->slices[k].file];
    const size_t n = (size_t)file->rows * file->cols, size = file->bits_allocated / 8;
    const size_t width = cmir_voxel_nbytes(volume->type);
    cmir_status st;

    if (size == width)
        return read_frame(opened, file, s->slices[k].frame, out, err);
    void *buffer = cmir_alloc(n, size);
    if (buffer == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a slice of %s", cmir_shown_path(file->path));
    st = read_frame(opened, file, s->slices[k].frame, buffer, err);
    for (size_t i = 0; st == CMIR_OK && i < n; i++) {
        int32_t value;
        if (size == 1)
            value = file->is_signed ? ((int8_t *)buffer)[i] : ((uint8_t *)buffer)[i];
        else
            value = file->is_signed ? ((int16_t *)buffer)[i] : ((uint16_t *)buffer)[i];
        memcpy(out + i * width, &value, sizeof value);
    }
    free(buffer);
    return st;
}

/* Threads take slices in order; thread 0 reports how far they have got without a hole. */
struct loading {
    cmir_volume *volume;
    const struct dicom_state *state;
    size_t slice_nbytes;
    atomic_uint next;
    atomic_bool failed;
    atomic_bool *done; /* [dims[2]] */
    uint32_t n_told;   /* thread 0 only */
    pthread_mutex_t lock;
    cmir_status status; /* of the first slice that failed, under the lock */
    uint32_t failed_slice;
    cmir_error error;
};

static void
report_done(struct loading *l)
{
    const uint32_t n = l->volume->info.dims[2];
    uint32_t n_done = l->n_told;

    while (n_done < n && atomic_load_explicit(&l->done[n_done], memory_order_acquire))
        n_done++;
    if (n_done > l->n_told)
        cmir_volume_slices_done(l->volume, n_done);
    l->n_told = n_done;
}

static void
note_failure(struct loading *l, uint32_t k, cmir_status st, const cmir_error *error)
{
    (void)pthread_mutex_lock(&l->lock);
    if (l->status == CMIR_OK || k < l->failed_slice) {
        l->status = st;
        l->failed_slice = k;
        l->error = *error;
    }
    (void)pthread_mutex_unlock(&l->lock);
    atomic_store(&l->failed, true);
}

static void
load_slices(void *ctx, uint32_t thread)
{
    struct loading *l = ctx;
    const struct dicom_state *s = l->state;
    struct opened opened = {0};
    uint32_t k;

    while (!atomic_load(&l->failed) &&
           (k = atomic_fetch_add(&l->next, 1)) < l->volume->info.dims[2]) {
        cmir_error error = {0};
        const cmir_status st =
            load_slice(l->volume, s, k, &opened, l->volume->voxels + l->slice_nbytes * k, &error);
        if (st != CMIR_OK)
            note_failure(l, k, st, &error);
        else
            atomic_store_explicit(&l->done[k], true, memory_order_release);
        if (thread == 0)
            report_done(l);
    }
    cmir_dicom_pixels_close(opened.pixels);
}

static cmir_status
load(cmir_volume *volume, void *state, cmir_error *err)
{
    const struct dicom_state *s = state;
    const uint32_t n = volume->info.dims[2];
    const uint32_t n_cpus = cmir_cpu_count();
    uint32_t n_threads = 1;
    struct loading l = {.volume = volume, .state = s};

    l.slice_nbytes =
        (size_t)volume->info.dims[0] * volume->info.dims[1] * cmir_voxel_nbytes(volume->type);
    l.done = cmir_alloc_zeroed(n, sizeof *l.done);
    if (l.done == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %u slices", n);
    if (pthread_mutex_init(&l.lock, NULL) != 0) {
        free(l.done);
        return FAIL(err, CMIR_ENOMEM, "no memory for a lock");
    }
    if (s->files[0].syntax != CMIR_DICOM_NATIVE)
        n_threads = n_cpus < MAX_DECODERS ? n_cpus : MAX_DECODERS;
    cmir_parallel(n_threads < n ? n_threads : n, load_slices, &l);
    if (l.status == CMIR_OK)
        report_done(&l);
    else if (err != NULL)
        *err = l.error;
    (void)pthread_mutex_destroy(&l.lock);
    free(l.done);
    return l.status;
}

static cmir_status
read_slice(const cmir_volume *volume, const void *state, uint32_t k, uint8_t *out, cmir_error *err)
{
    struct opened opened = {0};
    const cmir_status st = load_slice(volume, state, k, &opened, out, err);

    cmir_dicom_pixels_close(opened.pixels);
    return st;
}

static const cmir_volume_reader dicom_reader = {load, free_state, read_slice};

/* Uncompressed slices are copied from their files; others share a parse of theirs. */
static bool
is_apart(const struct dicom_state *s, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++)
        if (s->files[s->slices[k].file].native.offset == 0)
            return false;
    return true;
}

/* One type that holds every slice exactly. */
static cmir_status
choose_type(const cmir_dicom_series *series, cmir_volume *volume, cmir_error *err)
{
    static const cmir_voxel_type types[3][2] = {{CMIR_VOXEL_U8, CMIR_VOXEL_I8},
                                                {CMIR_VOXEL_U16, CMIR_VOXEL_I16},
                                                {CMIR_VOXEL_U32, CMIR_VOXEL_I32}};
    const cmir_dicom_file *first = NULL;

    for (size_t i = 0; i < series->n_files; i++) {
        const cmir_dicom_file *file = &series->files[i];
        if (file->is_scout)
            continue;
        if (file->syntax == CMIR_DICOM_UNSUPPORTED)
            return FAIL(err, CMIR_EUNSUPPORTED, "%s: transfer syntax %s is not supported",
                        cmir_shown_path(file->path), file->syntax_uid);
        if (first == NULL) {
            first = file;
            volume->type = types[first->bits_allocated / 16][first->is_signed];
        } else if (file->bits_allocated != first->bits_allocated ||
                   file->is_signed != first->is_signed) {
            if (file->bits_allocated == 32 || first->bits_allocated == 32)
                return FAIL(err, CMIR_EUNSUPPORTED, "mixed pixel types in one series: %s and %s",
                            cmir_shown_path(first->path), cmir_shown_path(file->path));
            volume->type = CMIR_VOXEL_I32;
        }
    }
    return CMIR_OK;
}

/* Scaling and name of each slice. */
static cmir_status
fill_slices(cmir_volume *volume, const cmir_dicom_slice *slices, cmir_error *err)
{
    const uint32_t n = volume->info.dims[2];
    const bool has_hu = strcmp(volume->info.modality, "CT") == 0;

    volume->slope = cmir_alloc(n, sizeof *volume->slope);
    volume->intercept = cmir_alloc(n, sizeof *volume->intercept);
    volume->slice_uids = cmir_alloc_zeroed(n, sizeof *volume->slice_uids);
    if (volume->slope == NULL || volume->intercept == NULL || volume->slice_uids == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %u slices", n);
    for (uint32_t k = 0; k < n; k++) {
        const cmir_dicom_file *file = slices[k].file;
        const cmir_dicom_frame *f = &file->frames[slices[k].frame];
        double slope = f->slope, intercept = f->intercept;
        if (file->is_monochrome1 && !has_hu) {
            /* low + high - x of the stored range, so that bright stays bright */
            const double range = ldexp(1, (int)file->bits_stored);
            intercept += slope * (file->is_signed ? -1 : range - 1);
            slope = -slope;
        }
        volume->slope[k] = slope;
        volume->intercept[k] = intercept;
        if ((volume->slice_uids[k] = cmir_strdup(file->sop_uid)) == NULL)
            return FAIL(err, CMIR_ENOMEM, "no memory for %u slices", n);
    }
    return CMIR_OK;
}

/* What is odd about the values of a series. */
static void
warn_values(cmir_volume *volume, const cmir_dicom_series *series, const cmir_dicom_slice *slices)
{
    const cmir_dicom_file *file = slices[0].file;
    const cmir_dicom_frame *f = &file->frames[slices[0].frame];
    const char *shown = cmir_shown_path(file->path);
    const bool has_hu = strcmp(volume->info.modality, "CT") == 0;
    size_t n_scouts = 0, scout = 0;

    if (series->text.series_uid[0] == '\0')
        cmir_volume_warn(volume,
                         "no SeriesInstanceUID, so the files of one folder are taken as "
                         "one series (first slice %s)",
                         shown);
    if (has_hu && !f->has_rescale)
        cmir_volume_warn(volume,
                         "no RescaleSlope and RescaleIntercept in a CT, stored values are "
                         "taken as HU (first slice %s)",
                         shown);
    else if (has_hu && !f->is_hu)
        cmir_volume_warn(volume,
                         "RescaleType of a CT is not HU, values are taken as HU "
                         "(first slice %s)",
                         shown);
    if (file->is_monochrome1)
        cmir_volume_warn(volume, "MONOCHROME1, %s (first slice %s)",
                         has_hu ? "not inverted because HU do not depend on display"
                                : "inverted within the stored range",
                         shown);
    for (size_t i = 0; i < series->n_files; i++)
        if (series->files[i].is_scout && n_scouts++ == 0)
            scout = i;
    if (n_scouts > 0)
        cmir_volume_warn(volume, "%zu scout image%s left out (first %s)", n_scouts,
                         n_scouts == 1 ? "" : "s", cmir_shown_path(series->files[scout].path));
}

static cmir_status
copy_state(const cmir_dicom_series *series, const cmir_dicom_slice *slices, uint32_t n,
           struct dicom_state **out, cmir_error *err)
{
    struct dicom_state *s = cmir_alloc_zeroed(1, sizeof *s);

    *out = s;
    if (s == NULL || (s->files = cmir_alloc_zeroed(series->n_files, sizeof *s->files)) == NULL ||
        (s->slices = cmir_alloc(n, sizeof *s->slices)) == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu files", series->n_files);
    for (; s->n_files < series->n_files; s->n_files++) {
        cmir_dicom_file *file = &s->files[s->n_files];
        *file = series->files[s->n_files];
        file->frames = NULL;
        file->sop_uid = NULL;
        if ((file->path = cmir_strdup(file->path)) == NULL)
            return FAIL(err, CMIR_ENOMEM, "no memory for %zu files", series->n_files);
    }
    for (uint32_t k = 0; k < n; k++) {
        s->slices[k].file = (uint32_t)(slices[k].file - series->files);
        s->slices[k].frame = slices[k].frame;
    }
    return CMIR_OK;
}

static bool
fill_info(cmir_volume *volume, const cmir_dicom_series *series)
{
    const cmir_dicom_text *t = &series->text;
    cmir_volume_info *info = &volume->info;
    char *place = cmir_dicom_place(series);

    const bool ok = place != NULL && cmir_volume_set(&info->path, place) &&
                    cmir_volume_set(&info->volume_id, t->series_uid) &&
                    cmir_volume_set(&info->format, "DICOM") &&
                    cmir_volume_set(&info->modality, t->modality) &&
                    cmir_volume_set(&info->series_uid, t->series_uid) &&
                    cmir_volume_set(&info->study_uid, t->study_uid) &&
                    cmir_volume_set(&info->patient_id, t->patient_id) &&
                    cmir_volume_set(&info->patient_sex, t->patient_sex) &&
                    cmir_volume_set(&info->study_date, t->study_date) &&
                    cmir_volume_set(&info->body_part, t->body_part) &&
                    cmir_volume_set(&info->manufacturer, t->manufacturer) &&
                    cmir_volume_set(&info->description, t->description);
    free(place);
    info->patient_age = t->patient_age;
    return ok;
}

cmir_status
cmir_dicom_open(const cmir_dicom_series *series, cmir_volume **out, cmir_error *err)
{
    cmir_volume *volume = cmir_volume_new();
    cmir_dicom_slice *slices = NULL;
    struct dicom_state *state = NULL;
    uint64_t nbytes;
    cmir_status st;

    *out = NULL;
    if (volume == NULL || !fill_info(volume, series))
        st = FAIL(err, CMIR_ENOMEM, "no memory for a volume");
    else if ((st = choose_type(series, volume, err)) == CMIR_OK &&
             (st = cmir_dicom_order(series, volume, &slices, err)) == CMIR_OK &&
             (st = cmir_volume_nbytes(volume, &nbytes, err)) == CMIR_OK &&
             (st = fill_slices(volume, slices, err)) == CMIR_OK) {
        warn_values(volume, series, slices);
        st = copy_state(series, slices, volume->info.dims[2], &state, err);
    }
    free(slices);
    if (st != CMIR_OK) {
        free_state(state);
        cmir_volume_close(volume);
        return st;
    }
    volume->reader = &dicom_reader;
    volume->reader_state = state;
    volume->slices_apart = is_apart(state, volume->info.dims[2]);
    *out = volume;
    return CMIR_OK;
}
