/* SPDX-License-Identifier: Apache-2.0 */
/* error.c: cmir_error and the names of statuses. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STRINGIFY(x) #x
#define VERSION_STRING(a, b, c) STRINGIFY(a) "." STRINGIFY(b) "." STRINGIFY(c)

const char *
cmir_version(void)
{
    return VERSION_STRING(CMIR_VERSION_MAJOR, CMIR_VERSION_MINOR, CMIR_VERSION_PATCH);
}

const char *
cmir_status_name(cmir_status status)
{
    static const char *const names[] = {
        "CMIR_OK",       "CMIR_EINVAL",       "CMIR_EIO",       "CMIR_ENOMEM",
        "CMIR_ECORRUPT", "CMIR_EUNSUPPORTED", "CMIR_ENOTFOUND", "CMIR_EEXIST",
        "CMIR_ELIMIT",   "CMIR_EBUSY",        "CMIR_EMISMATCH", "CMIR_ECANCELLED",
    };

    if ((size_t)status >= sizeof names / sizeof names[0])
        return "unknown status";
    return names[status];
}

/* Removes a character that the buffer's end cut in two. */
static void
trim_utf8(char *s)
{
    size_t n = strlen(s), back = 0;

    while (back < n && back < 4 && ((unsigned char)s[n - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back == n)
        return;
    const unsigned char lead = (unsigned char)s[n - 1 - back];
    const size_t want = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (back < want)
        s[n - 1 - back] = '\0';
}

cmir_status
cmir_fail(cmir_error *err, cmir_status code, uint32_t line, uint64_t offset, const char *format,
          ...)
{
    va_list args;

    if (err == NULL || err->code != CMIR_OK)
        return code;
    err->code = code;
    err->line = line;
    err->offset = offset;
    va_start(args, format);
    (void)vsnprintf(err->msg, sizeof err->msg, format, args);
    va_end(args);
    for (char *p = err->msg; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            *p = '?';
    trim_utf8(err->msg);
    return code;
}
