/* SPDX-License-Identifier: Apache-2.0 */
/* picture.c: slices of source files as small pictures.
 *
 * The one idea: a report must come out whole even where a scan has moved or changed since, so
 * what goes wrong here becomes a sentence in the picture's place, never a failure. */
#include "report/picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "report/png.h"

/* Slices are where they were if they lie within this distance. */
#define SAME_PLACE_MM 0.05

#define BODY_HU (-250.0f) /* denser: fat, muscle, bone; also the table */

enum { MAX_SIDE = 384 };

static const struct {
    const char *name;
    float centre, width;
} windows_hu[] = {
    [CMIR_WINDOW_SOFT] = {"soft tissue, 40/400 HU", 40, 400},
    [CMIR_WINDOW_LUNG] = {"lung, -600/1500 HU", -600, 1500},
    [CMIR_WINDOW_BONE] = {"bone, 500/2000 HU", 500, 2000},
    [CMIR_WINDOW_RANGE] = {"percentiles 0.5 to 99.5 of the volume", 0, 0},
};

const char *
cmir_window_name(cmir_window window)
{
    return windows_hu[window].name;
}

/* The volume of the record among those at its path: the one of its id, or the only one there. */
static cmir_status
open_volume(cmir_source *s)
{
    const cmir_volume_info *info = &s->record->info;
    const bool states_modality = strcmp(info->format, "DICOM") == 0;
    const cmir_scan_options options = {
        .struct_nbytes = sizeof options,
        .min_slices = 1,
        .modality = states_modality || info->modality[0] == '\0' ? NULL : info->modality};
    cmir_scan *scan;
    cmir_status st = cmir_scan_open(&info->path, 1, &options, &scan, &s->problem);

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
        st = cmir_volume_open(scan, found, &s->own, &s->problem);
    else if (n == 1 && n_volumes == 0)
        st = FAIL(&s->problem, CMIR_ENOTFOUND, "%s", cmir_scan_get(scan, 0)->reason.msg);
    else
        st = FAIL(&s->problem, CMIR_ENOTFOUND, "%s: volume %s is not there any more", info->path,
                  info->volume_id);
    cmir_scan_close(scan);
    return st;
}

/* Whether the volume still has the slices that were indexed. */
static cmir_status
check_slices(cmir_source *s, cmir_volume *volume)
{
    const cmir_record *r = s->record;
    cmir_status st = cmir_volume_stack(volume, s->plane, &s->stack, &s->problem);

    if (st != CMIR_OK)
        return st;
    if (s->stack.n_slices != r->n_slices)
        return FAIL(&s->problem, CMIR_EMISMATCH, "%s has %u slices now, %u when it was indexed",
                    r->info.path, s->stack.n_slices, r->n_slices);
    for (uint32_t i = 0; i < r->n_slices; i++) {
        const double now = cmir_volume_slice_mm(volume, s->plane, i);

        if (fabs(now - r->slice_mm[i]) > SAME_PLACE_MM ||
            strcmp(cmir_volume_slice_uid(volume, s->plane, i), r->slice_uids[i]) != 0)
            return FAIL(&s->problem, CMIR_EMISMATCH, "%s: slice %u is not the one that was indexed",
                        r->info.path, i);
    }
    return CMIR_OK;
}

void
cmir_source_open(cmir_source *source, const cmir_record *record, cmir_plane plane,
                 cmir_volume *given)
{
    memset(source, 0, sizeof *source);
    source->record = record;
    source->plane = plane;
    if (given == NULL && (open_volume(source) != CMIR_OK ||
                          cmir_volume_load(source->own, NULL, NULL, &source->problem) != CMIR_OK))
        return;
    if (check_slices(source, given != NULL ? given : source->own) == CMIR_OK)
        source->volume = given != NULL ? given : source->own;
}

void
cmir_source_close(cmir_source *source)
{
    cmir_volume_close(source->own);
    memset(source, 0, sizeof *source);
}

/* Averages n_in equal cells, `stride_in` apart, into n_out equal cells, `stride_out` apart; a cell
 * on a border counts by the share of it that lies inside. */
static void
average_line(const float *in, uint32_t n_in, size_t stride_in, float *out, uint32_t n_out,
             size_t stride_out)
{
    const double step = (double)n_in / n_out;

    for (uint32_t o = 0; o < n_out; o++) {
        const double from = o * step, to = fmin((o + 1) * step, n_in);
        double sum = 0.0;

        for (uint32_t i = (uint32_t)from; i < n_in && i < to; i++)
            sum += in[i * stride_in] * (fmin(i + 1.0, to) - fmax(i, from));
        out[o * stride_out] = (float)(sum / (to - from));
    }
}

/* The first and the last of n values, `stride` apart, that are body; first > last: none. */
struct span {
    uint32_t first, last;
};

static struct span
body_span(const float *values, uint32_t n, size_t stride)
{
    struct span span = {n, 0};

    for (uint32_t i = 0; i < n; i++)
        if (values[i * stride] > BODY_HU) {
            span.first = span.first < i ? span.first : i;
            span.last = i;
        }
    return span;
}

