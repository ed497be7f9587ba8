/* SPDX-License-Identifier: Apache-2.0 */
/* evaluate.c: cmir_evaluate(), the evaluation of ranked lists.  Called by the command and by programs.
 *
 * The one idea: a method, chance and a confound are all lines of one table, scored by the same code; a
 * line starts with the figures of every query, and everything else follows from those. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assess/evaluate_internal.h"
#include "base/error.h"
#include "base/memory.h"

typedef struct evaluation {
    cmir_evaluation view; /* first: what the caller holds */
    cmir_eval_memory memory;
} evaluation;

static const uint32_t usual_k[] = {3, 5, 10};
static const char *const plain_names[CMIR_EVAL_N_OTHERS] = {
    [CMIR_EVAL_NOTEBOOK] = "P@10 (3D-MIR notebook)",
    [CMIR_EVAL_AP] = "AP@10",
    [CMIR_EVAL_MAP] = "mAP",
    [CMIR_EVAL_MRR] = "MRR",
};

void *
cmir_eval_alloc(cmir_eval_memory *memory, size_t n, size_t size)
{
    if (!cmir_grow((void **)&memory->blocks, &memory->cap, memory->n + 1, sizeof *memory->blocks))
        return NULL;
    void *block = cmir_alloc_zeroed(n, size);
    if (block != NULL)
        memory->blocks[memory->n++] = block;
    return block;
}

void
cmir_eval_release(cmir_eval_memory *memory)
{
    for (size_t i = 0; i < memory->n; i++)
        free(memory->blocks[i]);
    free(memory->blocks);
    *memory = (cmir_eval_memory){0};
}

cmir_status
cmir_eval_step(cmir_eval_job *job, cmir_error *err)
{
    const cmir_eval_options *o = &job->opt;

    job->n_done++;
    if (o->progress != NULL && o->progress(o->progress_ctx, job->n_done, job->n_steps) != 0)
        return FAIL(err, CMIR_ECANCELLED, "the evaluation was stopped");
    return CMIR_OK;
}

cmir_status
cmir_eval_fill_options(cmir_eval_options *o, cmir_error *err)
{
    if (o->struct_nbytes != sizeof *o)
        return FAIL(err, CMIR_EINVAL,
                    "evaluation options: struct_nbytes is not that of this library");
    if (o->k == NULL) {
        o->k = usual_k;
        o->n_k = sizeof usual_k / sizeof usual_k[0];
    }
    if (o->n_k == 0 || o->n_k > CMIR_EVAL_MAX_K)
        return FAIL(err, CMIR_EINVAL, "%zu cut-offs, not 1 to %u", o->n_k, CMIR_EVAL_MAX_K);
    for (size_t i = 0; i < o->n_k; i++)
        if (o->k[i] == 0 || (i > 0 && o->k[i] <= o->k[i - 1]))
            return FAIL(err, CMIR_EINVAL, "cut-offs start at 1 and rise: %u does not", o->k[i]);
    o->n_neighbours = o->n_neighbours == 0 ? 10 : o->n_neighbours;
    o->n_bootstrap = o->n_bootstrap == 0 ? 2000 : o->n_bootstrap;
    o->n_shuffles = o->n_shuffles == 0 ? 2000 : o->n_shuffles;
    if (o->n_bootstrap > CMIR_EVAL_MAX_ROUNDS || o->n_shuffles > CMIR_EVAL_MAX_ROUNDS)
        return FAIL(err, CMIR_EINVAL, "%u bootstrap samples and %u shuffles: at most %u each",
                    o->n_bootstrap, o->n_shuffles, CMIR_EVAL_MAX_ROUNDS);
    return CMIR_OK;
}

static const char *
copy_text(cmir_eval_memory *memory, const char *text)
{
    const size_t nbytes = strlen(text) + 1;
    char *copy = cmir_eval_alloc(memory, nbytes, 1);

    if (copy != NULL)
        memcpy(copy, text, nbytes);
    return copy;
}

static const char *
metric_name(const cmir_eval_job *job, size_t metric)
{
    const cmir_eval_options *o = &job->opt;
    const uint32_t last = o->k[o->n_k - 1];
    char name[32];

    if (metric < o->n_k)
        (void)snprintf(name, sizeof name, "P@%u", o->k[metric]);
    else if (metric == o->n_k + CMIR_EVAL_NDCG)
        (void)snprintf(name, sizeof name, "nDCG@%u", last);
    else if (metric == o->n_k + CMIR_EVAL_RECALL)
        (void)snprintf(name, sizeof name, "Recall@%u", last);
    else
        return copy_text(job->result, plain_names[metric - o->n_k]);
    return copy_text(job->result, name);
}

