/* SPDX-License-Identifier: Apache-2.0 */
/* store_internal.h: what the files of store share of an open archive. */
#ifndef CMIR_STORE_STORE_INTERNAL_H
#define CMIR_STORE_STORE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "store/catalog.h"
#include "store/db.h"
#include "store/maps.h"
#include "store/segment.h"
#include "store/store.h"
#include "store/whitening.h"

#define CMIR_SEGMENT_LIMIT ((uint64_t)1 << 30)

typedef struct cmir_listing cmir_listing;

struct cmir_store {
    char *dir, *catalog_path;
    cmir_access access;
    cmir_db_mode read_mode; /* of the connections of snapshots */
    cmir_db *db, *idle_db;  /* its own; one of a closed snapshot, or NULL */
    int lock_fd;            /* -1: none held */
    cmir_binding binding;
    char *binding_text;     /* what binding's strings point into */
    cmir_whitening *whitening; /* what binding points to; NULL: none */
    uint8_t encoder_tag[CMIR_ENCODER_TAG_NBYTES];
    cmir_maps maps, preview_maps;
    cmir_listing *listing; /* of the latest state that a snapshot saw; NULL: none yet */
    uint64_t segment_limit; /* a record that would go beyond starts a new segment */
    bool tail_settled;      /* nothing lies behind what the catalogue names */
    cmir_archive_info totals; /* its counts; of the last state that this store read or made */
    cmir_archive_info totals_before; /* the open transaction */
    bool in_batch;          /* a transaction is open: cmir_store_begin() */
    struct {                /* written since it began */
        uint32_t first, last; /* segments; 0: none */
        bool made;            /* one of them is new */
    } unsynced[CMIR_N_SERIES];
    int16_t *center;        /* [padded dim]; means something where center_given */
    bool center_given;
    struct { /* kinds of labels, as far as they were asked for, in one state */
        char *name;
        cmir_label_kind kind;
    } *kinds;
    size_t n_kinds, kinds_cap;
    int64_t kinds_n_writes;
};

void cmir_kinds_forget(cmir_store *store);

/* Takes the lock of the archive, for one writer or for readers of an immutable catalogue.
 * CMIR_EBUSY names the process that holds it. */
cmir_status cmir_store_lock(const char *dir, bool write, int *fd, cmir_error *err);

/* The rows of the record at `place`, in `map`. */
cmir_status cmir_store_rows(const cmir_store *store, const char *volume_id, const cmir_place *place,
                            const cmir_segment_map *map, cmir_rows *out, cmir_error *err);

/* The connection whose read transaction is the snapshot's state. */
cmir_db *cmir_snapshot_db(const cmir_snapshot *snapshot);
cmir_store *cmir_snapshot_store(const cmir_snapshot *snapshot);

/* Whether every stored calibration is possible. */
cmir_status cmir_calibrations_check(cmir_db *db, cmir_error *err);

/* The archive's dim, rounded up as rows are. */
uint32_t cmir_padded_dim(const cmir_store *store);

/* Makes sure that nothing lies behind what the catalogue names; outside of transactions. */
cmir_status cmir_store_settle(cmir_store *store, cmir_error *err);

/* Appends a record to a series and says what the catalogue owns of the file now, without naming the
 * record itself; within a transaction that does. */
cmir_status cmir_store_append(cmir_store *store, int series, const uint8_t *record, uint64_t nbytes,
                              uint32_t *segment, uint64_t *offset, cmir_error *err);

/* The series that the archive has: all, or without previews only the first. */
int cmir_store_n_series(const cmir_store *store);

/* Makes everything durable that was appended since the transaction began. */
cmir_status cmir_store_sync(cmir_store *store, cmir_error *err);

#endif
