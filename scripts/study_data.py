# SPDX-License-Identifier: Apache-2.0
"""The sets of real scans that eval_*.py and study_*.py measure on, as embeddings that the cmir program made.

Imported only. The one idea: a set is cut and embedded once, in an archive under WORK, for the program's searches;
and exported once, to one file that numpy reads. What is there is used again, so delete WORK when cmir has changed."""
import csv
import os
import subprocess
import sys
import tempfile

import numpy as np

from eval_common import encoder_name, in_threads
from method_scores import Volume

SARCOMA = ('slabs', 'windows', 'crops')
KINDS = ('mild', 'hard', 'brutal')
SCRIPTS = os.path.dirname(os.path.abspath(__file__))


def read_csv(path):
    with open(path, newline='') as f:
        return list(csv.DictReader(f))


def made(folder, *command):
    """Runs a script that writes `folder`, unless it is there."""
    if not os.path.exists(folder):
        print('%s: cut by %s' % (os.path.basename(folder), command[0]), file=sys.stderr, flush=True)
        subprocess.run([sys.executable, os.path.join(SCRIPTS, command[0]), folder + '.part', *command[1:]], check=True,
                       stdout=subprocess.DEVNULL)
        os.rename(folder + '.part', folder)
    return folder


def embed(cmir, work, card, name, inputs):
    """-> archive of a set."""
    archive = os.path.join(work, '%s_%s' % (name, encoder_name(card)))
    if not os.path.exists(archive):
        print('%s: %d inputs are encoded' % (os.path.basename(archive), len(inputs)), file=sys.stderr, flush=True)
        cmir.run('init', archive + '.part', '--encoder', card, show=False)
        cmir.run('add', archive + '.part', '-', '--min-slices', '3', stdin='\n'.join(inputs) + '\n', show=False)
        os.rename(archive + '.part', archive)
    return archive


def rows_of(cmir, archive, volume):
    """-> embeddings of a volume's slices that are not air, their numbers."""
    with tempfile.TemporaryDirectory() as scratch:
        file = os.path.join(scratch, 'rows.npy')
        cmir.run('export', archive, volume['VolumeId'], '-o', file, show=False)
        rows = np.load(file)
    air = cmir.run('show', archive, volume['VolumeId'], show=False)['AirSliceNumbers'] if volume['AirSlices'] else []
    kept = np.setdiff1d(np.arange(len(rows)), air if len(air) < len(rows) else [])
    return rows[kept], kept


def load(cmir, archive):
    """-> volumes of an archive; the patient is the id until somebody knows better."""
    file = archive + '.npz'
    if not os.path.exists(file):
        listed = cmir.run('list', archive, show=False)['Volumes']
        arrays = dict(names=np.array([v['VolumeId'] for v in listed]),
                      spacings=np.array([v['SliceSpacing'] or 0.0 for v in listed]))
        for i, (rows, kept) in enumerate(in_threads(lambda v: rows_of(cmir, archive, v), listed)):
            arrays['rows%d' % i], arrays['slices%d' % i] = rows, kept
        np.savez(file, **arrays)
    with np.load(file) as z:
        return [Volume(str(n), str(n), z['rows%d' % i], z['slices%d' % i], float(z['spacings'][i]))
                for i, n in enumerate(z['names'])]


def sarcoma_labels(a, folder):
    """-> {name: row} of one folder that make_sarcoma.py writes."""
    root = made(os.path.join(a.work, 'sarcoma'), 'make_sarcoma.py', '--data', a.data)
    return {r['name']: r for r in read_csv(os.path.join(root, folder, 'labels.csv'))}


def sarcoma(cmir, a, card):
    """-> {folder: (volumes, {id: row of labels.csv})}."""
    sets = {}
    for folder in SARCOMA:
        rows = sarcoma_labels(a, folder)
        volumes = load(cmir, embed(cmir, a.work, card, folder,
                                   [os.path.join(a.work, 'sarcoma', folder, n + '.nii.gz') for n in rows]))
        for v in volumes:
            v.patient = rows[v.name]['PatientID']
        sets[folder] = volumes, rows
    return sets


def regions_archive(cmir, a, card):
    """-> archive of all volumes of regions.csv, with patient and region as labels; {id: its row}."""
    table = {os.path.realpath(os.path.join(a.data, r['path'])): r
             for r in read_csv(os.path.join(a.data, 'regions.csv'))}
    archive = embed(cmir, a.work, card, 'regions', list(table))
    rows = {v['VolumeId']: table[os.path.realpath(v['Path'])]
            for v in cmir.run('list', archive, show=False)['Volumes']}
    if len(rows) != len(table):
        raise SystemExit('%s holds %d volumes, regions.csv %d' % (archive, len(rows), len(table)))
    if not os.path.exists(archive + '.csv'):
        with open(archive + '.part', 'w', newline='') as f:
            w = csv.writer(f)
            w.writerow(['VolumeId', 'PatientID', 'region'])
            w.writerows([name, r['patient'], r['body_region']] for name, r in rows.items())
        cmir.run('label', archive, archive + '.part', show=False)
        os.rename(archive + '.part', archive + '.csv')
    return archive, rows


def regions(cmir, a, card):
    """-> volumes of regions.csv, {id: its row}."""
    archive, rows = regions_archive(cmir, a, card)
    volumes = load(cmir, archive)
    for v in volumes:
        v.patient = rows[v.name]['patient'] or v.name
    return volumes, rows


def slabs_folder(a, kind):
    return made(os.path.join(a.work, '%s_seed%d' % (kind, a.seed)), 'make_slabs.py', '--data', a.data, '--kind', kind,
                '--seed', str(a.seed))


def slabs_archive(cmir, a, card, kind):
    """-> archive of known-item queries of one kind, {id: row of truth.csv}."""
    in_threads(lambda k: slabs_folder(a, k), KINDS)
    folder = slabs_folder(a, kind)
    truth = {r['query']: r for r in read_csv(os.path.join(folder, 'truth.csv'))}
    return embed(cmir, a.work, card, '%s_seed%d' % (kind, a.seed),
                 [os.path.join(folder, q + '.nii.gz') for q in truth]), truth


def slabs(cmir, a, card, kind):
    archive, truth = slabs_archive(cmir, a, card, kind)
    return load(cmir, archive), truth
