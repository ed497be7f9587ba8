/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_avx2.c: kernels for AVX2 and FMA.  Chosen by kernel.c.
 *
 * The one 8-bit product of AVX2 saturates, so codes are multiplied as int16, two dims of a lane
 * side by side: vpmaddwd is exact and adds them.  The query is widened once, when it is packed
 * ([padded_dim / 2][16 lanes][2] int16), the candidate 4, 8 or 16 rows at a time, as many as fit
 * into 16 KiB of the stack.  Where 4 rows do not, they are widened in parts, for each group again.
 *
 * Blocking: these rows, and 512 dims of a group (16 KiB), stay in the first cache.  4 rows meet the
 * 16 lanes in 8 accumulators: 2 loads of lanes and 4 broadcasts feed 8 products and 8 sums. */
#include "kernel/kernel.h"

#if defined(__x86_64__)

#include "kernel/kernel_avx2.h"

#define WIDE_SIZE 8192u /* int16 */
#define ROWS_AT_ONCE 4u

static size_t
group_nbytes_avx2(uint32_t padded_dim)
{
    return (size_t)padded_dim * CMIR_LANES * sizeof(int16_t);
}

static void
pack_avx2(const int8_t *codes, uint32_t n, uint32_t padded_dim, uint8_t *group)
{
    int16_t *out = (int16_t *)(void *)group;

    memset(group, 0, group_nbytes_avx2(padded_dim));
    for (uint32_t d = 0; d < padded_dim; d += 2)
        for (uint32_t i = 0; i < n; i++) {
            const int8_t *pair = codes + (size_t)i * padded_dim + d;
            int16_t *lane = out + (size_t)d * CMIR_LANES + 2 * (size_t)i;

            lane[0] = pair[0];
            lane[1] = pair[1];
        }
}

/* n_dims codes of each of n_rows rows, as int16, one row after the other. */
CMIR_AVX2 static void
widen(const int8_t *codes, uint32_t padded_dim, uint32_t n_rows, uint32_t n_dims, int16_t *wide)
{
    for (uint32_t r = 0; r < n_rows; r++, codes += padded_dim)
        for (uint32_t d = 0; d < n_dims; d += 16, wide += 16) {
            const __m128i narrow = _mm_load_si128((const __m128i *)(const void *)(codes + d));

            _mm256_store_si256((__m256i *)(void *)wide, _mm256_cvtepi8_epi16(narrow));
        }
}

/* ROWS_AT_ONCE rows against 16 lanes, over n_dims: added to dots, or put there. */
CMIR_AVX2_INLINE void
multiply(const uint8_t *group, const int16_t *rows, uint32_t n_dims, bool add, int32_t *dots)
{
    const __m256i *lanes = (const __m256i *)(const void *)group;
    __m256i *out = (__m256i *)(void *)dots;
    const size_t stride = n_dims;
    __m256i sum[ROWS_AT_ONCE][2];

#pragma GCC unroll 4
    for (uint32_t r = 0; r < ROWS_AT_ONCE; r++)
        for (uint32_t h = 0; h < 2; h++)
            sum[r][h] = add ? _mm256_load_si256(out + 2 * r + h) : _mm256_setzero_si256();
    for (uint32_t d = 0; d < n_dims; d += 2) {
        const __m256i low = _mm256_load_si256(lanes + d), high = _mm256_load_si256(lanes + d + 1);

#pragma GCC unroll 4
        for (uint32_t r = 0; r < ROWS_AT_ONCE; r++) {
            const __m256i pair = cmir_broadcast_avx2(rows + r * stride + d);

            sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(pair, low));
            sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(pair, high));
        }
    }
#pragma GCC unroll 4
    for (uint32_t r = 0; r < ROWS_AT_ONCE; r++)
        for (uint32_t h = 0; h < 2; h++)
            _mm256_store_si256(out + 2 * r + h, sum[r][h]);
}

/* n_rows rows against a group.  wide holds them already, unless they are too long. */
CMIR_AVX2 static void
multiply_rows(const uint8_t *group, const int8_t *codes, uint32_t padded_dim, uint32_t n_rows,
              int16_t *wide, int32_t *dots)
{
    const uint32_t longest = WIDE_SIZE / ROWS_AT_ONCE;

    for (uint32_t d = 0; d < padded_dim; d += longest) {
        const uint32_t n_dims = padded_dim - d < longest ? padded_dim - d : longest;

        if (padded_dim > longest)
            widen(codes + d, padded_dim, ROWS_AT_ONCE, n_dims, wide);
        for (uint32_t r = 0; r < n_rows; r += ROWS_AT_ONCE)
            multiply(group + group_nbytes_avx2(d), wide + (size_t)r * n_dims, n_dims, d != 0,
                     dots + (size_t)r * CMIR_LANES);
    }
}

