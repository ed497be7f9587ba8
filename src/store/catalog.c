/* SPDX-License-Identifier: Apache-2.0 */
/* catalog.c: the tables of the catalogue: made, opened, counted, and what is written to them.
 * Called by store, snapshot and verify; catalog_record.c reads whole volumes. */
#include "store/catalog.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/fields.h"
#include "store/whitening.h"

#define APPLICATION_ID 0x434D4952 /* "CMIR" */

static const char schema[] =
    "PRAGMA application_id = 0x434D4952;"
    "PRAGMA user_version = 2;"
    "CREATE TABLE archive("
    "    id INTEGER PRIMARY KEY CHECK (id = 1),"
    "    encoder_name TEXT NOT NULL, encoder_version TEXT NOT NULL,"
    "    encoder_sha256 TEXT NOT NULL, card_json TEXT NOT NULL, card_path TEXT NOT NULL,"
    "    dim INTEGER NOT NULL, plane INTEGER NOT NULL, n_writes INTEGER NOT NULL,"
    "    center BLOB) STRICT;"
    "CREATE TABLE segments("
    "    number INTEGER PRIMARY KEY, nbytes INTEGER NOT NULL) STRICT;"
    "CREATE TABLE volumes("
    "    id INTEGER PRIMARY KEY, volume_id TEXT NOT NULL UNIQUE,"
    "    path TEXT NOT NULL, format TEXT NOT NULL, modality TEXT NOT NULL,"
    "    series_uid TEXT NOT NULL, study_uid TEXT NOT NULL, patient_id TEXT NOT NULL,"
    "    patient_sex TEXT NOT NULL, study_date TEXT NOT NULL, body_part TEXT NOT NULL,"
    "    manufacturer TEXT NOT NULL, description TEXT NOT NULL, patient_age REAL,"
    "    filled INTEGER NOT NULL, dims BLOB NOT NULL, affine BLOB NOT NULL,"
    "    has_hu INTEGER NOT NULL, value_low REAL NOT NULL, value_high REAL NOT NULL,"
    "    n_slices INTEGER NOT NULL, n_air INTEGER NOT NULL, slice_spacing_mm REAL NOT NULL,"
    "    added TEXT NOT NULL, segment INTEGER NOT NULL REFERENCES segments(number),"
    "    offset INTEGER NOT NULL, nbytes INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT;"
    "CREATE INDEX volumes_place ON volumes("
    "    volume_id, segment, offset, nbytes, crc, n_slices, n_air);"
    "CREATE INDEX volumes_study ON volumes(study_uid);"
    "CREATE INDEX volumes_patient ON volumes(patient_id);"
    "CREATE TABLE slices("
    "    volume INTEGER PRIMARY KEY REFERENCES volumes(id) ON DELETE CASCADE,"
    "    mm BLOB NOT NULL, marks BLOB NOT NULL, uids TEXT NOT NULL) STRICT;"
    "CREATE TABLE labels("
    "    volume INTEGER NOT NULL REFERENCES volumes(id) ON DELETE CASCADE,"
    "    name TEXT NOT NULL, value TEXT NOT NULL,"
    "    PRIMARY KEY (volume, name)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX labels_value ON labels(name, value);";

