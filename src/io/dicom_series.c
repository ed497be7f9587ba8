/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_series.c: where the slices of a DICOM series lie; called by dicom.c.
 *
 * The one idea: slices are ordered by the projection of ImagePositionPatient on the normal, never
 * by name or number, and whatever is odd about their positions is either refused or reported with
 * the names of files. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/dicom.h"
#include "volume/volume_internal.h"

#define SAME_PLACE_MM 1e-3     /* slices nearer than this lie at one place */
#define MAX_TURN 5e-3          /* of direction cosines within a series */
#define SPACING_TOLERANCE 0.05 /* of the usual distance, before a gap is reported */
#define MAX_TILT_DEGREES 0.2   /* below, positions are rounded */
#define MAX_GAPS_TOLD 10u

struct place_name {
    char text[160];
};

static struct place_name
name_of(const cmir_dicom_slice *s)
{
    struct place_name name;

    if (s->file->n_frames > 1)
        (void)snprintf(name.text, sizeof name.text, "%s frame %u", cmir_shown_path(s->file->path),
                       s->frame + 1);
    else
        (void)snprintf(name.text, sizeof name.text, "%s", cmir_shown_path(s->file->path));
    return name;
}

static const cmir_dicom_frame *
frame_of(const cmir_dicom_slice *s)
{
    return &s->file->frames[s->frame];
}

static double
dot(const double a[3], const double b[3])
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/* Slice normal of one frame, its directions made unit vectors; false if they are no directions. */
static bool
directions(const cmir_dicom_frame *f, double row[3], double col[3], double normal[3])
{
    const double row_length = sqrt(dot(f->row, f->row)), col_length = sqrt(dot(f->col, f->col));

    if (!(fabs(row_length - 1) < 0.01 && fabs(col_length - 1) < 0.01) ||
        fabs(dot(f->row, f->col)) > 0.01)
        return false;
    for (int i = 0; i < 3; i++) {
        row[i] = f->row[i] / row_length;
        col[i] = f->col[i] / col_length;
    }
    for (int i = 0; i < 3; i++) {
        const int a = (i + 1) % 3, b = (i + 2) % 3;
        normal[i] = row[a] * col[b] - row[b] * col[a];
    }
    return true;
}

/* What every slice must have by itself. */
static cmir_status
check_slice(const cmir_dicom_slice *s, cmir_error *err)
{
    const cmir_dicom_frame *f = frame_of(s);
    double row[3], col[3], normal[3];

    if (!f->has_position || !f->has_orientation)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: no %s, so its place in the patient is unknown",
                    name_of(s).text,
                    f->has_position ? "ImageOrientationPatient" : "ImagePositionPatient");
    if (!directions(f, row, col, normal))
        return FAIL(err, CMIR_ECORRUPT,
                    "%s: ImageOrientationPatient holds no two directions at "
                    "right angles",
                    name_of(s).text);
    if (!(f->row_spacing > 0 && f->col_spacing > 0 && f->row_spacing < 1000 &&
          f->col_spacing < 1000))
        return FAIL(err, CMIR_ECORRUPT, "%s: no valid PixelSpacing", name_of(s).text);
    if (!(fabs(f->position[0]) < 1e6 && fabs(f->position[1]) < 1e6 && fabs(f->position[2]) < 1e6))
        return FAIL(err, CMIR_ECORRUPT, "%s: ImagePositionPatient is more than 1 km away",
                    name_of(s).text);
    return CMIR_OK;
}

/* What two slices of one series must have in common. */
static cmir_status
check_alike(const cmir_dicom_slice *a, const cmir_dicom_slice *b, cmir_error *err)
{
    const cmir_dicom_frame *f = frame_of(a), *g = frame_of(b);

    if (a->file->rows != b->file->rows || a->file->cols != b->file->cols)
        return FAIL(err, CMIR_EUNSUPPORTED,
                    "mixed sizes in one series: %s is %u x %u, %s is "
                    "%u x %u",
                    name_of(a).text, a->file->rows, a->file->cols, name_of(b).text, b->file->rows,
                    b->file->cols);
    for (int i = 0; i < 3; i++)
        if (fabs(f->row[i] - g->row[i]) > MAX_TURN || fabs(f->col[i] - g->col[i]) > MAX_TURN)
            return FAIL(err, CMIR_EUNSUPPORTED, "mixed orientations in one series: %s and %s",
                        name_of(a).text, name_of(b).text);
    if (fabs(f->row_spacing / g->row_spacing - 1) > 0.01 ||
        fabs(f->col_spacing / g->col_spacing - 1) > 0.01)
        return FAIL(err, CMIR_EUNSUPPORTED, "mixed pixel spacings in one series: %s and %s",
                    name_of(a).text, name_of(b).text);
    return CMIR_OK;
}

