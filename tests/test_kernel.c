/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernel.c: every kernel slot against an independent loop in long double: random shapes, blocks
 * that end on unmapped pages, extreme fills.  `test_kernel --bench` times the same calls. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <float.h>
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
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/half.h"
#include "kernel/kernel.h"

static uint64_t seed = 20240607;

static uint32_t
rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

/* A block whose first and last byte touch unmapped pages as nearly as its alignment lets them:
 * at_end tells which end touches. */
struct guarded {
    uint8_t *map, *data;
    size_t map_nbytes;
};

static struct guarded
guarded_new(size_t nbytes, bool at_end)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (nbytes + page - 1) / page * page;
    struct guarded g = {.map_nbytes = inner + 2 * page};

    g.map = mmap(NULL, g.map_nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map, page, PROT_NONE), 0);
    assert_int_equal(mprotect(g.map + page + inner, page, PROT_NONE), 0);
    g.data = g.map + page + (at_end ? inner - nbytes : 0);
    return g;
}

static void
guarded_free(struct guarded *g)
{
    munmap(g->map, g->map_nbytes);
}

enum fill { RANDOM, LARGEST, ZERO, SUBNORMAL, OPPOSITE, EQUAL_ROWS, N_FILLS };

static uint16_t
half_of(enum fill fill, uint32_t column)
{
    switch (fill) {
    case LARGEST: return (uint16_t)(0x7BFFu | (rnd() & 1u) << 15);
    case ZERO: return (uint16_t)((rnd() & 1u) << 15);
    case SUBNORMAL: return (uint16_t)(rnd() & 0x83FFu);
    case OPPOSITE: return (uint16_t)(column & 1u ? 0xBC00u : 0x3C00u);
    case EQUAL_ROWS: return (uint16_t)(0x3000u + column % 1024u);
    case RANDOM:
    default: return cmir_float_to_half((float)((int32_t)(rnd() % 2001u) - 1000) / 1000.0f);
    }
}

struct shape {
    uint32_t m, n, dim;
    enum fill fill;
};

/* Dot product and the sum of magnitudes, which bounds the rounding of any order of summation. */
static long double
slow_dot(const float *q, const uint16_t *row, uint32_t dim, long double *magnitude)
{
    long double sum = 0.0L;

    *magnitude = 0.0L;
    for (uint32_t d = dim; d-- > 0;) { /* backwards: unlike the kernel */
        const long double product = (long double)q[d] * (long double)cmir_half_to_float(row[d]);

        sum += product;
        *magnitude += fabsl(product);
    }
    return sum;
}

static void
check(const struct cmir_kernels *k, struct shape s, const float *q, const uint16_t *rows,
      bool at_end)
{
    const size_t n_dots = (size_t)s.m * s.n;
    struct guarded dots = guarded_new(n_dots * sizeof(double), at_end);
    struct guarded best = guarded_new(s.m * sizeof(double), at_end);
    struct guarded best_row = guarded_new(s.m * sizeof(uint32_t), at_end);
    double *dot = (void *)dots.data, *top = (void *)best.data;
    uint32_t *top_row = (void *)best_row.data;

    k->dots_exact(q, s.m, rows, s.n, s.dim, dot);
    k->maxsim_exact(q, s.m, rows, s.n, s.dim, top_row, top);
    for (uint32_t i = 0; i < s.m; i++) {
        uint32_t first_best = 0;

        for (uint32_t j = 0; j < s.n; j++) {
            long double magnitude;
            const long double want =
                slow_dot(q + (size_t)i * s.dim, rows + (size_t)j * s.dim, s.dim, &magnitude);
            const double got = dot[(size_t)i * s.n + j];

            if (fabsl(got - want) > s.dim * (long double)DBL_EPSILON * magnitude)
                fail_msg("m=%" PRIu32 " n=%" PRIu32 " dim=%" PRIu32 " fill=%d row %" PRIu32
                         ", %" PRIu32 ": want %.17Lg got %.17g",
                         s.m, s.n, s.dim, (int)s.fill, i, j, want, got);
            if (got > dot[(size_t)i * s.n + first_best])
                first_best = j;
        }
        /* Both slots agree to the bit, and the lowest row wins ties. */
        assert_int_equal(top_row[i], first_best);
        assert_true(top[i] == dot[(size_t)i * s.n + first_best]);
    }
    guarded_free(&dots);
    guarded_free(&best);
    guarded_free(&best_row);
}

