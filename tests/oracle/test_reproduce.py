# SPDX-License-Identifier: Apache-2.0
"""scripts/reproduce_3dmir.sh on stand-in data in the Decathlon's layout: what it refuses, the splits of its databases, and its
tables against figures computed here from the lists of `cmir search`."""
import collections
import csv
import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from cli_help import CMIR, SEED, ok

SOURCE = os.environ.get('CMIR_SOURCE') or os.path.join(os.path.dirname(os.path.abspath(__file__)), '../..')
SITES = {'colon': 'Task10_Colon', 'liver': 'Task03_Liver', 'lung': 'Task06_Lung', 'pancreas': 'Task07_Pancreas'}
TASKS = {'flag': 'cancer_flag', 'stage': 'lesion_group'}
METHODS = ['maxsim', 'mean']


def rows(path):
    with open(path, newline='') as f:
        return list(csv.DictReader(f))


@pytest.fixture(scope='module')
def phantom(tmp_path_factory):
    path = tmp_path_factory.mktemp('phantom') / 'phantom'
    print('seed', SEED)
    ok('phantom', path, '--sites', '--volumes', 28, '--seed', SEED)
    return path


def lay_out(phantom, msd):
    for cohort, task in SITES.items():
        for kind, folder in (('volumes', 'imagesTr'), ('masks', 'labelsTr')):
            (msd / task / folder).mkdir(parents=True)
            for path in (phantom / kind).glob(cohort + '_*'):
                (msd / task / folder / path.name).symlink_to(path)
                (msd / task / folder / ('._' + path.name)).write_bytes(b'left by macOS')
    return msd


def reproduce(msd, labels, work, *options):
    return subprocess.run([os.path.join(SOURCE, 'scripts/reproduce_3dmir.sh'), msd, labels, 'builtin', work, '--bootstrap', '50',
                           '--shuffles', '50', *options], capture_output=True, text=True, timeout=600,
                          env=dict(os.environ, CMIR=CMIR, PYTHON=sys.executable, METHODS=','.join(METHODS)))


