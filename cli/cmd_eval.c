/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_eval.c: the verb eval: how good are the volumes found, beside what a ranking must beat?
 *
 * The one idea: volumes, split, lists, figures, output: one step after the other, each in a file of
 * its own. */
#include <stdlib.h>
#include <string.h>

#include "eval.h"

#define MAX_K 1000000u

/* The parts of a list with commas; none may be empty. */
static cmir_status
split_list(const char *option, const char *text, char ***out, size_t *n, cmir_error *err)
{
    *n = 0;
    *out = NULL;
    while (text != NULL) {
        const size_t length = strcspn(text, ",");
        char *part = cli_need(malloc(length + 1));

        memcpy(part, text, length);
        part[length] = '\0';
        *out = cli_need(realloc(*out, (*n + 1) * sizeof **out));
        (*out)[(*n)++] = part;
        if (length == 0)
            return cli_fail(err, CMIR_EINVAL, "--%s: a name is missing in the list", option);
        for (size_t i = 0; i + 1 < *n; i++)
            if (strcmp((*out)[i], part) == 0)
                return cli_fail(err, CMIR_EINVAL, "--%s names '%s' twice", option, part);
        text = text[length] == '\0' ? NULL : text + length + 1;
    }
    return CMIR_OK;
}

static void
free_list(char **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

/* "3,5,10": rising. */
static cmir_status
parse_k(eval_options *o, const char *text, cmir_error *err)
{
    char **parts = NULL;
    cmir_status st = split_list("k", text, &parts, &o->n_k, err);

    o->k = cli_need(calloc(o->n_k + 1, sizeof *o->k));
    for (size_t i = 0; i < o->n_k && st == CMIR_OK; i++) {
        const size_t n = strspn(parts[i], "0123456789");
        const unsigned long value = n < 9 ? strtoul(parts[i], NULL, 10) : MAX_K + 1;

        if (parts[i][n] != '\0' || value < 1 || value > MAX_K || (i > 0 && value <= o->k[i - 1]))
            st = cli_fail(err, CMIR_EINVAL,
                          "--k '%s': whole numbers that rise are wanted, such as "
                          "3,5,10",
                          text);
        else
            o->k[i] = (uint32_t)value;
    }
    free_list(parts, o->n_k);
    return st;
}

static cmir_status
parse_methods(eval_options *o, const char *text, cmir_error *err)
{
    cmir_score score;
    cmir_status st = split_list("methods", text, &o->methods, &o->n_methods, err);

    for (size_t i = 0; i < o->n_methods && st == CMIR_OK; i++)
        st = cmir_score_parse(o->methods[i], &score, err);
    return st;
}

static cmir_status
parse_options(const cli_args *args, eval_options *o, cmir_error *err)
{
    static const char *const databases[] = {"merged", "per-site", "masked", NULL};
    const bool ranked = cli_get(args, "rankings") != NULL;
    const char *methods = cli_get(args, "methods");
    int database;
    cmir_status st;

    o->task = cli_get(args, "task");
    o->group = cli_get(args, "group");
    o->cohort = cli_get(args, "cohort");
    o->site = cli_get(args, "site");
    o->mask = cli_get(args, "mask");
    o->locate = cli_get(args, "locate");
    o->positive = cli_get(args, "positive");
    o->allow_leak = cli_get(args, "allow-leak") != NULL;
    if (o->task == NULL)
        o->task = "flag";
    if (!ranked &&
        (st = parse_methods(o, methods == NULL ? "maxsim,freq,mean" : methods, err)) != CMIR_OK)
        return st;
    if ((st = cli_get_choice(args, "database", databases, &database, err)) != CMIR_OK ||
        (st = split_list("nuisance", cli_get(args, "nuisance"), &o->nuisances, &o->n_nuisances,
                         err)) != CMIR_OK ||
        (st = parse_k(o, cli_get(args, "k"), err)) != CMIR_OK ||
        (st = cli_get_u32(args, "neighbours", 1, MAX_K, &o->n_neighbours, err)) != CMIR_OK ||
        (st = cli_get_u32(args, "bootstrap", 1, CMIR_EVAL_MAX_ROUNDS, &o->n_bootstrap, err)) !=
            CMIR_OK ||
        (st = cli_get_u32(args, "shuffles", 1, CMIR_EVAL_MAX_ROUNDS, &o->n_shuffles, err)) !=
            CMIR_OK ||
        (st = cli_get_u32(args, "threads", 1, 256, &o->n_threads, err)) != CMIR_OK ||
        (st = cli_get_u32(args, "whiten", 1, CMIR_MAX_DIM, &o->whiten, err)) != CMIR_OK ||
        (st = cli_get_number(args, "seed", 0, UINT64_MAX, &o->seed, err)) != CMIR_OK)
        return st;
    o->database = (eval_database)database;
    if (o->database == EVAL_MASKED && o->mask == NULL)
        return cli_fail(err, CMIR_EINVAL,
                        "--database masked needs --mask COLUMN: the slices of each volume, such "
                        "as 40:60, or a NIfTI mask");
    if (o->database != EVAL_MASKED && o->mask != NULL)
        return cli_fail(err, CMIR_EINVAL, "--mask is of --database masked only");
    if (o->database == EVAL_MASKED && o->locate != NULL)
        return cli_fail(err, CMIR_EINVAL,
                        "--locate is not of --database masked, which has nothing "
                        "but the slices of the mask");
    if (o->database != EVAL_PER_SITE && o->site != NULL)
        return cli_fail(err, CMIR_EINVAL, "--site is of --database per-site only");
    return CMIR_OK;
}

/* What one form takes and the other does not. */
static cmir_status
check_form(const cli_args *args, cmir_error *err)
{
    static const char *const searched[] = {"mask", "locate", "whiten"};
    const bool ranked = cli_get(args, "rankings") != NULL;

    if (!ranked && args->n_operands != 1)
        return cli_fail(err, CMIR_EINVAL,
                        args->n_operands == 0
                            ? "an archive is wanted, or --rankings with files"
                            : "one archive is wanted; further files are of --rankings only");
    if (ranked && cli_get(args, "methods") != NULL)
        return cli_fail(err, CMIR_EINVAL,
                        "--methods is of a search; the files of --rankings say "
                        "which methods they are of");
    if (ranked && cli_get(args, "labels") == NULL)
        return cli_fail(err, CMIR_EINVAL, "--rankings needs --labels CSV: what the volumes are");
    for (size_t i = 0; i < sizeof searched / sizeof searched[0]; i++)
        if (ranked && cli_get(args, searched[i]) != NULL)
            return cli_fail(err, CMIR_EINVAL, "--%s is of a search, not of --rankings",
                            searched[i]);
    return CMIR_OK;
}

static cmir_status
open_inputs(eval *e, cmir_error *err)
{
    static const char *const options[] = {"labels", "queries", "candidates"};
    cmir_label_table **const tables[] = {&e->labels, &e->queries_csv, &e->candidates_csv};
    const char *ranked = cli_get(e->args, "rankings");
    cmir_status st = CMIR_OK;

    for (size_t i = 0; i < 3 && st == CMIR_OK; i++)
        if (cli_get(e->args, options[i]) != NULL)
            st = cli_read_labels(cli_get(e->args, options[i]), tables[i], err);
    if (st == CMIR_OK && ranked == NULL)
        return cmir_archive_open(e->args->operands[0], CMIR_READ, &e->archive, err);
    if (st == CMIR_OK)
        st = eval_read_rankings(e, ranked, err);
    for (int i = 0; i < e->args->n_operands && st == CMIR_OK; i++)
        st = eval_read_rankings(e, e->args->operands[i], err);
    return st;
}

static cmir_status
evaluate(eval *e, cmir_error *err)
{
    cli_progress *progress = cli_progress_start(e->args, "draws of intervals and chance", 0);
    const cmir_eval_input input = eval_input(e);
    const cmir_eval_options options = eval_library_options(e, progress);
    const cmir_status st = cmir_evaluate(&input, &options, &e->result, err);

    cli_progress_end(progress);
    return st;
}

cmir_eval_input
eval_input(const eval *e)
{
    return (cmir_eval_input){.struct_nbytes = sizeof(cmir_eval_input),
                             .volumes = e->volumes,
                             .n_volumes = e->n_volumes,
                             .queries = e->queries,
                             .n_queries = e->n_queries,
                             .methods = e->methods,
                             .n_methods = e->n_methods,
                             .nuisances = (const char *const *)e->options.nuisances,
                             .n_nuisances = e->options.n_nuisances};
}

cmir_eval_options
eval_library_options(const eval *e, cli_progress *progress)
{
    const eval_options *o = &e->options;

    return (cmir_eval_options){.struct_nbytes = sizeof(cmir_eval_options),
                               .k = o->n_k == 0 ? NULL : o->k,
                               .n_k = o->n_k,
                               .n_neighbours = o->n_neighbours,
                               .positive = o->positive,
                               .n_bootstrap = o->n_bootstrap,
                               .n_shuffles = o->n_shuffles,
                               .seed = o->seed,
                               .allow_leak = o->allow_leak,
                               .seen = e->n_seen > 0,
                               .progress = cli_progress_count,
                               .progress_ctx = progress};
}

uint32_t
eval_largest_k(const eval *e)
{
    return e->options.n_k == 0 ? 10 : e->options.k[e->options.n_k - 1];
}

static cmir_status
run_steps(eval *e, cmir_error *err)
{
    const char *report = cli_get(e->args, "report");
    cmir_status st;

    if ((st = open_inputs(e, err)) != CMIR_OK || (st = eval_take_volumes(e, err)) != CMIR_OK ||
        (st = eval_split(e, err)) != CMIR_OK || (st = eval_whiten_count_seen(e, err)) != CMIR_OK)
        return st;
    eval_whiten_split(e);
    st = e->archive != NULL ? eval_search(e, err) : eval_lists_of_rankings(e, err);
    if (st != CMIR_OK || (st = evaluate(e, err)) != CMIR_OK ||
        (st = eval_locate_judge(e, err)) != CMIR_OK ||
        (e->archive != NULL && (st = cmir_archive_digest(e->archive, &e->digest, err)) != CMIR_OK))
        return st;
    if (e->args->json)
        cli_json_print(e->args, eval_json(e));
    else
        eval_print(e);
    return report == NULL ? CMIR_OK : eval_report(e, report, err);
}

static void
free_eval(eval *e)
{
    for (size_t i = 0; i < e->n_volumes; i++) {
        free((void *)(uintptr_t)e->volumes[i].id);
        free((void *)(uintptr_t)e->volumes[i].value);
        free((void *)(uintptr_t)e->volumes[i].group);
        free((void *)(uintptr_t)e->volumes[i].cohort);
        free((void *)(uintptr_t)e->volumes[i].nuisances);
        free(e->extras[i].site);
        eval_slices_free(&e->extras[i].masked);
        eval_slices_free(&e->extras[i].shown);
    }
    for (size_t m = 0; m < e->n_methods; m++) {
        for (size_t i = 0; i < e->n_queries; i++) {
            free((void *)(uintptr_t)e->methods[m].lists[i].found);
            free((void *)(uintptr_t)e->methods[m].lists[i].scores);
        }
        free((void *)(uintptr_t)e->methods[m].lists);
    }
    for (size_t i = 0; i < e->n_queries; i++)
        free((void *)(uintptr_t)e->queries[i].database);
    for (size_t i = 0; i < e->n_files; i++) {
        free(e->files[i].name);
        cmir_free(e->files[i].rows);
    }
    free(e->volumes);
    free(e->extras);
    free(e->methods);
    free(e->queries);
    free(e->files);
    free(e->rankings);
    free(e->locations);
    free(e->localised);
    free(e->n_unknown_hits);
    free(e->task_column);
    free_list(e->options.nuisances, e->options.n_nuisances);
    free_list(e->options.methods, e->options.n_methods);
    free(e->options.k);
}

static cmir_status
run_eval(cli_args *args, cmir_error *err)
{
    eval e = {.args = args};
    cmir_status st = check_form(args, err);

    cli_catch_interrupts();
    if (st == CMIR_OK && (st = parse_options(args, &e.options, err)) == CMIR_OK)
        st = run_steps(&e, err);
    eval_whiten_close(&e);
    eval_masked_close(&e);
    eval_scratch_close(&e);
    cmir_evaluation_free(e.result);
    cmir_label_table_free(e.labels);
    cmir_label_table_free(e.queries_csv);
    cmir_label_table_free(e.candidates_csv);
    cmir_archive_close(e.archive);
    free_eval(&e);
    return st;
}

static const cli_option eval_options_table[] = {
    {"task", 0, "TASK", "what is asked for: flag (default), stage, tumour-stage, or a column"},
    {"labels", 0, "CSV", "what is known of the volumes, beside what the archive knows"},
    {"queries", 0, "CSV",
     "the queries, a volume a line (default: every volume, leaving its patient "
     "out)"},
    {"candidates", 0, "CSV", "the volumes searched (default: all that are no query)"},
    {"methods", 0, "LIST", "scores as of search, with commas (default maxsim,freq,mean)"},
    {"rankings", 0, "FILE...", "ranked lists from files (CSV or TREC run) instead of an archive"},
    {"database", 0, "WHICH", "merged (default), per-site or masked"},
    {"site", 0, "COLUMN", "of per-site (default site, else organ)"},
    {"mask", 0, "COLUMN", "of masked: the slices that take part, such as 40:60, or a NIfTI mask"},
    {"locate", 0, "COLUMN",
     "slices that show a structure, such as 40:60, or its NIfTI mask: are they found where hits "
     "show it?"},
    {"whiten", 0, "D",
     "whiten to D dimensions, learnt for each patient from the candidates of all others"},
    {"k", 0, "LIST", "cut-offs (default 3,5,10)"},
    {"neighbours", 0, "N", "cases that vote (default 10)"},
    {"positive", 0, "VALUE",
     "of the task: what AUROC and calibration are about (default: 1 of two)"},
    {"group", 0, "COLUMN",
     "the patient (default PatientID, else StudyInstanceUID, else the volume)"},
    {"cohort", 0, "COLUMN", "where volumes come from: adds the line that this alone reaches"},
    {"nuisance", 0, "LIST", "columns of numbers: adds the line that each reaches alone"},
    {"bootstrap", 0, "N", "draws of patients for intervals (default 2000)"},
    {"shuffles", 0, "N", "draws of the lines of chance (default 2000)"},
    {"seed", 0, "S", "of both (default 0)"},
    {"allow-leak", 0, NULL, "go on where a query's own patient is in its database, and say so"},
    {"report", 0, "FILE.html", "write a page with tables, curves, and the best and worst queries"},
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_eval = {
    "eval",
    "ARCHIVE | --rankings FILE...",
    "Judges what is found for queries with known answers, beside chance, cohort and nuisances.",
    "eval lungs --task stage --methods maxsim,symmetric,freq --cohort site --report eval.html\n"
    "eval colon --labels colon_labels.csv --queries colon_test.csv --cohort organ --json\n"
    "eval sarcomas --labels sarcoma/labels.csv --locate mask --whiten 64\n"
    "eval --rankings ours.csv theirs.run --labels labels.csv --queries test.csv",
    0,
    -1,
    eval_options_table,
    run_eval};
