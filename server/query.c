/* SPDX-License-Identifier: Apache-2.0 */
/* query.c: see query.h.
 *
 * The one idea: every key is known and every value is checked; what is not understood is refused by
 * name, so that a misspelt filter never becomes a search without it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "query.h"
#include "server_internal.h"

#define MAX_TEXT_NBYTES 4096u

static const char *const exclusions[] = {"volume", "study", "patient", "none"};

/* One body as it is looked at: the first fault is kept. */
struct parser {
    char *message;
    bool good;
};

#if defined(__GNUC__)
__attribute__((__format__(__printf__, 2, 3)))
#endif
static void
fault(struct parser *p, const char *format, ...)
{
    va_list args;

    if (!p->good)
        return;
    p->good = false;
    va_start(args, format);
    (void)vsnprintf(p->message, QUERY_MESSAGE_NBYTES, format, args);
    va_end(args);
}

static void
check_keys(struct parser *p, const char *where, const json_t *o, const char *const *known, size_t n)
{
    const char *key;
    const json_t *value;

    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        size_t i = 0;
        while (i < n && strcmp(key, known[i]) != 0)
            i++;
        if (i == n)
            fault(p, "%s: unknown key \"%.60s\"", where, key);
    }
}

/* NULL where it is absent (or null), or at fault. */
static const char *
take_text(struct parser *p, const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);

    if (value == NULL || json_is_null(value))
        return NULL;
    if (!json_is_string(value) || json_string_length(value) > MAX_TEXT_NBYTES) {
        fault(p, "%s: a text of at most %u bytes is wanted", key, MAX_TEXT_NBYTES);
        return NULL;
    }
    return json_string_value(value);
}

static void
take_number(struct parser *p, const json_t *o, const char *key, uint32_t low, uint32_t high,
            uint32_t *out)
{
    const json_t *value = json_object_get(o, key);
    const json_int_t n = json_integer_value(value);

    if (value == NULL || json_is_null(value))
        return;
    if (!json_is_integer(value) || n < (json_int_t)low || n > (json_int_t)high)
        fault(p, "%s: a whole number from %u to %u is wanted", key, low, high);
    else
        *out = (uint32_t)n;
}

/* [first, last]; false where it is absent. */
static bool
take_range(struct parser *p, const json_t *o, const char *key, uint32_t high, uint32_t out[2])
{
    const json_t *value = json_object_get(o, key);

    if (value == NULL || json_is_null(value))
        return false;
    for (size_t i = 0; i < 2; i++) {
        const json_t *n = json_array_get(value, i);
        if (json_array_size(value) != 2 || !json_is_integer(n) || json_integer_value(n) < 0 ||
            json_integer_value(n) >= (json_int_t)high) {
            fault(p, "%s: [first, last] is wanted, whole numbers from 0", key);
            return false;
        }
        out[i] = (uint32_t)json_integer_value(n);
    }
    if (out[0] > out[1])
        fault(p, "%s: the first comes after the last", key);
    return true;
}

static void
parse_box(struct parser *p, const json_t *box, query *q)
{
    static const char *const keys[] = {"Rows", "Columns", "Slices"};

    if (box == NULL || json_is_null(box))
        return;
    if (!json_is_object(box)) {
        fault(p, "Box: {Rows, Columns, Slices} is wanted");
        return;
    }
    check_keys(p, "Box", box, keys, 3);
    q->has_box = take_range(p, box, "Rows", CMIR_MAX_SIDE, q->rows) &&
                 take_range(p, box, "Columns", CMIR_MAX_SIDE, q->columns) &&
                 take_range(p, box, "Slices", CMIR_MAX_SLICES, q->slices);
    if (!q->has_box)
        fault(p, "Box: Rows, Columns and Slices are all wanted");
}

