/* SPDX-License-Identifier: Apache-2.0 */
/* ordered.c: late interaction in which slices keep their order.  Called by rank.c and the engine.
 *
 * The one idea: anatomy has an order, so matches of a true hit lie along a line.  Of all lines from
 * query rows to candidate rows, in either direction, with slopes near the ratio of the spacings, the
 * one of the highest mean similarity is taken; near it, the best assignment that never turns back.
 *
 * Lines.  With slope b and place a, query row i of m falls on candidate row
 *
 *     a + k_i  (up)  or  a - k_i  (down),   k_i = floor(b (2 i - m + 1) / 2 + 1/2),
 *
 * and on an end row where that lies beyond it; a, where the middle of the query falls, is a row of
 * the candidate.  All places of one slope are summed at once: the products of a query row, shifted
 * by k_i, are added to those of the rows before.  So only a few rows of products are held.
 *
 * Alignment.  For each query row a candidate row in a band around the line (the end row where the
 * whole band lies beyond it), none before that of the row before; of all such assignments the one
 * whose products have the largest sum, by dynamic programming.
 *
 * Products and their sums are integers, so every CPU finds the same line and the same rows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "rank/match.h"
#include "rank/scores.h"
#include "store/codes.h"

/* Slopes are powers of 2^(1/8), apart by less than what the band makes up for. */
enum { STEPS = 8, REACH_KNOWN = STEPS / 2, REACH_UNKNOWN = 2 * STEPS, MAX_SLOPES = 4 * STEPS + 1 };
static const double steps[STEPS] = {1.0,
                                    1.0905077326652577,
                                    1.189207115002721,
                                    1.2968395546510096,
                                    1.4142135623730951,
                                    1.5422108254079407,
                                    1.681792830507429,
                                    1.8340080864093424};

#define MAX_RATIO 64.0 /* of spacings that can be believed */
#define BAND_PART 16.0 /* half of the band, as a part of the length of the line */
#define BAND_LEAST 1.0

_Static_assert(CMIR_MAX_SLICES <= 1u << 16, "numbers of rows in 16 bits");

enum { AT_ONCE = 4 }; /* query rows: their sums are read and written once */

/* Two volumes to compare, and what their spacings allow. */
struct pair {
    const cmir_kernels *kernels;
    const cmir_query *query;
    const cmir_rows *rows;
    double slope[MAX_SLOPES]; /* nearest to the ratio of the spacings first */
    uint32_t n_slopes;
    int dropped_bits; /* of products, so that sums of m of them fit in int32 */
};

struct line {
    bool down;
    double slope;
    int32_t place;
};

/* What one thread needs for candidates of at most n rows. */
struct ordered_scratch {
    uint32_t *every, *none; /* [n] 0, 1, 2, ...; [n] zeros */
    int32_t *products; /* [n] */
    int32_t *padded; /* [AT_ONCE][3 n] rows of products, their ends repeated on both sides */
    int32_t *sums; /* [2][n_slopes][n] of lines by place, up, then down; n of the candidate */
    int64_t *best; /* [n] */
    void *memory;
};

static struct pair
make_pair(const cmir_kernels *kernels, const cmir_query *query, const cmir_rows *rows, double ratio)
{
    const bool known = ratio > 0 && isfinite(ratio);
    const double middle = known ? fmin(fmax(ratio, 1 / MAX_RATIO), MAX_RATIO) : 1.0;
    const int reach = known ? REACH_KNOWN : REACH_UNKNOWN;
    struct pair pair = {.kernels = kernels, .query = query, .rows = rows};

    while (1u << pair.dropped_bits < query->n_rows) /* a product is at most 2^30 */
        pair.dropped_bits++;
    for (int away = 0; away <= reach; away++)
        for (int sign = 1; sign >= -1 && (away > 0 || sign > 0); sign -= 2) {
            const int step = sign * away + REACH_UNKNOWN; /* of 2^(-2), not below 0 */

            pair.slope[pair.n_slopes++] =
                middle * ldexp(steps[step % STEPS], step / STEPS - REACH_UNKNOWN / STEPS);
        }
    return pair;
}

