/* SPDX-License-Identifier: Apache-2.0 */
/* test_assess.c: cmir_evaluate() on small studies: what is refused, and the edges of what is not. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "expect.h"

/* Six volumes of five patients, two queries, one method; tests change their copy. */
struct study {
    double nuisances[6][1];
    cmir_eval_volume volumes[6];
    uint32_t databases[2][4], found[2][4];
    double scores[2][4];
    cmir_eval_query queries[2];
    cmir_eval_list lists[2];
    cmir_eval_method method;
    const char *nuisance;
    cmir_eval_input in;
    cmir_eval_options opt;
    cmir_evaluation *out;
};

static int
set_up(void **state)
{
    static struct study s;

    cmir_evaluation_free(s.out); /* of a test that starts anew */
    s = (struct study){
        .nuisances = {{1.0}, {2.0}, {NAN}, {2.0}, {5.0}, {1.0}},
        .volumes = {{"a", "1", "P", "X", NULL},
                    {"b", "0", NULL, "X", NULL},
                    {"c", "1", NULL, "Y", NULL},
                    {"d", "0", "Q", NULL, NULL},
                    {"e", "2", "R", "Y", NULL},
                    {"f", "0", "P", "X", NULL}},
        .databases = {{1, 2, 3, 4}, {0, 2, 3, 4}},
        .found = {{2, 1, 4, 3}, {3, 0, 2, 4}},
        .scores = {{0.9, 0.8, 0.7, 0.6}, {4.0, 1.0, 1.0, 0.0}},
        .nuisance = "size",
    };
    for (int v = 0; v < 6; v++)
        s.volumes[v].nuisances = s.nuisances[v];
    for (int q = 0; q < 2; q++) {
        s.queries[q] = (cmir_eval_query){(uint32_t)q, s.databases[q], 4};
        s.lists[q] = (cmir_eval_list){s.found[q], s.scores[q], 4};
    }
    s.method = (cmir_eval_method){"ours", s.lists};
    s.in = (cmir_eval_input){.struct_nbytes = sizeof s.in,
                             .volumes = s.volumes,
                             .n_volumes = 6,
                             .queries = s.queries,
                             .n_queries = 2,
                             .methods = &s.method,
                             .n_methods = 1,
                             .nuisances = &s.nuisance,
                             .n_nuisances = 1};
    s.opt = (cmir_eval_options){
        .struct_nbytes = sizeof s.opt, .positive = "1", .n_shuffles = 50, .seed = 7};
    *state = &s;
    return 0;
}

static int
tear_down(void **state)
{
    struct study *s = *state;

    cmir_evaluation_free(s->out);
    s->out = NULL;
    return 0;
}

static cmir_status
evaluate(struct study *s)
{
    cmir_evaluation_free(s->out);
    return cmir_evaluate(&s->in, &s->opt, &s->out, &err);
}

static void
test_assess_whole(void **state)
{
    struct study *s = *state;
    const char *const metrics[] = {"P@3",   "P@5", "P@10",    "P@10 (3D-MIR notebook)",
                                   "AP@10", "mAP", "nDCG@10", "Recall@10",
                                   "MRR"};
    const char *const names[] = {"ours", "random", "majority", "cohort", "size"};

    OK(cmir_evaluate(&s->in, NULL, &s->out, &err)); /* every default */
    OK(evaluate(s));
    assert_int_equal(s->out->n_metrics, 9);
    for (size_t i = 0; i < 9; i++)
        assert_string_equal(s->out->metrics[i], metrics[i]);
    assert_int_equal(s->out->n_lines, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(s->out->lines[i].name, names[i]);
        assert_int_equal(s->out->lines[i].kind, i);
    }
    assert_int_equal(s->out->n_values, 3); /* "2" is in a database */
    assert_string_equal(s->out->positive, "1");
    assert_int_equal(s->out->n_pairs, 0);
    assert_int_equal(s->out->n_short, 2);
    assert_false(s->out->leak);
    /* Nothing is borrowed. */
    s->nuisance = s->method.name = s->volumes[2].value = "gone";
    assert_string_equal(s->out->lines[0].name, "ours");
    assert_string_equal(s->out->values[1], "1");
}

