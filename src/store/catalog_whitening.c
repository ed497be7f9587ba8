/* SPDX-License-Identifier: Apache-2.0 */
/* catalog_whitening.c: a whitening in the catalogue.  Called by catalog.c, store.c and engine.
 *
 * The one idea: the archive's encoder_sha256 covers every number of the whitening, so one that was
 * changed is refused before it makes an embedding. */
#include "store/whitening.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

static const char schema[] =
    "CREATE TABLE whitening("
    "    id INTEGER PRIMARY KEY CHECK (id = 1),"
    "    base_name TEXT NOT NULL, base_sha256 TEXT NOT NULL, base_dim INTEGER NOT NULL,"
    "    n_volumes INTEGER NOT NULL, n_slices INTEGER NOT NULL, filter TEXT NOT NULL,"
    "    explained REAL NOT NULL, mean BLOB NOT NULL) STRICT;"
    "CREATE TABLE components("
    "    number INTEGER PRIMARY KEY, weights BLOB NOT NULL) STRICT;";

cmir_status
cmir_whitening_new(uint32_t base_dim, uint32_t dim, const char *base_name, const char *base_sha256,
                   const char *where, cmir_whitening **out, cmir_error *err)
{
    cmir_whitening *w = cmir_alloc_zeroed(1, sizeof *w);

    *out = NULL;
    if (w == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a whitening");
    w->dim = dim;
    w->info.base_dim = base_dim;
    w->info.base_name = cmir_strdup(base_name);
    w->info.base_sha256 = cmir_strdup(base_sha256);
    w->info.where = cmir_strdup(where);
    w->mean = cmir_alloc_zeroed(base_dim, sizeof *w->mean);
    w->weights = cmir_alloc_zeroed((size_t)dim * base_dim, sizeof *w->weights);
    if (w->info.base_name == NULL || w->info.base_sha256 == NULL || w->info.where == NULL ||
        w->mean == NULL || w->weights == NULL) {
        cmir_whitening_free(w);
        return FAIL(err, CMIR_ENOMEM, "no memory for a whitening of %u to %u dimensions",
                    (unsigned)base_dim, (unsigned)dim);
    }
    *out = w;
    return CMIR_OK;
}

void
cmir_whitening_free(cmir_whitening *whitening)
{
    if (whitening == NULL)
        return;
    free((char *)(uintptr_t)whitening->info.base_name);
    free((char *)(uintptr_t)whitening->info.base_sha256);
    free((char *)(uintptr_t)whitening->info.where);
    free(whitening->mean);
    free(whitening->weights);
    free(whitening);
}

cmir_status
cmir_whitening_sha256(const cmir_whitening *w, char hex[CMIR_SHA256_HEX_NBYTES], cmir_error *err)
{
    const size_t row = w->info.base_dim * sizeof(float);
    cmir_buf bytes = {0};

    cmir_buf_puts(&bytes, w->info.base_sha256);
    cmir_buf_add(&bytes, w->mean, row);
    cmir_buf_add(&bytes, w->weights, w->dim * row);
    if (!bytes.failed)
        cmir_sha256(bytes.data, bytes.nbytes, hex);
    free(bytes.data);
    return bytes.failed ? FAIL(err, CMIR_ENOMEM, "no memory for a whitening") : CMIR_OK;
}

static cmir_status
insert_components(cmir_db *db, const cmir_whitening *w, cmir_error *err)
{
    const size_t n = w->info.base_dim;
    cmir_stmt *q;
    cmir_status st = cmir_stmt_open(db, "INSERT INTO components VALUES (?, ?)", &q, err);

    for (uint32_t k = 0; k < w->dim && st == CMIR_OK; k++) {
        cmir_bind_int(q, k + 1);
        cmir_bind_blob(q, w->weights + k * n, n * sizeof *w->weights);
        st = cmir_stmt_run(q, err);
    }
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_put_whitening(cmir_db *db, const cmir_whitening *w, cmir_error *err)
{
    const cmir_whitening_info *info = &w->info;
    cmir_stmt *q = NULL;
    cmir_status st = cmir_db_exec(db, schema, err);

    if (st == CMIR_OK)
        st =
            cmir_stmt_open(db, "INSERT INTO whitening VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)", &q, err);
    if (st != CMIR_OK)
        return st;
    cmir_bind_text(q, info->base_name);
    cmir_bind_text(q, info->base_sha256);
    cmir_bind_int(q, info->base_dim);
    cmir_bind_int(q, (int64_t)info->n_volumes);
    cmir_bind_int(q, (int64_t)info->n_slices);
    cmir_bind_text(q, info->where);
    cmir_bind_double(q, info->explained);
    cmir_bind_blob(q, w->mean, info->base_dim * sizeof *w->mean);
    st = cmir_stmt_run(q, err);
    cmir_stmt_close(q);
    return st == CMIR_OK ? insert_components(db, w, err) : st;
}

static cmir_status
damaged(const char *path, const char *what, cmir_error *err)
{
    return FAIL(err, CMIR_ECORRUPT, "%s: damaged whitening (%s)", path, what);
}

/* Copies column 0 or 8 ... of the row, if it holds n numbers. */
static bool
read_numbers(cmir_stmt *q, int column, size_t n, float *out)
{
    size_t nbytes;
    const void *blob = cmir_column_blob(q, column, &nbytes);

    if (blob == NULL || nbytes != n * sizeof *out)
        return false;
    memcpy(out, blob, nbytes);
    return true;
}

/* The row of table whitening; *out stays NULL where there is none. */
static cmir_status
read_row(cmir_db *db, const char *path, uint32_t dim, cmir_whitening **out, cmir_error *err)
{
    cmir_stmt *q;
    bool row;
    cmir_status st = cmir_stmt_open(db,
                                    "SELECT base_name, base_sha256, base_dim, n_volumes, n_slices, "
                                    "filter, explained, mean FROM whitening WHERE id = 1",
                                    &q, err);

    if (st != CMIR_OK)
        return st;
    if ((st = cmir_stmt_step(q, &row, err)) != CMIR_OK)
        goto done;
    const int64_t base_dim = row ? cmir_column_int(q, 2) : 0;
    if (base_dim < 1 || base_dim > CMIR_MAX_DIM || dim > base_dim) {
        st = damaged(path, "dimensions", err);
        goto done;
    }
    st = cmir_whitening_new((uint32_t)base_dim, dim, cmir_column_text(q, 0), cmir_column_text(q, 1),
                            cmir_column_text(q, 5), out, err);
    if (st != CMIR_OK)
        goto done;
    (*out)->info.n_volumes = (uint64_t)cmir_column_int(q, 3);
    (*out)->info.n_slices = (uint64_t)cmir_column_int(q, 4);
    (*out)->info.explained = cmir_column_double(q, 6);
    if (!read_numbers(q, 7, (size_t)base_dim, (*out)->mean))
        st = damaged(path, "mean", err);
done:
    cmir_stmt_close(q);
    return st;
}

static cmir_status
read_components(cmir_db *db, const char *path, cmir_whitening *w, cmir_error *err)
{
    const size_t n = w->info.base_dim;
    cmir_stmt *q;
    bool row;
    cmir_status st = cmir_stmt_open(db, "SELECT weights FROM components ORDER BY number", &q, err);

    for (uint32_t k = 0; k < w->dim && st == CMIR_OK; k++)
        if ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK &&
            (!row || !read_numbers(q, 0, n, w->weights + k * n)))
            st = damaged(path, "components", err);
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_whitening(cmir_db *db, const char *path, uint32_t dim, const char *sha256,
                       cmir_whitening **out, cmir_error *err)
{
    char own[CMIR_SHA256_HEX_NBYTES];
    cmir_whitening *w = NULL;
    bool there;
    cmir_status st = cmir_db_has_table(db, "whitening", &there, err);

    *out = NULL;
    if (st != CMIR_OK || !there)
        return st;
    if ((st = read_row(db, path, dim, &w, err)) == CMIR_OK &&
        (st = read_components(db, path, w, err)) == CMIR_OK &&
        (st = cmir_whitening_sha256(w, own, err)) == CMIR_OK && strcmp(own, sha256) != 0)
        st = damaged(path, "another sha256 than the archive says", err);
    if (st != CMIR_OK) {
        cmir_whitening_free(w);
        return st;
    }
    *out = w;
    return CMIR_OK;
}
