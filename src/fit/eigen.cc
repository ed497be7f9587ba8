/* SPDX-License-Identifier: Apache-2.0 */
/* eigen.cc: the eigenvectors of a symmetric matrix, by Eigen; the only file that sees it.  No
 * exception leaves this file. */
#define EIGEN_MPL2_ONLY
#include <Eigen/Eigenvalues>

#include <algorithm>
#include <new>

extern "C" {
#include "base/error.h"
}
#include "fit/moments.h"

cmir_status
cmir_eigenvectors(double *matrix, uint32_t n, double *values, cmir_error *err)
{
    try {
        /* Column-major or row-major: the matrix is symmetric. */
        const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(
            Eigen::Map<const Eigen::MatrixXd>(matrix, n, n));

        if (solver.info() != Eigen::Success)
            return FAIL(err, CMIR_EINVAL, "the covariance of the slices has no eigenvectors");
        for (uint32_t k = 0; k < n; k++) { /* they come rising */
            values[k] = solver.eigenvalues()[n - 1 - k];
            std::copy_n(solver.eigenvectors().col(n - 1 - k).data(), n, matrix + (size_t)k * n);
        }
        return CMIR_OK;
    } catch (const std::bad_alloc &) {
        return FAIL(err, CMIR_ENOMEM, "no memory for the eigenvectors of %u dimensions",
                    (unsigned)n);
    }
}
