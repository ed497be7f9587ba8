/* SPDX-License-Identifier: Apache-2.0 */
/* test_metrics.c: figures of lists, of scores, and small statistics, where the answer is known by hand.
 * With --probe it answers lines of numbers, for tests/oracle/test_metrics.py to compare. */
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

#include "assess/metrics.h"
#include "assess/statistics.h"

static cmir_error err;

#define OK(call) assert_int_equal((call), CMIR_OK)
#define NEAR(a, b) assert_true(fabs((a) - (b)) < 1e-12)

static void
test_metrics_list(void **state)
{
    const uint8_t list[] = {0, 1, 1, 0, 1, 0, 0, 0, 1, 0, 1, 1}; /* 12 long */

    (void)state;
    NEAR(cmir_precision_at(list, 12, 3), 2.0 / 3);
    NEAR(cmir_precision_at(list, 12, 10), 4.0 / 10);
    NEAR(cmir_notebook_p10(list, 12), (4.0 + 3.0 / 5) / 11);
    NEAR(cmir_average_precision(list, 12, 10, 0), (1.0 / 2 + 2.0 / 3 + 3.0 / 5 + 4.0 / 9) / 4);
    NEAR(cmir_average_precision(list, 12, 10, 30), (1.0 / 2 + 2.0 / 3 + 3.0 / 5 + 4.0 / 9) / 10);
    NEAR(cmir_average_precision(list, 12, 3, 2), (1.0 / 2 + 2.0 / 3) / 2);
    NEAR(cmir_average_precision(list, 2, 0, 8), 1.0 / 2 / 8);
    NEAR(cmir_recall_at(list, 12, 5, 8), 3.0 / 8);
    NEAR(cmir_reciprocal_rank(list, 12), 1.0 / 2);
    NEAR(cmir_ndcg_at(list, 12, 3, 1), 1.0 / log2(3) + 1.0 / 2); /* over an ideal of 1 */
}

/* Lists that are short, empty, or have nothing to find. */
static void
test_metrics_short(void **state)
{
    const uint8_t list[] = {1, 1};

    (void)state;
    NEAR(cmir_precision_at(list, 2, 5), 2.0 / 5);
    NEAR(cmir_notebook_p10(list, 2), (2.0 + 2.0 / 5) / 11);
    NEAR(cmir_average_precision(list, 2, 10, 0), 1.0);
    NEAR(cmir_recall_at(list, 2, 10, 4), 0.5);
    NEAR(cmir_precision_at(list, 0, 3), 0.0);
    NEAR(cmir_average_precision(list, 0, 10, 0), 0.0);
    NEAR(cmir_average_precision(list, 0, 0, 3), 0.0);
    NEAR(cmir_reciprocal_rank(list, 0), 0.0);
    NEAR(cmir_ndcg_at(list, 0, 10, 3), 0.0);
    assert_true(isnan(cmir_recall_at(list, 2, 10, 0)));
    assert_true(isnan(cmir_ndcg_at(list, 2, 10, 0)));
}

static void
test_metrics_scores(void **state)
{
    const double score[] = {0.1, 0.4, 0.4, NAN, 0.9};
    const uint8_t positive[] = {0, 0, 1, 0, 1}, none[5] = {0};
    cmir_reliability_bin bins[4];
    size_t order[5];

    (void)state;
    NEAR(cmir_auroc(score, positive, 5, order), 3.5 / 4);
    NEAR(cmir_auprc(score, positive, 5, order), 0.5 * 1 + 0.5 * 2 / 3);
    NEAR(cmir_brier(score, positive, 5), (0.01 + 0.16 + 0.36 + 0.01) / 4);
    assert_true(isnan(cmir_auroc(score, none, 5, order)));
    assert_true(isnan(cmir_auprc(score, none, 5, order)));
    assert_true(isnan(cmir_auroc(score, positive, 0, order)));
    assert_true(isnan(cmir_brier(score, positive, 0)));
    cmir_reliability(score, positive, 5, bins, 4);
    assert_int_equal(bins[0].n, 1);
    assert_int_equal(bins[1].n, 2);
    NEAR(bins[1].rate, 0.5);
    assert_int_equal(bins[2].n, 0);
    assert_true(isnan(bins[2].rate));
    assert_int_equal(bins[3].n, 1);
    NEAR(bins[3].probability, 0.9);
    const double one = 1.0; /* the end of the last bin */
    cmir_reliability(&one, positive, 1, bins, 4);
    assert_int_equal(bins[3].n, 1);
}

