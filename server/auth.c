/* SPDX-License-Identifier: Apache-2.0 */
/* auth.c: who sent a request.
 *
 * The one idea: with no users (which is possible on this machine's own address only) everybody is the
 * admin; as soon as there is one, everybody must be one: by a session's cookie, Basic, Bearer, or a
 * header of the one proxy that is trusted.  Of users nothing is kept from one request to the next:
 * whoever is removed is out at once. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "audit.h"
#include "auth.h"
#include "files.h"
#include "origin.h"
#include "sessions.h"
#include "throttle.h"
#include "users.h"

#define MAX_HASHING 2  /* passwords at once: 64 MiB each */
#define MAX_WAITING 16 /* for their turn */
#define REMEMBERED 64
#define REMEMBER_S 300.0
/* Failures that cost nothing: of a user from an address, of an address, of a user. */
#define FREE_PAIR 5
#define FREE_ADDRESS 20
#define FREE_USER 100

/* A hash of nobody's password: a name that is unknown takes as long as one that is not. */
static const char nobody[] = "$argon2id$v=19$m=65536,t=3,p=1$K/"
                             "aeXGxNWQ8TKF1Kcu8muw$EBkD+WLUumJCjeWoRF7SxHccOBwJzz7JukORnnSNUC0";

/* A password that was right: hash of it and of the stored one. */
typedef struct remembered {
    char hash[SECRET_HEX];
    double until;
} remembered;

struct auth {
    pthread_mutex_t lock;
    pthread_cond_t hashed;
    json_t *users; /* NULL: damaged */
    struct stat seen; /* of users.json when it was read */
    sessions sessions;
    throttle throttle;
    remembered remembered[REMEMBERED];
    size_t n_remembered; /* ever: the place of the next */
    char salt[SECRET_HEX]; /* of what is remembered */
    unsigned n_hashing, n_waiting;
};

/* What is known of a user, copied: users may change meanwhile. */
typedef struct known {
    char name[USER_NAME_NBYTES + 1];
    role role;
    char password[SECRET_PASSWORD_NBYTES]; /* "": none */
} known;

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

static bool
copy_user(const json_t *user, known *out)
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

static bool
find_user(struct auth *a, const char *name, known *out)
{
    (void)pthread_mutex_lock(&a->lock);
    const bool found = copy_user(users_find(a->users, name), out);
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

/* ---- Passwords. */
static void
remember_hash(const struct auth *a, const known *user, const char *password, char out[SECRET_HEX])
{
    char text[SECRET_HEX + SECRET_PASSWORD_NBYTES + 1100];
    const int n = snprintf(text, sizeof text, "%s%s%.1024s", a->salt, user->password, password);

    secret_hash(text, (size_t)n, out);
    secret_wipe(text, sizeof text);
}

static bool
is_remembered(struct auth *a, const char hash[SECRET_HEX], double now)
{
    bool found = false;

    (void)pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < REMEMBERED; i++)
        found =
            found || (a->remembered[i].until > now && secret_equal(a->remembered[i].hash, hash));
    (void)pthread_mutex_unlock(&a->lock);
    return found;
}

static void
remember(struct auth *a, const char hash[SECRET_HEX], double now)
{
    (void)pthread_mutex_lock(&a->lock);
    remembered *place = &a->remembered[a->n_remembered++ % REMEMBERED];
    memcpy(place->hash, hash, SECRET_HEX);
    place->until = now + REMEMBER_S;
    (void)pthread_mutex_unlock(&a->lock);
}

/* One of few at a time.  False: too many wait already. */
static bool
hash_in_turn(struct auth *a, const char *stored, const char *password, bool *right)
{
    (void)pthread_mutex_lock(&a->lock);
    const bool room = a->n_waiting < MAX_WAITING;
    a->n_waiting += room;
    while (room && a->n_hashing == MAX_HASHING)
        (void)pthread_cond_wait(&a->hashed, &a->lock);
    a->n_waiting -= room;
    a->n_hashing += room;
    (void)pthread_mutex_unlock(&a->lock);
    if (!room)
        return false;
    *right = secret_check_password(stored, password);
    (void)pthread_mutex_lock(&a->lock);
    a->n_hashing--;
    (void)pthread_cond_signal(&a->hashed);
    (void)pthread_mutex_unlock(&a->lock);
    return true;
}

/* Whether the sender's address is known: behind a proxy that is not named all have the proxy's. */
static bool
knows_address(const request *r)
{
    return !r->server->options.behind_proxy || r->server->options.proxy_address != NULL;
}

typedef struct login_keys {
    uint64_t pair, address, user;
} login_keys;

static login_keys
keys_of(const request *r, const char *name)
{
    return (login_keys){secret_number("pair", name, r->address),
                        secret_number("address", r->address, ""), secret_number("user", name, "")};
}

