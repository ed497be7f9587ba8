/* SPDX-License-Identifier: Apache-2.0 */
/* api_cohorts.c: lists of volumes that a user keeps, and their export.
 *
 * The one idea: a cohort is one JSON file, STATE/cohorts/ID.json, of one user; others do not see it,
 * but for administrators. */
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "body_check.h"
#include "cohort.h"
#include "files.h"
#include "server_internal.h"

#define MAX_NAME_NBYTES 200
#define MAX_NOTE_NBYTES 16384
#define MAX_ID_NBYTES 1024
#define MAX_VOLUMES 10000u
#define MAX_COHORTS 1000u /* of one user */

static char *
path_of(request *r, const char *id)
{
    char name[FILES_ID_NCHARS + 8];

    (void)snprintf(name, sizeof name, "%s.json", id);
    return files_path(server_state_dir(request_server(r)), "cohorts", name, NULL);
}

static bool
may_see(request *r, const json_t *cohort)
{
    const char *user = json_string_value(json_object_get(cohort, "User"));

    return request_role(r) == ROLE_ADMIN || (user != NULL && strcmp(user, request_user(r)) == 0);
}

/* The one that the path names; NULL: answered. */
static json_t *
load(request *r)
{
    const char *id = request_part(r, "cohort");
    json_t *o = NULL;

    if (files_is_id(id)) {
        char *path = path_of(r, id);
        (void)files_read_json(path, &o, NULL);
        free(path);
    }
    if (o != NULL && may_see(r, o))
        return o;
    json_decref(o);
    reply_error(r, 404, "no such cohort");
    return NULL;
}

static bool
check(request *r)
{
    static const char *const keys[] = {"Name", "Note", "Volumes", "Query", NULL};
    const json_t *asked = request_json(r), *volumes = json_object_get(asked, "Volumes"), *id;
    const json_t *query = json_object_get(asked, "Query");
    size_t i;

    if (!check_keys(r, asked, keys) || !check_text(r, asked, "Name", 1, MAX_NAME_NBYTES) ||
        !check_text(r, asked, "Note", 0, MAX_NOTE_NBYTES))
        return false;
    bool good = json_is_array(volumes) && json_array_size(volumes) <= MAX_VOLUMES;
    json_array_foreach(volumes, i, id)
    {
        good = good && json_is_string(id) && json_string_length(id) > 0 &&
               json_string_length(id) <= MAX_ID_NBYTES;
    }
    if (!good)
        reply_error(r, 400, "Volumes: a list of at most %u volume ids is wanted", MAX_VOLUMES);
    else if (query != NULL && !json_is_object(query) && !json_is_null(query))
        reply_error(r, 400, "Query: an object is wanted");
    else
        return true;
    return false;
}

/* A user's cohorts, or all. */
struct gathering {
    request *r;
    json_t *list;
    size_t n_own;
};

static void
gather(void *ctx, const char *name)
{
    struct gathering *g = ctx;
    char *path = files_path(server_state_dir(request_server(g->r)), "cohorts", name, NULL);
    const size_t n = strlen(name);
    json_t *o = NULL;

    if (n == FILES_ID_NCHARS + 5 && strcmp(name + FILES_ID_NCHARS, ".json") == 0)
        (void)files_read_json(path, &o, NULL);
    free(path);
    if (o != NULL && may_see(g->r, o)) {
        const char *user = json_string_value(json_object_get(o, "User"));
        g->n_own += user != NULL && strcmp(user, request_user(g->r)) == 0;
        cmir_json_add(g->list, json_incref(o));
    }
    json_decref(o);
}

static struct gathering
gather_all(request *r)
{
    struct gathering g = {.r = r, .list = cmir_json_need(json_array())};
    char *dir = files_path(server_state_dir(request_server(r)), "cohorts", NULL);

    (void)files_each(dir, gather, &g, NULL);
    free(dir);
    return g;
}

void
api_cohorts_get(request *r)
{
    struct gathering g = gather_all(r);

    reply_json(r, 200, json_pack("{s:o}", "Cohorts", g.list));
}

