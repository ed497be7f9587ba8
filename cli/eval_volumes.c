/* SPDX-License-Identifier: Apache-2.0 */
/* eval_volumes.c: the volumes that take part in an evaluation, and what it needs to know of them.
 *
 * The one idea: what has no value of the task cannot be judged, so it is neither a query nor a
 * candidate; how many were left out is told. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

#define STAGE_BY_RULE "tumour-stage" /* the task that is computed from size and number */

static const char *const rule_columns[] = {"organ", "max_tumor_size_mm", "max_tumor_size",
                                           "number_tumors"};

/* The column that a name stands for: itself where there is one, else the one that 3D-MIR has. */
static const char *
column_of(const eval_columns *c, const char *name)
{
    static const char *const other[][2] = {{"flag", "cancer_flag"},
                                           {"stage", "lesion_group"},
                                           {"site", "organ"},
                                           {"patient", "PatientID"}};

    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        if (strcmp(name, other[i][0]) == 0 && !eval_columns_has(c, name) &&
            eval_columns_has(c, other[i][1]))
            return other[i][1];
    return name;
}

/* Turns names into columns, and sees to it that all exist. */
static cmir_status
resolve(eval *e, const eval_columns *c, cmir_error *err)
{
    eval_options *o = &e->options;
    const bool rule = strcmp(o->task, STAGE_BY_RULE) == 0 && !eval_columns_has(c, o->task);
    const char *task = rule ? rule_columns[3] : column_of(c, o->task);
    cmir_status st;

    e->task_column = cli_need(strdup(rule ? STAGE_BY_RULE : task));
    if (o->group != NULL)
        o->group = column_of(c, o->group);
    if (o->database == EVAL_PER_SITE)
        o->site = column_of(c, o->site == NULL ? "site" : o->site);
    if ((st = eval_columns_need(c, "task", task, err)) != CMIR_OK ||
        (o->group != NULL && (st = eval_columns_need(c, "group", o->group, err)) != CMIR_OK) ||
        (o->cohort != NULL && (st = eval_columns_need(c, "cohort", o->cohort, err)) != CMIR_OK) ||
        (o->site != NULL && (st = eval_columns_need(c, "site", o->site, err)) != CMIR_OK) ||
        (o->mask != NULL && (st = eval_columns_need(c, "mask", o->mask, err)) != CMIR_OK) ||
        (o->locate != NULL && (st = eval_columns_need(c, "locate", o->locate, err)) != CMIR_OK))
        return st;
    for (size_t i = 0; i < o->n_nuisances; i++)
        if ((st = eval_columns_need(c, "nuisance", o->nuisances[i], err)) != CMIR_OK)
            return st;
    return CMIR_OK;
}

/* A number of volume i; NAN where it has none. */
static cmir_status
number(eval_columns *c, size_t i, const char *name, double *out, cmir_error *err)
{
    const char *text = eval_columns_get(c, i, name);
    char *end;

    *out = NAN;
    if (text == NULL)
        return CMIR_OK;
    *out = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(*out))
        return cli_fail(err, CMIR_ECORRUPT, "%.80s: its %.60s '%.40s' is no number",
                        eval_columns_volume(c, i), name, text);
    return CMIR_OK;
}

/* The stage of volume i by the rules of 3D-MIR; *value is NULL where size or number is unknown. */
static cmir_status
stage_by_rule(eval_columns *c, size_t i, char text[16], const char **value, cmir_error *err)
{
    double size_mm, size_cm, count;
    const char *organ;
    int stage = -1;
    cmir_status st;

    *value = NULL;
    if ((st = number(c, i, rule_columns[1], &size_mm, err)) != CMIR_OK ||
        (st = number(c, i, rule_columns[2], &size_cm, err)) != CMIR_OK ||
        (st = number(c, i, rule_columns[3], &count, err)) != CMIR_OK)
        return st;
    if (!isnan(size_mm))
        size_cm = size_mm / 10;
    if (isnan(count) || (count > 0 && isnan(size_cm)))
        return CMIR_OK;
    if (count < 0 || count > UINT32_MAX || count != floor(count))
        return cli_fail(err, CMIR_ECORRUPT, "%.80s: its %s %g is no count",
                        eval_columns_volume(c, i), rule_columns[3], count);
    organ = eval_columns_get(c, i, rule_columns[0]);
    if (count > 0 && (st = cmir_tumour_stage(organ == NULL ? "" : organ, size_cm, (uint32_t)count,
                                             &stage, err)) != CMIR_OK)
        return st;
    (void)snprintf(text, 16, "%d", stage);
    *value = text;
    return CMIR_OK;
}

/* The slices that show the structure, if it is known which do. */
static cmir_status
take_shown(eval *e, eval_columns *c, size_t i, eval_extra *extra, cmir_error *err)
{
    const cmir_record *record = eval_columns_record(c, i);
    const char *column = e->options.locate, *csv, *text = eval_columns_find(c, i, column, &csv);
    const bool all_air = record->n_air == record->n_slices; /* is treated as if none were */
    cmir_status st;

    if (text == NULL)
        return CMIR_OK;
    if ((st = eval_slices_take(e, record, column, text, csv, &extra->shown, err)) != CMIR_OK)
        return st;
    for (uint32_t s = 0; s < record->n_slices; s++)
        if (all_air || (record->slice_marks[s] & CMIR_SLICE_AIR) == 0) {
            extra->n_slices++;
            extra->n_shown += eval_slices_have(&extra->shown, s);
        }
    if (extra->n_shown == 0 && extra->shown.n > 0)
        return cli_fail(err, CMIR_ECORRUPT, "%.80s: its %.60s %.60s: these slices hold only air",
                        record->info.volume_id, column, text);
    return CMIR_OK;
}

