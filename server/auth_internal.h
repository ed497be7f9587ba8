/* SPDX-License-Identifier: Apache-2.0 */
/* auth_internal.h: what auth.c and login.c share. */
#ifndef CMIR_SERVER_AUTH_INTERNAL_H
#define CMIR_SERVER_AUTH_INTERNAL_H

#include <pthread.h>
#include <sys/stat.h>

#include "auth.h"
#include "sessions.h"
#include "throttle.h"
#include "users.h"

#define REMEMBERED 64 /* passwords that were right a short while ago */

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

/* auth.c */
bool auth_copy_user(const json_t *user, known *out); /* false for NULL */
/* Copies what is known of a user under the lock.  False: there is none of this name. */
bool auth_find_user(server *s, const char *name, known *out);

/* login.c */
/* 0, 401, 429 or 503, with Retry-After. */
unsigned login_check_password(request *r, const char *name, const char *password, known *user);
unsigned login_check_token(request *r, const char *token, known *user);
/* Whether the sender's address is known: behind a proxy that is not named all have the proxy's. */
bool login_knows_address(const request *r);
void login_reply_later(request *r, double wait); /* Retry-After */

#endif
