/* SPDX-License-Identifier: Apache-2.0 */
/* auth.c: who sent a request.
 *
 * The one idea: with no users (which is possible on this machine's own address only) everybody is the
 * admin; as soon as there is one, everybody must be one: by a session's cookie, Basic, Bearer, or a
 * header of the one proxy that is trusted.  Of users nothing is kept from one request to the next:
 * whoever is removed is out at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "auth_internal.h"
#include "files.h"
#include "origin.h"

static unsigned
refuse(char message[200], unsigned status, const char *text)
{
    snprintf(message, 200, "%s", text);
    return status;
}

/* ---- Users; the lock is held. */
static void
refresh(server *s)
{
    struct auth *a = s->auth;
    char *path = files_path(s->state_dir, "users.json", (char *)NULL);
    struct stat st = {0};
    cmir_error err = {0};

    if (stat(path, &st) != 0)
        memset(&st, 0, sizeof st);
    free(path);
    if (st.st_ino == a->seen.st_ino && st.st_size == a->seen.st_size &&
        st.st_mtim.tv_sec == a->seen.st_mtim.tv_sec &&
        st.st_mtim.tv_nsec == a->seen.st_mtim.tv_nsec)
        return;
    a->seen = st;
    json_decref(a->users);
    a->users = NULL;
    if (users_read(s->state_dir, &a->users, &err) != CMIR_OK)
        server_log("error", json_pack("{s:s}", "Message", err.msg));
}

bool
auth_copy_user(const json_t *user, known *out)
{
    const char *password = json_string_value(json_object_get(user, "Password"));

    *out = (known){0};
    if (user == NULL)
        return false;
    snprintf(out->name, sizeof out->name, "%s", json_string_value(json_object_get(user, "Name")));
    snprintf(out->password, sizeof out->password, "%s", password == NULL ? "" : password);
    out->role = users_role(user);
    return true;
}

bool
auth_find_user(server *s, const char *name, known *out)
{
    struct auth *a = s->auth;

    (void)pthread_mutex_lock(&a->lock);
    refresh(s);
    const bool found = auth_copy_user(users_find(a->users, name), out);
    (void)pthread_mutex_unlock(&a->lock);
    return found;
}

bool
auth_login_required(server *s)
{
    (void)pthread_mutex_lock(&s->auth->lock);
    refresh(s);
    const size_t n = json_array_size(json_object_get(s->auth->users, "Users"));
    const bool damaged = s->auth->users == NULL;
    (void)pthread_mutex_unlock(&s->auth->lock);
    return damaged || n > 0 || s->options.behind_proxy || !origin_is_local(s->options.listen);
}

/* ---- Ways to say who one is; each gives 0 with *user filled, 401, 429 or 503. */
static unsigned
by_basic(request *r, const char *code, known *user)
{
    char text[1200];
    const size_t n = secret_base64(code, text, sizeof text - 1);

    if (n == SIZE_MAX || memchr(text, '\0', n) != NULL)
        return 401;
    text[n] = '\0';
    char *colon = strchr(text, ':');
    if (colon == NULL)
        return 401;
    *colon = '\0';
    const unsigned status = login_check_password(r, text, colon + 1, user);
    secret_wipe(text, sizeof text);
    return status;
}

/* The value of the session's cookie; false: there is none. */
static bool
read_cookie(const request *r, char id[SECRET_HEX])
{
    static const char name[] = "cmir_session=";
    const char *p = request_header(r, MHD_HTTP_HEADER_COOKIE);

    while (p != NULL && *p != '\0') {
        p += strspn(p, " ;");
        if (strncmp(p, name, sizeof name - 1) == 0) {
            p += sizeof name - 1;
            if (strcspn(p, "; ") != SECRET_HEX - 1)
                return false;
            memcpy(id, p, SECRET_HEX - 1);
            id[SECRET_HEX - 1] = '\0';
            return true;
        }
        p += strcspn(p, ";");
    }
    return false;
}

static unsigned
by_cookie(request *r, known *user)
{
    struct auth *a = r->server->auth;
    char id[SECRET_HEX];

    if (!read_cookie(r, id))
        return 401;
    (void)pthread_mutex_lock(&a->lock);
    const char *name = session_find(&a->sessions, id, server_now());
    const bool found = name != NULL && auth_copy_user(users_find(a->users, name), user);
    (void)pthread_mutex_unlock(&a->lock);
    return found ? 0 : 401;
}

void
auth_logout(request *r)
{
    char id[SECRET_HEX];

    if (!read_cookie(r, id))
        return;
    (void)pthread_mutex_lock(&r->server->auth->lock);
    session_end(&r->server->auth->sessions, id);
    (void)pthread_mutex_unlock(&r->server->auth->lock);
}

/* The header counts only from the trusted address, and only where it is there once: a proxy that
 * adds its own to a forged one is not believed. */
static bool
by_proxy(request *r, known *user)
{
    const server_options *o = &r->server->options;

    if (o->proxy_user_header == NULL || strcmp(r->peer, o->proxy_address) != 0 ||
        request_header_count(r, o->proxy_user_header) != 1)
        return false;
    const char *name = request_header(r, o->proxy_user_header);
    return name != NULL && auth_find_user(r->server, name, user);
}

