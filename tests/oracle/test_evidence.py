# SPDX-License-Identifier: Apache-2.0
"""Evidence of a search and its calibration against numpy, written from docs/method.md: counts, Wilson intervals, weighted
votes and medians, ties, missing labels, several volumes of a patient, leave-one-patient-out."""
import json
import sqlite3

import numpy as np
import pytest
from cli_help import ok, ok_json, refused, run
from scipy.stats import binomtest

SEED = 20250611
DIM, N, LEAST = 16, 60, 5


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Made:
    """An archive of embeddings in clusters, with labels that follow them more or less; and what numpy knows of it."""

    def __init__(self, folder, seed=SEED):
        print('seed', seed)
        rng = np.random.default_rng(seed)
        self.folder, self.archive, self.rng = folder, folder / 'archive', rng
        centres = unit(rng.normal(size=(3, DIM)))
        self.rows, self.patient, self.labels = {}, {}, {}
        (folder / 'volumes').mkdir()
        for i in range(N):
            name, kind = f'v{i:02}', int(rng.integers(3))
            self.rows[name] = self.save(folder / 'volumes' / f'{name}.npy', centres[kind], int(rng.integers(3, 9)))
            # Patients 0 to 9 have two to four volumes, some volumes have none.
            self.patient[name] = f'P{rng.integers(10)}' if i < 30 else '' if i % 3 == 0 else f'Q{i}'
            right = rng.random() < .8
            self.labels[name] = {
                'kind': 'abc'[kind if right else int(rng.integers(3))],
                'size': f'{kind * 10 + rng.normal():.2f}' if rng.random() < .9 else '',
                'rare': 'x' if i % 9 == 0 else '',
                'whole': str(int(rng.integers(12))) if i > 20 else str(i % 12),
                'grade': str(int(rng.integers(4))),
                'mixed': 'unknown' if i == 7 else f'{rng.normal():.3f}'}
        names = list(self.labels['v00'])
        lines = [','.join(['name', 'PatientID'] + names)]
        lines += [','.join([n, self.patient[n]] + [self.labels[n][x] for x in names]) for n in self.rows]
        (folder / 'labels.csv').write_text('\n'.join(lines) + '\n')
        ok('import', self.archive, folder / 'volumes', '--external', 'made', '--labels', folder / 'labels.csv')

    def save(self, path, centre, n, spread=.35):
        rows = unit(centre + self.rng.normal(size=(n, DIM)) * spread).astype('<f4')
        np.save(path, rows)
        return np.rint(unit(rows.astype(float)) * 32767)

    def query(self, name, kind=0):
        """A new volume, not in the archive."""
        path = self.folder / f'{name}.npy'
        return path, self.save(path, unit(np.sum([r for n, r in self.rows.items() if self.labels[n]['kind'] == 'abc'[kind]]
                                                 [0], axis=0)[None])[0], 5)

    def ranked(self, query, leave_out=(), score='maxsim'):
        """[(id, score)], best first, ties by id."""
        found = []
        for name, rows in self.rows.items():
            if name in leave_out:
                continue
            s = query @ rows.T
            value = s.max(axis=1).mean()
            if score == 'symmetric':
                value = (value + s.max(axis=0).mean()) / 2
            found.append((name, value / 32767**2))
        return sorted(found, key=lambda f: (-f[1], f[0]))

    def whose(self, name):
        return self.patient[name] or f'the volume {name}'

    def same_patient(self, name):
        return {n for n in self.rows if self.whose(n) == self.whose(name)}

    def cases(self, query, k=10, **how):
        """[(rank, id, score, weight)]: the first volume of each of the first k patients."""
        seen, cases = set(), []
        for rank, (name, score) in enumerate(self.ranked(query, **how), 1):
            if self.whose(name) not in seen and len(cases) < k:
                seen.add(self.whose(name))
                cases.append((rank, name, score))
        scores = np.array([c[2] for c in cases])
        weight = scores - scores[-1] + (scores[0] - scores[-1]) / (len(scores) - 1)
        return [c + (w,) for c, w in zip(cases, weight / weight[0])]

    def vote(self, cases, label):
        """{value: (count, weight, ranks)} and the value of most weight."""
        votes = {}
        for rank, name, _, weight in cases:
            value = self.labels[name][label]
            if value:
                n, w, ranks = votes.get(value, (0, 0., []))
                votes[value] = n + 1, w + weight, ranks + [rank]
        order = sorted(votes, key=lambda v: (-round(votes[v][1] / sum(w for _, w, _ in votes.values()), 9), -votes[v][0], v))
        return votes, order

    def median(self, cases, label):
        found = sorted((float(self.labels[n][label]), w) for _, n, _, w in cases if self.labels[n][label])
        values, weights = np.array(found).T
        return values[np.argmax(np.cumsum(weights) >= weights.sum() / 2 - 1e-9)], values[0], values[-1]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp('evidence'))


