/* SPDX-License-Identifier: Apache-2.0 */
/* rank_cases.h: candidates that a test holds itself, in place of the store's snapshots, and made-up
 * ones of every kind.  Included by test_rank*.c. */
#ifndef CMIR_TESTS_RANK_CASES_H
#define CMIR_TESTS_RANK_CASES_H

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rank/rank.h"
#include "store/codes.h"
#include "store/segment.h"

#define UNIT 32767.0

/* What rank asks of the store: records, made by the store's code, in memory. */
struct cmir_snapshot {
    cmir_candidate *candidate;
    uint8_t **record;
    size_t n;
    uint32_t dim;
    int16_t *center;
    bool center_given;
};

size_t
cmir_snapshot_count(const cmir_snapshot *snapshot)
{
    return snapshot->n;
}

const cmir_candidate *
cmir_snapshot_get(const cmir_snapshot *snapshot, size_t index)
{
    return &snapshot->candidate[index];
}

const int16_t *
cmir_snapshot_center(const cmir_snapshot *snapshot)
{
    return snapshot->center;
}

size_t
cmir_snapshot_number(const cmir_snapshot *snapshot, size_t index)
{
    (void)snapshot;
    return index;
}

static inline void *
must_alloc(size_t n, size_t size)
{
    const size_t nbytes = (n * size / 64 + 1) * 64;
    void *p = aligned_alloc(64, nbytes);

    if (p == NULL)
        abort();
    memset(p, 0, nbytes);
    return p;
}

static uint64_t seed = 97;

static inline uint32_t
rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

/* About normal. */
static inline float
noise(void)
{
    float sum = 0;

    for (int i = 0; i < 6; i++)
        sum += (float)(rnd() % 2001) / 1000.0f - 1.0f;
    return sum;
}

static inline uint32_t
padded(uint32_t dim)
{
    return (dim + 63) / 64 * 64;
}

static inline cmir_snapshot
make_snapshot(size_t room, uint32_t dim)
{
    return (cmir_snapshot){.candidate = must_alloc(room, sizeof(cmir_candidate)),
                           .record = must_alloc(room, sizeof(uint8_t *)),
                           .dim = dim,
                           .center = must_alloc(padded(dim), sizeof(int16_t))};
}

