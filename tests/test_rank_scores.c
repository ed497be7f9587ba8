/* SPDX-License-Identifier: Apache-2.0 */
/* test_rank_scores.c: the scores that need all candidates or all slices: by hand, by what must hold
 * for any volumes, and at the ends of what is possible.  oracle/test_rank.py compares them with numpy. */
#include "rank_cases.h"

#include "base/cpu.h"

enum { N_MOST = 64 };

/* The score of every candidate, by its index. */
static void
score_all(const cmir_query *q, const cmir_snapshot *s, cmir_rank_options o, double *out)
{
    cmir_ranked ranked[N_MOST];
    cmir_error err = {0};
    cmir_rank_work work;
    size_t n;

    o.limit = N_MOST;
    if (cmir_rank(q, s, &o, ranked, &n, &work, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(n, s->n);
    assert_int_equal(work.n_reranked, s->n);
    for (size_t i = 0; i < n; i++)
        out[ranked[i].candidate] = ranked[i].score;
}

static void
score_by(cmir_score score, const cmir_query *q, const cmir_snapshot *s, double *out)
{
    const cmir_rank_options o = {.score = score, .n_threads = 1, .cpu_flags = cmir_cpu_flags()};

    score_all(q, s, o, out);
}

/* Rows along one axis each, in a space of as many axes as there are letters: 'a' is the first.  A capital
 * is the opposite; rows[n][26]. */
static void
axes(const char *letters, float *rows)
{
    for (; *letters != '\0'; letters++, rows += 26) {
        memset(rows, 0, 26 * sizeof *rows);
        rows[(*letters | 32) - 'a'] = *letters < 'a' ? -1.0f : 1.0f;
    }
}

static void
add_axes(cmir_snapshot *s, const char *letters)
{
    float rows[N_MOST * 26];
    uint8_t marks[N_MOST] = {0};

    axes(letters, rows);
    add_volume(s, letters, rows, marks, (uint32_t)strlen(letters));
}

static struct query
axes_query(const char *letters)
{
    float rows[N_MOST * 26];

    axes(letters, rows);
    return make_query(rows, (uint32_t)strlen(letters), 26);
}

/* What `ordered` assigns, as rows of the candidate. */
static void
ordered_rows(const cmir_query *q, const cmir_snapshot *s, size_t c, double ratio, uint32_t *rows)
{
    const cmir_rows *candidate = &s->candidate[c].rows;
    cmir_match *match = must_alloc(q->n_rows, sizeof *match);
    cmir_error err = {0};

    if (cmir_match_ordered(q, &candidate, &ratio, 1, cmir_cpu_flags(), match, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
    for (uint32_t i = 0; i < q->n_rows; i++) {
        assert_int_equal(match[i].query_slice, q->slice[i]);
        rows[i] = match[i].match_slice;
    }
    free(match);
}

static void
check_rows(const cmir_query *q, const cmir_snapshot *s, size_t c, const char *wanted)
{
    uint32_t rows[N_MOST];

    ordered_rows(q, s, c, 1.0, rows);
    for (uint32_t i = 0; i < q->n_rows; i++)
        if (rows[i] != (uint32_t)(wanted[i] - '0'))
            fail_msg("%s: slice %u at %u, not %c", s->candidate[c].volume_id, i, rows[i],
                     wanted[i]);
}

static void
test_ordered_by_hand(void **state)
{
    cmir_snapshot s = make_snapshot(10, 26);
    struct query q = axes_query("abcdef");
    double score[N_MOST];

    (void)state;
    add_axes(&s, "xabcdefy"); /* in order */
    add_axes(&s, "yfedcbax"); /* the other way */
    add_axes(&s, "aabccdeff"); /* a step is repeated */
    add_axes(&s, "defabc"); /* all is there, and never more than half of it in order */
    add_axes(&s, "cdef"); /* the rest lies beyond its end */
    add_axes(&s, "aaaa"); /* one place */
    add_axes(&s, "m");
    add_axes(&s, "zxcdxz"); /* a part */
    add_axes(&s, "abxcdef"); /* a slice more, within the band */
    add_axes(&s, "abxxcdef"); /* two more, beyond it */
    score_by(CMIR_ORDERED, &q.query, &s, score);
    static const double wanted[] = {6, 6, 6, 3, 4, 1, 0, 2, 6, 4};
    for (size_t c = 0; c < s.n; c++)
        if (score[c] != wanted[c] / 6)
            fail_msg("%s: %g, not %g", s.candidate[c].volume_id, score[c] * 6, wanted[c]);
    check_rows(&q.query, &s, 0, "123456");
    check_rows(&q.query, &s, 1, "654321");
    check_rows(&q.query, &s, 4, "000123");
    check_rows(&q.query, &s, 8, "013456");
    score_by(CMIR_MAXSIM, &q.query, &s, score);
    assert_true(score[3] == 1.0); /* to which order is nothing */
    free_snapshot(&s);
    free_query(&q);
}

static void
test_ordered_takes_the_spacing(void **state)
{
    cmir_snapshot s = make_snapshot(1, 26);
    struct query q = axes_query("abcdefgh");
    const double near = 3.0, far = 1.0 / 3.0;
    cmir_rank_options o = {.score = CMIR_ORDERED, .n_threads = 1, .spacing_ratio = &near};
    double score;

    (void)state;
    add_axes(&s, "axxbxxcxxdxxexxfxxgxxh"); /* three slices to one */
    score_all(&q.query, &s, o, &score);
    assert_true(score == 1.0);
    o.spacing_ratio = NULL; /* unknown: up to four */
    score_all(&q.query, &s, o, &score);
    assert_true(score == 1.0);
    o.spacing_ratio = &far; /* a third: at most two thirds, and the band */
    score_all(&q.query, &s, o, &score);
    assert_true(score < 0.75);
    free_snapshot(&s);
    free_query(&q);
}

static void
test_weighted_by_hand(void **state)
{
    cmir_snapshot s = make_snapshot(4, 26);
    struct query q = axes_query("abc");
    double score[N_MOST];

    (void)state;
    add_axes(&s, "axz"); /* a is everywhere, b in half of them, c in one */
    add_axes(&s, "abz");
    add_axes(&s, "acb");
    add_axes(&s, "za");
    score_by(CMIR_WEIGHTED, &q.query, &s, score);
    static const double wanted[] = {0, 2.0 / 5, 1, 0}; /* weights 0, 2/4, 3/4 */
    for (size_t c = 0; c < s.n; c++)
        assert_true(fabs(score[c] - wanted[c]) < 1e-15);
    free_snapshot(&s);
    free_query(&q);
    /* Where every slice is found everywhere, all count the same. */
    s = make_snapshot(2, 26);
    q = axes_query("ab");
    add_axes(&s, "ba");
    add_axes(&s, "axb");
    score_by(CMIR_WEIGHTED, &q.query, &s, score);
    assert_true(score[0] == 1.0 && score[1] == 1.0);
    free_snapshot(&s);
    free_query(&q);
}

/* Volumes of random rows: the longer, the more alike by chance. */
static void
add_random(cmir_snapshot *s, uint32_t n_rows)
{
    float *rows = must_alloc((size_t)n_rows * s->dim, sizeof *rows);
    uint8_t *marks = must_alloc(n_rows, 1);

    for (uint32_t i = 0; i < n_rows * s->dim; i++)
        rows[i] = noise();
    add_volume(s, "random", rows, marks, n_rows);
    free(rows);
    free(marks);
}

static void
test_length_corrected(void **state)
{
    enum { N = 40, DIM = 20, M = 10 };
    cmir_snapshot s = make_snapshot(N, DIM);
    float query[M * DIM];
    double maxsim[N], corrected[N], sum = 0, by_length[2] = {0, 0}, corrected_by_length[2] = {0, 0};

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (uint32_t i = 0; i < M * DIM; i++)
        query[i] = noise();
    struct query q = make_query(query, M, DIM);
    for (uint32_t c = 0; c < N; c++) {
        add_random(&s, c % 2 == 0 ? 4 : 150);
        if (c + 1 == 19) { /* too few to tell */
            score_by(CMIR_MAXSIM, &q.query, &s, maxsim);
            score_by(CMIR_LENGTH_CORRECTED, &q.query, &s, corrected);
            assert_memory_equal(maxsim, corrected, 19 * sizeof *maxsim);
        }
    }
    score_by(CMIR_MAXSIM, &q.query, &s, maxsim);
    score_by(CMIR_LENGTH_CORRECTED, &q.query, &s, corrected);
    for (uint32_t c = 0; c < N; c++) {
        sum += corrected[c] - maxsim[c];
        by_length[c % 2] += maxsim[c] / (N / 2);
        corrected_by_length[c % 2] += corrected[c] / (N / 2);
    }
    assert_true(fabs(sum) < 1e-12); /* the mean stays */
    assert_true(by_length[1] - by_length[0] > 0.1);
    assert_true(fabs(corrected_by_length[1] - corrected_by_length[0]) < 1e-12);
    free_snapshot(&s);
    /* Of one length; and where the short ones are more alike, which is no chance. */
    s = make_snapshot(2 * N, DIM);
    for (uint32_t c = 0; c < 30; c++)
        add_random(&s, 7);
    score_by(CMIR_MAXSIM, &q.query, &s, maxsim);
    score_by(CMIR_LENGTH_CORRECTED, &q.query, &s, corrected);
    assert_memory_equal(maxsim, corrected, 30 * sizeof *maxsim);
    for (uint32_t c = 0; c < 5; c++) {
        uint8_t marks[1] = {0};

        for (uint32_t d = 0; d < DIM; d++)
            query[d] = (float)q.rows[d];
        add_volume(&s, "short", query, marks, 1);
    }
    for (uint32_t i = 1; i < M; i++)
        memcpy(q.rows + (size_t)i * padded(DIM), q.rows, padded(DIM) * sizeof *q.rows);
    score_by(CMIR_MAXSIM, &q.query, &s, maxsim);
    score_by(CMIR_LENGTH_CORRECTED, &q.query, &s, corrected);
    assert_true(maxsim[34] > maxsim[0]);
    assert_memory_equal(maxsim, corrected, 35 * sizeof *maxsim);
    free_snapshot(&s);
    free_query(&q);
}

/* The rows of a volume from last to first. */
static void
add_reversed(cmir_snapshot *s, const cmir_rows *rows)
{
    float *reversed = must_alloc((size_t)rows->n_scored * s->dim, sizeof *reversed);
    uint8_t *marks = must_alloc(rows->n_scored, 1);

    for (uint32_t i = 0; i < rows->n_scored; i++)
        for (uint32_t d = 0; d < s->dim; d++)
            reversed[(size_t)i * s->dim + d] =
                rows->exact[(size_t)(rows->n_scored - 1 - i) * rows->padded_dim + d];
    add_volume(s, "reversed", reversed, marks, rows->n_scored);
    free(reversed);
    free(marks);
}

/* What holds for any volumes: of c's scores and matches. */
static void
check_ordered(const struct made *c, const double *ratio)
{
    const uint32_t m = c->q.query.n_rows;
    cmir_rank_options o = {.score = CMIR_ORDERED, .n_threads = 1, .spacing_ratio = ratio};
    double ordered[N_MOST], maxsim[N_MOST];
    uint32_t *rows = must_alloc(m, sizeof *rows);

    score_by(CMIR_MAXSIM, &c->q.query, &c->s, maxsim);
    score_all(&c->q.query, &c->s, o, ordered);
    for (size_t v = 0; v < c->s.n; v++) {
        const cmir_rows *own = &c->s.candidate[v].rows;
        int64_t sum = 0;
        bool up = true, down = true;

        ordered_rows(&c->q.query, &c->s, v, ratio[v], rows);
        for (uint32_t i = 0; i < m; i++) {
            uint32_t r = 0;

            while (own->slice[r] != rows[i])
                assert_true(++r < own->n_scored); /* never air */
            sum += cmir_row_dot(c->q.rows + (size_t)i * own->padded_dim,
                                own->exact + (size_t)r * own->padded_dim, own->padded_dim);
            up = up && (i == 0 || rows[i] >= rows[i - 1]);
            down = down && (i == 0 || rows[i] <= rows[i - 1]);
        }
        assert_true(up || down);
        assert_true(ordered[v] == (double)sum / (m * UNIT * UNIT));
        assert_true(ordered[v] <= maxsim[v] && (m > 1 || ordered[v] == maxsim[v]));
    }
    free(rows);
}

/* The same bits with any number of threads, with any kernel. */
static void
check_same_bits(const struct made *c, const double *ratio)
{
    double first[N_MOST], again[N_MOST];

    for (int score = CMIR_MEAN; score <= CMIR_WEIGHTED; score++) {
        cmir_rank_options o = {
            .score = (cmir_score)score, .n_threads = 1, .spacing_ratio = ratio, .cpu_flags = 0};

        score_all(&c->q.query, &c->s, o, first);
        for (o.n_threads = 1; o.n_threads < 9; o.n_threads += 2) {
            o.cpu_flags = cmir_cpu_flags();
            score_all(&c->q.query, &c->s, o, again);
            assert_memory_equal(first, again, c->s.n * sizeof *first);
        }
    }
}

static void
test_any_volumes(void **state)
{
    static const uint32_t dims[] = {1, 20, 65}, rows[] = {1, 17, 90};
    static const double ratios[] = {0, 1, 0.5, 3, 1e-300, 1e300, -1, NAN, INFINITY};

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (size_t k = 0; k < 9; k++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            struct made c = make_case((enum kind)kind, dims[k % 3], rows[k / 3], 24, 60);
            double ratio[N_MOST];

            for (size_t v = 0; v < c.s.n; v++)
                ratio[v] = ratios[rnd() % (sizeof ratios / sizeof ratios[0])];
            check_ordered(&c, ratio);
            check_same_bits(&c, ratio);
            free_case(&c);
        }
}

/* Either direction along the volume is the same to `ordered`, where no products are equal. */
static void
test_reversed(void **state)
{
    enum { N = 8 };
    struct made c = {.s = make_snapshot(2 * N, 65)};
    float query[30 * 65];
    double score[N_MOST];
    uint32_t rows[30], reversed[30];

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (size_t i = 0; i < 30 * 65; i++)
        query[i] = noise();
    c.q = make_query(query, 30, 65);
    for (uint32_t v = 0; v < N; v++)
        add_random(&c.s, 1 + 13 * v);
    for (uint32_t v = 0; v < N; v++)
        add_reversed(&c.s, &c.s.candidate[v].rows);
    score_by(CMIR_ORDERED, &c.q.query, &c.s, score);
    for (uint32_t v = 0; v < N; v++) {
        assert_true(score[v] == score[N + v]);
        ordered_rows(&c.q.query, &c.s, v, 0, rows);
        ordered_rows(&c.q.query, &c.s, N + v, 0, reversed);
        for (uint32_t i = 0; i < 30; i++)
            assert_int_equal(rows[i], 13 * v - reversed[i]);
    }
    free_case(&c);
}

/* As many slices as there can be, on one side, with the largest and the least products. */
static void
test_extremes(void **state)
{
    static const uint32_t lengths[][2] = {{CMIR_MAX_SLICES, 3}, {2, CMIR_MAX_SLICES}};
    float *rows = must_alloc(CMIR_MAX_SLICES, sizeof *rows);
    uint8_t *marks = must_alloc(CMIR_MAX_SLICES, 1);
    double score[N_MOST];

    (void)state;
    for (int k = 0; k < 4; k++) {
        const uint32_t m = lengths[k / 2][0], n = lengths[k / 2][1];
        cmir_snapshot s = make_snapshot(1, 1);

        for (uint32_t i = 0; i < CMIR_MAX_SLICES; i++)
            rows[i] = 1;
        struct query q = make_query(rows, m, 1);
        for (uint32_t i = 0; i < CMIR_MAX_SLICES; i++)
            rows[i] = k % 2 == 0 ? 1 : -1;
        add_volume(&s, "one", rows, marks, n);
        for (int by = CMIR_MEAN; by <= CMIR_WEIGHTED; by++) {
            score_by((cmir_score)by, &q.query, &s, score);
            assert_true(score[0] == (by == CMIR_STD ? 0.0 : k % 2 == 0 ? 1.0 : -1.0));
        }
        free_snapshot(&s);
        free_query(&q);
    }
    free(rows);
    free(marks);
}

static void
test_refusals(void **state)
{
    cmir_snapshot s = make_snapshot(1, 26);
    struct query q = axes_query("abc");
    cmir_query none = q.query, wide = q.query;
    const cmir_rows *rows;
    const double ratio = 1;
    cmir_match match[3];

    (void)state;
    add_axes(&s, "abc");
    rows = &s.candidate[0].rows;
    none.n_rows = 0;
    wide.padded_dim = 128;
    assert_int_equal(cmir_match_ordered(&none, &rows, &ratio, 1, 0, match, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_match_ordered(&wide, &rows, &ratio, 1, 0, match, NULL), CMIR_EMISMATCH);
    static const uint32_t bad[3] = {0, 1, 3};
    cmir_rows broken = *rows;
    broken.slice = bad;
    rows = &broken;
    assert_int_equal(cmir_match_ordered(&q.query, &rows, &ratio, 1, 0, match, NULL), CMIR_ECORRUPT);
    free_snapshot(&s);
    free_query(&q);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordered_by_hand),  cmocka_unit_test(test_ordered_takes_the_spacing),
        cmocka_unit_test(test_weighted_by_hand), cmocka_unit_test(test_length_corrected),
        cmocka_unit_test(test_any_volumes),      cmocka_unit_test(test_reversed),
        cmocka_unit_test(test_extremes),         cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
