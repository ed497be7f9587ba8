/* SPDX-License-Identifier: Apache-2.0 */
/* auth.h: who sent a request, and whether they may. */
#ifndef CMIR_SERVER_AUTH_H
#define CMIR_SERVER_AUTH_H

#include "http_internal.h"
#include "secret.h"

/* Reads the users; CMIR_EINVAL: an unsafe combination of options. */
cmir_status auth_start(server *s, cmir_error *err);
void auth_stop(server *s);

/* Whether the request may be answered at all, by the names and pages it comes from: 0, 403, 421. */
unsigned auth_check_site(const request *r, char message[200]);
/* Fills in user and role of a request whose route is known: 0, or 401, 403, 429, 503. */
unsigned auth_check(request *r, char message[200]);

bool auth_login_required(server *s);
/* Checks a password and, where it is right, begins a session: 0, 401, 429, 503. */
unsigned auth_login(request *r, const char *user, const char *password, char id[SECRET_HEX],
                    role *out);
void auth_logout(request *r); /* ends the session of the request's cookie, if there is one */

#endif
