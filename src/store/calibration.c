/* SPDX-License-Identifier: Apache-2.0 */
/* calibration.c: what evidence asks of the catalogue: patients, kinds of labels, and how often votes
 * were right, which is kept there.  Called by engine; docs/format.md has the table.
 *
 * The table is made when it is first needed: archives without it are archives without
 * calibrations. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/store_internal.h"

#define N_BINS 11

static const char table[] =
    "CREATE TABLE IF NOT EXISTS calibration("
    "    label TEXT NOT NULL, k INTEGER NOT NULL, score INTEGER NOT NULL,"
    "    n_writes INTEGER NOT NULL, kind INTEGER NOT NULL, n_labelled INTEGER NOT NULL,"
    "    n_queries INTEGER NOT NULL, n_patients INTEGER NOT NULL,"
    "    n_right INTEGER NOT NULL, n_majority INTEGER NOT NULL, bins BLOB NOT NULL,"
    "    error REAL, error_alone REAL,"
    "    PRIMARY KEY (label, k, score)) STRICT, WITHOUT ROWID";

#define COLUMNS                                                                                    \
    "label, k, score, n_writes, kind, n_labelled, n_queries, n_patients, n_right, n_majority, "    \
    "bins, error, error_alone"

/* Opens a statement with one text to bind and makes its first step. */
static cmir_status
ask(cmir_db *db, const char *sql, const char *text, cmir_stmt **q, bool *row, cmir_error *err)
{
    const cmir_status st = cmir_stmt_open(db, sql, q, err);

    *row = false;
    if (st != CMIR_OK)
        return st;
    cmir_bind_text(*q, text);
    return cmir_stmt_step(*q, row, err);
}

cmir_status
cmir_snapshot_patient(const cmir_snapshot *snapshot, size_t index, char **out, cmir_error *err)
{
    const cmir_candidate *candidate = cmir_snapshot_get(snapshot, index);
    cmir_stmt *q = NULL;
    bool row;
    cmir_status st = ask(cmir_snapshot_db(snapshot),
                         "SELECT CASE WHEN patient_id <> '' THEN 'P' || patient_id "
                         "WHEN study_uid <> '' THEN 'S' || study_uid ELSE 'V' || volume_id END "
                         "FROM volumes WHERE volume_id = ?",
                         candidate->volume_id, &q, &row, err);

    *out = NULL;
    if (st == CMIR_OK && (*out = cmir_strdup(row ? cmir_column_text(q, 0) : "")) == NULL)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory for its patient", candidate->volume_id);
    cmir_stmt_close(q);
    return st;
}

/* Reads the values until they tell. */
static cmir_status
find_kind(cmir_db *db, const char *name, cmir_label_kind *out, cmir_error *err)
{
    cmir_stmt *q = NULL;
    size_t n = 0;
    bool row, numbers = true, whole = true;
    cmir_status st = ask(db,
                         "SELECT cmir_number(value) FROM "
                         "(SELECT DISTINCT value FROM labels WHERE name = ?)",
                         name, &q, &row, err);

    while (st == CMIR_OK && row && numbers) {
        const double value = cmir_column_double(q, 0);

        numbers = isfinite(value);
        whole = whole && !(floor(value) < value);
        n++;
        st = cmir_stmt_step(q, &row, err);
    }
    cmir_stmt_close(q);
    *out = numbers && (n > 10 || !whole) ? CMIR_LABEL_NUMBER : CMIR_LABEL_CLASS;
    return st;
}

void
cmir_kinds_forget(cmir_store *store)
{
    for (size_t i = 0; i < store->n_kinds; i++)
        free(store->kinds[i].name);
    free(store->kinds);
    store->kinds = NULL;
    store->n_kinds = store->kinds_cap = 0;
}

