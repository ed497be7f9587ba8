/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c: CPU features, and the permission that AMX needs.  Called by engine (through rank) once per
 * search: the answer costs a microsecond, and nothing is kept. */
#define _DEFAULT_SOURCE /* syscall() */
#include "base/cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

/* Leaf 7, EDX: gcc and clang name these differently. */
#define LEAF7_AMX_TILE (1u << 24)
#define LEAF7_AMX_INT8 (1u << 25)

#define XCR0_AVX 0x6u /* XMM, YMM */
#define XCR0_AVX512 0xE6u /* and the mask registers, ZMM */
#define XCR0_TILES 0x60000u /* tile configuration and data */

static uint64_t
read_xcr0(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low | (uint64_t)high << 32;
}

/* Linux grants tiles to a process that asks; asking twice is fine. */
static bool
tiles_are_granted(void)
{
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

unsigned
cmir_cpu_flags(void)
{
    uint32_t a, b, c, d, b7, c7, d7, a71 = 0;
    unsigned flags = 0;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0 || (c & bit_FMA) == 0 ||
        !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7))
        return 0;
    if (a >= 1)
        (void)__get_cpuid_count(7, 1, &a71, &b, &c, &d);
    const uint64_t saved = read_xcr0();
    if ((saved & XCR0_AVX) == XCR0_AVX && (b7 & bit_AVX2) != 0)
        flags |= CMIR_CPU_AVX2;
    if (flags != 0 && (a71 & bit_AVXVNNI) != 0)
        flags |= CMIR_CPU_AVXVNNI;
    const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if (flags != 0 && (saved & XCR0_AVX512) == XCR0_AVX512 && (b7 & avx512) == avx512 &&
        (c7 & bit_AVX512VNNI) != 0)
        flags |= CMIR_CPU_AVX512VNNI;
    const uint32_t amx = LEAF7_AMX_TILE | LEAF7_AMX_INT8;
    if ((flags & CMIR_CPU_AVX512VNNI) != 0 && (saved & XCR0_TILES) == XCR0_TILES &&
        (d7 & amx) == amx && tiles_are_granted())
        flags |= CMIR_CPU_AMX;
    return flags;
}

#elif defined(__aarch64__)

#include <sys/auxv.h>

#define HWCAP_DOTPROD (1ul << 20)

unsigned
cmir_cpu_flags(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_DOTPROD) != 0 ? CMIR_CPU_DOTPROD : 0;
}

#else

unsigned
cmir_cpu_flags(void)
{
    return 0;
}

#endif
