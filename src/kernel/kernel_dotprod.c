/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_dotprod.c: kernels for 64-bit Arm with the dot product instructions.  Chosen by kernel.c.
 *
 * sdot multiplies signed bytes and adds 4 dims of 4 lanes at once, exactly, with 4 dims of the
 * other side named by their place in a register: the query is packed as the C reference packs it
 * ([padded_dim / 4][16 lanes][4]), the candidate is read as it lies, 16 bytes at a time.
 *
 * Blocking: 4 rows of a tile (16 rows) meet the 16 lanes in 16 accumulators; 4 loads of rows and 16
 * of lanes feed 64 products.  The products of a tile and a group go through 1 KiB of memory, that
 * of cmir_kept where it is wanted; the tile is then read once more, 4 lanes at a time. */
#include "kernel/kernel.h"

#if defined(__aarch64__)

#if defined(__clang__) && __clang_major__ < 16 && !defined(__ARM_FEATURE_DOTPROD)
#define __ARM_FEATURE_DOTPROD 1 /* its arm_neon.h asks the command line, not the function */
#endif
#include <arm_neon.h>
#include <stdbool.h>

#if defined(__clang__)
#define DOTPROD __attribute__((target("dotprod")))
#define DOTPROD_INLINE static inline __attribute__((target("dotprod"), always_inline))
#else
#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#define DOTPROD_INLINE                                                                             \
    static inline __attribute__((target("arch=armv8.2-a+dotprod"), always_inline))
#endif

#define ROWS_AT_ONCE 4u

DOTPROD_INLINE float32x4_t
score(const int32_t *dots, float scale, float32x4_t lane_scale, float base)
{
    return vfmaq_f32(vdupq_n_f32(base), vcvtq_f32_s32(vld1q_s32(dots)),
                     vmulq_f32(vdupq_n_f32(scale), lane_scale));
}

/* ROWS_AT_ONCE rows of a tile against 16 lanes. */
DOTPROD_INLINE void
multiply(const int8_t *lanes, const int8_t *rows, uint32_t padded_dim, int32_t *dots)
{
    int32x4_t sum[ROWS_AT_ONCE][4];

#pragma GCC unroll 4
    for (uint32_t r = 0; r < ROWS_AT_ONCE; r++)
        sum[r][0] = sum[r][1] = sum[r][2] = sum[r][3] = vdupq_n_s32(0);
    for (uint32_t d = 0; d < padded_dim; d += 16, lanes += 16 * CMIR_LANES) {
        const int8x16_t a = vld1q_s8(rows + d), b = vld1q_s8(rows + padded_dim + d),
                        c = vld1q_s8(rows + 2 * (size_t)padded_dim + d),
                        e = vld1q_s8(rows + 3 * (size_t)padded_dim + d);

/* Dims 4 * i to 4 * i + 3 of the 16. */
#define STEP(i)                                                                                    \
    _Pragma("GCC unroll 4") for (uint32_t v = 0; v < 4; v++)                                       \
    {                                                                                              \
        const int8x16_t four = vld1q_s8(lanes + (i) * 4 * CMIR_LANES + 16 * v);                    \
                                                                                                   \
        sum[0][v] = vdotq_laneq_s32(sum[0][v], four, a, i);                                        \
        sum[1][v] = vdotq_laneq_s32(sum[1][v], four, b, i);                                        \
        sum[2][v] = vdotq_laneq_s32(sum[2][v], four, c, i);                                        \
        sum[3][v] = vdotq_laneq_s32(sum[3][v], four, e, i);                                        \
    }
        STEP(0)
        STEP(1)
        STEP(2)
        STEP(3)
#undef STEP
    }
#pragma GCC unroll 4
    for (uint32_t r = 0; r < ROWS_AT_ONCE; r++)
#pragma GCC unroll 4
        for (uint32_t v = 0; v < 4; v++)
            vst1q_s32(dots + r * CMIR_LANES + 4 * v, sum[r][v]);
}

/* Products of a tile, dots[16 rows][16 lanes], into best, row and tile_best, each of which is that
 * of the group; row and tile_best may be NULL. */
DOTPROD_INLINE void
take_tile(const int32_t *dots, const cmir_codes *c, uint32_t first, uint32_t n_rows,
          const float *lane_scales, float *best, uint32_t *row, float *tile_best)
{
    for (uint32_t lane = 0; lane < CMIR_LANES; lane += 4) {
        const float32x4_t lane_scale = vld1q_f32(lane_scales + lane);
        const float32x4_t f0 = score(dots + lane, c->scale[first], lane_scale, c->base[first]);
        float32x4_t most = f0, top = first == 0 ? f0 : vld1q_f32(best + lane);
        uint32x4_t at = row == NULL || first == 0 ? vdupq_n_u32(0) : vld1q_u32(row + lane);

        for (uint32_t r = 0; r < n_rows; r++) {
            const float32x4_t f = score(dots + r * CMIR_LANES + lane, c->scale[first + r],
                                        lane_scale, c->base[first + r]);
            const uint32x4_t above = vcgtq_f32(f, top);

            top = vbslq_f32(above, f, top); /* not vmaxq: it orders zeros, and keeps what is no
                                               number */
            if (row != NULL)
                at = vbslq_u32(above, vdupq_n_u32(first + r), at);
            if (tile_best != NULL)
                most = vbslq_f32(vcgtq_f32(f, most), f, most);
        }
        vst1q_f32(best + lane, top);
        if (row != NULL)
            vst1q_u32(row + lane, at);
        if (tile_best != NULL)
            vst1q_f32(tile_best + lane, most);
    }
}

