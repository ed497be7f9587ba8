/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.c: the C reference of every kernel, and the choice of a table.  Called by rank.
 *
 * Packed layout of the reference, shared by the levels that multiply signed bytes: for every 4
 * dims, 16 lanes of 4 bytes ([padded_dim / 4][16][4]). */
#include "kernel/kernel.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/cpu.h"

size_t
cmir_signed_group_nbytes(uint32_t padded_dim)
{
    return (size_t)padded_dim * CMIR_LANES;
}

void
cmir_signed_pack(const int8_t *codes, uint32_t n, uint32_t padded_dim, uint8_t *group)
{
    memset(group, 0, cmir_signed_group_nbytes(padded_dim));
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t d = 0; d < padded_dim; d += 4)
            memcpy(group + (size_t)d * CMIR_LANES + i * 4, codes + (size_t)i * padded_dim + d, 4);
}

/* One candidate row against one group. */
static void
dot_lanes(const uint8_t *group, const int8_t *row, uint32_t padded_dim, int32_t dots[CMIR_LANES])
{
    memset(dots, 0, CMIR_LANES * sizeof *dots);
    for (uint32_t d = 0; d < padded_dim; d += 4) {
        const int8_t *lanes = (const int8_t *)group + (size_t)d * CMIR_LANES;

        for (uint32_t i = 0; i < CMIR_LANES; i++)
            for (uint32_t k = 0; k < 4; k++)
                dots[i] += lanes[4 * i + k] * row[d + k];
    }
}

static float
score_of(int32_t dot, float scale, float lane_scale, float base)
{
    return fmaf((float)dot, scale * lane_scale, base);
}

/* Row j of the candidate, in group g. */
static void
take_row(const cmir_packed *query, const cmir_codes *c, uint32_t g, uint32_t j,
         const int32_t dots[CMIR_LANES], float *best, uint32_t *row, const cmir_kept *kept)
{
    const size_t first = (size_t)g * CMIR_LANES, tile = j / CMIR_TILE;

    if (kept != NULL)
        memcpy(kept->dots + ((tile * query->n_groups + g) * CMIR_TILE + j % CMIR_TILE) * CMIR_LANES,
               dots, CMIR_LANES * sizeof *dots);
    for (uint32_t i = 0; i < CMIR_LANES; i++) {
        const float f = score_of(dots[i], c->scale[j], query->scale[first + i], c->base[j]);

        if (j == 0 || f > best[first + i]) {
            best[first + i] = f;
            if (row != NULL)
                row[first + i] = j;
        }
        if (kept != NULL) {
            float *most = kept->tile_best + tile * query->n_groups * CMIR_LANES + first + i;

            *most = j % CMIR_TILE == 0 || f > *most ? f : *most;
        }
    }
}

static void
maxsim_c(const cmir_packed *query, const cmir_codes *c, float *best, uint32_t *row,
         const cmir_kept *kept)
{
    const size_t nbytes = cmir_signed_group_nbytes(c->padded_dim);
    int32_t dots[CMIR_LANES];

    for (uint32_t g = 0; g < query->n_groups; g++)
        for (uint32_t j = 0; j < c->n; j++) {
            dot_lanes(query->groups + g * nbytes, c->codes + (size_t)j * c->padded_dim,
                      c->padded_dim, dots);
            take_row(query, c, g, j, dots, best, row, kept);
        }
}

static uint32_t
select_c(const cmir_packed *query, const cmir_codes *c, const cmir_kept *kept, uint32_t group,
         const float *least, const float *threshold, uint32_t *out)
{
    const size_t first = (size_t)group * CMIR_LANES;
    uint32_t n = 0;

    for (uint32_t j = 0; j < c->n; j++) {
        const size_t tile = j / CMIR_TILE;
        const float *tile_best = kept->tile_best + tile * query->n_groups * CMIR_LANES + first;
        const int32_t *dots =
            kept->dots +
            ((tile * query->n_groups + group) * CMIR_TILE + j % CMIR_TILE) * CMIR_LANES;
        bool wanted = false;

        for (uint32_t i = 0; i < CMIR_LANES; i++)
            wanted = wanted || tile_best[i] >= least[i];
        for (uint32_t i = 0; wanted && i < CMIR_LANES; i++) {
            const float f = score_of(dots[i], c->scale[j], query->scale[first + i], c->base[j]);

            if (fmaf(query->norm[first + i], c->residual[j],
                     fmaf(query->residual[first + i], c->reach[j], f)) >= threshold[i])
                out[n++] = j * CMIR_LANES + i;
        }
    }
    return n;
}

static void
dots_exact_c(const int16_t *query, const int16_t *rows, uint32_t padded_dim, const uint32_t *q,
             const uint32_t *r, uint32_t n, int32_t *out)
{
    for (uint32_t k = 0; k < n; k++) {
        const int16_t *a = query + (size_t)q[k] * padded_dim;
        const int16_t *b = rows + (size_t)r[k] * padded_dim;
        uint32_t sum = 0; /* wraps where damaged rows are longer than they may be */

        for (uint32_t d = 0; d < padded_dim; d++)
            sum += (uint32_t)(a[d] * b[d]);
        out[k] = (int32_t)sum;
    }
}

void
cmir_kernels_init(cmir_kernels *k, unsigned flags)
{
    *k = (cmir_kernels){"c",         cmir_signed_group_nbytes, cmir_signed_pack, maxsim_c, select_c,
                        dots_exact_c};
#if defined(__x86_64__)
    if ((flags & CMIR_CPU_AVX2) != 0)
        cmir_kernels_init_avx2(k);
    if ((flags & CMIR_CPU_AVXVNNI) != 0)
        cmir_kernels_init_avxvnni(k);
    if ((flags & CMIR_CPU_AVX512VNNI) != 0)
        cmir_kernels_init_avx512vnni(k);
    if ((flags & CMIR_CPU_AMX) != 0)
        cmir_kernels_init_amx(k);
#elif defined(__aarch64__)
    if ((flags & CMIR_CPU_DOTPROD) != 0)
        cmir_kernels_init_dotprod(k);
#else
    (void)flags;
#endif
}
