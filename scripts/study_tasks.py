# SPDX-License-Identifier: Apache-2.0
"""The tasks of study_method.py: each meets queries with candidates and notes, per query and score, how well it went.

Imported only. The one idea: whoever asks never answers himself and never shapes the whitening; meetings() sees to
both, for every task alike.

A task gives records: {Query, Patient, ..., Figures: {score: figures}}. What the figures are, its function says."""
import numpy as np

from eval_common import SCORES
from eval_slabs import chance_of_run, overlap
from method_scores import TRIED, Meeting, Whitening, matched_run, stacked, unit

NEIGHBOURS = 10  # that vote, and whose matches are located
DEPTH = 3        # of precision
LARGEST = 128    # dimensions that a whitening keeps, at most
ALL = tuple(s for s in SCORES if s != 'max-pool') + TRIED  # of whitened rows it depends on arbitrary signs


class Fitted:
    """Whitenings of some volumes without one patient each, and what they make of volumes: kept."""

    def __init__(self, volumes):
        self.fit, self.kept, self.projected = Whitening(volumes), {}, {}

    def directions(self, patient):
        return self.fit.without(patient, LARGEST)

    def project(self, v, patient):
        """Rows in all LARGEST directions, of which the first are those of a smaller whitening."""
        if patient not in self.kept:
            self.kept[patient] = [x.astype(np.float32) for x in self.directions(patient)]
        if (v, patient) not in self.projected:
            mean, directions = self.kept[patient]
            self.projected[v, patient] = (v.rows - mean) @ directions
        return self.projected[v, patient]

    def change(self, volumes, patient, dims):
        """Volumes as they are (dims 0), or whitened as if the patient were not in the archive."""
        if not dims:
            return volumes
        return [v.with_rows(unit(self.project(v, patient)[:, :dims])) for v in volumes]


def meetings(queries, volumes, fitted, dims, others=True):
    """Every query with its candidates: the volumes of other patients, or all (others=False)."""
    for patient in sorted({q.patient for q in queries}):
        changed = fitted.change([v for v in volumes if not others or v.patient != patient], patient, dims)
        stack = stacked(changed)
        for q in fitted.change([q for q in queries if q.patient == patient], patient, dims):
            yield Meeting(q, changed, stack)


def listed(score):
    """Candidates, best first; those without a vote are not listed."""
    order = np.argsort(-score, kind='stable')
    return order[score[order] > -np.inf]


def vote(score, value, order):
    """Share of the nearest NEIGHBOURS' votes for value 1; weights as in docs/evaluation.md. Rounded, so that equal
    shares are ties and not what is left of a sum."""
    near = order[:NEIGHBOURS]
    s = score[near].astype(float)
    gap = (s[0] - s[-1]) / max(1, len(s) - 1)
    w = s - s[-1] + gap if gap > 0 else np.ones(len(s))
    return round(float(w @ value[near] / w.sum()), 9)


def flag(sets, dims, column='flag'):
    """Tumour in the slab or not. Figures: vote for tumour, precision at DEPTH."""
    volumes, rows = sets['slabs']
    known = [v for v in volumes if rows[v.name][column] != '']
    records = []
    for m in meetings(known, known, sets['fitted'], dims):
        truth = int(rows[m.query.name][column])
        value = np.array([int(rows[v.name][column]) for v in m.candidates])
        figures = {}
        for name in ALL:
            score = m.score(name)
            order = listed(score)
            figures[name] = vote(score, value, order), float(np.sum(value[order[:DEPTH]] == truth)) / DEPTH
        records.append(dict(Query=m.query.name, Patient=m.query.patient, Positive=truth, Figures=figures))
    return records


def tumour_of(v, rows):
    """Which slices of a crop show tumour."""
    first, last = map(int, rows[v.name]['tumour'].split(':'))
    return (v.slices >= first) & (v.slices <= last)


def anywhere(tumour, length):
    """The share of tumour in a run of that length, mean over all places: more than the scan's; tumours lie inside."""
    return float(np.convolve(tumour, np.ones(length) / length, 'valid').mean())


def locate(sets, dims):
    """A tumour slab against whole crops of others. Figures: over the first NEIGHBOURS hits, share of matched slices
    that show tumour, and of all their slices (chance); the same over the first DEPTH."""
    (slabs, labels), (crops, rows) = sets['slabs'], sets['crops']
    queries, records = [v for v in slabs if labels[v.name]['flag'] == '1'], []
    for m in meetings(queries, crops, sets['fitted'], dims):
        tumour, figures = [tumour_of(v, rows) for v in m.candidates], {}
        for name in ALL:
            order = listed(m.score(name))[:NEIGHBOURS]
            share = [tumour[c][m.matches(name, c)].mean() for c in order]
            chance = [tumour[c].mean() for c in order]
            figures[name] = [float(np.mean(x)) for x in (share, chance, share[:DEPTH], chance[:DEPTH])]
        figures.update(sharper(m, tumour))
        records.append(dict(Query=m.query.name, Patient=m.query.patient, Figures=figures))
    return records


