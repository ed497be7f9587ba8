# SPDX-License-Identifier: Apache-2.0
"""Embeddings made elsewhere, as numpy writes them: cmir import, .npy queries and many queries at once.  numpy tells what
must come back and what a search must find."""
import io
import json
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
from cli_help import CMIR, SEED, body, ok, ok_json, refused, run, save_nifti

DIM = 48
REFUSED = {'Path', 'Reason', 'Status'}


def unit(rng, n, dim=DIM):
    rows = rng.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype('<f4')


@pytest.fixture(scope='module')
def rows():
    """{id: embeddings}; volumes of one site resemble each other."""
    print('seed', SEED)
    rng = np.random.default_rng(SEED)
    sites = [unit(rng, 40) for _ in range(4)]
    out = {}
    for i in range(24):
        n = 1 + int(rng.integers(40))
        x = sites[i % 4][:n] + .05 * rng.normal(size=(n, DIM))
        out[f'p{i:02}'] = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype('<f4')
    return out


@pytest.fixture(scope='module')
def folder(rows, tmp_path_factory):
    """The files, some of them deep in folders; beside them what is none."""
    path = tmp_path_factory.mktemp('npy')
    for i, (name, x) in enumerate(rows.items()):
        place = path / ['.', 'a', 'a/b', 'c.npy'][i % 4]
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f'{name}.npy', x)
    (path / 'a' / 'notes.txt').write_text('no embeddings')
    (path / 'a' / 'p00.npy.bak').write_text('no embeddings')
    return path


@pytest.fixture(scope='module')
def archive(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp('imported') / 'archive'
    (path.parent / 'labels.csv').write_text('name,site,PatientID\np00,north,anna\np01,south,\np04,,anna\n')
    ok('import', path, folder, '--external', 'other net', '--external-version', '3b', '--labels',
       path.parent / 'labels.csv')
    return path


def exported(archive, name, path):
    ok('export', archive, name, '-o', path)
    return np.load(path)


# ---------------------------------------------------------------- import


def test_what_comes_back(archive, rows, folder, tmp_path):
    stat = ok_json('stat', archive)
    assert (stat['Volumes'], stat['Slices'], stat['AirSlices']) == (len(rows), sum(map(len, rows.values())), 0)
    assert stat['Encoder']['Name'] == 'other net' and stat['Encoder']['Version'] == '3b' and stat['Dim'] == DIM
    volumes = ok_json('list', archive)['Volumes']
    assert [v['VolumeId'] for v in volumes] == sorted(rows)
    for v in volumes:
        x = rows[v['VolumeId']].astype(np.float64)
        got = exported(archive, v['VolumeId'], tmp_path / 'x.npy')
        assert got.dtype == np.float32 and got.shape == x.shape
        assert np.abs(got - x / np.linalg.norm(x, axis=1, keepdims=True)).max() <= .5 / 32767 + 1e-7
        assert v['Format'] == 'embeddings' and v['Path'].endswith(f'{v["VolumeId"]}.npy')
        assert v['Slices'] == len(x) and v['Modality'] == '' and v['PatientAge'] is None
    assert {v['VolumeId']: v['Labels'] for v in volumes if v['Labels']} == {'p00': {'site': 'north'}, 'p01': {'site': 'south'}}
    assert [v['VolumeId'] for v in volumes if v['PatientId'] == 'anna'] == ['p00', 'p04']
    shown = ok_json('show', archive, 'p03')
    assert shown['SliceMm'] == [None] * len(rows['p03']) and shown['AirSliceNumbers'] == []
    assert 'nan' not in ok('show', archive, 'p03')
    assert ok_json('verify', archive)['Problems'] == []


def test_again_and_more(rows, folder, tmp_path):
    a = tmp_path / 'a'
    first = ok_json('import', a, folder / 'a', '--external', 'n')
    there = sum(i % 4 in (1, 2) for i in range(24))
    assert set(first) == {'Archive', 'Created', 'Added', 'AlreadyThere', 'Refused', 'Slices', 'Seconds', 'Interrupted'}
    assert first['Created'] and first['Added'] == there and first['AlreadyThere'] == 0 and not first['Interrupted']
    assert first['Archive'] == str(a) and first['Refused'] == []
    assert first['Slices'] == sum(len(x) for i, x in enumerate(rows.values()) if i % 4 in (1, 2))
    second = ok_json('import', a, folder, folder / 'p00.npy')  # one of them twice
    assert not second['Created'] and second['Added'] == 24 - there and second['AlreadyThere'] == there + 1
    third = ok_json('import', a, folder)
    assert third['Added'] == third['Slices'] == 0 and third['AlreadyThere'] == 24
    assert '0 added, 24 already there, 0 refused' in ok('import', a, folder)
    assert ok('import', a, folder, '--quiet') == ''
    # What it holds does not depend on the order in which it came, but for the center.
    assert ok_json('list', a)['Volumes'][0]['VolumeId'] == 'p00'
    assert ok_json('verify', a)['Problems'] == []


def test_same_id(rows, tmp_path):
    """The first of a run wins, other embeddings under its id are refused, and so they are later."""
    for k, name in enumerate(['x', 'y']):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / 'p.npy', rows[f'p0{k}'])
    both = refused(1, ['y/p.npy', 'other embeddings', '1 added', '1 refused'], 'import', tmp_path / 'a', tmp_path / 'x',
                   tmp_path / 'y', '--external', 'n')
    assert 'REFUSED' in both.stderr
    x = exported(tmp_path / 'a', 'p', tmp_path / 'out.npy')
    assert len(x) == len(rows['p00'])
    done = run('import', tmp_path / 'a', tmp_path / 'y/p.npy', '--json')
    assert done.returncode == 1
    assert [set(r) for r in json.loads(done.stdout)['Refused']] == [REFUSED]
    assert json.loads(done.stdout)['Refused'][0]['Status'] == 'CMIR_EEXIST'
    assert len(ok_json('list', tmp_path / 'a')['Volumes']) == 1


