/* SPDX-License-Identifier: Apache-2.0 */
/* test_rank.c: ranking, over candidates that the test holds itself.  `test_rank CASE` ranks a case
 * file and prints what it found: that is how oracle/test_rank.py compares with numpy. */
#include "rank_cases.h"

#include "base/cpu.h"

/* ----- Brute force, in integers over the rows as they are stored. ----- */

struct truth {
    int32_t **dots;   /* [n][m * n_scored] */
    double *score[6]; /* [n] by cmir_score */
    size_t *order[6]; /* listed candidates, best first */
    size_t n_listed[6];
    const cmir_snapshot *s;
    uint32_t m;
};

static int32_t *
all_dots(const cmir_query *q, const cmir_rows *rows)
{
    int32_t *dots = must_alloc((size_t)q->n_rows * rows->n_scored, sizeof *dots);

    for (uint32_t i = 0; i < q->n_rows; i++)
        for (uint32_t j = 0; j < rows->n_scored; j++) {
            const int16_t *a = q->rows + (size_t)i * q->padded_dim;
            const int16_t *b = rows->exact + (size_t)j * q->padded_dim;
            int64_t sum = 0;

            for (uint32_t d = 0; d < q->padded_dim; d++)
                sum += (int64_t)a[d] * b[d];
            dots[(size_t)i * rows->n_scored + j] = (int32_t)sum;
        }
    return dots;
}

static void
truth_of_means(const cmir_query *q, const cmir_rows *rows, struct truth *t, size_t c)
{
    const int32_t *dots = t->dots[c];
    const uint32_t n = rows->n_scored;
    int64_t forth = 0, back = 0;
    double dot = 0, query_square = 0, square = 0;

    for (uint32_t i = 0; i < q->n_rows; i++) {
        int32_t best = INT32_MIN;

        for (uint32_t j = 0; j < n; j++)
            best = dots[(size_t)i * n + j] > best ? dots[(size_t)i * n + j] : best;
        forth += best;
    }
    for (uint32_t j = 0; j < n; j++) {
        int32_t best = INT32_MIN;

        for (uint32_t i = 0; i < q->n_rows; i++)
            best = dots[(size_t)i * n + j] > best ? dots[(size_t)i * n + j] : best;
        back += best;
    }
    for (uint32_t d = 0; d < q->padded_dim; d++) {
        int64_t a = 0, b = 0;

        for (uint32_t i = 0; i < q->n_rows; i++)
            a += q->rows[(size_t)i * q->padded_dim + d];
        for (uint32_t j = 0; j < n; j++)
            b += rows->exact[(size_t)j * q->padded_dim + d];
        dot += (double)a * (double)b;
        query_square += (double)a * (double)a;
        square += (double)b * (double)b;
    }
    t->score[CMIR_MAXSIM][c] = (double)forth / (q->n_rows * UNIT * UNIT);
    t->score[CMIR_SYMMETRIC][c] =
        0.5 * ((double)forth / q->n_rows + (double)back / n) / (UNIT * UNIT);
    t->score[CMIR_MEAN][c] =
        query_square > 0 && square > 0 ? dot / (sqrt(query_square) * sqrt(square)) : 0;
}

struct near {
    int32_t dot;
    uint32_t candidate, row;
};

