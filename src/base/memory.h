/* SPDX-License-Identifier: Apache-2.0 */
/* memory.h: checked sizes and the few shapes of allocation that everybody needs. */
#ifndef CMIR_BASE_MEMORY_H
#define CMIR_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* *out = a * b; false (and *out untouched) on overflow. */
bool cmir_mul_u64(uint64_t a, uint64_t b, uint64_t *out);

/* malloc / calloc of n items of `size` bytes; NULL on overflow or where memory runs out, and never
 * NULL merely because n is 0. */
void *cmir_alloc(size_t n, size_t size);
void *cmir_alloc_zeroed(size_t n, size_t size);

/* The same, 64-byte aligned, its length rounded up to 64 bytes and the rest zeroed; free().  Large
 * ones lie in huge pages where the system has them. */
void *cmir_alloc_aligned(size_t n, size_t size);

/* Grows *array (items of `size` bytes, *cap of them) to hold at least `need`; amortised.  False
 * (and *array untouched) where memory runs out. */
bool cmir_grow(void **array, size_t *cap, size_t need, size_t size);

char *cmir_strdup(const char *s);                    /* NULL in, NULL out */
CMIR_PRINTF(1, 2) char *cmir_asprintf(const char *format, ...); /* NULL where memory runs out */

/* A growing byte buffer.  Zero-initialise; free `data`.  `failed` stays true once memory ran out,
 * so that callers check once, at the end. */
typedef struct cmir_buf {
    char *data; /* NUL-terminated after every call, not counted in nbytes; NULL while empty */
    size_t nbytes, cap;
    bool failed;
} cmir_buf;
void cmir_buf_add(cmir_buf *buf, const void *data, size_t nbytes);
void cmir_buf_puts(cmir_buf *buf, const char *s);
CMIR_PRINTF(2, 3) void cmir_buf_printf(cmir_buf *buf, const char *format, ...);

#endif
