#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Slice embeddings of real scans as FOLDER/<encoder>/<region>/<name>.npy: what simulate.py starts from.

Runs `cmir add` and `cmir export` on the volumes that DATA/regions.csv lists (name, path, body_region), all or those
of one region, with an encoder (builtin or a card).  What is there already is kept.

  bench/export_real.py build/real ../shared/data ../shared/data/models/squeezenet_v1_0.json [--region chest]
"""
import argparse
import csv
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'scripts'))
from eval_common import Command, encoder_name  # noqa: E402


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=pathlib.Path)
    p.add_argument('data')
    p.add_argument('encoder')
    p.add_argument('--region')
    a = p.parse_args()
    cmir = Command('build/cmir')
    wanted = {}  # path of a volume -> its file here
    with open(os.path.join(a.data, 'regions.csv'), newline='') as f:
        for row in csv.DictReader(f):
            file = a.folder / encoder_name(a.encoder) / row['body_region'] / (row['name'] + '.npy')
            if a.region in (None, row['body_region']) and not file.exists():
                wanted[os.path.realpath(os.path.join(a.data, row['path']))] = file
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as work:
        archive = os.path.join(work, 'archive')
        cmir.run('init', archive, '--encoder', a.encoder)
        cmir.run('add', archive, '-', stdin='\n'.join(wanted) + '\n')
        for volume in cmir.run('list', archive)['Volumes']:
            file = wanted[os.path.realpath(volume['Path'])]
            file.parent.mkdir(parents=True, exist_ok=True)
            cmir.run('export', archive, volume['VolumeId'], '-o', file)
    print('%d volumes of %s' % (len(wanted), encoder_name(a.encoder)))


if __name__ == '__main__':
    main()
