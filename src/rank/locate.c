/* SPDX-License-Identifier: Apache-2.0 */
/* locate.c: the matched run, the candidate slices that a query points to.  Called by engine.
 *
 * The one idea: matches are evidence spread along the candidate.  The run is the interval that
 * gathers the most similarity beyond what half the density of a true match would give:
 * the largest sum of w_j - tau, w_j being the similarity matched to slice j. */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "rank/rank.h"

/* A match weighs its similarity; even an opposite one weighs a little, so that a run never misses
 * all matches. */
static double
weight_of(const cmir_match *match)
{
    return fmax(match->similarity, 1e-6);
}

/* Half the similarity that each slice gathers where the query truly lies: the mean similarity
 * times the query slices that fall on one candidate slice, and never so much that no slice
 * passes. */
static double
threshold(const cmir_match *matches, uint32_t n, double query_spacing_mm, uint32_t n_slices,
          double spacing_mm, double largest_weight)
{
    double sum = 0.0, per_slice = (double)n / n_slices;

    for (uint32_t i = 0; i < n; i++)
        sum += weight_of(&matches[i]);
    if (query_spacing_mm > 0.0 && spacing_mm > 0.0)
        per_slice = spacing_mm / query_spacing_mm;
    return 0.5 * fmin(sum / n * per_slice, largest_weight);
}

cmir_status
cmir_locate(const cmir_match *matches, uint32_t n, double query_spacing_mm, uint32_t n_slices,
            double spacing_mm, cmir_run *out, cmir_error *err)
{
    double largest = 0.0, *weight = cmir_alloc_zeroed(n_slices, sizeof *weight);

    if (weight == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the weights of %u slices", n_slices);
    for (uint32_t i = 0; i < n; i++) {
        if (matches[i].match_slice >= n_slices) {
            free(weight);
            return FAIL(err, CMIR_EINVAL, "match %u: slice %u of %u", i, matches[i].match_slice,
                        n_slices);
        }
        weight[matches[i].match_slice] += weight_of(&matches[i]);
        largest = fmax(largest, weight[matches[i].match_slice]);
    }
    const double tau = threshold(matches, n, query_spacing_mm, n_slices, spacing_mm, largest);
    double best = -INFINITY, sum = 0.0;
    uint32_t start = 0;
    for (uint32_t j = 0; j < n_slices; j++) {
        if (sum <= 0.0) {
            sum = 0.0;
            start = j;
        }
        sum += weight[j] - tau;
        if (sum > best) {
            best = sum;
            out->match_first = start;
            out->match_last = j;
        }
    }
    free(weight);
    out->query_first = UINT32_MAX;
    out->query_last = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t slice = matches[i].query_slice, match = matches[i].match_slice;

        if (match < out->match_first || match > out->match_last)
            continue;
        out->query_first = slice < out->query_first ? slice : out->query_first;
        out->query_last = slice > out->query_last ? slice : out->query_last;
    }
    return CMIR_OK;
}
