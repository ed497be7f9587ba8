/* SPDX-License-Identifier: Apache-2.0 */
/* router.c: a path against the rows of a table.
 *
 * The one idea: the path is split at '/' first and percent-decoded after that, so that an encoded
 * slash is a character of a part like any other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router.h"
#include "text.h"

#define MAX_SEGMENTS 8

/* Matches one decoded segment with one of a pattern: a literal, or PREFIX{name}SUFFIX. */
static bool
match_segment(const char *pattern, size_t n, const char *segment, pair *part, size_t *n_literal)
{
    const size_t length = strlen(segment), before = strcspn(pattern, "{/");

    if (before >= n) {
        *n_literal += n;
        return length == n && memcmp(pattern, segment, n) == 0;
    }
    const char *name = pattern + before + 1;
    const size_t n_name = strcspn(name, "}"), after = n - before - n_name - 2;
    if (length <= before + after || memcmp(segment, pattern, before) != 0 ||
        memcmp(segment + length - after, name + n_name + 1, after) != 0)
        return false;
    *n_literal += before + after;
    part->name = strndup(name, n_name);
    part->value = strndup(segment + before, length - before - after);
    return part->name != NULL && part->value != NULL;
}

static void
free_pairs(pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(pairs[i].name);
        free(pairs[i].value);
    }
}

/* Number of literal characters plus 1 where the whole path matches, else 0; fills `parts`. */
static size_t
match_path(const char *pattern, char *const *segments, size_t n_segments, pair *parts,
           size_t *n_parts)
{
    size_t n_literal = 0, i = 0;

    *n_parts = 0;
    for (const char *p = pattern; *p == '/'; i++) {
        const size_t n = strcspn(++p, "/");
        const bool named = memchr(p, '{', n) != NULL;
        pair *part = &parts[*n_parts];
        *part = (pair){0};
        const bool ok = i < n_segments && (!named || *n_parts < ROUTE_MAX_PARTS - 1) &&
                        match_segment(p, n, segments[i], part, &n_literal);
        *n_parts += named;
        if (!ok) {
            free_pairs(parts, *n_parts);
            *n_parts = 0;
            return 0;
        }
        p += n;
    }
    if (i == n_segments)
        return n_literal + 1;
    free_pairs(parts, *n_parts);
    *n_parts = 0;
    return 0;
}

static bool
serves(const route *row, const char *method)
{
    return strcmp(row->method, strcmp(method, "HEAD") == 0 ? "GET" : method) == 0;
}

static void
allow(target *t, const char *method)
{
    const size_t n = strlen(t->allow);

    if (strstr(t->allow, method) == NULL)
        snprintf(t->allow + n, sizeof t->allow - n, "%s%s%s", n == 0 ? "" : ", ", method,
                 strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

/* The methods of the very pattern that fits best, whatever the method asked for. */
static unsigned
choose(const route *table, const char *method, char *const *segments, size_t n_segments, target *t)
{
    size_t best = 0;
    const char *pattern = NULL;

    for (const route *row = table; row->method != NULL; row++) {
        pair parts[ROUTE_MAX_PARTS];
        size_t n_parts;
        const size_t n = match_path(row->path, segments, n_segments, parts, &n_parts);
        free_pairs(parts, n_parts);
        if (n > best) {
            best = n;
            pattern = row->path;
        }
    }
    if (pattern == NULL)
        return 404;
    for (const route *row = table; row->method != NULL; row++) {
        if (strcmp(row->path, pattern) != 0)
            continue;
        if (t->route == NULL && serves(row, method))
            t->route = row;
        allow(t, row->method);
    }
    if (t->route == NULL)
        return 405;
    (void)match_path(pattern, segments, n_segments, t->parts, &t->n_parts);
    return 0;
}

static unsigned
parse_path(const route *table, const char *method, const char *path, size_t nbytes, target *t)
{
    char *segments[MAX_SEGMENTS] = {0};
    size_t n = 0;
    unsigned status = *path == '/' ? 0 : 400;

    for (size_t at = 0; status == 0 && at < nbytes; n++) {
        const size_t length = strcspn(path + ++at, "/?");
        if (n == MAX_SEGMENTS) {
            status = 404;
            break;
        }
        segments[n] = text_percent_decode(path + at, length, false);
        if (segments[n] == NULL)
            status = 400;
        at += length;
    }
    if (status == 0)
        status = choose(table, method, segments, n, t);
    for (size_t i = 0; i < MAX_SEGMENTS; i++)
        free(segments[i]);
    return status;
}

static unsigned
parse_query(const char *query, target *t)
{
    while (*query != '\0') {
        const size_t n = strcspn(query, "&"), n_name = strcspn(query, "=&");
        if (n > 0) {
            if (t->n_params == ROUTE_MAX_PARAMS)
                return 400;
            pair *p = &t->params[t->n_params++];
            const size_t skip = n_name < n ? n_name + 1 : n;
            p->name = text_percent_decode(query, n_name, true);
            p->value = text_percent_decode(query + skip, n - skip, true);
            if (p->name == NULL || p->value == NULL)
                return 400;
        }
        query += n + (query[n] == '&');
    }
    return 0;
}

unsigned
target_parse(const route *table, const char *method, const char *text, target *out)
{
    const size_t n_path = strcspn(text, "?");

    *out = (target){0};
    const unsigned status = parse_path(table, method, text, n_path, out);
    if (status != 0 || text[n_path] == '\0')
        return status;
    return parse_query(text + n_path + 1, out);
}

void
target_free(target *t)
{
    free_pairs(t->parts, t->n_parts);
    free_pairs(t->params, t->n_params);
    *t = (target){0};
}

static const char *
find(const pair *pairs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(pairs[i].name, name) == 0)
            return pairs[i].value;
    return NULL;
}

const char *
target_part(const target *t, const char *name)
{
    return find(t->parts, t->n_parts, name);
}

const char *
target_param(const target *t, const char *name)
{
    return find(t->params, t->n_params, name);
}
