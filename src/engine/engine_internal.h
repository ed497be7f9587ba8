/* SPDX-License-Identifier: Apache-2.0 */
/* engine_internal.h: what archive.c and search.c share. */
#ifndef CMIR_ENGINE_ENGINE_INTERNAL_H
#define CMIR_ENGINE_ENGINE_INTERNAL_H

#include <cmir/archive.h>

#include "store/store.h"

struct cmir_archive {
    cmir_store *store;
    cmir_archive_info info; /* strings borrowed from the store */
};

/* cmir_record_describe() fills `record` with what is known of `volume`, encoded in `plane`.  It
 * borrows the strings of the volume and the marks of `embeddings`; slice_mm and slice_uids are the
 * caller's to free. */
cmir_status cmir_record_describe(const cmir_volume *volume, cmir_plane plane,
                                 const cmir_embeddings *embeddings, cmir_record *record,
                                 cmir_error *err);

/* CMIR_EMISMATCH where two archives were not made with the same encoder. */
cmir_status cmir_archive_check_same(const cmir_archive *archive, const cmir_archive *other,
                                    cmir_error *err);

/* The rows of a stored volume as float32, all slices in order. */
cmir_status cmir_rows_to_embeddings(const cmir_rows *rows, const char *volume_id,
                                    cmir_embeddings *out, cmir_error *err);

#endif
