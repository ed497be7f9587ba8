# SPDX-License-Identifier: Apache-2.0
"""DICOM through libcmir against pydicom (stored values), SimpleITK (place in the patient) and numpy.

Synthetic series are written with pydicom and compressed with pydicom or DCMTK's programs; real ones
and the hostile files come from the shared data."""
import glob
import os
import random
import shutil
import struct
import subprocess
import tarfile
import warnings
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

import cmir_ffi

warnings.simplefilter('ignore')
DATA = cmir_ffi.shared_data()
needs_data = pytest.mark.skipif(DATA is None, reason='shared data not found (CMIR_SHARED)')
PROBE = os.path.join(os.path.dirname(os.environ.get('CMIR') or 'build/cmir'), 'tests', 'test_dicom')
PLAIN = PROBE + '_plain'
CT, MR, ENHANCED_CT = (f'1.2.840.10008.5.1.4.1.1.{s}' for s in ('2', '4', '2.1'))
IMPLICIT, EXPLICIT, BIG, DEFLATED = ('1.2.840.10008.1.2' + s for s in ('', '.1', '.2', '.1.99'))
N, ROWS, COLS = 7, 40, 36


def voxels(n=N, rows=ROWS, cols=COLS, bits=16, stored=12, signed=False, seed=0):
    rng = np.random.default_rng(seed)
    low = -(1 << (stored - 1)) if signed else 0
    ramp = np.add.outer(np.arange(rows), np.arange(cols)) * ((1 << (stored - 1)) // (rows + cols))
    noise = rng.integers(0, 1 << (stored - 2), (n, rows, cols))
    return (low + ramp + noise).astype(f'<{"i" if signed else "u"}{bits // 8}')


def header(v, uid, **changes):
    d = Dataset()
    d.SOPClassUID, d.SOPInstanceUID, d.SeriesInstanceUID, d.StudyInstanceUID = CT, uid, '1.2.3.4', '1.2.3'
    d.Modality, d.PatientID, d.PatientSex, d.StudyDate = 'CT', 'P-17', 'F', '20200229'
    d.Manufacturer, d.BodyPartExamined, d.SeriesDescription = 'Maker', 'CHEST', 'Thorax'
    d.ImageOrientationPatient, d.PixelSpacing, d.SliceThickness = [1, 0, 0, 0, 1, 0], [1.5, 0.75], 2
    d.RescaleSlope, d.RescaleIntercept, d.RescaleType = 1, -1024, 'HU'
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, 'MONOCHROME2'
    d.Rows, d.Columns = v.shape[-2:]
    d.BitsAllocated = 8 * v.itemsize
    d.BitsStored, d.PixelRepresentation = min(12, 8 * v.itemsize), int(v.dtype.kind == 'i')
    d.HighBit = d.BitsStored - 1
    d.PixelData = v.tobytes()
    d['PixelData'].VR = 'OW' if v.itemsize > 1 else 'OB'
    for name, value in changes.items():
        if value is None:
            delattr(d, name)
        else:
            setattr(d, name, value)
    return d


def write(path, d, syntax=EXPLICIT):
    d.file_meta = FileMetaDataset()
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    d.file_meta.TransferSyntaxUID, d.file_meta.ImplementationClassUID = syntax, '2.25.4'
    pydicom.dcmwrite(path, d, enforce_file_format=True)


def positions(n=N, step=(0, 0, 2.5), origin=(-10, -20, 30)):
    return [[float(o + s * k) for o, s in zip(origin, step)] for k in range(n)]


def write_series(folder, v=None, where=None, syntax=EXPLICIT, change=None, names=None, **changes):
    """One file per slice, s0.dcm at the first position and so on; change(k, d) edits a slice."""
    os.makedirs(folder, exist_ok=True)
    v = voxels() if v is None else v
    where = positions(len(v)) if where is None else where
    for k in range(len(v)):
        d = header(v[k], f'1.2.3.4.{k + 1}', **{'ImagePositionPatient': where[k], **changes})
        if change:
            change(k, d)
        write(os.path.join(folder, names[k] if names else f's{k}.dcm'), d, syntax)
    return v


def refusal(path, **options):
    with pytest.raises(cmir_ffi.Error) as caught:
        cmir_ffi.read(path, **options)
    return caught.value


# ---------------------------------------------------------------- real series

REAL = {'RIDER_0109': 'ct/torso/RIDER_0109', 'LUNGDX_A0002': 'ct/torso/LUNGDX_A0002',
        'CRLM_1004': 'ct/torso/CRLM_1004', 'TOTALSEG_J2K': 'ct/torso/TOTALSEG_J2K',
        'GE_TILT': 'ct/geometry/GE_TILT', 'prostate': 'mr/prostate'}


@needs_data
@pytest.mark.parametrize('name', REAL)
def test_real_series(name):
    """Every voxel and every position as pydicom has them; the affine as SimpleITK has it."""
    import SimpleITK as sitk
    root = os.path.join(DATA, REAL[name])
    volume = cmir_ffi.read(root)
    files = [f for f in glob.glob(os.path.join(root, '**', '*'), recursive=True) if os.path.isfile(f)]
    by_uid = {}
    for d in map(pydicom.dcmread, files):
        by_uid[d.get('SOPInstanceUID') or d.file_meta.MediaStorageSOPInstanceUID] = d
    uids = volume.uids()
    assert sorted(uids) == sorted(by_uid) and volume.dims[2] == len(files)
    normal = np.cross(volume.affine[:, 0], volume.affine[:, 1])
    along = [np.dot(by_uid[u].ImagePositionPatient, normal) for u in uids]
    assert along == sorted(along)
    for k, uid in enumerate(uids):
        d = by_uid[uid]
        want = d.pixel_array * float(d.get('RescaleSlope', 1)) + float(d.get('RescaleIntercept', 0))
        np.testing.assert_array_equal(volume.slice(k), want.astype(np.float32))
        centre = (np.array(d.ImagePositionPatient) + volume.affine[:, 0] * (d.Columns - 1) / 2 +
                  volume.affine[:, 1] * (d.Rows - 1) / 2)
        assert abs(volume.mm()[k] - centre[2]) < 1e-4
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(os.path.dirname(files[0])))
    image = reader.Execute()
    affine = np.zeros((3, 4))
    affine[:, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    affine[:, 3] = image.GetOrigin()
    if name == 'GE_TILT':  # SimpleITK turns the slices of a tilted gantry upright; the positions do not
        ends = [np.array(by_uid[u].ImagePositionPatient) for u in (uids[0], uids[-1])]
        affine[:, 2] = (ends[1] - ends[0]) / (len(uids) - 1)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)


