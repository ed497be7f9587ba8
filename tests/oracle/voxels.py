# SPDX-License-Identifier: Apache-2.0
"""Made-up voxels, and numpy's averages of slices, for the tests of pictures."""
import numpy as np


def blobs(rng, shape, low, high):
    """Smooth values with edges: something that has to be predicted."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing='ij'))
    values = np.full(shape, float(low))
    for _ in range(12):
        middle, size = rng.uniform(-0.8, 0.8, (3, 1, 1, 1)), rng.uniform(0.1, 0.6, (3, 1, 1, 1))
        values[((grid - middle) ** 2 / size ** 2).sum(0) < 1] = rng.uniform(low, high)
    return values + rng.normal(0, (high - low) / 200, shape)


def average(x, n_out):
    """Along the last axis, what each of n_out equal parts covers."""
    n_in = x.shape[-1]
    edges = np.arange(n_out + 1) * n_in / n_out
    weight = np.clip(np.minimum(np.arange(1, n_in + 1), edges[1:, None]) - np.maximum(np.arange(n_in), edges[:-1, None]),
                     0, None)
    return x @ (weight / weight.sum(1, keepdims=True)).T


def shrunk(picture, rows, cols):
    return average(average(picture, cols).T, rows).T
