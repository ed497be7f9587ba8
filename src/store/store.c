/* SPDX-License-Identifier: Apache-2.0 */
/* store.c: an archive on disk, opened; what is added, removed and labelled.  Called by engine.
 *
 * The one idea: a record is durable at the end of a segment before one transaction of the catalogue
 * names it.  docs/format.md tells the order and why. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/codes.h"
#include "store/listing.h"
#include "store/store_internal.h"

#define MAX_ID_NBYTES 1024u

/* Records lie in the file as the machine keeps them. */
static cmir_status
check_host(const char *dir, cmir_error *err)
{
    const uint16_t one = 1;
    uint8_t low;

    memcpy(&low, &one, 1);
    if (low != 1)
        return FAIL(err, CMIR_EUNSUPPORTED,
                    "%s: archives need a little-endian machine, which this is not", dir);
    return CMIR_OK;
}

static cmir_status
check_there(const cmir_store *store, cmir_error *err)
{
    struct stat info;

    if (stat(store->catalog_path, &info) == 0)
        return CMIR_OK;
    if (errno != ENOENT && errno != ENOTDIR)
        return FAIL(err, CMIR_EIO, "%s: %s", store->catalog_path, strerror(errno));
    if (stat(store->dir, &info) != 0)
        return FAIL(err, CMIR_ENOTFOUND, "%s: no such archive", store->dir);
    return FAIL(err, CMIR_ENOTFOUND, "%s: not a cmir archive (it holds no catalog.sqlite)",
                store->dir);
}

/* Opens the catalogue where SQLite may not write beside it: nobody may write meanwhile, and
 * nothing may wait in the write-ahead log. */
static cmir_status
open_immutable(cmir_store *store, cmir_error *err)
{
    struct stat info;
    cmir_status st = cmir_store_lock(store->dir, false, &store->lock_fd, err);
    char *wal = cmir_asprintf("%s-wal", store->catalog_path);

    if (st == CMIR_OK && wal == NULL)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir);
    if (st == CMIR_OK && stat(wal, &info) == 0 && info.st_size > 0)
        st = FAIL(err, CMIR_EIO,
                  "%s: holds changes that can only be read with write permission there; open the "
                  "archive once with it",
                  wal);
    free(wal);
    if (st != CMIR_OK)
        return st;
    store->read_mode = CMIR_DB_IMMUTABLE;
    return cmir_catalog_open(store->catalog_path, CMIR_DB_IMMUTABLE, &store->db, err);
}

static cmir_status
open_catalog(cmir_store *store, cmir_error *err)
{
    cmir_error cause = {0};
    cmir_status st;

    store->read_mode = CMIR_DB_READ;
    if (store->access == CMIR_WRITE) {
        if ((st = cmir_store_lock(store->dir, true, &store->lock_fd, err)) != CMIR_OK)
            return st;
        return cmir_catalog_open(store->catalog_path, CMIR_DB_WRITE, &store->db, err);
    }
    st = cmir_catalog_open(store->catalog_path, CMIR_DB_READ, &store->db, &cause);
    if (st == CMIR_EIO && access(store->dir, W_OK) != 0)
        return open_immutable(store, err);
    return st == CMIR_OK ? st : FAIL_AT(err, st, cause.offset, "%s", cause.msg);
}

uint32_t
cmir_padded_dim(const cmir_store *store)
{
    return (store->binding.dim + CMIR_DIM_MULTIPLE - 1) / CMIR_DIM_MULTIPLE * CMIR_DIM_MULTIPLE;
}

static cmir_status
read_center(cmir_store *store, cmir_error *err)
{
    const uint32_t n = cmir_padded_dim(store);

    store->center = cmir_alloc_aligned(n, sizeof *store->center);
    if (store->center == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir);
    return cmir_catalog_center(store->db, n, store->center, &store->center_given, err);
}

static uint8_t
hex_digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

