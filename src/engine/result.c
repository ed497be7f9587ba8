/* SPDX-License-Identifier: Apache-2.0 */
/* result.c: the memory behind a cmir_result, and the names of scores.
 *
 * The one idea: a result owns all it shows, so it outlives archive and query. */
#include "engine/result.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

static const char *const score_names[] = {
    [CMIR_MAXSIM] = "maxsim",   [CMIR_SYMMETRIC] = "symmetric",
    [CMIR_FREQ] = "freq",       [CMIR_MAX] = "max",
    [CMIR_SUM] = "sum",         [CMIR_MEAN] = "mean",
    [CMIR_MEDIAN] = "median",   [CMIR_MAX_POOL] = "max-pool",
    [CMIR_STD] = "std",         [CMIR_LENGTH_CORRECTED] = "length-corrected",
    [CMIR_ORDERED] = "ordered", [CMIR_WEIGHTED] = "weighted",
};
#define N_SCORES (sizeof score_names / sizeof score_names[0])

const char *
cmir_score_name(cmir_score score)
{
    return (size_t)score < N_SCORES ? score_names[score] : "unknown";
}

cmir_status
cmir_score_parse(const char *name, cmir_score *out, cmir_error *err)
{
    for (size_t i = 0; name != NULL && i < N_SCORES; i++) {
        if (strcmp(name, score_names[i]) == 0) {
            *out = (cmir_score)i;
            return CMIR_OK;
        }
    }
    return FAIL(err, CMIR_EINVAL,
                "no such score: '%s'; there are maxsim, symmetric, freq, max, sum, mean, median, "
                "max-pool, std, length-corrected, ordered and weighted",
                name == NULL ? "" : name);
}

cmir_status
cmir_engine_result_new(cmir_engine_result **out, cmir_error *err)
{
    *out = cmir_alloc_zeroed(1, sizeof **out);
    return *out != NULL ? CMIR_OK : FAIL(err, CMIR_ENOMEM, "no memory for a search result");
}

cmir_status
cmir_engine_contrast_new(cmir_engine_result *result, const char *label, const char *value,
                         cmir_engine_contrast **out, cmir_error *err)
{
    cmir_engine_contrast *c = cmir_alloc_zeroed(1, sizeof *c);

    *out = result->contrast = c;
    if (c != NULL) {
        c->view.label = c->label = cmir_strdup(label);
        c->view.value = c->value = cmir_strdup(value);
    }
    if (c == NULL || c->label == NULL || (c->value == NULL) != (value == NULL))
        return FAIL(err, CMIR_ENOMEM, "no memory for a contrast");
    result->view.contrast = &c->view;
    return CMIR_OK;
}

static void
free_contrast(cmir_engine_contrast *c)
{
    if (c == NULL)
        return;
    free(c->slices);
    free(c->label);
    free(c->value);
    free(c);
}

void
cmir_engine_result_free(cmir_engine_result *result)
{
    if (result == NULL)
        return;
    for (size_t i = 0; i < result->n_room; i++)
        cmir_record_free(result->records[i]);
    free(result->records);
    free(result->hits);
    free(result->matches);
    cmir_record_free(result->query);
    cmir_engine_evidence_free(result->evidence);
    free_contrast(result->contrast);
    free(result);
}

void
cmir_result_free(cmir_result *result)
{
    cmir_engine_result_free((cmir_engine_result *)(void *)result); /* its first member */
}

cmir_status
cmir_engine_result_reserve(cmir_engine_result *result, size_t n, uint32_t m, cmir_error *err)
{
    uint64_t n_matches;

    result->hits = cmir_alloc_zeroed(n, sizeof *result->hits);
    result->records = cmir_alloc_zeroed(n, sizeof *result->records);
    if (cmir_mul_u64(n, m, &n_matches) && n_matches <= SIZE_MAX)
        result->matches = cmir_alloc((size_t)n_matches, sizeof *result->matches);
    if (result->hits == NULL || result->records == NULL || result->matches == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu hits of %u matches", n, m);
    result->n_room = n;
    result->view.hits = result->hits;
    return CMIR_OK;
}
