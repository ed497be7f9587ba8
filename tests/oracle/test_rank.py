# SPDX-License-Identifier: Apache-2.0
"""All scores, their order and the arg-max against a numpy brute force in integers.

First with embeddings that are seeded and made here, which the unit test's program ranks as a case
file; then through the command, over what an archive exports.  Rows are in fixed point as
docs/format.md tells, so every dot product is an integer, scores that are sums are equal to the last
bit, and exact ties are ties on both sides.
"""
import json
import os
import struct
import subprocess

import nibabel as nib
import numpy as np
import pytest

import scores_oracle as oracle

CMIR = os.environ["CMIR"]
PROGRAM = os.path.join(os.path.dirname(CMIR), "tests", "test_rank")
NAMES = ["maxsim", "symmetric", "freq", "max", "sum", "mean", "median", "max-pool", "std",
         "length-corrected", "ordered", "weighted"]
(MAXSIM, SYMMETRIC, FREQ, MAX, SUM, MEAN, MEDIAN, MAX_POOL, STD, LENGTH_CORRECTED, ORDERED,
 WEIGHTED) = range(12)
SUMS = {MAXSIM, SYMMETRIC, FREQ, MAX, SUM, ORDERED}  # of integers
POOLS = {MEAN: np.sum, MEDIAN: np.median, MAX_POOL: np.max, STD: np.std}
N_NEAREST = 20
UNIT = 32767.0


