# SPDX-License-Identifier: Apache-2.0
"""Volumes as stacks of slices, against nibabel's closest canonical orientation and numpy: orientation in every plane,
places in mm, spacing, the range of values."""
import os

import nibabel as nib
import numpy as np
import pytest

import cmir_ffi

SEED = 77
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
DATA = cmir_ffi.shared_data()
# Voxel axes of nibabel's RAS+ array that give [slices, rows, columns], and which of them the picture reverses:
# columns run left or posterior, rows posterior or inferior; RAS+ runs right, anterior, superior.
PICTURE = {'axial': ((2, 1, 0), (1, 2)), 'coronal': ((1, 2, 0), (1, 2)), 'sagittal': ((0, 2, 1), (1, 2))}
NORMAL = {'axial': 2, 'coronal': 1, 'sagittal': 0}


def rotation(rng, degrees):
    from scipy.spatial.transform import Rotation
    axis = rng.normal(size=3)
    return Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.radians(rng.uniform(0, degrees))).as_matrix()


def affines():
    """Permuted, flipped, oblique up to 20 degrees, and sheared like a gantry tilted by up to 25 degrees."""
    for seed in range(48):
        rng = np.random.default_rng([SEED, seed])
        axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
        matrix = rotation(rng, 20) @ axes
        if seed % 3 == 0:
            matrix[:, 2] += matrix[:, 1] * np.tan(np.radians(rng.uniform(-25, 25)))
        affine = np.eye(4)
        affine[:3, :3] = matrix @ np.diag(rng.uniform(0.4, 6, 3))
        affine[:3, 3] = rng.uniform(-400, 400, 3)
        yield rng, affine


def check_planes(volume, image, exact=True):
    """All three planes against as_closest_canonical; -> nothing."""
    canonical = nib.as_closest_canonical(image)
    values = canonical.get_fdata().astype(np.float32).reshape(canonical.shape[:3])
    orientation = nib.io_orientation(image.affine)
    source_of = {int(orientation[axis, 0]): axis for axis in range(3)}
    shape = image.shape[:3]
    for plane, (axes, reversed_places) in PICTURE.items():
        want = np.transpose(values, axes)
        index = [slice(None)] * 3
        for place in reversed_places:
            index[place] = slice(None, None, -1)
        source = source_of[NORMAL[plane]]
        if orientation[source, 1] < 0:  # slice numbers are the source's: undo nibabel's flip
            index[0] = slice(None, None, -1)
        got = volume.slices(plane)
        np.testing.assert_array_equal(got, want[tuple(index)], err_msg=plane)

        affine = (RAS_TO_LPS @ image.affine)[:3]
        stack = volume.stack(plane)
        rows, cols = source_of[axes[1]], source_of[axes[2]]
        assert (stack['n_slices'], stack['rows'], stack['cols']) == (shape[source], shape[rows], shape[cols])
        assert stack['native'] == (source == 2)
        lengths = np.linalg.norm(affine[:, :3], axis=0)
        assert stack['row_spacing_mm'] == pytest.approx(lengths[rows], abs=1e-4)
        assert stack['col_spacing_mm'] == pytest.approx(lengths[cols], abs=1e-4)
        normal = np.cross(affine[:, rows], affine[:, cols])
        normal /= np.linalg.norm(normal)
        assert stack['slice_spacing_mm'] == pytest.approx(abs(affine[:, source] @ normal), abs=1e-4)
        centres = np.tile((np.array(shape) - 1) / 2, (shape[source], 1))
        centres[:, source] = np.arange(shape[source])
        mm = (affine[:, :3] @ centres.T + affine[:, 3:])[NORMAL[plane]]
        np.testing.assert_allclose(volume.mm(plane), mm, atol=1e-3)
        assert volume.uids(plane) == [''] * shape[source]


def test_planes_of_made_volumes(tmp_path):
    for number, (rng, affine) in enumerate(affines()):
        shape = tuple(int(n) for n in rng.integers(3, 24, 3))
        dtype = (np.int16, np.uint16, np.float32, np.uint8)[number % 4]
        data = rng.integers(0, 200, shape).astype(dtype) if dtype != np.int16 else \
            rng.integers(-1024, 3000, shape).astype(dtype)
        image = nib.Nifti1Image(data, affine)
        image.header.set_slope_inter(*((1, 0), (1, -1024), (0.5, 3))[number % 3])
        path = str(tmp_path / 'v.nii')
        nib.save(image, path)
        check_planes(cmir_ffi.read(path, min_slices=1), nib.load(path))


