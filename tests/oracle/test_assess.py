# SPDX-License-Identifier: Apache-2.0
"""cmir_evaluate() against scikit-learn, scipy, numpy and brute force, and against the published labels of 3D-MIR."""
import ast
import csv
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

import cmir_ffi
from assess_ffi import evaluate, stage

SEED = 20260413
NAN = float('nan')
SHARED = cmir_ffi.shared_data()
OTHERS = ['P@10 (3D-MIR notebook)', 'AP@10', 'mAP', 'nDCG@{}', 'Recall@{}', 'MRR']
TASKS = {'flag': 'cancer_flag', 'stage': 'lesion_group'}
SITES = ['colon', 'liver', 'lung', 'pancreas']


@pytest.fixture
def rng():
    print('seed', SEED)  # pytest shows it with a failure
    return np.random.default_rng(SEED)


def near(a, b, atol=1e-12):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=atol)


def measure(relevant, n_relevant, ks):
    """The figures of one list, by their definitions."""
    x = np.asarray(relevant, float)
    hits, ranks = x.cumsum(), np.arange(1, len(x) + 1)
    found = x[:10].sum()
    ideal = (1 / np.log2(np.arange(min(n_relevant, ks[-1])) + 2)).sum()
    return np.array([x[:k].sum() / k for k in ks] + [
        (x[:10].sum() + x[:5].sum() / 5) / 11,
        (x * hits / ranks)[:10].sum() / found if found else 0,
        (x * hits / ranks).sum() / n_relevant if n_relevant else NAN,
        (x / np.log2(ranks + 1))[:ks[-1]].sum() / ideal if n_relevant else NAN,
        x[:ks[-1]].sum() / n_relevant if n_relevant else NAN,
        1 / ranks[x > 0][0] if x.any() else 0])


def votes(values, scores, n=10):
    """Weights of the nearest n: a score less the last one, plus the mean gap; summed by value."""
    values, s = values[:n], np.asarray(scores[:n], float)
    if len(s) > 1 and s[0] > s[-1]:
        s = s - s[-1] + (s[0] - s[-1]) / (len(s) - 1)
    else:
        s = np.ones(len(s))
    return {v: s[[w == v for w in values]].sum() / s.sum() for v in dict.fromkeys(values)}


