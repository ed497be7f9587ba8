/* SPDX-License-Identifier: Apache-2.0 */
/* db.c: the little of SQLite that the catalogue needs; the only file that sees sqlite3.h.
 *
 * A catalogue may be damaged or hostile: schema code (triggers, views, functions in the schema) is
 * off, lengths are limited, and every failure becomes a status and a sentence. */
#include "store/db.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "base/error.h"
#include "base/memory.h"

#define BUSY_MS 10000
#define MAX_VALUE_NBYTES (64 << 20) /* of one text or blob */

#define MAX_IDLE 16u /* statements that are kept */

struct cmir_db {
    sqlite3 *sqlite;
    char *path;
    cmir_stmt *idle; /* closed, to be opened again: parsing costs more than a row */
    unsigned n_idle;
};

struct cmir_stmt {
    cmir_db *db;
    sqlite3_stmt *sqlite;
    int n_bound;
    int rc; /* of the first bind that failed */
    cmir_stmt *next; /* while it is idle */
};

static cmir_status
status_of(int rc)
{
    switch (rc & 0xFF) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return CMIR_OK;
    case SQLITE_NOMEM: return CMIR_ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return CMIR_EBUSY;
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return CMIR_EIO;
    case SQLITE_TOOBIG: return CMIR_ELIMIT;
    default: /* not a database, damaged, or tables other than ours */ return CMIR_ECORRUPT;
    }
}

static cmir_status
fail(const cmir_db *db, int rc, cmir_error *err)
{
    const int code = rc & 0xFF;

    if (code == SQLITE_NOTADB)
        return FAIL(err, CMIR_ECORRUPT, "%s: not a cmir catalogue (no SQLite database)", db->path);
    if (code == SQLITE_FULL)
        return FAIL(err, CMIR_EIO, "%s: no space left to write", db->path);
    return FAIL(err, status_of(rc), "%s: %s", db->path,
                db->sqlite != NULL ? sqlite3_errmsg(db->sqlite) : sqlite3_errstr(rc));
}

/* Whether text is [+-]digits[.digits][e[+-]digits], with a digit before the exponent. */
static bool
is_number(const char *s)
{
    size_t n = 0;

    s += *s == '+' || *s == '-';
    for (; *s >= '0' && *s <= '9'; s++)
        n++;
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++)
            n++;
    if (n == 0)
        return false;
    if (*s != 'e' && *s != 'E')
        return *s == '\0';
    s++;
    s += *s == '+' || *s == '-';
    if (*s == '\0')
        return false;
    while (*s >= '0' && *s <= '9')
        s++;
    return *s == '\0';
}

static void
number_function(sqlite3_context *context, int n_args, sqlite3_value **args)
{
    const unsigned char *text = n_args == 1 ? sqlite3_value_text(args[0]) : NULL;

    if (text != NULL && is_number((const char *)text))
        sqlite3_result_double(context, sqlite3_value_double(args[0]));
}

/* "file:" URI of a path. */
static char *
uri_of(const char *path, const char *query)
{
    cmir_buf buf = {0};

    cmir_buf_puts(&buf, "file:");
    for (const char *p = path; *p != '\0'; p++) {
        if (strchr("%?#", *p) != NULL)
            cmir_buf_printf(&buf, "%%%02X", (unsigned)(unsigned char)*p);
        else
            cmir_buf_add(&buf, p, 1);
    }
    cmir_buf_puts(&buf, query);
    if (buf.failed) {
        free(buf.data);
        return NULL;
    }
    return buf.data;
}

