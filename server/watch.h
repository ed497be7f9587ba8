/* SPDX-License-Identifier: Apache-2.0 */
/* watch.h: cuts connections that are too slow.  Called by http.c. */
#ifndef CMIR_SERVER_WATCH_H
#define CMIR_SERVER_WATCH_H

#include <stddef.h>
#include <stdint.h>

#include <cmir/cmir.h>

typedef struct watch watch;
typedef struct watched watched; /* one connection */

typedef enum watch_phase {
    WATCH_HEADERS,   /* idle, or a request's line and headers come: 45 s */
    WATCH_BODY,      /* 30 s, and one more for every 16 KiB that came */
    WATCH_AT_WORK,   /* ours to take time */
    WATCH_ANSWER     /* 60 s, and one more for every 16 KiB that go */
} watch_phase;

cmir_status watch_start(watch **out, cmir_error *err);
void watch_stop(watch *w); /* no connection may be left; NULL is fine */
/* The socket stays the caller's; it must be there until watch_remove(). */
watched *watch_add(watch *w, int fd);
void watch_remove(watch *w, watched *c);
/* The phase begins now; of a phase that goes on: more bytes. */
void watch_enter(watch *w, watched *c, watch_phase phase, uint64_t nbytes);
void watch_more(watch *w, watched *c, uint64_t nbytes);

#endif
