# SPDX-License-Identifier: Apache-2.0
"""cmir eval --locate: hits, matches, matched runs, ratios and intervals against numpy, in planted rows and in scans with air;
what is told of volumes without slices; what is refused."""
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from cli_help import SEED, body, ok, ok_json, refused, save_nifti
from test_cli_search import brute_force
from test_eval import HTML, write_csv

DIM, N, K = 16, 24, 5
METHODS = ['maxsim', 'symmetric', 'freq', 'mean']
FIGURES = ['Ratio', 'Chance', 'RunIou', 'RunPlaced']


def slices_of(shown):
    """As a set: of (first, last), or of a set."""
    return shown if isinstance(shown, set) else set(range(shown[0], shown[1] + 1))


class Case:
    """An archive and what is known of it: rows and slices that are not air by id, `shown` (first, last), a set of slices,
    or None."""

    def read(self):
        path = self.dir / 'x.npy'
        self.rows, self.scored = {}, {}
        for name in self.shown:
            ok('export', self.archive, name, '-o', path)
            self.rows[name] = np.load(path).astype(np.float64)
            air = ok_json('show', self.archive, name)['AirSliceNumbers']
            self.scored[name] = [k for k in range(len(self.rows[name])) if k not in air]
        return self

    def labels(self, path, **other):
        shown = {i: '%d:%d' % s if s else '' for i, s in self.shown.items()} | other
        return write_csv(path, {i: {'kind': 'ab'[k % 2], 'part': shown[i], 'PatientID': self.patient[i]}
                                for k, i in enumerate(self.shown)})


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """Made-up rows; those of the structure lean one way, in some volumes more than in others."""
    print('seed', SEED)
    rng = np.random.default_rng(SEED)
    c = Case()
    c.dir = tmp_path_factory.mktemp('locate')
    (c.dir / 'npy').mkdir()
    c.archive, c.shown, c.patient = c.dir / 'archive', {}, {}
    base = rng.normal(size=DIM)
    for i in range(N):
        name = f'v{i:02}'
        rows = rng.normal(size=(int(rng.integers(12, 30)), DIM))
        first = int(rng.integers(0, len(rows) - 6))
        last = first + int(rng.integers(0, 6))
        rows[first:last + 1] += rng.uniform(0, 2) * base
        np.save(c.dir / 'npy' / f'{name}.npy', (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype('<f4'))
        c.shown[name] = None if i % 5 == 3 else (first, last)
        c.patient[name] = f'p{i // 2}'
    ok('import', c.archive, c.dir / 'npy', '--external', 'toy', '--labels', c.labels(c.dir / 'l.csv'))
    return c.read()


@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    """Scans as they are encoded, with slices of air; some of the structure's slices are air too."""
    print('seed', SEED)
    rng = np.random.default_rng(SEED)
    c = Case()
    c.dir = tmp_path_factory.mktemp('located-scans')
    c.archive = c.dir / 'archive'
    c.shown = {f's{i}': (int(rng.integers(0, 3)), int(rng.integers(5, 10 + i))) for i in range(8)}
    c.patient = {i: i for i in c.shown}
    for k, i in enumerate(c.shown):
        save_nifti(c.dir / f'{i}.nii.gz', body(rng, 32, 10 + k))
    ok('add', c.archive, *[c.dir / f'{i}.nii.gz' for i in c.shown], '--labels', c.labels(c.dir / 'l.csv'))
    return c.read()


def matched_run(slices, similar, n):
    """docs/method.md, spacings equal."""
    w = np.zeros(n)
    np.add.at(w, slices, np.maximum(similar, 1e-6))
    length = min(n, max(1, int(1.5 * len(slices) + .5)))
    sums = np.convolve(w, np.ones(length), 'valid')
    at = int(np.flatnonzero(sums >= sums.max() - 1e-9)[0])
    there = at + np.flatnonzero(w[at:at + length] > 0)
    return int(there[0]), int(there[-1])


def located(c, method, query, k, rows=None):
    """[(id, [matches inside, matches], [slices shown, slices], run)] of the first hits, None for those without slices;
    of the case's rows, or others."""
    rows = c.rows if rows is None else rows
    own = [s for s in c.scored[query] if s in slices_of(c.shown[query])]
    others = [i for i in c.shown if c.patient[i] != c.patient[query]]
    found = brute_force(method, rows[query][own], {i: rows[i][c.scored[i]] for i in others})[:k]
    out = []
    for _, i in found:
        if c.shown[i] is None:
            out.append(None)
            continue
        dots = rows[query][own] @ rows[i][c.scored[i]].T
        slices = [c.scored[i][j] for j in dots.argmax(axis=1)]
        inside = lambda some, i=i: sum(s in slices_of(c.shown[i]) for s in some)
        out.append((i, [inside(slices), len(slices)], [inside(c.scored[i]), len(c.scored[i])],
                    matched_run(slices, dots.max(axis=1), len(c.rows[i]))))
    return out


def figures_of(hit, shown):
    _, (inside, matches), (of_it, slices), run = hit
    a, b = slices_of(run), slices_of(shown)
    iou = len(a & b) / len(a | b)
    return inside / matches, of_it / slices, iou, iou >= .6


@pytest.mark.parametrize('which', ['case', 'scans'])
def test_against_numpy(which, request):
    """Every hit and count; means over the hits of a query, then over queries; intervals over patients."""
    c = request.getfixturevalue(which)
    rounds = 20000
    result = ok_json('eval', c.archive, '--task', 'kind', '--locate', 'part', '--methods', ','.join(METHODS), '--k',
                     f'2,{K}', '--bootstrap', rounds, '--shuffles', 2)
    said = result['Locations']
    queries = [i for i in c.shown if c.shown[i]]
    unknown = len(c.shown) - len(queries)
    assert (said['Column'], said['K'], said['PlacedFrom']) == ('part', K, .6)
    assert said['QueriesUnknown'] == said['VolumesUnknown'] == unknown
    assert [m['Name'] for m in said['Methods']] == METHODS
    rng = np.random.default_rng(SEED)
    shown_air = 0
    for m in said['Methods']:
        per_query, n_hits, n_unknown = {}, 0, 0
        for q in queries:
            want = located(c, m['Name'], q, K)
            known = [h for h in want if h]
            got = [h for h in said['Hits'] if (h['Method'], h['Query']) == (m['Name'], q)]
            assert [(h['VolumeId'], h['MatchesInside'], h['SlicesShown'], tuple(h['MatchSlices'])) for h in got] == known
            assert all(h['QuerySlices'] == list(c.shown[q]) for h in got)
            assert all(h['ShownSlices'] == list(c.shown[h['VolumeId']]) for h in got)
            shown_air += sum(h['SlicesShown'][0] < h['ShownSlices'][1] - h['ShownSlices'][0] + 1 for h in got)
            n_hits, n_unknown = n_hits + len(known), n_unknown + len(want) - len(known)
            if known:
                per_query[q] = np.mean([figures_of(h, c.shown[h[0]]) for h in known], axis=0)
        patients = sorted({c.patient[q] for q in per_query})
        assert (m['Queries'], m['Patients'], m['Hits'], m['HitsUnknown']) == (
            len(per_query), len(patients), n_hits, n_unknown)
        means = np.mean(list(per_query.values()), axis=0)
        np.testing.assert_allclose([m[f]['Value'] for f in FIGURES], means, atol=1e-12)
        assert m['TimesChance']['Value'] == pytest.approx(means[0] / means[1])
        sums = np.array([np.sum([per_query[q] for q in per_query if c.patient[q] == p], axis=0) for p in patients])
        counts = np.array([sum(c.patient[q] == p for q in per_query) for p in patients])
        drawn = rng.integers(len(patients), size=(rounds, len(patients)))
        samples = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)[:, None]
        samples = np.column_stack([samples, samples[:, 0] / samples[:, 1]])
        want = np.percentile(samples, [2.5, 97.5], axis=0)
        got = np.array([[m[f]['Low'], m[f]['High']] for f in FIGURES + ['TimesChance']]).T
        np.testing.assert_allclose(got, want, atol=.02 * max(1, means[0] / means[1]))
    assert unknown > 0 if which == 'case' else shown_air > 0


