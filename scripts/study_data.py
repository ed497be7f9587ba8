# SPDX-License-Identifier: Apache-2.0
"""The sets that study_method.py measures on, as embeddings that the cmir program made.

Imported only. The one idea: a set is embedded once, in an archive under WORK, and exported to one file that numpy
reads; what is there is used again."""
import csv
import os
import subprocess
import sys
import tempfile

import numpy as np

from eval_common import encoder_name
from eval_slabs import SCRIPTS
from method_scores import Volume

SARCOMA = ('slabs', 'windows', 'crops')
KINDS = ('mild', 'hard', 'brutal')


def read_csv(path):
    with open(path, newline='') as f:
        return list(csv.DictReader(f))


def made(folder, *command):
    """Runs a script that writes `folder`, unless it is there."""
    if not os.path.exists(folder):
        subprocess.run([sys.executable, os.path.join(SCRIPTS, command[0]), folder + '.part', *command[1:]], check=True,
                       stdout=subprocess.DEVNULL)
        os.rename(folder + '.part', folder)
    return folder


def export(cmir, archive):
    """-> arrays of one archive: every slice that is not air."""
    arrays, names, spacings = {}, [], []
    with tempfile.TemporaryDirectory() as scratch:
        for v in cmir.run('list', archive, show=False)['Volumes']:
            file = os.path.join(scratch, 'rows.npy')
            cmir.run('export', archive, v['VolumeId'], '-o', file, show=False)
            rows = np.load(file)
            air = cmir.run('show', archive, v['VolumeId'], show=False)['AirSliceNumbers'] if v['AirSlices'] else []
            kept = np.setdiff1d(np.arange(len(rows)), air if len(air) < len(rows) else [])
            arrays['rows%d' % len(names)], arrays['slices%d' % len(names)] = rows[kept], kept
            names.append(v['VolumeId'])
            spacings.append(v['SliceSpacing'] or 0.0)
    return dict(arrays, names=np.array(names), spacings=np.array(spacings))


def embed(cmir, work, card, name, inputs):
    """-> {id: Volume} of a set; the patient is the id until somebody knows better."""
    archive = os.path.join(work, '%s_%s' % (name, encoder_name(card)))
    if not os.path.exists(archive + '.npz'):
        cmir.run('init', archive, '--encoder', card)
        cmir.run('add', archive, '-', '--min-slices', '3', stdin='\n'.join(inputs) + '\n')
        np.savez(archive + '.npz', **export(cmir, archive))
    with np.load(archive + '.npz') as z:
        return {str(n): Volume(str(n), str(n), z['rows%d' % i], z['slices%d' % i], float(z['spacings'][i]))
                for i, n in enumerate(z['names'])}


def sarcoma_labels(a, folder):
    """-> {name: row} of one folder that make_sarcoma.py writes."""
    root = made(os.path.join(a.work, 'sarcoma'), 'make_sarcoma.py', '--data', a.data)
    return {r['name']: r for r in read_csv(os.path.join(root, folder, 'labels.csv'))}


def sarcoma(cmir, a, card):
    """-> {folder: (volumes, {id: row of labels.csv})}."""
    sets = {}
    for folder in SARCOMA:
        rows = sarcoma_labels(a, folder)
        volumes = embed(cmir, a.work, card, folder,
                        [os.path.join(a.work, 'sarcoma', folder, n + '.nii.gz') for n in rows])
        for name, v in volumes.items():
            v.patient = rows[name]['PatientID']
        sets[folder] = list(volumes.values()), rows
    return sets


def regions(cmir, a, card):
    """-> volumes of regions.csv, {id: its row}."""
    table = read_csv(os.path.join(a.data, 'regions.csv'))
    volumes, rows = embed(cmir, a.work, card, 'regions', [os.path.join(a.data, r['path']) for r in table]), {}
    listed = cmir.run('list', os.path.join(a.work, 'regions_' + encoder_name(card)), show=False)['Volumes']
    by_path = {os.path.realpath(os.path.join(a.data, r['path'])): r for r in table}
    for v in listed:
        rows[v['VolumeId']] = by_path[os.path.realpath(v['Path'])]
        volumes[v['VolumeId']].patient = rows[v['VolumeId']]['patient'] or v['VolumeId']
    return list(volumes.values()), rows


def slabs(cmir, a, card, kind, seed):
    """-> known-item queries of one kind, {id: row of truth.csv}."""
    name = '%s_seed%d' % (kind, seed)
    folder = made(os.path.join(a.work, name), 'make_slabs.py', '--data', a.data, '--kind', kind, '--seed', str(seed))
    truth = {r['query']: r for r in read_csv(os.path.join(folder, 'truth.csv'))}
    volumes = embed(cmir, a.work, card, name, [os.path.join(folder, q + '.nii.gz') for q in truth])
    return list(volumes.values()), truth
