# SPDX-License-Identifier: Apache-2.0
"""cmir eval with NIfTI masks where slice ranges are taken: the slices as nibabel and numpy read them, hits and figures with sets
that have gaps, empty masks, paths, and masks that are refused."""
import csv
import gzip
import json
import os

import nibabel as nib
import numpy as np
import pytest
from cli_help import SEED, body, ok, ok_json, refused, run, save_nifti
from test_eval import check_lists, write_csv
from test_eval_locate import FIGURES, METHODS, Case, figures_of, located

SPACING = (8, 8, 5)
K = 5
QUICK = ['--task', 'kind', '--bootstrap', 20, '--shuffles', 20]


def affine_of(spacing=SPACING, at=(0, 0, 0)):
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = at
    return affine


def save_mask(path, voxels, affine=None, slope=None):
    image = nib.Nifti1Image(voxels, affine_of() if affine is None else affine, dtype=voxels.dtype)
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    nib.save(image, path)


def runs_of(slices):
    """[[first, last], ...] of a set."""
    out = []
    for s in sorted(slices):
        if out and out[-1][1] == s - 1:
            out[-1][1] = s
        else:
            out.append([s, s])
    return out


def some_mask(rng, shape, kind):
    """Voxels of a mask with gaps along every axis."""
    if kind == 'empty':
        return np.zeros(shape, np.uint8)
    if kind == 'full':
        return np.full(shape, 3, np.uint8)
    blob = np.zeros(shape)
    for axis in range(3):  # a line along each axis, with holes
        at = [int(rng.integers(4, n - 4)) for n in shape]
        at[axis] = np.flatnonzero(rng.random(shape[axis] - 3) < .4)
        blob[tuple(at)] = 1
    blob[5, 5, 3] = 1
    if kind == 'labels':
        return (blob * rng.integers(1, 9, shape)).astype(np.int64)
    if kind == 'nan':
        blob = blob.astype(np.float32)
        blob[0, 0, :] = np.nan
        blob[1, 1, :] = -2
        return blob
    return blob.astype({'int16': np.int16, 'double': np.float64}.get(kind, np.uint8))


@pytest.fixture(scope='module', params=['axial', 'coronal'])
def case(request, tmp_path_factory):
    """Scans with air; masks of every kind in a folder beside the CSV's."""
    print('seed', SEED)
    rng = np.random.default_rng(SEED)
    c = Case()
    c.dir, c.plane = tmp_path_factory.mktemp('masks'), request.param
    c.archive, c.cells, c.shown, c.voxels = c.dir / 'archive', {}, {}, {}
    for folder in ('scans', 'masks', 'csv'):
        (c.dir / folder).mkdir()
    kinds = ['uint8', 'int16', 'labels', 'double', 'nan', 'full', 'empty', 'range', 'none', 'uint8', 'slope', 'empty', 'int16', 'uint8']
    c.kinds = {f's{k:02}': kind for k, kind in enumerate(kinds)}
    axis = {'axial': 2, 'coronal': 1}[c.plane]
    for k, (name, kind) in enumerate(c.kinds.items()):
        shape = (32, 32, 10 + k % 5)
        save_nifti(c.dir / 'scans' / f'{name}.nii.gz', body(rng, 32, shape[2]))
        if kind in ('range', 'none'):
            c.cells[name] = '2:6' if kind == 'range' else ''
            c.shown[name] = set(range(2, 7)) if kind == 'range' else None
            continue
        path = c.dir / 'masks' / f'm{k}{".NII" if k == 1 else ".nii" if k % 2 else ".nii.gz"}'
        if k == 1:
            save_mask(c.dir / 'masks' / 'm1.nii', some_mask(rng, shape, kind))
            os.rename(c.dir / 'masks' / 'm1.nii', path)
            voxels = np.asarray(nib.Nifti1Image.from_bytes(path.read_bytes()).dataobj)
        else:
            save_mask(path, some_mask(rng, shape, kind), slope=.5 if kind == 'slope' else None)
            voxels = np.asarray(nib.load(path).dataobj)
        marked = np.flatnonzero((np.nan_to_num(voxels, nan=-1) > 0).any(axis=tuple(a for a in range(3) if a != axis)))
        c.shown[name] = set(map(int, marked)) or None
        c.cells[name] = str(path) if k % 3 == 0 else f'../masks/{path.name}'
    c.patient = {name: f'p{k // 2}' for k, name in enumerate(c.kinds)}
    ok('init', c.archive, '--plane', c.plane)
    ok('add', c.archive, c.dir / 'scans')
    c.csv = write_csv(c.dir / 'csv' / 'l.csv', {
        name: {'kind': 'ab'[k % 2], 'part': c.cells[name], 'PatientID': c.patient[name]} for k, name in enumerate(c.kinds)})
    c.empty = [n for n, kind in c.kinds.items() if kind == 'empty']
    return c.read()


