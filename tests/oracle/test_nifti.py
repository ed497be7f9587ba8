# SPDX-License-Identifier: Apache-2.0
"""The NIfTI reader against nibabel: voxels equal as float32, affines within 1e-4 mm, on real and on made files;
malformed files are read or refused as their lists say."""
import gzip
import json
import os
import shutil
import struct
import tarfile

import nibabel as nib
import numpy as np
import pytest

import cmir_ffi

SEED = 20240611
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
UNIT_MM = {1: 1000.0, 3: 0.001}
DATA = cmir_ffi.shared_data()
needs_data = pytest.mark.skipif(DATA is None, reason='no folder of shared data (CMIR_SHARED)')


def real_files():
    if DATA is None:
        return []
    found = [os.path.join(folder, name) for folder, _, names in os.walk(DATA) for name in names
             if name.endswith(('.nii', '.nii.gz'))]
    return sorted(found)


def expected_affine(image):
    """nibabel's affine, RAS in the file's unit, to LPS mm."""
    unit = UNIT_MM.get(int(image.header['xyzt_units']) & 7, 1.0)
    return (np.diag([unit, unit, unit, 1]) @ RAS_TO_LPS @ image.affine)[:3]


def by_source_axes(volume):
    """The volume's values as the file indexes them, [i, j, k], taken through the plane that is native to it."""
    for plane in cmir_ffi.PLANES:
        if volume.stack(plane)['native']:
            break
    values = volume.slices(plane)                      # [k, rows, cols], rows and cols oriented for viewing
    source, row_axis, col_axis = 2, *axes_in_plane(volume.affine, plane)
    index = [slice(None)] * 3
    for axis, place, patient in ((row_axis, 1, ROW_AXIS[plane]), (col_axis, 2, COL_AXIS[plane])):
        sign = -1 if place == 1 and plane != 'axial' else 1
        if volume.affine[patient, axis] * sign < 0:
            index[place] = slice(None, None, -1)
    return np.moveaxis(values[tuple(index)], [0, 1, 2], [source, row_axis, col_axis])


ROW_AXIS = {'axial': 1, 'coronal': 2, 'sagittal': 2}
COL_AXIS = {'axial': 0, 'coronal': 0, 'sagittal': 1}


def axes_in_plane(affine, plane):
    """Voxel axes of rows and columns where k gives the slices of `plane`."""
    row_by_cosine = abs(affine[ROW_AXIS[plane], :2] / np.linalg.norm(affine[:, :2], axis=0))
    row = int(np.argmax(row_by_cosine))
    return row, 1 - row


