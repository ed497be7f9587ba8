/* SPDX-License-Identifier: Apache-2.0 */
/* eval_masked.c: an archive restricted to the slices that masks mark.
 *
 * The one idea: a search takes whole stored volumes, so the masked slices are copied into an
 * archive of their own for as long as the evaluation takes; what is shown of a search in it is
 * translated back. */
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

enum { AT_A_TIME = 64 };

/* The copy has rows and marks only, and an encoder of the same dimension that never encodes. */
static cmir_status
create(eval *e, cmir_error *err)
{
    const char *tmp = getenv("TMPDIR"), *parent = tmp == NULL || *tmp == '\0' ? "/tmp" : tmp;
    const cmir_archive_info *info = cmir_archive_get_info(e->archive);
    cmir_encoder *encoder = NULL;
    cmir_status st;

    e->masked_dir = cli_need(malloc(strlen(parent) + 32));
    sprintf(e->masked_dir, "%s/cmir-eval-XXXXXX", parent);
    if (mkdtemp(e->masked_dir) == NULL) {
        free(e->masked_dir);
        e->masked_dir = NULL;
        return cli_fail(err, CMIR_EIO, "%.100s: no folder for the masked slices: %s", parent,
                        strerror(errno));
    }
    st = cmir_encoder_external("masked", "1", info->dim, &encoder, err);
    if (st == CMIR_OK &&
        (st = cmir_archive_create(e->masked_dir, encoder, info->plane, err)) == CMIR_OK)
        st = cmir_archive_open(e->masked_dir, CMIR_WRITE, &e->masked, err);
    cmir_encoder_close(encoder);
    return st;
}

/* The masked slices of a volume as an item; `whole` is freed by the caller when it is imported. */
static cmir_status
take_volume(const eval *e, size_t number, cmir_embeddings *whole, cmir_import_item *item,
            cmir_error *err)
{
    const char *id = e->volumes[number].id;
    const eval_extra *extra = &e->extras[number];
    const cmir_status st = cmir_archive_embeddings(e->archive, id, whole, err);
    bool all_air = true;

    if (st != CMIR_OK)
        return st;
    if (extra->last >= whole->n_slices)
        return cli_fail(err, CMIR_ECORRUPT, "%.100s: its mask %u:%u goes beyond its %u slices", id,
                        extra->first, extra->last, whole->n_slices);
    for (uint32_t i = extra->first; i <= extra->last; i++)
        all_air = all_air && (whole->marks[i] & CMIR_SLICE_AIR) != 0;
    *item = (cmir_import_item){.volume_id = id,
                               .path = "",
                               .rows = whole->rows + (size_t)extra->first * whole->dim,
                               .marks = all_air ? NULL : whole->marks + extra->first,
                               .n_slices = extra->last - extra->first + 1};
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

static int
remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void
eval_masked_close(eval *e)
{
    cmir_archive_close(e->masked);
    e->masked = NULL;
    if (e->masked_dir != NULL)
        (void)nftw(e->masked_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(e->masked_dir);
    e->masked_dir = NULL;
}

/* One hit, its matches at `matches`. */
static void
unmask_hit(const cmir_record *record, uint32_t query_first, uint32_t first, cmir_match *matches,
           cmir_hit *hit)
{
    for (uint32_t i = 0; i < hit->n_matches; i++) {
        matches[i] = hit->matches[i];
        matches[i].query_slice += query_first;
        matches[i].match_slice += first;
    }
    hit->record = record;
    hit->matches = matches;
    hit->match_first += first;
    hit->match_last += first;
    hit->query_first += query_first;
    hit->query_last += query_first;
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
    const uint32_t query_first = e->extras[query].first;
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
            unmask_hit(c->records[i], query_first, e->extras[volume].first, c->matches + i * m,
                       &c->hits[i]);
    }
    c->view.query = c->records[n];
    c->view.first_slice += query_first;
    c->view.last_slice += query_first;
    c->view.hits = c->hits;
    return st;
}
