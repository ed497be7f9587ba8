# SPDX-License-Identifier: Apache-2.0
"""The command as a careless user meets it: every verb's JSON, every way to get it wrong (exit code and the words that
matter), batches with bad files, hostile names; search against numpy over exported embeddings; DICOM against NIfTI."""
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import stat
import subprocess
import time

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset

CMIR = os.path.abspath(os.environ['CMIR'])
SHARED = os.environ.get('CMIR_SHARED') or os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../shared')
DATA = os.path.join(os.path.realpath(SHARED), 'data') if os.path.isdir(os.path.join(SHARED, 'data')) else None
needs_data = pytest.mark.skipif(DATA is None, reason='no folder of shared data (CMIR_SHARED)')
NOTICE = 'research use only, not for diagnosis'
VERBS = ['init', 'add', 'label', 'list', 'show', 'remove', 'search', 'stat', 'verify', 'export', 'encoder', 'phantom']
N_AIR = 2
SEED = 20240718


def run(*args, **how):
    how.setdefault('timeout', 300)
    how.setdefault('stdin', subprocess.DEVNULL if 'input' not in how else None)
    return subprocess.run([CMIR, *map(str, args)], capture_output=True, text=True, errors='surrogateescape', **how)


def ok(*args, **how):
    done = run(*args, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ok_json(*args):
    return json.loads(ok(*args, '--json'))


def refused(code, words, *args, **how):
    """Ends with `code`, says each of `words`, and prints no result."""
    done = run(*args, **how)
    said = done.stdout + done.stderr
    assert done.returncode == code, f'exit {done.returncode}: {said}'
    for word in words:
        assert word in said, f'{word!r} is not in: {said}'
    return done


def body(rng, side, n_slices):
    """CT-like voxels [x, y, z]: a body that changes along z; the last N_AIR slices hold only air."""
    y, x = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
    a, b, bone = rng.uniform(.3, .8), rng.uniform(.3, .8), rng.uniform(-.3, .3)
    voxels = np.full((side, side, n_slices), -1000.0)
    for k in range(n_slices - N_AIR):
        t = k / n_slices
        voxels[..., k][x**2 / (a + .2 * t) + y**2 / b < 1] = 40 + 30 * np.sin(6 * t)
        voxels[..., k][np.hypot(x - bone * t, y + .1) < .1 + .1 * t] = 600
        voxels[..., k][np.hypot(x + .3, y - .2 * t) < .25 * (1 - t)] = -800
    return np.rint(voxels + rng.normal(0, 12, voxels.shape)).astype(np.int16)


def save_nifti(path, voxels, spacing=(8, 8, 5)):
    nib.save(nib.Nifti1Image(voxels, np.diag([-spacing[0], -spacing[1], spacing[2], 1])), path)


def save_dicom(folder, voxels, series_uid, study_uid='1.2.826.0.1.77', patient='ANNA', **tags):
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = '1.2.840.10008.5.1.4.1.1.2'
        meta.MediaStorageSOPInstanceUID = f'{series_uid}.{k + 1}'
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        ds = FileDataset(None, {}, file_meta=meta, preamble=b'\0' * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.PatientID = series_uid, study_uid, patient
        ds.Modality, ds.InstanceNumber, ds.StudyDate = 'CT', k + 1, '20240102'
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-100, -90, 30 + 5 * k], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [8, 8], 5
        ds.Rows, ds.Columns, ds.SamplesPerPixel = voxels.shape[1], voxels.shape[0], 1
        ds.PhotometricInterpretation, ds.PixelRepresentation = 'MONOCHROME2', 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.RescaleSlope, ds.RescaleIntercept = 1, -2048
        for name, value in tags.items():
            setattr(ds, name, value)
        ds.PixelData = (voxels[:, :, k].T.astype(np.int32) + 2048).astype('<u2').tobytes()
        ds.save_as(folder / f'{k * 7919 % 10007:05}.dcm', enforce_file_format=True)


@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scans')
    print('seed', SEED)
    rng = np.random.default_rng(SEED)
    for i in range(9):
        save_nifti(folder / f'scan_{i}.nii.gz', body(rng, 40, 12 + i))
    return folder


@pytest.fixture(scope='module')
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp('labels') / 'labels.csv'
    rows = [f'scan_{i}.nii.gz,{["lung", "liver"][i % 2]},{i / 2},{f"patient{i // 3}" if i < 6 else ""}' for i in range(9)]
    path.write_text('name,organ,size,PatientID\n' + '\n'.join(rows) + '\n')
    return path


@pytest.fixture(scope='module')
def archive(tmp_path_factory, scans, labels):
    path = tmp_path_factory.mktemp('archives') / 'archive'
    ok('add', path, scans, '--labels', labels)
    return path


@pytest.fixture
def own(archive, tmp_path):
    """A copy of the archive, to be changed."""
    return shutil.copytree(archive, tmp_path / 'own')


# ---------------------------------------------------------------- usage


USAGE = [
    ([], ['verb', 'cmir help']),
    (['serch', 'A', 'Q'], ["'serch'", "did you mean 'search'"]),
    (['frobnicate'], ["'frobnicate'"]),
    (['help', 'lst'], ["did you mean 'list'"]),
    (['list'], ['ARCHIVE']),
    (['list', 'A', 'extra'], ['too many', 'extra']),
    (['list', 'A', '--jsn'], ["'--jsn'", "did you mean '--json'", 'cmir list --help']),
    (['list', 'A', '-x'], ["'-x'"]),
    (['list', 'A', '--where'], ['--where', 'value']),
    (['list', 'A', '--json=1'], ['--json', 'no value']),
    (['list', 'A', '--where', 'Modality ='], ['filter']),
    (['list', 'A', '--where', "Modality = 'CT' andd Slices > 1"], ['filter']),
    (['search', 'A'], ['QUERY']),
    (['search', 'A', 'A:scan_1', '--slices', '5'], ['--slices', "'5'", '40:60']),
    (['search', 'A', 'A:scan_1', '--slices', '-1:4'], ['--slices']),
    (['search', 'A', 'A:scan_1', '--slices', '9:3'], ['9:3', 'after the last']),
    (['search', 'A', 'A:scan_1', '--slices', '5:13'], ['5:13', '0:12']),
    (['search', 'A', 'SCANS/scan_1.nii.gz', '--slices', '5:13'], ['5:13', '0:12']),
    (['search', 'A', 'A:scan_1', '--slices', '11:12'], ['11:12', 'air']),
    (['search', 'A', 'SCANS/scan_1.nii.gz', '--slices', '11:12'], ['11:12', 'air']),
    (['search', 'A', 'A:scan_1', '--limit', '0'], ['--limit', "'0'"]),
    (['search', 'A', 'A:scan_1', '--limit', 'many'], ['--limit', "'many'"]),
    (['search', 'A', 'A:scan_1', '--limit', '99999999999999999999999'], ['--limit']),
    (['search', 'A', 'A:scan_1', '--score', 'maxsimm'], ["'maxsimm'", 'symmetric']),
    (['search', 'A', 'A:scan_1', '--exclude', 'me'], ["'me'", 'patient']),
    (['search', 'A', 'A:scan_1', '--threads', '0'], ['--threads']),
    (['search', 'A', 'A:scan_1', '--where', 'size >'], ['filter']),
    (['search', 'A', 'SCANS'], ['9 volumes', '--series', 'scan_0']),
    (['add', 'A'], ['INPUT']),
    (['add', 'A', 'SCANS', '--id', 'x'], ['--id', '9']),
    (['add', 'A', 'SCANS', '--id', ''], ['--id']),
    (['add', 'A', 'SCANS', '--modality', 'PET'], ['--modality', 'CT, MR']),
    (['add', 'A', 'SCANS', '--min-slices', '0'], ['--min-slices']),
    (['add', 'A', '-'], ['standard input']),
    (['init', 'NEW', '--plane', 'axail'], ["'axail'", 'coronal']),
    (['export', 'A', 'scan_1'], ['-o']),
    (['export', 'A', 'scan_1', '-o', '-', '--json'], ['--json', 'standard output']),
    (['encoder'], ['list', 'inspect']),
    (['encoder', 'lst'], ["'lst'", 'inspect']),
    (['encoder', 'inspect'], ['card']),
    (['phantom', 'NEW', '--volumes', '0'], ['--volumes']),
]


def fill(args, archive, scans, tmp_path):
    """The letters of the tables below stand for paths."""
    def one(arg):
        for name, path in (('SCANS', scans), ('NEW', tmp_path / 'new'), ('EMPTY', tmp_path)):
            if arg.startswith(name):
                return str(path) + arg[len(name):]
        return str(archive) + arg[1:] if arg == 'A' or arg.startswith('A:') else arg
    return [one(arg) for arg in args]


@pytest.mark.parametrize('args,words', USAGE, ids=[' '.join(a)[:50] for a, _ in USAGE])
def test_usage_errors(args, words, archive, scans, tmp_path):
    done = refused(2, words, *fill(args, archive, scans, tmp_path))
    assert done.stdout == ''
    assert not (tmp_path / 'new').exists()


DATA_ERRORS = [
    (['list', 'NEW'], ['new', 'no such archive']),
    (['list', 'SCANS'], ['not a cmir archive']),
    (['list', 'SCANS/scan_1.nii.gz'], ['scan_1.nii.gz', 'not a cmir archive']),
    (['stat', 'EMPTY'], ['not a cmir archive']),
    (['verify', 'NEW'], ['no such archive']),
    (['show', 'A', 'nobody'], ["'nobody'"]),
    (['remove', 'A', 'nobody'], ["'nobody'"]),
    (['remove', 'NEW', 'nobody'], ['no such archive']),
    (['export', 'A', 'nobody', '-o', 'NEW'], ["'nobody'"]),
    (['export', 'A', 'scan_1', '-o', '/nowhere/x.npy'], ['/nowhere/x.npy']),
    (['init', 'A'], ['archive', 'already']),
    (['init', 'SCANS'], ['empty']),
    (['init', 'NEW', '--encoder', 'missing.json'], ['missing.json']),
    (['init', 'NEW', '--encoder', 'SCANS/scan_1.nii.gz'], ['scan_1.nii.gz']),
    (['add', 'SCANS', 'SCANS/scan_1.nii.gz'], ['not a cmir archive']),
    (['add', 'EMPTY', 'SCANS/scan_1.nii.gz'], ['not a cmir archive']),
    (['add', 'SCANS/scan_1.nii.gz', 'SCANS/scan_2.nii.gz'], ['scan_1.nii.gz', 'not a cmir archive']),
    (['add', 'A', 'missing.nii'], ['missing.nii', 'REFUSED', '1 refused']),
    (['add', 'NEW', 'missing.nii'], ['missing.nii', '1 refused']),
    (['add', 'NEW', 'EMPTY'], ['no scan found']),
    (['add', 'A', 'SCANS', '--labels', 'missing.csv'], ['missing.csv']),
    (['add', 'A', 'SCANS', '--encoder', 'missing.json'], ['missing.json']),
    (['label', 'A', 'missing.csv'], ['missing.csv']),
    (['label', 'A', 'SCANS'], ['scans', 'regular']),
    (['search', 'NEW', 'SCANS/scan_1.nii.gz'], ['no such archive']),
    (['search', 'A', 'missing.nii.gz'], ['missing.nii.gz', 'no such file']),
    (['search', 'A', 'A'], ['ARCHIVE:VOLUME']),
    (['search', 'A', 'A:nobody'], ["'nobody'"]),
    (['search', 'A', 'SCANS:scan_1'], ['no such file']),
    (['search', 'A', 'SCANS', '--series', 'nobody'], ['nobody', 'scan_0']),
    (['search', 'A', 'EMPTY'], ['no scan found']),
    (['search', 'A', 'SCANS/scan_1.nii.gz', '--report', '/nowhere/r.html'], ['/nowhere/r.html']),
    (['encoder', 'inspect', 'missing.json'], ['missing.json']),
    (['encoder', 'list', 'missing.json'], ['missing.json']),
]


@pytest.mark.parametrize('args,words', DATA_ERRORS, ids=[' '.join(a)[:50] for a, _ in DATA_ERRORS])
def test_data_errors(args, words, archive, scans, tmp_path):
    refused(1, words, *fill(args, archive, scans, tmp_path))
    assert not (tmp_path / 'new').exists()
    assert len(ok_json('list', archive)['Volumes']) == 9


@pytest.mark.parametrize('verb', VERBS)
def test_help(verb):
    text = ok(verb, '--help')
    assert text == ok('help', verb) == ok('--help', verb) == ok(verb, '-h')
    assert f'Example:\n  cmir {verb} ' in text and '--json' in text and 'not for diagnosis' in text
    assert verb in ok('help') and ok(verb, '--version') == ok('--version')
    assert re.fullmatch(r'cmir \d+\.\d+\.\d+\n', ok('--version'))


@pytest.mark.parametrize('verb', VERBS)
def test_help_names_every_option(verb):
    """Each option that the help shows is known to the parser, and is refused or taken as the help says."""
    for name, value in re.findall(r'--([a-z-]+)( [A-Z]\S*)?', ok(verb, '--help').split('Example:')[0].split('\n\n', 2)[2]):
        said = run(verb, f'--{name}' if value else f'--{name}=x').stderr
        assert ('needs a value' if value else 'takes no value') in said, (name, said)


@pytest.mark.parametrize('verb', VERBS)
def test_reference_names_every_option(verb):
    source = os.environ.get('CMIR_SOURCE') or os.path.join(os.path.dirname(os.path.abspath(__file__)), '../..')
    with open(os.path.join(source, 'docs', 'cli.md')) as f:
        sections = re.split(r'^## ', f.read(), flags=re.M)
    section = next(s for s in sections if s.startswith(verb + '\n'))
    own, common = ok(verb, '--help').split('Common options:')
    assert f'cmir {verb} ' in section
    assert set(re.findall(r'--[a-z-]+', own.partition('Options:')[2])) <= set(re.findall(r'--[a-z-]+', section))
    assert set(re.findall(r'--[a-z-]+', common.split('Example:')[0])) <= set(re.findall(r'--[a-z-]+', sections[0]))


def test_options_anywhere(archive, scans, tmp_path):
    want = ok('list', archive, '--json')
    assert want == ok('--json', 'list', archive) == ok('list', '--json', archive) == ok('list', '--json', '--', archive)
    assert want == ok('--threads', '2', '-q', 'list', archive, '--json')
    assert ok('list', archive, '--json', '-o', tmp_path / 'list.json') == ''
    assert (tmp_path / 'list.json').read_text() == want
    assert ok('list', archive, '--json', env={**os.environ, 'POSIXLY_CORRECT': '1'}) == want
    shutil.copy(scans / 'scan_1.nii.gz', tmp_path / '-x.nii.gz')
    assert 'added -x ' in ok('add', 'fresh', '--', '-x.nii.gz', cwd=tmp_path)
    assert 'created archive' in ok('add', 'created', './-x.nii.gz', cwd=tmp_path)


# ---------------------------------------------------------------- archives


def test_init(tmp_path):
    made = ok_json('init', tmp_path / 'a', '--plane', 'sagittal')
    assert made['Plane'] == 'sagittal' and made['Encoder']['Name'] == 'builtin' and made['Dim'] > 0
    stat_ = ok_json('stat', tmp_path / 'a')
    assert (stat_['Volumes'], stat_['Plane'], stat_['Encoder']) == (0, 'sagittal', made['Encoder'])
    assert 'empty' in run('list', tmp_path / 'a').stderr
    assert ok_json('list', tmp_path / 'a') == {'Volumes': []}
    (tmp_path / 'there').mkdir()
    ok('init', tmp_path / 'there')


@pytest.mark.parametrize('plane,axis', [('axial', 2), ('coronal', 1), ('sagittal', 0)])
def test_planes(plane, axis, tmp_path):
    voxels = body(np.random.default_rng(1), 30, 14)[:, :22]
    save_nifti(tmp_path / 's.nii', voxels)
    ok('init', tmp_path / 'a', '--plane', plane)
    ok('add', tmp_path / 'a', tmp_path / 's.nii')
    assert ok_json('list', tmp_path / 'a')['Volumes'][0]['Slices'] == voxels.shape[axis]


def test_add_creates_and_says_so(scans, tmp_path):
    text = ok('add', tmp_path / 'a', scans / 'scan_3.nii.gz')
    assert 'created archive' in text and 'built-in' in text and 'added scan_3 (15 slices)' in text
    done = ok_json('add', tmp_path / 'b', scans / 'scan_3.nii.gz')
    assert set(done) == {'Archive', 'Created', 'Added', 'AlreadyThere', 'Refused', 'Skipped', 'Slices', 'Seconds',
                         'Interrupted'}
    assert done['Created'] and done['Slices'] == 15 and not done['Interrupted']
    assert done['Added'] == [{'VolumeId': 'scan_3', 'Path': str(scans / 'scan_3.nii.gz'), 'Slices': 15, 'Warnings': []}]
    assert ok('add', '-q', tmp_path / 'c', scans / 'scan_3.nii.gz') == ''


def test_adding_again_is_a_no_op_that_says_so(own, scans):
    before = ok_json('stat', own)
    assert 'already there: scan_2' in ok('add', own, scans / 'scan_2.nii.gz')
    done = ok_json('add', own, scans)
    assert len(done['AlreadyThere']) == 9 and not done['Added'] and not done['Created']
    assert ok_json('stat', own) == before


def test_ids(own, scans, tmp_path):
    shutil.copy(scans / 'scan_2.nii.gz', tmp_path / 'scan_1.nii.gz')
    refused(1, ['scan_1', 'other embeddings', '1 refused'], 'add', own, tmp_path / 'scan_1.nii.gz')
    refused(1, ['scan_3', '1 refused'], 'add', own, scans / 'scan_2.nii.gz', '--id', 'scan_3')
    assert 'added elsewhere ' in ok('add', own, scans / 'scan_2.nii.gz', '--id', 'elsewhere')
    assert ok_json('show', own, 'elsewhere')['Path'] == str(scans / 'scan_2.nii.gz')


def test_paths_from_standard_input(scans, tmp_path):
    paths = f'{scans}/scan_1.nii.gz\n\n{scans}/scan_2.nii.gz\nmissing.nii\n{scans}/scan_4.nii.gz'
    done = refused(1, ['missing.nii', '3 added', '1 refused'], 'add', tmp_path / 'a', '-', input=paths)
    assert [v['VolumeId'] for v in ok_json('list', tmp_path / 'a')['Volumes']] == ['scan_1', 'scan_2', 'scan_4'], done
    refused(1, ['not a list of paths'], 'add', tmp_path / 'b', '-', input='a\0b\n')


def test_batch_with_bad_files(tmp_path):
    """1,000 files, 10 of them bad in 5 ways: 990 are added, a table of the ten ends the run."""
    rng = np.random.default_rng(SEED)
    folder = tmp_path / 'batch'
    folder.mkdir()
    for i in range(1000):
        save_nifti(folder / f'v{i:04}.nii', body(rng, 12, 6))
    bad = sorted(rng.choice(1000, 10, replace=False))
    for n, i in enumerate(bad):
        path = folder / f'v{i:04}.nii'
        content = bytearray(path.read_bytes())
        if n % 5 == 0:
            path.write_bytes(content[:1000])
        elif n % 5 == 1:
            path.write_bytes(b'')
        elif n % 5 == 2:
            path.write_bytes(os.urandom(3000))
        elif n % 5 == 3:
            content[70:72] = b'\x00\x08'  # no such type
            path.write_bytes(content)
        else:
            nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)), path)
    done = run('add', tmp_path / 'a', folder)
    assert done.returncode == 1, done.stderr
    table = done.stderr.strip().splitlines()
    assert table[0].split() == ['REFUSED', 'REASON'] and len(table) == 11
    for i, line in zip(bad, table[1:]):
        path, reason = line.split(None, 1)
        assert path == str(folder / f'v{i:04}.nii') and len(reason) > 10
    assert done.stdout.splitlines()[-1].startswith('990 added, 0 already there, 10 refused, 0 skipped')
    assert '\r' not in done.stderr and '\033' not in done.stderr
    assert ok_json('stat', tmp_path / 'a')['Volumes'] == 990
    again = run('add', tmp_path / 'a', folder, '--json')
    again_json = json.loads(again.stdout)
    assert again.returncode == 1 and len(again_json['AlreadyThere']) == 990 and not again_json['Added']
    assert [set(r) for r in again_json['Refused']] == [{'Path', 'VolumeId', 'Reason', 'Status'}] * 10
    assert 'sound' in ok('verify', tmp_path / 'a')


