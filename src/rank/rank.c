/* SPDX-License-Identifier: Apache-2.0 */
/* rank.c: from a query and a snapshot to the best candidates: which stages run.  Called by engine.
 *
 * maxsim: a first look at every volume where there are many (coarse.c), then screening with proven
 * bounds and exact scores of what is left (screen.c).  The other scores look at everything. */
#include "rank/rank.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "rank/scores.h"

/* Kept by a first look: docs/performance.md shows recall against them. */
#define RERANK_LEAST 128u
#define RERANK_PART 128u /* one of so many volumes of the archive */
#define RERANK_HITS 8u /* so many for each hit wanted */

static size_t
n_to_rerank(const cmir_rank_options *o, size_t n)
{
    const size_t of_hits = RERANK_HITS * (size_t)o->limit;
    const size_t of_archive = n / RERANK_PART > RERANK_LEAST ? n / RERANK_PART : RERANK_LEAST;
    const size_t automatic = of_hits > of_archive ? of_hits : of_archive;
    const size_t wanted = o->n_rerank > 0 ? o->n_rerank : automatic;
    const size_t least = o->limit > wanted ? o->limit : wanted; /* a full list, always */

    return o->exhaustive || least > n ? n : least;
}

bool
cmir_rank_looks_first(const cmir_rank_options *o, size_t n)
{
    return o->score == CMIR_MAXSIM && n_to_rerank(o, n) < n;
}

/* The best n_keep of a first look. */
static cmir_status
look_first(const cmir_query *query, const cmir_snapshot *snapshot, const cmir_rank_options *o,
           size_t n_keep, uint32_t n_threads, cmir_ranked *best, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(snapshot);
    cmir_scores scores;
    cmir_status st = cmir_scores_make(n, false, false, &scores, err);

    if (st != CMIR_OK)
        return st;
    if (o->looked == NULL)
        st = cmir_coarse(&query, 1, snapshot, o->cpu_flags, n_threads, scores.score, err);
    else
        for (size_t c = 0; c < n; c++)
            scores.score[c] = o->looked[cmir_snapshot_number(snapshot, c)];
    if (st == CMIR_OK)
        (void)cmir_select_best(&scores, n, n_keep, best);
    cmir_scores_free(&scores);
    return st;
}

/* What the screening sees first: where everything is ranked, a first look still finds good
 * candidates to begin with; they set the bar that the others must reach. */
