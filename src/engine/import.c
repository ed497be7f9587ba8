/* SPDX-License-Identifier: Apache-2.0 */
/* import.c: many volumes of given embeddings with one commit.  Part of the public interface. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "engine/build.h"
#include "engine/engine_internal.h"
#include "store/codes.h"

struct import_job {
    cmir_store *store;
    const cmir_whitening *whitening; /* of the archive; NULL: none */
    uint32_t dim;
    cmir_import_item *items;
};

/* Whitening makes any row a unit one: here it can still be seen. */
static cmir_status
check_lengths(const cmir_embeddings *embeddings, const char *volume_id, cmir_error *err)
{
    for (uint32_t i = 0; i < embeddings->n_slices; i++) {
        const double norm =
            cmir_row_norm(embeddings->rows + (size_t)i * embeddings->dim, embeddings->dim);

        if (!cmir_norm_is_unit(norm))
            return FAIL(err, CMIR_EINVAL,
                        "%s: embedding of slice %u has the length %g; an embedding has unit length",
                        volume_id, (unsigned)i, norm);
    }
    return CMIR_OK;
}

/* The record of an item; of a fitted archive, of what its whitening makes of the item. */
static cmir_built *
build_rows(const struct import_job *job, const cmir_embeddings *embeddings, const char *volume_id,
           cmir_error *err)
{
    const cmir_embeddings *whitened;
    cmir_embeddings room = {0};
    cmir_built *built = NULL;

    if (check_lengths(embeddings, volume_id, err) == CMIR_OK &&
        cmir_whiten_embeddings(job->whitening, embeddings, volume_id, &room, &whitened, err) ==
            CMIR_OK)
        (void)cmir_store_build(job->store, volume_id, whitened, &built, err);
    cmir_embeddings_free(&room);
    return built;
}

static cmir_built *
build(void *ctx, size_t i)
{
    const struct import_job *job = ctx;
    cmir_import_item *item = &job->items[i];
    uint8_t *marks = NULL;

    if (item->rows == NULL || item->n_slices < 1 || item->n_slices > CMIR_MAX_SLICES) {
        (void)FAIL(&item->error, CMIR_EINVAL, "%s: %u slices; 1..%u are possible", item->volume_id,
                   item->n_slices, CMIR_MAX_SLICES);
        return NULL;
    }
    if (item->marks == NULL && (marks = cmir_alloc_zeroed(item->n_slices, 1)) == NULL) {
        (void)FAIL(&item->error, CMIR_ENOMEM, "%s: no memory", item->volume_id);
        return NULL;
    }
    /* Building reads rows and marks, no more. */
    const cmir_embeddings embeddings = {
        (float *)(uintptr_t)item->rows,
        item->marks == NULL ? marks : (uint8_t *)(uintptr_t)item->marks, item->n_slices, job->dim};
    cmir_built *built = build_rows(job, &embeddings, item->volume_id, &item->error);
    free(marks);
    return built;
}

static cmir_status
put(struct import_job *job, size_t i, const cmir_built *built)
{
    cmir_import_item *item = &job->items[i];
    const uint32_t n = item->n_slices;
    cmir_record record = {.n_slices = n,
                          .info = {.volume_id = item->volume_id,
                                   .path = item->path,
                                   .format = "embeddings",
                                   .modality = "",
                                   .series_uid = "",
                                   .study_uid = "",
                                   .patient_id = "",
                                   .patient_sex = "",
                                   .study_date = "",
                                   .body_part = "",
                                   .manufacturer = "",
                                   .description = "",
                                   .patient_age = NAN}};
    cmir_status st;

    for (int k = 0; k < 12; k++)
        record.info.affine[k / 4][k % 4] = NAN;
    record.labels = (cmir_label *)(uintptr_t)item->labels; /* the store only reads them */
    record.n_labels = item->n_labels;
    record.slice_mm = cmir_alloc(n, sizeof *record.slice_mm);
    record.slice_uids = cmir_alloc(n, sizeof *record.slice_uids);
    if (record.slice_mm == NULL || record.slice_uids == NULL) {
        st = FAIL(&item->error, CMIR_ENOMEM, "%s: no memory", item->volume_id);
    } else {
        for (uint32_t k = 0; k < n; k++) {
            record.slice_mm[k] = NAN;
            record.slice_uids[k] = "";
        }
        st = cmir_store_put(job->store, &record, built, &item->added, &item->error);
    }
    free(record.slice_mm);
    free(record.slice_uids);
    return st;
}

/* What is wrong with one volume; anything else is wrong with the archive. */
static bool
is_of_volume(cmir_status st)
{
    return st == CMIR_EEXIST || st == CMIR_EINVAL;
}

static cmir_status
put_or_refuse(void *ctx, size_t i, const cmir_built *built, cmir_error *err)
{
    struct import_job *job = ctx;
    const cmir_status st = built == NULL ? job->items[i].error.code : put(job, i, built);

    return st == CMIR_OK || is_of_volume(st) ? CMIR_OK
                                             : FAIL(err, st, "%s", job->items[i].error.msg);
}

cmir_status
cmir_archive_import(cmir_archive *archive, uint32_t dim, cmir_import_item *items, size_t n,
                    uint32_t n_threads, cmir_error *err)
{
    struct import_job job = {archive->store, cmir_store_whitening(archive->store), dim, items};
    const cmir_build_job work = {archive->store, n, &job, build, put_or_refuse};
    const uint32_t dim_wanted = cmir_archive_input_dim(archive);

    for (size_t i = 0; i < n; i++) {
        items[i].added = false;
        items[i].error = (cmir_error){0};
    }
    if (n_threads > CMIR_MAX_THREADS)
        return FAIL(err, CMIR_EINVAL, "import: %u threads, at most %u", n_threads,
                    CMIR_MAX_THREADS);
    if (dim != dim_wanted)
        return FAIL(err, CMIR_EMISMATCH, "%s: embeddings of dimension %u; the archive's have %u",
                    archive->info.dir, dim, dim_wanted);
    const cmir_status st = cmir_build_all(&work, n_threads, err);
    for (size_t i = 0; i < n; i++)
        items[i].added = items[i].added && st == CMIR_OK;
    cmir_store_info(archive->store, &archive->info);
    return st;
}
