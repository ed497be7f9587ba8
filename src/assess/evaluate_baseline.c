/* SPDX-License-Identifier: Apache-2.0 */
/* evaluate_baseline.c: the lines that a ranking must beat.  Called by evaluate.c.
 *
 * The one idea: chance, the majority, a cohort and a nuisance all rank the database by one number (the
 * same for all; is it the most frequent value; is it the query's cohort; how far is the nuisance), and
 * equals in random order.  A run of equals is a tier.  What a list of shuffled tiers scores on average
 * is computed, for every metric, without shuffling; only the votes and the spread of random lists come
 * from shuffles. */
#include <math.h>
#include <stdlib.h>

#include "assess/evaluate_internal.h"
#include "assess/metrics.h"
#include "assess/statistics.h"
#include "base/error.h"

struct item {
    double key; /* least first; INFINITY: unknown, last */
    uint32_t place, value;
};

/* The database of one query in tiers. */
struct ranking {
    struct item *items; /* [n] sorted; shuffled within tiers */
    uint32_t *tier_end; /* [n] rank behind the tier of each rank */
    double *expected;   /* [n] how likely each rank is relevant */
    uint32_t n, value;  /* of the query */
    size_t n_relevant;
};

struct shuffling {
    cmir_eval_kind kind;
    size_t nuisance;
    struct ranking r;
    uint32_t *count;   /* [n_values] */
    uint8_t *relevant; /* [largest database], and so are these: */
    uint32_t *values;
    double *scores, *weight;
    double *tally;    /* [n_values] */
    double *measured; /* [n_metrics] */
    double *n_known;  /* [n_metrics] queries that have the metric */
    uint64_t random;
};

static int
compare_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

/* Of equally frequent values the first in order of text. */
static uint32_t
most_frequent(const cmir_eval_job *job, const cmir_eval_query *query, uint32_t *count)
{
    uint32_t most = 0;

    for (uint32_t i = 0; i < job->n_values; i++)
        count[i] = 0;
    for (uint32_t i = 0; i < query->n_database; i++)
        count[job->value[query->database[i]]]++;
    for (uint32_t i = 1; i < job->n_values; i++)
        most = count[i] > count[most] ? i : most;
    return most;
}

static double
key_of(const cmir_eval_job *job, const struct shuffling *s, uint32_t query, uint32_t v,
       uint32_t majority)
{
    const cmir_eval_volume *volumes = job->in->volumes;

    if (s->kind == CMIR_EVAL_MAJORITY)
        return job->value[v] == majority ? 0.0 : 1.0;
    if (s->kind == CMIR_EVAL_COHORT) /* an unknown cohort is nobody's */
        return job->cohort[v] == job->cohort[query] && job->cohort[v] != CMIR_EVAL_NONE ? 0.0 : 1.0;
    if (s->kind == CMIR_EVAL_NUISANCE) {
        const double away =
            fabs(volumes[query].nuisances[s->nuisance] - volumes[v].nuisances[s->nuisance]);

        return isnan(away) ? INFINITY : away;
    }
    return 0.0;
}

/* Sorts the query's database into tiers. */
static void
rank_database(const cmir_eval_job *job, struct shuffling *s, size_t q)
{
    const cmir_eval_query *query = &job->in->queries[q];
    const uint32_t majority =
        s->kind == CMIR_EVAL_MAJORITY ? most_frequent(job, query, s->count) : CMIR_EVAL_NONE;
    struct ranking *r = &s->r;

    r->n = query->n_database;
    r->value = job->value[query->volume];
    r->n_relevant = job->n_relevant[q];
    for (uint32_t i = 0; i < r->n; i++) {
        const uint32_t v = query->database[i];

        r->items[i] = (struct item){key_of(job, s, query->volume, v, majority), i, job->value[v]};
    }
    qsort(r->items, r->n, sizeof *r->items, compare_items);
    for (uint32_t i = r->n; i-- > 0;)
        r->tier_end[i] =
            i + 1 < r->n && r->items[i].key == r->items[i + 1].key ? r->tier_end[i + 1] : i + 1;
}

/* How many of the ranks from `start` to `end` are relevant. */
static double
relevant_in(const struct ranking *r, uint32_t start, uint32_t end)
{
    double n = 0.0;

    for (uint32_t i = start; i < end; i++)
        n += r->items[i].value == r->value;
    return n;
}

/* Relevant ones expected among the first k. */
static double
expected_among(const struct ranking *r, uint32_t k)
{
    double sum = 0.0;

    for (uint32_t i = 0; i < r->n && i < k; i++)
        sum += r->expected[i];
    return sum;
}

/* E[mAP] = 1/R sum_i 1/i (E[x_i] + sum over j < i of E[x_i x_j]), x_i being 1 where rank i is
 * relevant: within a tier of n with m relevant, E[x_i x_j] = m (m - 1) / (n (n - 1)); across tiers it
 * is a product.  E[1 / rank of the first]: it lies in the first tier that has a relevant one, at its
 * place j with probability m / (n - j) times that of no earlier one.  Fills r->expected as well. */
