/* SPDX-License-Identifier: Apache-2.0 */
/* sessions.h: who is logged in by cookie.  In memory only: they end with the service.  The caller
 * holds a lock. */
#ifndef CMIR_SERVER_SESSIONS_H
#define CMIR_SERVER_SESSIONS_H

#include <stdbool.h>

#include "secret.h"
#include "users.h"

#define MAX_SESSIONS 1024
#define SESSION_IDLE_S (30 * 60.0)
#define SESSION_S (12 * 3600.0)

typedef struct session {
    char hash[SECRET_HEX]; /* of its id; "": free */
    char user[USER_NAME_NBYTES + 1];
    double begun, used;
} session;

typedef struct sessions {
    session rows[MAX_SESSIONS];
} sessions;

/* A new one, whose id is for the user's browser alone; where there are too many the one unused
 * longest ends. */
void session_begin(sessions *s, const char *user, double now, char id[SECRET_HEX]);
/* The user of a session that has not run out, or NULL; it counts as used now. */
const char *session_find(sessions *s, const char *id, double now);
void session_end(sessions *s, const char *id);

#endif