def unit_rows(x):
    return (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def fixed(x):
    """Integers, as float64: sums of their products stay far below 2^53, so they are exact."""
    x = x.astype(np.float64)
    return np.rint(x * (UNIT / np.linalg.norm(x, axis=1, keepdims=True)))


def make_volume(rng, kind, n, dim, pool):
    if kind == "gaussian":
        return rng.standard_normal((n, dim))
    if kind == "clustered":  # near ties: everything close to one of a few centres
        return pool[rng.integers(len(pool), size=n)] + 0.01 * rng.standard_normal((n, dim))
    if kind == "ties":  # the very same rows again and again
        return pool[rng.integers(len(pool), size=n)]
    # a walk: neighbouring slices resemble each other, as in scans
    return 3 * pool[0] + np.cumsum(rng.standard_normal((n, dim)) * 0.3, axis=0)


class Case:
    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.kind = ["gaussian", "clustered", "ties", "walk"][seed % 4]
        self.dim = int([1, 2, 3, 17, 63, 64, 65, 100, 257, 528, 1000, 1300][rng.integers(12)])
        n_candidates = int(rng.integers(1, 40))
        self.reference = seed % 5 == 0  # the C reference instead of this CPU's kernels; slow
        largest = int(rng.choice([2, 30, 80 if self.reference else 300]))
        m = int(rng.integers(1, largest + 1))
        pool = rng.standard_normal((5, self.dim))
        self.query = unit_rows(make_volume(rng, self.kind, m, self.dim, pool))
        self.query_slice = np.sort(rng.choice(4 * m, size=m, replace=False)).astype("<u4")
        self.limit = int(rng.integers(1, 60))
        self.threads = int(rng.integers(0, 6))
        self.rows, self.marks = [], []  # by slice
        self.ratios = rng.choice([0, 1, 0.5, 0.3, 2, 5.5, 1e-4, np.nan], size=n_candidates)
        for c in range(n_candidates):
            if c and rng.random() < 0.2:  # the same volume under another id
                same = int(rng.integers(c))
                rows, marks = self.rows[same], self.marks[same]
            else:
                n = int(rng.integers(1, largest + 1))
                rows = unit_rows(make_volume(rng, self.kind, n, self.dim, pool))
                marks = np.zeros(n, np.uint8)
                if rng.random() < 0.5:
                    marks[rng.permutation(n)[int(rng.integers(1, n + 1)):]] = 1
                rows[marks == 1] = self.query[0]  # air: would win everything if it were scored
            self.rows.append(rows)
            self.marks.append(marks)

    def write(self, path):
        with open(path, "wb") as f:
            f.write(struct.pack("<5I", self.dim, self.limit, self.threads,
                                0 if self.reference else 1, len(self.query)))
            f.write(self.query_slice.tobytes())
            f.write(self.query.astype("<f4").tobytes())
            f.write(struct.pack("<I", len(self.rows)))
            for rows, marks, ratio in zip(self.rows, self.marks, self.ratios):
                f.write(struct.pack("<Id", len(rows), ratio))
                f.write(marks.tobytes())
                f.write(rows.astype("<f4").tobytes())


def votes(dots):
    """Hits in the order they are read: query slice by query slice, nearest first."""
    owner = np.concatenate([np.full(d.shape[1], c) for c, d in enumerate(dots)])
    everything = np.concatenate(dots, axis=1)
    hits = []
    for row in everything:
        for j in np.argsort(-row, kind="stable")[:N_NEAREST]:
            hits.append((int(owner[j]), float(row[j]) / (UNIT * UNIT)))
    return hits


def brute_force(query, scored, ratios):
    """Score -> list of (candidate, score), best first; all dot products; and the rows that `ordered`
    takes.  Rows are fixed()."""
    dots = [query @ v.T for v in scored]
    everyone = range(len(scored))
    forth = [d.max(axis=1).sum() for d in dots]
    back = [d.max(axis=0).sum() for d in dots]
    m, n = len(query), [len(v) for v in scored]
    maxsim = [forth[c] / (m * UNIT * UNIT) for c in everyone]
    symmetric = [0.5 * (forth[c] / m + back[c] / n[c]) / (UNIT * UNIT) for c in everyone]
    in_order, taken = oracle.ordered(dots, ratios)
    values = {MAXSIM: maxsim, SYMMETRIC: symmetric, ORDERED: in_order,
              LENGTH_CORRECTED: oracle.length_corrected(dots), WEIGHTED: oracle.weighted(dots)}
    values.update((score, oracle.pooled(query, scored, pool)) for score, pool in POOLS.items())
    answer = {score: sorted(((c, float(v[c])) for c in everyone), key=lambda h: (-h[1], h[0]))
              for score, v in values.items()}
    count, best, total = {}, {}, {}  # dicts keep the order of first insertion; sorted is stable
    for c, similarity in votes(dots):
        count[c] = count.get(c, 0) + 1
        best[c] = max(best.get(c, -np.inf), similarity)
        total[c] = total.get(c, 0.0) + similarity
    answer[FREQ] = sorted(count.items(), key=lambda h: (-h[1], h[0]))
    answer[MAX] = sorted(best.items(), key=lambda h: -h[1])
    answer[SUM] = sorted(total.items(), key=lambda h: -h[1])
    return answer, dots, taken


def run(case, tmp_path):
    path = tmp_path / "case"
    case.write(path)
    out = subprocess.run([PROGRAM, str(path)], capture_output=True, text=True, check=True).stdout
    got = {score: [] for score in range(len(NAMES))}
    matches = {MAXSIM: {}, ORDERED: {}}
    for line in out.splitlines():
        words = line.split()
        got[int(words[0])].append((int(words[1]), float(words[2])))
        if int(words[0]) in matches:
            matches[int(words[0])][int(words[1])] = np.array(words[3:], float).reshape(-1, 3)
    return got, matches


def check_order(score, got, want, limit, scored, digits=17):
    """`got` are (candidate, value) of a score, `want` the whole ranking of the brute force; values
    were printed with so many digits."""
    reference = dict(want)
    expected = want[:limit]
    assert len(got) == len(expected)
    for place, ((c, value), (wanted, wanted_value)) in enumerate(zip(got, expected)):
        if score in SUMS:
            assert (c, value) == (wanted, float(f"{wanted_value:.{digits}g}"))
            continue
        # No sum of integers any more: another volume may stand here only where float64 itself
        # cannot tell the two apart, and equal volumes stay in order of id.
        close = 1e-12 if digits == 17 else 0.6 * 10.0**(1 - digits)  # of about 1
        assert abs(value - reference[c]) <= close
        assert abs(value - wanted_value) <= close
        assert all(before < c for before, _ in got[:place]
                   if np.array_equal(scored[before], scored[c]))


def check_matches(found, query_slice, slices, dots, taken):
    assert np.array_equal(found[:, 0], query_slice)
    assert np.array_equal(found[:, 1], slices[taken])
    similarity = dots[np.arange(len(dots)), taken] / (UNIT * UNIT)
    assert np.abs(found[:, 2] - similarity).max() <= 6.6e-8


@pytest.mark.parametrize("seed", range(48))
def test_scores_order_and_argmax(seed, tmp_path):
    case = Case(seed)
    print(f"seed {seed}: {case.kind}, dim {case.dim}, {len(case.query)} query slices, "
          f"{len(case.rows)} candidates, limit {case.limit}, {case.threads} threads")
    scored = [fixed(rows[marks == 0]) for rows, marks in zip(case.rows, case.marks)]
    want, dots, taken = brute_force(fixed(case.query), scored, case.ratios)
    got, matches = run(case, tmp_path)
    for score in range(len(NAMES)):
        check_order(score, got[score], want[score], case.limit, scored)
    slices = [np.flatnonzero(marks == 0) for marks in case.marks]
    for c, found in matches[MAXSIM].items():  # the first of equals
        check_matches(found, case.query_slice, slices[c], dots[c], dots[c].argmax(axis=1))
    for c, found in matches[ORDERED].items():
        check_matches(found, case.query_slice, slices[c], dots[c], taken[c])


@pytest.mark.parametrize("seed", range(20))
def test_oracle_of_ordered(seed):
    """Its lines and its dynamic programming against all lines and all assignments there are."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(1, 6)), int(rng.integers(1, 8))
    dots = rng.integers(-9, 9, (m, n)).astype(float)
    line = (int(rng.choice([1, -1])), float(rng.choice([0.3, 1, 2])), int(rng.integers(n)))
    taken = oracle.align(dots, line)
    assert (line[0] * np.diff(taken) >= 0).all()
    assert dots[np.arange(m), taken].sum() == oracle.align_by_trying(dots, line)
    ratio = float(rng.choice([0, 0.4, 1, 7]))
    lines = [(direction, slope, place) for direction in (1, -1) for slope in oracle.slopes(ratio)
             for place in range(n)]
    assert oracle.best_line(dots, ratio) == max(lines, key=lambda x: oracle.line_sum(dots, x))


def matched_run(pairs, n_slices, query_spacing, spacing):
    """docs/method.md, "The matched run", window by window."""
    weight = np.zeros(n_slices)
    for _, match, similarity in pairs:
        weight[int(match)] += max(similarity, 1e-6)
    ratio = query_spacing / spacing if query_spacing > 0 and spacing > 0 else 1
    length = int(min(max(np.floor(1.5 * len(pairs) * ratio + 0.5), 1), n_slices))
    sums = [weight[a:a + length].sum() for a in range(n_slices - length + 1)]
    a = next(i for i, s in enumerate(sums) if s >= max(sums) - 1e-9)
    used = np.flatnonzero(weight[a:a + length]) + a
    query = [q for q, match, _ in pairs if used[0] <= match <= used[-1]]
    return [used[0], used[-1]], [min(query), max(query)]


def cmir(*args):
    done = subprocess.run([CMIR, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def show(path, name):
    return json.loads(cmir("show", path, name, "--json"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive of small CT-like volumes, some with slices of air at an end or in the middle; the
    embeddings that take part and their slice numbers, by volume."""
    folder = tmp_path_factory.mktemp("rank")
    rng = np.random.default_rng(5)
    y, x = np.mgrid[-1:1:40j, -1:1:40j]
    scans = folder / "scans"
    scans.mkdir()
    air = {}
    for i in range(22):
        n = int(rng.integers(6, 45))
        a, b, where = rng.uniform(0.3, 0.9, n).cumsum() % 0.6 + 0.3, rng.uniform(0.3, 0.9), y - 0.2
        voxels = np.full((40, 40, n), -1000.0)
        for k in range(n):
            body = x**2 / a[k] + y**2 / b < 1
            voxels[:, :, k][body] = rng.normal(20, 40, body.sum())
            voxels[:, :, k][x**2 + where**2 < 0.05 * (1 + k % 7)] = rng.choice([-800, 60, 900])
        name = f"v{i:02}"
        air[name] = [[], [0, 1], [n - 1], [n // 2]][i % 4]
        voxels[:, :, air[name]] = -1000
        nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.diag([-8, -8, [4, 2.5][i % 2], 1])),
                 scans / f"{name}.nii.gz")
    path = folder / "archive"
    cmir("add", path, scans)
    rows, slices = {}, {}
    for name in sorted(air):
        cmir("export", path, name, "-o", folder / "rows.npy")
        everything = np.load(folder / "rows.npy")
        assert np.array_equal(everything, (np.rint(everything * UNIT) / UNIT).astype(np.float32))
        everything = np.rint(everything.astype(np.float64) * UNIT)  # the integers behind it
        slices[name] = np.setdiff1d(np.arange(len(everything)), air[name])
        rows[name] = everything[slices[name]]
        assert show(path, name)["AirSlices"] == len(air[name])
    return path, rows, slices


@pytest.fixture(scope="module")
def truth(archive):
    """Brute force by query, every third volume; and what the archive knows of each volume."""
    path, rows, _ = archive
    names = sorted(rows)
    shown = {name: show(path, name) for name in names}
    spacing = np.array([shown[name]["SliceSpacing"] for name in names])
    assert len(set(spacing)) == 2
    return {name: brute_force(rows[name], [rows[n] for n in names], shown[name]["SliceSpacing"] / spacing)
            for name in names[::3]}, shown


@pytest.mark.parametrize("score", range(len(NAMES)))
def test_through_the_command(archive, truth, score):
    path, rows, slices = archive
    names = sorted(rows)
    scored = [rows[name] for name in names]
    by_query, known = truth
    for name, (want, dots, taken) in by_query.items():
        found = json.loads(cmir("search", path, f"{path}:{name}", "--score", NAMES[score],
                                "--limit", 10, "--exclude", "none", "--json"))
        query_spacing = known[name]["SliceSpacing"]
        got = [(names.index(m["VolumeId"]), m["Score"]) for m in found["Matches"]]
        check_order(score, got, want[score], 10, scored, digits=9)
        for m in found["Matches"]:
            c = names.index(m["VolumeId"])
            pairs = np.array(m["SliceMatches"])
            check_matches(pairs, slices[name], slices[names[c]], dots[c],
                          taken[c] if score == ORDERED else dots[c].argmax(axis=1))
            shown = known[names[c]]
            run, query_run = matched_run(m["SliceMatches"], shown["Slices"], query_spacing,
                                         shown["SliceSpacing"])
            assert m["MatchSlices"] == run
            assert m["QuerySlices"] == query_run
            assert np.allclose(m["MatchMm"], [shown["SliceSpacing"] * k for k in run], atol=1e-3)


def test_part_of_the_query(archive):
    """--slices takes only those rows, and a volume scores the same from its file."""
    path, rows, slices = archive
    names = sorted(rows)
    name = names[1]  # slices 0 and 1 are air
    part = (slices[name] >= 1) & (slices[name] <= 4)
    want, _, _ = brute_force(rows[name][part], [rows[n] for n in names], [0] * len(names))
    for query in (f"{path}:{name}", path.parent / "scans" / f"{name}.nii.gz"):
        found = json.loads(cmir("search", path, query, "--slices", "1:4", "--exclude", "none",
                                "--json"))
        got = [(names.index(m["VolumeId"]), m["Score"]) for m in found["Matches"]]
        check_order(MAXSIM, got, want[MAXSIM], 10, [rows[n] for n in names], digits=9)
        assert found["Matches"][0]["VolumeId"] == name


def test_ordered_among_some(archive):
    """Every volume keeps its own spacing when others are filtered out."""
    path, rows, _ = archive
    names = sorted(rows)
    search = ["search", path, f"{path}:{names[3]}", "--score", "ordered", "--json", "--limit", len(names)]
    every = {m["VolumeId"]: m for m in json.loads(cmir(*search, "--exclude", "none"))["Matches"]}
    some = json.loads(cmir(*search, "--where", "Slices > 20"))["Matches"]
    assert len(every) == len(names) and 3 < len(some) < len(names) - 3
    for m in some:
        assert all(m[key] == every[m["VolumeId"]][key] for key in ("Score", "SliceMatches", "MatchSlices"))
