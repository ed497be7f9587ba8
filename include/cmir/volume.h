/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/volume.h: from files to volumes.
 *
 * A volume is one DICOM series or one NIfTI file: a stack of slices with a place in the patient.
 * Find volumes with cmir_scan_open(), open one (headers only), load its voxels, then take slices
 * in any plane.  Coordinates are LPS millimetres (x to the patient's left, y to posterior, z to
 * superior: the DICOM frame; NIfTI is converted). */
#ifndef CMIR_VOLUME_H
#define CMIR_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Limits of one volume; beyond them an input is refused with CMIR_ELIMIT. */
#define CMIR_MAX_SLICES 32768u                         /* slices along any axis */
#define CMIR_MAX_SIDE 32768u                           /* rows or columns */
#define CMIR_MAX_VOXELS_NBYTES ((uint64_t)1 << 33)     /* decoded voxels: 8 GiB */

/* Planes in which a volume can be sliced: the voxel axis nearest to the plane's normal gives the
 * slices; nothing is resampled. */
typedef enum cmir_plane { CMIR_AXIAL = 0, CMIR_CORONAL = 1, CMIR_SAGITTAL = 2 } cmir_plane;

/* What is known of a volume.  Strings are never NULL; "" means unknown. */
typedef struct cmir_volume_info {
    const char *volume_id;    /* SeriesInstanceUID, or the NIfTI file name without extension */
    const char *path;         /* absolute: the file, or the folder of a series of several files */
    const char *format;       /* "NIfTI" or "DICOM" */
    const char *modality;     /* DICOM code: "CT", "MR", ...; NIfTI: given, or told by values */
    const char *series_uid;   /* SeriesInstanceUID */
    const char *study_uid;    /* StudyInstanceUID */
    const char *patient_id;   /* PatientID */
    const char *patient_sex;  /* "M", "F", "O" */
    const char *study_date;   /* YYYYMMDD */
    const char *body_part;    /* BodyPartExamined */
    const char *manufacturer; /* Manufacturer */
    const char *description;  /* SeriesDescription */
    double patient_age;       /* years; NAN unknown */
    uint32_t dims[3];         /* voxels along i (columns), j (rows), k (the source's slices) */
    double affine[3][4];      /* (i, j, k, 1) -> LPS mm of the voxel's centre */
    bool has_hu;              /* values are Hounsfield units; decided when loading ends at last */
    double value_low, value_high; /* robust range of the values: percentiles 0.5 and 99.5 over all
                                     voxels (regularly sub-sampled); for scaling where there is no
                                     HU.  0, 0 until loaded */
} cmir_volume_info;

typedef struct cmir_volume cmir_volume;
typedef struct cmir_scan cmir_scan;

/* Options of a scan; zero means default. */
typedef struct cmir_scan_options {
    size_t struct_nbytes;     /* sizeof (cmir_scan_options) */
    uint32_t min_slices;      /* series with fewer are skipped, not refused; 0: 5 */
    uint32_t frame;           /* of a 4-D NIfTI, 1-based; 0: refuse 4-D */
    const char *modality;     /* for files that state none (NIfTI): "CT", "MR"; NULL: by values */
    const char *volume_id;    /* overrides the id; only where the scan finds one volume */
    cmir_progress_fn progress; /* files looked at; total is 0 while unknown */
    void *progress_ctx;
} cmir_scan_options;

/* One finding of a scan. */
typedef enum cmir_scan_state {
    CMIR_SCAN_VOLUME = 0,  /* can be opened */
    CMIR_SCAN_REFUSED = 1, /* broken or unsupported: `reason` says why */
    CMIR_SCAN_SKIPPED = 2  /* no volume: fewer than min_slices slices, or not an image (a scout, a
                              report, a file of another kind found inside a folder) */
} cmir_scan_state;

typedef struct cmir_scan_item {
    cmir_scan_state state;
    const char *volume_id; /* "" where unknown */
    const char *path;      /* file, or folder of a series of several files */
    uint32_t n_files;
    cmir_error reason;     /* of a refusal or a skip */
} cmir_scan_item;

/* cmir_scan_open() looks at `paths` (files; folders recursively; at most 10 million files) and
 * groups what it finds into volumes: DICOM files by SeriesInstanceUID (told by content, never by
 * name), NIfTI files by .nii and .nii.gz.  A path named by the caller that is neither is refused;
 * such a file found inside a folder is skipped and counted.  Items are in order of path.  Bad
 * files never fail the scan; CMIR_ENOTFOUND where a path does not exist is an item too.  Returns
 * CMIR_ENOMEM, CMIR_ECANCELLED, CMIR_EINVAL.  On success the caller owns *out. */
CMIR_API cmir_status
cmir_scan_open(const char *const *paths, size_t n_paths, const cmir_scan_options *options,
               cmir_scan **out, cmir_error *err);
CMIR_API void cmir_scan_close(cmir_scan *scan); /* NULL is fine */
CMIR_API size_t cmir_scan_count(const cmir_scan *scan);
/* Borrowed until the scan is closed; NULL if index >= count. */
CMIR_API const cmir_scan_item *cmir_scan_get(const cmir_scan *scan, size_t index);

/* cmir_volume_open() reads the headers of item `index` of a scan; no voxels.  Geometry is checked
 * here: slices ordered along their normal, tilt, gaps and duplicates reported as warnings that
 * name files, mixed sizes or orientations refused.  On success the caller owns *out, which does
 * not depend on the scan any more. */
CMIR_API cmir_status
cmir_volume_open(const cmir_scan *scan, size_t index, cmir_volume **out, cmir_error *err);

/* cmir_volume_ready_fn: slices 0 .. n_ready-1 along the source's own slice axis (k) can be taken.
 * Called by cmir_volume_load() from its thread, n_ready rising; before it is called with all
 * slices, only volumes known to be in HU report any. */
