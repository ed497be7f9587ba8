/* SPDX-License-Identifier: Apache-2.0 */
/* maps.h: segment files and how they are called; mapped read-only, shared by the snapshots of one
 * store.  Called by store and snapshot.
 *
 * The one idea: segments only grow and named bytes never change, so a map stays right for as long
 * as somebody uses it; where a longer one is needed it is made beside the old. */
#ifndef CMIR_STORE_MAPS_H
#define CMIR_STORE_MAPS_H

#include <stdbool.h>
#include <stdint.h>

#include <cmir/status.h>

#include "base/file.h"

/* The two series of append-only files, one of embedding records, one of previews. */
typedef struct cmir_series {
    const char *folder, *extension;
} cmir_series;
enum { CMIR_ROWS, CMIR_PREVIEWS, CMIR_N_SERIES };
extern const cmir_series cmir_series_of[CMIR_N_SERIES];

/* DIR/segments/NNNNNNNN.seg, DIR/previews/NNNNNNNN.pre; NULL where memory runs out. */
char *cmir_series_path(int series, const char *dir, uint32_t number);

typedef struct cmir_segment_map {
    cmir_map map;
    uint32_t number;
    uint32_t n_users; /* snapshots */
    bool replaced;    /* by a longer one, or forgotten: goes with its last user */
    struct cmir_segment_map *next;
} cmir_segment_map;

typedef struct cmir_maps {
    const char *dir; /* of the archive; borrowed */
    int series;
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

#endif