static char *
copy(const char *text)
{
    return text == NULL ? NULL : cli_need(strdup(text));
}

/* The patient: the column asked for, else what the catalogue knows. */
static cmir_status
take_group(eval *e, eval_columns *c, size_t i, cmir_eval_volume *volume, eval_extra *extra,
           cmir_error *err)
{
    const char *asked = e->options.group, *group;

    group = eval_columns_get(c, i, asked != NULL ? asked : "PatientID");
    if (group == NULL && asked != NULL)
        return cli_fail(err, CMIR_ECORRUPT,
                        "%.80s has no '%.60s' (--group): whose it is must be "
                        "known, or it may answer itself",
                        volume->id, asked);
    if (group == NULL)
        group = eval_columns_get(c, i, "StudyInstanceUID");
    extra->ungrouped = group == NULL;
    volume->group = copy(group == NULL ? volume->id : group);
    return CMIR_OK;
}

/* The slices that take part: none of a volume without a mask, or with an empty one. */
static cmir_status
take_mask(eval *e, eval_columns *c, size_t i, eval_slices *out, cmir_error *err)
{
    const char *column = e->options.mask, *csv, *text = eval_columns_find(c, i, column, &csv);

    return text == NULL
               ? CMIR_OK
               : eval_slices_take(e, eval_columns_record(c, i), column, text, csv, out, err);
}

/* Takes volume i, whose value is known; `mask` is its own from here on. */
static cmir_status
take_volume(eval *e, eval_columns *c, size_t i, const char *value, const eval_slices *mask,
            cmir_error *err)
{
    const eval_options *o = &e->options;
    cmir_eval_volume *volume = &e->volumes[e->n_volumes];
    eval_extra *extra = &e->extras[e->n_volumes++];
    double *nuisances = cli_need(calloc(o->n_nuisances + 1, sizeof *nuisances));
    cmir_status st;

    extra->masked = *mask;
    volume->id = copy(eval_columns_volume(c, i));
    volume->value = copy(value);
    volume->nuisances = nuisances;
    if (o->cohort != NULL)
        volume->cohort = copy(eval_columns_get(c, i, o->cohort));
    if (o->database == EVAL_PER_SITE) {
        extra->site = copy(eval_columns_get(c, i, o->site));
        if (extra->site == NULL)
            return cli_fail(err, CMIR_ECORRUPT,
                            "%.80s has no '%.60s': --database per-site needs it", volume->id,
                            o->site);
    }
    if (o->locate != NULL && (st = take_shown(e, c, i, extra, err)) != CMIR_OK)
        return st;
    for (size_t k = 0; k < o->n_nuisances; k++)
        if ((st = number(c, i, o->nuisances[k], &nuisances[k], err)) != CMIR_OK)
            return st;
    return take_group(e, c, i, volume, extra, err);
}

static cmir_status
take_or_leave(eval *e, eval_columns *c, size_t i, bool rule, cmir_error *err)
{
    const char *value = NULL;
    eval_slices mask = {0};
    cmir_status st = CMIR_OK;
    char stage[16], *own = NULL;

    if (rule)
        st = stage_by_rule(c, i, stage, &value, err);
    else
        value = eval_columns_get(c, i, e->task_column);
    own = copy(value); /* which lasts until another column is asked for */
    if (st == CMIR_OK && own != NULL && e->options.mask != NULL)
        st = take_mask(e, c, i, &mask, err);
    if (st == CMIR_OK && own == NULL) {
        e->n_without_value++;
    } else if (st == CMIR_OK && e->options.mask != NULL && mask.n == 0) {
        e->n_without_mask++;
    } else if (st == CMIR_OK) {
        st = take_volume(e, c, i, own, &mask, err);
        mask = (eval_slices){0};
    }
    eval_slices_free(&mask);
    free(own);
    return st;
}

static cmir_status
take_all(eval *e, eval_columns *c, cmir_error *err)
{
    const bool rule =
        strcmp(e->task_column, STAGE_BY_RULE) == 0 && !eval_columns_has(c, STAGE_BY_RULE);
    const size_t n = eval_columns_count(c);
    cmir_status st = CMIR_OK;

    e->volumes = cli_need(calloc(n + 1, sizeof *e->volumes));
    e->extras = cli_need(calloc(n + 1, sizeof *e->extras));
    for (size_t i = 0; i < n && st == CMIR_OK; i++)
        st = cli_interrupted() ? cli_fail(err, CMIR_ECANCELLED, "stopped while masks were read")
                               : take_or_leave(e, c, i, rule, err);
    if (st == CMIR_OK && e->n_volumes == 0)
        st = cli_fail(err, CMIR_ENOTFOUND, "%s%s: no volume has a '%s': nothing to evaluate",
                      e->archive != NULL ? "archive " : "",
                      e->archive != NULL ? e->args->operands[0] : "labels", e->task_column);
    return st;
}

cmir_status
eval_take_volumes(eval *e, cmir_error *err)
{
    eval_columns *columns;
    cmir_status st = eval_columns_open(e, &columns, err);

    if (st == CMIR_OK && (st = resolve(e, columns, err)) == CMIR_OK)
        st = take_all(e, columns, err);
    e->n_unknown = eval_columns_unknown(columns);
    eval_columns_close(columns);
    return st;
}

static int
by_id(const void *key, const void *volume)
{
    return strcmp(key, ((const cmir_eval_volume *)volume)->id);
}

size_t
eval_find(const eval *e, const char *id)
{
    const cmir_eval_volume *found =
        e->n_volumes == 0 ? NULL : bsearch(id, e->volumes, e->n_volumes, sizeof *e->volumes, by_id);

    return found == NULL ? SIZE_MAX : (size_t)(found - e->volumes);
}
