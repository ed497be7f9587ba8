# SPDX-License-Identifier: Apache-2.0
"""Every score of docs/method.md, and some that were only tried, in numpy: what study_method.py measures.

Imported only. The one idea: a query meets all candidates at once, because votes, weights and the correction for
length need them all.

S = Q V' are the cosines of the query's m slices and a candidate's n. maxsim, symmetric, length-corrected, ordered,
weighted, freq, max, sum, mean, median: docs/method.md. Tried beside them:

  excess              weighted, but w_i = the best match of slice i in any candidate less its mean best match over the
                      candidates
  symmetric-length    symmetric, corrected for length as maxsim is
  symmetric-ordered   mean of ordered(Q, V) and maxsim(V, Q)
  symmetric-weighted  mean of weighted(Q, V) and maxsim(V, Q)

Whitening: x -> L2-normalised diag(l)^(-1/2) E' (x - mean), l and E the d largest eigenvalues and their vectors of the
covariance of the slices it is fitted to."""
import functools

import numpy as np
from scipy import linalg

N_NEAREST = 20        # slices that vote for freq, max and sum
LEAST_CANDIDATES = 20 # for which a correction for length is fitted
RUN_LENGTH = 1.5      # of the query, at most


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


class Volume:
    """Slices that are not air: `rows` [n, dim] of unit length, `slices` their numbers, `spacing` in mm (0: unknown)."""

    def __init__(self, name, patient, rows, slices, spacing):
        self.name, self.patient, self.rows, self.slices, self.spacing = name, patient, rows, slices, spacing

    def with_rows(self, rows):
        return Volume(self.name, self.patient, rows, self.slices, self.spacing)


class Whitening:
    """Fits the whitening of many volumes, or of all but one patient, to up to `dims` dimensions."""

    def __init__(self, volumes):
        self.moments = {}
        for v in volumes:
            x = v.rows.astype(float)
            n, s, c = self.moments.get(v.patient, (0, 0.0, 0.0))
            self.moments[v.patient] = n + len(x), s + x.sum(0), c + x.T @ x
        self.total = [sum(m[i] for m in self.moments.values()) for i in range(3)]

    def without(self, patient, dims):
        """-> mean, directions [dim, dims] whose projections have unit variance, the largest first."""
        n, s, c = (t - m for t, m in zip(self.total, self.moments.get(patient, (0, 0.0, 0.0))))
        mean = s / n
        cov = c / n - np.outer(mean, mean)
        size = len(mean)
        values, vectors = linalg.eigh(cov, subset_by_index=[max(0, size - dims), size - 1])
        return mean, vectors[:, ::-1] / np.sqrt(np.maximum(values[::-1], 1e-12))


def whiten(volumes, mean, directions):
    return [v.with_rows(unit((v.rows - mean) @ directions).astype(np.float32)) for v in volumes]


def length_corrected(scores, lengths):
    """Scores less the least-squares slope on H_n = 1 + 1/2 + ... + 1/n; unchanged where that slope falls or few are
    there."""
    h = np.array([np.sum(1 / np.arange(1, n + 1)) for n in lengths])
    if len(h) < LEAST_CANDIDATES or np.ptp(h) == 0:
        return scores
    h -= h.mean()
    return scores - max(0.0, h @ scores / (h @ h)) * h


@functools.lru_cache(maxsize=None)
def straight_lines(m, n, ratio):
    """Where all lines that rise put the query's slices [lines, m], ends overshot, and the slope of each; ratio 0:
    spacings unknown."""
    reach = 4 if ratio > 0 else 16
    powers = sorted(range(-reach, reach + 1), key=lambda q: (abs(q), -q))         # of equal lines the first is taken
    slopes = np.repeat((ratio or 1.0) * 2.0 ** (np.array(powers) / 8), n)
    steps = np.floor(slopes[:, None] * (2 * np.arange(m) - m + 1) / 2 + 0.5).astype(int)
    return np.tile(np.arange(n), 2 * reach + 1)[:, None] + steps, slopes


def ordered(s, ratio):
    """-> score, candidate slice of every query slice."""
    m, n = s.shape
    lines, slopes = straight_lines(m, n, ratio)
    up, down = (x[np.arange(m), np.clip(lines, 0, n - 1)].sum(1) for x in (s, s[:, ::-1]))
    falls = down.max() > up.max()
    k = int((down if falls else up).argmax())
    half = max(1, int(np.ceil(slopes[k] * m / 16)))
    score, path = rising_path(s[:, ::-1] if falls else s, lines[k], half)
    return score, n - 1 - path if falls else path


