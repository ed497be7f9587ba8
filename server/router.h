/* SPDX-License-Identifier: Apache-2.0 */
/* router.h: which row of a table of routes a request is for.  Called by http.c.
 *
 * Knows nothing of connections, so that it is tested and fuzzed alone. */
#ifndef CMIR_SERVER_ROUTER_H
#define CMIR_SERVER_ROUTER_H

#include "http.h"

#define ROUTE_MAX_PARTS 4
#define ROUTE_MAX_PARAMS 32

typedef struct pair {
    char *name, *value;
} pair;

/* The target of a request, taken apart. */
typedef struct target {
    const route *route;
    pair parts[ROUTE_MAX_PARTS]; /* what stood for {name} */
    size_t n_parts;
    pair params[ROUTE_MAX_PARAMS]; /* behind '?', in order; the first of a name counts */
    size_t n_params;
    char allow[48]; /* of 405: the methods that are there */
} target;

/* Finds the row of `table` for "/path?query" as it came.  Of several rows the one with most literal
 * characters is taken.  0, or the status to refuse it with: 400, 404, 405.  What is filled in is
 * freed with target_free(), whatever the status. */
unsigned target_parse(const route *table, const char *method, const char *text, target *out);
void target_free(target *t);
const char *target_part(const target *t, const char *name);  /* NULL: the route has none */
const char *target_param(const target *t, const char *name); /* NULL: not given */

#endif
