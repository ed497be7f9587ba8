/* SPDX-License-Identifier: Apache-2.0 */
/* eval_search.c: ranked lists by search in an archive.
 *
 * The one idea: every query names its candidates, so slice votes too are counted in its database
 * alone; of a result only ids and scores are kept, some queries of one fold at a time. */
#include <stdlib.h>
#include <string.h>

#include "eval.h"

#define HITS_TOGETHER 1000000u /* of some queries: some hundred MB at most */
#define MOST_TOGETHER 64u

/* Searches that run together. */
struct some {
    cmir_search_query queries[MOST_TOGETHER];
    cmir_result *results[MOST_TOGETHER];
    cmir_error errors[MOST_TOGETHER];
    size_t n;
};

/* Where is searched: all volumes of the evaluation are there, by the same ids. */
static const cmir_archive *
searched(const eval *e)
{
    return e->whitened != NULL ? e->whitened : e->masked != NULL ? e->masked : e->archive;
}

static void
set_query(const eval *e, size_t number, cmir_search_query *out)
{
    const cmir_eval_query *query = &e->queries[number];
    const char **ids = cli_need(malloc((query->n_database + 1) * sizeof *ids));

    for (uint32_t i = 0; i < query->n_database; i++)
        ids[i] = e->volumes[query->database[i]].id;
    *out = (cmir_search_query){.archive = searched(e),
                               .volume_id = e->volumes[query->volume].id,
                               .candidates = ids,
                               .n_candidates = query->n_database};
}

static cmir_status
search_options(const eval *e, const char *method, uint32_t limit, bool scores_only,
               cmir_search_options *out, cmir_error *err)
{
    *out = (cmir_search_options){.struct_nbytes = sizeof *out,
                                 .exclude = CMIR_EXCLUDE_NONE, /* the database leaves out */
                                 .limit = limit,
                                 .n_threads = e->options.n_threads,
                                 .exhaustive = true,
                                 .scores_only = scores_only};
    return cmir_score_parse(method, &out->score, err);
}

static void
take_list(const eval *e, const cmir_result *result, cmir_eval_list *list)
{
    uint32_t *found = cli_need(malloc((result->n_hits + 1) * sizeof *found));
    double *scores = cli_need(malloc((result->n_hits + 1) * sizeof *scores));

    for (size_t i = 0; i < result->n_hits; i++) {
        found[i] = (uint32_t)eval_find(e, result->hits[i].record->info.volume_id);
        scores[i] = result->hits[i].score;
    }
    *list = (cmir_eval_list){found, scores, (uint32_t)result->n_hits};
}

static void
drop(struct some *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free((void *)(uintptr_t)s->queries[i].candidates);
        cmir_result_free(s->results[i]);
    }
    s->n = 0;
}

/* The queries of these numbers, as many as go together, by one method. */
static cmir_status
search_some(const eval *e, const size_t *numbers, size_t n, const cmir_search_options *o,
            struct some *s, cmir_error *err)
{
    cmir_status st;

    *s = (struct some){.n = n};
    for (size_t i = 0; i < n; i++)
        set_query(e, numbers[i], &s->queries[i]);
    st = cmir_search_batch(searched(e), s->queries, n, o, NULL, NULL, s->results, s->errors, err);
    for (size_t i = 0; i < n && st == CMIR_OK; i++)
        if (s->results[i] == NULL)
            st = cli_fail(err, s->errors[i].code, "%s", s->errors[i].msg);
    return st;
}

