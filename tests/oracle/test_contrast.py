# SPDX-License-Identifier: Apache-2.0
"""--contrast against numpy, written from docs/method.md, and on made-up volumes with a planted run that it must find."""
import json
import re
import subprocess
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from cli_help import CMIR, ok, ok_json, refused

SEED = 20250612
DIM, M = 32, 60
FIRST, LAST = 22, 33  # where the query shows what positive cases have
SVG = '{http://www.w3.org/2000/svg}'
HTML = '{http://www.w3.org/1999/xhtml}'


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class Made:
    """Every volume shows the same anatomy, slice after slice; positive ones have something somewhere else each."""

    def __init__(self, folder, strength, seed=SEED, n=40):
        print('seed', seed)
        self.rng = rng = np.random.default_rng(seed)
        self.folder, self.archive = folder, folder / 'archive'
        self.anatomy = unit(np.cumsum(rng.normal(size=(M, DIM)), axis=0))
        self.mark = unit(rng.normal(size=DIM)) * strength
        (folder / 'volumes').mkdir()
        self.rows, self.positive, self.whose = {}, {}, {}
        lines = ['name,PatientID,lesions,kind,odd']
        for i in range(n):
            name, positive = f'v{i:02}', i % 2 == 0
            at = int(rng.integers(0, M - 12)) if positive else None
            self.rows[name] = self.save(folder / 'volumes' / f'{name}.npy', at)
            self.positive[name] = positive
            self.whose[name] = f'P{i // 4}' if i < 12 else name  # patients with both kinds of volumes
            lines.append(f'{name},{self.whose[name] if i < 12 else ""},{i % 3 + 1 if positive else 0},'
                         f'{"yes" if positive else "no"},{"few" if i < 3 else "many"}')
        (folder / 'labels.csv').write_text('\n'.join(lines) + '\nnobody,,5,yes,few\n')
        ok('import', self.archive, folder / 'volumes', '--external', 'made', '--labels', folder / 'labels.csv')
        self.query = self.save(folder / 'query.npy', FIRST)

    def save(self, path, at):
        x = self.anatomy + self.rng.normal(size=(M, DIM)) * .04
        if at is not None:
            x[at:at + LAST - FIRST + 1] += self.mark
        rows = unit(x).astype('<f4')
        np.save(path, rows)
        return np.rint(unit(rows.astype(float)) * 32767) / 32767

    def side(self, positive, k, keep=lambda name: True):
        """[k][M]: best similarities to the nearest cases of one kind."""
        best = {n: (self.query @ r.T).max(axis=1) for n, r in self.rows.items() if self.positive[n] == positive and keep(n)}
        found, seen = [], set()
        for name in sorted(best, key=lambda n: (-best[n].mean(), n)):
            if self.whose[name] not in seen and len(found) < k:
                seen.add(self.whose[name])
                found.append(best[name])
        return np.array(found)


def best_run(d):
    """Over all stretches: the greatest sum of the centred curve, the first of equals."""
    c = np.concatenate([[0], np.cumsum(d - d.mean())])
    sums = c[None, 1:] - c[:-1, None]
    sums[np.tril_indices(len(d), -1)] = -np.inf
    a, b = np.unravel_index(np.argmax(sums > sums.max() - 1e-12), sums.shape)
    return a, b, sums.max()


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp('contrast'), .5)


def bootstrap(P, N, rounds=4000):
    rng = np.random.default_rng(1)
    return np.array([P[rng.integers(len(P), size=len(P))].mean(axis=0) - N[rng.integers(len(N), size=len(N))].mean(axis=0)
                     for _ in range(rounds)])


