/* SPDX-License-Identifier: Apache-2.0 */
/* csv.c: rows of cells from a CSV text (RFC 4180), unquoted in place.  Called by labels and
 * rankings. */
#include "store/csv.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

/* Length of the UTF-8 character at `s`, of which n >= 1 bytes are there; 0 if it is none. */
static size_t
utf8_nbytes(const unsigned char *s, size_t n)
{
    const size_t want = s[0] < 0x80                   ? 1
                        : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
                        : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
                        : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                                      : 0;

    if (want == 0 || want > n || s[0] == 0)
        return 0;
    for (size_t i = 1; i < want; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || /* long, surrogate */
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))   /* long, too great */
        return 0;
    return want;
}

cmir_status
cmir_csv_open(cmir_csv *csv, const char *path, char *text, size_t nbytes, cmir_error *err)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t line = 1, n;

    csv->path = path;
    csv->text = text;
    csv->line = 1;
    csv->n_cells = 0;
    csv->at = nbytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    if (nbytes >= 2 && ((s[0] == 0xFF && s[1] == 0xFE) || (s[0] == 0xFE && s[1] == 0xFF)))
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: UTF-16 text; save it as UTF-8", path);
    for (size_t i = csv->at; i < nbytes; i += n) {
        n = utf8_nbytes(s + i, nbytes - i);
        if (n == 0)
            return FAIL_AT(err, CMIR_EUNSUPPORTED, i,
                           "%s: line %zu is not UTF-8 text; save the file as UTF-8", path, line);
        line += s[i] == '\n';
    }
    return CMIR_OK;
}

static cmir_status
refuse(const cmir_csv *csv, size_t line, const char *why, cmir_error *err)
{
    return FAIL_AT(err, CMIR_ECORRUPT, csv->at, "%s: line %zu: %s", csv->path, line, why);
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool
ends_cell(char c)
{
    return c == ',' || c == '\n' || c == '\r' || c == '\0';
}

/* A cell in quotes, from behind the opening one; ends on the character that ends the cell. */
static cmir_status
read_quoted(cmir_csv *csv, char **cell, cmir_error *err)
{
    const size_t line = csv->line;
    char *to = csv->text + csv->at;

    *cell = to;
    for (;; csv->at++) {
        const char c = csv->text[csv->at];

        if (c == '\0')
            return refuse(csv, line, "a quote that is never closed", err);
        csv->line += c == '\n';
        if (c == '"' && csv->text[++csv->at] != '"')
            break;
        *to++ = c;
    }
    while (is_blank(csv->text[csv->at]))
        csv->at++;
    if (!ends_cell(csv->text[csv->at]))
        return refuse(csv, csv->line, "text behind a closing quote", err);
    *to = '\0'; /* on the closing quote or before it */
    if ((size_t)(to - *cell) > CMIR_CSV_MAX_CELL_NBYTES)
        return refuse(csv, line, "a cell of more than 65535 bytes", err);
    return CMIR_OK;
}

static cmir_status
read_plain(cmir_csv *csv, char **cell, char **end, cmir_error *err)
{
    char *s = csv->text + csv->at;
    size_t n = 0;

    *cell = s;
    for (; !ends_cell(s[n]); n++)
        if (s[n] == '"')
            return refuse(csv, csv->line,
                          "a quote inside a cell; put quotes round the cell and double the inner "
                          "one",
                          err);
    csv->at += n;
    while (n > 0 && is_blank(s[n - 1]))
        n--;
    *end = s + n;
    if (n > CMIR_CSV_MAX_CELL_NBYTES)
        return refuse(csv, csv->line, "a cell of more than 65535 bytes", err);
    return CMIR_OK;
}

/* Reads one cell and what ends it; *more says whether another one follows in this row. */
static cmir_status
read_cell(cmir_csv *csv, bool *more, cmir_error *err)
{
    char *cell, *end = NULL;
    cmir_status st;

    while (is_blank(csv->text[csv->at]))
        csv->at++;
    if (csv->text[csv->at] == '"') {
        csv->at++;
        st = read_quoted(csv, &cell, err);
    } else {
        st = read_plain(csv, &cell, &end, err);
    }
    if (st != CMIR_OK)
        return st;
    if (csv->n_cells == CMIR_CSV_MAX_COLUMNS)
        return FAIL(err, CMIR_ELIMIT, "%s: line %zu: more than %u columns", csv->path, csv->line,
                    CMIR_CSV_MAX_COLUMNS);
    csv->cells[csv->n_cells++] = cell;

    const char c = csv->text[csv->at];
    *more = c == ',';
    csv->at += c != '\0';
    if (c == '\r' && csv->text[csv->at] == '\n')
        csv->at++;
    csv->line += c == '\n' || c == '\r';
    if (end != NULL)
        *end = '\0'; /* not before its end was read */
    return CMIR_OK;
}

cmir_status
cmir_csv_next(cmir_csv *csv, cmir_error *err)
{
    bool more = true;
    cmir_status st = CMIR_OK;

    for (;;) { /* over empty lines */
        const char c = csv->text[csv->at];

        if (c != '\n' && c != '\r')
            break;
        csv->at += c == '\r' && csv->text[csv->at + 1] == '\n' ? 2 : 1;
        csv->line++;
    }
    csv->n_cells = 0;
    csv->row_line = csv->line;
    if (csv->text[csv->at] == '\0')
        return CMIR_OK;
    while (more && st == CMIR_OK)
        st = read_cell(csv, &more, err);
    return st;
}

cmir_status
cmir_csv_header(cmir_csv *csv, cmir_error *err)
{
    const cmir_status st = cmir_csv_next(csv, err);

    if (st != CMIR_OK)
        return st;
    if (csv->n_cells == 0)
        return FAIL(err, CMIR_ECORRUPT, "%s: empty; a header line is missing", csv->path);
    const char *only = csv->n_cells == 1 ? csv->cells[0] : "";
    if (strchr(only, ';') != NULL)
        return FAIL(err, CMIR_EUNSUPPORTED,
                    "%s: columns are separated by semicolons; save it with commas", csv->path);
    if (strchr(only, '\t') != NULL)
        return FAIL(err, CMIR_EUNSUPPORTED,
                    "%s: columns are separated by tabs; save it with commas", csv->path);
    return CMIR_OK;
}

void
cmir_csv_drop_extension(char *name)
{
    static const char *const extensions[] = {".nii.gz", ".nii"};
    const size_t n = strlen(name);

    for (size_t i = 0; i < 2; i++) {
        const size_t m = strlen(extensions[i]);
        if (n > m && strcmp(name + n - m, extensions[i]) == 0) {
            name[n - m] = '\0';
            return;
        }
    }
}
