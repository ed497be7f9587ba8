/* SPDX-License-Identifier: Apache-2.0 */
/* users.c: users.json, read and changed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "secret.h"
#include "text.h"
#include "users.h"

#define MIN_PASSWORD_NBYTES 8
#define MAX_PASSWORD_NBYTES 1024
#define MAX_TOKENS 100

const char *const role_names[] = {"none", "reader", "contributor", "admin", NULL};

bool
user_name_is_good(const char *name)
{
    const size_t n = strlen(name);

    return n > 0 && n <= USER_NAME_NBYTES && text_is_clean(name, n) &&
           strpbrk(name, ":/\\\"") == NULL && name[0] != ' ' && name[n - 1] != ' ';
}

static role
role_called(const char *name)
{
    for (int i = ROLE_READER; name != NULL && role_names[i] != NULL; i++)
        if (strcmp(role_names[i], name) == 0)
            return (role)i;
    return ROLE_NONE;
}

role
users_role(const json_t *user)
{
    return role_called(json_string_value(json_object_get(user, "Role")));
}

static const json_t *
list_of(const json_t *users)
{
    return json_object_get(users, "Users");
}

const json_t *
users_find(const json_t *users, const char *name)
{
    const json_t *user;
    size_t i;

    json_array_foreach(list_of(users), i,
                       user) if (strcmp(json_string_value(json_object_get(user, "Name")), name) ==
                                 0) return user;
    return NULL;
}

/* All of them are compared, so that the time says nothing. */
const json_t *
users_find_token(const json_t *users, const char *sha256)
{
    const json_t *user, *token, *found = NULL;
    size_t i, k;

    json_array_foreach(list_of(users), i, user) json_array_foreach(
        json_object_get(user, "Tokens"), k,
        token) if (secret_equal(json_string_value(json_object_get(token, "Sha256")), sha256))
        found = user;
    return found;
}

static bool
is_sound(const json_t *user)
{
    const json_t *password = json_object_get(user, "Password"), *token;
    const json_t *tokens = json_object_get(user, "Tokens");
    const char *name = json_string_value(json_object_get(user, "Name"));
    size_t i;

    if (name == NULL || !user_name_is_good(name) || users_role(user) == ROLE_NONE ||
        !json_is_array(tokens) || !(json_is_null(password) || json_is_string(password)))
        return false;
    json_array_foreach(tokens, i, token) if (json_string_length(json_object_get(token, "Sha256")) !=
                                             SECRET_HEX - 1) return false;
    return true;
}

cmir_status
users_read(const char *state_dir, json_t **out, cmir_error *err)
{
    char *path = files_path(state_dir, "users.json", (char *)NULL);
    const bool there = access(path, F_OK) == 0;
    cmir_status st = CMIR_OK;
    const json_t *user;
    size_t i;

    if (there)
        st = files_read_json(path, out, err);
    else
        *out = cmir_json_need(json_pack("{s:[]}", "Users"));
    free(path);
    if (st != CMIR_OK)
        return st;
    bool sound = json_is_array(list_of(*out));
    json_array_foreach(list_of(*out), i, user) sound = sound && is_sound(user);
    if (sound)
        return CMIR_OK;
    json_decref(*out);
    *out = NULL;
    return files_fail(err, CMIR_ECORRUPT, "users.json is damaged: take it from a backup");
}

/* ---- Changing. */
typedef struct change {
    char *dir, *path;
    int lock; /* of STATE/users.lock: one change at a time */
    json_t *users;
} change;

static cmir_status
begin_change(const char *dir, change *c, cmir_error *err)
{
    *c = (change){.lock = -1};
    char *catalog = files_path(dir, "catalog.sqlite", (char *)NULL);
    const bool is_archive = access(catalog, F_OK) == 0;
    free(catalog);
    if (!files_is_dir(dir))
        return files_fail(err, CMIR_ENOTFOUND, "%s: there is no such archive or state folder", dir);
    c->dir = is_archive ? files_path(dir, "service", (char *)NULL) : files_path(dir, (char *)NULL);
    cmir_status st = secret_start(err);
    if (st == CMIR_OK)
        st = files_mkdir(c->dir, err);
    if (st != CMIR_OK)
        return st;
    char *lock = files_path(c->dir, "users.lock", (char *)NULL);
    c->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(lock);
    if (c->lock < 0 || flock(c->lock, LOCK_EX) != 0)
        return files_fail(err, CMIR_EIO, "%s/users.lock: %s", c->dir, strerror(errno));
    c->path = files_path(c->dir, "users.json", (char *)NULL);
    return users_read(c->dir, &c->users, err);
}

static cmir_status
end_change(change *c, cmir_status st, bool write, cmir_error *err)
{
    if (st == CMIR_OK && write)
        st = files_write_json(c->path, c->users, err);
    json_decref(c->users);
    if (c->lock >= 0)
        (void)close(c->lock);
    free(c->path);
    free(c->dir);
    return st;
}