static cmir_status
make_order(const cmir_query *query, const cmir_snapshot *snapshot, const cmir_rank_options *o,
           size_t n_keep, uint32_t n_threads, size_t *order, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(snapshot);
    const size_t n_look = n_keep < n ? n_keep : o->limit < n / 16 ? 2 * (size_t)o->limit : 0;
    cmir_ranked *best = cmir_alloc(n_look, sizeof *best);
    uint8_t *taken = cmir_alloc_zeroed(n, 1);
    size_t at = 0;
    cmir_status st = CMIR_OK;

    if (best == NULL || taken == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory for the order of %zu volumes", n);
    if (st == CMIR_OK && n_look > 0)
        st = look_first(query, snapshot, o, n_look, n_threads, best, err);
    for (size_t i = 0; st == CMIR_OK && i < n_look; i++) {
        order[at++] = best[i].candidate;
        taken[best[i].candidate] = 1;
    }
    for (size_t c = 0; st == CMIR_OK && at < n_keep; c++)
        if (!taken[c])
            order[at++] = c;
    free(best);
    free(taken);
    return st;
}

static cmir_status
rank_maxsim(const cmir_prepared *p, const cmir_snapshot *snapshot, const cmir_rank_options *o,
            uint32_t n_threads, cmir_scores *scores, cmir_rank_work *work, cmir_error *err)
{
    const size_t n_keep = n_to_rerank(o, cmir_snapshot_count(snapshot));
    size_t *order = cmir_alloc(n_keep, sizeof *order);
    cmir_status st;

    if (order == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the order of %zu volumes", n_keep);
    if ((st = make_order(p->query, snapshot, o, n_keep, n_threads, order, err)) == CMIR_OK)
        st = cmir_screen(p, snapshot, order, n_keep, o->limit, n_threads, scores, work, err);
    free(order);
    return st;
}

static cmir_status
check_shapes(const cmir_query *q, const cmir_snapshot *snapshot, cmir_error *err)
{
    for (size_t c = 0; c < cmir_snapshot_count(snapshot); c++) {
        const cmir_candidate *candidate = cmir_snapshot_get(snapshot, c);

        if (candidate->rows.padded_dim != q->padded_dim)
            return FAIL(err, CMIR_EMISMATCH,
                        "volume %s has embeddings of %u dimensions, the query of %u",
                        candidate->volume_id, candidate->rows.padded_dim, q->padded_dim);
    }
    return CMIR_OK;
}

static bool
is_vote(cmir_score score)
{
    return score == CMIR_FREQ || score == CMIR_MAX || score == CMIR_SUM;
}

static cmir_status
score_candidates(const cmir_prepared *p, const cmir_snapshot *snapshot, const cmir_rank_options *o,
                 uint32_t n_threads, cmir_scores *scores, cmir_rank_work *work, cmir_error *err)
{
    switch (o->score) {
    case CMIR_MAXSIM: return rank_maxsim(p, snapshot, o, n_threads, scores, work, err);
    case CMIR_SYMMETRIC: return cmir_rank_symmetric(p, snapshot, n_threads, scores, err);
    case CMIR_FREQ:
    case CMIR_MAX:
    case CMIR_SUM: return cmir_rank_votes(p, snapshot, o->score, n_threads, scores, err);
    case CMIR_MEAN:
    case CMIR_MEDIAN:
    case CMIR_MAX_POOL:
    case CMIR_STD: return cmir_rank_pooled(p, snapshot, o->score, n_threads, scores, err);
    case CMIR_LENGTH_CORRECTED:
        return cmir_rank_length_corrected(p, snapshot, n_threads, scores, err);
    case CMIR_ORDERED:
        return cmir_rank_ordered(p, snapshot, o->spacing_ratio, n_threads, scores, err);
    case CMIR_WEIGHTED: return cmir_rank_weighted(p, snapshot, n_threads, scores, err);
    default: return FAIL(err, CMIR_EINVAL, "score: %d is none", (int)o->score);
    }
}

cmir_status
cmir_rank(const cmir_query *query, const cmir_snapshot *snapshot, const cmir_rank_options *o,
          cmir_ranked *out, size_t *n_out, cmir_rank_work *work, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(snapshot);
    const bool votes = is_vote(o->score);
    uint32_t n_threads = o->n_threads == 0 ? cmir_cpu_count() : o->n_threads;
    cmir_prepared prepared;
    cmir_scores scores = {0};
    cmir_status st;

    *n_out = 0;
    *work = (cmir_rank_work){.n_reranked = n};
    if ((st = check_shapes(query, snapshot, err)) != CMIR_OK || n == 0 || o->limit == 0)
        return st;
    n_threads = n_threads > CMIR_MAX_THREADS ? CMIR_MAX_THREADS : n_threads;
    n_threads = n_threads > n ? (uint32_t)n : n_threads;
    if ((st = cmir_prepare(query, cmir_snapshot_center(snapshot), o->cpu_flags, &prepared, err)) !=
        CMIR_OK)
        return st;
    st = cmir_scores_make(n, votes, votes || o->score == CMIR_MAXSIM, &scores, err);
    if (st == CMIR_OK)
        st = score_candidates(&prepared, snapshot, o, n_threads, &scores, work, err);
    if (st == CMIR_OK)
        *n_out = cmir_select_best(&scores, n, o->limit, out);
    cmir_scores_free(&scores);
    cmir_prepared_free(&prepared);
    return st;
}
