/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_avx512vnni.c: AVX-512 VNNI, 4 bytes of a candidate row against 16 lanes in an instruction.
 *
 * vpdpbusd multiplies unsigned by signed bytes: the query is packed with 128 added, and what that
 * adds to a product, 128 * code_sum, is taken off where the accumulators start.
 *
 * Blocks of 8 candidate rows x 3 groups: 24 accumulators, 3 registers of lanes and one broadcast,
 * 11 loads for 24 products, half a tile of rows.  3 groups of 768 dims are 36 KiB and stay in L1
 * while the candidate passes by.  Rows behind the n-th can be read, so a block is always whole and
 * only what is taken from it is not. */
#include "kernel/kernel.h"

#if defined(__x86_64__)

#include <string.h>

#include "kernel/kernel_avx512.h"

#define ROWS 8u
#define MAX_GROUPS 3u

typedef struct job {
    const cmir_packed *query;
    const cmir_codes *candidate;
    float *best;
    uint32_t *row;
    const cmir_kept *kept;
} job;

static size_t
group_nbytes_avx512vnni(uint32_t padded_dim)
{
    return (size_t)padded_dim * CMIR_LANES;
}

static void
pack_avx512vnni(const int8_t *codes, uint32_t n, uint32_t padded_dim, uint8_t *group)
{
    for (uint32_t d = 0; d < padded_dim; d += 4) {
        uint8_t *to = group + (size_t)d * CMIR_LANES;

        for (uint32_t i = 0; i < CMIR_LANES; i++)
            for (uint32_t k = 0; k < 4; k++)
                to[4 * i + k] =
                    (uint8_t)((i < n ? codes[(size_t)i * padded_dim + d + k] : 0) + 128);
    }
}

/* Unrolled by hand: what is indexed by r then lives in registers. */
#define EACH_ROW(DO)                                                                               \
    do {                                                                                           \
        DO(0);                                                                                     \
        DO(1);                                                                                     \
        DO(2);                                                                                     \
        DO(3);                                                                                     \
        DO(4);                                                                                     \
        DO(5);                                                                                     \
        DO(6);                                                                                     \
        DO(7);                                                                                     \
    } while (0)

CMIR_AVX512_INLINE __m512i
broadcast4(const int8_t *codes)
{
    int32_t x;

    memcpy(&x, codes, 4);
    return _mm512_set1_epi32(x);
}

/* What a block leaves of one group: 8 rows of products, `valid` of them a candidate's. */
CMIR_AVX512_INLINE void
take(const job *jb, uint32_t g, uint32_t j0, uint32_t valid, const __m512i dots[ROWS],
     bool with_row)
{
    const size_t lanes = (size_t)jb->query->n_groups * CMIR_LANES, first = (size_t)g * CMIR_LANES;
    const size_t tile = j0 / CMIR_TILE;
    const __m512 lane_scale = _mm512_load_ps(jb->query->scale + first);
    const float *scale = jb->candidate->scale + j0, *base = jb->candidate->base + j0;
    const __m512i one = _mm512_set1_epi32(1);
    __m512i row = _mm512_set1_epi32((int)j0);
    cmir_most most = cmir_most_none();

#define TAKE(r)                                                                                    \
    do {                                                                                           \
        if ((r) < valid) {                                                                         \
            const __m512 f = cmir_score(dots[r], _mm512_set1_ps(scale[r]), lane_scale,             \
                                        _mm512_set1_ps(base[r]));                                  \
                                                                                                   \
            cmir_most_take(&most, f, row, with_row);                                               \
            row = _mm512_add_epi32(row, one);                                                      \
        }                                                                                          \
    } while (0)
    EACH_ROW(TAKE);
#undef TAKE
    cmir_most_merge(&most, j0 == 0, jb->best + first, with_row ? jb->row + first : NULL, with_row);
    if (jb->kept != NULL) {
        int32_t *to = jb->kept->dots +
                      ((tile * jb->query->n_groups + g) * CMIR_TILE + j0 % CMIR_TILE) * CMIR_LANES;
        float *tile_best = jb->kept->tile_best + tile * lanes + first;

        if (j0 % CMIR_TILE != 0)
            most.f = _mm512_max_ps(most.f, _mm512_load_ps(tile_best));
        _mm512_store_ps(tile_best, most.f);
#define KEEP(r) _mm512_store_si512(to + (r) * CMIR_LANES, dots[r])
        EACH_ROW(KEEP);
#undef KEEP
    }
}

