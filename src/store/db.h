/* SPDX-License-Identifier: Apache-2.0 */
/* db.h: the little of SQLite that the catalogue needs, so that sqlite3.h enters through db.c alone.
 * Called by catalog, snapshot and verify.
 *
 * The one idea: a statement remembers its first failure; binding and reading never fail, stepping
 * reports what went wrong, named after the file. */
#ifndef CMIR_STORE_DB_H
#define CMIR_STORE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/status.h>

typedef struct cmir_db cmir_db;
typedef struct cmir_stmt cmir_stmt;

typedef enum cmir_db_mode {
    CMIR_DB_READ, /* sees commits of others */
    CMIR_DB_IMMUTABLE, /* for places where SQLite cannot write its -shm: nobody may change it */
    CMIR_DB_WRITE,
    CMIR_DB_CREATE
} cmir_db_mode;

/* CMIR_ENOTFOUND where there is no file; CMIR_ECORRUPT where it is no database. */
cmir_status cmir_db_open(const char *path, cmir_db_mode mode, cmir_db **out, cmir_error *err);
void cmir_db_close(cmir_db *db); /* NULL is fine */

/* Runs SQL of ours that gives no rows. */
cmir_status cmir_db_exec(cmir_db *db, const char *sql, cmir_error *err);
cmir_status cmir_db_has_table(cmir_db *db, const char *name, bool *out, cmir_error *err);
cmir_status cmir_db_begin(cmir_db *db, bool write, cmir_error *err);
cmir_status cmir_db_commit(cmir_db *db, cmir_error *err);
void cmir_db_rollback(cmir_db *db); /* fine where no transaction is open */
/* Whether a transaction is open: SQLite ends it by itself where the disk is full, or memory. */
bool cmir_db_in_transaction(const cmir_db *db);
int64_t cmir_db_last_id(const cmir_db *db);

/* `sql` may call cmir_number(text): its value, or NULL where the text is not a decimal number. */
cmir_status cmir_stmt_open(cmir_db *db, const char *sql, cmir_stmt **out, cmir_error *err);
void cmir_stmt_close(cmir_stmt *stmt); /* NULL is fine */

/* Parameters in order, from the first; what they point to must last until the next step or reset.
 * NULL text binds NULL. */
void cmir_bind_text(cmir_stmt *stmt, const char *text);
void cmir_bind_int(cmir_stmt *stmt, int64_t value);
void cmir_bind_double(cmir_stmt *stmt, double value); /* NAN binds NULL */
void cmir_bind_blob(cmir_stmt *stmt, const void *data, size_t nbytes);

/* *row says whether there is a row to read. */
cmir_status cmir_stmt_step(cmir_stmt *stmt, bool *row, cmir_error *err);
/* Steps a statement that gives no rows, and resets it for new parameters. */
cmir_status cmir_stmt_run(cmir_stmt *stmt, cmir_error *err);
void cmir_stmt_reset(cmir_stmt *stmt);

/* Columns of the row, from 0; pointers last until the next step.  Text is never NULL. */
const char *cmir_column_text(cmir_stmt *stmt, int column);
int64_t cmir_column_int(cmir_stmt *stmt, int column);
double cmir_column_double(cmir_stmt *stmt, int column); /* NULL reads as NAN */
const void *cmir_column_blob(cmir_stmt *stmt, int column, size_t *nbytes);

#endif
