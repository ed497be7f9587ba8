# SPDX-License-Identifier: Apache-2.0
"""Label tables against Python's csv module: random cells in every way of quoting, read back from the catalogue."""
import csv
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess

CMIR = os.environ['CMIR']
GOLDEN = pathlib.Path(os.environ.get('CMIR_SOURCE', '.')) / 'tests/golden/format_2'
IDS = ['v2', 'v5', 'v9']
PIECES = ['a', 'Z', '0', ' ', ',', '"', '\n', '\r\n', ';', '\t', "'", 'ä', '肝', '🫁', '\\', '%', '-']
SEED = 20240306


def cell(rng):
    return ''.join(rng.choice(PIECES) for _ in range(rng.randrange(6)))


def labels_of(archive):
    db = sqlite3.connect(archive / 'catalog.sqlite')
    found = {i: {} for i in IDS}
    for volume, name, value in db.execute(
            'SELECT volume_id, name, value FROM labels JOIN volumes ON volumes.id = volume'):
        found[volume][name] = value
    db.close()
    return found


def test_random_tables(tmp_path):
    rng = random.Random(SEED)
    print('seed', SEED)
    for trial in range(60):
        archive = pathlib.Path(shutil.copytree(GOLDEN, tmp_path / f'a{trial}'))
        want = labels_of(archive)
        names = list(dict.fromkeys(f'n{k}{cell(rng)}e' for k in range(rng.randrange(1, 5))))
        columns = ['name', *names]
        rng.shuffle(columns)
        path = tmp_path / 'table.csv'
        ids = rng.sample(IDS, rng.randrange(1, 4)) + rng.sample(['unknown', 'other'], rng.randrange(3))
        rng.shuffle(ids)
        with open(path, 'w', newline='', encoding=rng.choice(['utf-8', 'utf-8-sig'])) as file:
            writer = csv.DictWriter(file, columns, lineterminator=rng.choice(['\n', '\r\n']), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            for i in ids:
                row = {n: cell(rng) for n in names}
                writer.writerow({'name': i + rng.choice(['', '.nii', '.nii.gz']), **row})
                if i in IDS:
                    want[i].update({n: v for n, v in row.items() if v})
        done = subprocess.run([CMIR, 'label', archive, path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert labels_of(archive) == want, path.read_bytes()


def test_minimal_quotes(tmp_path):
    """Cells without blanks at their ends need no quotes; Python quotes where it must."""
    rng = random.Random(SEED + 1)
    for trial in range(40):
        archive = pathlib.Path(shutil.copytree(GOLDEN, tmp_path / f'a{trial}'))
        want = labels_of(archive)
        path = tmp_path / 'table.csv'
        with open(path, 'w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(['label one', 'name', 'two'])
            for i in IDS:
                row = [cell(rng).strip() or 'x', cell(rng).strip() or 'y']
                writer.writerow([row[0], i, row[1]])
                want[i].update({'label one': row[0], 'two': row[1]})
        done = subprocess.run([CMIR, 'label', archive, path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert labels_of(archive) == want, path.read_bytes()
