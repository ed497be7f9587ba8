/* SPDX-License-Identifier: Apache-2.0 */
/* text.c: text for people.
 *
 * The one idea: strings that come from files never reach a terminal as they are: control
 * characters, marks that turn the direction of writing and invalid UTF-8 become '?'. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

void *
cli_need(void *memory)
{
    if (memory == NULL) {
        fputs("cmir: no memory\n", stderr);
        exit(1);
    }
    return memory;
}

cmir_status
cli_fail(cmir_error *err, cmir_status code, const char *format, ...)
{
    va_list args;

    if (err == NULL || err->code != CMIR_OK)
        return code;
    err->code = code;
    err->offset = UINT64_MAX;
    va_start(args, format);
    (void)vsnprintf(err->msg, sizeof err->msg, format, args);
    va_end(args);
    return code;
}

bool
cli_is_harmless(uint32_t code)
{
    return code >= 0x20 && !(code >= 0x7F && code < 0xA0) && !(code >= 0x200B && code <= 0x200F) &&
           !(code >= 0x2028 && code <= 0x202E) && !(code >= 0x2066 && code <= 0x2069) &&
           code != 0xFEFF;
}

char *
cli_clean(const char *text)
{
    char *out = cli_need(malloc(strlen(text) + 1)), *p = out;

    while (*text != '\0') {
        uint32_t code;
        const size_t n = cmir_json_decode(text, &code);
        if (n > 0 && cli_is_harmless(code)) {
            memcpy(p, text, n);
            p += n;
        } else {
            *p++ = '?';
        }
        text += n > 0 ? n : 1;
    }
    *p = '\0';
    return out;
}

CLI_PRINTF(1, 0)
static char *
clean_format(const char *format, va_list args)
{
    va_list again;

    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = cli_need(malloc((size_t)(n < 0 ? 0 : n) + 1));
    text[0] = '\0';
    if (n > 0)
        (void)vsnprintf(text, (size_t)n + 1, format, args);
    char *clean = cli_clean(text);
    free(text);
    return clean;
}

void
cli_line(FILE *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    char *text = clean_format(format, args);
    va_end(args);
    fprintf(out, "%s\n", text);
    free(text);
}

void
cli_cell(cli_table *table, const char *format, ...)
{
    va_list args;

    if (table->n_cells == table->cap) {
        table->cap = table->cap == 0 ? 64 : table->cap * 2;
        table->cells = cli_need(realloc(table->cells, table->cap * sizeof *table->cells));
    }
    va_start(args, format);
    table->cells[table->n_cells++] = clean_format(format, args);
    va_end(args);
}

static size_t
width_of(const char *s)
{
    size_t n = 0;

    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

void
cli_print_table(cli_table *table, FILE *out)
{
    const size_t n = table->n_columns;
    size_t *width = cli_need(calloc(n + 1, sizeof *width));

    for (size_t i = 0; i < table->n_cells; i++) {
        const size_t w = width_of(table->cells[i]);
        if (w > width[i % n])
            width[i % n] = w;
    }
    for (size_t i = 0; i < table->n_cells; i++) {
        const size_t c = i % n, pad = width[c] - width_of(table->cells[i]);
        const bool right = (table->right >> c & 1u) != 0, last = c == n - 1;
        if (out != NULL)
            fprintf(out, "%*s%s%*s%s", right ? (int)pad : 0, "", table->cells[i],
                    right || last ? 0 : (int)pad, "", last ? "\n" : "  ");
        free(table->cells[i]);
    }
    free(table->cells);
    free(width);
    *table = (cli_table){0};
}

char *
cli_labels_text(const cmir_record *record, size_t width)
{
    size_t nbytes = 1;

    for (size_t i = 0; i < record->n_labels; i++)
        nbytes += strlen(record->labels[i].name) + strlen(record->labels[i].value) + 2;
    char *text = cli_need(malloc(nbytes + 3)), *p = text;
    *p = '\0';
    for (size_t i = 0; i < record->n_labels; i++)
        p += sprintf(p, "%s%s=%s", i == 0 ? "" : " ", record->labels[i].name,
                     record->labels[i].value);
    if (width_of(text) > width) {
        size_t n = 0;
        for (p = text; n < width - 3 || ((unsigned char)*p & 0xC0) == 0x80; p++)
            n += ((unsigned char)*p & 0xC0) != 0x80;
        memcpy(p, "...", 4);
    }
    return text;
}

/* Characters that a terminal might obey stand in strings only, where they can be escaped. */
void
cli_json_print(cli_args *args, json_t *object)
{
    char *text = cli_need(json_dumps(cli_need(object), JSON_REAL_PRECISION(9)));

    for (const char *p = text; *p != '\0';) {
        uint32_t code;
        const size_t n = cmir_json_decode(p, &code);
        if (cli_is_harmless(code))
            fwrite(p, 1, n, args->out);
        else
            fprintf(args->out, "\\u%04x", (unsigned)code);
        p += n;
    }
    fputc('\n', args->out);
    free(text);
    json_decref(object);
}
