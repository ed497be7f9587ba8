/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c: the address, the certificate and the threads behind them.
 *
 * The one idea: libmicrohttpd has a thread per connection, and every number of something that a
 * client could make many of has a limit here. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "http_internal.h"

#define MAX_CONNECTIONS 256u
#define MAX_PER_ADDRESS 64u
#define HEADER_NBYTES (32u << 10) /* request line and headers */
#define PEM_NBYTES (1u << 20)
#define DRAIN_S 10.0

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

/* ---- TLS. */
static cmir_status
read_pem(const char *path, bool secret, char **out, cmir_error *err)
{
    FILE *file = fopen(path, "re");
    struct stat st;

    *out = NULL;
    if (file == NULL || fstat(fileno(file), &st) != 0) {
        const cmir_status bad = files_fail(err, CMIR_EIO, "%s: %s", path, strerror(errno));
        if (file != NULL)
            (void)fclose(file);
        return bad;
    }
    if (secret && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        server_log("warning", json_pack("{s:s}", "Message",
                                        "the file of --key can be read by others: chmod 600"));
    *out = cmir_json_need(calloc(1, PEM_NBYTES + 1));
    const size_t n = fread(*out, 1, PEM_NBYTES, file);
    const bool ok = n > 0 && feof(file);
    (void)fclose(file);
    return ok ? CMIR_OK : files_fail(err, CMIR_EINVAL, "%s: this is no PEM file", path);
}

static cmir_status
read_pems(server *s, cmir_error *err)
{
    if (s->options.certificate == NULL)
        return CMIR_OK;
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return files_fail(err, CMIR_EUNSUPPORTED, "this libmicrohttpd was built without TLS");
    const cmir_status st = read_pem(s->options.certificate, false, &s->http->certificate, err);
    return st != CMIR_OK ? st : read_pem(s->options.key, true, &s->http->key, err);
}

/* ---- Connections. */
static void
on_connection(void *cls, struct MHD_Connection *connection, void **state,
              enum MHD_ConnectionNotificationCode what)
{
    server *s = cls;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        atomic_fetch_add(&s->http->n_connections, 1);
        *state = info == NULL ? NULL : watch_add(s->http->watch, (int)info->connect_fd);
    } else {
        atomic_fetch_sub(&s->http->n_connections, 1);
        if (*state != NULL)
            watch_remove(s->http->watch, *state);
        *state = NULL;
    }
}

watched *
http_watched(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info == NULL ? NULL : info->socket_context;
}

static cmir_status
start_daemon(server *s, int fd, cmir_error *err)
{
    struct http *h = s->http;
    const bool tls = h->certificate != NULL;
    const struct MHD_OptionItem with_tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, h->certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, h->key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0,
         (void *)(uintptr_t)"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL}};
    const struct MHD_OptionItem without[] = {{MHD_OPTION_END, 0, NULL}};

    h->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
            MHD_USE_ITC | MHD_USE_ERROR_LOG | (tls ? MHD_USE_TLS : 0),
        0, NULL, NULL, http_on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_message, NULL,
        MHD_OPTION_ARRAY, tls ? with_tls : without, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, HTTP_IDLE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_NBYTES,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, s->options.behind_proxy ? 0u : MAX_PER_ADDRESS,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK, http_on_target, s,
        MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, s, MHD_OPTION_END);
    if (h->daemon != NULL)
        return CMIR_OK;
    return files_fail(err, tls ? CMIR_EINVAL : CMIR_EIO,
                      "--listen '%s': the service cannot start%s", s->options.listen,
                      tls ? ": does --key belong to --certificate, and are both PEM?" : "");
}

cmir_status
http_start(server *s, cmir_error *err)
{
    int fd = -1;

    s->http = cmir_json_need(calloc(1, sizeof *s->http));
    cmir_status st = read_pems(s, err);
    if (st == CMIR_OK)
        st = watch_start(&s->http->watch, err);
    if (st == CMIR_OK)
        st = open_socket(s->options.listen, &fd, err);
    if (st != CMIR_OK)
        return st;
    st = start_daemon(s, fd, err);
    if (st != CMIR_OK)
        (void)close(fd);
    return st;
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
    return atomic_load(&s->http->n_connections);
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
    watch_stop(s->http->watch);
    free(s->http->certificate);
    free(s->http->key);
    free(s->http);
    s->http = NULL;
}
