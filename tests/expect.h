/* SPDX-License-Identifier: Apache-2.0 */
/* expect.h: calls of the public interface that must succeed, or fail with a given status and words;
 * for the tests that pass `&err`.  Include after <cmocka.h>. */
#ifndef CMIR_TESTS_EXPECT_H
#define CMIR_TESTS_EXPECT_H

#include <stdio.h>
#include <string.h>

#include <cmir/cmir.h>

static cmir_error err;

#define OK(call) assert_ok((call), __LINE__)

static void
assert_ok(cmir_status st, int line)
{
    if (st != CMIR_OK)
        fail_msg("line %d: %s: %s", line, cmir_status_name(st), err.msg);
}

/* `call` fails with `status` and a message that holds `words`. */
#define FAILS(call, status, words) assert_fails((call), (status), (words), __LINE__)

static void
assert_fails(cmir_status st, cmir_status want, const char *words, int line)
{
    if (st != want || err.code != want || strstr(err.msg, words) == NULL)
        fail_msg("line %d: %s instead of %s: %s", line, cmir_status_name(st),
                 cmir_status_name(want), err.msg);
    err = (cmir_error){0};
}

#endif
