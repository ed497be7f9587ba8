/* SPDX-License-Identifier: Apache-2.0 */
/* store.h: an archive on disk: embeddings in segment files, metadata in SQLite, whose transaction
 * is the one commit point.  docs/format.md is the specification.  Called by engine; rank reads the
 * records in place.
 *
 * The one idea: a record is written and fsynced at the end of a segment first, then one SQLite
 * transaction names it.  What no transaction names does not exist. */
#ifndef CMIR_STORE_STORE_H
#define CMIR_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/archive.h>
#include <cmir/evidence.h>
#include <cmir/status.h>

typedef struct cmir_store cmir_store;

struct cmir_whitening;

/* What an archive is bound to.  All borrowed. */
typedef struct cmir_binding {
    const char *encoder_name, *encoder_version, *encoder_sha256, *card_json, *card_path;
    uint32_t dim;
    cmir_plane plane;
    cmir_previews previews; /* that are kept of volumes */
    const struct cmir_whitening *whitening; /* of the encoder's embeddings; NULL: none */
} cmir_binding;

cmir_status cmir_store_create(const char *dir, const cmir_binding *binding, cmir_error *err);

/* An archive that appears whole: it is made and filled at DIR.partial, and renamed in the end.
 * cmir_store_begin_partial() makes an empty one, which is open for writing, for `dir`, at which
 * nothing may be yet: CMIR_EEXIST, also where an earlier one was interrupted or is still being
 * filled.  cmir_store_end_partial() closes it; where `st` is CMIR_OK it is `dir`, durably, else it is
 * removed.  Returns `st`, or why it failed. */
cmir_status cmir_store_check_absent(const char *dir, cmir_error *err); /* is nothing at `dir`? */
cmir_status cmir_store_begin_partial(const char *dir, const cmir_binding *binding, cmir_store **out,
                                     cmir_error *err);
cmir_status cmir_store_end_partial(cmir_store *store, const char *dir, cmir_status st,
                                   cmir_error *err);

cmir_status cmir_store_open(const char *dir, cmir_access access, cmir_store **out, cmir_error *err);
void cmir_store_close(cmir_store *store); /* NULL is fine */

/* Borrowed until the store is closed; counts as of opening, or the last change through `store`. */
void cmir_store_info(const cmir_store *store, cmir_archive_info *out);
const struct cmir_whitening *cmir_store_whitening(const cmir_store *store); /* NULL: none */

/* CMIR_EINVAL where it was opened for reading only. */
cmir_status cmir_store_check_writable(const cmir_store *store, cmir_error *err);

/* Changes between begin and commit are one transaction, durable when commit returns, and gone where
 * it fails or is rolled back; one that fails alone (an add of an id that is taken) leaves the others
 * as they are.  Outside, every change is a transaction of its own. */
cmir_status cmir_store_begin(cmir_store *store, cmir_error *err);
cmir_status cmir_store_commit(cmir_store *store, cmir_error *err);
void cmir_store_rollback(cmir_store *store); /* fine where nothing was begun */

/* A record ready to be put.  Building is work for any thread, once the archive has a center (its
 * first volume gives it: cmir_store_has_center()); free with cmir_built_free().  A record fits the
 * center it was built with: CMIR_EINVAL from cmir_store_put() where another volume came first. */
typedef struct cmir_built cmir_built;
bool cmir_store_has_center(const cmir_store *store);
cmir_status cmir_store_build(cmir_store *store, const char *volume_id,
                             const cmir_embeddings *embeddings, cmir_built **out, cmir_error *err);
void cmir_built_free(cmir_built *built); /* NULL is fine */

/* A preview record, ready to be kept. */
typedef struct cmir_blob {
    const uint8_t *data;
    uint64_t nbytes; /* a multiple of 64; 0: there is none */
    uint32_t crc;    /* of its header */
} cmir_blob;

/* Where a preview record lies; crc is that of its header. */
typedef struct cmir_preview_place {
    char *path; /* of the file; free() */
    uint64_t offset, nbytes;
    uint32_t crc;
} cmir_preview_place;
/* CMIR_ENOTFOUND where the archive keeps none of the volume. */
cmir_status cmir_store_preview(cmir_store *store, const char *volume_id, cmir_preview_place *out,
                               cmir_error *err);

