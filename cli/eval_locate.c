/* SPDX-License-Identifier: Apache-2.0 */
/* eval_locate.c: do searches with the slices of a structure match slices that show it too?
 *
 * The one idea: of every hit only counts are kept; what becomes of them is the library's to say. */
#include <stdlib.h>

#include "eval.h"

void
eval_count_shown(const eval *e, size_t *n_queries, size_t *n_volumes)
{
    *n_queries = *n_volumes = 0;
    for (size_t i = 0; i < e->n_queries; i++)
        *n_queries += e->extras[e->queries[i].volume].shows;
    for (size_t i = 0; i < e->n_volumes; i++)
        *n_volumes += e->extras[i].shows;
}

static void
take_hit(eval *e, size_t method, size_t query, const cmir_hit *hit)
{
    const size_t volume = eval_find(e, hit->record->info.volume_id);
    const eval_extra *extra = &e->extras[volume];
    uint32_t n_inside = 0;

    if (!extra->shows) {
        e->n_unknown_hits[method]++;
        return;
    }
    for (uint32_t i = 0; i < hit->n_matches; i++) {
        const uint32_t slice = hit->matches[i].match_slice;

        n_inside += slice >= extra->shown_first && slice <= extra->shown_last;
    }
    e->locations[e->n_locations++] = (cmir_eval_location){.method = (uint32_t)method,
                                                          .query = (uint32_t)query,
                                                          .volume = (uint32_t)volume,
                                                          .n_matches = hit->n_matches,
                                                          .n_inside = n_inside,
                                                          .n_slices = extra->n_slices,
                                                          .n_shown = extra->n_shown,
                                                          .run_first = hit->match_first,
                                                          .run_last = hit->match_last,
                                                          .shown_first = extra->shown_first,
                                                          .shown_last = extra->shown_last};
}

/* One query by one method. */
static cmir_status
search_slices(eval *e, size_t method, size_t query, cli_progress *progress, cmir_error *err)
{
    const eval_extra *extra = &e->extras[e->queries[query].volume];
    const size_t k = eval_largest_k(e), limit = k < e->n_volumes ? k : e->n_volumes;
    cmir_result *result;
    const cmir_status st = eval_search_slices(e, query, e->methods[method].name, extra->shown_first,
                                              extra->shown_last, (uint32_t)limit, &result, err);

    if (st != CMIR_OK)
        return st;
    e->locations = cli_need(
        realloc(e->locations, (e->n_locations + result->n_hits + 1) * sizeof *e->locations));
    for (size_t i = 0; i < result->n_hits; i++)
        take_hit(e, method, query, &result->hits[i]);
    cli_progress_item(progress, extra->shown_last - extra->shown_first + 1);
    cmir_result_free(result);
    return CMIR_OK;
}

cmir_status
eval_locate(eval *e, cmir_error *err)
{
    const cmir_eval_input input = eval_input(e);
    size_t n_queries, n_volumes;
    cmir_status st = CMIR_OK;

    eval_count_shown(e, &n_queries, &n_volumes);
    if (n_queries == 0)
        return cli_fail(err, CMIR_ENOTFOUND, "--locate: no query has a '%.60s'", e->options.locate);
    e->n_unknown_hits = cli_need(calloc(e->n_methods, sizeof *e->n_unknown_hits));
    cli_progress *progress =
        cli_progress_start(e->args, "searches with slices", n_queries * e->n_methods);
    for (size_t m = 0; m < e->n_methods && st == CMIR_OK; m++)
        for (size_t q = 0; q < e->n_queries && st == CMIR_OK; q++) {
            if (e->extras[e->queries[q].volume].shows)
                st = search_slices(e, m, q, progress, err);
            if (st == CMIR_OK && cli_interrupted())
                st = cli_fail(err, CMIR_ECANCELLED, "stopped after %zu of %zu queries by %s", q + 1,
                              e->n_queries, e->methods[m].name);
        }
    cli_progress_end(progress);
    if (st != CMIR_OK)
        return st;
    e->localised = cli_need(calloc(e->n_methods, sizeof *e->localised));
    const cmir_eval_options options = eval_library_options(e, NULL);
    return cmir_evaluate_locations(&input, &options, e->locations, e->n_locations, e->localised,
                                   err);
}
