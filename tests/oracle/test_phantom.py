# SPDX-License-Identifier: Apache-2.0
"""cmir phantom --sites: labels against masks (scipy), splits, the confound on purpose and its absence."""
import collections
import csv
import filecmp

import nibabel as nib
import numpy as np
import pytest
from cli_help import SEED, ok, ok_json, refused
from scipy import ndimage
from scipy.spatial.distance import pdist

SITES = ['colon', 'liver', 'lung', 'pancreas']
KINDS = ['confounded', 'honest']
N = 35  # nine volumes of each cohort, eight of the last


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    path = tmp_path_factory.mktemp('phantom') / 'sites'
    print('seed', SEED)
    ok('phantom', path, '--sites', '--volumes', N, '--seed', SEED)
    return path


def rows(path):
    with open(path, newline='') as f:
        return list(csv.DictReader(f))


def labels(out, kind, site):
    return rows(out / kind / f'{site}_labels.csv')


def split(out, kind, site):
    return ([r['training'] for r in rows(out / kind / f'{site}_train.csv')],
            [r['testing'] for r in rows(out / kind / f'{site}_test.csv')])


def stage(site, cm, n):
    """The rules of 3D-MIR, written down again."""
    if n == 0:
        return -1
    if site in ('colon', 'pancreas'):
        return 1 + (cm >= 2) + (cm >= 4) + (cm >= 6)
    if site == 'liver':
        return (1 if cm < 2 else 2) if n == 1 else (2 if cm < 5 else 3)
    return (1 if cm < 3 else 2) if n == 1 else 3


def test_labels_have_the_layout_of_3dmir_and_its_stages(out):
    for kind in KINDS:
        for site in SITES:
            table = labels(out, kind, site)
            assert list(table[0]) == ['name', 'organ', 'max_tumor_size', 'number_tumors', 'lesion_group', 'cancer_flag']
            for r in table:
                assert r['name'].endswith('.nii.gz') and r['name'].split('_')[0] == r['organ']
                assert (out / 'volumes' / r['name']).is_file()
                cm, n = float(r['max_tumor_size']), int(r['number_tumors'])
                assert int(r['lesion_group']) == stage(site, cm, n), r
                assert int(r['cancer_flag']) == (n > 0) == (cm > 0)
            assert {r['cancer_flag'] for r in table} == {'0', '1'}


def test_labels_are_what_the_masks_show(out):
    tumours = collections.defaultdict(list)
    for r in rows(out / 'tumours.csv'):
        tumours[r['name']].append(r)
    table = {r['name']: r for kind in KINDS for site in SITES for r in labels(out, kind, site)}
    assert len(table) == N
    measured = expected = 0
    for name, r in table.items():
        image, scan = nib.load(out / 'masks' / name), nib.load(out / 'volumes' / name)
        mask = np.asanyarray(image.dataobj)
        assert mask.shape == scan.shape and np.array_equal(image.affine, scan.affine) and (mask == 1).any()
        if r['cancer_flag'] == '0':
            assert set(np.unique(mask)) == {0, 1} and name[:-7] not in tumours
            continue
        assert set(np.unique(mask)) == {0, 1, 2}
        mask = mask == 2
        for axis in range(3):  # no tumour is cut off
            assert not mask.take([0, -1], axis).any(), name
        found, n = ndimage.label(mask, np.ones((3, 3, 3)))
        assert n == int(r['number_tumors']) == len(tumours[name[:-7]]), name
        spacing = np.array(image.header.get_zooms())
        taken = set()
        for t in tumours[name[:-7]]:
            diameter = float(t['diameter_mm'])
            # NIfTI is RAS, the file LPS.
            at = np.array([-float(t['x_mm']), -float(t['y_mm']), float(t['z_mm'])])
            voxel = np.linalg.solve(image.affine, [*at, 1])[:3]
            nearest = found[tuple(np.rint(voxel).astype(int))]
            assert nearest > 0 and nearest not in taken, (name, t)
            taken.add(nearest)
            points = np.argwhere(found == nearest)
            assert np.linalg.norm((points.mean(0) - voxel) * spacing) < spacing.max() / 2, (name, t)
            widest = pdist(points * spacing).max()
            assert diameter - np.linalg.norm(spacing) <= widest <= diameter * 1.001, (name, t, widest)
            measured += len(points) * spacing.prod()
            expected += np.pi / 6 * diameter ** 3
        largest = max(float(t['diameter_mm']) for t in tumours[name[:-7]])
        assert float(r['max_tumor_size']) == pytest.approx(largest / 10, abs=1e-3)
    assert measured == pytest.approx(expected, rel=.03)