/* The lists of n queries by one method, and where hits lie. */
static cmir_status
search_method(eval *e, size_t method, const size_t *numbers, size_t n, cli_progress *progress,
              cmir_error *err)
{
    const size_t wanted = HITS_TOGETHER / e->n_volumes;
    const size_t most = wanted < 1 ? 1 : wanted > MOST_TOGETHER ? MOST_TOGETHER : wanted;
    cmir_eval_list *lists = (cmir_eval_list *)(uintptr_t)e->methods[method].lists;
    struct some *s = cli_need(calloc(1, sizeof *s));
    cmir_search_options o;
    cmir_status st =
        search_options(e, e->methods[method].name, (uint32_t)e->n_volumes, true, &o, err);

    for (size_t at = 0, together; at < n && st == CMIR_OK; at += together) {
        together = n - at < most ? n - at : most;
        st = search_some(e, numbers + at, together, &o, s, err);
        for (size_t i = 0; i < together && st == CMIR_OK; i++) {
            take_list(e, s->results[i], &lists[numbers[at + i]]);
            st = eval_locate_query(e, method, numbers[at + i], err);
            cli_progress_item(progress, s->results[i]->query->n_slices);
            if (st == CMIR_OK && cli_interrupted())
                st = cli_fail(err, CMIR_ECANCELLED, "stopped while %s was searched with",
                              e->volumes[e->queries[numbers[at + i]].volume].id);
        }
        drop(s);
    }
    free(s);
    return st;
}

/* All queries of one fold, by every method. */
static cmir_status
search_fold(eval *e, uint32_t fold, cli_progress *progress, cmir_error *err)
{
    size_t *numbers = cli_need(malloc((e->n_queries + 1) * sizeof *numbers)), n = 0;
    cmir_status st = eval_whiten_open(e, fold, err);

    for (size_t q = 0; q < e->n_queries; q++)
        if (e->fold_of[q] == fold)
            numbers[n++] = q;
    for (size_t m = 0; m < e->n_methods && st == CMIR_OK; m++)
        st = search_method(e, m, numbers, n, progress, err);
    free(numbers);
    return st;
}

cmir_status
eval_search(eval *e, cmir_error *err)
{
    const size_t n = e->options.n_methods;
    cmir_status st = eval_locate_begin(e, err);

    if (st == CMIR_OK && e->options.database == EVAL_MASKED)
        st = eval_masked_open(e, err);
    if (st != CMIR_OK)
        return st;
    e->methods = cli_need(calloc(n, sizeof *e->methods));
    for (; e->n_methods < n; e->n_methods++)
        e->methods[e->n_methods] =
            (cmir_eval_method){e->options.methods[e->n_methods],
                               cli_need(calloc(e->n_queries + 1, sizeof(cmir_eval_list)))};
    cli_progress *progress = cli_progress_start(e->args, "queries", n * e->n_queries);
    for (uint32_t f = 0; f < e->n_folds && st == CMIR_OK; f++)
        st = search_fold(e, f, progress, err);
    cli_progress_end(progress);
    return st;
}

static cmir_status
search_one(const eval *e, size_t query, const cmir_search_options *o, cmir_result **out,
           cmir_error *err)
{
    struct some *s = cli_need(calloc(1, sizeof *s));
    const cmir_status st = search_some(e, &query, 1, o, s, err);

    *out = NULL;
    if (st == CMIR_OK) {
        *out = s->results[0];
        s->results[0] = NULL;
    }
    drop(s);
    free(s);
    return st;
}

cmir_status
eval_search_again(eval *e, size_t query, uint32_t limit, eval_case *out, cmir_error *err)
{
    cmir_search_options o;
    cmir_status st = search_options(e, e->options.methods[0], limit, false, &o, err);

    *out = (eval_case){0};
    if (st == CMIR_OK)
        st = eval_whiten_open(e, e->fold_of[query], err);
    if (st == CMIR_OK && (st = search_one(e, query, &o, &out->found, err)) == CMIR_OK) {
        out->view = *out->found;
        if (e->masked != NULL)
            st = eval_unmask(e, out, err);
    }
    return st;
}

cmir_status
eval_search_slices(const eval *e, size_t query, const char *method, const eval_slices *slices,
                   uint32_t limit, cmir_result **out, cmir_error *err)
{
    cmir_search_options o;
    const cmir_status st = search_options(e, method, limit, false, &o, err);

    *out = NULL;
    o.slices = slices->at;
    o.n_slices = slices->n;
    return st != CMIR_OK ? st : search_one(e, query, &o, out, err);
}

void
eval_case_free(eval_case *c)
{
    for (size_t i = 0; c->records != NULL && i <= c->found->n_hits; i++)
        cmir_record_free(c->records[i]);
    free(c->records);
    free(c->hits);
    free(c->matches);
    cmir_result_free(c->found);
    *c = (eval_case){0};
}
