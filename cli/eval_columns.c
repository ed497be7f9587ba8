/* SPDX-License-Identifier: Apache-2.0 */
/* eval_columns.c: what is known of volumes, by the name of a column.  Called by eval_volumes.c.
 *
 * The one idea: a column is looked for in one order of places, --queries, --labels, the labels of
 * the archive, its catalogue, so that a CSV file can say again what an archive says. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

enum { N_TABLES = 2 };

struct row {
    const char *id;
    size_t number;
};

struct eval_columns {
    const cmir_label_table *tables[N_TABLES]; /* NULL: not given */
    const char *paths[N_TABLES];
    struct row *rows[N_TABLES];               /* in order of id */
    char **ids; /* of the archive, in order; NULL: the volumes are the rows of --labels */
    size_t n;
    cmir_record **records; /* of the archive's volumes */
    const char **names;    /* of all columns */
    size_t n_names, names_cap;
    char text[32]; /* of a number */
};

static const char *const catalogue[] = {
    "VolumeId",          "PatientID",  "StudyInstanceUID", "SeriesInstanceUID", "Modality",
    "PatientSex",        "PatientAge", "StudyDate",        "BodyPartExamined",  "Manufacturer",
    "SeriesDescription", "Slices",     "SliceSpacing",
};

/* The same for a volume; NULL where the name is none of them, "" where it is not known. */
static const char *
catalogue_get(const cmir_record *record, const char *name, char text[32])
{
    const cmir_volume_info *info = &record->info;
    const char *const texts[] = {info->volume_id,
                                 info->patient_id,
                                 info->study_uid,
                                 info->series_uid,
                                 info->modality,
                                 info->patient_sex,
                                 NULL,
                                 info->study_date,
                                 info->body_part,
                                 info->manufacturer,
                                 info->description,
                                 NULL,
                                 NULL};

    for (size_t i = 0; i < sizeof catalogue / sizeof catalogue[0]; i++)
        if (strcmp(name, catalogue[i]) == 0 && texts[i] != NULL)
            return texts[i];
    text[0] = '\0';
    if (strcmp(name, "PatientAge") == 0 && isfinite(info->patient_age))
        (void)snprintf(text, 32, "%.6g", info->patient_age);
    else if (strcmp(name, "Slices") == 0)
        (void)snprintf(text, 32, "%u", record->n_slices);
    else if (strcmp(name, "SliceSpacing") == 0 && record->slice_spacing_mm > 0)
        (void)snprintf(text, 32, "%.6g", record->slice_spacing_mm);
    return text;
}

bool
eval_columns_has(const eval_columns *c, const char *name)
{
    for (size_t i = 0; i < c->n_names; i++)
        if (strcmp(c->names[i], name) == 0)
            return true;
    return false;
}

static void
add_names(eval_columns *c, const cmir_label *labels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (eval_columns_has(c, labels[i].name))
            continue;
        if (c->n_names == c->names_cap) {
            c->names_cap = c->names_cap == 0 ? 32 : 2 * c->names_cap;
            c->names = cli_need(realloc(c->names, c->names_cap * sizeof *c->names));
        }
        c->names[c->n_names++] = labels[i].name;
    }
}

static int
by_id(const void *a, const void *b)
{
    return strcmp(((const struct row *)a)->id, ((const struct row *)b)->id);
}

static void
add_table(eval_columns *c, size_t place, const cmir_label_table *table)
{
    const size_t n = table == NULL ? 0 : cmir_label_table_count(table);

    c->tables[place] = table;
    c->rows[place] = cli_need(calloc(n + 1, sizeof *c->rows[place]));
    for (size_t i = 0; i < n; i++) {
        size_t n_labels;
        const cmir_label *labels = cmir_label_table_get(table, i, &n_labels);

        c->rows[place][i] = (struct row){cmir_label_table_volume(table, i), i};
        add_names(c, labels, n_labels);
    }
    qsort(c->rows[place], n, sizeof *c->rows[place], by_id);
}