CMIR_AVX2_INLINE void
maxsim(const cmir_packed *query, const cmir_codes *c, float *best, uint32_t *row,
       const cmir_kept *kept)
{
    const uint32_t dim = c->padded_dim;
    const uint32_t most_rows = dim <= WIDE_SIZE / 16 ? 16 : dim <= WIDE_SIZE / 8 ? 8 : 4;
    const size_t nbytes = group_nbytes_avx2(dim);
    _Alignas(64) int16_t wide[WIDE_SIZE];
    _Alignas(64) int32_t block[CMIR_TILE * CMIR_LANES];

    for (uint32_t first = 0; first < c->n; first += most_rows) {
        const size_t tile = (size_t)first / CMIR_TILE * query->n_groups;
        const uint32_t n_rows = c->n - first < most_rows ? c->n - first : most_rows;
        const int8_t *codes = c->codes + (size_t)first * dim;

        if (dim <= WIDE_SIZE / ROWS_AT_ONCE)
            widen(codes, dim, most_rows, dim, wide);
        for (uint32_t g = 0; g < query->n_groups; g++) {
            const size_t lane = (size_t)g * CMIR_LANES;
            int32_t *dots = block;

            if (kept != NULL)
                dots = kept->dots + ((tile + g) * CMIR_TILE + first % CMIR_TILE) * CMIR_LANES;
            multiply_rows(query->groups + g * nbytes, codes, dim, n_rows, wide, dots);
            cmir_take_rows_avx2(dots, c, first, n_rows, query->scale + lane, best + lane,
                                row == NULL ? NULL : row + lane,
                                kept == NULL ? NULL : kept->tile_best + (tile + g) * CMIR_LANES);
        }
    }
}

CMIR_AVX2 static void
maxsim_avx2(const cmir_packed *query, const cmir_codes *c, float *best, uint32_t *row,
            const cmir_kept *kept)
{
    if (row == NULL && kept == NULL)
        maxsim(query, c, best, NULL, NULL);
    else
        maxsim(query, c, best, row, kept);
}

/* Lanes of row j whose bound reaches their threshold, a bit each; `first` is the group's lane 0. */
CMIR_AVX2_INLINE uint32_t
reached(const cmir_packed *query, size_t first, const cmir_codes *c, uint32_t j,
        const int32_t *dots, const float *threshold)
{
    const __m256 residual = _mm256_set1_ps(c->residual[j]), reach = _mm256_set1_ps(c->reach[j]);
    uint32_t lanes = 0;

    for (uint32_t lane = 0; lane < CMIR_LANES; lane += 8) {
        const __m256 lane_norm = _mm256_load_ps(query->norm + first + lane);
        const __m256 lane_residual = _mm256_load_ps(query->residual + first + lane);
        const __m256 f = cmir_score_avx2(dots + lane, c->scale[j],
                                         _mm256_load_ps(query->scale + first + lane), c->base[j]);
        const __m256 most =
            _mm256_fmadd_ps(lane_norm, residual, _mm256_fmadd_ps(lane_residual, reach, f));
        const __m256 there = _mm256_cmp_ps(most, _mm256_load_ps(threshold + lane), _CMP_GE_OQ);

        lanes |= (uint32_t)_mm256_movemask_ps(there) << lane;
    }
    return lanes;
}

CMIR_AVX2_INLINE bool
tile_reaches(const float *tile_best, const float *least)
{
    const __m256 low = _mm256_cmp_ps(_mm256_load_ps(tile_best), _mm256_load_ps(least), _CMP_GE_OQ);
    const __m256 high =
        _mm256_cmp_ps(_mm256_load_ps(tile_best + 8), _mm256_load_ps(least + 8), _CMP_GE_OQ);

    return _mm256_movemask_ps(_mm256_or_ps(low, high)) != 0;
}

