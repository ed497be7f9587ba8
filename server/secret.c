/* SPDX-License-Identifier: Apache-2.0 */
/* secret.c: cryptography, all of it libsodium's. */
#include <string.h>

#include <sodium.h>

#include "files.h"
#include "secret.h"
#include "text.h"

#define PASSWORD_PASSES 3
#define PASSWORD_MEMORY (64u << 20)

static uint8_t table_key[crypto_generichash_KEYBYTES]; /* written by the first secret_start() */

cmir_status
secret_start(cmir_error *err)
{
    const int state = sodium_init();

    if (state < 0)
        return files_fail(err, CMIR_EIO, "the system's random numbers cannot be had");
    if (state == 0)
        randombytes_buf(table_key, sizeof table_key);
    return CMIR_OK;
}

void
secret_new(char out[SECRET_HEX])
{
    uint8_t bytes[SECRET_NBYTES];

    randombytes_buf(bytes, sizeof bytes);
    text_hex(bytes, sizeof bytes, out);
}

void
secret_hash(const void *data, size_t nbytes, char out[SECRET_HEX])
{
    uint8_t hash[crypto_hash_sha256_BYTES];

    (void)crypto_hash_sha256(hash, data, nbytes);
    text_hex(hash, sizeof hash, out);
}

bool
secret_equal(const char a[SECRET_HEX], const char b[SECRET_HEX])
{
    return sodium_memcmp(a, b, SECRET_HEX) == 0;
}

uint64_t
secret_number(const char *kind, const char *a, const char *b)
{
    uint8_t hash[crypto_generichash_BYTES];
    crypto_generichash_state state;
    uint64_t number;

    (void)crypto_generichash_init(&state, table_key, sizeof table_key, sizeof hash);
    for (int i = 0; i < 3; i++) {
        const char *text = i == 0 ? kind : i == 1 ? a : b;
        (void)crypto_generichash_update(&state, (const uint8_t *)text, strlen(text) + 1);
    }
    (void)crypto_generichash_final(&state, hash, sizeof hash);
    memcpy(&number, hash, sizeof number);
    return number;
}

bool
secret_store_password(const char *password, char out[SECRET_PASSWORD_NBYTES])
{
    return crypto_pwhash_str_alg(out, password, strlen(password), PASSWORD_PASSES, PASSWORD_MEMORY,
                                 crypto_pwhash_ALG_ARGON2ID13) == 0;
}

bool
secret_check_password(const char *stored, const char *password)
{
    return crypto_pwhash_str_verify(stored, password, strlen(password)) == 0;
}

void
secret_wipe(void *data, size_t nbytes)
{
    sodium_memzero(data, nbytes);
}

size_t
secret_base64(const char *text, char *out, size_t cap)
{
    size_t n = 0;

    if (sodium_base642bin((uint8_t *)out, cap, text, strlen(text), " ", &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return SIZE_MAX;
    return n;
}
