/* SPDX-License-Identifier: Apache-2.0 */
/* reply.c: answers.
 *
 * The one idea: every answer, whoever gives it, leaves through send_reply(), which adds the headers
 * that keep a browser from doing anything else with it than show it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http_internal.h"
#include "text.h"

static const char *const security_headers[][2] = {
    {"Content-Security-Policy",
     "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
     "worker-src 'self' blob:; connect-src 'self'; object-src 'none'; frame-ancestors 'none'; "
     "base-uri 'none'; form-action 'self'"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"},
};

void
reply_header(request *r, const char *name, const char *value)
{
    if (r->n_headers == REQUEST_MAX_HEADERS)
        return;
    pair *p = &r->headers[r->n_headers];
    p->name = strdup(name);
    p->value = strdup(value);
    r->n_headers++;
}

static void
add(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name, value);
}

static void
add_caching(struct MHD_Response *response, caching cache, const char *etag)
{
    char quoted[160];

    add(response, "Cache-Control",
        cache == CACHE_NEVER        ? "no-store"
        : cache == CACHE_REVALIDATE ? "private, no-cache"
                                    : "private, max-age=31536000, immutable");
    if (etag != NULL && snprintf(quoted, sizeof quoted, "\"%s\"", etag) < (int)sizeof quoted)
        add(response, "ETag", quoted);
}

/* Takes the response. */
static void
send_reply(request *r, unsigned status, const char *type, struct MHD_Response *response,
           caching cache, const char *etag)
{
    if (response == NULL || r->status != 0) {
        if (response != NULL)
            MHD_destroy_response(response);
        return;
    }
    for (size_t i = 0; i < sizeof security_headers / sizeof security_headers[0]; i++)
        add(response, security_headers[i][0], security_headers[i][1]);
    if (r->server->options.certificate != NULL)
        add(response, "Strict-Transport-Security", "max-age=31536000");
    if (type != NULL)
        add(response, "Content-Type", type);
    add_caching(response, cache, etag);
    for (size_t i = 0; i < r->n_headers; i++)
        if (r->headers[i].name != NULL && r->headers[i].value != NULL)
            add(response, r->headers[i].name, r->headers[i].value);
    if (MHD_queue_response(r->connection, status, response) == MHD_YES)
        r->status = status;
    MHD_destroy_response(response);
}

void
reply_bytes(request *r, unsigned status, const char *type, void *data, size_t nbytes, caching cache,
            const char *etag)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(nbytes, data, MHD_RESPMEM_MUST_FREE);

    if (response == NULL)
        free(data);
    r->sent_nbytes = nbytes;
    send_reply(r, status, type, response, cache, etag);
}

void
reply_json(request *r, unsigned status, json_t *value)
{
    char *text = value == NULL ? NULL : json_dumps(value, JSON_REAL_PRECISION(9) | JSON_COMPACT);

    json_decref(value);
    if (text == NULL) {
        reply_error(r, 500, "no memory for the answer");
        return;
    }
    reply_bytes(r, status, "application/json", text, strlen(text), CACHE_NEVER, NULL);
}

void
reply_json_at(request *r, unsigned status, const char *location, json_t *value)
{
    reply_header(r, "Location", location);
    reply_json(r, status, value);
}

void
reply_static(request *r, unsigned status, const char *type, const void *data, size_t nbytes,
             caching cache, const char *etag)
{
    void *borrowed = (void *)(uintptr_t)data;

    r->sent_nbytes = nbytes;
    send_reply(r, status, type,
               MHD_create_response_from_buffer(nbytes, borrowed, MHD_RESPMEM_PERSISTENT), cache,
               etag);
}

void
reply_nothing(request *r)
{
    reply_static(r, 204, NULL, "", 0, CACHE_NEVER, NULL);
}

void
reply_file(request *r, const char *type, int fd, uint64_t nbytes, const char *attachment)
{
    struct MHD_Response *response = MHD_create_response_from_fd64(nbytes, fd);

    if (response == NULL)
        (void)close(fd);
    r->sent_nbytes = nbytes;
    if (attachment != NULL) {
        char header[160];
        char name[100];
        snprintf(name, sizeof name, "%s", attachment);
        for (char *p = name; *p != '\0'; p++)
            if (*p == '"' || *p == '\\' || (unsigned char)*p < 0x20 || (unsigned char)*p > 0x7E)
                *p = '_';
        snprintf(header, sizeof header, "attachment; filename=\"%s\"", name);
        reply_header(r, "Content-Disposition", header);
    }
    send_reply(r, 200, type, response, CACHE_NEVER, NULL);
}

bool
reply_if_known(request *r, caching cache, const char *etag)
{
    const char *list = request_header(r, MHD_HTTP_HEADER_IF_NONE_MATCH);

    if (list == NULL || !text_list_has_etag(list, etag))
        return false;
    reply_static(r, 304, NULL, "", 0, cache, etag);
    return true;
}

static const char *
details_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } rows[] = {
        {400, "The request is not as this service expects it: see /openapi.json."},
        {401, "Log in: POST /api/v1/session, or Authorization."},
        {403, "This user may not do that, or the request came from another site."},
        {404, "There is nothing by this name."},
        {405, "See the header Allow for what is possible here."},
        {409, "What is there already stands against it."},
        {413, "See Limits in /api/v1/system."},
        {415, "See the header Content-Type of the request."},
        {421, "This service answers to the names it listens on only."},
        {422, "The file is not one that can be read, or it is damaged."},
        {429, "Too many requests: see the header Retry-After."},
        {503, "Try again in a while: see the header Retry-After."},
        {507, "The disk of the service is full."},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "";
}

void
reply_error(request *r, unsigned status, const char *format, ...)
{
    char message[300];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (!text_is_clean(message, strlen(message)))
        for (char *p = message; *p != '\0'; p++)
            if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7E)
                *p = '?';
    json_t *value = json_pack("{s:i, s:s, s:s}", "HttpStatus", (int)status, "Message", message,
                              "Details", details_of(status));
    char *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT);
    json_decref(value);
    if (text == NULL) {
        static const char none[] =
            "{\"HttpStatus\":503,\"Message\":\"no memory\",\"Details\":\"\"}";
        reply_static(r, 503, "application/json", none, sizeof none - 1, CACHE_NEVER, NULL);
        return;
    }
    reply_bytes(r, status, "application/json", text, strlen(text), CACHE_NEVER, NULL);
}

void
reply_status(request *r, const cmir_error *err)
{
    unsigned status = 500;

    switch (err->code) {
    case CMIR_ENOTFOUND: status = 404; break;
    case CMIR_EINVAL: status = 400; break;
    case CMIR_EEXIST:
    case CMIR_EMISMATCH:
    case CMIR_ECANCELLED: status = 409; break;
    case CMIR_EBUSY:
    case CMIR_ENOMEM: status = 503; break;
    case CMIR_ELIMIT: status = 413; break;
    case CMIR_ECORRUPT:
    case CMIR_EUNSUPPORTED: status = 422; break;
    default: break;
    }
    if (status == 503)
        reply_header(r, "Retry-After", "2");
    if (status == 500) {
        server_log("error", json_pack("{s:s, s:s}", "Route", r->target.route->name, "Code",
                                      cmir_status_name(err->code)));
        reply_error(r, 500, "the service failed (%s)", cmir_status_name(err->code));
        return;
    }
    char message[sizeof err->msg];
    snprintf(message, sizeof message, "%s", err->msg);
    text_strip_paths(message);
    reply_error(r, status, "%s", *message != '\0' ? message : cmir_status_name(err->code));
}
