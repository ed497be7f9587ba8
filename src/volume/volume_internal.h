/* SPDX-License-Identifier: Apache-2.0 */
/* volume_internal.h: what a volume is made of.  Filled by the readers in src/io, read by
 * src/volume.  Voxels keep the type they have in the file; they become floats slice by slice. */
#ifndef CMIR_VOLUME_INTERNAL_H
#define CMIR_VOLUME_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cmir/volume.h>

typedef enum cmir_voxel_type {
    CMIR_VOXEL_U8, CMIR_VOXEL_I8, CMIR_VOXEL_U16, CMIR_VOXEL_I16, CMIR_VOXEL_U32, CMIR_VOXEL_I32,
    CMIR_VOXEL_U64, CMIR_VOXEL_I64, CMIR_VOXEL_F32, CMIR_VOXEL_F64
} cmir_voxel_type;

/* A reader's own part of a volume: how to decode it. */
typedef struct cmir_volume_reader {
    /* Decodes slices k = 0 .. dims[2]-1 in rising order into volume->voxels (allocated by the
     * caller) and calls cmir_volume_slices_done() after each, or after several. */
    cmir_status (*load)(cmir_volume *volume, void *state, cmir_error *err);
    void (*free_state)(void *state);
} cmir_volume_reader;

struct cmir_volume {
    cmir_volume_info info;        /* strings owned (free()), never NULL once made */
    char **warnings;              /* owned */
    size_t n_warnings, warnings_cap;
    cmir_voxel_type type;
    uint8_t *voxels;              /* dims[0] * dims[1] * dims[2] elements, native endian */
    double *slope, *intercept;    /* [dims[2]]: value = voxel * slope + intercept */
    char **slice_uids;            /* [dims[2]] or NULL */
    double (*slice_position)[3];  /* [dims[2]]: LPS mm of voxel (0, 0, k), or NULL: by affine */
    bool hu_known, rescaled;      /* modality says HU or not / still to be told by values */
    const cmir_volume_reader *reader;
    void *reader_state;
    int load_state;               /* 0 not loaded, 1 loading, 2 loaded, 3 failed */
    cmir_volume_ready_fn ready;   /* during load */
    void *ready_ctx;
};

/* A new volume with every string "" and patient_age NAN; NULL where memory runs out. */
cmir_volume *cmir_volume_new(void);

size_t cmir_voxel_nbytes(cmir_voxel_type type);

/* Replaces an owned string of info (pass &volume->info.path, ...); copies `value`. */
bool cmir_volume_set(const char **field, const char *value);

/* Adds a warning (printf style); silently dropped where memory runs out, at most 1000 are kept. */
void cmir_volume_warn(cmir_volume *volume, const char *format, ...);

/* Readers call this from load(): slices 0 .. n_done-1 are decoded. */
void cmir_volume_slices_done(cmir_volume *volume, uint32_t n_done);

#endif
