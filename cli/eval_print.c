/* SPDX-License-Identifier: Apache-2.0 */
/* eval_print.c: an evaluation as text: what was done, a line per ranking, the methods in pairs.
 *
 * The one idea: no table stands without the lines that a ranking must beat, nor without saying that
 * it leaks where it does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

enum { COLUMNS_TOGETHER = 5 };

/* Shown without -v: precision at k and average precision, as tables of papers have them. */
static bool
is_usual(const char *metric)
{
    return (strncmp(metric, "P@", 2) == 0 && strchr(metric, ' ') == NULL) ||
           strncmp(metric, "AP@", 3) == 0;
}

/* A column of figures: of a metric, or one of those that are of all queries together. */
struct column {
    const char *name;
    int number; /* of a metric; < 0: see figure_of() */
};

static const cmir_eval_figure *
figure_of(const cmir_eval_line *line, int number)
{
    switch (number) {
    case -1: return &line->accuracy;
    case -2: return &line->auroc;
    case -3: return &line->auprc;
    case -4: return &line->brier;
    default: return &line->figures[number];
    }
}

static size_t
choose_columns(const eval *e, struct column **out)
{
    static const char *const others[] = {"ACCURACY", "AUROC", "AUPRC", "BRIER"};
    const cmir_evaluation *r = e->result;
    struct column *columns = cli_need(calloc(r->n_metrics + 4, sizeof *columns));
    size_t n = 0;

    for (size_t m = 0; m < r->n_metrics; m++)
        if (e->args->verbose || is_usual(r->metrics[m]))
            columns[n++] = (struct column){r->metrics[m], (int)m};
    for (int i = 0; i < 4; i++)
        if ((i == 0 || r->positive != NULL) && (i == 1 || e->args->verbose))
            columns[n++] = (struct column){others[i], -1 - i};
    *out = columns;
    return n;
}

static void
figure_cell(cli_table *table, const cmir_eval_figure *f)
{
    if (isnan(f->value))
        cli_cell(table, "-");
    else if (isnan(f->low) || isnan(f->high))
        cli_cell(table, "%.3f", f->value);
    else
        cli_cell(table, "%.3f (%.2f-%.2f)", f->value, f->low, f->high);
}

/* Cohort and nuisances: what a ranking by nothing else reaches. */
static bool
is_alone(const cmir_eval_line *line)
{
    return line->kind == CMIR_EVAL_COHORT || line->kind == CMIR_EVAL_NUISANCE;
}

/* The heading of the first column of a table. */
static const char *
ranking(const cmir_evaluation *r)
{
    return r->leak ? "RANKING (LEAKS)" : r->seen ? "RANKING (SEEN)" : "RANKING";
}

/* Some columns for all lines. */
static void
print_lines(const eval *e, const struct column *columns, size_t n)
{
    const cmir_evaluation *r = e->result;
    cli_table table = {.n_columns = n + 1};

    cli_cell(&table, "%s", ranking(r));
    for (size_t c = 0; c < n; c++)
        cli_cell(&table, "%s", columns[c].name);
    for (size_t i = 0; i < r->n_lines; i++) {
        cli_cell(&table, "%s%s", r->lines[i].name, is_alone(&r->lines[i]) ? " alone" : "");
        for (size_t c = 0; c < n; c++)
            figure_cell(&table, figure_of(&r->lines[i], columns[c].number));
    }
    cli_print_table(&table, e->args->out);
}

/* Where hits lie, a line per method. */
static void
print_locations(const eval *e)
{
    static const char *const heading[] = {"RATIO", "CHANCE", "X CHANCE", "RUN IOU"};
    cli_table table = {.n_columns = 8, .right = 1u << 1 | 1u << 2};
    size_t n_queries, n_volumes;

    eval_count_shown(e, &n_queries, &n_volumes);
    fputc('\n', e->args->out);
    cli_line(
        e->args->out,
        "Searches with the slices '%s' of %zu quer%s: do they match such slices of the first %u "
        "hits? %zu of %zu volumes have them%s.",
        e->options.locate, n_queries, n_queries == 1 ? "y" : "ies", eval_largest_k(e), n_volumes,
        e->n_volumes, e->result->leak ? "; LEAKS" : "");
    cli_cell(&table, "%s", ranking(e->result));
    cli_cell(&table, "QUERIES");
    cli_cell(&table, "HITS");
    for (size_t i = 0; i < 4; i++)
        cli_cell(&table, "%s", heading[i]);
    cli_cell(&table, "IOU >= %.1f", CMIR_EVAL_PLACED);
    for (size_t m = 0; m < e->n_methods; m++) {
        const cmir_eval_localisation *l = &e->localised[m];

        cli_cell(&table, "%s", e->methods[m].name);
        cli_cell(&table, "%zu", l->n_queries);
        cli_cell(&table, "%zu of %zu", l->n_hits, l->n_hits + e->n_unknown_hits[m]);
        figure_cell(&table, &l->ratio);
        figure_cell(&table, &l->chance);
        figure_cell(&table, &l->gain);
        figure_cell(&table, &l->iou);
        figure_cell(&table, &l->placed);
    }
    cli_print_table(&table, e->args->out);
}

