#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which variant of the method helps on which real set: sarcoma tasks, known-item slabs, body regions; raw and whitened.

Run by eval.sh. Embeddings come from the cmir program, scores from method_scores.py (numpy, the definitions of
docs/method.md), tasks from study_tasks.py. Prints the tables of docs/results-method.md and writes
docs/results/method_study.json.

  scripts/study_method.py WORK --data ../shared/data --encoder builtin \\
      --encoder ../shared/data/models/mobilenet_v2_224.json --encoder ../shared/data/models/squeezenet_v1_0.json \\
      --agree-with slabs.json --agree-with regions.json -o docs/results/method_study.json

WORK keeps cuts, archives, embeddings and records; what is there is used again, so delete it when cmir or a definition
has changed. --agree-with: what eval_slabs.py or eval_regions.py wrote; where the program finds other volumes or runs
for a query than numpy does, the study ends with them.

The one idea: every figure is resampled over the same patients, so that a difference between two variants has an
interval of its own; the variants are compared with one baseline, maxsim on embeddings as they are, and all sets stand
side by side in one table. Nothing is tuned here: the dimensions (32, 64, 128), ten voters and the share of tumour
that counts were fixed before any figure was seen. Not so the slopes and the band of `ordered`: they were set on hard
and brutal slabs with the built-in encoder."""
import json
import os

import numpy as np

import study_data
import study_tasks as tasks
from eval_common import (NOTICE, ByPatient, Progress, arguments, encoder_name, holm, in_processes, interval, parser_of,
                         sign_flip, spelt, table, write_json)
from study_tasks import ALL, DEPTH

DIMS = (0, 32, 64, 128)
SHUFFLES = 2000
TIES = 50
TASKS = {
    'flag': tasks.flag,
    'flag_any': lambda sets, dims: tasks.flag(sets, dims, 'flag_any'),
    'locate': tasks.locate,
    'contrast': tasks.contrast,
    'windows': lambda sets, dims: tasks.stage(sets, dims, 'windows'),
    'crops': lambda sets, dims: tasks.stage(sets, dims, 'crops'),
    'region': tasks.region,
    **{kind: (lambda sets, dims, kind=kind: tasks.known_item(sets, dims, kind)) for kind in study_data.KINDS},
}


def sarcoma_sets(cmir, a, card):
    sets = study_data.sarcoma(cmir, a, card)
    return dict(sets, fitted=tasks.Fitted(sets['crops'][0]))


def region_sets(cmir, a, card):
    volumes, rows = study_data.regions(cmir, a, card)
    return dict(regions=(volumes, rows), fitted_regions=tasks.Fitted(volumes))


def slab_sets(cmir, a, card):
    volumes, rows = study_data.regions(cmir, a, card)
    volumes = [v for v in volumes if rows[v.name]['modality'] == 'CT']
    return dict({kind: study_data.slabs(cmir, a, card, kind) for kind in study_data.KINDS}, ct=volumes,
                fitted_ct=tasks.Fitted(volumes))


def record_path(a, card, task, dims):
    return os.path.join(a.work, 'records', '%s_%s_%d.json' % (encoder_name(card), task, dims))


def record(job):
    """Makes the records of some tasks of one encoder that are not there."""
    cmir, a, card, names, sets_of, progress = job
    missing = [(task, dims) for task in names for dims in DIMS if not os.path.exists(record_path(a, card, task, dims))]
    sets = sets_of(cmir, a, card) if missing else None
    for task, dims in missing:
        path = record_path(a, card, task, dims)
        with open(path + '.part', 'w') as f:
            json.dump(TASKS[task](sets, dims), f)
        os.rename(path + '.part', path)
        progress.show(sum(os.path.exists(record_path(a, c, t, d)) for c in a.encoder for t in TASKS for d in DIMS))


def records_of(cmir, a):
    """-> {encoder: {(task, dims): records}}, kept in WORK/records."""
    os.makedirs(os.path.join(a.work, 'records'), exist_ok=True)
    groups = ((region_sets, ['region']), (slab_sets, list(study_data.KINDS)),
              (sarcoma_sets, ['flag', 'flag_any', 'locate', 'contrast', 'windows', 'crops']))
    for card in a.encoder:
        for sets_of, _ in groups:
            sets_of(cmir, a, card)      # cut and embedded by all processors
    progress, out = Progress('study', len(a.encoder) * len(TASKS) * len(DIMS)), {}
    in_processes(record, [(cmir, a, card, names, sets_of, progress) for sets_of, names in groups for card in a.encoder])
    for card in a.encoder:
        for task in TASKS:
            for dims in DIMS:
                with open(record_path(a, card, task, dims)) as f:
                    out.setdefault(encoder_name(card), {})[task, dims] = json.load(f)
    return out


def agree(records, path):
    """Does cmir find what numpy finds, by what eval_slabs.py or eval_regions.py wrote: at rank 1 (and of the matched run,
    whether it overlaps by 0.6), or precision at 1 and DEPTH, of every query? -> what to say of it."""
    with open(path) as f:
        program = json.load(f)['Results']
    differ, n = [], 0
    for r in program:
        own = {q['Query']: q['Figures'] for q in records[r['Encoder']][r['Task'], r['Dims']]}
        for score in ALL:
            for query, figures in r['Figures'].get(score, {}).items():
                of_both = list(zip(figures[:2], own[query][score]))
                n += 1
                if any(abs(x - y) > 1e-9 for x, y in of_both):
                    differ.append('%s %s %d %s %s: %s' % (r['Encoder'], r['Task'], r['Dims'], score, query, of_both))
    if differ:
        raise SystemExit('%s: cmir and numpy differ in %d of %d:\n%s' % (path, len(differ), n, '\n'.join(differ)))
    return '%s: cmir and numpy agree in all %d searches.\n' % (os.path.basename(path), n)


class Cell:
    """One figure of one variant: its value, the same in every sample of patients, and what each patient adds to it."""

    def __init__(self, value, samples, shares):
        self.value, self.samples, self.shares = float(value), samples, shares

    def __str__(self):
        return spelt(self.value, self.samples)


def by_patient(records):
    return ByPatient([r['Patient'] for r in records])


def mean_cell(records, values, weights=None):
    by = by_patient(records)
    value, samples = by.ratio(values, weights)
    total = by.sums(np.ones(len(values)) if weights is None else weights).sum()
    return Cell(value, samples, by.sums(values) / total)


def auroc_cell(records, score):
    """Patients share the pairs that they form with others."""
    by, positive = by_patient(records), [r['Positive'] for r in records]
    right, of = by.pairs(score, positive)
    return Cell(*by.auroc(score, positive), (right.sum(0) + right.sum(1)) / 2 / of.sum())


def column(records, name, i):
    return [r['Figures'][name][i] for r in records]


def stage_values(records, classes):
    """P@3 of every query; votes may list fewer, which counts as wrong."""
    return {name: [sum(classes[f] == classes[r['Query']] for f in r['Figures'][name]) / DEPTH for r in records]
            for name in ALL}


def cells_of(task, records, classes):
    """-> {(figure, score): Cell} of one encoder, task and whitening."""
    out = {}
    for name in records[0]['Figures']:
        if task.startswith('flag'):
            out['AUROC', name] = auroc_cell(records, column(records, name, 0))
            out['P@3', name] = mean_cell(records, column(records, name, 1))
        elif task == 'locate':
            share, chance, *first = (column(records, name, i) for i in range(len(records[0]['Figures'][name])))
            out['share', name] = mean_cell(records, share)
            out['chance', name] = mean_cell(records, chance)
            out['ratio', name] = mean_cell(records, share, chance)
            if first:
                out['ratio of the first 3', name] = mean_cell(records, *first)
        elif task == 'contrast':
            auroc, share, chance, iou, blind = (column(records, name, i) for i in range(5))
            out.update({('AUROC', name): mean_cell(records, auroc), ('ratio', name): mean_cell(records, share, chance),
                        ('IoU', name): mean_cell(records, iou), ('IoU by chance', name): mean_cell(records, blind)})
        elif task in ('windows', 'crops'):
            out['P@3', name] = mean_cell(records, stage_values(records, classes)[name])
        elif task == 'region':
            out['P@1', name] = mean_cell(records, column(records, name, 0))
            out['P@3', name] = mean_cell(records, column(records, name, 1))
        else:
            out['rank 1', name] = mean_cell(records, column(records, name, 0))
            out['run IoU >= 0.6', name] = mean_cell(records, column(records, name, 1))
    return out


def stage_chance(records, classes):
    """P@3 with the size classes as they are and dealt to the patients at random, the same deals whatever the records
    -> [1 + SHUFFLES, scores]."""
    names = [r['Query'] for r in records]
    at = {n: i for i, n in enumerate(names)}
    found = np.array([[([at[f] for f in r['Figures'][s]] + DEPTH * [len(names)])[:DEPTH] for r in records]
                      for s in ALL])
    own, rng = np.array([classes[n] for n in names]), np.random.default_rng(1)
    dealt = [own] + [rng.permutation(own) for _ in range(SHUFFLES)]
    return np.array([(np.append(c, 0)[found] == c[None, :, None]).mean((1, 2)) for c in dealt])  # class 0: none found


def p_of(p3):
    """How often chance does as well as the first deal, the true one."""
    return (p3 >= p3[0] - 1e-9).mean(0)


def nearest_by(value, known, others, rng):
    """Order of other volumes by a nuisance alone, ties at random."""
    return others[np.lexsort((rng.random(len(others)), np.abs(known[others] - value)))]


def nuisance_lines(rows, value):
    """What crop size, slice count, position and spacing reach alone -> {nuisance: (AUROC or None, P@3)}.

    Nearest by the nuisance first, ties at random; means over TIES orders."""
    rows = [r for r in rows.values() if r[value] != '']
    truth, patient = np.array([r[value] for r in rows]), np.array([r['PatientID'] for r in rows])
    records = [dict(Patient=p, Positive=t == '1') for p, t in zip(patient, truth)]
    rng, out = np.random.default_rng(1), {}
    for nuisance in ('crop_ml', 'slices', 'position', 'spacing'):
        known, votes, right = np.array([float(r[nuisance]) for r in rows]), [], []
        for _ in range(TIES):
            near = [truth[nearest_by(known[i], known, np.flatnonzero(patient != patient[i]), rng)]
                    for i in range(len(rows))]
            votes.append([np.mean(v[:tasks.NEIGHBOURS] == '1') for v in near])
            right.append([np.mean(v[:DEPTH] == t) for v, t in zip(near, truth)])
        cells = [auroc_cell(records, v) for v in votes] if value.startswith('flag') else []
        out[nuisance] = (Cell(np.mean([c.value for c in cells]), np.mean([c.samples for c in cells], 0), None)
                         if cells else None), mean_cell(records, np.mean(right, 0))
    return out


def position_locates(slabs, crops):
    """A tumour slab's place in its stack, put into every other stack: share of tumour there over chance."""
    records, share, chance = [], [], []
    for s in slabs.values():
        if s['flag'] != '1':
            continue
        own = next(c for c in crops.values() if c['PatientID'] == s['PatientID'])
        half = float(s['slices']) / float(own['slices']) / 2
        place = float(s['position']) + np.linspace(-half, half, 9)
        for c in crops.values():
            if c['PatientID'] != s['PatientID']:
                j = np.clip(place * float(c['slices']), 0, float(c['slices']) - 1)
                first, last = map(int, c['tumour'].split(':'))
                records.append(dict(Patient=s['PatientID']))
                share.append(np.mean((j >= first) & (j <= last)))
                chance.append(float(c['tumour_slices']))
    return mean_cell(records, share, chance)


