/* SPDX-License-Identifier: Apache-2.0 */
/* listing.h: every volume of one state of an archive.  Called by snapshot and store. */
#ifndef CMIR_STORE_LISTING_H
#define CMIR_STORE_LISTING_H

#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"
#include "store/store_internal.h"

struct segment_use;

/* Read-only once taken. */
struct cmir_listing {
    cmir_candidate *candidates; /* in order of id, bytewise */
    size_t n;
    int16_t *center;   /* [padded dim] */
    int64_t n_writes;  /* the state */
    uint32_t n_users;  /* snapshots, and the store for its latest */
    /* Behind the candidates: */
    const char *dir, *catalog_path;
    cmir_maps *maps;
    struct segment_use *segments; /* by number */
    size_t n_segments, segments_cap;
    cmir_place *places; /* while it is being read */
    size_t cap;
    cmir_buf ids; /* NUL-terminated, in the order of the candidates */
};

/* The listing of the state that `db` sees; within a read transaction of db's.  Give it back. */
cmir_status cmir_listing_take(cmir_store *store, cmir_db *db, cmir_listing **out, cmir_error *err);
cmir_listing *cmir_listing_share(cmir_listing *listing); /* the same, once more to give back */
void cmir_listing_give_back(cmir_listing *listing); /* NULL is fine */

#endif