CMIR_AVX2 static uint32_t
select_avx2(const cmir_packed *query, const cmir_codes *c, const cmir_kept *kept, uint32_t group,
            const float *least, const float *threshold, uint32_t *out)
{
    uint32_t n = 0;

    for (uint32_t first = 0; first < c->n; first += CMIR_TILE) {
        const size_t at = (size_t)first / CMIR_TILE * query->n_groups + group;
        const uint32_t end = c->n - first < CMIR_TILE ? c->n : first + CMIR_TILE;
        const int32_t *dots = kept->dots + at * CMIR_TILE * CMIR_LANES;

        if (!tile_reaches(kept->tile_best + at * CMIR_LANES, least))
            continue;
        for (uint32_t j = first; j < end; j++, dots += CMIR_LANES)
            for (uint32_t lanes = reached(query, (size_t)group * CMIR_LANES, c, j, dots, threshold);
                 lanes != 0; lanes &= lanes - 1)
                out[n++] = j * CMIR_LANES + (uint32_t)__builtin_ctz(lanes);
    }
    return n;
}

CMIR_AVX2_INLINE __m256i
madd(__m256i sum, const int16_t *a, const int16_t *b)
{
    const __m256i pairs = _mm256_madd_epi16(_mm256_load_si256((const __m256i *)(const void *)a),
                                            _mm256_load_si256((const __m256i *)(const void *)b));

    return _mm256_add_epi32(sum, pairs);
}

/* The sums of four registers. */
CMIR_AVX2_INLINE __m128i
sum_each(const __m256i v[4])
{
    const __m256i all =
        _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));

    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

/* Rows, and which of them. */
typedef struct side {
    const int16_t *rows;
    const uint32_t *at;
} side;

/* Four pairs; `shared`: the first row of a is in all of them.  n_next rows that come next are
 * fetched: they are scattered over a record that may not be in any cache. */
CMIR_AVX2_INLINE void
dot_four(side a, side b, bool shared, side next, uint32_t n_next, size_t dim, int32_t *out)
{
    const int16_t *x[4], *y[4], *later[4];
    __m256i sum[4];

#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++) {
        x[i] = a.rows + a.at[shared ? 0 : i] * dim;
        y[i] = b.rows + b.at[i] * dim;
        later[i] = next.rows + next.at[i < n_next ? i : 0] * dim;
        sum[i] = _mm256_setzero_si256();
    }
    for (size_t d = 0; d < dim; d += 32) {
#pragma GCC unroll 4
        for (uint32_t i = 0; i < n_next; i++)
            _mm_prefetch((const char *)(later[i] + d), _MM_HINT_T0);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++) {
            sum[i] = madd(sum[i], x[i] + d, y[i] + d);
            sum[i] = madd(sum[i], x[i] + d + 16, y[i] + d + 16);
        }
    }
    _mm_storeu_si128((__m128i *)(void *)out, sum_each(sum));
}

CMIR_AVX2_INLINE int32_t
dot_one(const int16_t *a, const int16_t *b, size_t padded_dim)
{
    __m256i sum[4];

#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++)
        sum[i] = _mm256_setzero_si256();
    for (size_t d = 0; d < padded_dim; d += 64)
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++)
            sum[i] = madd(sum[i], a + d + 16 * i, b + d + 16 * i);
    const __m128i four = sum_each(sum);
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));

    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

CMIR_AVX2_INLINE bool
are_equal(const uint32_t four[4])
{
    return ((four[0] ^ four[1]) | (four[0] ^ four[2]) | (four[0] ^ four[3])) == 0;
}

CMIR_AVX2 static void
dots_exact_avx2(const int16_t *query, const int16_t *rows, uint32_t padded_dim, const uint32_t *q,
                const uint32_t *r, uint32_t n, int32_t *out)
{
    const size_t dim = padded_dim;

    for (; n >= 4; n -= 4, q += 4, r += 4, out += 4) {
        const side of_query = {query, q}, of_rows = {rows, r};
        const side next = {rows, n >= 8 ? r + 4 : r};

        if (are_equal(r) && next.at[0] == r[0])
            dot_four(of_rows, of_query, true, next, 0, dim, out);
        else if (are_equal(r))
            dot_four(of_rows, of_query, true, next, 1, dim, out);
        else if (are_equal(q))
            dot_four(of_query, of_rows, true, next, 4, dim, out);
        else
            dot_four(of_query, of_rows, false, next, 4, dim, out);
    }
    for (; n > 0; n--)
        *out++ = dot_one(query + *q++ * dim, rows + *r++ * dim, dim);
}

void
cmir_kernels_init_avx2(cmir_kernels *k)
{
    *k = (cmir_kernels){"avx2",      group_nbytes_avx2, pack_avx2,
                        maxsim_avx2, select_avx2,       dots_exact_avx2};
}

#endif
