/* SPDX-License-Identifier: Apache-2.0 */
/* half.h: IEEE 754 half precision to and from float, the one conversion used everywhere. */
#ifndef CMIR_BASE_HALF_H
#define CMIR_BASE_HALF_H

#include <stdint.h>

/* Exact for every half, infinities and NaN included. */
float cmir_half_to_float(uint16_t half);

/* Rounds to nearest, ties to even; overflows to infinity. */
uint16_t cmir_float_to_half(float value);

#endif