def npy(descr='<f4', order=False, shape=(3, DIM), data=None, version=1, header=None, align=64):
    """A .npy file by hand."""
    text = header if header is not None else repr({'descr': descr, 'fortran_order': order, 'shape': shape})
    text = text.encode()
    prefix = 10 if version == 1 else 12
    text += b' ' * (-(prefix + len(text) + 1) % align) + b'\n'
    length = len(text).to_bytes(2 if version == 1 else 4, 'little')
    if data is None:
        data = unit(np.random.default_rng(5), 3).tobytes()
    return b'\x93NUMPY' + bytes([version, 0]) + length + text + data


def saved(x):
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


def bad_files():
    rng = np.random.default_rng(6)
    good = unit(rng, 3)
    whole = saved(good)
    def changed(row, factor):
        x = good.copy()
        x[row] *= np.float32(factor)
        return saved(x)
    return {
        'empty': (b'', 'not a .npy', 'CMIR_ECORRUPT'),
        'short': (whole[:9], 'not a .npy', 'CMIR_ECORRUPT'),
        'text': (b'embeddings, no: text\n' * 9, 'not a .npy', 'CMIR_ECORRUPT'),
        'version0': (npy(version=0), 'not a .npy', 'CMIR_ECORRUPT'),
        'version4': (npy(version=4), 'not a .npy', 'CMIR_ECORRUPT'),
        'cut_header': (whole[:60], 'header', 'CMIR_ECORRUPT'),
        'long_header': (npy(align=8192), 'header', 'CMIR_ECORRUPT'),
        'no_descr': (npy(header="{'fortran_order': False, 'shape': (3, 48), }"), "NumPy's", 'CMIR_ECORRUPT'),
        'no_order': (npy(header="{'descr': '<f4', 'shape': (3, 48), }"), "NumPy's", 'CMIR_ECORRUPT'),
        'no_shape': (npy(header="{'descr': '<f4', 'fortran_order': False, }"), 'shape', 'CMIR_EUNSUPPORTED'),
        'no_header': (npy(header=''), "NumPy's", 'CMIR_ECORRUPT'),
        'float64': (saved(good.astype('<f8')), "'<f8'", 'CMIR_EUNSUPPORTED'),
        'float16': (saved(good.astype('<f2')), "'<f2'", 'CMIR_EUNSUPPORTED'),
        'int32': (saved(good.astype('<i4')), "'<i4'", 'CMIR_EUNSUPPORTED'),
        'big_endian': (saved(good.astype('>f4')), "'>f4'", 'CMIR_EUNSUPPORTED'),
        'structured': (saved(np.zeros(3, [('a', '<f4')])), 'float32', 'CMIR_EUNSUPPORTED'),
        'fortran': (saved(np.asfortranarray(good)), 'Fortran', 'CMIR_EUNSUPPORTED'),
        'no_d': (npy(shape=()), 'shape', 'CMIR_EUNSUPPORTED'),
        'one_d': (saved(good[0]), 'shape', 'CMIR_EUNSUPPORTED'),
        'three_d': (saved(good[None]), 'shape', 'CMIR_EUNSUPPORTED'),
        'no_rows': (saved(good[:0]), 'shape', 'CMIR_EUNSUPPORTED'),
        'no_columns': (saved(good[:, :0]), 'shape', 'CMIR_EUNSUPPORTED'),
        'many_rows': (npy(shape=(32769, DIM)), 'shape', 'CMIR_EUNSUPPORTED'),
        'many_columns': (npy(shape=(3, 4097)), 'shape', 'CMIR_EUNSUPPORTED'),
        'huge': (npy(shape=(2**62, 2**62)), 'shape', 'CMIR_EUNSUPPORTED'),
        'wraps': (npy(shape=(2**64 + 3, DIM)), 'shape', 'CMIR_EUNSUPPORTED'),
        'product_wraps': (npy(shape=(2**31, 2**31)), 'shape', 'CMIR_EUNSUPPORTED'),
        'negative': (npy(shape=(-3, DIM)), 'shape', 'CMIR_EUNSUPPORTED'),
        'words': (npy(header="{'descr': '<f4', 'fortran_order': False, 'shape': (three, 48)}"), 'shape', 'CMIR_EUNSUPPORTED'),
        'truncated': (whole[:-1], 'bytes of data', 'CMIR_ECORRUPT'),
        'no_data': (npy(data=b''), '0 bytes of data', 'CMIR_ECORRUPT'),
        'too_much': (whole + b'\0' * 4, 'bytes of data', 'CMIR_ECORRUPT'),
        'largest': (npy(shape=(32768, 4096)), 'take 536870912', 'CMIR_ECORRUPT'),
        'unaligned': (npy(align=1), 'multiple of 4', 'CMIR_EUNSUPPORTED'),
        'nan': (changed(1, np.nan), 'slice 1', 'CMIR_EINVAL'),
        'zero': (changed(2, 0), 'slice 2', 'CMIR_EINVAL'),
        'infinite': (saved(np.where(good == good[0, 0], np.float32(np.inf), good)), 'slice 0', 'CMIR_EINVAL'),
        'not_unit': (changed(0, 1.01), 'unit length', 'CMIR_EINVAL'),
        'other_dim': (saved(unit(rng, 3, DIM + 1)), 'dimension 49', 'CMIR_EMISMATCH'),
    }


