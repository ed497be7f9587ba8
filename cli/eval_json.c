/* SPDX-License-Identifier: Apache-2.0 */
/* eval_json.c: an evaluation as one JSON object: all that is needed to check
 * it, and to do it again. */
#include <string.h>

#include "eval.h"

static const char *const kinds[] = {"Method", "Random", "Majority", "Cohort", "Nuisance"};
static const char *const databases[] = {"merged", "per-site", "masked"};

static json_t *
text_or_null(const char *text)
{
    return text == NULL ? json_null() : cmir_json_text(text);
}

static json_t *
texts(const char *const *text, size_t n)
{
    json_t *array = cli_need(json_array());

    for (size_t i = 0; i < n; i++)
        cmir_json_add(array, cmir_json_text(text[i]));
    return array;
}

static json_t *
numbers(const double *value, size_t n)
{
    json_t *array = cli_need(json_array());

    for (size_t i = 0; i < n; i++)
        cmir_json_add(array, cmir_json_number(value[i]));
    return array;
}

static json_t *
figure_json(const cmir_eval_figure *f)
{
    return json_pack("{s:o, s:o, s:o}", "Value", cmir_json_number(f->value), "Low",
                     cmir_json_number(f->low), "High", cmir_json_number(f->high));
}

static json_t *
confusion_json(const cmir_eval_line *line, size_t n)
{
    json_t *rows = cli_need(json_array());

    for (size_t i = 0; i < n; i++)
        cmir_json_add(rows, numbers(line->confusion + i * n, n));
    return rows;
}

static json_t *
reliability_json(const cmir_eval_line *line)
{
    json_t *bins = cli_need(json_array());

    for (int b = 0; b < 10; b++)
        cmir_json_add(bins,
                      json_pack("{s:o, s:o, s:o}", "Queries", cmir_json_number(line->bin_n[b]),
                                "Evidence", cmir_json_number(line->bin_evidence[b]), "Rate",
                                cmir_json_number(line->bin_rate[b])));
    return bins;
}

static json_t *
line_json(const cmir_evaluation *r, const cmir_eval_line *line)
{
    json_t *o = cli_need(json_object()), *figures = cli_need(json_object());

    for (size_t m = 0; m < r->n_metrics; m++)
        cmir_json_set(figures, r->metrics[m], figure_json(&line->figures[m]));
    cmir_json_set(o, "Name", cmir_json_text(line->name));
    cmir_json_set(o, "Kind", json_string(kinds[line->kind]));
    cmir_json_set(o, "Figures", figures);
    cmir_json_set(o, "Accuracy", figure_json(&line->accuracy));
    cmir_json_set(o, "Confusion", confusion_json(line, r->n_values));
    if (r->positive != NULL) {
        cmir_json_set(o, "Auroc", figure_json(&line->auroc));
        cmir_json_set(o, "Auprc", figure_json(&line->auprc));
        cmir_json_set(o, "Brier", figure_json(&line->brier));
        cmir_json_set(o, "Reliability", reliability_json(line));
    }
    return o;
}

static json_t *
pair_json(const cmir_evaluation *r, const cmir_eval_pair *p)
{
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "A",
                     cmir_json_text(r->lines[p->a].name), "B", cmir_json_text(r->lines[p->b].name),
                     "Metric", r->metrics[p->metric], "Difference", cmir_json_number(p->difference),
                     "Low", cmir_json_number(p->low), "High", cmir_json_number(p->high), "Wilcoxon",
                     cmir_json_number(p->wilcoxon), "WilcoxonHolm",
                     cmir_json_number(p->wilcoxon_holm), "SignFlip", cmir_json_number(p->sign_flip),
                     "SignFlipHolm", cmir_json_number(p->sign_flip_holm));
}

/* What each line says of a query: figures by metric, the share of the vote, the first found. */
static json_t *
query_lines_json(const eval *e, size_t query, uint32_t n_shown)
{
    const cmir_evaluation *r = e->result;
    json_t *lines = cli_need(json_array());

    for (size_t i = 0; i < r->n_lines; i++) {
        const cmir_eval_line *line = &r->lines[i];
        json_t *o = cli_need(json_object()), *found = cli_need(json_array());
        const cmir_eval_list *list = i < e->n_methods ? &e->methods[i].lists[query] : NULL;

        for (uint32_t k = 0; list != NULL && k < list->n_found && k < n_shown; k++)
            cmir_json_add(found, cmir_json_text(e->volumes[list->found[k]].id));
        cmir_json_set(o, "Name", cmir_json_text(line->name));
        cmir_json_set(o, "Figures", numbers(line->per_query + query * r->n_metrics, r->n_metrics));
        if (r->positive != NULL)
            cmir_json_set(o, "Evidence", cmir_json_number(line->evidence[query]));
        if (list != NULL) {
            cmir_json_set(o, "Found", found);
            if (list->scores != NULL)
                cmir_json_set(
                    o, "Scores",
                    numbers(list->scores, list->n_found < n_shown ? list->n_found : n_shown));
            cmir_json_set(o, "FoundCount", json_integer(list->n_found));
        } else {
            json_decref(found);
        }
        cmir_json_add(lines, o);
    }
    return lines;
}