static cmir_status
add_archive(eval_columns *c, const cmir_archive *archive, cmir_error *err)
{
    cmir_status st = cmir_archive_list(archive, NULL, &c->ids, &c->n, err);

    if (st != CMIR_OK)
        return st;
    c->records = cli_need(calloc(c->n + 1, sizeof *c->records));
    for (size_t i = 0; i < c->n && st == CMIR_OK; i++)
        if ((st = cmir_archive_get(archive, c->ids[i], &c->records[i], err)) == CMIR_OK)
            add_names(c, c->records[i]->labels, c->records[i]->n_labels);
    for (size_t i = 0; i < sizeof catalogue / sizeof catalogue[0]; i++)
        add_names(c, &(cmir_label){catalogue[i], ""}, 1);
    return st;
}

cmir_status
eval_columns_open(const eval *e, eval_columns **out, cmir_error *err)
{
    eval_columns *c = cli_need(calloc(1, sizeof *c));
    cmir_status st = CMIR_OK;

    add_table(c, 0, e->queries_csv);
    add_table(c, 1, e->labels);
    c->paths[0] = cli_get(e->args, "queries");
    c->paths[1] = cli_get(e->args, "labels");
    if (e->archive != NULL)
        st = add_archive(c, e->archive, err);
    else
        c->n = cmir_label_table_count(e->labels);
    *out = c;
    return st;
}

void
eval_columns_close(eval_columns *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < N_TABLES; i++)
        free(c->rows[i]);
    for (size_t i = 0; c->records != NULL && i < c->n; i++)
        cmir_record_free(c->records[i]);
    free(c->records);
    if (c->ids != NULL)
        cmir_ids_free(c->ids, c->n);
    free(c->names);
    free(c);
}

size_t
eval_columns_count(const eval_columns *c)
{
    return c->n;
}

const char *
eval_columns_volume(const eval_columns *c, size_t i)
{
    return c->ids != NULL ? c->ids[i] : c->rows[1][i].id;
}

const cmir_record *
eval_columns_record(const eval_columns *c, size_t i)
{
    return c->records[i];
}

size_t
eval_columns_unknown(const eval_columns *c)
{
    const size_t n_rows = c->tables[1] == NULL ? 0 : cmir_label_table_count(c->tables[1]);
    size_t n = 0, i = 0;

    for (size_t r = 0; c->ids != NULL && r < n_rows; r++) { /* both are in order of id */
        while (i < c->n && strcmp(c->ids[i], c->rows[1][r].id) < 0)
            i++;
        n += i == c->n || strcmp(c->ids[i], c->rows[1][r].id) != 0;
    }
    return n;
}

static const char *
find_label(const cmir_label *labels, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(labels[i].name, name) == 0)
            return labels[i].value;
    return NULL;
}

const char *
eval_columns_get(eval_columns *c, size_t i, const char *name)
{
    const char *csv;

    return eval_columns_find(c, i, name, &csv);
}

const char *
eval_columns_find(eval_columns *c, size_t i, const char *name, const char **csv)
{
    const struct row key = {eval_columns_volume(c, i), 0};
    const cmir_record *record = c->records == NULL ? NULL : c->records[i];
    const char *value = NULL;

    *csv = NULL;
    for (size_t t = 0; t < N_TABLES && value == NULL; t++) {
        const size_t n = c->tables[t] == NULL ? 0 : cmir_label_table_count(c->tables[t]);
        const struct row *row =
            n == 0 ? NULL : bsearch(&key, c->rows[t], n, sizeof *c->rows[t], by_id);

        if (row != NULL) {
            size_t n_labels;
            const cmir_label *labels = cmir_label_table_get(c->tables[t], row->number, &n_labels);
            value = find_label(labels, n_labels, name);
            *csv = value == NULL ? NULL : c->paths[t];
        }
    }
    if (value == NULL && record != NULL)
        value = find_label(record->labels, record->n_labels, name);
    if (value == NULL && record != NULL)
        value = catalogue_get(record, name, c->text);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

static const char *
name_at(const void *columns, size_t i)
{
    const eval_columns *c = columns;

    return i < c->n_names ? c->names[i] : NULL;
}

cmir_status
eval_columns_need(const eval_columns *c, const char *option, const char *name, cmir_error *err)
{
    const char *nearest;

    if (eval_columns_has(c, name))
        return CMIR_OK;
    if ((nearest = cli_nearest(name, name_at, c)) != NULL)
        return cli_fail(err, CMIR_EINVAL, "--%s '%s': no volume has such a column; is it '%s'?",
                        option, name, nearest);
    return cli_fail(err, CMIR_EINVAL, "--%s '%s': no volume has such a column, label or field",
                    option, name);
}
