/* SPDX-License-Identifier: Apache-2.0 */
/* whitening.h: a whitening learnt from an archive, and applied to rows.  Called by engine. */
#ifndef CMIR_FIT_WHITENING_H
#define CMIR_FIT_WHITENING_H

#include <stdint.h>

#include <cmir/status.h>

#include "store/store.h"
#include "store/whitening.h"

/* Learns the mean and weights of `whitening`, and its numbers of slices, volumes and explained
 * variance, from the scored rows of `snapshot`.  CMIR_EINVAL where there are fewer than two volumes,
 * or where their slices do not span as many dimensions as are wanted.  `progress` counts volumes;
 * may be NULL. */
cmir_status cmir_whitening_learn(cmir_whitening *whitening, const cmir_snapshot *snapshot,
                                 uint32_t n_threads, cmir_progress_fn progress, void *progress_ctx,
                                 cmir_error *err);

/* out ([dim], unit length) = one whitened row in fixed point.  The same bits on every machine. */
void cmir_whitening_apply(const cmir_whitening *whitening, const int16_t *row, float *out);

#endif