static void
test_assess_refused(void **state)
{
    struct study *s = *state;
    const uint32_t falling[] = {3, 3}, zero[] = {0};

#define REFUSED(change, words)                                                                     \
    do {                                                                                           \
        set_up(state);                                                                             \
        change;                                                                                    \
        FAILS(evaluate(s), CMIR_EINVAL, words);                                                    \
        assert_null(s->out);                                                                       \
    } while (0)

    REFUSED(s->in.struct_nbytes--, "struct_nbytes");
    REFUSED(s->opt.struct_nbytes--, "struct_nbytes");
    REFUSED(s->in.n_queries = 0, "needs a query");
    REFUSED(s->queries[1].volume = 6, "query 1: volume 6 of 6");
    REFUSED(s->databases[0][2] = 77, "a: volume 77 of 6");
    REFUSED(s->databases[0][2] = 1, "b is twice in its database");
    REFUSED(s->found[1][0] = 6, "ours, query b: found volume 6 of 6");
    REFUSED(s->found[1][0] = 1, "ours, query b: found b, which is not in its database");
    REFUSED(s->found[1][3] = 0, "ours, query b: found a twice");
    REFUSED(s->scores[1][2] = NAN, "the score of c");
    REFUSED(s->scores[1][2] = 1.5, "the score of c");
    REFUSED(s->scores[0][0] = INFINITY, "the score of c");
    REFUSED(s->volumes[3].value = NULL, "volume 3 has no id or no value");
    REFUSED(s->volumes[3].id = NULL, "volume 3 has no id or no value");
    REFUSED(s->volumes[3].nuisances = NULL, "d: no nuisances");
    REFUSED(s->nuisance = NULL, "nuisance 0 has no name");
    REFUSED(s->method.name = NULL, "method 0 has no name");
    REFUSED((s->opt.k = falling, s->opt.n_k = 2), "rise");
    REFUSED((s->opt.k = zero, s->opt.n_k = 1), "start at 1");
    REFUSED(s->opt.k = zero, "0 cut-offs");
    REFUSED((s->opt.k = zero, s->opt.n_k = CMIR_EVAL_MAX_K + 1), "101 cut-offs");
    REFUSED(s->opt.n_bootstrap = CMIR_EVAL_MAX_ROUNDS + 1, "bootstrap samples");
    REFUSED(s->opt.n_shuffles = UINT32_MAX, "shuffles");
    REFUSED(s->opt.positive = "3", "no volume has the value '3'");
    REFUSED(s->in.n_methods = CMIR_EVAL_MAX_METHODS + 1, "101 methods");
    REFUSED(s->in.n_volumes = SIZE_MAX, "too many");
}

/* More values than a table of confusion can hold; more shuffles than memory is given. */
static void
test_assess_limits(void **state)
{
    struct study *s = *state;
    enum { N = CMIR_EVAL_MAX_VALUES + 1, MANY = 2000 };
    static cmir_eval_volume volumes[N];
    static cmir_eval_query queries[MANY];
    static char names[N][8];
    static uint32_t all[N];

    for (uint32_t i = 0; i < N; i++) {
        (void)snprintf(names[i], sizeof names[i], "%u", i);
        volumes[i] = (cmir_eval_volume){.id = names[i], .value = names[i]};
        all[i] = i;
    }
    s->in.volumes = volumes;
    s->in.n_volumes = N;
    s->in.n_methods = s->in.n_nuisances = 0;
    s->in.n_queries = 1;
    s->queries[0] = (cmir_eval_query){0, all + 1, N - 1};
    FAILS(evaluate(s), CMIR_ELIMIT, "1001 different values");
    for (uint32_t i = 0; i < MANY; i++)
        queries[i] = (cmir_eval_query){0, all + 1, 3};
    s->in.queries = queries;
    s->in.n_queries = MANY;
    s->opt.n_shuffles = CMIR_EVAL_MAX_ROUNDS;
    FAILS(evaluate(s), CMIR_ELIMIT, "2000 queries x 100000 shuffles");
}

/* A patient must not answer itself: by its group, or by its id where it has none. */
static void
test_assess_leak(void **state)
{
    struct study *s = *state;

    s->databases[0][0] = s->found[0][1] = 5; /* f is of a's patient */
    FAILS(evaluate(s), CMIR_EINVAL, "database of query a holds f of the same patient");
    s->opt.allow_leak = true;
    OK(evaluate(s));
    assert_true(s->out->leak);
    set_up(state);
    s->databases[1][3] = s->found[1][3] = 1;
    FAILS(evaluate(s), CMIR_EINVAL, "database of query b holds b of the same patient");
    /* Allowed, but absent: nothing to mark. */
    set_up(state);
    s->opt.allow_leak = true;
    OK(evaluate(s));
    assert_false(s->out->leak);
}

