/* SPDX-License-Identifier: Apache-2.0 */
/* contrast.h: which slices of a query are nearer to positive cases than to negative ones.  Called by
 * engine. */
#ifndef CMIR_ASSESS_CONTRAST_H
#define CMIR_ASSESS_CONTRAST_H

#include <stddef.h>
#include <stdint.h>

#include <cmir/evidence.h>

/* similarity[(n_positive + n_negative)][n_slices]: of each query slice, to the most similar slice of a
 * case; positive cases first. */
typedef struct cmir_contrast_input {
    const float *similarity;
    uint32_t n_positive, n_negative;
    const uint32_t *slice; /* [n_slices] numbers */
    size_t n_slices; /* > 0 */
    uint64_t seed;
} cmir_contrast_input;

/* Fills slices[n_slices] and, of `out`, all from `first` on but mm.  CMIR_ENOMEM. */
cmir_status cmir_contrast_of(const cmir_contrast_input *input, cmir_contrast_slice *slices,
                             cmir_contrast *out, cmir_error *err);

#endif
