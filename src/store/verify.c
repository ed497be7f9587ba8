/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c: reads a whole archive and tells what is wrong with it.  Called by engine.
 *
 * A fault is a sentence for the caller, not an error: verification goes on with the next volume,
 * so that one run names all that is lost. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/store_internal.h"
#include "store/verify.h"

/* Running out of memory is no fault of the archive: it ends the verification. */
void
cmir_verify_tell(struct verify *v, const cmir_error *fault)
{
    if (fault->code == CMIR_ENOMEM) {
        v->st = FAIL(v->err, CMIR_ENOMEM, "%s", fault->msg);
        return;
    }
    v->n_problems++;
    if (v->problem != NULL)
        v->problem(v->ctx, fault->msg);
}

/* Steps a check of SQLite's; damage that stops it is a fault as well.  False: no more rows. */
bool
cmir_verify_next(struct verify *v, cmir_stmt *q)
{
    cmir_error cause = {0};
    bool row;

    if (cmir_stmt_step(q, &row, &cause) != CMIR_OK)
        cmir_verify_tell(v, &cause);
    return row;
}

cmir_stmt *
cmir_verify_open(struct verify *v, const char *sql)
{
    cmir_error cause = {0};
    cmir_stmt *q;

    if (cmir_stmt_open(v->db, sql, &q, &cause) != CMIR_OK)
        cmir_verify_tell(v, &cause);
    return q;
}

static void
check_database(struct verify *v)
{
    cmir_stmt *q = cmir_verify_open(v, "PRAGMA integrity_check(20)");

    while (q != NULL && cmir_verify_next(v, q))
        if (strcmp(cmir_column_text(q, 0), "ok") != 0)
            REPORT(v, "%s: %s", v->store->catalog_path, cmir_column_text(q, 0));
    cmir_stmt_close(q);
    q = cmir_verify_open(v, "PRAGMA foreign_key_check");
    while (q != NULL && cmir_verify_next(v, q))
        REPORT(v, "%s: a row of %s belongs to nothing", v->store->catalog_path,
               cmir_column_text(q, 0));
    cmir_stmt_close(q);
}

static void
check_center(struct verify *v)
{
    cmir_error cause = {0};
    bool found;

    if (cmir_catalog_center(v->db, cmir_padded_dim(v->store), v->center, &found, &cause) != CMIR_OK)
        cmir_verify_tell(v, &cause);
}

static void
check_calibrations(struct verify *v)
{
    cmir_error cause = {0};

    if (cmir_calibrations_check(v->db, &cause) != CMIR_OK)
        cmir_verify_tell(v, &cause);
}

static const char *const tables[CMIR_N_SERIES] = {[CMIR_ROWS] = "segments",
                                                  [CMIR_PREVIEWS] = "preview_segments"};

/* The statement with the table of a series in the place of %s. */
static cmir_stmt *
open_series(struct verify *v, int series, const char *format)
{
    char sql[128];

    (void)snprintf(sql, sizeof sql, format, tables[series]);
    return cmir_verify_open(v, sql);
}

/* Segments of the catalogue: the files are there and long enough. */
static void
check_segments(struct verify *v, int series, uint32_t *last)
{
    cmir_stmt *q = open_series(v, series, "SELECT number, nbytes FROM %s ORDER BY number");

    *last = 0;
    while (q != NULL && cmir_verify_next(v, q)) {
        struct stat info;
        const int64_t number = cmir_column_int(q, 0), nbytes = cmir_column_int(q, 1);

        if (number < 1 || number > CMIR_MAX_SEGMENT || nbytes < 0) {
            REPORT(v, "%s: impossible segment %lld of %lld bytes", v->store->catalog_path,
                   (long long)number, (long long)nbytes);
            continue;
        }
        *last = (uint32_t)number;
        char *path = cmir_series_path(series, v->store->dir, *last);
        if (path == NULL)
            continue;
        if (stat(path, &info) != 0)
            REPORT(v, "%s: %s", path, strerror(errno));
        else if (info.st_size < nbytes)
            REPORT(v, "%s: cut short: %lld bytes, of which the catalogue names %lld", path,
                   (long long)info.st_size, (long long)nbytes);
        free(path);
    }
    cmir_stmt_close(q);
}

/* Whether the catalogue names a segment, or may come to: numbers behind the last belong to what a
 * writer has not finished, now or in the past. */
static bool
is_named(struct verify *v, int series, uint32_t number, uint32_t last)
{
    cmir_stmt *q =
        number > last ? NULL : open_series(v, series, "SELECT 1 FROM %s WHERE number = ?");
    bool row = number > last;

    if (q != NULL) {
        cmir_bind_int(q, number);
        row = cmir_verify_next(v, q);
    }
    cmir_stmt_close(q);
    return row;
}

