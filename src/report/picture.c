/* SPDX-License-Identifier: Apache-2.0 */
/* picture.c: slices of volumes as small pictures.
 *
 * The one idea: a report must come out whole even where a scan has moved or changed since: then the
 * archive's preview is shown, and what goes wrong beyond that becomes a sentence in the picture's
 * place, never a failure. */
#include "report/picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "picture/picture.h"

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
cmir_preset_name(cmir_preset window)
{
    return windows_hu[window].name;
}

void
cmir_source_open(cmir_source *source, const cmir_archive *archive, const cmir_record *record,
                 cmir_plane plane, const cmir_volume *given)
{
    *source = (cmir_source){.record = record, .plane = plane};
    if (given != NULL)
        (void)cmir_pixels_of_volume(given, plane, &source->pixels, &source->problem);
    else
        (void)cmir_pixels_open(archive, record, plane, NULL, &source->pixels, &source->problem);
}

const char *
cmir_source_problem(const cmir_source *source)
{
    if (source->no_paths)
        return "its files cannot be read any more, or have changed";
    return source->pixels != NULL ? cmir_pixels_get_info(source->pixels)->problem
                                  : source->problem.msg;
}

void
cmir_source_close(cmir_source *source)
{
    cmir_pixels_close(source->pixels);
    *source = (cmir_source){0};
}

bool
cmir_source_is_preview(const cmir_source *source)
{
    return source->pixels != NULL &&
           cmir_pixels_get_info(source->pixels)->from == CMIR_PIXELS_PREVIEW;
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

void
cmir_frame_take(cmir_frame *frame, const cmir_source *source, uint32_t slice, uint32_t max_side)
{
    memset(frame, 0, sizeof *frame);
    if (source->pixels == NULL) {
        (void)FAIL(&frame->problem, CMIR_ENOTFOUND, "%s", cmir_source_problem(source));
        return;
    }
    const cmir_pixels_info *info = cmir_pixels_get_info(source->pixels);
    const cmir_stack *stack = &info->stack;
    cmir_picture_fit(stack, max_side < MAX_SIDE ? max_side : MAX_SIDE, &frame->width,
                     &frame->height);
    frame->width_mm = stack->cols * stack->col_spacing_mm;
    frame->height_mm = stack->rows * stack->row_spacing_mm;
    float *whole = cmir_alloc((size_t)stack->rows * stack->cols, sizeof *whole);
    float *values = cmir_alloc((size_t)frame->height * frame->width, sizeof *values);
    if (whole == NULL || values == NULL) {
        (void)FAIL(&frame->problem, CMIR_ENOMEM, "%s: no memory for slice %u",
                   source->record->info.path, slice);
    } else if (cmir_pixels_slice(source->pixels, slice, whole, &frame->problem) == CMIR_OK &&
               cmir_picture_scale(whole, stack->rows, stack->cols, frame->width, frame->height,
                                  values, &frame->problem) == CMIR_OK) {
        frame->values = values;
        values = NULL;
        frame->has_hu = info->has_hu;
        frame->low = (float)info->value_low;
        frame->high = (float)info->value_high;
        if (frame->has_hu)
            measure_content(frame);
    }
    free(whole);
    free(values);
}

void
cmir_frame_free(cmir_frame *frame)
{
    free(frame->values);
    frame->values = NULL;
}

void
cmir_frame_presets(const cmir_frame *frame, cmir_preset windows[2])
{
    windows[0] = frame->has_hu ? CMIR_WINDOW_SOFT : CMIR_WINDOW_RANGE;
    windows[1] = windows[0];
    if (frame->has_hu && frame->lung > 0.10)
        windows[1] = CMIR_WINDOW_LUNG;
    else if (frame->has_hu && frame->bone > 0.12)
        windows[1] = CMIR_WINDOW_BONE;
}

cmir_status
cmir_frame_png(const cmir_frame *frame, cmir_preset preset, cmir_buf *out, cmir_error *err)
{
    const bool range = preset == CMIR_WINDOW_RANGE;
    const double width = (double)frame->high - frame->low;
    const cmir_window window =
        range ? (cmir_window){frame->low + width / 2, width}
              : (cmir_window){windows_hu[preset].centre, windows_hu[preset].width};

    return cmir_picture_png(frame->values, frame->width, frame->height, &window, out, err);
}
