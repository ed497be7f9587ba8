/* SPDX-License-Identifier: Apache-2.0 */
/* scan_index.h: a hash index from 64-bit keys to numbers, for a scan's files and series. */
#ifndef CMIR_IO_SCAN_INDEX_H
#define CMIR_IO_SCAN_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Several values may share a key: the caller compares what they stand for.  Zero-initialise. */
typedef struct cmir_index {
    struct cmir_index_slot {
        uint64_t key;
        uint64_t value; /* + 1; 0: free */
    } *slots;
    size_t n, cap; /* cap is 0 or a power of two */
} cmir_index;

uint64_t cmir_index_hash(const void *data, size_t nbytes);

/* The next value of `key`; start with *cursor = 0.  False after the last. */
bool cmir_index_next(const cmir_index *index, uint64_t key, size_t *cursor, uint64_t *value);

/* False where memory runs out. */
bool cmir_index_add(cmir_index *index, uint64_t key, uint64_t value);

void cmir_index_clear(cmir_index *index);

#endif
