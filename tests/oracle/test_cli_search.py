# SPDX-License-Identifier: Apache-2.0
"""cmir search as a user meets it: queries, slices, exclusion, against numpy over exported embeddings; hostile names;
encoders; DICOM against NIfTI."""
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
import SimpleITK as sitk
from cli_help import (CMIR, DATA, NOTICE, archive, body, labels, needs_data, ok, ok_json, refused, run, save_dicom,
                      save_nifti, scans)  # noqa: F401


# ---------------------------------------------------------------- queries


def test_exclusion(archive, scans):
    """A query from a file knows its id only; one from the archive its patient as well."""
    def found(query, what):
        return sorted(int(m['VolumeId'][5:]) for m in ok_json('search', archive, query, '--exclude', what)['Matches'])
    everyone = list(range(9))
    assert found(f'{archive}:scan_1', 'none') == everyone
    assert found(f'{archive}:scan_1', 'volume') == [i for i in everyone if i != 1] == found(f'{archive}:scan_1', 'study')
    assert found(f'{archive}:scan_1', 'patient') == everyone[3:]
    assert found(f'{archive}:scan_7', 'patient') == [i for i in everyone if i != 7]
    assert found(scans / 'scan_1.nii.gz', 'patient') == [i for i in everyone if i != 1]


def test_query_names_with_colons(scans, tmp_path):
    archive = tmp_path / 'an:archive'
    ok('add', archive, scans / 'scan_1.nii.gz', '--id', 'a:b:c')
    ok('add', archive, scans / 'scan_2.nii.gz', '--id', 'c')
    assert ok_json('search', archive, f'{archive}:a:b:c')['Query']['VolumeId'] == 'a:b:c'
    assert ok_json('search', archive, f'{archive}:c')['Query']['VolumeId'] == 'c'
    shutil.copy(scans / 'scan_3.nii.gz', tmp_path / 'x:c.nii.gz')
    assert ok_json('search', archive, tmp_path / 'x:c.nii.gz')['Query']['VolumeId'] == 'x:c'
    ok('add', tmp_path / 'an', scans / 'scan_4.nii.gz', '--id', 'archive:c')  # either split is an archive: the last
    assert ok_json('search', archive, f'{archive}:c')['Query']['VolumeId'] == 'c'
    assert ok_json('search', archive, f'{tmp_path}/an:archive:c')['Query']['VolumeId'] == 'c'


def test_query_folders(archive, tmp_path):
    rng = np.random.default_rng(4)
    save_dicom(tmp_path / 'study/a', body(rng, 40, 12), '1.2.3.1')
    save_dicom(tmp_path / 'study/scout', body(rng, 40, 3), '1.2.3.9')
    assert ok_json('search', archive, tmp_path / 'study')['Query']['VolumeId'] == '1.2.3.1'
    assert ok_json('search', archive, tmp_path / 'study/scout')['Query']['Slices'] == 3
    assert ok_json('search', archive, tmp_path / 'study', '--series', '1.2.3.9')['Query']['Slices'] == 3
    save_dicom(tmp_path / 'study/b', body(rng, 40, 14), '1.2.3.2')
    refused(2, ['2 volumes', '--series', '1.2.3.1', '1.2.3.2'], 'search', archive, tmp_path / 'study')
    found = ok_json('search', archive, tmp_path / 'study', '--series', '1.2.3.2')
    assert found['Query']['Slices'] == 14 and found['Query']['PatientId'] == 'ANNA'
    ok('add', tmp_path / 'a', tmp_path / 'study')
    match = ok_json('search', tmp_path / 'a', f'{tmp_path}/a:1.2.3.1')['Matches'][0]
    first, last = match['MatchSlices']
    assert match['MatchSOPInstanceUIDs'] == [f'1.2.3.2.{first + 1}', f'1.2.3.2.{last + 1}']
    assert ok_json('search', tmp_path / 'a', f'{tmp_path}/a:1.2.3.1', '--exclude', 'study')['Matches'] == []


MATCH = {'Rank', 'Score', 'VolumeId', 'SeriesInstanceUID', 'StudyInstanceUID', 'PatientId', 'Path', 'QuerySlices',
         'MatchSlices', 'MatchMm', 'BestPair', 'SliceMatches', 'Labels'}


