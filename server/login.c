/* SPDX-License-Identifier: Apache-2.0 */
/* login.c: passwords and tokens.
 *
 * The one idea: guessing is made slow, not knowing: a name that does not exist takes as long as one that
 * does, failures make the next try wait, and few passwords are hashed at once; one that was right a
 * moment ago is not hashed again. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "auth_internal.h"

#define MAX_HASHING 2  /* passwords at once: 64 MiB each */
#define MAX_WAITING 16 /* for their turn */
#define REMEMBER_S 300.0
/* Failures that cost nothing: of a user from an address, of an address, of a user. */
#define FREE_PAIR 5
#define FREE_ADDRESS 100
#define FREE_USER 100
#define BAD_TOKENS_PER_MINUTE 60 /* of an address; more are not written to the log */

/* A hash of nobody's password: a name that is unknown takes as long as one that is not. */
static const char nobody[] = "$argon2id$v=19$m=65536,t=3,p=1$K/"
                             "aeXGxNWQ8TKF1Kcu8muw$EBkD+WLUumJCjeWoRF7SxHccOBwJzz7JukORnnSNUC0";

static void
remember_hash(const struct auth *a, const known *user, const char *password, char out[SECRET_HEX])
{
    char text[2 * SECRET_HEX + SECRET_PASSWORD_NBYTES], own[SECRET_HEX];

    secret_hash(password, strlen(password), own);
    const int n = snprintf(text, sizeof text, "%s%s%s", a->salt, user->password, own);
    secret_hash(text, (size_t)n, out);
    secret_wipe(own, sizeof own);
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
bool
login_knows_address(const request *r)
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
             login_knows_address(r) ? throttle_wait(&a->throttle, keys->address, now) : 0);
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
        if (login_knows_address(r))
            throttle_fail(&a->throttle, keys->address, FREE_ADDRESS, now);
    }
    (void)pthread_mutex_unlock(&a->lock);
}

void
login_reply_later(request *r, double wait)
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
unsigned
login_check_password(request *r, const char *name, const char *password, known *user)
{
    struct auth *a = r->server->auth;
    const login_keys keys = keys_of(r, name);
    const double now = server_now(), wait = login_wait(r, &keys, now);
    char hash[SECRET_HEX];
    bool right = false;

    if (wait > 0) {
        login_reply_later(r, wait);
        return 429;
    }
    const bool there = auth_find_user(r->server, name, user) && user->password[0] != '\0';
    remember_hash(a, user, password, hash);
    if (there && is_remembered(a, hash, now))
        return 0;
    if (!hash_in_turn(a, there ? user->password : nobody, password, &right)) {
        login_reply_later(r, 1);
        return 503;
    }
    right = right && there;
    note_login(r, &keys, right, server_now());
    if (!right)
        return note_refusal(r, user->name);
    remember(a, hash, now);
    return 0;
}

/* Nobody guesses a token, so that those who fail wait for nothing but their rate: whoever has a right
 * one is let in whatever others at the same address do. */
unsigned
login_check_token(request *r, const char *token, known *user)
{
    struct auth *a = r->server->auth;
    const uint64_t key = secret_number("bad-token", r->address, "");
    char hash[SECRET_HEX];
    double wait = 0;

    secret_hash(token, strlen(token), hash);
    (void)pthread_mutex_lock(&a->lock);
    const bool found = auth_copy_user(users_find_token(a->users, hash), user);
    if (!found)
        wait = throttle_take(&a->throttle, key, BAD_TOKENS_PER_MINUTE, server_now());
    (void)pthread_mutex_unlock(&a->lock);
    if (found)
        return 0;
    if (wait <= 0)
        return note_refusal(r, "");
    login_reply_later(r, wait);
    return 429;
}

unsigned
auth_login(request *r, const char *name, const char *password, char id[SECRET_HEX], role *out)
{
    known user;
    const unsigned status = login_check_password(r, name, password, &user);

    if (status != 0)
        return status;
    (void)pthread_mutex_lock(&r->server->auth->lock);
    session_begin(&r->server->auth->sessions, user.name, server_now(), id);
    (void)pthread_mutex_unlock(&r->server->auth->lock);
    snprintf(r->user, sizeof r->user, "%s", user.name);
    *out = user.role;
    return 0;
}
