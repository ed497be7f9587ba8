/* SPDX-License-Identifier: Apache-2.0 */
/* evaluate_line.c: from a list to the figures of its query, from those to a line of the table.  Called
 * by evaluate.c and evaluate_baseline.c.
 *
 * The one idea: patients are resampled, not queries.  The figures of the evidence score (AUROC and
 * its like) belong to all queries together, so each bootstrap sample weighs the queries by how often
 * their patient was drawn. */
#include <math.h>
#include <string.h>

#include "assess/evaluate_internal.h"
#include "assess/metrics.h"
#include "assess/statistics.h"
#include "base/error.h"
#include "base/memory.h"

void
cmir_eval_measure(const cmir_eval_job *job, const uint8_t *relevant, size_t n, size_t n_relevant,
                  double *metrics)
{
    const uint32_t *k = job->opt.k;
    const size_t n_k = job->opt.n_k;
    double *others = metrics + n_k;

    for (size_t i = 0; i < n_k; i++)
        metrics[i] = cmir_precision_at(relevant, n, k[i]);
    others[CMIR_EVAL_NOTEBOOK] = cmir_notebook_p10(relevant, n);
    others[CMIR_EVAL_AP] = cmir_average_precision(relevant, n, CMIR_EVAL_AP_DEPTH, 0);
    others[CMIR_EVAL_MAP] =
        n_relevant == 0 ? NAN : cmir_average_precision(relevant, n, 0, n_relevant);
    others[CMIR_EVAL_NDCG] = cmir_ndcg_at(relevant, n, k[n_k - 1], n_relevant);
    others[CMIR_EVAL_RECALL] = cmir_recall_at(relevant, n, k[n_k - 1], n_relevant);
    others[CMIR_EVAL_MRR] = cmir_reciprocal_rank(relevant, n);
}

cmir_eval_vote
cmir_eval_count_votes(const cmir_eval_job *job, const uint32_t *value, const double *weight,
                      size_t n, double *tally)
{
    cmir_eval_vote vote = {NAN, CMIR_EVAL_NONE};
    double all = 0.0;

    for (size_t i = 0; i < n; i++)
        tally[value[i]] = 0.0;
    for (size_t i = 0; i < n; i++) {
        tally[value[i]] += weight[i];
        all += weight[i];
    }
    for (size_t i = 0; i < n; i++)
        if (vote.voted == CMIR_EVAL_NONE || tally[value[i]] > tally[vote.voted])
            vote.voted = value[i];
    if (n == 0 || job->positive == CMIR_EVAL_NONE)
        return vote;
    vote.evidence = 0.0;
    for (size_t i = 0; i < n && vote.evidence == 0.0; i++)
        if (value[i] == job->positive)
            vote.evidence = fmin(1.0, tally[value[i]] / all); /* rounding */
    return vote;
}

void
cmir_eval_enter_vote(const cmir_eval_job *job, cmir_eval_draft *draft, size_t row, size_t query,
                     cmir_eval_vote vote, double share)
{
    const uint32_t truth = job->value[job->in->queries[query].volume];

    draft->drawn[row * job->in->n_queries + query] = vote.evidence;
    if (vote.voted == CMIR_EVAL_NONE)
        return;
    draft->confusion[(size_t)truth * job->n_values + vote.voted] += share;
    draft->correct[query] += vote.voted == truth ? share : 0.0;
}

