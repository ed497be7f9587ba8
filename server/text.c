/* SPDX-License-Identifier: Apache-2.0 */
/* text.c: percent-encoding, UTF-8, names of files as clients give them.
 *
 * The one idea: what passes here can be put into JSON, a log or a file name as it is. */
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* Length of the character at `s`, of at most `left` bytes; 0 where it is invalid. */
static size_t
character(const unsigned char *s, size_t left, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t n = s[0] < 0x80   ? 1
                     : s[0] < 0xC0 ? 0
                     : s[0] < 0xE0 ? 2
                     : s[0] < 0xF0 ? 3
                     : s[0] < 0xF8 ? 4
                                   : 0;

    if (n == 0 || n > left)
        return 0;
    *code = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        *code = *code << 6 | (s[i] & 0x3Fu);
    }
    return *code < least[n] || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000) ? 0 : n;
}

bool
text_is_clean(const char *text, size_t nbytes)
{
    for (size_t i = 0; i < nbytes;) {
        uint32_t code = 0;
        const size_t n = character((const unsigned char *)text + i, nbytes - i, &code);
        if (n == 0 || code < 0x20 || (code >= 0x7F && code < 0xA0))
            return false;
        i += n;
    }
    return true;
}

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

char *
text_percent_decode(const char *text, size_t nbytes, bool plus)
{
    char *out = malloc(nbytes + 1), *p = out;

    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < nbytes; i++) {
        if (text[i] != '%') {
            *p++ = plus && text[i] == '+' ? ' ' : text[i];
            continue;
        }
        const int high = i + 2 < nbytes ? hex_digit(text[i + 1]) : -1;
        const int low = i + 2 < nbytes ? hex_digit(text[i + 2]) : -1;
        if (high < 0 || low < 0)
            goto bad;
        *p++ = (char)(high * 16 + low);
        i += 2;
    }
    *p = '\0';
    if (text_is_clean(out, (size_t)(p - out)))
        return out;
bad:
    free(out);
    return NULL;
}

const char *
text_file_name(const char *name)
{
    if (name == NULL || !text_is_clean(name, strlen(name)))
        return "";
    for (const char *p = name; *p != '\0'; p++)
        if (*p == '/' || *p == '\\')
            name = p + 1;
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ? "" : name;
}

void
text_hex(const uint8_t *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

bool
text_list_has_etag(const char *list, const char *etag)
{
    const size_t n = strlen(etag);

    while (*list != '\0') {
        list += strspn(list, " \t,");
        if (*list == '*')
            return true;
        list += strncmp(list, "W/", 2) == 0 ? 2 : 0;
        if (*list == '"' && strncmp(list + 1, etag, n) == 0 && list[1 + n] == '"')
            return true;
        list += strcspn(list, ",");
    }
    return false;
}

static size_t
count(const char *text, size_t n, char c)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i++)
        found += text[i] == c;
    return found;
}

/* A path may have lost its beginning: the library cuts long ones there. */
void
text_strip_paths(char *text)
{
    char *out = text;
    char before = ' ';

    for (const char *p = text; *p != '\0'; before = *p++) {
        const size_t n = strcspn(p, " '\":,)"), n_slashes = count(p, n, '/');
        if (strchr(" '\"(", before) != NULL && (n_slashes > 1 || (*p == '/' && n > 0))) {
            const char *end = p + n;
            for (const char *c = p; c < end; c++)
                if (*c == '/')
                    p = c;
            if (p + 1 == end)
                *out++ = '/';
            continue; /* past the last '/' */
        }
        *out++ = *p;
    }
    *out = '\0';
}
