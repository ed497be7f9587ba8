#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An archive of simulated embeddings with the structure of real ones, as large as wanted.

  bench/simulate.py --real build/real --encoder squeezenet --volumes 1000 -o FOLDER [--raw FILE]

Reads the slice embeddings of real scans (export_real.py; needs two volumes or more).  Writes into FOLDER:
queries/NN.npy and volumes/NNNNNN.npy, float32 (slices, dim), unit rows; or with --raw the volumes as one file of
float16 [volumes][slices][dim], whose shape is printed: "volumes slices dim".  Queries are volumes made the same
way that are not in the archive.  The same arguments give the same volumes, however many processes make them.

A simulated volume is a smooth path through the space of embeddings:
  1. Parents: 2 to 4 real volumes of one body region (regions drawn by the square root of their size, so that the
     commonest does not fill the archive; a region of one volume has one parent).  From each a window of 60-100 %
     of its length is walked, time-warped, and resampled to `slices` by interpolation between its slices.
  2. Blend: mean of the parents' paths with weights that drift along z (softmax of slow cosines), normalised.
  3. Noise, sized by the data.  The residual between each real slice and its most similar slice in the most similar
     other volume is what tells two patients apart.  Its covariance (192 components of most power) gives the
     directions; its autocorrelation along z says how much is constant over a volume, how much drifts (AR(1)), and
     how much is new in every slice.  Two volumes differ by both their noises, so each gets 1/sqrt(2) of it, times a
     factor of its own (log-normal, sigma 0.3), so that neighbours are neither copies nor all equally far.
  4. Unit rows again.
