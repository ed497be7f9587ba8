#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many rows must be multiplied exactly for each query slice, by what the codes are of (docs/decisions/codes.md).

  bench/study_codes.py build/real        # folder that export_real.py wrote

For pairs of real volumes: rows less a center are rotated or not and rounded to int8; a row is counted where its
product of codes, with the proven bound, reaches the exact product of the row that the codes prefer.  The bound uses
the largest norms of the candidate's rows, so counts are upper limits of what match.c does."""
import argparse
import pathlib

import numpy as np


def rotate(x):
    """64-point Hadamard over columns padded_dim / 64 apart, as src/store/codes.c."""
    width = -(-x.shape[1] // 64)
    y = np.zeros((len(x), 64 * width))
    y[:, :x.shape[1]] = x
    h = np.ones((1, 1))
    for _ in range(6):
        h = np.block([[h, h], [h, -h]])
    return (h / 8 @ y.reshape(len(x), 64, width)).reshape(len(x), -1)


def encode(x, turn):
    """-> values of the codes, norms of what they leave out."""
    y = rotate(x) if turn else x
    scale = np.abs(y).max(1, keepdims=True) / 127
    scale[scale == 0] = 1
    coded = np.rint(y / scale) * scale
    return coded, np.linalg.norm(y - coded, axis=1)


def count(q, v, c, u, turn):
    """Rows per query slice, with center c of the query and u of the candidate; checks the bound."""
    e, d = q - c, v - u
    e_coded, g = encode(e, turn)
    d_coded, r = encode(d, turn)
    bound = np.linalg.norm(e, axis=1) * r.max() + g * (np.linalg.norm(d, axis=1).max() + r.max())
    base = d @ c
    f = e_coded @ d_coded.T + base
    truth = e @ d.T + base
    assert (np.abs(f - truth) <= bound[:, None] + 1e-9).all()
    reached = truth[np.arange(len(q)), f.argmax(1)]
    return (f + bound[:, None] >= reached[:, None]).sum(1).mean()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('real')
    p.add_argument('--seed', type=int, default=1)
    a = p.parse_args()
    for folder in sorted(pathlib.Path(a.real).iterdir()):
        volumes = [np.load(f).astype(float) for f in sorted(folder.rglob('*.npy'))]
        volumes = [v for v in volumes if len(v) >= 15]
        rng = np.random.default_rng(a.seed)
        long = [i for i, v in enumerate(volumes) if len(v) >= 40]
        pairs = [(i, j) for i in rng.permutation(long)[:12] for j in rng.permutation(len(volumes))[:10] if i != j]
        every, first = np.concatenate(volumes).mean(0), volumes[0].mean(0)
        none = np.zeros_like(every)
        cases = [('none / none', False, lambda q, v: (none, none)),
                 ('none / none, rotated', True, lambda q, v: (none, none)),
                 ('archive / archive', False, lambda q, v: (every, every)),
                 ('archive / archive, rotated', True, lambda q, v: (every, every)),
                 ('none / volume, rotated', True, lambda q, v: (none, v.mean(0))),
                 ('first / volume', False, lambda q, v: (first, v.mean(0))),
                 ('first / volume, rotated', True, lambda q, v: (first, v.mean(0))),
                 ('archive / volume, rotated', True, lambda q, v: (every, v.mean(0))),
                 ('query / volume, rotated', True, lambda q, v: (q.mean(0), v.mean(0)))]
        for name, turn, centers in cases:
            n = [count(volumes[i], volumes[j], *centers(volumes[i], volumes[j]), turn) for i, j in pairs]
            print('%-18s %-28s %5.1f rows per query slice (%d pairs)' % (folder.name, name, np.mean(n), len(n)))


if __name__ == '__main__':
    main()
