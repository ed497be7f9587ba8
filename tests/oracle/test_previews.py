# SPDX-License-Identifier: Apache-2.0
"""Previews against a second reader, written from docs/format.md alone (sqlite3, struct, zlib, numpy), and numpy's own
averages of the voxels; damage, removal, old archives, reports of scans that are gone; pictures and crops of volumes
against numpy and pillow."""
import ctypes as c
import io
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
from PIL import Image

import cmir_ffi
from cmir_ffi import LIB, PLANES
from voxels import blobs, shrunk

CMIR = os.environ['CMIR']
SOURCE = pathlib.Path(os.environ.get('CMIR_SOURCE', '.'))
GOLDEN = SOURCE / 'tests/golden'
SEED = 20261127


def cmir(*arguments, status=0):
    done = subprocess.run([CMIR, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == status, done.stderr + done.stdout
    return done.stdout


def cmir_json(*arguments, **how):
    return json.loads(cmir(*arguments, '--json', **how))


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Volumes whose slices are larger and smaller than a small preview, anisotropic, in HU and not."""
    rng = np.random.default_rng(SEED)
    folder = tmp_path_factory.mktemp('previews')
    scans = folder / 'scans'
    scans.mkdir()
    volumes = {}
    for name, shape, mm, low, high in [('ct', (300, 200, 7), (0.9, 0.9, 4), -1000, 1500),
                                       ('ct_narrow', (260, 90, 6), (0.7, 2.1, 5), -1000, 1500),
                                       ('ct_tiny', (40, 30, 9), (5, 5, 5), -1000, 1500),
                                       ('mr', (180, 150, 8), (1, 1, 3), 0, 900)]:
        voxels = np.clip(np.rint(blobs(rng, shape, low, high)), low, high).astype(np.int16)
        affine = np.diag([-mm[0], -mm[1], mm[2], 1.0])
        nib.save(nib.Nifti1Image(voxels, affine), scans / f'{name}.nii.gz')
        volumes[name] = (voxels.astype(float), mm)
    return {'folder': folder, 'scans': scans, 'volumes': volumes}


def add(made, name, kind):
    archive = made['folder'] / name
    if not archive.exists():
        cmir('add', archive, made['scans'], '--previews', kind, '-q')
    return archive


def read_preview(archive, volume_id):
    """-> values [n, rows, cols], scale; after docs/format.md."""
    with sqlite3.connect(f'file:{archive}/catalog.sqlite?mode=ro', uri=True) as db:
        row = db.execute('SELECT p.segment, p.offset, p.nbytes, p.crc, v.n_slices, s.nbytes FROM previews p '
                         'JOIN volumes v ON v.id = p.volume JOIN preview_segments s ON s.number = p.segment '
                         'WHERE v.volume_id = ?', (volume_id,)).fetchone()
    segment, offset, nbytes, crc, n_slices, owned = row
    data = (archive / 'previews' / f'{segment:08d}.pre').read_bytes()
    assert offset % 64 == 0 and nbytes % 64 == 0 and offset + nbytes <= owned <= len(data)
    data = data[offset:offset + nbytes]
    magic, version, n, rows, cols, scale, shift, length, crc_rest = struct.unpack_from('<8sIIIIddQI', data)
    assert magic == b'CMIRPREV' and version == 1 and length == nbytes and n == n_slices and data[52:60] == bytes(8)
    assert zlib.crc32(data[:60]) == struct.unpack_from('<I', data, 60)[0] == crc
    assert zlib.crc32(data[64:]) == crc_rest
    starts = struct.unpack_from(f'<{n + 1}Q', data, 64)
    assert starts[0] == 64 + 8 * (n + 1) and not any(data[starts[-1]:]) and nbytes - starts[-1] < 64
    values = np.empty((n, rows, cols))
    for k in range(n):
        raw = np.frombuffer(zlib.decompress(data[starts[k]:starts[k + 1]]), np.uint8).astype(int)
        z = (raw[:rows * cols] + 256 * raw[rows * cols:]).reshape(rows, cols)
        d = np.where(z % 2 == 0, z // 2, -(z + 1) // 2)
        codes = np.zeros((rows + 1, cols + 1), int)
        for i in range(rows):
            for j in range(cols):
                a, b, e = codes[i + 1, j], codes[i, j + 1], codes[i, j]
                x = sorted((a, b, a + b - e))[1] + d[i, j]
                codes[i + 1, j + 1] = (x + 32768) % 65536 - 32768
        values[k] = codes[1:, 1:] * scale + shift
    return values, scale


def pictures(voxels):
    """[slices, rows, columns]: columns to the left, rows to posterior, as the affine of these volumes has them."""
    return np.transpose(voxels, (2, 1, 0))


@pytest.mark.parametrize('kind', ['small', 'full'])
def test_previews_are_what_the_format_says(made, kind):
    archive = add(made, kind, kind)
    sizes = {'ct': (85, 128), 'ct_narrow': (128 * 189 // 182, 128), 'ct_tiny': (30, 40), 'mr': (107, 128)}
    total = 0
    for name, (voxels, mm) in made['volumes'].items():
        values, scale = read_preview(archive, name)
        whole = pictures(voxels)
        hu = name.startswith('ct')
        shown = cmir_json('show', archive, name)
        width = shown['ValueHigh'] - shown['ValueLow']
        assert np.isclose(scale, (2 if kind == 'small' else 1) if hu else width / (1024 if kind == 'small' else 4096))
        if kind == 'full':
            assert values.shape == whole.shape
        else:
            assert max(values.shape[1:]) <= 128
            # Square in millimetres, but for rounding, unless an axis has no more pixels.
            pixel = [whole.shape[i] * mm[2 - i] / values.shape[i] for i in (1, 2)]
            if values.shape[1] < whole.shape[1]:
                assert abs(pixel[0] / pixel[1] - 1) < 0.02, (name, values.shape)
        for k in range(len(values)):
            want = shrunk(whole[k], *values.shape[1:])
            assert np.abs(values[k] - want).max() <= scale * 0.5001 + 1e-3, name
        total += 1
    assert total == 4
    stat = cmir_json('stat', archive)
    assert stat['Previews'] == kind
    assert stat['PreviewBytes'] == sum(f.stat().st_size for f in (archive / 'previews').iterdir())
    assert cmir_json('verify', archive)['Sound']


def test_none_is_as_before(made):
    archive = add(made, 'none', 'none')
    assert not (archive / 'previews').exists()
    with sqlite3.connect(f'file:{archive}/catalog.sqlite?mode=ro', uri=True) as db:
        names = {name for name, in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert not any('preview' in name for name in names)
    assert cmir_json('stat', archive)['Previews'] == 'none' and cmir_json('verify', archive)['Sound']


def test_removed_added_again_and_fitted(made, tmp_path):
    archive = tmp_path / 'a'
    shutil.copytree(add(made, 'small', 'small'), archive)
    before = cmir_json('stat', archive)
    cmir('remove', archive, 'ct')
    after = cmir_json('stat', archive)
    assert 0 < after['DeadPreviewBytes'] < after['PreviewBytes'] == before['PreviewBytes']
    cmir('add', archive, made['scans'] / 'ct.nii.gz', '-q')
    again = cmir_json('stat', archive)
    assert again['PreviewBytes'] == before['PreviewBytes'] + after['DeadPreviewBytes']
    assert cmir_json('verify', archive)['Sound']
    np.testing.assert_array_equal(read_preview(archive, 'ct')[0], read_preview(add(made, 'small', 'small'), 'ct')[0])
    cmir('fit', archive, tmp_path / 'fitted', '--dims', '2')
    assert cmir_json('stat', tmp_path / 'fitted')['Previews'] == 'small'
    np.testing.assert_array_equal(read_preview(tmp_path / 'fitted', 'mr')[0], read_preview(archive, 'mr')[0])
    assert cmir_json('verify', tmp_path / 'fitted')['Sound']


def test_damage_is_found_and_shown_as_such(made, tmp_path):
    rng = np.random.default_rng(SEED)
    archive = add(made, 'small', 'small')
    path = next((archive / 'previews').iterdir())
    whole = path.read_bytes()
    shown = {v['VolumeId'] for v in cmir_json('list', archive)['Volumes']}
    for at in rng.integers(0, len(whole), 12):
        copy = tmp_path / f'at{at}'
        shutil.copytree(archive, copy)
        data = bytearray(whole)
        data[at] ^= 1 << int(rng.integers(8))
        (copy / 'previews' / path.name).write_bytes(data)
        found = cmir_json('verify', copy, status=1)
        assert len(found['Problems']) == 1 and 'preview' in found['Problems'][0], at
        assert any(found['Problems'][0].startswith(name + ':') for name in shown)
        shutil.rmtree(copy)
    copy = tmp_path / 'cut'
    shutil.copytree(archive, copy)
    (copy / 'previews' / path.name).write_bytes(whole[:-64])
    assert 'cut short' in ' '.join(cmir_json('verify', copy, status=1)['Problems'])
    # Searching needs no previews.
    assert cmir_json('search', copy, f'{copy}:ct', '--exclude', 'volume')['Matches']
    (copy / 'previews' / 'stray.pre').write_bytes(b'x')
    assert 'no part of the archive' in ' '.join(cmir_json('verify', copy, status=1)['Problems'])


def test_tail_of_an_unfinished_add(made, tmp_path):
    """What lies behind the named bytes belongs to nobody: ignored, then cut off by the next writer."""
    archive = tmp_path / 'a'
    shutil.copytree(add(made, 'small', 'small'), archive)
    path = next((archive / 'previews').iterdir())
    size = path.stat().st_size
    with open(path, 'ab') as f:
        f.write(b'x' * 4096)
    (archive / 'previews' / '00000002.pre').write_bytes(b'y' * 64)
    assert cmir_json('verify', archive)['Sound']
    cmir('remove', archive, 'mr')
    cmir('add', archive, made['scans'] / 'mr.nii.gz', '-q')
    assert not (archive / 'previews' / '00000002.pre').exists()
    assert path.stat().st_size == cmir_json('stat', archive)['PreviewBytes'] > size
    assert cmir_json('verify', archive)['Sound']


def test_a_preview_that_was_missing_comes_with_the_next_add(made, tmp_path):
    archive = tmp_path / 'a'
    shutil.copytree(add(made, 'small', 'small'), archive)
    with sqlite3.connect(archive / 'catalog.sqlite') as db:
        db.execute("DELETE FROM previews WHERE volume = (SELECT id FROM volumes WHERE volume_id = 'mr')")
    db.close()
    added = cmir_json('add', archive, made['scans'] / 'mr.nii.gz')
    assert [v['VolumeId'] for v in added['AlreadyThere']] == ['mr']
    np.testing.assert_array_equal(read_preview(archive, 'mr')[0], read_preview(add(made, 'small', 'small'), 'mr')[0])
    assert cmir_json('verify', archive)['Sound']


def test_report_shows_previews_where_scans_are_gone(made, tmp_path):
    scans, archive = tmp_path / 'scans', tmp_path / 'a'
    shutil.copytree(made['scans'], scans)
    cmir('add', archive, scans, '-q')
    for gone in scans.iterdir():
        gone.unlink()
    cmir('search', archive, f'{archive}:ct', '--exclude', 'volume', '--report', tmp_path / 'r.html')
    text = (tmp_path / 'r.html').read_text()
    assert 'no picture' not in text and 'of the preview that the archive keeps' in text
    assert 'data:image/png' in text and 'mr.nii.gz' in text


def test_golden_archives_stay_readable(tmp_path):
    """format_2 is from before previews; previews_1 is the first that had some."""
    for name in ('format_2', 'previews_1'):
        copy = tmp_path / name
        shutil.copytree(GOLDEN / name, copy)
        assert cmir_json('verify', copy)['Sound']
    assert cmir_json('stat', tmp_path / 'format_2')['Previews'] == 'none'
    assert cmir_json('stat', tmp_path / 'previews_1')['Previews'] == 'small'
    values, scale = read_preview(tmp_path / 'previews_1', 'golden')
    assert values.shape == (6, 12, 16) and scale == 2
    k, r, q = np.meshgrid(np.arange(6), np.arange(12), np.arange(16), indexing='ij')
    np.testing.assert_allclose(values, 2 * np.rint((-1000 + 40 * k + 30 * r + 20 * q) / 2), atol=1e-9)


# ---------------------------------------------------------------- the library: pictures and crops


class Box(c.Structure):
    _fields_ = [(name, c.c_uint32 * 2) for name in ('rows', 'columns', 'slices')]


class Window(c.Structure):
    _fields_ = [('centre', c.c_double), ('width', c.c_double)]


def declare(name, *arguments):
    function = getattr(LIB, name)
    function.restype, function.argtypes = c.c_int, [*arguments, c.POINTER(cmir_ffi.CError)]
    return function


OPEN = declare('cmir_pixels_of_volume', c.c_void_p, c.c_int, c.POINTER(c.c_void_p))
PNG = declare('cmir_pixels_png', c.c_void_p, c.c_uint32, c.POINTER(Window), c.c_uint32, c.POINTER(c.c_void_p),
              c.POINTER(c.c_size_t))
NIFTI = declare('cmir_pixels_nifti_write', c.c_void_p, c.c_uint32, c.c_uint32, c.c_char_p)
CROP = declare('cmir_volume_crop', c.c_void_p, c.c_int, c.POINTER(Box), c.POINTER(c.c_void_p))
LIB.cmir_free.restype, LIB.cmir_free.argtypes = None, [c.c_void_p]
LIB.cmir_pixels_close.restype, LIB.cmir_pixels_close.argtypes = None, [c.c_void_p]


class Pixels:
    def __init__(self, volume, plane):
        handle = c.c_void_p()
        cmir_ffi._call(OPEN, volume._handle, PLANES[plane], c.byref(handle))
        self.handle, self.volume = handle.value, volume

    def __del__(self):
        LIB.cmir_pixels_close(self.handle)

    def png(self, index, side, window=None):
        data, n = c.c_void_p(), c.c_size_t()
        w = None if window is None else c.byref(Window(*window))
        cmir_ffi._call(PNG, self.handle, index, w, side, c.byref(data), c.byref(n))
        image = Image.open(io.BytesIO(c.string_at(data.value, n.value)))
        LIB.cmir_free(data.value)
        assert image.mode == 'L' and image.format == 'PNG'
        return np.asarray(image).astype(int)


def crop(volume, plane, rows, columns, slices):
    handle = c.c_void_p()
    box = Box((c.c_uint32 * 2)(*rows), (c.c_uint32 * 2)(*columns), (c.c_uint32 * 2)(*slices))
    cmir_ffi._call(CROP, volume._handle, PLANES[plane], c.byref(box), c.byref(handle))
    return cmir_ffi.Volume(handle.value)


def check_grey(grey, picture, centre, width):
    want = 255 * np.clip((shrunk(picture, *grey.shape) - (centre - width / 2)) / width, 0, 1)
    assert np.abs(grey - want).max() <= 0.5 + 2e-2


@pytest.mark.parametrize('plane', PLANES)
def test_pictures_are_windowed_averages(made, plane):
    for name, (voxels, _) in made['volumes'].items():
        volume = cmir_ffi.read(made['scans'] / f'{name}.nii.gz')
        stack, pixels = volume.stack(plane), Pixels(volume, plane)
        mm = stack['rows'] * stack['row_spacing_mm'], stack['cols'] * stack['col_spacing_mm']
        for side, window in ((4096, (40, 400)), (100, (-600, 1500)), (17, (450, 900)), (64, None)):
            k = stack['n_slices'] // 2
            grey = pixels.png(k, side, window)
            assert max(grey.shape) <= side
            fine = min(stack['row_spacing_mm'], stack['col_spacing_mm'])
            longest = round(max(mm) / fine)
            assert max(grey.shape) == min(side, longest)
            assert abs(grey.shape[0] - grey.shape[1] * mm[0] / mm[1]) <= 0.51 + 0.5 * mm[0] / mm[1]
            if window is None:
                low, high = volume.info['value_low'], volume.info['value_high']
                window = (40, 400) if volume.info['has_hu'] else ((low + high) / 2, high - low)
            check_grey(grey, volume.slice(k, plane), *window)
        with pytest.raises(cmir_ffi.Error, match='no slice'):
            pixels.png(stack['n_slices'], 64)
        for bad in ((40, 0), (40, -1), (float('nan'), 4), (4, float('inf'))):
            with pytest.raises(cmir_ffi.Error, match='window'):
                pixels.png(0, 64, bad)


def test_nifti_of_pictures(made, tmp_path):
    path = tmp_path / 'x.nii.gz'
    volume = cmir_ffi.read(made['scans'] / 'ct.nii.gz')
    voxels, mm = made['volumes']['ct']
    pixels = Pixels(volume, 'axial')
    for side, slices in ((4096, 4096), (100, 3), (77, 7)):
        cmir_ffi._call(NIFTI, pixels.handle, side, slices, os.fsencode(path))
        image = nib.load(path)
        got, step = np.asarray(image.dataobj), -(-7 // slices)
        assert max(got.shape[:2]) == min(side, 300) and got.shape[2] == -(-7 // step)
        for k in range(got.shape[2]):
            want = shrunk(pictures(voxels)[k * step], got.shape[1], got.shape[0])
            assert np.abs(got[:, :, k].T - want).max() <= 0.51
        # The corners of the volume are where they were.
        extent = np.array([300, 200]) / got.shape[:2]
        for corner in ((-0.5, -0.5, 0), (got.shape[0] - 0.5, got.shape[1] - 0.5, got.shape[2] - 1)):
            source = np.array([(corner[0] + 0.5) * extent[0] - 0.5, (corner[1] + 0.5) * extent[1] - 0.5,
                               corner[2] * step])
            np.testing.assert_allclose(image.affine @ [*corner, 1], np.diag([-mm[0], -mm[1], mm[2], 1]) @ [*source, 1],
                                       atol=1e-3)


@pytest.mark.parametrize('seed', range(12))
def test_crops_are_boxes_of_voxels(tmp_path, seed):
    """Any orientation: pictures of the crop are parts of the whole's, and every voxel stays where it was."""
    rng = np.random.default_rng([SEED, seed])
    shape = tuple(rng.integers(6, 24, 3))
    axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = axes @ np.diag(rng.uniform(0.5, 5, 3)) + rng.normal(0, 0.05, (3, 3))
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    voxels = rng.integers(-1000, 2000, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / 'x.nii.gz')
    volume = cmir_ffi.read(tmp_path / 'x.nii.gz', modality='CT', min_slices=1)
    for plane in PLANES:
        stack, whole = volume.stack(plane), volume.slices(plane)
        rows, columns, slices = [np.sort(rng.integers(0, n, 2)) for n in (stack['rows'], stack['cols'],
                                                                            stack['n_slices'])]
        part = crop(volume, plane, rows, columns, slices)
        np.testing.assert_array_equal(part.slices(plane), whole[slices[0]:slices[1] + 1, rows[0]:rows[1] + 1,
                                                                columns[0]:columns[1] + 1])
        # nibabel's own slicer says where a box of voxels lies.
        to_lps = np.diag([-1, -1, 1, 1])
        start = np.linalg.solve(to_lps @ affine, [*part.affine[:, 3], 1])[:3]
        first = np.rint(start).astype(int)
        np.testing.assert_allclose(start, first, atol=1e-3)
        box = nib.Nifti1Image(voxels, affine).slicer[tuple(slice(f, f + n) for f, n in zip(first, part.dims))]
        np.testing.assert_allclose(part.affine, (to_lps @ box.affine)[:3], atol=1e-3)
        axis = {'axial': 2, 'coronal': 1, 'sagittal': 0}[plane]
        np.testing.assert_allclose(part.mm(plane).mean(), part.affine[axis] @ [*((np.array(part.dims) - 1) / 2), 1],
                                   atol=1e-3)
        assert part.info['has_hu'] == volume.info['has_hu'] and part.info['value_low'] == volume.info['value_low']
        for bad in (((rows[1] + 1, rows[1]), columns, slices), (rows, (0, stack['cols']), slices)):
            with pytest.raises(cmir_ffi.Error, match='box'):
                crop(volume, plane, *bad)
