/* SPDX-License-Identifier: Apache-2.0 */
/* eval_rankings.c: ranked lists from files instead of searches.
 *
 * The one idea: all lines of all files are put in order of method, query and line; then every list
 * is one run of lines. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

/* The file's name without folder and extension. */
static char *
name_of_file(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash == NULL ? path : slash + 1;
    const char *dot = strrchr(base, '.');
    const size_t n = dot == NULL || dot == base ? strlen(base) : (size_t)(dot - base);
    char *name = cli_need(malloc(n + 1));

    memcpy(name, base, n);
    name[n] = '\0';
    return name;
}

/* The number of a method, by first appearance. */
static size_t
method_of(const eval *e, const char *name)
{
    size_t next = 0;

    for (size_t i = e->n_rankings; i-- > 0;) {
        if (strcmp(e->rankings[i].row.method, name) == 0)
            return e->rankings[i].method;
        next = e->rankings[i].method >= next ? e->rankings[i].method + 1 : next;
    }
    return next;
}

cmir_status
eval_read_rankings(eval *e, const char *path, cmir_error *err)
{
    eval_ranking_file *file;
    cmir_error cause = {0};
    cmir_ranking *rows;
    size_t n;
    cmir_status st = cmir_rankings_read(path, &rows, &n, &cause);

    if (st != CMIR_OK)
        return cli_fail(err, st, "%s", cause.msg);
    e->files = cli_need(realloc(e->files, (e->n_files + 1) * sizeof *e->files));
    file = &e->files[e->n_files++];
    *file = (eval_ranking_file){path, name_of_file(path), rows};
    e->rankings = cli_need(realloc(e->rankings, (e->n_rankings + n + 1) * sizeof *e->rankings));
    for (size_t i = 0; i < n; i++) {
        if (rows[i].method[0] == '\0')
            rows[i].method = file->name;
        e->rankings[e->n_rankings] =
            (eval_ranking){path, e->n_files - 1, method_of(e, rows[i].method), rows[i]};
        e->n_rankings++;
    }
    if (n == 0)
        return cli_fail(err, CMIR_ECORRUPT, "%s: ranks nothing", path);
    return CMIR_OK;
}

static int
by_list(const void *a, const void *b)
{
    const eval_ranking *x = a, *y = b;
    int order = x->method < y->method ? -1 : x->method > y->method;

    if (order == 0)
        order = strcmp(x->row.query, y->row.query);
    if (order == 0)
        order = x->file < y->file ? -1 : x->file > y->file;
    return order != 0 ? order : x->row.line < y->row.line ? -1 : x->row.line > y->row.line;
}

/* The number of the query that is this volume, or SIZE_MAX. */
static size_t
query_of(const eval *e, const char *id)
{
    const size_t volume = eval_find(e, id);

    for (size_t i = 0; volume != SIZE_MAX && i < e->n_queries; i++)
        if (e->queries[i].volume == volume)
            return i;
    return SIZE_MAX;
}

/* One list: the n lines from `rows`, which are of one method and query. */
static cmir_status
take_list(const eval *e, const eval_ranking *rows, size_t n, cmir_eval_list *lists, cmir_error *err)
{
    const size_t query = query_of(e, rows[0].row.query);
    uint32_t *found = cli_need(malloc(n * sizeof *found));
    double *scores = cli_need(malloc(n * sizeof *scores));
    bool scored = true;
    cmir_status st = CMIR_OK;

    if (query == SIZE_MAX)
        st = cli_fail(err, CMIR_ECORRUPT, "%.100s: line %zu: '%.80s' is no query", rows[0].path,
                      rows[0].row.line, rows[0].row.query);
    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        const cmir_ranking *row = &rows[i].row;
        const size_t volume = eval_find(e, row->volume);

        if (rows[i].file != rows[0].file)
            st = cli_fail(err, CMIR_ECORRUPT, "%.80s and %.80s both rank %.40s for %.40s",
                          rows[0].path, rows[i].path, row->query, row->method);
        else if (volume == SIZE_MAX)
            st = cli_fail(err, CMIR_ECORRUPT, "%.100s: line %zu: '%.80s' has no '%.40s'",
                          rows[i].path, row->line, row->volume, e->task_column);
        else if (i > 0 && row->score > scores[i - 1])
            st = cli_fail(err, CMIR_ECORRUPT,
                          "%.100s: line %zu: the score rises; lines of a query "
                          "stand best first",
                          rows[i].path, row->line);
        found[i] = (uint32_t)volume;
        scores[i] = row->score;
        scored = scored && !isnan(row->score);
    }
    if (st == CMIR_OK)
        lists[query] = (cmir_eval_list){found, scored ? scores : NULL, (uint32_t)n};
    if (st != CMIR_OK)
        free(found);
    if (st != CMIR_OK || !scored)
        free(scores);
    return st;
}

/* All lists of one method, the n lines from `rows`. */
static cmir_status
take_method(eval *e, const eval_ranking *rows, size_t n, cmir_eval_method *method, cmir_error *err)
{
    cmir_eval_list *lists = cli_need(calloc(e->n_queries + 1, sizeof *lists));
    cmir_status st = CMIR_OK;

    method->name = rows[0].row.method;
    method->lists = lists;
    for (size_t at = 0, end; at < n && st == CMIR_OK; at = end) {
        for (end = at + 1; end < n && strcmp(rows[end].row.query, rows[at].row.query) == 0;)
            end++;
        st = take_list(e, rows + at, end - at, lists, err);
    }
    for (size_t i = 0; i < e->n_queries && st == CMIR_OK; i++)
        if (lists[i].found == NULL)
            st = cli_fail(err, CMIR_ECORRUPT, "%.100s: '%.80s' ranks nothing for the query '%.80s'",
                          rows[0].path, method->name, e->volumes[e->queries[i].volume].id);
    return st;
}

cmir_status
eval_lists_of_rankings(eval *e, cmir_error *err)
{
    const size_t n = e->n_rankings;
    cmir_status st = CMIR_OK;

    qsort(e->rankings, n, sizeof *e->rankings, by_list);
    for (size_t at = 0, end; at < n && st == CMIR_OK; at = end) {
        for (end = at + 1; end < n && e->rankings[end].method == e->rankings[at].method;)
            end++;
        e->methods = cli_need(realloc(e->methods, (e->n_methods + 1) * sizeof *e->methods));
        e->methods[e->n_methods] = (cmir_eval_method){0};
        st = take_method(e, e->rankings + at, end - at, &e->methods[e->n_methods++], err);
    }
    return st;
}