/* Lists and databases without anything in them. */
static void
test_assess_empty(void **state)
{
    struct study *s = *state;

    s->lists[0].n_found = 0;
    s->lists[1] = (cmir_eval_list){0};
    OK(evaluate(s));
    const cmir_eval_line *ours = &s->out->lines[0];
    for (size_t m = 0; m < s->out->n_metrics; m++)
        assert_true(ours->figures[m].value == 0.0);
    assert_true(isnan(ours->evidence[0]) && isnan(ours->auroc.value) && isnan(ours->brier.value));
    assert_true(ours->accuracy.value == 0.0); /* nothing was voted for, which is not right */
    for (int i = 0; i < 9; i++)
        assert_true(ours->confusion[i] == 0.0);

    s->queries[0].n_database = s->queries[1].n_database = 0;
    OK(evaluate(s));
    for (size_t i = 0; i < s->out->n_lines; i++) {
        const cmir_eval_line *line = &s->out->lines[i];

        assert_true(line->figures[0].value == 0.0 && line->figures[4].value == 0.0); /* P@3, AP */
        assert_true(isnan(line->figures[5].value)); /* mAP: nothing could be found */
        assert_true(isnan(line->evidence[1]) && line->accuracy.value == 0.0);
    }
}

/* One query is one patient: a value, but no interval; of one kind, so that no AUROC exists. */
static void
test_assess_one_query(void **state)
{
    struct study *s = *state;

    s->in.n_queries = 1;
    OK(evaluate(s));
    const cmir_eval_line *ours = &s->out->lines[0];
    assert_int_equal(s->out->n_groups, 1);
    assert_true(fabs(ours->figures[0].value - 1.0 / 3) < 1e-12 && isnan(ours->figures[0].low));
    assert_true(isnan(ours->auroc.value) && isnan(ours->brier.low));
    /* 0.9 .. 0.6 weigh 4, 3, 2, 1; the first is positive. */
    assert_true(fabs(ours->evidence[0] - 0.4) < 1e-12);
    assert_true(fabs(ours->brier.value - 0.36) < 1e-12);
    assert_true(ours->bin_n[4] == 1.0 || ours->bin_n[3] == 1.0);
    /* Shuffles do spread. */
    assert_true(s->out->lines[1].figures[0].low < s->out->lines[1].figures[0].high);
}

/* Nearest by size: b (2.0) is as far from a (1.0) as d is, c is unknown and so last. */
static void
test_assess_nuisance(void **state)
{
    struct study *s = *state;
    const uint32_t k[] = {1, 2, 3, 4};

    s->opt.k = k;
    s->opt.n_k = 4;
    OK(evaluate(s));
    const double *of_a = s->out->lines[4].per_query;
    for (int i = 0; i < 3; i++)
        assert_true(of_a[i] == 0.0);
    assert_true(of_a[3] == 0.25);
    s->nuisances[0][0] = NAN; /* of the query: any order is as good */
    OK(evaluate(s));
    for (int i = 0; i < 4; i++)
        assert_true(fabs(s->out->lines[4].per_query[i] - 0.25) < 1e-12);
}

/* Cohorts: X first for a; without any cohort there is no such line. */
static void
test_assess_cohort(void **state)
{
    struct study *s = *state;

    OK(evaluate(s));
    /* a: b of X first, then one of c, d, e is relevant: 2 of 3 places. */
    assert_true(fabs(s->out->lines[3].per_query[0] - 2.0 / 3 / 3) < 1e-12);
    for (int v = 0; v < 6; v++)
        s->volumes[v].cohort = NULL;
    OK(evaluate(s));
    assert_int_equal(s->out->n_lines, 4);
    assert_int_equal(s->out->lines[3].kind, CMIR_EVAL_NUISANCE);
}

/* "1" is what is positive only where it is one of two values; else nothing is, and everything else is
 * as ever. */
static void
test_assess_no_positive(void **state)
{
    struct study *s = *state;

    s->opt.positive = NULL;
    s->volumes[4].value = "0";
    OK(evaluate(s));
    assert_string_equal(s->out->positive, "1");
    s->volumes[4].value = "2";
    OK(evaluate(s));
    assert_null(s->out->positive);
    for (size_t i = 0; i < s->out->n_lines; i++) {
        const cmir_eval_line *line = &s->out->lines[i];

        assert_true(isnan(line->evidence[0]) && isnan(line->auroc.value) &&
                    isnan(line->brier.value) && line->bin_n[0] == 0.0);
        assert_true(!isnan(line->accuracy.value) && !isnan(line->figures[0].value));
    }
    s->volumes[0].value = s->volumes[2].value = s->opt.positive = "one";
    OK(evaluate(s));
    assert_string_equal(s->out->positive, "one");
    assert_false(isnan(s->out->lines[0].auroc.value));
}

struct watch {
    uint64_t last, total, stop_at;
};

static int
watch(void *ctx, uint64_t done, uint64_t total)
{
    struct watch *w = ctx;

    assert_int_equal(done, w->last + 1);
    w->last = done;
    w->total = total;
    return done == w->stop_at;
}

