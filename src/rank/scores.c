/* SPDX-License-Identifier: Apache-2.0 */
/* scores.c: the best candidates by score.  Called by the files of rank.
 *
 * The one idea: threads write scores to the candidates' own places, and one thread makes the order
 * afterwards, so the result does not depend on how many threads ran. */
#include "rank/scores.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

cmir_status
cmir_scores_make(size_t n, bool with_first, bool with_listed, cmir_scores *out, cmir_error *err)
{
    *out = (cmir_scores){.score = cmir_alloc_zeroed(n, sizeof *out->score)};
    if (with_first)
        out->first = cmir_alloc_zeroed(n, sizeof *out->first);
    if (with_listed)
        out->listed = cmir_alloc_zeroed(n, sizeof *out->listed);
    if (out->score != NULL && (out->first != NULL || !with_first) &&
        (out->listed != NULL || !with_listed))
        return CMIR_OK;
    cmir_scores_free(out);
    return FAIL(err, CMIR_ENOMEM, "no memory for the scores of %zu volumes", n);
}

void
cmir_scores_free(cmir_scores *scores)
{
    free(scores->score);
    free(scores->first);
    free(scores->listed);
    *scores = (cmir_scores){0};
}

/* Whether candidate a is listed before candidate b. */
static bool
comes_before(const cmir_scores *s, size_t a, size_t b)
{
    if (s->score[a] != s->score[b])
        return s->score[a] > s->score[b];
    if (s->first != NULL && s->first[a] != s->first[b])
        return s->first[a] < s->first[b];
    return a < b;
}

/* Restores the heap below `i`; the root is the last of those kept. */
static void
sift_down(const cmir_scores *s, cmir_ranked *heap, size_t n, size_t i)
{
    for (;;) {
        size_t last = i;

        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (comes_before(s, heap[last].candidate, heap[child].candidate))
                last = child;
        if (last == i)
            return;
        const cmir_ranked swap = heap[i];
        heap[i] = heap[last];
        heap[last] = swap;
        i = last;
    }
}

size_t
cmir_select_best(const cmir_scores *s, size_t n_candidates, size_t limit, cmir_ranked *out)
{
    size_t n = 0;

    for (size_t c = 0; c < n_candidates && limit > 0; c++) {
        if (s->listed != NULL && !s->listed[c])
            continue;
        if (n < limit) {
            out[n++] = (cmir_ranked){c, s->score[c]};
            for (size_t i = n == limit ? n / 2 : 0; i-- > 0;)
                sift_down(s, out, n, i);
        } else if (comes_before(s, c, out[0].candidate)) {
            out[0] = (cmir_ranked){c, s->score[c]};
            sift_down(s, out, n, 0);
        }
    }
    for (size_t i = n / 2; i-- > 0;)
        sift_down(s, out, n, i);
    for (size_t end = n; end > 1; end--) { /* heap sort: the last goes to the end */
        const cmir_ranked swap = out[0];
        out[0] = out[end - 1];
        out[end - 1] = swap;
        sift_down(s, out, end - 1, 0);
    }
    return n;
}

struct each {
    cmir_score_fn fn;
    void *ctx;
    double *score;
    size_t n;
    atomic_size_t next;
};

static void
score_some(void *ctx, uint32_t thread)
{
    struct each *job = ctx;

    for (;;) {
        const size_t c = atomic_fetch_add(&job->next, 1);

        if (c >= job->n)
            return;
        job->score[c] = job->fn(job->ctx, thread, c);
    }
}

void
cmir_score_each(cmir_score_fn fn, void *ctx, size_t n, uint32_t n_threads, double *score)
{
    struct each job = {.fn = fn, .ctx = ctx, .score = score, .n = n};

    atomic_init(&job.next, 0);
    cmir_parallel(n_threads, score_some, &job);
}

void
cmir_scratches_free(cmir_scratch *scratches, uint32_t n_threads)
{
    for (uint32_t t = 0; scratches != NULL && t < n_threads; t++)
        cmir_scratch_free(&scratches[t]);
    free(scratches);
}

cmir_status
cmir_scratches_make(const cmir_prepared *p, const cmir_snapshot *snapshot, uint32_t n_threads,
                    cmir_scratch **out, cmir_error *err)
{
    cmir_scratch *s = cmir_alloc_zeroed(n_threads, sizeof *s);
    uint32_t n_rows_max = 1;
    cmir_status st = CMIR_OK;

    *out = NULL;
    if (s == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %u threads", n_threads);
    for (size_t c = 0; c < cmir_snapshot_count(snapshot); c++) {
        const uint32_t n = cmir_snapshot_get(snapshot, c)->rows.n_scored;

        n_rows_max = n > n_rows_max ? n : n_rows_max;
    }
    for (uint32_t t = 0; t < n_threads && st == CMIR_OK; t++)
        st = cmir_scratch_make(p, n_rows_max, &s[t], err);
    if (st != CMIR_OK) {
        cmir_scratches_free(s, n_threads);
        return st;
    }
    *out = s;
    return CMIR_OK;
}
