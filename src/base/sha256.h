/* SPDX-License-Identifier: Apache-2.0 */
/* sha256.h: the hash that identifies an encoder's weights. */
#ifndef CMIR_BASE_SHA256_H
#define CMIR_BASE_SHA256_H

#include <stddef.h>

#define CMIR_SHA256_HEX_NBYTES 65u /* 64 lower-case hex digits and NUL */

void cmir_sha256(const void *data, size_t nbytes, char hex[CMIR_SHA256_HEX_NBYTES]);

#endif
