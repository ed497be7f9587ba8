/* SPDX-License-Identifier: Apache-2.0 */
/* eval_report.c: the page of an evaluation: how it was done in words, and which queries are shown
 * with pictures.
 *
 * The one idea: the best and the worst queries of the first method are searched again, which gives
 * the matches that the lists did not keep. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

enum { N_SHOWN = 3, N_HITS = 3, MOST_FACTS = 32 };

struct facts {
    cmir_label all[MOST_FACTS];
    size_t n;
};

CLI_PRINTF(3, 4)
static void
add_fact(struct facts *f, const char *name, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = cli_need(malloc((size_t)(n < 0 ? 0 : n) + 1));
    text[0] = '\0';
    va_start(args, format);
    if (n > 0)
        (void)vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
    f->all[f->n++] = (cmir_label){name, text};
}

/* An option with the name of a column or a file, where it was given. */
static void
add_option(struct facts *f, const eval *e, const char *name, const char *option)
{
    const char *value = cli_get(e->args, option);

    if (value != NULL)
        add_fact(f, name, "%s", value);
}

static void
add_archive(struct facts *f, const eval *e)
{
    const cmir_archive_info *info = cmir_archive_get_info(e->archive);

    add_fact(f, "Archive", "%s, %llu volumes, sha256 %s", info->dir,
             (unsigned long long)info->n_volumes, e->digest.contents);
    add_fact(f, "Encoder", "%s %s, sha256 %s, card sha256 %s", info->encoder_name,
             info->encoder_version, info->encoder_sha256, e->digest.card);
}

static const char *const databases[] = {
    [EVAL_MERGED] = "all candidates together",
    [EVAL_PER_SITE] = "the candidates of the query's site",
    [EVAL_MASKED] = "all candidates together, of them and of queries only the masked slices"};

static void
collect_facts(const eval *e, struct facts *f)
{
    const cmir_evaluation *r = e->result;
    size_t n_ungrouped = 0;
    char whitening[200];

    for (size_t i = 0; i < e->n_volumes; i++)
        n_ungrouped += e->extras[i].ungrouped;
    add_fact(f, "Relevant", "a volume with the same %s as the query", e->task_column);
    if (r->positive != NULL)
        add_fact(f, "Positive", "%s", r->positive);
    add_fact(f, "Volumes", "%zu; left out: %zu without %s%s", e->n_volumes, e->n_without_value,
             e->task_column, e->n_without_mask > 0 ? ", and some without a mask" : "");
    add_fact(f, "Queries", "%zu of %zu patients; split: %s", r->n_queries, r->n_groups,
             eval_split_name(e));
    add_fact(f, "Database", "%s", databases[e->options.database]);
    add_fact(f, "Patient", "%s",
             e->options.group != NULL ? e->options.group
                                      : "PatientID, else StudyInstanceUID, else the volume");
    if (n_ungrouped > 0)
        add_fact(f, "Unknown patient", "%zu volumes, each counted as a patient of its own",
                 n_ungrouped);
    add_option(f, e, "Cohort", "cohort");
    add_option(f, e, "Nuisances", "nuisance");
    add_option(f, e, "Site", "site");
    add_option(f, e, "Mask", "mask");
    add_option(f, e, "Slices that show a structure", "locate");
    if (e->n_masks > 0)
        add_fact(f, "Masks from files", "%zu, %zu of which mark nothing", e->n_masks,
                 e->n_empty_masks);
    eval_whiten_describe(e, whitening, sizeof whitening);
    if (whitening[0] != '\0')
        add_fact(f, "Whitening", "%s", whitening);
    add_option(f, e, "Labels", "labels");
    add_option(f, e, "Query list", "queries");
    add_option(f, e, "Candidate list", "candidates");
    for (size_t i = 0; i < e->n_files && f->n + 4 < MOST_FACTS; i++)
        add_fact(f, "Ranked lists", "%s", e->files[i].path);
    add_fact(f, "Seed", "%llu", (unsigned long long)e->options.seed);
    if (e->archive != NULL)
        add_archive(f, e);
}

/* Whether query a did better than b: by the precision of the largest k, then by the sum of all
 * figures; NAN counts as 0. */
struct merit {
    uint32_t query;
    double main, all;
};

static int
by_merit(const void *a, const void *b)
{
    const struct merit *x = a, *y = b;

    if (x->main < y->main || x->main > y->main)
        return x->main > y->main ? -1 : 1;
    if (x->all < y->all || x->all > y->all)
        return x->all > y->all ? -1 : 1;
    return x->query < y->query ? -1 : x->query > y->query;
}

