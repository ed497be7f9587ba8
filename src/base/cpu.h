/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.h: what this processor and this system can run, asked in one place. */
#ifndef CMIR_BASE_CPU_H
#define CMIR_BASE_CPU_H

/* Levels, each a bit; a level is set only where the system saves its registers as well. */
#define CMIR_CPU_AVX2 1u       /* AVX2 and FMA */
#define CMIR_CPU_AVXVNNI 2u    /* AVX-VNNI: 8-bit products in 256-bit registers */
#define CMIR_CPU_AVX512VNNI 4u /* AVX-512 F, BW, DQ, VL and VNNI */
#define CMIR_CPU_AMX 8u        /* AMX int8, with AVX-512 VNNI; asks the system for the tiles */
#define CMIR_CPU_DOTPROD 16u   /* NEON dot product */

unsigned cmir_cpu_flags(void);

#endif
