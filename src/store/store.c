/* SPDX-License-Identifier: Apache-2.0 */
/* store.c: an archive on disk, opened.  Called by engine; change.c changes it. */
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
    store->maps.dir = store->preview_maps.dir = store->dir;
    store->maps.series = CMIR_ROWS;
    store->preview_maps.series = CMIR_PREVIEWS;
    store->catalog_path = cmir_asprintf("%s/catalog.sqlite", dir);
    if (store->dir == NULL || store->catalog_path == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
        goto fail;
    }
    if ((st = check_host(dir, err)) != CMIR_OK || (st = check_there(store, err)) != CMIR_OK ||
        (st = open_catalog(store, err)) != CMIR_OK ||
        (st = cmir_catalog_binding(store->db, store->catalog_path, &store->binding,
                                   &store->binding_text, err)) != CMIR_OK ||
        (st = cmir_catalog_whitening(store->db, store->catalog_path, store->binding.dim,
                                     store->binding.encoder_sha256, &store->whitening, err)) !=
            CMIR_OK ||
        (st = read_center(store, err)) != CMIR_OK ||
        (st = cmir_catalog_previews(store->db, store->catalog_path, &store->binding.previews,
                                    err)) != CMIR_OK ||
        (st = cmir_catalog_count(store->db, &store->totals, err)) != CMIR_OK ||
        (st = cmir_catalog_count_previews(store->db, &store->totals, err)) != CMIR_OK)
        goto fail;
    store->binding.whitening = store->whitening;
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
    cmir_kinds_forget(store);
    cmir_listing_give_back(store->listing);
    cmir_maps_close(&store->maps);
    cmir_maps_close(&store->preview_maps);
    cmir_db_close(store->idle_db);
    cmir_db_close(store->db);
    if (store->lock_fd >= 0)
        close(store->lock_fd); /* last: the catalogue is at rest when the lock goes */
    free(store->center);
    cmir_whitening_free(store->whitening);
    free(store->binding_text);
    free(store->catalog_path);
    free(store->dir);
    free(store);
}

cmir_status
cmir_store_refresh(cmir_store *store, cmir_error *err)
{
    cmir_archive_info totals = {0};
    cmir_status st = cmir_catalog_count(store->db, &totals, err);

    if (st == CMIR_OK && (st = cmir_catalog_count_previews(store->db, &totals, err)) == CMIR_OK)
        store->totals = totals;
    return st;
}

void
cmir_store_info(const cmir_store *store, cmir_archive_info *out)
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
        .n_volumes = store->totals.n_volumes,
        .n_slices = store->totals.n_slices,
        .n_air_slices = store->totals.n_air_slices,
        .segments_nbytes = store->totals.segments_nbytes,
        .dead_nbytes = store->totals.dead_nbytes,
        .previews = store->binding.previews,
        .previews_nbytes = store->totals.previews_nbytes,
        .dead_previews_nbytes = store->totals.dead_previews_nbytes,
        .whitening = store->whitening == NULL ? NULL : &store->whitening->info,
    };
}

const cmir_whitening *
cmir_store_whitening(const cmir_store *store)
{
    return store->whitening;
}

cmir_status
cmir_store_get(cmir_store *store, const char *volume_id, cmir_record **out, cmir_error *err)
{
    return cmir_catalog_record(store->db, volume_id, out, err);
}

cmir_status
cmir_store_preview(cmir_store *store, const char *volume_id, cmir_preview_place *out,
                   cmir_error *err)
{
    return cmir_catalog_preview_place(store->db, store->dir, volume_id, out, err);
}
