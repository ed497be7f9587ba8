/* SPDX-License-Identifier: Apache-2.0 */
/* half.c: IEEE 754 half precision to and from float. */
#include "base/half.h"

#include <string.h>

/* Scaling by a power of two lets the float unit renormalise subnormal halves and round. */
static float
float_of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t
bits_of_float(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float
cmir_half_to_float(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7FFFu;

    if (rest >= 0x7C00u) /* infinity, NaN */
        return float_of_bits(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
    /* Exponent and fraction in place, the exponent bias (127 - 15) put right by a multiplication. */
    const float magnitude = float_of_bits(rest << 13) * 0x1p112f;
    return float_of_bits(sign | bits_of_float(magnitude));
}

uint16_t
cmir_float_to_half(float value)
{
    const uint32_t bits = bits_of_float(value), magnitude = bits & 0x7FFFFFFFu;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);

    if (magnitude > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u); /* NaN */
    if (magnitude >= 0x477FF000u)          /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7C00u);
    if (magnitude < 0x38800000u) {
        /* Subnormal: adding 0.5 puts the last half bit at the float's last bit, so the addition
         * rounds to nearest even by itself. */
        const float rounded = float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(rounded) - 0x3F000000u));
    }
    const uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | (magnitude - 0x38000000u + 0xFFFu + odd) >> 13);
}