def test_masks_have_gaps(case):
    """Else the tests below say little."""
    assert sum(len(runs_of(s)) > 1 for s in case.shown.values() if s) >= 5
    assert sum(s is None for s in case.shown.values()) == 3


def test_locate_against_numpy(case):
    """Every hit, with sets of slices: the search takes just these of the query, and counts go slice by slice."""
    result = ok_json('eval', case.archive, *QUICK, '--labels', case.csv, '--locate', 'part', '--methods', ','.join(METHODS),
                     '--k', f'2,{K}')
    said = result['Locations']
    assert result['Masks'] == {'Files': 12, 'Empty': 2}
    assert {v['VolumeId']: v['Runs'] for v in said['Volumes']} == {
        i: runs_of(s or ()) for i, s in case.shown.items() if s or i in case.empty}
    files = {v['VolumeId']: v.get('MaskFile') for v in said['Volumes']}
    assert {i for i, f in files.items() if f} == {i for i, kind in case.kinds.items() if kind not in ('range', 'none')}
    assert all(os.path.samefile(f, case.dir / 'csv' / case.cells[i]) for i, f in files.items() if f)
    queries = [i for i in case.shown if case.shown[i]]
    assert said['QueriesUnknown'] == said['VolumesUnknown'] == 3
    for m in said['Methods']:
        per_query, n_unknown = [], 0
        for q in queries:
            want = located(case, m['Name'], q, K)
            known = [h for h in want if h]
            got = [h for h in said['Hits'] if (h['Method'], h['Query']) == (m['Name'], q)]
            assert [(h['VolumeId'], h['MatchesInside'], h['SlicesShown'], tuple(h['MatchSlices'])) for h in got] == known
            assert all(h['QuerySlices'] == [min(case.shown[q]), max(case.shown[q])] for h in got)
            n_unknown += len(want) - len(known)
            if known:
                per_query.append(np.mean([figures_of(h, case.shown[h[0]]) for h in known], axis=0))
        assert (m['Queries'], m['HitsUnknown']) == (len(per_query), n_unknown) and n_unknown > 0
        means = np.mean(per_query, axis=0)
        np.testing.assert_allclose([m[f]['Value'] for f in FIGURES], means, atol=1e-12)


def test_gaps_are_kept(case):
    """A range in place of a mask with gaps gives other figures, so the sets above were not flattened."""
    hull = {i: f'{min(s)}:{max(s)}' if s else '' for i, s in case.shown.items()}
    args = ['eval', case.archive, *QUICK, '--methods', 'maxsim', '--locate', 'part', '--labels']
    flat = write_csv(case.dir / 'csv' / 'flat.csv', {i: {
        'kind': 'ab'[k % 2], 'part': hull[i], 'PatientID': case.patient[i]} for k, i in enumerate(hull)})
    ratio = lambda path: ok_json(*args, path)['Locations']['Methods'][0]
    assert ratio(flat)['Chance']['Value'] > ratio(case.csv)['Chance']['Value'] + .02


