#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does NumKong's screening leave out the scale of each vector?  Three ways to pick winners on one pair.

  bench/numkong_scale.py QUERY.npy CANDIDATE.npy

Each row is quantised as NumKong does it (absolute maximum -> 127, rounded half away from zero), winners are the
largest int8 products with and without the candidate's scale, and the winners' similarities are exact.  If it
leaves the scale out, its mean similarity (measured by peers_maxsim) is that of "without scale".  Reading says the
same: in numkong/maxsim/serial.h `scale_f32` is written once and read by no kernel, and sapphireamx.h stores none."""
import json
import sys

import numpy as np


def quantise(x):
    scale = np.abs(x).max(1, keepdims=True) / 127
    scaled = x / scale
    return np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int32), scale[:, 0]


def main():
    query, candidate = (np.load(path).astype(float) for path in sys.argv[1:])
    exact = query @ candidate.T
    q, _ = quantise(query)
    v, scale = quantise(candidate)
    dots = q @ v.T
    for name, screened in (('without scale', dots), ('with scale', dots * scale)):
        found = exact[np.arange(len(exact)), screened.argmax(1)]
        print(json.dumps({'screening': name, 'm': len(query), 'n': len(candidate), 'dim': query.shape[1],
                          'wrong_argmax': int((found < exact.max(1)).sum()),
                          'mean_similarity_error': float('%.3g' % (found - exact.max(1)).mean()),
                          'max_similarity_error': float('%.3g' % (exact.max(1) - found).max())}))


if __name__ == '__main__':
    main()
