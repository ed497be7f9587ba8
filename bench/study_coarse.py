#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a first look should compare: recall of the ten best by exhaustive MaxSim (docs/decisions/coarse.md).

  bench/simulate.py --real build/real --volumes 2000 --raw A.f16 -o A        # prints "volumes slices dim"
  bench/study_coarse.py A.f16 2000 200 512 A/queries

Representatives of a volume: the middle slices of R equal runs, the runs' means, or those means made unit; of the
query M slices, evenly spaced.  float32 throughout: what is lost by int8 codes is in bench_search's figures."""
import os
import pathlib
import sys

for variable in ('OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE'):  # the kernels that fit this CPU
    os.environ.pop(variable, None)

import numpy as np  # noqa: E402

TOP = 10
CANDIDATES = (10, 16, 32, 64, 128, 256)


def maxsim(query, volumes):
    scores = []
    for part in np.array_split(volumes, max(1, len(volumes) // 200)):
        s = part.reshape(-1, part.shape[2]).astype(np.float32) @ query.T
        scores.append(s.reshape(len(part), -1, len(query)).max(1).mean(1))
    return np.concatenate(scores)


def spaced(n, k):
    return (2 * np.arange(k) + 1) * n // (2 * k)


def representatives(volumes, r):
    n = volumes.shape[1]
    ends = np.arange(r + 1) * n // r
    means = np.stack([volumes[:, a:b].astype(np.float32).mean(1) for a, b in zip(ends, ends[1:])], 1)
    return {'%d middle slices' % r: volumes[:, spaced(n, r)],
            '%d run means' % r: means,
            '%d run means, unit' % r: means / np.linalg.norm(means, axis=2, keepdims=True)}


def main():
    path, n_volumes, n_slices, dim, queries = sys.argv[1:]
    volumes = np.memmap(path, '<f2', 'r', shape=(int(n_volumes), int(n_slices), int(dim)))
    queries = [np.load(f) for f in sorted(pathlib.Path(queries).glob('*.npy'))]
    best = [np.argsort(-maxsim(q, volumes), kind='stable')[:TOP] for q in queries]
    for r in (8, 16, 32):
        for name, reps in representatives(volumes, r).items():
            for m in (32, 64, 200):
                place = []
                for q, wanted in zip(queries, best):
                    order = np.argsort(-maxsim(q[spaced(len(q), m)], reps), kind='stable')
                    place.append(np.argsort(order)[wanted])
                share = [(np.array(place) < c).mean() for c in CANDIDATES]
                print('%-22s M %3d  ' % (name, m) + '  '.join('C %d: %.3f' % p for p in zip(CANDIDATES, share)))


if __name__ == '__main__':
    main()
