#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What else was tried to flag and to locate tumours in the sarcoma slabs, beyond study_method.py's scores.

Run by eval.sh, in study_method.py's WORK. Prints one table; everything ranks by maxsim, leave one patient out. None of
it was chosen beforehand, so the best of the lines is flattered by the choice.

  scripts/study_tried.py WORK --data ../shared/data --encoder builtin \\
      --encoder ../shared/data/models/mobilenet_v2_224.json --encoder ../shared/data/models/squeezenet_v1_0.json \\
      --patches ../shared/data/models/mobilenet_v2_224.json -o docs/results/method_tried.json

Flag is the AUROC of the vote, locate the share of matched slices with tumour over chance, nearest the same of the 10
nearest slices of all:
  cosine vote    the ten vote with their cosines instead of their lead (docs/evaluation.md)
  own mean       embeddings less the mean of their own scan: what differs within the scan
  centred        less the mean of the archive; pca d: projected besides; half d: components divided by the root of
                 their deviation
  fixed field    every scan padded with air to 240 x 240 pixels (234 mm) first, so that all are shown at one scale
  mask vote k    per query slice the share with tumour, by mask, among the k nearest slices of others' scans; mean
  ridge          no retrieval: a linear classifier (ridge 0.1) on the mean of the slab's whitened slices, a bound for
                 what the embeddings hold
  mean of n      the mean of the votes of all n encoders given
  patches        maxsim of patch tokens (cells of the map with > 30 % body), whitened to 64; mask vote as above with
                 tokens (20 nearest, share of mask in the cell)"""
import json
import os

import nibabel as nib
import numpy as np

import study_data
import study_tasks as tasks
from eval_common import (NOTICE, ByPatient, arguments, encoder_name, in_processes, interval, parser_of, spelt,
                         table, write_json)
from method_scores import Whitening, unit

SIDE = 240     # pixels of the fixed field: the largest crop has 239
AIR_HU = -1000
BODY = 0.3     # of a cell
TOKEN_DIMS = 64


class Scaled(tasks.Fitted):
    """A whitening whose components are divided by their deviation to a power: 0 is a projection, 1 whitening. None:
    embeddings as they are."""

    def __init__(self, volumes, power):
        super().__init__(volumes)
        self.power = power

    def directions(self, patient):
        mean, white = self.fit.without(patient, tasks.LARGEST)
        return mean, white / np.linalg.norm(white, axis=0) ** (1 - self.power)

    def change(self, volumes, patient, dims):
        """0 dimensions: centred only."""
        if self.power is None:
            return volumes
        if dims:
            return super().change(volumes, patient, dims)
        self.project(volumes[0], patient)
        return [v.with_rows(unit(v.rows - self.kept[patient][0])) for v in volumes]


class Lines:
    """Figures by name, all over the same queries."""

    def __init__(self, labels):
        self.flags = {n: int(r['flag']) for n, r in labels.items() if r['flag'] != ''}
        self.patients = {n: r['PatientID'] for n, r in labels.items()}
        self.votes, self.rows, self.kept = {}, [], []

    def add(self, encoder, what, votes, ratios=None):
        """votes: {query: vote}; ratios: {query: (share, chance) of matches, then of the nearest slices}."""
        names = sorted(votes)
        by = ByPatient([self.patients[n] for n in names])
        cells = [by.auroc([votes[n] for n in names], [self.flags[n] for n in names])]
        if ratios:
            by, r = ByPatient([self.patients[n] for n in sorted(ratios)]), np.array([ratios[n] for n in sorted(ratios)])
            cells += [by.ratio(r[:, 0], r[:, 1]), by.ratio(r[:, 2], r[:, 3])]
        self.votes[encoder, what] = votes
        self.rows.append([encoder, what] + [spelt(*c) for c in cells] + (3 - len(cells)) * [''])
        self.kept += [dict(Encoder=encoder, Tried=what, Figure=f, **dict(zip(('Value', 'Low', 'High'),
                                                                             (float(c[0]), *interval(c[1])))))
                      for f, c in zip(('flag', 'locate', 'nearest'), cells)]


def measure(lines, encoder, what, sets, fitted, dims=0, cosine=False):
    """Flag, locate and nearest of one kind of embeddings."""
    (slabs, labels), (crops, rows) = sets
    known = [v for v in slabs if v.name in lines.flags]
    votes, ratios = {}, {}
    for m in tasks.meetings(known, known, fitted, dims):
        value, order = np.array([lines.flags[v.name] for v in m.candidates]), tasks.listed(m.maxsim)
        near = order[:tasks.NEIGHBOURS]
        votes[m.query.name] = (float(m.maxsim[near] @ value[near] / m.maxsim[near].sum()) if cosine
                               else tasks.vote(m.maxsim, value, order))
    for m in tasks.meetings([v for v in known if lines.flags[v.name]], crops, fitted, dims):
        tumour = [tasks.tumour_of(v, rows) for v in m.candidates]
        near = tasks.listed(m.maxsim)[:tasks.NEIGHBOURS]
        share, chance = ([x[c].mean() for c in near] for x in ([t[j] for t, j in zip(tumour, m.match)], tumour))
        ratios[m.query.name] = (np.mean(share), np.mean(chance), *tasks.sharper(m, tumour)['nearest slices of all'])
    lines.add(encoder, what, votes, ratios)


def mask_votes(lines, encoder, what, sets, fitted, dims):
    (slabs, _), (crops, rows) = sets
    votes = {20: {}, 50: {}}
    for m in tasks.meetings([v for v in slabs if v.name in lines.flags], crops, fitted, dims):
        tumour = np.concatenate([tasks.tumour_of(v, rows) for v in m.candidates])
        for k, of in votes.items():
            of[m.query.name] = float(tumour[np.argpartition(-m.every, k, 1)[:, :k]].mean())
    for k, of in votes.items():
        lines.add(encoder, 'mask vote %d, %s' % (k, what), of)


def ridge_votes(lines, encoder, slabs, fitted, penalty=0.1):
    known, votes = [v for v in slabs if v.name in lines.flags], {}
    for patient in sorted({v.patient for v in known}):
        changed = fitted.change(known, patient, TOKEN_DIMS)
        x = np.stack([v.rows.mean(0) for v in changed]).astype(float)
        y = np.array([2.0 * lines.flags[v.name] - 1 for v in changed])
        others = np.array([v.patient != patient for v in changed])
        w = np.where(others, 0.5 / np.where(y > 0, (others & (y > 0)).sum(), (others & (y < 0)).sum()), 0)
        x -= w @ x
        beta = np.linalg.solve(x.T * w @ x + penalty * np.eye(x.shape[1]), x.T @ (w * (y - w @ y)))
        votes.update({v.name: float(row @ beta) for v, row, other in zip(changed, x, others) if not other})
    lines.add(encoder, 'ridge, whitened %d' % TOKEN_DIMS, votes)


def padded(cmir, a, card, crops):
    """-> {crop: its embeddings once padded to one field of view}"""
    folder, paths = os.path.join(a.work, 'padded'), []
    os.makedirs(folder, exist_ok=True)
    for v in crops:
        paths.append(os.path.join(folder, v.name + '.nii.gz'))
        if not os.path.exists(paths[-1]):
            image = nib.load(os.path.join(a.work, 'sarcoma', 'crops', v.name + '.nii.gz'))
            low = [(SIDE - n) // 2 for n in image.shape[:2]]
            voxels = np.pad(np.asarray(image.dataobj), [(b, SIDE - n - b) for b, n in zip(low, image.shape)] + [(0, 0)],
                            constant_values=AIR_HU)
            affine = image.affine.copy()
            affine[:3, 3] -= affine[:3, :2] @ low
            nib.save(nib.Nifti1Image(voxels, affine), paths[-1])
    return {v.name: v.rows for v in study_data.load(cmir, study_data.embed(cmir, a.work, card, 'padded', paths))}


def fixed_field(cmir, a, card, sets):
    """The same slabs and crops from scans padded to one field of view."""
    (slabs, labels), (crops, rows) = sets
    found = padded(cmir, a, card, crops)
    whole = [v.with_rows(found[v.name]) for v in crops]
    of = {v.patient: v for v in whole}
    cut = [v.with_rows(of[v.patient].rows[slab_slices(v.name, len(of[v.patient].rows))]) for v in slabs]
    return (cut, labels), (whole, rows)


def slab_slices(name, n, thick=9):
    """Where make_sarcoma.py cut a slab out of n slices."""
    first = n % thick // 2 + thick * int(name.rsplit('slab', 1)[1])
    return slice(first, first + thick)


def area(n, n_out):
    """Matrix of box averages from n to n_out cells."""
    step = n / n_out
    edges = np.clip(np.arange(n_out + 1)[:, None] * step - np.arange(n), 0, 1)
    if step >= 1:
        return np.diff(edges, axis=0) / step
    centre = (np.arange(n_out) + 0.5) * step
    covered = np.clip(centre[:, None] + 0.5 - np.arange(n), 0, 1) - np.clip(centre[:, None] - 0.5 - np.arange(n), 0, 1)
    return covered / covered.sum(1, keepdims=True)


def patches_of(a, card_path):
    """-> {patient: (tokens [slices, cells, dim], share of tumour, share of body)} of the crops, by Python's
    onnxruntime on cmir's pixels."""
    path = os.path.join(a.work, 'patches.npz')
    if not os.path.exists(path):
        import onnxruntime
        with open(card_path) as f:
            card = json.load(f)
        model = onnxruntime.InferenceSession(os.path.join(os.path.dirname(card_path), card['file']),
                                             providers=['CPUExecutionProvider'])
        arrays = {}
        for name in study_data.sarcoma_labels(a, 'crops'):
            files = (os.path.join(a.work, 'sarcoma', 'crops', name + '.nii.gz'),
                     os.path.join(a.data, 'ct', 'sts', 'masks', name[:-len('_crop')] + '.nii.gz'))
            hu, mask = (np.asarray(nib.load(f).dataobj).transpose(2, 1, 0).astype(float) for f in files)
            arrays.update(zip((name + end for end in ('_p', '_m', '_b')), slices_to_patches(model, card, hu, mask > 0)))
        np.savez(path, **arrays)
    with np.load(path) as z:
        return {k[:-len('_crop_p')]: (z[k], z[k[:-1] + 'm'], z[k[:-1] + 'b']) for k in z if k.endswith('_p')}