def test_inputs_beside_the_archive_are_not_mistaken_for_it(scans, tmp_path):
    """A bad file whose path begins like the archive's is one bad file, not a broken archive."""
    (tmp_path / 'ct_scans').mkdir()
    (tmp_path / 'ct_scans/a.nii').write_bytes((scans / 'scan_1.nii.gz').read_bytes()[:500])
    content = bytearray(nib.load(scans / 'scan_1.nii.gz').to_bytes())
    (tmp_path / 'ct_scans/b.nii').write_bytes(content[:-1000])
    shutil.copy(scans / 'scan_2.nii.gz', tmp_path / 'ct_scans/c.nii.gz')
    refused(1, ['1 added', '2 refused'], 'add', tmp_path / 'ct', tmp_path / 'ct_scans')


def test_scouts_and_other_files_are_skipped(tmp_path):
    rng = np.random.default_rng(3)
    save_dicom(tmp_path / 'in/ct', body(rng, 20, 9), '1.2.3.1')
    save_dicom(tmp_path / 'in/scout', body(rng, 20, 3), '1.2.3.2')
    (tmp_path / 'in/notes.txt').write_text('nothing to see')
    done = ok_json('add', tmp_path / 'a', tmp_path / 'in')
    assert [v['VolumeId'] for v in done['Added']] == ['1.2.3.1'] and not done['Refused']
    assert len(done['Skipped']) == 2 and any('notes.txt' in s['Path'] for s in done['Skipped'])
    assert '1.2.3.2' in [v['VolumeId'] for v in ok_json('add', tmp_path / 'a', tmp_path / 'in', '--min-slices', 3)['Added']]
    refused(1, ['notes.txt', '1 refused'], 'add', tmp_path / 'a', tmp_path / 'in/notes.txt')


