/* SPDX-License-Identifier: Apache-2.0 */
/* page.c: serves the files that are part of the program.
 *
 * The one idea: what lies in assets/ has a hash in its name and never changes; the rest is asked for
 * again each time, by its ETag. */
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "page.h"

static const char not_built[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>cmir</title></head>\n"
    "<body><h1>cmir</h1>\n<p>This program was built without its page: install Node.js with npm and "
    "run "
    "<code>make build</code> again.</p>\n<p>The interface for programs is there: "
    "<a href=\"/openapi.json\">openapi.json</a>.</p>\n<p>" CMIR_NOTICE "</p></body></html>\n";

static const page_file *
find(const char *name)
{
    for (const page_file *f = page_files; f->name != NULL; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

static void
send(request *r, const char *name)
{
    const page_file *f = find(name);
    const char *accept = request_header(r, "Accept-Encoding");

    if (f == NULL) {
        reply_error(r, 404, "there is no such path");
        return;
    }
    const caching cache = strncmp(name, "assets/", 7) == 0 ? CACHE_FOREVER : CACHE_REVALIDATE;
    const bool packed = f->packed != NULL && accept != NULL && strstr(accept, "gzip") != NULL;
    char etag[64];
    snprintf(etag, sizeof etag, "%s%s", f->etag, packed ? "-gz" : "");
    reply_header(r, "Vary", "Accept-Encoding");
    if (reply_if_known(r, cache, etag))
        return;
    if (packed)
        reply_header(r, "Content-Encoding", "gzip");
    reply_static(r, 200, f->type, packed ? f->packed : f->data, packed ? f->n_packed : f->nbytes,
                 cache, etag);
}

void
api_page(request *r)
{
    if (find("index.html") != NULL)
        send(r, "index.html");
    else
        reply_static(r, 200, "text/html; charset=utf-8", not_built, sizeof not_built - 1,
                     CACHE_REVALIDATE, "not-built");
}

void
api_page_file(request *r)
{
    send(r, request_part(r, "file"));
}

void
api_page_asset(request *r)
{
    char name[256];

    if (snprintf(name, sizeof name, "assets/%s", request_part(r, "file")) < (int)sizeof name)
        send(r, name);
    else
        reply_error(r, 404, "there is no such path");
}

void
api_openapi(request *r)
{
    send(r, "openapi.json");
}