static void
print_pairs(const eval *e)
{
    static const char *const heading[] = {"METRIC", "A", "B", "A - B", "WILCOXON", "SIGN FLIP"};
    const cmir_evaluation *r = e->result;
    cli_table table = {.n_columns = 6, .right = 1u << 3 | 1u << 4 | 1u << 5};
    size_t n = 0;

    for (size_t c = 0; c < 6; c++)
        cli_cell(&table, "%s", heading[c]);
    for (size_t i = 0; i < r->n_pairs; i++) {
        const cmir_eval_pair *p = &r->pairs[i];

        if (!e->args->verbose && p->metric != cmir_evaluation_main_metric(r))
            continue;
        n++;
        cli_cell(&table, "%s", r->metrics[p->metric]);
        cli_cell(&table, "%s", r->lines[p->a].name);
        cli_cell(&table, "%s", r->lines[p->b].name);
        if (isnan(p->low))
            cli_cell(&table, "%+.3f", p->difference);
        else
            cli_cell(&table, "%+.3f (%+.2f..%+.2f)", p->difference, p->low, p->high);
        cli_cell(&table, "%.3g", p->wilcoxon_holm);
        cli_cell(&table, "%.3g", p->sign_flip_holm);
    }
    if (n > 0) {
        fputc('\n', e->args->out);
        cli_line(e->args->out,
                 "Methods in pairs; p of two-sided tests over patients, corrected "
                 "(Holm) over the pairs of a metric%s:",
                 r->leak ? "; LEAKS" : "");
    }
    cli_print_table(&table, n > 0 ? e->args->out : NULL);
}

static const char *
plural(size_t n)
{
    return n == 1 ? "" : "s";
}

/* What was left out, and what is not known. */
static void
print_remarks(const eval *e)
{
    const cmir_evaluation *r = e->result;
    size_t n_ungrouped = 0;

    for (size_t i = 0; i < e->n_volumes; i++)
        n_ungrouped += e->extras[i].ungrouped;
    if (e->n_without_value > 0)
        cli_line(e->args->out, "%zu volume%s without '%s' left out", e->n_without_value,
                 plural(e->n_without_value), e->task_column);
    if (e->n_without_mask > 0)
        cli_line(e->args->out, "%zu volume%s without a mask left out", e->n_without_mask,
                 plural(e->n_without_mask));
    if (e->n_masks > 0)
        cli_line(e->args->out, "%zu mask%s read from files, %zu of which mark nothing", e->n_masks,
                 plural(e->n_masks), e->n_empty_masks);
    if (e->n_unknown > 0)
        cli_line(e->args->out, "%zu line%s of %s: not in the archive", e->n_unknown,
                 plural(e->n_unknown), cli_get(e->args, "labels"));
    if (n_ungrouped > 0)
        cli_line(e->args->out,
                 "%zu volume%s of unknown patient: each counts as a patient of its own",
                 n_ungrouped, plural(n_ungrouped));
    if (r->n_short > 0)
        cli_line(e->args->out,
                 "%u quer%s found fewer than the largest k: what is missing counts as "
                 "not relevant",
                 r->n_short, r->n_short == 1 ? "y" : "ies");
}

static void
print_heading(const eval *e)
{
    static const char *const databases[] = {"merged", "per site", "masked"};
    const cmir_evaluation *r = e->result;
    uint32_t low = UINT32_MAX, high = 0;
    char whitening[200];

    for (size_t i = 0; i < e->n_queries; i++) {
        const uint32_t n = e->queries[i].n_database;
        low = n < low ? n : low;
        high = n > high ? n : high;
    }
    cli_line(e->args->out, "task %s (%s)%s%s; %zu quer%s of %zu patient%s, split: %s",
             e->options.task, e->task_column, r->positive != NULL ? ", positive: " : "",
             r->positive != NULL ? r->positive : "", r->n_queries, r->n_queries == 1 ? "y" : "ies",
             r->n_groups, plural(r->n_groups), eval_split_name(e));
    if (low == high)
        cli_line(e->args->out, "database %s: %u candidates each", databases[e->options.database],
                 low);
    else
        cli_line(e->args->out, "database %s: %u to %u candidates each",
                 databases[e->options.database], low, high);
    eval_whiten_describe(e, whitening, sizeof whitening);
    if (whitening[0] != '\0')
        cli_line(e->args->out, "whitened: %s", whitening);
    print_remarks(e);
    if (r->seen)
        cli_line(e->args->out, "SEEN: the whitening has seen the patients that ask; figures below "
                               "may be too good (--whiten, on the archive that this one was made "
                               "from, leaves them out)");
    if (r->leak)
        cli_line(e->args->out, "LEAKS: a query's own patient is in its database (--allow-leak); "
                               "every figure below is too good");
}

void
eval_print(const eval *e)
{
    struct column *columns;
    const size_t n = choose_columns(e, &columns);

    if (!e->args->quiet)
        print_heading(e);
    for (size_t at = 0; at < n; at += COLUMNS_TOGETHER) {
        fputc('\n', e->args->out);
        print_lines(e, columns + at, n - at < COLUMNS_TOGETHER ? n - at : COLUMNS_TOGETHER);
    }
    free(columns);
    print_pairs(e);
    if (e->localised != NULL)
        print_locations(e);
    fputc('\n', e->args->out);
    if (!e->args->quiet)
        cli_line(e->args->out,
                 "means over queries and 95 %% intervals over patients; of random, cohort and "
                 "nuisances over their random orders");
    cli_line(e->args->out, "Research use only, not for diagnosis.");
}
