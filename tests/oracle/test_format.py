# SPDX-License-Identifier: Apache-2.0
"""A second reader of archives, written from docs/format.md alone (sqlite3, struct, numpy): what the program writes is
what the page says, byte by byte, and `cmir verify` and this reader agree on what is damaged."""
import json
import os
import pathlib
import shutil
import sqlite3
import struct
import subprocess
import zlib

import nibabel as nib
import numpy as np
import pytest

CMIR = os.environ['CMIR']
SOURCE = pathlib.Path(os.environ.get('CMIR_SOURCE', '.'))
GOLDEN = SOURCE / 'tests/golden/format_2'
SEED = 20240305
FILLED = ['patient_id', 'study_uid', 'modality', 'patient_sex', 'patient_age', 'study_date', 'body_part']


def up(n, multiple):
    return -(-n // multiple) * multiple


class Damaged(Exception):
    pass


def want(condition, what):
    if not condition:
        raise Damaged(what)


def read_record(data, row, archive):
    """One record (a bytes-like of at least row['nbytes']) after the table of docs/format.md."""
    header = data[:64]
    magic, version, n, n_scored, dim = struct.unpack_from('<8sIIII', header)
    nbytes, crc_planes = struct.unpack_from('<QI', header, 32)
    radius, residual, base_max, n_reps, crc_header = struct.unpack_from('<3fII', header, 44)
    want(magic == b'CMIRROWS' and version == 2, 'magic or version')
    want(zlib.crc32(header[:60]) == crc_header == row['crc'], 'checksum of the header')
    want(n == row['n_slices'] and n_scored == n - row['n_air'] and dim == archive['dim'], 'numbers')
    want(header[24:32] == bytes.fromhex(archive['encoder_sha256'])[:8], 'encoder')
    want(nbytes == row['nbytes'], 'length')
    want(zlib.crc32(data[64:nbytes]) == crc_planes, 'checksum of the planes')

    w = up(dim, 64)
    at, planes = 64, {'radius': radius, 'residual': residual, 'base_max': base_max, 'n_reps': n_reps}
    for name, kind, shape in [('rep_columns', '<u4', (3, 8)), ('rep_codes', 'i1', (8, w)), ('mean', '<i2', (w,)),
                              ('slice', '<u4', (n,)),
                              ('scale', '<f4', (n,)), ('base', '<f4', (n,)), ('code_sum', '<i4', (n,)),
                              ('residual_of', '<f4', (n,)), ('reach', '<f4', (n,)),
                              ('codes', 'i1', (up(n, 16), w)), ('exact', '<i2', (n, w))]:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        planes[name] = np.frombuffer(data[at:at + size], kind).reshape(shape)
        want(not any(data[at + size:at + up(size, 64)]), f'padding of {name}')
        at += up(size, 64)
    want(at == nbytes, 'length of the planes')
    for column, kind, name in zip(planes['rep_columns'], ['<f4', '<f4', '<i4'], ['rep_scale', 'rep_base', 'rep_sum']):
        planes[name] = column.view(kind)
    check_planes(planes, n, n_scored, dim, np.frombuffer(archive['center'], '<i2').astype(np.int64))
    return planes


def hadamard(x):
    """[n][w] as [n][64][w / 64], times the Hadamard matrix in natural order: integers."""
    H = np.array([[(-1) ** bin(i & j).count('1') for j in range(64)] for i in range(64)])
    return np.einsum('ij,njk->nik', H, x.reshape(len(x), 64, -1)).reshape(x.shape)


def coded(exact, mean, center):
    """All that follows from rows of exact; norms in float64, as they are."""
    y = hadamard(exact - mean)
    a = np.abs(y).max(axis=1)
    with np.errstate(divide='ignore', invalid='ignore'):
        codes = np.rint(y.astype(np.float32) * (np.float32(127) / a.astype(np.float32))[:, None])
    codes[a == 0] = 0
    scale = a.astype(np.float32) / np.float32(8 * 127 * 32767)
    value = y / (8 * 32767)
    return {'codes': codes, 'scale': scale, 'code_sum': codes.sum(axis=1),
            'base': ((exact @ center - mean @ center) / 32767 ** 2).astype(np.float32),
            'norm': np.linalg.norm(value, axis=1),
            'residual': np.linalg.norm(value - scale[:, None].astype(float) * codes, axis=1)}


def near(stored, truth):
    """Equal but for two units in the last place of float32; false for what is no number."""
    return bool(np.all(np.abs(stored - truth) <= 2.5e-7 * np.abs(truth)))


def check_planes(planes, n, n_scored, dim, center):
    want(sorted(planes['slice']) == list(range(n)), 'slices are no permutation')
    want(np.all(np.diff(planes['slice'][:n_scored].astype(int)) > 0), 'order of the scored rows')
    want(np.all(np.diff(planes['slice'][n_scored:].astype(int)) > 0), 'order of the other rows')

    exact = planes['exact'].astype(np.int64)
    want(not exact[:, dim:].any(), 'padding of exact')
    length = np.linalg.norm(exact / 32767, axis=1)
    want(np.abs(length - 1).max() < 1e-6 + 0.5 * dim ** 0.5 / 32767, 'length of an embedding')
    total = exact[:n_scored].sum(axis=0)
    mean = np.sign(total) * ((2 * np.abs(total) + n_scored) // (2 * n_scored))  # halves away from zero
    want(np.array_equal(mean, planes['mean']), 'mean')

    rows = coded(exact, mean, center)
    for name in ('scale', 'codes', 'code_sum', 'base'):
        want(np.array_equal(rows[name], planes[name][:n]), name)
    want(not planes['codes'][n:].any(), 'padding of codes')
    # The last bit of a norm depends on the order of a sum.
    residual, norm = rows['residual'], rows['norm']
    want(near(planes['residual_of'], residual * 1.000001), 'residuals')
    want(near(planes['reach'], (norm * 1.000001 + residual * 1.000001) * 1.000001), 'reach')
    want(np.all(planes['residual_of'] >= residual) and np.all(planes['reach'] >= norm + residual), 'rounding up')

    n_reps = min(8, n_scored)
    want(planes['n_reps'] == n_reps, 'number of representatives')
    sums = np.array([exact[k * n_scored // n_reps:(k + 1) * n_scored // n_reps].sum(axis=0) for k in range(n_reps)])
    length = np.sqrt((sums.astype(float) ** 2).sum(axis=1, keepdims=True))
    direction = sums * np.divide(32767, length, out=np.zeros_like(length), where=length > 0)
    reps = coded((np.sign(direction) * np.floor(np.abs(direction) + 0.5)).astype(np.int64), center, center)
    for name, of in [('rep_scale', 'scale'), ('rep_base', 'base'), ('rep_sum', 'code_sum'), ('rep_codes', 'codes')]:
        want(np.array_equal(planes[name][:n_reps], reps[of]), name)
        want(not planes[name][n_reps:].any(), f'padding of {name}')

    for name, truth in [('radius', norm[:n_scored].max()), ('residual', residual[:n_scored].max())]:
        want(near(planes[name], truth * 1.000001) and planes[name] >= truth, name)
    want(planes['residual'] == planes['residual_of'][:n_scored].max(), 'the largest residual')
    want(planes['base_max'] == rows['base'][:n_scored].max(), 'base_max')


def read_archive(path):
    """Archive row, and by id: (volume row with labels and slices, planes)."""
    path = pathlib.Path(path)
    db = sqlite3.connect(path / 'catalog.sqlite')
    db.row_factory = sqlite3.Row
    one = lambda sql: db.execute(sql).fetchone()[0]
    want(one('PRAGMA application_id') == 0x434D4952 and one('PRAGMA user_version') == 2, 'version')
    want(one('PRAGMA journal_mode') == 'wal', 'journal mode')
    archive, = db.execute('SELECT * FROM archive')
    segments = dict(db.execute('SELECT number, nbytes FROM segments').fetchall())
    files = {k: (path / f'segments/{k:08}.seg').read_bytes() for k in segments}
    volumes, taken = {}, set()
    for row in db.execute('SELECT * FROM volumes'):
        volume, (a, b) = dict(row), (row['offset'], row['offset'] + row['nbytes'])
        want(a % 64 == 0 and b % 64 == 0 and b <= segments[row['segment']] <= len(files[row['segment']]), 'place')
        blocks = {(row['segment'], k) for k in range(a, b, 64)}
        want(not blocks & taken, 'two volumes in one place')
        taken |= blocks
        planes = read_record(files[row['segment']][a:b], row, archive)
        slices, = db.execute('SELECT mm, marks, uids FROM slices WHERE volume = ?', (row['id'],))
        volume['mm'] = np.frombuffer(slices['mm'], '<f8')
        volume['marks'] = np.frombuffer(slices['marks'], 'u1')
        volume['uids'] = slices['uids'].split('\n') if slices['uids'] else [''] * row['n_slices']
        want(len(volume['mm']) == len(volume['marks']) == len(volume['uids']) == row['n_slices'], 'slices')
        air = volume['marks'] & 1
        want(air.sum() == row['n_air'] and not air[planes['slice'][:row['n_slices'] - row['n_air']]].any(), 'marks')
        volume['dims'] = struct.unpack('<3I', row['dims'])
        volume['affine'] = np.frombuffer(row['affine'], '<f8').reshape(3, 4)
        volume['labels'] = dict(db.execute('SELECT name, value FROM labels WHERE volume = ?', (row['id'],)).fetchall())
        volumes[row['volume_id']] = volume, planes
    db.close()
    return archive, segments, volumes


def run(*args, code=0):
    done = subprocess.run([CMIR, *map(str, args)], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture()
def golden(tmp_path):
    return pathlib.Path(shutil.copytree(GOLDEN, tmp_path / 'golden'))


def test_golden(golden):
    archive, segments, volumes = read_archive(golden)
    assert archive['encoder_name'] == 'tiny' and archive['dim'] == 20
    assert sorted(volumes) == ['v2', 'v5', 'v9']
    assert sum(segments.values()) > sum(v['nbytes'] for v, _ in volumes.values())  # v3 was removed
    # v2 was the first: its mean is the center.
    assert np.array_equal(np.frombuffer(archive['center'], '<i2'), volumes['v2'][1]['mean'])
    volume, _ = volumes['v5']
    assert volume['labels']['note'] == 'of the second format' and volume['patient_sex'] == 'F'
    assert volume['filled'] == 1 << FILLED.index('patient_sex')
    assert volume['path'] == '/scans/ä v5.nii' and volume['uids'][0] == '1.2.3.5.0'
    assert np.array_equal(volume['mm'], -100.5 + 2.5 * np.arange(volume['n_slices']))
    assert np.array_equal(volume['affine'], [[.7, 0, 0, -180], [0, .7, 0, -170], [0, 0, 2.5, -100.5]])


@pytest.fixture(scope='module')
def archive(tmp_path_factory):
    """Scans of boxes in air, one of them removed again; some slices hold only air."""
    folder = tmp_path_factory.mktemp('format')
    rng = np.random.default_rng(SEED)
    print('seed', SEED)
    (folder / 'scans').mkdir()
    for i in range(6):
        voxels = np.full((40, 36, 7 + i), -1000, np.int16)
        voxels[5:30, 8:-5, 1:] = rng.normal(40, 200, (25, 23, 6 + i))
        affine = np.array([[-2, 0, 0, 40], [0, -2.5, 0, 30], [0, 0, 3 + i, -50 + i], [0, 0, 0, 1.]])
        nib.save(nib.Nifti1Image(voxels, affine), folder / 'scans' / f's{i}.nii.gz')
    (folder / 'labels.csv').write_text('name,organ,PatientAge,StudyDate\ns1.nii.gz,liver,063Y,2024-02-29\ns2,"a, ""b""",,\n')
    run('add', folder / 'archive', folder / 'scans', '--labels', folder / 'labels.csv')
    run('remove', folder / 'archive', 's3')
    return folder / 'archive'


def test_written_by_the_command(archive, tmp_path):
    row, segments, volumes = read_archive(archive)
    info = json.loads(run('stat', archive, '--json'))
    assert sorted(volumes) == ['s0', 's1', 's2', 's4', 's5']
    assert row['encoder_sha256'] in json.dumps(info) and row['dim'] == 576
    assert np.array_equal(np.frombuffer(row['center'], '<i2'), volumes['s0'][1]['mean'])
    for name, (volume, planes) in volumes.items():
        i = int(name[1])
        run('export', archive, name, '-o', tmp_path / 'x.npy')
        exported = np.load(tmp_path / 'x.npy')
        order = np.argsort(planes['slice'])
        assert exported.dtype == np.float32
        assert np.array_equal(exported, planes['exact'][order][:, :576].astype(np.float32) / np.float32(32767))
        assert volume['dims'] == (40, 36, 7 + i) and volume['n_slices'] == 7 + i
        assert volume['marks'][0] == 1 and not volume['marks'][1:].any()
        # NIfTI is RAS, the catalogue LPS: x and y change their signs.
        assert np.allclose(volume['affine'], [[2, 0, 0, -40], [0, 2.5, 0, -30], [0, 0, 3 + i, -50 + i]])
        assert np.allclose(volume['mm'], -50 + i + (3 + i) * np.arange(7 + i))
        assert volume['slice_spacing_mm'] == pytest.approx(3 + i)
    assert volumes['s1'][0]['labels'] == {'organ': 'liver'}
    assert volumes['s1'][0]['patient_age'] == 63 and volumes['s1'][0]['study_date'] == '20240229'
    assert volumes['s1'][0]['filled'] == sum(1 << FILLED.index(f) for f in ('patient_age', 'study_date'))
    assert volumes['s2'][0]['labels'] == {'organ': 'a, "b"'}
    assert sum(segments.values()) - sum(v['nbytes'] for v, _ in volumes.values()) > 0


def test_agrees_with_verify_on_damage(golden, tmp_path):
    """Single flipped bits: what this reader finds, verify finds, and the other way round."""
    rng = np.random.default_rng(SEED)
    segment = golden / 'segments/00000001.seg'
    sound = bytearray(segment.read_bytes())
    n_found = 0
    for at in rng.integers(0, len(sound), 60):
        damaged = bytearray(sound)
        damaged[at] ^= 1 << rng.integers(8)
        segment.write_bytes(damaged)
        try:
            read_archive(golden)
            found = False
        except Damaged:
            found = True
        run('verify', golden, code=1 if found else 0)
        n_found += found
    assert 0 < n_found < 60  # some lie in the removed volume


def test_agrees_with_verify_on_forged_records(golden):
    """Single flipped bits of volume 2, under checksums that are right: whatever does not follow from the rows."""
    rng = np.random.default_rng(SEED + 1)
    segment = golden / 'segments/00000001.seg'
    sound = bytearray(segment.read_bytes())
    db = sqlite3.connect(golden / 'catalog.sqlite')
    offset, nbytes, n = db.execute("SELECT offset, nbytes, n_slices FROM volumes WHERE volume_id = 'v2'").fetchone()
    bounds = 64 + 128 + 10 * 64 + 4 * up(4 * n, 64)  # residual and reach: their last bits are verify's alone
    places = [*range(44, 60), *(at for at in rng.integers(64, nbytes, 60) if not 0 <= at - bounds < 2 * up(4 * n, 64))]
    for at in places:
        damaged = bytearray(sound)
        record = damaged[offset:offset + nbytes]
        record[at] ^= 1 << rng.integers(8)
        struct.pack_into('<I', record, 40, zlib.crc32(record[64:]))
        struct.pack_into('<I', record, 60, zlib.crc32(record[:60]))
        damaged[offset:offset + nbytes] = record
        segment.write_bytes(damaged)
        db.execute("UPDATE volumes SET crc = ? WHERE volume_id = 'v2'", struct.unpack_from('<I', record, 60))
        db.commit()
        with pytest.raises(Damaged):
            read_archive(golden)
        assert 'v2: ' in run('verify', golden, code=1), at
    db.close()


def test_older_and_newer_formats_are_refused_by_name(golden):
    for version in (1, 3):
        db = sqlite3.connect(golden / 'catalog.sqlite')
        db.execute(f'PRAGMA user_version = {version}')
        db.close()
        for command in (['stat', golden], ['verify', golden], ['remove', golden, 'v2'], ['search', golden, f'{golden}:v2']):
            done = subprocess.run([CMIR, *map(str, command)], capture_output=True, text=True, timeout=60)
            assert done.returncode != 0 and not done.stdout
            assert f'archive format {version}; this cmir reads format 2' in done.stderr
