/* SPDX-License-Identifier: Apache-2.0 */
/* error.h: filling a cmir_error.
 *
 * FAIL and FAIL_AT fill `err` unless it already holds a cause (the first cause wins) and are the
 * status to return:  return FAIL(err, CMIR_EIO, "%s: %s", path, strerror(errno)); */
#ifndef CMIR_BASE_ERROR_H
#define CMIR_BASE_ERROR_H

#include <cmir/status.h>

#include "base/compiler.h"

#define FAIL_AT(err, code, offset, ...)                                                            \
    cmir_fail((err), (code), (uint32_t)__LINE__, (offset), __VA_ARGS__)
#define FAIL(err, code, ...) FAIL_AT(err, code, UINT64_MAX, __VA_ARGS__)

/* Bytes of untrusted text that are not printable are shown as '?' in the message; it is cut on a
 * UTF-8 character's border. */
CMIR_PRINTF(5, 6)
cmir_status cmir_fail(cmir_error *err, cmir_status code, uint32_t line, uint64_t offset,
                      const char *format, ...);

#endif
