/* SPDX-License-Identifier: Apache-2.0 */
/* evaluate_pairs.c: every two methods on the same queries.  Called by evaluate.c.
 *
 * The one idea: a patient is one sample.  The differences of a patient's queries are averaged before
 * the tests, which would otherwise count its scans as so many patients. */
#include <math.h>
#include <string.h>

#include "assess/evaluate_internal.h"
#include "assess/statistics.h"
#include "base/error.h"
#include "base/memory.h"

#define SIGN_FLIPS 10000u /* where there are too many patients to try every choice */

struct comparing {
    double *difference; /* [n_queries] */
    double *of_group;   /* [n_query_groups] mean difference; NAN where there is none */
    double *count;      /* [n_query_groups] */
    double *p;          /* [2][n_pairs of a metric] */
};

static void
average_groups(const cmir_eval_job *job, struct comparing *c)
{
    const size_t n_groups = job->n_query_groups;

    memset(c->of_group, 0, n_groups * sizeof *c->of_group);
    memset(c->count, 0, n_groups * sizeof *c->count);
    for (size_t q = 0; q < job->in->n_queries; q++) {
        if (isnan(c->difference[q]))
            continue;
        c->of_group[job->query_group[q]] += c->difference[q];
        c->count[job->query_group[q]]++;
    }
    for (size_t g = 0; g < n_groups; g++)
        c->of_group[g] /= c->count[g];
}

static cmir_status
compare_two(const cmir_eval_job *job, const cmir_eval_line *lines, struct comparing *c,
            cmir_eval_pair *pair, cmir_error *err)
{
    const cmir_eval_options *o = &job->opt;
    const size_t n = job->in->n_queries, n_groups = job->n_query_groups;
    cmir_estimate e;
    cmir_status st;

    for (size_t q = 0; q < n; q++)
        c->difference[q] = lines[pair->a].per_query[q * job->n_metrics + pair->metric] -
                           lines[pair->b].per_query[q * job->n_metrics + pair->metric];
    average_groups(job, c);
    if ((st = cmir_bootstrap_mean(c->difference, job->query_group, n, n_groups, o->n_bootstrap,
                                  o->seed, &e, err)) != CMIR_OK ||
        (st = cmir_wilcoxon(c->of_group, n_groups, &pair->wilcoxon, err)) != CMIR_OK ||
        (st = cmir_sign_flip(c->of_group, n_groups, SIGN_FLIPS, o->seed, &pair->sign_flip, err)) !=
            CMIR_OK)
        return st;
    pair->difference = e.value;
    pair->low = e.low;
    pair->high = e.high;
    if (isnan(e.value)) /* no query has this metric: nothing was tested */
        pair->wilcoxon = pair->sign_flip = NAN;
    return CMIR_OK;
}

/* Holm over the n pairs of one metric. */
static cmir_status
correct(cmir_eval_pair *pairs, size_t n, double *p, cmir_error *err)
{
    cmir_status st;

    for (size_t i = 0; i < n; i++) {
        p[i] = pairs[i].wilcoxon;
        p[n + i] = pairs[i].sign_flip;
    }
    if ((st = cmir_holm(p, n, err)) != CMIR_OK || (st = cmir_holm(p + n, n, err)) != CMIR_OK)
        return st;
    for (size_t i = 0; i < n; i++) {
        pairs[i].wilcoxon_holm = p[i];
        pairs[i].sign_flip_holm = p[n + i];
    }
    return CMIR_OK;
}

cmir_status
cmir_eval_compare(cmir_eval_job *job, const cmir_eval_line *lines, cmir_eval_pair *pairs,
                  cmir_error *err)
{
    const uint32_t n_methods = (uint32_t)job->in->n_methods;
    const size_t n_pairs = n_methods < 2 ? 0 : (size_t)n_methods * (n_methods - 1) / 2;
    cmir_eval_memory scratch = {0};
    struct comparing c = {
        cmir_eval_alloc(&scratch, job->in->n_queries, sizeof *c.difference),
        cmir_eval_alloc(&scratch, job->n_query_groups, sizeof *c.of_group),
        cmir_eval_alloc(&scratch, job->n_query_groups, sizeof *c.count),
        cmir_eval_alloc(&scratch, 2 * n_pairs, sizeof *c.p),
    };
    cmir_status st = CMIR_OK;

    if (c.difference == NULL || c.of_group == NULL || c.count == NULL || c.p == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory to compare %u methods", n_methods);
    for (uint32_t metric = 0; st == CMIR_OK && metric < job->n_metrics; metric++) {
        cmir_eval_pair *pair = pairs + metric * n_pairs;

        for (uint32_t a = 0; a < n_methods; a++)
            for (uint32_t b = a + 1; st == CMIR_OK && b < n_methods; b++, pair++) {
                *pair = (cmir_eval_pair){.a = a, .b = b, .metric = metric};
                st = compare_two(job, lines, &c, pair, err);
                if (st == CMIR_OK)
                    st = cmir_eval_step(job, err);
            }
        if (st == CMIR_OK)
            st = correct(pairs + metric * n_pairs, n_pairs, c.p, err);
    }
    cmir_eval_release(&scratch);
    return st;
}
