/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/archive.h: a directory that holds many volumes' embeddings and their metadata.
 *
 * One process writes at a time; any number read meanwhile and each sees one consistent state.
 * Success of a change is reported after it is durable.  A cmir_archive is used by one thread at a
 * time; open it once per thread to work in parallel. */
#ifndef CMIR_ARCHIVE_H
#define CMIR_ARCHIVE_H

#include <cmir/encoder.h>
#include <cmir/status.h>
#include <cmir/volume.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cmir_archive cmir_archive;

typedef enum cmir_access { CMIR_READ = 0, CMIR_WRITE = 1 } cmir_access;

/* cmir_archive_create() makes a new archive in `dir` (which must not exist or be empty), bound to
 * `encoder` and `plane`.  CMIR_EEXIST if something is there. */
CMIR_API cmir_status
cmir_archive_create(const char *dir, const cmir_encoder *encoder, cmir_plane plane,
                    cmir_error *err);

/* What an archive keeps of its volumes' pixels, so that they can be shown when the scans themselves
 * are gone, or quickly: picture.h. */
typedef enum cmir_previews {
    CMIR_PREVIEWS_NONE = 0,
    CMIR_PREVIEWS_SMALL = 1, /* slices averaged to at most 128 pixels a side */
    CMIR_PREVIEWS_FULL = 2   /* slices as they are */
} cmir_previews;
CMIR_API const char *cmir_previews_name(cmir_previews previews); /* "none", "small", "full" */

typedef struct cmir_archive_options {
    size_t struct_nbytes; /* sizeof (cmir_archive_options) */
    cmir_plane plane;
    cmir_previews previews;
} cmir_archive_options;

/* Like cmir_archive_create(), which keeps no previews, but with options. */
CMIR_API cmir_status
cmir_archive_create_with(const char *dir, const cmir_encoder *encoder,
                         const cmir_archive_options *options, cmir_error *err);

/* cmir_archive_open() opens an archive.  CMIR_WRITE takes the archive's lock: CMIR_EBUSY if
 * another process holds it.  CMIR_ENOTFOUND, CMIR_ECORRUPT, CMIR_EUNSUPPORTED (a newer format). */
CMIR_API cmir_status
cmir_archive_open(const char *dir, cmir_access access, cmir_archive **out, cmir_error *err);
CMIR_API void cmir_archive_close(cmir_archive *archive); /* NULL is fine */

/* What is known of the whitening of a fitted archive: cmir_archive_fit(). */
typedef struct cmir_whitening_info {
    const char *base_name, *base_sha256; /* the encoder whose embeddings are whitened; its version,
                                            card and path are the archive's */
    uint32_t base_dim;
    uint64_t n_volumes, n_slices; /* it was learnt from */
    const char *where;            /* the filter that those volumes passed; "": all */
    double explained;             /* share of the slices' variance that it keeps, 0..1 */
} cmir_whitening_info;

/* What an archive holds; strings borrowed until it is closed. */
typedef struct cmir_archive_info {
    const char *dir;
    const char *encoder_name, *encoder_version, *encoder_sha256;
    const char *card_json;
    const char *card_path; /* where the card was; "" for builtin */
    cmir_plane plane;
    uint32_t dim;
    uint64_t n_volumes, n_slices, n_air_slices; /* at the last refresh: open, or the last change */
    uint64_t segments_nbytes, dead_nbytes;      /* in segment files; of removed volumes */
    cmir_previews previews;                     /* that it keeps of volumes that are added */
    uint64_t previews_nbytes, dead_previews_nbytes; /* in files of previews; of removed volumes */
    const cmir_whitening_info *whitening;       /* NULL where the archive is not fitted */
} cmir_archive_info;
CMIR_API const cmir_archive_info *cmir_archive_get_info(const cmir_archive *archive);
/* cmir_archive_refresh() counts again: what other processes have added and removed since. */
CMIR_API cmir_status
cmir_archive_refresh(cmir_archive *archive, cmir_error *err);

/* cmir_archive_check_encoder() says whether `encoder` made the archive (a fitted one: is its base
 * encoder): CMIR_EMISMATCH names both and the field that differs. */
CMIR_API cmir_status
cmir_archive_check_encoder(const cmir_archive *archive, const cmir_encoder *encoder,
                           cmir_error *err);

typedef struct cmir_label {
    const char *name, *value;
} cmir_label;

/* cmir_archive_add() encodes `volume` (opened, loaded or not; by cmir_encode_streamed(), so that one
 * not loaded may stay so) and adds it with `labels`.
 * *added is false if the very same volume (id and voxels' embeddings) is there already: nothing
 * changes but its labels.  CMIR_EEXIST if the id is taken by different embeddings; CMIR_EMISMATCH
 * for another encoder; and everything cmir_encode() can return. */