def slices_to_patches(model, card, hu, mask):
    rows, cols = card['input']['size']
    down, across = area(hu.shape[1], rows), area(hu.shape[2], cols)
    cells = [area(n, g) for n, g in zip(hu.shape[1:], card['output']['patch_grid'])]
    mean, std = (np.array(card['input'][k])[:, None, None] for k in ('mean', 'std'))
    tokens = []
    for s in hu:
        shown = np.stack([down @ np.clip((s - w['centre']) / w['width'] + 0.5, 0, 1) @ across.T
                          for w in card['windows']])
        pixels = ((shown - mean) / std).astype(np.float32)[None]
        out = model.run([card['output']['patches']], {card['input']['name']: pixels})[0]
        tokens.append(out.reshape(-1, card['output']['dim']).astype(np.float16))
    share = [np.stack([(cells[0] @ s @ cells[1].T).ravel() for s in of]) for of in (mask, hu > -300)]
    return np.stack(tokens), *share


def patch_votes(a, card_path, lines):
    found = patches_of(a, card_path)
    slabs = {n: (lines.patients[n], slab_slices(n, len(found[lines.patients[n]][0]))) for n in sorted(lines.flags)}
    inside = {p: body > BODY for p, (_, _, body) in found.items()}
    tokens = {p: t.astype(np.float32) for p, (t, _, _) in found.items()}
    fit = Whitening([study_data.Volume(p, p, t[inside[p]], None, 0.0) for p, t in tokens.items()])
    by_flag, by_mask = {}, {}
    for patient in found:
        mean, white = (x.astype(np.float32) for x in fit.without(patient, TOKEN_DIMS))
        seen = {p: unit((t - mean) @ white) for p, t in tokens.items()}
        part = {n: (seen[p][s][inside[p][s]], found[p][1][s][inside[p][s]]) for n, (p, s) in slabs.items()}
        others = [n for n in slabs if slabs[n][0] != patient]
        rows, mask = np.vstack([part[n][0] for n in others]), np.concatenate([part[n][1] for n in others])
        starts = np.cumsum([0] + [len(part[n][0]) for n in others[:-1]])
        value = np.array([lines.flags[n] for n in others])
        for n in slabs:
            if slabs[n][0] == patient:
                s = part[n][0] @ rows.T
                score = np.maximum.reduceat(s, starts, 1).mean(0)
                by_flag[n] = tasks.vote(score, value, tasks.listed(score))
                by_mask[n] = float(mask[np.argpartition(-s, 20, 1)[:, :20]].mean())
    lines.add(encoder_name(card_path), 'patches, whitened %d' % TOKEN_DIMS, by_flag)
    lines.add(encoder_name(card_path), 'patches, mask vote 20', by_mask)


