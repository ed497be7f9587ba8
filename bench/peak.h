/* SPDX-License-Identifier: Apache-2.0 */
/* peak.h: what one core could do at best with the products of one instruction set, fed from registers:
 * the roof that bench_maxsim measures kernels against. */
#ifndef CMIR_BENCH_PEAK_H
#define CMIR_BENCH_PEAK_H

/* Gop/s (a product and its sum are two) of the level called `isa` (cmir_kernels.name); 0 where there
 * is no loop for it. */
double peak_gops(const char *isa);

#endif
