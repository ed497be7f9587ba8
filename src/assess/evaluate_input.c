/* SPDX-License-Identifier: Apache-2.0 */
/* evaluate_input.c: is the input of an evaluation what it claims to be?  Called by evaluate.c.
 *
 * The one idea: texts become numbers once, and every number that the caller gave is checked once, so
 * that all that follows is arithmetic. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "assess/evaluate_internal.h"
#include "base/error.h"
#include "base/memory.h"

struct text {
    const char *text;
    uint32_t volume;
};

static int
compare_texts(const void *a, const void *b)
{
    return strcmp(((const struct text *)a)->text, ((const struct text *)b)->text);
}

/* Numbers the texts of volumes in their order, equal ones alike; NULL is CMIR_EVAL_NONE.  `distinct`
 * (NULL: not wanted) has room for n. */
static cmir_status
number_texts(const char *const *texts, size_t n, uint32_t *number, const char **distinct,
             uint32_t *n_distinct, cmir_error *err)
{
    struct text *sorted = cmir_alloc(n, sizeof *sorted);
    size_t n_known = 0;

    *n_distinct = 0;
    if (sorted == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the texts of %zu volumes", n);
    for (size_t i = 0; i < n; i++) {
        number[i] = CMIR_EVAL_NONE;
        if (texts[i] != NULL)
            sorted[n_known++] = (struct text){texts[i], (uint32_t)i};
    }
    qsort(sorted, n_known, sizeof *sorted, compare_texts);
    for (size_t i = 0; i < n_known; i++) {
        if (i == 0 || strcmp(sorted[i].text, sorted[i - 1].text) != 0) {
            if (distinct != NULL)
                distinct[*n_distinct] = sorted[i].text;
            ++*n_distinct;
        }
        number[sorted[i].volume] = *n_distinct - 1;
    }
    free(sorted);
    return CMIR_OK;
}

static cmir_status
check_shape(const cmir_eval_input *in, cmir_error *err)
{
    if (in->struct_nbytes != sizeof *in)
        return FAIL(err, CMIR_EINVAL,
                    "evaluation input: struct_nbytes is not that of this library");
    if (in->n_queries == 0)
        return FAIL(err, CMIR_EINVAL, "an evaluation needs a query");
    if (in->n_volumes >= UINT32_MAX || in->n_queries >= UINT32_MAX)
        return FAIL(err, CMIR_EINVAL, "%zu volumes and %zu queries are too many", in->n_volumes,
                    in->n_queries);
    if (in->n_methods > CMIR_EVAL_MAX_METHODS || in->n_nuisances > CMIR_EVAL_MAX_NUISANCES)
        return FAIL(err, CMIR_EINVAL, "%zu methods and %zu nuisances, at most %u and %u",
                    in->n_methods, in->n_nuisances, CMIR_EVAL_MAX_METHODS, CMIR_EVAL_MAX_NUISANCES);
    for (size_t i = 0; i < in->n_nuisances; i++)
        if (in->nuisances[i] == NULL)
            return FAIL(err, CMIR_EINVAL, "nuisance %zu has no name", i);
    for (size_t v = 0; v < in->n_volumes; v++) {
        const cmir_eval_volume *volume = &in->volumes[v];

        if (volume->id == NULL || volume->value == NULL)
            return FAIL(err, CMIR_EINVAL, "volume %zu has no id or no value", v);
        if (in->n_nuisances > 0 && volume->nuisances == NULL)
            return FAIL(err, CMIR_EINVAL, "%s: no nuisances", volume->id);
    }
    return CMIR_OK;
}

/* Of each volume: the last query (plus 1) whose database, and the last list, that named it. */
struct marks {
    uint64_t *database, *list;
    uint64_t n_lists;
};

static cmir_status
check_database(cmir_eval_job *job, size_t q, const struct marks *marks, uint8_t *used,
               cmir_error *err)
{
    const cmir_eval_input *in = job->in;
    const cmir_eval_query *query = &in->queries[q];

    if (query->volume >= in->n_volumes)
        return FAIL(err, CMIR_EINVAL, "query %zu: volume %u of %zu", q, query->volume,
                    in->n_volumes);
    const char *id = in->volumes[query->volume].id;
    used[query->volume] = 1;
    for (uint32_t i = 0; i < query->n_database; i++) {
        const uint32_t v = query->database[i];

        if (v >= in->n_volumes)
            return FAIL(err, CMIR_EINVAL, "%s: volume %u of %zu in its database", id, v,
                        in->n_volumes);
        if (marks->database[v] == q + 1)
            return FAIL(err, CMIR_EINVAL, "%s: %s is twice in its database", id, in->volumes[v].id);
        marks->database[v] = q + 1;
        used[v] = 1;
        if (job->group[v] != job->group[query->volume])
            continue;
        job->leak = true;
        if (!job->opt.allow_leak)
            return FAIL(err, CMIR_EINVAL,
                        "leak: the database of query %s holds %s of the same patient", id,
                        in->volumes[v].id);
    }
    return CMIR_OK;
}

static cmir_status
check_list(const cmir_eval_job *job, size_t q, const cmir_eval_method *method, struct marks *marks,
           cmir_error *err)
{
    const cmir_eval_volume *volumes = job->in->volumes;
    const cmir_eval_list *list = &method->lists[q];
    const char *id = volumes[job->in->queries[q].volume].id;

    marks->n_lists++;
    for (uint32_t i = 0; i < list->n_found; i++) {
        const uint32_t v = list->found[i];

        if (v >= job->in->n_volumes)
            return FAIL(err, CMIR_EINVAL, "%s, query %s: found volume %u of %zu", method->name, id,
                        v, job->in->n_volumes);
        if (marks->database[v] != q + 1)
            return FAIL(err, CMIR_EINVAL, "%s, query %s: found %s, which is not in its database",
                        method->name, id, volumes[v].id);
        if (marks->list[v] == marks->n_lists)
            return FAIL(err, CMIR_EINVAL, "%s, query %s: found %s twice", method->name, id,
                        volumes[v].id);
        marks->list[v] = marks->n_lists;
        if (list->scores == NULL)
            continue;
        if (!isfinite(list->scores[i]) || (i > 0 && list->scores[i] > list->scores[i - 1]))
            return FAIL(err, CMIR_EINVAL, "%s, query %s: the score of %s is no number or rises",
                        method->name, id, volumes[v].id);
    }
    return CMIR_OK;
}

static cmir_status
check_queries(cmir_eval_job *job, struct marks *marks, uint8_t *used, cmir_error *err)
{
    const cmir_eval_input *in = job->in;
    const uint32_t last = job->opt.k[job->opt.n_k - 1];
    cmir_status st = CMIR_OK;

    for (size_t m = 0; m < in->n_methods; m++)
        if (in->methods[m].name == NULL)
            return FAIL(err, CMIR_EINVAL, "method %zu has no name", m);
    for (size_t q = 0; st == CMIR_OK && q < in->n_queries; q++) {
        bool is_short = false;

        st = check_database(job, q, marks, used, err);
        for (size_t m = 0; st == CMIR_OK && m < in->n_methods; m++) {
            st = check_list(job, q, &in->methods[m], marks, err);
            is_short |= in->methods[m].lists[q].n_found < last;
        }
        job->n_short += is_short;
    }
    return st;
}

/* Groups and cohorts to numbers, then the queries, then the values of the volumes that they use. */
static cmir_status
check_volumes(cmir_eval_job *job, const char **texts, cmir_error *err)
{
    const cmir_eval_input *in = job->in;
    const size_t n = in->n_volumes;
    struct marks marks = {cmir_eval_alloc(&job->scratch, n, sizeof *marks.database),
                          cmir_eval_alloc(&job->scratch, n, sizeof *marks.list), 0};
    uint8_t *used = cmir_eval_alloc(&job->scratch, n, 1);
    cmir_status st;

    if (marks.database == NULL || marks.list == NULL || used == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu volumes", n);
    for (size_t v = 0; v < n; v++)
        texts[v] = in->volumes[v].group != NULL ? in->volumes[v].group : in->volumes[v].id;
    if ((st = number_texts(texts, n, job->group, NULL, &job->n_groups, err)) != CMIR_OK ||
        (st = check_queries(job, &marks, used, err)) != CMIR_OK)
        return st;
    for (size_t v = 0; v < n; v++)
        texts[v] = used[v] ? in->volumes[v].cohort : NULL;
    if ((st = number_texts(texts, n, job->cohort, NULL, &job->n_cohorts, err)) != CMIR_OK)
        return st;
    for (size_t v = 0; v < n; v++)
        texts[v] = used[v] ? in->volumes[v].value : NULL;
    return number_texts(texts, n, job->value, job->values, &job->n_values, err);
}

/* NULL: "1", where it is one of two: of four stages none is the positive one. */
static cmir_status
find_positive(cmir_eval_job *job, cmir_error *err)
{
    const char *wanted = job->opt.positive != NULL ? job->opt.positive : "1";

    job->positive = CMIR_EVAL_NONE;
    if (job->opt.positive == NULL && job->n_values != 2)
        return CMIR_OK;
    for (uint32_t i = 0; i < job->n_values; i++)
        if (strcmp(job->values[i], wanted) == 0)
            job->positive = i;
    if (job->opt.positive != NULL && job->positive == CMIR_EVAL_NONE)
        return FAIL(err, CMIR_EINVAL, "no volume has the value '%s'", wanted);
    return CMIR_OK;
}

/* What is to be known of the queries; `seen` has room for n_groups. */
static void
count_queries(cmir_eval_job *job, uint32_t *seen)
{
    for (size_t q = 0; q < job->in->n_queries; q++) {
        const cmir_eval_query *query = &job->in->queries[q];
        const uint32_t value = job->value[query->volume];
        uint32_t *number = &seen[job->group[query->volume]]; /* of its group, plus 1 */

        if (*number == 0)
            *number = ++job->n_query_groups;
        job->query_group[q] = *number - 1;
        job->is_positive[q] = value == job->positive;
        for (uint32_t i = 0; i < query->n_database; i++)
            job->n_relevant[q] += job->value[query->database[i]] == value;
    }
}

cmir_status
cmir_eval_check_input(cmir_eval_job *job, cmir_error *err)
{
    const cmir_eval_input *in = job->in;
    cmir_eval_memory *memory = &job->scratch;
    cmir_status st;

    if ((st = check_shape(in, err)) != CMIR_OK)
        return st;
    const char **texts = cmir_eval_alloc(memory, in->n_volumes, sizeof *texts);
    job->values = cmir_eval_alloc(memory, in->n_volumes, sizeof *job->values);
    job->value = cmir_eval_alloc(memory, in->n_volumes, sizeof *job->value);
    job->group = cmir_eval_alloc(memory, in->n_volumes, sizeof *job->group);
    job->cohort = cmir_eval_alloc(memory, in->n_volumes, sizeof *job->cohort);
    job->query_group = cmir_eval_alloc(memory, in->n_queries, sizeof *job->query_group);
    job->n_relevant = cmir_eval_alloc(memory, in->n_queries, sizeof *job->n_relevant);
    job->is_positive = cmir_eval_alloc(memory, in->n_queries, sizeof *job->is_positive);
    if (texts == NULL || job->values == NULL || job->value == NULL || job->group == NULL ||
        job->cohort == NULL || job->query_group == NULL || job->n_relevant == NULL ||
        job->is_positive == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu volumes and %zu queries", in->n_volumes,
                    in->n_queries);
    if ((st = check_volumes(job, texts, err)) != CMIR_OK)
        return st;
    if (job->n_values > CMIR_EVAL_MAX_VALUES)
        return FAIL(err, CMIR_ELIMIT, "%u different values, at most %u", job->n_values,
                    CMIR_EVAL_MAX_VALUES);
    uint32_t *seen = cmir_eval_alloc(memory, job->n_groups, sizeof *seen);
    if (seen == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %u groups", job->n_groups);
    if ((st = find_positive(job, err)) == CMIR_OK)
        count_queries(job, seen);
    return st;
}