def test_bad_files_of_every_kind(tmp_path):
    """In one call, among good ones: each is refused for what is wrong with it, the good ones are there."""
    files = bad_files()
    (tmp_path / 'in').mkdir()
    np.save(tmp_path / 'in' / '0_good.npy', unit(np.random.default_rng(7), 5))
    for name, (data, _, _) in files.items():
        (tmp_path / 'in' / f'{name}.npy').write_bytes(data)
    np.save(tmp_path / 'in' / 'z_good.npy', unit(np.random.default_rng(8), 6))
    os.mkfifo(tmp_path / 'in' / 'pipe.npy')
    os.symlink('/nowhere/at/all', tmp_path / 'in' / 'dangling.npy')
    files |= {'pipe': (None, 'not a .npy', 'CMIR_ECORRUPT'), 'dangling': (None, 'No such file', 'CMIR_ENOTFOUND')}
    missing = tmp_path / 'missing.npy'
    done = run('import', tmp_path / 'a', missing, tmp_path / 'in', '--external', 'n', '--json', timeout=60)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told['Created'], told['Added'], told['AlreadyThere'], told['Slices']) == (True, 2, 0, 11)
    reasons = {os.path.basename(r['Path'])[:-4]: r for r in told['Refused']}
    assert all(set(r) == REFUSED for r in told['Refused'])
    assert reasons.pop('missing')['Status'] == 'CMIR_ENOTFOUND'
    assert set(reasons) == set(files) and len(told['Refused']) == len(files) + 1
    for name, (_, words, status) in files.items():
        assert words in reasons[name]['Reason'] and reasons[name]['Status'] == status, (name, reasons[name])
        assert not reasons[name]['Reason'].startswith(str(tmp_path)), name  # the path stands beside it
        assert name in done.stderr  # and in the table
    assert [v['VolumeId'] for v in ok_json('list', tmp_path / 'a')['Volumes']] == ['0_good', 'z_good']
    assert ok_json('verify', tmp_path / 'a')['Problems'] == []


