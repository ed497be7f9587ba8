/* SPDX-License-Identifier: Apache-2.0 */
/* fit.c: a whitening learnt from an archive, and a new archive of all its volumes, whitened.  Part of
 * the public interface.
 *
 * The one idea: rows are taken in fixed point from one state of the archive and become records of
 * the new one a batch at a time; nobody sees it before the last. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "engine/build.h"
#include "engine/engine_internal.h"
#include "fit/whitening.h"

#define DEFAULT_DIMS 64u
#define BATCH_NBYTES ((uint64_t)128 << 20) /* of records built together, unless one is larger */
enum { BATCH_VOLUMES = 512 };

struct fit {
    const char *dir;
    const cmir_archive *archive;
    const cmir_fit_options *options;
    uint32_t n_threads;
    cmir_whitening *whitening;
    cmir_store *store; /* the new one */
    cmir_snapshot *snapshot; /* of all volumes of the old one */
    size_t first; /* of the batch */
    cmir_error errors[BATCH_VOLUMES];
    uint64_t done, n_learnt; /* volumes */
};

static cmir_status
check_fit(const cmir_archive *archive, const char *dir, const cmir_fit_options *o, cmir_error *err)
{
    const cmir_archive_info *info = &archive->info;
    const uint32_t dims = o->dims == 0 ? DEFAULT_DIMS : o->dims;

    if (o->struct_nbytes != sizeof *o)
        return FAIL(err, CMIR_EINVAL, "fit options: struct_nbytes is not that of this library");
    if (o->n_threads > CMIR_MAX_THREADS)
        return FAIL(err, CMIR_EINVAL, "fit options: %u threads, at most %u", o->n_threads,
                    CMIR_MAX_THREADS);
    if (dir == NULL || *dir == '\0')
        return FAIL(err, CMIR_EINVAL, "archive: the path of a directory is wanted");
    if (info->whitening != NULL)
        return FAIL(err, CMIR_EINVAL,
                    "%s: is fitted already; fit the archive that it was made from", info->dir);
    if (dims > info->dim)
        return FAIL(err, CMIR_EINVAL, "%s: %u dimensions are wanted of embeddings that have %u",
                    info->dir, dims, info->dim);
    return cmir_store_check_absent(dir, err);
}

/* Learning counts its volumes first, then come those that are written. */
static int
report(void *ctx, uint64_t done, uint64_t total)
{
    struct fit *f = ctx;
    const cmir_fit_options *o = f->options;

    (void)total;
    return o->progress == NULL ? 0
                               : o->progress(o->progress_ctx, f->done + done,
                                             f->n_learnt + cmir_snapshot_count(f->snapshot));
}

static cmir_status
learn(struct fit *f, cmir_error *err)
{
    const cmir_archive_info *info = &f->archive->info;
    const uint32_t dims = f->options->dims == 0 ? DEFAULT_DIMS : f->options->dims;
    const char *where = f->options->where;
    const cmir_without without = {.among = f->options->volumes, .n_among = f->options->n_volumes};
    cmir_error cause = {0};
    cmir_snapshot *passing, *chosen = NULL;
    cmir_status st = cmir_snapshot_open(f->archive->store, where, &passing, err);

    if (st != CMIR_OK)
        return st;
    if ((st = cmir_snapshot_without(passing, &without, &chosen, err)) != CMIR_OK) {
        cmir_snapshot_close(passing);
        return st;
    }
    f->n_learnt = cmir_snapshot_count(chosen);
    st = cmir_whitening_new(info->dim, dims, info->encoder_name, info->encoder_sha256,
                            where == NULL ? "" : where, &f->whitening, &cause);
    if (st == CMIR_OK)
        st = cmir_whitening_learn(f->whitening, chosen, f->n_threads, report, f, &cause);
    if (st != CMIR_OK)
        st = FAIL(err, st, "%s: %s", info->dir, cause.msg);
    f->done = f->n_learnt;
    cmir_snapshot_close(chosen);
    cmir_snapshot_close(passing);
    return st;
}