DOTPROD_INLINE void
maxsim(const cmir_packed *query, const cmir_codes *c, float *best, uint32_t *row,
       const cmir_kept *kept)
{
    const size_t nbytes = (size_t)c->padded_dim * CMIR_LANES;
    _Alignas(64) int32_t block[CMIR_TILE * CMIR_LANES];

    for (uint32_t first = 0; first < c->n; first += CMIR_TILE) {
        const size_t at = (size_t)first / CMIR_TILE * query->n_groups;
        const uint32_t n_rows = c->n - first < CMIR_TILE ? c->n - first : CMIR_TILE;
        const int8_t *codes = c->codes + (size_t)first * c->padded_dim;

        for (uint32_t g = 0; g < query->n_groups; g++) {
            const int8_t *group = (const int8_t *)query->groups + g * nbytes;
            const size_t lane = (size_t)g * CMIR_LANES;
            int32_t *dots = kept == NULL ? block : kept->dots + (at + g) * CMIR_TILE * CMIR_LANES;

            for (uint32_t r = 0; r < n_rows; r += ROWS_AT_ONCE)
                multiply(group, codes + (size_t)r * c->padded_dim, c->padded_dim,
                         dots + r * CMIR_LANES);
            take_tile(dots, c, first, n_rows, query->scale + lane, best + lane,
                      row == NULL ? NULL : row + lane,
                      kept == NULL ? NULL : kept->tile_best + (at + g) * CMIR_LANES);
        }
    }
}

DOTPROD static void
maxsim_dotprod(const cmir_packed *query, const cmir_codes *c, float *best, uint32_t *row,
               const cmir_kept *kept)
{
    if (row == NULL && kept == NULL)
        maxsim(query, c, best, NULL, NULL);
    else
        maxsim(query, c, best, row, kept);
}

DOTPROD_INLINE bool
tile_reaches(const float *tile_best, const float *least)
{
    uint32x4_t there = vdupq_n_u32(0);

    for (uint32_t lane = 0; lane < CMIR_LANES; lane += 4)
        there = vorrq_u32(there, vcgeq_f32(vld1q_f32(tile_best + lane), vld1q_f32(least + lane)));
    return vmaxvq_u32(there) != 0;
}

DOTPROD static uint32_t
select_dotprod(const cmir_packed *query, const cmir_codes *c, const cmir_kept *kept, uint32_t group,
               const float *least, const float *threshold, uint32_t *out)
{
    const size_t lane0 = (size_t)group * CMIR_LANES;
    uint32_t n = 0;

    for (uint32_t first = 0; first < c->n; first += CMIR_TILE) {
        const size_t at = (size_t)first / CMIR_TILE * query->n_groups + group;
        const uint32_t end = c->n - first < CMIR_TILE ? c->n : first + CMIR_TILE;
        const int32_t *dots = kept->dots + at * CMIR_TILE * CMIR_LANES;

        if (!tile_reaches(kept->tile_best + at * CMIR_LANES, least))
            continue;
        for (uint32_t j = first; j < end; j++)
            for (uint32_t lane = 0; lane < CMIR_LANES; lane += 4, dots += 4) {
                const float32x4_t lane_norm = vld1q_f32(query->norm + lane0 + lane);
                const float32x4_t lane_residual = vld1q_f32(query->residual + lane0 + lane);
                const float32x4_t f =
                    score(dots, c->scale[j], vld1q_f32(query->scale + lane0 + lane), c->base[j]);
                const float32x4_t most =
                    vfmaq_f32(vfmaq_f32(f, lane_residual, vdupq_n_f32(c->reach[j])), lane_norm,
                              vdupq_n_f32(c->residual[j]));
                uint32_t there[4];

                vst1q_u32(there, vcgeq_f32(most, vld1q_f32(threshold + lane)));
                for (uint32_t i = 0; i < 4; i++)
                    if (there[i] != 0)
                        out[n++] = j * CMIR_LANES + lane + i;
            }
    }
    return n;
}

DOTPROD static void
dots_exact_dotprod(const int16_t *query, const int16_t *rows, uint32_t padded_dim,
                   const uint32_t *q, const uint32_t *r, uint32_t n, int32_t *out)
{
    for (uint32_t k = 0; k < n; k++) {
        const int16_t *a = query + (size_t)q[k] * padded_dim;
        const int16_t *b = rows + (size_t)r[k] * padded_dim;
        int32x4_t sum[4];

        sum[0] = sum[1] = sum[2] = sum[3] = vdupq_n_s32(0);
        for (uint32_t d = 0; d < padded_dim; d += 16) {
            const int16x8_t a0 = vld1q_s16(a + d), a1 = vld1q_s16(a + d + 8);
            const int16x8_t b0 = vld1q_s16(b + d), b1 = vld1q_s16(b + d + 8);

            sum[0] = vmlal_s16(sum[0], vget_low_s16(a0), vget_low_s16(b0));
            sum[1] = vmlal_high_s16(sum[1], a0, b0);
            sum[2] = vmlal_s16(sum[2], vget_low_s16(a1), vget_low_s16(b1));
            sum[3] = vmlal_high_s16(sum[3], a1, b1);
        }
        out[k] = vaddvq_s32(vaddq_s32(vaddq_s32(sum[0], sum[1]), vaddq_s32(sum[2], sum[3])));
    }
}

void
cmir_kernels_init_dotprod(cmir_kernels *k)
{
    k->name = "dotprod"; /* group_nbytes and pack are those of the reference */
    k->maxsim = maxsim_dotprod;
    k->select = select_dotprod;
    k->dots_exact = dots_exact_dotprod;
}

#endif