static double
login_wait(const request *r, const login_keys *keys, double now)
{
    struct auth *a = r->server->auth;

    (void)pthread_mutex_lock(&a->lock);
    const double wait =
        fmax(fmax(throttle_wait(&a->throttle, keys->pair, now),
                  throttle_wait(&a->throttle, keys->user, now)),
             knows_address(r) ? throttle_wait(&a->throttle, keys->address, now) : 0);
    (void)pthread_mutex_unlock(&a->lock);
    return wait;
}

static void
note_login(const request *r, const login_keys *keys, bool right, double now)
{
    struct auth *a = r->server->auth;

    (void)pthread_mutex_lock(&a->lock);
    if (right) {
        throttle_forget(&a->throttle, keys->pair, now);
    } else {
        throttle_fail(&a->throttle, keys->pair, FREE_PAIR, now);
        throttle_fail(&a->throttle, keys->user, FREE_USER, now);
        if (knows_address(r))
            throttle_fail(&a->throttle, keys->address, FREE_ADDRESS, now);
    }
    (void)pthread_mutex_unlock(&a->lock);
}

static void
reply_later(request *r, double wait)
{
    char seconds[32];

    snprintf(seconds, sizeof seconds, "%.0f", ceil(wait));
    reply_header(r, "Retry-After", seconds);
}

static unsigned
note_refusal(request *r, const char *user)
{
    cmir_error err = {0};

    return audit_write(r->server, user, "login-refused", NULL, NULL, 0, &err) == CMIR_OK ? 401
                                                                                         : 503;
}

/* 0, 401, 429 or 503; a name that is not known is written to the log as "": it may be a password. */
static unsigned
check_password(request *r, const char *name, const char *password, known *user)
{
    struct auth *a = r->server->auth;
    const login_keys keys = keys_of(r, name);
    const double now = server_now(), wait = login_wait(r, &keys, now);
    char hash[SECRET_HEX];
    bool right = false;

    if (wait > 0) {
        reply_later(r, wait);
        return 429;
    }
    const bool there = find_user(a, name, user) && user->password[0] != '\0';
    remember_hash(a, user, password, hash);
    if (there && is_remembered(a, hash, now))
        return 0;
    if (!hash_in_turn(a, there ? user->password : nobody, password, &right)) {
        reply_later(r, 1);
        return 503;
    }
    right = right && there;
    note_login(r, &keys, right, server_now());
    if (!right)
        return note_refusal(r, user->name);
    remember(a, hash, now);
    return 0;
}

unsigned
auth_login(request *r, const char *name, const char *password, char id[SECRET_HEX], role *out)
{
    known user;
    const unsigned status = check_password(r, name, password, &user);

    if (status != 0)
        return status;
    (void)pthread_mutex_lock(&r->server->auth->lock);
    session_begin(&r->server->auth->sessions, user.name, server_now(), id);
    (void)pthread_mutex_unlock(&r->server->auth->lock);
    snprintf(r->user, sizeof r->user, "%s", user.name);
    *out = user.role;
    return 0;
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
    const unsigned status = check_password(r, text, colon + 1, user);
    secret_wipe(text, sizeof text);
    return status;
}

static unsigned
by_token(request *r, const char *token, known *user)
{
    struct auth *a = r->server->auth;
    const login_keys keys = keys_of(r, "");
    const double now = server_now(), wait = login_wait(r, &keys, now);
    char hash[SECRET_HEX];

    if (wait > 0) {
        reply_later(r, wait);
        return 429;
    }
    secret_hash(token, strlen(token), hash);
    (void)pthread_mutex_lock(&a->lock);
    const bool found = copy_user(users_find_token(a->users, hash), user);
    if (!found && knows_address(r))
        throttle_fail(&a->throttle, keys.address, FREE_ADDRESS, now);
    (void)pthread_mutex_unlock(&a->lock);
    return found ? 0 : note_refusal(r, "");
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
    const bool found = name != NULL && copy_user(users_find(a->users, name), user);
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
    return name != NULL && find_user(r->server->auth, name, user);
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
        return by_token(r, header + 7 + strspn(header + 7, " "), user);
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

    if (r->user[0] == '\0' && !knows_address(r))
        return 0;
    const uint64_t key = r->user[0] != '\0' ? secret_number("rate", r->user, "")
                                            : secret_number("rate-address", r->address, "");
    (void)pthread_mutex_lock(&a->lock);
    const double wait =
        throttle_take(&a->throttle, key, r->server->options.requests_per_minute, server_now());
    (void)pthread_mutex_unlock(&a->lock);
    if (wait <= 0)
        return 0;
    reply_later(r, wait);
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