/* Shares of lung and bone in the body.  Lung lies inside: it has body on all four sides, which
 * cushions and clothes round the patient have not. */
static void
measure_content(cmir_frame *f)
{
    struct span columns[MAX_SIDE];
    double lung = 0, bone = 0, body = 0;

    for (uint32_t c = 0; c < f->width; c++)
        columns[c] = body_span(f->values + c, f->height, f->width);
    for (uint32_t r = 0; r < f->height; r++) {
        const float *row = f->values + (size_t)r * f->width;
        const struct span span = body_span(row, f->width, 1);

        for (uint32_t c = span.first; c <= span.last && c < f->width; c++) {
            body += row[c] > BODY_HU;
            bone += row[c] > 300;
            lung += row[c] > -930 && row[c] < -550 && r > columns[c].first && r < columns[c].last;
        }
    }
    if (body > 0) {
        f->lung = lung / (body + lung);
        f->bone = bone / (body + lung);
    }
}

/* The size of a frame: pixels square in millimetres, never finer than the slice's own. */
static void
choose_size(cmir_frame *f, const cmir_stack *stack, uint32_t max_side)
{
    f->width_mm = stack->cols * stack->col_spacing_mm;
    f->height_mm = stack->rows * stack->row_spacing_mm;
    const double fine = fmin(stack->col_spacing_mm, stack->row_spacing_mm);
    const double pixel = fmax(fmax(f->width_mm, f->height_mm) / max_side, fine);
    const double width = floor(f->width_mm / pixel + 0.5),
                 height = floor(f->height_mm / pixel + 0.5);
    f->width = width < 1 ? 1 : width > max_side ? max_side : (uint32_t)width;
    f->height = height < 1 ? 1 : height > max_side ? max_side : (uint32_t)height;
}

void
cmir_frame_take(cmir_frame *frame, const cmir_source *source, uint32_t slice, uint32_t max_side)
{
    memset(frame, 0, sizeof *frame);
    max_side = max_side < MAX_SIDE ? max_side : MAX_SIDE;
    if (source->volume == NULL) {
        frame->problem = source->problem;
        return;
    }
    const cmir_stack *stack = &source->stack;
    const cmir_volume_info *info = cmir_volume_get_info(source->volume);
    choose_size(frame, stack, max_side);
    uint64_t n = 0;
    float *whole = cmir_mul_u64(stack->rows, stack->cols, &n) ? cmir_alloc(n, sizeof *whole) : NULL;
    float *narrow = cmir_alloc((size_t)stack->rows * frame->width, sizeof *narrow);
    float *values = cmir_alloc((size_t)frame->height * frame->width, sizeof *values);
    if (whole == NULL || narrow == NULL || values == NULL) {
        (void)FAIL(&frame->problem, CMIR_ENOMEM, "%s: no memory for slice %u", info->path, slice);
    } else if (cmir_volume_slice(source->volume, source->plane, slice, whole, &frame->problem) ==
               CMIR_OK) {
        for (uint32_t r = 0; r < stack->rows; r++)
            average_line(whole + (size_t)r * stack->cols, stack->cols, 1,
                         narrow + (size_t)r * frame->width, frame->width, 1);
        for (uint32_t c = 0; c < frame->width; c++)
            average_line(narrow + c, stack->rows, frame->width, values + c, frame->height,
                         frame->width);
        frame->values = values;
        values = NULL;
        frame->has_hu = info->has_hu;
        frame->low = (float)info->value_low;
        frame->high = (float)info->value_high;
        if (frame->has_hu)
            measure_content(frame);
    }
    free(whole);
    free(narrow);
    free(values);
}

void
cmir_frame_free(cmir_frame *frame)
{
    free(frame->values);
    frame->values = NULL;
}

void
cmir_frame_windows(const cmir_frame *frame, cmir_window windows[2])
{
    windows[0] = frame->has_hu ? CMIR_WINDOW_SOFT : CMIR_WINDOW_RANGE;
    windows[1] = windows[0];
    if (frame->has_hu && frame->lung > 0.10)
        windows[1] = CMIR_WINDOW_LUNG;
    else if (frame->has_hu && frame->bone > 0.12)
        windows[1] = CMIR_WINDOW_BONE;
}

cmir_status
cmir_frame_png(const cmir_frame *frame, cmir_window window, cmir_buf *out, cmir_error *err)
{
    const size_t n = (size_t)frame->width * frame->height;
    const bool range = window == CMIR_WINDOW_RANGE;
    const float width = range ? frame->high - frame->low : windows_hu[window].width;
    const float low = range ? frame->low : windows_hu[window].centre - width / 2;
    uint8_t *grey = cmir_alloc(n, 1);

    if (grey == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a picture of %u x %u", frame->width,
                    frame->height);
    for (size_t i = 0; i < n; i++) {
        const float share = width > 0 ? (frame->values[i] - low) / width : 0.0f;

        grey[i] = (uint8_t)(255.0f * fminf(fmaxf(share, 0.0f), 1.0f) + 0.5f);
    }
    const cmir_status st = cmir_png_write(grey, frame->width, frame->height, out, err);
    free(grey);
    return st;
}