/* Writes the body as the cohort `id` of `user`; false: answered. */
static bool
save(request *r, const char *id, const char *user, const char *created, json_t **out)
{
    json_t *o = cmir_json_need(json_copy((json_t *)(uintptr_t)request_json(r)));
    char *path = path_of(r, id);
    cmir_error err = {0};
    char now[21];

    files_now(now);
    if (json_object_get(o, "Note") == NULL)
        cmir_json_set(o, "Note", json_string(""));
    if (json_is_null(json_object_get(o, "Query")))
        (void)json_object_del(o, "Query");
    cmir_json_set(o, "CohortId", json_string(id));
    cmir_json_set(o, "User", cmir_json_text(user));
    cmir_json_set(o, "Created", json_string(created == NULL ? now : created));
    cmir_json_set(o, "Changed", json_string(now));
    const cmir_status st = files_write_json(path, o, &err);
    free(path);
    *out = o;
    if (st == CMIR_OK)
        return true;
    json_decref(o);
    reply_status(r, &err);
    return false;
}

void
api_cohorts_post(request *r)
{
    char id[FILES_ID_NCHARS + 1], location[80];
    cmir_error err = {0};
    json_t *o;

    if (!check(r))
        return;
    struct gathering g = gather_all(r);
    json_decref(g.list);
    if (g.n_own >= MAX_COHORTS) {
        reply_error(r, 409, "you have %u cohorts, which is the most", MAX_COHORTS);
        return;
    }
    if (files_new_id(id, &err) != CMIR_OK) {
        reply_status(r, &err);
        return;
    }
    (void)snprintf(location, sizeof location, "/api/v1/cohorts/%s", id);
    if (save(r, id, request_user(r), NULL, &o))
        reply_json_at(r, 201, location, o);
}

void
api_cohort_get(request *r)
{
    json_t *o = load(r);

    if (o != NULL)
        reply_json(r, 200, o);
}

void
api_cohort_put(request *r)
{
    json_t *old = check(r) ? load(r) : NULL, *o;

    if (old == NULL)
        return;
    if (save(r, request_part(r, "cohort"), json_string_value(json_object_get(old, "User")),
             json_string_value(json_object_get(old, "Created")), &o))
        reply_json(r, 200, o);
    json_decref(old);
}

void
api_cohort_delete(request *r)
{
    json_t *o = load(r);

    if (o == NULL)
        return;
    char *path = path_of(r, request_part(r, "cohort"));
    (void)remove(path);
    free(path);
    json_decref(o);
    reply_nothing(r);
}

/* ---- Export: who took which volumes out is written down first. */

static bool
remember(request *r, const json_t *cohort)
{
    const json_t *volumes = json_object_get(cohort, "Volumes"), *id;
    const char **ids = cmir_json_need(malloc((json_array_size(volumes) + 1) * sizeof *ids));
    cmir_error err = {0};
    size_t i;

    json_array_foreach(volumes, i, id) ids[i] = json_string_value(id);
    const cmir_status st = audit_write(request_server(r), request_user(r), "cohort-export", NULL,
                                       ids, json_array_size(volumes), &err);
    free(ids);
    if (st != CMIR_OK)
        reply_status(r, &err);
    return st == CMIR_OK;
}

static void
export_cohort(request *r, bool as_csv)
{
    server *s = request_server(r);
    json_t *cohort = load(r), *o = NULL;
    cmir_archive *archive = NULL;
    cmir_error err = {0};
    char *csv = NULL;
    size_t nbytes = 0;

    if (cohort == NULL)
        return;
    cmir_status st = handle_take(s, NULL, &archive, &err);
    if (st == CMIR_OK)
        st = as_csv ? cohort_csv(archive, cohort, &csv, &nbytes, &err)
                    : cohort_json(archive, cohort, &o, &err);
    handle_give(s, NULL, archive);
    if (st != CMIR_OK) {
        reply_status(r, &err);
    } else if (remember(r, cohort)) {
        if (as_csv)
            reply_bytes(r, 200, "text/csv; charset=utf-8", csv, nbytes, CACHE_NEVER, NULL);
        else
            reply_json(r, 200, json_incref(o));
        csv = NULL;
    }
    free(csv);
    json_decref(o);
    json_decref(cohort);
}

void
api_cohort_csv(request *r)
{
    reply_header(r, "Content-Disposition", "attachment; filename=\"cohort.csv\"");
    export_cohort(r, true);
}

void
api_cohort_json(request *r)
{
    export_cohort(r, false);
}
