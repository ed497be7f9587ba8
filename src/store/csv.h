/* SPDX-License-Identifier: Apache-2.0 */
/* csv.h: rows of cells from a CSV text (RFC 4180), unquoted in place.  Called by labels
 * and rankings.
 *
 * Beyond the RFC: lines may end in LF, CR LF or CR; blanks around unquoted cells and around quotes
 * are dropped; empty lines are skipped; a UTF-8 byte order mark is skipped. */
#ifndef CMIR_STORE_CSV_H
#define CMIR_STORE_CSV_H

#include <stddef.h>

#include <cmir/status.h>

#define CMIR_CSV_MAX_COLUMNS 4096u
#define CMIR_CSV_MAX_CELL_NBYTES 65535u

typedef struct cmir_csv {
    const char *path; /* for messages; borrowed */
    char *text;       /* NUL-terminated; borrowed, and changed by reading */
    size_t at;
    size_t line;      /* of `at`, from 1 */
    char *cells[CMIR_CSV_MAX_COLUMNS]; /* of the current row; point into text */
    size_t n_cells;
    size_t row_line;  /* where the current row starts */
} cmir_csv;

/* Starts reading `text` of `nbytes`, which must be UTF-8 without NUL: otherwise CMIR_EUNSUPPORTED. */
cmir_status cmir_csv_open(cmir_csv *csv, const char *path, char *text, size_t nbytes,
                          cmir_error *err);

/* Reads the next row; n_cells is 0 behind the last. */
cmir_status cmir_csv_next(cmir_csv *csv, cmir_error *err);

/* Reads the first row.  CMIR_ECORRUPT where there is none; CMIR_EUNSUPPORTED, with what to do, where it
 * is not separated by commas. */
cmir_status cmir_csv_header(cmir_csv *csv, cmir_error *err);

/* Cuts ".nii" and ".nii.gz" off a volume's name, unless nothing would be left. */
void cmir_csv_drop_extension(char *name);

#endif
