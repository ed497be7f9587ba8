/* SPDX-License-Identifier: Apache-2.0 */
/* codes.h: a row in the two precisions of a record: fixed point (exact) and int8 codes.  Called by
 * planes.c for the rows of a record and by rank for those of a query. */
#ifndef CMIR_STORE_CODES_H
#define CMIR_STORE_CODES_H

#include <stdbool.h>
#include <stdint.h>

#define CMIR_UNIT 32767       /* 1.0 in fixed point: element = value / CMIR_UNIT */
#define CMIR_DIM_MULTIPLE 64u /* rows are padded with zeros to a multiple of it */

/* The Euclidean length of a row. */
double cmir_row_norm(const float *row, uint32_t dim);

/* Whether a row of that length can be an embedding. */
bool cmir_norm_is_unit(double norm);

/* cmir_row_fix() rounds `row` ([dim], divided by `norm`) to fixed point, ties to even; columns of
 * `out` ([padded_dim]) from dim are zero. */
void cmir_row_fix(const float *row, uint32_t dim, double norm, uint32_t padded_dim, int16_t *out);

/* What is known of a row less a center, x = (row - center) / CMIR_UNIT, and of its codes. */
typedef struct cmir_coded {
    float scale;    /* code * scale approximates an element of the rotated x; 0 where x is 0 */
    int32_t sum;    /* of the codes */
    float norm;     /* of x, rounded up */
    float residual; /* norm of the rotated x less code * scale, rounded up */
} cmir_coded;

/* cmir_row_code() writes the codes ([padded_dim]) of row - center.  x is rotated first (a
 * 64-point Hadamard transform over dims padded_dim / 64 apart, orthogonal), which spreads large
 * elements, so that a code is worth less.  Products of rotated rows are those of the rows. */
cmir_coded cmir_row_code(const int16_t *row, const int16_t *center, uint32_t padded_dim,
                         int8_t *codes);

/* The exact dot product of two rows in fixed point, each of norm <= 46000. */
int32_t cmir_row_dot(const int16_t *a, const int16_t *b, uint32_t padded_dim);

/* The mean of n >= 1 rows, rounded to nearest, halves away from zero. */
void cmir_rows_mean(const int16_t *rows, uint32_t n, uint32_t padded_dim, int16_t *out);

/* The mean of n >= 1 rows divided by its length, in fixed point; all zero where the mean is. */
void cmir_rows_direction(const int16_t *rows, uint32_t n, uint32_t padded_dim, int16_t *out);

#endif