static void
test_assess_progress(void **state)
{
    struct study *s = *state;
    const cmir_eval_method two[] = {s->method, s->method};
    struct watch w = {0};

    s->in.methods = two;
    s->in.n_methods = 2;
    s->opt.progress = watch;
    s->opt.progress_ctx = &w;
    OK(evaluate(s));
    assert_int_equal(w.last, w.total);
    const uint64_t total = w.total;
    for (uint64_t at = 1; at <= total; at++) { /* stopped anywhere, nothing is left behind */
        w = (struct watch){.stop_at = at};
        FAILS(evaluate(s), CMIR_ECANCELLED, "stopped");
        assert_int_equal(w.last, at);
        assert_null(s->out);
    }
}

static void
test_assess_stage(void **state)
{
    int stage = 0;

    (void)state;
    OK(cmir_tumour_stage("liver", 2.0, 1, &stage, &err));
    assert_int_equal(stage, 1);
    OK(cmir_tumour_stage("lung", 0.0, 0, &stage, &err));
    assert_int_equal(stage, -1);
    FAILS(cmir_tumour_stage("brain", 1.0, 1, &stage, &err), CMIR_EINVAL, "'brain'");
    FAILS(cmir_tumour_stage(NULL, 1.0, 1, &stage, &err), CMIR_EINVAL, "site");
    FAILS(cmir_tumour_stage("liver", NAN, 1, &stage, &err), CMIR_EINVAL, "cm");
}

/* Two hits of one query, none of the other: a query is one sample whatever it has. */
static void
test_assess_locations(void **state)
{
    struct study *s = *state;
    const cmir_eval_location good = {.volume = 2,
                                     .n_matches = 4,
                                     .n_inside = 3,
                                     .n_slices = 10,
                                     .n_shown = 5,
                                     .run_first = 2,
                                     .run_last = 6,
                                     .n_structure = 5,
                                     .n_in_run = 3};
    cmir_eval_location hits[2] = {good, good};
    cmir_eval_localisation out;

    hits[1].volume = 1;
    hits[1].n_inside = 1;
    hits[1].run_first = 5;
    hits[1].run_last = 8;
    hits[1].n_in_run = 4;
    OK(cmir_evaluate_locations(&s->in, &s->opt, hits, 2, &out, &err));
    assert_true(out.n_hits == 2 && out.n_queries == 1 && out.n_groups == 1);
    assert_true(out.ratio.value == 0.5 && isnan(out.ratio.low)); /* one patient */
    assert_true(out.chance.value == 0.5 && out.gain.value == 1.0 && out.placed.value == 0.5);
    assert_true(fabs(out.iou.value - (3.0 / 7.0 + 4.0 / 5.0) / 2.0) < 1e-12);
    OK(cmir_evaluate_locations(&s->in, NULL, NULL, 0, &out, &err));
    assert_true(out.n_hits == 0 && out.n_queries == 0 && isnan(out.ratio.value));
    assert_true(isnan(out.gain.value) && isnan(out.placed.high));

#define BAD_HIT(field, wrong, words)                                                               \
    hits[1] = good;                                                                                \
    hits[1].volume = 1;                                                                            \
    hits[1].field = (wrong);                                                                       \
    FAILS(cmir_evaluate_locations(&s->in, &s->opt, hits, 2, &out, &err), CMIR_EINVAL, words)
    BAD_HIT(method, 1, "method 1");
    BAD_HIT(query, 2, "query 2");
    BAD_HIT(volume, 6, "volume 6");
    BAD_HIT(volume, 5, "'f' is not in the database of 'a'");
    BAD_HIT(volume, 2, "'c' was found twice for 'a' by ours");
    BAD_HIT(n_matches, 0, "'b'");
    BAD_HIT(n_inside, 5, "5 of 4 matches");
    BAD_HIT(n_shown, 0, "0 of 10 slices");
    BAD_HIT(n_shown, 11, "11 of 10 slices");
    BAD_HIT(run_first, 7, "run 7:6");
    BAD_HIT(n_in_run, 6, "6 of 5 in the run");
    BAD_HIT(run_first, 5, "3 of 5 in the run 5:6");
    BAD_HIT(n_structure, 4, "3 of 4 in the run");
#undef BAD_HIT
    s->opt.n_bootstrap = CMIR_EVAL_MAX_ROUNDS + 1;
    FAILS(cmir_evaluate_locations(&s->in, &s->opt, hits, 1, &out, &err), CMIR_EINVAL, "at most");
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_assess_##name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(whole),       TEST(refused),   TEST(limits),   TEST(leak),
        TEST(empty),       TEST(one_query), TEST(nuisance), TEST(cohort),
        TEST(no_positive), TEST(progress),  TEST(stage),    TEST(locations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
