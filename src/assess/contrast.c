/* SPDX-License-Identifier: Apache-2.0 */
/* contrast.c: which slices of a query are nearer to positive cases than to negative ones.
 *
 * The one idea: a case is a row of weights.  The curve, its bootstrap samples and its permutations are
 * all the same weighted sum of rows; only the weights differ. */
#include "assess/contrast.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "assess/statistics.h"
#include "base/error.h"
#include "base/memory.h"

#define ROUNDS 1000u
#define SAME_SUM 1e-12 /* of similarities: equal but for rounding */

enum { SLICES_AT_ONCE = 256 };

/* A stretch of slices, by index, and how much it stands out. */
struct run {
    size_t first, last;
    double sum;
};

struct work {
    const cmir_contrast_input *in;
    uint32_t n_cases;
    double *weight;    /* [n_cases] of the curve itself */
    double *resampled; /* [ROUNDS][n_cases] */
    double *curve;     /* [n_slices] */
    double *samples;   /* [SLICES_AT_ONCE][ROUNDS] */
    double *firsts, *lasts, *rises; /* [ROUNDS] */
    uint32_t *order;   /* [n_cases] */
};

static void
free_work(struct work *w)
{
    free(w->weight);
    free(w->resampled);
    free(w->curve);
    free(w->samples);
    free(w->firsts);
    free(w->order);
}

