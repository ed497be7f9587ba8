/* SPDX-License-Identifier: Apache-2.0 */
/* screen.c: the best candidates by maxsim, exactly, without scoring each exactly.  Called by rank.c.
 *
 * The one idea: screening codes gives the score of a candidate but for a proven bound (match.c), so
 * most candidates are known to be behind the best before anything exact is computed, and many before
 * all their products are.  Two passes:
 *
 * 1. Every candidate gets an upper and a lower bound of its score.  The query is taken in stages;
 *    after each, what is left of the query can add at most 1 per row, and at most what the
 *    candidate's mean and radius allow:
 *        <q, v> = <q, u> + <c, d> + <e, d> <= <q, u> + base_max + |e| radius.
 *    A candidate whose upper bound falls below the limit-th best lower bound is dropped.
 * 2. Those left are scored exactly, best upper bound first, until no upper bound reaches the
 *    limit-th best exact score.
 *
 * Threads change how many are dropped, never which are best: no candidate that belongs to the list
 * is ever below either bar. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "rank/match.h"
#include "rank/scores.h"
#include "store/codes.h"

/* The limit-th best value so far: what a candidate must reach. */
struct bar {
    pthread_mutex_t lock;
    double *heap; /* the best `limit` values, the least of them first */
    size_t n, limit;
    _Atomic double height; /* -INFINITY until there are `limit` values */
};

struct screening {
    const cmir_prepared *p;
    const cmir_snapshot *snapshot;
    const size_t *order;
    size_t n;
    cmir_scratch *scratch; /* one per thread */
    cmir_scores *scores;
    double *upper; /* [n] in the order of `order` */
    size_t *survivor; /* [n] positions in `order`, best upper bound first */
    size_t n_survivors;
    struct bar bar;
    double row_length; /* no row of unit norm is longer, in fixed point */
    double mean_slack; /* of cmir_mean_product(), and of base_max */
    atomic_size_t next;
};

static void
sift_down(double *heap, size_t n, size_t i)
{
    for (;;) {
        size_t least = i;

        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (heap[child] < heap[least])
                least = child;
        if (least == i)
            return;
        const double swap = heap[i];
        heap[i] = heap[least];
        heap[least] = swap;
        i = least;
    }
}

static void
raise_bar(struct bar *bar, double value)
{
    if (!(value > atomic_load_explicit(&bar->height, memory_order_relaxed)))
        return;
    pthread_mutex_lock(&bar->lock);
    if (bar->n < bar->limit) {
        bar->heap[bar->n++] = value;
        if (bar->n == bar->limit)
            for (size_t i = bar->n / 2; i-- > 0;)
                sift_down(bar->heap, bar->n, i);
    } else if (value > bar->heap[0]) {
        bar->heap[0] = value;
        sift_down(bar->heap, bar->n, 0);
    }
    if (bar->n == bar->limit && bar->heap[0] > atomic_load(&bar->height))
        atomic_store(&bar->height, bar->heap[0]);
    pthread_mutex_unlock(&bar->lock);
}

static double
sum_of_lanes(const cmir_prepared *p, uint32_t first, uint32_t n, const float *best)
{
    double sum = 0;

    for (uint32_t lane = 0; lane < n * CMIR_LANES; lane++)
        if (p->lane_row[first * CMIR_LANES + lane] != CMIR_NO_ROW)
            sum += (double)best[lane];
    return sum;
}

/* Upper bound of a candidate's score; -INFINITY where it is dropped.  *lower is set otherwise. */
static double
bound_score(struct screening *job, const cmir_rows *rows, cmir_scratch *s, double *lower)
{
    const cmir_prepared *p = job->p;
    const cmir_stage *whole = &p->stages[p->n_stages - 1];
    const cmir_codes codes = cmir_codes_of(rows);
    const double m = whole->n_rows, radius = (double)rows->radius, base = (double)rows->base_max;
    const size_t mean_size = (size_t)2 * rows->padded_dim;
    const double of_mean =
        m * cmir_mean_product(&p->kernels, p->means + (p->n_stages - 1) * mean_size, rows);
    const double slack = job->mean_slack * m;
    double sum = 0, upper = INFINITY;
    uint32_t first = 0;

    s->n_total += whole->n_rows;
    if (of_mean + whole->norm_sum * radius + m * base + slack <
        m * atomic_load_explicit(&job->bar.height, memory_order_relaxed))
        return -INFINITY;
    for (uint32_t k = 0; k < p->n_stages; k++) {
        const cmir_stage *stage = &p->stages[k];
        const cmir_packed part = cmir_packed_part(p, first, stage->n_groups - first);
        const double of_done =
            k + 1 == p->n_stages
                ? of_mean
                : stage->n_rows * cmir_mean_product(&p->kernels, p->means + k * mean_size, rows);
        const double n_left = m - stage->n_rows;
        const double left = fmin(n_left * job->row_length * job->row_length,
                                 of_mean - of_done + slack +
                                     (whole->norm_sum - stage->norm_sum) * radius + n_left * base);
        const double bound =
            slack + cmir_screening_bound(stage->norm_sum, stage->residual_sum, stage->n_rows, rows);

        p->kernels.maxsim(&part, &codes, s->best, NULL, NULL);
        sum += sum_of_lanes(p, first, part.n_groups, s->best);
        first = stage->n_groups;
        upper = (of_done + sum + bound + left) / m;
        *lower = (of_done + sum - bound) / m; /* of the score once nothing is left */
        s->n_screened += stage->n_rows - (k == 0 ? 0 : p->stages[k - 1].n_rows);
        if (upper < atomic_load_explicit(&job->bar.height, memory_order_relaxed))
            return -INFINITY;
    }
    return upper;
}

