/* SPDX-License-Identifier: Apache-2.0 */
/* work_search.c: the jobs "search" and "report": a query in a process of its own, because a scan is read
 * for it (a box of one, the pictures of a report) or because its client would rather ask later. */
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "query.h"

struct search {
    work *w;
    query q;
    cmir_archive *archive, *upload;
    cmir_encoder *encoder;
    cmir_record *record; /* of the volume that has the box */
    cmir_volume *whole, *box;
    cmir_result *result;
};

static cmir_status
open_archives(struct search *s, cmir_error *err)
{
    cmir_status st = cmir_archive_open(s->w->archive, CMIR_READ, &s->archive, err);

    if (st != CMIR_OK || s->q.upload_id == NULL)
        return st;
    char *dir = files_path(s->w->state, "uploads", s->q.upload_id, "archive", NULL);
    st = cmir_archive_open(dir, CMIR_READ, &s->upload, err);
    free(dir);
    return st;
}

static const cmir_archive *
query_archive(const struct search *s)
{
    return s->upload != NULL ? s->upload : s->archive;
}

/* "and not FIELD = 'value'", where there is a value. */
static void
put_exclusion(FILE *out, const char *field, const char *value)
{
    if (value[0] == '\0')
        return;
    (void)fprintf(out, " and not %s = '", field);
    for (const char *p = value; *p != '\0'; p++)
        (void)fprintf(out, *p == '\'' ? "\'\'" : "%c", *p);
    (void)fputc('\'', out);
}

/* The scan's file need not know the study and the patient that the archive knows from a table, so they are left
 * out by name; free(). */
static char *
own_exclusions(const struct search *s)
{
    const cmir_search_options *o = &s->q.options;
    char *text = NULL;
    size_t nbytes;
    FILE *out = cmir_json_need(open_memstream(&text, &nbytes));

    if (o->where != NULL)
        (void)fprintf(out, "(%s)", o->where);
    else
        (void)fputs("Slices > 0", out);
    if (o->exclude == CMIR_EXCLUDE_STUDY || o->exclude == CMIR_EXCLUDE_PATIENT)
        put_exclusion(out, "StudyInstanceUID", s->record->info.study_uid);
    if (o->exclude == CMIR_EXCLUDE_PATIENT)
        put_exclusion(out, "PatientID", s->record->info.patient_id);
    (void)fclose(out);
    return cmir_json_need(text);
}

/* The scan is read again, and the box cut out and encoded: what lies outside has no say. */
static cmir_status
search_box(struct search *s, cmir_error *err)
{
    const cmir_plane plane = cmir_archive_get_info(s->archive)->plane;
    const cmir_box box = {.rows = {s->q.rows[0], s->q.rows[1]},
                          .columns = {s->q.columns[0], s->q.columns[1]},
                          .slices = {s->q.slices[0], s->q.slices[1]}};
    cmir_status st;

    (void)work_progress((void *)(uintptr_t)"reading", 0, 1);
    if ((st = cmir_archive_get(query_archive(s), s->q.volume_id, &s->record, err)) != CMIR_OK ||
        (st = cmir_record_source(s->record, plane, &s->whole, err)) != CMIR_OK ||
        (st = cmir_volume_crop(s->whole, plane, &box, &s->box, err)) != CMIR_OK ||
        (st = work_encoder(s->w, s->archive, &s->encoder, err)) != CMIR_OK)
        return st;
    (void)work_progress((void *)(uintptr_t)"searching", 0, 1);
    char *where = own_exclusions(s);
    s->q.options.where = where;
    st = cmir_search_volume(s->archive, s->encoder, s->box, &s->q.options, &s->result, err);
    s->q.options.where = NULL;
    free(where);
    return st;
}

static cmir_status
search(struct search *s, work *w, const json_t *input, cmir_error *err)
{
    char message[QUERY_MESSAGE_NBYTES];
    cmir_status st;

    *s = (struct search){.w = w};
    if (!query_parse(json_object_get(input, "Body"), QUERY_SEARCH, &s->q, message))
        return files_fail(err, CMIR_EINVAL, "%s", message);
    s->q.options.n_threads = w->n_threads;
    if ((st = open_archives(s, err)) != CMIR_OK)
        return st;
    if (s->q.has_box)
        return search_box(s, err);
    (void)work_progress((void *)(uintptr_t)"searching", 0, 1);
    return cmir_search_stored(s->archive, query_archive(s), s->q.volume_id, &s->q.options,
                              &s->result, err);
}

