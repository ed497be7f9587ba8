/* SPDX-License-Identifier: Apache-2.0 */
/* eval_masked.c: an archive restricted to the slices that masks mark.
 *
 * The one idea: a search takes whole stored volumes, so the masked slices are copied into an
 * archive of their own for as long as the evaluation takes; what is shown of a search in it is
 * translated back. */
#include <stdlib.h>
#include <string.h>

#include "eval.h"

enum { AT_A_TIME = 64 };

/* The copy has rows and marks only, and an encoder of the same dimension that never encodes. */
static cmir_status
create(eval *e, cmir_error *err)
{
    const cmir_archive_info *info = cmir_archive_get_info(e->archive);
    cmir_encoder *encoder = NULL;
    cmir_status st = eval_scratch_open(e, err);

    if (st != CMIR_OK)
        return st;
    char *dir = eval_scratch_path(e, "masked");
    st = cmir_encoder_external("masked", "1", info->dim, &encoder, err);
    if (st == CMIR_OK && (st = cmir_archive_create(dir, encoder, info->plane, err)) == CMIR_OK)
        st = cmir_archive_open(dir, CMIR_WRITE, &e->masked, err);
    cmir_encoder_close(encoder);
    free(dir);
    return st;
}

/* The masked slices of a volume as an item: moved together in `whole`, which is freed by the caller
 * when it is imported. */
static cmir_status
take_volume(const eval *e, size_t number, cmir_embeddings *whole, cmir_import_item *item,
            cmir_error *err)
{
    const char *id = e->volumes[number].id;
    const eval_slices *masked = &e->extras[number].masked;
    const cmir_status st = cmir_archive_embeddings(e->archive, id, whole, err);
    bool all_air = true;

    if (st != CMIR_OK)
        return st;
    for (uint32_t i = 0; i < masked->n; i++) {
        const size_t from = masked->at[i];

        memmove(whole->rows + (size_t)i * whole->dim, whole->rows + from * whole->dim,
                whole->dim * sizeof *whole->rows);
        whole->marks[i] = whole->marks[from];
        all_air = all_air && (whole->marks[i] & CMIR_SLICE_AIR) != 0;
    }
    *item = (cmir_import_item){.volume_id = id,
                               .path = "",
                               .rows = whole->rows,
                               .marks = all_air ? NULL : whole->marks,
                               .n_slices = masked->n};
    return CMIR_OK;
}

cmir_status
eval_masked_open(eval *e, cmir_error *err)
{
    const uint32_t dim = cmir_archive_get_info(e->archive)->dim;
    cmir_embeddings *whole = cli_need(calloc(AT_A_TIME, sizeof *whole));
    cmir_import_item items[AT_A_TIME];
    cmir_status st = create(e, err);

    for (size_t at = 0; at < e->n_volumes && st == CMIR_OK; at += AT_A_TIME) {
        size_t n = 0;

        for (; n < AT_A_TIME && at + n < e->n_volumes && st == CMIR_OK; n++)
            st = take_volume(e, at + n, &whole[n], &items[n], err);
        if (st == CMIR_OK)
            st = cmir_archive_import(e->masked, dim, items, n, e->options.n_threads, err);
        for (size_t i = 0; i < n; i++) {
            if (st == CMIR_OK && items[i].error.code != CMIR_OK)
                st = cli_fail(err, items[i].error.code, "%s", items[i].error.msg);
            cmir_embeddings_free(&whole[i]);
        }
        if (st == CMIR_OK && cli_interrupted())
            st = cli_fail(err, CMIR_ECANCELLED, "stopped while slices were masked");
    }
    free(whole);
    return st;
}

void
eval_masked_close(eval *e)
{
    cmir_archive_close(e->masked);
    e->masked = NULL;
}

/* One hit, its matches at `matches`. */
static void
unmask_hit(const cmir_record *record, const eval_slices *query, const eval_slices *own,
           cmir_match *matches, cmir_hit *hit)
{
    for (uint32_t i = 0; i < hit->n_matches; i++) {
        matches[i] = hit->matches[i];
        matches[i].query_slice = query->at[matches[i].query_slice];
        matches[i].match_slice = own->at[matches[i].match_slice];
    }
    hit->record = record;
    hit->matches = matches;
    hit->match_first = own->at[hit->match_first];
    hit->match_last = own->at[hit->match_last];
    hit->query_first = query->at[hit->query_first];
    hit->query_last = query->at[hit->query_last];
    const double a = record->slice_mm[hit->match_first], b = record->slice_mm[hit->match_last];
    hit->match_mm[0] = a < b ? a : b;
    hit->match_mm[1] = a < b ? b : a;
}

cmir_status
eval_unmask(const eval *e, eval_case *c, cmir_error *err)
{
    const cmir_result *found = c->found;
    const size_t n = found->n_hits, m = n == 0 ? 0 : found->hits[0].n_matches;
    const size_t query = eval_find(e, found->query->info.volume_id);
    const eval_slices *slices = &e->extras[query].masked;
    cmir_status st;

    c->records = cli_need(calloc(n + 1, sizeof *c->records));
    c->hits = cli_need(calloc(n + 1, sizeof *c->hits));
    c->matches = cli_need(calloc(n * m + 1, sizeof *c->matches));
    st = cmir_archive_get(e->archive, e->volumes[query].id, &c->records[n], err);
    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        const size_t volume = eval_find(e, found->hits[i].record->info.volume_id);

        c->hits[i] = found->hits[i];
        if ((st = cmir_archive_get(e->archive, e->volumes[volume].id, &c->records[i], err)) ==
            CMIR_OK)
            unmask_hit(c->records[i], slices, &e->extras[volume].masked, c->matches + i * m,
                       &c->hits[i]);
    }
    c->view.query = c->records[n];
    c->view.first_slice = slices->at[c->view.first_slice];
    c->view.last_slice = slices->at[c->view.last_slice];
    c->view.hits = c->hits;
    return st;
}
