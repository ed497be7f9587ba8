/* SPDX-License-Identifier: Apache-2.0 */
/* io_internal.h: the two readers as scan.c sees them. */
#ifndef CMIR_IO_INTERNAL_H
#define CMIR_IO_INTERNAL_H

#include <cmir/volume.h>

/* nifti.c: reads and checks the header of a .nii or .nii.gz file and makes a volume whose voxels
 * are still to be loaded.  `frame` is 1-based, 0: refuse 4-D; `modality` may be NULL. */
cmir_status cmir_nifti_open(const char *path, uint32_t frame, const char *modality,
                            cmir_volume **out, cmir_error *err);

/* True if the name ends in .nii or .nii.gz (any case); or in .hdr: such pairs of files are refused
 * by cmir_nifti_open(), with a sentence that says what to do. */
bool cmir_nifti_named(const char *path);

#endif
