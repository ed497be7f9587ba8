#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What previews cost while scans are added.

  bench/bench_add.py build/cmir SCANS... [--rounds 5]

Adds the scans to a new archive with each kind of previews, round after round, so that all kinds share the machine's moods.
Median CPU seconds (user and system) and wall clock of `cmir add`, and the bytes a slice that embeddings and previews take."""
import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

KINDS = ['none', 'small', 'full']


def cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('cmir')
    p.add_argument('scans', nargs='+')
    p.add_argument('--rounds', type=int, default=5)
    a = p.parse_args()
    seconds, walls, stats = {k: [] for k in KINDS}, {k: [] for k in KINDS}, {}
    with tempfile.TemporaryDirectory() as folder:
        for r in range(a.rounds):
            for kind in KINDS:
                archive = pathlib.Path(folder) / f'{kind}{r}'
                before, start = cpu(), time.perf_counter()
                subprocess.run([a.cmir, 'add', archive, *a.scans, '--previews', kind, '-q'], check=True)
                walls[kind].append(time.perf_counter() - start)
                seconds[kind].append(cpu() - before)
                stats[kind] = json.loads(subprocess.run([a.cmir, 'stat', archive, '--json'], check=True,
                                                        capture_output=True).stdout)
                subprocess.run(['rm', '-r', archive], check=True)
    print('| previews | CPU s | wall s | bytes a slice, embeddings | previews |\n|---|---|---|---|---|')
    for kind in KINDS:
        s = stats[kind]
        print('| %s | %.2f | %.2f | %.0f | %.0f |' % (kind, statistics.median(seconds[kind]), statistics.median(walls[kind]),
                                                   s['EmbeddingBytes'] / s['Slices'], s['PreviewBytes'] / s['Slices']))
    print('\n%d volumes, %d slices; medians of %d rounds' % (s['Volumes'], s['Slices'], a.rounds))


if __name__ == '__main__':
    main()
