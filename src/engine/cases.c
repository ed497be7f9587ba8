/* SPDX-License-Identifier: Apache-2.0 */
/* cases.c: the nearest patients rather than the nearest volumes.
 *
 * The one idea: patients rarely have many volumes, so the list of volumes is lengthened only where it
 * turns out to hold too few patients. */
#include "engine/cases.h"

#include <stdlib.h>

#include "assess/evidence.h"
#include "base/error.h"
#include "base/memory.h"

/* The first patients of one list. */
static cmir_status
pick(const cmir_snapshot *snapshot, const cmir_ranked *ranked, size_t n, uint32_t k,
     cmir_case *cases, size_t *n_cases, cmir_error *err)
{
    char **patients = cmir_alloc_zeroed(n, sizeof *patients);
    size_t *first = cmir_alloc(k, sizeof *first);
    cmir_status st = CMIR_OK;

    *n_cases = 0;
    if (patients == NULL || first == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory for the patients of %zu volumes", n);
    for (size_t i = 0; i < n && st == CMIR_OK; i++)
        st = cmir_snapshot_patient(snapshot, ranked[i].candidate, &patients[i], err);
    if (st == CMIR_OK)
        *n_cases = cmir_first_of_patients((const char *const *)patients, n, k, first);
    for (size_t i = 0; i < *n_cases; i++)
        cases[i] =
            (cmir_case){ranked[first[i]].candidate, ranked[first[i]].score, (uint32_t)first[i] + 1};
    for (size_t i = 0; patients != NULL && i < n; i++)
        free(patients[i]);
    free(patients);
    free(first);
    return st;
}

cmir_status
cmir_nearest_cases(const cmir_query *query, const cmir_snapshot *snapshot,
                   const cmir_rank_options *options, const cmir_ranked *ranked, size_t n_ranked,
                   uint32_t k, cmir_case *cases, size_t *n_cases, cmir_error *err)
{
    const size_t count = cmir_snapshot_count(snapshot);
    cmir_rank_options o = *options;
    cmir_ranked *own = NULL;
    cmir_status st = CMIR_OK;

    *n_cases = 0;
    if (ranked != NULL &&
        (st = pick(snapshot, ranked, n_ranked, k, cases, n_cases, err)) != CMIR_OK)
        return st;
    while (ranked == NULL || (*n_cases < k && n_ranked == o.limit && o.limit < count)) {
        cmir_rank_work work;

        if (ranked != NULL)
            o.limit = o.limit < count / 2 ? 2 * o.limit : (uint32_t)count;
        free(own);
        own = cmir_alloc(o.limit, sizeof *own);
        if (own == NULL)
            st = FAIL(err, CMIR_ENOMEM, "no memory for a list of %u volumes", o.limit);
        else
            st = cmir_rank(query, snapshot, &o, own, &n_ranked, &work, err);
        ranked = own;
        if (st != CMIR_OK ||
            (st = pick(snapshot, ranked, n_ranked, k, cases, n_cases, err)) != CMIR_OK)
            break;
    }
    free(own);
    return st;
}