def blind_locates(slabs, crops):
    """Runs as long as the slabs put anywhere into the other stacks: share of tumour over chance."""
    records, share, chance = [], [], []
    for s in slabs.values():
        for c in crops.values():
            if s['flag'] == '1' and c['PatientID'] != s['PatientID']:
                tumour = np.zeros(int(c['slices']))
                first, last = map(int, c['tumour'].split(':'))
                tumour[first:last + 1] = 1
                records.append(dict(Patient=s['PatientID']))
                share.append(tasks.anywhere(tumour, int(s['slices'])))
                chance.append(tumour.mean())
    return mean_cell(records, share, chance)


def title(dims):
    return 'whitened %d' % dims if dims else 'raw'


def grid(results, task, figure, names):
    """Rows: encoder and score; columns: raw and whitened."""
    rows = [[e, n] + [results[e][task, d][figure, n] for d in DIMS] for e in results for n in names]
    return table(['encoder', 'score', *(title(d) for d in DIMS)], rows)


SUMMARY = (('hard', 'rank 1'), ('brutal', 'rank 1'), ('hard', 'run IoU >= 0.6'), ('brutal', 'run IoU >= 0.6'),
           ('region', 'P@3'), ('flag', 'AUROC'), ('locate', 'ratio'), ('windows', 'P@3'))


