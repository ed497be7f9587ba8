/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h: arithmetic of late interaction.  No allocation, no I/O.  Called by rank.
 *
 * A table of function pointers: the C reference fills every slot, each instruction-set file
 * overwrites what it does better, and the table is chosen once from the CPU's features. */
#ifndef CMIR_KERNEL_KERNEL_H
#define CMIR_KERNEL_KERNEL_H

#include <stdint.h>

/* For each of m query rows (float32, [m][dim]) the most similar of n candidate rows (IEEE half,
 * [n][dim], n >= 1): best_row[i] and best[i] = their dot product, accumulated in double.  The
 * lowest row wins ties. */
typedef void (*cmir_maxsim_exact_fn)(const float *query, uint32_t m, const uint16_t *rows,
                                     uint32_t n, uint32_t dim, uint32_t *best_row, double *best);

/* All m * n dot products, accumulated in double: out[i * n + j]. */
typedef void (*cmir_dots_exact_fn)(const float *query, uint32_t m, const uint16_t *rows, uint32_t n,
                                   uint32_t dim, double *out);

struct cmir_kernels {
    cmir_maxsim_exact_fn maxsim_exact;
    cmir_dots_exact_fn dots_exact;
};

/* flags 0: the reference only. */
void cmir_kernels_init(struct cmir_kernels *k, unsigned flags);

#endif
