/* SPDX-License-Identifier: Apache-2.0 */
/* result.h: the memory behind a cmir_result.  Called by search.c. */
#ifndef CMIR_ENGINE_RESULT_H
#define CMIR_ENGINE_RESULT_H

#include <cmir/search.h>

#include "engine/evidence.h"

/* The memory behind a cmir_contrast. */
typedef struct cmir_engine_contrast {
    cmir_contrast view; /* first: what the result shows */
    cmir_contrast_slice *slices;
    char *label, *value;
} cmir_engine_contrast;

typedef struct cmir_engine_result {
    cmir_result view;      /* first: what the caller holds */
    cmir_record *query;    /* the same as view.query */
    cmir_hit *hits;        /* n_room */
    cmir_record **records; /* n_room, of the hits; NULL where not filled yet */
    cmir_match *matches;   /* n_room runs of equal length */
    size_t n_room;
    cmir_engine_evidence *evidence; /* the same as view.evidence */
    cmir_engine_contrast *contrast; /* the same as view.contrast */
} cmir_engine_result;

cmir_status cmir_engine_result_new(cmir_engine_result **out, cmir_error *err);
void cmir_engine_result_free(cmir_engine_result *result); /* NULL is fine */

/* Room for n zeroed hits with m matches each; view.hits is set. */
cmir_status cmir_engine_result_reserve(cmir_engine_result *result, size_t n, uint32_t m,
                                       cmir_error *err);

/* An empty contrast of the result's own. */
cmir_status cmir_engine_contrast_new(cmir_engine_result *result, const char *label,
                                     const char *value, cmir_engine_contrast **out,
                                     cmir_error *err);

#endif
