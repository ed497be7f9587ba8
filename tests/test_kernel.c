/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernel.c: every kernel of every level that this CPU has, against the C reference, bit for
 * bit; the C reference against loops in int64.  Random shapes, extreme fills, and no byte outside:
 * one end of each buffer touches an unmapped page, the other bytes that must stay as they are.
 *
 *     test_kernel [--seed N] [--cases N] [--level NAME]
 *
 * No cmocka: scripts/test_arm.sh builds it for machines that have none. */
#define _DEFAULT_SOURCE /* guarded.h: MAP_ANONYMOUS */
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "guarded.h"
#include "kernel/kernel.h"
#include "kernel_rows.h"

#define MAX_N 2000u
#define MAX_GROUPS 7u
#define MAX_CODES (1u << 20) /* of one side */
#define MAX_TILES ((MAX_N + CMIR_TILE - 1) / CMIR_TILE)
#define MAX_PAIRS 300u /* of one call of dots_exact */

static struct {
    struct arena query_codes, groups, lane_scale, norm, lane_residual; /* the query */
    struct arena codes, scale, base, code_sum, residual, reach;        /* the candidate */
    struct arena best, row, tile_best, dots;                           /* what maxsim gives */
    struct arena least, threshold, selected;                           /* of select */
    struct arena exact_query, exact_rows, pair_q, pair_r, results;     /* of dots_exact */
} at;

static struct {
    float best[MAX_GROUPS * CMIR_LANES], tile_best[MAX_TILES * MAX_GROUPS * CMIR_LANES];
    uint32_t row[MAX_GROUPS * CMIR_LANES], selected[MAX_N * CMIR_LANES];
    int32_t dots[MAX_TILES * MAX_GROUPS * CMIR_TILE * CMIR_LANES], results[MAX_PAIRS];
    uint8_t groups[MAX_CODES]; /* packed by the reference */
} want;

static void
map_all(void)
{
    const size_t lanes = (size_t)MAX_GROUPS * CMIR_LANES, tiles = MAX_TILES;

    map(&at.query_codes, MAX_CODES);
    map(&at.groups, 4 * MAX_CODES);
    map(&at.lane_scale, lanes * sizeof(float));
    map(&at.norm, lanes * sizeof(float));
    map(&at.lane_residual, lanes * sizeof(float));
    map(&at.codes, MAX_CODES);
    map(&at.scale, MAX_N * sizeof(float));
    map(&at.base, MAX_N * sizeof(float));
    map(&at.code_sum, MAX_N * sizeof(int32_t));
    map(&at.residual, MAX_N * sizeof(float));
    map(&at.reach, MAX_N * sizeof(float));
    map(&at.best, lanes * sizeof(float));
    map(&at.row, lanes * sizeof(uint32_t));
    map(&at.tile_best, tiles * lanes * sizeof(float));
    map(&at.dots, tiles * lanes * CMIR_TILE * sizeof(int32_t));
    map(&at.least, CMIR_LANES * sizeof(float));
    map(&at.threshold, CMIR_LANES * sizeof(float));
    map(&at.selected, (size_t)MAX_N * CMIR_LANES * sizeof(uint32_t));
    map(&at.exact_query, MAX_CODES * sizeof(int16_t));
    map(&at.exact_rows, MAX_CODES * sizeof(int16_t));
    map(&at.pair_q, MAX_PAIRS * sizeof(uint32_t));
    map(&at.pair_r, MAX_PAIRS * sizeof(uint32_t));
    map(&at.results, MAX_PAIRS * sizeof(int32_t));
}

/* ---- Cases */

enum scales { ORDINARY, WITH_ZEROS, TINY, N_SCALES };
enum bases { NORMAL, NONE, FAR_BELOW, SOME_FAR_BELOW, N_BASES };
enum bounds { SMALL, NARROW, LARGE, MIXED, N_BOUNDS };

struct test_case {
    uint64_t seed;
    const char *level;
    uint32_t m, n, padded_dim; /* query rows, candidate rows */
    enum fill fill;
    enum scales scales;
    enum bases bases;
    enum bounds bounds;
    cmir_packed query;
    cmir_codes candidate;
};