static void
check_files(struct verify *v, int series, uint32_t last)
{
    const cmir_series *names = &cmir_series_of[series];
    struct dirent *entry;
    char expected[32];
    char *path = cmir_asprintf("%s/%s", v->store->dir, names->folder);
    DIR *d = path == NULL ? NULL : opendir(path);

    if (d == NULL) {
        v->st = FAIL(v->err, CMIR_EIO, "%s/%s: %s", v->store->dir, names->folder, strerror(errno));
        free(path);
        return;
    }
    while (v->st == CMIR_OK && (entry = readdir(d)) != NULL) {
        const unsigned long number = strtoul(entry->d_name, NULL, 10);

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(expected, sizeof expected, "%08lu.%s", number, names->extension);
        const bool named = strcmp(entry->d_name, expected) == 0 && number >= 1 &&
                           number <= CMIR_MAX_SEGMENT &&
                           is_named(v, series, (uint32_t)number, last);
        if (!named && v->st == CMIR_OK)
            REPORT(v, "%s/%s: no part of the archive", path, entry->d_name);
    }
    closedir(d);
    free(path);
}

static cmir_status
check_embeddings(struct verify *v, const cmir_place *place, const cmir_record *record,
                 cmir_error *cause)
{
    const char *id = record->info.volume_id;
    cmir_segment_map *map;
    cmir_rows rows;
    cmir_status st = cmir_maps_take(&v->store->maps, place->segment,
                                    place->offset + place->claim.nbytes, &map, cause);

    if (st != CMIR_OK)
        return st;
    if ((st = cmir_store_rows(v->store, id, place, map, &rows, cause)) == CMIR_OK)
        st = cmir_record_check(map->map.data + place->offset, &rows, record->slice_marks, v->center,
                               id, place->offset, cause);
    cmir_maps_give_back(&v->store->maps, map);
    return st;
}

static cmir_status
check_catalogue_row(const cmir_record *record, cmir_error *cause)
{
    uint32_t n_air = 0;

    for (uint32_t i = 0; i < record->n_slices; i++)
        n_air += (record->slice_marks[i] & CMIR_SLICE_AIR) != 0;
    if (n_air != record->n_air)
        return FAIL(cause, CMIR_ECORRUPT, "%s: %u slices are marked as air, the catalogue says %u",
                    record->info.volume_id, (unsigned)n_air, (unsigned)record->n_air);
    return CMIR_OK;
}

/* The volume of the current row: volume_id, CMIR_PLACE_COLUMNS, the segment's nbytes. */
static void
check_volume(struct verify *v, cmir_stmt *q)
{
    cmir_error cause = {0};
    cmir_record *record = NULL;
    cmir_place place;
    const char *id = cmir_column_text(q, 0);
    const uint64_t owned = (uint64_t)cmir_column_int(q, 7);

    if (cmir_catalog_read_place(q, 1, id, &place, &cause) != CMIR_OK) {
        cmir_verify_tell(v, &cause);
        return;
    }
    if (place.claim.nbytes > owned || place.offset > owned - place.claim.nbytes)
        REPORT(v, "%s: the catalogue places it outside of its segment", id);
    if (place.segment == v->segment && place.offset < v->end)
        REPORT(v, "%s: the catalogue places it where another volume lies", id);
    v->segment = place.segment;
    v->end = place.offset + place.claim.nbytes;
    if (cmir_catalog_record(v->db, id, &record, &cause) != CMIR_OK ||
        check_catalogue_row(record, &cause) != CMIR_OK ||
        check_embeddings(v, &place, record, &cause) != CMIR_OK)
        cmir_verify_tell(v, &cause);
    cmir_record_free(record);
}

static void
check_volumes(struct verify *v)
{
    cmir_stmt *q =
        cmir_verify_open(v, "SELECT v.volume_id, " CMIR_PLACE_COLUMNS ", s.nbytes "
                            "FROM volumes AS v LEFT JOIN segments AS s ON s.number = v.segment "
                            "ORDER BY v.segment, v.offset");

    while (q != NULL && v->st == CMIR_OK && cmir_verify_next(v, q))
        check_volume(v, q);
    cmir_stmt_close(q);
}

cmir_status
cmir_store_verify(cmir_store *store, void (*problem)(void *ctx, const char *sentence), void *ctx,
                  uint64_t *n_problems, cmir_error *err)
{
    struct verify v = {.store = store, .problem = problem, .ctx = ctx, .err = err};
    uint32_t last[CMIR_N_SERIES] = {0};
    const int n_series = cmir_store_n_series(store);

    v.st = cmir_catalog_open(store->catalog_path, store->read_mode, &v.db, err);
    if (v.st == CMIR_OK)
        v.st = cmir_db_begin(v.db, false, err);
    if (v.st == CMIR_OK)
        check_center(&v);
    if (v.st == CMIR_OK)
        check_database(&v);
    if (v.st == CMIR_OK)
        check_calibrations(&v);
    for (int series = 0; series < n_series && v.st == CMIR_OK; series++)
        check_segments(&v, series, &last[series]);
    if (v.st == CMIR_OK)
        check_volumes(&v);
    if (v.st == CMIR_OK && n_series == CMIR_N_SERIES)
        cmir_verify_previews(&v);
    for (int series = 0; series < n_series && v.st == CMIR_OK; series++)
        check_files(&v, series, last[series]);
    cmir_db_close(v.db);
    *n_problems = v.n_problems;
    return v.st;
}
