/* SPDX-License-Identifier: Apache-2.0 */
/* eval_split.c: which volumes are queries, and the database that each is searched in.
 *
 * The one idea: a database is made volume by volume from rules that the output tells: never the
 * query itself; without a given split never its patient; per site only its site. */
#include <stdlib.h>
#include <string.h>

#include "eval.h"

const char *
eval_split_name(const eval *e)
{
    if (e->queries_csv != NULL)
        return "given";
    return e->options.allow_leak ? "leave one volume out" : "leave one patient out";
}

/* The volume of a line of a file; why it takes no part is told. */
static cmir_status
find_listed(const eval *e, const char *path, const char *id, size_t *out, cmir_error *err)
{
    cmir_record *record = NULL;
    bool known = true;

    *out = eval_find(e, id);
    if (*out != SIZE_MAX)
        return CMIR_OK;
    if (e->archive != NULL) {
        known = cmir_archive_get(e->archive, id, &record, NULL) == CMIR_OK;
        cmir_record_free(record);
    }
    return cli_fail(err, CMIR_ENOTFOUND, "%.100s: '%.80s' %s%.40s%s", path, id,
                    known ? "has no '" : "is not in the archive", known ? e->task_column : "",
                    !known                    ? ""
                    : e->options.mask != NULL ? "', or no mask that marks a slice"
                                              : "'");
}

static void
add_query(eval *e, size_t volume)
{
    if (e->extras[volume].is_query)
        return;
    e->extras[volume].is_query = true;
    e->queries[e->n_queries++].volume = (uint32_t)volume;
}

/* The queries, in the order in which they are listed. */
static cmir_status
take_queries(eval *e, cmir_error *err)
{
    const size_t n = e->queries_csv == NULL ? 0 : cmir_label_table_count(e->queries_csv);
    const char *path = cli_get(e->args, "queries");
    cmir_status st;
    size_t at;

    for (size_t i = 0; i < n; i++) {
        if ((st = find_listed(e, path, cmir_label_table_volume(e->queries_csv, i), &at, err)) !=
            CMIR_OK)
            return st;
        add_query(e, at);
    }
    if (e->queries_csv != NULL && n == 0)
        return cli_fail(err, CMIR_ECORRUPT, "%s: lists no query", path);
    for (size_t i = 0; e->queries_csv == NULL && i < e->n_rankings; i++) {
        const cmir_ranking *row = &e->rankings[i].row;

        if ((st = find_listed(e, e->rankings[i].path, row->query, &at, err)) != CMIR_OK)
            return st;
        add_query(e, at);
    }
    for (at = 0; e->queries_csv == NULL && e->n_rankings == 0 && at < e->n_volumes; at++)
        add_query(e, at);
    return CMIR_OK;
}

static cmir_status
take_candidates(eval *e, cmir_error *err)
{
    const cmir_label_table *csv = e->candidates_csv;
    const char *path = cli_get(e->args, "candidates");
    cmir_status st;
    size_t at;

    for (size_t i = 0; csv == NULL && i < e->n_volumes; i++)
        e->extras[i].is_candidate = e->queries_csv == NULL || !e->extras[i].is_query;
    for (size_t i = 0; csv != NULL && i < cmir_label_table_count(csv); i++) {
        if ((st = find_listed(e, path, cmir_label_table_volume(csv, i), &at, err)) != CMIR_OK)
            return st;
        e->extras[at].is_candidate = true;
    }
    return CMIR_OK;
}

static bool
may_answer(const eval *e, size_t query, size_t candidate)
{
    const cmir_eval_volume *q = &e->volumes[query], *c = &e->volumes[candidate];
    const bool own_patient = strcmp(q->group, c->group) == 0;

    if (candidate == query || !e->extras[candidate].is_candidate)
        return false;
    if (e->queries_csv == NULL && !e->options.allow_leak && own_patient)
        return false;
    return e->options.database != EVAL_PER_SITE ||
           strcmp(e->extras[query].site, e->extras[candidate].site) == 0;
}

static cmir_status
make_database(eval *e, cmir_eval_query *query, cmir_error *err)
{
    uint32_t *database = cli_need(malloc((e->n_volumes + 1) * sizeof *database));
    uint32_t n = 0;

    for (size_t i = 0; i < e->n_volumes; i++)
        if (may_answer(e, query->volume, i))
            database[n++] = (uint32_t)i;
    query->database = cli_need(realloc(database, (n + 1) * sizeof *database));
    query->n_database = n;
    if (n == 0)
        return cli_fail(err, CMIR_ENOTFOUND,
                        "'%.100s' has no candidate: nobody else's volume%s%.60s%s",
                        e->volumes[query->volume].id,
                        e->options.database == EVAL_PER_SITE ? " of site '" : " takes part",
                        e->options.database == EVAL_PER_SITE ? e->extras[query->volume].site : "",
                        e->options.database == EVAL_PER_SITE ? "' takes part" : "");
    return CMIR_OK;
}

cmir_status
eval_split(eval *e, cmir_error *err)
{
    cmir_status st;

    e->queries = cli_need(calloc(e->n_volumes + 1, sizeof *e->queries));
    if ((st = take_queries(e, err)) != CMIR_OK || (st = take_candidates(e, err)) != CMIR_OK)
        return st;
    for (size_t i = 0; i < e->n_queries && st == CMIR_OK; i++)
        st = make_database(e, &e->queries[i], err);
    return st;
}
