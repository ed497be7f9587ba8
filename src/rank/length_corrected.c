/* SPDX-License-Identifier: Apache-2.0 */
/* length_corrected.c: maxsim without what a volume owes to its number of slices.  Called by rank.c.
 *
 * The one idea: the largest of n similarities grows with n even where nothing is alike.  Of n draws
 * from a distribution with an exponential tail it is expected to grow as the harmonic number
 * H_n = 1 + 1/2 + ... + 1/n; how fast, the candidates of this search tell by least squares.  H_n is
 * made of additions and divisions, so that it is the same bits everywhere, which log n is not. */
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "rank/match.h"
#include "rank/scores.h"

enum { LEAST_CANDIDATES = 20 }; /* fewer tell no slope */

struct maxsim_job {
    const cmir_prepared *p;
    const cmir_snapshot *snapshot;
    cmir_scratch *scratch; /* one per thread */
};

static double
score_maxsim(void *ctx, uint32_t thread, size_t candidate)
{
    const struct maxsim_job *job = ctx;

    return cmir_match_exact(job->p, &cmir_snapshot_get(job->snapshot, candidate)->rows,
                            &job->scratch[thread]);
}

/* Fills in H_n of every candidate; false where all are of one length. */
static bool
lengths(const cmir_snapshot *snapshot, size_t count, double *harmonic)
{
    bool differ = false;

    for (size_t c = 0; c < count; c++) {
        const uint32_t n = cmir_snapshot_get(snapshot, c)->rows.n_scored;

        harmonic[c] = 0;
        for (uint32_t k = 1; k <= n; k++)
            harmonic[c] += 1.0 / k;
        differ = differ || harmonic[c] != harmonic[0];
    }
    return differ;
}

/* score - slope (x - mean x).  A slope below zero is no matter of chance and is not corrected. */
static void
correct(const double *x, size_t n, double *score)
{
    double mean_x = 0, mean = 0, both = 0, square = 0;

    for (size_t c = 0; c < n; c++) {
        mean_x += x[c];
        mean += score[c];
    }
    mean_x /= (double)n;
    mean /= (double)n;
    for (size_t c = 0; c < n; c++) {
        both += (x[c] - mean_x) * (score[c] - mean);
        square += (x[c] - mean_x) * (x[c] - mean_x);
    }
    for (size_t c = 0; c < n && both > 0; c++)
        score[c] -= both / square * (x[c] - mean_x);
}

cmir_status
cmir_rank_length_corrected(const cmir_prepared *p, const cmir_snapshot *snapshot,
                           uint32_t n_threads, cmir_scores *scores, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(snapshot);
    struct maxsim_job job = {.p = p, .snapshot = snapshot};
    cmir_status st = cmir_scratches_make(p, snapshot, n_threads, &job.scratch, err);

    if (st != CMIR_OK)
        return st;
    double *harmonic = cmir_alloc(n, sizeof *harmonic);
    if (harmonic == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory for the lengths of %zu volumes", n);
    } else {
        cmir_score_each(score_maxsim, &job, n, n_threads, scores->score);
        if (n >= LEAST_CANDIDATES && lengths(snapshot, n, harmonic))
            correct(harmonic, n, scores->score);
    }
    free(harmonic);
    cmir_scratches_free(job.scratch, n_threads);
    return st;
}