@pytest.mark.skipif(DATA is None, reason='no folder of shared data (CMIR_SHARED)')
@pytest.mark.parametrize('name', ['ct/torso/LIDC_0314.nii.gz', 'ct/torso/TOTALSEG_EXAMPLE.nii.gz',
                                  'ct/sts/STS_001.nii.gz', 'mr/abdomen/CMBCRC_MR_SCAN_001.nii.gz',
                                  'mr/hippocampus/images/*'])
def test_planes_of_real_volumes(name):
    path = os.path.join(DATA, name)
    if name.endswith('*'):
        path = os.path.join(os.path.dirname(path), sorted(os.listdir(os.path.dirname(path)))[0])
    check_planes(cmir_ffi.read(path), nib.load(path))


def test_range_is_exact_for_small_volumes(tmp_path):
    for seed in range(8):
        rng = np.random.default_rng([SEED, seed])
        data = rng.normal(100, 40, tuple(rng.integers(3, 60, 3))).astype(np.float32)
        data[rng.random(data.shape) < 0.02] = (np.nan, np.inf, -np.inf)[seed % 3]
        path = str(tmp_path / 'v.nii')
        nib.save(nib.Nifti1Image(data, np.eye(4)), path)
        info = cmir_ffi.read(path, min_slices=1).info
        want = np.percentile(data[np.isfinite(data)].astype(np.float64), [0.5, 99.5])
        np.testing.assert_allclose([info['value_low'], info['value_high']], want, rtol=1e-6)


def test_range_of_large_volumes_is_sampled_evenly(tmp_path):
    """Values depend on the column alone: a sample along one column, or one row, would be far off."""
    rng = np.random.default_rng(SEED)
    for shape in ((256, 256, 100), (250, 200, 120), (512, 3, 3000)):
        ramp = np.linspace(0, 10000, shape[0])
        data = np.broadcast_to(ramp[:, None, None], shape) + rng.normal(0, 5, shape)
        path = str(tmp_path / 'v.nii')
        nib.save(nib.Nifti1Image(np.asarray(data, np.int16), np.eye(4)), path)
        info = cmir_ffi.read(path).info
        want = np.percentile(data, [0.5, 99.5])
        np.testing.assert_allclose([info['value_low'], info['value_high']], want, atol=45)  # a column is 20 to 40


def test_values_that_are_not_finite(tmp_path):
    rng = np.random.default_rng(SEED)
    data = rng.normal(100, 40, (20, 20, 20)).astype(np.float32)
    bad = rng.random(data.shape) < 0.05
    data[bad] = np.nan
    for modality, low in (('MR', 0), ('CT', -1000)):
        path = str(tmp_path / 'v.nii')
        nib.save(nib.Nifti1Image(data + np.float32(low), np.diag([-1, -1, 1, 1])), path)
        volume = cmir_ffi.read(path, modality=modality)
        got = volume.slices('axial').transpose(2, 1, 0)
        fill = -1024 if modality == 'CT' else np.float32(volume.info['value_low'])
        assert (got[bad] == fill).all()
        np.testing.assert_array_equal(got[~bad], (data + np.float32(low))[~bad])


def test_slices_out_of_range(tmp_path):
    path = str(tmp_path / 'v.nii')
    nib.save(nib.Nifti1Image(np.arange(210, dtype=np.int16).reshape(7, 6, 5), np.eye(4)), path)
    volume = cmir_ffi.read(path)
    for plane, n in (('axial', 5), ('coronal', 6), ('sagittal', 7)):
        volume.slice(n - 1, plane)
        with pytest.raises(cmir_ffi.Error, match=f'v.nii.*slice {n}.*{n}'):
            volume.slice(n, plane)
        assert np.isnan(cmir_ffi.LIB.cmir_volume_slice_mm(volume._handle, cmir_ffi.PLANES[plane], n))
