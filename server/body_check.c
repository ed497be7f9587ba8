/* SPDX-License-Identifier: Apache-2.0 */
/* body_check.c: see body_check.h. */
#include <string.h>

#include "body_check.h"

bool
check_keys(request *r, const json_t *asked, const char *const *known)
{
    const char *key;
    const json_t *value;

    json_object_foreach((json_t *)(uintptr_t)asked, key, value)
    {
        size_t i = 0;
        while (known[i] != NULL && strcmp(key, known[i]) != 0)
            i++;
        if (known[i] == NULL) {
            reply_error(r, 400, "unknown key \"%.60s\"", key);
            return false;
        }
    }
    return true;
}

bool
check_text(request *r, const json_t *asked, const char *key, size_t least, size_t most)
{
    const json_t *value = json_object_get(asked, key);
    const size_t n = json_string_length(value);

    if (value == NULL && least == 0)
        return true;
    if (json_is_string(value) && n >= least && n <= most)
        return true;
    reply_error(r, 400, "%s: a text of %zu to %zu bytes is wanted", key, least, most);
    return false;
}

bool
check_range(request *r, const json_t *asked, const char *key)
{
    const json_t *value = json_object_get(asked, key), *first = json_array_get(value, 0),
                 *last = json_array_get(value, 1);

    if (value == NULL || json_is_null(value))
        return true;
    if (json_array_size(value) == 2 && json_is_integer(first) && json_is_integer(last) &&
        json_integer_value(first) >= 0 && json_integer_value(first) <= json_integer_value(last) &&
        json_integer_value(last) < CMIR_MAX_SLICES)
        return true;
    reply_error(r, 400, "%s: [first, last] is wanted, slice numbers from 0", key);
    return false;
}