def test_masked_against_numpy(case, tmp_path):
    """Only marked slices take part; volumes without a mask, or with an empty one, do not, and both are told."""
    rows = {i: case.rows[i][[s for s in sorted(marked) if s in case.scored[i]]] for i, marked in case.shown.items() if marked}
    done = ok('eval', case.archive, *QUICK, '--labels', case.csv, '--database', 'masked', '--mask', 'part', '--methods',
              'maxsim,mean', '--json', '--report', tmp_path / 'r.html', env={**os.environ, 'TMPDIR': str(tmp_path)})
    result = json.loads(done)
    kind = lambda i: 'ab'[list(case.kinds).index(i) % 2]
    databases = {q: [i for i in rows if case.patient[i] != case.patient[q]] for q in rows}
    check_lists(case, result, databases, kind, ['maxsim', 'mean'], rows)
    assert (result['WithoutMask'], result['Masks']) == (3, {'Files': 12, 'Empty': 2})
    assert {v['VolumeId']: v['Runs'] for v in result['Volumes']} == {i: runs_of(case.shown[i]) for i in rows}
    assert all(v['MaskSlices'] == [min(case.shown[v['VolumeId']]), max(case.shown[v['VolumeId']])] for v in result['Volumes'])
    assert [p.name for p in tmp_path.iterdir()] == ['r.html']
    assert 'no picture' not in (tmp_path / 'r.html').read_text()
    text = ok('eval', case.archive, *QUICK, '--labels', case.csv, '--database', 'masked', '--mask', 'part')
    assert '3 volumes without a mask left out' in text and '12 masks read from files, 2 of which mark nothing' in text
    assert 'Masks from files' in (tmp_path / 'r.html').read_text()
    query = tmp_path / 'q.csv'
    query.write_text(f'name\n{case.empty[0]}\n')
    refused(1, ['q.csv', case.empty[0], 'no mask that marks'], 'eval', case.archive, *QUICK, '--labels', case.csv, '--database',
            'masked', '--mask', 'part', '--queries', query, '--allow-leak')


def with_cell(case, path, cell, name='s00'):
    with open(case.csv, newline='') as f:
        rows = list(csv.DictReader(f))
    for row in rows:
        row['part'] = cell if row['name'].startswith(name) else case.cells[row['name'][:-7]]
        row['part'] = row['part'].replace('../masks', str(case.dir / 'masks'))
    with open(path, 'w', newline='') as f:
        w = csv.DictWriter(f, list(rows[0]))
        w.writeheader()
        w.writerows(rows)
    return path


