/* SPDX-License-Identifier: Apache-2.0 */
/* change.c: what is added to an archive, removed and labelled.  Called by engine.
 *
 * The one idea: a record is durable at the end of a segment before the transaction of the catalogue
 * that names it commits.  docs/format.md tells the order and why. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/store_internal.h"

#define MAX_ID_NBYTES 1024u

cmir_status
cmir_store_check_writable(const cmir_store *store, cmir_error *err)
{
    if (store->access != CMIR_WRITE)
        return FAIL(err, CMIR_EINVAL, "%s: opened for reading only", store->dir);
    return CMIR_OK;
}

cmir_status
cmir_store_begin(cmir_store *store, cmir_error *err)
{
    cmir_status st = cmir_store_check_writable(store, err);

    if (st == CMIR_OK && store->in_batch)
        st = FAIL(err, CMIR_EINVAL, "%s: a batch of changes is open already", store->dir);
    if (st != CMIR_OK || (st = cmir_store_settle(store, err)) != CMIR_OK ||
        (st = cmir_db_begin(store->db, true, err)) != CMIR_OK)
        return st;
    store->in_batch = true;
    store->totals_before = store->totals;
    memset(store->unsynced, 0, sizeof store->unsynced);
    return CMIR_OK;
}

void
cmir_store_rollback(cmir_store *store)
{
    bool found;
    const uint32_t padded = cmir_padded_dim(store);

    if (!store->in_batch)
        return;
    cmir_db_rollback(store->db);
    store->in_batch = false;
    /* The batch may have set the center; without an answer the next one sets it anew. */
    store->center_given =
        cmir_catalog_center(store->db, padded, store->center, &found, NULL) == CMIR_OK && found;
    store->totals = store->totals_before;
    cmir_maps_forget(&store->maps); /* segments that the batch began will be removed */
    cmir_maps_forget(&store->preview_maps);
}

/* Some errors end a transaction at once: what follows must not become transactions of their own. */
static cmir_status
check_batch(const cmir_store *store, cmir_error *err)
{
    if (!store->in_batch)
        return FAIL(err, CMIR_EINVAL, "%s: no batch of changes is open", store->dir);
    if (!cmir_db_in_transaction(store->db))
        return FAIL(err, CMIR_EIO, "%s: an error before has ended the batch of changes",
                    store->dir);
    return CMIR_OK;
}

cmir_status
cmir_store_commit(cmir_store *store, cmir_error *err)
{
    cmir_status st = check_batch(store, err);

    if (st == CMIR_OK)
        st = cmir_store_sync(store, err);
    if (st == CMIR_OK)
        st = cmir_catalog_count_write(store->db, err);
    if (st == CMIR_OK)
        st = cmir_db_commit(store->db, err);
    if (st != CMIR_OK) {
        cmir_store_rollback(store);
        return st;
    }
    store->in_batch = false;
    store->tail_settled = true;
    return CMIR_OK;
}

/* One change: a savepoint of the open batch, or a batch of its own. */
static cmir_status
begin_change(cmir_store *store, bool *own, cmir_error *err)
{
    *own = !store->in_batch;
    if (*own)
        return cmir_store_begin(store, err);
    const cmir_status st = check_batch(store, err);
    return st != CMIR_OK ? st : cmir_db_exec(store->db, "SAVEPOINT change", err);
}

/* Ends a change whose statements gave `st`. */
static cmir_status
end_change(cmir_store *store, bool own, cmir_status st, cmir_error *err)
{
    if (own) {
        if (st == CMIR_OK)
            return cmir_store_commit(store, err);
        cmir_store_rollback(store);
        return st;
    }
    if (st == CMIR_OK)
        return cmir_db_exec(store->db, "RELEASE change", err);
    if (cmir_db_exec(store->db, "ROLLBACK TO change", NULL) != CMIR_OK ||
        cmir_db_exec(store->db, "RELEASE change", NULL) != CMIR_OK)
        cmir_db_rollback(store->db); /* the change must not stay: nor can the batch */
    return st;
}

