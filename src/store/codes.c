/* SPDX-License-Identifier: Apache-2.0 */
/* codes.c: rows in fixed point, and their int8 codes.  Called by planes.c and rank.
 *
 * Exactness: a difference of two rows is below 2^16 in fixed point, sums of 64 of them below 2^22,
 * so the whole rotation is exact in single precision, on every machine. */
#include "store/codes.h"

#include <math.h>
#include <string.h>

#include <cmir/encoder.h>

#define NORM_TOLERANCE 1e-3 /* of embeddings handed in */
#define LARGEST_CODE 127.0f
enum { LANES = 8 }; /* sums side by side: what compilers make vector code of */
#define ROUND_UP 1.000001 /* norms are upper bounds: more than what rounding to float takes away */

/* To the nearest integer, ties to even, for |x| < 2^22; unlike rintf() never a call. */
static inline float
round_to_even(float x)
{
    const float shift = 0x1.8p23f;

    return (x + shift) - shift;
}

static double
sum_up(const double part[LANES])
{
    double sum = 0;

    for (uint32_t i = 0; i < LANES; i++)
        sum += part[i];
    return sum;
}

double
cmir_row_norm(const float *row, uint32_t dim)
{
    double part[LANES] = {0};
    uint32_t d = 0;

    for (; d + LANES <= dim; d += LANES)
        for (uint32_t i = 0; i < LANES; i++)
            part[i] += (double)row[d + i] * (double)row[d + i];
    for (; d < dim; d++)
        part[0] += (double)row[d] * (double)row[d];
    return sqrt(sum_up(part));
}

bool
cmir_norm_is_unit(double norm)
{
    return fabs(norm - 1) <= NORM_TOLERANCE;
}

void
cmir_row_fix(const float *row, uint32_t dim, double norm, uint32_t padded_dim, int16_t *out)
{
    const double factor = CMIR_UNIT / norm, shift = 0x1.8p52;

    for (uint32_t d = 0; d < dim; d++) {
        const double x =
            ((double)row[d] * factor + shift) - shift; /* to the nearest, ties to even */

        out[d] = (int16_t)(x > CMIR_UNIT ? CMIR_UNIT : x < -CMIR_UNIT ? -CMIR_UNIT : x);
    }
    memset(out + dim, 0, (padded_dim - dim) * sizeof *out);
}

/* The Hadamard transform of 64 rows of `width` elements, without its factor of 1/8. */
static void
rotate(float *x, uint32_t width)
{
    for (uint32_t half = 1; half < 64; half *= 2)
        for (uint32_t i = 0; i < 64; i += 2 * half)
            for (uint32_t j = i * width; j < (i + half) * width; j++) {
                const float a = x[j], b = x[j + half * width];

                x[j] = a + b;
                x[j + half * width] = a - b;
            }
}

/* The codes of x, and their sum. */
static int32_t
round_codes(const float *x, uint32_t n, float per_code, int8_t *codes)
{
    int32_t sum = 0;

    for (uint32_t d = 0; d < n; d++) {
        const int32_t code = (int32_t)round_to_even(x[d] * per_code);

        codes[d] = (int8_t)code;
        sum += code;
    }
    return sum;
}

cmir_coded
cmir_row_code(const int16_t *row, const int16_t *center, uint32_t padded_dim, int8_t *codes)
{
    const double unit = 1.0 / (8.0 * CMIR_UNIT);
    double square[LANES] = {0}, left[LANES] = {0};
    float x[CMIR_MAX_DIM], largest = 0;
    cmir_coded out = {0};

    for (uint32_t d = 0; d < padded_dim; d++)
        x[d] = (float)(row[d] - center[d]);
    rotate(x, padded_dim / 64);
    for (uint32_t d = 0; d < padded_dim; d++) {
        const float size = fabsf(x[d]);

        largest = size > largest ? size : largest;
    }
    if (!(largest > 0)) {
        memset(codes, 0, padded_dim);
        return out;
    }
    out.sum = round_codes(x, padded_dim, LARGEST_CODE / largest, codes);
    out.scale = largest / (8.0f * LARGEST_CODE * CMIR_UNIT);
    for (uint32_t d = 0; d < padded_dim; d += LANES)
        for (uint32_t i = 0; i < LANES; i++) {
            const double value = (double)x[d + i] * unit;
            const double rest = value - (double)out.scale * codes[d + i];

            square[i] += value * value;
            left[i] += rest * rest;
        }
    out.norm = (float)(sqrt(sum_up(square)) * ROUND_UP);
    out.residual = (float)(sqrt(sum_up(left)) * ROUND_UP);
    return out;
}

int32_t
cmir_row_dot(const int16_t *a, const int16_t *b, uint32_t padded_dim)
{
    uint32_t sum = 0; /* wraps where damaged rows are longer than they may be */

    for (uint32_t d = 0; d < padded_dim; d++)
        sum += (uint32_t)(a[d] * b[d]);
    return (int32_t)sum;
}

static void
sum_rows(const int16_t *rows, uint32_t n, uint32_t padded_dim, int32_t *sum)
{
    memset(sum, 0, padded_dim * sizeof *sum); /* 2^15 rows of at most 2^15 fit */
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t d = 0; d < padded_dim; d++)
            sum[d] += rows[(size_t)r * padded_dim + d];
}

void
cmir_rows_mean(const int16_t *rows, uint32_t n, uint32_t padded_dim, int16_t *out)
{
    int32_t sum[CMIR_MAX_DIM];

    sum_rows(rows, n, padded_dim, sum);
    for (uint32_t d = 0; d < padded_dim; d++)
        out[d] = (int16_t)lround((double)sum[d] / n);
}

void
cmir_rows_direction(const int16_t *rows, uint32_t n, uint32_t padded_dim, int16_t *out)
{
    int32_t sum[CMIR_MAX_DIM];
    double square = 0;

    sum_rows(rows, n, padded_dim, sum);
    for (uint32_t d = 0; d < padded_dim; d++)
        square += (double)sum[d] * sum[d];
    const double factor = square > 0 ? CMIR_UNIT / sqrt(square) : 0;
    for (uint32_t d = 0; d < padded_dim; d++)
        out[d] = (int16_t)lround(sum[d] * factor); /* once per representative */
}
