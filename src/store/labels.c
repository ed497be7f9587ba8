/* SPDX-License-Identifier: Apache-2.0 */
/* labels.c: a CSV file with a header as a table of labels: one row per volume.  Called by engine,
 * by the command, and by users.  What is filled rather than labelled: fields.h. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "store/csv.h"
#include "store/fields.h"
#include "store/store.h"

#define MAX_FILE_NBYTES ((uint64_t)1 << 30)
#define MAX_LABELS ((size_t)1 << 24) /* in one table */
#define MAX_NAME_NBYTES 255u

/* While reading: labels may still move, so a row knows the number of its first. */
struct row {
    char *volume_id;
    size_t first_label, n_labels, line;
};

struct cmir_label_table {
    char *text; /* of the file; all strings point into it */
    struct row *rows;
    size_t n_rows, rows_cap;
    cmir_label *labels;
    size_t n_labels, labels_cap;
    cmir_label_set *sets;
};

/* What the header says. */
struct header {
    size_t n_columns, volume_column;
    char **names; /* "" : a column without a name, which is ignored */
};

static cmir_status
check_names(const cmir_csv *csv, const struct header *header, cmir_error *err)
{
    for (size_t i = 0; i < header->n_columns; i++) {
        if (strlen(header->names[i]) > MAX_NAME_NBYTES)
            return FAIL(err, CMIR_ELIMIT, "%s: the name of column %zu has more than %u bytes",
                        csv->path, i + 1, MAX_NAME_NBYTES);
        for (size_t j = 0; j < i; j++)
            if (header->names[i][0] != '\0' && strcmp(header->names[i], header->names[j]) == 0)
                return FAIL(err, CMIR_ECORRUPT, "%s: columns %zu and %zu are both called %s",
                            csv->path, j + 1, i + 1, header->names[i]);
    }
    return CMIR_OK;
}

