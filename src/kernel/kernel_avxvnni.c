/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_avxvnni.c: kernels for AVX-VNNI, over those for AVX2.  Chosen by kernel.c.
 *
 * vpdpbusd multiplies unsigned by signed bytes and adds 4 dims at once, exactly.  The query is
 * packed unsigned (code + 128, [padded_dim / 4][16 lanes][4]), the candidate is read as it lies, 4
 * bytes to all lanes, and what the 128 add, 128 * code_sum of the row, is taken off beforehand.
 *
 * Blocking: 6, 5 and 5 rows of a tile meet the 16 lanes in 12 or 10 accumulators; an instruction
 * takes 5 cycles and two start in each, so fewer would wait for one another. */
#include "kernel/kernel.h"

#if defined(__x86_64__)

#include "kernel/kernel_avx2.h"

#define AVXVNNI __attribute__((target("avx2,fma,avxvnni")))
#define AVXVNNI_INLINE static inline __attribute__((target("avx2,fma,avxvnni"), always_inline))

#define MOST_ROWS 6u /* at once */

static size_t
group_nbytes_avxvnni(uint32_t padded_dim)
{
    return (size_t)padded_dim * CMIR_LANES;
}

static void
pack_avxvnni(const int8_t *codes, uint32_t n, uint32_t padded_dim, uint8_t *group)
{
    memset(group, 128, group_nbytes_avxvnni(padded_dim));
    for (uint32_t d = 0; d < padded_dim; d += 4)
        for (uint32_t i = 0; i < n; i++) {
            uint32_t four;

            memcpy(&four, codes + (size_t)i * padded_dim + d, sizeof four);
            four ^= 0x80808080u;
            memcpy(group + (size_t)d * CMIR_LANES + 4 * (size_t)i, &four, sizeof four);
        }
}

/* n_rows rows of a tile, 5 or 6 and known where this is compiled, against 16 lanes; the first n_sums
 * of them are the candidate's. */
AVXVNNI_INLINE void
multiply(const uint8_t *group, const int8_t *codes, uint32_t padded_dim, const int32_t *code_sum,
         uint32_t n_rows, uint32_t n_sums, int32_t *dots)
{
    const size_t dim = padded_dim;
    const int8_t *upper = codes, *lower = codes + 3 * dim; /* two that every row is near to */
    const __m256i *lanes = (const __m256i *)(const void *)group, *end = lanes + dim / 2;
    __m256i *out = (__m256i *)(void *)dots;
    __m256i sum[MOST_ROWS][2];

#pragma GCC unroll 6
    for (uint32_t r = 0; r < MOST_ROWS; r++) {
        const uint32_t surplus = r < n_sums ? 128u * (uint32_t)code_sum[r] : 0;

        sum[r][0] = sum[r][1] = _mm256_set1_epi32((int32_t)(0u - surplus));
    }
    for (; lanes < end; lanes += 2, upper += 4, lower += 4) {
        const __m256i low = _mm256_load_si256(lanes), high = _mm256_load_si256(lanes + 1);

#pragma GCC unroll 6
        for (uint32_t r = 0; r < MOST_ROWS; r++) {
            if (r >= n_rows)
                continue;
            const __m256i four = cmir_broadcast_avx2((r < 3 ? upper : lower) + r % 3 * dim);

            sum[r][0] = _mm256_dpbusd_avx_epi32(sum[r][0], low, four);
            sum[r][1] = _mm256_dpbusd_avx_epi32(sum[r][1], high, four);
        }
    }
#pragma GCC unroll 6
    for (uint32_t r = 0; r < MOST_ROWS; r++)
        for (uint32_t h = 0; h < 2 && r < n_rows; h++)
            _mm256_store_si256(out + 2 * r + h, sum[r][h]);
}

AVXVNNI static void
multiply_tile(const uint8_t *group, const cmir_codes *c, uint32_t first, uint32_t n_rows,
              int32_t *dots)
{
    const int8_t *codes = c->codes + (size_t)first * c->padded_dim;
    const int32_t *sums = c->code_sum + first;
    const size_t dim = c->padded_dim;

    multiply(group, codes, c->padded_dim, sums, 6, n_rows, dots);
    if (n_rows > 6)
        multiply(group, codes + 6 * dim, c->padded_dim, sums + 6, 5, n_rows - 6,
                 dots + 6 * CMIR_LANES);
    if (n_rows > 11)
        multiply(group, codes + 11 * dim, c->padded_dim, sums + 11, 5, n_rows - 11,
                 dots + 11 * CMIR_LANES);
}

AVXVNNI_INLINE void
maxsim(const cmir_packed *query, const cmir_codes *c, float *best, uint32_t *row,
       const cmir_kept *kept)
{
    const size_t nbytes = group_nbytes_avxvnni(c->padded_dim);
    _Alignas(64) int32_t block[CMIR_TILE * CMIR_LANES];

    for (uint32_t first = 0; first < c->n; first += CMIR_TILE) {
        const size_t at = (size_t)first / CMIR_TILE * query->n_groups;
        const uint32_t n_rows = c->n - first < CMIR_TILE ? c->n - first : CMIR_TILE;

        for (uint32_t g = 0; g < query->n_groups; g++) {
            const size_t lane = (size_t)g * CMIR_LANES;
            int32_t *dots = kept == NULL ? block : kept->dots + (at + g) * CMIR_TILE * CMIR_LANES;

            multiply_tile(query->groups + g * nbytes, c, first, n_rows, dots);
            cmir_take_rows_avx2(dots, c, first, n_rows, query->scale + lane, best + lane,
                                row == NULL ? NULL : row + lane,
                                kept == NULL ? NULL : kept->tile_best + (at + g) * CMIR_LANES);
        }
    }
}

AVXVNNI static void
maxsim_avxvnni(const cmir_packed *query, const cmir_codes *c, float *best, uint32_t *row,
               const cmir_kept *kept)
{
    if (row == NULL && kept == NULL)
        maxsim(query, c, best, NULL, NULL);
    else
        maxsim(query, c, best, row, kept);
}

void
cmir_kernels_init_avxvnni(cmir_kernels *k)
{
    k->name = "avxvnni";
    k->group_nbytes = group_nbytes_avxvnni;
    k->pack = pack_avxvnni;
    k->maxsim = maxsim_avxvnni;
}

#endif
