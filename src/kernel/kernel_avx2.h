/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_avx2.h: what the levels with 256-bit registers share: a block of products becomes maxima.
 *
 * The products of one tile (16 candidate rows) and one group (16 lanes) go through 1 KiB of memory,
 * that of cmir_kept where it is wanted; the tile is then read once more, 8 lanes at a time. */
#ifndef CMIR_KERNEL_KERNEL_AVX2_H
#define CMIR_KERNEL_KERNEL_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernel/kernel.h"

#define CMIR_AVX2 __attribute__((target("avx2,fma")))
#define CMIR_AVX2_INLINE static inline __attribute__((target("avx2,fma"), always_inline))

CMIR_AVX2_INLINE __m256
cmir_score_avx2(const int32_t *dots, float scale, __m256 lane_scale, float base)
{
    const __m256 dot = _mm256_cvtepi32_ps(_mm256_load_si256((const __m256i *)(const void *)dots));

    return _mm256_fmadd_ps(dot, _mm256_mul_ps(_mm256_set1_ps(scale), lane_scale),
                           _mm256_set1_ps(base));
}

/* Four codes in every lane. */
CMIR_AVX2_INLINE __m256i
cmir_broadcast_avx2(const void *four)
{
    int32_t bits;

    memcpy(&bits, four, sizeof bits);
    return _mm256_set1_epi32(bits);
}

/* Products of n_rows rows of one tile, from `first` on, dots[n_rows][16 lanes], into best, row and
 * tile_best, each of which is that of the group; row and tile_best may be NULL.  Where operands are
 * equal or not numbers, max(a, b) is b: what a > b ? a : b says too. */
CMIR_AVX2_INLINE void
cmir_take_rows_avx2(const int32_t *dots, const cmir_codes *c, uint32_t first, uint32_t n_rows,
                    const float *lane_scales, float *best, uint32_t *row, float *tile_best)
{
    for (uint32_t lane = 0; lane < CMIR_LANES; lane += 8) {
        const __m256 lane_scale = _mm256_load_ps(lane_scales + lane);
        const __m256 f0 = cmir_score_avx2(dots + lane, c->scale[first], lane_scale, c->base[first]);
        __m256 most = f0, top = first == 0 ? f0 : _mm256_load_ps(best + lane);
        __m256i index = _mm256_set1_epi32((int32_t)first), at = _mm256_setzero_si256();

        if (tile_best != NULL && first % CMIR_TILE != 0)
            most = _mm256_load_ps(tile_best + lane);
        if (row != NULL && first != 0)
            at = _mm256_load_si256((const __m256i *)(const void *)(row + lane));
        for (uint32_t r = 0; r < n_rows; r++) {
            const __m256 f = cmir_score_avx2(dots + (size_t)r * CMIR_LANES + lane,
                                             c->scale[first + r], lane_scale, c->base[first + r]);

            if (row != NULL) { /* rows ascend: the latest improvement is the largest index */
                const __m256 above = _mm256_cmp_ps(f, top, _CMP_GT_OQ);

                at = _mm256_max_epi32(at, _mm256_and_si256(index, _mm256_castps_si256(above)));
                index = _mm256_add_epi32(index, _mm256_set1_epi32(1));
            }
            top = _mm256_max_ps(f, top);
            if (tile_best != NULL)
                most = _mm256_max_ps(f, most);
        }
        _mm256_store_ps(best + lane, top);
        if (row != NULL)
            _mm256_store_si256((__m256i *)(void *)(row + lane), at);
        if (tile_best != NULL)
            _mm256_store_ps(tile_best + lane, most);
    }
}

#endif
