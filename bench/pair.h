/* SPDX-License-Identifier: Apache-2.0 */
/* pair.h: one pair of volumes (query, candidate), timed and checked the same way for everybody.
 *
 * Used by the programs that time MaxSim on two .npy files, ours and the peers'.  Each prints one JSON
 * line per case with print_case().  Useful work is 2 * m * n * dim operations; padding is not counted. */
#ifndef CMIR_BENCH_PAIR_H
#define CMIR_BENCH_PAIR_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIMED_SECONDS 0.5
#define MAX_SAMPLES 10000

struct matrix {
    float *x; /* [n][dim], 64-byte aligned */
    uint32_t n, dim;
};

/* The pair and, in float64, what every query slice should find. */
struct pair {
    struct matrix query, candidate;
    double *best;  /* [m] largest similarity */
    uint32_t *row; /* [m] where it is, the lowest of equals */
};

struct timing {
    double median_us, mad_us;
};

/* Against float64, over the query slices. */
struct accuracy {
    double max_error;  /* largest |similarity found - true maximum| */
    double mean_error; /* mean similarity found - mean of true maxima */
    long wrong; /* slices whose candidate slice is not (as good as) the best; -1: not told */
};

static inline void
die(const char *path, const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", path, what);
    exit(1);
}

static inline void *
must_alloc(size_t nbytes)
{
    void *p = aligned_alloc(64, (nbytes + 127) / 64 * 64);

    if (p == NULL)
        die("bench", "no memory");
    return p;
}

/* A two-dimensional .npy file of float32 in C order. */
static inline struct matrix
matrix_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    unsigned char start[10];
    char header[65536];
    struct matrix a;

    if (f == NULL || fread(start, 1, 10, f) != 10 || memcmp(start, "\x93NUMPY\x01", 7) != 0)
        die(path, "not a .npy file of version 1");
    const size_t n_header = start[8] | (size_t)start[9] << 8;
    if (fread(header, 1, n_header, f) != n_header)
        die(path, "cut short");
    header[n_header] = '\0';
    const char *shape = strstr(header, "'shape': (");
    if (strstr(header, "'<f4'") == NULL || strstr(header, "'fortran_order': False") == NULL ||
        shape == NULL || sscanf(shape, "'shape': (%u, %u)", &a.n, &a.dim) != 2)
        die(path, "wanted two dimensions of float32 in C order");
    a.x = must_alloc((size_t)a.n * a.dim * sizeof *a.x);
    if (fread(a.x, sizeof *a.x * a.dim, a.n, f) != a.n)
        die(path, "cut short");
    (void)fclose(f);
    return a;
}

static inline double
similarity(const struct pair *p, uint32_t i, uint32_t j)
{
    const float *a = p->query.x + (size_t)i * p->query.dim;
    const float *b = p->candidate.x + (size_t)j * p->query.dim;
    double sum = 0.0;

    for (uint32_t k = 0; k < p->query.dim; k++)
        sum += (double)a[k] * (double)b[k];
    return sum;
}

static inline struct pair
pair_read(const char *query, const char *candidate)
{
    struct pair p = {.query = matrix_read(query), .candidate = matrix_read(candidate)};

    if (p.query.dim != p.candidate.dim)
        die(candidate, "its dim is not the query's");
    p.best = must_alloc(p.query.n * sizeof *p.best);
    p.row = must_alloc(p.query.n * sizeof *p.row);
    for (uint32_t i = 0; i < p.query.n; i++) {
        p.best[i] = -INFINITY;
        for (uint32_t j = 0; j < p.candidate.n; j++) {
            const double s = similarity(&p, i, j);
            if (s > p.best[i]) {
                p.best[i] = s;
                p.row[i] = j;
            }
        }
    }
    return p;
}

/* What one query slice was told; add them up in order of i. */
static inline void
accuracy_add(struct accuracy *a, const struct pair *p, uint32_t i, double found)
{
    a->max_error = fmax(a->max_error, fabs(found - p->best[i]));
    a->mean_error += (found - p->best[i]) / p->query.n;
}

static inline int
compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static inline double
now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

/* Calls until TIMED_SECONDS have gone by, after a tenth of that to warm up. */
static inline struct timing
time_calls(void (*call)(void *), void *context)
{
    static double us[MAX_SAMPLES];
    const double start = now_us();
    struct timing t;
    size_t n = 0;

    while (now_us() < start + 1e5 * TIMED_SECONDS)
        call(context);
    for (double at = now_us(); n < MAX_SAMPLES && (n < 5 || at < start + 1.1e6 * TIMED_SECONDS);) {
        call(context);
        const double end = now_us();
        us[n++] = end - at;
        at = end;
    }
    qsort(us, n, sizeof us[0], compare_doubles);
    t.median_us = us[n / 2];
    for (size_t i = 0; i < n; i++)
        us[i] = fabs(us[i] - t.median_us);
    qsort(us, n, sizeof us[0], compare_doubles);
    t.mad_us = us[n / 2];
    return t;
}

static inline void
print_case(const char *peer, const char *isa, const struct pair *p, struct timing t,
           struct accuracy a)
{
    char wrong[32] = "null";

    if (a.wrong >= 0)
        (void)snprintf(wrong, sizeof wrong, "%ld", a.wrong);
    printf("{\"peer\": \"%s\", \"isa\": \"%s\", \"m\": %u, \"n\": %u, \"dim\": %u, "
           "\"median_us\": %.2f, \"mad_us\": %.2f, \"gops\": %.1f, "
           "\"max_similarity_error_vs_float64\": %.3g, \"mean_similarity_error\": %.3g, "
           "\"wrong_argmax\": %s}\n",
           peer, isa, p->query.n, p->candidate.n, p->query.dim, t.median_us, t.mad_us,
           2e-3 * p->query.n * p->candidate.n * p->query.dim / t.median_us, a.max_error,
           a.mean_error, wrong);
    (void)fflush(stdout);
}

#endif
