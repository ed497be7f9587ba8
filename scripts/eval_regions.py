#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Same-region retrieval: does a whole scan find scans of the same body region, of other patients?

Run by eval.sh. Indexes every volume of DATA/regions.csv with the cmir program, gives it patients and regions through
`cmir label`, searches every volume with every score and --exclude patient (leave one patient out), and prints, per
encoder and score, precision at 1 and at 3 by body region beside chance: the share of the same region among the volumes
of other patients. A region of a single patient has nothing to find, so it is listed but is in no mean. A list of fewer
than 3 (slice votes list only volumes that were hit) counts what is missing as wrong. Embeddings as they are:
study_method.py has the whitened ones, in numpy, because a whitening that has not seen the query is one for each of 91
patients, and eval_slabs.py compares the program's with numpy's already.

  scripts/eval_regions.py WORK --data ../shared/data --encoder builtin \\
      --encoder ../shared/data/models/mobilenet_v2_224.json --encoder ../shared/data/models/squeezenet_v1_0.json

JSON has every query's figures, which study_method.py compares with its own."""
import numpy as np

import study_data
from eval_common import (NOTICE, SCORES, Progress, arguments, bootstrap, encoder_name, in_threads, parser_of, sign_flip,
                         table, write_json)

DEPTH = 3


class Regions:
    """All volumes with one encoder."""

    def __init__(self, cmir, a, card):
        self.cmir, (self.archive, rows) = cmir, study_data.regions_archive(cmir, a, card)
        self.volumes = cmir.run('list', self.archive, show=False)['Volumes']
        self.wrong = sum((v['Modality'] == 'CT') != (rows[v['VolumeId']]['modality'] == 'CT') for v in self.volumes)
        self.region = {v['VolumeId']: v['Labels']['region'] for v in self.volumes}
        patient = {v['VolumeId']: v['PatientId'] or v['VolumeId'] for v in self.volumes}
        self.others = {v: [u for u in patient if patient[u] != patient[v]] for v in patient}
        self.chance = {v: float(np.mean([self.region[u] == self.region[v] for u in others]))
                       for v, others in self.others.items()}
        self.able = [v for v, chance in self.chance.items() if chance > 0]

    def search(self, score, show):
        """-> {volume: precision at 1 and DEPTH}"""
        names = [v['VolumeId'] for v in self.volumes]
        found = self.cmir.batch(self.archive, ['%s:%s' % (self.archive, v) for v in names], '--exclude', 'patient',
                                '--score', score, '--limit', DEPTH, '--threads', 1, show=show)
        precision = {}
        for v, f in zip(names, found):
            hits = [m['VolumeId'] for m in f['Matches']]
            if not set(hits) <= set(self.others[v]):
                raise SystemExit('%s: finds its own patient: %s' % (v, hits))
            right = [self.region[h] == self.region[v] for h in hits]
            precision[v] = float(sum(right[:1])), sum(right) / DEPTH
        return precision


def by_region(regions, precision):
    """-> {region: volumes, P@1, P@3, chance}"""
    lines = {}
    for v, p in precision.items():
        lines.setdefault(regions.region[v], []).append((*p, regions.chance[v]))
    return {r: (len(x), *np.mean(x, 0)) for r, x in sorted(lines.items())}


def rows_of(name, regions, found):
    """-> rows of the three tables of one encoder."""
    regional, overall, pairs = [], [], []
    for s in SCORES:
        lines = by_region(regions, found[s])
        regional += [[name, s, r, n, *(['%.2f' % x for x in figures] if figures[2] > 0 else ['one patient', '', ''])]
                     for r, (n, *figures) in lines.items()]
        means = np.mean([figures for _, *figures in lines.values() if figures[2] > 0], 0)
        own = [[found[s][v][i] for v in regions.able] for i in (0, 1)]
        overall.append([name, s, *('%.3f' % x for x in means), len(regions.able),
                        *('%.3f [%.3f, %.3f]' % (np.mean(x), *bootstrap(x)) for x in own)])
        if s != 'maxsim':
            difference = [found['maxsim'][v][1] - found[s][v][1] for v in regions.able]
            pairs.append([name, s, '%+.3f' % np.mean(difference), '%.3g' % sign_flip(difference)])
    return regional, overall, pairs


def main():
    a, cmir = arguments(parser_of(__doc__))
    every = [Regions(cmir, a, card) for card in a.encoder]
    progress = Progress('regions', len(every) * len(SCORES))
    regional, overall, pairs, kept, wrong = [], [], [], [], []
    for card, regions in zip(a.encoder, every):
        show = SCORES[0] if card == a.encoder[0] else None
        found = dict(zip(SCORES, in_threads(lambda s: regions.search(s, s == show), SCORES, progress)))
        for rows, more in zip((regional, overall, pairs), rows_of(encoder_name(card), regions, found)):
            rows += more
        kept.append(dict(Encoder=encoder_name(card), Task='region', Dims=0,
                         Figures={s: {v: found[s][v] for v in regions.able} for s in SCORES}))
        wrong.append('%d of %d' % (regions.wrong, len(regions.volumes)))

    print('## Same-region retrieval, leave one patient out: %s\n' % NOTICE)
    print('CT or not told wrongly, by encoder: %s volumes.\n' % ', '.join(wrong))
    print(table(['encoder', 'score', 'region', 'volumes', 'P@1', 'P@3', 'chance'], regional))
    print('Mean of the regions with at least two patients; mean of their volumes (bootstrap 95 % over volumes)\n')
    print(table(['encoder', 'score', 'regions P@1', 'regions P@3', 'chance', 'volumes', 'volumes P@1', 'volumes P@3'],
                overall))
    print('maxsim less the other score, P@3 over volumes (p: signs exchanged over volumes)\n')
    print(table(['encoder', 'other score', 'difference', 'p'], pairs))
    print('Commands (each encoder and score alike; paths.txt lists the queries)\n\n```\n%s\n```' % '\n'.join(cmir.lines))
    write_json(a.output, dict(Commands=cmir.lines, Results=kept))


if __name__ == '__main__':
    main()