KINDS = {'kind': 'class', 'size': 'number', 'rare': 'class', 'whole': 'number', 'grade': 'class', 'mixed': 'class'}


def check(made, found, cases):
    """`found` is the JSON of a search whose nearest cases are `cases`."""
    assert [(c['Rank'], c['VolumeId']) for c in found['EvidenceCases']] == [c[:2] for c in cases]
    for got, want in zip(found['EvidenceCases'], cases):
        assert got['Score'] == pytest.approx(want[2], abs=1e-8) and got['Weight'] == pytest.approx(want[3], abs=1e-5)
    evidence = {e['Label']: e for e in found['Evidence']}
    assert list(evidence) == sorted(l for l in KINDS if any(made.labels[c[1]][l] for c in cases))
    for label, e in evidence.items():
        votes, order = made.vote(cases, label)
        n = sum(v[0] for v in votes.values())
        total = sum(v[1] for v in votes.values())
        assert (e['Kind'], e['Cases'], e['Labelled'], e['Enough']) == (KINDS[label], len(cases), n, n >= LEAST)
        assert {(v['Rank'], v['Value']) for v in e['CaseValues']} == {(r, v) for v in votes for r in votes[v][2]}
        if n < LEAST:
            assert 'Values' not in e and 'WeightedMedian' not in e
        elif KINDS[label] == 'number':
            assert [e['WeightedMedian'], *e['Range']] == pytest.approx(made.median(cases, label))
        else:
            assert [v['Value'] for v in e['Values']] == order
            for v in e['Values']:
                count, weight, ranks = votes[v['Value']]
                ci = binomtest(count, n).proportion_ci(method='wilson')
                assert v['Count'] == count and v['Share'] == pytest.approx(count / n)
                assert v['ShareInterval'] == pytest.approx([ci.low, ci.high], abs=1e-8)
                assert v['WeightedShare'] == pytest.approx(weight / total, abs=1e-5)
                assert v['For'] == ranks
                assert sorted(v['For'] + v['Against']) == [c['Rank'] for c in e['CaseValues']]
    return evidence


@pytest.mark.parametrize('k', [5, 10, 40, 1000])
@pytest.mark.parametrize('score', ['maxsim', 'symmetric'])
def test_counts(made, k, score):
    path, query = made.query(f'new_{k}_{score}')
    found = ok_json('search', made.archive, path, '--k', k, '--score', score)
    evidence = check(made, found, made.cases(query, k, score=score))
    assert found['Notice'] and all(e['Calibration'] is None for e in evidence.values())
    assert any(e['Enough'] for e in evidence.values())
    if k == 10:  # both sides of "enough" are met
        assert not evidence['rare']['Enough'] if 'rare' in evidence else True