def summary(results):
    """Every variant less maxsim as it is, mean over encoders, by task; with what the tests say."""
    rows, kept = [], []
    for d in DIMS:
        for n in ALL:
            row = [title(d), n]
            for task, figure in SUMMARY:
                pairs = [(results[e][task, d][figure, n], results[e][task, 0][figure, 'maxsim']) for e in results]
                samples = np.mean([x.samples - y.samples for x, y in pairs], 0)
                shares = np.mean([x.shares - y.shares for x, y in pairs], 0)
                value, (low, high) = float(np.mean([x.value - y.value for x, y in pairs])), interval(samples)
                row.append('%+.3f [%+.3f, %+.3f]' % (value, low, high))
                kept.append(dict(Task=task, Figure=figure, Dims=d, Score=n, Difference=value, Low=low, High=high,
                                 SignFlip=sign_flip(shares, rounds=20000)))
            rows.append(row)
    for task, figure in SUMMARY:
        own = [k for k in kept if (k['Task'], k['Figure']) == (task, figure)]
        for k, p in zip(own, holm([k['SignFlip'] for k in own])):
            k['SignFlipHolm'] = float(p)
    return table(['embeddings', 'score', *('%s, %s' % t for t in SUMMARY)], rows[1:]), kept


def print_nuisances(labels):
    flag = {c: nuisance_lines(labels['slabs'], c) for c in ('flag', 'flag_any')}
    stages = {f: nuisance_lines(labels[f], 'size_class') for f in ('windows', 'crops')}
    rows = [[n, *flag['flag'][n], flag['flag_any'][n][0], stages['windows'][n][1], stages['crops'][n][1]]
            for n in flag['flag']]
    print('Each nuisance alone\n')
    print(table(['nuisance', 'flag AUROC', 'flag P@3', 'flag_any AUROC', 'stage P@3, windows', 'stage P@3, crops'],
                rows))
    position = position_locates(labels['slabs'], labels['crops'])
    blind = blind_locates(labels['slabs'], labels['crops'])
    print('Position alone locates with a ratio of %s, runs put anywhere with %s.\n' % (position, blind))
    return dict({f: {n: str(c[1]) for n, c in s.items()} for f, s in stages.items()},
                locate=dict(position=str(position), anywhere=str(blind)),
                **{c: {n: [str(x) for x in v] for n, v in lines.items()} for c, lines in flag.items()})


