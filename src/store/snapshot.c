/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot.c: one consistent view of an archive: the volumes that pass a filter, their rows in the
 * maps.  Called by engine and rank.
 *
 * Every snapshot has a connection of its own, whose read transaction is its state; the store's
 * connection stays free to write meanwhile.  What passes is an index into the listing of that
 * state (listing.c). */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/listing.h"
#include "store/where.h"

struct cmir_snapshot {
    cmir_store *store;
    cmir_db *db;
    bool db_is_borrowed;
    cmir_listing *listing;
    size_t *index; /* of what passes, ascending; NULL: everything does */
    size_t n;
    /* cmir_snapshot_open_one() needs no listing, which may be long, or damaged elsewhere: */
    cmir_segment_map *only_map;
    cmir_candidate only;
    char *only_id;
};

cmir_status
cmir_store_rows(const cmir_store *store, const char *volume_id, const cmir_place *place,
                const cmir_segment_map *map, cmir_rows *out, cmir_error *err)
{
    cmir_record_claim claim = place->claim;
    cmir_error cause = {0};

    claim.dim = store->binding.dim;
    memcpy(claim.encoder_tag, store->encoder_tag, CMIR_ENCODER_TAG_NBYTES);
    const cmir_status st = cmir_record_parse(map->map.data + place->offset, &claim, volume_id,
                                             place->offset, out, &cause);
    if (st != CMIR_OK)
        return FAIL_AT(err, st, cause.offset, "%s (segment %u, offset %llu)", cause.msg,
                       (unsigned)place->segment, (unsigned long long)place->offset);
    return CMIR_OK;
}

/* A snapshot without candidates: its state is taken. */
static cmir_status
open_empty(cmir_store *store, cmir_snapshot **out, cmir_error *err)
{
    cmir_snapshot *s = cmir_alloc_zeroed(1, sizeof *s);
    cmir_status st;

    if (s == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir);
    s->store = store;
    s->db = store->idle_db;
    store->idle_db = NULL;
    if ((s->db == NULL &&
         (st = cmir_catalog_open(store->catalog_path, store->read_mode, &s->db, err)) != CMIR_OK) ||
        (st = cmir_db_begin(s->db, false, err)) != CMIR_OK) {
        cmir_snapshot_close(s);
        return st;
    }
    *out = s;
    return CMIR_OK;
}

