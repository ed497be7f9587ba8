/* SPDX-License-Identifier: Apache-2.0 */
/* where.c: filter expressions to SQL.  Called by snapshot.
 *
 *     any        = all { "or" all }
 *     all        = one { "and" one }
 *     one        = "not" one | "(" any ")" | name operator value
 *     name       = letters, digits and _ (not a digit first), or "any text in double quotes"
 *     operator   = "=" | "!=" | "<" | "<=" | ">" | ">="
 *     value      = number | 'text', with '' for a quote inside
 *
 * A comparison is true or false, never unknown: what is missing compares false. */
#include "store/where.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/fields.h"

#define MAX_DIGITS 15u /* that a double holds exactly */

enum kind { END, NAME, TEXT, NUMBER, OPERATOR, OPEN, CLOSE, AND, OR, NOT };

struct parser {
    const char *text;
    size_t at;        /* behind the current token */
    size_t start;     /* of the current token */
    enum kind kind;   /* of the current token */
    char *value;      /* of a NAME, TEXT or NUMBER, quotes resolved; or of an OPERATOR; owned */
    unsigned depth, n_comparisons;
    cmir_buf sql;
    cmir_where *out;
    cmir_error *err;
};

static cmir_status parse_any(struct parser *p);

/* Characters before byte `at`, counted from 1. */
static size_t
column_of(const struct parser *p, size_t at)
{
    size_t column = 1;

    for (size_t i = 0; i < at; i++)
        column += ((unsigned char)p->text[i] & 0xC0) != 0x80;
    return column;
}

static cmir_status
refuse(struct parser *p, size_t at, const char *expected)
{
    char found[24];
    size_t n = 0;

    while (n < sizeof found - 4 && p->text[at + n] != '\0')
        n++;
    const bool all = p->text[at + n] == '\0';
    while (n > 0 && ((unsigned char)p->text[at + n] & 0xC0) == 0x80)
        n--;
    memcpy(found, p->text + at, n);
    memcpy(found + n, all ? "" : "...", all ? 1 : 4);
    if (p->text[at] == '\0')
        return FAIL_AT(p->err, CMIR_EINVAL, at, "filter: %s at the end", expected);
    return FAIL_AT(p->err, CMIR_EINVAL, at, "filter: %s at column %zu, before: %s", expected,
                   column_of(p, at), found);
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Bytes from 0x80 belong to letters outside ASCII. */
static bool
is_name_byte(char c)
{
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           ((unsigned char)c & 0x80) != 0;
}

static cmir_status
set_value(struct parser *p, enum kind kind, const char *s, size_t n)
{
    cmir_buf buf = {0};

    cmir_buf_add(&buf, s, n);
    if (buf.failed) {
        free(buf.data);
        return FAIL(p->err, CMIR_ENOMEM, "no memory for the filter");
    }
    free(p->value);
    p->value = buf.data;
    p->kind = kind;
    return CMIR_OK;
}

/* A text between quotes; a quote inside is doubled. */
static cmir_status
scan_quoted(struct parser *p, char quote)
{
    size_t n = 0, i = p->start + 1;
    cmir_status st;

    for (; p->text[i] != '\0' && (p->text[i] != quote || p->text[i + 1] == quote); i++)
        i += p->text[i] == quote;
    if (p->text[i] == '\0')
        return refuse(p, p->start,
                      quote == '\'' ? "a text without its closing quote (')"
                                    : "a name without its closing quote (\")");
    p->at = i + 1;
    st = set_value(p, quote == '\'' ? TEXT : NAME, p->text + p->start + 1, i - p->start - 1);
    if (st != CMIR_OK)
        return st;
    for (const char *s = p->value; *s != '\0'; s++) {
        p->value[n++] = *s;
        s += *s == quote;
    }
    p->value[n] = '\0';
    if (p->kind == NAME && n == 0)
        return refuse(p, p->start, "an empty name");
    return CMIR_OK;
}

static cmir_status
scan_number(struct parser *p)
{
    const char *s = p->text + p->start;
    size_t n = 0, digits = 0;

    n += s[n] == '-' || s[n] == '+';
    while (is_digit(s[n]) || s[n] == '.')
        n++;
    if (s[n] == 'e' || s[n] == 'E') {
        n += s[n + 1] == '-' || s[n + 1] == '+' ? 2 : 1;
        while (is_digit(s[n]))
            n++;
    }
    for (size_t i = 0, dots = 0; i < n && s[i] != 'e' && s[i] != 'E'; i++) {
        digits += is_digit(s[i]);
        dots += s[i] == '.';
        if (dots > 1)
            return refuse(p, p->start, "no number (put text between single quotes)");
    }
    if (digits == 0 || is_name_byte(s[n]) || !(is_digit(s[n - 1]) || s[n - 1] == '.'))
        return refuse(p, p->start, "no number (put text between single quotes)");
    if (digits > MAX_DIGITS)
        return refuse(p, p->start,
                      "a number of more than 15 digits, which would not compare exactly (put it "
                      "between single quotes to compare it as text)");
    p->at = p->start + n;
    return set_value(p, NUMBER, s, n);
}

static cmir_status
scan_word(struct parser *p)
{
    size_t n = 1;
    const char *s = p->text + p->start;

    while (is_name_byte(s[n]))
        n++;
    p->at = p->start + n;
    if (n == 3 && strncasecmp(s, "and", 3) == 0)
        p->kind = AND;
    else if (n == 2 && strncasecmp(s, "or", 2) == 0)
        p->kind = OR;
    else if (n == 3 && strncasecmp(s, "not", 3) == 0)
        p->kind = NOT;
    else
        return set_value(p, NAME, s, n);
    return CMIR_OK;
}

static cmir_status
scan_operator(struct parser *p)
{
    static const char *const operators[] = {"!=", "<=", ">=", "=", "<", ">"};
    const char *s = p->text + p->start;

    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        const size_t n = strlen(operators[i]);
        if (strncmp(s, operators[i], n) != 0)
            continue;
        if (s[n] == '=' || s[n] == '<' || s[n] == '>')
            break;
        p->at = p->start + n;
        return set_value(p, OPERATOR, operators[i], n);
    }
    return refuse(p, p->start, "no operator (there are = != < <= > >=)");
}