static void
expect_sums(const struct ranking *r, double *ap, double *mrr)
{
    double before = 0.0;

    *ap = *mrr = 0.0;
    for (uint32_t start = 0; start < r->n; start = r->tier_end[start]) {
        const uint32_t end = r->tier_end[start];
        const double n = end - start, m = relevant_in(r, start, end);
        const double pair = n > 1.0 ? m * (m - 1.0) / (n * (n - 1.0)) : 0.0;
        double none_yet = before == 0.0 ? 1.0 : 0.0;

        for (uint32_t i = start; i < end; i++) {
            const double place = i - start, rank = i + 1.0;
            const double first = m == 0.0 ? 0.0 : none_yet * fmin(1.0, m / (n - place));

            r->expected[i] = m / n;
            *ap += (r->expected[i] * (1.0 + before) + place * pair) / rank;
            *mrr += first / rank;
            none_yet -= first;
        }
        before += m;
    }
    *ap /= (double)r->n_relevant; /* of none: NAN */
}

/* E[AP over ten].  Goes down the ranks with, for each number c found so far, its probability p[c] and
 * the part s[c] of the expected sum of precisions that belongs to it: tiers above are whole, so c says
 * how many of this tier are left.  At the end the sum is divided by c. */
static double
expect_ap(const struct ranking *r)
{
    double p[CMIR_EVAL_AP_DEPTH + 2] = {1.0}, s[CMIR_EVAL_AP_DEPTH + 2] = {0.0}, ap = 0.0;
    double before = 0.0, m = 0.0; /* relevant ones of the tiers above, of this one */
    uint32_t start = 0;

    for (uint32_t i = 0; i < r->n && i < CMIR_EVAL_AP_DEPTH; i++) {
        if (i == 0 || i == r->tier_end[start]) {
            start = i;
            before += m;
            m = relevant_in(r, start, r->tier_end[start]);
        }
        for (uint32_t c = i + 1; c-- > 0;) {
            const double hit =
                (m - (c - before)) / (r->tier_end[start] - i); /* p[c] is 0 elsewhere */

            p[c + 1] += hit * p[c];
            s[c + 1] += hit * (s[c] + p[c] * (c + 1.0) / (i + 1.0));
            p[c] *= 1.0 - hit;
            s[c] *= 1.0 - hit;
        }
    }
    for (uint32_t c = 1; c <= CMIR_EVAL_AP_DEPTH; c++)
        ap += s[c] / c;
    return ap;
}

/* What the query's list scores on average. */
static void
expect(const cmir_eval_job *job, const struct ranking *r, double *metrics)
{
    const size_t n_k = job->opt.n_k;
    const uint32_t last = job->opt.k[n_k - 1];
    double *others = metrics + n_k, gained = 0.0, ideal = 0.0;

    expect_sums(r, &others[CMIR_EVAL_MAP], &others[CMIR_EVAL_MRR]);
    for (size_t i = 0; i < n_k; i++)
        metrics[i] = expected_among(r, job->opt.k[i]) / job->opt.k[i];
    others[CMIR_EVAL_NOTEBOOK] = (expected_among(r, 10) + expected_among(r, 5) / 5.0) / 11.0;
    others[CMIR_EVAL_RECALL] = expected_among(r, last) / (double)r->n_relevant;
    for (uint32_t i = 0; i < r->n && i < last; i++) {
        const double discount = 1.0 / log2(i + 2.0);

        gained += r->expected[i] * discount;
        ideal += i < r->n_relevant ? discount : 0.0;
    }
    others[CMIR_EVAL_NDCG] = gained / ideal;
    others[CMIR_EVAL_AP] = expect_ap(r);
}

/* Weights of the first `near` ranks, whatever the shuffle: a score is the key turned round; an unknown
 * nuisance scores as the last known one. */
static void
weigh_ranks(struct shuffling *s, uint32_t near)
{
    for (uint32_t i = 0; i < near; i++) {
        const double key = s->r.items[i].key;

        s->scores[i] = isfinite(key) ? -key : i == 0 ? 0.0 : s->scores[i - 1];
    }
    cmir_vote_weights(s->scores, near, s->weight);
}

/* Shuffles the first `depth` ranks anew: each is drawn from what is left of its tier. */
static void
shuffle(struct shuffling *s, uint32_t depth)
{
    struct ranking *r = &s->r;

    for (uint32_t i = 0; i < depth; i++) {
        struct item *drawn = &r->items[i + cmir_random_below(&s->random, r->tier_end[i] - i)];
        const uint32_t value = drawn->value;

        drawn->value = r->items[i].value;
        r->items[i].value = value;
        s->values[i] = value;
        s->relevant[i] = value == r->value;
    }
}