def test_does_not_depend_on_limit(made):
    path, _ = made.query('limit', 1)
    found = [ok_json('search', made.archive, path, '--limit', limit) for limit in (1, 3, 10, 25, 60)]
    assert [len(f['Matches']) for f in found] == [1, 3, 10, 25, 60]
    for f in found:
        assert (f['Evidence'], f['EvidenceCases']) == (found[0]['Evidence'], found[0]['EvidenceCases'])
        assert f['Matches'] == found[-1]['Matches'][:len(f['Matches'])]


@pytest.mark.parametrize('exclude', ['none', 'volume', 'patient'])
def test_own_patient(made, exclude):
    """A query of the archive: what --exclude leaves in of its patient is said."""
    name = next(n for n in made.rows if len(made.same_patient(n)) > 2)
    out = {'none': set(), 'volume': {name}, 'patient': made.same_patient(name)}[exclude]
    found = ok_json('search', made.archive, f'{made.archive}:{name}', '--exclude', exclude)
    cases = made.cases(made.rows[name], leave_out=out)
    check(made, found, cases)
    own = [c['Rank'] for c in found['EvidenceCases'] if c['OwnPatient']]
    assert own == [c[0] for c in cases if c[1] in made.same_patient(name)]
    text = ok('search', made.archive, f'{made.archive}:{name}', '--exclude', exclude)
    assert ("the query's own patient" in text) == bool(own)
    if exclude == 'none':
        assert own == [1]


def test_filter_and_first_look(made, tmp_path):
    path, query = made.query('filtered')
    out = {n for n in made.rows if made.labels[n]['kind'] != 'a'}
    check(made, ok_json('search', made.archive, path, '--where', "kind = 'a'"), made.cases(query, leave_out=out))
    empty = ok_json('search', made.archive, path, '--where', "kind = 'nothing'")
    assert empty['Evidence'] == [] and empty['EvidenceCases'] == []
    assert 'EVIDENCE' not in ok('search', made.archive, path, '--where', "kind = 'nothing'")


def test_first_look_keeps_evidence(tmp_path):
    """In an archive that is looked over first a greater --limit keeps more; the evidence stays."""
    rng = np.random.default_rng(SEED)
    (tmp_path / 'v').mkdir()
    lines = ['name,PatientID,kind']
    for i in range(500):
        np.save(tmp_path / 'v' / f'{i}.npy', unit(rng.normal(size=(6, DIM))).astype('<f4'))
        lines.append(f'{i},P{i // 3},{"ab"[i % 2]}')
    (tmp_path / 'labels.csv').write_text('\n'.join(lines))
    ok('import', tmp_path / 'a', tmp_path / 'v', '--external', 'made', '--labels', tmp_path / 'labels.csv')
    np.save(tmp_path / 'q.npy', unit(rng.normal(size=(40, DIM))).astype('<f4'))
    found = [ok_json('search', tmp_path / 'a', tmp_path / 'q.npy', '--limit', limit) for limit in (1, 10, 16, 40, 63, 500)]
    assert [f['Reranked'] for f in found] == [128, 128, 128, 320, 500, 500]
    for f in found:
        assert [c['VolumeId'] for c in f['EvidenceCases']] == [c['VolumeId'] for c in found[0]['EvidenceCases']]
        ranks = {m['VolumeId']: m['Rank'] for m in f['Matches']}
        for case in f['EvidenceCases']:
            assert ranks.get(case['VolumeId'], case['Rank']) == case['Rank']


def test_ties(tmp_path):
    """Equal scores: equal weights, ranks by id; equal votes: by text."""
    (tmp_path / 'v').mkdir()
    row = np.eye(DIM)[:1].astype('<f4')
    lines = ['name,side,size']
    for i in range(6):
        np.save(tmp_path / 'v' / f'v{i}.npy', row)
        lines.append(f'v{i},{["right", "left"][i % 2]},{i}.5')
    (tmp_path / 'labels.csv').write_text('\n'.join(lines))
    np.save(tmp_path / 'q.npy', row)
    ok('import', tmp_path / 'a', tmp_path / 'v', '--external', 'made', '--labels', tmp_path / 'labels.csv')
    found = ok_json('search', tmp_path / 'a', tmp_path / 'q.npy')
    assert [c['Weight'] for c in found['EvidenceCases']] == [1] * 6
    side, size = found['Evidence']
    assert [(v['Value'], v['Count'], v['WeightedShare']) for v in side['Values']] == [('left', 3, .5), ('right', 3, .5)]
    assert size['WeightedMedian'] == 2.5 and size['Range'] == [.5, 5.5]


