# SPDX-License-Identifier: Apache-2.0
"""What the eval_*.py and study_*.py scripts share: running cmir, intervals, paired tests, tables.

Imported only. The one idea: every command is run as a user would run it and remembered, so that a report can
print what made its figures."""
import argparse
import concurrent.futures
import json
import math
import multiprocessing
import os
import shlex
import subprocess
import sys
import time

os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')  # PROCESSES do more than threads on products as small as these

import numpy as np  # noqa: E402

PROCESSES = len(os.sched_getaffinity(0))
NOTICE = 'research use only, not for diagnosis'


class Command:
    """The cmir program; `lines` holds the commands worth printing, in order."""

    def __init__(self, program, onnxruntime=None):
        self.program, self.lines = program, []
        self.common = ['--onnxruntime', onnxruntime] if onnxruntime else []

    def run(self, *arguments, stdin=None, show=True):
        """-> the JSON object that the verb prints. Exit code 1 (some inputs refused) is an error here."""
        return json.loads(self.output(arguments, stdin, show))

    def batch(self, archive, queries, *options, show=True):
        """-> what `cmir search` prints for each of many queries."""
        text = self.output(['search', archive, '--batch', '-', *options], '\n'.join(queries) + '\n', show)
        return [json.loads(line) for line in text.splitlines()]

    def output(self, arguments, stdin, show):
        line = [self.program, *map(str, arguments)]
        if show:
            self.lines.append(shlex.join(line) + (' <paths.txt' if stdin else ''))
        done = subprocess.run(line + self.common + ['--json'], input=stdin, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit('%s\nexit code %d: %s' % (shlex.join(line), done.returncode,
                                                       (done.stderr + done.stdout)[-2000:]))
        return done.stdout


class Progress:
    """How much is done and how long the rest takes, on standard error: at most every ten seconds, and at the end."""

    def __init__(self, what, total):
        self.what, self.total, self.done = what, total, 0
        self.start = self.said = time.monotonic()

    def show(self, done):
        self.done, now = done, time.monotonic()
        if done == self.total:
            print('%s: all %d in %.0f s' % (self.what, done, now - self.start), file=sys.stderr, flush=True)
        elif now - self.said >= 10:
            self.said = now
            print('%s: %d of %d, about %.0f s left' % (self.what, done, self.total,
                                                       (now - self.start) / done * (self.total - done)),
                  file=sys.stderr, flush=True)


def in_threads(call, items, progress=None):
    """-> what call(item) gives, in order; for calls that wait for other programs."""
    found = []
    with concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:
        for done in pool.map(call, items):
            found.append(done)
            if progress:
                progress.show(progress.done + 1)
    return found


def in_processes(call, items):
    with concurrent.futures.ProcessPoolExecutor(PROCESSES, multiprocessing.get_context('fork')) as pool:
        return list(pool.map(call, items))


def parser_of(doc):
    """Arguments that all of these scripts have."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('work', metavar='WORK', help='cuts, archives and embeddings; what is there is used again')
    p.add_argument('--cmir', default='build/cmir', help='default %(default)s')
    p.add_argument('--onnxruntime', help='libonnxruntime.so, passed on to cmir')
    p.add_argument('--data', default='../shared/data', help='default %(default)s')
    p.add_argument('--encoder', action='append', metavar='CARD', help='may be repeated; default builtin')
    p.add_argument('-o', '--output', metavar='JSON', help='write every figure here')
    return p


def arguments(parser):
    """-> parsed arguments, cmir; WORK is there."""
    a = parser.parse_args()
    a.encoder = a.encoder or ['builtin']
    os.makedirs(a.work, exist_ok=True)
    return a, Command(a.cmir, a.onnxruntime)


def encoder_name(card):
    return card if card == 'builtin' else os.path.basename(card)[:-len('.json')]


def wilson(k, n, z=1.959964):
    """95 % interval of a rate of k in n."""
    if n == 0:
        return 0.0, 1.0
    p, d = k / n, 1 + z * z / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / d), min(1.0, (middle + half) / d)


def bootstrap(values, seed=1, rounds=10000):
    """95 % interval of a mean, by percentiles over resampled queries."""
    values = np.asarray(values, float)
    picks = np.random.default_rng(seed).integers(0, len(values), (rounds, len(values)))
    return tuple(np.percentile(values[picks].mean(1), [2.5, 97.5]))


def mcnemar(a, b):
    """Two-sided exact p of paired successes a and b; with how often only a, only b succeeded."""
    only_a = sum(x and not y for x, y in zip(a, b))
    only_b = sum(y and not x for x, y in zip(a, b))
    n, k = only_a + only_b, min(only_a, only_b)
    p = 1.0 if n == 0 else min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2 ** n)
    return p, only_a, only_b


def sign_flip(differences, seed=1, rounds=100000):
    """Two-sided p of a zero mean: signs of the differences exchanged at random (all ways if few)."""
    d = np.asarray([x for x in differences if x != 0], float)
    if len(d) == 0:
        return 1.0
    if len(d) <= 16:
        signs = ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1) * 2 - 1
        return float(np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-9))
    signs = np.random.default_rng(seed).integers(0, 2, (rounds, len(d))) * 2 - 1
    return float((np.sum(np.abs(signs @ d) >= abs(d.sum()) - 1e-9) + 1) / (rounds + 1))


class ByPatient:
    """Patients resampled whole: the same samples for every figure made of it, so differences are paired."""

    def __init__(self, patients, seed=1, rounds=2000):
        names, self.patient = np.unique(patients, return_inverse=True)
        self.n = len(names)
        picks = np.random.default_rng(seed).integers(0, self.n, (rounds, self.n))
        self.counts = np.stack([np.bincount(p, minlength=self.n) for p in picks])   # [rounds, patients]

    def sums(self, values):
        return np.bincount(self.patient, np.asarray(values, float), self.n)

    def ratio(self, values, weights=None):
        """-> sum of values / sum of weights (default: the mean), its figure in every sample."""
        v, w = self.sums(values), self.sums(np.ones(len(values)) if weights is None else weights)
        return v.sum() / w.sum(), self.counts @ v / (self.counts @ w)

    def pairs(self, score, positive):
        """-> how many (positive, negative) pairs two patients form that are ranked right (ties: half), and of how many."""
        score, positive = np.asarray(score, float), np.asarray(positive, bool)
        d = score[positive][:, None] - score[~positive][None, :]
        cell = self.patient[positive][:, None] * self.n + self.patient[~positive][None, :]
        right = np.bincount(cell.ravel(), ((d > 0) + 0.5 * (d == 0)).ravel(), self.n ** 2)
        return right.reshape(self.n, -1), np.bincount(cell.ravel(), minlength=self.n ** 2).reshape(self.n, -1)

    def auroc(self, score, positive):
        """-> area under the ROC curve of all queries together, the same in every sample."""
        right, of = self.pairs(score, positive)
        return right.sum() / of.sum(), (((self.counts @ right) * self.counts).sum(1)
                                        / np.maximum(1, ((self.counts @ of) * self.counts).sum(1)))


def interval(samples):
    return tuple(float(x) for x in np.percentile(samples, [2.5, 97.5]))


def spelt(figure, samples):
    """0.812 [0.700, 0.900]"""
    return '%.3f [%.3f, %.3f]' % ((figure,) + interval(samples))


def holm(p):
    """Holm's correction of several p."""
    p, order, worst, out = np.asarray(p, float), np.argsort(p), 0.0, np.empty(len(p))
    for k, i in enumerate(order):
        worst = max(worst, min(1.0, p[i] * (len(p) - k)))
        out[i] = worst
    return out


def rate(k, n):
    return '%.3f [%.3f, %.3f]' % ((k / n,) + wilson(k, n))


def table(heading, rows):
    """Markdown."""
    lines = ['| ' + ' | '.join(heading) + ' |', '|' + '---|' * len(heading)]
    return '\n'.join(lines + ['| ' + ' | '.join(map(str, r)) + ' |' for r in rows]) + '\n'


SCORES = ('maxsim', 'symmetric', 'length-corrected', 'ordered', 'weighted', 'freq', 'max', 'sum', 'mean', 'median',
          'max-pool', 'std')  # of cmir search


def write_json(path, result):
    if path:
        with open(path, 'w') as f:
            json.dump(dict(Notice=NOTICE, **result), f, indent=1)
            f.write('\n')