/* k_i; below 2^22 in magnitude. */
static int32_t
offset_of(double slope, uint32_t i, uint32_t m)
{
    return (int32_t)floor(slope * 0.5 * (2.0 * i - m + 1.0) + 0.5);
}

/* The products of query row i with candidate rows first .. first + n - 1. */
static void
multiply(const struct pair *pair, uint32_t i, uint32_t first, uint32_t n, struct ordered_scratch *s)
{
    const cmir_query *q = pair->query;

    pair->kernels->dots_exact(pair->rows->exact, q->rows + (size_t)i * q->padded_dim, q->padded_dim,
                              s->every + first, s->none, n, s->products);
}

/* The products of query row i, without their last bits, between n of its first and n of its last;
 * zeros where there is no such row. */
static void
pad_row(const struct pair *pair, uint32_t i, struct ordered_scratch *s, int32_t *padded)
{
    const uint32_t n = pair->rows->n_scored;

    if (i >= pair->query->n_rows) {
        memset(padded, 0, (size_t)3 * n * sizeof *padded);
        return;
    }
    multiply(pair, i, 0, n, s);
    for (uint32_t j = 0; j < n; j++)
        padded[n + j] = s->products[j] >> pair->dropped_bits;
    for (uint32_t j = 0; j < n; j++) {
        padded[j] = padded[n];
        padded[2 * n + j] = padded[2 * n - 1];
    }
}

static void
add(const int32_t *const row[AT_ONCE], uint32_t n, int32_t *restrict sum)
{
    const int32_t *restrict a = row[0], *restrict b = row[1];
    const int32_t *restrict c = row[2], *restrict d = row[3];

    for (uint32_t j = 0; j < n; j++)
        sum[j] += a[j] + b[j] + c[j] + d[j];
}

/* Adds query rows i .. i + AT_ONCE - 1 to the sums of all lines. */
static void
add_rows(const struct pair *pair, uint32_t i, struct ordered_scratch *s)
{
    const uint32_t n = pair->rows->n_scored;
    const int32_t far = (int32_t)n;

    for (uint32_t r = 0; r < AT_ONCE; r++)
        pad_row(pair, i + r, s, s->padded + (size_t)r * 3 * n);
    for (uint32_t k = 0; k < pair->n_slopes; k++) {
        const int32_t *up[AT_ONCE], *down[AT_ONCE];

        for (uint32_t r = 0; r < AT_ONCE; r++) {
            const int32_t offset = offset_of(pair->slope[k], i + r, pair->query->n_rows);
            const int32_t shift = offset > far ? far : offset < -far ? -far : offset;

            up[r] = s->padded + (size_t)r * 3 * n + n + shift;
            down[r] = s->padded + (size_t)r * 3 * n + n - shift;
        }
        add(up, n, s->sums + (size_t)k * n);
        add(down, n, s->sums + (size_t)(pair->n_slopes + k) * n);
    }
}

/* The line of the largest sum.  Equal ones: up first, then the slope that is listed first, then the
 * lowest place. */
static struct line
find_line(const struct pair *pair, struct ordered_scratch *s)
{
    const uint32_t n = pair->rows->n_scored;
    struct line line = {false, pair->slope[0], 0};
    int32_t most = INT32_MIN;

    memset(s->sums, 0, (size_t)2 * pair->n_slopes * n * sizeof *s->sums);
    for (uint32_t i = 0; i < pair->query->n_rows; i += AT_ONCE)
        add_rows(pair, i, s);
    for (uint32_t down = 0; down < 2; down++)
        for (uint32_t k = 0; k < pair->n_slopes; k++)
            for (uint32_t a = 0; a < n; a++) {
                const int32_t sum = s->sums[(size_t)(down * pair->n_slopes + k) * n + a];

                if (sum > most) {
                    most = sum;
                    line = (struct line){down != 0, pair->slope[k], (int32_t)a};
                }
            }
    return line;
}

/* Half of the band, in candidate rows. */
static int32_t
band_of(const struct line *line, uint32_t m)
{
    return (int32_t)fmax(BAND_LEAST, ceil(line->slope * m / BAND_PART));
}

