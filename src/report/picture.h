/* SPDX-License-Identifier: Apache-2.0 */
/* picture.h: slices of source files as small pictures.  Called by picture.c. */
#ifndef CMIR_REPORT_PICTURE_H
#define CMIR_REPORT_PICTURE_H

#include <stdbool.h>
#include <stdint.h>

#include <cmir/picture.h>

#include "base/memory.h"

/* What can be seen of a record's volume.  `problem` holds the sentence to show where that is nothing,
 * or why it is not the source. */
typedef struct cmir_source {
    const cmir_record *record;
    cmir_pixels *pixels; /* NULL: see problem */
    cmir_plane plane;
    cmir_error problem;
    bool no_paths;       /* set by the caller: the sentence must not say where files lie */
} cmir_source;

/* Opens the volume of `record` at its path, or the preview that `archive` (NULL: none) keeps of it;
 * with `given` not NULL that volume is used.  Always leaves a source that can be asked for frames and
 * must be closed. */
void cmir_source_open(cmir_source *source, const cmir_archive *archive, const cmir_record *record,
                      cmir_plane plane, const cmir_volume *given);
void cmir_source_close(cmir_source *source);
/* Why it is not the source, or nothing. */
const char *cmir_source_problem(const cmir_source *source);
bool cmir_source_is_preview(const cmir_source *source);

/* How grey values are made. */
typedef enum cmir_preset {
    CMIR_WINDOW_SOFT,
    CMIR_WINDOW_LUNG,
    CMIR_WINDOW_BONE,
    CMIR_WINDOW_RANGE
} cmir_preset;
const char *cmir_preset_name(cmir_preset window);

/* A slice averaged down so that its pixels are square in millimetres and no side is longer than
 * asked for, nor than 384. */
typedef struct cmir_frame {
    float *values; /* [height][width]; NULL: no picture, `problem` says why */
    uint32_t width, height;
    double width_mm, height_mm;
    bool has_hu;
    float low, high;        /* robust range of the volume's values */
    double lung, bone;      /* HU: shares of the body that are lung, that are bone */
    cmir_error problem;
} cmir_frame;

void cmir_frame_take(cmir_frame *frame, const cmir_source *source, uint32_t slice,
                     uint32_t max_side);
void cmir_frame_free(cmir_frame *frame);

/* The window that suits the frame first, and a second that shows what the first cannot; equal
 * if one is enough. */
void cmir_frame_presets(const cmir_frame *frame, cmir_preset windows[2]);

/* Appends `frame` as PNG. */
cmir_status cmir_frame_png(const cmir_frame *frame, cmir_preset preset, cmir_buf *out,
                           cmir_error *err);

#endif
