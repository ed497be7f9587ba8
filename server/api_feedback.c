/* SPDX-License-Identifier: Apache-2.0 */
/* api_feedback.c: what a reader thought of a hit.
 *
 * The one idea: STATE/feedback.jsonl is only added to; of a user's lines for one query and one volume
 * the last counts, and one whose Relevant is null takes the judgement back. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api.h"
#include "body_check.h"
#include "files.h"
#include "server_internal.h"

#define MAX_ID_NBYTES 256
#define MAX_FILE_NBYTES ((off_t)64 << 20)

static char *
file_of(request *r)
{
    return files_path(server_state_dir(request_server(r)), "feedback.jsonl", NULL);
}

void
api_feedback_post(request *r)
{
    static const char *const keys[] = {"QueryId",     "VolumeId",    "Relevant",
                                       "QuerySlices", "MatchSlices", NULL};
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    const json_t *asked = request_json(r), *relevant = json_object_get(asked, "Relevant");
    struct stat info;
    char when[21];
    cmir_error err = {0};

    if (!check_keys(r, asked, keys) || !check_text(r, asked, "QueryId", 1, MAX_ID_NBYTES) ||
        !check_text(r, asked, "VolumeId", 1, MAX_ID_NBYTES) ||
        !check_range(r, asked, "QuerySlices") || !check_range(r, asked, "MatchSlices"))
        return;
    if (relevant == NULL || !(json_is_boolean(relevant) || json_is_null(relevant))) {
        reply_error(r, 400, "Relevant: true, false or null is wanted");
        return;
    }
    files_now(when);
    json_t *line = cmir_json_need(json_copy((json_t *)(uintptr_t)asked));
    cmir_json_set(line, "User", cmir_json_text(request_user(r)));
    cmir_json_set(line, "Time", json_string(when));
    char *path = file_of(r);
    (void)pthread_mutex_lock(&lock);
    const bool full = stat(path, &info) == 0 && info.st_size > MAX_FILE_NBYTES;
    const cmir_status st = full ? CMIR_OK : files_append_json(path, line, &err);
    (void)pthread_mutex_unlock(&lock);
    free(path);
    json_decref(line);
    if (full)
        reply_error(r, 507, "no room for more feedback: move feedback.jsonl of the state away");
    else if (st == CMIR_OK)
        reply_nothing(r);
    else
        reply_status(r, &err);
}

static bool
is_text(const json_t *o, const char *key, const char *value)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text != NULL && strcmp(text, value) == 0;
}

/* The user's last line for each volume of the query, by volume. */
static json_t *
read_latest(FILE *file, const char *user, const char *query)
{
    json_t *latest = cmir_json_need(json_object());
    char *text = NULL;
    size_t cap = 0;

    while (file != NULL && getline(&text, &cap, file) >= 0) {
        json_t *o = json_loads(text, 0, NULL); /* NULL: cut short by a crash */
        const char *volume = json_string_value(json_object_get(o, "VolumeId"));

        if (volume != NULL && is_text(o, "User", user) && is_text(o, "QueryId", query))
            cmir_json_set(latest, volume, json_incref(o));
        json_decref(o);
    }
    free(text);
    return latest;
}

void
api_feedback_get(request *r)
{
    const char *query = request_param(r, "query"), *volume;
    json_t *list = cmir_json_need(json_array()), *o;

    if (query == NULL) {
        json_decref(list);
        reply_error(r, 400, "query: the QueryId is wanted");
        return;
    }
    char *path = file_of(r);
    FILE *file = fopen(path, "re");
    json_t *latest = read_latest(file, request_user(r), query);
    if (file != NULL)
        (void)fclose(file);
    free(path);
    json_object_foreach(latest, volume, o)
    {
        if (json_is_null(json_object_get(o, "Relevant")))
            continue;
        json_object_del(o, "User");
        cmir_json_add(list, json_incref(o));
    }
    json_decref(latest);
    reply_json(r, 200, json_pack("{s:o}", "Feedback", list));
}
