/* SPDX-License-Identifier: Apache-2.0 */
/* catalog_previews.c: previews in the catalogue: what kind the archive keeps, where each lies.  Called
 * by store and verify.
 *
 * The one idea: the tables are there only where previews are kept, so an archive without them is what
 * it was before cmir had any. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/catalog.h"

static const char schema[] =
    "CREATE TABLE preview_kind("
    "    id INTEGER PRIMARY KEY CHECK (id = 1), kind INTEGER NOT NULL) STRICT;"
    "CREATE TABLE preview_segments("
    "    number INTEGER PRIMARY KEY, nbytes INTEGER NOT NULL) STRICT;"
    "CREATE TABLE previews("
    "    volume INTEGER PRIMARY KEY REFERENCES volumes(id) ON DELETE CASCADE,"
    "    segment INTEGER NOT NULL REFERENCES preview_segments(number),"
    "    offset INTEGER NOT NULL, nbytes INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT;";

cmir_status
cmir_catalog_begin_previews(cmir_db *db, cmir_previews kind, cmir_error *err)
{
    cmir_stmt *q;
    cmir_status st = cmir_db_exec(db, schema, err);

    if (st == CMIR_OK)
        st = cmir_stmt_open(db, "INSERT INTO preview_kind VALUES (1, ?)", &q, err);
    if (st != CMIR_OK)
        return st;
    cmir_bind_int(q, kind);
    st = cmir_stmt_run(q, err);
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_previews(cmir_db *db, const char *path, cmir_previews *out, cmir_error *err)
{
    cmir_stmt *q;
    bool there, row;
    cmir_status st = cmir_db_has_table(db, "preview_kind", &there, err);

    *out = CMIR_PREVIEWS_NONE;
    if (st != CMIR_OK || !there)
        return st;
    if ((st = cmir_stmt_open(db, "SELECT kind FROM preview_kind WHERE id = 1", &q, err)) != CMIR_OK)
        return st;
    if ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK) {
        const int64_t kind = row ? cmir_column_int(q, 0) : 0;

        if (kind == CMIR_PREVIEWS_SMALL || kind == CMIR_PREVIEWS_FULL)
            *out = (cmir_previews)kind;
        else
            st = FAIL(err, CMIR_ECORRUPT, "%s: does not say which previews it keeps", path);
    }
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_read_preview(cmir_stmt *stmt, int first, const char *volume_id,
                          cmir_preview_claim *out, cmir_error *err)
{
    const int64_t segment = cmir_column_int(stmt, first), offset = cmir_column_int(stmt, first + 1),
                  nbytes = cmir_column_int(stmt, first + 2), crc = cmir_column_int(stmt, first + 3);

    if (segment < 1 || segment > CMIR_MAX_SEGMENT || offset < 0 ||
        offset % CMIR_RECORD_ALIGN != 0 || nbytes < CMIR_RECORD_ALIGN ||
        nbytes % CMIR_RECORD_ALIGN != 0 || nbytes > INT64_MAX - offset || crc < 0 ||
        crc > UINT32_MAX)
        return FAIL(err, CMIR_ECORRUPT, "%s: damaged catalogue row (place of its preview)",
                    volume_id);
    *out =
        (cmir_preview_claim){(uint32_t)segment, (uint64_t)offset, (uint64_t)nbytes, (uint32_t)crc};
    return CMIR_OK;
}

/* Where the preview of a volume lies; *found is false where there is none. */
static cmir_status
find_preview(cmir_db *db, const char *volume_id, cmir_preview_claim *out, bool *found,
             cmir_error *err)
{
    cmir_stmt *q;
    cmir_status st = cmir_db_has_table(db, "previews", found, err);

    if (st != CMIR_OK || !*found)
        return st;
    st = cmir_stmt_open(db,
                        "SELECT " CMIR_PREVIEW_COLUMNS " FROM previews AS p JOIN volumes AS v "
                        "ON v.id = p.volume WHERE v.volume_id = ?",
                        &q, err);
    if (st != CMIR_OK)
        return st;
    cmir_bind_text(q, volume_id);
    if ((st = cmir_stmt_step(q, found, err)) == CMIR_OK && *found)
        st = cmir_catalog_read_preview(q, 0, volume_id, out, err);
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_preview_nbytes(cmir_db *db, const char *volume_id, uint64_t *out, cmir_error *err)
{
    cmir_preview_claim claim;
    bool found;
    const cmir_status st = find_preview(db, volume_id, &claim, &found, err);

    *out = st == CMIR_OK && found ? claim.nbytes : 0;
    return st;
}

cmir_status
cmir_catalog_preview_place(cmir_db *db, const char *dir, const char *volume_id,
                           cmir_preview_place *out, cmir_error *err)
{
    cmir_preview_claim claim;
    bool found;
    cmir_status st = find_preview(db, volume_id, &claim, &found, err);

    *out = (cmir_preview_place){0};
    if (st != CMIR_OK)
        return st;
    if (!found)
        return FAIL(err, CMIR_ENOTFOUND, "%s: the archive keeps no preview of it", volume_id);
    *out = (cmir_preview_place){cmir_series_path(CMIR_PREVIEWS, dir, claim.segment), claim.offset,
                                claim.nbytes, claim.crc};
    return out->path == NULL ? FAIL(err, CMIR_ENOMEM, "%s: no memory", volume_id) : CMIR_OK;
}

cmir_status
cmir_catalog_count_previews(cmir_db *db, cmir_archive_info *out, cmir_error *err)
{
    cmir_stmt *q;
    bool row;
    cmir_status st = cmir_db_has_table(db, "previews", &row, err);

    out->previews_nbytes = out->dead_previews_nbytes = 0;
    if (st != CMIR_OK || !row)
        return st;
    st = cmir_stmt_open(db,
                        "SELECT (SELECT coalesce(sum(nbytes), 0) FROM preview_segments), "
                        "(SELECT coalesce(sum(nbytes), 0) FROM previews)",
                        &q, err);
    if (st != CMIR_OK)
        return st;
    if ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row) {
        out->previews_nbytes = (uint64_t)cmir_column_int(q, 0);
        out->dead_previews_nbytes = out->previews_nbytes - (uint64_t)cmir_column_int(q, 1);
    }
    cmir_stmt_close(q);
    return st;
}

cmir_status
cmir_catalog_put_preview(cmir_db *db, const char *volume_id, uint32_t segment, uint64_t offset,
                         const cmir_blob *preview, cmir_error *err)
{
    cmir_stmt *q;
    cmir_status st = cmir_stmt_open(db,
                                    "INSERT INTO previews(volume, segment, offset, nbytes, crc) "
                                    "SELECT id, ?, ?, ?, ? FROM volumes WHERE volume_id = ?",
                                    &q, err);

    if (st != CMIR_OK)
        return st;
    cmir_bind_int(q, segment);
    cmir_bind_int(q, (int64_t)offset);
    cmir_bind_int(q, (int64_t)preview->nbytes);
    cmir_bind_int(q, preview->crc);
    cmir_bind_text(q, volume_id);
    st = cmir_stmt_run(q, err);
    cmir_stmt_close(q);
    return st;
}
