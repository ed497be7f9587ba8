/* SPDX-License-Identifier: Apache-2.0 */
/* cohort.c: see cohort.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cohort.h"
#include "files.h"

static const char *const columns[] = {"VolumeId",     "SeriesInstanceUID", "StudyInstanceUID",
                                      "PatientId",    "PatientSex",        "PatientAge",
                                      "StudyDate",    "Modality",          "BodyPartExamined",
                                      "Manufacturer", "SeriesDescription", "Slices"};
#define N_COLUMNS (sizeof columns / sizeof columns[0])

cmir_status
cohort_json(const cmir_archive *archive, const json_t *cohort, json_t **out, cmir_error *err)
{
    json_t *volumes = cmir_json_need(json_array()), *missing = cmir_json_need(json_array());
    json_t *o = cmir_json_need(json_copy((json_t *)(uintptr_t)cohort));
    const json_t *id;
    cmir_status st = CMIR_OK;
    size_t i;

    json_array_foreach(json_object_get(cohort, "Volumes"), i, id)
    {
        cmir_record *record = NULL;
        cmir_error why = {0};
        const cmir_status got = cmir_archive_get(archive, json_string_value(id), &record, &why);

        if (got == CMIR_OK)
            cmir_json_add(volumes, cmir_json_record(record, false));
        else if (got == CMIR_ENOTFOUND)
            cmir_json_add(missing, cmir_json_text(json_string_value(id)));
        else
            st = files_fail(err, got, "%s", why.msg);
        cmir_record_free(record);
        if (st != CMIR_OK)
            break;
    }
    cmir_json_set(o, "Volumes", volumes);
    cmir_json_set(o, "Missing", missing);
    cmir_json_set(o, "Notice", json_string(CMIR_NOTICE));
    *out = st == CMIR_OK ? o : NULL;
    if (st != CMIR_OK)
        json_decref(o);
    return st;
}

/* "-5.2" is a number to a spreadsheet as well. */
static bool
is_number(const char *text)
{
    char *end;

    (void)strtod(text, &end);
    return end != text && *end == '\0';
}

static void
put_cell(FILE *out, const char *text, bool last)
{
    const bool formula = text[0] != '\0' && strchr("=+-@\t\r", text[0]) != NULL && !is_number(text);

    if (formula || strpbrk(text, ",\"\r\n") != NULL) {
        (void)fputs(formula ? "\"'" : "\"", out);
        for (const char *p = text; *p != '\0'; p++)
            (void)fprintf(out, *p == '"' ? "\"\"" : "%c", *p);
        (void)fputc('"', out);
    } else {
        (void)fputs(text, out);
    }
    (void)fputs(last ? "\r\n" : ",", out);
}

static void
put_value(FILE *out, const json_t *value, bool last)
{
    char number[40] = "";

    if (json_is_string(value)) {
        put_cell(out, json_string_value(value), last);
        return;
    }
    if (json_is_number(value))
        (void)snprintf(number, sizeof number, "%.9g", json_number_value(value));
    put_cell(out, number, last);
}

/* The names of all labels, sorted. */
static json_t *
label_names(const json_t *volumes)
{
    json_t *names = cmir_json_need(json_object()), *labels, *volume, *value;
    const char *name;
    size_t i;

    json_array_foreach(volumes, i, volume)
    {
        labels = json_object_get(volume, "Labels");
        json_object_foreach(labels, name, value) cmir_json_set(names, name, json_true());
    }
    return names;
}

static void
put_table(FILE *out, const json_t *cohort)
{
    const json_t *volumes = json_object_get(cohort, "Volumes"), *o;
    json_t *names = label_names(volumes), *unused;
    size_t n_left = json_object_size(names), i;
    const char *name;

    for (i = 0; i < N_COLUMNS; i++)
        put_cell(out, columns[i], i + 1 == N_COLUMNS && n_left == 0);
    json_object_foreach(names, name, unused) put_cell(out, name, --n_left == 0);
    json_array_foreach(volumes, i, o)
    {
        n_left = json_object_size(names);
        for (size_t c = 0; c < N_COLUMNS; c++)
            put_value(out, json_object_get(o, columns[c]), c + 1 == N_COLUMNS && n_left == 0);
        json_object_foreach(names, name, unused)
            put_value(out, json_object_get(json_object_get(o, "Labels"), name), --n_left == 0);
    }
    json_decref(names);
}

cmir_status
cohort_csv(const cmir_archive *archive, const json_t *cohort, char **out, size_t *nbytes,
           cmir_error *err)
{
    json_t *whole = NULL;
    const cmir_status st = cohort_json(archive, cohort, &whole, err);

    *out = NULL;
    if (st != CMIR_OK)
        return st;
    FILE *memory = cmir_json_need(open_memstream(out, nbytes));
    put_table(memory, whole);
    const bool good = fclose(memory) == 0;
    json_decref(whole);
    return good ? CMIR_OK : files_fail(err, CMIR_ENOMEM, "no memory for the table");
}
