/* SPDX-License-Identifier: Apache-2.0 */
/* bench_ragged.c: what volumes of unequal length cost: screening them against volumes of one length and
 * the same number of slices in all, one thread, at every level of this CPU.
 *
 *     bench_ragged
 *
 * 300 query slices against 40 volumes of 200 slices, and against 40 of 16 to 2,000 (log-uniform, then scaled to
 * the same total), for dims that are multiples of nothing.  Codes are random: time does not depend on them.  Both take
 * turns, and the least times count, so that other work on the machine cancels.  One JSON line per case; loss is of
 * throughput. */
#include <stdbool.h>

#include "base/cpu.h"
#include "kernel/kernel.h"
#include "pair.h"

enum { N_VOLUMES = 40, N_EACH = 200, N_GROUPS = 19, LEAST = 16, MOST = 2000 };

static const struct {
    const char *name;
    unsigned flags;
} levels[] = {
    {"amx", CMIR_CPU_AVX2 | CMIR_CPU_AVXVNNI | CMIR_CPU_AVX512VNNI | CMIR_CPU_AMX},
    {"avx512vnni", CMIR_CPU_AVX2 | CMIR_CPU_AVXVNNI | CMIR_CPU_AVX512VNNI},
    {"avxvnni", CMIR_CPU_AVX2 | CMIR_CPU_AVXVNNI},
    {"avx2", CMIR_CPU_AVX2},
    {"dotprod", CMIR_CPU_DOTPROD},
};

struct volumes {
    const cmir_kernels *kernels;
    cmir_packed query;
    cmir_codes all; /* of MOST slices: every volume is its first n */
    uint32_t n[N_VOLUMES];
    float *best;
};

static uint32_t
rnd(void)
{
    static uint64_t seed = 20260601;

    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

/* Microseconds. */
static double
time_of(const struct volumes *v)
{
    const double start = now_us();

    for (int i = 0; i < N_VOLUMES; i++) {
        cmir_codes c = v->all;

        c.n = v->n[i];
        v->kernels->maxsim(&v->query, &c, v->best, NULL, NULL);
    }
    return now_us() - start;
}

/* Lengths from 16 to 2,000 whose sum is that of equal ones. */
static void
draw_lengths(uint32_t n[N_VOLUMES])
{
    double length[N_VOLUMES], sum = 0;
    uint32_t left = N_VOLUMES * N_EACH;

    for (int i = 0; i < N_VOLUMES; i++)
        sum += length[i] = exp(log(LEAST) + log((double)MOST / LEAST) * (rnd() % 1000) / 1000.0);
    for (int i = 0; i < N_VOLUMES; i++) {
        const double scaled = length[i] * N_VOLUMES * N_EACH / sum;

        n[i] = scaled < LEAST ? LEAST : scaled > MOST ? MOST : (uint32_t)scaled;
    }
    for (int i = 0; i < N_VOLUMES; i++)
        left -= n[i];
    for (int i = 0; left != 0; i = (i + 1) % N_VOLUMES) /* the rest, one by one, up or down */
        if ((int32_t)left > 0 && n[i] < MOST)
            n[i]++, left--;
        else if ((int32_t)left < 0 && n[i] > LEAST)
            n[i]--, left++;
}

/* Random codes with their scales and sums. */
static cmir_codes
make_codes(uint32_t n, uint32_t dim, uint32_t padded_dim)
{
    int8_t *codes = must_alloc((size_t)n * padded_dim);
    float *numbers = must_alloc(n * sizeof *numbers);
    int32_t *sum = must_alloc(n * sizeof *sum);

    memset(codes, 0, (size_t)n * padded_dim);
    for (uint32_t j = 0; j < n; j++) {
        numbers[j] = 1e-3f;
        sum[j] = 0;
        for (uint32_t d = 0; d < dim; d++)
            sum[j] += codes[(size_t)j * padded_dim + d] = (int8_t)(rnd() % 255 - 127);
    }
    return (cmir_codes){codes, numbers, numbers, sum, numbers, numbers, n, padded_dim};
}

static void
bench(const char *name, unsigned flags, uint32_t dim)
{
    const uint32_t padded = (dim + 63) / 64 * 64, m = N_GROUPS * CMIR_LANES;
    cmir_kernels kernels;
    struct volumes v = {.kernels = &kernels, .all = make_codes(MOST, dim, padded)};
    const cmir_codes query = make_codes(m, dim, padded);

    cmir_kernels_init(&kernels, flags);
    const size_t nbytes = kernels.group_nbytes(padded);
    uint8_t *groups = must_alloc(N_GROUPS * nbytes);
    for (uint32_t g = 0; g < N_GROUPS; g++)
        kernels.pack(query.codes + (size_t)g * CMIR_LANES * padded, CMIR_LANES, padded,
                     groups + g * nbytes);
    v.query = (cmir_packed){groups, query.scale, query.scale, query.scale, N_GROUPS};
    v.best = must_alloc(m * sizeof *v.best);
    struct volumes ragged = v;
    for (int i = 0; i < N_VOLUMES; i++)
        v.n[i] = N_EACH;
    draw_lengths(ragged.n);
    double best[2] = {INFINITY, INFINITY};
    const double start = now_us();
    for (int i = 0; i < 10 || now_us() < start + 1e6; i++) {
        best[0] = fmin(best[0], time_of(&v));
        best[1] = fmin(best[1], time_of(&ragged));
    }
    printf("{\"isa\": \"%s\", \"dim\": %u, \"uniform_us\": %.1f, \"ragged_us\": %.1f, "
           "\"loss\": %.4f}\n",
           name, dim, best[0], best[1], 1.0 - best[0] / best[1]);
    (void)fflush(stdout);
}

int
main(void)
{
    static const uint32_t dims[] = {64, 200, 512, 768, 1000, 2048};
    const unsigned has = cmir_cpu_flags();

    for (size_t k = 0; k < sizeof levels / sizeof levels[0]; k++)
        for (size_t i = 0;
             (has & levels[k].flags) == levels[k].flags && i < sizeof dims / sizeof dims[0]; i++)
            bench(levels[k].name, levels[k].flags, dims[i]);
    return 0;
}