/* By place, then by path and frame, so that the order never depends on how files were found. */
static int
compare_slices(const void *a, const void *b)
{
    const cmir_dicom_slice *s = a, *t = b;

    if (s->along != t->along)
        return s->along < t->along ? -1 : 1;
    const int by_path = strcmp(s->file->path, t->file->path);
    return by_path != 0 ? by_path : (s->frame > t->frame) - (s->frame < t->frame);
}

/* The frames of all files but scouts, in order along the normal of the first. */
static cmir_status
collect(const cmir_dicom_series *series, cmir_dicom_slice *slices, size_t *n_out, cmir_error *err)
{
    double row[3], col[3], normal[3] = {0};
    cmir_status st;
    size_t n = 0;

    for (size_t i = 0; i < series->n_files; i++) {
        const cmir_dicom_file *file = &series->files[i];
        for (uint32_t frame = 0; !file->is_scout && frame < file->n_frames; frame++) {
            cmir_dicom_slice *s = &slices[n];
            *s = (cmir_dicom_slice){file, frame, 0};
            if ((st = check_slice(s, err)) != CMIR_OK ||
                (st = check_alike(&slices[0], s, err)) != CMIR_OK)
                return st;
            if (n++ == 0)
                (void)directions(frame_of(s), row, col, normal);
            s->along = dot(frame_of(s)->position, normal);
        }
    }
    qsort(slices, n, sizeof *slices, compare_slices);
    *n_out = n;
    return CMIR_OK;
}

/* Is b a copy of a, which lies at the same place? */
static cmir_status
is_copy(const cmir_dicom_slice *a, const cmir_dicom_slice *b, bool *copy, cmir_error *err)
{
    const cmir_dicom_frame *f = frame_of(a), *g = frame_of(b);

    *copy = a->file != b->file && a->file->sop_uid[0] != '\0' &&
            strcmp(a->file->sop_uid, b->file->sop_uid) == 0 && a->frame == b->frame;
    if (*copy || f->slope != g->slope || f->intercept != g->intercept)
        return CMIR_OK;
    for (int i = 0; i < 3; i++)
        if (fabs(f->position[i] - g->position[i]) > SAME_PLACE_MM)
            return CMIR_OK;
    return cmir_dicom_same_pixels(a, b, copy, err);
}

/* Leaves one of each set of copies; refuses different slices at one place. */
static cmir_status
drop_copies(cmir_volume *volume, cmir_dicom_slice *slices, size_t *n, cmir_error *err)
{
    size_t kept = 1;

    for (size_t i = 1; i < *n; i++) {
        const cmir_dicom_slice *last = &slices[kept - 1];
        bool copy = false;
        if (slices[i].along - last->along > SAME_PLACE_MM) {
            slices[kept++] = slices[i];
            continue;
        }
        const cmir_status st = is_copy(last, &slices[i], &copy, err);
        if (st != CMIR_OK)
            return st;
        if (!copy)
            return FAIL(err, CMIR_EUNSUPPORTED,
                        "two different slices at one place: %s and %s "
                        "(several phases or echoes in one series?)",
                        name_of(last).text, name_of(&slices[i]).text);
        cmir_volume_warn(volume, "%s is a duplicate of %s and was left out",
                         name_of(&slices[i]).text, name_of(last).text);
    }
    *n = kept;
    return CMIR_OK;
}

