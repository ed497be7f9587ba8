/* SPDX-License-Identifier: Apache-2.0 */
/* test_rank.c: ranking and locating over candidates that the test holds itself, in place of the
 * store's snapshots.  `test_rank CASE` ranks a case file and prints what it found: that is how
 * oracle/test_rank.py compares with numpy. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "rank/rank.h"

/* What rank asks of the store. */
struct cmir_snapshot {
    cmir_candidate *candidate;
    size_t n;
};

size_t
cmir_snapshot_count(const cmir_snapshot *snapshot)
{
    return snapshot->n;
}

const cmir_candidate *
cmir_snapshot_get(const cmir_snapshot *snapshot, size_t index)
{
    return &snapshot->candidate[index];
}

static void *
must_alloc(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size);

    if (p == NULL)
        abort();
    return p;
}

static uint64_t seed = 97;

static uint32_t
rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

/* A candidate whose n rows of `dim` elements are all zero; rows is the test's to write. */
static uint16_t *
make_candidate(cmir_candidate *c, const char *id, uint32_t n_rows, uint32_t n_scored, uint32_t dim)
{
    uint16_t *rows = must_alloc((size_t)n_rows * dim, sizeof *rows);
    uint32_t *slice = must_alloc(n_rows, sizeof *slice);

    for (uint32_t i = 0; i < n_rows; i++)
        slice[i] = i;
    *c = (cmir_candidate){
        id, {.n_rows = n_rows, .n_scored = n_scored, .dim = dim, .slice = slice, .exact = rows}};
    return rows;
}

static void
free_candidates(cmir_snapshot *s)
{
    union {
        const uint16_t *in;
        uint16_t *out;
    } exact;
    union {
        const uint32_t *in;
        uint32_t *out;
    } slice;

    for (size_t c = 0; c < s->n; c++) {
        exact.in = s->candidate[c].rows.exact;
        slice.in = s->candidate[c].rows.slice;
        free(exact.out);
        free(slice.out);
    }
    free(s->candidate);
}

/* Rows along one axis each: `axes` names the axis of every row, such as "xxy". */
static void
add_axes(cmir_snapshot *s, const char *id, const char *axes)
{
    const uint32_t n = (uint32_t)strlen(axes);
    uint16_t *rows = make_candidate(&s->candidate[s->n++], id, n, n, 3);

    for (uint32_t i = 0; i < n; i++)
        rows[i * 3 + (uint32_t)(axes[i] - 'x')] = 0x3C00u; /* 1.0 */
}

static const float AXES[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};

static void
test_votes_by_hand(void **state)
{
    cmir_snapshot s = {must_alloc(4, sizeof(cmir_candidate)), 0};
    static const uint32_t slices[2] = {4, 5};
    const float rows[6] = {0, 1, 0, 1, 0, 0}; /* y, then x */
    const cmir_query q = {rows, slices, 2, 3};
    cmir_error err = {0};
    cmir_ranked out[8];
    size_t n;

    (void)state;
    add_axes(&s, "a", "xxxxxxxxxxxxxxx");             /* 15 x: all of them among x's 20 nearest */
    add_axes(&s, "b", "xxxxxxxxxx");                  /* 10 x: the first 5 */
    add_axes(&s, "c", "zyyyyyyyyyyyyyyyyyyyy");       /* 20 y: all */
    add_axes(&s, "d", "yzzz");                        /* y comes too late */
    assert_int_equal(cmir_rank(&q, &s, CMIR_FREQ, 8, 2, out, &n, &err), CMIR_OK);
    assert_int_equal(n, 3);
    assert_int_equal(out[0].candidate, 2);
    assert_true(out[0].score == 20.0);
    assert_int_equal(out[1].candidate, 0);
    assert_true(out[1].score == 15.0);
    assert_int_equal(out[2].candidate, 1);
    assert_true(out[2].score == 5.0);
    /* All hits are 1.0: c was seen first, since y is the first query slice. */
    assert_int_equal(cmir_rank(&q, &s, CMIR_MAX, 8, 2, out, &n, &err), CMIR_OK);
    assert_int_equal(n, 3);
    assert_int_equal(out[0].candidate, 2);
    assert_int_equal(out[1].candidate, 0);
    assert_int_equal(out[2].candidate, 1);
    assert_true(out[2].score == 1.0);
    assert_int_equal(cmir_rank(&q, &s, CMIR_SUM, 2, 1, out, &n, &err), CMIR_OK);
    assert_int_equal(n, 2);
    assert_true(out[0].candidate == 2 && out[0].score == 20.0);
    free_candidates(&s);
}

