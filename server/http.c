/* SPDX-License-Identifier: Apache-2.0 */
/* http.c: connections and requests, over libmicrohttpd with a thread per connection.
 *
 * The one idea: a request is refused as early as can be seen that it will be (route, origin, user,
 * size), and the refusal is sent once the client has finished sending a small body, so that it sees
 * the answer instead of a broken connection. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "files.h"
#include "auth.h"
#include "http_internal.h"
#include "metrics.h"
#include "text.h"

#define MAX_CONNECTIONS 256u
#define MAX_PER_ADDRESS 64u
#define IDLE_S 30u
#define HEADER_NBYTES (32u << 10) /* request line and headers */
#define DISCARD_NBYTES (1u << 20) /* of a refused body, before the connection is cut */
#define DRAIN_S 10.0

struct http {
    struct MHD_Daemon *daemon;
    char *certificate, *key;
    atomic_uint in_flight;
};

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
static void *
on_target(void *cls, const char *text, struct MHD_Connection *connection)
{
    request *r = calloc(1, sizeof *r);

    if (r == NULL)
        return NULL;
    r->server = cls;
    r->connection = connection;
    r->raw = strdup(text);
    r->start_s = server_now();
    atomic_fetch_add(&r->server->http->in_flight, 1);
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
    if (r->refusal != 0)
        reply_error(r, r->refusal, "%s", r->refusal_message);
    else
        r->target.route->run(r);
    if (r->status == 0)
        reply_error(r, 500, "the request was not answered");
    (void)MHD_set_connection_option(r->connection, MHD_CONNECTION_OPTION_TIMEOUT, IDLE_S);
}

static enum MHD_Result
take_body(request *r, const char *data, size_t *nbytes)
{
    char message[200] = "";
    const size_t n = *nbytes;

    *nbytes = 0;
    if (r->refusal == 0) {
        const unsigned bad = body_take(r, data, n, message);
        if (bad != 0)
            refuse(r, bad, message);
        return MHD_YES;
    }
    r->body_nbytes += n;
    return r->body_nbytes > r->server->options.upload_nbytes + DISCARD_NBYTES ? MHD_NO : MHD_YES;
}

static enum MHD_Result
on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
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

static void
on_completed(void *cls, struct MHD_Connection *connection, void **state,
             enum MHD_RequestTerminationCode why)
{
    request *r = *state;

    (void)cls;
    (void)connection;
    if (r == NULL)
        return;
    atomic_fetch_sub(&r->server->http->in_flight, 1);
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

/* ---- Listening. */

/* "HOST:PORT" or "[IPv6]:PORT", numbers only; free() *host. */
static cmir_status
split_address(const char *text, char **host, const char **port, cmir_error *err)
{
    const char *colon = strrchr(text, ':');
    const bool bracketed = text[0] == '[' && colon != NULL && colon > text && colon[-1] == ']';

    *host = NULL;
    if (colon == NULL || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return files_fail(err, CMIR_EINVAL, "--listen '%s': HOST:PORT is wanted", text);
    *port = colon + 1;
    *host = bracketed ? strndup(text + 1, (size_t)(colon - text) - 2)
                      : strndup(text, (size_t)(colon - text));
    return *host == NULL ? files_fail(err, CMIR_ENOMEM, "no memory") : CMIR_OK;
}

static cmir_status
open_socket(const char *listen_at, int *out, cmir_error *err)
{
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const int on = 1;
    const char *port = NULL;
    char *host;
    cmir_status st = split_address(listen_at, &host, &port, err);

    if (st != CMIR_OK)
        return st;
    const int bad =
        getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, &hints, &found);
    free(host);
    if (bad != 0)
        return files_fail(err, CMIR_EINVAL, "--listen '%s': this is no address (in numbers)",
                          listen_at);
    const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 128) != 0) {
        st = files_fail(err, CMIR_EIO, "--listen '%s': %s", listen_at, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
    }
    freeaddrinfo(found);
    *out = fd;
    return st;
}

/* Messages of libmicrohttpd hold addresses and names: only their pattern is logged. */
static void
on_message(void *cls, const char *format, va_list args)
{
    (void)cls;
    (void)args;
    server_log("http", json_pack("{s:s}", "Message", format));
}

cmir_status
http_start(server *s, cmir_error *err)
{
    int fd = -1;
    const cmir_status st = open_socket(s->options.listen, &fd, err);

    if (st != CMIR_OK)
        return st;
    s->http = calloc(1, sizeof *s->http);
    if (s->http == NULL) {
        (void)close(fd);
        return files_fail(err, CMIR_ENOMEM, "no memory");
    }
    const unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                           MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    s->http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_message, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADER_NBYTES, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        s->options.behind_proxy ? 0u : MAX_PER_ADDRESS, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_END);
    if (s->http->daemon == NULL) {
        (void)close(fd);
        return files_fail(err, CMIR_EIO, "--listen '%s': the service cannot start",
                          s->options.listen);
    }
    return CMIR_OK;
}

unsigned
http_port(const server *s)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(s->http->daemon, MHD_DAEMON_INFO_BIND_PORT);

    return info == NULL ? 0 : info->port;
}

unsigned
http_connections(const server *s)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(s->http->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

    return info == NULL ? 0 : info->num_connections;
}

unsigned
http_in_flight(const server *s)
{
    return atomic_load(&s->http->in_flight);
}

void
http_quiesce(server *s)
{
    const double until = server_now() + DRAIN_S;
    const int fd = MHD_quiesce_daemon(s->http->daemon);

    if (fd >= 0)
        (void)close(fd);
    while (atomic_load(&s->http->in_flight) > 0 && server_now() < until)
        server_sleep(0.02);
}

void
http_stop(server *s)
{
    if (s->http == NULL)
        return;
    if (s->http->daemon != NULL)
        MHD_stop_daemon(s->http->daemon);
    free(s->http->certificate);
    free(s->http->key);
    free(s->http);
    s->http = NULL;
}
