/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/kernel.h"

#if defined(__x86_64__)
void
cmir_kernels_init_avxvnni(cmir_kernels *k)
{
    (void)k;
}
#endif