@needs_data
def test_real_oddities_are_reported():
    tilt = ' '.join(cmir_ffi.read(os.path.join(DATA, REAL['GE_TILT'])).warnings)
    assert 'tilted gantry, 18.5 degrees' in tilt and 'gap of 6.999 mm' in tilt and 'IM0000.dcm' in tilt
    step, = cmir_ffi.read(os.path.join(DATA, REAL['RIDER_0109'])).warnings
    assert 'short step' in step and 'IM0016.dcm' in step and 'IM0053.dcm' in step
    assert cmir_ffi.read(os.path.join(DATA, REAL['CRLM_1004'])).warnings == []
    anonymous = cmir_ffi.read(os.path.join(DATA, REAL['TOTALSEG_J2K']))
    assert 'no SeriesInstanceUID' in anonymous.warnings[0]
    assert anonymous.info['volume_id'] == 'TOTALSEG_J2K' and anonymous.info['series_uid'] == ''


# ---------------------------------------------------------------- transfer syntaxes

def by_tool(*command):
    def compress(path):
        if not shutil.which(command[0]):
            pytest.skip(f'{command[0]} (package dcmtk) is not installed')
        subprocess.run([*command, path, path + '.new'], check=True, capture_output=True)
        os.replace(path + '.new', path)
    return compress


def by_pydicom(syntax, **options):
    def compress(path):
        d = pydicom.dcmread(path)
        d.compress(syntax, generate_instance_uid=False, **options)
        d.save_as(path)
    return compress


# transfer syntax -> (bits, how to write it, tolerance against pydicom: decoders of lossy JPEG may round differently)
SYNTAXES = {
    IMPLICIT: (16, None, 0), EXPLICIT: (16, None, 0), BIG: (16, None, 0), DEFLATED: (16, None, 0),
    '1.2.840.10008.1.2.4.50': (8, by_tool('dcmcjpeg', '+eb', '+un'), 1),
    '1.2.840.10008.1.2.4.51': (16, by_tool('dcmcjpeg', '+ee', '+un'), 2),
    '1.2.840.10008.1.2.4.57': (16, by_tool('dcmcjpeg', '+el', '+un'), 0),
    '1.2.840.10008.1.2.4.70': (16, by_tool('dcmcjpeg', '+e1', '+un'), 0),
    '1.2.840.10008.1.2.4.80': (16, by_tool('dcmcjpls', '+el', '+un'), 0),
    '1.2.840.10008.1.2.4.81': (16, by_tool('dcmcjpls', '+en', '+un'), 0),
    '1.2.840.10008.1.2.4.90': (16, by_pydicom('1.2.840.10008.1.2.4.90'), 0),
    '1.2.840.10008.1.2.4.91': (16, by_pydicom('1.2.840.10008.1.2.4.91', j2k_cr=[6]), 0),
    '1.2.840.10008.1.2.5': (16, by_tool('dcmcrle', '+un'), 0),
}


@pytest.mark.parametrize('syntax', SYNTAXES)
@pytest.mark.parametrize('signed', [False, True])
def test_transfer_syntax(tmp_path, syntax, signed):
    bits, compress, tolerance = SYNTAXES[syntax]
    if signed and syntax.endswith(('.50', '.51', '.81')):
        pytest.skip('DCMTK codes no signed values with loss')
    v = voxels(bits=bits, stored=8 if bits == 8 else 12, signed=signed, seed=3)
    raw = v.astype('>i2' if signed else '>u2') if syntax == BIG else v
    write_series(tmp_path, raw, syntax=syntax if compress is None else EXPLICIT,
                 change=lambda k, d: setattr(d, 'PixelRepresentation', int(signed)))
    for path in sorted(map(str, tmp_path.iterdir())):
        if compress:
            compress(path)
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    volume = cmir_ffi.read(tmp_path)
    files = [pydicom.dcmread(tmp_path / f's{k}.dcm') for k in range(N)]  # DCMTK rescales what it codes with loss
    want = np.stack([d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in files])
    slope = max(float(d.RescaleSlope) for d in files)
    assert np.abs(volume.slices() - want).max() <= tolerance * slope + 1e-3 * (slope != 1)
    if tolerance == 0 and not syntax.endswith(('.81', '.91')):
        np.testing.assert_array_equal(volume.slices(), v.astype(float) - 1024)