/* The query row that is the t-th on the way up the candidate. */
static uint32_t
row_at(const struct line *line, uint32_t m, uint32_t t)
{
    return line->down ? m - 1 - t : t;
}

/* The candidate rows that it may take. */
static void
window_at(const struct pair *pair, const struct line *line, uint32_t t, uint32_t *first,
          uint32_t *last)
{
    const uint32_t m = pair->query->n_rows;
    const int32_t band = band_of(line, m), end = (int32_t)pair->rows->n_scored - 1;
    const int32_t offset = offset_of(line->slope, row_at(line, m, t), m);
    const int32_t middle = line->place + (line->down ? -offset : offset);
    const int32_t low = middle - band, high = middle + band;

    *first = (uint32_t)(low < 0 ? 0 : low > end ? end : low);
    *last = (uint32_t)(high < 0 ? 0 : high > end ? end : high);
}

/* The most rows of a window. */
static uint32_t
window_size(const struct pair *pair, const struct line *line)
{
    const uint32_t size = 2 * (uint32_t)band_of(line, pair->query->n_rows) + 1;

    return size < pair->rows->n_scored ? size : pair->rows->n_scored;
}

/* The largest sum of products.  `taken`, unless NULL ([m][window_size()]), gets for the t-th query
 * row and every row of its window the best one up to there, the lowest of equals. */
static int64_t
align(const struct pair *pair, const struct line *line, struct ordered_scratch *s, uint16_t *taken)
{
    const uint32_t m = pair->query->n_rows, size = taken == NULL ? 0 : window_size(pair, line);
    uint32_t first, last = 0;

    s->best[0] = 0;
    for (uint32_t t = 0; t < m; t++) {
        const uint32_t before = last;
        const int64_t most_before = s->best[before]; /* of the whole window */
        int64_t most = INT64_MIN;
        uint32_t most_row = 0;

        window_at(pair, line, t, &first, &last);
        multiply(pair, row_at(line, m, t), first, last - first + 1, s);
        for (uint32_t j = first; j <= last; j++) {
            const int64_t sum =
                (t > 0 && j < before ? s->best[j] : most_before) + s->products[j - first];

            if (sum > most) {
                most = sum;
                most_row = j;
            }
            s->best[j] = most;
            if (taken != NULL)
                taken[(size_t)t * size + j - first] = (uint16_t)most_row;
        }
    }
    return s->best[last];
}

static void
free_scratch(struct ordered_scratch *scratch, uint32_t n)
{
    for (uint32_t i = 0; scratch != NULL && i < n; i++)
        free(scratch[i].memory);
    free(scratch);
}

/* One for each thread. */
static struct ordered_scratch *
make_scratch(uint32_t n_rows_max, uint32_t n_threads)
{
    const size_t n = ((size_t)n_rows_max + 15) / 16 * 16; /* parts begin at 64 bytes */
    const size_t n_sums = (size_t)2 * MAX_SLOPES * n;
    struct ordered_scratch *scratch = cmir_alloc_zeroed(n_threads, sizeof *scratch);

    for (uint32_t k = 0; scratch != NULL && k < n_threads; k++) {
        struct ordered_scratch *s = &scratch[k];

        s->memory = cmir_alloc_aligned(
            n * sizeof *s->best + ((3 + 3 * AT_ONCE) * n + n_sums) * sizeof(int32_t), 1);
        if (s->memory == NULL) {
            free_scratch(scratch, n_threads);
            return NULL;
        }
        s->best = s->memory;
        s->every = (uint32_t *)(s->best + n);
        s->none = s->every + n;
        s->products = (int32_t *)(s->none + n);
        s->padded = s->products + n;
        s->sums = s->padded + 3 * AT_ONCE * n;
        for (uint32_t i = 0; i < n_rows_max; i++) {
            s->every[i] = i;
            s->none[i] = 0;
        }
    }
    return scratch;
}

struct ordered_job {
    const cmir_prepared *p;
    const cmir_snapshot *snapshot;
    const double *ratio; /* or NULL */
    struct ordered_scratch *scratch; /* one per thread */
};