def test_header_variants(tmp_path):
    """What numpy writes, of every version and with every spelling that it ever had, is read."""
    x = unit(np.random.default_rng(5), 3)
    variants = {
        'plain': saved(x), 'v1': npy(), 'v2': npy(version=2), 'v3': npy(version=3), 'align16': npy(align=16),
        'old': npy(header="{'descr': '<f4', 'fortran_order': False, 'shape': (3, 48), }"),
        'tight': npy(header="{'descr':'<f4','fortran_order':False,'shape':(3,48)}"),
        'ordered': npy(header="{'shape': (3, 48), 'fortran_order': False, 'descr': '<f4'}"),
        'memmap': None,
    }
    m = np.lib.format.open_memmap(tmp_path / 'memmap.npy', mode='w+', dtype='<f4', shape=x.shape)
    m[:] = x
    m.flush()
    for name, data in variants.items():
        if data is not None:
            (tmp_path / f'{name}.npy').write_bytes(data)
    assert ok_json('import', tmp_path / 'a', tmp_path, '--external', 'n')['Added'] == len(variants)
    want = exported(tmp_path / 'a', 'plain', tmp_path / 'out.dat')
    for name in variants:
        assert np.array_equal(exported(tmp_path / 'a', name, tmp_path / 'out.dat'), want)
    # A single row of a vector whose length is 1 but for a little counts as unit.
    np.save(tmp_path / 'nearly.npy', x * np.float32(1.0005))
    ok('import', tmp_path / 'a', tmp_path / 'nearly.npy')
    assert np.array_equal(exported(tmp_path / 'a', 'nearly', tmp_path / 'out.dat'), want)


def test_limits(tmp_path):
    rng = np.random.default_rng(9)
    np.save(tmp_path / 'wide.npy', unit(rng, 2, 4096))
    np.save(tmp_path / 'narrow.npy', np.float32([[1], [-1], [1]]))
    np.save(tmp_path / 'long.npy', np.tile(np.float32([[1], [-1]]), (16384, 1)))
    ok('import', tmp_path / 'a', tmp_path / 'wide.npy', '--external', 'n')
    ok('import', tmp_path / 'b', tmp_path / 'narrow.npy', tmp_path / 'long.npy', '--external', 'n')
    assert exported(tmp_path / 'b', 'narrow', tmp_path / 'x').tolist() == [[1], [-1], [1]]
    assert exported(tmp_path / 'b', 'long', tmp_path / 'x').shape == (32768, 1)
    assert exported(tmp_path / 'a', 'wide', tmp_path / 'x').shape == (2, 4096)
    assert ok_json('search', tmp_path / 'b', tmp_path / 'narrow.npy', '--exclude', 'none')['Matches'][0]['Score'] == 1


def test_archives_and_encoders(archive, folder, rows, tmp_path):
    """A new archive wants a name; one that is there keeps its own."""
    one = folder / 'p00.npy'
    refused(2, ['does not exist', '--external'], 'import', tmp_path / 'a', one)
    assert not (tmp_path / 'a').exists()
    for name in ('', 'a"b', 'a\\b', 'é', 'x' * 201):
        refused(2, ['1..200'], 'import', tmp_path / 'a', one, '--external', name)
        refused(2, ['1..200'], 'import', tmp_path / 'a', one, '--external', 'n', '--external-version', name)
        assert not (tmp_path / 'a').exists()
    refused(1, ['no .npy file found'], 'import', tmp_path / 'a', tmp_path, '--external', 'n')
    refused(1, ['missing.npy', '1 refused'], 'import', tmp_path / 'a', tmp_path / 'missing.npy', '--external', 'n')
    refused(1, ['labels.csv'], 'import', tmp_path / 'a', one, '--external', 'n', '--labels', tmp_path / 'labels.csv')
    assert not (tmp_path / 'a').exists()
    refused(1, ['not a cmir archive'], 'import', folder, one)
    refused(1, ['not a cmir archive'], 'import', one, one)
    own = shutil.copytree(archive, tmp_path / 'own')
    refused(1, ['other net 3b', '--external'], 'import', own, one, '--external', 'another net')
    refused(1, ['other net 3b', '--external'], 'import', own, one, '--external', 'other net', '--external-version', '4')
    assert ok_json('import', own, one, '--external', 'other net', '--external-version', '3b')['AlreadyThere'] == 1
    # The same three make archives that compare; any other does not.
    ok('import', tmp_path / 'same', one, '--external', 'other net', '--external-version', '3b')
    assert ok_json('search', archive, f'{tmp_path}/same:p00', '--exclude', 'none')['Matches'][0]['VolumeId'] == 'p00'
    for name, version in (('other net', '1'), ('Other net', '3b')):
        ok('import', tmp_path / name / version, one, '--external', name, '--external-version', version) \
            if (tmp_path / name).mkdir() is None else None
        refused(1, ['other net 3b'], 'search', archive, f'{tmp_path}/{name}/{version}:p00')


