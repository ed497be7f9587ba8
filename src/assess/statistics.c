/* SPDX-License-Identifier: Apache-2.0 */
/* statistics.c: intervals and tests for small samples.  Called by evidence.c, evaluate.c, engine.
 *
 * The one idea: what can be counted out is (Wilcoxon's ranks, few signs), what cannot is drawn from a
 * seed. */
#include "assess/statistics.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

#define Z95 1.959963984540054  /* of the normal distribution, two-sided */
/* Equal but for rounding (2/3 - 1/3 is not 1 - 2/3): a share of the largest difference. */
#define SAME 1e-9
enum { EXACT_RANKS = 50, EXACT_SIGNS = 16 };

cmir_estimate
cmir_wilson(double k, double n)
{
    if (!(n > 0.0))
        return (cmir_estimate){NAN, 0.0, 1.0};
    const double p = k / n, z2 = Z95 * Z95;
    const double centre = p + z2 / (2.0 * n);
    const double half = Z95 * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    const double low = (centre - half) / (1.0 + z2 / n), high = (centre + half) / (1.0 + z2 / n);

    /* Rounding must not leave 1e-17 where the interval ends at 0 or 1. */
    return (cmir_estimate){p, k <= 0.0 ? 0.0 : low, k >= n ? 1.0 : high};
}

