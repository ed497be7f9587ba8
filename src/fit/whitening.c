/* SPDX-License-Identifier: Apache-2.0 */
/* whitening.c: learns a whitening and applies it.  Called by engine.
 *
 * The one idea: what goes in is always a row in fixed point, as an archive of the base encoder holds
 * it; so a slice becomes the same bits whether it comes from a scan or from that archive. */
#include "fit/whitening.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "fit/moments.h"
#include "store/codes.h"

/* Added to every variance, as a part of their mean: what varies least is mostly noise, which
 * whitening would make as large as the rest. */
#define SHRINKAGE 0.01
/* Rounding to fixed point alone gives every direction a variance of 1 / (12 * 32767^2) = 8e-11. */
#define LEAST_VARIANCE 1e-9

enum { LANES = 8 }; /* sums side by side: docs/format.md */

static cmir_status
check_rank(const cmir_whitening *w, const double *values, cmir_error *err)
{
    uint32_t rank = 0;

    while (rank < w->info.base_dim && values[rank] > LEAST_VARIANCE)
        rank++;
    if (w->dim <= rank)
        return CMIR_OK;
    return FAIL(err, CMIR_EINVAL,
                "%u dimensions are wanted, but the %llu slices of %llu volumes vary in %u only",
                (unsigned)w->dim, (unsigned long long)w->info.n_slices,
                (unsigned long long)w->info.n_volumes, (unsigned)rank);
}

/* The weights, from eigenvectors ([base_dim][base_dim]) and eigenvalues. */
static void
weigh(cmir_whitening *w, const double *vectors, const double *values)
{
    const uint32_t n = w->info.base_dim;
    double all = 0, kept = 0;

    for (uint32_t k = 0; k < n; k++) {
        all += values[k];
        kept += k < w->dim ? values[k] : 0;
    }
    w->info.explained = kept / all;
    for (uint32_t k = 0; k < w->dim; k++) {
        const double length = sqrt(values[k] + SHRINKAGE * all / n);

        for (uint32_t d = 0; d < n; d++)
            w->weights[(size_t)k * n + d] = (float)(vectors[(size_t)k * n + d] / length);
    }
}

cmir_status
cmir_whitening_learn(cmir_whitening *w, const cmir_snapshot *snapshot, uint32_t n_threads,
                     cmir_progress_fn progress, void *progress_ctx, cmir_error *err)
{
    const uint32_t n = w->info.base_dim;
    double *mean, *matrix, *values;
    cmir_status st;

    w->info.n_volumes = cmir_snapshot_count(snapshot);
    if (w->info.n_volumes < 2)
        return FAIL(err, CMIR_EINVAL, "a whitening is learnt from two volumes or more; %s %llu",
                    *w->info.where != '\0' ? "the filter passes" : "the archive holds",
                    (unsigned long long)w->info.n_volumes);
    mean = cmir_alloc(n, sizeof *mean);
    matrix = cmir_alloc((size_t)n * n, sizeof *matrix);
    values = cmir_alloc(n, sizeof *values);
    if (mean == NULL || matrix == NULL || values == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory to whiten %u dimensions", (unsigned)n);
    else
        st = cmir_covariance(snapshot, n, n_threads, progress, progress_ctx, mean, matrix,
                             &w->info.n_slices, err);
    if (st == CMIR_OK && (st = cmir_eigenvectors(matrix, n, values, err)) == CMIR_OK &&
        (st = check_rank(w, values, err)) == CMIR_OK) {
        for (uint32_t d = 0; d < n; d++)
            w->mean[d] = (float)mean[d];
        weigh(w, matrix, values);
    }
    free(mean);
    free(matrix);
    free(values);
    return st;
}

static double
dot(const float *weights, const double *x, uint32_t n)
{
    double part[LANES] = {0}, sum = 0;
    uint32_t d = 0;

    for (; d + LANES <= n; d += LANES)
        for (uint32_t i = 0; i < LANES; i++)
            part[i] += (double)weights[d + i] * x[d + i];
    for (; d < n; d++)
        part[0] += (double)weights[d] * x[d];
    for (uint32_t i = 0; i < LANES; i++)
        sum += part[i];
    return sum;
}

void
cmir_whitening_apply(const cmir_whitening *w, const int16_t *row, float *out)
{
    const uint32_t n = w->info.base_dim;
    double x[CMIR_MAX_DIM], y[CMIR_MAX_DIM], square = 0;

    for (uint32_t d = 0; d < n; d++)
        x[d] = (double)row[d] / CMIR_UNIT - (double)w->mean[d];
    for (uint32_t k = 0; k < w->dim; k++) {
        y[k] = dot(w->weights + (size_t)k * n, x, n);
        square += y[k] * y[k];
    }
    for (uint32_t k = 0; k < w->dim; k++)
        out[k] = (float)(square > 0 ? y[k] / sqrt(square) : 1 / sqrt(w->dim));
}
