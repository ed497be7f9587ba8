/* SPDX-License-Identifier: Apache-2.0 */
/* import.c: many volumes of given embeddings with one commit.  Part of the public interface.
 *
 * The one idea: building records is arithmetic, done by all threads; naming them is one thread's
 * work, within one transaction.  The first volume of an archive gives it its center, so it is
 * built alone. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "engine/engine_internal.h"

struct import_job {
    cmir_store *store;
    uint32_t dim;
    cmir_import_item *items;
    cmir_built **built; /* [n]; NULL where refused */
    size_t n;
    atomic_size_t next;
};

static void
build(struct import_job *job, size_t i)
{
    cmir_import_item *item = &job->items[i];
    uint8_t *marks = NULL;

    if (item->rows == NULL || item->n_slices < 1 || item->n_slices > CMIR_MAX_SLICES) {
        (void)FAIL(&item->error, CMIR_EINVAL, "%s: %u slices; 1..%u are possible", item->volume_id,
                   item->n_slices, CMIR_MAX_SLICES);
        return;
    }
    if (item->marks == NULL && (marks = cmir_alloc_zeroed(item->n_slices, 1)) == NULL) {
        (void)FAIL(&item->error, CMIR_ENOMEM, "%s: no memory", item->volume_id);
        return;
    }
    /* Building reads rows and marks, no more. */
    const cmir_embeddings embeddings = {
        (float *)(uintptr_t)item->rows,
        item->marks == NULL ? marks : (uint8_t *)(uintptr_t)item->marks, item->n_slices, job->dim};
    (void)cmir_store_build(job->store, item->volume_id, &embeddings, &job->built[i], &item->error);
    free(marks);
}

static void
build_some(void *ctx, uint32_t thread)
{
    struct import_job *job = ctx;

    (void)thread;
    for (;;) {
        const size_t i = atomic_fetch_add(&job->next, 1);

        if (i >= job->n)
            return;
        build(job, i);
    }
}

static cmir_status
put(struct import_job *job, size_t i)
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
        st = cmir_store_put(job->store, &record, job->built[i], &item->added, &item->error);
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

/* Puts what was built of item `i`, and frees it.  An error is the archive's. */
static cmir_status
put_or_refuse(struct import_job *job, size_t i, cmir_error *err)
{
    const cmir_status st = job->built[i] == NULL ? job->items[i].error.code : put(job, i);

    cmir_built_free(job->built[i]);
    job->built[i] = NULL;
    return st == CMIR_OK || is_of_volume(st) ? CMIR_OK
                                             : FAIL(err, st, "%s", job->items[i].error.msg);
}

/* Within the transaction. */
static cmir_status
import_all(struct import_job *job, uint32_t n_threads, cmir_error *err)
{
    size_t first = 0;
    cmir_status st = CMIR_OK;

    for (; first < job->n && st == CMIR_OK && !cmir_store_has_center(job->store); first++) {
        build(job, first);
        st = put_or_refuse(job, first, err);
    }
    if (st != CMIR_OK)
        return st;
    atomic_init(&job->next, first);
    cmir_parallel(n_threads, build_some, job);
    for (size_t i = first; i < job->n && st == CMIR_OK; i++)
        st = put_or_refuse(job, i, err);
    return st;
}

cmir_status
cmir_archive_import(cmir_archive *archive, uint32_t dim, cmir_import_item *items, size_t n,
                    uint32_t n_threads, cmir_error *err)
{
    struct import_job job = {.store = archive->store, .dim = dim, .items = items, .n = n};
    cmir_status st;

    for (size_t i = 0; i < n; i++) {
        items[i].added = false;
        items[i].error = (cmir_error){0};
    }
    if (n_threads > CMIR_MAX_THREADS)
        return FAIL(err, CMIR_EINVAL, "import: %u threads, at most %u", n_threads,
                    CMIR_MAX_THREADS);
    if (dim != archive->info.dim)
        return FAIL(err, CMIR_EMISMATCH, "%s: embeddings of dimension %u; the archive's have %u",
                    archive->info.dir, dim, archive->info.dim);
    job.built = cmir_alloc_zeroed(n, sizeof *job.built);
    if (job.built == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to import %zu volumes", n);
    if ((st = cmir_store_begin(archive->store, err)) == CMIR_OK) {
        st = import_all(&job, n_threads == 0 ? cmir_cpu_count() : n_threads, err);
        if (st == CMIR_OK)
            st = cmir_store_commit(archive->store, err);
        if (st != CMIR_OK)
            cmir_store_rollback(archive->store);
    }
    for (size_t i = 0; i < n; i++) {
        items[i].added = items[i].added && st == CMIR_OK;
        cmir_built_free(job.built[i]);
    }
    free(job.built);
    cmir_store_info(archive->store, &archive->info);
    return st;
}