/* The share of a vote is the same for a * score + b, and 1 / rank is its own weight. */
static void
test_metrics_weights(void **state)
{
    const double score[] = {0.9, 0.8, 0.8, 0.5}, other[] = {-1.0, -3.0, -3.0, -9.0};
    const double by_rank[] = {1.0, 1.0 / 2, 1.0 / 3, 1.0 / 4}, equal[] = {7.0, 7.0, 7.0};
    double a[4], b[4];

    (void)state;
    cmir_vote_weights(score, 4, a);
    cmir_vote_weights(other, 4, b);
    for (int i = 0; i < 4; i++) {
        assert_true(a[i] > 0.0);
        NEAR(a[i] * 20.0, b[i]);
    }
    cmir_vote_weights(by_rank, 4, a);
    for (int i = 0; i < 4; i++)
        NEAR(a[i], by_rank[i]);
    cmir_vote_weights(equal, 3, a);
    cmir_vote_weights(equal, 1, b);
    NEAR(a[0], a[2]);
    NEAR(b[0], 1.0);
}

static void
test_statistics_tests(void **state)
{
    const double up[] = {1, 2, 3, 4, 5, 6}, zeros[] = {0, 0, NAN}, even[] = {1, -1, 2, -2};
    double many[60], p, pvalues[] = {0.01, NAN, 0.04, 0.03, 0.7};

    (void)state;
    OK(cmir_wilcoxon(up, 6, &p, &err));
    NEAR(p, 2.0 / 64);
    OK(cmir_sign_flip(up, 6, 10, 1, &p, &err));
    NEAR(p, 2.0 / 64);
    OK(cmir_wilcoxon(zeros, 3, &p, &err));
    NEAR(p, 1.0);
    OK(cmir_sign_flip(zeros, 3, 10, 1, &p, &err));
    NEAR(p, 1.0);
    OK(cmir_wilcoxon(NULL, 0, &p, &err));
    NEAR(p, 1.0);
    OK(cmir_wilcoxon(even, 4, &p, &err));
    NEAR(p, 1.0);
    OK(cmir_sign_flip(even, 4, 10, 1, &p, &err));
    NEAR(p, 1.0);
    for (int i = 0; i < 60; i++)
        many[i] = 1.0 + i % 3;
    OK(cmir_sign_flip(many, 60, 99, 1, &p, &err)); /* nothing drawn comes near */
    NEAR(p, 1.0 / 100);
    OK(cmir_holm(pvalues, 5, &err));
    NEAR(pvalues[0], 0.04);
    assert_true(isnan(pvalues[1]));
    NEAR(pvalues[2], 0.09);
    NEAR(pvalues[3], 0.09);
    NEAR(pvalues[4], 0.7);
}

static void
test_statistics_intervals(void **state)
{
    const double values[] = {1.0, 3.0, NAN, 5.0};
    const uint32_t group[] = {0, 0, 1, 2}, one_group[] = {1, 1, 0, 1};
    double samples[] = {3.0, NAN, 1.0, 2.0}, low, high;
    cmir_estimate e, again;
    uint64_t a = 5, b = 5;

    (void)state;
    e = cmir_wilson(0.0, 10.0);
    assert_true(e.value == 0.0 && e.low == 0.0 && e.high > 0.2);
    e = cmir_wilson(10.0, 10.0);
    assert_true(e.value == 1.0 && e.high == 1.0 && e.low < 0.8);
    e = cmir_wilson(0.0, 0.0);
    assert_true(isnan(e.value) && e.low == 0.0 && e.high == 1.0);
    cmir_interval(samples, 4, &low, &high);
    NEAR(low, 1.05);
    NEAR(high, 2.95);
    OK(cmir_bootstrap_mean(values, group, 4, 3, 500, 9, &e, &err));
    NEAR(e.value, 3.0); /* of values, not of groups */
    assert_true(e.low >= 2.0 && e.low <= e.value && e.high >= e.value && e.high <= 5.0);
    OK(cmir_bootstrap_mean(values, group, 4, 3, 500, 9, &again, &err));
    assert_memory_equal(&e, &again, sizeof e);
    OK(cmir_bootstrap_mean(values, one_group, 4, 2, 500, 9, &e, &err));
    assert_true(e.value == 3.0 && isnan(e.low) && isnan(e.high));
    OK(cmir_bootstrap_mean(values, group, 4, 3, 0, 9, &e, &err));
    assert_true(e.value == 3.0 && isnan(e.low) && isnan(e.high));
    OK(cmir_bootstrap_mean(values + 2, group + 2, 1, 2, 10, 9, &e, &err));
    assert_true(isnan(e.value) && isnan(e.low));
    for (uint32_t n = 1; n < 1000; n++) {
        const uint32_t drawn = cmir_random_below(&a, n);

        assert_true(drawn < n);
        assert_int_equal(drawn, cmir_random_below(&b, n));
    }
}

/* Numbers of one line of the probe. */
struct numbers {
    double v[20000];
    size_t n;
};

static void
print(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%.17g%c", v[i], i + 1 < n ? ' ' : '\n');
}

