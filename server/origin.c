/* SPDX-License-Identifier: Apache-2.0 */
/* origin.c: hosts and origins.
 *
 * The one idea: a browser tells, in headers that a page cannot forge, which page sent a request and to
 * what name; a service for this machine alone believes neither foreign pages nor foreign names. */
#include <string.h>
#include <strings.h>

#include "origin.h"

/* The name without its port: length in *n. */
static const char *
name_of(const char *host, size_t *n)
{
    const char *end = host[0] == '[' ? strchr(host, ']') : NULL;

    *n = end != NULL ? (size_t)(end - host) + 1 : strcspn(host, ":");
    return host;
}

static bool
is(const char *name, size_t n, const char *other)
{
    return strlen(other) == n && strncasecmp(name, other, n) == 0;
}

bool
origin_host_is_local(const char *host)
{
    size_t n;

    if (host == NULL)
        return false;
    host = name_of(host, &n);
    return is(host, n, "localhost") || is(host, n, "127.0.0.1") || is(host, n, "[::1]");
}

bool
origin_is_local(const char *listen)
{
    return origin_host_is_local(listen);
}

bool
origin_is_host(const char *origin, const char *host)
{
    const char *slashes = strstr(origin, "://");

    return host != NULL && slashes != NULL && strcasecmp(slashes + 3, host) == 0;
}

bool
origin_is_foreign(const char *origin, const char *fetch_site, const char *host)
{
    if (fetch_site != NULL && strcmp(fetch_site, "same-origin") != 0 &&
        strcmp(fetch_site, "none") != 0)
        return true;
    return origin != NULL && !origin_is_host(origin, host);
}