# ---------------------------------------------------------------- calibration


def brute_force(made, label, k=10):
    """Leave-one-patient-out by hand."""
    queries, right, patients, bins, truths, medians = 0, 0, set(), {}, [], []
    for name in made.rows:
        truth = made.labels[name][label]
        if not truth:
            continue
        cases = made.cases(made.rows[name], k, leave_out=made.same_patient(name))
        votes, order = made.vote(cases, label)
        n = sum(v[0] for v in votes.values())
        if n < LEAST:
            continue
        queries += 1
        patients.add(made.whose(name))
        truths.append(truth)
        if KINDS[label] == 'number':
            medians.append(made.median(cases, label)[0])
            continue
        right += order[0] == truth
        tenths = int(10 * votes[order[0]][0] / n + .5)
        a, b = bins.get(tenths, (0, 0))
        bins[tenths] = a + 1, b + (order[0] == truth)
    want = {'LabelledVolumes': sum(bool(made.labels[n][label]) for n in made.rows), 'Queries': queries,
            'Patients': len(patients), 'Label': label, 'Kind': KINDS[label], 'K': k, 'ScoreType': 'maxsim', 'Stale': False}
    lower = lambda x: np.sort(x)[(len(x) - 1) // 2]
    if KINDS[label] == 'number':
        truths = np.array(truths, float)
        want |= {'MedianError': pytest.approx(lower(np.abs(medians - truths))),
                 'MedianErrorOfMedian': pytest.approx(lower(np.abs(lower(truths) - truths)))}
    else:
        rate, n = right / queries if queries else None, len(patients)
        z = 1.959963984540054
        if queries:  # Wilson's interval of a rate among as many as there are patients
            centre, half = rate + z * z / 2 / n, z * np.sqrt(rate * (1 - rate) / n + z * z / 4 / n / n)
            interval = [max(0, (centre - half) / (1 + z * z / n)), min(1, (centre + half) / (1 + z * z / n))]
        else:
            interval = [0, 1]
        want |= {'Right': right, 'Rate': pytest.approx(rate) if queries else None,
                 'RateInterval': pytest.approx(interval, abs=1e-8),
                 'RightByMajority': max((truths.count(t) for t in truths), default=0),
                 'ByVotes': [{'VotesOf10': t, 'Queries': bins[t][0], 'Right': bins[t][1]} for t in sorted(bins)]}
    return want


@pytest.fixture(scope='module')
def calibrated(tmp_path_factory):
    made = Made(tmp_path_factory.mktemp('calibrated'), SEED + 1)
    made.said = ok_json('calibrate', made.archive)
    return made


@pytest.mark.parametrize('label', sorted(KINDS))
def test_calibration(calibrated, label):
    got = {c['Label']: c for c in calibrated.said['Calibrations']}
    assert list(got) == sorted(KINDS)
    assert got[label] == brute_force(calibrated, label)


def test_calibration_is_shown(calibrated):
    path, query = calibrated.query('shown')
    found = ok_json('search', calibrated.archive, path)
    check(calibrated, found, calibrated.cases(query))
    stored = {c['Label']: c for c in calibrated.said['Calibrations']}
    for e in found['Evidence']:
        assert e['Calibration'] == stored[e['Label']] | {'SameSearch': True}
    text = ok('search', calibrated.archive, path)
    kind = stored['kind']
    assert f"right in {kind['Right']} of {kind['Queries']}" in text and 'STALE' not in text
    # Of another score or k nothing is known; a part of the query or a filter is another search.
    for how in (['--k', 12], ['--score', 'symmetric']):
        assert all(e['Calibration'] is None for e in ok_json('search', calibrated.archive, path, *how)['Evidence'])
    for how in (['--slices', '1:3'], ['--where', 'Slices > 1']):
        found = ok_json('search', calibrated.archive, path, *how)
        assert all(not e['Calibration']['SameSearch'] for e in found['Evidence'])
    assert 'whole volumes, no filter' in ok('search', calibrated.archive, path, '--slices', '1:3')
    assert ok_json('verify', calibrated.archive)['Sound']


def test_calibration_goes_stale(tmp_path):
    made = Made(tmp_path, SEED + 2)
    path, _ = made.query('stale')

    def stale(k=10):
        found = ok_json('search', made.archive, path, '--k', k)
        return {e['Label']: e['Calibration']['Stale'] for e in found['Evidence'] if e['Calibration']}
    said = ok_json('calibrate', made.archive, '--label', 'kind')
    assert [c['Label'] for c in said['Calibrations']] == ['kind'] and stale() == {'kind': False}
    ok('calibrate', made.archive, '--label', 'size', 'grade')  # another calibration is no change
    ok('calibrate', made.archive, '--label', 'kind', '--k', 7)
    assert stale() == {'grade': False, 'kind': False, 'size': False} and stale(7) == {'kind': False}
    ok('remove', made.archive, 'v33')
    assert set(stale().values()) | set(stale(7).values()) == {True}
    assert 'STALE' in ok('search', made.archive, path)
    ok('calibrate', made.archive, '--label', 'kind')
    assert stale() == {'grade': True, 'kind': False, 'size': True}
    (tmp_path / 'more.csv').write_text('name,kind\nv01,z\n')
    ok('label', made.archive, tmp_path / 'more.csv')
    assert stale()['kind']


def test_calibrate_refuses(made, tmp_path):
    refused(2, ['--k', "'4'"], 'calibrate', made.archive, '--k', '4')
    refused(2, ['--k', "'1001'"], 'search', made.archive, f'{made.archive}:v01', '--k', '1001')
    refused(1, ["'nobody'"], 'calibrate', made.archive, '--label', 'kind', 'nobody')
    refused(2, ['too many', 'kind'], 'calibrate', made.archive, 'kind')
    refused(1, ['no such archive'], 'calibrate', tmp_path / 'nothing')
    (tmp_path / 'v').mkdir()
    np.save(tmp_path / 'v' / 'a.npy', unit(np.ones((3, DIM))).astype('<f4'))
    ok('import', tmp_path / 'a', tmp_path / 'v', '--external', 'made')
    refused(1, ['label'], 'calibrate', tmp_path / 'a')
    found = ok_json('search', tmp_path / 'a', f'{tmp_path}/a:a', '--exclude', 'none')
    assert found['Evidence'] == [] and len(found['EvidenceCases']) == 1


def test_damaged_calibration(tmp_path):
    made = Made(tmp_path, SEED + 3)
    path, _ = made.query('damaged')
    ok('calibrate', made.archive, '--label', 'kind')
    with sqlite3.connect(made.archive / 'catalog.sqlite') as db:
        columns = [r[1] for r in db.execute('PRAGMA table_info(calibration)')]
        assert columns == ['label', 'k', 'score', 'n_writes', 'kind', 'n_labelled', 'n_queries', 'n_patients', 'n_right',
                           'n_majority', 'bins', 'error', 'error_alone']  # docs/format.md
        db.execute('UPDATE calibration SET n_right = n_queries + 1')
    refused(1, ['calibration', 'kind'], 'search', made.archive, path)
    done = run('verify', made.archive, '--json')
    assert done.returncode == 1 and 'calibration' in json.loads(done.stdout)['Problems'][0]