CMIR_API cmir_status
cmir_archive_add(cmir_archive *archive, const cmir_encoder *encoder, cmir_volume *volume,
                 const cmir_label *labels, size_t n_labels, cmir_progress_fn progress,
                 void *progress_ctx, bool *added, cmir_error *err);

/* A volume whose embeddings were made elsewhere. */
typedef struct cmir_import_item {
    const char *volume_id;
    const char *path;     /* where they came from; "" if nowhere */
    const float *rows;    /* [n_slices][dim], row-major, unit L2 norm */
    const uint8_t *marks; /* [n_slices] CMIR_SLICE_* bits; NULL: none */
    uint32_t n_slices;    /* 1..CMIR_MAX_SLICES */
    const cmir_label *labels;
    size_t n_labels;
    /* Set by the call: */
    bool added;           /* false if it was there already, or was refused */
    cmir_error error;     /* why it was refused; code CMIR_OK if it was not */
} cmir_import_item;

/* cmir_archive_import() adds n volumes of `dim` dimensions, all durable when it returns: one commit.
 * Into a fitted archive go embeddings of its base encoder; they are whitened.
 * A volume that is refused (CMIR_EEXIST, CMIR_EINVAL: its `error`) leaves the others as they are.
 * Returns an error where the archive failed, or an item's rows are of another dimension than the
 * archive's (CMIR_EMISMATCH): then nothing was added.  Positions in millimetres and
 * spacing stay unknown (NAN, 0). */
CMIR_API cmir_status
cmir_archive_import(cmir_archive *archive, uint32_t dim, cmir_import_item *items, size_t n,
                    uint32_t n_threads, cmir_error *err);

/* Options of a fit; zero of the others means default. */
typedef struct cmir_fit_options {
    size_t struct_nbytes; /* sizeof (cmir_fit_options) */
    uint32_t dims;        /* 1..dim: numbers a slice in the new archive; 0: 64 */
    const char *where;    /* which volumes the whitening is learnt from (search.h); NULL: all */
    const char *const *volumes; /* ids, in order (bytewise): of those, only these; NULL: all.  Not
                             kept in the new archive, as `where` is */
    size_t n_volumes;
    uint32_t n_threads;   /* 0: the CPUs this process may use */
    cmir_progress_fn progress; /* volumes: those learnt from, then those written */
    void *progress_ctx;
} cmir_fit_options;

/* cmir_archive_fit() makes a fitted archive in `dir`, at which nothing may be yet: all volumes of
 * `archive` with what is known of them, their embeddings x (dim) replaced by whitened ones (dims),
 *
 *     y_k = <e_k, x - mean> / sqrt(l_k + 0.01 m),   brought to unit length,
 *
 * with l_k and e_k the largest eigenvalues, and their vectors, of the covariance of the slices that
 * are not marked as air, and m the mean of all eigenvalues.  No label is used.  The whitening is kept
 * in the new archive and applied to every query and to all that is added: both are of the base
 * encoder, the one of `archive`.  `dir` appears whole or not at all.
 *
 * CMIR_EINVAL: `archive` is fitted; dims beyond its dim, or beyond what its slices span; fewer than
 * two volumes to learn from; `where`; `volumes` out of order.  CMIR_ENOTFOUND: one of them is not
 * in the archive.  CMIR_EEXIST: something is at `dir`, or at DIR.partial, where
 * the new archive is made.  CMIR_ECANCELLED, CMIR_EIO, CMIR_ENOMEM, CMIR_ECORRUPT (a stored volume).
 * Memory: three matrices of dim x dim float64, and some 200 MB.  `archive` is only read. */
CMIR_API cmir_status
cmir_archive_fit(const cmir_archive *archive, const char *dir, const cmir_fit_options *options,
                 cmir_error *err);

/* cmir_archive_remove() removes one volume; its space is dead until compaction. */
CMIR_API cmir_status
cmir_archive_remove(cmir_archive *archive, const char *volume_id, cmir_error *err);

/* Labels from a CSV file with a header.  The column `name` (or VolumeId, else the first) names the
 * volume by id, ".nii" and ".nii.gz" dropped; the columns PatientID, StudyInstanceUID,
 * Modality, PatientSex, PatientAge, StudyDate and BodyPartExamined fill gaps of the catalogue
 * (never replace what the scan states); every other column is a label; empty cells are none. */
typedef struct cmir_label_table cmir_label_table;
CMIR_API cmir_status
cmir_label_table_read(const char *path, cmir_label_table **out, cmir_error *err);
CMIR_API void cmir_label_table_free(cmir_label_table *table); /* NULL is fine */
CMIR_API size_t cmir_label_table_count(const cmir_label_table *table); /* rows */
CMIR_API const char *cmir_label_table_volume(const cmir_label_table *table, size_t row);
/* All cells of a row that are not empty but the volume's, fields of the catalogue as well; borrowed
 * from the table. */
