/* SPDX-License-Identifier: Apache-2.0 */
/* evidence.c: from neighbours with labels to counts, votes and how far they can be trusted.
 *
 * Neighbours are few (at most CMIR_EVIDENCE_MOST), so that plain loops over pairs do. */
#include "assess/evidence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "assess/statistics.h"
#include "base/error.h"
#include "base/memory.h"

#define SAME_WEIGHT 1e-9 /* sums of weights that differ but by rounding */

size_t
cmir_first_of_patients(const char *const *patient, size_t n, size_t k, size_t *first)
{
    size_t n_first = 0;

    for (size_t i = 0; i < n && n_first < k; i++) {
        size_t j = 0;

        while (j < n_first && strcmp(patient[first[j]], patient[i]) != 0)
            j++;
        if (j == n_first)
            first[n_first++] = i;
    }
    return n_first;
}

/* Most weight first, then most cases, then by text. */
static int
by_vote(const void *a, const void *b)
{
    const cmir_evidence_value *x = a, *y = b;
    const double p = round(x->weighted_share / SAME_WEIGHT);
    const double q = round(y->weighted_share / SAME_WEIGHT);

    if (p > q || p < q)
        return p > q ? -1 : 1;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return strcmp(x->text, y->text);
}

size_t
cmir_count_votes(const char *const *text, const double *weight, size_t n,
                 cmir_evidence_value *values, uint32_t *n_labelled)
{
    double total = 0;
    size_t n_values = 0;

    *n_labelled = 0;
    for (size_t i = 0; i < n; i++) {
        size_t v = 0;

        if (text[i] == NULL)
            continue;
        while (v < n_values && strcmp(values[v].text, text[i]) != 0)
            v++;
        if (v == n_values)
            values[n_values++] = (cmir_evidence_value){.text = text[i]};
        values[v].n++;
        values[v].weighted_share += weight[i];
        total += weight[i];
        ++*n_labelled;
    }
    for (size_t v = 0; v < n_values; v++) {
        const cmir_estimate share = cmir_wilson(values[v].n, *n_labelled);

        values[v].share = share.value;
        values[v].low = share.low;
        values[v].high = share.high;
        values[v].weighted_share /= total;
    }
    if (n_values > 0)
        qsort(values, n_values, sizeof *values, by_vote);
    return n_values;
}

double
cmir_weighted_median(const double *value, const double *weight, size_t n, double *low, double *high)
{
    double total = 0, median = NAN;

    *low = *high = NAN;
    for (size_t i = 0; i < n; i++) {
        if (isnan(value[i]))
            continue;
        total += weight[i];
        *low = fmin(*low, value[i]); /* of a number and NAN: the number */
        *high = fmax(*high, value[i]);
    }
    for (size_t i = 0; i < n; i++) {
        double up_to = 0;

        for (size_t j = 0; j < n; j++)
            up_to += value[j] <= value[i] ? weight[j] : 0;
        if (up_to >= total * (0.5 - SAME_WEIGHT))
            median = fmin(median, value[i]);
    }
    return median;
}

static int
by_patient(const void *a, const void *b)
{
    return strcmp(((const cmir_outcome *)a)->patient, ((const cmir_outcome *)b)->patient);
}

static int
by_truth(const void *a, const void *b)
{
    return strcmp(((const cmir_outcome *)a)->truth, ((const cmir_outcome *)b)->truth);
}

static int
by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* The lower one of an even number. */
static double
median_of(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_size);
    return values[(n - 1) / 2];
}

static void
count_right(const cmir_outcome *outcomes, size_t n, cmir_calibration *out)
{
    uint32_t n_same = 0;

    for (size_t i = 0; i < n; i++) {
        const cmir_outcome *o = &outcomes[i];
        const uint32_t bin = (20 * o->n_for + o->n_labelled) / (2 * o->n_labelled);

        out->n_right += o->right;
        out->bin_n[bin]++;
        out->bin_right[bin] += o->right;
        n_same = i > 0 && strcmp(o->truth, outcomes[i - 1].truth) == 0 ? n_same + 1 : 1;
        out->n_majority = n_same > out->n_majority ? n_same : out->n_majority;
    }
}

/* Volumes of one patient are no independent questions: the interval is of as many as patients. */
void
cmir_calibration_rate(cmir_calibration *c)
{
    const bool has_rate = c->kind == CMIR_LABEL_CLASS && c->n_queries > 0;
    const double rate = has_rate ? (double)c->n_right / c->n_queries : 0;
    const cmir_estimate estimate = cmir_wilson(rate * c->n_patients, has_rate ? c->n_patients : 0);

    c->rate = has_rate ? rate : NAN;
    c->low = estimate.low;
    c->high = estimate.high;
}

static cmir_status
measure_errors(const cmir_outcome *outcomes, size_t n, cmir_calibration *out, cmir_error *err)
{
    double *values = cmir_alloc(n, sizeof *values);

    if (values == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu outcomes", n);
    for (size_t i = 0; i < n; i++)
        values[i] = outcomes[i].true_number;
    const double middle = median_of(values, n);
    for (size_t i = 0; i < n; i++)
        values[i] = fabs(middle - outcomes[i].true_number);
    out->error_alone = median_of(values, n);
    for (size_t i = 0; i < n; i++)
        values[i] = fabs(outcomes[i].median - outcomes[i].true_number);
    out->error = median_of(values, n);
    free(values);
    cmir_calibration_rate(out);
    return CMIR_OK;
}

cmir_status
cmir_calibration_of(cmir_outcome *outcomes, size_t n, cmir_calibration *out, cmir_error *err)
{
    size_t n_queries = 0;

    out->n_labelled = (uint32_t)n;
    out->error = out->error_alone = NAN;
    for (size_t i = 0; i < n; i++)
        if (outcomes[i].n_labelled >= CMIR_EVIDENCE_LEAST) {
            const cmir_outcome o = outcomes[n_queries];

            outcomes[n_queries++] = outcomes[i];
            outcomes[i] = o;
        }
    out->n_queries = (uint32_t)n_queries;
    if (n_queries > 0)
        qsort(outcomes, n_queries, sizeof *outcomes, by_patient);
    for (size_t i = 0; i < n_queries; i++)
        out->n_patients += i == 0 || by_patient(&outcomes[i - 1], &outcomes[i]) != 0;
    if (n_queries > 0 && out->kind == CMIR_LABEL_NUMBER)
        return measure_errors(outcomes, n_queries, out, err);
    if (n_queries > 0) {
        qsort(outcomes, n_queries, sizeof *outcomes, by_truth);
        count_right(outcomes, n_queries, out);
    }
    cmir_calibration_rate(out);
    return CMIR_OK;
}