cmir_status
cmir_eval_draft_start(cmir_eval_job *job, size_t n_rows, cmir_eval_memory *scratch,
                      cmir_eval_draft *draft, cmir_error *err)
{
    const size_t n_queries = job->in->n_queries;

    *draft = (cmir_eval_draft){.n_rows = n_rows};
    if (n_rows > CMIR_EVAL_MAX_DRAWN / n_queries)
        return FAIL(err, CMIR_ELIMIT,
                    "%zu queries x %zu shuffles: at most %zu; take fewer shuffles", n_queries,
                    n_rows, CMIR_EVAL_MAX_DRAWN);
    draft->per_query =
        cmir_eval_alloc(job->result, n_queries * job->n_metrics, sizeof *draft->per_query);
    draft->confusion = cmir_eval_alloc(job->result, (size_t)job->n_values * job->n_values,
                                       sizeof *draft->confusion);
    draft->correct = cmir_eval_alloc(scratch, n_queries, sizeof *draft->correct);
    draft->drawn = cmir_eval_alloc(scratch, n_queries * n_rows, sizeof *draft->drawn);
    if (draft->per_query == NULL || draft->confusion == NULL || draft->correct == NULL ||
        draft->drawn == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a line of %zu queries", n_queries);
    return CMIR_OK;
}

/* Mean of values[n_queries] and its interval: over patients, or over the rows of `means`. */
static cmir_status
mean_of_queries(const cmir_eval_job *job, const double *values, double *means, size_t n_rows,
                cmir_eval_figure *out, cmir_error *err)
{
    const cmir_eval_options *o = &job->opt;
    cmir_estimate e;
    const cmir_status st =
        cmir_bootstrap_mean(values, job->query_group, job->in->n_queries, job->n_query_groups,
                            means != NULL ? 0 : o->n_bootstrap, o->seed, &e, err);

    if (means != NULL)
        cmir_interval(means, n_rows, &e.low, &e.high);
    *out = (cmir_eval_figure){e.value, e.low, e.high};
    return st;
}

static cmir_status
finish_metrics(const cmir_eval_job *job, const cmir_eval_draft *draft, double *column,
               cmir_eval_figure *figures, cmir_eval_figure *accuracy, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    for (size_t m = 0; st == CMIR_OK && m <= job->n_metrics; m++) {
        double *means = draft->means == NULL ? NULL : draft->means + m * draft->n_rows;

        for (size_t q = 0; m < job->n_metrics && q < job->in->n_queries; q++)
            column[q] = draft->per_query[q * job->n_metrics + m];
        st = m < job->n_metrics
                 ? mean_of_queries(job, column, means, draft->n_rows, &figures[m], err)
                 : mean_of_queries(job, draft->correct, means, draft->n_rows, accuracy, err);
    }
    return st;
}

/* The evidence figures in the making: samples of AUROC, AUPRC and Brier, one after the other. */
enum { AUROC, AUPRC, BRIER, N_SCORED };

struct scoring {
    double *samples; /* [N_SCORED][n_samples] */
    size_t n_samples;
    double *weight; /* [n_queries] */
    double *times; /* [n_query_groups] how often drawn */
    size_t *order; /* [n_queries] */
    uint64_t random;
};

static void
score_evidence(const cmir_scored *s, double figures[N_SCORED])
{
    double off = 0.0, all = 0.0;

    figures[AUROC] = cmir_auroc_of(s);
    figures[AUPRC] = cmir_auprc_of(s);
    for (size_t i = 0; i < s->n; i++) {
        const size_t q = s->order[i];
        const double weight = s->weight == NULL ? 1.0 : s->weight[q];

        off += weight * (s->score[q] - s->positive[q]) * (s->score[q] - s->positive[q]);
        all += weight;
    }
    figures[BRIER] = off / all;
}

/* One bootstrap sample: patients drawn, their queries weighed. */
static void
draw_patients(const cmir_eval_job *job, struct scoring *sc)
{
    memset(sc->times, 0, job->n_query_groups * sizeof *sc->times);
    for (uint32_t g = 0; g < job->n_query_groups; g++)
        sc->times[cmir_random_below(&sc->random, job->n_query_groups)]++;
    for (size_t q = 0; q < job->in->n_queries; q++)
        sc->weight[q] = sc->times[job->query_group[q]];
}

/* One row of evidence: adds its figures to `sum`, keeps its samples, adds its bins to the line's. */
static void
score_row(const cmir_eval_job *job, const cmir_eval_draft *draft, size_t row, struct scoring *sc,
          double sum[N_SCORED], cmir_eval_line *line)
{
    const size_t n = job->in->n_queries;
    const double *evidence = draft->drawn + row * n;
    cmir_scored s = {.score = evidence, .positive = job->is_positive, .order = sc->order};
    cmir_reliability_bin bins[CMIR_EVAL_BINS];
    double figures[N_SCORED];

    s.n = cmir_order_falling(evidence, n, sc->order);
    score_evidence(&s, figures);
    for (int f = 0; f < N_SCORED; f++) {
        sum[f] += figures[f];
        if (draft->means != NULL)
            sc->samples[f * sc->n_samples + row] = figures[f];
    }
    for (size_t b = row; draft->means == NULL && b < sc->n_samples; b += draft->n_rows) {
        draw_patients(job, sc);
        s.weight = sc->weight;
        score_evidence(&s, figures);
        for (int f = 0; f < N_SCORED; f++)
            sc->samples[f * sc->n_samples + b] = figures[f];
    }
    cmir_reliability(evidence, job->is_positive, n, bins, CMIR_EVAL_BINS);
    for (int b = 0; b < CMIR_EVAL_BINS; b++) {
        const double count = (double)bins[b].n;

        line->bin_n[b] += count;
        line->bin_evidence[b] += bins[b].n == 0 ? 0.0 : count * bins[b].probability;
        line->bin_rate[b] += bins[b].n == 0 ? 0.0 : count * bins[b].rate;
    }
}

/* AUROC, AUPRC, Brier and the bins: means over the rows.  Their intervals: of a method the bootstrap;
 * of random lists the shuffles; else both at once, sample b being one of row b modulo rows. */
static void
finish_evidence(const cmir_eval_job *job, const cmir_eval_draft *draft, struct scoring *sc,
                cmir_eval_line *line)
{
    cmir_eval_figure *const figures[N_SCORED] = {&line->auroc, &line->auprc, &line->brier};
    double sum[N_SCORED] = {0.0};

    for (size_t row = 0; row < draft->n_rows; row++)
        score_row(job, draft, row, sc, sum, line);
    for (int f = 0; f < N_SCORED; f++) {
        *figures[f] = (cmir_eval_figure){sum[f] / (double)draft->n_rows, NAN, NAN};
        if (draft->means != NULL || job->n_query_groups > 1) /* one patient has no spread */
            cmir_interval(sc->samples + f * sc->n_samples, sc->n_samples, &figures[f]->low,
                          &figures[f]->high);
    }
    for (int b = 0; b < CMIR_EVAL_BINS; b++) {
        line->bin_evidence[b] /= line->bin_n[b]; /* of none: NAN */
        line->bin_rate[b] /= line->bin_n[b];
        line->bin_n[b] /= (double)draft->n_rows;
    }
}

cmir_status
cmir_eval_finish_line(cmir_eval_job *job, const cmir_eval_draft *draft, cmir_eval_line *line,
                      cmir_error *err)
{
    const size_t n = job->in->n_queries;
    cmir_eval_memory scratch = {0};
    struct scoring sc = {.n_samples = draft->means != NULL ? draft->n_rows : job->opt.n_bootstrap,
                         .random = job->opt.seed};
    cmir_eval_figure *figures = cmir_eval_alloc(job->result, job->n_metrics, sizeof *figures);
    double *evidence = cmir_eval_alloc(job->result, n, sizeof *evidence);
    double *column = cmir_eval_alloc(&scratch, n, sizeof *column);
    cmir_status st = CMIR_OK;

    sc.samples = cmir_eval_alloc(&scratch, N_SCORED * sc.n_samples, sizeof *sc.samples);
    sc.weight = cmir_eval_alloc(&scratch, n, sizeof *sc.weight);
    sc.times = cmir_eval_alloc(&scratch, job->n_query_groups, sizeof *sc.times);
    sc.order = cmir_eval_alloc(&scratch, n, sizeof *sc.order);
    if (figures == NULL || evidence == NULL || column == NULL || sc.samples == NULL ||
        sc.weight == NULL || sc.times == NULL || sc.order == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory for the figures of %zu queries", n);
        goto done;
    }
    for (size_t q = 0; q < n; q++) {
        for (size_t row = 0; row < draft->n_rows; row++)
            evidence[q] += draft->drawn[row * n + q];
        evidence[q] /= (double)draft->n_rows;
    }
    st = finish_metrics(job, draft, column, figures, &line->accuracy, err);
    finish_evidence(job, draft, &sc, line);
    line->figures = figures;
    line->per_query = draft->per_query;
    line->evidence = evidence;
    line->confusion = draft->confusion;
done:
    cmir_eval_release(&scratch);
    return st;
}

/* Scores of a list, as given or 1 / rank, of its first n. */
static void
neighbour_weights(const cmir_eval_list *list, size_t n, double *rank_scores, double *weight)
{
    for (size_t i = 0; i < n; i++)
        rank_scores[i] = list->scores != NULL ? list->scores[i] : 1.0 / (double)(i + 1);
    cmir_vote_weights(rank_scores, n, weight);
}

cmir_status
cmir_eval_method_line(cmir_eval_job *job, const cmir_eval_method *method, cmir_eval_line *line,
                      cmir_error *err)
{
    const cmir_eval_input *in = job->in;
    cmir_eval_memory scratch = {0};
    uint8_t *relevant = cmir_eval_alloc(&scratch, in->n_volumes, 1);
    uint32_t *value = cmir_eval_alloc(&scratch, in->n_volumes, sizeof *value);
    double *scores = cmir_eval_alloc(&scratch, in->n_volumes, sizeof *scores);
    double *weight = cmir_eval_alloc(&scratch, in->n_volumes, sizeof *weight);
    double *tally = cmir_eval_alloc(&scratch, job->n_values, sizeof *tally);
    cmir_eval_draft draft;
    cmir_status st;

    line->kind = CMIR_EVAL_METHOD;
    if (relevant == NULL || value == NULL || scores == NULL || weight == NULL || tally == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory for a list of %zu volumes", in->n_volumes);
        goto done;
    }
    st = cmir_eval_draft_start(job, 1, &scratch, &draft, err);
    for (size_t q = 0; st == CMIR_OK && q < in->n_queries; q++) {
        const cmir_eval_list *list = &method->lists[q];
        const uint32_t near =
            list->n_found < job->opt.n_neighbours ? list->n_found : job->opt.n_neighbours;

        for (uint32_t i = 0; i < list->n_found; i++) {
            value[i] = job->value[list->found[i]];
            relevant[i] = value[i] == job->value[in->queries[q].volume];
        }
        cmir_eval_measure(job, relevant, list->n_found, job->n_relevant[q],
                          draft.per_query + q * job->n_metrics);
        neighbour_weights(list, near, scores, weight);
        cmir_eval_enter_vote(job, &draft, 0, q,
                             cmir_eval_count_votes(job, value, weight, near, tally), 1.0);
        st = cmir_eval_step(job, err);
    }
    if (st == CMIR_OK)
        st = cmir_eval_finish_line(job, &draft, line, err);
done:
    cmir_eval_release(&scratch);
    return st;
}