static cmir_status
configure(cmir_db *db, cmir_db_mode mode, cmir_error *err)
{
    int rc = sqlite3_extended_result_codes(db->sqlite, 1);

    sqlite3_busy_timeout(db->sqlite, BUSY_MS);
    sqlite3_limit(db->sqlite, SQLITE_LIMIT_LENGTH, MAX_VALUE_NBYTES);
    sqlite3_limit(db->sqlite, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function(db->sqlite, "cmir_number", 1,
                                     SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY, NULL,
                                     number_function, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db->sqlite, "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY",
                          NULL, NULL, NULL);
    if (rc == SQLITE_OK && mode >= CMIR_DB_WRITE)
        rc = sqlite3_exec(db->sqlite,
                          "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                          "PRAGMA journal_size_limit = 16777216",
                          NULL, NULL, NULL);
    return rc == SQLITE_OK ? CMIR_OK : fail(db, rc, err);
}

cmir_status
cmir_db_open(const char *path, cmir_db_mode mode, cmir_db **out, cmir_error *err)
{
    static const int flags[] = {
        [CMIR_DB_READ] = SQLITE_OPEN_READONLY,
        [CMIR_DB_IMMUTABLE] = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
        [CMIR_DB_WRITE] = SQLITE_OPEN_READWRITE,
        [CMIR_DB_CREATE] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
    };
    cmir_status st;
    cmir_db *db = cmir_alloc_zeroed(1, sizeof *db);
    char *name = mode == CMIR_DB_IMMUTABLE ? uri_of(path, "?immutable=1") : cmir_strdup(path);

    *out = NULL;
    if (db == NULL || name == NULL || (db->path = cmir_strdup(path)) == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", path);
        goto fail;
    }
    const int rc = sqlite3_open_v2(name, &db->sqlite, flags[mode] | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        st = fail(db, rc, err);
        goto fail;
    }
    if ((st = configure(db, mode, err)) != CMIR_OK)
        goto fail;
    free(name);
    *out = db;
    return CMIR_OK;
fail:
    free(name);
    cmir_db_close(db);
    return st;
}

void
cmir_db_close(cmir_db *db)
{
    if (db == NULL)
        return;
    for (cmir_stmt *stmt = db->idle, *next; stmt != NULL; stmt = next) {
        next = stmt->next;
        sqlite3_finalize(stmt->sqlite);
        free(stmt);
    }
    sqlite3_close_v2(db->sqlite);
    free(db->path);
    free(db);
}

cmir_status
cmir_db_exec(cmir_db *db, const char *sql, cmir_error *err)
{
    const int rc = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? CMIR_OK : fail(db, rc, err);
}

cmir_status
cmir_db_begin(cmir_db *db, bool write, cmir_error *err)
{
    return cmir_db_exec(db, write ? "BEGIN IMMEDIATE" : "BEGIN", err);
}

cmir_status
cmir_db_commit(cmir_db *db, cmir_error *err)
{
    return cmir_db_exec(db, "COMMIT", err);
}

bool
cmir_db_in_transaction(const cmir_db *db)
{
    return sqlite3_get_autocommit(db->sqlite) == 0;
}

void
cmir_db_rollback(cmir_db *db)
{
    if (cmir_db_in_transaction(db))
        (void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
}

int64_t
cmir_db_last_id(const cmir_db *db)
{
    return sqlite3_last_insert_rowid(db->sqlite);
}

/* One that was closed, ready for use; NULL: there is none. */
static cmir_stmt *
take_idle(cmir_db *db, const char *sql)
{
    for (cmir_stmt **p = &db->idle; *p != NULL; p = &(*p)->next)
        if (strcmp(sqlite3_sql((*p)->sqlite), sql) == 0) {
            cmir_stmt *stmt = *p;
            *p = stmt->next;
            db->n_idle--;
            return stmt;
        }
    return NULL;
}

cmir_status
cmir_stmt_open(cmir_db *db, const char *sql, cmir_stmt **out, cmir_error *err)
{
    cmir_stmt *stmt = take_idle(db, sql);

    *out = stmt;
    if (stmt != NULL)
        return CMIR_OK;
    stmt = cmir_alloc_zeroed(1, sizeof *stmt);
    if (stmt == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", db->path);
    stmt->db = db;
    const int rc = sqlite3_prepare_v2(db->sqlite, sql, -1, &stmt->sqlite, NULL);
    if (rc != SQLITE_OK) {
        const cmir_status st = fail(db, rc, err);
        cmir_stmt_close(stmt);
        return st;
    }
    *out = stmt;
    return CMIR_OK;
}

static void
drop_oldest(cmir_db *db)
{
    cmir_stmt **last = &db->idle;

    while ((*last)->next != NULL)
        last = &(*last)->next;
    sqlite3_finalize((*last)->sqlite);
    free(*last);
    *last = NULL;
    db->n_idle--;
}

void
cmir_stmt_close(cmir_stmt *stmt)
{
    if (stmt == NULL)
        return;
    if (stmt->sqlite == NULL) {
        free(stmt);
        return;
    }
    cmir_stmt_reset(stmt);
    stmt->next = stmt->db->idle;
    stmt->db->idle = stmt;
    if (++stmt->db->n_idle > MAX_IDLE)
        drop_oldest(stmt->db);
}

static void
bound(cmir_stmt *stmt, int rc)
{
    if (stmt->rc == SQLITE_OK)
        stmt->rc = rc;
}

void
cmir_bind_text(cmir_stmt *stmt, const char *text)
{
    bound(stmt, sqlite3_bind_text(stmt->sqlite, ++stmt->n_bound, text, -1, SQLITE_STATIC));
}

void
cmir_bind_int(cmir_stmt *stmt, int64_t value)
{
    bound(stmt, sqlite3_bind_int64(stmt->sqlite, ++stmt->n_bound, value));
}

void
cmir_bind_double(cmir_stmt *stmt, double value)
{
    bound(stmt, sqlite3_bind_double(stmt->sqlite, ++stmt->n_bound, value));
}

void
cmir_bind_blob(cmir_stmt *stmt, const void *data, size_t nbytes)
{
    bound(stmt, sqlite3_bind_blob64(stmt->sqlite, ++stmt->n_bound, data, nbytes, SQLITE_STATIC));
}

cmir_status
cmir_stmt_step(cmir_stmt *stmt, bool *row, cmir_error *err)
{
    *row = false;
    if (stmt->rc != SQLITE_OK)
        return fail(stmt->db, stmt->rc, err);
    const int rc = sqlite3_step(stmt->sqlite);
    *row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? CMIR_OK : fail(stmt->db, rc, err);
}

cmir_status
cmir_stmt_run(cmir_stmt *stmt, cmir_error *err)
{
    bool row;
    const cmir_status st = cmir_stmt_step(stmt, &row, err);

    cmir_stmt_reset(stmt);
    return st;
}

void
cmir_stmt_reset(cmir_stmt *stmt)
{
    sqlite3_reset(stmt->sqlite);
    sqlite3_clear_bindings(stmt->sqlite);
    stmt->n_bound = 0;
    stmt->rc = SQLITE_OK;
}

const char *
cmir_column_text(cmir_stmt *stmt, int column)
{
    const unsigned char *text = sqlite3_column_text(stmt->sqlite, column);

    return text == NULL ? "" : (const char *)text;
}

int64_t
cmir_column_int(cmir_stmt *stmt, int column)
{
    return sqlite3_column_int64(stmt->sqlite, column);
}

double
cmir_column_double(cmir_stmt *stmt, int column)
{
    return sqlite3_column_type(stmt->sqlite, column) == SQLITE_NULL
               ? NAN
               : sqlite3_column_double(stmt->sqlite, column);
}

const void *
cmir_column_blob(cmir_stmt *stmt, int column, size_t *nbytes)
{
    const void *data = sqlite3_column_blob(stmt->sqlite, column);

    *nbytes = (size_t)sqlite3_column_bytes(stmt->sqlite, column);
    return data;
}

cmir_status
cmir_db_has_table(cmir_db *db, const char *name, bool *out, cmir_error *err)
{
    cmir_stmt *q;
    cmir_status st = cmir_stmt_open(
        db, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", &q, err);

    *out = false;
    if (st != CMIR_OK)
        return st;
    cmir_bind_text(q, name);
    st = cmir_stmt_step(q, out, err);
    cmir_stmt_close(q);
    return st;
}
