/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/picture.h: slices as pictures, from the scan itself or from what an archive keeps of it.
 *
 * A cmir_pixels is a volume that can be looked at: the source's voxels while its files can be read
 * and are unchanged, else the archive's preview.  All of its functions are thread-safe and need the
 * archive no more. */
#ifndef CMIR_PICTURE_H
#define CMIR_PICTURE_H

#include <cmir/archive.h>
#include <cmir/status.h>
#include <cmir/volume.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A range of values as grey: black at centre - width / 2 and below, white at centre + width / 2 and
 * above. */
typedef struct cmir_window {
    double centre, width; /* width > 0 */
} cmir_window;

/* A window that readers know by name; HU. */
typedef struct cmir_window_preset {
    const char *name;
    cmir_window window;
} cmir_window_preset;
/* lung, abdomen, mediastinum, bone, brain, liver; static storage; NULL past the last one. */
CMIR_API const cmir_window_preset *cmir_window_preset_get(size_t index);

typedef struct cmir_pixels cmir_pixels;

typedef enum cmir_pixels_from {
    CMIR_PIXELS_ANY = 0,    /* as an option: the source, else the preview */
    CMIR_PIXELS_SOURCE = 1, /* the scan's own files */
    CMIR_PIXELS_PREVIEW = 2 /* what the archive keeps */
} cmir_pixels_from;

/* Options of opening; zero means default. */
typedef struct cmir_pixels_options {
    size_t struct_nbytes;  /* sizeof (cmir_pixels_options) */
    cmir_pixels_from from;
    uint64_t max_nbytes;   /* of a source's decoded voxels; 0: CMIR_MAX_VOXELS_NBYTES */
} cmir_pixels_options;

typedef struct cmir_pixels_info {
    cmir_pixels_from from;  /* SOURCE or PREVIEW */
    cmir_stack stack;       /* of these pixels: a small preview has fewer and larger ones */
    bool has_hu;
    double value_low, value_high; /* of the volume */
    cmir_window window;     /* that suits it: 40/400 HU, else the range of its values */
    uint64_t nbytes;        /* of memory that it holds */
    const char *problem;    /* why it is not the source; "" where it is, or was not asked for */
} cmir_pixels_info;

/* cmir_pixels_open() opens what can be seen of the volume that `record` describes.  A source is read
 * from record->info.path and must have the slices that it had when it was indexed: number,
 * positions, SOPInstanceUIDs.  The preview is that of `archive` (NULL: none), for a record of its
 * own.  CMIR_ENOTFOUND, CMIR_EMISMATCH and all that reading returns, where there is neither: then
 * err tells why the source is not. */
CMIR_API cmir_status
cmir_pixels_open(const cmir_archive *archive, const cmir_record *record, cmir_plane plane,
                 const cmir_pixels_options *options, cmir_pixels **out, cmir_error *err);

/* cmir_record_source() opens and loads the source alone, as cmir_pixels_open() does: for encoding a part
 * of it.  The caller owns *out. */
CMIR_API cmir_status
cmir_record_source(const cmir_record *record, cmir_plane plane, cmir_volume **out, cmir_error *err);

/* cmir_pixels_open() of a loaded volume, which must outlive it. */
CMIR_API cmir_status
cmir_pixels_of_volume(const cmir_volume *volume, cmir_plane plane, cmir_pixels **out,
                      cmir_error *err);
CMIR_API void cmir_pixels_close(cmir_pixels *pixels); /* NULL is fine */
CMIR_API const cmir_pixels_info *cmir_pixels_get_info(const cmir_pixels *pixels);

/* cmir_pixels_slice() writes slice `index` as rows * cols floats: HU, or the values after the
 * file's own scaling.  Those of a preview are rounded (docs/format.md). */
CMIR_API cmir_status
cmir_pixels_slice(const cmir_pixels *pixels, uint32_t index, float *out, cmir_error *err);

/* cmir_pixels_png() makes an 8-bit grey PNG of slice `index`, oriented as cmir_volume_slice() gives
 * it, its pixels square in millimetres, the longest side at most `side` (1..CMIR_MAX_SIDE) and never
 * longer than the pixels give.  `window` NULL: the one that suits it.  Free *png with cmir_free(). */
CMIR_API cmir_status
cmir_pixels_png(const cmir_pixels *pixels, uint32_t index, const cmir_window *window, uint32_t side,
                void **png, size_t *nbytes, cmir_error *err);

/* cmir_pixels_nifti_write() writes all as NIfTI-1 int16 to `path`, gzipped if that ends in .gz, for
 * viewers: voxels along columns, rows and slices of the plane, in-plane averaged to at most `side`
 * pixels a side, every n-th slice so that at most `max_slices` are left.  HU are rounded; other values
 * are scaled so that the volume's range becomes 0..4095. */
CMIR_API cmir_status
cmir_pixels_nifti_write(const cmir_pixels *pixels, uint32_t side, uint32_t max_slices,
                        const char *path, cmir_error *err);

#ifdef __cplusplus
}
#endif
#endif