@pytest.mark.parametrize('k', [5, 10, 15])
def test_against_numpy(made, k):
    found = ok_json('search', made.archive, made.folder / 'query.npy', '--contrast', 'lesions', '--k', k)['Contrast']
    P, N = made.side(True, k), made.side(False, k)
    assert (found['PositiveCases'], found['NegativeCases'], found['Enough']) == (len(P), len(N), True)
    assert (found['Label'], found['Value'], found['Mm']) == ('lesions', None, [None, None])
    d = P.mean(axis=0) - N.mean(axis=0)
    curve = np.array(found['Curve'])
    assert np.array_equal(curve[:, 0], np.arange(M))
    np.testing.assert_allclose(curve[:, 1], d, atol=2e-7)
    a, b, _ = best_run(d)
    assert found['Slices'] == [a, b]
    inside = (np.arange(M) >= a) & (np.arange(M) <= b)
    assert found['Rise'] == pytest.approx(d[inside].mean() - d[~inside].mean(), abs=2e-7)
    # Random numbers differ: intervals agree within the noise of 1,000 samples.
    samples = bootstrap(P, N)
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(curve[:, 2:4], np.array([low, high]).T, atol=.15 * (high - low).max())
    rises = samples[:, inside].mean(axis=1) - samples[:, ~inside].mean(axis=1)
    want = np.percentile(rises, [2.5, 97.5])
    np.testing.assert_allclose(found['RiseInterval'], want, atol=.15 * (want[1] - want[0]))
    runs = np.array([best_run(s)[:2] for s in samples[:1000]])
    share = [(runs[:, 0] <= i) & (i <= runs[:, 1]) for i in range(M)]
    np.testing.assert_allclose(curve[:, 4], np.mean(share, axis=1), atol=.08)
    for end, interval in zip(runs.T, (found['FirstInterval'], found['LastInterval'])):
        for got, percent in zip(interval, (2.5, 97.5)):
            assert np.percentile(end, max(0, percent - 2)) - 1 <= got <= np.percentile(end, min(100, percent + 2)) + 1


def test_finds_what_was_planted(made):
    found = ok_json('search', made.archive, made.folder / 'query.npy', '--contrast', 'kind=yes')['Contrast']
    a, b = found['Slices']
    overlap = max(0, min(b, LAST) - max(a, FIRST) + 1)
    assert overlap / (max(b, LAST) - min(a, FIRST) + 1) > .8, found['Slices']
    assert found['P'] < .01 and found['RiseInterval'][0] > 0
    text = ok('search', made.archive, made.folder / 'query.npy', '--contrast', 'kind=yes')
    assert f'CONTRAST kind=yes: slices {a}-{b} of the query' in text and 'It stands out' in text


def test_nothing_planted(tmp_path):
    """Where positive cases have nothing of their own p is as likely small as large: rarely below .05."""
    p = []
    for seed in range(6):
        (tmp_path / str(seed)).mkdir()
        made = Made(tmp_path / str(seed), 0, SEED + 1 + seed)
        p.append(ok_json('search', made.archive, made.folder / 'query.npy', '--contrast', 'lesions')['Contrast']['P'])
    assert sum(x < .05 for x in p) <= 2, p  # binomial: more than 2 of 6 has a chance of .002


def test_p_against_numpy(tmp_path):
    made = Made(tmp_path, .1, SEED + 9)
    P, N = made.side(True, 10), made.side(False, 10)
    everything, rng = np.concatenate([P, N]), np.random.default_rng(2)
    real = best_run(P.mean(axis=0) - N.mean(axis=0))[2]
    sums = []
    for _ in range(3000):
        dealt = rng.permutation(everything)
        sums.append(best_run(dealt[:len(P)].mean(axis=0) - dealt[len(P):].mean(axis=0))[2])
    want = np.mean(np.array(sums) >= real)
    got = ok_json('search', made.archive, made.folder / 'query.npy', '--contrast', 'lesions')['Contrast']['P']
    assert got == pytest.approx(want, abs=4 * np.sqrt(want * (1 - want) / 1000) + .003)


def test_same_again_and_in_a_batch(made):
    """Seeded; the same in a batch, with any number of threads, and whatever is shown."""
    one = ok_json('search', made.archive, made.folder / 'query.npy', '--contrast', 'lesions')['Contrast']
    assert one == ok_json('search', made.archive, made.folder / 'query.npy', '--contrast', 'lesions', '--limit', 2,
                          '--threads', 1)['Contrast']
    text = ok('search', made.archive, '--batch', '-', '--contrast', 'lesions', '--json',
              input=f"{made.folder / 'query.npy'}\n{made.archive}:v03\n")
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[0]['Contrast'] == one and lines[1]['Contrast']['Enough']


