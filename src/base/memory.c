/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c: checked sizes, allocation, growing buffers. */
#define _DEFAULT_SOURCE /* madvise */
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmir/status.h>

#define HUGE_NBYTES ((size_t)2 << 20) /* a huge page of most systems */

bool
cmir_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b != 0 && a > UINT64_MAX / b)
        return false;
    *out = a * b;
    return true;
}

void *
cmir_alloc(size_t n, size_t size)
{
    uint64_t nbytes;

    if (!cmir_mul_u64(n, size, &nbytes) || nbytes > PTRDIFF_MAX)
        return NULL;
    return malloc(nbytes == 0 ? 1 : (size_t)nbytes);
}

void *
cmir_alloc_zeroed(size_t n, size_t size)
{
    return calloc(n == 0 ? 1 : n, size == 0 ? 1 : size);
}

/* A scan's voxels in pages of 4 KiB cost more time in page faults than in being read. */
static void
ask_for_huge_pages(void *p, size_t nbytes)
{
#ifdef MADV_HUGEPAGE
    (void)madvise(p, nbytes, MADV_HUGEPAGE); /* advice: without it all is as before */
#else
    (void)p;
    (void)nbytes;
#endif
}

void *
cmir_alloc_aligned(size_t n, size_t size)
{
    uint64_t nbytes;

    if (!cmir_mul_u64(n, size, &nbytes) || nbytes > PTRDIFF_MAX - HUGE_NBYTES)
        return NULL;
    const size_t rounded = nbytes == 0 ? 64 : ((size_t)nbytes + 63) / 64 * 64;
    const bool large = rounded >= 2 * HUGE_NBYTES;
    void *p = NULL;
    if (posix_memalign(&p, large ? HUGE_NBYTES : 64, rounded) != 0)
        return NULL;
    if (large)
        ask_for_huge_pages(p, rounded);
    memset((char *)p + nbytes, 0, rounded - (size_t)nbytes);
    return p;
}

bool
cmir_grow(void **array, size_t *cap, size_t need, size_t size)
{
    size_t want = *cap;

    if (need <= want)
        return true;
    want = want < 8 ? 8 : want + want / 2;
    if (want < need)
        want = need;
    if (want > PTRDIFF_MAX / size)
        return false;
    void *p = realloc(*array, want * size);
    if (p == NULL)
        return false;
    *array = p;
    *cap = want;
    return true;
}

char *
cmir_strdup(const char *s)
{
    if (s == NULL)
        return NULL;
    const size_t n = strlen(s) + 1;
    char *copy = malloc(n);
    if (copy != NULL)
        memcpy(copy, s, n);
    return copy;
}

static void
buf_vprintf(cmir_buf *buf, const char *format, va_list args)
{
    va_list again;

    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    if (n < 0 || buf->failed ||
        !cmir_grow((void **)&buf->data, &buf->cap, buf->nbytes + (size_t)n + 1, 1)) {
        buf->failed = true;
    } else {
        (void)vsnprintf(buf->data + buf->nbytes, (size_t)n + 1, format, again);
        buf->nbytes += (size_t)n;
    }
    va_end(again);
}

char *
cmir_asprintf(const char *format, ...)
{
    cmir_buf buf = {0};
    va_list args;

    va_start(args, format);
    buf_vprintf(&buf, format, args);
    va_end(args);
    if (buf.failed) {
        free(buf.data);
        return NULL;
    }
    return buf.data;
}

void
cmir_buf_add(cmir_buf *buf, const void *data, size_t nbytes)
{
    if (buf->failed || nbytes > PTRDIFF_MAX - buf->nbytes - 1 ||
        !cmir_grow((void **)&buf->data, &buf->cap, buf->nbytes + nbytes + 1, 1)) {
        buf->failed = true;
        return;
    }
    if (nbytes > 0)
        memcpy(buf->data + buf->nbytes, data, nbytes);
    buf->nbytes += nbytes;
    buf->data[buf->nbytes] = '\0';
}

void
cmir_buf_puts(cmir_buf *buf, const char *s)
{
    cmir_buf_add(buf, s, strlen(s));
}

void
cmir_buf_printf(cmir_buf *buf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(buf, format, args);
    va_end(args);
}

void
cmir_free(void *memory)
{
    free(memory);
}