/* SplitMix64 (Steele, Lea and Flood, 2014). */
static uint64_t
random_bits(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The high half of a product, its low half refused where it would favour some numbers (D. Lemire,
 * 2019). */
uint32_t
cmir_random_below(uint64_t *state, uint32_t n)
{
    uint64_t product = (random_bits(state) >> 32) * n;

    if ((uint32_t)product < n) {
        const uint32_t refused = (UINT32_MAX - n + 1) % n;

        while ((uint32_t)product < refused)
            product = (random_bits(state) >> 32) * n;
    }
    return (uint32_t)(product >> 32);
}

static int
compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of sorted numbers, between neighbours in proportion, as numpy's default. */
static double
quantile(const double *sorted, size_t n, double share)
{
    const double at = share * (double)(n - 1);
    const size_t below = (size_t)at;

    if (below + 1 >= n)
        return sorted[n - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

void
cmir_interval(double *samples, size_t n, double *low, double *high)
{
    size_t n_known = 0;

    for (size_t i = 0; i < n; i++)
        if (!isnan(samples[i]))
            samples[n_known++] = samples[i];
    *low = *high = NAN;
    if (n_known < 2)
        return;
    qsort(samples, n_known, sizeof *samples, compare_doubles);
    *low = quantile(samples, n_known, 0.025);
    *high = quantile(samples, n_known, 0.975);
}

/* Sums of values and of what they are divided by (NULL: 1 each) of the groups that have a value, moved
 * together to the front; how many. */
static size_t
add_up_groups(const double *values, const double *by, const uint32_t *group, size_t n,
              size_t n_groups, double *sum, double *count)
{
    size_t n_known = 0;

    for (size_t i = 0; i < n; i++) {
        if (isnan(values[i]))
            continue;
        sum[group[i]] += values[i];
        count[group[i]] += by == NULL ? 1.0 : by[i];
    }
    for (size_t g = 0; g < n_groups; g++) {
        if (count[g] == 0.0)
            continue;
        sum[n_known] = sum[g];
        count[n_known++] = count[g];
    }
    return n_known;
}

cmir_status
cmir_bootstrap_quotient(const double *values, const double *by, const uint32_t *group, size_t n,
                        size_t n_groups, uint32_t rounds, uint64_t seed, cmir_estimate *out,
                        cmir_error *err)
{
    double *sum = cmir_alloc_zeroed(n_groups, sizeof *sum);
    double *count = cmir_alloc_zeroed(n_groups, sizeof *count);
    double *means = cmir_alloc(rounds, sizeof *means);
    cmir_status st = CMIR_OK;

    *out = (cmir_estimate){NAN, NAN, NAN};
    if (sum == NULL || count == NULL || means == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory for %u bootstrap samples of %zu groups", rounds,
                  n_groups);
        goto done;
    }
    const size_t n_known = add_up_groups(values, by, group, n, n_groups, sum, count);
    double total = 0.0, n_values = 0.0;
    for (size_t g = 0; g < n_known; g++) {
        total += sum[g];
        n_values += count[g];
    }
    out->value = total / n_values; /* of nothing: NAN */
    if (n_known < 2)               /* one patient has no spread */
        goto done;
    for (uint32_t r = 0; r < rounds; r++) {
        double s = 0.0, c = 0.0;

        for (size_t g = 0; g < n_known; g++) {
            const uint32_t drawn = cmir_random_below(&seed, (uint32_t)n_known);

            s += sum[drawn];
            c += count[drawn];
        }
        means[r] = s / c;
    }
    cmir_interval(means, rounds, &out->low, &out->high);
done:
    free(sum);
    free(count);
    free(means);
    return st;
}

cmir_status
cmir_bootstrap_mean(const double *values, const uint32_t *group, size_t n, size_t n_groups,
                    uint32_t rounds, uint64_t seed, cmir_estimate *out, cmir_error *err)
{
    return cmir_bootstrap_quotient(values, NULL, group, n, n_groups, rounds, seed, out, err);
}

/* The differences that are neither zero nor NAN, in memory of the caller's; NULL without memory.
 * *same: sizes are equal that are no farther apart. */
static double *
real_differences(const double *d, size_t n, size_t *n_real, double *same)
{
    double *real = cmir_alloc(n, sizeof *real);
    double largest = 0.0;

    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(d[i])); /* which leaves NANs out */
    *same = SAME * largest;
    *n_real = 0;
    for (size_t i = 0; real != NULL && i < n; i++)
        if (fabs(d[i]) > *same)
            real[(*n_real)++] = d[i];
    return real;
}

static int
compare_sizes(const void *a, const void *b)
{
    const double x = fabs(*(const double *)a), y = fabs(*(const double *)b);

    return (x > y) - (x < y);
}

/* d[n], sorted by size, becomes twice its mean ranks, whole numbers; *plus their sum over the positive
 * ones, *ties the sum of t^3 - t over runs of t equal sizes. */
static void
rank_twice(double *d, size_t n, double same, double *plus, double *ties)
{
    *plus = *ties = 0.0;
    for (size_t i = 0, end; i < n; i = end) {
        const double size = fabs(d[i]);

        for (end = i; end < n && fabs(d[end]) <= size + same;)
            end++;
        const double run = (double)(end - i), rank = (double)(i + 1 + end);
        *ties += run * run * run - run;
        for (size_t k = i; k < end; k++) {
            *plus += d[k] > 0.0 ? rank : 0.0;
            d[k] = rank;
        }
    }
}

/* Two-sided p of a rank sum, from how many of the 2^n choices of signs reach each sum: the shift
 * algorithm, which knows ties (B. Streitberg and J. Roehmel, 1986). */
static double
exact_rank_p(const double *rank, size_t n, double plus)
{
    double ways[EXACT_RANKS * (EXACT_RANKS + 1) + 1] = {1.0};
    size_t top = 0;
    double below = 0.0, above = 0.0, all = 0.0;

    for (size_t i = 0; i < n; i++) {
        const size_t step = (size_t)rank[i];

        top += step;
        for (size_t s = top; s >= step; s--)
            ways[s] += ways[s - step];
    }
    for (size_t s = 0; s <= top; s++) {
        all += ways[s];
        below += (double)s <= plus ? ways[s] : 0.0;
        above += (double)s >= plus ? ways[s] : 0.0;
    }
    return fmin(1.0, 2.0 * fmin(below, above) / all);
}

cmir_status
cmir_wilcoxon(const double *d, size_t n, double *p, cmir_error *err)
{
    size_t m;
    double plus, ties, same, *rank = real_differences(d, n, &m, &same);

    if (rank == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the ranks of %zu differences", n);
    qsort(rank, m, sizeof *rank, compare_sizes);
    rank_twice(rank, m, same, &plus, &ties);
    if (m <= EXACT_RANKS) {
        *p = exact_rank_p(rank, m, plus);
    } else {
        const double x = (double)m, mean = x * (x + 1.0) / 4.0;
        const double variance = (x * (x + 1.0) * (2.0 * x + 1.0) - 0.5 * ties) / 24.0;
        const double off = fmax(fabs(0.5 * plus - mean) - 0.5, 0.0); /* continuity */

        *p = erfc(off / sqrt(2.0 * variance));
    }
    free(rank);
    return CMIR_OK;
}

/* The share of all choices of signs whose sum is at least as far from zero.  Each choice differs from
 * the one before in the sign that ends the count's zeros (Gray code). */
static double
every_sign(double *d, size_t m, double sum, double same)
{
    const uint32_t n_choices = (uint32_t)1 << m;
    const double far = fabs(sum) - same;
    double hits = 1.0; /* as it is */

    for (uint32_t choice = 1; choice < n_choices; choice++) {
        size_t i = 0;

        while ((choice >> i & 1) == 0)
            i++;
        sum -= 2.0 * d[i];
        d[i] = -d[i];
        hits += fabs(sum) >= far;
    }
    return hits / n_choices;
}

static double
some_signs(const double *d, size_t m, double far, uint32_t rounds, uint64_t seed)
{
    double hits = 1.0;

    for (uint32_t r = 0; r < rounds; r++) {
        double sum = 0.0;
        uint64_t bits = 0;

        for (size_t i = 0; i < m; i++) {
            bits = i % 64 == 0 ? random_bits(&seed) : bits >> 1;
            sum += (bits & 1) != 0 ? d[i] : -d[i];
        }
        hits += fabs(sum) >= far;
    }
    return hits / ((double)rounds + 1.0);
}

cmir_status
cmir_sign_flip(const double *d, size_t n, uint32_t rounds, uint64_t seed, double *p,
               cmir_error *err)
{
    size_t m;
    double sum = 0.0, same, *real = real_differences(d, n, &m, &same);

    if (real == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the signs of %zu differences", n);
    for (size_t i = 0; i < m; i++)
        sum += real[i];
    *p = m <= EXACT_SIGNS ? every_sign(real, m, sum, same)
                          : some_signs(real, m, fabs(sum) - same, rounds, seed);
    free(real);
    return CMIR_OK;
}

struct test {
    double p;
    size_t at;
};

static int
compare_tests(const void *a, const void *b)
{
    const struct test *x = a, *y = b;

    return (x->p > y->p) - (x->p < y->p);
}

cmir_status
cmir_holm(double *p, size_t n, cmir_error *err)
{
    struct test *tests = cmir_alloc(n, sizeof *tests);
    size_t n_tests = 0;
    double most = 0.0;

    if (tests == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu tests", n);
    for (size_t i = 0; i < n; i++)
        if (!isnan(p[i]))
            tests[n_tests++] = (struct test){p[i], i};
    qsort(tests, n_tests, sizeof *tests, compare_tests);
    for (size_t i = 0; i < n_tests; i++) {
        most = fmax(most, fmin(1.0, (double)(n_tests - i) * tests[i].p));
        p[tests[i].at] = most;
    }
    free(tests);
    return CMIR_OK;
}