/* Moves on to the next token. */
static cmir_status
next(struct parser *p)
{
    while (is_blank(p->text[p->at]))
        p->at++;
    p->start = p->at;

    const char c = p->text[p->at];
    if (c == '\0') {
        p->kind = END;
        return CMIR_OK;
    }
    if (c == '(' || c == ')') {
        p->kind = c == '(' ? OPEN : CLOSE;
        p->at++;
        return CMIR_OK;
    }
    if (c == '\'' || c == '"')
        return scan_quoted(p, c);
    if (is_digit(c) || c == '-' || c == '+' || c == '.')
        return scan_number(p);
    if (is_name_byte(c))
        return scan_word(p);
    if (strchr("=<>!", c) != NULL)
        return scan_operator(p);
    return refuse(p, p->start, "an unexpected character");
}

/* Takes over the current token's value as the next one to bind. */
static cmir_status
bind(struct parser *p, char *value)
{
    if (!cmir_grow((void **)&p->out->values, &p->out->cap, p->out->n_values + 1, sizeof(char *))) {
        free(value);
        return FAIL(p->err, CMIR_ENOMEM, "no memory for the filter");
    }
    p->out->values[p->out->n_values++] = value;
    return CMIR_OK;
}

static char *
take_value(struct parser *p)
{
    char *value = p->value;

    p->value = NULL;
    return value;
}

/* SQL of one comparison; `op` is one of the six operators, `value` becomes the last binding. */
static void
write_comparison(struct parser *p, const cmir_field *field, const char *op, bool number)
{
    if (field == NULL && number)
        cmir_buf_printf(&p->sql,
                        "EXISTS (SELECT 1 FROM labels AS l WHERE l.volume = v.id AND l.name = ? "
                        "AND cmir_number(l.value) %s cmir_number(?))",
                        op);
    else if (field == NULL)
        cmir_buf_printf(&p->sql,
                        "EXISTS (SELECT 1 FROM labels AS l WHERE l.volume = v.id AND l.name = ? "
                        "AND l.value %s ?)",
                        op);
    else if (field->is_number)
        cmir_buf_printf(&p->sql, "coalesce(v.%s %s cmir_number(?), 0)", field->column, op);
    else if (number)
        cmir_buf_printf(&p->sql, "coalesce(cmir_number(v.%s) %s cmir_number(?), 0)", field->column,
                        op);
    else
        cmir_buf_printf(&p->sql, "(v.%s <> '' AND v.%s %s ?)", field->column, field->column, op);
}