def test_tumours_lie_in_the_organ_of_the_site(out):
    in_lung = []
    for site in SITES:
        for r in labels(out, 'honest', site):
            image = nib.load(out / 'masks' / r['name'])
            mask = np.asanyarray(image.dataobj)
            found, n = ndimage.label(mask == 2, np.ones((3, 3, 3)))
            for i in range(1, n + 1):
                assert (mask[ndimage.binary_dilation(found == i, np.ones((3, 3, 3)))] == 1).any(), r
            if n == 0 or site not in ('liver', 'lung'):
                continue
            voxels = np.asanyarray(nib.load(out / 'volumes' / r['name']).dataobj)
            spacing = image.header.get_zooms()
            away = ndimage.distance_transform_edt(mask != 2, sampling=spacing)
            shell = voxels[(away > 3) & (away < 9)]
            core = voxels[ndimage.distance_transform_edt(mask == 2, sampling=spacing) > 3]
            if site == 'liver':  # darker than what is around
                assert core.mean() < np.median(shell) - 15, r
            else:
                in_lung.append(np.mean(shell < -500))
    assert np.mean(in_lung) > .4


def test_splits_are_disjoint_everywhere(out):
    side = {}
    for kind in KINDS:
        for site in SITES:
            train, test = split(out, kind, site)
            assert train and test and not set(train) & set(test)
            assert sorted(train + test) == sorted(r['name'] for r in labels(out, kind, site))
            for name in train + test:  # one side in every site: a merged database does not leak
                assert side.setdefault(name, name in test) == (name in test), name
            flag = {r['name']: r['cancer_flag'] for r in labels(out, kind, site)}
            assert {flag[name] for name in test} == {flag[name] for name in train} == {'0', '1'}


def test_the_cohort_tells_the_flag_where_it_is_meant_to(out):
    for site in SITES:
        flags = collections.defaultdict(set)
        for r in labels(out, 'confounded', site):
            flags[r['organ']].add(r['cancer_flag'])
        assert len(flags) == 2 and flags[site] == {'1'} and all(len(f) == 1 for f in flags.values())
        assert {r['organ'] for r in labels(out, 'honest', site)} == {site}
        # The same tumours in both; as many tumour-free volumes, give or take the remainder of N.
        sick = [[r for r in labels(out, kind, site) if r['cancer_flag'] == '1'] for kind in KINDS]
        assert sick[0] == sick[1]


def test_cohorts_are_scanned_in_their_own_way_whatever_the_tumour(out):
    free = {r['name'][:-7] for site in SITES for r in labels(out, 'honest', site) if r['cancer_flag'] == '0'}
    facts = rows(out / 'scans.csv')
    assert len(facts) == N
    spacing, noise = collections.defaultdict(set), collections.defaultdict(list)
    mm = collections.defaultdict(list)
    for r in facts:
        image = nib.load(out / 'volumes' / (r['name'] + '.nii.gz'))
        zooms = image.header.get_zooms()
        assert zooms == pytest.approx([float(r['pixel_mm'])] * 2 + [float(r['slice_mm'])], abs=1e-3)
        assert image.shape[2] == int(r['slices'])
        corner = np.asanyarray(image.dataobj)[:8, :8].astype(float)  # air; -1024 cuts its noise off below
        above = corner[corner >= -1000] + 1000
        noise[r['cohort']].append(np.sqrt(np.mean(above ** 2)))
        assert noise[r['cohort']][-1] == pytest.approx(float(r['noise_hu']), rel=.1)
        spacing[r['cohort']].add(r['slice_mm'])
        mm[r['cohort'], r['name'] in free].append(float(r['slice_mm']) * int(r['slices']))
    assert sorted(spacing) == SITES and all(len(s) == 1 for s in spacing.values())
    assert len(set.union(*spacing.values())) == len(SITES)
    ranges = sorted((min(n), max(n)) for n in noise.values())
    assert all(a[1] < b[0] for a, b in zip(ranges, ranges[1:]))
    for site in SITES:  # fields of view of either kind overlap
        a, b = mm[site, True], mm[site, False]
        assert min(a) < max(b) and min(b) < max(a)


def test_the_same_seed_writes_the_same_bytes(out, tmp_path):
    result = ok_json('phantom', tmp_path / 'again', '--sites', '--volumes', 28, '--seed', SEED)
    assert result['Volumes'] == 28 and result['Seed'] == SEED
    again = sorted(p.relative_to(tmp_path / 'again') for kind in ('volumes', 'masks')
                   for p in (tmp_path / 'again' / kind).iterdir())
    assert len(again) == 28 + 28
    for path in again:  # a volume does not depend on how many there are
        assert filecmp.cmp(out / path, tmp_path / 'again' / path, shallow=False), path


def test_too_few_volumes_for_four_sites_are_refused(tmp_path):
    refused(2, ['--volumes', "'27'", '28'], 'phantom', tmp_path / 'few', '--sites', '--volumes', 27)
