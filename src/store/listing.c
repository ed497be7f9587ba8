/* SPDX-License-Identifier: Apache-2.0 */
/* listing.c: every volume of one state of an archive, its rows in the maps.  Called by snapshot.
 *
 * The one idea: a state is known by archive.n_writes, so snapshots of one state share one listing,
 * and only the first of them pays for it. */
#include "store/listing.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

/* What the catalogue owns of a segment, and its map once a volume lies in it. */
struct segment_use {
    uint32_t number;
    uint64_t nbytes;
    cmir_segment_map *map;
};

static cmir_status
read_segments(cmir_listing *s, cmir_db *db, cmir_error *err)
{
    cmir_stmt *q;
    bool row;
    cmir_status st =
        cmir_stmt_open(db, "SELECT number, nbytes FROM segments ORDER BY number", &q, err);

    if (st != CMIR_OK)
        return st;
    while ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row) {
        const int64_t number = cmir_column_int(q, 0), nbytes = cmir_column_int(q, 1);

        if (number < 1 || number > CMIR_MAX_SEGMENT || nbytes < 0) {
            st = FAIL(err, CMIR_ECORRUPT, "%s: impossible segment %lld of %lld bytes",
                      s->catalog_path, (long long)number, (long long)nbytes);
            break;
        }
        if (!cmir_grow((void **)&s->segments, &s->segments_cap, s->n_segments + 1,
                       sizeof *s->segments)) {
            st = FAIL(err, CMIR_ENOMEM, "%s: no memory for its segments", s->dir);
            break;
        }
        s->segments[s->n_segments++] =
            (struct segment_use){.number = (uint32_t)number, .nbytes = (uint64_t)nbytes};
    }
    cmir_stmt_close(q);
    return st;
}

static int
by_number(const void *key, const void *item)
{
    const uint32_t a = *(const uint32_t *)key, b = ((const struct segment_use *)item)->number;

    return a < b ? -1 : a > b;
}

/* The map of the segment in which `place` lies, all of what the catalogue owns of it. */
static cmir_status
map_of(cmir_listing *s, const char *volume_id, const cmir_place *place,
       const cmir_segment_map **out, cmir_error *err)
{
    struct segment_use *use =
        s->n_segments == 0
            ? NULL
            : bsearch(&place->segment, s->segments, s->n_segments, sizeof *s->segments, by_number);
    cmir_status st;

    *out = NULL;
    if (use == NULL || place->offset > use->nbytes ||
        place->claim.nbytes > use->nbytes - place->offset)
        return FAIL(err, CMIR_ECORRUPT, "%s: the catalogue places it outside of segment %u",
                    volume_id, (unsigned)place->segment);
    if (use->map == NULL &&
        (st = cmir_maps_take(s->maps, use->number, use->nbytes, &use->map, err)) != CMIR_OK)
        return st;
    *out = use->map;
    return CMIR_OK;
}

/* Adds the volume of the current row: volume_id, then CMIR_PLACE_COLUMNS.  Its place stays in
 * `places` until its record is looked at. */
static cmir_status
add_volume(cmir_listing *s, cmir_stmt *q, cmir_error *err)
{
    const char *volume_id = cmir_column_text(q, 0);
    cmir_place place;
    cmir_status st = cmir_catalog_read_place(q, 1, volume_id, &place, err);

    if (st != CMIR_OK)
        return st;
    cmir_buf_add(&s->ids, volume_id, strlen(volume_id) + 1);
    if (s->ids.failed || !cmir_grow((void **)&s->places, &s->cap, s->n + 1, sizeof *s->places))
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for a list of volumes", s->dir);
    s->places[s->n++] = place;
    return CMIR_OK;
}

