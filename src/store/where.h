/* SPDX-License-Identifier: Apache-2.0 */
/* where.h: filter expressions (include/cmir/search.h) to SQL.  Called by snapshot.
 *
 * The one idea: no character of the expression enters the SQL; names of columns come from a fixed
 * table, names of labels and all values are bound. */
#ifndef CMIR_STORE_WHERE_H
#define CMIR_STORE_WHERE_H

#include <stddef.h>

#include <cmir/status.h>

#define CMIR_WHERE_MAX_NBYTES 8192u
#define CMIR_WHERE_MAX_DEPTH 12u /* SQLite's own parser has room for 100 symbols */
#define CMIR_WHERE_MAX_COMPARISONS 256u

/* A condition on `volumes AS v`, and the text to bind to its `?`s in order. */
typedef struct cmir_where {
    char *sql;
    char **values;
    size_t n_values, cap;
} cmir_where;

/* NULL, or text of blanks alone, passes everything.  CMIR_EINVAL tells what was expected, err->offset
 * where (bytes from 0), the message the same as a column from 1. */
cmir_status cmir_where_parse(const char *text, cmir_where *out, cmir_error *err);
void cmir_where_free(cmir_where *where); /* a zeroed one is fine */

#endif