def check_against_nibabel(path, frame=None, **options):
    image = nib.load(path)
    volume = cmir_ffi.read(path, min_slices=1, **({'frame': frame} if frame else {}), **options)
    want = image.get_fdata(dtype=np.float64).astype(np.float32)
    if frame:
        want = want.reshape(want.shape[:3] + (-1,), order='F')[..., frame - 1]
    want = want.reshape(want.shape[:3])
    assert volume.dims == want.shape
    np.testing.assert_allclose(volume.affine, expected_affine(image), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(by_source_axes(volume), want)
    return volume


@needs_data
@pytest.mark.parametrize('path', real_files(), ids=lambda p: os.path.relpath(p, DATA or '/'))
def test_real_file(path):
    values = nib.load(path).get_fdata()
    if values.min() == values.max():
        with pytest.raises(cmir_ffi.Error, match='same value'):
            cmir_ffi.read(path, min_slices=1)
        return
    volume = check_against_nibabel(path)
    air = (values < -200).mean(axis=(0, 1)).max() >= 0.01  # of the slice that has most of it
    assert volume.info['has_hu'] == air
    assert volume.info['modality'] == ('CT' if air else '')
    assert volume.info['path'] == os.path.realpath(path)
    assert volume.info['volume_id'] == os.path.basename(path).removesuffix('.gz').removesuffix('.nii')
    assert volume.info['format'] == 'NIfTI'


def made(rng, dtype=np.int16, shape=(7, 6, 5)):
    if np.dtype(dtype).kind == 'f':
        return rng.normal(0, 300, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def oblique(rng, degrees=25.0):
    """A right- or left-handed affine up to `degrees` off its axes, axes permuted and flipped."""
    from scipy.spatial.transform import Rotation
    turn = Rotation.from_rotvec(rng.normal(size=3) * np.radians(degrees) / 3).as_matrix()
    axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes @ np.diag(rng.uniform(0.5, 5, 3))
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


def save(image, path):
    nib.save(image, path)
    return str(path)


TYPES = ['int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64', 'float32', 'float64']


@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('endian', ['<', '>'])
@pytest.mark.parametrize('dtype', TYPES)
def test_types(tmp_path, dtype, endian, version):
    rng = np.random.default_rng([SEED, TYPES.index(dtype), version])
    make_image, make_header = ((nib.Nifti1Image, nib.Nifti1Header), (nib.Nifti2Image, nib.Nifti2Header))[version - 1]
    for slope, inter in ((None, None), (0.37, -11.5), (-2, 1024)):
        header = make_header(endianness=endian)
        header.set_data_dtype(np.dtype(dtype).newbyteorder(endian))
        header.set_slope_inter(slope, inter)
        data = made(rng, dtype).astype(np.float64) / (100 if slope is None else 1)
        if slope is not None:
            data = data * slope + inter
        elif np.dtype(dtype).kind != 'f':
            data = np.rint(data)
        image = make_image(data, oblique(rng), header)
        for ending in ('.nii', '.nii.gz'):
            path = save(image, tmp_path / f'v{ending}')
            assert nib.load(path).header.endianness == endian
            assert nib.load(path).get_data_dtype().newbyteorder('=') == np.dtype(dtype)
            check_against_nibabel(path)


UNREAD = [(1, 1, 'binary'), (32, 64, 'complex64'), (128, 24, 'RGB'), (1536, 128, 'float128'), (1792, 128, 'complex128'),
          (2048, 256, 'complex256'), (2304, 32, 'RGBA')]


@pytest.mark.parametrize('code,bits,word', UNREAD)
def test_unread_types_are_named(tmp_path, code, bits, word):
    path = save(nib.Nifti1Image(np.ones((6, 5, 8, 16), np.int16), np.eye(4)), tmp_path / 'v.nii')
    with open(path, 'r+b') as file:
        file.seek(40)
        file.write(struct.pack('<hhhhh', 3, 6, 5, 8, 1))
        file.seek(70)
        file.write(struct.pack('<hh', code, bits))
    with pytest.raises(cmir_ffi.Error, match=f'v.nii.*{word} ') as caught:
        cmir_ffi.read(path, min_slices=1)
    assert caught.value.code == 'EUNSUPPORTED'


@pytest.mark.parametrize('unit', ['unknown', 'meter', 'mm', 'micron'])
def test_units(tmp_path, unit):
    rng = np.random.default_rng(SEED)
    image = nib.Nifti1Image(made(rng), oblique(rng))
    image.header.set_xyzt_units(unit, 'sec')
    check_against_nibabel(save(image, tmp_path / 'v.nii'))


def test_qform_only(tmp_path):
    for seed in range(20):
        rng = np.random.default_rng([SEED, seed])
        affine = oblique(rng)
        if seed < 8:  # half turns: the quaternion's first part is 0
            affine[:3, :3] = np.diag([-2.0 if seed & 1 else 2, -3.0 if seed & 2 else 3, -1.5 if seed & 4 else 1.5])
        for kind in (nib.Nifti1Image, nib.Nifti2Image):
            image = kind(made(rng), affine)
            image.set_sform(None, 0)
            image.set_qform(affine, 1)
            path = save(image, tmp_path / 'v.nii')
            stored = nib.load(path)
            assert stored.header['sform_code'] == 0 and stored.header['qform_code'] == 1
            assert np.allclose(stored.affine, affine, atol=1e-3)  # no shear: the qform can hold it
            check_against_nibabel(path)


def test_neither_form(tmp_path):
    rng = np.random.default_rng(SEED)
    image = nib.Nifti1Image(made(rng), None)
    image.header.set_zooms((0.7, 1.9, 3.1))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    path = save(image, tmp_path / 'v.nii')
    stored = nib.load(path)
    assert stored.header['sform_code'] == 0 and stored.header['qform_code'] == 0
    check_against_nibabel(path)


def test_sform_goes_before_qform(tmp_path):
    rng = np.random.default_rng(SEED)
    image = nib.Nifti1Image(made(rng), None)
    image.set_qform(np.diag([9, 8, 7, 1]), 1)
    image.set_sform(oblique(rng), 2)
    check_against_nibabel(save(image, tmp_path / 'v.nii'))


def test_frames(tmp_path):
    rng = np.random.default_rng(SEED)
    for shape in ((7, 6, 5, 3), (7, 6, 5, 1, 4), (7, 6, 5, 2, 3)):
        path = save(nib.Nifti1Image(made(rng, shape=shape), oblique(rng)), tmp_path / 'v.nii.gz')
        n_frames = int(np.prod(shape[3:]))
        for frame in range(1, n_frames + 1):
            check_against_nibabel(path, frame=frame)
        for frame, code in ((0, 'EUNSUPPORTED'), (n_frames + 1, 'EINVAL')):
            with pytest.raises(cmir_ffi.Error, match=f'{n_frames}') as caught:
                cmir_ffi.read(path, min_slices=1, frame=frame)
            assert caught.value.code == code
    path = save(nib.Nifti1Image(made(rng, shape=(7, 6, 5, 1, 1)), oblique(rng)), tmp_path / 'one.nii')
    check_against_nibabel(path)


def test_extensions(tmp_path):
    rng = np.random.default_rng(SEED)
    image = nib.Nifti1Image(made(rng), oblique(rng))
    for n in (3, 200, 70000):
        image.header.extensions.append(nib.nifti1.Nifti1Extension('comment', rng.bytes(n)))
    for ending in ('.nii', '.nii.gz'):
        check_against_nibabel(save(image, tmp_path / f'v{ending}'))


def test_gzip_of_several_members(tmp_path):
    rng = np.random.default_rng(SEED)
    plain = save(nib.Nifti1Image(made(rng, shape=(40, 30, 20)), oblique(rng)), tmp_path / 'v.nii')
    blob = open(plain, 'rb').read()
    cuts = [0, 3, 352, 5000, 5000, len(blob)]
    with open(tmp_path / 'w.nii.gz', 'wb') as file:
        for start, end in zip(cuts, cuts[1:]):
            file.write(gzip.compress(blob[start:end]))
        file.write(b'\0' * 100)  # tar and tapes pad
    want, got = cmir_ffi.read(plain), cmir_ffi.read(tmp_path / 'w.nii.gz')
    np.testing.assert_array_equal(got.slices(), want.slices())


def test_names(tmp_path):
    rng = np.random.default_rng(SEED)
    original = save(nib.Nifti1Image(made(rng), np.eye(4)), tmp_path / 'a.b.nii')
    info = cmir_ffi.read(os.path.relpath(original)).info
    assert (info['volume_id'], info['path']) == ('a.b', original)
    folder = tmp_path / 'sub'
    os.makedirs(folder)
    shutil.copy(original, folder / 'UPPER.NII')
    os.symlink(original, folder / 'link.nii')  # as git-annex keeps files: the link has the name
    with cmir_ffi.Scan([folder]) as scan:
        infos = [scan.open(i).info for i in range(len(scan.items))]
    assert [(i['volume_id'], i['path']) for i in infos] == [('UPPER', str(folder / 'UPPER.NII')),
                                                            ('link', str(folder / 'link.nii'))]
    assert cmir_ffi.read(folder / 'link.nii').info['volume_id'] == 'link'  # named, too


def test_modality_can_be_told(tmp_path):
    rng = np.random.default_rng(SEED)
    path = save(nib.Nifti1Image(rng.integers(-1000, 1000, (7, 6, 5)).astype(np.int16), np.eye(4)), tmp_path / 'v.nii')
    for given, modality, has_hu in ((None, 'CT', True), ('MR', 'MR', False), ('CT', 'CT', True)):
        info = cmir_ffi.read(path, modality=given).info
        assert (info['modality'], info['has_hu']) == (modality, has_hu)


def test_pair_is_refused(tmp_path):
    rng = np.random.default_rng(SEED)
    for kind, name in ((nib.Nifti1Pair, 'one'), (nib.Nifti2Pair, 'two')):
        nib.save(kind(made(rng), np.eye(4)), tmp_path / f'{name}.img')
        shutil.copy(tmp_path / f'{name}.hdr', tmp_path / f'{name}.nii')
        for path in (tmp_path / f'{name}.hdr', tmp_path / f'{name}.nii'):
            with pytest.raises(cmir_ffi.Error, match=rf'{path.name}.*\.hdr/\.img pair.*\.nii') as caught:
                cmir_ffi.read(path)
            assert caught.value.code == 'EUNSUPPORTED'
        with pytest.raises(cmir_ffi.Error, match=f'{name}.img'):
            cmir_ffi.read(tmp_path / f'{name}.img')


def test_write(tmp_path):
    for seed in range(6):
        rng = np.random.default_rng([SEED, seed])
        voxels = made(rng, shape=tuple(rng.integers(1, 40, 2)) + (5,))
        affine = oblique(rng)
        for name in ('w.nii', 'w.nii.gz'):
            path = tmp_path / name
            cmir_ffi.nifti_write(path, voxels, (RAS_TO_LPS @ affine)[:3])
            image = nib.load(path)
            assert image.get_data_dtype() == np.int16 and image.header['xyzt_units'] == 2
            np.testing.assert_array_equal(np.asarray(image.dataobj), voxels)
            np.testing.assert_allclose(image.affine, affine, atol=1e-4)
            np.testing.assert_allclose(image.header.get_zooms(), nib.affines.voxel_sizes(affine), rtol=1e-6)
    assert sorted(os.listdir(tmp_path)) == ['w.nii', 'w.nii.gz']  # nothing temporary stays


def test_write_keeps_the_old_file_where_it_fails(tmp_path):
    voxels = np.zeros((4, 4, 4), np.int16)
    with pytest.raises(cmir_ffi.Error, match='nowhere'):
        cmir_ffi.nifti_write(tmp_path / 'nowhere' / 'w.nii', voxels, np.eye(4)[:3])
    path = tmp_path / 'w.nii'
    path.write_bytes(b'old')
    affine = np.eye(4)[:3].copy()
    affine[0, 0] = np.nan
    with pytest.raises(cmir_ffi.Error, match='w.nii'):
        cmir_ffi.nifti_write(path, voxels, affine)
    assert path.read_bytes() == b'old'


def hostile_files():
    if DATA is None:
        return []
    cases = []
    for archive, listing in (('nifti_bad', 'expected.json'), ('nifti_more', 'expected_more.json')):
        with tarfile.open(os.path.join(DATA, 'hostile', f'{archive}.tar.gz')) as tar:
            name = next(n for n in tar.getnames() if os.path.basename(n) == listing)
            cases += [(archive, file, want) for file, want in json.load(tar.extractfile(name)).items()]
    return cases


@pytest.fixture(scope='session')
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp('hostile')
    for archive in ('nifti_bad', 'nifti_more'):
        with tarfile.open(os.path.join(DATA, 'hostile', f'{archive}.tar.gz')) as tar:
            for member in tar.getmembers():
                if member.isfile():
                    (folder / os.path.basename(member.name)).write_bytes(tar.extractfile(member).read())
    return folder


@needs_data
@pytest.mark.parametrize('archive,file,want', hostile_files(), ids=lambda x: x if isinstance(x, str) else '')
def test_hostile(hostile, archive, file, want):
    """Time and memory of the same files: tests/test_nifti.c, which runs under the sanitizers too."""
    try:
        volume = cmir_ffi.read(hostile / file, min_slices=1)
    except cmir_ffi.Error as error:
        assert want['expect'] == 'refuse', error
        assert file in error.message and len(error.message) > len(str(hostile / file)) + 8
    else:
        assert want['expect'] == 'read', want['why']
        assert list(volume.dims) == want['shape']
        check_against_nibabel(hostile / file)
