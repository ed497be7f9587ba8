/* SPDX-License-Identifier: Apache-2.0 */
/* fields.h: the names by which people speak of the catalogue's columns, in filters and label
 * tables.  Called by where, labels and catalog.  A name that is no field is a label. */
#ifndef CMIR_STORE_FIELDS_H
#define CMIR_STORE_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

#include <cmir/status.h>

typedef struct cmir_field {
    const char *name;   /* a DICOM keyword, or VolumeId, Slices */
    const char *column; /* of the table volumes */
    bool is_number;     /* otherwise text, where '' means unknown */
    uint32_t fill_bit;  /* in volumes.filled; 0: label tables do not fill it */
} cmir_field;

/* The field called `name` (case-sensitive), or NULL. */
const cmir_field *cmir_field_find(const char *name);

/* A value for a field from a label table, normalised: sex to M, F or O; dates to YYYYMMDD (from
 * YYYY-MM-DD too); ages to years (from 063Y, 18M, 6W, 10D too). */
typedef struct cmir_field_value {
    const char *text; /* the caller's text, or buf */
    double number;    /* of a field that is a number */
    char buf[16];
} cmir_field_value;
cmir_status cmir_field_parse(const cmir_field *field, const char *text, cmir_field_value *out,
                             cmir_error *err);

#endif