@pytest.mark.parametrize('syntax', ['1.2.840.10008.1.2.4.100', '1.2.840.10008.1.2.4.92', '1.2.3.4.5.6.7'])
def test_other_transfer_syntaxes_are_refused_by_uid(tmp_path, syntax):
    write_series(tmp_path)
    for path in sorted(map(str, tmp_path.iterdir())):
        by_tool('dcmcjpeg', '+e1', '+un')(path)
        d = pydicom.dcmread(path)
        d.file_meta.TransferSyntaxUID = syntax
        d.save_as(path, enforce_file_format=True, little_endian=True, implicit_vr=False)
    error = refusal(tmp_path)
    assert error.code == 'EUNSUPPORTED' and syntax in error.message and '.dcm' in error.message


# ---------------------------------------------------------------- values

@pytest.mark.parametrize('bits,stored,signed', [(8, 8, False), (8, 8, True), (16, 16, False), (16, 16, True),
                                                (16, 12, True), (16, 10, False), (32, 32, True), (32, 20, False)])
def test_pixel_types(tmp_path, bits, stored, signed):
    v = voxels(bits=bits, stored=min(stored, 22), signed=signed)
    write_series(tmp_path, v, BitsStored=stored, HighBit=stored - 1, RescaleIntercept=0)
    want = np.stack([pydicom.dcmread(tmp_path / f's{k}.dcm').pixel_array for k in range(N)])
    np.testing.assert_array_equal(want, v)
    np.testing.assert_array_equal(cmir_ffi.read(tmp_path).slices(), v.astype(np.float32))


@pytest.mark.parametrize('high_bit', [11, 13, 15])
@pytest.mark.parametrize('signed', [False, True])
def test_bits_outside_the_stored_ones_are_dropped(tmp_path, high_bit, signed):
    """12 stored bits below `high_bit`, overlays in the others, as in old files."""
    v = voxels(signed=signed).astype(np.int32)
    shift = high_bit - 11
    overlay = np.random.default_rng(5).integers(0, 1 << 16, v.shape)
    words = ((v & 0xFFF) << shift | overlay & ~(0xFFF << shift)).astype('<u2')
    write_series(tmp_path, words, HighBit=high_bit, PixelRepresentation=int(signed), RescaleIntercept=0)
    np.testing.assert_array_equal(cmir_ffi.read(tmp_path).slices(), v)


def test_rescale_of_each_file(tmp_path):
    slopes = np.linspace(0.5, 2, N)

    def change(k, d):
        d.RescaleSlope, d.RescaleIntercept = f'{slopes[k]:.6f}', str(-100 * k)
    v = write_series(tmp_path, change=change)
    want = np.stack([v[k] * float(f'{slopes[k]:.6f}') - 100 * k for k in range(N)])
    np.testing.assert_allclose(cmir_ffi.read(tmp_path).slices(), want, rtol=1e-6)


def test_mixed_signs_in_one_series(tmp_path):
    v = voxels(stored=12)
    write_series(tmp_path, v, change=lambda k, d: setattr(d, 'PixelRepresentation', k % 2), BitsStored=16, HighBit=15)
    np.testing.assert_array_equal(cmir_ffi.read(tmp_path).slices(), v.astype(float) - 1024)


def test_monochrome1(tmp_path):
    """HU do not depend on how they are displayed; other values are inverted within the stored range."""
    v = write_series(tmp_path / 'ct', PhotometricInterpretation='MONOCHROME1')
    ct = cmir_ffi.read(tmp_path / 'ct')
    np.testing.assert_array_equal(ct.slices(), v.astype(float) - 1024)
    assert 'MONOCHROME1' in ct.warnings[0] and 's0.dcm' in ct.warnings[0]
    write_series(tmp_path / 'mr', PhotometricInterpretation='MONOCHROME1', Modality='MR', SOPClassUID=MR,
                 RescaleIntercept=0)
    np.testing.assert_array_equal(cmir_ffi.read(tmp_path / 'mr').slices(), 4095 - v.astype(float))
    s = voxels(signed=True)
    write_series(tmp_path / 'signed', s, PhotometricInterpretation='MONOCHROME1', Modality='MR', RescaleIntercept=0)
    np.testing.assert_array_equal(cmir_ffi.read(tmp_path / 'signed').slices(), -1 - s.astype(float))


def test_ct_without_rescale_is_reported(tmp_path):
    write_series(tmp_path, RescaleSlope=None, RescaleIntercept=None)
    assert 'no RescaleSlope' in cmir_ffi.read(tmp_path).warnings[0]


def test_info(tmp_path):
    write_series(tmp_path, PatientAge='018M')
    info = cmir_ffi.read(tmp_path).info
    assert info['volume_id'] == info['series_uid'] == '1.2.3.4' and info['study_uid'] == '1.2.3'
    assert (info['modality'], info['patient_id'], info['patient_sex'], info['study_date'], info['body_part'],
            info['manufacturer'], info['description']) == ('CT', 'P-17', 'F', '20200229', 'CHEST', 'Maker', 'Thorax')
    assert info['format'] == 'DICOM' and info['path'] == str(tmp_path) and info['patient_age'] == 1.5
    assert info['has_hu']


@pytest.mark.parametrize('charset,text', [('ISO_IR 100', 'Schädel groß'), ('ISO_IR 192', 'голова ✓'),
                                          ('ISO_IR 144', 'голова'), ('GB18030', '头部')])
def test_character_sets(tmp_path, charset, text):
    write_series(tmp_path, SpecificCharacterSet=charset, SeriesDescription=text)
    assert cmir_ffi.read(tmp_path).info['description'] == text


def test_character_sets_that_cannot_be_converted(tmp_path):
    """Escape sequences of an unknown set must not reach a terminal or a page."""
    write_series(tmp_path, SpecificCharacterSet=['', 'ISO 2022 IR 87'], SeriesDescription='頭部 head')
    text = cmir_ffi.read(tmp_path).info['description']
    assert text.isprintable() and text.endswith('head')


