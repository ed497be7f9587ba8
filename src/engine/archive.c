/* SPDX-License-Identifier: Apache-2.0 */
/* archive.c: the archive functions of the public interface: encoder and store put together.
 *
 * The one idea: everything an archive needs to know of a volume is in its record; once that is
 * filled, adding is one call of the store. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "store/codes.h"

const char *
cmir_previews_name(cmir_previews previews)
{
    static const char *const names[] = {"none", "small", "full"};

    return (unsigned)previews < sizeof names / sizeof names[0] ? names[previews] : NULL;
}

cmir_status
cmir_archive_create_with(const char *dir, const cmir_encoder *encoder,
                         const cmir_archive_options *options, cmir_error *err)
{
    const cmir_plane plane = options->plane;

    if (options->struct_nbytes != sizeof *options)
        return FAIL(err, CMIR_EINVAL, "archive options: struct_nbytes is not that of this library");
    if (cmir_previews_name(options->previews) == NULL)
        return FAIL(err, CMIR_EINVAL, "archive options: no previews of kind %d",
                    (int)options->previews);
    if (dir == NULL || *dir == '\0')
        return FAIL(err, CMIR_EINVAL, "archive: the path of a directory is wanted");
    if (encoder == NULL)
        return FAIL(err, CMIR_EINVAL, "%s: an archive needs an encoder", dir);
    if (plane != CMIR_AXIAL && plane != CMIR_CORONAL && plane != CMIR_SAGITTAL)
        return FAIL(err, CMIR_EINVAL, "%s: no such plane: %d", dir, (int)plane);
    const cmir_encoder_info *info = cmir_encoder_get_info(encoder);
    const cmir_binding binding = {.encoder_name = info->name,
                                  .encoder_version = info->version,
                                  .encoder_sha256 = info->sha256,
                                  .card_json = info->card_json,
                                  .card_path = info->card_path,
                                  .dim = info->dim,
                                  .plane = plane,
                                  .previews = options->previews};
    return cmir_store_create(dir, &binding, err);
}

cmir_status
cmir_archive_create(const char *dir, const cmir_encoder *encoder, cmir_plane plane, cmir_error *err)
{
    const cmir_archive_options options = {.struct_nbytes = sizeof options, .plane = plane};

    return cmir_archive_create_with(dir, encoder, &options, err);
}

cmir_status
cmir_archive_open(const char *dir, cmir_access access, cmir_archive **out, cmir_error *err)
{
    cmir_status st;

    *out = NULL;
    if (dir == NULL || *dir == '\0')
        return FAIL(err, CMIR_EINVAL, "archive: the path of a directory is wanted");
    cmir_archive *archive = cmir_alloc_zeroed(1, sizeof *archive);
    if (archive == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
    if ((st = cmir_store_open(dir, access, &archive->store, err)) != CMIR_OK) {
        cmir_archive_close(archive);
        return st;
    }
    cmir_store_info(archive->store, &archive->info);
    *out = archive;
    return CMIR_OK;
}

void
cmir_archive_close(cmir_archive *archive)
{
    if (archive == NULL)
        return;
    cmir_store_close(archive->store);
    free(archive);
}

const cmir_archive_info *
cmir_archive_get_info(const cmir_archive *archive)
{
    return &archive->info;
}

/* What makes embeddings comparable; strings borrowed. */
struct identity {
    const char *name, *version, *sha256, *card_json;
    uint32_t dim;
};

static struct identity
identity_of(const cmir_archive_info *a)
{
    return (struct identity){a->encoder_name, a->encoder_version, a->encoder_sha256, a->card_json,
                             a->dim};
}

/* That of the embeddings that go in. */
static struct identity
base_of(const cmir_archive_info *a)
{
    const cmir_whitening_info *w = a->whitening;

    if (w == NULL)
        return identity_of(a);
    return (struct identity){w->base_name, a->encoder_version, w->base_sha256, a->card_json,
                             w->base_dim};
}

/* The field in which they differ; NULL where they are equal. */
static const char *
difference(struct identity a, struct identity b)
{
    return strcmp(a.name, b.name) != 0             ? "name"
           : strcmp(a.version, b.version) != 0     ? "version"
           : a.dim != b.dim                        ? "dimension"
           : strcmp(a.sha256, b.sha256) != 0       ? "sha256"
           : strcmp(a.card_json, b.card_json) != 0 ? "card"
                                                   : NULL;
}

static cmir_status
refuse(const cmir_archive *archive, struct identity own, struct identity other, const char *whose,
       cmir_error *err)
{
    return FAIL(err, CMIR_EMISMATCH,
                "%.60s: made with encoder %.30s %.16s (sha256 %.8s); %.30s is %.30s %.16s "
                "(sha256 %.8s): another %s",
                archive->info.dir, own.name, own.version, own.sha256, whose, other.name,
                other.version, other.sha256, difference(own, other));
}

cmir_status
cmir_archive_check_encoder(const cmir_archive *archive, const cmir_encoder *encoder,
                           cmir_error *err)
{
    const cmir_encoder_info *e = cmir_encoder_get_info(encoder);
    const struct identity other = {e->name, e->version, e->sha256, e->card_json, e->dim};
    const struct identity own = base_of(&archive->info);

    return difference(own, other) == NULL ? CMIR_OK
                                          : refuse(archive, own, other, "the one given", err);
}

cmir_status
cmir_archive_check_same(const cmir_archive *archive, const cmir_archive *other, bool *whiten,
                        cmir_error *err)
{
    const struct identity own = identity_of(&archive->info), theirs = identity_of(&other->info);

    *whiten = difference(own, theirs) != NULL;
    if (!*whiten ||
        (archive->info.whitening != NULL && difference(base_of(&archive->info), theirs) == NULL))
        return CMIR_OK;
    return refuse(archive, own, theirs, "that of the query's archive", err);
}

