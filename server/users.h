/* SPDX-License-Identifier: Apache-2.0 */
/* users.h: who may use the service: STATE/users.json.
 *
 * The one idea: the file is written by `cmir user` only, whole, and read again by the service when
 * it has changed; passwords and tokens are there as hashes. */
#ifndef CMIR_SERVER_USERS_H
#define CMIR_SERVER_USERS_H

#include "server_internal.h"

#define USER_NAME_NBYTES 64

extern const char *const role_names[]; /* by role; "none" first */
bool user_name_is_good(const char *name);

/* Reads STATE/users.json: {"Users": [{"Name", "Role", "Password"|null, "Tokens": [{"Sha256", "Created"}]}]},
 * checked.  No file: no users. */
cmir_status users_read(const char *state_dir, json_t **out, cmir_error *err);
/* Borrowed; NULL where there is none of this name. */
const json_t *users_find(const json_t *users, const char *name);
role users_role(const json_t *user);
/* Name of the user whose token has this hash, or NULL. */
const json_t *users_find_token(const json_t *users, const char *sha256);

#endif