def test_filter_slices_and_exclusion(made):
    path = made.folder / 'query.npy'
    found = ok_json('search', made.archive, path, '--contrast', 'lesions', '--slices', '20:40')['Contrast']
    assert [c[0] for c in found['Curve']] == list(range(20, 41)) and 20 <= found['Slices'][0] <= found['Slices'][1] <= 40
    one = ok_json('search', made.archive, path, '--contrast', 'lesions', '--slices', '25:25')['Contrast']
    assert one['Slices'] == [25, 25] and one['Rise'] is None and one['P'] == 1
    where = "VolumeId < 'v30' and kind = 'yes' or kind = 'no'"
    found = ok_json('search', made.archive, path, '--contrast', 'lesions', '--where', where)['Contrast']
    d = made.side(True, 10, lambda n: n < 'v30').mean(axis=0) - made.side(False, 10).mean(axis=0)
    np.testing.assert_allclose(np.array(found['Curve'])[:, 1], d, atol=2e-7)
    name = 'v00'
    made.query, kept = made.rows[name], made.query
    d = (made.side(True, 10, lambda n: made.whose[n] != 'P0').mean(axis=0)
         - made.side(False, 10, lambda n: made.whose[n] != 'P0').mean(axis=0))
    made.query = kept
    found = ok_json('search', made.archive, f'{made.archive}:{name}', '--contrast', 'lesions', '--exclude', 'patient')
    np.testing.assert_allclose(np.array(found['Contrast']['Curve'])[:, 1], d, atol=2e-7)


def test_not_enough_and_refused(made):
    path = made.folder / 'query.npy'
    found = ok_json('search', made.archive, path, '--contrast', 'odd=few')['Contrast']
    assert found == {'Label': 'odd', 'Value': 'few', 'PositiveCases': 1, 'NegativeCases': 10, 'Enough': False, 'Curve': []}
    text = ok('search', made.archive, path, '--contrast', 'odd=few')
    assert 'not enough evidence: 1 cases with it' in text
    for bad in ('', '=yes', 'kind='):
        refused(2, ['--contrast'], 'search', made.archive, path, '--contrast', bad)
    refused(1, ['nothing'], 'search', made.archive, path, '--contrast', 'nothing')
    refused(1, ['kind', 'number'], 'search', made.archive, path, '--contrast', 'kind')
    assert 'Contrast' not in ok_json('search', made.archive, path)


def test_names_that_need_quotes(made, tmp_path):
    """Quotes in a label or value are text, never part of a filter."""
    (tmp_path / 'labels.csv').write_text('name,"a ""b"" \'c\'"\n' + '\n'.join(
        f'{n},{"it" if p else "no"}\'s' for n, p in made.positive.items()))
    ok('label', made.archive, tmp_path / 'labels.csv')
    found = ok_json('search', made.archive, made.folder / 'query.npy', '--contrast', 'a "b" \'c\'=it\'s')['Contrast']
    other = ok_json('search', made.archive, made.folder / 'query.npy', '--contrast', 'kind=yes')['Contrast']
    assert found['Curve'] == other['Curve'] and found['Label'] == 'a "b" \'c\''


def test_in_the_report(made, tmp_path):
    (tmp_path / 'labels.csv').write_text('name,<b>\n' + '\n'.join(
        f'{n},{"<i>" if p else "none"}' for n, p in made.positive.items()))
    ok('label', made.archive, tmp_path / 'labels.csv')
    done = subprocess.run([CMIR, 'search', made.archive, made.folder / 'query.npy', '--contrast', '<b>=<i>', '--json',
                           '--report', tmp_path / 'r.html'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)['Contrast']
    root = ET.fromstring((tmp_path / 'r.html').read_text(encoding='utf-8'))
    section, = root.findall(f".//{HTML}section[@class='contrast']")
    words = ''.join(section.itertext())
    a, b = found['Slices']
    assert 'cases with <b> <i>' in words and f'{a} to {b}' in words and 'It stands out' in words
    svg = section.find(f'{SVG}svg')
    frame = next(r for r in svg.findall(f'{SVG}rect') if r.get('class') == 'frame')
    run = next(r for r in svg.findall(f'{SVG}rect') if r.get('class') == 'run')
    x0, width = int(frame.get('x')), int(frame.get('width'))
    assert abs(int(run.get('x')) - x0 - a / M * width) <= 1 and abs(int(run.get('width')) - (b - a + 1) / M * width) <= 2
    line = next(p for p in svg.findall(f'{SVG}path') if p.get('class') == 'contrast').get('d')
    points = np.array([p.split() for p in re.split('[ML]', line)[1:]], int)
    assert len(points) == M and np.all(np.abs(points[:, 0] - x0 - (np.arange(M) + .5) / M * width) <= 1)
    value = np.array(found['Curve'])[:, 1]
    assert np.corrcoef(points[:, 1], value)[0, 1] < -.999  # up is more