class Known:
    """Figures that wait for their table, in the order in which they were found."""

    def __init__(self, labels):
        self.flags, self.patients, self.found = labels.flags, labels.patients, []

    def add(self, *figures):
        self.found.append(figures)


def try_encoder(cmir, a, card, lines):
    """Everything but patches, with one encoder."""
    name, sarcoma = encoder_name(card), study_data.sarcoma(cmir, a, card)
    sets = slabs, crops = sarcoma['slabs'], sarcoma['crops']
    fit = {power: Scaled(crops[0], power) for power in (None, 0, 0.5, 1)}
    measure(lines, name, 'maxsim, raw', sets, fit[None])
    measure(lines, name, 'cosine vote', sets, fit[None], cosine=True)
    mean = {v.patient: v.rows.mean(0) for v in crops[0]}
    own = [([v.with_rows(unit(v.rows - mean[v.patient])) for v in s[0]], s[1]) for s in sets]
    measure(lines, name, 'own mean', own, fit[None])
    measure(lines, name, 'centred', sets, fit[0])
    for what, power in (('pca', 0), ('half', 0.5), ('whitened', 1)):
        for dims in (32, 64, 128):
            measure(lines, name, '%s %d' % (what, dims), sets, fit[power], dims)
    field = fixed_field(cmir, a, card, sets)
    measure(lines, name, 'fixed field, raw', field, Scaled(field[1][0], None))
    mask_votes(lines, name, 'raw', sets, fit[None], 0)
    mask_votes(lines, name, 'whitened 64', sets, fit[1], 64)
    ridge_votes(lines, name, slabs[0], fit[1])


