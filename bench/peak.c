/* SPDX-License-Identifier: Apache-2.0 */
/* peak.c: loops of products on registers alone, as many independent sums as hide their latency. */
#include "peak.h"

#include <stdint.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)

#include <immintrin.h>

enum { ROUNDS = 20000 };

/* Eight full tiles.  Static: compilers do not see that loading reads it. */
static const struct {
    uint8_t palette, start, zero[14];
    uint16_t row_nbytes[16];
    uint8_t rows[16];
} config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

__attribute__((target("amx-tile,amx-int8"))) static double
ops_amx(void)
{
    _tile_loadconfig(&config);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int i = 0; i < ROUNDS; i++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_release();
    return 2.0 * ROUNDS * 4 * 16 * 16 * 64;
}

#define REPEAT_12(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11)
#define SUM(k) sum##k,

__attribute__((target("avx512f,avx512vnni"))) static double
ops_avx512vnni(void)
{
    __m512i a = _mm512_set1_epi8(1), b = a;
#define DECLARE(k) __m512i sum##k = _mm512_setzero_si512();
#define STEP(k) sum##k = _mm512_dpbusd_epi32(sum##k, a, b);
#define KEEP(k) __asm__ volatile("" : "+v"(sum##k));
    REPEAT_12(DECLARE)
    for (int i = 0; i < ROUNDS; i++) {
        REPEAT_12(STEP)
        REPEAT_12(KEEP)
    }
#undef DECLARE
#undef STEP
    return 2.0 * ROUNDS * 12 * 64;
}

__attribute__((target("avx2,avxvnni"))) static double
ops_avxvnni(void)
{
    __m256i a = _mm256_set1_epi8(1), b = a;
#define DECLARE(k) __m256i sum##k = _mm256_setzero_si256();
#define STEP(k) sum##k = _mm256_dpbusd_avx_epi32(sum##k, a, b);
    REPEAT_12(DECLARE)
    for (int i = 0; i < ROUNDS; i++) {
        REPEAT_12(STEP)
        REPEAT_12(KEEP)
    }
#undef STEP
    return 2.0 * ROUNDS * 12 * 32;
}

__attribute__((target("avx2"))) static double
ops_avx2(void)
{
    __m256i a = _mm256_set1_epi8(1), b = a;
    __asm__ volatile("" : "+v"(a), "+v"(b));
#define STEP(k)                                                                                    \
    {                                                                                              \
        __m256i product = _mm256_madd_epi16(a, b);                                                 \
        __asm__ volatile("" : "+v"(product));                                                      \
        sum##k = _mm256_add_epi32(sum##k, product);                                                \
    }
    REPEAT_12(DECLARE)
    for (int i = 0; i < ROUNDS; i++) {
        REPEAT_12(STEP)
        REPEAT_12(KEEP)
    }
    return 2.0 * ROUNDS * 12 * 16;
}

double
peak_gops(const char *isa)
{
    static const struct {
        const char *isa;
        double (*ops)(void);
    } loops[] = {{"amx", ops_amx},
                 {"avx512vnni", ops_avx512vnni},
                 {"avxvnni", ops_avxvnni},
                 {"avx2", ops_avx2}};
    double best = 0;

    for (size_t k = 0; k < sizeof loops / sizeof loops[0]; k++)
        for (int run = 0; strcmp(isa, loops[k].isa) == 0 && run < 50; run++) {
            struct timespec start, end;

            clock_gettime(CLOCK_MONOTONIC, &start);
            const double ops = loops[k].ops();
            clock_gettime(CLOCK_MONOTONIC, &end);
            const double ns =
                1e9 * (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec);
            best = ops / ns > best ? ops / ns : best;
        }
    return best;
}

#else

double
peak_gops(const char *isa)
{
    (void)isa;
    return 0;
}

#endif