def test_same_and_apart(case, tmp_path):
    """Structures that fill their volumes are found everywhere; the rankings are those without --locate."""
    whole = write_csv(tmp_path / 'w.csv', {i: {'all': f'0:{len(r) - 1}'} for i, r in case.rows.items()})
    quick = ['--task', 'kind', '--methods', 'maxsim,freq', '--bootstrap', 20, '--shuffles', 20, '--labels', whole]
    result = ok_json('eval', case.archive, *quick, '--locate', 'all')
    for m in result['Locations']['Methods']:
        assert [m[f] for f in ('Ratio', 'Chance', 'TimesChance')] == [{'Value': 1, 'Low': 1, 'High': 1}] * 3
    without = ok_json('eval', case.archive, *quick)
    assert 'Locations' not in without
    assert all(without[key] == result[key] for key in ('Lines', 'Pairs', 'PerQuery', 'Volumes'))


def test_text_and_page(case, tmp_path):
    args = ['eval', case.archive, '--task', 'kind', '--locate', 'part', '--methods', 'maxsim,mean', '--report',
            tmp_path / 'r.html']
    said = ok_json(*args)['Locations']
    page = ET.fromstring((tmp_path / 'r.html').read_text(encoding='utf-8').partition('\n')[2])
    section = next(s for s in page.iter(HTML + 'section') if s.find(HTML + 'h2').text == 'Where structures are found')
    assert '"part" of 19 of the 24 queries' in ' '.join(section.itertext())
    text = ok(*args)
    assert '19 of 24 volumes have' in text
    rows = section.find(f'.//{HTML}tbody')
    for row, m in zip(rows, said['Methods'], strict=True):
        figures = [m[f] for f in ('Ratio', 'Chance', 'TimesChance', 'RunIou', 'RunPlaced')]
        cells = [td.text.strip() for td in row.iter(HTML + 'td')]
        assert cells == [str(m['Queries']), str(m['Hits'])] + [f"{f['Value']:.3f}" for f in figures]
        line = re.search(rf"^{m['Name']} +{m['Queries']} +{m['Hits']} of {m['Hits'] + m['HitsUnknown']} .*", text, re.M)[0]
        assert re.findall(r'(\d\.\d{3}) \(', line) == cells[2:]