cmir_status
cmir_snapshot_label_kind(const cmir_snapshot *snapshot, const char *name, cmir_label_kind *out,
                         cmir_error *err)
{
    cmir_store *store = cmir_snapshot_store(snapshot);
    int64_t n_writes;
    cmir_status st = cmir_catalog_n_writes(cmir_snapshot_db(snapshot), &n_writes, err);

    *out = CMIR_LABEL_CLASS;
    if (st != CMIR_OK)
        return st;
    if (store->kinds_n_writes != n_writes)
        cmir_kinds_forget(store);
    store->kinds_n_writes = n_writes;
    for (size_t i = 0; i < store->n_kinds; i++)
        if (strcmp(store->kinds[i].name, name) == 0) {
            *out = store->kinds[i].kind;
            return CMIR_OK;
        }
    if ((st = find_kind(cmir_snapshot_db(snapshot), name, out, err)) != CMIR_OK)
        return st;
    char *copy = cmir_strdup(name);
    if (copy == NULL || !cmir_grow((void **)&store->kinds, &store->kinds_cap, store->n_kinds + 1,
                                   sizeof *store->kinds)) {
        free(copy);
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for the kinds of labels", store->dir);
    }
    store->kinds[store->n_kinds].name = copy;
    store->kinds[store->n_kinds++].kind = *out;
    return CMIR_OK;
}

cmir_status
cmir_snapshot_parse(const cmir_snapshot *snapshot, const char *text, double *out, cmir_error *err)
{
    cmir_stmt *q = NULL;
    bool row;
    const cmir_status st =
        ask(cmir_snapshot_db(snapshot), "SELECT cmir_number(?)", text, &q, &row, err);

    *out = NAN;
    if (st == CMIR_OK && row && isfinite(cmir_column_double(q, 0)))
        *out = cmir_column_double(q, 0);
    cmir_stmt_close(q);
    return st;
}

static bool
is_there(cmir_db *db, cmir_status *st, cmir_error *err)
{
    cmir_stmt *q = NULL;
    bool row;

    *st = ask(db, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", "calibration",
              &q, &row, err);
    cmir_stmt_close(q);
    return *st == CMIR_OK && row;
}

static bool
in_range(int64_t value, int64_t low, int64_t high)
{
    return value >= low && value <= high;
}

/* The row that `q` stands at.  Nothing of it is trusted. */
static cmir_status
read_row(cmir_stmt *q, int64_t n_writes, cmir_calibration *out, cmir_error *err)
{
    uint32_t bins[N_BINS][2] = {{0}};
    uint64_t n = 0, n_right = 0;
    size_t nbytes;
    const void *blob = cmir_column_blob(q, 10, &nbytes);
    const int64_t k = cmir_column_int(q, 1), score = cmir_column_int(q, 2),
                  kind = cmir_column_int(q, 4), n_labelled = cmir_column_int(q, 5),
                  n_queries = cmir_column_int(q, 6), n_patients = cmir_column_int(q, 7),
                  right = cmir_column_int(q, 8), majority = cmir_column_int(q, 9);

    if (nbytes == sizeof bins)
        memcpy(bins, blob, nbytes);
    for (int i = 0; i < N_BINS; i++) {
        n += bins[i][0];
        n_right += bins[i][1];
    }
    if (nbytes != sizeof bins || !in_range(k, CMIR_EVIDENCE_LEAST, CMIR_EVIDENCE_MOST) ||
        !in_range(score, 0, 1000) || !in_range(kind, 0, 1) ||
        !in_range(n_labelled, 0, UINT32_MAX) || !in_range(n_queries, 0, n_labelled) ||
        !in_range(n_patients, n_queries > 0, n_queries) || !in_range(right, 0, n_queries) ||
        !in_range(majority, 0, n_queries) || n_right != (uint64_t)right ||
        n != (kind == CMIR_LABEL_CLASS ? (uint64_t)n_queries : 0) ||
        (kind == CMIR_LABEL_NUMBER && n_queries > 0 &&
         !(isfinite(cmir_column_double(q, 11)) && isfinite(cmir_column_double(q, 12)))))
        return FAIL(err, CMIR_ECORRUPT, "catalog.sqlite: an impossible calibration of the label %s",
                    cmir_column_text(q, 0));
    *out = (cmir_calibration){.kind = (cmir_label_kind)kind,
                              .score = (cmir_score)score,
                              .k = (uint32_t)k,
                              .stale = cmir_column_int(q, 3) != n_writes,
                              .n_labelled = (uint32_t)n_labelled,
                              .n_queries = (uint32_t)n_queries,
                              .n_patients = (uint32_t)n_patients,
                              .n_right = (uint32_t)right,
                              .n_majority = (uint32_t)majority,
                              .error = cmir_column_double(q, 11),
                              .error_alone = cmir_column_double(q, 12)};
    for (int i = 0; i < N_BINS; i++) {
        out->bin_n[i] = bins[i][0];
        out->bin_right[i] = bins[i][1];
    }
    return CMIR_OK;
}

