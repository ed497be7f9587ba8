/* SPDX-License-Identifier: Apache-2.0 */
/* votes.c: the slice-vote scores of 3D-MIR (freq, max, sum) with exact neighbours.  Called by
 * rank.c.
 *
 * The one idea: for every query slice each thread keeps the 20 nearest slices of the candidates it
 * took, in one total order (similarity, candidate, slice); merging those lists gives the 20
 * nearest of all, whoever took what.  Only slices whose screening, with its bound (match.c), reaches
 * the 20th nearest so far are computed exactly. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "rank/match.h"
#include "rank/scores.h"
#include "store/codes.h"

enum { N_NEAREST = 20 };

struct neighbour {
    int32_t product; /* exact: similarity in fixed point */
    uint32_t candidate, row;
};

/* Nearest first. */
struct nearest {
    struct neighbour hit[N_NEAREST];
    uint32_t n;
};

struct vote_job {
    const cmir_prepared *p;
    const cmir_snapshot *snapshot;
    struct nearest *lists; /* [n_threads][m] */
    cmir_scratch *scratch; /* [n_threads] */
    size_t n_candidates;
    atomic_size_t next;
};

static bool
is_nearer(const struct neighbour *a, const struct neighbour *b)
{
    if (a->product != b->product)
        return a->product > b->product;
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

/* One group of the query, which is group `at` of `part`. */
static void
collect_group(const struct vote_job *job, size_t index, const cmir_packed *part, uint32_t at,
              uint32_t group, struct nearest *lists, cmir_scratch *s)
{
    const cmir_prepared *p = job->p;
    const cmir_rows *rows = &cmir_snapshot_get(job->snapshot, index)->rows;
    const cmir_codes codes = cmir_codes_of(rows);
    const uint32_t first = p->lane_row[group * CMIR_LANES];
    _Alignas(64) float least[CMIR_LANES], threshold[CMIR_LANES];
    int32_t reached[CMIR_LANES] = {0};

    for (uint32_t i = 0; i < CMIR_LANES && first + i < p->query->n_rows; i++)
        reached[i] = lists[first + i].n < N_NEAREST ? INT32_MIN
                                                    : lists[first + i].hit[N_NEAREST - 1].product;
    cmir_thresholds(p, rows, group, reached, s->of_mean + first, least, threshold);
    for (uint32_t i = 0; i < CMIR_LANES; i++)
        if (reached[i] == INT32_MIN) /* everything gets into a list that is not full */
            least[i] = threshold[i] = -INFINITY;
    const uint32_t n = p->kernels.select(part, &codes, &s->kept, at, least, threshold, s->selected);
    for (uint32_t k = 0; k < n; k++) {
        s->q[k] = first + s->selected[k] % CMIR_LANES;
        s->r[k] = s->selected[k] / CMIR_LANES;
    }
    p->kernels.dots_exact(p->query->rows, rows->exact, rows->padded_dim, s->q, s->r, n, s->dots);
    for (uint32_t k = 0; k < n; k++) {
        const struct neighbour hit = {s->dots[k], (uint32_t)index, s->r[k]};

        insert(&lists[s->q[k]], &hit);
    }
}

static void
collect_candidate(const struct vote_job *job, size_t index, struct nearest *lists, cmir_scratch *s)
{
    const cmir_prepared *p = job->p;
    const cmir_rows *rows = &cmir_snapshot_get(job->snapshot, index)->rows;
    const cmir_codes codes = cmir_codes_of(rows);

    cmir_products_with_mean(p, rows, s);
    for (uint32_t g = 0; g < p->whole.n_groups; g += s->groups_at_once) {
        const uint32_t left = p->whole.n_groups - g;
        const cmir_packed part =
            cmir_packed_part(p, g, left < s->groups_at_once ? left : s->groups_at_once);

        p->kernels.maxsim(&part, &codes, s->best, NULL, &s->kept);
        for (uint32_t k = 0; k < part.n_groups; k++)
            collect_group(job, index, &part, k, g + k, lists, s);
    }
}

static void
collect(void *ctx, uint32_t thread)
{
    struct vote_job *job = ctx;
    const size_t m = job->p->query->n_rows;

    for (;;) {
        const size_t index = atomic_fetch_add(&job->next, 1);

        if (index >= job->n_candidates)
            return;
        collect_candidate(job, index, job->lists + thread * m, &job->scratch[thread]);
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
            const double similarity = (double)hit->product / ((double)CMIR_UNIT * CMIR_UNIT);
            double *total = &out->score[c];

            if (!out->listed[c]) {
                out->listed[c] = 1;
                out->first[c] = score == CMIR_FREQ ? 0 : n_seen++;
                *total = score == CMIR_MAX ? -INFINITY : 0.0;
            }
            if (score == CMIR_MAX)
                *total = similarity > *total ? similarity : *total;
            else
                *total += score == CMIR_SUM ? similarity : 1.0;
        }
}

cmir_status
cmir_rank_votes(const cmir_prepared *p, const cmir_snapshot *snapshot, cmir_score score,
                uint32_t n_threads, cmir_scores *scores, cmir_error *err)
{
    const size_t m = p->query->n_rows;
    struct vote_job job = {
        .p = p, .snapshot = snapshot, .n_candidates = cmir_snapshot_count(snapshot)};
    cmir_status st;

    if (job.n_candidates > UINT32_MAX)
        return FAIL(err, CMIR_ELIMIT, "%zu volumes are too many to vote", job.n_candidates);
    if ((st = cmir_scratches_make(p, snapshot, n_threads, &job.scratch, err)) != CMIR_OK)
        return st;
    job.lists = cmir_alloc_zeroed(n_threads * m, sizeof *job.lists);
    if (job.lists == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory for the nearest slices of %zu query slices", m);
        goto done;
    }
    atomic_init(&job.next, 0);
    cmir_parallel(n_threads, collect, &job);
    for (uint32_t t = 1; t < n_threads; t++)
        for (size_t i = 0; i < m; i++)
            for (uint32_t k = 0; k < job.lists[t * m + i].n; k++)
                insert(&job.lists[i], &job.lists[t * m + i].hit[k]);
    count_votes(job.lists, (uint32_t)m, score, scores);
done:
    cmir_scratches_free(job.scratch, n_threads);
    free(job.lists);
    return st;
}
