#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pairs of volumes that kernels are timed on: OUT/<pair>.query.npy and OUT/<pair>.candidate.npy, and
OUT/<pair>.first.npy, another volume of the same archive, whose mean is its center.

  bench/make_pairs.py build/real OUT

  A     300 x 300 x 512, simulated (SqueezeNet): a query and the most similar of 40 volumes; first: the least similar
  B     200 x 200 x 768, simulated (chest, MobileNetV2, projected to 768): the same
  real  two chest CTs, 99 x 100 x 1280 (MobileNetV2)"""
import pathlib
import sys

import simulate
import numpy as np


def simulated(folder, slices, dim):
    model = simulate.Model(folder, dim, 1)
    query = model.volumes(1, simulate.QUERY, [0], slices)[0]
    volumes = model.volumes(1, simulate.VOLUME, range(40), slices)
    volumes = sorted(volumes, key=lambda v: (query @ v.T).max(1).mean())
    return query, volumes[-1], volumes[0]


def main():
    real, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    chest = real / simulate.ENCODERS['mobilenet'] / 'chest'
    pairs = {'A': simulated(real / simulate.ENCODERS['squeezenet'], 300, 512), 'B': simulated(chest, 200, 768),
             'real': [simulate.unit(np.load(chest / name)) for name in ('4DLUNG_113.npy', 'CMBCRC_01068.npy', 'LIDC_0314.npy')]}
    for name, pair in pairs.items():
        for role, x in zip(('query', 'candidate', 'first'), pair):
            np.save(out / ('%s.%s.npy' % (name, role)), np.ascontiguousarray(x, np.float32))


if __name__ == '__main__':
    main()
