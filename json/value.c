/* SPDX-License-Identifier: Apache-2.0 */
/* value.c: JSON that is valid whatever the strings hold. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

void *
cmir_json_need(void *memory)
{
    if (memory == NULL) {
        fputs("cmir: no memory\n", stderr);
        exit(1);
    }
    return memory;
}

size_t
cmir_json_decode(const char *text, uint32_t *code)
{
    const unsigned char *s = (const unsigned char *)text;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t n = s[0] < 0x80   ? 1
                     : s[0] < 0xC0 ? 0
                     : s[0] < 0xE0 ? 2
                     : s[0] < 0xF0 ? 3
                     : s[0] < 0xF8 ? 4
                                   : 0;

    if (n <= 1) {
        *code = s[0];
        return n;
    }
    *code = s[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        *code = *code << 6 | (s[i] & 0x3Fu);
    }
    return *code < least[n] || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000) ? 0 : n;
}

/* jansson refuses invalid UTF-8: bytes that are not part of a character become U+FFFD. */
json_t *
cmir_json_text(const char *text)
{
    json_t *string = json_string(text);

    if (string != NULL)
        return string;
    char *fixed = cmir_json_need(malloc(3 * strlen(text) + 1)), *p = fixed;
    while (*text != '\0') {
        uint32_t code;
        const size_t n = cmir_json_decode(text, &code);
        memcpy(p, n > 0 ? text : "\xEF\xBF\xBD", n > 0 ? n : 3);
        p += n > 0 ? n : 3;
        text += n > 0 ? n : 1;
    }
    *p = '\0';
    string = json_string(fixed);
    free(fixed);
    return cmir_json_need(string);
}

json_t *
cmir_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *
cmir_json_pair(uint32_t a, uint32_t b)
{
    return json_pack("[II]", (json_int_t)a, (json_int_t)b);
}

void
cmir_json_set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, cmir_json_need(value)) != 0)
        cmir_json_need(NULL);
}

void
cmir_json_add(json_t *array, json_t *value)
{
    if (json_array_append_new(array, cmir_json_need(value)) != 0)
        cmir_json_need(NULL);
}