/* The names of metrics and values, and how many there are of what. */
static cmir_status
describe(cmir_eval_job *job, cmir_evaluation *out, cmir_error *err)
{
    const char **metrics = cmir_eval_alloc(job->result, job->n_metrics, sizeof *metrics);
    const char **values = cmir_eval_alloc(job->result, job->n_values, sizeof *values);
    bool ok = metrics != NULL && values != NULL;

    for (size_t i = 0; ok && i < job->n_metrics; i++)
        ok = (metrics[i] = metric_name(job, i)) != NULL;
    for (size_t i = 0; ok && i < job->n_values; i++)
        ok = (values[i] = copy_text(job->result, job->values[i])) != NULL;
    if (!ok)
        return FAIL(err, CMIR_ENOMEM, "no memory for the names of metrics and values");
    out->metrics = metrics;
    out->n_metrics = job->n_metrics;
    out->values = values;
    out->n_values = job->n_values;
    out->positive = job->positive == CMIR_EVAL_NONE ? NULL : values[job->positive];
    out->n_queries = job->in->n_queries;
    out->n_groups = job->n_query_groups;
    out->n_short = job->n_short;
    out->leak = job->leak;
    out->seen = job->opt.seen;
    return CMIR_OK;
}

/* Methods as given, then what they must beat. */
static cmir_status
make_lines(cmir_eval_job *job, cmir_eval_line *lines, size_t n_lines, cmir_error *err)
{
    const cmir_eval_input *in = job->in;
    const cmir_eval_kind fixed[] = {CMIR_EVAL_RANDOM, CMIR_EVAL_MAJORITY, CMIR_EVAL_COHORT};
    static const char *const fixed_names[] = {"random", "majority", "cohort"};
    const size_t n_fixed = job->n_cohorts > 0 ? 3 : 2;
    cmir_status st = CMIR_OK;

    for (size_t i = 0; st == CMIR_OK && i < n_lines; i++) {
        const char *name;

        if (i < in->n_methods) {
            name = in->methods[i].name;
            st = cmir_eval_method_line(job, &in->methods[i], &lines[i], err);
        } else if (i - in->n_methods < n_fixed) {
            name = fixed_names[i - in->n_methods];
            st = cmir_eval_baseline_line(job, fixed[i - in->n_methods], 0, &lines[i], err);
        } else {
            const size_t nuisance = i - in->n_methods - n_fixed;

            name = in->nuisances[nuisance];
            st = cmir_eval_baseline_line(job, CMIR_EVAL_NUISANCE, nuisance, &lines[i], err);
        }
        if (st == CMIR_OK && (lines[i].name = copy_text(job->result, name)) == NULL)
            st = FAIL(err, CMIR_ENOMEM, "no memory for the name of a line");
    }
    return st;
}

static cmir_status
run(cmir_eval_job *job, cmir_evaluation *out, cmir_error *err)
{
    const size_t n_methods = job->in->n_methods;
    cmir_status st;

    if ((st = cmir_eval_fill_options(&job->opt, err)) != CMIR_OK)
        return st;
    job->n_metrics = job->opt.n_k + CMIR_EVAL_N_OTHERS;
    if ((st = cmir_eval_check_input(job, err)) != CMIR_OK ||
        (st = describe(job, out, err)) != CMIR_OK)
        return st;
    out->n_lines = n_methods + (job->n_cohorts > 0 ? 3 : 2) + job->in->n_nuisances;
    out->n_pairs = n_methods < 2 ? 0 : n_methods * (n_methods - 1) / 2 * job->n_metrics;
    job->n_steps = (uint64_t)out->n_lines * job->in->n_queries + out->n_pairs;
    cmir_eval_line *lines = cmir_eval_alloc(job->result, out->n_lines, sizeof *lines);
    cmir_eval_pair *pairs = cmir_eval_alloc(job->result, out->n_pairs, sizeof *pairs);
    if (lines == NULL || pairs == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu lines and %zu pairs", out->n_lines,
                    out->n_pairs);
    out->lines = lines;
    out->pairs = pairs;
    if ((st = make_lines(job, lines, out->n_lines, err)) == CMIR_OK)
        st = cmir_eval_compare(job, lines, pairs, err);
    return st;
}

cmir_status
cmir_evaluate(const cmir_eval_input *input, const cmir_eval_options *options, cmir_evaluation **out,
              cmir_error *err)
{
    const cmir_eval_options defaults = {.struct_nbytes = sizeof defaults};
    cmir_eval_job job = {.in = input, .opt = options == NULL ? defaults : *options};
    evaluation *made = cmir_alloc_zeroed(1, sizeof *made);

    *out = NULL;
    if (made == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for an evaluation");
    job.result = &made->memory;
    const cmir_status st = run(&job, &made->view, err);
    cmir_eval_release(&job.scratch);
    if (st == CMIR_OK)
        *out = &made->view;
    else
        cmir_evaluation_free(&made->view);
    return st;
}

void
cmir_evaluation_free(cmir_evaluation *view)
{
    evaluation *made = (evaluation *)(void *)view; /* its first member */

    if (made == NULL)
        return;
    cmir_eval_release(&made->memory);
    free(made);
}
