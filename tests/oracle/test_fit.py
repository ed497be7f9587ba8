# SPDX-License-Identifier: Apache-2.0
"""cmir fit: numpy learns the same whitening from exported embeddings, and a search of the fitted archive is numpy's brute
force over whitened rows; what goes into it and what meets it is whitened alike."""
import hashlib
import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import time

import numpy as np
import pytest
from cli_help import CMIR, SEED, body, ok, ok_json, refused, save_nifti

DIMS = 12
SHRINKAGE = .01  # docs/format.md


@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    print('seed', SEED)
    folder = tmp_path_factory.mktemp('scans')
    rng = np.random.default_rng(SEED)
    for i in range(9):
        save_nifti(folder / f'scan_{i}.nii.gz', body(rng, 40, 12 + i))
    return folder


@pytest.fixture(scope='module')
def base(scans, tmp_path_factory):
    """Of 9 volumes one was removed; the labels fill in patients."""
    path = tmp_path_factory.mktemp('base') / 'base'
    rows = [f'scan_{i},{["lung", "liver"][i % 2]},anna,062Y' if i < 3 else f'scan_{i},,p{i},' for i in range(9)]
    (path.parent / 'labels.csv').write_text('name,organ,PatientID,PatientAge\n' + '\n'.join(rows) + '\n')
    ok('add', path, scans, '--labels', path.parent / 'labels.csv')
    ok('remove', path, 'scan_4')
    return path


@pytest.fixture(scope='module')
def fitted(base):
    path = base.parent / 'fitted'
    ok('fit', base, path, '--dims', DIMS)
    return path


def stored(archive, folder):
    """{id: (rows in fixed point, air marks)}."""
    out = {}
    for v in ok_json('list', archive)['Volumes']:
        ok('export', archive, v['VolumeId'], '-o', folder / 'x.npy')
        air = np.zeros(v['Slices'], bool)
        air[ok_json('show', archive, v['VolumeId'])['AirSliceNumbers']] = True
        out[v['VolumeId']] = np.rint(np.load(folder / 'x.npy').astype(np.float64) * 32767), air
    return out


def learn(volumes, dims):
    """Mean, weights, share of the variance."""
    x = np.concatenate([rows[~air] for rows, air in volumes]) / 32767
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    values, vectors = values[::-1], vectors[:, ::-1]
    weights = vectors[:, :dims] / np.sqrt(values[:dims] + SHRINKAGE * values.mean())
    return mean, weights, values[:dims].sum() / values.sum()


def whiten(rows, mean, weights):
    y = (rows / 32767 - mean) @ weights
    return y / np.linalg.norm(y, axis=1, keepdims=True)


def check_whitened(archive, raw, learnt_from, folder, dims=DIMS):
    """All inner products of stored rows are those of numpy's; gives numpy's rows."""
    mean, weights, explained = learn([raw[k] for k in learnt_from], dims)
    want = {k: whiten(rows, mean, weights) for k, (rows, _) in raw.items()}
    got = {k: rows / 32767 for k, (rows, _) in stored(archive, folder).items()}
    assert list(got) == list(want)
    a, b = np.concatenate(list(got.values())), np.concatenate(list(want.values()))
    assert a.shape == (sum(len(r) for r, _ in raw.values()), dims)
    assert np.abs(a @ a.T - b @ b.T).max() < 1e-4
    info = ok_json('stat', archive)['Whitening']
    assert info['ExplainedVariance'] == pytest.approx(explained, abs=1e-9)
    assert info['LearntVolumes'] == len(learnt_from)
    assert info['LearntSlices'] == sum((~raw[k][1]).sum() for k in learnt_from)
    return want


def test_rows_are_those_of_numpy(base, fitted, tmp_path):
    raw = stored(base, tmp_path)
    check_whitened(fitted, raw, list(raw), tmp_path)
    assert ok_json('verify', fitted)['Problems'] == []


