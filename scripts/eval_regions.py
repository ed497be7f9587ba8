#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Same-region retrieval: does a whole scan find scans of the same body region, of other patients?

Run by hand. Indexes every volume of DATA/regions.csv with the cmir program, gives it patients and regions
through `cmir label`, searches every volume with --exclude patient (leave one patient out), and prints, per
encoder and score, precision at 1 and at 3 by body region beside chance: the share of the same region among
the volumes of other patients. A region of a single patient has nothing to find, so it is listed but is in no mean.
A list of fewer than 3 (slice votes list only volumes that were hit) counts what is missing as wrong.

  scripts/eval_regions.py WORK --data ../shared/data --encoder builtin \\
      --encoder ../shared/data/models/mobilenet_v2_224.json --encoder ../shared/data/models/squeezenet_v1_0.json

WORK is a folder for the archives; what is there already is used again, so delete it when cmir has changed.
"""
import argparse
import csv
import os
import sys

import numpy as np

from eval_common import NOTICE, Command, bootstrap, encoder_name, sign_flip, table, write_json

SCORES = ('maxsim', 'symmetric', 'freq', 'mean')
DEPTH = 3


def read_regions(data):
    with open(os.path.join(data, 'regions.csv'), newline='') as f:
        return {os.path.realpath(os.path.join(data, r['path'])): r for r in csv.DictReader(f)}


def archive_of(cmir, work, card, regions):
    """Indexes and labels all volumes unless that is done; -> archive, its volumes."""
    path = os.path.join(work, 'regions_' + encoder_name(card))
    labels = path + '.csv'
    if not os.path.exists(labels):
        cmir.run('init', path, '--encoder', card)
        cmir.run('add', path, '-', stdin='\n'.join(regions) + '\n')
        with open(labels, 'w', newline='') as f:
            w = csv.writer(f)
            w.writerow(['name', 'PatientID', 'region'])
            for v in cmir.run('list', path, show=False)['Volumes']:
                r = regions[os.path.realpath(v['Path'])]
                w.writerow([v['VolumeId'], r['patient'], r['body_region']])
        cmir.run('label', path, labels)
    volumes = cmir.run('list', path, show=False)['Volumes']
    if len(volumes) != len(regions):
        raise SystemExit('%s holds %d volumes, regions.csv %d' % (path, len(volumes), len(regions)))
    return path, volumes


def patient_of(volume):
    return volume['PatientId'] or volume['VolumeId']


def search(cmir, archive, volumes, score, show):
    """-> one record per volume: its region, what was found, precision at 1 and DEPTH, chance."""
    records = []
    region = {v['VolumeId']: v['Labels']['region'] for v in volumes}
    for i, v in enumerate(volumes):
        others = [u for u in volumes if patient_of(u) != patient_of(v)]
        found = cmir.run('search', archive, '%s:%s' % (archive, v['VolumeId']), '--exclude', 'patient', '--score', score,
                         '--limit', DEPTH, show=show and i == 0)
        hits = [m['VolumeId'] for m in found['Matches']]
        if set(hits) - {u['VolumeId'] for u in others}:
            raise SystemExit('%s: finds its own patient: %s' % (v['VolumeId'], hits))
        right = [region[h] == region[v['VolumeId']] for h in hits]
        records.append(dict(VolumeId=v['VolumeId'], Region=region[v['VolumeId']], Found=hits,
                            P1=float(sum(right[:1])), P3=sum(right) / DEPTH,
                            Relevant=sum(region[u['VolumeId']] == region[v['VolumeId']] for u in others),
                            Chance=float(np.mean([region[u['VolumeId']] == region[v['VolumeId']] for u in others]))))
    return records


def summarize(records):
    """-> per region: volumes, P1, P3, chance; the means over regions and over volumes that have something to find."""
    regions = {}
    for r in records:
        regions.setdefault(r['Region'], []).append(r)
    lines = {k: dict(Volumes=len(rs), Relevant=max(r['Relevant'] for r in rs),
                     **{f: float(np.mean([r[f] for r in rs])) for f in ('P1', 'P3', 'Chance')})
             for k, rs in sorted(regions.items())}
    able = [line for line in lines.values() if line['Relevant'] > 0]
    return lines, {f: float(np.mean([line[f] for line in able])) for f in ('P1', 'P3', 'Chance')}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('work', metavar='WORK')
    p.add_argument('--cmir', default='build/cmir', help='default %(default)s')
    p.add_argument('--onnxruntime', help='libonnxruntime.so, passed on to cmir')
    p.add_argument('--data', default='../shared/data', help='default %(default)s')
    p.add_argument('--encoder', action='append', metavar='CARD', help='may be repeated; default builtin')
    p.add_argument('-o', '--output', metavar='JSON', help='write every record here')
    a = p.parse_args()
    cards = a.encoder or ['builtin']
    os.makedirs(a.work, exist_ok=True)
    cmir, regions, kept = Command(a.cmir, a.onnxruntime), read_regions(a.data), []
    by_region, overall, pairs = [], [], []
    for card in cards:
        archive, volumes = archive_of(cmir, a.work, card, regions)
        wrong = sum((v['Modality'] == 'CT') != (regions[os.path.realpath(v['Path'])]['modality'] == 'CT') for v in volumes)
        name = encoder_name(card)
        records = {s: search(cmir, archive, volumes, s, show=card == cards[0]) for s in SCORES}
        for s in SCORES:
            lines, mean = summarize(records[s])
            able = [r for r in records[s] if r['Relevant'] > 0]
            by_region += [[name, s, k, v['Volumes'],
                           *(['%.2f' % v['P1'], '%.2f' % v['P3'], '%.2f' % v['Chance']] if v['Relevant']
                             else ['one patient', '', ''])] for k, v in lines.items()]
            overall.append([name, s, *('%.3f' % mean[f] for f in ('P1', 'P3', 'Chance')), len(able),
                            *('%.3f [%.3f, %.3f]' % ((np.mean([r[f] for r in able]),) + bootstrap([r[f] for r in able]))
                              for f in ('P1', 'P3'))])
            kept.append(dict(Encoder=name, Score=s, CtToldWrongly=wrong, Regions=lines, MeanOfRegions=mean,
                             Records=records[s]))
        for s in SCORES[1:]:
            difference = [x['P3'] - y['P3'] for x, y in zip(records['maxsim'], records[s])]
            pairs.append([name, s, '%+.3f' % np.mean(difference), '%.3g' % sign_flip(difference)])
        print('%s: done; CT or not told wrongly for %d of %d volumes' % (name, wrong, len(volumes)), file=sys.stderr)

    print('## Same-region retrieval, leave one patient out: %s\n' % NOTICE)
    print(table(['encoder', 'score', 'region', 'volumes', 'P@1', 'P@3', 'chance'], by_region))
    print('Mean of the regions with at least two patients; mean of their volumes (bootstrap 95 % over volumes)\n')
    print(table(['encoder', 'score', 'regions P@1', 'regions P@3', 'chance', 'volumes', 'volumes P@1', 'volumes P@3'],
                overall))
    print('maxsim less the other score, P@3 over volumes (p: signs exchanged over volumes)\n')
    print(table(['encoder', 'other score', 'difference', 'p'], pairs))
    print('Commands (each encoder, volume and score alike; paths.txt lists the inputs)\n\n```\n%s\n```'
          % '\n'.join(cmir.lines))
    write_json(a.output, dict(Commands=cmir.lines, Results=kept))


if __name__ == '__main__':
    main()
