#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts of the sarcoma CTs for flagging, localisation and staging, saved as NIfTI with labels for `cmir add --labels`.

Run by hand, and before study_method.py. The one idea: everything about a cut that is not anatomy (how large, how many
slices, where in the stack) is written beside the label, so that an evaluation can print what that alone reaches.

OUT gets three folders of cuts, each with a labels.csv, and the tumours' masks of all cuts, on the same grids, in
masks/slabs, masks/windows and masks/crops:
  slabs    flag, locate. Every volume is cut along z into slabs of round(30 mm / spacing) slices that do not overlap;
           what is left over is dropped at both ends alike, so all slabs have the same thickness. Whole field of view.
  windows  stage. One window per volume, 128 x 128 x 128 mm, centred on the middle of the mask's bounding box, moved
           as little as needed to lie in the volume; refused where the volume is smaller.
  crops    stage, naively. The volumes as they are: cropped round the tumour, so that their size tells the answer.

Columns:
  name, PatientID, cohort
  flag          1 where at least MIN_SHARE of the slab's voxels in the body (above -300 HU) are tumour; 0 where none
                is. Between: empty, the slab takes no part. Of windows and crops: 1.
  flag_any      1 where a voxel is tumour, else 0: no slab is left out
  tumour_share  tumour voxels / body voxels
  tumour_slices share of the slices that show tumour
  tumour        first:last slice, from 0, that shows tumour; empty without
  mask          the cut's mask, seen from labels.csv, for `cmir eval --locate mask`
  size_class    1..4, quartiles of the largest diameter over the whole collection, from sts_labels.csv
  crop_ml, slices, spacing   volume of the cut; its slices; mm between them
  position      of the cut's middle in the stack, 0 to 1

DATA has ct/sts/*.nii.gz, ct/sts/masks/ on the same grids and ct/sts_labels.csv. Needs numpy and nibabel.
"""
import argparse
import csv
import glob
import os

import nibabel as nib
import numpy as np

SLAB_MM = 30.0
WINDOW_MM = 128.0
BODY_HU = -300
MIN_SHARE = 0.01  # of the body: a slab with less is neither clearly with tumour nor without
COHORT = 'Soft-tissue-Sarcoma'
COLUMNS = ('name', 'PatientID', 'cohort', 'flag', 'flag_any', 'tumour_share', 'tumour_slices', 'tumour',
           'mask', 'size_class', 'crop_ml', 'slices', 'spacing', 'position')


def read(path, masks):
    """-> name, image, voxels [column, row, slice], mask of the same shape."""
    image = nib.load(path)
    mask = nib.load(os.path.join(masks, os.path.basename(path)))
    if image.shape != mask.shape or not np.allclose(image.affine, mask.affine, atol=1e-3):
        raise SystemExit('%s: the mask lies on another grid' % path)
    return os.path.basename(path)[:-len('.nii.gz')], image, np.asarray(image.dataobj), np.asarray(mask.dataobj) > 0


def spacing_of(image):
    return np.linalg.norm(image.affine[:3, :3], axis=0)


def slabs_of(image):
    """Boxes [3, 2] of the slabs: first voxel and the one behind the last, per axis."""
    n = image.shape[2]
    thick = int(round(SLAB_MM / spacing_of(image)[2]))
    first = n % thick // 2
    return [np.array([[0, image.shape[0]], [0, image.shape[1]], [a, a + thick]])
            for a in range(first, n - thick + 1, thick)]


def window_of(image, mask):
    """The box of WINDOW_MM centred on the mask."""
    size = np.round(WINDOW_MM / spacing_of(image)).astype(int)
    where = np.argwhere(mask)
    middle = (where.min(0) + where.max(0) + 1) / 2
    low = np.clip(np.round(middle - size / 2).astype(int), 0, np.array(mask.shape) - size)
    if (low < 0).any():
        raise SystemExit('a window of %g mm does not fit into %s' % (WINDOW_MM, image.shape))
    return np.stack([low, low + size], 1)


def save(path, image, voxels, box):
    part = voxels[tuple(slice(a, b) for a, b in box)]
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ box[:, 0]
    nib.save(nib.Nifti1Image(part, affine), path)


def labels(folder, name, patient, size_class, image, voxels, mask, box):
    """The row of a cut."""
    part = tuple(slice(a, b) for a, b in box)
    tumour, mm = mask[part], spacing_of(image)
    share = tumour.sum() / max(1, np.sum((voxels[part] > BODY_HU) | tumour))
    shown = np.flatnonzero(tumour.any((0, 1)))
    extent = (box[:, 1] - box[:, 0])
    flag = 1 if share >= MIN_SHARE else 0 if len(shown) == 0 else ''
    return [name, patient, COHORT, flag, int(len(shown) > 0), '%.4f' % share, '%.4f' % (len(shown) / extent[2]),
            '%d:%d' % (shown[0], shown[-1]) if len(shown) else '', '../masks/%s/%s.nii.gz' % (folder, name), size_class,
            '%.1f' % (np.prod(extent * mm) / 1000), extent[2], '%.4g' % mm[2], '%.4f' % (box[2].mean() / mask.shape[2])]


def cuts_of(name, image, mask):
    """-> (folder, name of the cut, box) of every cut of a volume."""
    whole = np.array([[0, n] for n in mask.shape])
    return ([('slabs', '%s_slab%d' % (name, i), box) for i, box in enumerate(slabs_of(image))]
            + [('windows', name + '_window', window_of(image, mask)), ('crops', name + '_crop', whole)])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('out', metavar='OUT')
    p.add_argument('--data', default='../shared/data', help='default %(default)s')
    a = p.parse_args()
    with open(os.path.join(a.data, 'ct', 'sts_labels.csv'), newline='') as f:
        known = {r['name']: r for r in csv.DictReader(f)}
    rows = {'slabs': [], 'windows': [], 'crops': []}
    for folder in rows:
        os.makedirs(os.path.join(a.out, folder), exist_ok=True)
        os.makedirs(os.path.join(a.out, 'masks', folder), exist_ok=True)
    for path in sorted(glob.glob(os.path.join(a.data, 'ct', 'sts', '*.nii.gz'))):
        name, image, voxels, mask = read(path, os.path.join(a.data, 'ct', 'sts', 'masks'))
        for folder, cut, box in cuts_of(name, image, mask):
            save(os.path.join(a.out, folder, cut + '.nii.gz'), image, voxels, box)
            save(os.path.join(a.out, 'masks', folder, cut + '.nii.gz'), image, mask.astype(np.uint8), box)
            rows[folder].append(labels(folder, cut, known[name]['patient'], known[name]['size_class'], image, voxels,
                                       mask, box))
    for folder, lines in rows.items():
        with open(os.path.join(a.out, folder, 'labels.csv'), 'w', newline='') as f:
            csv.writer(f).writerows([COLUMNS] + lines)
        print('%s: %d of %d patients' % (folder, len(lines), len({r[1] for r in lines})))
    flags = [r[COLUMNS.index('flag')] for r in rows['slabs']]
    print('slabs: %d with tumour, %d without, %d between' % (flags.count(1), flags.count(0), flags.count('')))


if __name__ == '__main__':
    main()