/* Where `volume_id` is, or would be, in the listing. */
static size_t
lower_bound(const cmir_listing *listing, const char *volume_id)
{
    size_t low = 0, high = listing->n;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (strcmp(listing->candidates[middle].volume_id, volume_id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool
find(const cmir_listing *listing, const char *volume_id, size_t *at)
{
    *at = lower_bound(listing, volume_id);
    return *at < listing->n && strcmp(listing->candidates[*at].volume_id, volume_id) == 0;
}

static const char *
unless_empty(const char *text)
{
    return text == NULL || *text == '\0' ? NULL : text;
}

/* Clears passes[i] of every volume whose id `q` gives, or sets it. */
static cmir_status
mark(cmir_snapshot *s, cmir_stmt *q, uint8_t value, uint8_t *passes, cmir_error *err)
{
    cmir_status st;
    size_t at;
    bool row;

    while ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row)
        if (find(s->listing, cmir_column_text(q, 0), &at))
            passes[at] = value;
    return st;
}

/* Volumes that pass `where` alone. */
static cmir_status
mark_where(cmir_snapshot *s, const cmir_where *where, uint8_t *passes, cmir_error *err)
{
    cmir_stmt *q = NULL;
    cmir_status st;
    char *sql = cmir_asprintf("SELECT v.volume_id FROM volumes AS v WHERE %s", where->sql);

    if (sql == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a filter");
    if ((st = cmir_stmt_open(s->db, sql, &q, err)) == CMIR_OK) {
        for (size_t i = 0; i < where->n_values; i++)
            cmir_bind_text(q, where->values[i]);
        st = mark(s, q, 1, passes, err);
    }
    cmir_stmt_close(q);
    free(sql);
    return st;
}

static bool
names_any(const cmir_without *without)
{
    return unless_empty(without->volume_id) != NULL || unless_empty(without->study_uid) != NULL ||
           unless_empty(without->patient_id) != NULL;
}

static cmir_status
unmark_without(cmir_snapshot *s, const cmir_without *without, uint8_t *passes, cmir_error *err)
{
    cmir_stmt *q = NULL;
    cmir_status st = cmir_stmt_open(s->db,
                                    "SELECT volume_id FROM volumes "
                                    "WHERE volume_id = ? OR study_uid = ? OR patient_id = ?",
                                    &q, err);

    if (st != CMIR_OK)
        return st;
    cmir_bind_text(q, unless_empty(without->volume_id));
    cmir_bind_text(q, unless_empty(without->study_uid));
    cmir_bind_text(q, unless_empty(without->patient_id));
    st = mark(s, q, 0, passes, err);
    cmir_stmt_close(q);
    return st;
}

/* Clears passes[i] of every volume that is not named. */
static cmir_status
keep_among(const cmir_listing *listing, const char *const *among, size_t n_among, uint8_t *passes,
           cmir_error *err)
{
    size_t at, next = 0;

    for (size_t i = 0; i < n_among; i++) {
        if (!find(listing, among[i], &at))
            return FAIL(err, CMIR_ENOTFOUND, "no volume '%s' in the archive", among[i]);
        if (at < next)
            return FAIL(err, CMIR_EINVAL, "candidates: '%s' is not in order of id, or there twice",
                        among[i]);
        memset(passes + next, 0, at - next);
        next = at + 1;
    }
    memset(passes + next, 0, listing->n - next);
    return CMIR_OK;
}

/* What passes becomes the index: of `base` (NULL: everything), what `where` passes (NULL:
 * everything) and `without` does not leave out. */
static cmir_status
filter(cmir_snapshot *s, const cmir_snapshot *base, const cmir_where *where,
       const cmir_without *without, cmir_error *err)
{
    const size_t n = s->listing->n;
    uint8_t *passes = cmir_alloc_zeroed(n, 1);
    cmir_status st = CMIR_OK;

    s->index = cmir_alloc(n, sizeof *s->index);
    if (passes == NULL || s->index == NULL)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory for a list of volumes", s->store->dir);
    else if (where != NULL)
        st = mark_where(s, where, passes, err);
    else if (base == NULL || base->index == NULL)
        memset(passes, 1, n);
    else
        for (size_t i = 0; i < base->n; i++)
            passes[base->index[i]] = 1;
    if (st == CMIR_OK && without != NULL && names_any(without))
        st = unmark_without(s, without, passes, err);
    if (st == CMIR_OK && without != NULL && without->among != NULL)
        st = keep_among(s->listing, without->among, without->n_among, passes, err);
    s->n = 0;
    for (size_t i = 0; st == CMIR_OK && i < n; i++)
        if (passes[i])
            s->index[s->n++] = i;
    free(passes);
    return st;
}

static cmir_status
finish(cmir_snapshot *s, cmir_status st, cmir_snapshot **out)
{
    if (st == CMIR_OK)
        *out = s;
    else
        cmir_snapshot_close(s);
    return st;
}

cmir_status
cmir_snapshot_open(cmir_store *store, const char *where_text, cmir_snapshot **out, cmir_error *err)
{
    cmir_where where;
    cmir_snapshot *s = NULL;
    cmir_status st = cmir_where_parse(where_text, &where, err);

    *out = NULL;
    if (st != CMIR_OK)
        return st;
    if ((st = open_empty(store, &s, err)) == CMIR_OK &&
        (st = cmir_listing_take(store, s->db, &s->listing, err)) == CMIR_OK)
        s->n = s->listing->n;
    if (st == CMIR_OK && unless_empty(where_text) != NULL)
        st = filter(s, NULL, &where, NULL, err);
    cmir_where_free(&where);
    return finish(s, st, out);
}

cmir_status
cmir_snapshot_without(const cmir_snapshot *base, const cmir_without *without, cmir_snapshot **out,
                      cmir_error *err)
{
    cmir_snapshot *s = cmir_alloc_zeroed(1, sizeof *s);

    *out = NULL;
    if (s == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", base->store->dir);
    s->store = base->store;
    s->db = base->db;
    s->db_is_borrowed = true;
    s->listing = cmir_listing_share(base->listing);
    if (names_any(without) || without->among != NULL || base->index != NULL)
        return finish(s, filter(s, base, NULL, without, err), out);
    s->n = s->listing->n;
    return finish(s, CMIR_OK, out);
}

static cmir_status
find_only(cmir_snapshot *s, const char *volume_id, cmir_error *err)
{
    cmir_place place;
    bool found;
    cmir_status st = cmir_catalog_find(s->db, volume_id, &place, &found, err);

    if (st != CMIR_OK)
        return st;
    if (!found)
        return FAIL(err, CMIR_ENOTFOUND, "no volume '%s' in the archive", volume_id);
    if ((s->only_id = cmir_strdup(volume_id)) == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", s->store->dir);
    s->only.volume_id = s->only_id;
    s->n = 1;
    if ((st = cmir_maps_take(&s->store->maps, place.segment, place.offset + place.claim.nbytes,
                             &s->only_map, err)) != CMIR_OK)
        return st;
    return cmir_store_rows(s->store, volume_id, &place, s->only_map, &s->only.rows, err);
}

cmir_status
cmir_snapshot_open_one(cmir_store *store, const char *volume_id, cmir_snapshot **out,
                       cmir_error *err)
{
    cmir_snapshot *s = NULL;
    cmir_status st = open_empty(store, &s, err);

    *out = NULL;
    if (st == CMIR_OK)
        st = find_only(s, volume_id, err);
    return finish(s, st, out);
}

size_t
cmir_snapshot_count(const cmir_snapshot *snapshot)
{
    return snapshot->n;
}

bool
cmir_snapshot_is_whole(const cmir_snapshot *snapshot)
{
    return snapshot->listing != NULL && snapshot->index == NULL;
}

size_t
cmir_snapshot_number(const cmir_snapshot *snapshot, size_t index)
{
    return snapshot->index == NULL ? index : snapshot->index[index];
}

cmir_db *
cmir_snapshot_db(const cmir_snapshot *snapshot)
{
    return snapshot->db;
}

cmir_store *
cmir_snapshot_store(const cmir_snapshot *snapshot)
{
    return snapshot->store;
}

const int16_t *
cmir_snapshot_center(const cmir_snapshot *snapshot)
{
    return snapshot->listing->center;
}

const cmir_candidate *
cmir_snapshot_get(const cmir_snapshot *snapshot, size_t index)
{
    if (index >= snapshot->n)
        return NULL;
    if (snapshot->only_id != NULL)
        return &snapshot->only;
    return &snapshot->listing->candidates[snapshot->index == NULL ? index : snapshot->index[index]];
}

/* The catalogue's order is the listing's. */
cmir_status
cmir_snapshot_spacings(const cmir_snapshot *s, double *mm, cmir_error *err)
{
    cmir_stmt *q;
    size_t number = 0, at = 0;
    bool row;
    cmir_status st =
        cmir_stmt_open(s->db, "SELECT slice_spacing_mm FROM volumes ORDER BY volume_id", &q, err);

    for (; st == CMIR_OK && (st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row; number++)
        if (at < s->n && cmir_snapshot_number(s, at) == number)
            mm[at++] = cmir_column_double(q, 0);
    cmir_stmt_close(q);
    if (st == CMIR_OK && at < s->n)
        return FAIL(err, CMIR_ECORRUPT, "%s: the catalogue lists fewer volumes than it did",
                    s->store->dir);
    return st;
}

cmir_status
cmir_snapshot_record(const cmir_snapshot *snapshot, size_t index, cmir_record **out,
                     cmir_error *err)
{
    if (index >= snapshot->n)
        return FAIL(err, CMIR_EINVAL, "a snapshot of %zu volumes has none of number %zu",
                    snapshot->n, index);
    return cmir_catalog_record(snapshot->db, cmir_snapshot_get(snapshot, index)->volume_id, out,
                               err);
}

/* One connection is kept for the next snapshot, with its statements. */
static void
give_back(cmir_store *store, cmir_db *db)
{
    if (db != NULL)
        cmir_db_rollback(db);
    if (db != NULL && store->idle_db == NULL && !cmir_db_in_transaction(db))
        store->idle_db = db;
    else
        cmir_db_close(db);
}

void
cmir_snapshot_close(cmir_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    cmir_listing_give_back(snapshot->listing);
    if (snapshot->only_map != NULL)
        cmir_maps_give_back(&snapshot->store->maps, snapshot->only_map);
    if (!snapshot->db_is_borrowed)
        give_back(snapshot->store, snapshot->db);
    free(snapshot->index);
    free(snapshot->only_id);
    free(snapshot);
}

cmir_status
cmir_store_list(cmir_store *store, const char *where_text, char ***ids, size_t *n_ids,
                cmir_error *err)
{
    cmir_where where;
    cmir_stmt *q = NULL;
    size_t n = 0, cap = 0;
    bool row;
    cmir_status st = cmir_where_parse(where_text, &where, err);

    *ids = NULL;
    *n_ids = 0;
    if (st != CMIR_OK)
        return st;
    char *sql = cmir_asprintf("SELECT v.volume_id FROM volumes AS v WHERE %s ORDER BY v.volume_id",
                              where.sql);
    st = sql == NULL ? FAIL(err, CMIR_ENOMEM, "no memory for a filter")
                     : cmir_stmt_open(store->db, sql, &q, err);
    for (size_t i = 0; st == CMIR_OK && i < where.n_values; i++)
        cmir_bind_text(q, where.values[i]);
    while (st == CMIR_OK && (st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row) {
        char *id = cmir_strdup(cmir_column_text(q, 0));

        if (id == NULL || !cmir_grow((void **)ids, &cap, n + 1, sizeof **ids)) {
            free(id);
            st = FAIL(err, CMIR_ENOMEM, "%s: no memory for a list of volumes", store->dir);
            break;
        }
        (*ids)[n++] = id;
    }
    cmir_stmt_close(q);
    free(sql);
    cmir_where_free(&where);
    if (st != CMIR_OK) {
        cmir_ids_free(*ids, n);
        *ids = NULL;
        return st;
    }
    *n_ids = n;
    return CMIR_OK;
}
