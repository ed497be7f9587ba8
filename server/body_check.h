/* SPDX-License-Identifier: Apache-2.0 */
/* body_check.h: a JSON asked, key by key.  Each returns false where something is wrong, and the request
 * has been answered with 400. */
#ifndef CMIR_SERVER_BODY_CHECK_H
#define CMIR_SERVER_BODY_CHECK_H

#include "http.h"

/* No others than these (NULL-terminated). */
bool check_keys(request *r, const json_t *asked, const char *const *known);
/* A text of `least` to `most` bytes; where least is 0 it may be absent. */
bool check_text(request *r, const json_t *asked, const char *key, size_t least, size_t most);
/* [first, last] of slices; may be absent or null. */
bool check_range(request *r, const json_t *asked, const char *key);

#endif
