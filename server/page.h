/* SPDX-License-Identifier: Apache-2.0 */
/* page.h: files that are part of the program: the page and openapi.json. */
#ifndef CMIR_SERVER_PAGE_H
#define CMIR_SERVER_PAGE_H

#include <stddef.h>

#include "http.h"

typedef struct page_file {
    const char *name; /* "index.html", "assets/..." */
    const char *type;
    const char *etag;
    const unsigned char *data;
    size_t nbytes;
    const unsigned char *packed; /* with gzip; NULL: it is no smaller */
    size_t n_packed;
} page_file;
extern const page_file page_files[]; /* made by cmake/page.cmake; ends with a NULL name */

#endif
