/* SPDX-License-Identifier: Apache-2.0 */
/* http.c: connections and requests, over libmicrohttpd with a thread per connection.
 *
 * The one idea: a request is refused as early as can be seen that it will be (route, origin, user,
 * size), and the refusal is sent once the client has finished sending a small body, so that it sees
 * the answer instead of a broken connection. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "files.h"
#include "auth.h"
#include "http_internal.h"
#include "metrics.h"
#include "text.h"

#define DISCARD_NBYTES (4u << 20) /* of a refused body, before the connection is cut */

struct counter {
    const char *name;
    size_t n;
};

/* ---- What handlers ask for. */
server *
request_server(const request *r)
{
    return r->server;
}

const char *
request_part(const request *r, const char *name)
{
    return target_part(&r->target, name);
}

const char *
request_param(const request *r, const char *name)
{
    return target_param(&r->target, name);
}

double
request_number(request *r, const char *name, double low, double high, double otherwise, bool *ok)
{
    const char *text = request_param(r, name);
    char *end;

    if (text == NULL)
        return otherwise;
    errno = 0;
    const double value = strtod(text, &end);
    if (*text != '\0' && strspn(text, "+-.0123456789eE") == strlen(text) && *end == '\0' &&
        errno == 0 && value >= low && value <= high)
        return value;
    if (*ok)
        reply_error(r, 400, "%s: a number from %.10g to %.10g is wanted", name, low, high);
    *ok = false;
    return otherwise;
}

const char *
request_header(const request *r, const char *name)
{
    const char *value = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);

    return value != NULL && text_is_clean(value, strlen(value)) ? value : NULL;
}

const char *
request_user(const request *r)
{
    return r->user;
}

role
request_role(const request *r)
{
    return r->role;
}

/* ---- The life of a request. */
void *
http_on_target(void *cls, const char *text, struct MHD_Connection *connection)
{
    request *r = calloc(1, sizeof *r);

    if (r == NULL)
        return NULL;
    r->server = cls;
    r->connection = connection;
    r->raw = strdup(text);
    r->start_s = server_now();
    atomic_fetch_add(&r->server->http->in_flight, 1);
    r->watched = http_watched(connection);
    return r;
}

static enum MHD_Result
count_header(void *n, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct counter *c = n;

    (void)kind;
    (void)value;
    c->n += strcasecmp(name, c->name) == 0;
    return MHD_YES;
}

size_t
request_header_count(const request *r, const char *name)
{
    struct counter c = {name, 0};

    (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND, count_header, &c);
    return c.n;
}

/* The last of X-Forwarded-For is what the trusted proxy itself has seen. */
static void
read_address(request *r)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info == NULL ? NULL : info->client_addr;
    const socklen_t n = a != NULL && a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                              : sizeof(struct sockaddr_in);
    const char *proxy = r->server->options.proxy_address;
    const char *forwarded = request_header(r, "X-Forwarded-For");

    if (a == NULL || getnameinfo(a, n, r->peer, sizeof r->peer, NULL, 0, NI_NUMERICHOST) != 0)
        snprintf(r->peer, sizeof r->peer, "unknown");
    const char *address = r->peer;
    if (proxy != NULL && forwarded != NULL && strcmp(r->peer, proxy) == 0) {
        const char *comma = strrchr(forwarded, ',');
        address = comma == NULL ? forwarded : comma + 1;
        address += strspn(address, " ");
    }
    snprintf(r->address, sizeof r->address, "%.63s", address);
}

static void
refuse(request *r, unsigned status, const char *message)
{
    if (r->refusal != 0)
        return;
    r->refusal = status;
    snprintf(r->refusal_message, sizeof r->refusal_message, "%s", message);
}

static unsigned
refuse_target(request *r, unsigned status, char message[200])
{
    if (status == 405)
        reply_header(r, "Allow", r->target.allow);
    snprintf(message, 200, "%s",
             status == 404   ? "there is no such path"
             : status == 405 ? "this method is not for this path"
             : status == 503 ? "no memory"
                             : "the request's target cannot be read");
    return status;
}

/* Everything that can be said before the body comes: 0, or the status of a refusal. */
static unsigned
judge(request *r, char message[200])
{
    unsigned status = auth_check_site(r, message);

    if (status != 0)
        return status;
    status = r->raw == NULL ? 503 : target_parse(server_routes, r->method, r->raw, &r->target);
    if (status != 0)
        return refuse_target(r, status, message);
    status = auth_check(r, message);
    return status != 0 ? status : body_begin(r, message);
}

