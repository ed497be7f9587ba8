#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Known-item queries: slabs cut out of real CT volumes, perturbed, saved as NIfTI with their true place.

Run by hand, and by eval_slabs.py's reader of truth.csv. Every slab is 20-30 % of the slices of its source
(at least 6), so a search engine that indexes the sources must find the source first and the run of slices
that the slab came from. Seeded: a slab depends on (seed, kind, volume id, number) alone, so adding or
leaving out a volume changes no other slab.

  mild    resampled 1.25x along z, rotated <= 6 degrees, shifted <= 4 px, noise 15 HU, intensity x .97-1.03
  hard    every second slice, rotated <= 10 degrees, cropped to 85 % of the field of view off-centre,
          blurred (sigma .5 px), noise 20 HU, intensity x .95-1.05
  brutal  every second slice, rotated <= 15 degrees, cropped to 75 % off-centre, blurred (sigma .7 px),
          noise 40 HU, intensity x .95-1.05

DATA is a folder with regions.csv (columns path, format, modality: one line per volume). Slices are counted
from 0: for NIfTI along the third axis of the file; for DICOM in ascending position along the slice normal
(row direction x column direction). A volume's id is its SeriesInstanceUID (the folder's name where that is
empty), or the NIfTI file's name.

Needs numpy, scipy, nibabel, pydicom and pydicom's decoders for compressed series (pylibjpeg with
pylibjpeg-libjpeg and pylibjpeg-openjpeg).
"""
import argparse
import csv
import os
import sys
import zlib

import nibabel as nib
import numpy as np
import pydicom
from scipy import ndimage as nd

MIN_SLICES = 6  # every second one of six leaves three, the least that a query may have
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
KINDS = {
    # step 0 = resample 1.25x along z; otherwise keep every step-th slice. crop 1 = shift by up to 4 px instead.
    'mild': dict(step=0, degrees=6, crop=1.0, blur=0.0, noise=15, gain=0.03),
    'hard': dict(step=2, degrees=10, crop=0.85, blur=0.5, noise=20, gain=0.05),
    'brutal': dict(step=2, degrees=15, crop=0.75, blur=0.7, noise=40, gain=0.05),
}


def read_nifti(path):
    """-> id, voxels [slice, row, column] as the file stores them, affine (column, row, slice) -> RAS mm."""
    image = nib.load(path)
    name = os.path.basename(path)
    for ending in ('.nii.gz', '.nii'):
        if name.endswith(ending):
            name = name[:-len(ending)]
    return name, np.asarray(image.dataobj, dtype=np.float32).transpose(2, 1, 0), image.affine


def read_dicom(folder):
    """-> id, voxels [slice, row, column] in HU, affine (column, row, slice) -> RAS mm.

    The slice axis of the affine is the mean step between slices, so a tilted gantry stays a shear.
    """
    slices = [pydicom.dcmread(os.path.join(folder, f)) for f in sorted(os.listdir(folder))]
    along, down = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(along, down)
    slices.sort(key=lambda d: float(np.dot(np.array(d.ImagePositionPatient, float), normal)))
    voxels = np.stack([d.pixel_array.astype(np.float32) * float(d.get('RescaleSlope', 1))
                       + float(d.get('RescaleIntercept', 0)) for d in slices])
    first, last = (np.array(d.ImagePositionPatient, float) for d in (slices[0], slices[-1]))
    down_mm, along_mm = (float(s) for s in slices[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along * along_mm, down * down_mm
    affine[:3, 2], affine[:3, 3] = (last - first) / (len(slices) - 1), first
    name = str(slices[0].get('SeriesInstanceUID', '')) or os.path.basename(os.path.normpath(folder))
    return name, voxels, LPS_TO_RAS @ affine


def read_volume(path):
    return read_dicom(path) if os.path.isdir(path) else read_nifti(path)


def volumes_of(data, modality='CT'):
    """Paths of the volumes of one modality that DATA/regions.csv lists, in its order."""
    with open(os.path.join(data, 'regions.csv'), newline='') as f:
        return [os.path.join(data, r['path']) for r in csv.DictReader(f) if r['modality'] == modality]


def cut_slab(voxels, affine, kind, rng):
    """-> perturbed slab [slice, row, column] int16, its affine, first and last source slice in it."""
    k = KINDS[kind]
    n = len(voxels)
    m = max(MIN_SLICES, int(n * rng.uniform(0.2, 0.3)))
    first = int(rng.integers(0, n - m + 1))
    slab = voxels[first:first + m]
    if k['step']:
        slab = slab[::k['step']]
        step = float(k['step'])
    else:
        slab = nd.zoom(slab, (1 / 1.25, 1, 1), order=1)
        step = (m - 1) / (len(slab) - 1)
    last = first + int(round(step * (len(slab) - 1)))

    slab = nd.rotate(slab, rng.uniform(-k['degrees'], k['degrees']), axes=(1, 2), reshape=False,
                     order=1, mode='nearest')
    y = x = 0
    if k['crop'] < 1:
        height, width = slab.shape[1:]
        h, w, off = int(height * k['crop']), int(width * k['crop']), max(1, height // 25)
        y = int(np.clip((height - h) // 2 + rng.uniform(-off, off), 0, height - h))
        x = int(np.clip((width - w) // 2 + rng.uniform(-off, off), 0, width - w))
        slab = slab[:, y:y + h, x:x + w]
    else:
        slab = nd.shift(slab, (0, rng.uniform(-4, 4), rng.uniform(-4, 4)), order=1, mode='nearest')
    if k['blur']:
        slab = nd.gaussian_filter(slab, (0, k['blur'], k['blur']))
    slab = slab * rng.uniform(1 - k['gain'], 1 + k['gain']) + rng.normal(0, k['noise'], slab.shape)

    moved = affine.copy()
    moved[:3, 3] += affine[:3, 0] * x + affine[:3, 1] * y + affine[:3, 2] * first
    moved[:3, 2] *= step
    return np.clip(np.round(slab), -32768, 32767).astype(np.int16), moved, first, last


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('out', help='folder to write: KIND_VOLUME_J.nii.gz and truth.csv')
    p.add_argument('--data', default='../shared/data', help='folder with regions.csv (default %(default)s)')
    p.add_argument('--kind', choices=list(KINDS), required=True)
    p.add_argument('--per-volume', type=int, default=5, help='slabs per volume (default %(default)s)')
    p.add_argument('--seed', type=int, default=1, help='default %(default)s')
    a = p.parse_args()

    paths = volumes_of(a.data)
    os.makedirs(a.out, exist_ok=True)
    rows = []
    for path in paths:
        source, voxels, affine = read_volume(path)
        if len(voxels) < MIN_SLICES:
            print('%s: only %d slices, left out' % (path, len(voxels)), file=sys.stderr)
            continue
        for j in range(a.per_volume):
            rng = np.random.default_rng([a.seed, list(KINDS).index(a.kind), zlib.crc32(source.encode()), j])
            slab, moved, first, last = cut_slab(voxels, affine, a.kind, rng)
            query = '%s_%s_%d' % (a.kind, source, j)
            nib.save(nib.Nifti1Image(slab.transpose(2, 1, 0), moved), os.path.join(a.out, query + '.nii.gz'))
            rows.append([query, source, first, last])
    with open(os.path.join(a.out, 'truth.csv'), 'w', newline='') as f:
        w = csv.writer(f)
        w.writerow(['query', 'source', 'first_slice', 'last_slice'])
        w.writerows(rows)
    print('%d %s slabs of %d volumes, seed %d, in %s' % (len(rows), a.kind, len(paths), a.seed, a.out))


if __name__ == '__main__':
    main()
