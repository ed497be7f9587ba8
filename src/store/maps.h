/* SPDX-License-Identifier: Apache-2.0 */
/* maps.h: segment files mapped read-only, shared by the snapshots of one store.  Called by store
 * and snapshot.
 *
 * The one idea: segments only grow and named bytes never change, so a map stays right for as long
 * as somebody uses it; where a longer one is needed it is made beside the old. */
#ifndef CMIR_STORE_MAPS_H
#define CMIR_STORE_MAPS_H

#include <stdbool.h>
#include <stdint.h>

#include <cmir/status.h>

#include "base/file.h"

typedef struct cmir_segment_map {
    cmir_map map;
    uint32_t number;
    uint32_t n_users; /* snapshots */
    bool replaced;    /* by a longer one, or forgotten: goes with its last user */
    struct cmir_segment_map *next;
} cmir_segment_map;

typedef struct cmir_maps {
    const char *dir; /* of the archive; borrowed */
    cmir_segment_map *first;
} cmir_maps;

/* A map of segment `number` that is at least `nbytes` long.  CMIR_ECORRUPT where the file is
 * missing or shorter.  Give it back. */
cmir_status cmir_maps_take(cmir_maps *maps, uint32_t number, uint64_t nbytes,
                           cmir_segment_map **out, cmir_error *err);
void cmir_maps_give_back(cmir_maps *maps, cmir_segment_map *map);
/* Files may become others under their names; those who hold maps keep them. */
void cmir_maps_forget(cmir_maps *maps);
void cmir_maps_close(cmir_maps *maps); /* nobody may use one any more */

/* DIR/segments/NNNNNNNN.seg; NULL where memory runs out. */
char *cmir_segment_path(const char *dir, uint32_t number);

#endif
