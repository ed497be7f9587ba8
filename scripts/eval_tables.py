#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Markdown tables of what `cmir eval --json` wrote.

    eval_tables.py [-o JSON] FILE.json...          a table per file, with the command that made it
    eval_tables.py --metric NAME FILE.json...      one table: a row per line, a column per file

-o keeps what the tables show, and the hashes of encoder and archive, in one JSON file.

Run by reproduce_3dmir.sh and eval.sh. The one idea: figures are printed as cmir computed them; nothing is computed here."""
import argparse
import json
import os

from eval_common import NOTICE, table

SHOWN = ['P@3', 'P@5', 'P@10', 'P@10 (3D-MIR notebook)', 'AP@10']
OF_EVIDENCE = {'AUROC': 'Auroc', 'AUPRC': 'Auprc', 'Brier': 'Brier'}


def figure(line, metric):
    return value(line.get(OF_EVIDENCE[metric]) if metric in OF_EVIDENCE else line['Figures'].get(metric))


def value(f):
    """0.812 [0.700, 0.900]; nothing where there is no such figure."""
    if f is None or f['Value'] is None:
        return ''
    return '%.3f' % f['Value'] + ('' if f['Low'] is None else ' [%.3f, %.3f]' % (f['Low'], f['High']))


def title(path):
    return os.path.splitext(os.path.basename(path))[0].replace('_', ' ')


def whitening(w, n_queries):
    if w['LearntFrom'] == 'candidates of other patients':
        return "whitened to %d dimensions, learnt without the query's patient (%d fits)" % (w['Dims'], w['Fits'])
    seen = '**%d of %d queries have been seen by it**' % (w['SeenQueries'], n_queries) if w['SeenQueries'] else 'no query seen'
    return 'whitened to %d dimensions; %s' % (w['Dims'], seen)


def caption(result):
    """Queries, and what limits the figures."""
    said = ['%d queries of %d patients' % (result['Queries'], result['Patients'])]
    if result['Leak']:
        said.append('**leak: queries may find their own patient**')
    if result['ShortQueries']:
        said.append('%d found less than the largest k' % result['ShortQueries'])
    if result['WithoutMask']:
        said.append('%d volumes without a mask left out' % result['WithoutMask'])
    if 'Masks' in result:
        said.append('%(Files)d masks, %(Empty)d of them empty' % result['Masks'])
    if 'Whitening' in result:
        said.append(whitening(result['Whitening'], result['Queries']))
    return '; '.join(said)


def differences(result, metric):
    """Which pairs of methods differ beyond chance after Holm's correction."""
    pairs = [p for p in result['Pairs'] if p['Metric'] == metric]
    beyond = ['%s less %s %+.3f (p %.2g)' % (p['A'], p['B'], p['Difference'], p['SignFlipHolm'])
              for p in pairs if p['SignFlipHolm'] is not None and p['SignFlipHolm'] < .05]
    return '' if not pairs else '%s beyond chance, of %d pairs (signs exchanged, Holm): %s' \
        % (metric, len(pairs), '; '.join(beyond) or 'none')


def places(located):
    """Where hits lie: docs/evaluation.md."""
    columns = {'share of matches': 'Ratio', 'chance': 'Chance', 'times chance': 'TimesChance', 'run IoU': 'RunIou',
               'run IoU >= %g' % located['PlacedFrom']: 'RunPlaced'}
    rows = [[m['Name']] + [value(m[c]) for c in columns.values()] for m in located['Methods']]
    said = 'Slices of `%s`, in the first %d hits:\n\n' % (located['Column'], located['K'])
    return said + table(['method', *columns], rows)


def whole(path, result):
    columns = [m for m in SHOWN if m in result['Metrics']] + (['AUROC'] if result['Positive'] else [])
    text = '### %s\n\n%s.\n\n' % (title(path), caption(result))
    text += table(['line'] + columns, [[line['Name']] + [figure(line, m) for m in columns] for line in result['Lines']])
    text += '\n%s\n\n' % differences(result, 'P@3')
    if 'Locations' in result:
        text += places(result['Locations']) + '\n'
    return text + '```\n%s\n```\n' % result['Command']


def one_metric(metric, results):
    names = []
    for _, result in results:
        names += [line['Name'] for line in result['Lines'] if line['Name'] not in names]
    lines = [{line['Name']: line for line in result['Lines']} for _, result in results]
    return table(['%s' % metric] + [title(path) for path, _ in results],
                 [[n] + [figure(by_name[n], metric) if n in by_name else '' for by_name in lines] for n in names])


def kept(path, result):
    """The result without what it says of single volumes and without metrics that no table shows."""
    small = {k: v for k, v in result.items() if k not in ('PerQuery', 'Volumes', 'Lines', 'Pairs', 'Notice')}
    lines = [{k: v for k, v in line.items() if k in ('Name', 'Kind', 'Accuracy', 'Confusion', *OF_EVIDENCE.values())}
             | dict(Figures={m: line['Figures'][m] for m in SHOWN if m in line['Figures']}) for line in result['Lines']]
    if 'Locations' in small:
        small['Locations'] = {k: v for k, v in small['Locations'].items() if k not in ('Hits', 'Volumes')}
    return dict(Table=title(path), **small, Lines=lines, Pairs=[p for p in result['Pairs'] if p['Metric'] == 'P@3'])


def write(path, results):
    """A line per result."""
    with open(path, 'w') as f:
        f.write('{"Notice": "%s", "Results": [\n%s\n]}\n'
                % (NOTICE, ',\n'.join(json.dumps(kept(*r), separators=(',', ':')) for r in results)))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('files', nargs='+', metavar='FILE.json')
    p.add_argument('--metric', help='such as P@3, AP@10, AUROC')
    p.add_argument('-o', '--output', metavar='JSON')
    a = p.parse_args()
    results = []
    for path in a.files:
        with open(path) as f:
            results.append((path, json.load(f, parse_float=lambda text: float('%.5g' % float(text)))))
    print('Values with 95 %% intervals; %s.\n' % NOTICE)
    if a.output:
        write(a.output, results)
    if a.metric:
        print(one_metric(a.metric, results))
        return
    for path, result in results:
        print(whole(path, result))


if __name__ == '__main__':
    main()
