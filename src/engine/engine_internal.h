/* SPDX-License-Identifier: Apache-2.0 */
/* engine_internal.h: what the files of engine share. */
#ifndef CMIR_ENGINE_ENGINE_INTERNAL_H
#define CMIR_ENGINE_ENGINE_INTERNAL_H

#include <cmir/archive.h>

#include "base/file.h"
#include "picture/preview.h"
#include "store/store.h"
#include "store/whitening.h"

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

/* CMIR_EMISMATCH where embeddings stored in `other` cannot be compared with those in `archive`.
 * *whiten: they can once whitened, for they are of its base encoder. */
cmir_status cmir_archive_check_same(const cmir_archive *archive, const cmir_archive *other,
                                    bool *whiten, cmir_error *err);

/* The dimension of embeddings that go into the archive: those of its base encoder. */
uint32_t cmir_archive_input_dim(const cmir_archive *archive);

/* *out is what an archive with `whitening` (NULL: none) makes of embeddings of its base encoder,
 * rows of any length but 0: `from` itself, or `room`; free that with cmir_embeddings_free() in any
 * case.  `name` is for messages. */
cmir_status cmir_whiten_embeddings(const cmir_whitening *whitening, const cmir_embeddings *from,
                                   const char *name, cmir_embeddings *room,
                                   const cmir_embeddings **out, cmir_error *err);

/* The same of stored rows: all slices in order. */
cmir_status cmir_whiten_rows(const cmir_whitening *whitening, const cmir_rows *from,
                             const char *name, cmir_embeddings *out, cmir_error *err);

/* The rows of a stored volume as float32, all slices in order. */
cmir_status cmir_rows_to_embeddings(const cmir_rows *rows, const char *volume_id,
                                    cmir_embeddings *out, cmir_error *err);

/* The stored preview of a volume in a map of its own, which outlives the archive; zeroed where there is
 * none.  pixels.c. */
typedef struct cmir_preview_view {
    cmir_map map;
    cmir_preview preview;
} cmir_preview_view;
cmir_status cmir_preview_view_open(cmir_store *store, const char *volume_id, cmir_preview_view *out,
                                   cmir_error *err);
void cmir_preview_view_close(cmir_preview_view *view); /* a zeroed one is fine */

#endif