def test_patient_left_out(base, fitted, tmp_path):
    raw = stored(base, tmp_path)
    where = "PatientID != 'anna'"
    report = ok_json('fit', base, tmp_path / 'without', '--dims', DIMS, '--where', where)
    assert report['Volumes'] == 8 and report['Dim'] == DIMS and report['Whitening']['Where'] == where
    others = [v['VolumeId'] for v in ok_json('list', base, '--where', where)['Volumes']]
    assert len(others) == 5
    check_whitened(tmp_path / 'without', raw, others, tmp_path)
    assert report['Encoder'] != ok_json('stat', fitted)['Encoder']
    assert where in ok('stat', tmp_path / 'without')
    # Archives of different fits do not compare.
    refused(1, ['builtin+whitened', 'another sha256'], 'search', fitted, f'{tmp_path / "without"}:scan_0')


def test_the_rest_is_kept(base, fitted):
    assert ok_json('list', fitted) == ok_json('list', base)
    for i in (0, 1, 8):
        a, b = (ok_json('show', x, f'scan_{i}') for x in (base, fitted))
        assert a == b and a['AirSliceNumbers'] == list(range(10 + i, 12 + i))
    before, after = ok_json('stat', base), ok_json('stat', fitted)
    assert {k: after[k] for k in ('Volumes', 'Slices', 'AirSlices', 'Plane', 'CardPath')} == {
        k: before[k] for k in ('Volumes', 'Slices', 'AirSlices', 'Plane', 'CardPath')}
    assert before['Whitening'] is None and before['Dim'] == 576
    assert after['Whitening']['BaseEncoder'] == before['Encoder'] and after['Whitening']['BaseDim'] == 576
    assert after['Encoder']['Name'] == 'builtin+whitened' and after['Encoder']['Version'] == before['Encoder']['Version']
    # What a label table filled in it can still correct.
    db = [sqlite3.connect(x / 'catalog.sqlite') for x in (base, fitted)]
    a, b = (x.execute('SELECT volume_id, filled, added, patient_age FROM volumes ORDER BY 1').fetchall() for x in db)
    assert a == b and {row[1] for row in a} == {1, 1 | 16}


def test_identity_and_arithmetic_of_the_page(base, fitted, tmp_path):
    """docs/format.md, read again: the sha256, and rows from the stored weights."""
    db = sqlite3.connect(fitted / 'catalog.sqlite')
    sha, dim = db.execute('SELECT encoder_sha256, dim FROM archive').fetchone()
    base_sha, base_dim, mean = db.execute('SELECT base_sha256, base_dim, mean FROM whitening').fetchone()
    parts = [w for w, in db.execute('SELECT weights FROM components ORDER BY number')]
    db.close()
    assert len(parts) == dim == DIMS and base_sha == ok_json('stat', base)['Encoder']['Sha256']
    assert hashlib.sha256(base_sha.encode() + mean + b''.join(parts)).hexdigest() == sha
    mean, weights = np.frombuffer(mean, '<f4').astype(float), np.array([np.frombuffer(w, '<f4') for w in parts], float)
    got = stored(fitted, tmp_path)
    for name, (rows, _) in stored(base, tmp_path).items():
        x = rows / 32767 - mean
        part = np.zeros((len(x), dim, 8))  # eight sums, added in order
        for d in range(base_dim):
            part[:, :, d % 8] += x[:, None, d] * weights[None, :, d]
        y = np.zeros((len(x), dim))
        for k in range(8):
            y += part[:, :, k]
        y = (y / np.sqrt(np.add.accumulate(y * y, axis=1)[:, -1:])).astype(np.float32).astype(float)
        assert base_dim % 8 == 0 and np.array_equal(np.rint(y / np.linalg.norm(y, axis=1, keepdims=True) * 32767), got[name][0])