static json_t *
queries_json(const eval *e)
{
    const uint32_t n_shown = eval_largest_k(e);
    json_t *queries = cli_need(json_array());

    for (size_t i = 0; i < e->n_queries; i++) {
        const cmir_eval_query *query = &e->queries[i];
        const cmir_eval_volume *volume = &e->volumes[query->volume];
        json_t *o = cli_need(json_object());

        cmir_json_set(o, "VolumeId", cmir_json_text(volume->id));
        cmir_json_set(o, "Value", cmir_json_text(volume->value));
        cmir_json_set(o, "Candidates", json_integer(query->n_database));
        cmir_json_set(o, "Lines", query_lines_json(e, i, n_shown));
        cmir_json_add(queries, o);
    }
    return queries;
}

/* The first and the last. */
static json_t *
hull(const eval_slices *slices)
{
    return cmir_json_pair(slices->at[0], slices->at[slices->n - 1]);
}

/* All of them, and the mask that marks them. */
static void
set_slices(json_t *o, const eval_slices *slices)
{
    cmir_json_set(o, "Runs", eval_slices_runs(slices));
    if (slices->path != NULL)
        cmir_json_set(o, "MaskFile", cmir_json_text(slices->path));
}

static json_t *
volumes_json(const eval *e)
{
    json_t *volumes = cli_need(json_array());

    for (size_t i = 0; i < e->n_volumes; i++) {
        const cmir_eval_volume *volume = &e->volumes[i];
        json_t *o = cli_need(json_object());

        cmir_json_set(o, "VolumeId", cmir_json_text(volume->id));
        cmir_json_set(o, "Value", cmir_json_text(volume->value));
        cmir_json_set(o, "Patient", cmir_json_text(volume->group));
        cmir_json_set(o, "Cohort", text_or_null(volume->cohort));
        if (e->extras[i].site != NULL)
            cmir_json_set(o, "Site", cmir_json_text(e->extras[i].site));
        if (e->options.mask != NULL) {
            cmir_json_set(o, "MaskSlices", hull(&e->extras[i].masked));
            set_slices(o, &e->extras[i].masked);
        }
        cmir_json_set(o, "Nuisances", numbers(volume->nuisances, e->options.n_nuisances));
        cmir_json_set(o, "Query", json_boolean(e->extras[i].is_query));
        cmir_json_set(o, "Candidate", json_boolean(e->extras[i].is_candidate));
        cmir_json_add(volumes, o);
    }
    return volumes;
}

static json_t *
archive_json(const eval *e)
{
    const cmir_archive_info *info = cmir_archive_get_info(e->archive);
    json_t *o = cli_need(json_object());

    cmir_json_set(o, "Path", cmir_json_text(info->dir));
    cmir_json_set(o, "Volumes", json_integer((json_int_t)info->n_volumes));
    cmir_json_set(o, "Sha256", json_string(e->digest.contents));
    return o;
}

/* How it was done. */
static void
set_protocol(const eval *e, json_t *o)
{
    const cmir_evaluation *r = e->result;
    const eval_options *options = &e->options;
    json_t *whitening = eval_whiten_json(e);

    cmir_json_set(o, "Task", cmir_json_text(options->task));
    cmir_json_set(o, "TaskColumn", cmir_json_text(e->task_column));
    cmir_json_set(o, "Positive", text_or_null(r->positive));
    cmir_json_set(o, "Values", texts(r->values, r->n_values));
    cmir_json_set(o, "Split", json_string(eval_split_name(e)));
    cmir_json_set(o, "Database", json_string(databases[options->database]));
    cmir_json_set(o, "Nuisances",
                  texts((const char *const *)options->nuisances, options->n_nuisances));
    cmir_json_set(o, "Cohort", text_or_null(options->cohort));
    cmir_json_set(o, "Patient", text_or_null(options->group));
    cmir_json_set(o, "Seed", json_integer((json_int_t)options->seed));
    cmir_json_set(o, "WithoutValue", json_integer((json_int_t)e->n_without_value));
    cmir_json_set(o, "WithoutMask", json_integer((json_int_t)e->n_without_mask));
    cmir_json_set(o, "UnknownLabels", json_integer((json_int_t)e->n_unknown));
    cmir_json_set(o, "Queries", json_integer((json_int_t)r->n_queries));
    cmir_json_set(o, "Patients", json_integer((json_int_t)r->n_groups));
    cmir_json_set(o, "ShortQueries", json_integer(r->n_short));
    cmir_json_set(o, "Leak", json_boolean(r->leak));
    if (e->n_masks > 0)
        cmir_json_set(o, "Masks",
                      json_pack("{s:I, s:I}", "Files", (json_int_t)e->n_masks, "Empty",
                                (json_int_t)e->n_empty_masks));
    if (whitening != NULL)
        cmir_json_set(o, "Whitening", whitening);
}