def test_other_grids_and_broken_files(case, tmp_path):
    """Refused by name, with the reason; s00 has 32 x 32 x 10 voxels of 8 x 8 x 5 mm."""
    shape, one = (32, 32, 10), np.zeros((32, 32, 10), np.uint8)
    one[4:9, 4:9, 2:5] = 1
    args = ['eval', case.archive, *QUICK, '--methods', 'mean']
    turned = affine_of()
    turned[:3, 0] = [-8 * np.cos(.01), -8 * np.sin(.01), 0]
    flipped = affine_of(at=(0, -8 * 31, 0))
    flipped[1, 1] = 8
    near = affine_of((8.004, 8, 5), (.004, -.004, .003))
    masks = {
        'size': (np.zeros((32, 32, 11), np.uint8), None, ['another grid', '32 x 32 x 11', '32 x 32 x 10']),
        'spacing': (one, affine_of((8, 8, 5.01)), ['another grid', 'along k', '5.01']),
        'turned': (one, turned, ['another grid', 'along i']),
        'flipped': (one, flipped, ['another grid', 'along j']),
        'moved': (one, affine_of(at=(0, 0, .05)), ['another grid', '0.05 mm']),
        'frames': (np.stack([one, one], 3), None, ['2 frames']),
        'near': (one, near, None),
    }
    for name, (voxels, affine, words) in masks.items():
        save_mask(tmp_path / f'{name}.nii.gz', voxels, affine)
        labels = with_cell(case, tmp_path / 'l.csv', f'{name}.nii.gz')
        for more in (['--locate', 'part'], ['--database', 'masked', '--mask', 'part']):
            if words:
                refused(1, ['s00', 'part', f'{name}.nii.gz', *words], *args, '--labels', labels, *more)
            else:
                ok(*args, '--labels', labels, *more)
    whole = (tmp_path / 'near.nii.gz').read_bytes()
    plain = gzip.decompress(whole)
    bad = {'none.nii.gz': (None, ['No such file']), 'cut.nii.gz': (whole[:len(whole) // 2], []),
           'short.nii': (plain[:len(plain) // 2], ['cut short']), 'text.nii': (b'0:3\n' * 200, ['not NIfTI']),
           'nothing.nii': (b'', []), 'nan.nii': (nib.Nifti1Image(np.full(shape, np.nan, np.float32), affine_of()).to_bytes(), [
               'finite'])}
    for name, (content, words) in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        refused(1, ['s00', 'part', name, *words], *args, '--labels', with_cell(case, tmp_path / 'l.csv', name), '--locate', 'part')
    (tmp_path / 'folder.nii').mkdir()
    refused(1, ['s00', 'folder.nii'], *args, '--labels', with_cell(case, tmp_path / 'l.csv', 'folder.nii'), '--locate', 'part')
    refused(1, ['s00', 'part', "'mask.mha'", 'FILE.nii'], *args, '--labels', with_cell(case, tmp_path / 'l.csv', 'mask.mha'),
            '--locate', 'part')


def test_paths_in_the_archive(case, tmp_path):
    """A label of the archive may name a mask by an absolute path only: nothing else says where it lies."""
    own = tmp_path / 'own'
    ok('init', own, '--plane', case.plane)
    ok('add', own, case.dir / 'scans')
    ok('label', own, with_cell(case, tmp_path / 'l.csv', case.cells['s00']))
    args = ['eval', '--methods', 'maxsim', *QUICK, '--locate', 'part']
    here, there = ok_json(*args, own), ok_json(*args, case.archive, '--labels', case.csv)
    assert here['Locations']['Methods'] == there['Locations']['Methods']
    ok('label', own, case.csv)
    refused(1, ['s01', "'../masks/m1.NII'", 'absolute path', '--labels'], *args, own)


def test_given_embeddings_have_no_grid(case, tmp_path):
    """They have no voxels: ranges only."""
    (tmp_path / 'npy').mkdir()
    for name, rows in case.rows.items():
        np.save(tmp_path / 'npy' / f'{name}.npy', rows.astype('<f4'))
    ok('import', tmp_path / 'a', tmp_path / 'npy', '--external', 'toy')
    args = ['eval', tmp_path / 'a', '--methods', 'mean', *QUICK, '--locate', 'part', '--labels']
    done = refused(1, ['part', 'not known'], *args, case.csv)
    assert 's00' in done.stderr
    ranges = {i: {'kind': 'ab'[k % 2], 'part': '1:3'} for k, i in enumerate(case.rows)}
    ok(*args, write_csv(tmp_path / 'ranges.csv', ranges))


def test_every_mask_empty(case, tmp_path):
    save_mask(tmp_path / 'e.nii.gz', np.zeros((32, 32, 10), np.uint8))
    labels = write_csv(tmp_path / 'l.csv', {'s00': {'kind': 'a', 'part': 'e.nii.gz'}, 's01': {'kind': 'b', 'part': ''}})
    refused(1, ['--locate', 'no query', 'marks anything'], 'eval', case.archive, *QUICK, '--labels', labels, '--locate', 'part')
    refused(1, ['no volume'], 'eval', case.archive, *QUICK, '--labels', labels, '--database', 'masked', '--mask', 'part')
    assert run('eval', case.archive, *QUICK, '--labels', labels, '--group', 'VolumeId').returncode == 0
