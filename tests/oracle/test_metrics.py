# SPDX-License-Identifier: Apache-2.0
"""Figures, intervals and tests of src/assess against trec_eval, scikit-learn, scipy and brute force.

The library's own functions answer through `test_metrics --probe`: a line of numbers in, one out."""
import itertools
import os
import subprocess
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

try:
    import pytrec_eval
except ImportError:  # it has no wheels for ARM
    pytrec_eval = None

PROBE = os.path.join(os.path.dirname(os.environ.get('CMIR') or 'build/cmir'), 'tests', 'test_metrics')
SEED = 20260412
NAN = float('nan')


@pytest.fixture(scope='module')
def probe():
    with subprocess.Popen([PROBE, '--probe'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        def ask(name, *numbers):
            flat = np.concatenate([np.ravel(np.asarray(part, float)) for part in numbers])
            child.stdin.write(f'{name} ' + ' '.join(repr(float(x)) for x in flat) + '\n')
            child.stdin.flush()
            return np.array(child.stdout.readline().split(), float)
        yield ask
        child.stdin.close()
        assert child.wait() == 0


@pytest.fixture
def rng():
    print('seed', SEED)  # pytest shows it with a failure
    return np.random.default_rng(SEED)


def near(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------- lists

def lists(rng, n=200):
    """(k, relevant among those found, number relevant of the database), some of them empty."""
    for i in range(n):
        found = (rng.random(rng.integers(0, 40)) < rng.choice([0.05, 0.3, 0.8])).astype(int)
        yield int(rng.integers(1, 15)), found, int(found.sum() + rng.integers(0, 6) * (i % 3 > 0))


def test_lists_trec_eval(probe, rng):
    if pytrec_eval is None:
        pytest.skip('pytrec-eval-terrier is not here')
    for k, found, n_relevant in lists(rng):
        if n_relevant == 0 or len(found) == 0:
            continue  # trec_eval leaves such queries out
        truth = {f'd{i}': int(r) for i, r in enumerate(found)}
        truth.update({f'missed{i}': 1 for i in range(n_relevant - found.sum())})
        run = {f'd{i}': float(len(found) - i) for i in range(len(found))}
        want = pytrec_eval.RelevanceEvaluator({'q': truth}, {f'P.{k}', f'recall.{k}', f'ndcg_cut.{k}', 'map',
                                                             'recip_rank'}).evaluate({'q': run})['q']
        p, _, _, ap, recall, rr, ndcg = probe('list', k, n_relevant, found)
        near([p, ap, recall, rr, ndcg], [want[f'P_{k}'], want['map'], want[f'recall_{k}'], want['recip_rank'],
                                         want[f'ndcg_cut_{k}']])


def test_lists_scikit_learn(probe, rng):
    """AP of the list's head is scikit-learn's AP of its ranks; nDCG is scikit-learn's of the whole database."""
    for k, found, n_relevant in lists(rng):
        p, _, ap, _, recall, _, ndcg = probe('list', k, n_relevant, found)
        head = found[:k]
        near(ap, metrics.average_precision_score(head, -np.arange(len(head))) if head.any() else 0)
        near(p, head.sum() / k)
        if n_relevant == 0:
            assert np.isnan(recall) and np.isnan(ndcg)
            continue
        near(recall, head.sum() / n_relevant)
        if len(found) >= 2 and found.sum() == n_relevant:
            near(ndcg, metrics.ndcg_score([found], [-np.arange(len(found), dtype=float)], k=k))


def test_lists_notebook(probe, rng):
    for k, found, n_relevant in lists(rng):
        near(probe('list', k, n_relevant, found)[1], (found[:10].sum() + found[:5].sum() / 5) / 11)


# ---------------------------------------------------------------- scores

def test_scores_scikit_learn(probe, rng):
    for _ in range(200):
        n = int(rng.integers(2, 60))
        score = rng.integers(0, rng.choice([3, 11, 1000]), n)  # many ties
        score = score / max(score.max(), 1)
        positive = rng.random(n) < 0.4
        positive[:2] = True, False
        n_bins = int(rng.integers(1, 11))
        auroc, auprc, brier, *bins = probe('scores', n_bins, np.column_stack([score, positive]))
        near(auroc, metrics.roc_auc_score(positive, score))
        near(auprc, metrics.average_precision_score(positive, score))
        near(brier, metrics.brier_score_loss(positive, score))
        which = np.minimum((score * n_bins).astype(int), n_bins - 1)
        for b, (count, mean, rate) in enumerate(np.reshape(bins, (n_bins, 3))):
            inside = which == b
            assert count == inside.sum()
            if count:
                near([mean, rate], [score[inside].mean(), positive[inside].mean()])
            else:
                assert np.isnan(mean) and np.isnan(rate)


def test_scores_nan_left_out(probe, rng):
    score, positive = rng.random(30), rng.random(30) < 0.5
    unknown = rng.random(30) < 0.3
    hidden = np.where(unknown, NAN, score)
    near(probe('scores', 4, np.column_stack([hidden, positive])),
         probe('scores', 4, np.column_stack([score, positive])[~unknown]))


# ---------------------------------------------------------------- statistics

def test_wilson(probe, rng):
    for _ in range(100):
        n = int(rng.integers(1, 300))
        k = int(rng.integers(0, n + 1))
        want = stats.binomtest(k, n).proportion_ci(method='wilson')
        near(probe('wilson', k, n), [k / n, want.low, want.high])


def differences(rng, n, ties):
    d = np.round(rng.normal(0.2, 1, n), 1 if ties else 12)
    return np.where(rng.random(n) < 0.1 * ties, 0, d)


# Not 14 to 50 with ties, where scipy takes the normal approximation: test_wilcoxon_ties has every choice of signs.
@pytest.mark.parametrize('n, ties', [(n, False) for n in (1, 5, 9, 30, 50, 51, 80, 300)] +
                         [(n, True) for n in (5, 9, 80, 300)])
def test_wilcoxon_scipy(probe, rng, n, ties):
    for _ in range(3 if ties and n <= 50 else 20):
        d = differences(rng, n, ties)
        if d.any() and (n <= 50 or np.count_nonzero(d) > 50):
            near(probe('wilcoxon', d), stats.wilcoxon(d[d != 0] if n > 50 else d, correction=True).pvalue)


def test_wilcoxon_ties(probe, rng):
    """Every choice of signs, with ties, where scipy's default is no longer exact."""
    signs = np.array(list(itertools.product([-1, 1], repeat=15)))
    for _ in range(10):
        d = rng.integers(1, 5, 15) * rng.choice([-1, 1], 15)
        rank = stats.rankdata(abs(d))
        sums = (signs > 0) @ rank
        observed = rank[d > 0].sum()
        near(probe('wilcoxon', d), min(1, 2 * min((sums <= observed).mean(), (sums >= observed).mean())))


@pytest.mark.parametrize('n', [2, 4, 10, 13])
def test_sign_flip_exact(probe, rng, n):
    for ties in (False, True) * 5:
        d = differences(rng, n, ties)
        want = stats.permutation_test((d,), np.mean, permutation_type='samples', n_resamples=np.inf).pvalue
        # scipy doubles the smaller tail; signs are symmetric, so that is the same.
        near(probe('sign_flip', 0, 1, d), want)


def test_sign_flip_drawn(probe, rng):
    """Drawn signs: within five standard errors of every choice (17 differences: scipy's, in full)."""
    for seed in range(4):
        d = np.round(rng.normal(0.3, 1, 17), 2)
        signs = 2.0 * ((np.arange(2 ** 17)[:, None] >> np.arange(17)) & 1) - 1
        want = (abs(signs @ d) >= abs(d.sum()) - 1e-9).mean()
        got = probe('sign_flip', 20000, seed, d)[0]
        assert got == probe('sign_flip', 20000, seed, d)[0]
        assert abs(got - want) < 5 * np.sqrt(want * (1 - want) / 20000) + 1e-4, (got, want)


def test_holm_is_closed_bonferroni(probe, rng):
    """Holm's correction is Bonferroni's over every set of hypotheses that holds this one."""
    for _ in range(20):
        n = int(rng.integers(1, 8))
        p = np.round(rng.random(n) ** 3, 2)
        want = [max(min(1, len(s) * p[list(s)].min()) for r in range(1, n + 1)
                    for s in itertools.combinations(range(n), r) if i in s) for i in range(n)]
        near(probe('holm', p), want)
        near(probe('holm', np.append(p, NAN))[:-1], want)


def test_bootstrap_scipy(probe, rng):
    """One value a group: scipy's percentile interval of the mean, to the noise of two bootstraps."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for seed in range(3):
            values = np.round(rng.random(25) ** 2, 2)
            want = stats.bootstrap((values,), np.mean, n_resamples=40000, method='percentile', rng=rng)
            mean, low, high = probe('bootstrap', 40000, seed, 25, np.column_stack([values, np.arange(25)]))
            near(mean, values.mean())
            noise = 0.1 * want.standard_error
            assert abs(low - want.confidence_interval.low) < noise
            assert abs(high - want.confidence_interval.high) < noise


def test_bootstrap_groups(probe, rng):
    """Whole groups of unequal size, some values and one whole group unknown: against numpy."""
    group = rng.integers(0, 12, 60)
    values = group / 12 + rng.random(60)
    values[rng.random(60) < 0.2] = NAN
    values[group == 3] = NAN
    known = [values[(group == g) & ~np.isnan(values)] for g in range(12)]
    known = [v for v in known if len(v)]
    sums, counts = np.array([v.sum() for v in known]), np.array([len(v) for v in known])
    draw = rng.integers(0, len(known), (40000, len(known)))
    means = sums[draw].sum(1) / counts[draw].sum(1)
    mean, low, high = probe('bootstrap', 40000, 5, 12, np.column_stack([values, group]))
    near(mean, np.nanmean(values))
    np.testing.assert_allclose([low, high], np.quantile(means, [0.025, 0.975]), atol=0.1 * means.std())
    # Values of one patient are not independent: the interval must be wider than that of single values.
    single = probe('bootstrap', 40000, 5, 60, np.column_stack([values, np.arange(60)]))
    assert high - low > 1.2 * (single[2] - single[1])
