#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""JSON lines of the benchmarks on standard input -> docs/results/NAME.json, and a table on standard output.

  bench/results.py NAME <lines"""
import json
import os
import pathlib
import platform
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'scripts'))
from eval_common import NOTICE, table  # noqa: E402


def machine():
    with open('/proc/cpuinfo') as f:
        names = [line.split(':', 1)[1].strip() for line in f if line.startswith('model name')]
    return '%s, %d CPUs, %s' % (names[0] if names else 'unknown CPU', os.cpu_count(), platform.machine())


def main():
    lines = [json.loads(line) for line in sys.stdin if line.startswith('{')]
    path = ROOT / 'docs' / 'results' / (sys.argv[1] + '.json')
    path.parent.mkdir(exist_ok=True)
    body = ',\n'.join('  ' + json.dumps(line) for line in lines)
    path.write_text('{"Notice": %s, "machine": %s, "lines": [\n%s\n]}\n' % (json.dumps(NOTICE), json.dumps(machine()),
                                                                            body))
    columns = list(dict.fromkeys(key for line in lines for key, value in line.items() if not isinstance(value, dict)))
    print(table(columns, [['' if line.get(c) is None else line[c] for c in columns] for line in lines]))


if __name__ == '__main__':
    main()
