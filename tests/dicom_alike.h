/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_alike.h: what the walk over a file's elements says of it, against what DCMTK says; shared
 * by test_dicom.c and the fuzz target. */
#ifndef TESTS_DICOM_ALIKE_H
#define TESTS_DICOM_ALIKE_H

#include <string.h>

#include "io/dicom.h"

/* Bit for bit, so that NAN is equal to itself and 0 is not to -0. */
static inline bool
same_numbers(const double *a, const double *b, size_t n)
{
    return memcmp(a, b, n * sizeof *a) == 0;
}

static inline bool
same_frames(const cmir_dicom_frame *a, const cmir_dicom_frame *b)
{
    return same_numbers(a->position, b->position, 3) && same_numbers(a->row, b->row, 3) &&
           same_numbers(a->col, b->col, 3) && same_numbers(&a->row_spacing, &b->row_spacing, 1) &&
           same_numbers(&a->col_spacing, &b->col_spacing, 1) &&
           same_numbers(&a->thickness, &b->thickness, 1) && same_numbers(&a->slope, &b->slope, 1) &&
           same_numbers(&a->intercept, &b->intercept, 1) && a->has_position == b->has_position &&
           a->has_orientation == b->has_orientation && a->has_rescale == b->has_rescale &&
           a->is_hu == b->is_hu;
}

/* DCMTK knows no offset of values up to 4 KiB; then the walk's is not compared. */
static inline bool
same_native(const cmir_dicom_native *a, const cmir_dicom_native *b)
{
    return a->offset > 0 &&
           (b->offset == 0 || (a->offset == b->offset && a->device == b->device &&
                               a->inode == b->inode && a->nbytes == b->nbytes &&
                               a->seconds == b->seconds && a->nanoseconds == b->nanoseconds));
}

static inline bool
same_files(const cmir_dicom_file *a, const cmir_dicom_file *b)
{
    return strcmp(a->path, b->path) == 0 && strcmp(a->sop_uid, b->sop_uid) == 0 &&
           strcmp(a->syntax_uid, b->syntax_uid) == 0 && a->syntax == b->syntax &&
           a->rows == b->rows && a->cols == b->cols && a->n_frames == 1 && b->n_frames == 1 &&
           a->bits_allocated == b->bits_allocated && a->bits_stored == b->bits_stored &&
           a->high_bit == b->high_bit && a->is_signed == b->is_signed &&
           a->is_monochrome1 == b->is_monochrome1 && a->is_scout == b->is_scout &&
           same_native(&a->native, &b->native) && same_frames(a->frames, b->frames);
}

static inline bool
same_texts(const cmir_dicom_text *a, const cmir_dicom_text *b)
{
    return strcmp(a->series_uid, b->series_uid) == 0 && strcmp(a->study_uid, b->study_uid) == 0 &&
           strcmp(a->modality, b->modality) == 0 && strcmp(a->patient_id, b->patient_id) == 0 &&
           strcmp(a->patient_sex, b->patient_sex) == 0 &&
           strcmp(a->study_date, b->study_date) == 0 && strcmp(a->body_part, b->body_part) == 0 &&
           strcmp(a->manufacturer, b->manufacturer) == 0 &&
           strcmp(a->description, b->description) == 0 &&
           same_numbers(&a->patient_age, &b->patient_age, 1);
}

/* How a file is read: "declined" and left to DCMTK, "alike", or "different". */
static inline const char *
compare_ways(const char *path)
{
    cmir_dicom_file files[2];
    cmir_dicom_text texts[2];
    cmir_dicom_kind kind;

    if (!cmir_dicom_plain_read(path, &files[0], &texts[0]))
        return "declined";
    const bool alike = cmir_dicom_file_parse(path, &files[1], &texts[1], &kind, NULL) == CMIR_OK &&
                       kind == CMIR_DICOM_IMAGE && same_files(&files[0], &files[1]) &&
                       same_texts(&texts[0], &texts[1]);
    for (int i = 0; i < 2; i++) {
        cmir_dicom_file_clear(&files[i]);
        cmir_dicom_text_clear(&texts[i]);
    }
    return alike ? "alike" : "different";
}

#endif