static cmir_status
read_volumes(cmir_listing *s, cmir_db *db, cmir_error *err)
{
    cmir_stmt *q;
    bool row;
    cmir_status st = cmir_stmt_open(
        db, "SELECT v.volume_id, " CMIR_PLACE_COLUMNS " FROM volumes AS v ORDER BY v.volume_id", &q,
        err);

    while (st == CMIR_OK && (st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row)
        st = add_volume(s, q, err);
    cmir_stmt_close(q);
    if (st != CMIR_OK)
        return st;
    s->candidates = cmir_alloc_zeroed(s->n, sizeof *s->candidates);
    if (s->candidates == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for a list of volumes", s->dir);
    const char *id = s->ids.data; /* has stopped moving */
    for (size_t i = 0; i < s->n; i++) {
        s->candidates[i].volume_id = id;
        id += strlen(id) + 1;
    }
    return CMIR_OK;
}

/* Records are looked at by several threads: each costs a page of the map. */
struct headers {
    const cmir_store *store;
    cmir_listing *listing;
    const cmir_segment_map **maps; /* of each volume */
    atomic_size_t next, first_bad;
};

static void
parse_headers(void *ctx, uint32_t thread)
{
    enum { AT_A_TIME = 64 };
    struct headers *h = ctx;
    cmir_listing *s = h->listing;

    (void)thread;
    for (;;) {
        const size_t start = atomic_fetch_add(&h->next, AT_A_TIME);
        const size_t end = start + AT_A_TIME < s->n ? start + AT_A_TIME : s->n;

        if (start >= s->n)
            return;
        for (size_t i = start; i < end; i++)
            if (cmir_store_rows(h->store, s->candidates[i].volume_id, &s->places[i], h->maps[i],
                                &s->candidates[i].rows, NULL) != CMIR_OK) {
                size_t bad = atomic_load(&h->first_bad);

                while (i < bad && !atomic_compare_exchange_weak(&h->first_bad, &bad, i))
                    ;
            }
    }
}

static cmir_status
read_headers(cmir_listing *s, const cmir_store *store, cmir_error *err)
{
    struct headers h = {
        .store = store, .listing = s, .maps = cmir_alloc_zeroed(s->n, sizeof *h.maps)};
    cmir_status st = CMIR_OK;

    if (h.maps == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for a list of volumes", s->dir);
    atomic_init(&h.next, 0);
    atomic_init(&h.first_bad, SIZE_MAX);
    for (size_t i = 0; i < s->n && st == CMIR_OK; i++)
        st = map_of(s, s->candidates[i].volume_id, &s->places[i], &h.maps[i], err);
    if (st == CMIR_OK) {
        cmir_parallel(s->n < 1000 ? 1 : cmir_cpu_count(), parse_headers, &h);
        const size_t bad = atomic_load(&h.first_bad);
        if (bad != SIZE_MAX) /* again, for the message */
            st = cmir_store_rows(store, s->candidates[bad].volume_id, &s->places[bad], h.maps[bad],
                                 &s->candidates[bad].rows, err);
    }
    free(h.maps);
    return st;
}

static cmir_status
read_all(cmir_listing *s, const cmir_store *store, cmir_db *db, cmir_error *err)
{
    const uint32_t padded_dim = cmir_padded_dim(store);
    bool found = false;
    cmir_status st;

    s->center = cmir_alloc_aligned(padded_dim, sizeof *s->center);
    if (s->center == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", s->dir);
    memset(s->center, 0, padded_dim * sizeof *s->center);
    if ((st = cmir_catalog_center(db, padded_dim, s->center, &found, err)) != CMIR_OK ||
        (st = read_segments(s, db, err)) != CMIR_OK || (st = read_volumes(s, db, err)) != CMIR_OK ||
        (st = read_headers(s, store, err)) != CMIR_OK)
        return st;
    if (!found && s->n > 0)
        return FAIL(err, CMIR_ECORRUPT, "%s: volumes, but no center", s->catalog_path);
    free(s->places);
    s->places = NULL;
    return CMIR_OK;
}

cmir_status
cmir_listing_take(cmir_store *store, cmir_db *db, cmir_listing **out, cmir_error *err)
{
    cmir_listing *s = store->listing;
    int64_t n_writes;
    cmir_status st = cmir_catalog_n_writes(db, &n_writes, err);

    *out = NULL;
    if (st != CMIR_OK)
        return st;
    if (s == NULL || s->n_writes != n_writes) {
        if ((s = cmir_alloc_zeroed(1, sizeof *s)) == NULL)
            return FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir);
        s->dir = store->dir;
        s->catalog_path = store->catalog_path;
        s->maps = &store->maps;
        s->n_writes = n_writes;
        s->n_users = 1; /* the store */
        if ((st = read_all(s, store, db, err)) != CMIR_OK) {
            cmir_listing_give_back(s);
            return st;
        }
        cmir_listing_give_back(store->listing);
        store->listing = s;
    }
    *out = cmir_listing_share(s);
    return CMIR_OK;
}

cmir_listing *
cmir_listing_share(cmir_listing *listing)
{
    listing->n_users++;
    return listing;
}

void
cmir_listing_give_back(cmir_listing *s)
{
    if (s == NULL || --s->n_users > 0)
        return;
    for (size_t i = 0; i < s->n_segments; i++)
        if (s->segments[i].map != NULL)
            cmir_maps_give_back(s->maps, s->segments[i].map);
    free(s->segments);
    free(s->candidates);
    free(s->places);
    free(s->ids.data);
    free(s->center);
    free(s);
}