uint32_t
cmir_archive_input_dim(const cmir_archive *archive)
{
    return base_of(&archive->info).dim;
}

cmir_status
cmir_record_describe(const cmir_volume *volume, cmir_plane plane, const cmir_embeddings *embeddings,
                     cmir_record *record, cmir_error *err)
{
    cmir_stack stack;
    const cmir_status st = cmir_volume_stack(volume, plane, &stack, err);

    *record = (cmir_record){.info = *cmir_volume_get_info(volume), .added = ""};
    if (st != CMIR_OK)
        return st;
    const uint32_t n = stack.n_slices;
    record->n_slices = n;
    record->slice_spacing_mm = stack.slice_spacing_mm;
    record->slice_marks = embeddings->marks;
    record->slice_mm = cmir_alloc(n, sizeof *record->slice_mm);
    record->slice_uids = cmir_alloc(n, sizeof *record->slice_uids);
    if (record->slice_mm == NULL || record->slice_uids == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for %u slices", record->info.path, n);
    for (uint32_t i = 0; i < n; i++) {
        record->slice_mm[i] = cmir_volume_slice_mm(volume, plane, i);
        record->slice_uids[i] = cmir_volume_slice_uid(volume, plane, i);
        record->n_air += (embeddings->marks[i] & CMIR_SLICE_AIR) != 0;
    }
    return CMIR_OK;
}

cmir_status
cmir_archive_remove(cmir_archive *archive, const char *volume_id, cmir_error *err)
{
    const cmir_status st = cmir_store_remove(archive->store, volume_id, err);

    cmir_store_info(archive->store, &archive->info);
    return st;
}

cmir_status
cmir_archive_label(cmir_archive *archive, const cmir_label_table *table, const char *volume_id,
                   size_t *n_labelled, cmir_error *err)
{
    const cmir_label_set *sets = cmir_label_table_sets(table);
    size_t n = cmir_label_table_count(table);

    *n_labelled = 0;
    if (volume_id != NULL) {
        size_t row = 0;
        while (row < n && strcmp(sets[row].volume_id, volume_id) != 0)
            row++;
        sets += row;
        n = row < n; /* a table has one row per volume */
    }
    return n == 0 ? CMIR_OK : cmir_store_label(archive->store, sets, n, n_labelled, err);
}

cmir_status
cmir_archive_get(const cmir_archive *archive, const char *volume_id, cmir_record **out,
                 cmir_error *err)
{
    return cmir_store_get(archive->store, volume_id, out, err);
}

cmir_status
cmir_archive_list(const cmir_archive *archive, const char *where, char ***ids, size_t *n_ids,
                  cmir_error *err)
{
    return cmir_store_list(archive->store, where, ids, n_ids, err);
}

cmir_status
cmir_archive_refresh(cmir_archive *archive, cmir_error *err)
{
    const cmir_status st = cmir_store_refresh(archive->store, err);

    cmir_store_info(archive->store, &archive->info);
    return st;
}

cmir_status
cmir_archive_labels(const cmir_archive *archive, size_t max_values, cmir_label_summary **out,
                    size_t *n, cmir_error *err)
{
    return cmir_store_labels(archive->store, max_values, out, n, err);
}

cmir_status
cmir_rows_to_embeddings(const cmir_rows *rows, const char *volume_id, cmir_embeddings *out,
                        cmir_error *err)
{
    const uint32_t dim = rows->dim;
    uint64_t n;

    *out = (cmir_embeddings){0};
    if (!cmir_mul_u64(rows->n_rows, dim, &n))
        return FAIL(err, CMIR_ELIMIT, "%s: %u x %u embeddings", volume_id, rows->n_rows, dim);
    out->n_slices = rows->n_rows;
    out->dim = dim;
    out->rows = cmir_alloc_zeroed((size_t)n, sizeof *out->rows);
    out->marks = cmir_alloc_zeroed(rows->n_rows, 1);
    if (out->rows == NULL || out->marks == NULL) {
        cmir_embeddings_free(out);
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for %u x %u embeddings", volume_id,
                    rows->n_rows, dim);
    }
    for (uint32_t r = 0; r < rows->n_rows; r++) {
        const uint32_t slice = rows->slice[r];
        if (slice >= rows->n_rows) {
            cmir_embeddings_free(out);
            return FAIL(err, CMIR_ECORRUPT, "%s: stored row %u is of slice %u of %u", volume_id, r,
                        slice, rows->n_rows);
        }
        for (uint32_t d = 0; d < dim; d++)
            out->rows[(size_t)slice * dim + d] =
                (float)rows->exact[(size_t)r * rows->padded_dim + d] / CMIR_UNIT;
        out->marks[slice] = (uint8_t)(r < rows->n_scored ? 0 : CMIR_SLICE_AIR);
    }
    return CMIR_OK;
}

cmir_status
cmir_archive_embeddings(const cmir_archive *archive, const char *volume_id, cmir_embeddings *out,
                        cmir_error *err)
{
    cmir_snapshot *snapshot;
    cmir_status st = cmir_snapshot_open_one(archive->store, volume_id, &snapshot, err);

    *out = (cmir_embeddings){0};
    if (st != CMIR_OK)
        return st;
    st = cmir_rows_to_embeddings(&cmir_snapshot_get(snapshot, 0)->rows, volume_id, out, err);
    cmir_snapshot_close(snapshot);
    return st;
}

cmir_status
cmir_archive_verify(const cmir_archive *archive, void (*problem)(void *ctx, const char *sentence),
                    void *ctx, uint64_t *n_problems, cmir_error *err)
{
    return cmir_store_verify(archive->store, problem, ctx, n_problems, err);
}
