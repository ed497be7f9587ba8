/* SPDX-License-Identifier: Apache-2.0 */
/* html.c: text and pictures inside HTML that is also well-formed XML.
 *
 * The one idea: what scans say of themselves is hostile until it has been through
 * cmir_html_text(), and nothing enters the page in another way. */
#include "report/html.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Decodes one character of UTF-8; returns its length, 0 if it is none. */
static size_t
decode(const unsigned char *s, uint32_t *out)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t n = s[0] < 0x80             ? 1
                     : (s[0] & 0xE0) == 0xC0 ? 2
                     : (s[0] & 0xF0) == 0xE0 ? 3
                     : (s[0] & 0xF8) == 0xF0 ? 4
                                             : 0;

    if (n < 2) {
        *out = s[0];
        return n;
    }
    *out = s[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        *out = *out << 6 | (s[i] & 0x3Fu);
    }
    return *out < least[n] || *out > 0x10FFFF || (*out >= 0xD800 && *out < 0xE000) ? 0 : n;
}

static bool
is_harmless(uint32_t c)
{
    if (c < 0x20)
        return c == '\t' || c == '\n';
    if ((c >= 0x7F && c < 0xA0) || (c & 0xFFFE) == 0xFFFE)
        return false;
    return !(c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) ||
             (c >= 0x2066 && c <= 0x2069));
}

void
cmir_html_text(cmir_buf *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    while (*s != '\0') {
        uint32_t c;
        const size_t n = decode(s, &c);

        if (n == 0 || !is_harmless(c))
            cmir_buf_puts(out, "\xEF\xBF\xBD");
        else if (c == '&')
            cmir_buf_puts(out, "&amp;");
        else if (c == '<')
            cmir_buf_puts(out, "&lt;");
        else if (c == '>')
            cmir_buf_puts(out, "&gt;");
        else if (c == '"')
            cmir_buf_puts(out, "&quot;");
        else if (c == '\'')
            cmir_buf_puts(out, "&#39;");
        else
            cmir_buf_add(out, s, n);
        s += n == 0 ? 1 : n;
    }
}

void
cmir_html_png(cmir_buf *out, const void *png, size_t nbytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *bytes = png;

    cmir_buf_puts(out, "data:image/png;base64,");
    for (size_t i = 0; i < nbytes; i += 3) {
        const size_t left = nbytes - i;
        const uint32_t group = (uint32_t)bytes[i] << 16 |
                               (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? bytes[i + 2] : 0u);
        const char quad[4] = {digits[group >> 18], digits[group >> 12 & 63],
                              left > 1 ? digits[group >> 6 & 63] : '=',
                              left > 2 ? digits[group & 63] : '='};

        cmir_buf_add(out, quad, sizeof quad);
    }
}