static void
test_equal_scores_by_id(void **state)
{
    cmir_snapshot s = {must_alloc(5, sizeof(cmir_candidate)), 0};
    static const uint32_t slices[1] = {0};
    const cmir_query q = {AXES[0], slices, 1, 3};
    cmir_error err = {0};
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
            assert_int_equal(cmir_rank(&q, &s, CMIR_MAXSIM, limit, threads, out, &n, &err),
                             CMIR_OK);
            assert_int_equal(n, limit);
            for (uint32_t i = 0; i < limit; i++)
                assert_int_equal(out[i].candidate, want[i]);
        }
    free_candidates(&s);
}

/* An air row that equals the query must not be found. */
static void
test_air_rows(void **state)
{
    cmir_snapshot s = {must_alloc(1, sizeof(cmir_candidate)), 1};
    static const uint32_t slices[1] = {7};
    const cmir_query q = {AXES[0], slices, 1, 3};
    uint16_t *rows = make_candidate(&s.candidate[0], "a", 3, 2, 3);
    cmir_error err = {0};
    cmir_ranked out[1];
    cmir_match match;
    size_t n;

    (void)state;
    rows[1] = 0x3C00u; /* y */
    rows[3] = 0xBC00u; /* -x */
    rows[6] = 0x3C00u; /* x: air */
    assert_int_equal(cmir_match_rows(&q, &s.candidate[0].rows, &match, &err), CMIR_OK);
    assert_int_equal(match.query_slice, 7);
    assert_int_equal(match.match_slice, 0);
    assert_true(match.similarity == 0.0f);
    for (int score = CMIR_MAXSIM; score <= CMIR_MEAN; score++) {
        assert_int_equal(cmir_rank(&q, &s, (cmir_score)score, 1, 1, out, &n, &err), CMIR_OK);
        assert_int_equal(n, 1);
        assert_true(score == CMIR_FREQ ? out[0].score == 2.0 : out[0].score <= 0.0);
    }
    free_candidates(&s);
}

static void
test_threads_do_not_matter(void **state)
{
    enum { N = 23, DIM = 37, M = 19 };
    cmir_snapshot s = {must_alloc(N, sizeof(cmir_candidate)), N};
    float rows[M * DIM];
    uint32_t slices[M];
    cmir_error err = {0};

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (uint32_t i = 0; i < M * DIM; i++)
        rows[i] = (float)(rnd() % 5) / 8.0f; /* coarse: many ties */
    for (uint32_t i = 0; i < M; i++)
        slices[i] = i;
    for (uint32_t c = 0; c < N; c++) {
        const uint32_t n = 1 + rnd() % 90;
        uint16_t *r = make_candidate(&s.candidate[c], "id", n, n, DIM);

        for (uint32_t i = 0; i < n * DIM; i++)
            r[i] = cmir_float_to_half((float)(rnd() % 5) / 8.0f);
    }
    const cmir_query q = {rows, slices, M, DIM};
    for (int score = CMIR_MAXSIM; score <= CMIR_MEAN; score++) {
        cmir_ranked one[N], many[N];
        size_t n_one, n_many;

        assert_int_equal(cmir_rank(&q, &s, (cmir_score)score, N, 1, one, &n_one, &err), CMIR_OK);
        for (uint32_t threads = 2; threads < 9; threads += 3) {
            assert_int_equal(cmir_rank(&q, &s, (cmir_score)score, N, threads, many, &n_many, &err),
                             CMIR_OK);
            assert_int_equal(n_one, n_many);
            for (size_t i = 0; i < n_one; i++) {
                assert_int_equal(one[i].candidate, many[i].candidate);
                assert_true(one[i].score == many[i].score);
            }
        }
    }
    free_candidates(&s);
}