def brute_force(score, query, candidates):
    """[(score, id)], best first; query [m, dim]; candidates {id: [n, dim]} in order of id; float64."""
    similar = {i: query @ rows.T for i, rows in candidates.items()}
    if score == 'maxsim':
        scores = {i: s.max(axis=1).mean() for i, s in similar.items()}
    elif score == 'symmetric':
        scores = {i: (s.max(axis=1).mean() + s.max(axis=0).mean()) / 2 for i, s in similar.items()}
    elif score == 'mean':
        q = query.mean(axis=0)
        means = {i: rows.mean(axis=0) for i, rows in candidates.items()}
        scores = {i: q @ m / np.linalg.norm(q) / np.linalg.norm(m) for i, m in means.items()}
    else:
        owner = np.concatenate([[i] * len(rows) for i, rows in candidates.items()])
        everything = np.concatenate(list(similar.values()), axis=1)
        scores, seen = {}, {}
        for row in everything:
            for j in np.argsort(-row, kind='stable')[:20]:
                seen.setdefault(owner[j], len(seen))
                old = scores.get(owner[j])
                new = {'freq': 1, 'sum': row[j], 'max': row[j]}[score]
                scores[owner[j]] = new if old is None else max(old, new) if score == 'max' else old + new
        if score != 'freq':
            return sorted(((s, i) for i, s in scores.items()), key=lambda x: (-x[0], seen[x[1]]))
    return sorted(((s, i) for i, s in scores.items()), key=lambda x: (-x[0], x[1]))


@pytest.fixture(scope='module')
def exported(archive, tmp_path_factory):
    """{id: (all rows as float64, the slices that are not only air)}"""
    path = tmp_path_factory.mktemp('export') / 'x.npy'
    out = {}
    for v in ok_json('list', archive)['Volumes']:
        ok('export', archive, v['VolumeId'], '-o', path)
        air = ok_json('show', archive, v['VolumeId'])['AirSliceNumbers']
        out[v['VolumeId']] = np.load(path).astype(np.float64), [k for k in range(v['Slices']) if k not in air]
    return out


@pytest.mark.parametrize('score', ['maxsim', 'symmetric', 'freq', 'max', 'sum', 'mean'])
@pytest.mark.parametrize('slices', [None, (3, 8)], ids=['whole', 'part'])
def test_search_against_numpy(score, slices, archive, exported, scans):
    for number in (0, 4, 8):
        name = f'scan_{number}'
        rows, scored = exported[name]
        part = [k for k in scored if slices is None or slices[0] <= k <= slices[1]]
        candidates = {i: r[s] for i, (r, s) in exported.items() if i != name}
        want = brute_force(score, rows[part], candidates)
        option = [] if slices is None else ['--slices', '%d:%d' % slices]
        found = ok_json('search', archive, f'{archive}:{name}', '--score', score, '--limit', 100, *option)
        check_search(found, want, rows, part, exported, archive)
        again = ok_json('search', archive, scans / f'{name}.nii.gz', '--score', score, '--limit', 100, *option)
        assert again['Matches'] == found['Matches']
        few = ok_json('search', archive, f'{archive}:{name}', '--score', score, '--limit', 3, *option)
        assert few['Matches'] == found['Matches'][:3]


def check_search(found, want, rows, part, exported, archive):
    assert set(found) == {'Query', 'ScoreType', 'Encoder', 'Notice', 'Candidates', 'Reranked', 'Seconds', 'Matches',
                          'Evidence', 'EvidenceCases'}
    assert found['Notice'] == NOTICE and set(found['Encoder']) == {'Name', 'Version', 'Sha256'}
    assert found['Candidates'] == found['Reranked'] == len(exported) - 1
    assert [m['VolumeId'] for m in found['Matches']] == [i for _, i in want]
    np.testing.assert_allclose([m['Score'] for m in found['Matches']], [s for s, _ in want], rtol=0, atol=1e-5)
    for rank, m in enumerate(found['Matches'], 1):
        assert set(m) == MATCH and m['Rank'] == rank
        stored, scored = exported[m['VolumeId']]
        similar = rows[part] @ stored[scored].T
        assert [q for q, _, _ in m['SliceMatches']] == part
        np.testing.assert_allclose([s for _, _, s in m['SliceMatches']], similar.max(axis=1), rtol=0, atol=1e-5)
        assert [j for _, j, _ in m['SliceMatches']] == [scored[j] for j in similar.argmax(axis=1)]
        best = max(m['SliceMatches'], key=lambda x: x[2])
        assert list(m['BestPair'].values()) == best
        (a, b), (c, d) = m['QuerySlices'], m['MatchSlices']
        inside = [q for q, j, _ in m['SliceMatches'] if c <= j <= d]
        assert inside and (a, b) == (min(inside), max(inside)) and 0 <= c <= d < len(stored)
        mm = ok_json('show', archive, m['VolumeId'])['SliceMm']
        np.testing.assert_allclose(m['MatchMm'], sorted((mm[c], mm[d])), atol=1e-6)


