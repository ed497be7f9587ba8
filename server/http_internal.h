/* SPDX-License-Identifier: Apache-2.0 */
/* http_internal.h: a request from within: what http.c, body.c, reply.c and auth.c share. */
#ifndef CMIR_SERVER_HTTP_INTERNAL_H
#define CMIR_SERVER_HTTP_INTERNAL_H

#include <stdatomic.h>

#include <microhttpd.h>

#include "router.h"
#include "server_internal.h"
#include "watch.h"

#define REQUEST_MAX_HEADERS 8
#define REQUEST_USER_NBYTES 65

typedef struct upload upload; /* body.c: parts of a BODY_FILES */

/* What listens. */
struct http {
    struct MHD_Daemon *daemon;
    char *certificate, *key;
    watch *watch;
    atomic_uint in_flight, n_connections;
};

struct request {
    watched *watched; /* its connection */
    server *server;
    struct MHD_Connection *connection;
    const char *method;
    char *raw;      /* the target as it came; NULL where memory ran out */
    target target;  /* its parts */
    double start_s; /* of the monotonic clock, when the target was read */

    char user[REQUEST_USER_NBYTES];
    role role;
    char peer[64];    /* address of the other end, without port */
    char address[64]; /* of the client: behind a trusted proxy, what that says */

    /* The body so far. */
    bool begun;          /* headers have been looked at */
    bool body_done;      /* nothing more is to be read */
    uint64_t body_nbytes;
    char *text;          /* BODY_JSON, BODY_TEXT */
    json_t *json;
    upload *upload;

    /* A refusal that waits until the body has been read and thrown away; 0: none. */
    unsigned refusal;
    char refusal_message[200];

    /* Headers for the answer: reply_header(). */
    pair headers[REQUEST_MAX_HEADERS];
    size_t n_headers;
    unsigned status; /* of the answer; 0: not answered */
    uint64_t sent_nbytes;
};

size_t request_header_count(const request *r, const char *name);

/* body.c.  Both return 0 or the status of a refusal, with its message. */
unsigned body_begin(request *r, char message[200]);
unsigned body_take(request *r, const char *data, size_t nbytes, char message[200]);
unsigned body_end(request *r, char message[200]); /* parses */
void body_free(request *r); /* deletes what was not moved away */

/* http.c: what libmicrohttpd calls for each request. */
#define HTTP_IDLE_S 30u /* a connection without a sign of life is closed */
void *http_on_target(void *cls, const char *text, struct MHD_Connection *connection);
enum MHD_Result http_on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *nbytes, void **state);
void http_on_completed(void *cls, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode why);

/* listen.c: to start and stop listening. */
watched *http_watched(struct MHD_Connection *connection);
cmir_status http_start(server *s, cmir_error *err);
unsigned http_port(const server *s);
unsigned http_connections(const server *s);
unsigned http_in_flight(const server *s);
void http_quiesce(server *s); /* takes no more connections; waits a while for requests in flight */
void http_stop(server *s);

#endif
