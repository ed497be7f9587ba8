# SPDX-License-Identifier: Apache-2.0
"""Every score of docs/method.md, and some that were only tried, in numpy: what study_method.py measures.

Imported only. The one idea: a query meets all candidates at once, because votes, weights and the correction for
length need them all.

S = Q V' are the cosines of the query's m slices and a candidate's n. maxsim, symmetric, length-corrected, ordered,
weighted, freq, max, sum, mean, median, std: docs/method.md. Tried beside them:

  excess              weighted, but w_i = the best match of slice i in any candidate less its mean best match over the
                      candidates
  symmetric-length    symmetric, corrected for length as maxsim is
  symmetric-ordered   mean of ordered(Q, V) and maxsim(V, Q)
  symmetric-weighted  mean of weighted(Q, V) and maxsim(V, Q)

Whitening, as `cmir fit` does it: x -> L2-normalised diag(l + SHRINKAGE m)^(-1/2) E' (x - mean), l and E the d largest
eigenvalues and their vectors of the covariance of the slices it is fitted to, m the mean of all its eigenvalues."""
import functools

import numpy as np
from scipy import linalg

N_NEAREST = 20        # slices that vote for freq, max and sum
LEAST_CANDIDATES = 20 # for which a correction for length is fitted
RUN_LENGTH = 1.5      # of the query, at most
SHRINKAGE = 0.01      # of the mean variance, added to every variance


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


class Volume:
    """Slices that are not air: `rows` [n, dim] of unit length, `slices` their numbers, `spacing` in mm (0: unknown)."""

    def __init__(self, name, patient, rows, slices, spacing):
        self.name, self.patient, self.rows, self.slices, self.spacing = name, patient, rows, slices, spacing
        self.kept = {}

    def pooled(self, how):
        """One vector of unit length for all slices."""
        if how not in self.kept:
            self.kept[how] = unit(how(self.rows, 0))
        return self.kept[how]

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
        return mean, vectors[:, ::-1] / np.sqrt(values[::-1] + SHRINKAGE * np.trace(cov) / size)


def stacked(volumes):
    """-> rows of all volumes, where to cut them."""
    return np.vstack([v.rows for v in volumes]), np.cumsum([len(v.rows) for v in volumes])[:-1]


def length_corrected(scores, lengths):
    """Scores less the least-squares slope on H_n = 1 + 1/2 + ... + 1/n; unchanged where that slope falls or few are
    there."""
    h = np.array([np.sum(1 / np.arange(1, n + 1)) for n in lengths])
    if len(h) < LEAST_CANDIDATES or np.ptp(h) == 0:
        return scores
    h -= h.mean()
    return scores - max(0.0, h @ scores / (h @ h)) * h


@functools.lru_cache(maxsize=2048)
def straight_lines(m, n, ratio):
    """Of all lines that rise: where in S they lie, flat [slope and place, m], held within the candidate; their slopes,
    and the steps from their place [slopes, m]; ratio 0: spacings unknown."""
    reach = 4 if ratio > 0 else 16
    powers = sorted(range(-reach, reach + 1), key=lambda q: (abs(q), -q))         # of equal lines the first is taken
    slopes = (ratio or 1.0) * 2.0 ** (np.array(powers) / 8)
    steps = np.floor(slopes[:, None] * (2 * np.arange(m) - m + 1) / 2 + 0.5).astype(int)
    lines = np.clip(steps[:, None] + np.arange(n)[:, None], 0, n - 1).reshape(-1, m)
    return lines + np.arange(m) * n, slopes, steps


def best_line(s, ratio):
    """-> does it fall, what it takes every query slice to (ends overshot; of a falling one from behind), how many
    slices beside it may be taken."""
    m, n = s.shape
    lines, slopes, steps = straight_lines(m, n, ratio)
    up, down = (x.ravel().take(lines).sum(1) for x in (s, s[:, ::-1]))
    falls = down.max() > up.max()
    k, place = divmod(int((down if falls else up).argmax()), n)
    return falls, place + steps[k], max(1, int(np.ceil(slopes[k] * m / 16)))


def ordered(sims, ratios):
    """-> scores, candidate slices of all query slices, of many candidates."""
    found = [best_line(s, r) for s, r in zip(sims, ratios)]
    flipped = [s[:, ::-1] if falls else s for s, (falls, _, _) in zip(sims, found)]
    scores, paths = rising_paths(flipped, [line for _, line, _ in found], [half for _, _, half in found])
    return scores, [s.shape[1] - 1 - p if falls else p for s, p, (falls, _, _) in zip(sims, paths, found)]


