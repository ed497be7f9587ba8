/* SPDX-License-Identifier: Apache-2.0 */
/* catalog_record.c: a volume's row and labels as a cmir_record.  Called by store, snapshot and
 * verify.  The row is not trusted: blobs of a wrong length are refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/catalog.h"

static cmir_status
contradiction(const char *volume_id, const char *what, cmir_error *err)
{
    return FAIL(err, CMIR_ECORRUPT, "%s: damaged catalogue row (%s)", volume_id, what);
}

cmir_status
cmir_catalog_read_place(cmir_stmt *stmt, int first, const char *volume_id, cmir_place *out,
                        cmir_error *err)
{
    const int64_t segment = cmir_column_int(stmt, first), offset = cmir_column_int(stmt, first + 1),
                  nbytes = cmir_column_int(stmt, first + 2), crc = cmir_column_int(stmt, first + 3),
                  n_slices = cmir_column_int(stmt, first + 4),
                  n_air = cmir_column_int(stmt, first + 5);

    if (segment < 1 || segment > CMIR_MAX_SEGMENT || offset < 0 ||
        offset % CMIR_RECORD_ALIGN != 0 || nbytes < CMIR_RECORD_HEADER_NBYTES ||
        nbytes > INT64_MAX - offset || crc < 0 || crc > UINT32_MAX)
        return contradiction(volume_id, "place of its embeddings", err);
    if (n_slices < 1 || n_slices > CMIR_MAX_SLICES || n_air < 0 || n_air >= n_slices)
        return contradiction(volume_id, "number of slices", err);
    *out = (cmir_place){.segment = (uint32_t)segment,
                        .offset = (uint64_t)offset,
                        .claim = {.n_rows = (uint32_t)n_slices,
                                  .n_scored = (uint32_t)(n_slices - n_air),
                                  .nbytes = (uint64_t)nbytes,
                                  .crc = (uint32_t)crc}};
    return CMIR_OK;
}

cmir_status
cmir_catalog_find(cmir_db *db, const char *volume_id, cmir_place *place, bool *found,
                  cmir_error *err)
{
    cmir_stmt *q;
    cmir_status st = cmir_stmt_open(
        db, "SELECT " CMIR_PLACE_COLUMNS " FROM volumes AS v WHERE v.volume_id = ?", &q, err);

    *found = false;
    if (st != CMIR_OK)
        return st;
    cmir_bind_text(q, volume_id);
    if ((st = cmir_stmt_step(q, found, err)) == CMIR_OK && *found)
        st = cmir_catalog_read_place(q, 0, volume_id, place, err);
    cmir_stmt_close(q);
    return st;
}

/* A blob of exactly nbytes, or NULL. */
static const void *
blob(cmir_stmt *q, int column, size_t nbytes)
{
    size_t have;
    const void *data = cmir_column_blob(q, column, &have);

    return have == nbytes ? data : NULL;
}

/* Splits `text` (changed in place) into n lines; an empty text is n empty lines. */
static bool
split_uids(char *text, uint32_t n, const char **uids)
{
    const bool none = *text == '\0';
    char *at = text;

    for (uint32_t i = 0; i < n; i++) {
        uids[i] = at;
        if (none)
            continue;
        char *end = strchr(at, '\n');
        if ((end == NULL) != (i == n - 1))
            return false;
        if (end != NULL) {
            *end = '\0';
            at = end + 1;
        }
    }
    return true;
}

#define RECORD_SQL                                                                                 \
    "SELECT id, volume_id, path, format, modality, series_uid, study_uid, patient_id, "            \
    "patient_sex, study_date, body_part, manufacturer, description, patient_age, has_hu, "         \
    "value_low, value_high, n_slices, n_air, slice_spacing_mm, added, dims, affine, mm, "          \
    "marks, uids, filled FROM volumes LEFT JOIN slices ON volume = id WHERE volume_id = ?"