def test_warnings_name_files(tmp_path):
    save_dicom(tmp_path / 'gap', body(np.random.default_rng(3), 20, 12), '1.2.3.1')
    for path in sorted((tmp_path / 'gap').iterdir()):
        if pydicom.dcmread(path).InstanceNumber == 6:
            path.unlink()
    done = run('add', tmp_path / 'a', tmp_path / 'gap')
    assert done.returncode == 0 and 'warning' in done.stderr and '.dcm' in done.stderr
    assert ok_json('add', tmp_path / 'b', tmp_path / 'gap')['Added'][0]['Warnings']
    assert run('add', '-q', tmp_path / 'c', tmp_path / 'gap').stderr == ''


def test_frames_and_modality(own, tmp_path):
    voxels = body(np.random.default_rng(5), 20, 10)
    four = np.stack([voxels, voxels + 5], axis=3)
    nib.save(nib.Nifti1Image(four, np.diag([-8, -8, 5, 1])), tmp_path / 'four.nii')
    refused(1, ['four.nii', '2 frames'], 'add', own, tmp_path / 'four.nii')
    refused(1, ['four.nii', '2 frames'], 'search', own, tmp_path / 'four.nii')
    ok('add', own, tmp_path / 'four.nii', '--frame', 2)
    ok('search', own, tmp_path / 'four.nii', '--frame', 2)
    ok('add', own, tmp_path / 'four.nii', '--frame', 1, '--modality', 'MR', '--id', 'as_mr')
    assert ok_json('show', own, 'as_mr')['Modality'] == 'MR'


