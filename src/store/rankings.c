/* SPDX-License-Identifier: Apache-2.0 */
/* rankings.c: ranked lists from a file, as CSV or as a TREC run.  Called by the command and
 * by users.
 *
 * The one idea: both forms become rows of the same table, and the rows and the text that they point
 * into are one block of memory, so that there is one thing to free. */
#include <cmir/assess.h>

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "store/csv.h"

#define MAX_FILE_NBYTES ((uint64_t)1 << 30)

struct rankings {
    const char *path;
    cmir_ranking *rows;
    size_t n, cap;
};

/* Adds a row whose strings and line are there; `score` is text, NULL where there is none. */
static cmir_status
add_row(struct rankings *r, cmir_ranking row, char *volume, char *query, const char *score,
        cmir_error *err)
{
    char *end = NULL;

    cmir_csv_drop_extension(volume);
    cmir_csv_drop_extension(query);
    row.query = query;
    row.volume = volume;
    row.score = NAN;
    if (query[0] == '\0' || volume[0] == '\0')
        return FAIL(err, CMIR_ECORRUPT, "%s: line %zu names no %s", r->path, row.line,
                    query[0] == '\0' ? "query" : "volume");
    if (score != NULL) {
        row.score = strtod(score, &end);
        if (end == score || *end != '\0' || !isfinite(row.score))
            return FAIL(err, CMIR_ECORRUPT, "%s: line %zu: the score '%s' is no number", r->path,
                        row.line, score);
    }
    if (!cmir_grow((void **)&r->rows, &r->cap, r->n + 1, sizeof *r->rows))
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for its lines", r->path);
    r->rows[r->n++] = row;
    return CMIR_OK;
}

/* The word at *at, NUL-terminated in place, and *at behind it; NULL at the end of the line. */
static char *
next_word(char **at)
{
    char *word = *at + strspn(*at, " \t\r");
    const size_t n = strcspn(word, " \t\r");

    if (n == 0)
        return NULL;
    *at = word + n + (word[n] != '\0');
    word[n] = '\0';
    return word;
}

static cmir_status
read_run(struct rankings *r, char *text, cmir_error *err)
{
    cmir_status st = CMIR_OK;
    size_t line = 1;

    for (char *next, *at = text; at != NULL && *at != '\0' && st == CMIR_OK; at = next, line++) {
        char *word[7];
        size_t n = 0;

        if ((next = strchr(at, '\n')) != NULL)
            *next++ = '\0';
        while (n < 7 && (word[n] = next_word(&at)) != NULL)
            n++;
        if (n == 6)
            st = add_row(r, (cmir_ranking){.method = word[5], .line = line}, word[2], word[0],
                         word[4], err);
        else if (n > 0)
            st = FAIL(err, CMIR_ECORRUPT,
                      "%s: line %zu is not one of a TREC run: query Q0 volume rank score tag",
                      r->path, line);
    }
    return st;
}

/* Which columns are what; n_columns: not there. */
struct columns {
    size_t n, query, volume, score, method;
};

static cmir_status
read_header(cmir_csv *csv, struct columns *out, cmir_error *err)
{
    static const char *const names[] = {"query", "volume", "score", "method"};
    const cmir_status st = cmir_csv_header(csv, err);
    size_t at[4];

    if (st != CMIR_OK)
        return st;
    for (size_t k = 0; k < 4; k++) {
        at[k] = csv->n_cells;
        for (size_t i = 0; i < csv->n_cells; i++)
            if (strcmp(csv->cells[i], names[k]) == 0)
                at[k] = i;
        if (k < 2 && at[k] == csv->n_cells)
            return FAIL(err, CMIR_ECORRUPT,
                        "%s: its header has no column '%s'; query,volume[,score][,method] is "
                        "wanted, or a TREC run",
                        csv->path, names[k]);
    }
    *out = (struct columns){csv->n_cells, at[0], at[1], at[2], at[3]};
    return CMIR_OK;
}

static cmir_status
read_csv(struct rankings *r, cmir_csv *csv, cmir_error *err)
{
    struct columns c = {0};
    cmir_status st = read_header(csv, &c, err);

    while (st == CMIR_OK && (st = cmir_csv_next(csv, err)) == CMIR_OK && csv->n_cells > 0) {
        if (csv->n_cells != c.n)
            return FAIL(err, CMIR_ECORRUPT, "%s: line %zu has %zu cells, the header %zu", r->path,
                        csv->row_line, csv->n_cells, c.n);
        const cmir_ranking row = {.method = c.method < c.n ? csv->cells[c.method] : "",
                                  .line = csv->row_line};
        st = add_row(r, row, csv->cells[c.volume], csv->cells[c.query],
                     c.score < c.n ? csv->cells[c.score] : NULL, err);
    }
    return st;
}

/* A run has six words in its first line and no comma. */
static bool
looks_like_run(const char *text)
{
    const size_t n = strcspn(text, "\n");
    size_t n_words = 0;

    if (memchr(text, ',', n) != NULL)
        return false;
    for (size_t i = 0; i < n; n_words++) {
        i += strspn(text + i, " \t\r");
        if (i >= n)
            break;
        i += strcspn(text + i, " \t\r\n");
    }
    return n_words == 6;
}

/* Rows and text in one block, rows first. */
static cmir_status
join(const struct rankings *r, const char *text, size_t nbytes, cmir_ranking **out, cmir_error *err)
{
    const size_t rows_nbytes = r->n * sizeof *r->rows;
    char *block = cmir_alloc(rows_nbytes + nbytes + 1, 1);

    if (block == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for its lines", r->path);
    memcpy(block + rows_nbytes, text, nbytes + 1);
    *out = (cmir_ranking *)(void *)block;
    for (size_t i = 0; i < r->n; i++) {
        const char *const method = r->rows[i].method;

        (*out)[i] = r->rows[i];
        (*out)[i].query = block + rows_nbytes + (r->rows[i].query - text);
        (*out)[i].volume = block + rows_nbytes + (r->rows[i].volume - text);
        (*out)[i].method = method[0] == '\0' ? "" : block + rows_nbytes + (method - text);
    }
    return CMIR_OK;
}

cmir_status
cmir_rankings_read(const char *path, cmir_ranking **out, size_t *n, cmir_error *err)
{
    struct rankings r = {.path = path};
    cmir_csv *csv = cmir_alloc_zeroed(1, sizeof *csv);
    char *text = NULL;
    size_t nbytes = 0;
    cmir_status st;

    *out = NULL;
    *n = 0;
    if (csv == NULL)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", path);
    else if ((st = cmir_file_read(path, MAX_FILE_NBYTES, &text, &nbytes, err)) == CMIR_OK &&
             (st = cmir_csv_open(csv, path, text, nbytes, err)) == CMIR_OK) {
        const locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
        const locale_t callers = uselocale(plain); /* 0.5 is a number whatever the caller's */

        st = looks_like_run(text + csv->at) ? read_run(&r, text + csv->at, err)
                                            : read_csv(&r, csv, err);
        (void)uselocale(callers);
        if (plain != (locale_t)0)
            freelocale(plain);
    }
    if (st == CMIR_OK && (st = join(&r, text, nbytes, out, err)) == CMIR_OK)
        *n = r.n;
    free(csv);
    free(text);
    free(r.rows);
    return st;
}