#define CHECK(t, ok, ...) ((ok) ? (void)0 : fail(t, __VA_ARGS__))

CMIR_PRINTF(2, 3) static _Noreturn void fail(const struct test_case *t, const char *format, ...);

static void
print_case(const struct test_case *t)
{
    printf("FAILED %s: m=%" PRIu32 " n=%" PRIu32 " padded_dim=%" PRIu32
           " fill=%d scales=%d bases=%d bounds=%d; again: test_kernel --level %s --cases 1"
           " --seed %" PRIu64 "\n",
           t->level, t->m, t->n, t->padded_dim, (int)t->fill, (int)t->scales, (int)t->bases,
           (int)t->bounds, t->level, t->seed);
}

static _Noreturn void
fail(const struct test_case *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    print_case(t);
    exit(1);
}

static struct test_case current;

/* A byte outside, or an instruction that the CPU lacks.  Returning raises it again, for good. */
static void
crashed(int number)
{
    signal(number, SIG_DFL);
    printf("signal %d\n", number);
    print_case(&current);
}

static float
any_scale(enum scales scales)
{
    switch (scales) {
    case WITH_ZEROS: return rnd() % 3 == 0 ? 0.0f : rnd_float() * 0.01f;
    case TINY: return rnd_float() * 1e-21f; /* products are subnormal, or 0 */
    case ORDINARY:
    default: return (0.5f + rnd_float()) * 0.01f;
    }
}

static float
any_base(enum bases bases)
{
    switch (bases) {
    case NONE: return 0.0f;
    case FAR_BELOW: return -1e30f;
    case SOME_FAR_BELOW: return rnd() % 3 == 0 ? -1e30f : 0.0f;
    case NORMAL:
    default: return rnd_float() - 0.5f;
    }
}

/* A norm, a residual or a reach. */
static float
any_bound(enum bounds bounds)
{
    static const float most[] = {[SMALL] = 1e-6f, [NARROW] = 0.1f, [LARGE] = 1e3f};

    return rnd() % 4 == 0 ? 0.0f : rnd_float() * most[bounds == MIXED ? rnd() % MIXED : bounds];
}

/* The shape and the fills; rows are few where they are long. */
static void
choose(struct test_case *t)
{
    const bool is_long = rnd() % 8 == 0;
    uint32_t most;

    t->padded_dim = rnd() % 16 == 0 ? 4096 : 64 * (1 + rnd() % (is_long ? 4 : 32));
    most = MAX_CODES / t->padded_dim;
    t->n = is_long ? 71 + rnd() % (MAX_N - 70) : 1 + rnd() % 70;
    if (t->n > most / CMIR_TILE * CMIR_TILE)
        t->n = most / CMIR_TILE * CMIR_TILE;
    t->m = 1 + rnd() % (is_long ? 2 * CMIR_LANES : MAX_GROUPS * CMIR_LANES);
    t->fill = rnd() % 2 == 0 ? RANDOM : (enum fill)(rnd() % N_FILLS);
    t->scales = (enum scales)(rnd() % N_SCALES);
    t->bases = (enum bases)(rnd() % N_BASES);
    t->bounds = (enum bounds)(rnd() % N_BOUNDS);
}