def print_stage(records, classes, folder):
    rows, kept, every = [], [], {}
    for d in DIMS:
        for e, by_task in records.items():
            p3 = every[e, d] = stage_chance(by_task[folder, d], classes)
            p, best = p_of(p3), int(p3[0].argmax())
            rows.append([e, title(d), '%.3f (p %.3f)' % (p3[0, 0], p[0]), ALL[best],
                         '%.3f (p %.3f)' % (p3[0, best], p[best]), '%.3f' % p_of(p3.max(1)), '%.3f' % p3[1:].mean()])
            kept.append(dict(Encoder=e, Dims=d, P=dict(zip(ALL, map(float, p))), PBestOfAll=float(p_of(p3.max(1)))))
        mean = np.mean([every[e, d][:, 0] for e in records], 0)
        rows.append(['mean of encoders', title(d), '%.3f (p %.3f)' % (mean[0], p_of(mean)), '', '', '', ''])
        kept.append(dict(Encoder=None, Dims=d, P=dict(maxsim=float(p_of(mean)))))
    best = p_of(np.max([x.max(1) for x in every.values()], 0))
    print('Stage, %s: against size classes dealt at random\n' % folder)
    print(table(['encoder', 'embeddings', 'maxsim', 'best score', 'its P@3', 'p of the best of all', 'chance'], rows))
    print('The best of all encoders, embeddings and scores: p %.3f.\n' % best)
    return dict(Lines=kept, PBestOfAll=float(best))