def test_labels(own, tmp_path):
    csv = tmp_path / 'more.csv'
    csv.write_text('organ,VolumeId,stage\nbrain,scan_4,7\nbrain,nobody,8\n')
    done = ok_json('label', own, csv)
    assert done == {'Rows': 2, 'Labelled': 1, 'Missing': ['nobody']}
    assert 'no volume nobody' in ok('label', own, csv)
    shown = ok_json('show', own, 'scan_4')['Labels']
    assert shown['organ'] == 'brain' and shown['stage'] == '7' and shown['size'] == '2.0'
    csv.write_text('name,stage\nnobody,1\n')
    refused(1, ["'nobody'", "'scan_0'"], 'label', own, csv)
    for bad in ('', 'name\n', 'name,a,a\nscan_1,1,2\n', 'name,a\nscan_1,1,2,3\n', 'name,a\n"scan_1,1\n',
                'name,a\nscan_1,1\nscan_1,2\n', 'name,PatientAge\nscan_1,old\n'):
        csv.write_text(bad)
        done = run('label', own, csv)
        assert done.returncode == 1 and 'more.csv' in done.stderr or bad == 'name\n', (bad, done)


def test_remove(own):
    done = run('remove', own, 'scan_1', 'nobody', 'scan_2', '--json')
    assert done.returncode == 1 and "'nobody'" in done.stderr
    result = json.loads(done.stdout)
    assert result['Removed'] == ['scan_1', 'scan_2'] and result['Refused'][0]['VolumeId'] == 'nobody'
    stat_ = ok_json('stat', own)
    assert stat_['Volumes'] == 7 and stat_['DeadBytes'] > 0
    assert 'removed scan_3' in ok('remove', own, 'scan_3')
    refused(1, ['scan_3'], 'show', own, 'scan_3')
    assert not {'scan_1', 'scan_2', 'scan_3'} & {m['VolumeId'] for m in ok_json('search', own, f'{own}:scan_4')['Matches']}