static cmir_status
insert_binding(cmir_db *db, const cmir_binding *binding, cmir_error *err)
{
    cmir_stmt *q;
    cmir_status st =
        cmir_stmt_open(db, "INSERT INTO archive VALUES (1, ?, ?, ?, ?, ?, ?, ?, 0, NULL)", &q, err);

    if (st != CMIR_OK)
        return st;
    cmir_bind_text(q, binding->encoder_name);
    cmir_bind_text(q, binding->encoder_version);
    cmir_bind_text(q, binding->encoder_sha256);
    cmir_bind_text(q, binding->card_json);
    cmir_bind_text(q, binding->card_path);
    cmir_bind_int(q, binding->dim);
    cmir_bind_int(q, binding->plane);
    st = cmir_stmt_run(q, err);
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_create(const char *path, const cmir_binding *binding, cmir_error *err)
{
    cmir_db *db;
    cmir_status st = cmir_db_open(path, CMIR_DB_CREATE, &db, err);

    if (st != CMIR_OK)
        return st;
    if ((st = cmir_db_begin(db, true, err)) == CMIR_OK &&
        (st = cmir_db_exec(db, schema, err)) == CMIR_OK &&
        (st = insert_binding(db, binding, err)) == CMIR_OK &&
        (binding->whitening == NULL ||
         (st = cmir_catalog_put_whitening(db, binding->whitening, err)) == CMIR_OK) &&
        (binding->previews == CMIR_PREVIEWS_NONE ||
         (st = cmir_catalog_begin_previews(db, binding->previews, err)) == CMIR_OK) &&
        (st = cmir_db_commit(db, err)) == CMIR_OK)
        st = cmir_db_exec(db, "PRAGMA journal_mode = WAL", err);
    cmir_db_rollback(db);
    cmir_db_close(db);
    return st;
}

/* The integer that `sql` gives, such as a PRAGMA. */
static cmir_status
read_int(cmir_db *db, const char *sql, int64_t *out, cmir_error *err)
{
    cmir_stmt *q;
    bool row;
    cmir_status st = cmir_stmt_open(db, sql, &q, err);

    *out = 0;
    if (st != CMIR_OK)
        return st;
    if ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row)
        *out = cmir_column_int(q, 0);
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_open(const char *path, cmir_db_mode mode, cmir_db **out, cmir_error *err)
{
    int64_t application, version;
    cmir_db *db;
    cmir_status st = cmir_db_open(path, mode, &db, err);

    *out = NULL;
    if (st != CMIR_OK)
        return st;
    if ((st = read_int(db, "PRAGMA application_id", &application, err)) != CMIR_OK ||
        (st = read_int(db, "PRAGMA user_version", &version, err)) != CMIR_OK)
        goto fail;
    if (application != APPLICATION_ID) {
        st = FAIL(err, CMIR_ECORRUPT, "%s: a database, but no cmir catalogue", path);
        goto fail;
    }
    if (version != CMIR_FORMAT_VERSION) {
        st = FAIL(err, version > 0 ? CMIR_EUNSUPPORTED : CMIR_ECORRUPT,
                  "%s: archive format %lld; this cmir reads format %d", path, (long long)version,
                  CMIR_FORMAT_VERSION);
        goto fail;
    }
    *out = db;
    return CMIR_OK;
fail:
    cmir_db_close(db);
    return st;
}

static bool
is_sha256(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

cmir_status
cmir_catalog_binding(cmir_db *db, const char *path, cmir_binding *out, char **text, cmir_error *err)
{
    cmir_stmt *q;
    bool row;
    cmir_buf buf = {0};
    size_t at[5];
    cmir_status st = cmir_stmt_open(db,
                                    "SELECT encoder_name, encoder_version, encoder_sha256, "
                                    "card_json, card_path, dim, plane FROM archive WHERE id = 1",
                                    &q, err);

    *text = NULL;
    if (st != CMIR_OK)
        return st;
    if ((st = cmir_stmt_step(q, &row, err)) != CMIR_OK)
        goto done;
    const int64_t dim = row ? cmir_column_int(q, 5) : 0, plane = row ? cmir_column_int(q, 6) : 0;
    if (!row || dim < 1 || dim > CMIR_MAX_DIM || plane < 0 || plane > CMIR_SAGITTAL ||
        !is_sha256(cmir_column_text(q, 2))) {
        st = FAIL(err, CMIR_ECORRUPT, "%s: does not say which encoder made the archive", path);
        goto done;
    }
    for (int i = 0; i < 5; i++) {
        at[i] = buf.nbytes;
        cmir_buf_add(&buf, cmir_column_text(q, i), strlen(cmir_column_text(q, i)) + 1);
    }
    if (buf.failed) {
        free(buf.data);
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", path);
        goto done;
    }
    *text = buf.data;
    *out = (cmir_binding){.encoder_name = buf.data + at[0],
                          .encoder_version = buf.data + at[1],
                          .encoder_sha256 = buf.data + at[2],
                          .card_json = buf.data + at[3],
                          .card_path = buf.data + at[4],
                          .dim = (uint32_t)dim,
                          .plane = (cmir_plane)plane};
done:
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_center(cmir_db *db, uint32_t padded_dim, int16_t *out, bool *found, cmir_error *err)
{
    cmir_stmt *q;
    bool row;
    cmir_status st = cmir_stmt_open(db, "SELECT center FROM archive WHERE id = 1", &q, err);

    *found = false;
    if (st != CMIR_OK)
        return st;
    if ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row) {
        size_t nbytes;
        const void *blob = cmir_column_blob(q, 0, &nbytes);

        *found = nbytes == padded_dim * sizeof *out;
        if (*found)
            memcpy(out, blob, nbytes);
        else if (nbytes != 0)
            st = FAIL(err, CMIR_ECORRUPT, "catalog.sqlite: a center of %zu bytes, not %zu", nbytes,
                      padded_dim * sizeof *out);
    }
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_set_center(cmir_db *db, const int16_t *center, uint32_t padded_dim, cmir_error *err)
{
    cmir_stmt *q;
    cmir_status st = cmir_stmt_open(db, "UPDATE archive SET center = ?", &q, err);

    if (st != CMIR_OK)
        return st;
    cmir_bind_blob(q, center, padded_dim * sizeof *center);
    st = cmir_stmt_run(q, err);
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_n_writes(cmir_db *db, int64_t *out, cmir_error *err)
{
    return read_int(db, "SELECT n_writes FROM archive", out, err);
}

cmir_status
cmir_catalog_count(cmir_db *db, cmir_archive_info *out, cmir_error *err)
{
    cmir_stmt *q;
    bool row;
    cmir_status st = cmir_stmt_open(
        db,
        "SELECT count(*), coalesce(sum(n_slices), 0), coalesce(sum(n_air), 0), "
        "coalesce(sum(nbytes), 0), (SELECT coalesce(sum(nbytes), 0) FROM segments) FROM volumes",
        &q, err);

    if (st != CMIR_OK)
        return st;
    if ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row) {
        const uint64_t live = (uint64_t)cmir_column_int(q, 3);
        out->n_volumes = (uint64_t)cmir_column_int(q, 0);
        out->n_slices = (uint64_t)cmir_column_int(q, 1);
        out->n_air_slices = (uint64_t)cmir_column_int(q, 2);
        out->segments_nbytes = (uint64_t)cmir_column_int(q, 4);
        out->dead_nbytes = out->segments_nbytes - live;
    }
    cmir_stmt_close(q);
    return st;
}

/* Geometry goes in as little-endian blobs: as it lies in memory. */
static void
bind_record(cmir_stmt *q, const cmir_record *r, const char *added)
{
    const cmir_volume_info *info = &r->info;

    cmir_bind_text(q, info->volume_id);
    cmir_bind_text(q, info->path);
    cmir_bind_text(q, info->format);
    cmir_bind_text(q, info->modality);
    cmir_bind_text(q, info->series_uid);
    cmir_bind_text(q, info->study_uid);
    cmir_bind_text(q, info->patient_id);
    cmir_bind_text(q, info->patient_sex);
    cmir_bind_text(q, info->study_date);
    cmir_bind_text(q, info->body_part);
    cmir_bind_text(q, info->manufacturer);
    cmir_bind_text(q, info->description);
    cmir_bind_double(q, info->patient_age);
    cmir_bind_blob(q, info->dims, sizeof info->dims);
    cmir_bind_blob(q, info->affine, sizeof info->affine);
    cmir_bind_int(q, info->has_hu);
    cmir_bind_double(q, info->value_low);
    cmir_bind_double(q, info->value_high);
    cmir_bind_int(q, r->n_slices);
    cmir_bind_int(q, r->n_air);
    cmir_bind_double(q, r->slice_spacing_mm);
    cmir_bind_text(q, added);
}

/* The UIDs with newlines between; "" if all are empty. */
static cmir_status
join_uids(const cmir_record *record, char **out, cmir_error *err)
{
    cmir_buf buf = {0};
    bool any = false;

    cmir_buf_puts(&buf, "");
    for (uint32_t i = 0; i < record->n_slices; i++) {
        const char *uid = record->slice_uids[i];

        if (strchr(uid, '\n') != NULL) {
            free(buf.data);
            return FAIL(err, CMIR_EINVAL, "%s: SOPInstanceUID of slice %u holds a line break",
                        record->info.volume_id, (unsigned)i);
        }
        any = any || *uid != '\0';
        cmir_buf_puts(&buf, i > 0 ? "\n" : "");
        cmir_buf_puts(&buf, uid);
    }
    if (buf.failed) {
        free(buf.data);
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for its record", record->info.volume_id);
    }
    if (!any)
        buf.data[0] = '\0';
    *out = buf.data;
    return CMIR_OK;
}

static void
now_utc(char out[32])
{
    const time_t now = time(NULL);
    struct tm tm;

    if (gmtime_r(&now, &tm) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
}

static cmir_status
insert_slices(cmir_db *db, int64_t volume, const cmir_record *record, cmir_error *err)
{
    char *uids = NULL;
    cmir_stmt *q = NULL;
    cmir_status st = join_uids(record, &uids, err);

    if (st == CMIR_OK)
        st = cmir_stmt_open(db, "INSERT INTO slices(volume, mm, marks, uids) VALUES (?, ?, ?, ?)",
                            &q, err);
    if (st == CMIR_OK) {
        cmir_bind_int(q, volume);
        cmir_bind_blob(q, record->slice_mm, record->n_slices * sizeof(double));
        cmir_bind_blob(q, record->slice_marks, record->n_slices);
        cmir_bind_text(q, uids);
        st = cmir_stmt_run(q, err);
    }
    cmir_stmt_close(q);
    free(uids);
    return st;
}

cmir_status
cmir_catalog_insert(cmir_db *db, const cmir_record *record, const cmir_place *place,
                    cmir_error *err)
{
    char now[32];
    cmir_stmt *q;
    cmir_status st = cmir_stmt_open(
        db,
        "INSERT INTO volumes(volume_id, path, format, modality, series_uid, study_uid, "
        "patient_id, patient_sex, study_date, body_part, manufacturer, description, "
        "patient_age, dims, affine, has_hu, value_low, value_high, n_slices, n_air, "
        "slice_spacing_mm, added, segment, offset, nbytes, crc, filled) VALUES "
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        &q, err);

    if (st != CMIR_OK)
        return st;
    now_utc(now);
    bind_record(q, record, record->added == NULL || *record->added == '\0' ? now : record->added);
    cmir_bind_int(q, place->segment);
    cmir_bind_int(q, (int64_t)place->offset);
    cmir_bind_int(q, (int64_t)place->claim.nbytes);
    cmir_bind_int(q, place->claim.crc);
    cmir_bind_int(q, record->filled);
    st = cmir_stmt_run(q, err);
    cmir_stmt_close(q);
    return st == CMIR_OK ? insert_slices(db, cmir_db_last_id(db), record, err) : st;
}

cmir_status
cmir_catalog_delete(cmir_db *db, const char *volume_id, cmir_error *err)
{
    cmir_stmt *q;
    cmir_status st = cmir_stmt_open(db, "DELETE FROM volumes WHERE volume_id = ?", &q, err);

    if (st != CMIR_OK)
        return st;
    cmir_bind_text(q, volume_id);
    st = cmir_stmt_run(q, err);
    cmir_stmt_close(q);
    return st;
}

/* Fills a gap of a column, or replaces what a label table put there before. */
static cmir_status
fill_field(cmir_db *db, int64_t volume, const cmir_field *field, const char *text, cmir_error *err)
{
    cmir_field_value value;
    cmir_stmt *q = NULL;
    cmir_status st = cmir_field_parse(field, text, &value, err);
    char *sql;

    if (st != CMIR_OK)
        return st;
    sql = cmir_asprintf("UPDATE volumes SET %s = ?, filled = filled | %u WHERE id = ? "
                        "AND (filled & %u OR %s %s)",
                        field->column, (unsigned)field->fill_bit, (unsigned)field->fill_bit,
                        field->column, field->is_number ? "IS NULL" : "= ''");
    if (sql == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for labels");
    if ((st = cmir_stmt_open(db, sql, &q, err)) == CMIR_OK) {
        if (field->is_number)
            cmir_bind_double(q, value.number);
        else
            cmir_bind_text(q, value.text);
        cmir_bind_int(q, volume);
        st = cmir_stmt_run(q, err);
    }
    cmir_stmt_close(q);
    free(sql);
    return st;
}

static cmir_status
label_one(cmir_db *db, cmir_stmt *upsert, int64_t volume, const cmir_label_set *set,
          cmir_error *err)
{
    cmir_status st = CMIR_OK;

    for (size_t i = 0; i < set->n_labels && st == CMIR_OK; i++) {
        const cmir_label *label = &set->labels[i];
        const cmir_field *field = cmir_field_find(label->name);

        if (label->name[0] == '\0')
            return FAIL(err, CMIR_EINVAL, "%s: a label without a name", set->volume_id);
        if (label->value[0] == '\0')
            continue;
        if (field != NULL && field->fill_bit != 0) {
            st = fill_field(db, volume, field, label->value, err);
            continue;
        }
        cmir_bind_int(upsert, volume);
        cmir_bind_text(upsert, label->name);
        cmir_bind_text(upsert, label->value);
        st = cmir_stmt_run(upsert, err);
    }
    return st;
}

cmir_status
cmir_catalog_label(cmir_db *db, const cmir_label_set *sets, size_t n, size_t *n_applied,
                   cmir_error *err)
{
    cmir_stmt *find = NULL, *upsert = NULL;
    bool row;
    cmir_status st = cmir_stmt_open(db, "SELECT id FROM volumes WHERE volume_id = ?", &find, err);

    *n_applied = 0;
    if (st == CMIR_OK)
        st = cmir_stmt_open(db,
                            "INSERT INTO labels(volume, name, value) VALUES (?, ?, ?) "
                            "ON CONFLICT (volume, name) DO UPDATE SET value = excluded.value",
                            &upsert, err);
    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        cmir_bind_text(find, sets[i].volume_id);
        if ((st = cmir_stmt_step(find, &row, err)) != CMIR_OK)
            break;
        const int64_t volume = row ? cmir_column_int(find, 0) : 0;
        cmir_stmt_reset(find);
        if (!row)
            continue;
        st = label_one(db, upsert, volume, &sets[i], err);
        *n_applied += st == CMIR_OK;
    }
    cmir_stmt_close(find);
    cmir_stmt_close(upsert);
    return st;
}

cmir_status
cmir_catalog_count_write(cmir_db *db, cmir_error *err)
{
    return cmir_db_exec(db, "UPDATE archive SET n_writes = n_writes + 1", err);
}

cmir_status
cmir_catalog_tail(cmir_db *db, int series, uint32_t *segment, uint64_t *nbytes, cmir_error *err)
{
    static const char *const sql[CMIR_N_SERIES] = {
        [CMIR_ROWS] = "SELECT number, nbytes FROM segments ORDER BY number DESC LIMIT 1",
        [CMIR_PREVIEWS] =
            "SELECT number, nbytes FROM preview_segments ORDER BY number DESC LIMIT 1"};
    cmir_stmt *q;
    bool row;
    cmir_status st = cmir_stmt_open(db, sql[series], &q, err);

    *segment = 0;
    *nbytes = 0;
    if (st != CMIR_OK)
        return st;
    if ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row) {
        const int64_t number = cmir_column_int(q, 0), end = cmir_column_int(q, 1);

        if (number < 1 || number >= CMIR_MAX_SEGMENT || end < 0 || end % CMIR_RECORD_ALIGN != 0)
            st = FAIL(err, CMIR_ECORRUPT, "catalog.sqlite: impossible segment %lld of %lld bytes",
                      (long long)number, (long long)end);
        *segment = (uint32_t)number;
        *nbytes = (uint64_t)end;
    }
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_set_tail(cmir_db *db, int series, uint32_t segment, uint64_t nbytes, cmir_error *err)
{
    static const char *const sql[CMIR_N_SERIES] = {
        [CMIR_ROWS] = "INSERT INTO segments(number, nbytes) VALUES (?, ?) "
                      "ON CONFLICT (number) DO UPDATE SET nbytes = excluded.nbytes",
        [CMIR_PREVIEWS] = "INSERT INTO preview_segments(number, nbytes) VALUES (?, ?) "
                          "ON CONFLICT (number) DO UPDATE SET nbytes = excluded.nbytes"};
    cmir_stmt *q;
    cmir_status st = cmir_stmt_open(db, sql[series], &q, err);

    if (st != CMIR_OK)
        return st;
    cmir_bind_int(q, segment);
    cmir_bind_int(q, (int64_t)nbytes);
    st = cmir_stmt_run(q, err);
    cmir_stmt_close(q);
    return st;
}
