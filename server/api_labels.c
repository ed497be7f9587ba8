/* SPDX-License-Identifier: Apache-2.0 */
/* api_labels.c: which labels there are, and more of them from a CSV table. */
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "files.h"
#include "server_internal.h"

#define VALUES_SHOWN 20

void
api_labels_get(request *r)
{
    server *s = request_server(r);
    json_t *list = cmir_json_need(json_array());
    cmir_label_summary *labels = NULL;
    cmir_archive *archive = NULL;
    cmir_error err = {0};
    size_t n = 0;
    cmir_status st = handle_take(s, NULL, &archive, &err);

    if (st == CMIR_OK)
        st = cmir_archive_labels(archive, VALUES_SHOWN, &labels, &n, &err);
    handle_give(s, NULL, archive);
    for (size_t i = 0; i < n; i++) {
        json_t *o = cmir_json_need(json_object()), *values = cmir_json_need(json_array());

        for (size_t v = 0; v < labels[i].n_values; v++)
            cmir_json_add(values, cmir_json_text(labels[i].values[v]));
        cmir_json_set(o, "Name", cmir_json_text(labels[i].name));
        cmir_json_set(o, "Volumes", json_integer((json_int_t)labels[i].n_volumes));
        cmir_json_set(o, "DistinctValues", json_integer((json_int_t)labels[i].n_distinct));
        cmir_json_set(o, "Values", values);
        cmir_json_add(list, o);
    }
    cmir_label_summaries_free(labels, n);
    json_t *answer = json_pack("{s:o}", "Labels", list);
    if (st == CMIR_OK) {
        reply_json(r, 200, answer);
        return;
    }
    json_decref(answer);
    reply_status(r, &err);
}

/* The library reads tables from files. */
static cmir_status
read_table(request *r, cmir_label_table **out, cmir_error *err)
{
    char id[FILES_ID_NCHARS + 1], *incoming = NULL;
    size_t nbytes;
    const char *text = request_text(r, &nbytes);
    cmir_status st = files_new_id(id, err);

    if (st != CMIR_OK ||
        (st = server_state_folder(request_server(r), "incoming", &incoming, err)) != CMIR_OK)
        return st;
    char *path = files_path(incoming, id, NULL);
    if ((st = files_write(path, text, nbytes, err)) == CMIR_OK)
        st = cmir_label_table_read(path, out, err);
    (void)remove(path);
    if (st != CMIR_OK && err != NULL) { /* who sent the table knows no name of it */
        char *shown = files_without(err->msg, path, NULL);
        (void)snprintf(err->msg, sizeof err->msg, "the table%s%s", shown[0] == ':' ? "" : ": ",
                       shown);
        free(shown);
    }
    free(path);
    free(incoming);
    return st;
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The ids of the table that are none of the archive's. */
static cmir_status
unknown_ids(const cmir_archive *archive, const cmir_label_table *table, json_t *unknown,
            cmir_error *err)
{
    char **ids = NULL;
    size_t n = 0;
    const cmir_status st = cmir_archive_list(archive, NULL, &ids, &n, err);

    for (size_t i = 0; st == CMIR_OK && i < cmir_label_table_count(table); i++) {
        const char *id = cmir_label_table_volume(table, i);
        if (n == 0 || bsearch(&id, ids, n, sizeof *ids, by_text) == NULL)
            cmir_json_add(unknown, cmir_json_text(id));
    }
    cmir_ids_free(ids, n);
    return st;
}

void
api_labels_post(request *r)
{
    server *s = request_server(r);
    json_t *unknown = cmir_json_need(json_array());
    cmir_label_table *table = NULL;
    cmir_archive *archive = NULL;
    cmir_error err = {0};
    size_t n_labelled = 0;
    cmir_status st = read_table(r, &table, &err);

    if (st == CMIR_EINVAL)
        err.code = CMIR_ECORRUPT; /* what is wrong with a table is no mistake of the request */
    if (st == CMIR_OK &&
        (st = audit_write(s, request_user(r), "labels", NULL, NULL, 0, &err)) == CMIR_OK &&
        (st = cmir_archive_open(server_get_options(s)->archive, CMIR_WRITE, &archive, &err)) ==
            CMIR_OK &&
        (st = unknown_ids(archive, table, unknown, &err)) == CMIR_OK)
        st = cmir_archive_label(archive, table, NULL, &n_labelled, &err);
    cmir_archive_close(archive);
    cmir_label_table_free(table);
    json_t *answer =
        json_pack("{s:I, s:o}", "Labelled", (json_int_t)n_labelled, "Unknown", unknown);
    if (st == CMIR_OK) {
        reply_json(r, 200, answer);
        return;
    }
    json_decref(answer);
    reply_status(r, &err);
}