/* The slices that show the structure, of each volume of which they are known. */
static json_t *
shown_json(const eval *e)
{
    json_t *volumes = cli_need(json_array());

    for (size_t i = 0; i < e->n_volumes; i++) {
        const eval_slices *shown = &e->extras[i].shown;
        json_t *o;

        if (shown->n == 0 && shown->path == NULL)
            continue;
        o = cli_need(json_object());
        cmir_json_set(o, "VolumeId", cmir_json_text(e->volumes[i].id));
        set_slices(o, shown);
        cmir_json_add(volumes, o);
    }
    return volumes;
}

/* Where hits lie: the figures of each method, and the counts that they are made of. */
static json_t *
locations_json(const eval *e)
{
    json_t *o = cli_need(json_object()), *methods = cli_need(json_array());
    json_t *hits = cli_need(json_array());
    size_t n_queries, n_volumes;

    for (size_t m = 0; m < e->n_methods; m++) {
        const cmir_eval_localisation *l = &e->localised[m];

        cmir_json_add(methods,
                      json_pack("{s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "Name",
                                cmir_json_text(e->methods[m].name), "Queries",
                                (json_int_t)l->n_queries, "Patients", (json_int_t)l->n_groups,
                                "Hits", (json_int_t)l->n_hits, "HitsUnknown",
                                (json_int_t)e->n_unknown_hits[m], "Ratio", figure_json(&l->ratio),
                                "Chance", figure_json(&l->chance), "TimesChance",
                                figure_json(&l->gain), "RunIou", figure_json(&l->iou), "RunPlaced",
                                figure_json(&l->placed)));
    }
    for (size_t i = 0; i < e->n_locations; i++) {
        const cmir_eval_location *h = &e->locations[i];
        const uint32_t query = e->queries[h->query].volume;

        cmir_json_add(hits, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "Method",
                                      cmir_json_text(e->methods[h->method].name), "Query",
                                      cmir_json_text(e->volumes[query].id), "VolumeId",
                                      cmir_json_text(e->volumes[h->volume].id), "MatchesInside",
                                      cmir_json_pair(h->n_inside, h->n_matches), "SlicesShown",
                                      cmir_json_pair(h->n_shown, h->n_slices), "MatchSlices",
                                      cmir_json_pair(h->run_first, h->run_last), "ShownSlices",
                                      hull(&e->extras[h->volume].shown), "QuerySlices",
                                      hull(&e->extras[query].shown)));
    }
    eval_count_shown(e, &n_queries, &n_volumes);
    cmir_json_set(o, "Column", cmir_json_text(e->options.locate));
    cmir_json_set(o, "K", json_integer(eval_largest_k(e)));
    cmir_json_set(o, "PlacedFrom", json_real(CMIR_EVAL_PLACED));
    cmir_json_set(o, "QueriesUnknown", json_integer((json_int_t)(e->n_queries - n_queries)));
    cmir_json_set(o, "VolumesUnknown", json_integer((json_int_t)(e->n_volumes - n_volumes)));
    cmir_json_set(o, "Methods", methods);
    cmir_json_set(o, "Hits", hits);
    cmir_json_set(o, "Volumes", shown_json(e));
    return o;
}

json_t *
eval_json(const eval *e)
{
    const cmir_evaluation *r = e->result;
    json_t *o = cli_need(json_object()), *lines = cli_need(json_array());
    json_t *pairs = cli_need(json_array());

    for (size_t i = 0; i < r->n_lines; i++)
        cmir_json_add(lines, line_json(r, &r->lines[i]));
    for (size_t i = 0; i < r->n_pairs; i++)
        cmir_json_add(pairs, pair_json(r, &r->pairs[i]));
    set_protocol(e, o);
    cmir_json_set(o, "Metrics", texts(r->metrics, r->n_metrics));
    cmir_json_set(o, "Lines", lines);
    cmir_json_set(o, "Pairs", pairs);
    if (e->localised != NULL)
        cmir_json_set(o, "Locations", locations_json(e));
    cmir_json_set(o, "PerQuery", queries_json(e));
    cmir_json_set(o, "Volumes", volumes_json(e));
    if (e->archive != NULL) {
        cmir_json_set(o, "Archive", archive_json(e));
        json_t *encoder = cmir_json_encoder(cmir_archive_get_info(e->archive));
        cmir_json_set(encoder, "CardSha256", json_string(e->digest.card));
        cmir_json_set(o, "Encoder", encoder);
    }
    cmir_json_set(o, "Command", cmir_json_text(e->args->command));
    cmir_json_set(o, "Version", json_string(cmir_version()));
    cmir_json_set(o, "Notice", json_string(CMIR_NOTICE));
    return o;
}