struct cmir_built {
    uint8_t *bytes;
    cmir_record_claim claim;
    uint32_t n_slices, n_air;
    int16_t *center;  /* [padded dim] that the record was built with */
    bool center_own;  /* it is the mean of this record: the archive had none */
    uint8_t marks[];  /* [n_slices] */
};

void
cmir_built_free(cmir_built *built)
{
    if (built == NULL)
        return;
    free(built->bytes);
    free(built->center);
    free(built);
}

bool
cmir_store_has_center(const cmir_store *store)
{
    return store->center_given;
}

cmir_status
cmir_store_build(cmir_store *store, const char *volume_id, const cmir_embeddings *embeddings,
                 cmir_built **out, cmir_error *err)
{
    const uint32_t padded = cmir_padded_dim(store);
    cmir_error cause = {0};
    cmir_status st;

    *out = NULL;
    if (embeddings->dim != store->binding.dim)
        return FAIL(err, CMIR_EMISMATCH, "%s: embeddings of dimension %u; the archive's have %u",
                    volume_id, (unsigned)embeddings->dim, (unsigned)store->binding.dim);
    cmir_built *built = cmir_alloc_zeroed(1, sizeof *built + embeddings->n_slices);
    if (built != NULL)
        built->center = cmir_alloc_aligned(padded, sizeof *built->center);
    if (built == NULL || built->center == NULL) {
        cmir_built_free(built);
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", volume_id);
    }
    built->center_own = !store->center_given;
    if (store->center_given)
        memcpy(built->center, store->center, padded * sizeof *built->center);
    st = cmir_record_build(embeddings, store->encoder_tag, built->center, store->center_given,
                           &built->bytes, &built->claim, &cause);
    if (st != CMIR_OK) {
        cmir_built_free(built);
        return FAIL(err, st, "%s: %s", volume_id, cause.msg);
    }
    built->n_slices = embeddings->n_slices;
    built->n_air = built->claim.n_rows - built->claim.n_scored;
    memcpy(built->marks, embeddings->marks, embeddings->n_slices);
    *out = built;
    return CMIR_OK;
}

static cmir_status
check_new(const cmir_record *record, const cmir_built *built, cmir_error *err)
{
    const char *id = record->info.volume_id;

    if (id == NULL || id[0] == '\0' || strlen(id) > MAX_ID_NBYTES)
        return FAIL(err, CMIR_EINVAL, "a volume's id has 1..%u bytes, this has %zu", MAX_ID_NBYTES,
                    id == NULL ? 0 : strlen(id));
    if (record->n_slices != built->n_slices)
        return FAIL(err, CMIR_EINVAL, "%s: %u slices, but embeddings of %u", id,
                    (unsigned)record->n_slices, (unsigned)built->n_slices);
    return CMIR_OK;
}

/* A record fits only the center it was built with; where the archive has none, its own. */
static cmir_status
check_center(const cmir_store *store, const char *id, const cmir_built *built, cmir_error *err)
{
    const size_t nbytes = cmir_padded_dim(store) * sizeof *built->center;

    if (store->center_given ? memcmp(store->center, built->center, nbytes) == 0 : built->center_own)
        return CMIR_OK;
    return FAIL(err, CMIR_EINVAL,
                "%s: built for another center than the archive has now; build it again", id);
}

