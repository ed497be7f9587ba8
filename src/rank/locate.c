/* SPDX-License-Identifier: Apache-2.0 */
/* locate.c: the matched run, the candidate slices that a query points to.  Called by engine.
 *
 * The one idea: the run is the stretch of the candidate, no longer than one and a half times the
 * query, that gathers the most matched similarity, cut back to its first and last match.  Matches
 * elsewhere are ignored, so a query that resembles the candidate in part gives that part; the half
 * more is the slack for slices that found nothing at the ends and for spacing that is wrong. */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "rank/rank.h"

#define QUERY_LENGTHS 1.5 /* the longest run */
#define SAME_SUM 1e-9     /* windows that gather the same but for rounding: the first is taken */

/* A match weighs its similarity; even an opposite one weighs a little, so that a run never misses
 * all matches. */
static double
weight_of(const cmir_match *match)
{
    return fmax(match->similarity, 1e-6);
}

/* The longest run in slices of the candidate. */
static uint32_t
window_length(uint32_t n_matches, double query_spacing_mm, uint32_t n_slices, double spacing_mm)
{
    const bool known = query_spacing_mm > 0.0 && spacing_mm > 0.0;
    const double ratio = known ? query_spacing_mm / spacing_mm : 1.0;
    const double length = floor(QUERY_LENGTHS * n_matches * ratio + 0.5);

    return length < 1.0 ? 1 : length > n_slices ? n_slices : (uint32_t)length;
}

/* The first window of `length` slices that gathers the most; before[j] is the weight of the slices
 * before j. */
static uint32_t
best_window(const double *before, uint32_t n_slices, uint32_t length)
{
    double most = 0.0;
    uint32_t start = 0;

    for (uint32_t a = 0; a + length <= n_slices; a++)
        most = fmax(most, before[a + length] - before[a]);
    while (before[start + length] - before[start] < most - SAME_SUM)
        start++;
    return start;
}

/* Cuts the window back to its first and last match, and finds the query slices behind it. */
static void
trim(const cmir_match *matches, uint32_t n, uint32_t start, uint32_t length, cmir_run *out)
{
    *out = (cmir_run){UINT32_MAX, 0, UINT32_MAX, 0};
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t slice = matches[i].query_slice, match = matches[i].match_slice;

        if (match < start || match - start >= length)
            continue;
        out->match_first = match < out->match_first ? match : out->match_first;
        out->match_last = match > out->match_last ? match : out->match_last;
        out->query_first = slice < out->query_first ? slice : out->query_first;
        out->query_last = slice > out->query_last ? slice : out->query_last;
    }
}

cmir_status
cmir_locate(const cmir_match *matches, uint32_t n, double query_spacing_mm, uint32_t n_slices,
            double spacing_mm, cmir_run *out, cmir_error *err)
{
    const uint32_t length = window_length(n, query_spacing_mm, n_slices, spacing_mm);
    double *before = cmir_alloc_zeroed((size_t)n_slices + 1, sizeof *before);

    if (before == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the weights of %u slices", n_slices);
    for (uint32_t i = 0; i < n; i++) {
        if (matches[i].match_slice >= n_slices) {
            free(before);
            return FAIL(err, CMIR_EINVAL, "match %u: slice %u of %u", i, matches[i].match_slice,
                        n_slices);
        }
        before[matches[i].match_slice + 1] += weight_of(&matches[i]);
    }
    for (uint32_t j = 0; j < n_slices; j++)
        before[j + 1] += before[j];
    trim(matches, n, best_window(before, n_slices, length), length, out);
    free(before);
    return CMIR_OK;
}