cmir_status
cmir_store_open(const char *dir, cmir_access access_wanted, cmir_store **out, cmir_error *err)
{
    cmir_status st;
    cmir_store *store = cmir_alloc_zeroed(1, sizeof *store);

    *out = NULL;
    if (store == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
    store->lock_fd = -1;
    store->access = access_wanted;
    store->segment_limit = CMIR_SEGMENT_LIMIT;
    store->dir = cmir_strdup(dir);
    store->maps.dir = store->dir;
    store->catalog_path = cmir_asprintf("%s/catalog.sqlite", dir);
    if (store->dir == NULL || store->catalog_path == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
        goto fail;
    }
    if ((st = check_host(dir, err)) != CMIR_OK || (st = check_there(store, err)) != CMIR_OK ||
        (st = open_catalog(store, err)) != CMIR_OK ||
        (st = cmir_catalog_binding(store->db, store->catalog_path, &store->binding,
                                   &store->binding_text, err)) != CMIR_OK ||
        (st = read_center(store, err)) != CMIR_OK)
        goto fail;
    for (size_t i = 0; i < CMIR_ENCODER_TAG_NBYTES; i++)
        store->encoder_tag[i] = (uint8_t)(hex_digit(store->binding.encoder_sha256[2 * i]) << 4 |
                                          hex_digit(store->binding.encoder_sha256[2 * i + 1]));
    *out = store;
    return CMIR_OK;
fail:
    cmir_store_close(store);
    return st;
}

void
cmir_store_close(cmir_store *store)
{
    if (store == NULL)
        return;
    cmir_listing_give_back(store->listing);
    cmir_maps_close(&store->maps);
    cmir_db_close(store->db);
    if (store->lock_fd >= 0)
        close(store->lock_fd); /* last: the catalogue is at rest when the lock goes */
    free(store->center);
    free(store->binding_text);
    free(store->catalog_path);
    free(store->dir);
    free(store);
}

cmir_status
cmir_store_info(cmir_store *store, cmir_archive_info *out, cmir_error *err)
{
    *out = (cmir_archive_info){
        .dir = store->dir,
        .encoder_name = store->binding.encoder_name,
        .encoder_version = store->binding.encoder_version,
        .encoder_sha256 = store->binding.encoder_sha256,
        .card_json = store->binding.card_json,
        .card_path = store->binding.card_path,
        .plane = store->binding.plane,
        .dim = store->binding.dim,
    };
    return cmir_catalog_count(store->db, out, err);
}

static cmir_status
check_writable(const cmir_store *store, cmir_error *err)
{
    if (store->access != CMIR_WRITE)
        return FAIL(err, CMIR_EINVAL, "%s: opened for reading only", store->dir);
    return CMIR_OK;
}

cmir_status
cmir_store_begin(cmir_store *store, cmir_error *err)
{
    cmir_status st = check_writable(store, err);

    if (st == CMIR_OK && store->in_batch)
        st = FAIL(err, CMIR_EINVAL, "%s: a batch of changes is open already", store->dir);
    if (st != CMIR_OK || (st = cmir_store_settle(store, err)) != CMIR_OK ||
        (st = cmir_db_begin(store->db, true, err)) != CMIR_OK)
        return st;
    store->in_batch = true;
    store->unsynced_first = store->unsynced_last = 0;
    store->segment_made = false;
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
}

cmir_status
cmir_store_commit(cmir_store *store, cmir_error *err)
{
    cmir_status st = cmir_store_sync(store, err);

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
    return *own ? cmir_store_begin(store, err) : cmir_db_exec(store->db, "SAVEPOINT change", err);
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
    if (st != CMIR_OK)
        (void)cmir_db_exec(store->db, "ROLLBACK TO change", NULL);
    const cmir_status released = cmir_db_exec(store->db, "RELEASE change", err);
    return st == CMIR_OK ? released : st;
}

struct cmir_built {
    uint8_t *bytes;
    cmir_record_claim claim;
    uint32_t n_slices, n_air;
    uint8_t marks[]; /* [n_slices] */
};

void
cmir_built_free(cmir_built *built)
{
    if (built == NULL)
        return;
    free(built->bytes);
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
    cmir_error cause = {0};
    cmir_status st;

    *out = NULL;
    if (embeddings->dim != store->binding.dim)
        return FAIL(err, CMIR_EMISMATCH, "%s: embeddings of dimension %u; the archive's have %u",
                    volume_id, (unsigned)embeddings->dim, (unsigned)store->binding.dim);
    cmir_built *built = cmir_alloc_zeroed(1, sizeof *built + embeddings->n_slices);
    if (built == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", volume_id);
    st = cmir_record_build(embeddings, store->encoder_tag, store->center, store->center_given,
                           &built->bytes, &built->claim, &cause);
    if (st != CMIR_OK) {
        free(built);
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

/* Appends the record and names it. */
static cmir_status
put_new(cmir_store *store, const cmir_record *record, const cmir_built *built, cmir_error *err)
{
    const cmir_label_set labels = {record->info.volume_id, record->labels, record->n_labels};
    cmir_place place = {.claim = built->claim};
    cmir_record r = *record;
    size_t n;
    cmir_status st = cmir_store_append(store, built->bytes, &place, err);

    /* The strings and marks of `r` are only read. */
    r.slice_marks = (uint8_t *)(uintptr_t)built->marks;
    r.n_air = built->n_air;
    if (st == CMIR_OK && !store->center_given)
        st = cmir_catalog_set_center(store->db, store->center, cmir_padded_dim(store), err);
    if (st == CMIR_OK)
        st = cmir_catalog_set_tail(store->db, place.segment, place.offset + place.claim.nbytes,
                                   err);
    if (st == CMIR_OK)
        st = cmir_catalog_insert(store->db, &r, &place, err);
    if (st == CMIR_OK)
        st = cmir_catalog_label(store->db, &labels, 1, &n, err);
    store->center_given = store->center_given || st == CMIR_OK;
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

cmir_status
cmir_store_put(cmir_store *store, const cmir_record *record, const cmir_built *built, bool *added,
               cmir_error *err)
{
    const char *id = record->info.volume_id;
    const cmir_label_set labels = {id, record->labels, record->n_labels};
    cmir_place old;
    bool found = false, own;
    size_t n;
    cmir_status st;

    *added = false;
    if ((st = check_writable(store, err)) != CMIR_OK ||
        (st = check_new(record, built, err)) != CMIR_OK ||
        (st = cmir_catalog_find(store->db, id, &old, &found, err)) != CMIR_OK)
        return st;
    if (found && (st = check_same(store, id, &old, built, err)) != CMIR_OK)
        return st;
    if (found && labels.n_labels == 0)
        return CMIR_OK;
    if ((st = begin_change(store, &own, err)) != CMIR_OK)
        return st;
    st = found ? cmir_catalog_label(store->db, &labels, 1, &n, err)
               : put_new(store, record, built, err);
    st = end_change(store, own, st, err);
    *added = st == CMIR_OK && !found;
    return st;
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
    bool found, own;
    cmir_status st = check_writable(store, err);

    if (st != CMIR_OK || (st = begin_change(store, &own, err)) != CMIR_OK)
        return st;
    st = cmir_catalog_delete(store->db, volume_id, &found, err);
    if (st == CMIR_OK && !found)
        st = FAIL(err, CMIR_ENOTFOUND, "no volume '%s' in the archive", volume_id);
    return end_change(store, own, st, err);
}

cmir_status
cmir_store_label(cmir_store *store, const cmir_label_set *sets, size_t n, size_t *n_applied,
                 cmir_error *err)
{
    bool own;
    cmir_status st = check_writable(store, err);

    *n_applied = 0;
    if (st != CMIR_OK || (st = begin_change(store, &own, err)) != CMIR_OK)
        return st;
    st = end_change(store, own, cmir_catalog_label(store->db, sets, n, n_applied, err), err);
    if (st != CMIR_OK)
        *n_applied = 0;
    return st;
}

cmir_status
cmir_store_get(cmir_store *store, const char *volume_id, cmir_record **out, cmir_error *err)
{
    return cmir_catalog_record(store->db, volume_id, out, err);
}
