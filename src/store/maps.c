/* SPDX-License-Identifier: Apache-2.0 */
/* maps.c: segment files mapped read-only, shared by the snapshots of one store.  Called by store
 * and snapshot. */
#include "store/maps.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

const cmir_series cmir_series_of[CMIR_N_SERIES] = {
    [CMIR_ROWS] = {"segments", "seg"},
    [CMIR_PREVIEWS] = {"previews", "pre"},
};

char *
cmir_series_path(int series, const char *dir, uint32_t number)
{
    const cmir_series *s = &cmir_series_of[series];

    return cmir_asprintf("%s/%s/%08u.%s", dir, s->folder, (unsigned)number, s->extension);
}

static void
drop(cmir_maps *maps, cmir_segment_map *map)
{
    cmir_segment_map **at = &maps->first;

    while (*at != map)
        at = &(*at)->next;
    *at = map->next;
    cmir_map_close(&map->map);
    free(map);
}

/* The latest map of a segment, or NULL. */
static cmir_segment_map *
find(const cmir_maps *maps, uint32_t number)
{
    cmir_segment_map *map = maps->first;

    while (map != NULL && (map->number != number || map->replaced))
        map = map->next;
    return map;
}

static cmir_status
map_segment(const cmir_maps *maps, uint32_t number, uint64_t nbytes, cmir_map *out, cmir_error *err)
{
    cmir_error cause = {0};
    char *path = cmir_series_path(maps->series, maps->dir, number);
    cmir_status st;

    if (path == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", maps->dir);
    st = cmir_map_open(path, out, &cause);
    if (st != CMIR_OK) /* the catalogue names it: a missing file is damage */
        st = FAIL(err, st == CMIR_ENOTFOUND ? CMIR_ECORRUPT : st, "%s", cause.msg);
    else if (out->nbytes < nbytes)
        st = FAIL_AT(err, CMIR_ECORRUPT, out->nbytes,
                     "%s: cut short: %llu bytes, of which the catalogue names %llu", path,
                     (unsigned long long)out->nbytes, (unsigned long long)nbytes);
    if (st != CMIR_OK)
        cmir_map_close(out);
    free(path);
    return st;
}

cmir_status
cmir_maps_take(cmir_maps *maps, uint32_t number, uint64_t nbytes, cmir_segment_map **out,
               cmir_error *err)
{
    cmir_segment_map *map = find(maps, number), *old = map;

    *out = NULL;
    if (map == NULL || map->map.nbytes < nbytes) {
        map = cmir_alloc_zeroed(1, sizeof *map);
        if (map == NULL)
            return FAIL(err, CMIR_ENOMEM, "%s: no memory", maps->dir);
        const cmir_status st = map_segment(maps, number, nbytes, &map->map, err);
        if (st != CMIR_OK) {
            free(map);
            return st;
        }
        map->number = number;
        map->next = maps->first;
        maps->first = map;
        if (old != NULL)
            old->replaced = true;
        if (old != NULL && old->n_users == 0)
            drop(maps, old);
    }
    map->n_users++;
    *out = map;
    return CMIR_OK;
}

void
cmir_maps_give_back(cmir_maps *maps, cmir_segment_map *map)
{
    if (--map->n_users == 0 && map->replaced)
        drop(maps, map);
}

void
cmir_maps_forget(cmir_maps *maps)
{
    cmir_segment_map *next;

    for (cmir_segment_map *map = maps->first; map != NULL; map = next) {
        next = map->next;
        map->replaced = true;
        if (map->n_users == 0)
            drop(maps, map);
    }
}

void
cmir_maps_close(cmir_maps *maps)
{
    while (maps->first != NULL)
        drop(maps, maps->first);
}