typedef void (*cmir_volume_ready_fn)(void *ctx, uint32_t n_ready);

/* cmir_volume_load() decodes the voxels; `ready` may be NULL.  While it runs, other threads may
 * take slices it has reported ready.  Fails with CMIR_ECORRUPT (truncated, bad checksum, constant
 * or not finite), CMIR_EUNSUPPORTED (transfer syntax, by UID), CMIR_ELIMIT, CMIR_ENOMEM, CMIR_EIO;
 * the volume can then only be closed.  Loading twice is CMIR_EINVAL. */
CMIR_API cmir_status
cmir_volume_load(cmir_volume *volume, cmir_volume_ready_fn ready, void *ctx, cmir_error *err);

/* cmir_volume_read() = scan + open + load for a path that holds exactly one volume (otherwise
 * CMIR_EINVAL, naming the volumes found, or the reason of the only refusal). */
CMIR_API cmir_status
cmir_volume_read(const char *path, const cmir_scan_options *options, cmir_volume **out,
                 cmir_error *err);

CMIR_API void cmir_volume_close(cmir_volume *volume); /* NULL is fine */

/* Borrowed until the volume is closed.  Loading may set modality, has_hu and the range of values:
 * while it runs, read those from the ready callback only. */
CMIR_API const cmir_volume_info *cmir_volume_get_info(const cmir_volume *volume);

/* Sentences about what was unusual but handled (tilt, gaps, duplicates); borrowed; NULL past the
 * last one. */
CMIR_API const char *cmir_volume_warning(const cmir_volume *volume, size_t index);

/* A volume as a stack of slices in one plane. */
typedef struct cmir_stack {
    uint32_t n_slices, rows, cols;
    double row_spacing_mm, col_spacing_mm; /* between neighbouring rows, between columns */
    double slice_spacing_mm;               /* median distance along the normal; > 0 */
    bool native;                           /* slices are the source's own (axis k) */
} cmir_stack;

/* cmir_volume_stack() describes the volume in `plane`.  In every plane the picture is oriented as
 * radiologists view it: axial: columns run to the patient's left, rows to posterior; coronal:
 * columns left, rows inferior; sagittal: columns posterior, rows inferior.  Slice numbers are
 * 0-based indices of the source's voxel axis, never reversed. */
CMIR_API cmir_status
cmir_volume_stack(const cmir_volume *volume, cmir_plane plane, cmir_stack *out, cmir_error *err);

/* cmir_volume_slice() writes slice `index` of `plane` as rows * cols floats (HU, or the values
 * after the file's own scaling); values that are not finite become the volume's smallest
 * representable air (-1024 HU, or value_low).  Thread-safe on a loaded volume. */
CMIR_API cmir_status
cmir_volume_slice(const cmir_volume *volume, cmir_plane plane, uint32_t index, float *out,
                  cmir_error *err);

/* cmir_volume_slice_mm() is where the slice lies along the plane's axis (axial: z to superior,
 * coronal: y to posterior, sagittal: x to left; the component of the slice's centre), in mm;
 * NAN if out of range. */
CMIR_API double cmir_volume_slice_mm(const cmir_volume *volume, cmir_plane plane, uint32_t index);

/* SOPInstanceUID of a slice; "" where there is none (NIfTI, or a plane that is not native);
 * multi-frame: the object's UID for every frame.  Borrowed. */
CMIR_API const char *cmir_volume_slice_uid(const cmir_volume *volume, cmir_plane plane,
                                           uint32_t index);

/* cmir_mask_read() tells in which slices of `volume`, in `plane`, a mask marks something: a NIfTI file
 * on the same grid, in which a voxel > 0 is marked.  shown[i] becomes 1 for such a slice, else 0;
 * n_slices are those that cmir_volume_stack() tells of the volume.  A mask that marks nothing is fine.
 * CMIR_EMISMATCH: it lies on another grid: other sizes, a step along an axis that differs by more than
 * 1e-3 of its length, or a first voxel more than 0.01 mm away.  CMIR_EINVAL: n_slices, or dims and
 * affine of `volume` are unknown (given embeddings).  Else what opening and loading a volume returns. */
CMIR_API cmir_status
cmir_mask_read(const char *path, const cmir_volume_info *volume, cmir_plane plane, uint8_t *shown,
               uint32_t n_slices, cmir_error *err);

/* A box in the pictures of a plane: first and last row, column and slice, as cmir_volume_slice()
 * shows them; both ends belong to it. */
typedef struct cmir_box {
    uint32_t rows[2], columns[2], slices[2];
} cmir_box;

/* cmir_volume_crop() makes a loaded volume of a box of another, which must be loaded.  Its voxels, their
 * places in the patient, the slices' positions and SOPInstanceUIDs are those of the box, and so are its
 * pictures; all else is as it was, the range of values too: the crop is seen, and encoded, at the same
 * scale.  CMIR_EINVAL where the box does not lie within the volume.  On success the caller owns
 * *out, which does not depend on `volume` any more. */
CMIR_API cmir_status
cmir_volume_crop(const cmir_volume *volume, cmir_plane plane, const cmir_box *box,
                 cmir_volume **out, cmir_error *err);

/* cmir_nifti_write() writes `voxels` (dims[0] fastest) as NIfTI-1 int16, gzipped if the path ends
 * in .gz, with the LPS affine converted to NIfTI's RAS as sform.  Replaces an existing file only
 * when the whole new one is written. */
CMIR_API cmir_status
cmir_nifti_write(const char *path, const int16_t *voxels, const uint32_t dims[3],
                 const double affine[3][4], cmir_error *err);

#ifdef __cplusplus
}
#endif
#endif
