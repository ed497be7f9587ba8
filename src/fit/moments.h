/* SPDX-License-Identifier: Apache-2.0 */
/* moments.h: mean and covariance of an archive's slices, and the eigenvectors of a covariance.  Called
 * by whitening.c. */
#ifndef CMIR_FIT_MOMENTS_H
#define CMIR_FIT_MOMENTS_H

#include <stdint.h>

#include <cmir/status.h>

#include "store/store.h"

/* mean ([dim]) and covariance ([dim][dim]) of the scored rows of `snapshot`, and how many rows were
 * taken: all, or every n-th where there are more than 2^18. */
cmir_status cmir_covariance(const cmir_snapshot *snapshot, uint32_t dim, uint32_t n_threads,
                            cmir_progress_fn progress, void *progress_ctx, double *mean,
                            double *covariance, uint64_t *n_rows, cmir_error *err);

/* The symmetric `matrix` ([n][n]) becomes its eigenvectors, one a row, of unit length; values ([n])
 * are the eigenvalues, falling.  eigen.cc. */
#ifdef __cplusplus
extern "C"
#endif
    cmir_status cmir_eigenvectors(double *matrix, uint32_t n, double *values, cmir_error *err);

#endif
