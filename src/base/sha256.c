/* SPDX-License-Identifier: Apache-2.0 */
/* sha256.c: the hash that identifies an encoder's weights; the only file that uses libsodium. */
#include "base/sha256.h"

#include <sodium.h>

void
cmir_sha256(const void *data, size_t nbytes, char hex[CMIR_SHA256_HEX_NBYTES])
{
    unsigned char digest[crypto_hash_sha256_BYTES];

    (void)crypto_hash_sha256(digest, data, nbytes);
    (void)sodium_bin2hex(hex, CMIR_SHA256_HEX_NBYTES, digest, sizeof digest);
}
