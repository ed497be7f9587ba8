/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h: arithmetic of late interaction.  No allocation, no I/O.  Called by rank.
 *
 * A table of function pointers: the C reference (kernel.c) fills every slot, each instruction-set
 * file overwrites what it does better, and the table is chosen from the CPU's features.
 *
 * The form of all of them: query slices in lanes, candidate slices broadcast.  The query is packed
 * once per search, 16 rows side by side (a group); a candidate is read as it lies in the record.
 * Running maxima of 16 query slices live in registers over the whole candidate, so nothing is ever
 * reduced horizontally.
 *
 * Screening.  With codes a_i of query row i and b_j of candidate row j (int8, padded_dim of them)
 *
 *     f_ij = fmaf((float)<a_i, b_j>, scale_j * scale_i, base_j)
 *
 * in single precision, fused, on every level: the int32 products, f, its maxima and the rows where
 * they lie are the same bits on every CPU.  How far f may be from the similarity is rank's matter.
 *
 * Exact.  Rows of int16 whose norm is at most 2^15: their dot products, and all partial sums, fit
 * in int32 (Cauchy-Schwarz), so they are exact in any order. */
#ifndef CMIR_KERNEL_KERNEL_H
#define CMIR_KERNEL_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define CMIR_LANES 16u /* query rows side by side */
#define CMIR_TILE 16u  /* candidate rows that share one entry of cmir_kept.tile_best */

/* A query, packed by the same table that is to read it.  Lanes behind the last row hold codes 0 and
 * scale 0; what is computed for them means nothing. */
typedef struct cmir_packed {
    const uint8_t *groups; /* [n_groups][group_nbytes(padded_dim)], 64-byte aligned */
    const float *scale; /* [n_groups * CMIR_LANES], 64-byte aligned */
    const float *norm; /* the same; how far f can be from the truth, read by select alone: */
    const float *residual; /* norm_i * residual_j + residual_i * reach_j */
    uint32_t n_groups; /* >= 1 */
} cmir_packed;

/* Candidate rows as they lie in a record.  Rows behind the n-th, up to a multiple of 16, can be
 * read and mean nothing. */
typedef struct cmir_codes {
    const int8_t *codes; /* [n rounded up to 16][padded_dim], 64-byte aligned */
    const float *scale; /* [n] */
    const float *base; /* [n] */
    const int32_t *code_sum; /* [n] sum of the row's codes */
    const float *residual; /* [n] read by select alone */
    const float *reach; /* [n] */
    uint32_t n; /* >= 1 */
    uint32_t padded_dim; /* a multiple of 64 */
} cmir_codes;

/* What maxsim leaves behind for select; the caller's memory, 64-byte aligned. */
typedef struct cmir_kept {
    float *tile_best; /* [tiles][n_groups * CMIR_LANES]: the largest f of each tile of 16 rows */
    int32_t *dots; /* [tiles][n_groups][16 rows][16 lanes] */
} cmir_kept;

typedef struct cmir_kernels {
    const char *name; /* "amx", "avx512vnni", "avxvnni", "avx2", "dotprod", "c" */

    /* Bytes of one packed group; a multiple of 64. */
    size_t (*group_nbytes)(uint32_t padded_dim);

    /* Packs n <= 16 rows of codes ([n][padded_dim]) into one group. */
    void (*pack)(const int8_t *codes, uint32_t n, uint32_t padded_dim, uint8_t *group);

    /* The most similar row for every lane: best[lane] = the largest f, row[lane] = where it is, the
     * lowest row of equals.  Both are [n_groups * CMIR_LANES], 64-byte aligned; row may be NULL.
     * kept: NULL, or filled as well. */
    void (*maxsim)(const cmir_packed *query, const cmir_codes *candidate, float *best,
                   uint32_t *row, const cmir_kept *kept);

    /* The pairs of group `group` that may reach a threshold, as row * 16 + lane, in ascending order:
     *
     *     fmaf(norm_i, residual_j, fmaf(residual_i, reach_j, f_ij)) >= threshold[lane]
     *
     * Tiles in which no lane's tile_best reaches least[lane] are passed over: the caller subtracts
     * the largest bound from the threshold.  Both are [16], 64-byte aligned.  `kept` is what maxsim
     * left for the same query and candidate.  Returns how many; `out` has room for 16 * n. */
    uint32_t (*select)(const cmir_packed *query, const cmir_codes *candidate, const cmir_kept *kept,
                       uint32_t group, const float *least, const float *threshold, uint32_t *out);

    /* out[k] = <query row q[k], candidate row r[k]>, rows of padded_dim int16, 64-byte aligned.  Runs
     * of equal r[k] are what it is best at. */
    void (*dots_exact)(const int16_t *query, const int16_t *rows, uint32_t padded_dim,
                       const uint32_t *q, const uint32_t *r, uint32_t n, int32_t *out);
} cmir_kernels;

/* The best table for the CPU of `flags` (base/cpu.h); 0: the C reference. */
void cmir_kernels_init(cmir_kernels *k, unsigned flags);

/* The packing of the levels that multiply signed bytes, the reference among them: for every 4 dims,
 * 16 lanes of 4 bytes. */
size_t cmir_signed_group_nbytes(uint32_t padded_dim);
void cmir_signed_pack(const int8_t *codes, uint32_t n, uint32_t padded_dim, uint8_t *group);

/* Each overwrites what it does better; called by cmir_kernels_init() alone, oldest first. */
void cmir_kernels_init_avx2(cmir_kernels *k);
void cmir_kernels_init_avxvnni(cmir_kernels *k);
void cmir_kernels_init_avx512vnni(cmir_kernels *k);
void cmir_kernels_init_amx(cmir_kernels *k);
void cmir_kernels_init_dotprod(cmir_kernels *k);

#endif
