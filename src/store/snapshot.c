/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot.c: one consistent view of an archive: the volumes that pass a filter, their rows in the
 * maps.  Called by engine and rank.
 *
 * Every snapshot has a connection of its own, whose read transaction is its state; the store's
 * connection stays free to write meanwhile. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/store_internal.h"
#include "store/where.h"

/* What the catalogue owns of a segment, and its map once a volume lies in it. */
struct segment_use {
    uint32_t number;
    uint64_t nbytes;
    cmir_segment_map *map;
};

struct cmir_snapshot {
    cmir_store *store;
    cmir_db *db;
    struct segment_use *segments; /* by number */
    size_t n_segments, segments_cap;
    cmir_candidate *candidates;
    size_t n, cap;
    cmir_buf ids; /* NUL-terminated, in the order of the candidates */
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

static cmir_status
read_segments(cmir_snapshot *s, cmir_error *err)
{
    cmir_stmt *q;
    bool row;
    cmir_status st =
        cmir_stmt_open(s->db, "SELECT number, nbytes FROM segments ORDER BY number", &q, err);

    if (st != CMIR_OK)
        return st;
    while ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row) {
        const int64_t number = cmir_column_int(q, 0), nbytes = cmir_column_int(q, 1);

        if (number < 1 || number > CMIR_MAX_SEGMENT || nbytes < 0) {
            st = FAIL(err, CMIR_ECORRUPT, "%s: impossible segment %lld of %lld bytes",
                      s->store->catalog_path, (long long)number, (long long)nbytes);
            break;
        }
        if (!cmir_grow((void **)&s->segments, &s->segments_cap, s->n_segments + 1,
                       sizeof *s->segments)) {
            st = FAIL(err, CMIR_ENOMEM, "%s: no memory for its segments", s->store->dir);
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
map_of(cmir_snapshot *s, const char *volume_id, const cmir_place *place,
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
        (st = cmir_maps_take(&s->store->maps, use->number, use->nbytes, &use->map, err)) != CMIR_OK)
        return st;
    *out = use->map;
    return CMIR_OK;
}

/* Adds the volume of the current row: volume_id, then CMIR_PLACE_COLUMNS. */
static cmir_status
add_candidate(cmir_snapshot *s, cmir_stmt *q, cmir_error *err)
{
    const char *volume_id = cmir_column_text(q, 0);
    const cmir_segment_map *map;
    cmir_place place;
    cmir_rows rows;
    cmir_status st;

    if ((st = cmir_catalog_read_place(q, 1, volume_id, &place, err)) != CMIR_OK ||
        (st = map_of(s, volume_id, &place, &map, err)) != CMIR_OK ||
        (st = cmir_store_rows(s->store, volume_id, &place, map, &rows, err)) != CMIR_OK)
        return st;
    cmir_buf_add(&s->ids, volume_id, strlen(volume_id) + 1);
    if (s->ids.failed ||
        !cmir_grow((void **)&s->candidates, &s->cap, s->n + 1, sizeof *s->candidates))
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for a list of volumes", s->store->dir);
    s->candidates[s->n++] = (cmir_candidate){.rows = rows};
    return CMIR_OK;
}

static cmir_status
read_candidates(cmir_snapshot *s, cmir_stmt *q, cmir_error *err)
{
    cmir_status st;
    bool row;

    while ((st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row)
        if ((st = add_candidate(s, q, err)) != CMIR_OK)
            return st;
    if (st != CMIR_OK)
        return st;
    const char *id = s->ids.data; /* has stopped moving */
    for (size_t i = 0; i < s->n; i++) {
        s->candidates[i].volume_id = id;
        id += strlen(id) + 1;
    }
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
    if ((st = cmir_catalog_open(store->catalog_path, store->read_mode, &s->db, err)) != CMIR_OK ||
        (st = cmir_db_begin(s->db, false, err)) != CMIR_OK ||
        (st = read_segments(s, err)) != CMIR_OK) {
        cmir_snapshot_close(s);
        return st;
    }
    *out = s;
    return CMIR_OK;
}

static const char *
unless_empty(const char *text)
{
    return text == NULL || *text == '\0' ? NULL : text;
}

static void
bind_filter(cmir_stmt *q, const cmir_without *without, const cmir_where *where)
{
    cmir_bind_text(q, without == NULL ? NULL : unless_empty(without->volume_id));
    cmir_bind_text(q, without == NULL ? NULL : unless_empty(without->study_uid));
    cmir_bind_text(q, without == NULL ? NULL : unless_empty(without->patient_id));
    for (size_t i = 0; i < where->n_values; i++)
        cmir_bind_text(q, where->values[i]);
}

/* A statement that gives volume_id and CMIR_PLACE_COLUMNS of what passes, by volume_id; `where`
 * must outlive it. */
static cmir_status
open_filter(cmir_db *db, const cmir_without *without, const cmir_where *where, cmir_stmt **out,
            cmir_error *err)
{
    cmir_status st;
    char *sql = cmir_asprintf("SELECT v.volume_id, " CMIR_PLACE_COLUMNS " FROM volumes AS v WHERE "
                              "(?1 IS NULL OR v.volume_id <> ?1) AND "
                              "(?2 IS NULL OR v.study_uid <> ?2) AND "
                              "(?3 IS NULL OR v.patient_id <> ?3) AND (%s) ORDER BY v.volume_id",
                              where->sql);

    if (sql == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a filter");
    if ((st = cmir_stmt_open(db, sql, out, err)) == CMIR_OK)
        bind_filter(*out, without, where);
    free(sql);
    return st;
}

cmir_status
cmir_snapshot_open(cmir_store *store, const char *where_text, const cmir_without *without,
                   cmir_snapshot **out, cmir_error *err)
{
    cmir_where where;
    cmir_snapshot *s = NULL;
    cmir_stmt *q = NULL;
    cmir_status st = cmir_where_parse(where_text, &where, err);

    *out = NULL;
    if (st != CMIR_OK)
        return st;
    if ((st = open_empty(store, &s, err)) == CMIR_OK &&
        (st = open_filter(s->db, without, &where, &q, err)) == CMIR_OK)
        st = read_candidates(s, q, err);
    cmir_stmt_close(q);
    cmir_where_free(&where);
    if (st != CMIR_OK) {
        cmir_snapshot_close(s);
        return st;
    }
    *out = s;
    return CMIR_OK;
}

cmir_status
cmir_snapshot_open_one(cmir_store *store, const char *volume_id, cmir_snapshot **out,
                       cmir_error *err)
{
    cmir_snapshot *s = NULL;
    cmir_stmt *q = NULL;
    cmir_status st = open_empty(store, &s, err);

    *out = NULL;
    if (st == CMIR_OK)
        st = cmir_stmt_open(s->db,
                            "SELECT v.volume_id, " CMIR_PLACE_COLUMNS
                            " FROM volumes AS v WHERE v.volume_id = ?",
                            &q, err);
    if (st == CMIR_OK) {
        cmir_bind_text(q, volume_id);
        st = read_candidates(s, q, err);
    }
    if (st == CMIR_OK && s->n == 0)
        st = FAIL(err, CMIR_ENOTFOUND, "no volume '%s' in the archive", volume_id);
    cmir_stmt_close(q);
    if (st != CMIR_OK) {
        cmir_snapshot_close(s);
        return st;
    }
    *out = s;
    return CMIR_OK;
}

size_t
cmir_snapshot_count(const cmir_snapshot *snapshot)
{
    return snapshot->n;
}

const cmir_candidate *
cmir_snapshot_get(const cmir_snapshot *snapshot, size_t index)
{
    return index < snapshot->n ? &snapshot->candidates[index] : NULL;
}

cmir_status
cmir_snapshot_record(const cmir_snapshot *snapshot, size_t index, cmir_record **out,
                     cmir_error *err)
{
    if (index >= snapshot->n)
        return FAIL(err, CMIR_EINVAL, "a snapshot of %zu volumes has none of number %zu",
                    snapshot->n, index);
    return cmir_catalog_record(snapshot->db, snapshot->candidates[index].volume_id, out, err);
}

void
cmir_snapshot_close(cmir_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    for (size_t i = 0; i < snapshot->n_segments; i++)
        if (snapshot->segments[i].map != NULL)
            cmir_maps_give_back(&snapshot->store->maps, snapshot->segments[i].map);
    cmir_db_close(snapshot->db);
    free(snapshot->segments);
    free(snapshot->candidates);
    free(snapshot->ids.data);
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
    st = open_filter(store->db, NULL, &where, &q, err);
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
    cmir_where_free(&where);
    if (st != CMIR_OK) {
        cmir_ids_free(*ids, n);
        *ids = NULL;
        return st;
    }
    *n_ids = n;
    return CMIR_OK;
}
