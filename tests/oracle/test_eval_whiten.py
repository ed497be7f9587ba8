# SPDX-License-Identifier: Apache-2.0
"""cmir eval --whiten: for every patient who asks, numpy learns from the candidates of all others and ranks by brute force over
what that makes of all rows; what an evaluation of a fitted archive says of itself; what is refused, and what stays on disk."""
import json
import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from cli_help import CMIR, SEED, body, ok, ok_json, refused, save_nifti
from test_cli_search import brute_force
from test_eval import write_csv, write_list
from test_eval_locate import FIGURES, Case, figures_of, located

DIM, D, N = 20, 7, 26
METHODS = ['maxsim', 'symmetric', 'mean']
QUICK = ['--task', 'kind', '--bootstrap', 20, '--shuffles', 20, '--methods', ','.join(METHODS)]
NEAR = 1e-4


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """Made-up rows of very unequal variance; v24 and v25 have no value and take no part."""
    print('seed', SEED)
    rng = np.random.default_rng(SEED)
    c = Case()
    c.dir = tmp_path_factory.mktemp('whiten')
    c.archive, c.dims, c.shown, c.patient, c.kind, c.site = c.dir / 'archive', D, {}, {}, {}, {}
    (c.dir / 'npy').mkdir()
    scale, common = np.geomspace(3, .05, DIM), rng.normal(size=DIM)
    for i in range(N):
        name = f'v{i:02}'
        c.patient[name], c.kind[name] = f'p{i // 2}', 'abc'[i % 3] if i < N - 2 else ''
        c.site[name] = ['north', 'south'][i // 2 % 2]
        rows = common + scale * (rng.normal(size=(int(rng.integers(6, 16)), DIM)) + rng.normal(size=DIM) * (1 + i // 2 % 4))
        np.save(c.dir / 'npy' / f'{name}.npy', (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype('<f4'))
        c.shown[name] = None if i % 5 == 4 else set(map(int, np.flatnonzero(rng.random(len(rows)) < .4))) or {1}
    c.cells = {i: ('%d:%d' % (min(s), max(s)) if s else '') for i, s in c.shown.items()}
    c.shown = {i: s and set(range(min(s), max(s) + 1)) for i, s in c.shown.items()}
    c.labels = write_csv(c.dir / 'labels.csv', {i: {'kind': c.kind[i], 'PatientID': c.patient[i], 'site': c.site[i],
                                                    'part': c.cells[i]} for i in c.patient})
    ok('import', c.archive, c.dir / 'npy', '--external', 'toy', '--labels', c.labels)
    return c.read()


@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    """Scans as they are encoded, with slices of air, which are not learnt from."""
    print('seed', SEED)
    rng = np.random.default_rng(SEED)
    c = Case()
    c.dir = tmp_path_factory.mktemp('whiten-scans')
    c.archive, c.dims = c.dir / 'archive', D
    c.shown = {f's{i}': (int(rng.integers(0, 3)), int(rng.integers(5, 10))) for i in range(9)}
    c.patient = {i: f'p{k // 2}' for k, i in enumerate(c.shown)}
    c.kind = {i: 'ab'[k % 2] for k, i in enumerate(c.shown)}
    for k, i in enumerate(c.shown):
        save_nifti(c.dir / f'{i}.nii.gz', body(rng, 32, 12 + k))
    c.labels = write_csv(c.dir / 'l.csv', {i: {'kind': c.kind[i], 'part': '%d:%d' % s, 'PatientID': c.patient[i]}
                                           for i, s in c.shown.items()})
    ok('add', c.archive, *[c.dir / f'{i}.nii.gz' for i in c.shown], '--labels', c.labels)
    return c.read()


def whitening(rows, dims):
    """docs/method.md, of rows of unit length."""
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    scale = np.sqrt(values[::-1][:dims] + .01 * values.mean())
    return lambda x: (lambda y: y / np.linalg.norm(y, axis=1, keepdims=True))((x - mean) @ vectors[:, ::-1][:, :dims] / scale)


def whitened(c, learnt, rows=None):
    """All rows as the volumes `learnt`, air left out, whiten them."""
    rows = c.rows if rows is None else rows
    scored = {i: [s for s in c.scored[i] if s < len(rows[i])] for i in rows}
    change = whitening(np.concatenate([rows[i][scored[i]] for i in learnt]), c.dims)
    return {i: change(r) for i, r in rows.items()}


def check(c, result, databases, learnt, rows=None, methods=METHODS):
    """Scores and order of every query and method; equal but for rounding may stand either way."""
    assert [q['VolumeId'] for q in result['PerQuery']] == list(databases)
    for q in result['PerQuery']:
        name = q['VolumeId']
        now = whitened(c, learnt[name], rows)
        now = {i: r[[s for s in c.scored[i] if s < len(r)]] for i, r in now.items()}
        assert q['Candidates'] == len(databases[name])
        for m in methods:
            want = {i: s for s, i in brute_force(m, now[name], {i: now[i] for i in sorted(databases[name])})}
            said = next(x for x in q['Lines'] if x['Name'] == m)
            assert len(said['Found']) == len(said['Scores']) == min(10, len(want))
            np.testing.assert_allclose(said['Scores'], [want[i] for i in said['Found']], atol=NEAR)
            np.testing.assert_allclose(said['Scores'], sorted(want.values(), reverse=True)[:10], atol=NEAR)


def others(c, q, among=None):
    return [i for i in (among or c.patient) if c.kind[i] and c.patient[i] != c.patient[q]]


@pytest.mark.parametrize('which', ['case', 'scans'])
def test_against_numpy(which, request):
    c = request.getfixturevalue(which)
    result = ok_json('eval', c.archive, *QUICK, '--whiten', D)
    queries = [i for i in c.patient if c.kind[i]]
    check(c, result, {q: others(c, q) for q in queries}, {q: others(c, q) for q in queries})
    assert result['Whitening'] == {'Dims': D, 'LearntFrom': 'candidates of other patients', 'Where': '',
                                   'Fits': len({c.patient[q] for q in queries}), 'SeenQueries': 0}
    raw = ok_json('eval', c.archive, *QUICK)
    assert 'Whitening' not in raw and raw['PerQuery'] != result['PerQuery']
    assert raw['Archive'] == result['Archive'] and raw['Encoder'] == result['Encoder']


def test_leaving_the_patient_out_matters(case):
    """The lists of a whitening that has seen the query are others, so the test above tells them apart."""
    result = ok_json('eval', case.archive, *QUICK, '--whiten', D)
    queries = [i for i in case.patient if case.kind[i]]
    with pytest.raises(AssertionError):
        check(case, result, {q: others(case, q) for q in queries}, {q: queries for q in queries})


def test_is_what_fit_makes_without_the_patient(case, tmp_path):
    """Bit for bit: the archive that cmir fit makes of the other patients' volumes with a value."""
    result = ok_json('eval', case.archive, *QUICK, '--whiten', D)
    own = "not PatientID = 'p3' and not VolumeId = 'v24' and not VolumeId = 'v25'"
    ok('fit', case.archive, tmp_path / 'p3', '--dims', D, '--where', own)
    for name in ('v06', 'v07'):
        q = next(q for q in result['PerQuery'] if q['VolumeId'] == name)
        for m in METHODS:
            said = next(x for x in q['Lines'] if x['Name'] == m)
            hits = ok_json('search', tmp_path / 'p3', f"{tmp_path / 'p3'}:{name}", '--score', m, '--where', own, '--exhaustive')
            assert [h['VolumeId'] for h in hits['Matches']] == said['Found']
            assert [h['Score'] for h in hits['Matches']] == said['Scores']


def test_given_split_and_sites(case, tmp_path):
    """Learnt from the candidates, of all sites, less the query's patient; one fit where no candidate is of who asks."""
    queries = ['v03', 'v02', 'v10', 'v21']
    listed = write_list(tmp_path / 'q.csv', queries)
    free = [i for i in case.patient if case.kind[i] and i not in ('v02', 'v03', 'v10', 'v11', 'v20', 'v21')]
    candidates = write_list(tmp_path / 'c.csv', free)
    result = ok_json('eval', case.archive, *QUICK, '--whiten', D, '--queries', listed, '--candidates', candidates)
    check(case, result, {q: free for q in queries}, {q: free for q in queries})
    assert result['Whitening']['Fits'] == 1
    result = ok_json('eval', case.archive, *QUICK, '--whiten', D, '--database', 'per-site')
    known = [i for i in case.patient if case.kind[i]]
    check(case, result, {q: [i for i in others(case, q) if case.site[i] == case.site[q]] for q in known},
          {q: others(case, q) for q in known})
    # a patient in the database leaks; the whitening is without him all the same
    result = ok_json('eval', case.archive, *QUICK, '--whiten', D, '--queries', listed, '--allow-leak')
    asked = [i for i in case.patient if case.kind[i] and i not in queries]
    check(case, result, {q: asked for q in queries}, {q: others(case, q, asked) for q in queries})
    assert result['Leak'] and result['Whitening']['Fits'] == 3  # p1 has no candidate, p5 and p10 have one


def test_masked(case):
    """Learnt from the masked slices, as all that is searched."""
    args = ['eval', case.archive, *QUICK, '--whiten', D, '--database', 'masked', '--mask', 'part']
    rows = {i: case.rows[i][sorted(s)] for i, s in case.shown.items() if s and case.kind[i]}
    databases = {q: [i for i in rows if case.patient[i] != case.patient[q]] for q in rows}
    check(case, ok_json(*args), databases, databases, rows)


@pytest.mark.parametrize('which', ['case', 'scans'])
def test_locate(which, request):
    """Hits are found and matched by whitened slices."""
    c = request.getfixturevalue(which)
    k = 4
    said = ok_json('eval', c.archive, *QUICK, '--whiten', D, '--locate', 'part', '--k', k)['Locations']
    now = Case()
    now.__dict__.update(c.__dict__)
    now.shown = {i: s for i, s in c.shown.items() if c.kind[i]}
    for m in said['Methods']:
        per_query = []
        for q in [i for i in now.shown if now.shown[i]]:
            known = [h for h in located(now, m['Name'], q, k, whitened(c, others(c, q))) if h]
            got = [h for h in said['Hits'] if (h['Method'], h['Query']) == (m['Name'], q)]
            assert [(h['VolumeId'], h['MatchesInside'], tuple(h['MatchSlices'])) for h in got] == [
                (i, inside, run) for i, inside, _, run in known]
            if known:
                per_query.append(np.mean([figures_of(h, now.shown[h[0]]) for h in known], axis=0))
        np.testing.assert_allclose([m[f]['Value'] for f in FIGURES], np.mean(per_query, axis=0), atol=1e-12)


def test_text_and_page(scans, tmp_path):
    """What was whitened how is said; the pictures are those of the scans, their hits those of the lists."""
    args = ['eval', scans.archive, *QUICK, '--whiten', D, '--report', tmp_path / 'r.html']
    text = ok(*args)
    assert f'whitened: {D} of 576 dimensions, learnt for each patient from the candidates of all others; 5 fits' in text
    assert 'SEEN' not in text
    page = (tmp_path / 'r.html').read_text()
    assert f'Whitened: {D} of 576 dimensions, learnt for each patient' in page and 'has seen' not in page
    assert 'no picture' not in page
    result = ok_json(*args)
    query, found = re.search(r'<h3><span class="query">(s\d)</span>', page), next(
        q['Lines'][0]['Found'] for q in result['PerQuery'] if f'"query">{q["VolumeId"]}<' in page)
    assert query and found[0] in page


def test_a_fitted_archive_says_what_it_has_seen(scans, tmp_path):
    ok('fit', scans.archive, tmp_path / 'all', '--dims', D)
    ok('fit', scans.archive, tmp_path / 'without', '--dims', D, '--where', "not PatientID = 'p1'")
    text = ok('eval', tmp_path / 'all', *QUICK, '--report', tmp_path / 'r.html', '--locate', 'part')
    assert text.count('RANKING (SEEN)') == 2 and 'SEEN: the whitening has seen the patients' in text
    page = (tmp_path / 'r.html').read_text()
    assert page.count('The whitening has seen the queries: ') == 2 and page.count('Ranking (whitening has seen the queries)') == 3
    result = ok_json('eval', tmp_path / 'all', *QUICK)
    assert result['Whitening'] == {'Dims': D, 'LearntFrom': 'volumes of the archive', 'Where': '', 'Fits': 1, 'SeenQueries': 9}
    queries = write_list(tmp_path / 'q.csv', ['s2', 's3'])
    args = ['eval', tmp_path / 'without', *QUICK, '--queries', queries]
    result = ok_json(*args)
    assert result['Whitening']['SeenQueries'] == 0 and result['Whitening']['Where'] == "not PatientID = 'p1'"
    text = ok(*args, '--report', tmp_path / 'r.html')
    assert 'SEEN' not in text and 'has seen' not in (tmp_path / 'r.html').read_text()
    assert ok_json('eval', tmp_path / 'without', *QUICK)['Whitening']['SeenQueries'] == 7
    refused(2, ['--whiten', 'fitted already'], 'eval', tmp_path / 'all', *QUICK, '--whiten', D)


def test_refused(case, tmp_path):
    env = {**os.environ, 'TMPDIR': str(tmp_path)}
    args = ['eval', case.archive, *QUICK, '--whiten']
    for bad in ('0', 'x', '5000'):
        refused(2, ['--whiten'], *args, bad, env=env)
    refused(2, ['--whiten', f'{DIM + 1} dimensions', f'{DIM}'], *args, DIM + 1, env=env)
    two = write_list(tmp_path / 'c.csv', ['v00', 'v02'])
    some = ['--queries', write_list(tmp_path / 'q.csv', ['v01']), '--candidates', two, '--allow-leak']
    refused(2, ["--whiten, learnt without 'p0'", 'two volumes or more'], *args, D, *some, env=env)
    refused(2, ['--whiten', '--rankings'], 'eval', '--rankings', 'r.csv', '--labels', case.labels, '--whiten', D, env=env)
    few = write_list(tmp_path / 'f.csv', ['v00', 'v02'])
    refused(2, ['--whiten:', 'vary in'], *args, DIM, '--queries', write_list(tmp_path / 'q.csv', ['v10']), '--candidates', few,
            '--database', 'masked', '--mask', 'few', '--labels',
            write_csv(tmp_path / 'l.csv', {i: {'few': '0:2'} for i in case.patient}), env=env)
    refused(1, ['nowhere'], *args, D, env={**env, 'TMPDIR': str(tmp_path / 'nowhere')})
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_nothing_stays_on_disk(case, tmp_path):
    """Neither after success nor where it is interrupted."""
    args = [CMIR, 'eval', str(case.archive), *map(str, QUICK), '--whiten', str(D)]
    env = {**os.environ, 'TMPDIR': str(tmp_path)}
    subprocess.run(args, env=env, capture_output=True, check=True)
    assert not list(tmp_path.iterdir())
    for stop in (signal.SIGINT, signal.SIGTERM):
        child = subprocess.Popen(args + ['--json', '--shuffles', '100000'], env=env, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < end:
            time.sleep(.001)
        assert list(tmp_path.iterdir())
        child.send_signal(stop)
        out, _ = child.communicate(timeout=120)
        assert child.returncode != 0 and out == '' and not list(tmp_path.iterdir())


def test_repeats_itself(case):
    """The same with any number of threads."""
    lists = [ok_json('eval', case.archive, *QUICK, '--whiten', D, '--threads', n)['PerQuery'] for n in (1, 3)]
    assert json.dumps(lists[0]) == json.dumps(lists[1])
