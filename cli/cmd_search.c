/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_search.c: the verb search: volumes like the query, best first, and the slices that match. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define LABELS_WIDTH 48
#define MAX_LIMIT 1000000u

static const char *const exclusions[] = {"volume", "study", "patient", "none", NULL};

/* "A:B" */
static cmir_status
parse_slices(const char *text, cmir_search_options *options, cmir_error *err)
{
    unsigned long value[2] = {0, 0};
    const char *p = text;
    bool good = true;

    for (int i = 0; i < 2 && good; i++) {
        const size_t n = strspn(p, "0123456789");
        good = n > 0 && n < 10 && p[n] == (i == 0 ? ':' : '\0');
        value[i] = strtoul(p, NULL, 10);
        p += n + (i == 0);
    }
    if (!good)
        return cli_fail(err, CMIR_EINVAL,
                        "--slices '%s': the first and last slice of the query are wanted, from 0, "
                        "such as 40:60",
                        text);
    if (value[0] > value[1])
        return cli_fail(err, CMIR_EINVAL, "--slices %s: the first comes after the last", text);
    options->slices_given = true;
    options->first_slice = (uint32_t)value[0];
    options->last_slice = (uint32_t)value[1];
    return CMIR_OK;
}

static cmir_status
read_options(const cli_args *args, cmir_search_options *options, char **contrast_copy,
             cmir_error *err)
{
    const char *slices = cli_get(args, "slices"), *score = cli_get(args, "score");
    const char *contrast = cli_get(args, "contrast");
    int exclude;
    cmir_status st;

    *options =
        (cmir_search_options){.struct_nbytes = sizeof *options, .limit = 10, .n_neighbours = 10};
    options->where = cli_get(args, "where");
    if ((slices != NULL && (st = parse_slices(slices, options, err)) != CMIR_OK) ||
        (st = cli_get_u32(args, "limit", 1, MAX_LIMIT, &options->limit, err)) != CMIR_OK ||
        (contrast != NULL &&
         (st = cli_parse_contrast(contrast, contrast_copy, options, err)) != CMIR_OK) ||
        (st = cli_get_u32(args, "k", CMIR_EVIDENCE_LEAST, CMIR_EVIDENCE_MOST,
                          &options->n_neighbours, err)) != CMIR_OK ||
        (st = cli_get_u32(args, "threads", 1, 256, &options->n_threads, err)) != CMIR_OK ||
        (st = cli_get_u32(args, "rerank", 1, UINT32_MAX, &options->n_rerank, err)) != CMIR_OK ||
        (st = cli_get_choice(args, "exclude", exclusions, &exclude, err)) != CMIR_OK ||
        (score != NULL && (st = cmir_score_parse(score, &options->score, err)) != CMIR_OK))
        return st;
    options->exclude = (cmir_exclude)exclude;
    options->exhaustive = cli_get(args, "exhaustive") != NULL;
    if (options->exhaustive && options->n_rerank > 0)
        return cli_fail(err, CMIR_EINVAL,
                        "--exhaustive scores every volume, --rerank only some: "
                        "one of them");
    return CMIR_OK;
}

static void
print_hits(cli_args *args, const cmir_result *r)
{
    static const char *const heading[] = {"RANK", "SCORE",    "VOLUME",    "SLICES",
                                          "MM",   "OF QUERY", "BEST PAIR", "LABELS"};
    cli_table table = {.n_columns = 8, .right = 1u << 0 | 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5};

    for (size_t i = 0; i < sizeof heading / sizeof heading[0]; i++)
        cli_cell(&table, "%s", heading[i]);
    for (size_t i = 0; i < r->n_hits; i++) {
        const cmir_hit *h = &r->hits[i];
        const cmir_match *best = &h->matches[h->best];
        char *labels = cli_labels_text(h->record, LABELS_WIDTH);
        cli_cell(&table, "%u", h->rank);
        cli_cell(&table, r->score == CMIR_FREQ ? "%.0f" : "%.4f", h->score);
        cli_cell(&table, "%s", h->record->info.volume_id);
        cli_cell(&table, "%u-%u", h->match_first, h->match_last);
        if (isnan(h->match_mm[0]))
            cli_cell(&table, "%s", "");
        else
            cli_cell(&table, "%.1f..%.1f", h->match_mm[0], h->match_mm[1]);
        cli_cell(&table, "%u-%u", h->query_first, h->query_last);
        cli_cell(&table, "%u->%u %.4f", best->query_slice, best->match_slice,
                 (double)best->similarity);
        cli_cell(&table, "%s", labels);
        free(labels);
    }
    cli_print_table(&table, r->n_hits > 0 ? args->out : NULL);
}