static void
parse_query(struct parser *p, const json_t *o, query *q)
{
    static const char *const keys[] = {"VolumeId", "UploadId", "Slices", "Box"};
    uint32_t range[2];

    if (!json_is_object(o)) {
        fault(p, "Query: an object is wanted, with a VolumeId");
        return;
    }
    check_keys(p, "Query", o, keys, 4);
    q->volume_id = take_text(p, o, "VolumeId");
    q->upload_id = take_text(p, o, "UploadId");
    if (q->volume_id == NULL)
        fault(p, "Query: VolumeId is missing");
    parse_box(p, json_object_get(o, "Box"), q);
    if (take_range(p, o, "Slices", CMIR_MAX_SLICES, range)) {
        q->options.slices_given = true;
        q->options.first_slice = range[0];
        q->options.last_slice = range[1];
        if (q->has_box)
            fault(p, "Query: Slices or Box, not both");
    }
}

static void
parse_exclude(struct parser *p, const char *text, query *q)
{
    if (text == NULL)
        return;
    for (size_t i = 0; i < 4; i++)
        if (strcmp(text, exclusions[i]) == 0) {
            q->options.exclude = (cmir_exclude)i;
            return;
        }
    fault(p, "Exclude: volume, study, patient or none is wanted");
}

/* "LABEL" or "LABEL=VALUE" */
static void
parse_contrast(struct parser *p, const char *text, query *q)
{
    const char *equals = text == NULL ? NULL : strchr(text, '=');

    if (text == NULL)
        return;
    if (text[0] == '\0' || equals == text || (equals != NULL && equals[1] == '\0')) {
        fault(p, "Contrast: a label is wanted, or LABEL=VALUE");
        return;
    }
    q->contrast = cmir_json_need(strdup(text));
    if (equals != NULL) {
        q->contrast[equals - text] = '\0';
        q->options.contrast_value = q->contrast + (equals - text) + 1;
    }
    q->options.contrast_label = q->contrast;
}

static void
parse_search(struct parser *p, const json_t *asked, query *q)
{
    static const char *const keys[] = {"Query",   "Score",      "Limit",   "Where",
                                       "Exclude", "Neighbours", "Contrast"};

    check_keys(p, "the request", asked, keys, sizeof keys / sizeof keys[0]);
    take_number(p, asked, "Limit", 1, SERVER_MAX_HITS, &q->options.limit);
    take_number(p, asked, "Neighbours", CMIR_EVIDENCE_LEAST, SERVER_MAX_NEIGHBOURS,
                &q->options.n_neighbours);
    q->options.where = take_text(p, asked, "Where");
    if (q->options.where != NULL && q->options.where[0] == '\0')
        q->options.where = NULL;
    parse_exclude(p, take_text(p, asked, "Exclude"), q);
    parse_contrast(p, take_text(p, asked, "Contrast"), q);
}

static void
parse_matches(struct parser *p, const json_t *asked, query *q)
{
    static const char *const keys[] = {"Query", "VolumeId", "Score"};

    check_keys(p, "the request", asked, keys, 3);
    q->candidate = take_text(p, asked, "VolumeId");
    if (q->candidate == NULL)
        fault(p, "VolumeId is missing: the candidate");
    if (q->has_box)
        fault(p, "Box: only a search takes one");
    q->options.exclude = CMIR_EXCLUDE_NONE;
    q->options.n_neighbours = 0;
    q->options.limit = 1;
}

bool
query_parse(const json_t *asked, query_kind kind, query *q, char message[QUERY_MESSAGE_NBYTES])
{
    struct parser p = {message, true};
    cmir_error err = {0};

    *q = (query){.options = {.struct_nbytes = sizeof q->options, .limit = 10, .n_neighbours = 10}};
    parse_query(&p, json_object_get(asked, "Query"), q);
    const char *score = take_text(&p, asked, "Score");
    if (score != NULL && cmir_score_parse(score, &q->options.score, &err) != CMIR_OK)
        fault(&p, "Score: %.150s", err.msg);
    if (kind == QUERY_SEARCH)
        parse_search(&p, asked, q);
    else
        parse_matches(&p, asked, q);
    return p.good;
}

void
query_free(query *q)
{
    free(q->contrast);
    q->contrast = NULL;
}
