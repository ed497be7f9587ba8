/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_rows.h: rows of codes, rows of int16 and pairs of them, for test_kernel.c. */
#ifndef CMIR_TESTS_KERNEL_ROWS_H
#define CMIR_TESTS_KERNEL_ROWS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "guarded.h"

enum fill { RANDOM, LOWEST, HIGHEST, OPPOSITE, ZERO, ONE_HOT, EQUAL_ROWS, N_FILLS };

static void
fill_codes(int8_t *codes, uint32_t n, uint32_t dim, enum fill fill, bool is_query)
{
    for (uint32_t i = 0; i < n; i++) {
        int8_t *row = codes + (size_t)i * dim;

        switch (fill) {
        case LOWEST: memset(row, -128, dim); break;
        case HIGHEST: memset(row, 127, dim); break;
        case OPPOSITE: memset(row, is_query ? -128 : 127, dim); break;
        case ZERO: memset(row, 0, dim); break;
        case ONE_HOT:
            memset(row, 0, dim);
            row[rnd() % dim] = (int8_t)(rnd() & 1u ? 127 : -128);
            break;
        case EQUAL_ROWS:
        case RANDOM:
        default:
            for (uint32_t d = 0; d < dim; d++)
                row[d] = (int8_t)(rnd() & 0xFFu);
        }
        if (fill == EQUAL_ROWS && i != 0 && !is_query)
            memcpy(row, codes, dim);
    }
}

/* Rows of norm 2^15 or just under, or, where they may be damaged, longer ones. */
static void
fill_exact(int16_t *rows, uint32_t n, uint32_t dim, bool damaged)
{
    const int16_t flat = (int16_t)fmin(32767.0, floor(32768.0 / sqrt((double)dim)));

    for (uint32_t i = 0; i < n; i++) {
        int16_t *row = rows + (size_t)i * dim;
        const uint32_t kind = rnd() % (damaged ? 6 : 4);

        memset(row, 0, dim * sizeof *row);
        if (kind == 0) /* all of it in one place */
            row[rnd() % dim] = (int16_t)(rnd() & 1u ? 32767 : -32768);
        for (uint32_t d = 0; kind != 0 && d < dim; d++)
            switch (kind) {
            case 1: row[d] = flat; break;
            case 2: row[d] = (int16_t)(d & 1u ? flat : -flat); break;
            case 3: row[d] = (int16_t)((int32_t)(rnd() % (2u * (uint32_t)flat + 1u)) - flat); break;
            case 4: row[d] = 32767; break;
            default: row[d] = (int16_t)(rnd() & 1u ? -32768 : (int32_t)(rnd() & 0x7FFFu)); break;
            }
    }
}

/* Runs that share a candidate row, a query row, either, or neither. */
static void
choose_pairs(uint32_t m, uint32_t n, uint32_t n_pairs, uint32_t *q, uint32_t *r)
{
    const uint32_t kind = rnd() % 4, longest = rnd() % 3 == 0 ? n_pairs : 1 + rnd() % 9;
    uint32_t left = 0, shared = 0;

    for (uint32_t p = 0; p < n_pairs; p++, left--) {
        q[p] = left != 0 && shared == 1 ? q[p - 1] : rnd() % m;
        r[p] = left != 0 && shared == 0 ? r[p - 1] : rnd() % n;
        if (left == 0) {
            left = 1 + rnd() % longest;
            shared = kind == 2 ? rnd() % 2 : kind;
        }
    }
}

#endif