def test_human_output_of_search(archive):
    found = ok_json('search', archive, f'{archive}:scan_5', '--limit', 4)
    text = ok('search', archive, f'{archive}:scan_5', '--limit', 4)
    rows = [line.split() for line in text.splitlines() if re.match(r' *\d+  ', line)]
    assert [r[2] for r in rows] == [m['VolumeId'] for m in found['Matches']]
    assert [r[3] for r in rows] == ['%d-%d' % tuple(m['MatchSlices']) for m in found['Matches']]
    assert NOTICE in text.lower() and '8 candidates' in text and 'organ=' in text


# ---------------------------------------------------------------- hostile strings


def test_hostile_names_never_reach_the_terminal(tmp_path):
    """File names and labels with control characters, direction marks, invalid UTF-8, quotes, tags."""
    rng = np.random.default_rng(6)
    folder = os.fsencode(tmp_path / 'in')
    os.mkdir(folder)
    names = [b'esc\x1b[2Jape', b'tab\tnew\nline\rback', b'bad\xff\xfeutf\xc3', b'csi\xc2\x9b31m', 'rtl\u202egnp'.encode(),
             b"quo'te\"<b>&;$(x)", 'grüße 日本'.encode()]
    for i, name in enumerate(names):
        save_nifti(tmp_path / 'plain.nii', body(rng, 20, 8))
        os.rename(tmp_path / 'plain.nii', folder + b'/' + name + b'.nii')
    with open(folder + b'/broken\x1b]0;title\x07.nii', 'wb') as f:
        f.write(b'x' * 400)
    label = b'name,"ki\x1bnd"\n' + b''.join(b'"' + n.replace(b'"', b'""') + b'","\x1b[31mred\x07"\n' for n in names[:1])
    (tmp_path / 'l.csv').write_bytes(label)

    def raw(*args):
        done = subprocess.run([os.fsencode(CMIR), *map(os.fsencode, args)], capture_output=True)
        for stream in (done.stdout, done.stderr):
            stream.decode('utf-8')
            assert not re.search('[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]', stream.decode())
        return done

    assert raw('add', tmp_path / 'a', folder).returncode == 1
    raw('label', tmp_path / 'a', tmp_path / 'l.csv')
    volumes = json.loads(raw('list', tmp_path / 'a', '--json').stdout)['Volumes']
    assert len(volumes) == len(names)
    assert {'grüße 日本', names[0].decode(), 'bad\ufffd\ufffdutf\ufffd'} <= {v['VolumeId'] for v in volumes}
    table = raw('list', tmp_path / 'a', '-v').stdout.decode().splitlines()
    assert len(table) == len(names) + 1
    for name in names:
        assert raw('show', tmp_path / 'a', name).returncode == 0
        query = os.fsencode(tmp_path / 'a') + b':' + name
        assert len(json.loads(raw('search', tmp_path / 'a', query, '--json').stdout)['Matches']) == len(names) - 1
        assert raw('search', tmp_path / 'a', query, '--report', tmp_path / 'r.html').returncode == 0
        assert raw('remove', tmp_path / 'a', name + b'\x1b[1m').returncode == 1
    assert raw('frob\x1b[1m').returncode == 2
    assert raw('list', '--fr\x1b[1m').returncode == 2


# ---------------------------------------------------------------- encoders


@pytest.fixture(scope='module')
def card(tmp_path_factory, archive):
    """MobileNetV2's card and weights where they can be moved."""
    if DATA is None:
        pytest.skip('no folder of shared data (CMIR_SHARED)')
    done = run('encoder', 'inspect', os.path.join(DATA, 'models', 'mobilenet_v2_224.json'))
    if done.returncode != 0 and 'ONNX Runtime' in done.stderr:
        pytest.skip('no ONNX Runtime on this machine')
    assert done.returncode == 0, done.stderr
    folder = tmp_path_factory.mktemp('card')
    for ext in ('json', 'onnx'):
        shutil.copy(os.path.join(DATA, 'models', f'mobilenet_v2_224.{ext}'), folder)
    return folder / 'mobilenet_v2_224.json'