/* Why a search found nothing. */
static void
explain_nothing(cli_args *args, const cmir_archive *archive, const cmir_search_options *options)
{
    char **ids = NULL;
    size_t n = 0;

    if (cmir_archive_get_info(archive)->n_volumes == 0)
        cli_line(args->out, "Nothing to search: the archive is empty.");
    else if (cmir_archive_list(archive, options->where, &ids, &n, NULL) == CMIR_OK && n == 0)
        cli_line(args->out, "Nothing to search: no volume passes --where \"%s\".", options->where);
    else
        cli_line(args->out,
                 "Nothing to search: --exclude %s leaves out %s (--exclude none keeps all).",
                 exclusions[options->exclude],
                 n == 1 ? "the only volume" : "all volumes that pass the filter");
    cmir_ids_free(ids, n);
}

static void
print_text(cli_args *args, const cmir_archive *archive, const cmir_search_options *options,
           const cmir_result *r)
{
    const cmir_archive_info *info = cmir_archive_get_info(archive);

    if (!args->quiet)
        cli_line(args->out, "query: %s, slices %u-%u of 0-%u (%u only air); encoder %s %s",
                 r->query->info.volume_id, r->first_slice, r->last_slice, r->query->n_slices - 1,
                 r->query->n_air, info->encoder_name, info->encoder_version);
    if (r->n_candidates == 0)
        explain_nothing(args, archive, options);
    else
        print_hits(args, r);
    cli_print_evidence(args, r->evidence);
    if (r->contrast != NULL)
        cli_print_contrast(args, r->contrast);
    if (!args->quiet && r->n_reranked < r->n_candidates)
        cli_line(args->out,
                 "%llu candidates, the best %llu at first look ranked exactly, score %s, %.3f s",
                 (unsigned long long)r->n_candidates, (unsigned long long)r->n_reranked,
                 cmir_score_name(r->score), r->seconds);
    else if (!args->quiet)
        cli_line(args->out, "%llu candidate%s, score %s, %.3f s",
                 (unsigned long long)r->n_candidates, r->n_candidates == 1 ? "" : "s",
                 cmir_score_name(r->score), r->seconds);
    cli_line(args->out, "Research use only, not for diagnosis.");
}

void
cli_show_result(cli_args *args, const cmir_archive *archive, const cmir_search_options *options,
                const cmir_result *result)
{
    if (args->json)
        cli_json_print(args, cmir_json_result(archive, result, true));
    else
        print_text(args, archive, options, result);
}

static cmir_status
write_report(cli_args *args, const cmir_archive *archive, const cmir_result *result,
             cmir_volume *query, cmir_error *err)
{
    const char *path = cli_get(args, "report");
    cli_progress *progress = cli_progress_start(args, "hits drawn", 0);
    const cmir_report_options options = {.struct_nbytes = sizeof options,
                                         .command = args->command,
                                         .query = query,
                                         .max_hits = (uint32_t)result->n_hits,
                                         .progress = cli_progress_count,
                                         .progress_ctx = progress};
    const cmir_status st = cmir_report_write(result, archive, &options, path, err);

    cli_progress_end(progress);
    if (st == CMIR_OK && !args->quiet && !args->json)
        cli_line(args->out, "report: %s", path);
    return st;
}