/* 8 rows from j0 on against `groups` groups from g0 on. */
CMIR_AVX512_INLINE void
block(const job *jb, uint32_t g0, uint32_t j0, uint32_t groups, bool with_row)
{
    const uint32_t dim = jb->candidate->padded_dim;
    const uint32_t left = jb->candidate->n - j0, valid = left < ROWS ? left : ROWS;
    const size_t nbytes = group_nbytes_avx512vnni(dim), stride = dim;
    const uint8_t *lanes = jb->query->groups + g0 * nbytes;
    const int8_t *codes = jb->candidate->codes + j0 * stride, *codes4 = codes + 4 * stride;
    __m512i x0[ROWS], x1[ROWS], x2[ROWS];
    int32_t start[ROWS] = {0};

    for (uint32_t r = 0; r < valid; r++)
        start[r] = -128 * jb->candidate->code_sum[j0 + r];
#define START(r) x0[r] = x1[r] = x2[r] = _mm512_set1_epi32(start[r])
    EACH_ROW(START);
#undef START
    for (uint32_t d = 0; d < dim; d += 4) {
        const __m512i b0 = _mm512_load_si512(lanes);
        const __m512i b1 = groups > 1 ? _mm512_load_si512(lanes + nbytes) : b0;
        const __m512i b2 = groups > 2 ? _mm512_load_si512(lanes + 2 * nbytes) : b0;
        __m512i a;

#define STEP(r, at)                                                                                \
    a = broadcast4(at);                                                                            \
    x0[r] = _mm512_dpbusd_epi32(x0[r], b0, a);                                                     \
    if (groups > 1)                                                                                \
        x1[r] = _mm512_dpbusd_epi32(x1[r], b1, a);                                                 \
    if (groups > 2)                                                                                \
        x2[r] = _mm512_dpbusd_epi32(x2[r], b2, a);
        STEP(0, codes)
        STEP(1, codes + stride)
        STEP(2, codes + 2 * stride)
        STEP(3, codes + 3 * stride)
        STEP(4, codes4)
        STEP(5, codes4 + stride)
        STEP(6, codes4 + 2 * stride)
        STEP(7, codes4 + 3 * stride)
#undef STEP
        codes += 4;
        codes4 += 4;
        lanes += 64;
    }
    take(jb, g0, j0, valid, x0, with_row);
    if (groups > 1)
        take(jb, g0 + 1, j0, valid, x1, with_row);
    if (groups > 2)
        take(jb, g0 + 2, j0, valid, x2, with_row);
}

#define DEFINE_PASS(name, groups, with_row)                                                        \
    CMIR_AVX512_FN static void name(const job *jb, uint32_t g0)                                    \
    {                                                                                              \
        for (uint32_t j0 = 0; j0 < jb->candidate->n; j0 += ROWS)                                   \
            block(jb, g0, j0, groups, with_row);                                                   \
    }
DEFINE_PASS(pass1, 1, false)
DEFINE_PASS(pass2, 2, false)
DEFINE_PASS(pass3, 3, false)
DEFINE_PASS(pass1_row, 1, true)
DEFINE_PASS(pass2_row, 2, true)
DEFINE_PASS(pass3_row, 3, true)
#undef DEFINE_PASS

static void
maxsim_avx512vnni(const cmir_packed *query, const cmir_codes *candidate, float *best, uint32_t *row,
                  const cmir_kept *kept)
{
    static void (*const pass[2][MAX_GROUPS])(const job *, uint32_t) = {
        {pass1, pass2, pass3}, {pass1_row, pass2_row, pass3_row}};
    const job jb = {query, candidate, best, row, kept};

    for (uint32_t g = 0; g < query->n_groups; g += MAX_GROUPS) {
        const uint32_t left = query->n_groups - g;

        pass[row != NULL][(left < MAX_GROUPS ? left : MAX_GROUPS) - 1](&jb, g);
    }
}

/* What select reads of the query: 16 lanes of one group. */
typedef struct lane_terms {
    __m512 scale, norm, residual, threshold;
} lane_terms;

/* The pairs of one tile, behind the n that are there. */
CMIR_AVX512_INLINE uint32_t
select_tile(const cmir_codes *c, const int32_t *dots, uint32_t j0, const lane_terms *lanes,
            uint32_t *out, uint32_t n)
{
    const uint32_t left = c->n - j0, rows = left < CMIR_TILE ? left : CMIR_TILE;
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t j = j0 + r;
        const __m512 f =
            cmir_score(_mm512_load_si512(dots + (size_t)r * CMIR_LANES),
                       _mm512_set1_ps(c->scale[j]), lanes->scale, _mm512_set1_ps(c->base[j]));
        const __m512 most =
            _mm512_fmadd_ps(lanes->norm, _mm512_set1_ps(c->residual[j]),
                            _mm512_fmadd_ps(lanes->residual, _mm512_set1_ps(c->reach[j]), f));
        const __mmask16 m = _mm512_cmp_ps_mask(most, lanes->threshold, _CMP_GE_OQ);

        if (m != 0) { /* 16 are written: j rows have left at most 16 * j, there is room */
            const __m512i pair = _mm512_add_epi32(_mm512_set1_epi32((int)(j * CMIR_LANES)), lane);

            _mm512_storeu_si512(out + n, _mm512_maskz_compress_epi32(m, pair));
            n += (uint32_t)_mm_popcnt_u32(m);
        }
    }
    return n;
}

