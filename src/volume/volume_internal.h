/* SPDX-License-Identifier: Apache-2.0 */
/* volume_internal.h: what a volume is made of.  Filled by the readers in src/io, read by
 * src/volume.  Voxels keep the type they have in the file; they become floats slice by slice. */
#ifndef CMIR_VOLUME_INTERNAL_H
#define CMIR_VOLUME_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/volume.h>

#include "base/compiler.h"

typedef enum cmir_voxel_type {
    CMIR_VOXEL_U8,
    CMIR_VOXEL_I8,
    CMIR_VOXEL_U16,
    CMIR_VOXEL_I16,
    CMIR_VOXEL_U32,
    CMIR_VOXEL_I32,
    CMIR_VOXEL_U64,
    CMIR_VOXEL_I64,
    CMIR_VOXEL_F32,
    CMIR_VOXEL_F64
} cmir_voxel_type;

/* A reader's own part of a volume: how to decode it. */
typedef struct cmir_volume_reader {
    /* Decodes slices k = 0 .. dims[2]-1 in rising order into volume->voxels (allocated by the
     * caller) and calls cmir_volume_slices_done() after each, or after several. */
    cmir_status (*load)(cmir_volume *volume, void *state, cmir_error *err);
    void (*free_state)(void *state);
    /* Decodes slice k alone, into `out`; by several threads.  NULL, or not wanted unless
     * volume->slices_apart: then load() costs no less. */
    cmir_status (*read_slice)(const cmir_volume *volume, const void *state, uint32_t k,
                              uint8_t *out, cmir_error *err);
} cmir_volume_reader;

struct cmir_volume {
    /* Set by the reader when the volume is opened. */
    cmir_volume_info info;        /* strings owned (free()), never NULL once made */
    char **warnings;              /* owned */
    size_t n_warnings, warnings_cap;
    cmir_voxel_type type;
    double *slope, *intercept;    /* [dims[2]]: value = voxel * slope + intercept; the pair may be
                                     NULL: no scaling.  Slice k's may be set until k is done */
    char **slice_uids;            /* [dims[2]] or NULL */
    double (*slice_position)[3];  /* [dims[2]]: LPS mm of voxel (0, 0, k), or NULL: by affine */
    const cmir_volume_reader *reader;
    void *reader_state;
    bool slices_apart;            /* each slice can be read without the others, at no more cost */
    bool may_be_constant;         /* false: a volume whose voxels are all the same is refused */

    /* Filled by cmir_volume_load(). */
    uint8_t *voxels;              /* dims[0] * dims[1] * dims[2] elements, native endian */
    atomic_int load_state;        /* 0 not loaded, 1 loading, 2 loaded, 3 failed */
    atomic_uint n_ready;          /* slices 0 .. n_ready-1 may be taken: the publication point */
    cmir_volume_ready_fn ready;
    void *ready_ctx;
    /* What the values looked at so far tell; looked at no longer than they can tell something. */
    float *row;                   /* [dims[0]] */
    float first;                  /* the first finite value, where any_finite */
    bool any_finite, varies, hu_known;
    uint32_t n_done;              /* slices decoded */
};

/* A new volume with every string "" and patient_age NAN; NULL where memory runs out. */
cmir_volume *cmir_volume_new(void);

size_t cmir_voxel_nbytes(cmir_voxel_type type);

/* Bytes of all voxels; CMIR_ELIMIT beyond the limits of cmir/volume.h.  Every dims must be > 0. */
cmir_status cmir_volume_nbytes(const cmir_volume *volume, uint64_t *nbytes, cmir_error *err);

/* Replaces an owned string of info (pass &volume->info.path, ...); copies `value`. */
bool cmir_volume_set(const char **field, const char *value);

/* Adds a warning (printf style); silently dropped where memory runs out, at most 1000 are kept. */
CMIR_PRINTF(2, 3) void cmir_volume_warn(cmir_volume *volume, const char *format, ...);

