# SPDX-License-Identifier: Apache-2.0
"""cmir eval: the lists, splits, databases and figures against numpy; leakage; ranked lists from files, with 3D-MIR's labels;
what is refused and how; the report as a page.  The figures themselves are checked in test_metrics.py."""
import csv
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from cli_help import CMIR, DATA, NOTICE, SEED, needs_data, ok, ok_json, refused, run, save_nifti, body
from test_cli_search import brute_force

DIM, N = 24, 30
METHODS = ['maxsim', 'symmetric', 'freq', 'max', 'sum', 'mean']
HTML = '{http://www.w3.org/1999/xhtml}'
SVG = '{http://www.w3.org/2000/svg}'
HOSTILE = '"><script>alert(1)</script>\u202e\'&amp;'


class Case:
    """An archive of N volumes of N / 2 patients at three sites, and what is known of them."""


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    print('seed', SEED)
    rng = np.random.default_rng(SEED)
    c = Case()
    c.dir = tmp_path_factory.mktemp('eval')
    c.archive = c.dir / 'archive'
    (c.dir / 'npy').mkdir()
    base = rng.normal(size=(4, DIM))
    c.known = {}
    for i in range(N):
        stage = int(rng.integers(-1, 4)) or -1
        rows = rng.normal(size=(int(rng.integers(6, 20)), DIM)) + .5 * base[stage]
        np.save(c.dir / 'npy' / f'v{i:02}.npy', (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype('<f4'))
        c.known[f'v{i:02}'] = {
            'organ': 'colon', 'max_tumor_size': round(float(rng.uniform(.5, 8)), 2) if stage > 0 else 0,
            'number_tumors': int(stage > 0), 'lesion_group': stage, 'cancer_flag': int(stage > 0),
            'PatientID': f'p{i // 2}', 'site': ['north', 'south', 'east'][i % 3], 'crop': int(rng.integers(40, 99)),
            'slices': f'{2}:{len(rows) - 2}'}
    c.labels = write_csv(c.dir / 'labels.csv', c.known)
    ok('import', c.archive, c.dir / 'npy', '--external', 'toy', '--labels', c.labels)
    c.rows = {}
    for name in c.known:
        ok('export', c.archive, name, '-o', c.dir / 'x.npy')
        c.rows[name] = np.load(c.dir / 'x.npy').astype(np.float64)
    return c


def write_csv(path, known, extension='.nii.gz', first='name'):
    columns = list(next(iter(known.values())))
    with open(path, 'w', newline='') as f:
        w = csv.writer(f)
        w.writerow([first, *columns])
        w.writerows([name + extension, *row.values()] for name, row in known.items())
    return path


def write_list(path, names, heading='testing'):
    path.write_text(heading + '\n' + ''.join(f'{n}.nii.gz\n' for n in names))
    return path


def line(result, name):
    return next(x for x in result['Lines'] if x['Name'] == name)


def average_precision(relevant):
    hits = np.flatnonzero(relevant)
    return float(np.mean((np.arange(len(hits)) + 1) / (hits + 1))) if len(hits) else 0.


def check_lists(case, result, databases, value, methods, rows=None):
    """Lists, counts and the simple figures of every query and method, against brute force in `databases`."""
    rows = rows or case.rows
    assert [q['VolumeId'] for q in result['PerQuery']] == list(databases)
    wanted = {m: {'P@3': [], 'P@10': [], 'AP@10': []} for m in methods}
    for q in result['PerQuery']:
        name = q['VolumeId']
        assert q['Candidates'] == len(databases[name]) and q['Value'] == str(value(name))
        for m in methods:
            found = [i for _, i in brute_force(m, rows[name], {i: rows[i] for i in sorted(databases[name])})]
            said = next(x for x in q['Lines'] if x['Name'] == m)
            assert said['Found'] == found[:10], (name, m)
            assert said['FoundCount'] == len(found)
            relevant = np.array([value(i) == value(name) for i in found])
            want = {'P@3': relevant[:3].sum() / 3, 'P@10': relevant[:10].sum() / 10,
                    'AP@10': average_precision(relevant[:10])}
            for metric, x in want.items():
                assert said['Figures'][result['Metrics'].index(metric)] == pytest.approx(x, abs=1e-8)
                wanted[m][metric].append(x)
    for m in methods:
        for metric, x in wanted[m].items():
            got = line(result, m)['Figures'][metric]
            assert got['Value'] == pytest.approx(np.mean(x), abs=1e-8)
            if result['Patients'] > 1:
                assert got['Low'] <= got['Value'] <= got['High']
            else:
                assert got['Low'] is got['High'] is None


# ---------------------------------------------------------------- searches, splits, databases


def test_leave_one_patient_out(case):
    """Votes too are counted among the query's own candidates only."""
    result = ok_json('eval', case.archive, '--methods', ','.join(METHODS), '--bootstrap', 50, '--shuffles', 50)
    patient = {i: k['PatientID'] for i, k in case.known.items()}
    databases = {q: [i for i in case.known if patient[i] != patient[q]] for q in case.known}
    check_lists(case, result, databases, lambda i: case.known[i]['cancer_flag'], METHODS)
    assert (result['Split'], result['Queries'], result['Patients']) == ('leave one patient out', N, N // 2)
    assert result['Leak'] is False and result['Positive'] == '1' and result['Values'] == ['0', '1']
    assert result['TaskColumn'] == 'cancer_flag' and result['Database'] == 'merged'
    lists = [x for q in result['PerQuery'] for x in q['Lines'] if x['Name'] in METHODS]
    short = {q['VolumeId'] for q in result['PerQuery'] for x in q['Lines'] if x.get('FoundCount', 10) < 10}
    assert result['ShortQueries'] == len(short) and lists
    assert [x['Name'] for x in result['Lines']] == METHODS + ['random', 'majority']


def test_given_split(case, tmp_path):
    """All volumes that are no query, or those of a list; the order of the queries is that of their file."""
    queries = ['v29', 'v03', 'v28', 'v02', 'v11', 'v10']
    others = [i for i in case.known if i not in queries]
    args = ['eval', case.archive, '--task', 'stage', '--methods', 'maxsim,freq', '--bootstrap', 20, '--shuffles', 20,
            '--queries', write_list(tmp_path / 'test.csv', queries)]
    stage = lambda i: case.known[i]['lesion_group']
    result = ok_json(*args)
    check_lists(case, result, {q: others for q in queries}, stage, ['maxsim', 'freq'])
    assert result['Split'] == 'given' and result['Positive'] is None and 'Auroc' not in result['Lines'][0]
    train = others[::2]
    result = ok_json(*args, '--candidates', write_list(tmp_path / 'train.csv', train, 'training'))
    check_lists(case, result, {q: train for q in queries}, stage, ['maxsim', 'freq'])
    assert {v['VolumeId'] for v in result['Volumes'] if v['Candidate']} == set(train)
    assert {v['VolumeId'] for v in result['Volumes'] if v['Query']} == set(queries)


def test_per_site(case, tmp_path):
    """The site is a column of any name; what --queries says of a query goes before all else."""
    same = {q: [i for i in case.known if case.known[i]['site'] == case.known[q]['site']
                and case.known[i]['PatientID'] != case.known[q]['PatientID']] for q in case.known}
    flag = lambda i: case.known[i]['cancer_flag']
    quick = ['--bootstrap', 20, '--shuffles', 20, '--methods', 'maxsim,sum']
    check_lists(case, ok_json('eval', case.archive, '--database', 'per-site', *quick), same, flag, ['maxsim', 'sum'])
    own = write_csv(tmp_path / 'own.csv', {i: {'clinic': k['site']} for i, k in case.known.items()}, '')
    result = ok_json('eval', case.archive, '--database', 'per-site', '--site', 'clinic', '--labels', own, *quick)
    check_lists(case, result, same, flag, ['maxsim', 'sum'])
    asked = write_csv(tmp_path / 'asked.csv', {'v00': {'site': 'south'}})
    result = ok_json('eval', case.archive, '--database', 'per-site', '--queries', asked, *quick, '--allow-leak')
    check_lists(case, result, {'v00': [i for i in case.known if case.known[i]['site'] == 'south']}, flag,
                ['maxsim', 'sum'])


def test_masked(case, tmp_path):
    """Only the slices of the mask take part, of queries and of candidates; nothing of it stays on disk."""
    def cut(i):
        first, last = map(int, case.known[i]['slices'].split(':'))
        return case.rows[i][first:last + 1]
    env = {**os.environ, 'TMPDIR': str(tmp_path)}
    args = ['eval', case.archive, '--database', 'masked', '--mask', 'slices', '--bootstrap', '20', '--shuffles', '20',
            '--methods', 'maxsim,freq', '--json']
    result = json.loads(ok(*args, env=env))
    patient = {i: k['PatientID'] for i, k in case.known.items()}
    databases = {q: [i for i in case.known if patient[i] != patient[q]] for q in case.known}
    check_lists(case, result, databases, lambda i: case.known[i]['cancer_flag'], ['maxsim', 'freq'],
                {i: cut(i) for i in case.known})
    assert [v['MaskSlices'] for v in result['Volumes']] == [
        [int(x) for x in case.known[i]['slices'].split(':')] for i in case.known]
    some = write_csv(tmp_path / 'some.csv', {i: {'mask': k['slices'] if i > 'v04' else ''}
                                             for i, k in case.known.items()})
    result = json.loads(ok(*args[:4], '--mask', 'mask', '--labels', some, *args[6:], env=env))
    assert (result['WithoutMask'], result['Queries']) == (5, N - 5)
    for bad, why in (('3', 'first and last'), ('5:2', 'first and last'), ('0:99', 'beyond its')):
        wrong = write_csv(tmp_path / 'wrong.csv', {'v07': {'mask': bad}, 'v08': {'mask': '0:1'}})
        refused(1, ['v07', why], *args[:4], '--mask', 'mask', '--labels', wrong, env=env)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['some.csv', 'wrong.csv']


def test_tasks(case, tmp_path):
    """flag and stage are 3D-MIR's columns unless there is one of that name; stages by rule; volumes without a value."""
    quick = ['--bootstrap', 20, '--shuffles', 20, '--methods', 'mean']
    values = lambda result: {v['VolumeId']: v['Value'] for v in result['Volumes']}
    by_rule = ok_json('eval', case.archive, '--task', 'tumour-stage', *quick)
    want = {i: '-1' if k['number_tumors'] == 0 else str(int(np.digitize(k['max_tumor_size'], [2, 4, 6])) + 1)
            for i, k in case.known.items()}
    assert values(by_rule) == want
    mm = write_csv(tmp_path / 'mm.csv', {i: {'max_tumor_size_mm': 10 * k['max_tumor_size'] + 20}
                                         for i, k in case.known.items()})
    in_mm = ok_json('eval', case.archive, '--task', 'tumour-stage', '--labels', mm, *quick)
    assert values(in_mm) == {i: '-1' if k['number_tumors'] == 0 else
                             str(int(np.digitize(k['max_tumor_size'] + 2, [2, 4, 6])) + 1)
                             for i, k in case.known.items()}
    own = write_csv(tmp_path / 'own.csv', {f'v{i:02}': {'flag': 'yes' if i % 3 else 'no'} for i in range(20)})
    result = ok_json('eval', case.archive, '--labels', own, '--positive', 'yes', *quick)
    assert (result['Positive'], result['Queries'], result['WithoutValue']) == ('yes', 20, N - 20)
    assert values(result) == {f'v{i:02}': 'yes' if i % 3 else 'no' for i in range(20)}
    assert ok_json('eval', case.archive, '--task', 'site', *quick)['Values'] == ['east', 'north', 'south']


def test_lines_to_beat(case):
    """A cohort or nuisance that tells the answer shows as a line that does; patients are as asked."""
    result = ok_json('eval', case.archive, '--cohort', 'cancer_flag', '--nuisance', 'max_tumor_size,crop,Slices',
                     '--methods', 'mean', '--bootstrap', 50)
    names = [(x['Name'], x['Kind']) for x in result['Lines']]
    assert names == [('mean', 'Method'), ('random', 'Random'), ('majority', 'Majority'), ('cohort', 'Cohort'),
                     ('max_tumor_size', 'Nuisance'), ('crop', 'Nuisance'), ('Slices', 'Nuisance')]
    assert line(result, 'cohort')['Figures']['P@3']['Value'] == 1 == line(result, 'cohort')['Auroc']['Value']
    assert line(result, 'max_tumor_size')['Figures']['P@3']['Value'] > .9
    assert [v['Nuisances'] for v in result['Volumes']] == [
        [k['max_tumor_size'], k['crop'], len(case.rows[i])] for i, k in case.known.items()]
    by_site = ok_json('eval', case.archive, '--group', 'site', '--methods', 'mean', '--bootstrap', 50)
    assert by_site['Patients'] == 3 and {v['Patient'] for v in by_site['Volumes']} == {'north', 'south', 'east'}
    assert by_site['PerQuery'][0]['Candidates'] == sum(k['site'] != 'north' for k in case.known.values())


def test_repeats_itself(case):
    """The same seed gives the same figures with any number of threads; another seed other intervals."""
    args = ['eval', case.archive, '--cohort', 'site', '--methods', 'maxsim', '--bootstrap', 100, '--shuffles', 100]
    lines = lambda *more: ok_json(*args, *more)['Lines']
    assert lines('--threads', 1) == lines('--threads', 3) == lines('--seed', 0)
    assert lines('--seed', 5) != lines('--seed', 6)


def test_json(case):
    done = ok('eval', case.archive, '--methods', 'maxsim,mean', '--cohort', 'site', '--json', '--k', '1,4')
    result = json.loads(done)
    assert set(result) == {
        'Task', 'TaskColumn', 'Positive', 'Values', 'Split', 'Database', 'Nuisances', 'Cohort', 'Patient', 'Seed',
        'WithoutValue', 'WithoutMask', 'UnknownLabels', 'Queries', 'Patients', 'ShortQueries', 'Leak', 'Metrics', 'Lines',
        'Pairs', 'PerQuery', 'Volumes', 'Archive', 'Encoder', 'Command', 'Version', 'Notice'}
    assert result['Notice'] == NOTICE and result['Command'] == (
        f'cmir eval {case.archive} --methods maxsim,mean --cohort site --json --k 1,4')
    assert result['Metrics'][:2] == ['P@1', 'P@4'] and len(result['Pairs']) == len(result['Metrics'])
    assert len(result['PerQuery'][0]['Lines'][0]['Found']) == 4
    one = line(result, 'maxsim')
    assert set(one) == {'Name', 'Kind', 'Figures', 'Accuracy', 'Confusion', 'Auroc', 'Auprc', 'Brier', 'Reliability'}
    assert np.sum(one['Confusion']) == pytest.approx(N) and np.shape(one['Confusion']) == (2, 2)
    assert sum(b['Queries'] for b in one['Reliability']) == pytest.approx(N)
    stat = ok_json('stat', case.archive)
    assert {k: result['Encoder'][k] for k in ('Name', 'Version', 'Sha256')} == stat['Encoder']
    assert re.fullmatch('[0-9a-f]{64}', result['Encoder']['CardSha256'])


def test_archive_hash(case, tmp_path):
    """Of what is searched: the same volumes in another order are the same archive, one less is another."""
    sha = lambda path: ok_json('eval', path, '--methods', 'mean', '--bootstrap', 2, '--shuffles', 2)['Archive']['Sha256']
    files = sorted((case.dir / 'npy').iterdir(), reverse=True)
    ok('import', tmp_path / 'a', *files, '--external', 'toy', '--labels', case.labels)
    assert sha(tmp_path / 'a') == sha(case.archive)
    ok('remove', tmp_path / 'a', 'v09')
    assert sha(tmp_path / 'a') != sha(case.archive)


# ---------------------------------------------------------------- leakage


def test_leak(case, tmp_path):
    queries = write_list(tmp_path / 'q.csv', ['v04', 'v20'])
    args = ['eval', case.archive, '--queries', queries, '--methods', 'maxsim', '--bootstrap', 20, '--shuffles', 20]
    done = refused(2, ['leak', 'v04', 'v05'], *args)
    assert done.stdout == ''
    others = [i for i in case.known if i not in ('v04', 'v20')]
    result = ok_json(*args, '--allow-leak')
    check_lists(case, result, {'v04': others, 'v20': others}, lambda i: case.known[i]['cancer_flag'], ['maxsim'])
    assert result['Leak'] is True
    ok(*args, '--allow-leak', '--report', tmp_path / 'r.html')
    text = ok(*args, '--allow-leak')
    assert 'RANKING (LEAKS)' in text and 'too good' in text
    page = (tmp_path / 'r.html').read_text()
    assert page.count('This evaluation leaks') == 2 and 'Ranking (leaks)' in page
    result = ok_json('eval', case.archive, '--methods', 'maxsim', '--allow-leak', '--bootstrap', 20, '--shuffles', 20)
    assert result['Split'] == 'leave one volume out' and result['Leak'] is True
    check_lists(case, result, {q: [i for i in case.known if i != q] for q in case.known},
                lambda i: case.known[i]['cancer_flag'], ['maxsim'])
    # by another column nobody leaks, or everybody does
    assert ok_json(*args, '--group', 'VolumeId')['Leak'] is False
    refused(2, ['leak'], *args, '--group', 'site')


# ---------------------------------------------------------------- ranked lists from files


def write_rankings(path, lists, method=None):
    with open(path, 'w') as f:
        f.write('query,volume,score' + (',method' if method else '') + '\n')
        for query, found in lists.items():
            for k, volume in enumerate(found):
                f.write(f'{query}.nii.gz,{volume},{1 - k / 100:.2f}' + (f',{method}' if method else '') + '\n')
    return path


def test_rankings_are_what_a_search_gives(case, tmp_path):
    """The lists of a search, written to files, give its figures; a TREC run the same."""
    args = ['--task', 'stage', '--queries', write_list(tmp_path / 'q.csv', ['v00', 'v01', 'v16', 'v17']),
            '--cohort', 'site', '--bootstrap', 50, '--shuffles', 50]
    searched = ok_json('eval', case.archive, '--methods', 'maxsim,mean', '--neighbours', 5, *args)
    others = [i for i in case.known if i not in ('v00', 'v01', 'v16', 'v17')]
    lists = {m: {q: [i for _, i in brute_force(m, case.rows[q], {i: case.rows[i] for i in others})]
                 for q in ('v16', 'v00', 'v17', 'v01')} for m in ('maxsim', 'mean')}
    files = [write_rankings(tmp_path / f'{m}.csv', lists[m]) for m in lists]
    ranked = ok_json('eval', '--rankings', *files, '--labels', case.labels, *args)
    run = tmp_path / 'both.run'
    run.write_text(''.join(f'{q} Q0 {v} {k + 1} {9 - k} {m}\n' for m in lists for q in lists[m]
                           for k, v in enumerate(lists[m][q])))
    as_run = ok_json('eval', '--rankings', run, '--labels', case.labels, *args)
    for other in (ranked, as_run):
        assert other['Metrics'] == searched['Metrics'] and 'Archive' not in other
        for a, b in zip(searched['PerQuery'], other['PerQuery'], strict=True):
            for x, y in zip(a['Lines'], b['Lines'], strict=True):
                assert (x['Name'], x['Figures']) == (y['Name'], y['Figures'])
                assert x.get('Found') == y.get('Found')
        for x, y in zip(searched['Lines'], other['Lines'], strict=True):
            assert x['Figures'] == y['Figures']


def test_rankings_without_queries(case, tmp_path):
    """The queries are those that are ranked; their own patients are no candidates."""
    lists = {q: [i for i in case.known if case.known[i]['PatientID'] != case.known[q]['PatientID']][:12]
             for q in ('v05', 'v02')}
    path = write_rankings(tmp_path / 'r.csv', lists, 'mine')
    result = ok_json('eval', '--rankings', path, '--labels', case.labels)
    assert [q['VolumeId'] for q in result['PerQuery']] == ['v05', 'v02']
    assert result['PerQuery'][0]['Candidates'] == N - 2 and result['Lines'][0]['Name'] == 'mine'
    lists['v02'].insert(3, 'v03')
    refused(2, ['v03', 'v02'], 'eval', '--rankings', write_rankings(path, lists), '--labels', case.labels)


def shuffled_means(n_relevant, n_same, same_relevant, n, rng, repeats=1000):
    """Mean P@k and AP@10 of one query over orders: the n_same of its cohort first, else at random; numpy alone."""
    relevant = np.zeros((repeats, n))
    relevant[:, :same_relevant] = 1
    relevant[:, n_same:n_same + n_relevant - same_relevant] = 1
    key = rng.random((repeats, n)) + (np.arange(n) >= n_same)
    relevant = np.take_along_axis(relevant, np.argsort(key, axis=1), axis=1)[:, :10]
    precision = np.cumsum(relevant, axis=1) / np.arange(1, 11)
    hits = relevant.sum(axis=1)
    ap = np.where(hits > 0, (precision * relevant).sum(axis=1) / np.maximum(hits, 1), 0)
    notebook = (hits + precision[:, 4]) / 11
    return [x.mean() for x in (precision[:, 2], precision[:, 4], precision[:, 9], notebook, ap)], \
        [x.var() / repeats for x in (precision[:, 2], precision[:, 4], precision[:, 9], notebook, ap)]


@needs_data
@pytest.mark.parametrize('organ', ['colon', 'liver', 'lung', 'pancreas'])
def test_3dmir_confound(organ, tmp_path):
    """3D-MIR's files as they are: the lines random and cohort alone, and lists of both kinds, within 4 standard errors of
    what numpy says."""
    folder = os.path.join(DATA, '3dmir')
    read = lambda name: list(csv.DictReader(open(os.path.join(folder, f'{organ}_{name}.csv'))))
    known = {r['name']: r for r in read('labels')}
    queries, train = [r['testing'] for r in read('test')], [r['training'] for r in read('train')]
    print('seed', SEED)
    rng = np.random.default_rng(SEED)
    lists = {'chance': {}, 'by cohort': {}}
    for q in queries:
        lists['chance'][q] = [str(v) for v in rng.permutation(train)]
        lists['by cohort'][q] = sorted(lists['chance'][q], key=lambda v: v.split('_')[0] != q.split('_')[0])
    files = [tmp_path / f'{m}.csv' for m in lists]
    for path, found in zip(files, lists.values(), strict=True):
        path.write_text('query,volume\n' + ''.join(f'{q},{v}\n' for q in found for v in found[q]))
    metrics = ['P@3', 'P@5', 'P@10', 'P@10 (3D-MIR notebook)', 'AP@10']
    for task, column in (('flag', 'cancer_flag'), ('stage', 'lesion_group')):
        result = ok_json('eval', '--rankings', *files, '--labels', os.path.join(folder, f'{organ}_labels.csv'), '--queries',
                         os.path.join(folder, f'{organ}_test.csv'), '--candidates',
                         os.path.join(folder, f'{organ}_train.csv'), '--cohort', 'organ', '--task', task)
        assert (result['Queries'], result['Leak']) == (len(queries), False)
        assert all(q['Candidates'] == len(train) for q in result['PerQuery'])
        for kind in ('random', 'cohort'):
            means, variances = [], []
            for q in queries:
                same = [v for v in train if kind == 'cohort' and v.split('_')[0] == q.split('_')[0]]
                hit = lambda v: known[v][column] == known[q][column]
                m, v = shuffled_means(sum(map(hit, train)), len(same), sum(map(hit, same)), len(train), rng)
                means.append(m)
                variances.append(v)
            error = np.sqrt(1.5 * np.sum(variances, axis=0)) / len(queries)  # 1,000 orders here, 2,000 there
            got = [line(result, kind)['Figures'][m]['Value'] for m in metrics]
            assert np.all(np.abs(got - np.mean(means, axis=0)) <= 4 * error + 1e-9), (task, kind, got, means)
        for m in lists:
            relevant = np.array([[known[v][column] == known[q][column] for v in lists[m][q][:10]] for q in queries])
            want = {'P@3': relevant[:, :3].mean(), 'P@5': relevant[:, :5].mean(), 'P@10': relevant.mean(),
                    'P@10 (3D-MIR notebook)': np.mean((relevant.sum(1) + relevant[:, :5].mean(1)) / 11),
                    'AP@10': np.mean([average_precision(r) for r in relevant])}
            for metric, x in want.items():
                assert line(result, m)['Figures'][metric]['Value'] == pytest.approx(x, abs=1e-8)


def test_bad_rankings(case, tmp_path):
    path = tmp_path / 'r.csv'
    args = ['eval', '--rankings', path, '--labels', case.labels]
    for text, words in (
            ('', ['r.csv', 'header line']),
            ('query,volume\n', ['r.csv', 'ranks nothing']),
            ('query,name\nv00,v02\n', ['r.csv', "no column 'volume'"]),
            ('query,volume\nv00,v02\nv00\n', ['line 3 has 1 cells']),
            ('query,volume\nv00,nobody\n', ['line 2', "'nobody'"]),
            ('query,volume\nnobody,v02\n', ["'nobody'"]),
            ('query,volume,score\nv00,v02,1\nv00,v04,2\n', ['line 3', 'rises']),
            ('query,volume,score\nv00,v02,high\n', ['line 2', "'high'"]),
            ('query,volume,method\nv00,v02,a\nv02,v04,a\nv00,v04,b\n', ["'b'", "'v02'"]),
            ('v00 Q0 v02 1 .5 run\nv00 Q0 v04\n', ['line 2', 'TREC'])):
        path.write_text(text)
        refused(1, words, *args)
    path.write_text('query,volume\nv00,v02\nv00,v02\n')
    refused(2, ['v00', 'v02'], *args)  # twice in a list
    path.write_text('query,volume\nv00,v02\n')
    queries = write_list(tmp_path / 'q.csv', ['v04'])
    refused(1, ['line 2', "'v00'", 'no query'], *args, '--queries', queries)
    refused(1, ['both rank', 'r.csv'], 'eval', '--rankings', path, shutil.copy(path, tmp_path / 'r.txt'), '--labels',
            case.labels)
    refused(1, ['none.csv'], 'eval', '--rankings', tmp_path / 'none.csv', '--labels', case.labels)


# ---------------------------------------------------------------- what is refused


def test_bad_lists(case, tmp_path):
    path = tmp_path / 'q.csv'
    args = ['eval', case.archive, '--methods', 'mean', '--queries', path]
    for text, words in (
            ('', ['q.csv', 'header line']),
            ('testing\n', ['q.csv', 'lists no query']),
            ('testing\nnobody\n', ['q.csv', "'nobody'", 'not in the archive']),
            ('name;site\nv00;north\n', ['q.csv', 'semicolons']),
            ('name,site\nv00,north\nv00,south\n', ['q.csv', 'lines 2 and 3', 'v00']),
            ('name,site\nv00\n', ['q.csv', 'line 2 has 1 cells']),
            ('name,crop\nv00,wide\n', ['v00', 'crop', "'wide'", 'no number'])):
        path.write_text(text)
        refused(1, words, *args, '--nuisance', 'crop')
    path.write_text('testing\nv00\nv00.nii.gz\n')  # the same line again is one query
    assert ok_json(*args, '--group', 'VolumeId')['Queries'] == 1
    some = write_csv(tmp_path / 'some.csv', {'v00': {'grade': 'a'}, 'v01': {'grade': 'b'}})
    path.write_text('testing\nv09\n')
    refused(1, ['q.csv', "'v09'", "'grade'"], *args, '--labels', some, '--task', 'grade')
    path.write_text('testing\nv00\n')
    refused(1, ["'v00'", 'no candidate'], *args, '--database', 'per-site', '--candidates',
            write_list(tmp_path / 'c.csv', ['v01']))
    refused(1, ['c.csv', 'nobody'], *args, '--candidates', write_list(tmp_path / 'c.csv', ['nobody']))
    group = write_csv(tmp_path / 'group.csv', {'v00': {'person': 'x'}})
    refused(1, ['v01', 'person'], 'eval', case.archive, '--labels', group, '--group', 'person')
    unknown = write_csv(tmp_path / 'unknown.csv', {'v00': {'a': 1}, 'w0': {'a': 1}, 'w1': {'a': 2}})
    assert ok_json('eval', case.archive, '--methods', 'mean', '--labels', unknown)['UnknownLabels'] == 2


@pytest.mark.parametrize('args, words', [
    ([], ['archive is wanted']),
    (['A', 'B'], ['one archive']),
    (['A', '--task', 'stadium'], ["--task 'stadium'"]),
    (['A', '--cohort', 'sites'], ["--cohort 'sites'", "'site'"]),
    (['A', '--nuisance', 'crop,crops'], ["--nuisance 'crops'", "'crop'"]),
    (['A', '--nuisance', 'crop,crop'], ['twice']),
    (['A', '--nuisance', 'crop,'], ['missing']),
    (['A', '--group', 'person'], ["--group 'person'"]),
    (['A', '--methods', 'maxim'], ['maxim']),
    (['A', '--methods', 'mean,mean'], ['twice']),
    (['A', '--k', '3,3'], ['--k', 'twice']),
    (['A', '--k', '5,3'], ["--k '5,3'"]),
    (['A', '--k', '0'], ["--k '0'"]),
    (['A', '--k', '5,x'], ["--k '5,x'"]),
    (['A', '--database', 'all'], ['--database', 'per-site']),
    (['A', '--database', 'masked'], ['--mask']),
    (['A', '--mask', 'slices'], ['--mask', 'masked']),
    (['A', '--site', 'site'], ['--site', 'per-site']),
    (['A', '--positive', '7'], ["'7'"]),
    (['A', '--bootstrap', '0'], ['--bootstrap']),
    (['--rankings', 'r.csv'], ['--labels']),
    (['--rankings', 'r.csv', '--labels', 'l.csv', '--methods', 'mean'], ['--methods']),
])
def test_bad_options(case, args, words):
    refused(2, words, 'eval', *[case.archive if a == 'A' else a for a in args])


def test_text(case, tmp_path):
    """A line per ranking, what was left out, the notice; -v tells every metric."""
    text = ok('eval', case.archive, '--methods', 'maxsim,mean', '--cohort', 'site', '--nuisance', 'crop')
    assert re.search(r'^maxsim +0\.\d{3} \(', text, re.M) and re.search(r'^crop alone ', text, re.M)
    assert 'Research use only, not for diagnosis.' in text and 'leave one patient out' in text
    assert re.search(r'^P@10 +maxsim +mean +[+-]0\.\d{3} ', text, re.M) and 'mAP' not in text
    verbose = ok('eval', case.archive, '--methods', 'maxsim,mean', '-v')
    result = ok_json('eval', case.archive, '--methods', 'maxsim,mean')
    for metric in result['Metrics'] + ['ACCURACY', 'AUROC', 'AUPRC', 'BRIER']:
        assert metric in verbose
    value = line(result, 'maxsim')['Figures']['AP@10']
    assert f"{value['Value']:.3f} ({value['Low']:.2f}-{value['High']:.2f})" in verbose


# ---------------------------------------------------------------- the report


def read_page(path):
    text = path.read_text(encoding='utf-8')
    assert '<script' not in text and 'onerror' not in text and 'http://x' not in text
    return ET.fromstring(text.partition('\n')[2]), text


def test_report(case, tmp_path):
    """Well-formed, self-contained, with the same figures as the JSON."""
    args = ['eval', case.archive, '--methods', 'maxsim,freq', '--cohort', 'site', '--nuisance', 'crop', '--report',
            tmp_path / 'r.html']
    result = ok_json(*args)
    page, text = read_page(tmp_path / 'r.html')
    words = ' '.join(page.itertext())
    assert text.count(NOTICE) >= 3 and result['Command'] in words
    assert result['Archive']['Sha256'] in words and result['Encoder']['CardSha256'] in words
    headings = [h.text for h in page.iter(HTML + 'h2')]
    assert headings == ['Rankings', 'Precision at k', 'Methods in pairs', 'Query by query', 'What the nearest vote for',
                        'How reliable the vote is', 'Best queries', 'Worst queries', 'How it was evaluated']
    tables = list(page.iter(HTML + 'table'))
    full = tables[1]
    assert [th.text for th in full.find(HTML + 'thead').iter(HTML + 'th')][1:] == \
        result['Metrics'] + ['Accuracy', 'AUROC', 'AUPRC', 'Brier']
    for row, want in zip(full.find(HTML + 'tbody'), result['Lines'], strict=True):
        figures = [want['Figures'][m] for m in result['Metrics']] + [
            want[k] for k in ('Accuracy', 'Auroc', 'Auprc', 'Brier')]
        for cell, f in zip(row.iter(HTML + 'td'), figures, strict=True):
            assert cell.text.strip() == f"{f['Value']:.3f}"
            if f['Low'] is not None:
                assert cell.find(HTML + 'span').text == f"{f['Low']:.2f}\u2013{f['High']:.2f}"
    cells = page.find(f".//{SVG}svg[@class='strip cells']")
    titles = [r.find(SVG + 'title').text for r in cells.iter(SVG + 'rect')]
    p10 = result['Metrics'].index('P@10')
    want = {f"{q['VolumeId']}, {q['Value']}: {x['Figures'][p10]:.3f}" for q in result['PerQuery'] for x in q['Lines']}
    assert set(titles) == want and len(titles) == N * len(result['Lines'])
    assert len(page.findall(f".//{HTML}div[@class='cases']")) == 6
    best = max(q['Lines'][0]['Figures'][p10] for q in result['PerQuery'])
    assert f'P@10 {best:.3f}' in words


def test_report_escapes_text(case, tmp_path):
    known = {i: {'cancer_flag': k['cancer_flag'], 'where': HOSTILE + k['site'], 'kind': HOSTILE + str(k['lesion_group'])}
             for i, k in case.known.items()}
    labels = write_csv(tmp_path / 'l.csv', known)
    lists = {q: [i for i in known if i not in ('v00', 'v01')] for q in ('v00', 'v01')}
    rankings = write_rankings(tmp_path / f'{"<b>&"}.csv', lists)
    ok('eval', case.archive, '--labels', labels, '--task', 'kind', '--cohort', 'where', '--methods', 'mean', '--report',
       tmp_path / 'a.html')
    page, _ = read_page(tmp_path / 'a.html')
    assert '<script>alert(1)' in ' '.join(page.itertext()) and '\u202e' not in ' '.join(page.itertext())
    ok('eval', '--rankings', rankings, '--labels', labels, '--task', 'kind', '--cohort', 'where', '--report',
       tmp_path / 'b.html', '--queries', write_list(tmp_path / 'q.csv', ['v00', 'v01']))
    page, _ = read_page(tmp_path / 'b.html')
    assert page.find(f".//{HTML}div[@class='cases']") is None and '<b>&' in ' '.join(page.itertext())
    text = ok('eval', case.archive, '--labels', labels, '--task', 'kind', '--methods', 'mean', '-v')
    assert '\u202e' not in text


def test_report_pictures(tmp_path):
    """The best and worst queries beside their hits: a pair of pictures each, of the scans where they lie; masked too."""
    rng = np.random.default_rng(SEED)
    for i in range(7):
        save_nifti(tmp_path / f's{i}.nii.gz', body(rng, 32, 10))
    labels = write_csv(tmp_path / 'l.csv', {f's{i}': {'kind': 'ab'[i % 2], 'part': '2:6'} for i in range(7)})
    scans = [tmp_path / f's{i}.nii.gz' for i in range(7)]
    ok('add', tmp_path / 'a', '--previews', 'none', *scans, '--labels', labels)
    ok('add', tmp_path / 'b', *scans, '--labels', labels)
    args = ['eval', tmp_path / 'a', '--task', 'kind', '--methods', 'maxsim', '--bootstrap', 20, '--shuffles', 20,
            '--report', tmp_path / 'r.html']
    for more in ([], ['--database', 'masked', '--mask', 'part']):
        result = ok_json(*args, *more)
        page, text = read_page(tmp_path / 'r.html')
        assert len(page.findall(f'.//{HTML}img')) == 6 * 3 * 2 and 'no picture' not in text
        captions = [c.find(HTML + 'span').text for c in page.iter(HTML + 'figcaption') if c.find(HTML + 'span') is not None]
        slices = [int(c.split()[-1]) for c in captions if c.startswith('slice ')]
        assert len(slices) == 36 and (not more or all(2 <= s <= 6 for s in slices))
        hits = [next(p.itertext()) for p in page.findall(f".//{HTML}div[@class='cases']/{HTML}div/{HTML}p")]
        assert len(hits) == 18
        query = page.find(f".//{HTML}h3/{HTML}span[@class='query']").text
        found = next(q for q in result['PerQuery'] if q['VolumeId'] == query)['Lines'][0]['Found'][:3]
        shown = [''.join(p.itertext()).split()[1] for p in
                 page.find(f".//{HTML}div[@class='cases']").findall(f'{HTML}div/{HTML}p')]
        assert [s.removesuffix('relevant').removesuffix('not') for s in shown] == found
    assert 'preview' not in text
    (tmp_path / 's3.nii.gz').unlink()
    ok(*args)
    assert 'no picture' in (tmp_path / 'r.html').read_text()
    ok('eval', tmp_path / 'b', *args[2:])  # which keeps previews
    page, text = read_page(tmp_path / 'r.html')
    assert len(page.findall(f'.//{HTML}img')) == 6 * 3 * 2 and 'no picture' not in text and 'preview' in text


def test_interrupted_output(case, tmp_path):
    """Where the report cannot be written, that is said, and no half of it lies there."""
    done = run('eval', case.archive, '--methods', 'mean', '--bootstrap', 5, '--shuffles', 5, '--report',
               tmp_path / 'none' / 'r.html')
    assert done.returncode == 1 and 'r.html' in done.stderr and not (tmp_path / 'none').exists()
    assert subprocess.run([CMIR, 'eval', str(case.archive), '-o', str(tmp_path / 'out.json'), '--json', '--methods', 'mean'],
                          capture_output=True, check=True).stdout == b''
    assert json.loads((tmp_path / 'out.json').read_text())['Queries'] == N