static void
screen_candidates(void *ctx, uint32_t thread)
{
    struct screening *job = ctx;
    double lower = -INFINITY;

    for (;;) {
        const size_t at = atomic_fetch_add(&job->next, 1);

        if (at >= job->n)
            return;
        const cmir_rows *rows = &cmir_snapshot_get(job->snapshot, job->order[at])->rows;

        job->upper[at] = bound_score(job, rows, &job->scratch[thread], &lower);
        if (job->upper[at] > -INFINITY)
            raise_bar(&job->bar, lower);
    }
}

static void
score_survivors(void *ctx, uint32_t thread)
{
    struct screening *job = ctx;

    for (;;) {
        const size_t at = atomic_fetch_add(&job->next, 1);

        if (at >= job->n_survivors || job->upper[job->survivor[at]] < atomic_load(&job->bar.height))
            return;
        const size_t candidate = job->order[job->survivor[at]];
        const double score = cmir_match_exact(
            job->p, &cmir_snapshot_get(job->snapshot, candidate)->rows, &job->scratch[thread]);

        job->scores->score[candidate] = score;
        job->scores->listed[candidate] = 1;
        job->scratch[thread].n_exact++;
        raise_bar(&job->bar, score);
    }
}

/* Positions whose upper bound reaches the bar, best first: cmir_select_best() orders them. */
static cmir_status
find_survivors(struct screening *job, cmir_error *err)
{
    const double height = atomic_load(&job->bar.height);
    cmir_ranked *ranked = NULL;
    cmir_scores uppers = {.score = job->upper};
    cmir_status st = CMIR_OK;

    uppers.listed = cmir_alloc_zeroed(job->n, 1);
    ranked = cmir_alloc(job->n, sizeof *ranked);
    if (uppers.listed == NULL || ranked == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory for the order of %zu volumes", job->n);
    } else {
        for (size_t i = 0; i < job->n; i++)
            uppers.listed[i] = !(job->upper[i] < height) && job->upper[i] > -INFINITY;
        job->n_survivors = cmir_select_best(&uppers, job->n, job->n, ranked);
        for (size_t i = 0; i < job->n_survivors; i++)
            job->survivor[i] = ranked[i].candidate;
    }
    free(uppers.listed);
    free(ranked);
    return st;
}

static cmir_status
run(struct screening *job, uint32_t n_threads, cmir_error *err)
{
    cmir_status st;

    atomic_store(&job->next, 0);
    cmir_parallel(n_threads, screen_candidates, job);
    if ((st = find_survivors(job, err)) != CMIR_OK)
        return st;
    /* Lower bounds made the bar; exact scores make it anew, from where it stands. */
    job->bar.n = 0;
    atomic_store(&job->next, 0);
    cmir_parallel(n_threads, score_survivors, job);
    return CMIR_OK;
}

static void
count_work(const cmir_scratch *scratch, uint32_t n_threads, size_t n, cmir_rank_work *work)
{
    uint64_t screened = 0, total = 0;

    *work = (cmir_rank_work){.n_reranked = n};
    for (uint32_t t = 0; scratch != NULL && t < n_threads; t++) {
        screened += scratch[t].n_screened;
        total += scratch[t].n_total;
        work->n_exact += scratch[t].n_exact;
    }
    work->screened = total == 0 ? 0 : (double)screened / (double)total;
}

cmir_status
cmir_screen(const cmir_prepared *p, const cmir_snapshot *snapshot, const size_t *order, size_t n,
            uint32_t limit, uint32_t n_threads, cmir_scores *scores, cmir_rank_work *work,
            cmir_error *err)
{
    const double rounding = 0.5 * sqrt(p->query->padded_dim) / CMIR_UNIT;
    struct screening job = {.p = p,
                            .snapshot = snapshot,
                            .order = order,
                            .n = n,
                            .scores = scores,
                            .row_length = 1.0 + rounding,
                            .mean_slack = 1.01 * rounding / CMIR_MEAN_LOW + CMIR_SCREENING_SLACK};
    cmir_status st = cmir_scratches_make(p, snapshot, n_threads, &job.scratch, err);

    job.bar.limit = limit < n ? limit : n;
    atomic_init(&job.bar.height, -INFINITY);
    if (st == CMIR_OK) {
        job.upper = cmir_alloc(n, sizeof *job.upper);
        job.survivor = cmir_alloc(n, sizeof *job.survivor);
        job.bar.heap = cmir_alloc(job.bar.limit, sizeof *job.bar.heap);
        if (job.upper == NULL || job.survivor == NULL || job.bar.heap == NULL)
            st = FAIL(err, CMIR_ENOMEM, "no memory to screen %zu volumes", n);
    }
    if (st == CMIR_OK) {
        pthread_mutex_init(&job.bar.lock, NULL);
        st = run(&job, n_threads, err);
        pthread_mutex_destroy(&job.bar.lock);
    }
    count_work(job.scratch, n_threads, n, work);
    cmir_scratches_free(job.scratch, n_threads);
    free(job.upper);
    free(job.survivor);
    free(job.bar.heap);
    return st;
}