def test_into_an_archive_of_the_built_in_encoder(tmp_path):
    """What is exported comes back in: another archive of the encoder, without its scans."""
    rng = np.random.default_rng(11)
    (tmp_path / 'scans').mkdir()
    for i in range(4):
        save_nifti(tmp_path / 'scans' / f's{i}.nii.gz', body(rng, 32, 9 + i))
    ok('add', tmp_path / 'a', tmp_path / 'scans')
    ok('init', tmp_path / 'b')
    for i in range(4):
        ok('export', tmp_path / 'a', f's{i}', '-o', tmp_path / f's{i}.npy')
    assert ok_json('import', tmp_path / 'b', *[tmp_path / f's{i}.npy' for i in range(4)])['Added'] == 4
    a = ok_json('search', tmp_path / 'b', f'{tmp_path}/a:s1', '--exclude', 'none')
    assert a['Matches'][0]['VolumeId'] == 's1' and a['Matches'][0]['Score'] > .999
    # Other embeddings are of another dimension.
    np.save(tmp_path / 'x.npy', unit(rng, 3))
    refused(1, ['dimension 48', '576'], 'import', tmp_path / 'b', tmp_path / 'x.npy')


def test_scans_are_refused(archive, tmp_path):
    save_nifti(tmp_path / 'scan.nii.gz', body(np.random.default_rng(12), 32, 9))
    for command in (['search', archive, tmp_path / 'scan.nii.gz'], ['add', archive, tmp_path / 'scan.nii.gz']):
        done = refused(1, ['other net', 'runs outside of cmir', '.npy'], *command)
        assert done.stdout == ''
    refused(1, ['other net 3b', 'builtin'], 'search', archive, tmp_path / 'scan.nii.gz', '--encoder', 'builtin')


def test_unreadable(folder, tmp_path):
    for name in ('u', 'v'):
        np.save(tmp_path / f'{name}.npy', unit(np.random.default_rng(3), 2))
    (tmp_path / 'u.npy').chmod(0)
    if os.access(tmp_path / 'u.npy', os.R_OK):
        pytest.skip('this user may read everything')
    refused(1, ['u.npy', 'Permission denied', '1 added'], 'import', tmp_path / 'a', tmp_path, '--external', 'n')