@pytest.fixture(scope='module')
def work(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp('reproduce')
    msd = lay_out(phantom, folder / 'msd')
    done = reproduce(msd, phantom / 'confounded', folder / 'work')
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / 'work'


@pytest.fixture(scope='module')
def ranked(work):
    """By method and query: every volume of the archive, best first."""
    ids = sorted(os.path.basename(p.strip())[:-7] for p in open(work / 'images.txt'))
    lists = '\n'.join('%s:%s' % (work / 'archive', i) for i in ids)
    found = {}
    for method in METHODS:
        out = ok('search', work / 'archive', '--batch', '-', '--exhaustive', '--limit', len(ids), '--score', method, '--json',
                 input=lists)
        for line in out.splitlines():
            one = json.loads(line)
            found[method, one['Query']['VolumeId']] = [m['VolumeId'] for m in one['Matches']]
    return found


def figures(relevant):
    """P@3, the notebook's P@10, AP over the first ten of 0 and 1."""
    first = relevant[:10]
    hits = np.cumsum(first)
    ap = sum(hits[i] / (i + 1) for i in range(len(first)) if first[i]) / max(1, sum(first))
    return {'P@3': sum(first[:3]) / 3, 'P@10 (3D-MIR notebook)': (sum(first) + sum(first[:5]) / 5) / 11, 'AP@10': ap}


def split_of(work, database, site):
    folder = work / ('merged' if database == 'merged' else 'per-site')
    labels = {r['name'][:-7]: r for r in rows(folder / f'{site}_labels.csv')}
    return labels, [[r['name'][:-7] for r in rows(folder / f'{site}_{side}.csv')] for side in ('train', 'test')]


@pytest.mark.parametrize('database', ['per-site', 'merged'])
def test_tables_are_what_the_lists_of_search_give(work, ranked, database):
    for site in SITES:
        labels, (train, test) = split_of(work, database, site)
        for task, column in TASKS.items():
            result = json.loads((work / 'tables' / f'{site}_{task}_{database}.json').read_text())
            assert result['Queries'] == len(test) and not result['Leak']
            lines = {line['Name']: line for line in result['Lines']}
            for method in METHODS:
                each = [figures([labels[v][column] == labels[q][column] for v in ranked[method, q] if v in set(train)])
                        for q in test]
                for metric in each[0]:
                    assert lines[method]['Figures'][metric]['Value'] == pytest.approx(
                        np.mean([e[metric] for e in each]), abs=1e-6), (site, task, method, metric)
    assert all(f'{site} {task} {database}' in (work / 'tables.md').read_text() for site in SITES for task in TASKS)


def test_the_cohort_line_gives_the_confound_away(work):
    for site in SITES:
        labels, (train, test) = split_of(work, 'per-site', site)
        flags = collections.Counter((labels[v]['organ'], labels[v]['cancer_flag']) for v in train)
        expected = []
        for q in test:  # its cohort comes first, and all of it has its flag; what is missing comes from the other
            same = flags[labels[q]['organ'], labels[q]['cancer_flag']]
            expected.append(min(3, same) / 3)
        result = json.loads((work / 'tables' / f'{site}_flag_per-site.json').read_text())
        line, = [line for line in result['Lines'] if line['Kind'] == 'Cohort']
        assert line['Figures']['P@3']['Value'] == pytest.approx(np.mean(expected), abs=1e-6)


def test_databases_are_as_documented(work):
    tested = {v for site in SITES for v in split_of(work, 'per-site', site)[1][1]}
    trained = {v for site in SITES for v in split_of(work, 'per-site', site)[1][0]}
    for site in SITES:
        own, (train, test) = split_of(work, 'per-site', site)
        labels, (merged, queries) = split_of(work, 'merged', site)
        assert queries == test and set(merged) == trained - tested
        for v in merged + queries:
            assert labels[v] == own[v] if v in own else labels[v]['cancer_flag'] == '0' and labels[v]['lesion_group'] == '-1'
        result = json.loads((work / 'tables' / f'{site}_flag_masked.json').read_text())
        assert result['Database'] == 'masked' and result['Queries'] == len(test)


def test_masks_mark_the_slices_that_segmentations_mark(work, phantom):
    """Named once for all, read for each table; every slice that is searched is one that nibabel finds marked."""
    assert {r['name']: os.path.basename(r['mask']) for r in rows(work / 'masks.csv')} == {
        name: name for name in (os.path.basename(p.strip()) for p in open(work / 'images.txt'))}
    seen = set()
    for site in SITES:
        for task in TASKS:
            result = json.loads((work / 'tables' / f'{site}_{task}_masked.json').read_text())
            assert result['Masks'] == {'Files': len(result['Volumes']), 'Empty': 0} and result['WithoutMask'] == 0
            for v in result['Volumes']:
                voxels = np.asanyarray(nib.load(phantom / 'masks' / (v['VolumeId'] + '.nii.gz')).dataobj)
                marked = [s for a, b in v['Runs'] for s in range(a, b + 1)]
                assert marked == np.flatnonzero(voxels.any((0, 1))).tolist(), v['VolumeId']
                assert v['MaskSlices'] == [marked[0], marked[-1]]
                seen.add(v['VolumeId'])
    assert len(seen) == 28


def test_an_empty_segmentation_is_named(phantom, tmp_path):
    """Where a volume is asked with: it ends the run, as a volume that cannot be read does."""
    msd = lay_out(phantom, tmp_path / 'msd')
    with open(phantom / 'honest' / 'colon_test.csv', newline='') as f:
        name = next(csv.DictReader(f))['testing']
    path, = msd.glob(f'Task*/labelsTr/{name}')
    whole = nib.load(path)
    path.unlink()
    nib.save(nib.Nifti1Image(np.zeros(whole.shape, np.uint8), whole.affine), path)
    done = reproduce(msd, phantom / 'honest', tmp_path / 'work')
    assert done.returncode != 0 and name[:-7] in done.stderr and 'no mask that marks a slice' in done.stderr


def test_a_missing_volume_is_named(phantom, tmp_path):
    msd = lay_out(phantom, tmp_path / 'msd')
    (msd / 'Task06_Lung/imagesTr/lung_001.nii.gz').unlink()
    done = reproduce(msd, phantom / 'confounded', tmp_path / 'work')
    assert done.returncode != 0 and 'lung_001.nii.gz' in done.stderr and '1 of 28' in done.stderr


def test_without_segmentations_the_masked_database_is_left_out_aloud(phantom, tmp_path):
    msd = lay_out(phantom, tmp_path / 'msd')
    for path in (msd / 'Task03_Liver/labelsTr').iterdir():
        path.unlink()
    done = subprocess.run([sys.executable, os.path.join(SOURCE, 'scripts/prepare_3dmir.py'), msd, phantom / 'honest',
                           tmp_path / 'work'], capture_output=True, text=True)
    assert done.returncode == 0 and 'masked database is left out' in done.stderr and 'of 7 of 28 volumes' in done.stderr
    assert not (tmp_path / 'work/masks.csv').exists()
