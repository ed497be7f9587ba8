#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""maxsim-cpu (PyPI) on one pair of volumes, one thread; one JSON line in the form of peers_maxsim.

  bench/peers_maxsim_cpu.py QUERY.npy CANDIDATE.npy

Its wheel gives each libxsmm product 64 candidate slices; where 64 * m * dim exceeds 64^3, libxsmm wants a BLAS that
the wheel does not hold, and scores are garbage or the process crashes.  So the query is cut into pieces of at most
4096 / dim slices, whose scores add up.  One call takes COPIES copies of the candidate, to spread Python's overhead;
the second form, of documents in a list, is what ragged archives need."""
import json
import os
import sys
import time

os.environ['RAYON_NUM_THREADS'] = '1'

import maxsim_cpu  # noqa: E402
import numpy as np  # noqa: E402

COPIES = 16
TIMED_SECONDS = 0.5


def time_calls(call):
    """-> median and median absolute deviation of one copy, in microseconds."""
    call()
    us, end = [], time.perf_counter() + TIMED_SECONDS
    while len(us) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        us.append((time.perf_counter() - start) * 1e6 / COPIES)
    return float(np.median(us)), float(np.median(np.abs(us - np.median(us))))


def main():
    query, candidate = (np.load(path) for path in sys.argv[1:])
    (m, dim), n = query.shape, len(candidate)
    step = max(1, 4096 // dim)
    pieces = [np.ascontiguousarray(query[i:i + step]) for i in range(0, m, step)]
    exact = (query.astype(float) @ candidate.astype(float).T).max(1)
    for form, score, copies in (('uniform', maxsim_cpu.maxsim_scores, np.stack([candidate] * COPIES)),
                                ('ragged', maxsim_cpu.maxsim_scores_variable, [candidate] * COPIES)):
        median, mad = time_calls(lambda: sum(score(piece, copies) for piece in pieces))
        found = np.array([score(query[i:i + 1], copies)[0] for i in range(m)])
        mean = sum(float(score(piece, copies)[0]) for piece in pieces) / m
        print(json.dumps({
            'peer': 'maxsim-cpu (%s)' % form, 'isa': 'float32', 'm': m, 'n': n, 'dim': dim,
            'median_us': round(median, 2), 'mad_us': round(mad, 2),
            'gops': round(2e-3 * m * n * dim / median, 1),
            'max_similarity_error_vs_float64': float('%.3g' % np.abs(found - exact).max()),
            'mean_similarity_error': float('%.3g' % (mean - exact.mean())), 'wrong_argmax': None}))


if __name__ == '__main__':
    main()
