/* SPDX-License-Identifier: Apache-2.0 */
/* catalog.h: the tables of the catalogue and what is asked of them.  Called by store, snapshot and
 * verify.  The schema is that of docs/format.md. */
#ifndef CMIR_STORE_CATALOG_H
#define CMIR_STORE_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

#include <cmir/archive.h>

#include "store/db.h"
#include "store/maps.h"
#include "store/segment.h"
#include "store/store.h"

#define CMIR_FORMAT_VERSION 2
#define CMIR_MAX_SEGMENT 99999999 /* a number of eight digits */

/* Makes a catalogue in a new file, durably but for its directory entry. */
cmir_status cmir_catalog_create(const char *path, const cmir_binding *binding, cmir_error *err);

/* Opens a catalogue and checks that it is one of ours.  CMIR_EUNSUPPORTED: newer than this cmir. */
cmir_status cmir_catalog_open(const char *path, cmir_db_mode mode, cmir_db **out, cmir_error *err);

/* The binding; its strings are borrowed from *text, which the caller frees. */
cmir_status cmir_catalog_binding(cmir_db *db, const char *path, cmir_binding *out, char **text,
                                 cmir_error *err);

/* The archive's center ([padded_dim]); *found is false where nothing was ever added. */
cmir_status cmir_catalog_center(cmir_db *db, uint32_t padded_dim, int16_t *out, bool *found,
                                cmir_error *err);
cmir_status cmir_catalog_set_center(cmir_db *db, const int16_t *center, uint32_t padded_dim,
                                    cmir_error *err);

/* How many transactions have changed the archive: equal numbers, equal contents. */
cmir_status cmir_catalog_n_writes(cmir_db *db, int64_t *out, cmir_error *err);

/* Fills the counts of `out` (n_*, segments_nbytes, dead_nbytes). */
cmir_status cmir_catalog_count(cmir_db *db, cmir_archive_info *out, cmir_error *err);

/* Where a record lies, and what it must be. */
typedef struct cmir_place {
    uint32_t segment;
    uint64_t offset;
    cmir_record_claim claim; /* dim and encoder_tag are the archive's: the caller sets them */
} cmir_place;

/* Columns of `volumes AS v` that cmir_catalog_read_place() reads, from column `first`. */
#define CMIR_PLACE_COLUMNS "v.segment, v.offset, v.nbytes, v.crc, v.n_slices, v.n_air"
cmir_status cmir_catalog_read_place(cmir_stmt *stmt, int first, const char *volume_id,
                                    cmir_place *out, cmir_error *err);

cmir_status cmir_catalog_find(cmir_db *db, const char *volume_id, cmir_place *place, bool *found,
                              cmir_error *err);

/* The record of a volume.  CMIR_ENOTFOUND. */
cmir_status cmir_catalog_record(cmir_db *db, const char *volume_id, cmir_record **out,
                                cmir_error *err);

/* Changes; each within a transaction of the caller's. */
cmir_status cmir_catalog_insert(cmir_db *db, const cmir_record *record, const cmir_place *place,
                                cmir_error *err);
cmir_status cmir_catalog_delete(cmir_db *db, const char *volume_id, cmir_error *err);
cmir_status cmir_catalog_label(cmir_db *db, const cmir_label_set *sets, size_t n, size_t *n_applied,
                               cmir_error *err);
cmir_status cmir_catalog_count_write(cmir_db *db, cmir_error *err); /* raises n_writes */

/* The last segment of a series (maps.h) and the end of what the archive owns of it; 0, 0 where there
 * is none. */
cmir_status cmir_catalog_tail(cmir_db *db, int series, uint32_t *segment, uint64_t *nbytes,
                              cmir_error *err);
cmir_status cmir_catalog_set_tail(cmir_db *db, int series, uint32_t segment, uint64_t nbytes,
                                  cmir_error *err);

/* catalog_previews.c: the tables of previews, which an archive without them does not have. */
cmir_status cmir_catalog_begin_previews(cmir_db *db, cmir_previews kind, cmir_error *err);
cmir_status cmir_catalog_previews(cmir_db *db, const char *path, cmir_previews *out,
                                  cmir_error *err);
/* 0 where the archive keeps none of the volume. */
cmir_status cmir_catalog_preview_nbytes(cmir_db *db, const char *volume_id, uint64_t *out,
                                        cmir_error *err);
cmir_status cmir_catalog_preview_place(cmir_db *db, const char *dir, const char *volume_id,
                                       cmir_preview_place *out, cmir_error *err);
/* Fills previews_nbytes and dead_previews_nbytes. */
cmir_status cmir_catalog_count_previews(cmir_db *db, cmir_archive_info *out, cmir_error *err);
cmir_status cmir_catalog_put_preview(cmir_db *db, const char *volume_id, uint32_t segment,
                                     uint64_t offset, const cmir_blob *preview, cmir_error *err);
/* Columns of `previews AS p` that cmir_catalog_read_preview() reads, from column `first`. */
#define CMIR_PREVIEW_COLUMNS "p.segment, p.offset, p.nbytes, p.crc"
typedef struct cmir_preview_claim {
    uint32_t segment;
    uint64_t offset, nbytes;
    uint32_t crc;
} cmir_preview_claim;
cmir_status cmir_catalog_read_preview(cmir_stmt *stmt, int first, const char *volume_id,
                                      cmir_preview_claim *out, cmir_error *err);

#endif