def test_archive_of_another_encoder(card, archive, scans, tmp_path):
    other, moved = tmp_path / 'a', tmp_path / 'moved'
    moved.mkdir()
    ok('init', other, '--encoder', card)
    ok('add', other, scans / 'scan_1.nii.gz', scans / 'scan_2.nii.gz')
    stat_ = ok_json('stat', other)
    assert stat_['CardPath'] == str(card) and stat_['Dim'] == 1280
    refused(1, ['mobilenet_v2', 'builtin'], 'search', other, f'{archive}:scan_1')
    refused(1, ['mobilenet_v2', 'builtin'], 'search', other, scans / 'scan_1.nii.gz', '--encoder', 'builtin')
    refused(1, ['mobilenet_v2', 'builtin'], 'add', archive, scans / 'scan_1.nii.gz', '--encoder', card)
    squeeze = os.path.join(DATA, 'models', 'squeezenet_v1_0.json')
    refused(1, ['mobilenet_v2', 'squeezenet'], 'add', other, scans / 'scan_3.nii.gz', '--encoder', squeeze)
    found = ok_json('search', other, scans / 'scan_1.nii.gz')
    for path in list(card.parent.iterdir()):
        shutil.move(path, moved)
    try:
        refused(1, [card.name, '--encoder'], 'search', other, scans / 'scan_1.nii.gz')
        refused(1, [card.name, '--encoder'], 'add', other, scans / 'scan_3.nii.gz')
        assert ok_json('search', other, f'{other}:scan_1')['Matches'] == found['Matches']  # needs no encoder
        again = ok_json('search', other, scans / 'scan_1.nii.gz', '--encoder', moved / card.name)
        np.testing.assert_allclose(again['Matches'][0]['Score'], found['Matches'][0]['Score'], atol=1e-5)
        assert ok_json('add', other, scans / 'scan_3.nii.gz', '--encoder', moved / card.name)['Added']
    finally:
        for path in list(moved.iterdir()):
            shutil.move(path, card.parent)


def test_without_onnxruntime(card, tmp_path):
    refused(1, ['/nowhere/libonnxruntime.so'], 'init', tmp_path / 'a', '--encoder', card, '--onnxruntime',
            '/nowhere/libonnxruntime.so')
    assert not (tmp_path / 'a').exists()
    ok('init', tmp_path / 'a', '--onnxruntime', '/nowhere/libonnxruntime.so')  # builtin needs none


# ---------------------------------------------------------------- DICOM and NIfTI copies


def embeddings(path, tmp_path, *options):
    archive = tmp_path / f'archive{len(list(tmp_path.glob("archive*")))}'
    ok('add', archive, path, *options)
    volume = ok_json('list', archive)['Volumes'][0]['VolumeId']
    ok('export', archive, volume, '-o', tmp_path / 'x.npy')
    return np.load(tmp_path / 'x.npy').astype(np.float64), ok_json('show', archive, volume)


def assert_copies_agree(folder, series, tmp_path, *options):
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series)
    sitk.WriteImage(sitk.ReadImage(names), tmp_path / 'copy.nii.gz')
    dicom, shown = embeddings(folder, tmp_path)
    nifti, copy = embeddings(tmp_path / 'copy.nii.gz', tmp_path, *options)
    assert dicom.shape == nifti.shape and shown['AirSliceNumbers'] == copy['AirSliceNumbers']
    cosine = (dicom * nifti).sum(axis=1) / np.linalg.norm(dicom, axis=1) / np.linalg.norm(nifti, axis=1)
    print(f'{os.path.basename(folder)}: {len(cosine)} slices, least cosine {cosine.min():.7f}')
    assert cosine.min() >= 0.9999


def test_synthetic_dicom_and_nifti_copies_agree(tmp_path):
    save_dicom(tmp_path / 'ct', body(np.random.default_rng(8), 64, 20), '1.2.3.4')
    assert_copies_agree(tmp_path / 'ct', '1.2.3.4', tmp_path)


REAL = ['ct/torso/RIDER_0109', 'ct/torso/LUNGDX_A0002', 'ct/torso/CRLM_1004', 'ct/torso/TOTALSEG_J2K',
        'ct/geometry/GE_TILT', 'mr/prostate']


@needs_data
@pytest.mark.parametrize('name', REAL)
def test_real_dicom_and_nifti_copies_agree(name, tmp_path):
    folder = os.path.join(DATA, name)
    found = [f for f, _, files in os.walk(folder) if files]
    assert len(found) == 1
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(found[0])
    assert len(series) == 1
    assert_copies_agree(found[0], series[0], tmp_path, '--modality', 'MR' if name.startswith('mr') else 'CT')