static int
by_nearness(const void *a, const void *b)
{
    const struct near *x = a, *y = b;

    if (x->dot != y->dot)
        return x->dot > y->dot ? -1 : 1;
    if (x->candidate != y->candidate)
        return x->candidate < y->candidate ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Sorts by score; equal ones as they come. */
static void
sort_listed(struct truth *t, int score)
{
    size_t *order = t->order[score];

    for (size_t i = 1; i < t->n_listed[score]; i++)
        for (size_t k = i; k > 0 && t->score[score][order[k]] > t->score[score][order[k - 1]];
             k--) {
            const size_t swap = order[k];

            order[k] = order[k - 1];
            order[k - 1] = swap;
        }
}

/* Every query row fetches its 20 nearest rows of all. */
static void
truth_of_votes(const cmir_query *q, struct truth *t)
{
    const size_t n = t->s->n;
    size_t n_all = 0, n_seen = 0, *seen = t->order[CMIR_MAX];
    bool *listed = must_alloc(n, sizeof *listed);

    for (size_t c = 0; c < n; c++)
        n_all += t->s->candidate[c].rows.n_scored;
    struct near *all = must_alloc(n_all, sizeof *all);
    for (uint32_t i = 0; i < q->n_rows; i++) {
        size_t at = 0;

        for (uint32_t c = 0; c < n; c++) {
            const uint32_t n_rows = t->s->candidate[c].rows.n_scored;

            for (uint32_t j = 0; j < n_rows; j++)
                all[at++] = (struct near){t->dots[c][(size_t)i * n_rows + j], c, j};
        }
        qsort(all, n_all, sizeof *all, by_nearness);
        for (size_t k = 0; k < n_all && k < 20; k++) {
            const uint32_t c = all[k].candidate;
            const double similarity = all[k].dot / (UNIT * UNIT);

            if (!listed[c]) {
                seen[n_seen++] = c;
                t->score[CMIR_MAX][c] = similarity;
            }
            listed[c] = true;
            t->score[CMIR_FREQ][c] += 1;
            t->score[CMIR_MAX][c] = fmax(t->score[CMIR_MAX][c], similarity);
            t->score[CMIR_SUM][c] += similarity;
        }
    }
    memcpy(t->order[CMIR_SUM], seen, n_seen * sizeof *seen); /* ties: first seen first */
    t->n_listed[CMIR_FREQ] = t->n_listed[CMIR_MAX] = t->n_listed[CMIR_SUM] = n_seen;
    for (size_t c = 0, at = 0; c < n; c++) /* ties: by id */
        if (listed[c])
            t->order[CMIR_FREQ][at++] = c;
    free(all);
    free(listed);
}

static struct truth
make_truth(const cmir_query *q, const cmir_snapshot *s)
{
    struct truth t = {.dots = must_alloc(s->n, sizeof *t.dots), .s = s, .m = q->n_rows};

    for (int score = 0; score < 6; score++) {
        t.score[score] = must_alloc(s->n, sizeof(double));
        t.order[score] = must_alloc(s->n, sizeof(size_t));
        t.n_listed[score] = s->n;
    }
    for (size_t c = 0; c < s->n; c++) {
        t.dots[c] = all_dots(q, &s->candidate[c].rows);
        truth_of_means(q, &s->candidate[c].rows, &t, c);
        t.order[CMIR_MAXSIM][c] = t.order[CMIR_SYMMETRIC][c] = t.order[CMIR_MEAN][c] = c;
    }
    truth_of_votes(q, &t);
    for (int score = 0; score < 6; score++)
        sort_listed(&t, score);
    return t;
}

static void
free_truth(struct truth *t)
{
    for (int score = 0; score < 6; score++) {
        free(t->score[score]);
        free(t->order[score]);
    }
    for (size_t c = 0; c < t->s->n; c++)
        free(t->dots[c]);
    free(t->dots);
}

static cmir_rank_work
rank(const cmir_query *q, const cmir_snapshot *s, cmir_rank_options o, cmir_ranked *out, size_t *n)
{
    cmir_error err = {0};
    cmir_rank_work work;

    if (cmir_rank(q, s, &o, out, n, &work, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
    return work;
}

/* Order and scores, all bits of them; of the means' cosine all but the last few. */
static void
check_ranked(const struct truth *t, const cmir_rank_options *o, const cmir_ranked *out, size_t n)
{
    const double *score = t->score[o->score];
    const size_t *order = t->order[o->score];
    const size_t want = o->limit < t->n_listed[o->score] ? o->limit : t->n_listed[o->score];

    assert_int_equal(n, want);
    for (size_t i = 0; i < n; i++) {
        const bool same = o->score == CMIR_MEAN
                              ? fabs(out[i].score - score[order[i]]) < 1e-13
                              : out[i].candidate == order[i] && out[i].score == score[order[i]];
        if (!same || fabs(out[i].score - score[out[i].candidate]) > 1e-13)
            fail_msg("score %d, limit %u, %u threads, cpu %u, place %zu of %zu: %zu %.17g, not "
                     "%zu %.17g (%.17g)",
                     (int)o->score, o->limit, o->n_threads, o->cpu_flags, i, n, out[i].candidate,
                     out[i].score, order[i], score[order[i]], score[out[i].candidate]);
        assert_true(
            i == 0 || out[i - 1].score > out[i].score ||
            (out[i - 1].score == out[i].score && (o->score == CMIR_MAX || o->score == CMIR_SUM ||
                                                  out[i - 1].candidate < out[i].candidate)));
    }
}

/* Every match of every candidate: the row of the largest product, the lowest of equals. */
static void
check_matches(const cmir_query *q, const struct truth *t, unsigned cpu_flags)
{
    const cmir_snapshot *s = t->s;
    const cmir_rows **rows = must_alloc(s->n, sizeof *rows);
    cmir_match *matches = must_alloc(s->n * q->n_rows, sizeof *matches), *match = matches;
    cmir_error err = {0};

    for (size_t c = 0; c < s->n; c++)
        rows[c] = &s->candidate[c].rows;
    if (cmir_match_rows(q, s->center, rows, s->n, cpu_flags, matches, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
    for (size_t c = 0; c < s->n; c++)
        for (uint32_t i = 0; i < q->n_rows; i++, match++) {
            const uint32_t n = rows[c]->n_scored;
            const int32_t *dots = t->dots[c] + (size_t)i * n;
            uint32_t best = 0;

            for (uint32_t j = 1; j < n; j++)
                best = dots[j] > dots[best] ? j : best;
            assert_int_equal(match->query_slice, q->slice[i]);
            if (match->match_slice != rows[c]->slice[best])
                fail_msg("candidate %zu, row %u, cpu %u: slice %u, not %u", c, i, cpu_flags,
                         match->match_slice, rows[c]->slice[best]);
            assert_true(fabs((double)match->similarity - dots[best] / (UNIT * UNIT)) <= 6e-8);
        }
    free(matches);
    free(rows);
}

/* ----- By hand. ----- */

/* Rows along one axis each: `axes` names the axis of every row, such as "xxy"; X is -x, and a '.'
 * before a row marks it as air. */
static void
add_axes(cmir_snapshot *s, const char *id, const char *axes)
{
    float rows[64 * 3] = {0};
    uint8_t marks[64] = {0};
    uint32_t n = 0;

    for (; *axes != '\0'; axes++, n++) {
        if (*axes == '.') {
            marks[n] = CMIR_SLICE_AIR;
            axes++;
        }
        rows[n * 3 + (*axes == 'X' ? 0 : (uint32_t)(*axes - 'x'))] = *axes == 'X' ? -1.0f : 1.0f;
    }
    add_volume(s, id, rows, marks, n);
}

static cmir_rank_options
options(cmir_score score, uint32_t limit, uint32_t n_threads)
{
    return (cmir_rank_options){.score = score,
                               .limit = limit,
                               .n_threads = n_threads,
                               .cpu_flags = n_threads % 2 == 0 ? cmir_cpu_flags() : 0};
}

static void
test_votes_by_hand(void **state)
{
    cmir_snapshot s = make_snapshot(4, 3);
    const float rows[6] = {0, 1, 0, 1, 0, 0}; /* y, then x */
    struct query q = make_query(rows, 2, 3);
    cmir_ranked out[8];
    size_t n;

    (void)state;
    add_axes(&s, "a", "xxxxxxxxxxxxxxx");       /* 15 x: all of them among x's 20 nearest */
    add_axes(&s, "b", "xxxxxxxxxx");            /* 10 x: the first 5 */
    add_axes(&s, "c", "zyyyyyyyyyyyyyyyyyyyy"); /* 20 y: all */
    add_axes(&s, "d", "yzzz");                  /* y comes too late */
    for (uint32_t threads = 1; threads < 4; threads++) {
        rank(&q.query, &s, options(CMIR_FREQ, 8, threads), out, &n);
        assert_int_equal(n, 3);
        assert_int_equal(out[0].candidate, 2);
        assert_true(out[0].score == 20.0);
        assert_int_equal(out[1].candidate, 0);
        assert_true(out[1].score == 15.0);
        assert_int_equal(out[2].candidate, 1);
        assert_true(out[2].score == 5.0);
        /* All hits are 1.0: c was seen first, since y is the first query slice. */
        rank(&q.query, &s, options(CMIR_MAX, 8, threads), out, &n);
        assert_int_equal(n, 3);
        assert_int_equal(out[0].candidate, 2);
        assert_int_equal(out[1].candidate, 0);
        assert_int_equal(out[2].candidate, 1);
        assert_true(out[2].score == 1.0);
        rank(&q.query, &s, options(CMIR_SUM, 2, threads), out, &n);
        assert_int_equal(n, 2);
        assert_true(out[0].candidate == 2 && out[0].score == 20.0);
    }
    free_snapshot(&s);
    free_query(&q);
}

static void
test_equal_scores_by_id(void **state)
{
    cmir_snapshot s = make_snapshot(5, 3);
    static const float x[3] = {1, 0, 0};
    struct query q = make_query(x, 1, 3);
    cmir_ranked out[5];
    size_t n;

    (void)state;
    add_axes(&s, "a", "yz");
    add_axes(&s, "b", "xz");
    add_axes(&s, "c", "zx");
    add_axes(&s, "d", "zz");
    add_axes(&s, "e", "xx");
    static const size_t want[5] = {1, 2, 4, 0, 3};
    for (uint32_t limit = 0; limit <= 5; limit++)
        for (uint32_t threads = 0; threads < 7; threads++) {
            rank(&q.query, &s, options(CMIR_MAXSIM, limit, threads), out, &n);
            assert_int_equal(n, limit);
            for (uint32_t i = 0; i < limit; i++) {
                assert_int_equal(out[i].candidate, want[i]);
                assert_true(out[i].score == (i < 3 ? 1.0 : 0.0));
            }
        }
    free_snapshot(&s);
    free_query(&q);
}

/* An air row that equals the query must not be found. */
static void
test_air_rows(void **state)
{
    cmir_snapshot s = make_snapshot(1, 3);
    static const float x[3] = {1, 0, 0};
    struct query q = make_query(x, 1, 3);
    cmir_ranked out[1];
    size_t n;

    (void)state;
    q.slice[0] = 7;
    add_axes(&s, "a", ".xyX");
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        const cmir_rows *rows = &s.candidate[0].rows;
        cmir_match match;

        assert_int_equal(cmir_match_rows(&q.query, s.center, &rows, 1,
                                         cpu == 0 ? 0 : cmir_cpu_flags(), &match, NULL),
                         CMIR_OK);
        assert_int_equal(match.query_slice, 7);
        assert_int_equal(match.match_slice, 1);
        assert_true(match.similarity == 0.0f);
    }
    for (int score = CMIR_MAXSIM; score <= CMIR_MEAN; score++) {
        rank(&q.query, &s, options((cmir_score)score, 1, 1), out, &n);
        assert_int_equal(n, 1);
        assert_true(score == CMIR_FREQ ? out[0].score == 2.0 : out[0].score <= 0.0);
    }
    free_snapshot(&s);
    free_query(&q);
}

static void
test_refusals(void **state)
{
    cmir_snapshot s = make_snapshot(1, 3);
    static const float two[2] = {1, 0};
    struct query q = make_query(two, 1, 2);
    cmir_query wide = q.query, none = q.query, odd = q.query, many = q.query;
    cmir_rank_options o = options(CMIR_MAXSIM, 1, 1);
    cmir_rank_work work;
    cmir_error err = {0};
    cmir_ranked out[1];
    cmir_match match;
    size_t n = 9;

    (void)state;
    assert_int_equal(cmir_rank(&q.query, &s, &o, out, &n, &work, &err), CMIR_OK);
    assert_int_equal(n, 0); /* nothing to search in */
    assert_int_equal(work.n_reranked, 0);
    add_axes(&s, "the volume", "xyz");
    const cmir_rows *rows = &s.candidate[0].rows;
    wide.padded_dim = 128;
    none.n_rows = 0;
    many.n_rows = CMIR_MAX_SLICES + 1;
    assert_int_equal(cmir_rank(&wide, &s, &o, out, &n, &work, &err), CMIR_EMISMATCH);
    assert_non_null(strstr(err.msg, "the volume"));
    assert_int_equal(cmir_match_rows(&wide, s.center, &rows, 1, 0, &match, NULL), CMIR_EMISMATCH);
    assert_int_equal(cmir_rank(&none, &s, &o, out, &n, &work, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_rank(&many, &s, &o, out, &n, &work, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_match_rows(&none, s.center, &rows, 1, 0, &match, NULL), CMIR_EINVAL);
    odd.padded_dim = 65;
    assert_int_equal(cmir_match_rows(&odd, s.center, NULL, 0, 0, &match, NULL), CMIR_EINVAL);
    o.score = (cmir_score)(CMIR_WEIGHTED + 1);
    assert_int_equal(cmir_rank(&q.query, &s, &o, out, &n, &work, NULL), CMIR_EINVAL);
    /* Slice numbers that would index beyond an array. */
    static const uint32_t bad[][3] = {{0, 1, 3}, {0, 0, 1}, {2, 1, 0}};
    for (size_t i = 0; i < 3; i++) {
        cmir_rows broken = *rows;

        rows = &broken;
        broken.slice = bad[i];
        assert_int_equal(cmir_match_rows(&q.query, s.center, &rows, 1, 0, &match, NULL),
                         CMIR_ECORRUPT);
        rows = &s.candidate[0].rows;
    }
    free_snapshot(&s);
    free_query(&q);
}

/* ----- Against brute force. ----- */

static void
check_case(const struct made *c, bool every_limit)
{
    struct truth t = make_truth(&c->q.query, &c->s);
    const uint32_t n = (uint32_t)c->s.n;
    cmir_ranked *out = must_alloc(n + 3, sizeof *out);
    size_t n_out;

    for (uint32_t cpu = 0; cpu < 2; cpu++) {
        const unsigned flags = cpu == 0 ? 0 : cmir_cpu_flags();

        check_matches(&c->q.query, &t, flags);
        for (int score = CMIR_MAXSIM; score <= CMIR_MEAN; score++)
            for (uint32_t limit = 1; limit <= n + 3; limit += every_limit ? 1 : 1 + n / 2)
                for (uint32_t threads = every_limit ? 1 : 1 + 3 * (limit > 1); threads <= 4;
                     threads++) {
                    const cmir_rank_options o = {.score = (cmir_score)score,
                                                 .limit = limit,
                                                 .n_threads = threads,
                                                 .exhaustive = limit % 2 == 0,
                                                 .cpu_flags = flags};
                    const cmir_rank_work work = rank(&c->q.query, &c->s, o, out, &n_out);

                    check_ranked(&t, &o, out, n_out);
                    assert_int_equal(work.n_reranked, n);
                    if (score == CMIR_MAXSIM)
                        assert_true(work.n_exact >= n_out && work.n_exact <= n &&
                                    work.screened >= 0 && work.screened <= 1);
                }
    }
    free(out);
    free_truth(&t);
}

static void
test_brute_force(void **state)
{
    static const uint32_t dims[] = {1, 20, 64, 65, 512}, rows[] = {1, 17, 200};

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (size_t d = 0; d < 5; d++)
        for (size_t m = 0; m < 3; m++)
            for (int kind = 0; kind < N_KINDS; kind++) {
                const bool small = dims[d] <= 65 && rows[m] <= 17;
                struct made c =
                    make_case((enum kind)kind, dims[d], rows[m], small ? 14 : 10, small ? 24 : 40);

                check_case(&c, small && (int)d == kind);
                free_case(&c);
            }
}

/* The query's walk again and again with more noise, twice each, amid volumes far away. */
static struct made
make_far_case(uint32_t n_candidates, uint32_t n_near, uint32_t m, uint32_t dim)
{
    struct made c = {.s = make_snapshot(n_candidates, dim)};
    float *pool = must_alloc((size_t)POOL * dim, sizeof *pool);
    float *query = must_alloc((size_t)m * dim, sizeof *query);
    float *rows = must_alloc((size_t)m * dim, sizeof *rows);
    uint8_t marks[MAX_ROWS] = {0};

    make_rows(RANDOM, pool, 1, dim, pool);
    make_rows(WALK, pool, m, dim, query); /* around pool[0], by chance or not */
    for (uint32_t v = 0; v < n_candidates; v++) {
        const bool near = v % (n_candidates / n_near) == 1;

        if (v % (n_candidates / n_near) == 2) {
            add_again(&c.s, "copy", v - 1);
            continue;
        }
        make_rows(RANDOM, pool, POOL, dim, pool);
        make_rows(WALK, pool, m, dim, rows);
        for (uint32_t i = 0; i < m * dim && near; i++)
            rows[i] = query[i] + 0.002f * (float)(v + 1) * noise();
        add_volume(&c.s, near ? "near" : "far", rows, marks, m / 2 + rnd() % (m / 2));
    }
    c.q = make_query(query, m, dim);
    free(pool);
    free(query);
    free(rows);
    return c;
}

/* The bounds leave most out, and never one that belongs to the list. */
static void
test_bounds_prune(void **state)
{
    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (uint32_t dim = 64; dim <= 512; dim += 448) {
        struct made c = make_far_case(160, 8, dim == 64 ? 100 : 40, dim);
        struct truth t = make_truth(&c.q.query, &c.s);
        cmir_ranked *out = must_alloc(160, sizeof *out);
        size_t n;

        for (uint32_t limit = 1; limit <= 160; limit += limit < 18 ? 1 : 71)
            for (uint32_t threads = 1; threads <= 4; threads += 1 + (limit > 3))
                for (uint32_t cpu = 0; cpu < 1 + (limit % 4 == 1); cpu++) {
                    const cmir_rank_options o = {.score = CMIR_MAXSIM,
                                                 .limit = limit,
                                                 .n_threads = threads,
                                                 .exhaustive = true,
                                                 .cpu_flags = cpu == 0 ? cmir_cpu_flags() : 0};
                    const cmir_rank_work work = rank(&c.q.query, &c.s, o, out, &n);

                    check_ranked(&t, &o, out, n);
                    assert_int_equal(work.n_reranked, 160);
                    if (limit > 12)
                        continue;
                    if (!(work.screened < 1) || work.n_exact >= 50)
                        fail_msg("limit %u: screened %g, exact %" PRIu64, limit, work.screened,
                                 work.n_exact);
                }
        free(out);
        free_truth(&t);
        free_case(&c);
    }
}

/* What a first look keeps is ranked exactly, and is what was asked for. */
static void
test_first_look(void **state)
{
    enum { N = 200, KEPT = 30 };
    struct made c = make_far_case(N, 10, 40, 65);
    struct truth t = make_truth(&c.q.query, &c.s);
    cmir_ranked kept[KEPT], out[N];
    cmir_rank_options o = {.limit = KEPT, .n_threads = 1, .n_rerank = KEPT, .cpu_flags = 0};
    size_t n, place = 0;

    (void)state;
    cmir_rank_work work = rank(&c.q.query, &c.s, o, kept, &n);
    assert_int_equal(work.n_reranked, KEPT);
    assert_int_equal(n, KEPT);
    for (size_t i = 0; i < N && place < KEPT; i++) /* the exact order of a part of all */
        if (t.order[CMIR_MAXSIM][i] == kept[place].candidate)
            assert_true(kept[place++].score == t.score[CMIR_MAXSIM][t.order[CMIR_MAXSIM][i]]);
    assert_int_equal(place, KEPT);
    for (size_t i = 0; i < 20; i++) /* and a good part: the near ones are among them */
        assert_int_equal(kept[i].candidate, t.order[CMIR_MAXSIM][i]);
    for (uint32_t threads = 1; threads <= 4; threads++)
        for (uint32_t limit = 1; limit <= KEPT; limit += 4) {
            o.n_threads = threads;
            o.limit = limit;
            o.cpu_flags = threads % 2 == 0 ? cmir_cpu_flags() : 0;
            work = rank(&c.q.query, &c.s, o, out, &n);
            assert_int_equal(work.n_reranked, KEPT);
            assert_int_equal(n, limit);
            assert_true(work.n_exact >= limit && work.n_exact <= KEPT);
            for (uint32_t i = 0; i < limit; i++)
                assert_true(out[i].candidate == kept[i].candidate && out[i].score == kept[i].score);
        }
    /* A list is always full; exhaustive looks at all; other scores know no first look. */
    o = (cmir_rank_options){.limit = KEPT + 5, .n_threads = 2, .n_rerank = KEPT};
    assert_int_equal(rank(&c.q.query, &c.s, o, out, &n).n_reranked, KEPT + 5);
    assert_int_equal(n, KEPT + 5);
    o.n_rerank = N + 1;
    assert_int_equal(rank(&c.q.query, &c.s, o, out, &n).n_reranked, N);
    check_ranked(&t, &o, out, n);
    o.n_rerank = 1;
    o.exhaustive = true;
    assert_int_equal(rank(&c.q.query, &c.s, o, out, &n).n_reranked, N);
    check_ranked(&t, &o, out, n);
    o.exhaustive = false;
    for (int score = CMIR_SYMMETRIC; score <= CMIR_MEAN; score++) {
        o.score = (cmir_score)score;
        assert_int_equal(rank(&c.q.query, &c.s, o, out, &n).n_reranked, N);
        check_ranked(&t, &o, out, n);
    }
    free_truth(&t);
    free_case(&c);
}

/* A first look that was taken for several queries gives what each takes by itself. */
static void
check_given_look(const struct made *c, cmir_rank_options o, const cmir_ranked *wanted)
{
    const size_t count = cmir_snapshot_count(&c->s);
    const cmir_query *queries[3] = {&c->q.query, &c->q.query, &c->q.query};
    double *looked = must_alloc(3 * count, sizeof *looked);
    cmir_ranked out[16];
    cmir_error err = {0};
    size_t n;

    assert_int_equal(cmir_coarse(queries, 3, &c->s, o.cpu_flags, 2, looked, &err), CMIR_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(looked + i * count, looked, count * sizeof *looked);
        o.looked = looked + i * count;
        assert_int_equal(rank(&c->q.query, &c->s, o, out, &n).n_reranked, 128);
        assert_int_equal(n, o.limit);
        for (size_t k = 0; k < n; k++)
            assert_true(out[k].candidate == wanted[k].candidate && out[k].score == wanted[k].score);
    }
    free(looked);
}

/* By itself, a first look comes in above 128 volumes; without one the result is the same. */
static void
test_many_volumes(void **state)
{
    enum { N = 700 };
    struct made c = make_case(WALK, 20, 17, N, 12);
    struct truth t = make_truth(&c.q.query, &c.s);
    cmir_rank_options o = {.limit = 10, .n_threads = 3, .cpu_flags = cmir_cpu_flags()};
    cmir_ranked out[N];
    size_t n;

    (void)state;
    assert_int_equal(rank(&c.q.query, &c.s, o, out, &n).n_reranked, 128);
    assert_int_equal(n, 10);
    for (size_t i = 0; i < n; i++)
        assert_true(out[i].score == t.score[CMIR_MAXSIM][out[i].candidate]);
    check_given_look(&c, o, out);
    o.exhaustive = true;
    for (o.limit = 1; o.limit <= N; o.limit += o.limit < 5 ? 1 : 139) {
        assert_int_equal(rank(&c.q.query, &c.s, o, out, &n).n_reranked, N);
        check_ranked(&t, &o, out, n);
    }
    free_truth(&t);
    free_case(&c);
}

/* The case file: little-endian, as oracle/test_rank.py writes it. */
static void
get(FILE *f, void *out, size_t n, size_t size)
{
    if (n > 0 && fread(out, size, n, f) != n) {
        fprintf(stderr, "case file cut short\n");
        exit(1);
    }
}

static uint32_t
get_u32(FILE *f)
{
    uint32_t value;

    get(f, &value, 1, sizeof value);
    return value;
}

/* The matches that a score shows. */
static void
print_matches(const cmir_query *q, const cmir_snapshot *s, const cmir_rank_options *o, size_t c)
{
    const cmir_rows *rows = &s->candidate[c].rows;
    cmir_match *matches = must_alloc(q->n_rows, sizeof *matches);
    cmir_error err = {0};
    const cmir_status st =
        o->score == CMIR_ORDERED
            ? cmir_match_ordered(q, &rows, o->spacing_ratio + c, 1, o->cpu_flags, matches, &err)
            : cmir_match_rows(q, s->center, &rows, 1, o->cpu_flags, matches, &err);

    if (st != CMIR_OK)
        exit(1);
    for (uint32_t k = 0; k < q->n_rows; k++)
        printf(" %" PRIu32 " %" PRIu32 " %.9g", matches[k].query_slice, matches[k].match_slice,
               (double)matches[k].similarity);
    free(matches);
}

static void
print_ranking(const cmir_query *q, const cmir_snapshot *s, const cmir_rank_options *o)
{
    cmir_ranked *ranked = must_alloc(o->limit, sizeof *ranked);
    cmir_error err = {0};
    cmir_rank_work work;
    size_t n;

    if (cmir_rank(q, s, o, ranked, &n, &work, &err) != CMIR_OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        printf("%d %zu %.17g", (int)o->score, ranked[i].candidate, ranked[i].score);
        if (o->score == CMIR_MAXSIM || o->score == CMIR_ORDERED)
            print_matches(q, s, o, ranked[i].candidate);
        printf("\n");
    }
    free(ranked);
}

/* Rows come by slice number, with a mark for each. */
static int
rank_case(const char *path)
{
    FILE *f = fopen(path, "rb");

    if (f == NULL)
        return 1;
    const uint32_t dim = get_u32(f);
    cmir_rank_options o = {.limit = get_u32(f), .n_threads = get_u32(f)};
    o.cpu_flags = get_u32(f) == 0 ? 0 : cmir_cpu_flags();
    o.exhaustive = true;
    const uint32_t m = get_u32(f);
    float *query_rows = must_alloc((size_t)m * dim, sizeof *query_rows);
    uint32_t *query_slice = must_alloc(m, sizeof *query_slice);
    get(f, query_slice, m, sizeof *query_slice);
    get(f, query_rows, (size_t)m * dim, sizeof *query_rows);
    struct query q = make_query(query_rows, m, dim);
    memcpy(q.slice, query_slice, m * sizeof *query_slice);
    const uint32_t n_candidates = get_u32(f);
    cmir_snapshot s = make_snapshot(n_candidates, dim);
    double *ratio = must_alloc(n_candidates, sizeof *ratio);
    for (size_t c = 0; c < n_candidates; c++) {
        const uint32_t n = get_u32(f);
        get(f, &ratio[c], 1, sizeof *ratio);
        float *rows = must_alloc((size_t)n * dim, sizeof *rows);
        uint8_t *marks = must_alloc(n, 1);

        get(f, marks, n, 1);
        get(f, rows, (size_t)n * dim, sizeof *rows);
        add_volume(&s, "case", rows, marks, n);
        free(rows);
        free(marks);
    }
    fclose(f);
    o.spacing_ratio = ratio;
    for (int score = CMIR_MAXSIM; score <= CMIR_WEIGHTED; score++) {
        o.score = (cmir_score)score;
        print_ranking(&q.query, &s, &o);
    }
    free(ratio);
    free_snapshot(&s);
    free_query(&q);
    free(query_rows);
    free(query_slice);
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_votes_by_hand), cmocka_unit_test(test_equal_scores_by_id),
        cmocka_unit_test(test_air_rows),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_brute_force),   cmocka_unit_test(test_bounds_prune),
        cmocka_unit_test(test_first_look),    cmocka_unit_test(test_many_volumes),
    };

    if (argc == 2)
        return rank_case(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
