/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_walk.h: which attributes are read, and where they stand in a file that is all in order. */
#ifndef CMIR_IO_DICOM_WALK_H
#define CMIR_IO_DICOM_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CMIR_DICOM_N_ATTRIBUTES 44u

/* The attributes that are read, by rising tag (group << 16 | element). */
typedef struct cmir_dicom_attribute {
    uint32_t tag;
    char vr[3]; /* as the standard has it; "ox": OB or OW */
} cmir_dicom_attribute;
extern const cmir_dicom_attribute cmir_dicom_attributes[CMIR_DICOM_N_ATTRIBUTES];

/* The value of one of them: `nbytes` bytes, at most 1024, from `at` on.  Text is printable ASCII,
 * a UI digits and dots, perhaps with a NUL after them; a DA has 8 digits, an AS 4 characters, a US
 * 2 bytes; texts may be empty. */
typedef struct cmir_dicom_found {
    const cmir_dicom_attribute *attribute;
    uint32_t at, nbytes;
} cmir_dicom_found;

/* What was found in a file. */
typedef struct cmir_dicom_walk {
    cmir_dicom_found values[CMIR_DICOM_N_ATTRIBUTES]; /* by rising tag, without PixelData */
    size_t n_values;
    uint32_t pixels_at, pixels_nbytes; /* nbytes > 0 */
} cmir_dicom_walk;

/* Walks the elements of a file of `file_nbytes` bytes, of which the first `nbytes` are given.
 * True only where no reader could read them otherwise: a preamble; an element of the group 2 after
 * the other, the TransferSyntaxUID explicit little endian; elements of rising tags and even
 * lengths, of VRs that the standard knows, in sequences too; values as cmir_dicom_found says; no
 * sequence among the attributes; PixelData, uncompressed, up to the end of the file. */
bool cmir_dicom_walk_file(const uint8_t *bytes, size_t nbytes, uint64_t file_nbytes,
                          cmir_dicom_walk *out);

#ifdef __cplusplus
}
#endif
#endif