def rising_path(s, line, half):
    """The assignment of the largest mean within `half` slices of a line, none before its predecessor."""
    m, n = s.shape
    at = np.clip(line[:, None] + np.arange(-half, half + 1), 0, n - 1)   # [m, band]
    gain = s[np.arange(m)[:, None], at]
    width = at.shape[1]
    total, back = gain[0].astype(float), np.zeros((m, width), int)
    for i in range(1, m):
        upto = np.minimum(np.arange(width) + line[i] - line[i - 1], width - 1)   # what lies no higher, a row before
        highest = np.maximum.accumulate(total)
        back[i] = np.searchsorted(highest, highest[upto])
        total = gain[i] + highest[upto]
    path, k = np.empty(m, int), int(total.argmax())
    best = float(total[k])
    for i in range(m - 1, -1, -1):
        path[i], k = at[i, k], back[i, k]
    return best / m, path


def matched_run(match, similarity, n, ratio):
    """-> first and last slice of the matched run of docs/method.md."""
    w = np.bincount(match, np.maximum(similarity, 1e-6), n)
    length = int(np.clip(np.floor(RUN_LENGTH * len(match) * (ratio or 1.0) + 0.5), 1, n))
    sums = np.convolve(w, np.ones(length), 'valid')
    first = int(np.argmax(sums >= sums.max() - 1e-9))
    inside = first + np.flatnonzero(w[first:first + length])
    return int(inside[0]), int(inside[-1])


def votes(sims, kind):
    """freq, max or sum of every candidate; -inf without a hit."""
    owner = np.repeat(np.arange(len(sims)), [s.shape[1] for s in sims])
    s = np.hstack(sims)
    near = np.argsort(-s, 1, kind='stable')[:, :N_NEAREST]
    value, volume = np.take_along_axis(s, near, 1).ravel(), owner[near].ravel()
    out = np.full(len(sims), -np.inf)
    if kind == 'max':
        np.maximum.at(out, volume, value)
        return out
    total = np.bincount(volume, np.ones_like(value) if kind == 'freq' else value, len(sims))
    return np.where(np.bincount(volume, minlength=len(sims)) > 0, total, -np.inf)


class Meeting:
    """A query and its candidates; computes what several scores share once."""

    def __init__(self, query, candidates):
        self.query, self.candidates = query, candidates
        cuts = np.cumsum([len(v.rows) for v in candidates])[:-1]
        self.sims = np.split(query.rows @ np.vstack([v.rows for v in candidates]).T, cuts, 1)
        self.best = np.stack([s.max(1) for s in self.sims])              # [candidates, m]
        self.match = [s.argmax(1) for s in self.sims]
        self.lengths = [s.shape[1] for s in self.sims]
        self.ratios = [query.spacing / v.spacing if query.spacing > 0 and v.spacing > 0 else 0.0 for v in candidates]

    @functools.cached_property
    def maxsim(self):
        return self.best.mean(1)

    @functools.cached_property
    def back(self):
        """maxsim the other way."""
        return np.array([s.max(0).mean() for s in self.sims])

    @functools.cached_property
    def paths(self):
        """-> score and assignment of `ordered`."""
        return [ordered(s, r) for s, r in zip(self.sims, self.ratios)]

    @functools.cached_property
    def ordered(self):
        return np.array([p[0] for p in self.paths])

    def weigh(self, weights):
        return self.best @ (weights / weights.sum())

    @functools.cached_property
    def weighted(self):
        rare = 1 - np.minimum(self.best.mean(0), 1)
        return self.weigh(rare if rare.sum() > 0 else np.ones(len(rare)))

    def pooled(self, how):
        return np.stack([unit(how(v.rows, 0)) for v in self.candidates]) @ unit(how(self.query.rows, 0))

    def score(self, name):
        return {
            'maxsim': lambda: self.maxsim,
            'symmetric': lambda: (self.maxsim + self.back) / 2,
            'length-corrected': lambda: length_corrected(self.maxsim, self.lengths),
            'ordered': lambda: self.ordered,
            'weighted': lambda: self.weighted,
            'freq': lambda: votes(self.sims, 'freq'),
            'max': lambda: votes(self.sims, 'max'),
            'sum': lambda: votes(self.sims, 'sum'),
            'mean': lambda: self.pooled(np.mean),
            'median': lambda: self.pooled(np.median),
            'excess': lambda: self.weigh(self.best.max(0) - self.best.mean(0) + 1e-9),
            'symmetric-length': lambda: length_corrected((self.maxsim + self.back) / 2, self.lengths),
            'symmetric-ordered': lambda: (self.ordered + self.back) / 2,
            'symmetric-weighted': lambda: (self.weighted + self.back) / 2,
        }[name]()

    def matches(self, name, c):
        """-> the candidate row that every query slice meets in candidate c."""
        return self.paths[c][1] if 'ordered' in name else self.match[c]


SCORES = ('maxsim', 'symmetric', 'length-corrected', 'ordered', 'weighted', 'freq', 'max', 'sum', 'mean', 'median')
TRIED = ('excess', 'symmetric-length', 'symmetric-ordered', 'symmetric-weighted')