static void
make_query(struct test_case *t, const cmir_kernels *k)
{
    const uint32_t n_groups = (t->m + CMIR_LANES - 1) / CMIR_LANES;
    const size_t nbytes = k->group_nbytes(t->padded_dim);
    int8_t *codes = place(&at.query_codes, (size_t)t->m * t->padded_dim);
    float *scale = place(&at.lane_scale, n_groups * CMIR_LANES * sizeof *scale);
    float *norm = place(&at.norm, n_groups * CMIR_LANES * sizeof *norm);
    float *residual = place(&at.lane_residual, n_groups * CMIR_LANES * sizeof *residual);
    uint8_t *groups;

    CHECK(t, nbytes % 64 == 0 && nbytes <= MAX_CODES && n_groups * nbytes <= 4 * MAX_CODES,
          "group_nbytes is %zu", nbytes);
    groups = place(&at.groups, n_groups * nbytes);
    fill_codes(codes, t->m, t->padded_dim, t->fill, true);
    for (uint32_t i = 0; i < n_groups * CMIR_LANES; i++) {
        scale[i] = i < t->m ? any_scale(t->scales) : 0.0f;
        norm[i] = i < t->m ? any_bound(t->bounds) : 0.0f;
        residual[i] = i < t->m ? any_bound(t->bounds) : 0.0f;
    }
    for (uint32_t g = n_groups; g-- > 0;) { /* backwards: none may write into the next */
        const uint32_t left = t->m - g * CMIR_LANES;

        k->pack(codes + (size_t)g * CMIR_LANES * t->padded_dim,
                left < CMIR_LANES ? left : CMIR_LANES, t->padded_dim, groups + g * nbytes);
        for (size_t i = 0; g > 0 && i < 64; i++)
            CHECK(t, groups[g * nbytes - 1 - i] == UNTOUCHED, "pack writes before its group");
    }
    for (uint32_t g = 0; g < n_groups; g++) { /* and forwards: a second time it is the same */
        const uint32_t left = t->m - g * CMIR_LANES;

        memcpy(want.groups, groups + g * nbytes, nbytes);
        memset(groups + g * nbytes, (int)(rnd() & 0xFFu), nbytes);
        k->pack(codes + (size_t)g * CMIR_LANES * t->padded_dim,
                left < CMIR_LANES ? left : CMIR_LANES, t->padded_dim, groups + g * nbytes);
        CHECK(t, memcmp(want.groups, groups + g * nbytes, nbytes) == 0,
              "pack leaves bytes as they were, or group %" PRIu32 " was written into", g);
    }
    CHECK(t, is_untouched(&at.groups), "pack writes outside");
    t->query = (cmir_packed){groups, scale, norm, residual, n_groups};
}

static void
make_candidate(struct test_case *t)
{
    const uint32_t n = t->n, padded_rows = (n + CMIR_TILE - 1) / CMIR_TILE * CMIR_TILE;
    int8_t *codes = place(&at.codes, (size_t)padded_rows * t->padded_dim);
    float *scale = place(&at.scale, n * sizeof *scale), *base = place(&at.base, n * sizeof *base);
    float *residual = place(&at.residual, n * sizeof *residual);
    float *reach = place(&at.reach, n * sizeof *reach);
    int32_t *sum = place(&at.code_sum, n * sizeof *sum);

    fill_codes(codes, n, t->padded_dim, t->fill, false); /* the rows behind keep the pattern */
    for (uint32_t j = 0; j < n; j++) {
        const bool as_first = t->fill == EQUAL_ROWS && j != 0;

        scale[j] = as_first ? scale[0] : any_scale(t->scales);
        base[j] = as_first ? base[0] : any_base(t->bases);
        residual[j] = any_bound(t->bounds);
        reach[j] = any_bound(t->bounds);
        sum[j] = 0;
        for (uint32_t d = 0; d < t->padded_dim; d++)
            sum[j] += codes[(size_t)j * t->padded_dim + d];
    }
    t->candidate = (cmir_codes){codes, scale, base, sum, residual, reach, n, t->padded_dim};
}

/* ---- What maxsim and select must give */

static float
want_score(const struct test_case *t, uint32_t i, uint32_t j)
{
    const size_t tile = j / CMIR_TILE, g = i / CMIR_LANES;
    const int32_t dot =
        want.dots[((tile * t->query.n_groups + g) * CMIR_TILE + j % CMIR_TILE) * CMIR_LANES +
                  i % CMIR_LANES];

    return fmaf((float)dot, t->candidate.scale[j] * t->query.scale[i], t->candidate.base[j]);
}

