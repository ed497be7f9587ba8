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
                                   &store->binding_text, err)) != CMIR_OK)
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
    cmir_maps_close(&store->maps);
    cmir_db_close(store->db);
    if (store->lock_fd >= 0)
        close(store->lock_fd); /* last: the catalogue is at rest when the lock goes */
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

/* Ends a transaction whose statements gave `st`. */
static cmir_status
finish(cmir_store *store, cmir_status st, cmir_error *err)
{
    if (st == CMIR_OK)
        st = cmir_db_commit(store->db, err);
    if (st != CMIR_OK)
        cmir_db_rollback(store->db);
    return st;
}

static cmir_status
check_new(const cmir_store *store, const cmir_record *record, const cmir_embeddings *embeddings,
          cmir_error *err)
{
    const char *id = record->info.volume_id;

    if (id == NULL || id[0] == '\0' || strlen(id) > MAX_ID_NBYTES)
        return FAIL(err, CMIR_EINVAL, "a volume's id has 1..%u bytes, this has %zu", MAX_ID_NBYTES,
                    id == NULL ? 0 : strlen(id));
    if (embeddings->dim != store->binding.dim)
        return FAIL(err, CMIR_EMISMATCH, "%s: embeddings of dimension %u; the archive's have %u",
                    id, (unsigned)embeddings->dim, (unsigned)store->binding.dim);
    if (record->n_slices != embeddings->n_slices)
        return FAIL(err, CMIR_EINVAL, "%s: %u slices, but embeddings of %u", id,
                    (unsigned)record->n_slices, (unsigned)embeddings->n_slices);
    return CMIR_OK;
}

/* Names the record at `place` in one transaction. */
static cmir_status
name_record(cmir_store *store, const cmir_record *record, const cmir_place *place, cmir_error *err)
{
    const cmir_label_set labels = {record->info.volume_id, record->labels, record->n_labels};
    size_t n;
    cmir_status st = cmir_db_begin(store->db, true, err);

    if (st == CMIR_OK)
        st = cmir_catalog_set_tail(store->db, place->segment, place->offset + place->claim.nbytes,
                                   err);
    if (st == CMIR_OK)
        st = cmir_catalog_insert(store->db, record, place, err);
    if (st == CMIR_OK)
        st = cmir_catalog_label(store->db, &labels, 1, &n, err);
    return finish(store, st, err);
}

/* A volume of this id is there, at `place`: the very same one, or an error. */
static cmir_status
check_same(cmir_store *store, const char *volume_id, cmir_place *place, const uint8_t *bytes,
           const cmir_record_claim *claim, cmir_error *err)
{
    cmir_segment_map *map;
    cmir_rows rows;
    cmir_status st = cmir_maps_take(&store->maps, place->segment,
                                    place->offset + place->claim.nbytes, &map, err);

    if (st != CMIR_OK)
        return st;
    st = cmir_store_rows(store, volume_id, place, map, &rows, err);
    if (st == CMIR_OK && (place->claim.nbytes != claim->nbytes ||
                          memcmp(map->map.data + place->offset, bytes, claim->nbytes) != 0))
        st = FAIL(err, CMIR_EEXIST,
                  "%s: the archive holds a volume of this id with other embeddings; remove it "
                  "first, or give this one another id",
                  volume_id);
    cmir_maps_give_back(&store->maps, map);
    return st;
}

/* Marks are the embeddings'; `added` is the catalogue's. */
static cmir_record
with_marks(const cmir_record *record, const cmir_embeddings *embeddings)
{
    cmir_record r = *record;

    r.slice_marks = embeddings->marks;
    r.n_air = 0;
    for (uint32_t i = 0; i < embeddings->n_slices; i++)
        r.n_air += (embeddings->marks[i] & CMIR_SLICE_AIR) != 0;
    return r;
}

cmir_status
cmir_store_add(cmir_store *store, const cmir_record *record, const cmir_embeddings *embeddings,
               bool *added, cmir_error *err)
{
    cmir_place place = {0}, old;
    uint8_t *bytes = NULL;
    bool found = false;
    cmir_status st;

    *added = false;
    if ((st = check_writable(store, err)) != CMIR_OK ||
        (st = check_new(store, record, embeddings, err)) != CMIR_OK ||
        (st = cmir_catalog_find(store->db, record->info.volume_id, &old, &found, err)) != CMIR_OK ||
        (st = cmir_record_build(embeddings, store->encoder_tag, &bytes, &place.claim, err)) !=
            CMIR_OK)
        return st;
    if (found) {
        const cmir_label_set labels = {record->info.volume_id, record->labels, record->n_labels};
        size_t n;

        st = check_same(store, record->info.volume_id, &old, bytes, &place.claim, err);
        if (st == CMIR_OK && labels.n_labels > 0)
            st = cmir_store_label(store, &labels, 1, &n, err);
        free(bytes);
        return st;
    }
    st = cmir_store_append(store, bytes, &place, err);
    if (st == CMIR_OK) {
        const cmir_record r = with_marks(record, embeddings);

        if ((st = name_record(store, &r, &place, err)) != CMIR_OK)
            store->tail_settled = false;
    }
    free(bytes);
    *added = st == CMIR_OK;
    return st;
}

cmir_status
cmir_store_remove(cmir_store *store, const char *volume_id, cmir_error *err)
{
    bool found;
    cmir_status st = check_writable(store, err);

    if (st == CMIR_OK)
        st = cmir_db_begin(store->db, true, err);
    if (st != CMIR_OK)
        return st;
    st = cmir_catalog_delete(store->db, volume_id, &found, err);
    if (st == CMIR_OK && !found)
        st = FAIL(err, CMIR_ENOTFOUND, "no volume '%s' in the archive", volume_id);
    return finish(store, st, err);
}

cmir_status
cmir_store_label(cmir_store *store, const cmir_label_set *sets, size_t n, size_t *n_applied,
                 cmir_error *err)
{
    cmir_status st = check_writable(store, err);

    *n_applied = 0;
    if (st == CMIR_OK)
        st = cmir_db_begin(store->db, true, err);
    if (st != CMIR_OK)
        return st;
    st = finish(store, cmir_catalog_label(store->db, sets, n, n_applied, err), err);
    if (st != CMIR_OK)
        *n_applied = 0;
    return st;
}

cmir_status
cmir_store_get(cmir_store *store, const char *volume_id, cmir_record **out, cmir_error *err)
{
    return cmir_catalog_record(store->db, volume_id, out, err);
}