static unsigned
identify(request *r, known *user, bool *cookie)
{
    const char *header = request_header(r, MHD_HTTP_HEADER_AUTHORIZATION);

    if (by_proxy(r, user))
        return 0;
    if (header != NULL && strncasecmp(header, "Basic ", 6) == 0)
        return by_basic(r, header + 6 + strspn(header + 6, " "), user);
    if (header != NULL && strncasecmp(header, "Bearer ", 7) == 0)
        return login_check_token(r, header + 7 + strspn(header + 7, " "), user);
    *cookie = true;
    return by_cookie(r, user);
}

/* ---- Whether they may. */
static bool
changes(const request *r)
{
    return strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0;
}

unsigned
auth_check_site(const request *r, char message[200])
{
    const server_options *o = &r->server->options;
    const char *host = request_header(r, MHD_HTTP_HEADER_HOST);

    if (!o->behind_proxy && origin_is_local(o->listen) && !origin_host_is_local(host))
        return refuse(message, 421, "this service answers to localhost only");
    if (changes(r) && origin_is_foreign(request_header(r, MHD_HTTP_HEADER_ORIGIN),
                                        request_header(r, "Sec-Fetch-Site"), host))
        return refuse(message, 403, "the request comes from a page of another site");
    return 0;
}

static unsigned
check_rate(request *r, char message[200])
{
    struct auth *a = r->server->auth;

    if (r->user[0] == '\0' && !login_knows_address(r))
        return 0;
    const uint64_t key = r->user[0] != '\0' ? secret_number("rate", r->user, "")
                                            : secret_number("rate-address", r->address, "");
    (void)pthread_mutex_lock(&a->lock);
    const double wait =
        throttle_take(&a->throttle, key, r->server->options.requests_per_minute, server_now());
    (void)pthread_mutex_unlock(&a->lock);
    if (wait <= 0)
        return 0;
    login_reply_later(r, wait);
    return refuse(message, 429, "too many requests");
}

static unsigned
deny(request *r, unsigned status, char message[200])
{
    if (status == 401)
        reply_header(r, "WWW-Authenticate", "Bearer realm=\"cmir\"");
    return refuse(message, status,
                  status == 401   ? "log in to do this"
                  : status == 429 ? "too many failed logins"
                                  : "the service is busy");
}

static unsigned
deny_role(request *r, char message[200])
{
    char what[64];
    cmir_error err = {0};

    snprintf(what, sizeof what, "denied-%s", r->target.route->name);
    if (audit_write(r->server, r->user, what, NULL, NULL, 0, &err) != CMIR_OK)
        return refuse(message, 500, "the audit log cannot be written");
    return refuse(message, 403, "this user may not do that");
}

unsigned
auth_check(request *r, char message[200])
{
    known user = {.role = ROLE_ADMIN};
    bool cookie = false;

    if (r->target.route->least == ROLE_NONE)
        return check_rate(r, message);
    if (auth_login_required(r->server)) {
        const unsigned status = identify(r, &user, &cookie);
        if (status != 0)
            return deny(r, status, message);
    }
    snprintf(r->user, sizeof r->user, "%s", user.name);
    r->role = user.role;
    if (r->role < r->target.route->least)
        return deny_role(r, message);
    const char *mark = request_header(r, "X-Cmir");
    if (cookie && changes(r) && (mark == NULL || strcmp(mark, "1") != 0))
        return refuse(message, 403, "the header X-Cmir: 1 is missing");
    return check_rate(r, message);
}

/* ---- Start. */
static cmir_status
check_options(const server_options *o, bool has_users, cmir_error *err)
{
    const bool local = origin_is_local(o->listen) && !o->behind_proxy;

    if ((o->certificate == NULL) != (o->key == NULL))
        return files_fail(err, CMIR_EINVAL, "--certificate and --key go together");
    if ((o->proxy_user_header == NULL) != (o->proxy_address == NULL) && o->proxy_address == NULL)
        return files_fail(
            err, CMIR_EINVAL,
            "--proxy-user-header needs --proxy-address: from anywhere else the header "
            "would be believed of anybody");
    if (o->proxy_address != NULL && !o->behind_proxy)
        return files_fail(err, CMIR_EINVAL, "--proxy-address needs --behind-proxy");
    if (!origin_is_local(o->listen) && o->certificate == NULL && !o->behind_proxy)
        return files_fail(err, CMIR_EINVAL,
                          "--listen %s can be reached from other machines: give --certificate and "
                          "--key, or --behind-proxy where a proxy in front ends TLS",
                          o->listen);
    if (!local && !has_users)
        return files_fail(err, CMIR_EINVAL,
                          "a service that others can reach needs users: cmir user add %.60s NAME "
                          "--role admin",
                          o->archive);
    return CMIR_OK;
}

cmir_status
auth_start(server *s, cmir_error *err)
{
    struct auth *a = cmir_json_need(calloc(1, sizeof *a));

    s->auth = a;
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->hashed, NULL);
    a->seen.st_size = -1;
    secret_new(a->salt);
    cmir_status st = users_read(s->state_dir, &a->users, err);
    if (st == CMIR_OK)
        st = check_options(&s->options, json_array_size(json_object_get(a->users, "Users")) > 0,
                           err);
    return st;
}

void
auth_stop(server *s)
{
    if (s->auth == NULL)
        return;
    json_decref(s->auth->users);
    (void)pthread_mutex_destroy(&s->auth->lock);
    (void)pthread_cond_destroy(&s->auth->hashed);
    secret_wipe(s->auth, sizeof *s->auth);
    free(s->auth);
    s->auth = NULL;
}