def rising_paths(sims, lines, halves):
    """The assignments of the largest mean within `half` slices of a line, none before its predecessor: of many
    candidates at once, bands filled up to one width with what is never taken."""
    m, widths = len(lines[0]), 2 * np.array(halves) + 1
    band = np.arange(widths.max())
    at = np.array(lines)[:, :, None] - np.array(halves)[:, None, None] + band            # [candidates, m, band]
    at = np.clip(at, 0, np.array([s.shape[1] - 1 for s in sims])[:, None, None])
    gain = np.stack([s[np.arange(m)[:, None], a] for s, a in zip(sims, at)]).astype(float)
    gain[np.broadcast_to(band >= widths[:, None, None], gain.shape)] = -np.inf
    steps = np.diff(np.array(lines), axis=1)
    total, back = gain[:, 0], np.zeros(gain.shape, int)
    for i in range(1, m):
        upto = np.minimum(band + steps[:, i - 1, None], widths[:, None] - 1)     # what lies no higher, a row before
        highest = np.maximum.accumulate(total, 1)
        first = np.where(np.diff(highest, axis=1, prepend=-np.inf) > 0, band, 0)  # where the highest was first met
        back[:, i] = np.take_along_axis(np.maximum.accumulate(first, 1), upto, 1)
        total = gain[:, i] + np.take_along_axis(highest, upto, 1)
    every, k = np.arange(len(sims)), total.argmax(1)
    scores, paths = total[every, k] / m, np.empty((len(sims), m), int)
    for i in range(m - 1, -1, -1):
        paths[:, i], k = at[every, i, k], back[every, i, k]
    return scores, paths


def matched_run(match, similarity, n, ratio):
    """-> first and last slice of the matched run of docs/method.md."""
    w = np.bincount(match, np.maximum(similarity, 1e-6), n)
    length = int(np.clip(np.floor(RUN_LENGTH * len(match) * (ratio or 1.0) + 0.5), 1, n))
    sums = np.convolve(w, np.ones(length), 'valid')
    first = int(np.argmax(sums >= sums.max() - 1e-9))
    inside = first + np.flatnonzero(w[first:first + length])
    return int(inside[0]), int(inside[-1])


class Meeting:
    """A query and its candidates; computes what several scores share once."""

    def __init__(self, query, candidates, stack=None):
        """stack: stacked(candidates), for who meets them more than once"""
        self.query, self.candidates = query, candidates
        rows, cuts = stack or stacked(candidates)
        self.every = query.rows @ rows.T                                 # [m, all slices]
        self.sims = np.split(self.every, cuts, 1)
        self.best = np.stack([s.max(1) for s in self.sims])              # [candidates, m]
        self.match = [s.argmax(1) for s in self.sims]
        self.lengths = [s.shape[1] for s in self.sims]
        self.ratios = [query.spacing / v.spacing if query.spacing > 0 and v.spacing > 0 else 0.0 for v in candidates]

    @functools.cached_property
    def hits(self):
        """-> similarity and candidate of the N_NEAREST slices of every query slice."""
        owner = np.repeat(np.arange(len(self.sims)), self.lengths)
        near = np.argsort(-self.every, 1, kind='stable')[:, :N_NEAREST]
        return np.take_along_axis(self.every, near, 1).ravel(), owner[near].ravel()

    def votes(self, kind):
        """freq, max or sum of every candidate; -inf without a hit."""
        value, volume = self.hits
        out = np.full(len(self.sims), -np.inf)
        if kind == 'max':
            np.maximum.at(out, volume, value)
            return out
        total = np.bincount(volume, np.ones_like(value) if kind == 'freq' else value, len(self.sims))
        return np.where(np.bincount(volume, minlength=len(self.sims)) > 0, total, -np.inf)

    @functools.cached_property
    def maxsim(self):
        return self.best.mean(1)

    @functools.cached_property
    def back(self):
        """maxsim the other way."""
        return np.array([s.max(0).mean() for s in self.sims])

    @functools.cached_property
    def paths(self):
        """-> scores and assignments of `ordered`."""
        return ordered(self.sims, self.ratios)

    @property
    def ordered(self):
        return self.paths[0]

    def weigh(self, weights):
        return self.best @ (weights / weights.sum())

    @functools.cached_property
    def weighted(self):
        rare = 1 - np.minimum(self.best.mean(0), 1)
        return self.weigh(rare if rare.sum() > 0 else np.ones(len(rare)))

    def pooled(self, how):
        return np.stack([v.pooled(how) for v in self.candidates]) @ self.query.pooled(how)

    def score(self, name):
        return {
            'maxsim': lambda: self.maxsim,
            'symmetric': lambda: (self.maxsim + self.back) / 2,
            'length-corrected': lambda: length_corrected(self.maxsim, self.lengths),
            'ordered': lambda: self.ordered,
            'weighted': lambda: self.weighted,
            'freq': lambda: self.votes('freq'),
            'max': lambda: self.votes('max'),
            'sum': lambda: self.votes('sum'),
            'mean': lambda: self.pooled(np.mean),
            'median': lambda: self.pooled(np.median),
            'std': lambda: self.pooled(np.std),
            'excess': lambda: self.weigh(self.best.max(0) - self.best.mean(0) + 1e-9),
            'symmetric-length': lambda: length_corrected((self.maxsim + self.back) / 2, self.lengths),
            'symmetric-ordered': lambda: (self.ordered + self.back) / 2,
            'symmetric-weighted': lambda: (self.weighted + self.back) / 2,
        }[name]()

    def matches(self, name, c):
        """-> the candidate row that every query slice meets in candidate c."""
        return self.paths[1][c] if 'ordered' in name else self.match[c]


TRIED = ('excess', 'symmetric-length', 'symmetric-ordered', 'symmetric-weighted')