Encoders have their own dim (builtin 576, squeezenet 512, mobilenet 1280); a smaller --dim projects the real
embeddings by a seeded random orthonormal map first.  What this cannot show: pathology, and how alike real
patients of a large archive are; 93 real scans decide both."""
import argparse
import multiprocessing
import os
import pathlib

for variable in ('OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE'):  # the kernels that fit this CPU
    os.environ.pop(variable, None)
os.environ['OPENBLAS_NUM_THREADS'] = '1'  # one per process

import numpy as np  # noqa: E402
import scipy.signal  # noqa: E402
import scipy.sparse  # noqa: E402

ENCODERS = {'builtin': 'builtin', 'squeezenet': 'squeezenet_v1_0', 'mobilenet': 'mobilenet_v2_224'}
COMPONENTS = 192
CHUNK_SLICES = 12800
VOLUME, QUERY = 0, 1


def unit(x):
    x /= np.sqrt(np.einsum('...i,...i->...', x, x))[..., None]
    return x


class Model:
    """What the real volumes say: their slices, their regions, and the noise between patients."""

    def __init__(self, folder, dim, seed):
        files = sorted(pathlib.Path(folder).rglob('*.npy'))
        if len(files) < 2:
            raise SystemExit('simulate: %s holds no real embeddings; see export_real.py' % folder)
        real = [np.load(f).astype(np.float32) for f in files]
        own = real[0].shape[1]
        if dim > own:
            raise SystemExit('simulate: dim %d is more than the %d of this encoder' % (dim, own))
        if dim < own:
            q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((own, dim)))
            real = [unit(x @ q.astype(np.float32)) for x in real]
        self.rows = np.concatenate(real)
        self.n_rows = np.array([len(x) for x in real])
        self.first = np.cumsum(self.n_rows) - self.n_rows
        names = [f.parent.name for f in files]
        self.regions = [np.flatnonzero([n == name for n in names]) for name in sorted(set(names))]
        size = np.sqrt([len(r) for r in self.regions])
        self.region_share = size / size.sum()
        self.fit_noise(real)

    def fit_noise(self, real):
        similar = np.array([[(a @ b.T).max(1).mean() for b in real] for a in real])
        np.fill_diagonal(similar, -1)
        residuals = [x - y[(x @ y.T).argmax(1)] for x, y in zip(real, (real[j] for j in similar.argmax(1)))]
        every = np.concatenate(residuals)
        power = (every ** 2).sum() / len(every)
        _, s, directions = np.linalg.svd(every, full_matrices=False)
        s, directions = s[:COMPONENTS], directions[:COMPONENTS]
        # One unit-variance coefficient per row of basis: half of the residual's power in all.
        self.basis = (s / np.linalg.norm(s) * np.sqrt(power / 2))[:, None] * directions

        def correlation(lag):
            return (sum((r[lag:] * r[:-lag]).sum() for r in residuals) /
                    sum((r[lag:] ** 2).sum() for r in residuals))
        self.constant = sum(len(r) * (r.mean(0) ** 2).sum() for r in residuals) / (every ** 2).sum()
        near, far = correlation(1) - self.constant, correlation(4) - self.constant
        self.decay = (max(far, 0.01) / near) ** (1 / 3)  # per real slice
        self.drift = min(near / self.decay, 1 - self.constant)
        self.fresh = 1 - self.constant - self.drift

    def path(self, rng, slices):
        """-> rows of self.rows and their weights, both (slices, 2 * parents)."""
        region = self.regions[rng.choice(len(self.regions), p=self.region_share)]
        parents = rng.choice(region, min(len(region), rng.integers(2, 5)), replace=False)
        z = np.linspace(0, 1, slices)
        logits = np.stack([rng.normal(0, 1.2) + 1.5 * np.cos(np.pi * (rng.uniform(0.3, 2) * z + rng.uniform(0, 2)))
                           for _ in parents], 1)
        share = np.exp(logits - logits.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        rows, weights = [], []
        for k, parent in enumerate(parents):
            length = rng.uniform(0.6, 1)
            start = rng.uniform(0, 1 - length)
            warped = z + rng.uniform(-0.12, 0.12) * np.sin(np.pi * z) + rng.uniform(-0.04, 0.04) * np.sin(4 * np.pi * z)
            at = np.clip(start + length * warped, 0, 1) * (self.n_rows[parent] - 1)
            low = np.minimum(at.astype(int), self.n_rows[parent] - 2)
            rows += [self.first[parent] + low, self.first[parent] + low + 1]
            weights += [share[:, k] * (low + 1 - at), share[:, k] * (at - low)]
        return np.stack(rows, 1), np.stack(weights, 1)

    def volumes(self, seed, kind, ids, slices):
        """-> float32 (ids, slices, dim)."""
        rngs = [np.random.default_rng([seed, kind, i]) for i in ids]
        n = len(ids)
        rows, weights, ends = [], [], [0]
        for rng in rngs:
            r, w = self.path(rng, slices)
            rows.append(r.ravel())
            weights.append(w.ravel().astype(np.float32))
            ends.extend(ends[-1] + r.shape[1] * np.arange(1, slices + 1))
        blend = scipy.sparse.csr_array((np.concatenate(weights), np.concatenate(rows), np.array(ends)),
                                       shape=(n * slices, len(self.rows)))
        x = unit(blend @ self.rows)

        decay = self.decay ** (self.n_rows.mean() / slices)
        noise = np.empty((n, slices, len(self.basis)), np.float32)
        for i, rng in enumerate(rngs):
            smooth = rng.standard_normal((slices, len(self.basis)), np.float32)
            smooth[0] /= np.sqrt(1 - decay ** 2)
            smooth = scipy.signal.lfilter([np.float32(np.sqrt((1 - decay ** 2) * self.drift))],
                                          [np.float32(1), np.float32(-decay)], smooth, axis=0)
            smooth += np.float32(np.sqrt(self.constant)) * rng.standard_normal(len(self.basis), np.float32)
            noise[i] = rng.standard_normal((slices, len(self.basis)), np.float32)
            noise[i] *= np.float32(np.sqrt(self.fresh))
            noise[i] += smooth
            noise[i] *= np.float32(rng.lognormal(0, 0.3))
        x += noise.reshape(n * slices, -1) @ self.basis
        return unit(x).reshape(n, slices, -1)


shared = []  # the model and the arguments, handed to each process once


def write(ids):
    """Makes the volumes of one chunk and writes them."""
    model, a = shared
    x = model.volumes(a.seed, VOLUME, ids, a.slices)
    if a.raw is None:
        for i, volume in zip(ids, x):
            np.save(a.output / 'volumes' / ('%06d.npy' % i), volume)
        return
    with open(a.raw, 'r+b') as f:
        f.seek(ids[0] * a.slices * a.dim * 2)
        f.write(x.astype('<f2').data)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--real', required=True, help='folder that export_real.py wrote')
    p.add_argument('--encoder', choices=ENCODERS, default='squeezenet')
    p.add_argument('--volumes', type=int, required=True)
    p.add_argument('--slices', type=int, default=200)
    p.add_argument('--dim', type=int, default=512)
    p.add_argument('--queries', type=int, default=20)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--processes', type=int, default=2)
    p.add_argument('--raw', type=pathlib.Path)
    p.add_argument('-o', '--output', type=pathlib.Path, required=True)
    a = p.parse_args()

    model = Model(os.path.join(a.real, ENCODERS[a.encoder]), a.dim, a.seed)
    (a.output / 'queries').mkdir(parents=True, exist_ok=True)
    for i, x in enumerate(model.volumes(a.seed, QUERY, range(a.queries), a.slices)):
        np.save(a.output / 'queries' / ('%02d.npy' % i), x)
    if a.raw is None:
        (a.output / 'volumes').mkdir(exist_ok=True)
    else:
        with open(a.raw, 'wb') as f:
            f.truncate(a.volumes * a.slices * a.dim * 2)
    step = max(1, CHUNK_SLICES // a.slices)
    chunks = (range(i, min(i + step, a.volumes)) for i in range(0, a.volumes, step))
    with multiprocessing.Pool(a.processes, shared.extend, [(model, a)]) as pool:
        for _ in pool.imap_unordered(write, chunks):
            pass
    print(a.volumes, a.slices, a.dim)


if __name__ == '__main__':
    main()