static void
end_search(struct search *s)
{
    cmir_result_free(s->result);
    cmir_volume_close(s->box);
    cmir_volume_close(s->whole);
    cmir_record_free(s->record);
    cmir_encoder_close(s->encoder);
    cmir_archive_close(s->upload);
    cmir_archive_close(s->archive);
    query_free(&s->q);
}

static void
remember(const struct search *s, const char *what)
{
    json_t *hits = cmir_json_need(json_array());

    for (size_t i = 0; i < s->result->n_hits; i++)
        cmir_json_add(hits, cmir_json_text(s->result->hits[i].record->info.volume_id));
    s->w->audit = json_pack("{s:s, s:o, s:o}", "What", what, "Query",
                            cmir_json_text(s->q.volume_id), "Hits", hits);
}

static void
shift(json_t *number, json_int_t by)
{
    (void)json_integer_set(number, json_integer_value(number) + by);
}

static void
shift_pair(const json_t *pair, json_int_t by)
{
    shift(json_array_get(pair, 0), by);
    shift(json_array_get(pair, 1), by);
}

/* Slices of the box are told as slices of the volume that it was cut from. */
static void
renumber(const struct search *s, json_t *result)
{
    const json_int_t by = s->q.slices[0];
    json_t *of = json_object_get(result, "Query"), *match, *one;
    json_t *contrast = json_object_get(result, "Contrast");
    size_t i, k;

    shift_pair(json_object_get(of, "QuerySlices"), by);
    json_array_foreach(json_object_get(result, "Matches"), i, match)
    {
        shift_pair(json_object_get(match, "QuerySlices"), by);
        shift(json_object_get(json_object_get(match, "BestPair"), "QuerySlice"), by);
        json_array_foreach(json_object_get(match, "SliceMatches"), k, one)
            shift(json_array_get(one, 0), by);
    }
    json_array_foreach(json_object_get(contrast, "Curve"), k, one)
        shift(json_array_get(one, 0), by);
    static const char *const pairs[] = {"Slices", "FirstInterval", "LastInterval"};
    for (i = 0; i < 3; i++)
        shift_pair(json_object_get(contrast, pairs[i]), by);
    cmir_json_set(of, "Box",
                  json_pack("{s:o, s:o, s:o}", "Rows", cmir_json_pair(s->q.rows[0], s->q.rows[1]),
                            "Columns", cmir_json_pair(s->q.columns[0], s->q.columns[1]), "Slices",
                            cmir_json_pair(s->q.slices[0], s->q.slices[1])));
    cmir_json_set(of, "Slices", json_integer(s->record->n_slices));
}

json_t *
work_search(work *w, const json_t *input, cmir_error *err)
{
    struct search s;
    json_t *result = NULL;

    if (search(&s, w, input, err) == CMIR_OK) {
        result = cmir_json_result(s.archive, s.result, false);
        if (s.q.has_box)
            renumber(&s, result);
        remember(&s, "search");
    }
    end_search(&s);
    return result;
}

static cmir_status
write_report(const struct search *s, cmir_error *err)
{
    const cmir_report_options options = {.struct_nbytes = sizeof options,
                                         .query = s->box,
                                         .max_hits = (uint32_t)s->result->n_hits,
                                         .progress = work_progress,
                                         .progress_ctx = (void *)(uintptr_t)"drawing",
                                         .no_paths = true};
    char name[FILES_ID_NCHARS + 8];

    (void)snprintf(name, sizeof name, "%s.html", s->w->job_id);
    char *path = files_path(s->w->state, "jobs", name, NULL);
    const cmir_status st = cmir_report_write(s->result, s->archive, &options, path, err);
    free(path);
    return st;
}

json_t *
work_report(work *w, const json_t *input, cmir_error *err)
{
    struct search s;
    json_t *result = NULL;
    char where[96];

    if (search(&s, w, input, err) == CMIR_OK && write_report(&s, err) == CMIR_OK) {
        (void)snprintf(where, sizeof where, "/api/v1/jobs/%s/report.html", w->job_id);
        result = json_pack("{s:s}", "Report", where);
        remember(&s, "report");
    }
    end_search(&s);
    return result;
}