static int
compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Distances between neighbours that are not the usual one. */
static cmir_status
warn_gaps(cmir_volume *volume, const cmir_dicom_slice *slices, size_t n, cmir_error *err)
{
    double *gaps = cmir_alloc(n, sizeof *gaps);
    uint32_t n_odd = 0;

    if (gaps == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu slices", n);
    for (size_t k = 1; k < n; k++)
        gaps[k - 1] = slices[k].along - slices[k - 1].along;
    qsort(gaps, n - 1, sizeof *gaps, compare_doubles);
    const double usual = n > 1 ? gaps[(n - 1) / 2] : 0;
    free(gaps);
    for (size_t k = 1; k < n; k++) {
        const double gap = slices[k].along - slices[k - 1].along;
        if (fabs(gap - usual) <= SPACING_TOLERANCE * usual || n_odd++ >= MAX_GAPS_TOLD)
            continue;
        cmir_volume_warn(volume, "%s of %.4g mm (usually %.4g mm) between %s and %s",
                         gap > usual ? "gap" : "short step", gap, usual,
                         name_of(&slices[k - 1]).text, name_of(&slices[k]).text);
    }
    if (n_odd > MAX_GAPS_TOLD)
        cmir_volume_warn(volume, "%u irregular distances between slices in all, first after %s",
                         n_odd, name_of(&slices[0]).text);
    return CMIR_OK;
}

/* Slices shifted against each other: all alike by a tilted gantry, or one by one. */
static void
warn_shear(cmir_volume *volume, const cmir_dicom_slice *slices, size_t n, const double normal[3])
{
    const double *first = frame_of(&slices[0])->position;
    const double *last = frame_of(&slices[n - 1])->position;
    const double height = slices[n - 1].along - slices[0].along;
    const double pi = 3.14159265358979323846;
    double across = 0, step[3];

    if (n < 2)
        return;
    for (int i = 0; i < 3; i++) {
        step[i] = (last[i] - first[i]) / height; /* per mm along the normal */
        across += (step[i] - normal[i]) * (step[i] - normal[i]);
    }
    const double degrees = atan(sqrt(across)) * 180 / pi;
    if (degrees > MAX_TILT_DEGREES)
        cmir_volume_warn(volume,
                         "tilted gantry, %.1f degrees: slices are shifted, not turned "
                         "(first slice %s)",
                         degrees, name_of(&slices[0]).text);
    for (size_t k = 1; k + 1 < n; k++) {
        const double *at = frame_of(&slices[k])->position;
        double off = 0;
        for (int i = 0; i < 3; i++) {
            const double d = at[i] - first[i] - step[i] * (slices[k].along - slices[0].along);
            off += d * d;
        }
        if (sqrt(off) > 1) {
            cmir_volume_warn(volume, "%s lies %.3g mm beside the line of the other slices",
                             name_of(&slices[k]).text, sqrt(off));
            return;
        }
    }
}

/* dims, affine and slice_position of slices in order. */
static cmir_status
place(cmir_volume *volume, const cmir_dicom_slice *slices, size_t n, cmir_error *err)
{
    const cmir_dicom_frame *f = frame_of(&slices[0]), *g = frame_of(&slices[n - 1]);
    double row[3], col[3], normal[3];

    (void)directions(f, row, col, normal);
    volume->info.dims[0] = slices[0].file->cols;
    volume->info.dims[1] = slices[0].file->rows;
    volume->info.dims[2] = (uint32_t)n;
    volume->slice_position = cmir_alloc(n, sizeof *volume->slice_position);
    if (volume->slice_position == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu slices", n);
    for (size_t k = 0; k < n; k++)
        memcpy(volume->slice_position[k], frame_of(&slices[k])->position,
               sizeof volume->slice_position[k]);
    for (int i = 0; i < 3; i++) {
        volume->info.affine[i][0] = row[i] * f->col_spacing;
        volume->info.affine[i][1] = col[i] * f->row_spacing;
        volume->info.affine[i][2] =
            n > 1 ? (g->position[i] - f->position[i]) / (double)(n - 1) : normal[i] * f->thickness;
        volume->info.affine[i][3] = f->position[i];
    }
    warn_shear(volume, slices, n, normal);
    return CMIR_OK;
}

cmir_status
cmir_dicom_order(const cmir_dicom_series *series, cmir_volume *volume, cmir_dicom_slice **out,
                 cmir_error *err)
{
    cmir_dicom_slice *slices = NULL;
    size_t n = 0;
    cmir_status st;

    *out = NULL;
    if (series->n_slices == 0)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: nothing but scouts",
                    cmir_shown_path(series->files[0].path));
    if (series->n_slices > CMIR_MAX_SLICES)
        return FAIL(err, CMIR_ELIMIT, "%s: a series of more than %u slices",
                    cmir_shown_path(series->files[0].path), CMIR_MAX_SLICES);
    slices = cmir_alloc((size_t)series->n_slices, sizeof *slices);
    if (slices == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %llu slices",
                    (unsigned long long)series->n_slices);
    if ((st = collect(series, slices, &n, err)) != CMIR_OK ||
        (st = drop_copies(volume, slices, &n, err)) != CMIR_OK ||
        (st = warn_gaps(volume, slices, n, err)) != CMIR_OK ||
        (st = place(volume, slices, n, err)) != CMIR_OK) {
        free(slices);
        return st;
    }
    *out = slices;
    return CMIR_OK;
}