/* The slow way: from the codes. */
static void
want_by_oracle(const struct test_case *t)
{
    const int8_t *query = (const int8_t *)at.query_codes.data;
    const size_t lanes = (size_t)t->query.n_groups * CMIR_LANES;

    for (uint32_t i = 0; i < t->m; i++)
        for (uint32_t j = 0; j < t->n; j++) {
            const int8_t *a = query + (size_t)i * t->padded_dim;
            const int8_t *b = t->candidate.codes + (size_t)j * t->padded_dim;
            const size_t tile = j / CMIR_TILE, g = i / CMIR_LANES;
            float f, *most = &want.tile_best[tile * lanes + i];
            int64_t dot = 0;

            for (uint32_t d = t->padded_dim; d-- > 0;)
                dot += (int64_t)a[d] * b[d];
            want.dots[((tile * t->query.n_groups + g) * CMIR_TILE + j % CMIR_TILE) * CMIR_LANES +
                      i % CMIR_LANES] = (int32_t)dot;
            f = want_score(t, i, j);
            if (j % CMIR_TILE == 0 || f > *most)
                *most = f;
            if (j == 0 || f > want.best[i]) {
                want.best[i] = f;
                want.row[i] = j;
            }
        }
}

static void
want_by_reference(struct test_case *t, const cmir_kernels *reference)
{
    const cmir_kept kept = {want.tile_best, want.dots};
    cmir_packed packed = t->query;

    packed.groups = want.groups;
    for (uint32_t g = 0; g < packed.n_groups; g++) {
        const uint32_t left = t->m - g * CMIR_LANES;

        reference->pack((const int8_t *)at.query_codes.data +
                            (size_t)g * CMIR_LANES * t->padded_dim,
                        left < CMIR_LANES ? left : CMIR_LANES, t->padded_dim,
                        want.groups + g * reference->group_nbytes(t->padded_dim));
    }
    reference->maxsim(&packed, &t->candidate, want.best, want.row, &kept);
}

static void
check_kept(const struct test_case *t, const cmir_kept *kept)
{
    const uint32_t n_groups = t->query.n_groups;

    for (uint32_t j = 0; j < t->n; j++)
        for (uint32_t i = 0; i < t->m; i++) {
            const size_t tile = j / CMIR_TILE, group = tile * n_groups + i / CMIR_LANES;
            const size_t dot = (group * CMIR_TILE + j % CMIR_TILE) * CMIR_LANES + i % CMIR_LANES;
            const size_t most = group * CMIR_LANES + i % CMIR_LANES;

            CHECK(t, kept->dots[dot] == want.dots[dot],
                  "dot of %" PRIu32 ", %" PRIu32 ": want %" PRId32 " got %" PRId32, i, j,
                  want.dots[dot], kept->dots[dot]);
            CHECK(t, memcmp(&kept->tile_best[most], &want.tile_best[most], sizeof(float)) == 0,
                  "tile_best of %" PRIu32 ", tile %zu: want %a got %a", i, tile,
                  (double)want.tile_best[most], (double)kept->tile_best[most]);
        }
    CHECK(t, is_untouched(&at.dots) && is_untouched(&at.tile_best), "kept: writes outside");
}

/* All four: with and without row, with and without kept.  The last leaves kept for select. */
static cmir_kept
check_maxsim(const struct test_case *t, const cmir_kernels *k)
{
    const uint32_t tiles = (t->n + CMIR_TILE - 1) / CMIR_TILE;
    const size_t lanes = (size_t)t->query.n_groups * CMIR_LANES;
    cmir_kept kept;

    for (unsigned with = 0; with < 4; with++) {
        float *best = place(&at.best, lanes * sizeof *best);
        uint32_t *row = place(&at.row, lanes * sizeof *row);

        kept.tile_best = place(&at.tile_best, tiles * lanes * sizeof(float));
        kept.dots = place(&at.dots, tiles * lanes * CMIR_TILE * sizeof(int32_t));
        k->maxsim(&t->query, &t->candidate, best, with & 1u ? row : NULL, with & 2u ? &kept : NULL);
        for (uint32_t i = 0; i < t->m; i++) {
            CHECK(t, memcmp(&best[i], &want.best[i], sizeof *best) == 0,
                  "best of %" PRIu32 " (with %u): want %a got %a", i, with, (double)want.best[i],
                  (double)best[i]);
            CHECK(t, (with & 1u) == 0 || row[i] == want.row[i],
                  "row of %" PRIu32 " (with %u): want %" PRIu32 " got %" PRIu32, i, with,
                  want.row[i], row[i]);
        }
        CHECK(t, is_untouched(&at.best) && is_untouched(&at.row), "maxsim writes outside");
        if ((with & 2u) != 0)
            check_kept(t, &kept);
    }
    return kept;
}