/* All but labels and slice_uids; pointers are the statement's. */
static cmir_status
read_row(cmir_stmt *q, const char *volume_id, cmir_record *r, cmir_error *err)
{
    const int64_t n_slices = cmir_column_int(q, 17), n_air = cmir_column_int(q, 18);
    cmir_volume_info *info = &r->info;

    if (n_slices < 1 || n_slices > CMIR_MAX_SLICES || n_air < 0 || n_air >= n_slices)
        return contradiction(volume_id, "number of slices", err);
    const size_t n = (size_t)n_slices;
    const void *dims = blob(q, 21, sizeof info->dims), *affine = blob(q, 22, sizeof info->affine),
               *mm = blob(q, 23, n * sizeof(double)), *marks = blob(q, 24, n);
    if (dims == NULL || affine == NULL || mm == NULL || marks == NULL)
        return contradiction(volume_id, "geometry", err);

    const char **const text[] = {&info->volume_id,  &info->path,         &info->format,
                                 &info->modality,   &info->series_uid,   &info->study_uid,
                                 &info->patient_id, &info->patient_sex,  &info->study_date,
                                 &info->body_part,  &info->manufacturer, &info->description};
    for (int i = 0; i < 12; i++)
        *text[i] = cmir_column_text(q, i + 1);
    info->patient_age = cmir_column_double(q, 13);
    info->has_hu = cmir_column_int(q, 14) != 0;
    info->value_low = cmir_column_double(q, 15);
    info->value_high = cmir_column_double(q, 16);
    memcpy(info->dims, dims, sizeof info->dims);
    memcpy(info->affine, affine, sizeof info->affine);
    r->n_slices = (uint32_t)n_slices;
    r->n_air = (uint32_t)n_air;
    r->slice_spacing_mm = cmir_column_double(q, 19);
    r->added = cmir_column_text(q, 20);
    r->filled = (uint32_t)cmir_column_int(q, 26);
    /* Blobs may lie at any address: the copy in cmir_record_copy() goes by bytes. */
    r->slice_mm = cmir_alloc(n, sizeof(double));
    r->slice_marks = cmir_alloc(n, 1);
    r->slice_uids = cmir_alloc(n, sizeof(char *));
    if (r->slice_mm == NULL || r->slice_marks == NULL || r->slice_uids == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for its record", volume_id);
    memcpy(r->slice_mm, mm, n * sizeof(double));
    memcpy(r->slice_marks, marks, n);
    return CMIR_OK;
}

static cmir_status
read_labels(cmir_db *db, int64_t volume, cmir_record *r, cmir_buf *text, cmir_error *err)
{
    cmir_stmt *q;
    bool row = true;
    size_t cap = 0, at = 0;
    cmir_status st = cmir_stmt_open(
        db, "SELECT name, value FROM labels WHERE volume = ? ORDER BY name", &q, err);

    if (st != CMIR_OK)
        return st;
    cmir_bind_int(q, volume);
    while ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row) {
        cmir_buf_add(text, cmir_column_text(q, 0), strlen(cmir_column_text(q, 0)) + 1);
        cmir_buf_add(text, cmir_column_text(q, 1), strlen(cmir_column_text(q, 1)) + 1);
        if (text->failed ||
            !cmir_grow((void **)&r->labels, &cap, r->n_labels + 1, sizeof(cmir_label))) {
            st = FAIL(err, CMIR_ENOMEM, "%s: no memory for its labels", r->info.volume_id);
            break;
        }
        r->n_labels++;
    }
    cmir_stmt_close(q);
    if (st != CMIR_OK)
        return st;
    for (size_t i = 0; i < r->n_labels; i++) {
        r->labels[i].name = text->data + at;
        at += strlen(text->data + at) + 1;
        r->labels[i].value = text->data + at;
        at += strlen(text->data + at) + 1;
    }
    return CMIR_OK;
}

cmir_status
cmir_catalog_record(cmir_db *db, const char *volume_id, cmir_record **out, cmir_error *err)
{
    cmir_record r = {0}; /* points into the statement, `uids` and `labels` */
    cmir_buf labels = {0};
    cmir_stmt *q = NULL;
    bool row;
    char *uids = NULL;
    cmir_status st = cmir_stmt_open(db, RECORD_SQL, &q, err);

    *out = NULL;
    if (st != CMIR_OK)
        return st;
    cmir_bind_text(q, volume_id);
    if ((st = cmir_stmt_step(q, &row, err)) != CMIR_OK)
        goto done;
    if (!row) {
        st = FAIL(err, CMIR_ENOTFOUND, "no volume '%s' in the archive", volume_id);
        goto done;
    }
    if ((st = read_row(q, volume_id, &r, err)) != CMIR_OK ||
        (st = cmir_catalog_preview_nbytes(db, volume_id, &r.preview_nbytes, err)) != CMIR_OK ||
        (st = read_labels(db, cmir_column_int(q, 0), &r, &labels, err)) != CMIR_OK)
        goto done;
    uids = cmir_strdup(cmir_column_text(q, 25));
    if (uids == NULL)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory for its record", volume_id);
    else if (!split_uids(uids, r.n_slices, r.slice_uids))
        st = contradiction(volume_id, "SOPInstanceUIDs", err);
    else
        st = cmir_record_copy(&r, out, err);
done:
    cmir_stmt_close(q);
    free(uids);
    free(labels.data);
    free(r.labels);
    free(r.slice_mm);
    free(r.slice_marks);
    free(r.slice_uids);
    return st;
}
