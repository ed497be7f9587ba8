/* SPDX-License-Identifier: Apache-2.0 */
/* api_volumes.c: the volumes of the archive, one by one and in pages; one of an upload. */
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "json/json.h"
#include "pixels.h"
#include "secret.h"

#define MAX_PAGE 500

static void
add_page(const cmir_archive *archive, char *const *ids, size_t first, size_t end, json_t *list,
         cmir_error *err)
{
    for (size_t i = first; i < end; i++) {
        cmir_record *record = NULL;

        if (cmir_archive_get(archive, ids[i], &record, err) != CMIR_OK)
            return;
        cmir_json_add(list, cmir_json_record(record, false));
        cmir_record_free(record);
    }
}

void
api_volumes(request *r)
{
    server *s = request_server(r);
    bool ok = true;
    const size_t offset = (size_t)request_number(r, "offset", 0, 1e9, 0, &ok);
    const size_t limit = ok ? (size_t)request_number(r, "limit", 1, MAX_PAGE, 50, &ok) : 0;
    const char *where = request_param(r, "where");
    cmir_archive *archive = NULL;
    cmir_error err = {0};
    char **ids = NULL;
    size_t n = 0;

    if (!ok)
        return;
    if (handle_take(s, NULL, &archive, &err) != CMIR_OK) {
        reply_status(r, &err);
        return;
    }
    json_t *list = cmir_json_need(json_array());
    if (cmir_archive_list(archive, where == NULL || *where == '\0' ? NULL : where, &ids, &n,
                          &err) == CMIR_OK &&
        offset < n)
        add_page(archive, ids, offset, limit < n - offset ? offset + limit : n, list, &err);
    handle_give(s, NULL, archive);
    cmir_ids_free(ids, n);
    json_t *answer = json_pack("{s:I, s:I, s:o}", "Total", (json_int_t)n, "Offset",
                               (json_int_t)offset, "Volumes", list);
    if (err.code == CMIR_OK) {
        reply_json(r, 200, answer);
        return;
    }
    json_decref(answer);
    reply_status(r, &err);
}

/* What is needed to show the volume, besides what is known of it. */
static void
add_pictures(server *s, const char *dir, const cmir_record *record, cmir_plane plane, json_t *o)
{
    const cmir_volume_info *info = &record->info;
    const double width = info->value_high - info->value_low;
    json_t *marks = cmir_json_need(json_array());
    char version[PIXELS_VERSION_NBYTES];
    cmir_stack stack = {0};
    const bool known = cmir_record_stack(record, plane, &stack, NULL) == CMIR_OK;

    for (uint32_t i = 0; i < record->n_slices; i++)
        cmir_json_add(marks, json_string(record->slice_marks[i] & CMIR_SLICE_AIR ? "air" : ""));
    cmir_json_set(o, "SliceMarks", marks);
    cmir_json_set(o, "SliceUids", json_incref(json_object_get(o, "SOPInstanceUIDs")));
    cmir_json_set(o, "Rows", known ? json_integer(stack.rows) : json_null());
    cmir_json_set(o, "Columns", known ? json_integer(stack.cols) : json_null());
    cmir_json_set(o, "RowSpacingMm", known ? cmir_json_number(stack.row_spacing_mm) : json_null());
    cmir_json_set(o, "ColumnSpacingMm",
                  known ? cmir_json_number(stack.col_spacing_mm) : json_null());
    cmir_json_set(o, "Pixels", json_string(pixels_expected(s, dir, record)));
    cmir_json_set(o, "WindowDefault",
                  json_pack("{s:f, s:f}", "Centre",
                            info->has_hu ? 40.0 : info->value_low + width / 2, "Width",
                            info->has_hu  ? 400.0
                            : width > 0.0 ? width
                                          : 1.0));
    pixels_version(record, version);
    cmir_json_set(o, "Version", json_string(version));
}

/* The volume as JSON; answers. */
static void
show_volume(request *r, const char *dir)
{
    server *s = request_server(r);
    const char *id = request_part(r, "volume");
    cmir_archive *archive = NULL;
    cmir_record *record = NULL;
    cmir_error err = {0};
    char etag[SECRET_HEX];
    cmir_status st = handle_take(s, dir, &archive, &err);

    if (st == CMIR_OK)
        st = cmir_archive_get(archive, id, &record, &err);
    if (st == CMIR_OK)
        st = audit_write(s, request_user(r), "volume", id, NULL, 0, &err);
    if (st != CMIR_OK) {
        handle_give(s, dir, archive);
        cmir_record_free(record);
        reply_status(r, &err);
        return;
    }
    json_t *o = cmir_json_volume(record, false);
    add_pictures(s, dir, record, cmir_archive_get_info(archive)->plane, o);
    handle_give(s, dir, archive);
    cmir_record_free(record);
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(o);
    if (text == NULL) {
        reply_error(r, 503, "no memory for the volume");
        return;
    }
    secret_hash(text, strlen(text), etag);
    if (reply_if_known(r, CACHE_REVALIDATE, etag)) {
        free(text);
        return;
    }
    reply_bytes(r, 200, "application/json", text, strlen(text), CACHE_REVALIDATE, etag);
}

void
api_volume(request *r)
{
    show_volume(r, NULL);
}

void
api_upload_volume(request *r)
{
    char *dir = upload_archive_dir(r, request_part(r, "upload"));

    if (dir != NULL)
        show_volume(r, dir);
    free(dir);
}

void
api_volume_delete(request *r)
{
    server *s = request_server(r);
    const char *id = request_part(r, "volume");
    cmir_archive *archive = NULL;
    cmir_error err = {0};
    cmir_status st = cmir_archive_open(server_get_options(s)->archive, CMIR_WRITE, &archive, &err);

    if (st == CMIR_OK)
        st = audit_write(s, request_user(r), "delete", id, NULL, 0, &err);
    if (st == CMIR_OK)
        st = cmir_archive_remove(archive, id, &err);
    cmir_archive_close(archive);
    if (st == CMIR_OK)
        reply_nothing(r);
    else
        reply_status(r, &err);
}