static struct merit *
order_queries(const cmir_evaluation *r)
{
    struct merit *order = cli_need(calloc(r->n_queries + 1, sizeof *order));
    const size_t metric = cmir_evaluation_main_metric(r);

    for (size_t q = 0; q < r->n_queries; q++) {
        const double *figures = r->lines[0].per_query + q * r->n_metrics;

        order[q].query = (uint32_t)q;
        order[q].main = isnan(figures[metric]) ? 0 : figures[metric];
        for (size_t m = 0; m < r->n_metrics; m++)
            order[q].all += isnan(figures[m]) ? 0 : figures[m];
    }
    qsort(order, r->n_queries, sizeof *order, by_merit);
    return order;
}

/* Searches the best and the worst queries again; *n_best of the *n cases are the best. */
static cmir_status
find_cases(eval *e, eval_case *cases, cmir_evaluation_case *shown, size_t *n, size_t *n_best,
           cmir_error *err)
{
    struct merit *order = order_queries(e->result);
    const size_t n_queries = e->n_queries;
    const size_t best = n_queries < 2 * N_SHOWN ? (n_queries + 1) / 2 : N_SHOWN;
    const size_t worst = n_queries - best < N_SHOWN ? n_queries - best : N_SHOWN;
    cmir_status st = CMIR_OK;

    *n = 0;
    *n_best = best;
    for (size_t i = 0; i < best + worst && st == CMIR_OK; i++) {
        const uint32_t query = order[i < best ? i : n_queries - 1 - (i - best)].query;

        st = eval_search_again(e, query, N_HITS, &cases[i], err);
        shown[i] = (cmir_evaluation_case){query, &cases[i].view};
        *n = i + 1;
    }
    free(order);
    return st;
}

static void
describe_located(const eval *e, char *text, size_t size)
{
    size_t n_queries, n_volumes;

    eval_count_shown(e, &n_queries, &n_volumes);
    (void)snprintf(
        text, size,
        "Searches with the slices \"%.100s\" of %zu of the %zu queries. Judged are those "
        "of the first %u hits for which such slices are known too, as they are for %zu "
        "of the %zu volumes.",
        e->options.locate == NULL ? "" : e->options.locate, n_queries, e->n_queries,
        eval_largest_k(e), n_volumes, e->n_volumes);
}

cmir_status
eval_report(eval *e, const char *path, cmir_error *err)
{
    const cmir_eval_input input = eval_input(e);
    const char *task = e->options.task;
    char heading[400], summary[900], located[600], whitening[200];
    eval_case cases[2 * N_SHOWN] = {0};
    cmir_evaluation_case shown[2 * N_SHOWN];
    struct facts facts = {.n = 0};
    size_t n_cases = 0, n_best = 0;
    cmir_status st = CMIR_OK;

    (void)snprintf(heading, sizeof heading, strcmp(task, e->task_column) == 0 ? "%s" : "%s (%s)",
                   task, e->task_column);
    eval_whiten_describe(e, whitening, sizeof whitening);
    (void)snprintf(
        summary, sizeof summary,
        "Relevant is a volume with the same %.100s as the query. Split: %s. Database: %s.%s%s%s",
        e->task_column, eval_split_name(e), databases[e->options.database],
        whitening[0] != '\0' ? " Whitened: " : "", whitening, whitening[0] != '\0' ? "." : "");
    describe_located(e, located, sizeof located);
    collect_facts(e, &facts);
    if (e->archive != NULL)
        st = find_cases(e, cases, shown, &n_cases, &n_best, err);
    cli_progress *progress = cli_progress_start(e->args, "queries drawn", 0);
    if (st == CMIR_OK)
        st = cmir_evaluation_report_write(
            e->result, &input,
            &(cmir_evaluation_report_options){.struct_nbytes =
                                                  sizeof(cmir_evaluation_report_options),
                                              .task = heading,
                                              .summary = summary,
                                              .facts = facts.all,
                                              .n_facts = facts.n,
                                              .command = e->args->command,
                                              .locations = e->localised,
                                              .located = located,
                                              .archive = e->archive,
                                              .cases = shown,
                                              .n_cases = n_cases,
                                              .n_best = n_best,
                                              .progress = cli_progress_count,
                                              .progress_ctx = progress},
            path, err);
    cli_progress_end(progress);
    for (size_t i = 0; i < n_cases; i++)
        eval_case_free(&cases[i]);
    for (size_t i = 0; i < facts.n; i++)
        free((void *)(uintptr_t)facts.all[i].value);
    if (st == CMIR_OK && !e->args->quiet && !e->args->json)
        cli_line(e->args->out, "report: %s", path);
    return st;
}