/* A refusal with a large body, or one whose sender asks first, is sent at once. */
static bool
is_urgent(const request *r)
{
    const char *length =
        MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT) !=
               NULL ||
           (length != NULL && strtoull(length, NULL, 10) > DISCARD_NBYTES);
}

static void
enter(const request *r, watch_phase phase, uint64_t nbytes)
{
    if (r->watched != NULL)
        watch_enter(r->server->http->watch, r->watched, phase, nbytes);
}

static void
answer(request *r)
{
    char message[200] = "";

    if (r->refusal == 0) {
        const unsigned bad = body_end(r, message);
        if (bad != 0)
            refuse(r, bad, message);
    }
    /* A handler may take longer than a client may be idle. */
    (void)MHD_set_connection_option(r->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
    enter(r, WATCH_AT_WORK, 0);
    if (r->refusal != 0)
        reply_error(r, r->refusal, "%s", r->refusal_message);
    else
        r->target.route->run(r);
    if (r->status == 0)
        reply_error(r, 500, "the request was not answered");
    (void)MHD_set_connection_option(r->connection, MHD_CONNECTION_OPTION_TIMEOUT, HTTP_IDLE_S);
    enter(r, WATCH_ANSWER, r->sent_nbytes);
}

static enum MHD_Result
take_body(request *r, const char *data, size_t *nbytes)
{
    char message[200] = "";
    const size_t n = *nbytes;

    *nbytes = 0;
    if (r->watched != NULL)
        watch_more(r->server->http->watch, r->watched, n);
    if (r->refusal == 0) {
        const unsigned bad = body_take(r, data, n, message);
        if (bad != 0)
            refuse(r, bad, message);
        return MHD_YES;
    }
    /* Of an upload that was let in and failed on the way, the rest may be long. */
    r->body_nbytes += n;
    const uint64_t most = r->upload == NULL ? 0 : r->server->options.upload_nbytes;
    return r->body_nbytes > most + DISCARD_NBYTES ? MHD_NO : MHD_YES;
}

enum MHD_Result
http_on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                const char *version, const char *data, size_t *nbytes, void **state)
{
    request *r = *state;
    char message[200] = "";

    (void)cls;
    (void)connection;
    (void)url;
    (void)version;
    if (r == NULL)
        return MHD_NO;
    r->method = method;
    if (!r->begun) {
        r->begun = true;
        enter(r, WATCH_BODY, 0);
        read_address(r);
        const unsigned bad = judge(r, message);
        if (bad != 0)
            refuse(r, bad, message);
        if (r->refusal != 0 && is_urgent(r))
            answer(r);
        return MHD_YES;
    }
    if (*nbytes > 0)
        return take_body(r, data, nbytes);
    if (r->status == 0)
        answer(r);
    return r->status == 0 ? MHD_NO : MHD_YES;
}

/* For the metrics and the log, which names the route, never what was asked of it. */
static void
note_request(const request *r, bool whole)
{
    const char *name = r->target.route == NULL ? "none" : r->target.route->name;
    const double seconds = server_now() - r->start_s;
    const unsigned status = whole ? r->status : 499; /* the client went away */

    metrics_request(r->server, r->target.route, status, seconds);
    server_log("request", json_pack("{s:s, s:s, s:i, s:f, s:s}", "Method",
                                    r->method == NULL ? "" : r->method, "Route", name, "Status",
                                    (int)status, "Milliseconds", 1000 * seconds, "User", r->user));
}

void
http_on_completed(void *cls, struct MHD_Connection *connection, void **state,
                  enum MHD_RequestTerminationCode why)
{
    request *r = *state;

    (void)cls;
    (void)connection;
    if (r == NULL)
        return;
    atomic_fetch_sub(&r->server->http->in_flight, 1);
    enter(r, WATCH_HEADERS, 0);
    note_request(r, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    body_free(r);
    target_free(&r->target);
    for (size_t i = 0; i < r->n_headers; i++) {
        free(r->headers[i].name);
        free(r->headers[i].value);
    }
    free(r->raw);
    free(r);
    *state = NULL;
}