/* Appends the record and names it. */
static cmir_status
put_new(cmir_store *store, const cmir_record *record, const cmir_built *built, cmir_error *err)
{
    const cmir_label_set labels = {record->info.volume_id, record->labels, record->n_labels};
    cmir_place place = {.claim = built->claim};
    cmir_record r = *record;
    size_t n;
    cmir_status st = check_center(store, record->info.volume_id, built, err);

    if (st == CMIR_OK)
        st = cmir_store_append(store, CMIR_ROWS, built->bytes, place.claim.nbytes, &place.segment,
                               &place.offset, err);
    /* The strings and marks of `r` are only read. */
    r.slice_marks = (uint8_t *)(uintptr_t)built->marks;
    r.n_air = built->n_air;
    if (st == CMIR_OK && !store->center_given)
        st = cmir_catalog_set_center(store->db, built->center, cmir_padded_dim(store), err);
    if (st == CMIR_OK)
        st = cmir_catalog_insert(store->db, &r, &place, err);
    if (st == CMIR_OK)
        st = cmir_catalog_label(store->db, &labels, 1, &n, err);
    if (st != CMIR_OK)
        return st;
    if (!store->center_given)
        memcpy(store->center, built->center, cmir_padded_dim(store) * sizeof *store->center);
    store->center_given = true;
    store->totals.n_volumes++;
    store->totals.n_slices += built->n_slices;
    store->totals.n_air_slices += built->n_air;
    store->totals.segments_nbytes += built->claim.nbytes;
    return CMIR_OK;
}

/* Appends the preview of a volume whose row is there, and names it. */
static cmir_status
put_preview(cmir_store *store, const char *volume_id, const cmir_blob *preview, cmir_error *err)
{
    uint32_t segment;
    uint64_t offset;
    cmir_status st = cmir_store_append(store, CMIR_PREVIEWS, preview->data, preview->nbytes,
                                       &segment, &offset, err);

    if (st == CMIR_OK)
        st = cmir_catalog_put_preview(store->db, volume_id, segment, offset, preview, err);
    if (st == CMIR_OK)
        store->totals.previews_nbytes += preview->nbytes;
    return st;
}

/* Whether the archive is to keep a preview that it lacks. */
static cmir_status
wants_preview(cmir_store *store, const char *volume_id, const cmir_blob *preview, bool found,
              bool *out, cmir_error *err)
{
    uint64_t nbytes = 0;
    cmir_status st = CMIR_OK;

    *out = false;
    if (preview == NULL || preview->nbytes == 0 || store->binding.previews == CMIR_PREVIEWS_NONE)
        return CMIR_OK;
    if (found)
        st = cmir_catalog_preview_nbytes(store->db, volume_id, &nbytes, err);
    *out = st == CMIR_OK && nbytes == 0;
    return st;
}

/* A volume of this id is there, at `place`: the very same one, or an error. */
static cmir_status
check_same(cmir_store *store, const char *volume_id, cmir_place *place, const cmir_built *built,
           cmir_error *err)
{
    cmir_segment_map *map;
    cmir_rows rows;
    cmir_status st = cmir_maps_take(&store->maps, place->segment,
                                    place->offset + place->claim.nbytes, &map, err);

    if (st != CMIR_OK)
        return st;
    st = cmir_store_rows(store, volume_id, place, map, &rows, err);
    if (st == CMIR_OK &&
        (place->claim.nbytes != built->claim.nbytes ||
         memcmp(map->map.data + place->offset, built->bytes, built->claim.nbytes) != 0))
        st = FAIL(err, CMIR_EEXIST,
                  "%s: the archive holds a volume of this id with other embeddings; remove it "
                  "first, or give this one another id",
                  volume_id);
    cmir_maps_give_back(&store->maps, map);
    return st;
}

/* The statements of a change: what is new of the volume. */
static cmir_status
put_parts(cmir_store *store, const cmir_record *record, const cmir_built *built,
          const cmir_blob *preview, bool found, cmir_error *err)
{
    const char *id = record->info.volume_id;
    const cmir_label_set labels = {id, record->labels, record->n_labels};
    size_t n;
    cmir_status st = CMIR_OK;

    if (!found)
        st = put_new(store, record, built, err);
    else if (labels.n_labels > 0)
        st = cmir_catalog_label(store->db, &labels, 1, &n, err);
    return st == CMIR_OK && preview != NULL ? put_preview(store, id, preview, err) : st;
}