/* Adds a volume.  `record` gives everything but the marks, which are those of the embeddings that
 * `built` is of; where its `added` is empty, that is now.  CMIR_EEXIST if the id is there with other
 * embeddings; *added = false if with the same. */
cmir_status cmir_store_put(cmir_store *store, const cmir_record *record, const cmir_built *built,
                           bool *added, cmir_error *err);
/* The same, with a preview (NULL: none), which an archive that keeps previews takes; of a volume that
 * is there already it takes one that it lacks. */
cmir_status cmir_store_put_with(cmir_store *store, const cmir_record *record,
                                const cmir_built *built, const cmir_blob *preview, bool *added,
                                cmir_error *err);
/* Both steps. */
cmir_status cmir_store_add(cmir_store *store, const cmir_record *record,
                           const cmir_embeddings *embeddings, bool *added, cmir_error *err);
cmir_status cmir_store_remove(cmir_store *store, const char *volume_id, cmir_error *err);
/* Sets labels, replacing those of the same name; one transaction for all `n` volumes.  Known
 * catalogue columns (archive.h, cmir_label_table) fill gaps instead.  *n_applied counts the volumes that exist. */
typedef struct cmir_label_set {
    const char *volume_id;
    const cmir_label *labels;
    size_t n_labels;
} cmir_label_set;
cmir_status cmir_store_label(cmir_store *store, const cmir_label_set *sets, size_t n,
                             size_t *n_applied, cmir_error *err);
/* The rows of a table as sets; borrowed from it. */
const cmir_label_set *cmir_label_table_sets(const cmir_label_table *table);

cmir_status cmir_store_get(cmir_store *store, const char *volume_id, cmir_record **out,
                           cmir_error *err);
cmir_status cmir_store_list(cmir_store *store, const char *where, char ***ids, size_t *n_ids,
                            cmir_error *err);
/* Counts again what cmir_store_info() tells. */
cmir_status cmir_store_refresh(cmir_store *store, cmir_error *err);
cmir_status cmir_store_labels(cmir_store *store, size_t max_values, cmir_label_summary **out,
                              size_t *n, cmir_error *err);
cmir_status cmir_store_verify(cmir_store *store, void (*problem)(void *ctx, const char *sentence),
                              void *ctx, uint64_t *n_problems, cmir_error *err);

/* A copy of `from` and all it points to in one block: cmir_record_free() frees it.  Text of `from`
 * may be NULL (copied as ""); its arrays may be NULL only where their count is 0. */
cmir_status cmir_record_copy(const cmir_record *from, cmir_record **out, cmir_error *err);

/* One volume's embeddings as they lie in the map.  Rows are the slices not marked as air, in
 * order, then those marked.  Elements of rows in fixed point are value / CMIR_UNIT (codes.h); codes
 * are of a row less the mean, rotated. */
#define CMIR_MAX_REPS 8u
typedef struct cmir_rows {
    uint32_t n_rows; /* all slices */
    uint32_t n_scored; /* rows that take part in scores; >= 1 */
    uint32_t dim, padded_dim; /* padded_dim: dim rounded up to a multiple of 64 */
    uint32_t n_reps; /* representatives, 1..CMIR_MAX_REPS */
    float radius; /* largest norm of a scored row less the mean */
    float residual; /* largest norm of what the codes of a scored row leave out */
    float base_max; /* largest base of a scored row */
    const uint32_t *slice; /* [n_rows] slice number of each row: cmir_rows_slices_rise() */
    const float *scale; /* [n_rows] code * scale ~ element of the rotated difference */
    const float *base; /* [n_rows] <archive's center, row - mean> */
    const int32_t *code_sum; /* [n_rows] sum of the row's codes */
    const float *row_residual; /* [n_rows] norm of what the row's codes leave out */
    const float *row_reach; /* [n_rows] that, and the norm of the row less the mean */
    const int8_t *codes; /* [n_rows rounded up to 16][padded_dim], padding zero */
    const int16_t *exact; /* [n_rows][padded_dim] rows in fixed point */
    const int16_t *mean; /* [padded_dim] of the scored rows, in fixed point */
    /* Representatives: [CMIR_MAX_REPS] the same of means of runs of rows, less the archive's center;
     * base is <center, representative - center>. */
    const float *rep_scale, *rep_base;
    const int32_t *rep_sum;
    const int8_t *rep_codes; /* [CMIR_MAX_REPS][padded_dim] */
} cmir_rows;