def test_interrupted(folder, tmp_path):
    """What was committed stays, and is sound."""
    rng = np.random.default_rng(13)
    (tmp_path / 'many').mkdir()
    for i in range(3000):
        np.save(tmp_path / 'many' / f'{i:04}.npy', unit(rng, 20))
    child = subprocess.Popen([CMIR, 'import', tmp_path / 'a', tmp_path / 'many', '--external', 'n', '--json', '--threads', '1'],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while child.poll() is None and not (tmp_path / 'a' / 'segments' / '00000001.seg').exists():
        pass
    child.send_signal(signal.SIGINT)
    out, said = child.communicate(timeout=60)
    told = json.loads(out)
    assert ok_json('stat', tmp_path / 'a')['Volumes'] == told['Added']
    assert ok_json('verify', tmp_path / 'a')['Problems'] == []
    if told['Interrupted']:  # else it was through before
        assert child.returncode == 1 and 'interrupted' in said
    assert ok_json('import', tmp_path / 'a', tmp_path / 'many')['Added'] == 3000 - told['Added']


def test_mutations(tmp_path):
    """300 damaged files in one call: none crashes, all that are refused tell why, and what is taken is sound."""
    rng = np.random.default_rng(SEED)
    print('seed', SEED)
    whole = bytearray(saved(unit(rng, 4, 8)))
    (tmp_path / 'in').mkdir()
    np.save(tmp_path / 'in' / '000_good.npy', unit(rng, 4, 8))
    for i in range(300):
        data = bytearray(whole)
        where = 10 + whole[8] if i % 3 else len(data)  # two of three: of the header alone
        for _ in range(int(rng.integers(1, 5))):
            at, kind = int(rng.integers(where)), rng.integers(5)
            if kind == 0:
                data[at % len(data)] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                data[at % len(data)] = int(rng.choice(list(b"0123456789(),:'<>f{} \n\0\xff")))
            elif kind == 2:
                del data[at:at + int(rng.integers(1, 9))]
            elif kind == 3:
                data[at:at] = bytes(rng.choice(list(b"0123456789(), '\xff\0"), int(rng.integers(1, 9))).astype('u1'))
            else:
                del data[int(rng.integers(len(data))):]
            data = data or bytearray(b'\x93')
        (tmp_path / 'in' / f'm{i:03}.npy').write_bytes(data)
    done = run('import', tmp_path / 'a', tmp_path / 'in', '--external', 'n', '--json', timeout=120)
    assert done.returncode in (0, 1), done.stderr
    told = json.loads(done.stdout)
    assert told['Added'] + len(told['Refused']) == 301 and told['Added'] >= 1 and len(told['Refused']) > 150
    assert all(r['Reason'].strip() and r['Status'].startswith('CMIR_E') for r in told['Refused'])
    assert done.returncode == 1
    assert ok_json('stat', tmp_path / 'a')['Volumes'] == told['Added']
    assert ok_json('verify', tmp_path / 'a')['Problems'] == []


# ---------------------------------------------------------------- searching


def without(found, *keys):
    return {k: v for k, v in found.items() if k not in keys}


@pytest.mark.parametrize('score', ['maxsim', 'symmetric', 'freq', 'max', 'sum', 'mean'])
def test_search_with_npy(score, archive, rows, folder, tmp_path):
    """The file finds what the volume finds, and what numpy finds."""
    for name in ('p00', 'p05', 'p17', 'p23'):
        file, = folder.rglob(f'{name}.npy')
        options = ['--score', score, '--limit', 50]
        stored = ok_json('search', archive, f'{archive}:{name}', *options)
        given = ok_json('search', archive, file, *options)
        assert given['Matches'] == stored['Matches'] and given['Candidates'] == len(rows) - 1
        assert given['Query']['VolumeId'] == name and given['Query']['Slices'] == len(rows[name])
        assert all(m['MatchMm'] == [None, None] and 'MatchSOPInstanceUIDs' not in m for m in given['Matches'])
        if score != 'maxsim':
            continue
        query = rows[name].astype(float)
        want = {i: (query @ x.T.astype(float)).max(axis=1).mean() for i, x in rows.items() if i != name}
        assert [m['VolumeId'] for m in given['Matches']] == sorted(want, key=lambda i: (-want[i], i))
        np.testing.assert_allclose([m['Score'] for m in given['Matches']], sorted(want.values(), reverse=True), atol=2e-5)
        # Of any length: directions count.
        np.save(tmp_path / f'{name}.npy', rows[name] * np.float32(16))
        assert ok_json('search', archive, tmp_path / f'{name}.npy', *options)['Matches'] == given['Matches']


def test_npy_queries(archive, rows, folder, tmp_path):
    file = folder / 'p00.npy'
    found = ok_json('search', archive, file, '--exclude', 'none', '--limit', 1)
    assert found['Matches'][0]['VolumeId'] == 'p00' and found['Candidates'] == found['Reranked'] == len(rows)
    n = len(rows['p00'])
    part = ok_json('search', archive, file, '--slices', f'0:{n - 1}', '--exclude', 'none', '--limit', 1)
    assert part['Matches'] == found['Matches']
    refused(2, [f'0:{n - 1}'], 'search', archive, file, '--slices', f'0:{n}')
    assert 'nan' not in ok('search', archive, file)
    ok('search', archive, file, '--report', tmp_path / 'r.html', '--limit', 3)
    assert 'p0' in (tmp_path / 'r.html').read_text() and '>nan' not in (tmp_path / 'r.html').read_text().lower()
    for name, (data, words, _) in bad_files().items():
        (tmp_path / f'{name}.npy').write_bytes(data)
        if name == 'not_unit':  # a query's rows are of any length
            ok('search', archive, tmp_path / f'{name}.npy')
            continue
        refused(1, [words], 'search', archive, tmp_path / f'{name}.npy')


def test_exhaustive_and_rerank(archive, rows, folder):
    query = f'{archive}:p01'
    whole = ok_json('search', archive, query, '--limit', 50)
    assert whole['Reranked'] == whole['Candidates'] == len(rows) - 1
    assert without(ok_json('search', archive, query, '--limit', 50, '--exhaustive'), 'Seconds') == without(whole, 'Seconds')
    few = ok_json('search', archive, query, '--limit', 2, '--rerank', 6)
    assert few['Reranked'] == 6 and few['Candidates'] == len(rows) - 1 and len(few['Matches']) == 2
    scores = {m['VolumeId']: m['Score'] for m in whole['Matches']}
    assert all(m['Score'] == scores[m['VolumeId']] for m in few['Matches'])
    assert 'the best 6 at first look' in ok('search', archive, query, '--limit', 2, '--rerank', 6)
    assert ok_json('search', archive, query, '--limit', 9, '--rerank', 2)['Reranked'] == 9  # a list is always full
    assert ok_json('search', archive, query, '--rerank', 4000000000)['Reranked'] == len(rows) - 1
    assert ok_json('search', archive, query, '--score', 'mean', '--rerank', 2)['Reranked'] == len(rows) - 1
    for wrong in (['--exhaustive', '--rerank', '3'], ['--rerank', '0'], ['--rerank', 'x'], ['--rerank', '5000000000'],
                  ['--exhaustive=1']):
        refused(2, [wrong[0].partition('=')[0]], 'search', archive, query, *wrong)


# ---------------------------------------------------------------- many queries


def batch(archive, lines, *options, code=0, **how):
    done = run('search', archive, '--batch', '-', '--json', *options, input=''.join(f'{x}\n' for x in lines), **how)
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(x) for x in done.stdout.splitlines()], done


