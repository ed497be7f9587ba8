#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Slice embeddings of real scans as FOLDER/<encoder>/<region>/<name>.npy: what simulate.py starts from.

Runs `cmir add` and `cmir export` on the volumes that DATA/regions.csv lists (name, path, body_region), once
per encoder; what is there already is kept.

  bench/export_real.py build/real --data ../shared/data builtin ../shared/data/models/squeezenet_v1_0.json
"""
import argparse
import csv
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'scripts'))
from eval_common import Command, encoder_name  # noqa: E402


def export(cmir, folder, card, regions):
    with tempfile.TemporaryDirectory() as work:
        archive = os.path.join(work, 'archive')
        cmir.run('init', archive, '--encoder', card)
        cmir.run('add', archive, '-', stdin='\n'.join(regions) + '\n')
        for volume in cmir.run('list', archive)['Volumes']:
            row = regions[os.path.realpath(volume['Path'])]
            (folder / row['body_region']).mkdir(parents=True, exist_ok=True)
            cmir.run('export', archive, volume['VolumeId'], '-o', folder / row['body_region'] / (row['name'] + '.npy'))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=pathlib.Path)
    p.add_argument('encoders', nargs='+', metavar='ENCODER', help='builtin or a card')
    p.add_argument('--data', required=True)
    p.add_argument('--cmir', default='build/cmir')
    a = p.parse_args()
    with open(os.path.join(a.data, 'regions.csv'), newline='') as f:
        regions = {os.path.realpath(os.path.join(a.data, row['path'])): row for row in csv.DictReader(f)}
    for card in a.encoders:
        folder = a.folder / encoder_name(card)
        if not folder.exists():
            export(Command(a.cmir), folder, card, regions)
        print('%s: %d volumes' % (folder, len(list(folder.rglob('*.npy')))))


if __name__ == '__main__':
    main()
