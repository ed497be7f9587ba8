# SPDX-License-Identifier: Apache-2.0
"""The scores of docs/method.md beyond maxsim and votes, in numpy, as their definitions read.

Rows are in fixed point (integers in float64), `dots` are all products of a query and a volume."""
import itertools

import numpy as np

UNIT = 32767.0
FEW = 20  # candidates: fewer tell no slope


def cosine(a, b):
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / norm if norm > 0 else 0.0


def pooled(query, scored, pool):
    return [cosine(pool(query, axis=0), pool(v, axis=0)) for v in scored]


def length_corrected(dots):
    maxsim = np.array([d.max(axis=1).mean() for d in dots]) / UNIT**2
    h = np.array([sum(1.0 / k for k in range(1, d.shape[1] + 1)) for d in dots])
    if len(dots) < FEW or len(set(h)) == 1:
        return maxsim
    slope = np.linalg.lstsq(np.stack([h, np.ones_like(h)], axis=1), maxsim, rcond=None)[0][0]
    return maxsim - max(slope, 0) * (h - h.mean())


def weighted(dots):
    best = np.array([d.max(axis=1) for d in dots]) / UNIT**2
    short = np.maximum(1 - best.mean(axis=0), 0)
    # What is nothing in exact arithmetic must not be blown up to weights.
    weight = short / short.mean() if short.max() > 1e-12 else np.ones_like(short)
    return (best * weight).mean(axis=1)


def slopes(ratio):
    known = 0 < ratio < np.inf
    middle = min(max(ratio, 1 / 64), 64) if known else 1.0
    reach = 4 if known else 16
    return [middle * 2.0**(q / 8) for q in sorted(range(-reach, reach + 1),
                                                  key=lambda q: (abs(q), -q))]


def offsets(slope, m):
    return np.floor(slope * 0.5 * (2 * np.arange(m) - m + 1) + 0.5).astype(np.int64)


def without_last_bits(products, m):
    """So that the sum of m of them fits in int32."""
    return np.floor(products / 2**int(np.ceil(np.log2(m)))).astype(np.int32)


def line_sum(dots, line):
    direction, slope, place = line
    m, n = dots.shape
    rows = np.clip(place + direction * offsets(slope, m), 0, n - 1)
    return without_last_bits(dots[np.arange(m), rows], m).sum()


def best_line(dots, ratio):
    """(direction, slope, place) of the largest line_sum(); the first of equals."""
    m, n = dots.shape
    kept = without_last_bits(dots, m)
    shifted = np.lib.stride_tricks.sliding_window_view(np.pad(kept, ((0, 0), (n, n)), "edge"), n, 1)
    best, line = None, None
    for direction in (1, -1):
        for slope in slopes(ratio):
            offset = np.clip(offsets(slope, m), -n, n)
            sums = shifted[np.arange(m), n + direction * offset].sum(axis=0)  # of every place
            place = int(sums.argmax())
            if best is None or sums[place] > best:
                best, line = sums[place], (direction, slope, place)
    return line


def windows(m, n, line):
    """First and last candidate row that each query row may take, in order of the query."""
    direction, slope, place = line
    offset = offsets(slope, m)
    band = int(max(1, np.ceil(slope * m / 16)))
    middle = place + direction * offset
    return np.clip(middle - band, 0, n - 1), np.clip(middle + band, 0, n - 1)


def align(dots, line):
    """The rows taken, in order of the query: of equal sums the last on the way up takes the lowest row,
    then the one before it."""
    m, n = dots.shape
    low, high = windows(m, n, line)
    way = range(m) if line[0] > 0 else range(m - 1, -1, -1)
    table, reach = [], np.zeros(n)
    for i in way:
        row = np.full(n, -np.inf)
        row[low[i]:high[i] + 1] = dots[i, low[i]:high[i] + 1]
        table.append(row + reach)
        reach = np.maximum.accumulate(table[-1])
    taken, end = np.empty(m, int), n - 1
    for i, row in zip(reversed(way), reversed(table)):
        taken[i] = end = int(row[:end + 1].argmax())
    return taken


def align_by_trying(dots, line):
    """The largest sum of all assignments there are; for a few rows."""
    m, n = dots.shape
    low, high = windows(m, n, line)
    best = -np.inf
    for rows in itertools.product(*[range(low[i], high[i] + 1) for i in range(m)]):
        if all(line[0] * (b - a) >= 0 for a, b in zip(rows, rows[1:])):
            best = max(best, dots[np.arange(m), rows].sum())
    return best


def ordered(dots, ratios):
    """Scores, and the rows taken, of every candidate."""
    taken = [align(d, best_line(d, r)) for d, r in zip(dots, ratios)]
    sums = [d[np.arange(len(d)), t].sum() for d, t in zip(dots, taken)]
    return [s / (len(d) * UNIT * UNIT) for s, d in zip(sums, dots)], taken
