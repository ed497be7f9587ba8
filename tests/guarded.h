/* SPDX-License-Identifier: Apache-2.0 */
/* guarded.h: buffers between unmapped pages, and the random numbers that fill them.  For one test
 * program, which defines _DEFAULT_SOURCE first. */
#ifndef CMIR_TESTS_GUARDED_H
#define CMIR_TESTS_GUARDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNTOUCHED 0xA5

static uint64_t state;

static uint32_t
rnd(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static float
rnd_float(void) /* 0..1 */
{
    return (float)(rnd() >> 7) / 16777216.0f;
}

struct arena {
    uint8_t *inner; /* the part that is mapped */
    size_t inner_nbytes;
    uint8_t *data; /* what place() gave last */
    size_t nbytes;
};

static void
map(struct arena *a, size_t nbytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *all;

    a->inner_nbytes = (nbytes + page - 1) / page * page;
    all = mmap(NULL, a->inner_nbytes + 2 * page, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all, page, PROT_NONE) != 0 ||
        mprotect(all + page + a->inner_nbytes, page, PROT_NONE) != 0) {
        perror("guarded.h: mmap");
        exit(2);
    }
    a->inner = all + page;
}

/* nbytes that touch the unmapped page before or behind; they, and up to 64 bytes on the other side,
 * get a pattern. */
static void *
place(struct arena *a, size_t nbytes)
{
    const size_t rest = a->inner_nbytes - nbytes, around = rest < 64 ? rest : 64;
    const bool at_end = rnd() & 1u;

    a->nbytes = nbytes;
    a->data = a->inner + (at_end ? rest : 0);
    memset(a->data - (at_end ? around : 0), UNTOUCHED, nbytes + around);
    return a->data;
}

static bool
is_untouched(const struct arena *a)
{
    const bool at_end = a->data != a->inner;
    const size_t rest = a->inner_nbytes - a->nbytes, around = rest < 64 ? rest : 64;
    const uint8_t *other = at_end ? a->data - around : a->data + a->nbytes;

    for (size_t i = 0; i < around; i++)
        if (other[i] != UNTOUCHED)
            return false;
    return true;
}

#endif
