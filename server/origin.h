/* SPDX-License-Identifier: Apache-2.0 */
/* origin.h: where a request comes from, by its headers.  Knows nothing of connections. */
#ifndef CMIR_SERVER_ORIGIN_H
#define CMIR_SERVER_ORIGIN_H

#include <stdbool.h>

/* Whether an address to listen on ("127.0.0.1:8043", "[::1]:80", "localhost:1") reaches this machine
 * only. */
bool origin_is_local(const char *listen);
/* Whether the header Host names this machine as seen from itself, with any port. */
bool origin_host_is_local(const char *host);
/* Whether a page of `origin` ("https://name:port") and the service at `host` are one site. */
bool origin_is_host(const char *origin, const char *host);
/* Whether a browser says that a page of another site sent this; each header may be NULL. */
bool origin_is_foreign(const char *origin, const char *fetch_site, const char *host);

#endif