def run(job):
    """-> what one job adds to the lines."""
    (call, *rest), labels = job
    known = Known(labels)
    call(*rest, known)
    return known.found


def main():
    p = parser_of(__doc__)
    p.add_argument('--patches', metavar='CARD', help='an encoder with a map of patches; needs Python onnxruntime')
    a, cmir = arguments(p)
    lines = Lines(study_data.sarcoma_labels(a, 'slabs'))
    for card in a.encoder:
        sarcoma = study_data.sarcoma(cmir, a, card)   # embedded by all processors
        padded(cmir, a, card, sarcoma['crops'][0])
    jobs = [(patch_votes, a, a.patches)] if a.patches else []
    jobs += [(try_encoder, cmir, a, card) for card in a.encoder]
    found = dict(zip([j[-1] if j[0] is try_encoder else None for j in jobs],
                     in_processes(run, [(j, lines) for j in jobs])))
    for card in a.encoder:
        for figures in found[card]:
            lines.add(*figures)
    for what in [w for e, w in lines.votes if e == encoder_name(a.encoder[0])]:
        every = [lines.votes[encoder_name(c), what] for c in a.encoder]
        lines.add('mean of %d' % len(every), what, {n: float(np.mean([v[n] for v in every])) for n in every[0]})
    for figures in found.get(None, []):
        lines.add(*figures)
    print('## Tried on the sarcoma slabs: %s\n' % NOTICE)
    print(table(['encoder', 'tried', 'flag AUROC', 'locate ratio', 'nearest ratio'], lines.rows))
    write_json(a.output, dict(Figures=lines.kept))


if __name__ == '__main__':
    main()