/* What f_ij may be at most. */
static float
want_most(const struct test_case *t, uint32_t i, uint32_t j)
{
    return fmaf(t->query.norm[i], t->candidate.residual[j],
                fmaf(t->query.residual[i], t->candidate.reach[j], want_score(t, i, j)));
}

static float
any_threshold(const struct test_case *t, uint32_t i)
{
    if (i >= t->m)
        return INFINITY; /* what lies there means nothing */
    switch (rnd() % 6) {
    case 0: return rnd() % 4 == 0 ? -INFINITY : INFINITY;
    case 1: return want.best[i];
    case 2: return nextafterf(want_most(t, i, want.row[i]), INFINITY);
    default: return want_most(t, i, rnd() % t->n); /* reached by at least that row */
    }
}

/* The threshold less the largest bound, and rounding. */
static float
safe_least(const struct test_case *t, uint32_t i, float threshold)
{
    double bound = 0.0;

    for (uint32_t j = 0; j < t->n && i < t->m; j++)
        bound = fmax(bound, (double)t->query.norm[i] * (double)t->candidate.residual[j] +
                                (double)t->query.residual[i] * (double)t->candidate.reach[j]);
    return isinf(threshold) ? threshold
                            : (float)(threshold - bound - 1e-5 * (fabs((double)threshold) + bound));
}

/* Tiles are passed over where `least` is arbitrary; where it is safe, that must not be seen. */
static uint32_t
want_select(const struct test_case *t, uint32_t first, bool is_safe)
{
    const float *least = (const float *)(const void *)at.least.data;
    const float *threshold = (const float *)(const void *)at.threshold.data;
    uint32_t n = 0;

    for (uint32_t j = 0; j < t->n; j++) {
        const size_t tile = j / CMIR_TILE * (size_t)t->query.n_groups * CMIR_LANES;
        bool wanted = is_safe;

        for (uint32_t i = 0; i < CMIR_LANES && first + i < t->m; i++)
            wanted = wanted || want.tile_best[tile + first + i] >= least[i];
        for (uint32_t i = 0; wanted && i < CMIR_LANES && first + i < t->m; i++)
            if (want_most(t, first + i, j) >= threshold[i])
                want.selected[n++] = j * CMIR_LANES + i;
    }
    return n;
}

static void
check_select(const struct test_case *t, const cmir_kernels *k, const cmir_kept *kept)
{
    for (uint32_t g = 0; g < t->query.n_groups; g++) {
        const uint32_t first = g * CMIR_LANES;
        const bool is_safe = rnd() % 2 == 0, is_sparse = rnd() % 2 == 0;
        float *threshold = place(&at.threshold, CMIR_LANES * sizeof *threshold);
        float *least = place(&at.least, CMIR_LANES * sizeof *least);
        uint32_t *got = place(&at.selected, (size_t)t->n * CMIR_LANES * sizeof *got), n_got, n;

        for (uint32_t i = 0; i < CMIR_LANES; i++) {
            threshold[i] = any_threshold(t, first + i);
            least[i] = any_threshold(t, first + i);
            if (is_safe)
                least[i] = safe_least(t, first + i, threshold[i]);
            else if (is_sparse && rnd() % CMIR_LANES != 0)
                least[i] = INFINITY;
        }
        n = want_select(t, first, is_safe);
        n_got = k->select(&t->query, &t->candidate, kept, g, least, threshold, got);
        CHECK(t, n_got == n && memcmp(got, want.selected, n * sizeof *got) == 0,
              "select in group %" PRIu32 ": want %" PRIu32 " got %" PRIu32 ", or other pairs", g, n,
              n_got);
        CHECK(t, is_untouched(&at.selected), "select writes outside");
    }
}

/* ---- dots_exact */