static cmir_status
parse_comparison(struct parser *p)
{
    cmir_status st;
    const cmir_field *field = cmir_field_find(p->value);
    char op[4] = "";

    if (++p->n_comparisons > CMIR_WHERE_MAX_COMPARISONS)
        return refuse(p, p->start, "more than 256 comparisons");
    if (field == NULL && (st = bind(p, take_value(p))) != CMIR_OK)
        return st;
    if ((st = next(p)) != CMIR_OK)
        return st;
    if (p->kind != OPERATOR)
        return refuse(p, p->start, "an operator (= != < <= > >=) is missing");
    memcpy(op, p->value, strlen(p->value) + 1);
    if ((st = next(p)) != CMIR_OK)
        return st;
    if (p->kind == NAME)
        return refuse(p, p->start, "a number or a 'text' in single quotes is missing");
    if (p->kind != TEXT && p->kind != NUMBER)
        return refuse(p, p->start, "a number or a 'text' is missing");
    if (field != NULL && field->is_number && p->kind == TEXT)
        return refuse(p, p->start, "this field compares with a number only, without quotes");
    write_comparison(p, field, op, p->kind == NUMBER);
    if ((st = bind(p, take_value(p))) != CMIR_OK)
        return st;
    return next(p);
}

static cmir_status
parse_one(struct parser *p)
{
    cmir_status st;

    if (p->kind == NAME)
        return parse_comparison(p);
    if (p->kind == TEXT || p->kind == NUMBER)
        return refuse(p, p->start, "a comparison starts with a field or label, not with a value,");
    if (p->kind != NOT && p->kind != OPEN)
        return refuse(p, p->start, "a comparison, such as Modality = 'CT', is missing");
    if (++p->depth > CMIR_WHERE_MAX_DEPTH)
        return refuse(p, p->start, "more than 12 levels of parentheses and nots");
    const bool is_not = p->kind == NOT;
    const size_t start = p->start;
    if ((st = next(p)) != CMIR_OK)
        return st;
    cmir_buf_puts(&p->sql, is_not ? "(NOT " : "(");
    if ((st = is_not ? parse_one(p) : parse_any(p)) != CMIR_OK)
        return st;
    cmir_buf_puts(&p->sql, ")");
    p->depth--;
    if (is_not)
        return CMIR_OK;
    if (p->kind != CLOSE)
        return refuse(p, start, "the closing parenthesis is missing for the one");
    return next(p);
}

/* one { word one }: both levels of and / or have this form. */
static cmir_status
parse_chain(struct parser *p, enum kind word, const char *sql,
            cmir_status (*parse_part)(struct parser *p))
{
    cmir_status st = parse_part(p);

    while (st == CMIR_OK && p->kind == word) {
        cmir_buf_puts(&p->sql, sql);
        if ((st = next(p)) == CMIR_OK)
            st = parse_part(p);
    }
    return st;
}

static cmir_status
parse_all(struct parser *p)
{
    return parse_chain(p, AND, " AND ", parse_one);
}

static cmir_status
parse_any(struct parser *p)
{
    return parse_chain(p, OR, " OR ", parse_all);
}

cmir_status
cmir_where_parse(const char *text, cmir_where *out, cmir_error *err)
{
    struct parser p = {.text = text == NULL ? "" : text, .out = out, .err = err};
    cmir_status st;

    *out = (cmir_where){0};
    if (strlen(p.text) > CMIR_WHERE_MAX_NBYTES)
        return FAIL(err, CMIR_EINVAL, "filter: longer than %u bytes", CMIR_WHERE_MAX_NBYTES);
    st = next(&p);
    if (st == CMIR_OK && p.kind == END)
        cmir_buf_puts(&p.sql, "1");
    else if (st == CMIR_OK)
        st = parse_any(&p);
    if (st == CMIR_OK && p.kind != END)
        st = refuse(&p, p.start, "'and' or 'or' is missing");
    if (st == CMIR_OK && p.sql.failed)
        st = FAIL(err, CMIR_ENOMEM, "no memory for the filter");
    free(p.value);
    out->sql = p.sql.data;
    if (st != CMIR_OK)
        cmir_where_free(out);
    return st;
}

void
cmir_where_free(cmir_where *where)
{
    for (size_t i = 0; i < where->n_values; i++)
        free(where->values[i]);
    free(where->values);
    free(where->sql);
    *where = (cmir_where){0};
}