@pytest.mark.parametrize('score', ['maxsim', 'symmetric', 'mean'])
def test_search_is_brute_force(base, fitted, tmp_path, score):
    raw = stored(base, tmp_path)
    rows = check_whitened(fitted, raw, list(raw), tmp_path)
    rows = {k: v[~raw[k][1]] for k, v in rows.items()}
    for name, q in rows.items():
        want = {}
        for other, v in rows.items():
            s = q @ v.T
            mean = q.sum(0) @ v.sum(0) / np.linalg.norm(q.sum(0)) / np.linalg.norm(v.sum(0))
            want[other] = {'maxsim': s.max(1).mean(), 'symmetric': (s.max(1).mean() + s.max(0).mean()) / 2, 'mean': mean}[score]
        found = ok_json('search', fitted, f'{fitted}:{name}', '--score', score, '--exclude', 'none')
        assert found['Encoder'] == ok_json('stat', fitted)['Encoder']
        assert {m['VolumeId'] for m in found['Matches']} == set(rows)
        for m in found['Matches']:
            assert m['Score'] == pytest.approx(want[m['VolumeId']], abs=3e-4 if score == 'mean' else 1e-4)
        assert [m['Score'] for m in found['Matches']] == sorted((m['Score'] for m in found['Matches']), reverse=True)


def test_a_query_is_whitened_wherever_it_comes_from(base, fitted, scans, tmp_path):
    """From its file, from the base archive, from the base's embeddings: the stored one's matches, bit for bit."""
    ok('export', base, 'scan_5', '-o', tmp_path / 'scan_5.npy')
    search = lambda query: ok_json('search', fitted, query, '--exclude', 'none', '--slices', '0:14')['Matches']
    want = search(f'{fitted}:scan_5')
    assert want[0]['VolumeId'] == 'scan_5' and want[0]['Score'] == pytest.approx(1, abs=2e-5)
    assert want[1]['Score'] < .9
    assert search(scans / 'scan_5.nii.gz') == want and search(f'{base}:scan_5') == want
    # Exported embeddings are rounded once more, and know nothing of millimetres.
    near = search(tmp_path / 'scan_5.npy')
    assert [m['VolumeId'] for m in near] == [m['VolumeId'] for m in want]
    assert np.allclose([m['Score'] for m in near], [m['Score'] for m in want], atol=2e-3)
    (tmp_path / 'list').write_text(f'{base}:scan_5\n{fitted}:scan_5\n')
    lines = ok('search', fitted, '--batch', tmp_path / 'list', '--exclude', 'none', '--json').splitlines()
    a, b = (json.loads(line)['Matches'] for line in lines)
    assert a == b and len(a) == 8


def test_what_does_not_compare(base, fitted, scans, tmp_path):
    refused(1, ['builtin+whitened', 'another name'], 'search', base, f'{fitted}:scan_0')
    ok('export', fitted, 'scan_0', '-o', tmp_path / 'x.npy')  # whitened already
    assert np.load(tmp_path / 'x.npy').shape[1] == DIMS
    refused(1, ['dimension 12', '576'], 'search', fitted, tmp_path / 'x.npy')


def test_adding_to_a_fitted_archive(base, fitted, scans, tmp_path):
    """Volumes that were there are recognised bit by bit; a new one is whitened with the old weights."""
    own = shutil.copytree(fitted, tmp_path / 'own')
    sha = ok_json('stat', own)['Encoder']['Sha256']
    report = ok_json('add', own, scans)
    assert [v['VolumeId'] for v in report['Added']] == ['scan_4'] and len(report['AlreadyThere']) == 8
    assert ok_json('stat', own)['Volumes'] == 9 and ok_json('stat', own)['Encoder']['Sha256'] == sha
    assert ok_json('verify', own)['Problems'] == []
    ok('add', tmp_path / 'base', scans / 'scan_4.nii.gz')
    raw = stored(base, tmp_path)
    new, _ = stored(tmp_path / 'base', tmp_path)['scan_4']
    mean, weights, _ = learn(list(raw.values()), DIMS)
    old = np.concatenate([whiten(rows, mean, weights) for rows, _ in raw.values()])
    got = stored(own, tmp_path)
    before = np.concatenate([got[k][0] for k in raw]) / 32767
    assert np.abs(got['scan_4'][0] / 32767 @ before.T - whiten(new, mean, weights) @ old.T).max() < 1e-4