static cmir_status
search(const cli_args *args, const cmir_archive *archive, const cli_query *query,
       const cmir_search_options *options, cmir_result **result, cmir_error *err)
{
    cmir_encoder *encoder = NULL;
    cmir_status st;

    if (query->npy.rows != NULL) {
        uint8_t *marks = cli_need(calloc(query->npy.n_slices, 1));
        const cmir_embeddings e = {(float *)(uintptr_t)query->npy.rows, marks, query->npy.n_slices,
                                   query->npy.dim}; /* only read */

        st = cmir_search_embeddings(archive, &e, query->volume_id, options, result, err);
        free(marks);
        return st;
    }
    if (query->volume == NULL)
        return cmir_search_stored(archive, query->archive, query->volume_id, options, result, err);
    if ((st = cli_open_encoder(args, archive, &encoder, err)) != CMIR_OK)
        return st;
    st = cmir_search_volume(archive, encoder, query->volume, options, result, err);
    cmir_encoder_close(encoder);
    return st;
}

static cmir_status
search_one(cli_args *args, const cmir_archive *archive, const cmir_search_options *options,
           cmir_error *err)
{
    cmir_result *result = NULL;
    cli_query query = {0};
    cmir_status st;

    if ((st = cli_open_query(args, args->operands[1], &query, err)) == CMIR_OK &&
        (st = search(args, archive, &query, options, &result, err)) == CMIR_OK) {
        cli_show_result(args, archive, options, result);
        if (cli_get(args, "report") != NULL)
            st = write_report(args, archive, result, query.volume, err);
    }
    cmir_result_free(result);
    cli_close_query(&query);
    return st;
}

static cmir_status
run_search(cli_args *args, cmir_error *err)
{
    const char *list = cli_get(args, "batch");
    cmir_search_options options;
    cmir_archive *archive = NULL;
    char *contrast = NULL;
    cmir_status st;

    if ((list == NULL) != (args->n_operands == 2))
        return cli_fail(err, CMIR_EINVAL, "one query is wanted, or --batch with a list of queries");
    if (list != NULL && cli_get(args, "report") != NULL)
        return cli_fail(err, CMIR_EINVAL, "--report is of one query; --batch has many");
    if ((st = read_options(args, &options, &contrast, err)) == CMIR_OK &&
        (st = cmir_archive_open(args->operands[0], CMIR_READ, &archive, err)) == CMIR_OK)
        st = list == NULL ? search_one(args, archive, &options, err)
                          : cli_search_batch(args, archive, list, &options, err);
    cmir_archive_close(archive);
    free(contrast);
    return st;
}

static const cli_option search_options[] = {
    {"slices", 0, "A:B", "search with slices A to B of the query only; from 0, both included"},
    {"limit", 0, "K", "show the best K volumes (default 10)"},
    {"score", 0, "NAME",
     "maxsim (default), symmetric, length-corrected, ordered, weighted, freq, max, sum, mean, "
     "median, max-pool or std"},
    {"where", 0, "EXPR", "only volumes that pass, as in \"Modality = 'CT' and stage >= 2\""},
    {"exclude", 0, "WHAT", "leave out the query's own volume (default), study, patient, or none"},
    {"exhaustive", 0, NULL, "rank every volume exactly, also in a large archive"},
    {"rerank", 0, "C",
     "rank exactly the C volumes that look best at first (default: by the "
     "archive's size)"},
    {"k", 0, "N", "let the N nearest cases with labels give evidence (default 10)"},
    {"contrast", 0, "LABEL[=VALUE]",
     "show which slices look more like cases with this label than like cases without"},
    {"batch", 0, "LIST", "many queries: a file with one per line (- is standard input)"},
    {"report", 0, "FILE.html", "write a page with pictures of the query and the hits"},
    {"series", 0, "ID", "which series, where the query's folder holds several"},
    {"modality", 0, "CT|MR", "of a query that states none (NIfTI); default: told by the values"},
    {"frame", 0, "N", "frame of a 4-D NIfTI, from 1"},
    {"encoder", 0, "CARD", "where the archive's encoder card lies now"},
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_search = {
    "search",
    "ARCHIVE QUERY",
    "Finds volumes like the query: a file, a folder, ARCHIVE:VOLUME, or embeddings (.npy).",
    "search lungs scan.nii.gz --slices 40:60 --report report.html\n"
    "search lungs lungs:patient17_ct --exclude patient --json\n"
    "search lungs --batch queries.txt --json",
    1,
    2,
    search_options,
    run_search};