/* Whether slice numbers are < n_rows and rise within the scored rows and within the others: ask
 * before they index arrays. */
bool cmir_rows_slices_rise(const cmir_rows *rows);

/* A consistent view of the volumes that pass a filter, in order of id (bytewise).  The rows stay
 * valid until the snapshot is closed, whatever writers do meanwhile.  Close it before the store. */
typedef struct cmir_candidate {
    const char *volume_id;
    cmir_rows rows;
} cmir_candidate;
typedef struct cmir_snapshot cmir_snapshot;

cmir_status cmir_snapshot_open(cmir_store *store, const char *where, cmir_snapshot **out,
                               cmir_error *err);
/* The same state less the volumes whose id, study or patient equals a non-NULL, non-empty member,
 * and those that `among` does not name (in order of id; NULL: names all); close it before `base`.
 * CMIR_ENOTFOUND where it names one that is not there, CMIR_EINVAL where it is out of order. */
typedef struct cmir_without {
    const char *volume_id, *study_uid, *patient_id;
    const char *const *among;
    size_t n_among;
} cmir_without;
cmir_status cmir_snapshot_without(const cmir_snapshot *base, const cmir_without *without,
                                  cmir_snapshot **out, cmir_error *err);
/* Only the volume `volume_id`; CMIR_ENOTFOUND. */
cmir_status cmir_snapshot_open_one(cmir_store *store, const char *volume_id, cmir_snapshot **out,
                                   cmir_error *err);
size_t cmir_snapshot_count(const cmir_snapshot *snapshot);
const cmir_candidate *cmir_snapshot_get(const cmir_snapshot *snapshot, size_t index);
bool cmir_snapshot_is_whole(const cmir_snapshot *snapshot); /* nothing is filtered out */
/* Its number among all volumes of the state, which snapshots with a common base agree on. */
size_t cmir_snapshot_number(const cmir_snapshot *snapshot, size_t index);
/* The archive's center, [padded_dim] in fixed point; zero where nothing was ever added.  Not of a
 * snapshot of one volume. */
const int16_t *cmir_snapshot_center(const cmir_snapshot *snapshot);
/* The slice spacing of every volume, 0 where unknown: fills mm, of cmir_snapshot_count(). */
cmir_status cmir_snapshot_spacings(const cmir_snapshot *snapshot, double *mm, cmir_error *err);
/* The record of a volume as the snapshot sees it. */
cmir_status cmir_snapshot_record(const cmir_snapshot *snapshot, size_t index, cmir_record **out,
                                 cmir_error *err);
void cmir_snapshot_close(cmir_snapshot *snapshot); /* NULL is fine */

/* What evidence asks of the catalogue (calibration.c).  Whose volume it is: equal text, the same patient; free(). */
cmir_status cmir_snapshot_patient(const cmir_snapshot *snapshot, size_t index, char **out,
                                  cmir_error *err);
/* The kind of the label `name`, by all its values. */
cmir_status cmir_snapshot_label_kind(const cmir_snapshot *snapshot, const char *name,
                                     cmir_label_kind *out, cmir_error *err);
/* A value as filters read it; NAN where it is no finite decimal number. */
cmir_status cmir_snapshot_parse(const cmir_snapshot *snapshot, const char *text, double *out,
                                cmir_error *err);
/* Fills all but `label`, which is borrowed from the caller.  *found is false where none is stored. */
cmir_status cmir_snapshot_calibration(const cmir_snapshot *snapshot, const char *label, uint32_t k,
                                      cmir_score score, cmir_calibration *out, bool *found,
                                      cmir_error *err);
/* Stores calibrations of the present state, replacing those of the same label, k and score; what was not
 * stale stays so. */
cmir_status cmir_store_calibrate(cmir_store *store, const cmir_calibration *rows, size_t n,
                                 cmir_error *err);

#endif
