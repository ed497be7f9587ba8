/* SPDX-License-Identifier: Apache-2.0 */
/* air.h: which slices hold only air. */
#ifndef CMIR_ENCODE_AIR_H
#define CMIR_ENCODE_AIR_H

#include <stdbool.h>

#include "encode/encoder_internal.h"
#include "picture/resize.h"

/* The blocks of a stack's slices.  Free with cmir_resizer_free(), after a failure too. */
cmir_status cmir_air_init(cmir_resizer *blocks, const cmir_stack *stack, cmir_error *err);

/* Floats that cmir_air_is() needs. */
size_t cmir_air_scratch(const cmir_resizer *blocks);

bool cmir_air_is(const cmir_resizer *blocks, const cmir_picture *picture, float *scratch);

#endif