CMIR_AVX512_FN static uint32_t
select_avx512vnni(const cmir_packed *query, const cmir_codes *c, const cmir_kept *kept,
                  uint32_t group, const float *least, const float *threshold, uint32_t *out)
{
    const size_t lanes = (size_t)query->n_groups * CMIR_LANES, first = (size_t)group * CMIR_LANES;
    const lane_terms terms = {_mm512_load_ps(query->scale + first),
                              _mm512_load_ps(query->norm + first),
                              _mm512_load_ps(query->residual + first), _mm512_load_ps(threshold)};
    const __m512 tile_least = _mm512_load_ps(least);
    const float *tile_best = kept->tile_best + first;
    const int32_t *dots = kept->dots + first * CMIR_TILE;
    uint32_t n = 0;

    for (uint32_t j = 0; j < c->n; j += CMIR_TILE) {
        if (_mm512_cmp_ps_mask(_mm512_load_ps(tile_best), tile_least, _CMP_GE_OQ) != 0)
            n = select_tile(c, dots, j, &terms, out, n);
        tile_best += lanes;
        dots += lanes * CMIR_TILE;
    }
    return n;
}

/* Of the type that the instruction has: GCC copies an __m512i in every step of a loop. */
typedef int32_t lanes32 __attribute__((vector_size(64)));

CMIR_AVX512_INLINE lanes32
madd(lanes32 sum, __m512i a, const int16_t *b)
{
    return (lanes32)_mm512_dpwssd_epi32((__m512i)sum, a, _mm512_load_si512(b));
}

/* The sums of four registers. */
CMIR_AVX512_INLINE __m128i
sum_each(const __m512i v[4])
{
    const __m512i v01 =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    const __m512i v23 =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    const __m512i all =
        _mm512_add_epi32(_mm512_unpacklo_epi64(v01, v23), _mm512_unpackhi_epi64(v01, v23));
    const __m256i half =
        _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));

    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* Rows, and which of them. */
typedef struct side {
    const int16_t *rows;
    const uint32_t *at;
} side;

/* Four pairs; `shared`: the first row of a is in all of them.  8 sums, so that few wait for one
 * another.  n_next rows that come next are fetched: they are scattered over a record that may not
 * be in any cache. */
CMIR_AVX512_INLINE void
dot_four(side a, side b, bool shared, side next, uint32_t n_next, size_t dim, int32_t *out)
{
    const int16_t *x[4], *y[4], *later[4];
    lanes32 even[4], odd[4];
    __m512i sum[4];

#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++) {
        x[i] = a.rows + a.at[shared ? 0 : i] * dim;
        y[i] = b.rows + b.at[i] * dim;
        later[i] = next.rows + next.at[i < n_next ? i : 0] * dim;
        even[i] = odd[i] = (lanes32)_mm512_setzero_si512();
    }
    for (size_t d = 0; d < dim; d += 64) {
#pragma GCC unroll 4
        for (uint32_t i = 0; i < n_next; i++) /* one line of two: its neighbour comes along */
            _mm_prefetch((const char *)(later[i] + d), _MM_HINT_T0);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++) {
            even[i] = madd(even[i], _mm512_load_si512(x[i] + d), y[i] + d);
            odd[i] = madd(odd[i], _mm512_load_si512(x[i] + d + 32), y[i] + d + 32);
        }
    }
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++)
        sum[i] = _mm512_add_epi32((__m512i)even[i], (__m512i)odd[i]);
    _mm_storeu_si128((__m128i *)(void *)out, sum_each(sum));
}

/* One pair: 4 sums. */
CMIR_AVX512_INLINE int32_t
dot_one(const int16_t *a, const int16_t *b, size_t dim)
{
    lanes32 s0 = (lanes32)_mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;

    if (dim % 128 != 0) {
        s0 = madd(s0, _mm512_load_si512(a), b);
        s1 = madd(s1, _mm512_load_si512(a + 32), b + 32);
    }
    for (size_t d = dim % 128; d < dim; d += 128) {
        s0 = madd(s0, _mm512_load_si512(a + d), b + d);
        s1 = madd(s1, _mm512_load_si512(a + d + 32), b + d + 32);
        s2 = madd(s2, _mm512_load_si512(a + d + 64), b + d + 64);
        s3 = madd(s3, _mm512_load_si512(a + d + 96), b + d + 96);
    }
    const __m512i sums[4] = {(__m512i)s0, (__m512i)s1, (__m512i)s2, (__m512i)s3};
    const __m128i four = sum_each(sums);
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));

    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

CMIR_AVX512_INLINE bool
are_equal(const uint32_t four[4])
{
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)four);

    return _mm_cmpneq_epi32_mask(v, _mm_broadcastd_epi32(v)) == 0;
}

CMIR_AVX512_FN static void
dots_exact_avx512vnni(const int16_t *query, const int16_t *rows, uint32_t padded_dim,
                      const uint32_t *q, const uint32_t *r, uint32_t n, int32_t *out)
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
cmir_kernels_init_avx512vnni(cmir_kernels *k)
{
    *k = (cmir_kernels){"avx512vnni",      group_nbytes_avx512vnni, pack_avx512vnni,
                        maxsim_avx512vnni, select_avx512vnni,       dots_exact_avx512vnni};
}

#endif
