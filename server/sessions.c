/* SPDX-License-Identifier: Apache-2.0 */
/* sessions.c: the table of sessions.
 *
 * The one idea: it holds hashes of ids, so that whoever sees this memory cannot log in with it, and
 * comparing them tells nothing by its time. */
#include <stdio.h>
#include <string.h>

#include "sessions.h"

static bool
is_over(const session *row, double now)
{
    return row->hash[0] == '\0' || now - row->used > SESSION_IDLE_S || now - row->begun > SESSION_S;
}

void
session_begin(sessions *s, const char *user, double now, char id[SECRET_HEX])
{
    session *place = &s->rows[0];

    for (int i = 0; i < MAX_SESSIONS && !is_over(place, now); i++)
        if (is_over(&s->rows[i], now) || s->rows[i].used < place->used)
            place = &s->rows[i];
    secret_new(id);
    *place = (session){.begun = now, .used = now};
    secret_hash(id, SECRET_HEX - 1, place->hash);
    snprintf(place->user, sizeof place->user, "%s", user);
}

static session *
find(sessions *s, const char *id)
{
    char hash[SECRET_HEX];

    if (strlen(id) != SECRET_HEX - 1)
        return NULL;
    secret_hash(id, SECRET_HEX - 1, hash);
    for (int i = 0; i < MAX_SESSIONS; i++)
        if (s->rows[i].hash[0] != '\0' && secret_equal(s->rows[i].hash, hash))
            return &s->rows[i];
    return NULL;
}

const char *
session_find(sessions *s, const char *id, double now)
{
    session *row = find(s, id);

    if (row == NULL || is_over(row, now))
        return NULL;
    row->used = now;
    return row->user;
}

void
session_end(sessions *s, const char *id)
{
    session *row = find(s, id);

    if (row != NULL)
        *row = (session){0};
}
