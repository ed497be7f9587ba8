/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c: figures of one ranked list, and of scores against truth.  Called by evaluate.c and
 * engine.
 *
 * The one idea: a figure reads its list once, best first; scores are put in order once, as numbers of
 * items, and every figure of them counts runs of equal scores together. */
#include "assess/metrics.h"

#include <math.h>

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static double
count(const uint8_t *relevant, size_t n)
{
    double found = 0.0;

    for (size_t i = 0; i < n; i++)
        found += relevant[i] != 0;
    return found;
}

double
cmir_precision_at(const uint8_t *relevant, size_t n, size_t k)
{
    return count(relevant, least(n, k)) / (double)k;
}

double
cmir_notebook_p10(const uint8_t *relevant, size_t n)
{
    return (count(relevant, least(n, 10)) + cmir_precision_at(relevant, n, 5)) / 11.0;
}

double
cmir_average_precision(const uint8_t *relevant, size_t n, size_t depth, size_t n_relevant)
{
    const size_t end = depth == 0 ? n : least(n, depth);
    const size_t wanted = depth == 0 ? n_relevant : least(n_relevant, depth);
    double found = 0.0, sum = 0.0;

    for (size_t i = 0; i < end; i++) {
        if (relevant[i] == 0)
            continue;
        found++;
        sum += found / (double)(i + 1);
    }
    return found == 0.0 ? 0.0 : sum / (wanted == 0 ? found : (double)wanted);
}

double
cmir_recall_at(const uint8_t *relevant, size_t n, size_t k, size_t n_relevant)
{
    return n_relevant == 0 ? NAN : count(relevant, least(n, k)) / (double)n_relevant;
}

double
cmir_reciprocal_rank(const uint8_t *relevant, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (relevant[i] != 0)
            return 1.0 / (double)(i + 1);
    return 0.0;
}

double
cmir_ndcg_at(const uint8_t *relevant, size_t n, size_t k, size_t n_relevant)
{
    double gained = 0.0, ideal = 0.0;

    if (n_relevant == 0)
        return NAN;
    for (size_t i = 0; i < least(n, k); i++)
        gained += relevant[i] != 0 ? 1.0 / log2((double)i + 2.0) : 0.0;
    for (size_t i = 0; i < least(n_relevant, k); i++)
        ideal += 1.0 / log2((double)i + 2.0);
    return gained / ideal;
}

/* Lets order[at] sink to its place in a heap whose top is the lowest score. */
static void
sink(const double *score, size_t *order, size_t at, size_t n)
{
    const size_t item = order[at];

    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && score[order[child + 1]] < score[order[child]])
            child++;
        if (!(score[order[child]] < score[item]))
            break;
        order[at] = order[child];
        at = child;
    }
    order[at] = item;
}

size_t
cmir_order_falling(const double *score, size_t n, size_t *order)
{
    size_t n_known = 0;

    for (size_t i = 0; i < n; i++)
        if (!isnan(score[i]))
            order[n_known++] = i;
    for (size_t i = n_known / 2; i-- > 0;)
        sink(score, order, i, n_known);
    for (size_t end = n_known; end-- > 1;) {
        const size_t lowest = order[0];

        order[0] = order[end];
        order[end] = lowest;
        sink(score, order, 0, end);
    }
    return n_known;
}

/* The weights of positives and of negatives from order[at] to the end of its run of equal scores,
 * which is returned. */
static size_t
run_of_equals(const cmir_scored *s, size_t at, double *positive, double *negative)
{
    const double score = s->score[s->order[at]];

    *positive = *negative = 0.0;
    for (; at < s->n && s->score[s->order[at]] == score; at++) {
        const size_t i = s->order[at];
        const double weight = s->weight == NULL ? 1.0 : s->weight[i];

        *(s->positive[i] != 0 ? positive : negative) += weight;
    }
    return at;
}

double
cmir_auroc_of(const cmir_scored *s)
{
    double above = 0.0, n_negative = 0.0, won = 0.0, positive, negative;

    for (size_t i = 0; i < s->n;) {
        i = run_of_equals(s, i, &positive, &negative);
        won += negative * (above + 0.5 * positive);
        above += positive;
        n_negative += negative;
    }
    return above == 0.0 || n_negative == 0.0 ? NAN : won / (above * n_negative);
}

double
cmir_auprc_of(const cmir_scored *s)
{
    double found = 0.0, seen = 0.0, area = 0.0, positive, negative;

    for (size_t i = 0; i < s->n;) {
        i = run_of_equals(s, i, &positive, &negative);
        found += positive;
        seen += positive + negative;
        area += positive == 0.0 ? 0.0 : positive * found / seen;
    }
    return found == 0.0 ? NAN : area / found;
}

double
cmir_auroc(const double *score, const uint8_t *positive, size_t n, size_t *order)
{
    const size_t n_known = cmir_order_falling(score, n, order);

    return cmir_auroc_of(&(cmir_scored){score, positive, NULL, order, n_known});
}

double
cmir_auprc(const double *score, const uint8_t *positive, size_t n, size_t *order)
{
    const size_t n_known = cmir_order_falling(score, n, order);

    return cmir_auprc_of(&(cmir_scored){score, positive, NULL, order, n_known});
}

double
cmir_brier(const double *probability, const uint8_t *positive, size_t n)
{
    double sum = 0.0, known = 0.0;

    for (size_t i = 0; i < n; i++) {
        const double off = probability[i] - (positive[i] != 0);

        if (isnan(off))
            continue;
        sum += off * off;
        known++;
    }
    return sum / known;
}

void
cmir_reliability(const double *probability, const uint8_t *positive, size_t n,
                 cmir_reliability_bin *bins, size_t n_bins)
{
    for (size_t b = 0; b < n_bins; b++)
        bins[b] = (cmir_reliability_bin){0, 0.0, 0.0};
    for (size_t i = 0; i < n; i++) {
        const double p = probability[i];

        if (!(p >= 0.0 && p <= 1.0))
            continue;
        cmir_reliability_bin *bin = &bins[least((size_t)(p * (double)n_bins), n_bins - 1)];
        bin->n++;
        bin->probability += p;
        bin->rate += positive[i] != 0;
    }
    for (size_t b = 0; b < n_bins; b++) {
        bins[b].probability /= (double)bins[b].n; /* of none: NAN */
        bins[b].rate /= (double)bins[b].n;
    }
}

void
cmir_vote_weights(const double *score, size_t n, double *weight)
{
    const double gap = n < 2 ? 0.0 : (score[0] - score[n - 1]) / (double)(n - 1);

    for (size_t i = 0; i < n; i++)
        weight[i] = gap > 0.0 ? score[i] - score[n - 1] + gap : 1.0;
}