static cmir_status
read_header(cmir_csv *csv, struct header *out, cmir_error *err)
{
    const cmir_status st = cmir_csv_header(csv, err);

    if (st != CMIR_OK)
        return st;
    out->n_columns = csv->n_cells;
    out->names = cmir_alloc(csv->n_cells, sizeof *out->names);
    if (out->names == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", csv->path);
    memcpy(out->names, csv->cells, csv->n_cells * sizeof *out->names);
    static const char *const wanted[] = {"VolumeId", "name"};
    for (size_t w = 0; w < 2; w++)
        for (size_t i = 0; i < out->n_columns; i++)
            if (strcmp(out->names[i], wanted[w]) == 0)
                out->volume_column = i;
    return check_names(csv, out, err);
}

/* Values of fields are checked here, where the line is known. */
static cmir_status
check_value(const cmir_csv *csv, const char *name, const char *value, cmir_error *err)
{
    const cmir_field *field = cmir_field_find(name);
    cmir_field_value parsed;
    cmir_error cause = {0};
    cmir_status st;

    if (field == NULL || field->fill_bit == 0)
        return CMIR_OK;
    st = cmir_field_parse(field, value, &parsed, &cause);
    if (st != CMIR_OK)
        return FAIL(err, st, "%s: line %zu: %s", csv->path, csv->row_line, cause.msg);
    return CMIR_OK;
}

/* Adds the row in csv->cells. */
static cmir_status
add_row(cmir_label_table *t, const cmir_csv *csv, const struct header *header, cmir_error *err)
{
    struct row row = {csv->cells[header->volume_column], t->n_labels, 0, csv->row_line};
    cmir_status st;

    cmir_csv_drop_extension(row.volume_id);
    if (row.volume_id[0] == '\0')
        return FAIL(err, CMIR_ECORRUPT, "%s: line %zu names no volume", csv->path, row.line);
    for (size_t i = 0; i < header->n_columns; i++) {
        const cmir_label label = {header->names[i], csv->cells[i]};

        if (i == header->volume_column || label.name[0] == '\0' || label.value[0] == '\0')
            continue;
        if ((st = check_value(csv, label.name, label.value, err)) != CMIR_OK)
            return st;
        if (t->n_labels == MAX_LABELS)
            return FAIL(err, CMIR_ELIMIT, "%s: more than %zu labels", csv->path, MAX_LABELS);
        if (!cmir_grow((void **)&t->labels, &t->labels_cap, t->n_labels + 1, sizeof *t->labels))
            return FAIL(err, CMIR_ENOMEM, "%s: no memory for its labels", csv->path);
        t->labels[t->n_labels++] = label;
    }
    row.n_labels = t->n_labels - row.first_label;
    if (!cmir_grow((void **)&t->rows, &t->rows_cap, t->n_rows + 1, sizeof *t->rows))
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for its rows", csv->path);
    t->rows[t->n_rows++] = row;
    return CMIR_OK;
}

static cmir_status
read_rows(cmir_label_table *t, cmir_csv *csv, const struct header *header, cmir_error *err)
{
    cmir_status st;

    while ((st = cmir_csv_next(csv, err)) == CMIR_OK && csv->n_cells > 0) {
        if (csv->n_cells != header->n_columns)
            return FAIL(err, CMIR_ECORRUPT, "%s: line %zu has %zu cells, the header %zu", csv->path,
                        csv->row_line, csv->n_cells, header->n_columns);
        if ((st = add_row(t, csv, header, err)) != CMIR_OK)
            return st;
    }
    return st;
}

static int
by_volume(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    const int order = strcmp(x->volume_id, y->volume_id);

    return order != 0 ? order : x->line < y->line ? -1 : x->line > y->line;
}

static int
by_line(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    return x->line < y->line ? -1 : x->line > y->line;
}

static bool
same_labels(const cmir_label_table *t, const struct row *a, const struct row *b)
{
    if (a->n_labels != b->n_labels)
        return false;
    for (size_t i = 0; i < a->n_labels; i++) {
        const cmir_label *x = &t->labels[a->first_label + i], *y = &t->labels[b->first_label + i];

        if (strcmp(x->name, y->name) != 0 || strcmp(x->value, y->value) != 0)
            return false;
    }
    return true;
}

/* One row per volume: the same row again is dropped, a different one refused. */
static cmir_status
drop_repeated(cmir_label_table *t, const char *path, cmir_error *err)
{
    size_t kept = 0;

    if (t->n_rows == 0)
        return CMIR_OK;
    qsort(t->rows, t->n_rows, sizeof *t->rows, by_volume);
    for (size_t i = 1; i < t->n_rows; i++) {
        const struct row *row = &t->rows[i], *first = &t->rows[kept];

        if (strcmp(row->volume_id, first->volume_id) != 0)
            t->rows[++kept] = *row;
        else if (!same_labels(t, row, first))
            return FAIL(err, CMIR_ECORRUPT, "%s: lines %zu and %zu say different things of %s",
                        path, first->line, row->line, row->volume_id);
    }
    t->n_rows = kept + 1;
    qsort(t->rows, t->n_rows, sizeof *t->rows, by_line);
    return CMIR_OK;
}

static cmir_status
make_sets(cmir_label_table *t, const char *path, cmir_error *err)
{
    t->sets = cmir_alloc(t->n_rows, sizeof *t->sets);
    if (t->sets == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for its rows", path);
    for (size_t i = 0; i < t->n_rows; i++) {
        const struct row *row = &t->rows[i];

        t->sets[i] = (cmir_label_set){.volume_id = row->volume_id, .n_labels = row->n_labels};
        if (row->n_labels > 0)
            t->sets[i].labels = t->labels + row->first_label;
    }
    return CMIR_OK;
}

cmir_status
cmir_label_table_read(const char *path, cmir_label_table **out, cmir_error *err)
{
    struct header header = {0};
    size_t nbytes;
    cmir_status st;
    cmir_label_table *t = cmir_alloc_zeroed(1, sizeof *t);
    cmir_csv *csv = cmir_alloc_zeroed(1, sizeof *csv);

    *out = NULL;
    if (t == NULL || csv == NULL)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", path);
    else if ((st = cmir_file_read(path, MAX_FILE_NBYTES, &t->text, &nbytes, err)) == CMIR_OK &&
             (st = cmir_csv_open(csv, path, t->text, nbytes, err)) == CMIR_OK &&
             (st = read_header(csv, &header, err)) == CMIR_OK &&
             (st = read_rows(t, csv, &header, err)) == CMIR_OK &&
             (st = drop_repeated(t, path, err)) == CMIR_OK)
        st = make_sets(t, path, err);
    free(header.names);
    free(csv);
    if (st != CMIR_OK) {
        cmir_label_table_free(t);
        return st;
    }
    *out = t;
    return CMIR_OK;
}

void
cmir_label_table_free(cmir_label_table *table)
{
    if (table == NULL)
        return;
    free(table->text);
    free(table->rows);
    free(table->labels);
    free(table->sets);
    free(table);
}

size_t
cmir_label_table_count(const cmir_label_table *table)
{
    return table->n_rows;
}

const char *
cmir_label_table_volume(const cmir_label_table *table, size_t row)
{
    return row < table->n_rows ? table->rows[row].volume_id : NULL;
}

const cmir_label *
cmir_label_table_get(const cmir_label_table *table, size_t row, size_t *n_labels)
{
    *n_labels = row < table->n_rows ? table->sets[row].n_labels : 0;
    return row < table->n_rows ? table->sets[row].labels : NULL;
}

const cmir_label_set *
cmir_label_table_sets(const cmir_label_table *table)
{
    return table->sets;
}