static void
test_refusals(void **state)
{
    cmir_snapshot s = {must_alloc(1, sizeof(cmir_candidate)), 0};
    static const uint32_t slices[1] = {0};
    static const float two[2] = {1, 0};
    const cmir_query q = {two, slices, 1, 2}, none = {two, slices, 0, 2};
    cmir_error err = {0};
    cmir_ranked out[1];
    cmir_match match;
    size_t n = 9;

    (void)state;
    assert_int_equal(cmir_rank(&q, &s, CMIR_MAXSIM, 1, 1, out, &n, &err), CMIR_OK);
    assert_int_equal(n, 0); /* nothing to search in */
    add_axes(&s, "the volume", "x");
    assert_int_equal(cmir_rank(&q, &s, CMIR_MAXSIM, 1, 1, out, &n, &err), CMIR_EMISMATCH);
    assert_non_null(strstr(err.msg, "the volume"));
    assert_int_equal(cmir_match_rows(&q, &s.candidate[0].rows, &match, NULL), CMIR_EMISMATCH);
    assert_int_equal(cmir_rank(&none, &s, CMIR_MAXSIM, 1, 1, out, &n, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_rank(&q, &s, (cmir_score)6, 1, 1, out, &n, NULL), CMIR_EINVAL);
    free_candidates(&s);
}

/* A slab of 30 slices, each matched where it came from, with strays: the run is the slab's. */
static void
test_locate_slab(void **state)
{
    cmir_match matches[30];
    cmir_error err = {0};
    cmir_run run;

    (void)state;
    for (uint32_t i = 0; i < 30; i++)
        matches[i] = (cmir_match){i, 100 + i, 0.95f};
    matches[3].match_slice = 17; /* strays */
    matches[20].match_slice = 199;
    assert_int_equal(cmir_locate(matches, 30, 5.0, 200, 5.0, &run, &err), CMIR_OK);
    assert_int_equal(run.match_first, 100);
    assert_int_equal(run.match_last, 129);
    assert_int_equal(run.query_first, 0);
    assert_int_equal(run.query_last, 29);
    /* Half as many query slices as candidate slices: every second one is matched. */
    for (uint32_t i = 0; i < 30; i++)
        matches[i] = (cmir_match){50 + i, 60 + 2 * i, 0.9f};
    assert_int_equal(cmir_locate(matches, 30, 4.0, 200, 2.0, &run, &err), CMIR_OK);
    assert_int_equal(run.match_first, 60);
    assert_int_equal(run.match_last, 118);
    assert_int_equal(run.query_first, 50);
    assert_int_equal(run.query_last, 79);
}

/* Half of the query has no counterpart: its matches lie elsewhere, fewer in one place. */
static void
test_locate_part(void **state)
{
    cmir_match matches[20];
    cmir_error err = {0};
    cmir_run run;

    (void)state;
    for (uint32_t i = 0; i < 20; i++)
        matches[i] = (cmir_match){i, i < 12 ? 300 + i : 5 * i, 0.8f};
    assert_int_equal(cmir_locate(matches, 20, 1.0, 400, 1.0, &run, &err), CMIR_OK);
    assert_int_equal(run.match_first, 300);
    assert_int_equal(run.match_last, 311);
    assert_int_equal(run.query_first, 0);
    assert_int_equal(run.query_last, 11);
    /* Two places as good as each other: the first. */
    for (uint32_t i = 0; i < 20; i++)
        matches[i] = (cmir_match){i, i < 10 ? 200 + i : 50 + i, 0.8f};
    assert_int_equal(cmir_locate(matches, 20, 1.0, 400, 1.0, &run, &err), CMIR_OK);
    assert_int_equal(run.match_first, 60);
    assert_int_equal(run.match_last, 69);
    assert_int_equal(run.query_first, 10);
    assert_int_equal(run.query_last, 19);
}

/* Whatever the matches, the run lies in the candidate and holds at least one of them. */
static void
test_locate_anything(void **state)
{
    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (int round = 0; round < 2000; round++) {
        cmir_match matches[40];
        const uint32_t n = 1 + rnd() % 40, n_slices = 1 + rnd() % 300;
        const double spacings[] = {0.0, 0.5, 1.0, 5.0, 1e-9, 1e9};
        cmir_run run = {0};

        for (uint32_t i = 0; i < n; i++)
            matches[i] = (cmir_match){i * 2, rnd() % n_slices, (float)(rnd() % 21) / 10.0f - 1.0f};
        assert_int_equal(
            cmir_locate(matches, n, spacings[rnd() % 6], n_slices, spacings[rnd() % 6], &run, NULL),
            CMIR_OK);
        assert_true(run.match_first <= run.match_last && run.match_last < n_slices);
        bool first = false, last = false;
        for (uint32_t i = 0; i < n; i++) {
            const bool inside = matches[i].match_slice >= run.match_first &&
                                matches[i].match_slice <= run.match_last;

            first = first || (inside && matches[i].query_slice == run.query_first);
            last = last || (inside && matches[i].query_slice == run.query_last);
            if (inside)
                assert_in_range(matches[i].query_slice, run.query_first, run.query_last);
        }
        assert_true(first && last);
    }
    const cmir_match outside = {0, 5, 1.0f};
    cmir_run run;
    assert_int_equal(cmir_locate(&outside, 1, 1.0, 5, 1.0, &run, NULL), CMIR_EINVAL);
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

static void
print_ranking(const cmir_query *q, const cmir_snapshot *s, cmir_score score, uint32_t limit,
              uint32_t n_threads)
{
    cmir_ranked *ranked = must_alloc(limit, sizeof *ranked);
    cmir_match *matches = must_alloc(q->n_rows, sizeof *matches);
    cmir_error err = {0};
    size_t n;

    if (cmir_rank(q, s, score, limit, n_threads, ranked, &n, &err) != CMIR_OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        printf("%d %zu %.17g", (int)score, ranked[i].candidate, ranked[i].score);
        if (score == CMIR_MAXSIM) {
            if (cmir_match_rows(q, &s->candidate[ranked[i].candidate].rows, matches, &err) !=
                CMIR_OK)
                exit(1);
            for (uint32_t k = 0; k < q->n_rows; k++)
                printf(" %" PRIu32 " %" PRIu32 " %.9g", matches[k].query_slice,
                       matches[k].match_slice, (double)matches[k].similarity);
        }
        printf("\n");
    }
    free(ranked);
    free(matches);
}

static int
rank_case(const char *path)
{
    FILE *f = fopen(path, "rb");

    if (f == NULL)
        return 1;
    const uint32_t dim = get_u32(f), limit = get_u32(f), n_threads = get_u32(f);
    cmir_query q = {.n_rows = get_u32(f), .dim = dim};
    float *query_rows = must_alloc((size_t)q.n_rows * dim, sizeof *query_rows);
    uint32_t *query_slice = must_alloc(q.n_rows, sizeof *query_slice);
    get(f, query_slice, q.n_rows, sizeof *query_slice);
    get(f, query_rows, (size_t)q.n_rows * dim, sizeof *query_rows);
    q.rows = query_rows;
    q.slice = query_slice;
    cmir_snapshot s = {.n = get_u32(f)};
    s.candidate = must_alloc(s.n, sizeof *s.candidate);
    for (size_t c = 0; c < s.n; c++) {
        const uint32_t n_rows = get_u32(f), n_scored = get_u32(f);
        uint16_t *rows = make_candidate(&s.candidate[c], "case", n_rows, n_scored, dim);
        uint32_t *slice = must_alloc(n_rows, sizeof *slice);
        union {
            const uint32_t *in;
            uint32_t *out;
        } old = {s.candidate[c].rows.slice};

        get(f, slice, n_rows, sizeof *slice);
        get(f, rows, (size_t)n_rows * dim, sizeof *rows);
        free(old.out);
        s.candidate[c].rows.slice = slice;
    }
    fclose(f);
    for (int score = CMIR_MAXSIM; score <= CMIR_MEAN; score++)
        print_ranking(&q, &s, (cmir_score)score, limit, n_threads);
    free_candidates(&s);
    free(query_rows);
    free(query_slice);
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_votes_by_hand), cmocka_unit_test(test_equal_scores_by_id),
        cmocka_unit_test(test_air_rows),      cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_locate_slab),
        cmocka_unit_test(test_locate_part),   cmocka_unit_test(test_locate_anything),
    };

    if (argc == 2)
        return rank_case(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
