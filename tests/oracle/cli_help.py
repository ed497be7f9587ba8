# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command share: running it, made-up scans, an archive of them."""
import json
import os
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset

CMIR = os.path.abspath(os.environ['CMIR'])
SHARED = os.environ.get('CMIR_SHARED') or os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../shared')
DATA = os.path.join(os.path.realpath(SHARED), 'data') if os.path.isdir(os.path.join(SHARED, 'data')) else None
needs_data = pytest.mark.skipif(DATA is None, reason='no folder of shared data (CMIR_SHARED)')
NOTICE = 'research use only, not for diagnosis'
VERBS = ['init', 'add', 'import', 'label', 'list', 'show', 'remove', 'search', 'calibrate', 'eval', 'stat', 'verify',
         'export', 'encoder', 'fit', 'phantom', 'serve', 'user', 'audit']
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
