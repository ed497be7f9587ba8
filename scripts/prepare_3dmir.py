#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From the Decathlon's folders and 3D-MIR's label files to what `cmir add` and `cmir eval` take.

Run by reproduce_3dmir.sh; docs/reproduce-3dmir.md has the protocol. Writes into WORK:

  images.txt                 the volumes that the label files name, one path a line
  per-site/SITE_labels.csv   as published; so are SITE_test.csv (queries) and SITE_train.csv (database)
  merged/SITE_labels.csv     every volume of every site; what SITE's file does not name has no tumour of SITE
  merged/SITE_test.csv       as published
  merged/SITE_train.csv      all volumes for training of all sites that no site tests with: the same for each
  masks.csv                  the volume's segmentation, where MSD/Task*/labelsTr has all of them

The one idea: a split is made here once, in files that can be read, and cmir is told nothing but files."""
import csv
import glob
import os
import sys

SITES = ['colon', 'liver', 'lung', 'pancreas']
HEADER = ['name', 'organ', 'max_tumor_size', 'number_tumors', 'lesion_group', 'cancer_flag']


def rows(path, columns):
    with open(path, newline='') as f:
        reader = csv.DictReader(f)
        if not set(columns) <= set(reader.fieldnames or []):
            sys.exit('%s: columns %s are wanted' % (path, ', '.join(columns)))
        return list(reader)


def read_site(folder, site):
    """-> labels by name, names for training, names for testing."""
    table = {r['name']: r for r in rows(os.path.join(folder, site + '_labels.csv'), HEADER)}
    sides = [[r[column] for r in rows(os.path.join(folder, '%s_%s.csv' % (site, side)), [column])]
             for side, column in (('train', 'training'), ('test', 'testing'))]
    for name in sides[0] + sides[1]:
        if name not in table:
            sys.exit('%s: %s is in a split of %s and has no label' % (folder, name, site))
    if set(sides[0]) & set(sides[1]):
        sys.exit('%s: %s: volumes both for training and for testing' % (folder, site))
    return table, sides[0], sides[1]


def write(path, header, lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', newline='') as f:
        csv.writer(f, lineterminator='\n').writerows([header] + lines)


def write_site(folder, site, labels, train, test):
    write(os.path.join(folder, site + '_labels.csv'), HEADER, [[r[c] for c in HEADER] for r in labels])
    write(os.path.join(folder, site + '_train.csv'), ['name'], [[n] for n in train])
    write(os.path.join(folder, site + '_test.csv'), ['name'], [[n] for n in test])


def write_splits(sites, work):
    """-> the names of all volumes that take part."""
    tested = {n for _, _, test in sites.values() for n in test}
    trained = sorted({n for _, train, _ in sites.values() for n in train} - tested)
    for site, (table, train, test) in sites.items():
        used = train + test
        write_site(os.path.join(work, 'per-site'), site, [table[n] for n in used], train, test)
        # The cohort of a volume is the prefix of its name; of another site's cohort nothing is known but
        # that 3D-MIR takes such volumes for free of the site's tumours.
        free = [dict(zip(HEADER, [n, n.split('_')[0], 0, 0, -1, 0])) for n in trained if n not in table]
        known = [table[n] for n in sorted(set(trained) & set(table) | set(test))]
        write_site(os.path.join(work, 'merged'), site, known + free, trained, test)
    return sorted(tested | {n for _, train, _ in sites.values() for n in train})


def find(msd, folder, names):
    """-> path by name; what macOS left beside them (._NAME) has another name."""
    found = {os.path.basename(p): p for p in sorted(glob.glob(os.path.join(glob.escape(msd), 'Task*', folder, '*.nii.gz')))}
    return {n: found[n] for n in names if n in found}


def main():
    if len(sys.argv) != 4:
        sys.exit('usage: prepare_3dmir.py MSD_FOLDER LABELS_FOLDER WORK')
    msd, labels, work = sys.argv[1:]
    names = write_splits({site: read_site(labels, site) for site in SITES}, work)
    images = find(msd, 'imagesTr', names)
    missing = [n for n in names if n not in images]
    if missing:
        sys.exit('%s: %d of %d volumes that the label files name are in no Task*/imagesTr: %s%s'
                 % (msd, len(missing), len(names), ', '.join(missing[:5]), ', ...' if len(missing) > 5 else ''))
    with open(os.path.join(work, 'images.txt'), 'w') as f:
        f.write(''.join(images[n] + '\n' for n in names))
    masks = find(msd, 'labelsTr', names)
    without = [n for n in names if n not in masks]
    if not without:
        write(os.path.join(work, 'masks.csv'), ['name', 'mask'], [[n, os.path.abspath(masks[n])] for n in names])
        return
    print('%s: the masked database is left out: Task*/labelsTr has no segmentation of %d of %d volumes: %s%s'
          % (msd, len(without), len(names), ', '.join(without[:5]), ', ...' if len(without) > 5 else ''), file=sys.stderr)
    if os.path.exists(os.path.join(work, 'masks.csv')):
        os.remove(os.path.join(work, 'masks.csv'))


if __name__ == '__main__':
    main()