def test_imported_embeddings(tmp_path):
    rng = np.random.default_rng(SEED)
    x = {f'v{i}': rng.normal(size=(30, 20)) @ rng.normal(size=(20, 20)) + 2 for i in range(4)}
    x = {k: (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for k, v in x.items()}
    (tmp_path / 'npy').mkdir()
    for k, v in x.items():
        np.save(tmp_path / 'npy' / f'{k}.npy', v)
    ok('import', tmp_path / 'base', tmp_path / 'npy', '--external', 'other')
    ok('fit', tmp_path / 'base', tmp_path / 'fitted', '--dims', 20)  # all of them
    raw = stored(tmp_path / 'base', tmp_path)
    check_whitened(tmp_path / 'fitted', raw, list(raw), tmp_path, 20)
    assert ok_json('stat', tmp_path / 'fitted')['Whitening']['ExplainedVariance'] == pytest.approx(1)
    again = ok_json('import', tmp_path / 'fitted', tmp_path / 'npy', '--external', 'other')
    assert again['AlreadyThere'] == 4 and again['Added'] == 0
    np.save(tmp_path / 'long.npy', 2 * x['v0'])
    refused(1, ['unit length'], 'import', tmp_path / 'fitted', tmp_path / 'long.npy')
    np.save(tmp_path / 'short.npy', x['v0'][:, :12])
    refused(1, ['dimension 12', 'have 20'], 'import', tmp_path / 'fitted', tmp_path / 'short.npy')
    refused(1, ['made with encoder other'], 'import', tmp_path / 'fitted', tmp_path / 'npy', '--external', 'other+whitened')
    refused(1, ['runs outside'], 'add', tmp_path / 'fitted', tmp_path / 'npy')


def test_more_slices_than_are_learnt_from(tmp_path):
    """Of more than 2^18 slices every n-th, in order of id; numpy takes the same."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(9 * 32768, 6)) * [3, 2, 1, 1, .5, .1] + 1
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    (tmp_path / 'npy').mkdir()
    for i in range(9):
        np.save(tmp_path / 'npy' / f'v{i}.npy', x[i * 32768:(i + 1) * 32768])
    ok('import', tmp_path / 'base', tmp_path / 'npy', '--external', 'other')
    report = ok_json('fit', tmp_path / 'base', tmp_path / 'fitted', '--dims', 4)
    assert report['Whitening']['LearntSlices'] == 9 * 32768 / 2
    raw = stored(tmp_path / 'base', tmp_path)
    all_rows = np.concatenate([raw[f'v{i}'][0] for i in range(9)])
    mean, weights, explained = learn([(all_rows[::2], np.zeros(len(all_rows) // 2, bool))], 4)
    assert report['Whitening']['ExplainedVariance'] == pytest.approx(explained, abs=1e-9)
    a, b = stored(tmp_path / 'fitted', tmp_path)['v8'][0][:500] / 32767, whiten(raw['v8'][0][:500], mean, weights)
    assert np.abs(a @ a.T - b @ b.T).max() < 1e-4


def test_refusals(base, fitted, scans, tmp_path):
    new = tmp_path / 'new'
    refused(1, [str(fitted), 'there is something already'], 'fit', base, fitted)
    refused(2, ['577', '576'], 'fit', base, new, '--dims', 577)
    refused(2, ['--dims'], 'fit', base, new, '--dims', 0)
    refused(2, ['two volumes', 'passes 0'], 'fit', base, new, '--where', "PatientID = 'nobody'")
    refused(2, ['two volumes', 'passes 1'], 'fit', base, new, '--where', "VolumeId = 'scan_0'")
    refused(2, ['filter', 'missing at the end'], 'fit', base, new, '--where', 'PatientID =')
    refused(2, ['fitted already'], 'fit', fitted, new)
    refused(1, ['no such archive'], 'fit', tmp_path / 'none', new)
    refused(1, ['none/new'], 'fit', base, tmp_path / 'none/new')
    ok('init', tmp_path / 'empty')
    refused(2, ['two volumes', 'holds 0'], 'fit', tmp_path / 'empty', new)
    # 2 volumes of 10 and 11 slices that are not air span 20 dimensions.
    ok('add', tmp_path / 'few', scans / 'scan_0.nii.gz', scans / 'scan_1.nii.gz')
    refused(2, ['21 dimensions are wanted', 'the 21 slices of 2 volumes vary in 20 only'], 'fit', tmp_path / 'few', new, '--dims', 21)
    ok('fit', tmp_path / 'few', f'{new}//', '--dims', 20, '--quiet')
    assert ok_json('verify', new)['Problems'] == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ['empty', 'few', 'new']


@pytest.mark.parametrize('change', [
    "UPDATE whitening SET mean = zeroblob(length(mean))", "UPDATE components SET weights = zeroblob(length(weights)) WHERE number = 7",
    "UPDATE components SET weights = x'00' WHERE number = 2", "DELETE FROM components WHERE number = 12", "DELETE FROM whitening",
    "UPDATE whitening SET base_dim = 5", "UPDATE whitening SET base_dim = 100000", "UPDATE whitening SET base_sha256 = 'x'",
    "DROP TABLE components", "UPDATE archive SET encoder_sha256 = '" + '0' * 64 + "'"])
def test_a_damaged_whitening_is_refused(fitted, scans, tmp_path, change):
    own = shutil.copytree(fitted, tmp_path / 'own')
    db = sqlite3.connect(own / 'catalog.sqlite')
    db.execute(change)
    db.commit()
    db.close()
    for command in (['stat', own], ['verify', own], ['add', own, scans], ['search', own, scans / 'scan_0.nii.gz']):
        refused(1, ['catalog.sqlite'], *command)


def test_whole_or_not_at_all(base, tmp_path):
    """kill -9 at random moments: the new archive is never seen half made, and the old one stays as it is."""
    seed = struct.unpack('<I', os.urandom(4))[0]
    print('seed', seed)
    rng = random.Random(seed)
    before = ok_json('list', base)
    start = time.monotonic()
    ok('fit', base, tmp_path / 'timed', '--dims', DIMS)
    whole, n_half, n_whole = time.monotonic() - start, 0, 0
    for i in range(12):
        new = tmp_path / f'new{i}'
        process = subprocess.Popen([CMIR, 'fit', base, new, '--dims', str(DIMS)], stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(.2, 1.1) * whole)
        process.kill()
        process.wait(timeout=60)
        if new.exists():
            n_whole += 1
            assert ok_json('verify', new)['Problems'] == [] and ok_json('list', new) == before
            continue
        if new.with_suffix('.partial').joinpath('catalog.sqlite').exists():
            n_half += 1
            refused(1, ['.partial', 'interrupted'], 'fit', base, new, '--dims', DIMS)
            shutil.rmtree(new.with_suffix('.partial'))
        ok('fit', base, new, '--dims', DIMS)  # what is left from before there was a catalogue does no harm
        assert ok_json('verify', new)['Problems'] == []
    print(f'{n_half} half made, {n_whole} whole')
    assert ok_json('list', base) == before


def test_interrupted_leaves_nothing(tmp_path):
    """Ctrl-C is noticed between volumes."""
    rng = np.random.default_rng(SEED)
    (tmp_path / 'npy').mkdir()
    for i in range(40):
        x = rng.normal(size=(400, 256))
        np.save(tmp_path / 'npy' / f'v{i}.npy', (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32))
    ok('import', tmp_path / 'base', tmp_path / 'npy', '--external', 'other')
    process = subprocess.Popen([CMIR, 'fit', tmp_path / 'base', tmp_path / 'new', '--dims', '256'], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / 'new.partial').exists() and process.poll() is None:
        time.sleep(.001)
    process.terminate()
    said = process.communicate(timeout=60)[1]
    if process.returncode == 0:  # it was quicker
        assert ok_json('verify', tmp_path / 'new')['Problems'] == []
    else:
        assert process.returncode == 1 and 'stopped after' in said
        assert sorted(p.name for p in tmp_path.iterdir()) == ['base', 'npy']
