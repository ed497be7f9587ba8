/* SPDX-License-Identifier: Apache-2.0 */
/* jobs_file.c: a job as a file and as clients see it. */
#include <stdlib.h>
#include <string.h>

#include "jobs_internal.h"

const char *const job_state_names[JOB_N_STATES] = {"queued", "running", "done", "failed",
                                                   "cancelled"};

static char *
file_of(const char *state, const char *id, const char *extension)
{
    char name[FILES_ID_NCHARS + 16];

    (void)snprintf(name, sizeof name, "%s%s", id, extension);
    return files_path(state, "jobs", name, NULL);
}

cmir_status
job_save(const char *state, const job *j, const json_t *result, const json_t *error,
         cmir_error *err)
{
    char *path = file_of(state, j->id, ".json");
    json_t *o = cmir_json_need(json_object());

    cmir_json_set(o, "JobId", json_string(j->id));
    cmir_json_set(o, "Kind", json_string(j->kind->name));
    cmir_json_set(o, "User", cmir_json_text(j->user));
    cmir_json_set(o, "State", json_string(job_state_names[j->state]));
    cmir_json_set(o, "Created", json_string(j->created));
    cmir_json_set(o, "Number", json_integer((json_int_t)j->number));
    cmir_json_set(o, "Finished", json_integer((json_int_t)j->finished));
    cmir_json_set(o, "Attempts", json_integer(j->attempts));
    cmir_json_set(o, "Kept", json_boolean(j->kept));
    if (j->input != NULL)
        cmir_json_set(o, "Input", json_incref(j->input));
    if (result != NULL)
        cmir_json_set(o, "Result", json_deep_copy(result));
    if (error != NULL)
        cmir_json_set(o, "Error", json_deep_copy(error));
    const cmir_status st = files_write_json(path, o, err);
    json_decref(o);
    free(path);
    return st;
}

static bool
parse_state(const char *name, job_state *out)
{
    for (int i = 0; i < JOB_N_STATES; i++)
        if (strcmp(name, job_state_names[i]) == 0) {
            *out = (job_state)i;
            return true;
        }
    return false;
}

/* A job whose folder's name is `name`: ID.json. */
job *
job_load(const char *state, const char *name)
{
    const char *kind, *user, *state_name, *created;
    char id[FILES_ID_NCHARS + 1] = "";
    json_t *o = NULL;
    json_int_t number, finished, attempts;
    int kept;

    if (strlen(name) != FILES_ID_NCHARS + 5 || strcmp(name + FILES_ID_NCHARS, ".json") != 0)
        return NULL;
    memcpy(id, name, FILES_ID_NCHARS);
    char *path = file_of(state, id, ".json");
    (void)files_read_json(path, &o, NULL);
    free(path);
    job *j = cmir_json_need(calloc(1, sizeof *j));
    j->in = -1;
    memcpy(j->id, id, sizeof id);
    if (!files_is_id(id) ||
        json_unpack(o, "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:b}", "Kind", &kind, "User", &user,
                    "State", &state_name, "Created", &created, "Number", &number, "Finished",
                    &finished, "Attempts", &attempts, "Kept", &kept) != 0 ||
        (j->kind = job_kind_find(kind)) == NULL || !parse_state(state_name, &j->state)) {
        json_decref(o);
        free(j);
        return NULL;
    }
    j->user = cmir_json_need(strdup(user));
    (void)snprintf(j->created, sizeof j->created, "%s", created);
    j->number = (uint64_t)number;
    j->finished = (time_t)finished;
    j->attempts = (int)attempts;
    j->kept = kept != 0;
    j->input = json_incref(json_object_get(o, "Input"));
    json_decref(o);
    return j;
}

void
job_free(job *j)
{
    if (j == NULL)
        return;
    free(j->user);
    json_decref(j->input);
    free(j);
}

/* An upload outlives the job that made it, for as long; a folder of sources for ever. */
void
job_discard(const char *state, const job *j)
{
    char *json = file_of(state, j->id, ".json"), *html = file_of(state, j->id, ".html");

    (void)remove(json);
    (void)remove(html);
    free(json);
    free(html);
    if (j->kind->folder != NULL && !j->kept) {
        char *folder = files_path(state, j->kind->folder, j->id, NULL);
        (void)files_remove_tree(folder, NULL);
        free(folder);
    }
}

static json_t *
progress_json(const job *j)
{
    struct timespec now;
    json_t *o = cmir_json_need(json_object());

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    const double elapsed =
        (double)(now.tv_sec - j->since.tv_sec) + (double)(now.tv_nsec - j->since.tv_nsec) * 1e-9;
    const double rate = j->done > 0 && elapsed > 0 ? (double)j->done / elapsed : 0;
    cmir_json_set(o, "What", json_string(j->what));
    cmir_json_set(o, "Done", json_integer((json_int_t)j->done));
    cmir_json_set(o, "Total", json_integer((json_int_t)j->total));
    cmir_json_set(o, "PerSecond", rate > 0 ? json_real(rate) : json_null());
    cmir_json_set(o, "EtaSeconds",
                  rate > 0 && j->total >= j->done ? json_real((double)(j->total - j->done) / rate)
                                                  : json_null());
    return o;
}

/* An entry of the job's file, or null. */
static json_t *
entry(const json_t *file, const char *name)
{
    json_t *value = json_object_get(file, name);

    return value == NULL ? json_null() : json_incref(value);
}

json_t *
job_json(const char *state, const job *j)
{
    json_t *o = cmir_json_need(json_object()), *file = NULL;

    if (state != NULL && j->state != JOB_QUEUED && j->state != JOB_RUNNING) {
        char *path = file_of(state, j->id, ".json");
        (void)files_read_json(path, &file, NULL);
        free(path);
    }
    cmir_json_set(o, "JobId", json_string(j->id));
    cmir_json_set(o, "Kind", json_string(j->kind->name));
    cmir_json_set(o, "State", json_string(job_state_names[j->state]));
    cmir_json_set(o, "User", cmir_json_text(j->user));
    cmir_json_set(o, "Created", json_string(j->created));
    cmir_json_set(o, "Progress",
                  j->state == JOB_RUNNING && j->what[0] != '\0' ? progress_json(j) : json_null());
    cmir_json_set(o, "Result", entry(file, "Result"));
    cmir_json_set(o, "Error", entry(file, "Error"));
    json_decref(file);
    return o;
}