/* list K N_RELEVANT RELEVANT..: P@K, notebook, AP over K, AP over all, recall, 1 / rank, nDCG. */
static void
probe_list(const struct numbers *in)
{
    static uint8_t list[20000];
    const size_t k = (size_t)in->v[0], n_relevant = (size_t)in->v[1], n = in->n - 2;

    for (size_t i = 0; i < n; i++)
        list[i] = in->v[i + 2] != 0.0;
    print((double[]){cmir_precision_at(list, n, k), cmir_notebook_p10(list, n),
                     cmir_average_precision(list, n, k, 0),
                     cmir_average_precision(list, n, 0, n_relevant),
                     cmir_recall_at(list, n, k, n_relevant), cmir_reciprocal_rank(list, n),
                     cmir_ndcg_at(list, n, k, n_relevant)},
          7);
}

/* scores N_BINS (SCORE POSITIVE)..: AUROC, AUPRC, Brier, then n, mean, rate of each bin. */
static void
probe_scores(const struct numbers *in)
{
    static double score[10000], out[400];
    static uint8_t positive[10000];
    static size_t order[10000];
    cmir_reliability_bin bins[100];
    const size_t n = in->n / 2, n_bins = (size_t)in->v[0];

    for (size_t i = 0; i < n; i++) {
        score[i] = in->v[1 + 2 * i];
        positive[i] = in->v[2 + 2 * i] != 0.0;
    }
    cmir_reliability(score, positive, n, bins, n_bins);
    out[0] = cmir_auroc(score, positive, n, order);
    out[1] = cmir_auprc(score, positive, n, order);
    out[2] = cmir_brier(score, positive, n);
    for (size_t b = 0; b < n_bins; b++) {
        out[3 + 3 * b] = (double)bins[b].n;
        out[4 + 3 * b] = bins[b].probability;
        out[5 + 3 * b] = bins[b].rate;
    }
    print(out, 3 + 3 * n_bins);
}

/* bootstrap ROUNDS SEED N_GROUPS (VALUE GROUP).. */
static void
probe_bootstrap(const struct numbers *in)
{
    static double values[10000];
    static uint32_t group[10000];
    const size_t n = (in->n - 3) / 2;
    cmir_estimate e;

    for (size_t i = 0; i < n; i++) {
        values[i] = in->v[3 + 2 * i];
        group[i] = (uint32_t)in->v[4 + 2 * i];
    }
    OK(cmir_bootstrap_mean(values, group, n, (size_t)in->v[2], (uint32_t)in->v[0],
                           (uint64_t)in->v[1], &e, &err));
    print((double[]){e.value, e.low, e.high}, 3);
}

static void
probe_line(const char *name, struct numbers *in)
{
    double p = NAN;

    if (strcmp(name, "list") == 0) {
        probe_list(in);
    } else if (strcmp(name, "scores") == 0) {
        probe_scores(in);
    } else if (strcmp(name, "bootstrap") == 0) {
        probe_bootstrap(in);
    } else if (strcmp(name, "wilson") == 0) {
        const cmir_estimate e = cmir_wilson(in->v[0], in->v[1]);

        print((double[]){e.value, e.low, e.high}, 3);
    } else if (strcmp(name, "wilcoxon") == 0) {
        OK(cmir_wilcoxon(in->v, in->n, &p, &err));
        print(&p, 1);
    } else if (strcmp(name, "sign_flip") == 0) { /* ROUNDS SEED DIFFERENCE.. */
        OK(cmir_sign_flip(in->v + 2, in->n - 2, (uint32_t)in->v[0], (uint64_t)in->v[1], &p, &err));
        print(&p, 1);
    } else if (strcmp(name, "holm") == 0) {
        OK(cmir_holm(in->v, in->n, &err));
        print(in->v, in->n);
    } else {
        printf("no such function: %s\n", name);
    }
}

static int
probe(void)
{
    static char line[1 << 19];
    static struct numbers in;

    while (fgets(line, sizeof line, stdin) != NULL) {
        char *at = strchr(line, ' '), *end;

        if (at == NULL)
            return 1;
        *at++ = '\0';
        for (in.n = 0; in.n < sizeof in.v / sizeof *in.v; at = end) {
            in.v[in.n] = strtod(at, &end);
            if (end == at)
                break;
            in.n++;
        }
        probe_line(line, &in);
        fflush(stdout);
    }
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_list),     cmocka_unit_test(test_metrics_short),
        cmocka_unit_test(test_metrics_scores),   cmocka_unit_test(test_metrics_weights),
        cmocka_unit_test(test_statistics_tests), cmocka_unit_test(test_statistics_intervals),
    };

    if (argc > 1 && strcmp(argv[1], "--probe") == 0)
        return probe();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
