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
        *n_queries += e->extras[e->queries[i].volume].shown.n > 0;
    for (size_t i = 0; i < e->n_volumes; i++)
        *n_volumes += e->extras[i].shown.n > 0;
}

static void
take_hit(eval *e, size_t method, size_t query, const cmir_hit *hit)
{
    const size_t volume = eval_find(e, hit->record->info.volume_id);
    const eval_extra *extra = &e->extras[volume];
    uint32_t n_inside = 0, n_in_run = 0;

    if (extra->shown.n == 0) {
        e->n_unknown_hits[method]++;
        return;
    }
    for (uint32_t i = 0; i < hit->n_matches; i++)
        n_inside += eval_slices_have(&extra->shown, hit->matches[i].match_slice);
    for (uint32_t i = 0; i < extra->shown.n; i++)
        n_in_run += extra->shown.at[i] >= hit->match_first && extra->shown.at[i] <= hit->match_last;
    e->locations[e->n_locations++] = (cmir_eval_location){.method = (uint32_t)method,
                                                          .query = (uint32_t)query,
                                                          .volume = (uint32_t)volume,
                                                          .n_matches = hit->n_matches,
                                                          .n_inside = n_inside,
                                                          .n_slices = extra->n_slices,
                                                          .n_shown = extra->n_shown,
                                                          .run_first = hit->match_first,
                                                          .run_last = hit->match_last,
                                                          .n_structure = extra->shown.n,
                                                          .n_in_run = n_in_run};
}

cmir_status
eval_locate_query(eval *e, size_t method, size_t query, cmir_error *err)
{
    const eval_slices *shown = &e->extras[e->queries[query].volume].shown;
    const size_t k = eval_largest_k(e), limit = k < e->n_volumes ? k : e->n_volumes;
    cmir_result *result;
    cmir_status st;

    if (e->options.locate == NULL || shown->n == 0)
        return CMIR_OK;
    st =
        eval_search_slices(e, query, e->methods[method].name, shown, (uint32_t)limit, &result, err);
    if (st != CMIR_OK)
        return st;
    e->locations = cli_need(
        realloc(e->locations, (e->n_locations + result->n_hits + 1) * sizeof *e->locations));
    for (size_t i = 0; i < result->n_hits; i++)
        take_hit(e, method, query, &result->hits[i]);
    cmir_result_free(result);
    return CMIR_OK;
}

cmir_status
eval_locate_begin(eval *e, cmir_error *err)
{
    size_t n_queries, n_volumes;

    if (e->options.locate == NULL)
        return CMIR_OK;
    eval_count_shown(e, &n_queries, &n_volumes);
    if (n_queries == 0)
        return cli_fail(err, CMIR_ENOTFOUND, "--locate: no query has a '%.60s'%s",
                        e->options.locate, e->n_empty_masks > 0 ? " that marks anything" : "");
    e->n_unknown_hits = cli_need(calloc(e->options.n_methods, sizeof *e->n_unknown_hits));
    return CMIR_OK;
}

cmir_status
eval_locate_judge(eval *e, cmir_error *err)
{
    const cmir_eval_input input = eval_input(e);
    const cmir_eval_options options = eval_library_options(e, NULL);

    if (e->options.locate == NULL)
        return CMIR_OK;
    e->localised = cli_need(calloc(e->n_methods, sizeof *e->localised));
    return cmir_evaluate_locations(&input, &options, e->locations, e->n_locations, e->localised,
                                   err);
}
