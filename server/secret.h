/* SPDX-License-Identifier: Apache-2.0 */
/* secret.h: the little cryptography that the service needs: random numbers, SHA-256, passwords. */
#ifndef CMIR_SERVER_SECRET_H
#define CMIR_SERVER_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/cmir.h>

#define SECRET_NBYTES 32 /* of a token, a session, a hash */
#define SECRET_HEX (2 * SECRET_NBYTES + 1)
#define SECRET_PASSWORD_NBYTES 128 /* of a stored password */

cmir_status secret_start(cmir_error *err); /* before anything else; any number of times */
void secret_new(char out[SECRET_HEX]);     /* 256 random bits in hex */
void secret_hash(const void *data, size_t nbytes, char out[SECRET_HEX]); /* SHA-256 in hex */
/* In a time that does not depend on where they differ. */
bool secret_equal(const char a[SECRET_HEX], const char b[SECRET_HEX]);

/* A number for a table: of three strings, by a key that is new with every start. */
uint64_t secret_number(const char *kind, const char *a, const char *b);

/* argon2id, 64 MiB, 3 passes, salted.  False where memory ran out. */
bool secret_store_password(const char *password, char out[SECRET_PASSWORD_NBYTES]);
bool secret_check_password(const char *stored, const char *password);
void secret_wipe(void *data, size_t nbytes);

/* Undoes base64 (of Basic authorization); the length, or SIZE_MAX where it is none or too long. */
size_t secret_base64(const char *text, char *out, size_t cap);

#endif
