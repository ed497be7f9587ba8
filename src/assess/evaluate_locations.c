/* SPDX-License-Identifier: Apache-2.0 */
/* evaluate_locations.c: cmir_evaluate_locations(): do hits match where they should?  Called by the
 * command and by programs.
 *
 * The one idea: a query counts once however many of its hits can be judged, and a ratio stands beside
 * what any slice of those same hits would reach. */
#include <math.h>
#include <stdlib.h>

#include "assess/evaluate_internal.h"
#include "assess/statistics.h"
#include "base/error.h"
#include "base/memory.h"

enum { RATIO, CHANCE, IOU, PLACED, N_FIGURES };

static cmir_status
check_numbers(const cmir_eval_input *in, const cmir_eval_location *h, size_t i, cmir_error *err)
{
    if (h->method >= in->n_methods || h->query >= in->n_queries || h->volume >= in->n_volumes)
        return FAIL(err, CMIR_EINVAL, "location %zu: there is no method %u, query %u or volume %u",
                    i, h->method, h->query, h->volume);
    if (h->n_matches == 0 || h->n_inside > h->n_matches || h->n_shown == 0 ||
        h->n_shown > h->n_slices || h->n_shown > h->n_structure || h->run_first > h->run_last ||
        h->n_in_run > h->n_structure || h->n_in_run > h->run_last - h->run_first + 1)
        return FAIL(err, CMIR_EINVAL,
                    "'%s', location %zu: %u of %u matches, %u of %u slices, %u of %u in the run "
                    "%u:%u cannot be",
                    in->volumes[h->volume].id, i, h->n_inside, h->n_matches, h->n_shown,
                    h->n_slices, h->n_in_run, h->n_structure, h->run_first, h->run_last);
    return CMIR_OK;
}

static int
compare_hits(const void *a, const void *b)
{
    const cmir_eval_location *x = *(const cmir_eval_location *const *)a;
    const cmir_eval_location *y = *(const cmir_eval_location *const *)b;

    if (x->query != y->query)
        return x->query < y->query ? -1 : 1;
    if (x->volume != y->volume)
        return x->volume < y->volume ? -1 : 1;
    return x->method < y->method ? -1 : x->method > y->method;
}

