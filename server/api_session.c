/* SPDX-License-Identifier: Apache-2.0 */
/* api_session.c: logging in and out. */
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "auth.h"
#include "users.h"

static void
set_cookie(request *r, const char *id, bool ends)
{
    const server_options *o = server_get_options(request_server(r));
    char cookie[SECRET_HEX + 96];

    snprintf(cookie, sizeof cookie, "cmir_session=%s; Path=/; HttpOnly; SameSite=Strict%s%s", id,
             o->certificate != NULL || o->behind_proxy ? "; Secure" : "",
             ends ? "; Max-Age=0" : "");
    reply_header(r, "Set-Cookie", cookie);
}

static void
reply_user(request *r, const char *user, role is)
{
    reply_json(r, 200, json_pack("{s:s, s:s}", "User", user, "Role", role_names[is]));
}

void
api_session_get(request *r)
{
    reply_user(r, request_user(r), request_role(r));
}

void
api_session_begin(request *r)
{
    const json_t *input = request_json(r);
    const char *user = json_string_value(json_object_get(input, "User"));
    const char *password = json_string_value(json_object_get(input, "Password"));
    char id[SECRET_HEX];
    cmir_error err = {0};
    role is;

    if (user == NULL || password == NULL || json_object_size(input) != 2) {
        reply_error(r, 400, "{\"User\": ..., \"Password\": ...} is wanted");
        return;
    }
    const unsigned status = auth_login(r, user, password, id, &is);
    if (status == 401)
        reply_header(r, "WWW-Authenticate", "Bearer realm=\"cmir\"");
    if (status != 0) {
        reply_error(r, status,
                    status == 401   ? "user or password is wrong"
                    : status == 429 ? "too many failed logins"
                                    : "the service is busy");
        return;
    }
    if (audit_write(request_server(r), user, "login", NULL, NULL, 0, &err) != CMIR_OK) {
        reply_status(r, &err);
        return;
    }
    set_cookie(r, id, false);
    reply_user(r, user, is);
}

void
api_session_end(request *r)
{
    auth_logout(r);
    set_cookie(r, "", true);
    reply_nothing(r);
}
