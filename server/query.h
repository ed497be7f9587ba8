/* SPDX-License-Identifier: Apache-2.0 */
/* query.h: what a search, an evidence, a matches or a report request asks for.  Parsed by the request's
 * handler, and again by the process of its job. */
#ifndef CMIR_SERVER_QUERY_H
#define CMIR_SERVER_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "json/json.h"

#define QUERY_MESSAGE_NBYTES 200

/* Strings are borrowed from the body. */
typedef struct query {
    const char *volume_id;
    const char *upload_id; /* whose archive holds the query; NULL: the served one */
    bool has_box;
    uint32_t rows[2], columns[2], slices[2]; /* of the box: first and last */
    const char *candidate; /* VolumeId of a matches request */
    cmir_search_options options;
    char *contrast; /* what options.contrast_label points into */
} query;

typedef enum query_kind { QUERY_SEARCH, QUERY_MATCHES } query_kind;

/* False: it is not as it should be, and `message` says what is wrong.  query_free() either way. */
bool query_parse(const json_t *body, query_kind kind, query *out,
                 char message[QUERY_MESSAGE_NBYTES]);
void query_free(query *q);

#endif