def print_tables(results):
    names = list(ALL)
    for task, figure, what in (
            ('flag', 'AUROC', 'Flag: AUROC of the vote'), ('flag', 'P@3', 'Flag: P@3'),
            ('flag_any', 'AUROC', 'Flag, no slab left out: AUROC'),
            ('locate', 'ratio', 'Locate: share of matched slices with tumour over chance'),
            ('windows', 'P@3', 'Stage, windows: P@3'), ('crops', 'P@3', 'Stage, crops: P@3'),
            ('region', 'P@3', 'Body region: P@3'),
            *((k, 'rank 1', 'Known-item slabs, %s: source at rank 1' % k) for k in study_data.KINDS)):
        print('%s (95 %% over patients)\n' % what)
        print(grid(results, task, figure, names))
    print('Locate, other slices than the matches, hits of maxsim: ratio\n')
    print(grid(results, 'locate', 'ratio', ['mutual matches', 'stronger half', 'matched run', 'nearest slices of all']))
    print('Matched run of the source, IoU >= 0.6: free matches and in order\n')
    print(table(['slabs', 'encoder', 'score', *(title(d) for d in DIMS)],
                [[kind, e, n] + [results[e][kind, d]['run IoU >= 0.6', n] for d in DIMS]
                 for kind in study_data.KINDS for e in results for n in ('maxsim', 'ordered')]))
    print('Contrast: where in a scan the tumour is, by labels of other patients\' slabs\n')
    figures = ('AUROC', 'ratio', 'IoU', 'IoU by chance')
    print(table(['encoder', 'embeddings', 'AUROC of slices', 'share of the run / blind', 'IoU of the run', 'blind'],
                [[e, title(d)] + [results[e]['contrast', d][f, 'contrast'] for f in figures]
                 for e in results for d in DIMS]))


def main():
    p = parser_of(__doc__)
    p.add_argument('--seed', type=int, default=2, help='of the known-item slabs (default %(default)s)')
    p.add_argument('--agree-with', action='append', default=[], metavar='JSON', help='may be repeated')
    a, cmir = arguments(p)
    records = records_of(cmir, a)
    agreed = [agree(records, path) for path in a.agree_with]
    labels = {f: study_data.sarcoma_labels(a, f) for f in study_data.SARCOMA}
    classes = {n: int(r['size_class']) for f in ('windows', 'crops') for n, r in labels[f].items()}
    results = {e: {key: cells_of(key[0], r, classes) for key, r in by_task.items()} for e, by_task in records.items()}

    print('## Which variant helps: %s\n' % NOTICE)
    print('\n'.join(agreed))
    nuisances = print_nuisances(labels)
    text, differences = summary(results)
    print('Every variant less maxsim on embeddings as they are, mean over encoders (95 %% over patients)\n\n%s' % text)
    print_tables(results)
    stages = {f: print_stage(records, classes, f) for f in ('windows', 'crops')}
    figures = {}
    for e, by_task in results.items():
        for (task, d), cells in by_task.items():
            for (figure, score), c in cells.items():
                place = figures.setdefault(task, {}).setdefault(figure, {}).setdefault(e, {}).setdefault(title(d), {})
                place[score] = [round(float(x), 4) for x in (c.value, *interval(c.samples))]
    queries = {t: len(next(iter(records.values()))[t, 0]) for t in TASKS}
    write_json(a.output, dict(Seed=a.seed, Queries=queries, Nuisances=nuisances, Stage=stages,
                              Differences=differences, Figures=figures))


if __name__ == '__main__':
    main()