static void
check_shape(const struct cmir_kernels *k, struct shape s, bool at_end)
{
    const size_t n_query = (size_t)s.m * s.dim, n_rows = (size_t)s.n * s.dim;
    struct guarded query = guarded_new(n_query * sizeof(float), at_end);
    struct guarded rows = guarded_new(n_rows * sizeof(uint16_t), at_end);
    float *q = (void *)query.data;
    uint16_t *r = (void *)rows.data;

    for (size_t i = 0; i < n_query; i++)
        q[i] = cmir_half_to_float(half_of(s.fill, (uint32_t)(i % s.dim)));
    for (size_t i = 0; i < n_rows; i++)
        r[i] = half_of(s.fill, (uint32_t)(i % s.dim));
    check(k, s, q, r, at_end);
    guarded_free(&query);
    guarded_free(&rows);
}

static void
test_small_shapes(void **state)
{
    struct cmir_kernels k;

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    cmir_kernels_init(&k, 0);
    for (uint32_t dim = 1; dim <= 257; dim += 1 + rnd() % 16)
        for (int fill = 0; fill < N_FILLS; fill++)
            check_shape(&k, (struct shape){1 + rnd() % 70, 1 + rnd() % 70, dim, (enum fill)fill},
                        rnd() & 1u);
}

/* Around every border of the reference's blocks, and the largest dim. */
static void
test_borders(void **state)
{
    static const uint32_t dims[] = {1, 511, 512, 513, 1024, 1025, 1300, 4096};
    static const uint32_t counts[] = {1, 7, 8, 9, 31, 32, 33, 65};
    struct cmir_kernels k;

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    cmir_kernels_init(&k, 0);
    for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++)
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            const uint32_t other = counts[rnd() % 8];
            const struct shape s = {counts[c], other, dims[d], (enum fill)(rnd() % N_FILLS)};

            check_shape(&k, s, true);
            check_shape(&k, (struct shape){other, counts[c], dims[d], RANDOM}, false);
        }
}

static void
bench(void)
{
    const struct shape s = {150, 300, 528, RANDOM};
    struct cmir_kernels k;
    float *q = malloc((size_t)s.m * s.dim * sizeof *q);
    uint16_t *r = malloc((size_t)s.n * s.dim * sizeof *r);
    uint32_t *row = malloc(s.m * sizeof *row);
    double *top = malloc(s.m * sizeof *top);
    struct timespec t0, t1;
    const int n_runs = 20;

    if (q == NULL || r == NULL || row == NULL || top == NULL)
        exit(1);
    for (size_t i = 0; i < (size_t)s.m * s.dim; i++)
        q[i] = cmir_half_to_float(half_of(RANDOM, 0));
    for (size_t i = 0; i < (size_t)s.n * s.dim; i++)
        r[i] = half_of(RANDOM, 0);
    cmir_kernels_init(&k, 0);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (int i = 0; i < n_runs; i++)
        k.maxsim_exact(q, s.m, r, s.n, s.dim, row, top);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    const double seconds =
        (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec);
    printf("maxsim_exact reference %" PRIu32 " x %" PRIu32 " x %" PRIu32
           ": %.2f ms, %.2f Gflop/s\n",
           s.m, s.n, s.dim, 1e3 * seconds / n_runs, 2e-9 * s.m * s.n * s.dim * n_runs / seconds);
    free(q);
    free(r);
    free(row);
    free(top);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_shapes),
        cmocka_unit_test(test_borders),
    };

    if (argc == 2 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
