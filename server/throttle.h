/* SPDX-License-Identifier: Apache-2.0 */
/* throttle.h: how often a user or an address may do something.  The caller holds a lock. */
#ifndef CMIR_SERVER_THROTTLE_H
#define CMIR_SERVER_THROTTLE_H

#include <stdint.h>

#define THROTTLE_SETS 1024
#define THROTTLE_WAYS 4

typedef struct throttle_row {
    uint64_t key;
    double last;     /* when it was used; 0: free */
    double failures; /* of logins, halved every ten minutes */
    double until;    /* no login before */
    double tokens;   /* of requests */
} throttle_row;

/* A fixed table: of four rows that share a place the one unused longest makes room.  Start from
 * zeroes. */
typedef struct throttle {
    throttle_row rows[THROTTLE_SETS][THROTTLE_WAYS];
} throttle;

/* Seconds until the next login may be tried; 0: now. */
double throttle_wait(throttle *t, uint64_t key, double now);
/* A login failed; the first `n_free` cost nothing, then each doubles the wait, up to five minutes. */
void throttle_fail(throttle *t, uint64_t key, double n_free, double now);
void throttle_forget(throttle *t, uint64_t key, double now);
/* Takes one of the tokens that come back at `per_minute` and are at most as many: 0, or seconds until
 * there is one again. */
double throttle_take(throttle *t, uint64_t key, double per_minute, double now);

#endif
