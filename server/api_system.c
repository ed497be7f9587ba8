/* SPDX-License-Identifier: Apache-2.0 */
/* api_system.c: what the service says of itself. */
#include "api.h"
#include "auth.h"
#include "files.h"
#include "users.h"

/* Ways to show values in grey, in Hounsfield units: the usual ones of CT. */
static const struct {
    const char *name;
    int centre, width;
} windows[] = {
    {"soft tissue", 40, 400}, {"lung", -600, 1500}, {"bone", 400, 1800},
    {"brain", 40, 80},        {"liver", 60, 160},   {"angiography", 300, 600},
};

static const char *const planes[] = {"axial", "coronal", "sagittal"};

void
api_health(request *r)
{
    reply_json(r, 200, json_pack("{s:s}", "Status", "ok"));
}

static json_t *
scores(void)
{
    json_t *names = cmir_json_need(json_array());
    cmir_score parsed;

    /* Names of scores are those that parse: there is no count of them. */
    for (int i = 0; cmir_score_parse(cmir_score_name((cmir_score)i), &parsed, NULL) == CMIR_OK &&
                    (int)parsed == i;
         i++)
        cmir_json_add(names, json_string(cmir_score_name((cmir_score)i)));
    return names;
}

static json_t *
window_list(void)
{
    json_t *list = cmir_json_need(json_array());

    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++)
        cmir_json_add(list, json_pack("{s:s, s:i, s:i}", "Name", windows[i].name, "Centre",
                                      windows[i].centre, "Width", windows[i].width));
    return list;
}

static json_t *
archive_object(const cmir_archive_info *info)
{
    return cmir_json_need(
        json_pack("{s:o, s:I, s:s, s:I, s:I, s:s, s:b}", "Encoder", cmir_json_encoder(info), "Dim",
                  (json_int_t)info->dim, "Plane", planes[info->plane], "Volumes",
                  (json_int_t)info->n_volumes, "Slices", (json_int_t)info->n_slices, "Previews",
                  cmir_previews_name(info->previews), "Fitted", info->whitening != NULL));
}

void
api_system(request *r)
{
    server *s = request_server(r);
    cmir_archive *archive;
    cmir_error err = {0};

    if (handle_take(s, NULL, &archive, &err) != CMIR_OK) {
        reply_status(r, &err);
        return;
    }
    (void)cmir_archive_refresh(archive, NULL);
    json_t *held = archive_object(cmir_archive_get_info(archive));
    handle_give(s, NULL, archive);
    reply_json(r, 200,
               json_pack("{s:s, s:s, s:o, s:s, s:s, s:b, s:o, s:{s:I, s:i, s:i}, s:o, s:s}", "Name",
                         "cmir", "Version", cmir_version(), "Archive", held, "User",
                         request_user(r), "Role", role_names[request_role(r)], "LoginRequired",
                         auth_login_required(s), "Scores", scores(), "Limits", "UploadBytes",
                         (json_int_t)server_get_options(s)->upload_nbytes, "UploadFiles",
                         SERVER_MAX_FILES, "Hits", SERVER_MAX_HITS, "Windows", window_list(),
                         "Notice", CMIR_NOTICE));
}