def test_one_writer_many_readers(own, scans):
    writer = subprocess.Popen([CMIR, 'add', own, '-'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 20
        while (own / 'lock').read_text().strip() != str(writer.pid) and time.monotonic() < deadline:
            time.sleep(.02)
        refused(1, ['own', 'is using it'], 'add', own, scans / 'scan_1.nii.gz')
        refused(1, ['is using it'], 'remove', own, 'scan_1')
        assert len(ok_json('list', own)['Volumes']) == 9
        assert ok_json('search', own, f'{own}:scan_1')['Matches']
    finally:
        said = writer.communicate(f'{scans}/scan_1.nii.gz\n')[0]
    assert writer.returncode == 0 and 'already there: scan_1' in said


def test_interrupted_add_keeps_what_it_reported(tmp_path):
    rng = np.random.default_rng(9)
    for i in range(60):
        save_nifti(tmp_path / f's{i:02}.nii', body(rng, 64, 24))
    writer = subprocess.Popen([CMIR, 'add', tmp_path / 'a', tmp_path, '--threads', '1'], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    lines = [writer.stdout.readline() for _ in range(4)]
    writer.send_signal(signal.SIGINT)
    out, err = writer.communicate(timeout=60)
    reported = {line.split()[1] for line in lines + out.splitlines() if line.startswith('added ')}
    assert writer.returncode == 1 and 'interrupted' in err and ' added, ' in out.splitlines()[-1]
    assert 3 <= len(reported) < 60
    assert {v['VolumeId'] for v in ok_json('list', tmp_path / 'a')['Volumes']} == reported
    assert 'sound' in ok('verify', tmp_path / 'a')


def test_progress_on_a_terminal_only(scans, tmp_path):
    ours, theirs = pty.openpty()
    done = subprocess.Popen([CMIR, 'add', tmp_path / 'a', scans], stdout=subprocess.PIPE, stderr=theirs, text=True)
    out = done.communicate(timeout=60)[0]
    os.close(theirs)
    shown = b''
    while select.select([ours], [], [], 0.2)[0]:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the end, as Linux tells it
            break
    os.close(ours)
    assert done.returncode == 0 and out.count('added scan_') == 9 and '\r' not in out
    assert re.search(r'\d of 9 volumes, \d+ slices/s, \d+:\d\d left', shown.decode())
    assert run('add', tmp_path / 'b', scans).stderr == ''


def limited(nbytes):
    return {'preexec_fn': lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes)), 'restore_signals': False}


def test_full_disk(scans, archive, tmp_path):
    """No file may grow beyond a limit, as on a full disk: the archive says so, stops and stays sound."""
    done = refused(1, ['segments', 'cannot write'], 'add', tmp_path / 'a', scans, **limited(100_000))
    n_added = done.stdout.count('added scan_')
    assert 0 < n_added < 9
    assert len(ok_json('list', tmp_path / 'a')['Volumes']) == n_added
    assert 'sound' in ok('verify', tmp_path / 'a')
    assert len(ok_json('add', tmp_path / 'a', scans)['Added']) == 9 - n_added
    limit = 33_000  # SQLite needs 32 KiB to share a catalogue between processes
    assert 20 * ok_json('stat', archive)['Dim'] * 4 > limit
    refused(1, ['x.npy', 'cannot write'], 'export', archive, 'scan_8', '-o', tmp_path / 'x.npy', **limited(limit))
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a']
    for verb in (['list'], ['stat'], ['list', '--json'], ['search', f'{archive}:scan_1', '--json']):
        with open('/dev/full', 'w') as full:
            done = subprocess.run([CMIR, verb[0], archive, *verb[1:]], stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and 'cannot write' in done.stderr
    refused(1, ['/dev/full'], 'list', archive, '-o', '/dev/full')
    refused(1, ['/dev/full'], 'export', archive, 'scan_1', '-o', '/dev/full')


def test_output_replaces_only_when_whole(archive, tmp_path):
    path = tmp_path / 'x.json'
    path.write_text('precious')
    refused(1, ['nobody'], 'show', archive, 'nobody', '-o', path)
    assert path.read_text() == 'precious'
    ok('show', archive, 'scan_1', '--json', '-o', path)
    assert json.loads(path.read_text())['VolumeId'] == 'scan_1'
    os.mkfifo(tmp_path / 'pipe')
    reader = subprocess.Popen(['cat', tmp_path / 'pipe'], stdout=subprocess.PIPE, text=True)
    ok('show', archive, 'scan_1', '--json', '-o', tmp_path / 'pipe')
    assert json.loads(reader.communicate(timeout=20)[0])['VolumeId'] == 'scan_1'
    assert stat.S_ISFIFO((tmp_path / 'pipe').stat().st_mode)


def test_unreadable_files(tmp_path, scans):
    how = {}
    if os.geteuid() == 0:
        how = {'user': 65534, 'group': 65534, 'extra_groups': []}
        for folder in [tmp_path, *tmp_path.parents[:3]]:
            if folder.is_dir() and str(folder) != '/tmp' and folder.stat().st_uid == os.geteuid():
                os.chmod(folder, folder.stat().st_mode | 0o755)
    for part in (CMIR, *list(scans.glob('scan_1*'))):
        done = subprocess.run(['test', '-r', str(part)], **how)
        if done.returncode != 0 and part == CMIR:
            pytest.skip('the program cannot be reached by an ordinary user')
    shutil.copy(scans / 'scan_1.nii.gz', tmp_path / 'secret.nii.gz')
    os.chmod(tmp_path / 'secret.nii.gz', 0)
    shutil.copytree(ok_archive(tmp_path, scans), tmp_path / 'closed')
    (tmp_path / 'out').mkdir()
    os.chmod(tmp_path / 'out', 0o777)
    refused(1, ['secret.nii.gz', 'Permission denied'], 'add', tmp_path / 'out/a', tmp_path / 'secret.nii.gz', **how)
    refused(1, ['secret.nii.gz', 'Permission denied'], 'search', tmp_path / 'closed', tmp_path / 'secret.nii.gz', **how)
    os.chmod(tmp_path / 'closed/catalog.sqlite', 0)
    done = run('list', tmp_path / 'closed', **how)
    assert done.returncode == 1 and 'closed' in done.stderr


def ok_archive(tmp_path, scans):
    ok('add', tmp_path / 'open', scans / 'scan_1.nii.gz')
    return tmp_path / 'open'


def test_damaged_archive(own):
    segment = next((own / 'segments').iterdir())
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0x40
    segment.write_bytes(content)
    done = run('verify', own, '--json')
    found = json.loads(done.stdout)
    assert done.returncode == 1 and not found['Sound'] and found['Problems']
    refused(1, ['1 problem'], 'verify', own)
    (own / 'catalog.sqlite').write_bytes(b'no database' * 100)
    for name in ('catalog.sqlite-wal', 'catalog.sqlite-shm'):
        (own / name).unlink(missing_ok=True)
    refused(1, ['catalog.sqlite'], 'list', own)


# ---------------------------------------------------------------- what verbs print


RECORD = {'VolumeId', 'Path', 'Format', 'Modality', 'SeriesInstanceUID', 'StudyInstanceUID', 'PatientId', 'PatientSex',
          'PatientAge', 'StudyDate', 'BodyPartExamined', 'Manufacturer', 'SeriesDescription', 'Slices', 'AirSlices',
          'SliceSpacing', 'Added', 'Labels'}


def test_list_show_stat_json(archive, scans):
    volumes = ok_json('list', archive)['Volumes']
    assert [v['VolumeId'] for v in volumes] == [f'scan_{i}' for i in range(9)]
    for i, v in enumerate(volumes):
        assert set(v) == RECORD
        assert (v['Slices'], v['AirSlices'], v['Modality'], v['Format']) == (12 + i, N_AIR, 'CT', 'NIfTI')
        assert v['Path'] == str(scans / f'scan_{i}.nii.gz') and v['SliceSpacing'] == 5 and v['PatientAge'] is None
        assert v['Labels'] == {'organ': ['lung', 'liver'][i % 2], 'size': str(i / 2)}
        assert v['PatientId'] == (f'patient{i // 3}' if i < 6 else '')
        assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', v['Added'])
        text = ok('list', archive)
        assert v['VolumeId'] in text and v['Labels']['organ'] in text
    shown = ok_json('show', archive, 'scan_4')
    assert set(shown) == RECORD | {'Dims', 'Affine', 'HasHU', 'ValueLow', 'ValueHigh', 'SliceMm', 'AirSliceNumbers',
                                   'SOPInstanceUIDs'}
    image = nib.load(scans / 'scan_4.nii.gz')
    assert shown['Dims'] == list(image.shape) and shown['AirSliceNumbers'] == [14, 15]
    np.testing.assert_allclose(shown['Affine'], (np.diag([-1, -1, 1, 1]) @ image.affine)[:3], atol=1e-4)
    np.testing.assert_allclose(shown['SliceMm'], 5 * np.arange(16), atol=1e-4)
    stat_ = ok_json('stat', archive)
    assert set(stat_) == {'Archive', 'Volumes', 'Slices', 'AirSlices', 'Encoder', 'CardPath', 'Dim', 'Plane',
                          'EmbeddingBytes', 'DeadBytes'}
    assert stat_['Volumes'] == 9 and stat_['Slices'] == sum(12 + i for i in range(9)) and stat_['AirSlices'] == 18
    assert ok_json('verify', archive) == {'Archive': str(archive), 'Volumes': 9, 'Sound': True, 'Problems': []}
    listed = ok_json('encoder', 'list')['Encoders']
    assert listed[0]['Name'] == 'builtin' and listed[0]['Sha256'] == stat_['Encoder']['Sha256']
    inspected = ok_json('encoder', 'inspect', 'builtin')
    assert inspected['Dim'] == stat_['Dim'] and inspected['Description'] == ok('encoder', 'inspect', 'builtin')


def test_where(archive):
    for where, keep in (("organ = 'lung'", lambda i: i % 2 == 0), ('size >= 2 and Slices < 18', lambda i: 4 <= i < 6),
                        ("not PatientID = 'patient0'", lambda i: i >= 3), ("size = 0 or VolumeId = 'scan_8'",
                                                                           lambda i: i in (0, 8))):
        want = [f'scan_{i}' for i in range(9) if keep(i)]
        if where.startswith('not'):
            want = [v for v in want if v < 'scan_6']  # of an unknown patient nothing is true
            where = "PatientID != 'patient0'"
        assert [v['VolumeId'] for v in ok_json('list', archive, '--where', where)['Volumes']] == want, where
        found = ok_json('search', archive, f'{archive}:scan_1', '--exclude', 'none', '--where', where)
        assert sorted(m['VolumeId'] for m in found['Matches']) == want and found['Candidates'] == len(want)


def test_export(archive, tmp_path):
    for volume in ok_json('list', archive)['Volumes']:
        path = tmp_path / 'x.npy'
        done = ok_json('export', archive, volume['VolumeId'], '-o', path)
        rows = np.load(path, allow_pickle=False)
        assert rows.dtype == np.dtype('<f4') and rows.shape == (volume['Slices'], ok_json('stat', archive)['Dim'])
        assert done == {'VolumeId': volume['VolumeId'], 'Path': str(path), 'Slices': rows.shape[0], 'Dim': rows.shape[1]}
        np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=2e-3)
        raw = subprocess.run([CMIR, 'export', archive, volume['VolumeId'], '-o', '-'], capture_output=True, check=True)
        assert raw.stdout == path.read_bytes() and raw.stdout[:8] == b'\x93NUMPY\x01\x00'
        assert (len(raw.stdout) - rows.nbytes) % 64 == 0


def test_nothing_found_says_why(archive, scans, tmp_path):
    query = f'{archive}:scan_1'
    assert 'passes --where' in ok('search', archive, query, '--where', "organ = 'spleen'")
    assert '--exclude volume' in ok('search', archive, query, '--where', "VolumeId = 'scan_1'")
    assert '--exclude patient' in ok('search', archive, query, '--where', "PatientID = 'patient0'", '--exclude', 'patient')
    ok('init', tmp_path / 'a')
    assert 'empty' in ok('search', tmp_path / 'a', query)
    found = ok_json('search', tmp_path / 'a', scans / 'scan_1.nii.gz')
    assert found['Matches'] == [] and found['Candidates'] == 0 and found['Notice'] == NOTICE


def test_report(archive, scans, tmp_path):
    text = ok('search', archive, scans / 'scan_1.nii.gz', '--report', tmp_path / 'r.html', '--limit', 3)
    page = (tmp_path / 'r.html').read_text()
    assert 'r.html' in text and NOTICE in page.lower() and page.count('data:image/png') >= 4
    assert 'cmir search' in page
    for m in ok_json('search', archive, scans / 'scan_1.nii.gz', '--limit', 3)['Matches']:
        assert m['VolumeId'] in page


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
    assert set(found) == {'Query', 'ScoreType', 'Encoder', 'Notice', 'Candidates', 'Seconds', 'Matches'}
    assert found['Notice'] == NOTICE and set(found['Encoder']) == {'Name', 'Version', 'Sha256'}
    assert found['Candidates'] == len(exported) - 1
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