static cmir_status
find_for_change(const change *c, const char *name, json_t **out, cmir_error *err)
{
    json_t *user;
    size_t i;

    json_array_foreach(json_object_get(c->users, "Users"), i,
                       user) if (strcmp(json_string_value(json_object_get(user, "Name")), name) ==
                                 0)
    {
        *out = user;
        return CMIR_OK;
    }
    return files_fail(err, CMIR_ENOTFOUND, "there is no user '%s'", name);
}

static cmir_status
check_new(const char *name, const char *role_name, const char *password, cmir_error *err)
{
    if (!user_name_is_good(name))
        return files_fail(err, CMIR_EINVAL,
                          "a user's name has 1 to %d bytes, none of them : / \\ \" or a control "
                          "character, and no blank at its ends",
                          USER_NAME_NBYTES);
    if (role_called(role_name) == ROLE_NONE)
        return files_fail(err, CMIR_EINVAL, "the role is one of: reader, contributor, admin");
    if (password != NULL &&
        (strlen(password) < MIN_PASSWORD_NBYTES || strlen(password) > MAX_PASSWORD_NBYTES))
        return files_fail(err, CMIR_EINVAL, "a password has %d to %d bytes", MIN_PASSWORD_NBYTES,
                          MAX_PASSWORD_NBYTES);
    return CMIR_OK;
}

cmir_status
server_user_add(const char *dir, const char *name, const char *role_name, const char *password,
                cmir_error *err)
{
    char stored[SECRET_PASSWORD_NBYTES];
    change c;
    cmir_status st = check_new(name, role_name, password, err);

    if (st != CMIR_OK)
        return st;
    st = begin_change(dir, &c, err);
    if (st == CMIR_OK && users_find(c.users, name) != NULL)
        st = files_fail(err, CMIR_EEXIST, "there is a user '%s' already: remove it first", name);
    if (st == CMIR_OK && password != NULL && !secret_store_password(password, stored))
        st = files_fail(err, CMIR_ENOMEM, "no memory to hash the password");
    if (st == CMIR_OK)
        cmir_json_add(json_object_get(c.users, "Users"),
                      json_pack("{s:s, s:s, s:o, s:[]}", "Name", name, "Role", role_name,
                                "Password", password != NULL ? json_string(stored) : json_null(),
                                "Tokens"));
    return end_change(&c, st, true, err);
}

cmir_status
server_user_remove(const char *dir, const char *name, cmir_error *err)
{
    change c;
    cmir_status st = begin_change(dir, &c, err);
    json_t *user = NULL, *list = json_object_get(c.users, "Users");

    if (st == CMIR_OK)
        st = find_for_change(&c, name, &user, err);
    for (size_t i = 0; st == CMIR_OK && i < json_array_size(list); i++)
        if (json_array_get(list, i) == user) {
            (void)json_array_remove(list, i);
            break;
        }
    return end_change(&c, st, true, err);
}

cmir_status
server_user_token(const char *dir, const char *name, char token[SERVER_TOKEN_NBYTES],
                  cmir_error *err)
{
    char hash[SECRET_HEX], now[21];
    change c;
    json_t *user = NULL;
    cmir_status st = begin_change(dir, &c, err);

    if (st == CMIR_OK)
        st = find_for_change(&c, name, &user, err);
    json_t *tokens = json_object_get(user, "Tokens");
    if (st == CMIR_OK && json_array_size(tokens) >= MAX_TOKENS)
        st = files_fail(err, CMIR_ELIMIT, "user '%s' has %d tokens: --revoke them", name,
                        MAX_TOKENS);
    if (st == CMIR_OK) {
        secret_new(token);
        secret_hash(token, SECRET_HEX - 1, hash);
        files_now(now);
        cmir_json_add(tokens, json_pack("{s:s, s:s}", "Sha256", hash, "Created", now));
    }
    return end_change(&c, st, true, err);
}

cmir_status
server_user_revoke(const char *dir, const char *name, cmir_error *err)
{
    change c;
    json_t *user = NULL;
    cmir_status st = begin_change(dir, &c, err);

    if (st == CMIR_OK)
        st = find_for_change(&c, name, &user, err);
    if (st == CMIR_OK)
        (void)json_array_clear(json_object_get(user, "Tokens"));
    return end_change(&c, st, true, err);
}

cmir_status
server_user_list(const char *dir, void (*each)(void *ctx, const server_user *user), void *ctx,
                 cmir_error *err)
{
    change c;
    const json_t *user;
    size_t i;
    const cmir_status st = begin_change(dir, &c, err);

    if (st == CMIR_OK)
        json_array_foreach(list_of(c.users), i, user)
        {
            const server_user view = {json_string_value(json_object_get(user, "Name")),
                                      role_names[users_role(user)],
                                      json_is_string(json_object_get(user, "Password")),
                                      json_array_size(json_object_get(user, "Tokens"))};
            each(ctx, &view);
        }
    return end_change(&c, st, false, err);
}