def check_batch(archive, lines, bad, found, *options):
    """One object per line, in order; each the one that a search alone gives."""
    lines = [x for x in lines if x]
    assert len(found) == len(lines)
    for line, one in zip(lines, found):
        alone = run('search', archive, line, '--json', *options)
        if line in bad:
            assert set(one) == {'Query', 'Error'} and one['Query'] == {'Text': line}
            assert set(one['Error']) == {'Status', 'Message'} and one['Error']['Status'].startswith('CMIR_E')
            assert alone.returncode != 0 and one['Error']['Message'] in alone.stderr
        else:
            assert without(one, 'Seconds') == without(json.loads(alone.stdout), 'Seconds')


def test_batch(archive, rows, folder, tmp_path):
    """More queries than are worked on together; files, volumes, and lines that fail among them."""
    (tmp_path / 'nan.npy').write_bytes(bad_files()['nan'][0])
    (tmp_path / 'dim.npy').write_bytes(bad_files()['other_dim'][0])
    bad = [f'{archive}:nobody', str(tmp_path / 'nan.npy'), str(tmp_path / 'dim.npy'), 'missing', str(tmp_path)]
    files = {f.stem: str(f) for f in folder.rglob('*.npy') if f.is_file()}
    lines = []
    for i in range(150):
        name = f'p{i * 7 % 24:02}'
        lines.append(files[name] if i % 2 else f'{archive}:{name}')
        if i % 30 == 11:
            lines += [bad[i // 30], '']
    found, done = batch(archive, lines, code=1)
    check_batch(archive, lines[:60] + lines[-10:], bad, found[:len([x for x in lines[:60] if x])] + found[-10:])
    assert [f['Query']['VolumeId'] for f in found if 'Error' not in f] == [f'p{i * 7 % 24:02}' for i in range(150)]
    assert sum('Error' in f for f in found) == 5
    # From a file, with other options, to a file.
    (tmp_path / 'list').write_text('\n'.join(lines))  # without a newline at the end
    for options in (['--limit', '2', '--score', 'symmetric', '--threads', '3'], ['--slices', '0:0', '--exclude', 'none'],
                    ['--where', "PatientID = 'anna'"], ['--rerank', '3', '--limit', '2']):
        done = run('search', archive, '--batch', tmp_path / 'list', '--json', '-o', tmp_path / 'out', *options)
        assert done.returncode == 1 and done.stdout == ''
        found = [json.loads(x) for x in (tmp_path / 'out').read_text().splitlines()]
        some = [x for x in lines if x]
        check_batch(archive, some[8:18], bad, found[8:18], *options)
        assert len(found) == len(some)
    good = [x for x in lines if x and x not in bad][:5]
    assert len(batch(archive, good)[0]) == 5


def test_batch_as_text(archive, folder):
    lines = f'{archive}:p01\nmissing.npy\n{folder}/p00.npy\n'
    done = run('search', archive, '--batch', '-', input=lines)
    assert done.returncode == 1
    assert 'cmir search: missing.npy: ' in done.stderr
    assert done.stdout.index('query: p01') < done.stdout.index('query: p00')
    assert run('search', archive, '--batch', '-', input='').stdout == ''
    ok('search', archive, '--batch', '-', input='\n\n')
    refused(1, ['standard input', 'not a list'], 'search', archive, '--batch', '-', input='a\0b\n')
    refused(1, ['nowhere'], 'search', archive, '--batch', 'nowhere')
    refused(1, ['no such archive'], 'search', 'nowhere', '--batch', '-', input='x\n')
    refused(2, ['filter'], 'search', archive, '--batch', '-', '--where', 'Modality =', input=f'{archive}:p01\n')
    refused(2, ['--report'], 'search', archive, '--batch', '-', '--report', 'r.html', input='x\n')
    refused(2, ['query'], 'search', archive, 'x', '--batch', '-', input='x\n')


def test_batch_of_scans_and_volumes(tmp_path):
    """Scans are encoded, one by one, among volumes and embeddings; results keep the order of the list."""
    rng = np.random.default_rng(17)
    (tmp_path / 'scans').mkdir()
    for i in range(6):
        save_nifti(tmp_path / 'scans' / f's{i}.nii.gz', body(rng, 32, 9 + i))
    a = tmp_path / 'a'
    ok('add', a, tmp_path / 'scans')
    (tmp_path / 'bad.nii.gz').write_bytes(b'no scan')
    ok('export', a, 's2', '-o', tmp_path / 'e.npy')
    scan = lambda i: str(tmp_path / 'scans' / f's{i}.nii.gz')
    lines = [f'{a}:s0', scan(1), f'{a}:s2', f'{a}:s3', str(tmp_path / 'bad.nii.gz'), scan(3), scan(4), str(tmp_path / 'e.npy'),
             str(tmp_path / 'scans'), f'{a}:s5', f'{a}:none', scan(0)]
    bad = [lines[4], lines[8], lines[10]]
    found, _ = batch(a, lines, code=1)
    check_batch(a, lines, bad, found)
    assert [f['Query'].get('VolumeId') for f in found] == ['s0', 's1', 's2', 's3', None, 's3', 's4', 'e', None, 's5', None, 's0']
    assert found[0]['Matches'] == found[-1]['Matches'] and found[3]['Matches'] == found[5]['Matches']
    found, _ = batch(a, lines[:4], '--slices', '2:4')
    check_batch(a, lines[:4], [], found, '--slices', '2:4')


def test_batch_names_with_colons(tmp_path):
    """A line is read as QUERY is: a path before all, then the last colon behind an archive."""
    rng = np.random.default_rng(19)
    x = {name: unit(rng, 3) for name in ('own', 'file', 'inner')}
    for name in x:
        np.save(tmp_path / f'{name}.npy', x[name])
    os.chdir(tmp_path)
    np.save('an:file.npy', x['file'])
    ok('import', 'an', 'own.npy', '--external', 'n')
    shutil.copy('own.npy', 'a:b.npy')
    ok('import', 'an', 'a:b.npy')
    ok('import', 'an:archive', 'inner.npy', '--external', 'n')
    lines = ['an:own', 'an:file.npy', 'an:a:b', 'an:archive:inner', './an:own']
    found, _ = batch('an', lines, '--exclude', 'none')
    check_batch('an', lines, [], found, '--exclude', 'none')
    assert [f['Query']['VolumeId'] for f in found] == ['own', 'an:file', 'a:b', 'inner', 'own']
