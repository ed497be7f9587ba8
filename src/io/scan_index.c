/* SPDX-License-Identifier: Apache-2.0 */
/* scan_index.c: open addressing with linear probing, never more than half full; used by scan.c. */
#include "io/scan_index.h"

#include <stdlib.h>

#include "base/memory.h"

uint64_t
cmir_index_hash(const void *data, size_t nbytes)
{
    const unsigned char *p = data;
    uint64_t h = 0xCBF29CE484222325u; /* FNV-1a, mixed at the end */

    for (size_t i = 0; i < nbytes; i++)
        h = (h ^ p[i]) * 0x100000001B3u;
    return h ^ h >> 32;
}

bool
cmir_index_next(const cmir_index *index, uint64_t key, size_t *cursor, uint64_t *value)
{
    const size_t mask = index->cap - 1;

    for (size_t i = *cursor; i < index->cap; i++) {
        const struct cmir_index_slot *slot = &index->slots[((size_t)key + i) & mask];
        if (slot->value == 0)
            return false;
        if (slot->key == key) {
            *cursor = i + 1;
            *value = slot->value - 1;
            return true;
        }
    }
    return false;
}

static void
put(cmir_index *index, uint64_t key, uint64_t stored)
{
    const size_t mask = index->cap - 1;
    size_t i = (size_t)key & mask;

    while (index->slots[i].value != 0)
        i = (i + 1) & mask;
    index->slots[i] = (struct cmir_index_slot){key, stored};
}

bool
cmir_index_add(cmir_index *index, uint64_t key, uint64_t value)
{
    if (index->n + 1 > index->cap / 2) {
        cmir_index larger = {.n = index->n, .cap = index->cap == 0 ? 64 : index->cap * 2};
        larger.slots = cmir_alloc_zeroed(larger.cap, sizeof *larger.slots);
        if (larger.slots == NULL)
            return false;
        for (size_t i = 0; i < index->cap; i++)
            if (index->slots[i].value != 0)
                put(&larger, index->slots[i].key, index->slots[i].value);
        free(index->slots);
        *index = larger;
    }
    put(index, key, value + 1);
    index->n++;
    return true;
}

void
cmir_index_clear(cmir_index *index)
{
    free(index->slots);
    *index = (cmir_index){0};
}