def test_age_from_dates(tmp_path):
    write_series(tmp_path, PatientBirthDate='19800229')
    assert abs(cmir_ffi.read(tmp_path).info['patient_age'] - 40) < 0.01


# ---------------------------------------------------------------- geometry

def test_order_is_by_position_only(tmp_path):
    seed = random.randrange(1 << 30)
    print('seed', seed)
    rng = random.Random(seed)
    names = [f'{x}.dcm' for x in rng.sample(range(1000), N)]
    numbers = rng.sample(range(100), N)
    v = write_series(tmp_path, names=names, change=lambda k, d: setattr(d, 'InstanceNumber', numbers[k]))
    volume = cmir_ffi.read(tmp_path)
    np.testing.assert_array_equal(volume.slices(), v.astype(float) - 1024)
    assert volume.uids() == [f'1.2.3.4.{k + 1}' for k in range(N)] and volume.warnings == []
    np.testing.assert_allclose(volume.mm(), 30 + 2.5 * np.arange(N))
    want = [[0.75, 0, 0, -10], [0, 1.5, 0, -20], [0, 0, 2.5, 30]]
    np.testing.assert_allclose(volume.affine, want, atol=1e-9)


@pytest.mark.parametrize('seed', range(5))
def test_oblique_affine(tmp_path, seed):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    row, col = q[:, 0], q[:, 1]
    normal = np.cross(row, col)
    origin, step = rng.uniform(-200, 200, 3), rng.uniform(0.5, 6)
    order = rng.permutation(N)
    v = voxels()
    where = [[f'{x:.12g}' for x in origin + normal * step * k] for k in order]
    write_series(tmp_path, v[order], where=where,
                 ImageOrientationPatient=[f'{x:.12g}' for x in (*row, *col)])
    volume = cmir_ffi.read(tmp_path)
    want = np.stack([row * 0.75, col * 1.5, normal * step, origin], 1)
    np.testing.assert_allclose(volume.affine, want, atol=1e-4)
    native = next(p for p in cmir_ffi.PLANES if volume.stack(p)['native'])
    assert volume.uids(native) == [f'1.2.3.4.{list(order).index(k) + 1}' for k in range(N)]


def test_gap_is_reported_and_positions_kept(tmp_path):
    where = positions(N + 1)
    del where[4]
    write_series(tmp_path, where=where)
    volume = cmir_ffi.read(tmp_path)
    assert len(volume.warnings) == 1
    assert 'gap of 5 mm' in volume.warnings[0] and 's3.dcm' in volume.warnings[0] and 's4.dcm' in volume.warnings[0]
    np.testing.assert_allclose(volume.mm(), [p[2] for p in where])
    assert volume.stack()['slice_spacing_mm'] == pytest.approx(2.5)


def test_tilt_is_reported_and_sheared(tmp_path):
    where = positions(step=(0, 0.9, 2.5))
    write_series(tmp_path, where=where)
    volume = cmir_ffi.read(tmp_path)
    degrees = np.degrees(np.arctan2(0.9, 2.5))
    assert f'tilted gantry, {degrees:.1f} degrees' in volume.warnings[0] and 's0.dcm' in volume.warnings[0]
    np.testing.assert_allclose(volume.affine[:, 2], [0, 0.9, 2.5], atol=1e-9)
    assert volume.stack()['slice_spacing_mm'] == pytest.approx(2.5)


def test_duplicates(tmp_path):
    """A second copy of a file, and the same pixels under another SOPInstanceUID, count once."""
    v = write_series(tmp_path / 'a')
    os.makedirs(tmp_path / 'b')
    shutil.copy(tmp_path / 'a' / 's2.dcm', tmp_path / 'b' / 'copy.dcm')
    d = pydicom.dcmread(tmp_path / 'a' / 's5.dcm')
    d.SOPInstanceUID = '1.2.3.4.99'
    write(tmp_path / 'b' / 'renamed.dcm', d)
    volume = cmir_ffi.read(tmp_path)
    np.testing.assert_array_equal(volume.slices(), v.astype(float) - 1024)
    assert volume.info['path'] == str(tmp_path) and len(volume.warnings) == 2
    assert 'copy.dcm is a duplicate of' in volume.warnings[0] and 's2.dcm' in volume.warnings[0]
    assert 'renamed.dcm is a duplicate of' in volume.warnings[1] and 's5.dcm' in volume.warnings[1]


def test_phases_at_one_place_are_refused(tmp_path):
    write_series(tmp_path)
    d = pydicom.dcmread(tmp_path / 's3.dcm')
    d.SOPInstanceUID, d.PixelData = '1.2.3.4.99', voxels(seed=9)[0].tobytes()
    write(tmp_path / 'phase2.dcm', d)
    error = refusal(tmp_path)
    assert error.code == 'EUNSUPPORTED' and 'two different slices at one place' in error.message
    assert 's3.dcm' in error.message and 'phase2.dcm' in error.message