static double
score_ordered(void *ctx, uint32_t thread, size_t candidate)
{
    const struct ordered_job *job = ctx;
    const struct pair pair = make_pair(&job->p->kernels, job->p->query,
                                       &cmir_snapshot_get(job->snapshot, candidate)->rows,
                                       job->ratio == NULL ? 0 : job->ratio[candidate]);
    const struct line line = find_line(&pair, &job->scratch[thread]);

    return (double)align(&pair, &line, &job->scratch[thread], NULL) /
           ((double)pair.query->n_rows * CMIR_UNIT * CMIR_UNIT);
}

cmir_status
cmir_rank_ordered(const cmir_prepared *p, const cmir_snapshot *snapshot, const double *ratio,
                  uint32_t n_threads, cmir_scores *scores, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(snapshot);
    struct ordered_job job = {.p = p, .snapshot = snapshot, .ratio = ratio};
    uint32_t n_rows_max = 1;

    for (size_t c = 0; c < n; c++) {
        const uint32_t n_rows = cmir_snapshot_get(snapshot, c)->rows.n_scored;

        n_rows_max = n_rows > n_rows_max ? n_rows : n_rows_max;
    }
    if ((job.scratch = make_scratch(n_rows_max, n_threads)) == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to align volumes of %u slices", n_rows_max);
    cmir_score_each(score_ordered, &job, n, n_threads, scores->score);
    free_scratch(job.scratch, n_threads);
    return CMIR_OK;
}

/* The rows of the best alignment, from its end, and their products. */
static void
trace(const struct pair *pair, const struct line *line, const uint16_t *taken, cmir_match *out)
{
    const uint32_t m = pair->query->n_rows, size = window_size(pair, line);
    const cmir_query *q = pair->query;
    uint32_t row = UINT32_MAX, first, last;

    for (uint32_t t = m; t-- > 0;) {
        const uint32_t i = row_at(line, m, t);
        int32_t product;

        window_at(pair, line, t, &first, &last);
        row = taken[(size_t)t * size + (row < last ? row : last) - first];
        pair->kernels->dots_exact(q->rows, pair->rows->exact, q->padded_dim, &i, &row, 1, &product);
        out[i] = (cmir_match){q->slice[i], pair->rows->slice[row],
                              (float)(product / ((double)CMIR_UNIT * CMIR_UNIT))};
    }
}

static cmir_status
match_pair(const struct pair *pair, struct ordered_scratch *s, cmir_match *out, cmir_error *err)
{
    const struct line line = find_line(pair, s);
    const size_t size = window_size(pair, &line), m = pair->query->n_rows;
    uint16_t *taken = cmir_alloc(m * size, sizeof *taken);

    if (taken == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to align %zu slices with %u", m,
                    pair->rows->n_scored);
    (void)align(pair, &line, s, taken);
    trace(pair, &line, taken, out);
    free(taken);
    return CMIR_OK;
}

cmir_status
cmir_match_ordered(const cmir_query *query, const cmir_rows *const *rows, const double *ratio,
                   size_t n, unsigned cpu_flags, cmir_match *out, cmir_error *err)
{
    struct ordered_scratch *scratch = NULL;
    cmir_kernels kernels;
    uint32_t n_rows_max = 1;
    cmir_status st = cmir_query_check(query, err);

    cmir_kernels_init(&kernels, cpu_flags);
    for (size_t c = 0; c < n && st == CMIR_OK; c++) {
        st = cmir_match_check(query, rows[c], err);
        n_rows_max = rows[c]->n_scored > n_rows_max ? rows[c]->n_scored : n_rows_max;
    }
    if (st == CMIR_OK && (scratch = make_scratch(n_rows_max, 1)) == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory to align volumes of %u slices", n_rows_max);
    for (size_t c = 0; c < n && st == CMIR_OK; c++) {
        const struct pair pair = make_pair(&kernels, query, rows[c], ratio[c]);

        st = match_pair(&pair, scratch, out + c * query->n_rows, err);
    }
    free_scratch(scratch, 1);
    return st;
}
