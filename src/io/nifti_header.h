/* SPDX-License-Identifier: Apache-2.0 */
/* nifti_header.h: the header of a NIfTI-1 or NIfTI-2 file, checked. */
#ifndef CMIR_IO_NIFTI_HEADER_H
#define CMIR_IO_NIFTI_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "volume/volume_internal.h"

#define CMIR_NIFTI1_NBYTES 348u
#define CMIR_NIFTI2_NBYTES 540u

typedef struct cmir_nifti_header {
    size_t nbytes;      /* CMIR_NIFTI1_NBYTES or CMIR_NIFTI2_NBYTES */
    bool big_endian;    /* of header and voxels */
    uint32_t dims[3];
    uint64_t n_frames;  /* product of the dimensions beyond the third */
    cmir_voxel_type type;
    uint64_t data_offset;
    double slope, intercept; /* 1, 0 where the file states none */
    double affine[3][4];     /* to LPS mm */
} cmir_nifti_header;

/* Tells header->nbytes and big_endian from a file's first four bytes; false if it is no NIfTI. */
bool cmir_nifti_header_kind(const uint8_t start[4], cmir_nifti_header *header);

/* Reads header->nbytes bytes into `header`; `path` is for messages. */
cmir_status cmir_nifti_header_parse(const uint8_t *bytes, const char *path,
                                    cmir_nifti_header *header, cmir_error *err);

#endif
