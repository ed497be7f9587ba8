#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/results/*.json -> the plots of docs/performance.md in docs/images/*.svg.  The same results, the same bytes.

  maxsim.json    kernel_throughput.svg  Gop/s of every kernel, ours and the peers', one panel per pair
  search_*.json  search_latency.svg     time of a query by size of the archive
                 search_recall.svg      share of the true top 10 among the first candidates, largest archive"""
import json
import pathlib

import matplotlib
matplotlib.use('svg')
import matplotlib.pyplot as plt  # noqa: E402

DOCS = pathlib.Path(__file__).resolve().parent.parent / 'docs'
OURS, PEER, WRONG = '#1b6ca8', '#9aa5b1', '#d9a5a0'
plt.rcParams.update({'svg.hashsalt': 'cmir', 'svg.fonttype': 'none', 'font.size': 9, 'axes.spines.top': False,
                     'axes.spines.right': False})


def lines_of(pattern):
    return [line for path in sorted((DOCS / 'results').glob(pattern)) for line in json.loads(path.read_text())['lines']]


def is_ours(line):
    return line['peer'].startswith('cmir')


def save(figure, name):
    (DOCS / 'images').mkdir(exist_ok=True)
    figure.savefig(DOCS / 'images' / name, metadata=dict.fromkeys(['Date', 'Creator', 'Format', 'Type']), bbox_inches='tight')
    plt.close(figure)


def throughput():
    lines = [line for line in lines_of('maxsim.json') if 'gops' in line]
    pairs = list(dict.fromkeys(line['pair'] for line in lines))
    figure, axes = plt.subplots(len(pairs), figsize=(7, 0.2 * len(lines) + 0.8 * len(pairs)), squeeze=False,
                                gridspec_kw={'hspace': 0.25})
    for axis, pair in zip(axes[:, 0], pairs):
        rows = sorted((line for line in lines if line['pair'] == pair), key=lambda line: line['gops'])
        colours = [OURS if is_ours(r) else WRONG if abs(r['mean_similarity_error']) > 0.001 else PEER for r in rows]
        bars = axis.barh(['%s, %s' % (r['peer'], r['isa']) for r in rows], [r['gops'] for r in rows], color=colours)
        axis.bar_label(bars, ['%.0f' % r['gops'] for r in rows], padding=2, fontsize=8)
        axis.set_xscale('log')
        axis.set_title('%s: %d x %d x %d' % (pair, rows[0]['m'], rows[0]['n'], rows[0]['dim']), loc='left')
    axes[-1, 0].set_xlabel('useful Gop/s, one core (blue: cmir; red: the score is wrong by more than 0.001)')
    save(figure, 'kernel_throughput.svg')


def by_peer(lines):
    return {peer: [line for line in lines if line['peer'] == peer]
            for peer in dict.fromkeys(line['peer'] for line in lines)}


def search():
    lines = sorted(lines_of('search_*.json'), key=lambda line: line['volumes'])
    lines = [line for line in lines if line['dim'] == lines[0]['dim']]
    figure, axis = plt.subplots(figsize=(6, 3.6))
    for peer, rows in by_peer(lines).items():
        axis.plot([r['volumes'] for r in rows], [r['median_ms'] for r in rows], 'o-', label=peer,
                  linewidth=2.5 if is_ours(rows[0]) else 1)
    axis.set(xscale='log', yscale='log', xlabel='volumes of %d slices' % lines[0]['slices'],
             ylabel='ms per query (median)')
    axis.legend(frameon=False, loc='center left', bbox_to_anchor=(1, 0.5))
    save(figure, 'search_latency.svg')

    largest = max(line['volumes'] for line in lines)
    figure, axis = plt.subplots(figsize=(6, 3.6))
    for peer, rows in by_peer([r for r in lines if r['volumes'] == largest and 'recall_in_candidates' in r]).items():
        recall = rows[0]['recall_in_candidates']
        axis.plot([int(c) for c in recall], list(recall.values()), 'o-', label=peer,
                  linewidth=2.5 if is_ours(rows[0]) else 1)
    axis.set(xscale='log', ylim=(None, 1.01), xlabel='candidates of %d volumes' % largest,
             ylabel='share of the true top 10')
    axis.legend(frameon=False, loc='center left', bbox_to_anchor=(1, 0.5))
    save(figure, 'search_recall.svg')


if __name__ == '__main__':
    if lines_of('maxsim.json'):
        throughput()
    if lines_of('search_*.json'):
        search()