def test_mixed_orientation_and_size_are_refused(tmp_path):
    write_series(tmp_path / 'o', change=lambda k, d: k == 4 and setattr(d, 'ImageOrientationPatient',
                                                                       [1, 0, 0, 0, 0.9, 0.43588989]))
    error = refusal(tmp_path / 'o')
    assert 'mixed orientations' in error.message and 's0.dcm' in error.message and 's4.dcm' in error.message
    write_series(tmp_path / 's')
    write(tmp_path / 's' / 'small.dcm', header(voxels(1, 20, 36)[0], '1.9', ImagePositionPatient=[-10, -20, 99]))
    error = refusal(tmp_path / 's')
    assert 'mixed sizes' in error.message and 's0.dcm' in error.message and 'small.dcm' in error.message
    write_series(tmp_path / 'p', change=lambda k, d: k == 2 and setattr(d, 'PixelSpacing', [1.5, 0.9]))
    assert 'mixed pixel spacings' in refusal(tmp_path / 'p').message


def test_missing_place_is_refused(tmp_path):
    write_series(tmp_path / 'a', change=lambda k, d: k == 3 and delattr(d, 'ImagePositionPatient'))
    error = refusal(tmp_path / 'a')
    assert 's3.dcm' in error.message and 'no ImagePositionPatient' in error.message
    write_series(tmp_path / 'b', ImageOrientationPatient=None)
    assert 'no ImageOrientationPatient' in refusal(tmp_path / 'b').message
    write_series(tmp_path / 'c', ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    assert 'right angles' in refusal(tmp_path / 'c').message
    write_series(tmp_path / 'd', PixelSpacing=None)
    assert 'no valid PixelSpacing' in refusal(tmp_path / 'd').message


def test_scouts_in_a_series_are_left_out(tmp_path):
    v = write_series(tmp_path)
    scout = header(voxels(1, 64, 64)[0], '1.2.3.4.50', ImageType=['ORIGINAL', 'PRIMARY', 'LOCALIZER'],
                   ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    write(tmp_path / 'a_scout.dcm', scout)
    volume = cmir_ffi.read(tmp_path)
    np.testing.assert_array_equal(volume.slices(), v.astype(float) - 1024)
    assert '1 scout image left out' in volume.warnings[0] and 'a_scout.dcm' in volume.warnings[0]


# ---------------------------------------------------------------- multi-frame

def enhanced(v, where, per_frame_values=False):
    d = header(v, '1.2.3.4.1', SOPClassUID=ENHANCED_CT, NumberOfFrames=len(v))
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = d.PixelSpacing, 2
    orientation.ImageOrientationPatient = d.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    frames = []
    for k in range(len(v)):
        frame, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = where[k]
        frame.PlanePositionSequence = Sequence([position])
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024 - (k if per_frame_values else 0), 'HU'
        if per_frame_values:
            frame.PixelValueTransformationSequence = Sequence([values])
        else:
            shared.PixelValueTransformationSequence = Sequence([values])
        frames.append(frame)
    d.SharedFunctionalGroupsSequence, d.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(frames)
    for name in ('ImageOrientationPatient', 'PixelSpacing', 'SliceThickness', 'RescaleSlope', 'RescaleIntercept',
                 'RescaleType'):
        delattr(d, name)
    return d


@pytest.mark.parametrize('compress', [None, by_tool('dcmcrle'), by_tool('dcmcjpeg', '+e1'),
                                      by_tool('dcmcjpls', '+el'), by_tool('dcmcjpls', '+el', '+fs', '1')],
                         ids=['native', 'rle', 'jpeg', 'jpegls', 'jpegls_fragments'])
@pytest.mark.parametrize('per_frame_values', [False, True])
def test_enhanced_multi_frame(tmp_path, compress, per_frame_values):
    order = np.random.default_rng(1).permutation(N)
    v, where = voxels(), positions()
    write(tmp_path / 'e.dcm', enhanced(v[order], [where[k] for k in order], per_frame_values))
    if compress:
        compress(str(tmp_path / 'e.dcm'))
    volume = cmir_ffi.read(tmp_path)
    shift = order.argsort()[:, None, None] if per_frame_values else 0
    np.testing.assert_array_equal(volume.slices(), v.astype(float) - 1024 - shift)
    np.testing.assert_allclose(volume.affine, [[0.75, 0, 0, -10], [0, 1.5, 0, -20], [0, 0, 2.5, 30]], atol=1e-9)
    assert volume.uids() == ['1.2.3.4.1'] * N
    assert volume.info['path'] == str(tmp_path / 'e.dcm')  # a series of one file is at that file


def test_multi_frame_without_positions_is_refused(tmp_path):
    d = header(voxels(), '1.2.3.4.1', NumberOfFrames=N, ImagePositionPatient=[0, 0, 0])
    write(tmp_path / 'cine.dcm', d)
    error = refusal(tmp_path)
    assert 'cine.dcm' in error.message and 'no ImagePositionPatient' in error.message
    d = enhanced(voxels(), positions())
    d.PerFrameFunctionalGroupsSequence.pop()
    write(tmp_path / 'cine.dcm', d)
    assert 'functional groups' in refusal(tmp_path).message


def test_frames_at_one_place_are_refused(tmp_path):
    where = positions()
    where[5] = where[2]
    write(tmp_path / 'phases.dcm', enhanced(voxels(), where))
    error = refusal(tmp_path)
    assert 'phases.dcm frame 3' in error.message and 'phases.dcm frame 6' in error.message


# ---------------------------------------------------------------- broken and other files

def test_cut_files_are_refused_by_name(tmp_path):
    write_series(tmp_path)
    whole = (tmp_path / 's3.dcm').read_bytes()
    (tmp_path / 's3.dcm').write_bytes(whole[:-500])
    refused = [i for i in cmir_ffi.scan([tmp_path]) if i.state == 'refused']
    assert len(refused) == 1 and 's3.dcm' in refused[0].reason and refused[0].code == 'ECORRUPT'
    rest = cmir_ffi.read(tmp_path)  # what is left of the series is read, and the hole is reported
    assert rest.dims[2] == N - 1 and 'gap of 5 mm' in rest.warnings[0]
    with cmir_ffi.Scan([tmp_path]) as found:  # cut after the scan: told at loading
        index = [i.state for i in found.items].index('volume')
        volume = found.open(index, load=False)
    (tmp_path / 's1.dcm').write_bytes(whole[:-500])
    with pytest.raises(cmir_ffi.Error) as caught:
        volume.load()
    assert 's1.dcm' in caught.value.message and caught.value.code == 'ECORRUPT'


def test_volume_outlives_its_scan(tmp_path):
    v = write_series(tmp_path)
    with cmir_ffi.Scan([tmp_path]) as found:
        volume = found.open(0, load=False)
    np.testing.assert_array_equal(volume.load().slices(), v.astype(float) - 1024)


def test_other_objects_are_skipped(tmp_path):
    write_series(tmp_path, names=[f'ct{k}.dcm' for k in range(N)])
    report = header(voxels(1)[0], '1.5', SOPClassUID='1.2.840.10008.5.1.4.1.1.88.11', Modality='SR',
                    SeriesInstanceUID='1.5', PixelData=None, Rows=None, Columns=None)
    write(tmp_path / 'report.dcm', report)
    colour = header(voxels(3, bits=8, stored=8).reshape(ROWS, COLS * 3), '1.6', SeriesInstanceUID='1.6', Columns=COLS,
                    SamplesPerPixel=3, PhotometricInterpretation='RGB', PlanarConfiguration=0)
    write(tmp_path / 'colour.dcm', colour)
    write(tmp_path / 'seg.dcm', header(voxels(1)[0], '1.7', Modality='SEG', SeriesInstanceUID='1.7'))
    write(tmp_path / 'single.dcm', header(voxels(1)[0], '1.8', SeriesInstanceUID='1.8', ImagePositionPatient=[0, 0, 0]))
    (tmp_path / 'notes.txt').write_text('not an image')
    items = {os.path.basename(i.path): i for i in cmir_ffi.scan([tmp_path])}
    assert len(items) == 6 and items.pop(tmp_path.name).state == 'volume'
    for name, word in (('report.dcm', 'SR'), ('colour.dcm', 'colour'), ('seg.dcm', 'SEG'),
                       ('notes.txt', 'neither DICOM'), ('single.dcm', 'fewer than 5')):
        assert items[name].state == 'skipped' and word in items[name].reason and name in items[name].reason
    assert cmir_ffi.read(tmp_path).dims[2] == N


def test_no_dictionary_is_needed(tmp_path, monkeypatch):
    """Implicit VR without DCMTK's dictionary file: the attributes that cmir reads are known to it."""
    write(tmp_path / 'e.dcm', enhanced(voxels(), positions()), IMPLICIT)
    with_dictionary = check_outcome(tmp_path / 'e.dcm')
    monkeypatch.setenv('DCMDICTPATH', str(tmp_path / 'nowhere'))
    assert check_outcome(tmp_path / 'e.dcm') == with_dictionary and with_dictionary.startswith('volume 36 40 7 ')


def test_too_large_a_slice_is_refused(tmp_path):
    write_series(tmp_path, Rows=20000, Columns=20000)
    assert 'too large' in refusal(tmp_path).message


# ---------------------------------------------------------------- hostile files

MAX_SECONDS, MAX_MIB = 2, 512


def check_outcome(path, frame=None):
    """What becomes of one file in a process of its own, whose time and memory are bounded."""
    with subprocess.Popen([PROBE, '--probe', path] + ([frame] if frame else []), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as child:
        out, err = child.stdout.read().decode(errors='replace'), child.stderr.read().decode(errors='replace')
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0 and err == '' and out, f'{path}: {out[-300:]} {err[-3000:]}'
    out, _, peak_kib = out.rpartition('peak ')
    assert out, path
    assert usage.ru_utime + usage.ru_stime < MAX_SECONDS and int(peak_kib) / 1024 < MAX_MIB, (path, usage, peak_kib)
    for line in out.splitlines():
        word = line.split()[0]
        assert word in ('volume', 'refused', 'skipped'), line
        if word != 'volume':
            assert os.path.basename(path)[-70:] in line and len(line.split(': ', 1)[-1]) > 8, line
    return out


def hostile_files(folder):
    for archive in ('dicom_a', 'pydicom_test_files'):
        with tarfile.open(os.path.join(DATA, 'hostile', f'{archive}.tar.gz')) as tar:
            tar.extractall(folder)  # the filter argument came with Python 3.11.4
    return sorted(os.path.join(d, f) for d, _, files in os.walk(folder) for f in files)


LOSSY = {'1.2.840.10008.1.2.4.50', '1.2.840.10008.1.2.4.51'}


@needs_data
def test_hostile_sets(tmp_path):
    """Each file by itself is read or refused with a sentence; what pydicom decodes too is equal."""
    files, compared = hostile_files(tmp_path / 'sets'), 0
    assert len(files) > 500
    for path in files:
        raw = tmp_path / 'frame'
        raw.unlink(missing_ok=True)
        check_outcome(path, raw)
        if not raw.exists():
            continue
        try:
            d = pydicom.dcmread(path, force=True)
            want = d.pixel_array
        except Exception:  # malformed beyond what pydicom reads
            continue
        ours = np.fromfile(raw, np.int32)
        want = want.ravel()[:ours.size]  # of several frames, the first
        tolerance = 1 if d.file_meta.TransferSyntaxUID in LOSSY else 0
        assert np.abs(want.astype(np.int64) - ours).max() <= tolerance, path
        compared += 1
    assert compared > 150


def element(group, number, vr, value=b'', length=None):
    length = len(value) if length is None else length
    long_form = vr in (b'OB', b'OW', b'SQ', b'UN')
    return (struct.pack('<HH2s', group, number, vr) +
            (struct.pack('<HI', 0, length) if long_form else struct.pack('<H', length)) + value)


def bombs():
    item = struct.pack('<HHI', 0xFFFE, 0xE000, 0xFFFFFFFF)
    yield 'nested', (element(0x0040, 0xA730, b'SQ', length=0xFFFFFFFF) + item) * 200000
    yield 'elements', element(0x0009, 0x1001, b'LO') * 3000000
    yield 'creators', b''.join(element(0x0009 + 2 * (k // 200), 0x0010 + k % 200, b'LO', b'AB') for k in range(50000))
    yield 'private', (b''.join(element(0x0009, 0x10 + k, b'LO', b'AB') for k in range(200)) +
                      element(0x0009, 0xD001, b'LO') * 500000)
    yield 'items', element(0x0040, 0xA730, b'SQ', length=0xFFFFFFFF) + struct.pack('<HHI', 0xFFFE, 0xE000, 0) * 2000000
    yield 'fragments', (element(0x7FE0, 0x0010, b'OB', length=0xFFFFFFFF) +
                        struct.pack('<HHI', 0xFFFE, 0xE000, 0) * 2000000)
    yield 'lengths', element(0x0009, 0x1001, b'OB', length=0xFFFFFFF0) + b'x' * 100


@pytest.mark.parametrize('name,tail', bombs(), ids=lambda x: x if isinstance(x, str) else '')
@pytest.mark.parametrize('deflated', [False, True])
def test_bombs(tmp_path, name, tail, deflated):
    d = header(voxels(1)[0], '1.2.3.4.1', PixelData=None, ImagePositionPatient=[0, 0, 0])
    write(tmp_path / 'b.dcm', d, DEFLATED if deflated else EXPLICIT)
    data = (tmp_path / 'b.dcm').read_bytes()
    if deflated:
        start = 144 + struct.unpack('<I', data[140:144])[0]
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = data[:start] + packer.compress(zlib.decompress(data[start:], -15) + tail) + packer.flush()
    else:
        data += tail
    (tmp_path / 'b.dcm').write_bytes(data)
    assert check_outcome(tmp_path / 'b.dcm').startswith('refused')


def test_deflate_bomb(tmp_path):
    write(tmp_path / 'b.dcm', header(voxels(1)[0], '1.2.3.4.1', ImagePositionPatient=[0, 0, 0]), DEFLATED)
    data = (tmp_path / 'b.dcm').read_bytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = 144 + struct.unpack('<I', data[140:144])[0]
    bomb = data[:start] + packer.compress(element(0x0009, 0x1001, b'OB', length=0xFFFFFFF0))
    bomb += b''.join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    (tmp_path / 'b.dcm').write_bytes(bomb)
    assert len(bomb) < 2 << 20 and 'larger than' in check_outcome(tmp_path / 'b.dcm')


def test_sizes_that_the_file_cannot_hold(tmp_path):
    """4096 x 4096 x 32768 promised by a few hundred bytes, native and compressed."""
    d = header(voxels(1)[0], '1.2.3.4.1', Rows=4096, Columns=4096, NumberOfFrames=500, ImagePositionPatient=[0, 0, 0])
    write(tmp_path / 'native.dcm', d)
    assert 'cut short' in check_outcome(tmp_path / 'native.dcm')
    d.PixelData = pydicom.encaps.encapsulate([b'\xff\xd8\xff\xd9'] * 500)
    d['PixelData'].VR = 'OB'
    write(tmp_path / 'packed.dcm', d, '1.2.840.10008.1.2.4.70')
    assert 'cannot hold' in check_outcome(tmp_path / 'packed.dcm')


# ---------------------------------------------------------------- files read without DCMTK


def ways(paths):
    """{path: 'alike', 'declined' or 'different'}: files read without DCMTK, against DCMTK."""
    out = subprocess.run([PLAIN, '--ways', *map(str, paths)], capture_output=True, text=True, check=True)
    assert out.stderr == ''
    return {line.split(' ', 1)[1]: line.split(' ', 1)[0] for line in out.stdout.splitlines()}


def test_ways_of_the_corpus():
    found = ways(sorted(glob.glob('tests/corpus/dicom/*.dcm')))
    assert len(found) > 25 and 'different' not in found.values()
    assert found['tests/corpus/dicom/explicit.dcm'] == 'alike'
    assert found['tests/corpus/dicom/implicit.dcm'] == found['tests/corpus/dicom/latin1.dcm'] == 'declined'


@needs_data
def test_ways_of_the_shared_data(tmp_path):
    real = [p for p in glob.glob(os.path.join(DATA, '**'), recursive=True) if os.path.isfile(p)]
    found = ways(real + hostile_files(tmp_path))
    assert len(found) > 800 and 'different' not in found.values()
    plain = sorted(path for path, way in found.items() if way == 'alike')
    explicit = glob.glob(os.path.join(DATA, 'ct/torso/LUNGDX_A0002', '*'))
    assert len(explicit) > 5 and set(explicit) < set(plain)


TEXT_TAGS = [0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080020, 0x00080060, 0x00080070, 0x0008103E, 0x00100020,
             0x00100030, 0x00100040, 0x00101010, 0x00180015, 0x00180050, 0x0020000D, 0x0020000E, 0x00200032, 0x00200037,
             0x00280004, 0x00280008, 0x00280030, 0x00281052, 0x00281053, 0x00281054]
VALUES = ['', 'x', ' x', 'x ', 'a\\b', 'LOCALIZER', ' LOCALIZER ', 'A\\\\LOCALIZER', '1.5', '+1', '-0', '1e3', '1e400', '.5',
          '5.', ' 7 ', '0', '1,5', '0x10', 'nan', 'inf', '1\\2\\3', '1\\2', '1\\ 2 \\3 ', '1\\\\3', '1\\2\\3\\4\\5\\6',
          '0.1\\-0.30000000000000004\\123456789.123456', '1.7976931348623157E308', '4.9E-324', '045Y', '45Y ', '018M', '20200101',
          '2020.1.1', '1.2.3', '1.2.3 ', 'CT', 'MONOCHROME1', 'HU', 'US', '\xe4', 'a\x1b', 'x' * 70, 'tab\t']


def plain_file(folder):
    """A data set and its file."""
    d = header(voxels(1)[0], '1.2.3.4.1', ImagePositionPatient=[1, 2, 3])
    write(folder / 'base.dcm', d)
    return d, (folder / 'base.dcm').read_bytes()


def put_element(d, data, new):
    """The file with an element where its tag belongs, in the place of one of that tag."""
    tag = struct.unpack('<H', new[:2])[0] << 16 | struct.unpack('<H', new[2:4])[0]
    place = min(e.tag for e in d if e.tag >= tag)
    at = data.index(struct.pack('<HH2s', place.group, place.element, d[place].VR.encode()))
    replaced = 8 + struct.unpack('<H', data[at + 6:at + 8])[0] if place == tag else 0
    return data[:at] + new + data[at + replaced:]


def test_ways_of_odd_values(tmp_path):
    """Each text attribute that is read, with each odd value, written as it stands."""
    d, data = plain_file(tmp_path)
    paths = []
    for tag in TEXT_TAGS:
        for i, value in enumerate(VALUES):
            raw = value.encode('latin1')
            raw += b' ' * (len(raw) % 2)
            vr = pydicom.datadict.dictionary_VR(tag).encode()
            paths.append(tmp_path / f'{tag:08x}_{i}.dcm')
            paths[-1].write_bytes(put_element(d, data, element(tag >> 16, tag & 0xFFFF, vr, raw)))
    found = ways(paths)
    assert 'different' not in found.values(), [p for p, way in found.items() if way == 'different']
    assert sum(way == 'alike' for way in found.values()) > len(found) / 3


def sequences():
    """(name, bytes, read without DCMTK) of sequences well formed and not."""
    inner = element(0x0008, 0x0100, b'SH', b'AB') + element(0x0008, 0x0104, b'LO', b'text')
    open_, close = 0xFFFFFFFF, struct.pack('<HHI', 0xFFFE, 0xE0DD, 0)
    item = lambda body, length=None: struct.pack('<HHI', 0xFFFE, 0xE000, len(body) if length is None else length) + body
    item_end = struct.pack('<HHI', 0xFFFE, 0xE00D, 0)
    sq = lambda body, length=None: element(0x0008, 0x1140, b'SQ', body, length)
    yield 'empty', sq(b''), True
    yield 'told', sq(item(inner) + item(inner)), True
    yield 'open', sq(item(inner) + close, open_), True
    yield 'open_items', sq(item(inner + item_end, open_) + close, open_), True
    yield 'empty_items', sq(item(b'') + item(item_end, open_) + close, open_), True
    yield 'nested', sq(item(sq(item(sq(item(inner))) + close, open_))), True
    yield 'icon', sq(item(element(0x7FE0, 0x0010, b'OW', b'1234'))), True
    yield 'private', element(0x0009, 0x0010, b'LO', b'MINE') + element(0x0009, 0x1001, b'SQ', item(inner)), True
    yield 'unknown', element(0x0009, 0x1001, b'UN', inner), True
    yield 'deep', (sq(b'', open_) + item(b'', open_)) * 20 + (item_end + close) * 20, False
    yield 'unknown_open', element(0x0009, 0x1001, b'UN', item(b'') + close, open_), False
    yield 'no_vr', element(0x0009, 0x1001, b'??', b'12'), False
    yield 'odd', element(0x0009, 0x1001, b'LO', b'123'), False
    yield 'no_item', sq(inner), False
    yield 'item_too_long', sq(item(inner, 500)), False
    yield 'sequence_too_long', sq(item(inner), 500), False
    yield 'element_too_long', sq(item(element(0x0008, 0x0100, b'SH', b'AB', 500))), False
    yield 'item_ends_early', sq(item(inner, 4)), False
    yield 'never_closed', sq(item(inner), open_), False
    yield 'closed_by_item_end', sq(item(inner) + item_end, open_), False
    yield 'twice', element(0x0008, 0x1140, b'LO', b'ab') * 2, False
    yield 'falling', element(0x0008, 0x1150, b'LO', b'ab') + element(0x0008, 0x1140, b'LO', b'ab'), False
    yield 'lut', element(0x0028, 0x3000, b'SQ', item(inner)), False
    yield 'lut_of_words', element(0x0028, 0x3010, b'OW', b'1234'), False


@pytest.mark.parametrize('name,tail,plain', sequences(), ids=lambda x: x if isinstance(x, str) else '')
def test_ways_of_sequences(tmp_path, name, tail, plain):
    d, data = plain_file(tmp_path)
    (tmp_path / f'{name}.dcm').write_bytes(put_element(d, data, tail))
    assert list(ways([tmp_path / f'{name}.dcm']).values()) == ['alike' if plain else 'declined']