/* Every shuffle of one query. */
static void
shuffle_query(const cmir_eval_job *job, struct shuffling *s, size_t q, cmir_eval_draft *draft)
{
    const struct ranking *r = &s->r;
    const uint32_t n_near = job->opt.n_neighbours, n_rows = (uint32_t)draft->n_rows;
    const uint32_t near = r->n < n_near ? r->n : n_near;
    const uint32_t depth = draft->means != NULL ? r->n : near;

    weigh_ranks(s, near);
    for (uint32_t row = 0; row < n_rows; row++) {
        shuffle(s, depth);
        const cmir_eval_vote vote =
            cmir_eval_count_votes(job, s->values, s->weight, near, s->tally);
        cmir_eval_enter_vote(job, draft, row, q, vote, 1.0 / n_rows);
        if (draft->means == NULL)
            continue;
        cmir_eval_measure(job, s->relevant, depth, r->n_relevant, s->measured);
        for (size_t m = 0; m < job->n_metrics; m++)
            draft->means[m * n_rows + row] += isnan(s->measured[m]) ? 0.0 : s->measured[m];
        draft->means[job->n_metrics * n_rows + row] += vote.voted == r->value;
    }
    for (size_t m = 0; draft->means != NULL && m < job->n_metrics; m++)
        s->n_known[m] += !isnan(draft->per_query[q * job->n_metrics + m]);
}

static cmir_status
start_shuffling(const cmir_eval_job *job, struct shuffling *s, cmir_eval_memory *scratch,
                cmir_error *err)
{
    size_t most = 0;

    for (size_t q = 0; q < job->in->n_queries; q++)
        if (job->in->queries[q].n_database > most)
            most = job->in->queries[q].n_database;
    s->r.items = cmir_eval_alloc(scratch, most, sizeof *s->r.items);
    s->r.tier_end = cmir_eval_alloc(scratch, most, sizeof *s->r.tier_end);
    s->r.expected = cmir_eval_alloc(scratch, most, sizeof *s->r.expected);
    s->count = cmir_eval_alloc(scratch, job->n_values, sizeof *s->count);
    s->relevant = cmir_eval_alloc(scratch, most, 1);
    s->values = cmir_eval_alloc(scratch, most, sizeof *s->values);
    s->scores = cmir_eval_alloc(scratch, most, sizeof *s->scores);
    s->weight = cmir_eval_alloc(scratch, most, sizeof *s->weight);
    s->tally = cmir_eval_alloc(scratch, job->n_values, sizeof *s->tally);
    s->measured = cmir_eval_alloc(scratch, job->n_metrics, sizeof *s->measured);
    s->n_known = cmir_eval_alloc(scratch, job->n_metrics, sizeof *s->n_known);
    if (s->r.items == NULL || s->r.tier_end == NULL || s->r.expected == NULL || s->count == NULL ||
        s->relevant == NULL || s->values == NULL || s->scores == NULL || s->weight == NULL ||
        s->tally == NULL || s->measured == NULL || s->n_known == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to shuffle %zu volumes", most);
    return CMIR_OK;
}

cmir_status
cmir_eval_baseline_line(cmir_eval_job *job, cmir_eval_kind kind, size_t nuisance,
                        cmir_eval_line *line, cmir_error *err)
{
    const size_t n_queries = job->in->n_queries, n_rows = job->opt.n_shuffles;
    /* A stream of random numbers of its own: what else is in the table does not matter. */
    struct shuffling s = {.kind = kind,
                          .nuisance = nuisance,
                          .random = job->opt.seed + ((uint64_t)kind << 32) + nuisance};
    cmir_eval_memory scratch = {0};
    cmir_eval_draft draft;
    cmir_status st;

    line->kind = kind;
    if ((st = cmir_eval_draft_start(job, n_rows, &scratch, &draft, err)) != CMIR_OK ||
        (st = start_shuffling(job, &s, &scratch, err)) != CMIR_OK)
        goto done;
    if (kind == CMIR_EVAL_RANDOM) {
        draft.means = cmir_eval_alloc(&scratch, (job->n_metrics + 1) * n_rows, sizeof *draft.means);
        if (draft.means == NULL) {
            st = FAIL(err, CMIR_ENOMEM, "no memory for the means of %zu shuffles", n_rows);
            goto done;
        }
    }
    for (size_t q = 0; st == CMIR_OK && q < n_queries; q++) {
        rank_database(job, &s, q);
        expect(job, &s.r, draft.per_query + q * job->n_metrics);
        shuffle_query(job, &s, q, &draft);
        st = cmir_eval_step(job, err);
    }
    for (size_t m = 0; draft.means != NULL && m <= job->n_metrics; m++)
        for (size_t row = 0; row < n_rows; row++)
            draft.means[m * n_rows + row] /= m < job->n_metrics ? s.n_known[m] : (double)n_queries;
    if (st == CMIR_OK)
        st = cmir_eval_finish_line(job, &draft, line, err);
done:
    cmir_eval_release(&scratch);
    return st;
}
