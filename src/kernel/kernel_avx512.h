/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_avx512.h: what AVX-512 VNNI and AMX have in common: from 16 products to f, and the largest
 * f of one tile with the row where it is.  Static, for those two files alone. */
#ifndef CMIR_KERNEL_KERNEL_AVX512_H
#define CMIR_KERNEL_KERNEL_AVX512_H

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

#include "kernel/kernel.h"

#define CMIR_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,popcnt"
#define CMIR_AVX512_FN __attribute__((target(CMIR_AVX512)))
#define CMIR_AVX512_INLINE static inline __attribute__((target(CMIR_AVX512), always_inline))

/* The running maximum of 16 lanes within a tile, and the row that holds it. */
typedef struct cmir_most {
    __m512 f;
    __m512i row;
} cmir_most;

CMIR_AVX512_INLINE cmir_most
cmir_most_none(void)
{
    return (cmir_most){_mm512_set1_ps(-INFINITY), _mm512_setzero_si512()};
}

CMIR_AVX512_INLINE __m512
cmir_score(__m512i dots, __m512 scale, __m512 lane_scale, __m512 base)
{
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), _mm512_mul_ps(scale, lane_scale), base);
}

/* Equals keep what is there: the lowest row. */
CMIR_AVX512_INLINE void
cmir_most_take(cmir_most *most, __m512 f, __m512i row, bool with_row)
{
    if (with_row)
        most->row =
            _mm512_mask_mov_epi32(most->row, _mm512_cmp_ps_mask(f, most->f, _CMP_GT_OQ), row);
    most->f = _mm512_max_ps(f, most->f);
}

/* The tile's maximum into that of the candidate, `row` NULL if nobody asks for it. */
CMIR_AVX512_INLINE void
cmir_most_merge(const cmir_most *most, bool first, float *best, uint32_t *row, bool with_row)
{
    const __m512 old = first ? _mm512_set1_ps(-INFINITY) : _mm512_load_ps(best);
    const __mmask16 up = first ? (__mmask16)0xFFFF : _mm512_cmp_ps_mask(most->f, old, _CMP_GT_OQ);

    _mm512_store_ps(best, _mm512_max_ps(most->f, old));
    if (with_row)
        _mm512_mask_store_epi32(row, up, most->row);
}

#endif