cmir_status
cmir_store_put_with(cmir_store *store, const cmir_record *record, const cmir_built *built,
                    const cmir_blob *preview, bool *added, cmir_error *err)
{
    const char *id = record->info.volume_id;
    const cmir_archive_info before = store->totals;
    cmir_place old;
    bool found = false, wanted, own;
    cmir_status st;

    *added = false;
    if ((st = cmir_store_check_writable(store, err)) != CMIR_OK ||
        (st = check_new(record, built, err)) != CMIR_OK ||
        (st = cmir_catalog_find(store->db, id, &old, &found, err)) != CMIR_OK)
        return st;
    if ((found && (st = check_same(store, id, &old, built, err)) != CMIR_OK) ||
        (st = wants_preview(store, id, preview, found, &wanted, err)) != CMIR_OK)
        return st;
    if (found && record->n_labels == 0 && !wanted)
        return CMIR_OK;
    if ((st = begin_change(store, &own, err)) != CMIR_OK)
        return st;
    st = put_parts(store, record, built, wanted ? preview : NULL, found, err);
    if ((st = end_change(store, own, st, err)) != CMIR_OK)
        store->totals = before;
    *added = st == CMIR_OK && !found;
    return st;
}

cmir_status
cmir_store_put(cmir_store *store, const cmir_record *record, const cmir_built *built, bool *added,
               cmir_error *err)
{
    return cmir_store_put_with(store, record, built, NULL, added, err);
}

cmir_status
cmir_store_add(cmir_store *store, const cmir_record *record, const cmir_embeddings *embeddings,
               bool *added, cmir_error *err)
{
    cmir_built *built;
    cmir_status st = cmir_store_build(store, record->info.volume_id, embeddings, &built, err);

    *added = false;
    if (st != CMIR_OK)
        return st;
    st = cmir_store_put(store, record, built, added, err);
    cmir_built_free(built);
    return st;
}

cmir_status
cmir_store_remove(cmir_store *store, const char *volume_id, cmir_error *err)
{
    const cmir_archive_info before = store->totals;
    cmir_place place;
    uint64_t preview_nbytes = 0;
    bool found = false, own;
    cmir_status st = cmir_store_check_writable(store, err);

    if (st != CMIR_OK || (st = begin_change(store, &own, err)) != CMIR_OK)
        return st;
    st = cmir_catalog_find(store->db, volume_id, &place, &found, err);
    if (st == CMIR_OK && !found)
        st = FAIL(err, CMIR_ENOTFOUND, "no volume '%s' in the archive", volume_id);
    if (st == CMIR_OK)
        st = cmir_catalog_preview_nbytes(store->db, volume_id, &preview_nbytes, err);
    if (st == CMIR_OK)
        st = cmir_catalog_delete(store->db, volume_id, err);
    if (st == CMIR_OK) {
        store->totals.n_volumes--;
        store->totals.n_slices -= place.claim.n_rows;
        store->totals.n_air_slices -= place.claim.n_rows - place.claim.n_scored;
        store->totals.dead_nbytes += place.claim.nbytes;
        store->totals.dead_previews_nbytes += preview_nbytes;
    }
    if ((st = end_change(store, own, st, err)) != CMIR_OK)
        store->totals = before;
    return st;
}

cmir_status
cmir_store_label(cmir_store *store, const cmir_label_set *sets, size_t n, size_t *n_applied,
                 cmir_error *err)
{
    bool own;
    cmir_status st = cmir_store_check_writable(store, err);

    *n_applied = 0;
    if (st != CMIR_OK || (st = begin_change(store, &own, err)) != CMIR_OK)
        return st;
    st = end_change(store, own, cmir_catalog_label(store->db, sets, n, n_applied, err), err);
    if (st != CMIR_OK)
        *n_applied = 0;
    return st;
}