cmir_status
cmir_snapshot_calibration(const cmir_snapshot *snapshot, const char *label, uint32_t k,
                          cmir_score score, cmir_calibration *out, bool *found, cmir_error *err)
{
    cmir_db *db = cmir_snapshot_db(snapshot);
    cmir_stmt *q = NULL;
    int64_t n_writes;
    cmir_status st;

    *found = false;
    if (!is_there(db, &st, err) || (st = cmir_catalog_n_writes(db, &n_writes, err)) != CMIR_OK ||
        (st = cmir_stmt_open(db,
                             "SELECT " COLUMNS " FROM calibration "
                             "WHERE label = ? AND k = ? AND score = ?",
                             &q, err)) != CMIR_OK)
        return st;
    cmir_bind_text(q, label);
    cmir_bind_int(q, k);
    cmir_bind_int(q, score);
    if ((st = cmir_stmt_step(q, found, err)) == CMIR_OK && *found)
        st = read_row(q, n_writes, out, err);
    if (st == CMIR_OK && *found)
        out->label = label;
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_calibrations_check(cmir_db *db, cmir_error *err)
{
    cmir_calibration row;
    cmir_stmt *q = NULL;
    bool more;
    cmir_status st;

    if (!is_there(db, &st, err) ||
        (st = cmir_stmt_open(db, "SELECT " COLUMNS " FROM calibration", &q, err)) != CMIR_OK)
        return st;
    while ((st = cmir_stmt_step(q, &more, err)) == CMIR_OK && more &&
           (st = read_row(q, 0, &row, err)) == CMIR_OK)
        ;
    cmir_stmt_close(q);
    return st;
}

static cmir_status
write_row(cmir_stmt *q, const cmir_calibration *c, int64_t n_writes, cmir_error *err)
{
    uint32_t bins[N_BINS][2];

    for (int i = 0; i < N_BINS; i++) {
        bins[i][0] = c->bin_n[i];
        bins[i][1] = c->bin_right[i];
    }
    cmir_bind_text(q, c->label);
    cmir_bind_int(q, c->k);
    cmir_bind_int(q, c->score);
    cmir_bind_int(q, n_writes);
    cmir_bind_int(q, c->kind);
    cmir_bind_int(q, c->n_labelled);
    cmir_bind_int(q, c->n_queries);
    cmir_bind_int(q, c->n_patients);
    cmir_bind_int(q, c->n_right);
    cmir_bind_int(q, c->n_majority);
    cmir_bind_blob(q, bins, sizeof bins);
    cmir_bind_double(q, c->error);
    cmir_bind_double(q, c->error_alone);
    return cmir_stmt_run(q, err);
}

/* Within a transaction that commits `n_writes`; `before` was the number of what was not stale. */
static cmir_status
write_rows(cmir_db *db, const cmir_calibration *rows, size_t n, int64_t before, int64_t n_writes,
           cmir_error *err)
{
    cmir_stmt *q = NULL;
    cmir_status st = cmir_db_exec(db, table, err);

    if (st != CMIR_OK ||
        (st = cmir_stmt_open(db, "UPDATE calibration SET n_writes = ? WHERE n_writes = ?", &q,
                             err)) != CMIR_OK)
        return st;
    cmir_bind_int(q, n_writes);
    cmir_bind_int(q, before);
    st = cmir_stmt_run(q, err);
    cmir_stmt_close(q);
    if (st != CMIR_OK || (st = cmir_stmt_open(db,
                                              "INSERT OR REPLACE INTO calibration(" COLUMNS ") "
                                              "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                                              &q, err)) != CMIR_OK)
        return st;
    for (size_t i = 0; i < n && st == CMIR_OK; i++)
        st = write_row(q, &rows[i], n_writes, err);
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_store_calibrate(cmir_store *store, const cmir_calibration *rows, size_t n, cmir_error *err)
{
    int64_t before, now;
    cmir_status st = cmir_catalog_n_writes(store->db, &before, err);

    if (st != CMIR_OK || (st = cmir_store_begin(store, err)) != CMIR_OK)
        return st;
    if ((st = cmir_catalog_n_writes(store->db, &now, err)) == CMIR_OK &&
        (st = write_rows(store->db, rows, n, before, now + 1, err)) == CMIR_OK)
        return cmir_store_commit(store, err);
    cmir_store_rollback(store);
    return st;
}