def sharper(m, tumour):
    """Tried for `locate`: other slices than each query slice's match, of the first NEIGHBOURS hits of maxsim; all of
    the matched run, for which chance is a run of its length anywhere; or the query slice's NEIGHBOURS nearest slices
    of all candidates, for which it is the tumour's share of the volumes where they lie."""
    order = listed(m.score('maxsim'))[:NEIGHBOURS]
    chance = float(np.mean([tumour[c].mean() for c in order]))
    excess = m.best - m.best.mean(0)
    mutual, strong, run, blind = [], [], [], []
    for c in order:
        s, match = m.sims[c], m.match[c]
        both = s.argmax(0)[match] == np.arange(len(match))
        mutual.append(tumour[c][match[both]].mean())
        top = np.argsort(-excess[c])[:max(1, len(match) // 2)]
        strong.append(tumour[c][match[top]].mean())
        a, b = matched_run(match, m.best[c], s.shape[1], m.ratios[c])
        run.append(tumour[c][a:b + 1].mean())
        blind.append(anywhere(tumour[c], b + 1 - a))
    near = np.argsort(-m.every, 1, kind='stable')[:, :NEIGHBOURS]
    pooled, own = np.concatenate(tumour), np.concatenate([np.full(len(t), t.mean()) for t in tumour])
    return {'mutual matches': (float(np.mean(mutual)), chance), 'stronger half': (float(np.mean(strong)), chance),
            'matched run': (float(np.mean(run)), float(np.mean(blind))),
            'nearest slices of all': (float(pooled[near].mean()), float(own[near].mean()))}


def stage(sets, dims, folder):
    """Size class of windows or crops. Figures: the first DEPTH volumes."""
    volumes, records = sets[folder][0], []
    for m in meetings(volumes, volumes, sets['fitted'], dims):
        figures = {name: [m.candidates[c].name for c in listed(m.score(name))[:DEPTH]] for name in ALL}
        records.append(dict(Query=m.query.name, Patient=m.query.patient, Figures=figures))
    return records


def contrast(sets, dims):
    """Where in a whole crop is the tumour, by the labels of other patients' slabs alone: mean over cases of each
    slice's best similarity, cases with tumour less cases without; a case is a patient's slab nearest to the query,
    the NEIGHBOURS nearest cases of each kind count. Figures: AUROC of the curve over the query's slices; of the run
    of the largest sum of the curve less its mean: the share that is tumour and that of such a run put anywhere, the
    overlap with the tumour and that of such a run put anywhere."""
    (slabs, labels), (crops, rows) = sets['slabs'], sets['crops']
    known, records = [v for v in slabs if labels[v.name]['flag'] != ''], []
    for m in meetings(crops, known, sets['fitted'], dims):
        means = []
        for kind in '10':
            cases = {}
            for c in listed(m.score('maxsim')):
                if labels[m.candidates[c].name]['flag'] == kind:
                    cases.setdefault(m.candidates[c].patient, c)
            means.append(m.best[list(cases.values())[:NEIGHBOURS]].mean(0))
        curve, truth = means[0] - means[1], tumour_of(m.query, rows)
        d, n = curve[truth][:, None] - curve[~truth][None, :], len(truth)
        total = np.concatenate([[0], np.cumsum(curve - curve.mean())])
        a, b = max(((a, b) for a in range(n) for b in range(a + 1, n + 1)), key=lambda r: total[r[1]] - total[r[0]])
        first, last = int(truth.argmax()), n - 1 - int(truth[::-1].argmax())
        blind = float(np.mean([overlap((x, x + b - a - 1), (first, last)) for x in range(n - b + a + 1)]))
        records.append(dict(Query=m.query.name, Patient=m.query.patient, Figures={'contrast': [
            float(((d > 0) + 0.5 * (d == 0)).mean()), float(truth[a:b].mean()), anywhere(truth, b - a),
            overlap((a, b - 1), (first, last)), blind]}))
    return records


def region(sets, dims):
    """Body region of whole scans. Figures: precision at 1 and DEPTH; regions of one patient have no record."""
    volumes, rows = sets['regions']
    where = {v.name: rows[v.name]['body_region'] for v in volumes}
    records = []
    for m in meetings(volumes, volumes, sets['fitted_regions'], dims):
        right = np.array([where[v.name] == where[m.query.name] for v in m.candidates])
        if right.any():
            found = {name: right[listed(m.score(name))[:DEPTH]] for name in ALL}
            records.append(dict(Query=m.query.name, Patient=m.query.patient, Region=where[m.query.name],
                                Figures={k: (float(f[:1].sum()), float(f.sum()) / DEPTH) for k, f in found.items()}))
    return records


def known_item(sets, dims, kind):
    """Does a perturbed slab find its source. Figures: source at rank 1; overlap of the run with the true one
    (docs/method.md; ordered: of its own matches), and how often 0.6 of it is met by chance."""
    (queries, truth), volumes = sets[kind], sets['ct']
    patient, records = {v.name: v.patient for v in volumes}, []
    for q in queries:
        q.patient = patient[truth[q.name]['source']]
    for m in meetings(queries, volumes, sets['fitted_ct'], dims, others=False):
        row = truth[m.query.name]
        c = next(i for i, v in enumerate(m.candidates) if v.name == row['source'])
        true, source, figures = (int(row['first_slice']), int(row['last_slice'])), m.candidates[c], {}
        chance = chance_of_run(int(source.slices[-1]) + 1, true)
        runs = {}
        for name in ALL:
            key = 'ordered' if 'ordered' in name else 'maxsim'
            if key not in runs:
                match = m.matches(name, c)
                run = matched_run(match, m.sims[c][np.arange(len(match)), match], m.lengths[c], m.ratios[c])
                runs[key] = overlap([int(source.slices[j]) for j in run], true)
            figures[name] = float(listed(m.score(name))[0] == c), float(runs[key] >= 0.6), chance
        records.append(dict(Query=m.query.name, Patient=m.query.patient, Figures=figures))
    return records