/* Every hit is of its query's database, and there once. */
static cmir_status
check_hits(cmir_eval_job *job, const cmir_eval_location *hits, size_t n, cmir_error *err)
{
    const cmir_eval_input *in = job->in;
    const cmir_eval_location **order = cmir_eval_alloc(&job->scratch, n, sizeof *order);
    uint32_t *seen = cmir_eval_alloc(&job->scratch, in->n_volumes, sizeof *seen);
    uint32_t marked = 0; /* queries whose database is in `seen`: the last one's number, plus 1 */
    cmir_status st;

    if (order == NULL || seen == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu locations", n);
    for (size_t i = 0; i < n; i++) {
        if ((st = check_numbers(in, &hits[i], i, err)) != CMIR_OK)
            return st;
        order[i] = &hits[i];
    }
    qsort(order, n, sizeof *order, compare_hits);
    for (size_t i = 0; i < n; i++) {
        const cmir_eval_query *query = &in->queries[order[i]->query];

        if (marked != order[i]->query + 1) {
            marked = order[i]->query + 1;
            for (uint32_t d = 0; d < query->n_database; d++)
                seen[query->database[d]] = marked;
        }
        if (seen[order[i]->volume] != marked)
            return FAIL(err, CMIR_EINVAL, "'%s' is not in the database of '%s'",
                        in->volumes[order[i]->volume].id, in->volumes[query->volume].id);
        if (i > 0 && compare_hits(&order[i - 1], &order[i]) == 0)
            return FAIL(err, CMIR_EINVAL, "'%s' was found twice for '%s' by %s",
                        in->volumes[order[i]->volume].id, in->volumes[query->volume].id,
                        in->methods[order[i]->method].name);
    }
    return CMIR_OK;
}

static double
overlap(const cmir_eval_location *h)
{
    const double run = (double)h->run_last - h->run_first + 1;

    return h->n_in_run / (run + h->n_structure - h->n_in_run);
}

/* Means over the hits of each query: sums[N_FIGURES][n_queries], NAN where it has none. */
static void
average_hits(const cmir_eval_location *hits, size_t n_hits, uint32_t method, size_t n_queries,
             double *sums, double *count, cmir_eval_localisation *out)
{
    for (size_t q = 0; q < n_queries; q++)
        count[q] = sums[RATIO * n_queries + q] = sums[CHANCE * n_queries + q] =
            sums[IOU * n_queries + q] = sums[PLACED * n_queries + q] = 0;
    for (size_t i = 0; i < n_hits; i++) {
        const cmir_eval_location *h = &hits[i];
        double *at = sums + h->query;

        if (h->method != method)
            continue;
        count[h->query]++;
        out->n_hits++;
        at[RATIO * n_queries] += (double)h->n_inside / h->n_matches;
        at[CHANCE * n_queries] += (double)h->n_shown / h->n_slices;
        at[IOU * n_queries] += overlap(h);
        at[PLACED * n_queries] += overlap(h) >= CMIR_EVAL_PLACED;
    }
    for (size_t q = 0; q < n_queries; q++) {
        out->n_queries += count[q] > 0;
        for (size_t f = 0; f < N_FIGURES; f++)
            sums[f * n_queries + q] = count[q] > 0 ? sums[f * n_queries + q] / count[q] : NAN;
    }
}

static size_t
count_groups(const cmir_eval_job *job, const double *count, uint32_t *seen, uint32_t mark)
{
    size_t n = 0;

    for (size_t q = 0; q < job->in->n_queries; q++)
        if (count[q] > 0 && seen[job->query_group[q]] != mark) {
            seen[job->query_group[q]] = mark;
            n++;
        }
    return n;
}

/* The mean of values, or the quotient of the means where they are to be divided. */
static cmir_status
estimate(const cmir_eval_job *job, const double *values, const double *by, cmir_eval_figure *out,
         cmir_error *err)
{
    cmir_estimate e;
    const cmir_status st =
        cmir_bootstrap_quotient(values, by, job->query_group, job->in->n_queries,
                                job->n_query_groups, job->opt.n_bootstrap, job->opt.seed, &e, err);

    *out = (cmir_eval_figure){e.value, e.low, e.high};
    return st;
}

static cmir_status
run(cmir_eval_job *job, const cmir_eval_location *hits, size_t n_hits, cmir_eval_localisation *out,
    cmir_error *err)
{
    const size_t n = job->in->n_queries;
    cmir_status st;

    if ((st = cmir_eval_fill_options(&job->opt, err)) != CMIR_OK ||
        (st = cmir_eval_check_input(job, err)) != CMIR_OK ||
        (st = check_hits(job, hits, n_hits, err)) != CMIR_OK)
        return st;
    double *sums = cmir_eval_alloc(&job->scratch, n, N_FIGURES * sizeof *sums);
    double *count = cmir_eval_alloc(&job->scratch, n, sizeof *count);
    uint32_t *seen = cmir_eval_alloc(&job->scratch, job->n_query_groups, sizeof *seen);
    if (sums == NULL || count == NULL || seen == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the locations of %zu queries", n);
    for (uint32_t m = 0; m < job->in->n_methods && st == CMIR_OK; m++) {
        const double *ratio = sums + RATIO * n, *chance = sums + CHANCE * n;

        out[m] = (cmir_eval_localisation){.n_hits = 0};
        average_hits(hits, n_hits, m, n, sums, count, &out[m]);
        out[m].n_groups = count_groups(job, count, seen, m + 1);
        if ((st = estimate(job, ratio, NULL, &out[m].ratio, err)) == CMIR_OK &&
            (st = estimate(job, chance, NULL, &out[m].chance, err)) == CMIR_OK &&
            (st = estimate(job, ratio, chance, &out[m].gain, err)) == CMIR_OK &&
            (st = estimate(job, sums + IOU * n, NULL, &out[m].iou, err)) == CMIR_OK)
            st = estimate(job, sums + PLACED * n, NULL, &out[m].placed, err);
    }
    return st;
}

cmir_status
cmir_evaluate_locations(const cmir_eval_input *input, const cmir_eval_options *options,
                        const cmir_eval_location *hits, size_t n_hits, cmir_eval_localisation *out,
                        cmir_error *err)
{
    const cmir_eval_options defaults = {.struct_nbytes = sizeof defaults};
    cmir_eval_job job = {.in = input, .opt = options == NULL ? defaults : *options};
    const cmir_status st = run(&job, hits, n_hits, out, err);

    cmir_eval_release(&job.scratch);
    return st;
}
