/* SPDX-License-Identifier: Apache-2.0 */
/* votes.c: the slice-vote scores of 3D-MIR (freq, max, sum) with exact neighbours.  Called by
 * rank.c.
 *
 * The one idea: for every query slice each thread keeps the 20 nearest slices of the candidates it
 * took, in one total order (similarity, candidate, slice); merging those lists gives the 20
 * nearest of all, whoever took what. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "rank/rank_internal.h"

enum {
    N_NEAREST = 20,
    ROWS_AT_A_TIME = 64 /* candidate rows whose dot products are held at a time */
};

struct neighbour {
    double similarity;
    uint32_t candidate, row;
};

/* Nearest first. */
struct nearest {
    struct neighbour hit[N_NEAREST];
    uint32_t n;
};

struct vote_job {
    const cmir_query *query;
    const cmir_snapshot *snapshot;
    const struct cmir_kernels *kernels;
    struct nearest *lists; /* [n_threads][m] */
    double *dots;          /* [n_threads][m][ROWS_AT_A_TIME] */
    size_t n_candidates;
    atomic_size_t next;
};

static bool
is_nearer(const struct neighbour *a, const struct neighbour *b)
{
    if (a->similarity != b->similarity)
        return a->similarity > b->similarity;
    return a->candidate != b->candidate ? a->candidate < b->candidate : a->row < b->row;
}

static void
insert(struct nearest *list, const struct neighbour *hit)
{
    uint32_t i = list->n;

    if (i == N_NEAREST) {
        if (!is_nearer(hit, &list->hit[N_NEAREST - 1]))
            return;
        i--;
    } else {
        list->n++;
    }
    for (; i > 0 && is_nearer(hit, &list->hit[i - 1]); i--)
        list->hit[i] = list->hit[i - 1];
    list->hit[i] = *hit;
}

static void
collect_candidate(struct vote_job *job, size_t index, struct nearest *lists, double *dots)
{
    const cmir_query *q = job->query;
    const cmir_rows *rows = &cmir_snapshot_get(job->snapshot, index)->rows;

    for (uint32_t start = 0; start < rows->n_scored; start += ROWS_AT_A_TIME) {
        const uint32_t left = rows->n_scored - start;
        const uint32_t n = left < ROWS_AT_A_TIME ? left : ROWS_AT_A_TIME;

        job->kernels->dots_exact(q->rows, q->n_rows, rows->exact + (size_t)start * q->dim, n,
                                 q->dim, dots);
        for (uint32_t i = 0; i < q->n_rows; i++)
            for (uint32_t j = 0; j < n; j++) {
                const struct neighbour hit = {dots[(size_t)i * n + j], (uint32_t)index, start + j};

                insert(&lists[i], &hit);
            }
    }
}

static void
collect(void *ctx, uint32_t thread)
{
    struct vote_job *job = ctx;
    const size_t m = job->query->n_rows;

    for (;;) {
        const size_t index = atomic_fetch_add(&job->next, 1);

        if (index >= job->n_candidates)
            return;
        collect_candidate(job, index, job->lists + thread * m,
                          job->dots + thread * m * ROWS_AT_A_TIME);
    }
}

/* Reads the hits query slice by query slice, nearest first. */
static void
count_votes(const struct nearest *lists, uint32_t m, cmir_score score, cmir_scores *out)
{
    uint64_t n_seen = 0;

    for (uint32_t i = 0; i < m; i++)
        for (uint32_t k = 0; k < lists[i].n; k++) {
            const struct neighbour *hit = &lists[i].hit[k];
            const uint32_t c = hit->candidate;
            double *total = &out->score[c];

            if (!out->listed[c]) {
                out->listed[c] = 1;
                out->first[c] = score == CMIR_FREQ ? 0 : n_seen++;
                *total = score == CMIR_MAX ? -INFINITY : 0.0;
            }
            if (score == CMIR_MAX)
                *total = hit->similarity > *total ? hit->similarity : *total;
            else
                *total += score == CMIR_SUM ? hit->similarity : 1.0;
        }
}

cmir_status
cmir_rank_votes(const cmir_query *query, const cmir_snapshot *snapshot, cmir_score score,
                uint32_t n_threads, const struct cmir_kernels *kernels, cmir_scores *out,
                cmir_error *err)
{
    const size_t m = query->n_rows;
    cmir_status st = CMIR_OK;
    struct vote_job job = {.query = query,
                           .snapshot = snapshot,
                           .kernels = kernels,
                           .n_candidates = cmir_snapshot_count(snapshot)};

    if (job.n_candidates > UINT32_MAX)
        return FAIL(err, CMIR_ELIMIT, "%zu volumes are too many to vote", job.n_candidates);
    job.lists = cmir_alloc_zeroed(n_threads * m, sizeof *job.lists);
    job.dots = cmir_alloc(n_threads * m, ROWS_AT_A_TIME * sizeof *job.dots);
    if (job.lists == NULL || job.dots == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory for the nearest slices of %u query slices",
                  query->n_rows);
        goto done;
    }
    atomic_init(&job.next, 0);
    cmir_parallel(n_threads, collect, &job);
    for (uint32_t t = 1; t < n_threads; t++)
        for (size_t i = 0; i < m; i++)
            for (uint32_t k = 0; k < job.lists[t * m + i].n; k++)
                insert(&job.lists[i], &job.lists[t * m + i].hit[k]);
    count_votes(job.lists, query->n_rows, score, out);
done:
    free(job.lists);
    free(job.dots);
    return st;
}
