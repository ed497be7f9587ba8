# SPDX-License-Identifier: Apache-2.0
"""What eval_slabs.py and eval_regions.py share: running cmir, intervals, paired tests, tables.

Imported only. The one idea: every command is run as a user would run it and remembered, so that a report can
print what made its figures."""
import json
import math
import os
import shlex
import subprocess

import numpy as np

NOTICE = 'research use only, not for diagnosis'


class Command:
    """The cmir program; `lines` holds the commands worth printing, in order."""

    def __init__(self, program, onnxruntime=None):
        self.program, self.lines = program, []
        self.common = ['--onnxruntime', onnxruntime] if onnxruntime else []

    def run(self, *arguments, stdin=None, show=True):
        """-> the JSON object that the verb prints. Exit code 1 (some inputs refused) is an error here."""
        line = [self.program, *map(str, arguments)]
        if show:
            self.lines.append(shlex.join(line) + (' <paths.txt' if stdin else ''))
        done = subprocess.run(line + self.common + ['--json'], input=stdin, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit('%s\nexit code %d: %s' % (shlex.join(line), done.returncode,
                                                       (done.stderr + done.stdout)[-2000:]))
        return json.loads(done.stdout)


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


def rate(k, n):
    return '%.3f [%.3f, %.3f]' % ((k / n,) + wilson(k, n))


def table(heading, rows):
    """Markdown."""
    lines = ['| ' + ' | '.join(heading) + ' |', '|' + '---|' * len(heading)]
    return '\n'.join(lines + ['| ' + ' | '.join(map(str, r)) + ' |' for r in rows]) + '\n'


def write_json(path, result):
    if path:
        with open(path, 'w') as f:
            json.dump(dict(Notice=NOTICE, **result), f, indent=1)
            f.write('\n')