def test_refused(case, scans, tmp_path):
    quick = ['--task', 'kind', '--methods', 'mean', '--bootstrap', 2, '--shuffles', 2]
    args = ['eval', case.archive, *quick, '--locate', 'part', '--labels']
    for bad, words in (('3', ['first and last']), ('5:2', ["'5:2'"]), ('a:b', ["'a:b'"]), ('-1:2', ["'-1:2'"]),
                       ('0:99', ['0:99', 'beyond its %d slices' % len(case.rows['v07'])])):
        refused(1, ['v07', 'part', *words], *args, case.labels(tmp_path / 'l.csv', v07=bad))
    air = next(k for k in range(len(scans.rows['s4'])) if k not in scans.scored['s4'])
    refused(1, ['s4', 'part', 'only air'], 'eval', scans.archive, *quick, '--locate', 'part', '--labels',
            scans.labels(tmp_path / 'l.csv', s4=f'{air}:{air}'))
    refused(2, ["--locate 'parts'", "'part'"], 'eval', case.archive, *quick, '--locate', 'parts')
    refused(2, ['--locate', 'masked'], 'eval', case.archive, *quick, '--locate', 'part', '--database', 'masked', '--mask',
            'part')
    refused(2, ['--locate', '--rankings'], 'eval', '--rankings', 'r.csv', '--labels', case.dir / 'l.csv', '--locate', 'part')
    (tmp_path / 'q.csv').write_text('name\nv03\n')
    refused(1, ['--locate', 'no query', 'part'], 'eval', case.archive, *quick, '--locate', 'part', '--queries',
            tmp_path / 'q.csv', '--allow-leak')