def make_study(rng, n_volumes=60, n_methods=3, values=('0', '1', '2')):
    """Patients with one to three volumes, searched leave-one-patient-out; lists with ties, some short, some empty."""
    patient = np.sort(rng.integers(0, n_volumes // 2, n_volumes))
    volumes = [dict(id=f'v{i}', group=f'p{patient[i]}', value=str(rng.choice(values)),
                    cohort=[None, 'A', 'B'][rng.integers(3)],
                    nuisances=[float(rng.integers(5)), NAN if i % 7 == 0 else float(rng.random())])
               for i in range(n_volumes)]
    queries = [(q, [v for v in range(n_volumes) if patient[v] != patient[q]])
               for q in rng.choice(n_volumes, 40, replace=False)]
    methods = {}
    for m in range(n_methods):
        lists = []
        for q, database in queries:
            n = rng.choice([0, 3, 9, 11, len(database)], p=[.05, .1, .1, .1, .65])
            good = [float(volumes[v]['value'] == volumes[q]['value']) for v in database]
            scores = np.round(rng.normal(0, 1, len(database)) + m * np.array(good), 1)
            order = np.argsort(-scores, kind='stable')[:n]
            found = [database[i] for i in order]
            lists.append(found if m == 1 else (found, [float(scores[i]) for i in order]))
        methods[f'method {m}'] = lists
    return volumes, queries, methods


def test_methods(rng):
    volumes, queries, methods = make_study(rng)
    ks = [1, 4, 12]
    e = evaluate(volumes, queries, methods, nuisances=['grid', 'size'], k=ks, seed=3, positive='2')
    assert e.metrics == [f'P@{k}' for k in ks] + [name.format(12) for name in OTHERS]
    assert e.values == ['0', '1', '2'] and e.positive == '2' and not e.leak
    assert list(e.lines) == list(methods) + ['random', 'majority', 'cohort', 'grid', 'size']
    groups = [volumes[q]['group'] for q, _ in queries]
    assert e.n_groups == len(set(groups)) and e.n_queries == 40
    shorts = [any(len(m[i][0] if isinstance(m[i], tuple) else m[i]) < 12 for m in methods.values()) for i in range(40)]
    assert e.n_short == sum(shorts)
    truth = np.array([volumes[q]['value'] for q, _ in queries])
    for name, lists in methods.items():
        line, evidence, voted = e.lines[name], [], []
        for i, (q, database) in enumerate(queries):
            found, scores = lists[i] if isinstance(lists[i], tuple) else (lists[i], 1 / np.arange(1, len(lists[i]) + 1))
            values = [volumes[v]['value'] for v in found]
            n_relevant = sum(volumes[v]['value'] == truth[i] for v in database)
            near(line.per_query[i], measure([v == truth[i] for v in values], n_relevant, ks))
            share = votes(values, scores)
            evidence.append(share.get('2', 0.0) if share else NAN)
            voted.append(max(share, key=lambda v: round(share[v], 9)) if share else None)
        near(line.evidence, evidence)
        near(line.figures[:, 0], np.nanmean(line.per_query, axis=0))
        known = ~np.isnan(evidence)
        score, positive = np.array(evidence)[known], truth[known] == '2'
        near(line.auroc[0], sk.roc_auc_score(positive, score))
        near(line.auprc[0], sk.average_precision_score(positive, score))
        near(line.brier[0], sk.brier_score_loss(positive, score))
        near(line.accuracy[0], np.mean([v == t for v, t in zip(voted, truth)]))
        near(line.confusion, sk.confusion_matrix(truth[known], np.array(voted)[known], labels=e.values))
        assert line.bin_n.sum() == known.sum()
        some = line.bin_n > 0
        near((line.bin_n * line.bin_rate)[some].sum(), positive.sum())
        near((line.bin_n * line.bin_evidence)[some].sum(), score.sum())
        assert np.isnan(line.bin_rate[~some]).all()


def test_intervals_resample_patients(rng):
    """Percentile intervals of whole patients: against numpy, for a metric, accuracy, and AUROC, AUPRC, Brier."""
    volumes, queries, methods = make_study(rng, n_methods=1)
    e = evaluate(volumes, queries, methods, n_bootstrap=20000, seed=8, nuisances=['grid', 'size'], positive='1')
    line = e.lines['method 0']
    _, group = np.unique([volumes[q]['group'] for q, _ in queries], return_inverse=True)
    positive = np.array([volumes[q]['value'] == '1' for q, _ in queries])
    known = ~np.isnan(line.evidence)
    samples = []
    for _ in range(600):
        times = np.bincount(rng.integers(0, group.max() + 1, group.max() + 1), minlength=group.max() + 1)
        w = times[group].astype(float)
        p3, wk = line.per_query[:, 0], w[known]
        samples.append([np.average(p3, weights=w)] + [f(positive[known], line.evidence[known], sample_weight=wk)
                                                      for f in (sk.roc_auc_score, sk.average_precision_score,
                                                                sk.brier_score_loss)])
    samples = np.array(samples)
    for figure, column in zip((line.figures[0], line.auroc, line.auprc, line.brier), samples.T):
        np.testing.assert_allclose(figure[1:], np.quantile(column, [.025, .975]), atol=.5 * column.std())


def test_evidence_ignores_scale(rng):
    """Neither the unit nor the zero of a score changes what it votes for."""
    volumes, queries, methods = make_study(rng, n_methods=1)
    want = evaluate(volumes, queries, methods, n_shuffles=1, nuisances=['a', 'b']).lines['method 0']
    for scale, zero in ((7.0, 0.0), (0.5, -100.0), (1.0, 3.0)):
        moved = {'method 0': [(f, [scale * x + zero for x in s]) for f, s in methods['method 0']]}
        got = evaluate(volumes, queries, moved, n_shuffles=1, nuisances=['a', 'b']).lines['method 0']
        near(got.evidence, want.evidence, atol=1e-9)
        near(got.per_query, want.per_query)


# ---------------------------------------------------------------- what must be beaten

def orders(keys):
    """Every order of the database in which keys rise."""
    tiers = [[i for i in range(len(keys)) if keys[i] == key] for key in sorted(set(keys))]
    for choice in itertools.product(*(itertools.permutations(tier) for tier in tiers)):
        yield [i for tier in choice for i in tier]


def test_baselines_every_order(rng):
    """Means of random, majority, cohort and nuisance lines, and of their votes: over every order of small databases."""
    for _ in range(8):
        n = int(rng.integers(2, 8))
        volumes = [dict(id=f'v{i}', value=str(rng.integers(2)), cohort=str(rng.integers(2)),
                        nuisances=[float(rng.integers(4)) if rng.random() < .8 else NAN]) for i in range(n)]
        queries = [(q, [v for v in range(n) if v != q]) for q in range(n)]
        e = evaluate(volumes, queries, nuisances=['grid'], k=[1, 2, 4], n_neighbours=3, seed=2, n_shuffles=3000,
                     n_bootstrap=10, positive='1' if any(v['value'] == '1' for v in volumes) else None)
        for q, database in queries:
            value = np.array([volumes[v]['value'] for v in database])
            relevant = value == volumes[q]['value']
            most = max(sorted(set(value)), key=list(value).count)
            away = [abs(volumes[v]['nuisances'][0] - volumes[q]['nuisances'][0]) for v in database]
            keys = {'random': [0] * len(database), 'majority': [int(v != most) for v in value],
                    'cohort': [int(volumes[v]['cohort'] != volumes[q]['cohort']) for v in database],
                    'grid': [1e9 if np.isnan(a) else a for a in away]}
            for name, key in keys.items():
                every = list(orders(key))
                want = np.mean([measure(relevant[o], relevant.sum(), [1, 2, 4]) for o in every], axis=0)
                near(e.lines[name].per_query[q], want)
                if name == 'grid' or '1' not in e.values:
                    continue  # shares of a vote: test_methods has the weights
                share = np.array([votes(list(value[o]), -np.array(key)[o], 3).get('1', 0) for o in every])
                assert abs(e.lines[name].evidence[q] - share.mean()) < 5 * share.std() / 3000 ** .5 + 1e-9


def test_random_line_is_of_shuffles(rng):
    """Low and high of the random line: where the means of shuffled databases lie."""
    volumes, queries, _ = make_study(rng, n_methods=0)
    e = evaluate(volumes, queries, n_shuffles=4000, seed=1, nuisances=['a', 'b'], positive='1')
    value = np.array([v['value'] for v in volumes])
    means, aurocs, right = [], [], []
    for _ in range(300):
        figures, evidence, hits = [], [], []
        for q, database in queries:
            found = value[rng.permutation(database)]
            relevant = found == value[q]
            figures.append(measure(relevant, relevant.sum(), [3, 5, 10]))
            evidence.append((found[:10] == '1').mean())
            hits.append(max(dict.fromkeys(found[:10]), key=list(found[:10]).count) == value[q])
        means.append(np.mean(figures, axis=0))
        aurocs.append(sk.roc_auc_score([value[q] == '1' for q, _ in queries], evidence))
        right.append(np.mean(hits))
    line, means = e.lines['random'], np.array(means)
    for figure, column in list(zip(line.figures, means.T)) + [(line.auroc, np.array(aurocs)),
                                                              (line.accuracy, np.array(right))]:
        np.testing.assert_allclose(figure[0], column.mean(), atol=5 * column.std() / 300 ** .5)
        np.testing.assert_allclose(figure[1:], np.quantile(column, [.025, .975]), atol=.5 * column.std() + 1 / 40)


def test_cohort_line_exposes_a_confound():
    """Positives of one hospital, negatives of another: the cohort alone answers every query."""
    volumes = [dict(id=f'v{i}', value=str(i % 2), cohort='AB'[i % 2]) for i in range(40)]
    queries = [(q, [v for v in range(40) if v != q]) for q in range(40)]
    lines = evaluate(volumes, queries).lines
    assert (lines['cohort'].figures[:, 0] > .999).sum() == 8  # all but Recall@10, which 19 relevant ones bound
    near(lines['cohort'].auroc, [1, 1, 1])
    near(lines['cohort'].accuracy, [1, 1, 1])
    assert lines['random'].figures[0, 2] < .75
    # Leave-one-out leaves more of the other kind: what is most frequent is always wrong.
    near(lines['majority'].accuracy[0], 0)


# ---------------------------------------------------------------- methods against each other

def test_pairs(rng):
    volumes, queries, methods = make_study(rng, n_methods=3)
    e = evaluate(volumes, queries, methods, nuisances=['a', 'b'], seed=4)
    groups = np.array([volumes[q]['group'] for q, _ in queries])
    assert len(e.pairs) == 3 * len(e.metrics)
    lines = list(e.lines.values())
    for metric in range(len(e.metrics)):
        pairs = [p for p in e.pairs if p.metric == metric]
        assert [(p.a, p.b) for p in pairs] == [(0, 1), (0, 2), (1, 2)]
        for p in pairs:
            d = lines[p.a].per_query[:, metric] - lines[p.b].per_query[:, metric]
            near(p.difference, np.nanmean(d))
            assert p.low < p.difference < p.high
            mean = np.round([np.nanmean(d[groups == g]) for g in np.unique(groups)], 10)
            mean = mean[mean != 0]
            exact = len(mean) <= 50 and len(set(abs(mean))) == len(mean)
            signs = rng.choice([-1, 1], (20000, len(mean)))
            rank = stats.rankdata(abs(mean))
            if exact:
                near(p.wilcoxon, stats.wilcoxon(mean).pvalue)
            sums, seen = (signs > 0) @ rank, rank[mean > 0].sum()
            for got, drawn in ((p.wilcoxon, 2 * min((sums <= seen).mean(), (sums >= seen).mean())),
                               (p.sign_flip, (abs(signs @ mean) >= abs(mean.sum()) - 1e-9).mean())):
                drawn = min(1, drawn)
                assert abs(got - drawn) < 5 * np.sqrt(3 * drawn * (1 - drawn) / 20000) + 5e-4
        for name in ('wilcoxon', 'sign_flip'):
            raw = np.array([getattr(p, name) for p in pairs])
            order, least = np.argsort(raw), 0
            for i, at in enumerate(order):
                least = max(least, min(1, (len(raw) - i) * raw[at]))
                near(getattr(pairs[at], name + '_holm'), least)


def test_same_method_twice(rng):
    volumes, queries, methods = make_study(rng, n_methods=1)
    e = evaluate(volumes, queries, {'a': methods['method 0'], 'b': methods['method 0']}, nuisances=['a', 'b'],
                 n_shuffles=1)
    for p in e.pairs:
        assert (p.difference, p.low, p.high, p.wilcoxon, p.sign_flip_holm) == (0, 0, 0, 1, 1)


def test_seed_decides(rng):
    """The same seed gives the same figures, whatever else is in the table."""
    volumes, queries, methods = make_study(rng)
    whole = evaluate(volumes, queries, methods, nuisances=['a', 'b'], seed=5, n_shuffles=200)
    again = evaluate(volumes, queries, methods, nuisances=['a', 'b'], seed=5, n_shuffles=200)
    alone = evaluate(volumes, queries, {}, nuisances=['a', 'b'], seed=5, n_shuffles=200)
    other = evaluate(volumes, queries, {}, nuisances=['a', 'b'], seed=6, n_shuffles=200)
    for name in ('random', 'cohort', 'b'):
        for one in (again, alone):
            np.testing.assert_array_equal(whole.lines[name].figures, one.lines[name].figures)
            np.testing.assert_array_equal(whole.lines[name].auroc, one.lines[name].auroc)
        assert (whole.lines[name].auroc != other.lines[name].auroc).any()
    assert [vars(p) for p in whole.pairs] == [vars(p) for p in again.pairs]


# ---------------------------------------------------------------- 3D-MIR

needs_3dmir = pytest.mark.skipif(SHARED is None or not os.path.isdir(os.path.join(SHARED, '3dmir')),
                                 reason='no shared/data/3dmir: the published labels of 3D-MIR were not checked')


def read_3dmir(name):
    with open(os.path.join(SHARED, '3dmir', name + '.csv'), newline='') as f:
        return list(csv.DictReader(f))


def task_3dmir(site, column):
    rows = read_3dmir(site + '_labels')
    number = {row['name']: i for i, row in enumerate(rows)}
    database = [number[row['training']] for row in read_3dmir(site + '_train')]
    volumes = [dict(id=row['name'], value=row[column], cohort=row['name'].split('_')[0]) for row in rows]
    return volumes, [(number[row['testing']], database) for row in read_3dmir(site + '_test')]


@pytest.fixture(scope='module', autouse=True)
def reference():
    """baselines.py as it is, which takes a minute: started first, while the other tests run."""
    if SHARED is None:
        yield None
        return
    script = os.path.join(SHARED, '..', 'tools', 'baselines.py')
    plain = {name: value for name, value in os.environ.items() if name != 'LD_PRELOAD'}
    with subprocess.Popen([sys.executable, script, os.path.join(SHARED, '3dmir')], stdout=subprocess.PIPE, text=True,
                          env=plain) as child:
        yield child
        child.kill()


@needs_3dmir
def test_3dmir_stages():
    """The rules give every published stage."""
    for site in SITES:
        rows = read_3dmir(site + '_labels')
        assert len(rows) > 90
        for row in rows:
            got = stage(site, float(row['max_tumor_size']), int(row['number_tumors']))
            assert got == int(row['lesion_group']), row


@needs_3dmir
@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('site', SITES)
def test_3dmir_expectations(site, task, rng):
    """The random and cohort lines are the limit of many shuffles: 5 standard errors of 5,000."""
    volumes, queries = task_3dmir(site, TASKS[task])
    e = evaluate(volumes, queries, n_shuffles=10)
    value, cohort = (np.array([v[key] for v in volumes]) for key in ('value', 'cohort'))
    for kind in ('random', 'cohort'):
        figures = []
        for q, database in queries:
            keys = rng.random((5000, len(database)), np.float32)
            keys += 2 * (kind == 'cohort') * (cohort[database] != cohort[q])
            near_first = np.argpartition(keys, 10)[:, :10]
            near_first = np.take_along_axis(near_first, np.take_along_axis(keys, near_first, 1).argsort(1), 1)
            x = (value[database] == value[q])[near_first]
            found = x.sum(1)
            ap = (x * x.cumsum(1) / np.arange(1, 11)).sum(1) / np.maximum(found, 1)
            p3, p5, p10 = (x[:, :k].mean(1) for k in (3, 5, 10))
            figures.append([p3, p5, p10, (found + p5) / 11, ap])
        figures = np.mean(figures, axis=0)  # over queries
        error = figures.std(axis=1) / 5000 ** .5
        got = e.lines[kind].figures[:5, 0]
        assert (abs(got - figures.mean(axis=1)) < 5 * error + 1e-6).all(), (kind, got, figures.mean(axis=1), error)


@needs_3dmir
def test_3dmir_baselines(reference):
    """Within 2 standard errors of what baselines.py says.  It gives the mean of 2,000 repetitions and their standard
    deviation, to four digits; the error is that of the difference of two such means."""
    printed = reference.stdout.read().splitlines()
    assert len(printed) == 16
    names = {'P3': 'P@3', 'P5': 'P@5', 'P10': 'P@10', 'P10_notebook': OTHERS[0], 'AP': 'AP@10'}
    n = 0
    for line in printed:
        site, task, kind, figures = line.split(' ', 3)
        e = evaluate(*task_3dmir(site, TASKS[task]), n_shuffles=10)
        for name, (mean, deviation) in ast.literal_eval(figures).items():
            got = e.lines[kind].figures[e.metrics.index(names[name]), 0]
            assert abs(got - mean) <= 2 * (2 * (deviation + 5e-5) ** 2 / 2000) ** .5 + 5e-5, (line, name, got)
            n += 1
    assert n == 80


def test_stage_rules():
    for site in ('colon', 'pancreas'):
        assert [stage(site, s, 1) for s in (0, 1.99, 2, 3.99, 4, 5.99, 6, 30)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [stage('liver', s, 1) for s in (1.99, 2, 2.01, 9)] == [1, 1, 2, 2]
    assert [stage('liver', s, 2) for s in (1, 4.99, 5, 5.01)] == [2, 2, 2, 3]
    assert [stage('lung', s, 1) for s in (2.99, 3, 9)] == [1, 2, 2] and stage('lung', 1, 2) == 3
    assert stage('lung', NAN, 0) == -1
    for bad in (('brain', 1, 1), ('', 1, 1), ('liver', NAN, 1), ('liver', -1, 1), ('liver', float('inf'), 2)):
        with pytest.raises(cmir_ffi.Error, match='EINVAL'):
            stage(*bad)
