/* SPDX-License-Identifier: Apache-2.0 */
/* api_upload.c: files of a user: to search with, or to add to the archive.
 *
 * The one idea: an upload is an archive of its own, STATE/uploads/ID/archive, that only its user sees,
 * for a day; all that is shown of it and searched with it is done by the same code as for the served
 * archive. */
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "files.h"
#include "server_internal.h"

#define MAX_UPLOADS 50u /* of one user */

static char *
upload_dir(request *r, const char *id)
{
    char *dir = files_path(server_state_dir(request_server(r)), "uploads", id, NULL);
    char *owner = files_path(dir, "owner.json", NULL);
    json_t *o = NULL;
    const char *user = NULL;

    if (files_is_id(id) && files_read_json(owner, &o, NULL) == CMIR_OK)
        user = json_string_value(json_object_get(o, "User"));
    const bool mine = user != NULL && strcmp(user, request_user(r)) == 0;
    json_decref(o);
    free(owner);
    if (mine)
        return dir;
    free(dir);
    reply_error(r, 404, "no such upload, or it is gone");
    return NULL;
}

char *
upload_archive_dir(request *r, const char *id)
{
    char *dir = upload_dir(r, id), *archive = dir == NULL ? NULL : files_path(dir, "archive", NULL);

    free(dir);
    return archive;
}

/* [{Path, Name}] */
static json_t *
files_json(request *r)
{
    json_t *list = cmir_json_need(json_array());
    size_t n;
    const request_file *files = request_files(r, &n);

    for (size_t i = 0; i < n; i++) {
        const char *slash = strrchr(files[i].path, '/');
        cmir_json_add(list,
                      json_pack("{s:s, s:o}", "Path", slash == NULL ? files[i].path : slash + 1,
                                "Name", cmir_json_text(files[i].name)));
    }
    return list;
}

/* How many uploads the user has. */
struct counting {
    request *r;
    size_t n;
};

static void
count_own(void *ctx, const char *name)
{
    struct counting *c = ctx;
    char *owner =
        files_path(server_state_dir(request_server(c->r)), "uploads", name, "owner.json", NULL);
    json_t *o = NULL;

    if (files_read_json(owner, &o, NULL) == CMIR_OK) {
        const char *user = json_string_value(json_object_get(o, "User"));
        c->n += user != NULL && strcmp(user, request_user(c->r)) == 0;
    }
    json_decref(o);
    free(owner);
}

static size_t
n_uploads(request *r)
{
    struct counting c = {.r = r};
    char *dir = files_path(server_state_dir(request_server(r)), "uploads", NULL);

    (void)files_each(dir, count_own, &c, NULL);
    free(dir);
    return c.n;
}

static void
submit_files(request *r, const char *kind)
{
    size_t n;

    (void)request_files(r, &n);
    if (n == 0)
        reply_error(r, 400, "no files: multipart/form-data with at least one is wanted");
    else
        job_submit(r, kind, request_folder(r),
                   json_pack("{s:s, s:o}", "User", request_user(r), "Files", files_json(r)));
}

void
api_volumes_post(request *r)
{
    submit_files(r, "add");
}

void
api_uploads_post(request *r)
{
    if (n_uploads(r) >= MAX_UPLOADS)
        reply_error(r, 409, "you have %u uploads, which is the most: delete one", MAX_UPLOADS);
    else
        submit_files(r, "upload");
}

void
api_upload_add(request *r)
{
    const char *id = request_part(r, "upload");
    char *dir = upload_dir(r, id);

    if (dir != NULL)
        job_submit(r, "add", NULL, json_pack("{s:s, s:s}", "User", request_user(r), "Upload", id));
    free(dir);
}

void
api_upload(request *r)
{
    const char *id = request_part(r, "upload");
    char *dir = upload_archive_dir(r, id);
    json_t *volumes = NULL;
    cmir_archive *archive = NULL;
    cmir_error err = {0};

    if (dir == NULL)
        return;
    cmir_status st = handle_take(request_server(r), dir, &archive, &err);
    if (st == CMIR_OK)
        st = cmir_json_records(archive, NULL, false, &volumes, &err);
    handle_give(request_server(r), dir, archive);
    free(dir);
    if (st == CMIR_OK)
        reply_json(r, 200, json_pack("{s:s, s:o}", "UploadId", id, "Volumes", volumes));
    else
        reply_status(r, &err);
}

void
api_upload_delete(request *r)
{
    char *dir = upload_dir(r, request_part(r, "upload"));
    cmir_error err = {0};

    if (dir == NULL)
        return;
    if (files_remove_tree(dir, &err) == CMIR_OK)
        reply_nothing(r);
    else
        reply_status(r, &err);
    free(dir);
}