/* The new archive, empty. */
static cmir_status
begin(struct fit *f, cmir_error *err)
{
    const cmir_archive_info *info = &f->archive->info;
    char sha256[CMIR_SHA256_HEX_NBYTES];
    cmir_status st = cmir_whitening_sha256(f->whitening, sha256, err);
    char *name = cmir_asprintf("%s+whitened", info->encoder_name);
    const cmir_binding binding = {.encoder_name = name,
                                  .encoder_version = info->encoder_version,
                                  .encoder_sha256 = sha256,
                                  .card_json = info->card_json,
                                  .card_path = info->card_path,
                                  .dim = f->whitening->dim,
                                  .plane = info->plane,
                                  .previews = info->previews,
                                  .whitening = f->whitening};

    if (st == CMIR_OK && name == NULL)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", f->dir);
    if (st == CMIR_OK)
        st = cmir_store_begin_partial(f->dir, &binding, &f->store, err);
    free(name);
    return st;
}

static cmir_built *
build(void *ctx, size_t i)
{
    struct fit *f = ctx;
    const cmir_candidate *volume = cmir_snapshot_get(f->snapshot, f->first + i);
    cmir_embeddings e = {0};
    cmir_built *built = NULL;

    f->errors[i] = (cmir_error){0};
    if (cmir_whiten_rows(f->whitening, &volume->rows, volume->volume_id, &e, &f->errors[i]) ==
        CMIR_OK)
        (void)cmir_store_build(f->store, volume->volume_id, &e, &built, &f->errors[i]);
    cmir_embeddings_free(&e);
    return built;
}

static cmir_status
put(void *ctx, size_t i, const cmir_built *built, cmir_error *err)
{
    struct fit *f = ctx;
    cmir_preview_view preview = {0};
    cmir_record *record;
    bool added;
    cmir_status st;

    if (built == NULL)
        return FAIL(err, f->errors[i].code, "%s", f->errors[i].msg);
    if ((st = cmir_snapshot_record(f->snapshot, f->first + i, &record, err)) != CMIR_OK)
        return st;
    if (record->preview_nbytes > 0)
        st = cmir_preview_view_open(f->archive->store, record->info.volume_id, &preview, err);
    const cmir_blob blob = {preview.preview.data, preview.preview.nbytes, preview.preview.crc};
    if (st == CMIR_OK)
        st = cmir_store_put_with(f->store, record, built, &blob, &added, err);
    cmir_preview_view_close(&preview);
    cmir_record_free(record);
    if (st == CMIR_OK && report(f, 1, 0) != 0)
        st = FAIL(err, CMIR_ECANCELLED, "%s: stopped after %zu of %zu volumes", f->dir,
                  f->first + i + 1, cmir_snapshot_count(f->snapshot));
    f->done++;
    return st;
}

/* How many of the volumes from f->first on are done together. */
static size_t
batch_size(const struct fit *f)
{
    const size_t left = cmir_snapshot_count(f->snapshot) - f->first;
    const uint64_t row_nbytes = 4u * f->whitening->dim + 64; /* about */
    uint64_t nbytes = 0;
    size_t n = 0;

    while (n < left && n < BATCH_VOLUMES && (n == 0 || nbytes < BATCH_NBYTES))
        nbytes += cmir_snapshot_get(f->snapshot, f->first + n++)->rows.n_rows * row_nbytes;
    return n;
}

static cmir_status
copy_volumes(struct fit *f, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    for (size_t n; st == CMIR_OK && (n = batch_size(f)) > 0; f->first += n) {
        const cmir_build_job job = {f->store, n, f, build, put};

        st = cmir_build_all(&job, f->n_threads, err);
    }
    return st;
}

cmir_status
cmir_archive_fit(const cmir_archive *archive, const char *dir, const cmir_fit_options *options,
                 cmir_error *err)
{
    const cmir_fit_options defaults = {.struct_nbytes = sizeof defaults};
    const cmir_fit_options *o = options == NULL ? &defaults : options;
    cmir_status st = check_fit(archive, dir, o, err);
    struct fit *f;

    if (st != CMIR_OK)
        return st;
    if ((f = cmir_alloc_zeroed(1, sizeof *f)) == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
    f->dir = dir;
    f->archive = archive;
    f->options = o;
    f->n_threads = o->n_threads == 0 ? cmir_cpu_count() : o->n_threads;
    if ((st = cmir_snapshot_open(archive->store, NULL, &f->snapshot, err)) == CMIR_OK &&
        (st = learn(f, err)) == CMIR_OK && (st = begin(f, err)) == CMIR_OK)
        st = cmir_store_end_partial(f->store, dir, copy_volumes(f, err), err);
    cmir_snapshot_close(f->snapshot);
    cmir_whitening_free(f->whitening);
    free(f);
    return st;
}
