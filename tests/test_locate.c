/* SPDX-License-Identifier: Apache-2.0 */
/* test_locate.c: the matched run of a hit, from its matches. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rank/rank.h"

static uint64_t seed = 97;

static uint32_t
rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locate_slab),
        cmocka_unit_test(test_locate_part),
        cmocka_unit_test(test_locate_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