CMIR_API const cmir_label *cmir_label_table_get(const cmir_label_table *table, size_t row,
                                                size_t *n_labels);

/* cmir_archive_label() applies every row of `table` whose volume is in the archive, in one
 * transaction: all or none.  Where volume_id is not NULL only the rows of that volume.
 * *n_labelled is the number of rows applied. */
CMIR_API cmir_status
cmir_archive_label(cmir_archive *archive, const cmir_label_table *table, const char *volume_id,
                   size_t *n_labelled, cmir_error *err);

/* A label that volumes of an archive have. */
typedef struct cmir_label_summary {
    char *name;
    uint64_t n_volumes;  /* that have it */
    uint64_t n_distinct; /* values */
    char **values;       /* the commonest first, then by text */
    size_t n_values;     /* of them that were asked for */
} cmir_label_summary;

/* cmir_archive_labels() gives all labels, by name, each with at most max_values of its values.  Free
 * with cmir_label_summaries_free(). */
CMIR_API cmir_status
cmir_archive_labels(const cmir_archive *archive, size_t max_values, cmir_label_summary **out,
                    size_t *n, cmir_error *err);
CMIR_API void cmir_label_summaries_free(cmir_label_summary *summaries, size_t n); /* NULL is fine */

/* One volume of the catalogue.  Owned by the record; free with cmir_record_free(). */
typedef struct cmir_record {
    cmir_volume_info info;
    uint32_t n_slices;        /* in the archive's plane */
    uint32_t n_air;           /* of them marked as air */
    double slice_spacing_mm;  /* 0 where unknown */
    const char *added;        /* UTC, YYYY-MM-DDThh:mm:ssZ */
    uint32_t filled;          /* which fields of `info` came from a label table, not from the scan:
                                 1 patient_id, 2 study_uid, 4 modality, 8 patient_sex,
                                 16 patient_age, 32 study_date, 64 body_part */
    cmir_label *labels;
    size_t n_labels;
    double *slice_mm;         /* n_slices: cmir_volume_slice_mm(); NAN where unknown */
    uint64_t preview_nbytes;  /* of its preview; 0: the archive keeps none of it */
    uint8_t *slice_marks;     /* n_slices: CMIR_SLICE_* */
    const char **slice_uids;  /* n_slices: SOPInstanceUID or "" */
} cmir_record;

CMIR_API cmir_status
cmir_archive_get(const cmir_archive *archive, const char *volume_id, cmir_record **out,
                 cmir_error *err);
CMIR_API void cmir_record_free(cmir_record *record); /* NULL is fine */

/* cmir_record_stack() describes a record's volume as slices in `plane`, as cmir_volume_stack() does.
 * CMIR_EINVAL where its geometry is unknown: imported embeddings. */
CMIR_API cmir_status
cmir_record_stack(const cmir_record *record, cmir_plane plane, cmir_stack *out, cmir_error *err);

/* cmir_archive_list() gives the ids of the volumes that pass `where` (NULL: all; see search.h), in
 * order of id.  Free the array with cmir_ids_free(). */
CMIR_API cmir_status
cmir_archive_list(const cmir_archive *archive, const char *where, char ***ids, size_t *n_ids,
                  cmir_error *err);
CMIR_API void cmir_ids_free(char **ids, size_t n_ids);

/* cmir_archive_embeddings() copies the stored embeddings of a volume, all slices in order, as
 * float32 of the exact plane.  Free with cmir_embeddings_free(). */
CMIR_API cmir_status
cmir_archive_embeddings(const cmir_archive *archive, const char *volume_id, cmir_embeddings *out,
                        cmir_error *err);

/* What identifies the embeddings that are searched: SHA-256 of the encoder's card as canonical JSON,
 * and of every volume's id, rows in fixed point and marks, in order of id.  The order in which volumes
 * were added, labels and what else is known of them do not enter.  64 hex digits and NUL each. */
typedef struct cmir_digest {
    char card[65], contents[65];
} cmir_digest;
/* cmir_archive_digest() reads all embeddings once. */
CMIR_API cmir_status
cmir_archive_digest(const cmir_archive *archive, cmir_digest *out, cmir_error *err);

/* cmir_archive_verify() reads everything and checks it: checksums, catalogue against segments,
 * embeddings against unit norm.  `problem` is called once per fault with a sentence;
 * *n_problems counts them.  Returns an error only where it could not go on. */
CMIR_API cmir_status
cmir_archive_verify(const cmir_archive *archive, void (*problem)(void *ctx, const char *sentence),
                    void *ctx, uint64_t *n_problems, cmir_error *err);

#ifdef __cplusplus
}
#endif
#endif