static cmir_status
make_work(const cmir_contrast_input *in, struct work *w, cmir_error *err)
{
    const uint32_t n = in->n_positive + in->n_negative;

    *w = (struct work){.in = in,
                       .n_cases = n,
                       .weight = cmir_alloc(n, sizeof *w->weight),
                       .resampled = cmir_alloc_zeroed((size_t)ROUNDS * n, sizeof *w->resampled),
                       .curve = cmir_alloc(in->n_slices, sizeof *w->curve),
                       .samples = cmir_alloc((size_t)SLICES_AT_ONCE * ROUNDS, sizeof *w->samples),
                       .firsts = cmir_alloc(3 * (size_t)ROUNDS, sizeof *w->firsts),
                       .order = cmir_alloc(n, sizeof *w->order)};
    if (w->weight == NULL || w->resampled == NULL || w->curve == NULL || w->samples == NULL ||
        w->firsts == NULL || w->order == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the contrast of %zu slices", in->n_slices);
    w->lasts = w->firsts + ROUNDS;
    w->rises = w->lasts + ROUNDS;
    for (uint32_t c = 0; c < n; c++)
        w->weight[c] = c < in->n_positive ? 1.0 / in->n_positive : -1.0 / in->n_negative;
    return CMIR_OK;
}

/* Slices first .. first + n - 1 of the curve with these weights. */
static void
draw_curve(const cmir_contrast_input *in, const double *weight, uint32_t n_cases, size_t first,
           size_t n, double *curve)
{
    memset(curve, 0, n * sizeof *curve);
    for (uint32_t c = 0; c < n_cases; c++) {
        const float *row = in->similarity + c * in->n_slices + first;

        if (weight[c] > 0 || weight[c] < 0)
            for (size_t i = 0; i < n; i++)
                curve[i] += weight[c] * (double)row[i];
    }
}

static double
mean_of(const double *curve, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += curve[i];
    return sum / (double)n;
}

/* The stretch of the curve, less its mean, with the greatest sum; the first of equals. */
static struct run
find_run(const double *curve, size_t n)
{
    const double mean = mean_of(curve, n);
    struct run best = {0, 0, -INFINITY}, now = {0, 0, -INFINITY};

    for (size_t i = 0; i < n; i++) {
        now = now.sum > 0 ? (struct run){now.first, i, now.sum + curve[i] - mean}
                          : (struct run){i, i, curve[i] - mean};
        if (now.sum > best.sum + SAME_SUM)
            best = now;
    }
    return best;
}

/* Mean in the run less mean of the others. */
static double
rise_of(const double *curve, size_t n, const struct run *run)
{
    const size_t n_in = run->last - run->first + 1;
    const double in = mean_of(curve + run->first, n_in) * (double)n_in;

    return in / (double)n_in - (mean_of(curve, n) * (double)n - in) / (double)(n - n_in);
}

/* Cases drawn with replacement, positive and negative ones apart. */
static void
resample(struct work *w, uint64_t *state)
{
    const uint32_t n_positive = w->in->n_positive, n_negative = w->in->n_negative;

    for (uint32_t r = 0; r < ROUNDS; r++) {
        double *weight = w->resampled + (size_t)r * w->n_cases;

        for (uint32_t c = 0; c < w->n_cases; c++)
            if (c < n_positive)
                weight[cmir_random_below(state, n_positive)] += 1.0 / n_positive;
            else
                weight[n_positive + cmir_random_below(state, n_negative)] -= 1.0 / n_negative;
    }
}

/* Runs and rises of the resampled curves. */
static void
locate_resampled(struct work *w, const struct run *run, cmir_contrast_slice *slices)
{
    const size_t n = w->in->n_slices;

    for (uint32_t r = 0; r < ROUNDS; r++) {
        draw_curve(w->in, w->resampled + (size_t)r * w->n_cases, w->n_cases, 0, n, w->curve);
        const struct run found = find_run(w->curve, n);
        w->firsts[r] = (double)found.first;
        w->lasts[r] = (double)found.last;
        w->rises[r] = rise_of(w->curve, n, run);
        for (size_t i = found.first; i <= found.last; i++)
            slices[i].in_run += 1.0 / ROUNDS;
    }
}

/* Intervals of the curve, some slices at a time. */
static void
bound_slices(struct work *w, cmir_contrast_slice *slices)
{
    const size_t n = w->in->n_slices;

    for (size_t at = 0; at < n; at += SLICES_AT_ONCE) {
        const size_t n_now = n - at < SLICES_AT_ONCE ? n - at : SLICES_AT_ONCE;

        for (uint32_t r = 0; r < ROUNDS; r++) {
            draw_curve(w->in, w->resampled + (size_t)r * w->n_cases, w->n_cases, at, n_now,
                       w->curve);
            for (size_t i = 0; i < n_now; i++)
                w->samples[i * ROUNDS + r] = w->curve[i];
        }
        for (size_t i = 0; i < n_now; i++)
            cmir_interval(w->samples + i * ROUNDS, ROUNDS, &slices[at + i].low,
                          &slices[at + i].high);
    }
}

/* How often a run stands out as much where the labels are dealt anew. */
static double
exchange(struct work *w, const struct run *run, uint64_t *state)
{
    uint32_t n_as_high = 0;

    for (uint32_t c = 0; c < w->n_cases; c++)
        w->order[c] = c;
    for (uint32_t r = 0; r < ROUNDS; r++) {
        double *weight = w->resampled; /* needed no more */

        for (uint32_t c = w->n_cases - 1; c > 0; c--) { /* R. Durstenfeld, 1964 */
            const uint32_t other = cmir_random_below(state, c + 1), swapped = w->order[c];

            w->order[c] = w->order[other];
            w->order[other] = swapped;
        }
        for (uint32_t c = 0; c < w->n_cases; c++)
            weight[w->order[c]] = w->weight[c];
        draw_curve(w->in, weight, w->n_cases, 0, w->in->n_slices, w->curve);
        n_as_high += find_run(w->curve, w->in->n_slices).sum >= run->sum - SAME_SUM;
    }
    return (n_as_high + 1.0) / (ROUNDS + 1.0);
}

/* An interval of slice indices as numbers, widened to whole ones. */
static void
bound_end(double *samples, const uint32_t *slice, uint32_t *low, uint32_t *high)
{
    double a, b;

    cmir_interval(samples, ROUNDS, &a, &b);
    *low = slice[(size_t)floor(a)];
    *high = slice[(size_t)ceil(b)];
}

cmir_status
cmir_contrast_of(const cmir_contrast_input *in, cmir_contrast_slice *slices, cmir_contrast *out,
                 cmir_error *err)
{
    const size_t n = in->n_slices;
    uint64_t state = in->seed;
    struct work w;
    cmir_status st = make_work(in, &w, err);

    if (st == CMIR_OK) {
        draw_curve(in, w.weight, w.n_cases, 0, n, w.curve);
        for (size_t i = 0; i < n; i++)
            slices[i] = (cmir_contrast_slice){.slice = in->slice[i], .value = w.curve[i]};
        const struct run run = find_run(w.curve, n);
        out->first = in->slice[run.first];
        out->last = in->slice[run.last];
        out->rise = rise_of(w.curve, n, &run);
        resample(&w, &state);
        locate_resampled(&w, &run, slices);
        bound_slices(&w, slices);
        bound_end(w.firsts, in->slice, &out->first_low, &out->first_high);
        bound_end(w.lasts, in->slice, &out->last_low, &out->last_high);
        cmir_interval(w.rises, ROUNDS, &out->rise_low, &out->rise_high);
        out->p = exchange(&w, &run, &state);
    }
    free_work(&w);
    return st;
}