static void
check_exact(const struct test_case *t, const cmir_kernels *k, const cmir_kernels *reference)
{
    const uint32_t dim = t->padded_dim, n_pairs = rnd() % (rnd() % 2 == 0 ? 71 : MAX_PAIRS + 1);
    const bool damaged = rnd() % 4 == 0;
    int16_t *query = place(&at.exact_query, (size_t)t->m * dim * sizeof *query);
    int16_t *rows = place(&at.exact_rows, (size_t)t->n * dim * sizeof *rows);
    uint32_t *q = place(&at.pair_q, n_pairs * sizeof *q);
    uint32_t *r = place(&at.pair_r, n_pairs * sizeof *r);
    int32_t *got = place(&at.results, n_pairs * sizeof *got);

    fill_exact(query, t->m, dim, damaged);
    fill_exact(rows, t->n, dim, damaged);
    choose_pairs(t->m, t->n, n_pairs, q, r);
    if (reference == NULL)
        for (uint32_t p = 0; p < n_pairs; p++) {
            int64_t sum = 0;

            for (uint32_t d = 0; d < dim; d++)
                sum += (int64_t)query[(size_t)q[p] * dim + d] * rows[(size_t)r[p] * dim + d];
            CHECK(t, damaged || (sum >= INT32_MIN && sum <= INT32_MAX), "rows are too long");
            want.results[p] = (int32_t)(uint32_t)(uint64_t)sum;
        }
    else
        reference->dots_exact(query, rows, dim, q, r, n_pairs, want.results);
    k->dots_exact(query, rows, dim, q, r, n_pairs, got);
    for (uint32_t p = 0; p < n_pairs; p++)
        CHECK(t, got[p] == want.results[p],
              "dots_exact of %" PRIu32 ", %" PRIu32 ": want %" PRId32 " got %" PRId32, q[p], r[p],
              want.results[p], got[p]);
    CHECK(t, is_untouched(&at.results), "dots_exact writes outside");
}

/* ---- Levels */

static const struct level {
    const char *name;
    unsigned flag; /* tested with this one and those of the rows above it */
} levels[] = {
    {"c", 0},
    {"avx2", CMIR_CPU_AVX2},
    {"avxvnni", CMIR_CPU_AVXVNNI},
    {"avx512vnni", CMIR_CPU_AVX512VNNI},
    {"amx", CMIR_CPU_AMX},
    {"dotprod", CMIR_CPU_DOTPROD},
};

static void
check_level(const char *level, unsigned flags, uint64_t seed, uint32_t n_cases)
{
    struct test_case *t = &current;
    cmir_kernels k, c;

    cmir_kernels_init(&c, 0);
    cmir_kernels_init(&k, flags);
    t->level = level;
    for (uint32_t i = 0; i < n_cases; i++) {
        cmir_kept kept;

        t->seed = state = seed + i;
        for (int skip = 0; skip < 4; skip++) /* seeds that follow each other begin alike */
            (void)rnd();
        choose(t);
        make_query(t, &k);
        make_candidate(t);
        if (flags == 0)
            want_by_oracle(t);
        else
            want_by_reference(t, &c);
        kept = check_maxsim(t, &k);
        check_select(t, &k, &kept);
        check_exact(t, &k, flags == 0 ? NULL : &c);
    }
    CHECK(t, strcmp(k.name, level) == 0, "the table is that of %s", k.name);
    printf("ok %s: %" PRIu32 " cases\n", level, n_cases);
}

int
main(int argc, char **argv)
{
    const unsigned cpu = cmir_cpu_flags();
    const char *only = NULL;
    uint64_t seed = 20240607;
    uint32_t n_cases = 200;
    unsigned up_to = 0;

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--cases") == 0)
            n_cases = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--level") == 0)
            only = argv[i + 1];
        else {
            fprintf(stderr, "usage: test_kernel [--seed N] [--cases N] [--level NAME]\n");
            return 2;
        }
    }
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
    signal(SIGILL, crashed);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %" PRIu64 "\n", seed);
    map_all();
    for (size_t l = 0; l < sizeof levels / sizeof levels[0]; l++) {
        up_to |= levels[l].flag;
        if (only != NULL && strcmp(only, levels[l].name) != 0)
            continue;
        if ((cpu & levels[l].flag) != levels[l].flag)
            printf("SKIPPED %s: this CPU has no such instructions\n", levels[l].name);
        else
            check_level(levels[l].name, cpu & up_to, seed, n_cases);
    }
    return 0;
}
