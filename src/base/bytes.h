/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.h: numbers as the archive's files hold them: little-endian, on any machine. */
#ifndef CMIR_BASE_BYTES_H
#define CMIR_BASE_BYTES_H

#include <stdint.h>

static inline void
cmir_put_u32(uint8_t *p, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

static inline void
cmir_put_u64(uint8_t *p, uint64_t value)
{
    cmir_put_u32(p, (uint32_t)value);
    cmir_put_u32(p + 4, (uint32_t)(value >> 32));
}

static inline uint32_t
cmir_get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t
cmir_get_u64(const uint8_t *p)
{
    return cmir_get_u32(p) | (uint64_t)cmir_get_u32(p + 4) << 32;
}

#endif