/* Is there a finite value, and do values vary? */
cmir_status cmir_volume_check_values(const cmir_volume *volume, bool any_finite, bool varies,
                                     float first, cmir_error *err);

/* Readers call this from load(): slices 0 .. n_done-1 are decoded. */
void cmir_volume_slices_done(cmir_volume *volume, uint32_t n_done);

/* A run of voxels: from one on, `stride` elements apart; its slices k, for the scaling, go from `k`
 * on, `k_step` apart (0: all in one slice). */
typedef struct cmir_voxel_run {
    const uint8_t *from;
    ptrdiff_t stride;
    uint32_t k;
    int k_step;
} cmir_voxel_run;

/* Scaled values of n voxels of a run; what is not finite becomes `fill`. */
void cmir_voxel_values(const cmir_volume *volume, const cmir_voxel_run *run, size_t n, float fill,
                       float *out);

/* The values that tell the range of all: taken slice by slice, by several threads at once. */
typedef struct cmir_volume_range {
    uint64_t step; /* every step-th voxel is taken */
    float *samples;
} cmir_volume_range;

cmir_status cmir_volume_range_start(const cmir_volume *volume, cmir_volume_range *range,
                                    cmir_error *err);
/* `voxels` of slice k. */
void cmir_volume_range_take(const cmir_volume *volume, cmir_volume_range *range, uint32_t k,
                            const uint8_t *voxels);
/* Sets info.value_low and value_high; `first` is a finite value, for where no sample is. */
void cmir_volume_range_finish(cmir_volume *volume, cmir_volume_range *range, float first);
void cmir_volume_range_free(cmir_volume_range *range);

/* Slice `index` of a plane, as cmir_volume_slice() gives it, from the voxels of that slice, which
 * is the source's own. */
void cmir_volume_native_slice(const cmir_volume *volume, cmir_plane plane, uint32_t index,
                              const uint8_t *voxels, float *out);

/* stream.c: a volume's slices read one by one, by any thread and in any order, and not kept. */
typedef struct cmir_volume_stream {
    cmir_volume *volume;
    cmir_plane plane;
    cmir_volume_range range;
    atomic_bool varies;
    pthread_mutex_t lock; /* of all below */
    bool any_finite;
    float first;          /* finite value, of the lowest slice that has one */
    uint32_t first_slice;
} cmir_volume_stream;

/* Can the slices of a plane be read so?  Only where they are in HU, which is known before. */
bool cmir_volume_streams(const cmir_volume *volume, cmir_plane plane);

/* Until it is finished, the volume is as one that is being loaded. */
cmir_status cmir_volume_stream_start(cmir_volume *volume, cmir_plane plane, cmir_volume_stream *out,
                                     cmir_error *err);

/* Reads slice k as cmir_volume_slice() gives it; `voxels` is room for one slice. */
cmir_status cmir_volume_stream_slice(cmir_volume_stream *stream, uint32_t k, uint8_t *voxels,
                                     float *out, cmir_error *err);

/* When each slice was read once, or one could not be (`status`): makes the checks of
 * cmir_volume_load(), sets the range of values, and leaves the volume not loaded, or failed. */
cmir_status cmir_volume_stream_finish(cmir_volume_stream *stream, cmir_status status,
                                      cmir_error *err);

/* How a plane shows the voxels: which voxel axis gives slices, rows and columns. */
typedef struct cmir_view {
    unsigned slice, row, col;
    bool row_reversed, col_reversed;
} cmir_view;
bool cmir_is_plane(cmir_plane plane);
cmir_view cmir_view_of(const cmir_volume_info *info, cmir_plane plane);

/* All of cmir_volume_stack() but the slice spacing, which is 0. */
cmir_stack cmir_info_stack(const cmir_volume_info *info, cmir_plane plane);

/* (column, row, slice, 1) of the plane's pictures -> LPS mm, by the affine. */
void cmir_info_frame(const cmir_volume_info *info, cmir_plane plane, double out[3][4]);

#endif