/* Adds a volume of n slices; `rows` need not be of unit length, and are afterwards. */
static inline void
add_volume(cmir_snapshot *s, const char *id, float *rows, uint8_t *marks, uint32_t n)
{
    static const uint8_t tag[CMIR_ENCODER_TAG_NBYTES];
    const cmir_embeddings e = {rows, marks, n, s->dim};
    cmir_candidate *c = &s->candidate[s->n];
    cmir_record_claim claim;
    cmir_error err = {0};

    for (uint32_t i = 0; i < n; i++) {
        const double norm = cmir_row_norm(rows + (size_t)i * s->dim, s->dim);

        for (uint32_t d = 0; d < s->dim && fabs(norm - 1) > 1e-6; d++)
            rows[(size_t)i * s->dim + d] = (float)((double)rows[(size_t)i * s->dim + d] / norm);
    }
    c->volume_id = id;
    if (cmir_record_build(&e, tag, s->center, s->center_given, &s->record[s->n], &claim, &err) !=
            CMIR_OK ||
        cmir_record_parse(s->record[s->n], &claim, id, 0, &c->rows, &err) != CMIR_OK) {
        fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    s->center_given = true;
    s->n++;
}

/* The same volume under another id. */
static inline void
add_again(cmir_snapshot *s, const char *id, size_t index)
{
    s->candidate[s->n] = (cmir_candidate){id, s->candidate[index].rows};
    s->record[s->n++] = NULL;
}

static inline void
free_snapshot(cmir_snapshot *s)
{
    for (size_t c = 0; c < s->n; c++)
        free(s->record[c]);
    free(s->record);
    free(s->candidate);
    free(s->center);
}

/* A query, its rows and slice numbers in memory of its own. */
struct query {
    cmir_query query;
    int16_t *rows;
    uint32_t *slice;
};

static inline struct query
make_query(const float *rows, uint32_t m, uint32_t dim)
{
    struct query q = {.rows = must_alloc((size_t)m * padded(dim), sizeof *q.rows),
                      .slice = must_alloc(m, sizeof *q.slice)};

    for (uint32_t i = 0; i < m; i++) {
        const float *row = rows + (size_t)i * dim;

        cmir_row_fix(row, dim, cmir_row_norm(row, dim), padded(dim),
                     q.rows + (size_t)i * padded(dim));
        q.slice[i] = 3 * i + 1;
    }
    q.query = (cmir_query){q.rows, q.slice, m, padded(dim)};
    return q;
}

static inline void
free_query(struct query *q)
{
    free(q->rows);
    free(q->slice);
}

enum kind { RANDOM, CLUSTERS, TIES, WALK, ONE_HOT, N_KINDS };
enum { POOL = 5, MAX_ROWS = 200 };

/* n rows of one volume.  `pool` has POOL rows. */
static inline void
make_rows(enum kind kind, const float *pool, uint32_t n, uint32_t dim, float *rows)
{
    const float *own = pool + (size_t)(rnd() % POOL) * dim;

    for (uint32_t i = 0; i < n; i++) {
        const float *other = pool + (size_t)(rnd() % POOL) * dim;
        const uint32_t hot = rnd() % dim;

        for (uint32_t d = 0; d < dim; d++) {
            float *x = rows + (size_t)i * dim + d;

            switch (kind) {
            case RANDOM: *x = noise(); break;
            case CLUSTERS: *x = other[d] + 0.002f * noise(); break;
            case TIES: *x = other[d]; break;
            case WALK:
                *x = i == 0 ? 3 * own[d] + 0.2f * noise() : x[-(ptrdiff_t)dim] + 0.2f * noise();
                break;
            case ONE_HOT:
            default: *x = d == hot ? (rnd() % 2 == 0 ? 1.0f : -1.0f) : 0.0f; break;
            }
        }
        float *x = rows + (size_t)i * dim;
        if (!(cmir_row_norm(x, dim) > 0))
            x[0] = 1;
    }
}

struct made {
    cmir_snapshot s;
    struct query q;
};

/* An archive and a query of one kind, with duplicates, single slices, air that equals the query,
 * volumes of equal rows; a query row may be the very center of the archive. */
static inline struct made
make_case(enum kind kind, uint32_t dim, uint32_t m, uint32_t n_candidates, uint32_t max_rows)
{
    struct made c = {.s = make_snapshot(n_candidates, dim)};
    float *pool = must_alloc((size_t)POOL * dim, sizeof *pool);
    float *query = must_alloc((size_t)m * dim, sizeof *query);
    float *rows = must_alloc((size_t)max_rows * dim, sizeof *rows);

    make_rows(RANDOM, pool, POOL, dim, pool);
    make_rows(kind, pool, m, dim, query);
    for (uint32_t v = 0; v < n_candidates; v++) {
        uint8_t marks[MAX_ROWS] = {0};
        const uint32_t n = v % 6 == 5 ? 1 : 1 + rnd() % max_rows, what = rnd() % 8;

        if (v > 2 && what == 0) {
            add_again(&c.s, "copy", rnd() % v);
            continue;
        }
        make_rows(kind, pool, n, dim, rows);
        if (what == 1 || v == 0) { /* of equal rows: radius 0, every scale 0 */
            for (uint32_t i = 1; i < n; i++)
                memcpy(rows + (size_t)i * dim, rows, dim * sizeof *rows);
        } else if (what == 2) { /* resembles the query */
            for (uint32_t i = 0; i < n; i++)
                for (uint32_t d = 0; d < dim; d++)
                    rows[(size_t)i * dim + d] = query[(size_t)(i % m) * dim + d] + 0.001f * noise();
        }
        for (uint32_t i = 0; i + 1 < n && what % 2 == 1; i += 3) {
            marks[i] = CMIR_SLICE_AIR; /* would win if it were scored */
            memcpy(rows + (size_t)i * dim, query, dim * sizeof *rows);
        }
        if (v == 0) /* the center is this row */
            memcpy(query, rows + (size_t)(n - 1) * dim, dim * sizeof *rows);
        add_volume(&c.s, "v", rows, marks, n);
    }
    c.q = make_query(query, m, dim);
    free(pool);
    free(query);
    free(rows);
    return c;
}

static inline void
free_case(struct made *c)
{
    free_snapshot(&c->s);
    free_query(&c->q);
}

#endif
