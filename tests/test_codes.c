/* SPDX-License-Identifier: Apache-2.0 */
/* test_codes.c: rows in fixed point and their codes, against their definition in integers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cmir/encoder.h>

#include "store/codes.h"

static const uint32_t widths[] = {64, 128, 192, 512, 1024, 4096};
enum { N_WIDTHS = 6 };

static uint64_t seed = 2024;

static uint32_t
rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

enum kind { RANDOM, SMALL, ONE_HOT, EXTREME, EQUAL, N_KINDS };

/* Rows of norm up to about 2^15, as a record's; EXTREME ones are not, but fit in int16. */
static void
make_row(enum kind kind, uint32_t width, int16_t *row)
{
    const int32_t size = (int32_t)(32767 / sqrt(width));

    memset(row, 0, width * sizeof *row);
    for (uint32_t d = 0; d < width; d++) {
        const int32_t any = (int32_t)(rnd() % 65536) - 32768;

        row[d] = (int16_t)(kind == RANDOM    ? any * size / 32768
                           : kind == SMALL   ? any % 3
                           : kind == EXTREME ? (any < 0 ? -32768 : 32767)
                           : kind == EQUAL   ? -size
                                             : 0);
    }
    if (kind == ONE_HOT)
        row[rnd() % width] = rnd() % 2 == 0 ? 32767 : -32767;
}

/* y = H x, with x as a matrix [64][width / 64]. */
static void
rotate(const int64_t *x, uint32_t width, int64_t *y)
{
    const uint32_t columns = width / 64;

    for (uint32_t i = 0; i < 64; i++)
        for (uint32_t c = 0; c < columns; c++) {
            int64_t sum = 0;

            for (uint32_t j = 0; j < 64; j++) {
                uint32_t shared = i & j, odd = 0;

                for (; shared != 0; shared >>= 1)
                    odd ^= shared & 1;
                sum += odd ? -x[j * columns + c] : x[j * columns + c];
            }
            y[i * columns + c] = sum;
        }
}

static int64_t
dot(const int64_t *a, const int64_t *b, uint32_t width)
{
    int64_t sum = 0;

    for (uint32_t d = 0; d < width; d++)
        sum += a[d] * b[d];
    return sum;
}

/* One row less one center: everything that is told of it, from the definition.  Gives the rotated
 * difference in y, and what its codes stand for in coded. */
static cmir_coded
check_row(const int16_t *row, const int16_t *center, uint32_t width, int64_t *y, double *coded)
{
    static int64_t x[CMIR_MAX_DIM];
    static int8_t codes[CMIR_MAX_DIM];
    int64_t largest = 0, sum = 0;
    double left = 0;

    memset(codes, 99, sizeof codes);
    const cmir_coded c = cmir_row_code(row, center, width, codes);
    for (uint32_t d = 0; d < width; d++)
        x[d] = (int64_t)row[d] - center[d];
    rotate(x, width, y);
    assert_true(dot(y, y, width) == 64 * dot(x, x, width)); /* orthogonal, but for its length */
    for (uint32_t d = 0; d < width; d++)
        largest = llabs(y[d]) > largest ? llabs(y[d]) : largest;
    assert_true(largest < 1 << 23);
    assert_true(c.scale == (float)((double)largest / (8.0 * 127 * 32767)));
    for (uint32_t d = 0; d < width; d++) {
        const double value = (double)y[d] / (8 * 32767.0);
        const int want =
            largest == 0 ? 0 : (int)nearbyintf((float)y[d] * (127.0f / (float)largest));

        assert_int_equal(codes[d], want);
        assert_in_range(codes[d] + 127, 0, 254);
        coded[d] = (double)codes[d] * (double)c.scale;
        assert_true(fabs(coded[d] - value) <= 0.50001 * (double)c.scale);
        left += (coded[d] - value) * (coded[d] - value);
        sum += codes[d];
    }
    assert_int_equal(c.sum, sum);
    /* Upper bounds, and tight ones. */
    const double norm = sqrt((double)dot(x, x, width)) / 32767;
    left = sqrt(left);
    assert_true((double)c.norm >= norm && (double)c.norm <= norm * 1.0000025);
    assert_true((double)c.residual >= left && (double)c.residual <= left * 1.0000025);
    return c;
}

static void
test_codes(void **state)
{
    static int16_t rows[2][CMIR_MAX_DIM], center[CMIR_MAX_DIM];
    static int64_t y[2][CMIR_MAX_DIM], x[2][CMIR_MAX_DIM];
    static double coded[2][CMIR_MAX_DIM];

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int w = 0; w < N_WIDTHS; w++)
        for (int kind = 0; kind < N_KINDS * N_KINDS; kind++) {
            const uint32_t width = widths[w];

            make_row((enum kind)(kind / N_KINDS), width, center);
            for (int k = 0; k < 2; k++) {
                make_row((enum kind)(kind % N_KINDS), width, rows[k]);
                (void)check_row(rows[k], center, width, y[k], coded[k]);
                for (uint32_t d = 0; d < width; d++)
                    x[k][d] = (int64_t)rows[k][d] - center[d];
            }
            /* Products are kept. */
            assert_true(dot(y[0], y[1], width) == 64 * dot(x[0], x[1], width));
        }
}

/* Nothing but zeros: no scale, no bounds, and codes that say so. */
static void
test_row_equal_to_its_center(void **state)
{
    int16_t row[128];
    int8_t codes[128];

    (void)state;
    for (int kind = 0; kind < N_KINDS; kind++) {
        make_row((enum kind)kind, 128, row);
        memset(codes, 7, sizeof codes);
        const cmir_coded c = cmir_row_code(row, row, 128, codes);
        assert_true(c.scale == 0 && c.sum == 0 && c.norm == 0 && c.residual == 0);
        for (int d = 0; d < 128; d++)
            assert_int_equal(codes[d], 0);
    }
}

/* A single large element spreads over 64 codes of equal size: nothing is lost of it. */
static void
test_one_hot_loses_nothing(void **state)
{
    static int64_t y[CMIR_MAX_DIM];
    static double coded[CMIR_MAX_DIM];
    static int16_t row[CMIR_MAX_DIM], center[CMIR_MAX_DIM];

    (void)state;
    for (int w = 0; w < N_WIDTHS; w++)
        for (int i = 0; i < 20; i++) {
            make_row(ONE_HOT, widths[w], row);
            const cmir_coded c = check_row(row, center, widths[w], y, coded);
            assert_true((double)c.residual < 1e-6);
            assert_true(fabs((double)c.norm - 1) < 2e-6);
        }
}

static void
check_fix(const float *row, uint32_t dim, double norm)
{
    static int16_t out[CMIR_MAX_DIM];
    const uint32_t width = (dim + 63) / 64 * 64;

    memset(out, 0x55, sizeof out);
    cmir_row_fix(row, dim, norm, width, out);
    for (uint32_t d = 0; d < dim; d++) {
        const double exact = (double)row[d] / norm * 32767;

        if (!(fabs(out[d] - exact) <= 0.5 + 1e-10))
            fail_msg("dim %u, element %u: %d of %.17g", dim, d, out[d], exact);
    }
    for (uint32_t d = dim; d < width; d++)
        assert_int_equal(out[d], 0);
    if (width < CMIR_MAX_DIM)
        assert_int_equal(out[width], 0x5555);
}

static void
test_fix(void **state)
{
    static float row[CMIR_MAX_DIM];
    static const uint32_t dims[] = {1, 2, 20, 63, 64, 65, 512, 4095, 4096};
    static const float sizes[] = {1e-38f, 1e-12f, 1.0f, 3.5f, 1e12f, 1e36f};

    (void)state;
    for (int i = 0; i < 9; i++)
        for (int k = 0; k < 6; k++) {
            for (uint32_t d = 0; d < dims[i]; d++)
                row[d] = sizes[k] * ((float)(rnd() % 20001) / 10000.0f - 1.0f);
            row[0] += sizes[k] * 0.01f;
            check_fix(row, dims[i], cmir_row_norm(row, dims[i]));
            /* One element is all of it, of either sign. */
            memset(row, 0, sizeof row);
            row[dims[i] / 2] = k % 2 == 0 ? sizes[k] : -sizes[k];
            assert_true(cmir_row_norm(row, dims[i]) == (double)sizes[k]);
            check_fix(row, dims[i], (double)sizes[k]);
        }
}

/* Halves go to the even neighbour; nothing leaves -32767..32767. */
static void
test_fix_ties_and_limits(void **state)
{
    int16_t out[64];
    const float ties[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 16383.5f, -16384.5f, 0.49999997f};
    const int want[] = {0, 2, 2, 0, -2, -2, 16384, -16384, 0};
    const float beyond[] = {1.01f, -1.01f, 1.0f, -1.0f, 300.0f, -300.0f};

    (void)state;
    cmir_row_fix(ties, 9, 32767, 64, out);
    for (int i = 0; i < 9; i++)
        assert_int_equal(out[i], want[i]);
    cmir_row_fix(beyond, 6, 1, 64, out);
    for (int i = 0; i < 6; i++)
        assert_int_equal(out[i], i % 2 == 0 ? 32767 : -32767);
}

static void
test_norm(void **state)
{
    const float row[] = {3, -4}, large[] = {3e38f, 0, -3e38f}, tiny[] = {1e-40f, -1e-40f};

    (void)state;
    assert_true(cmir_row_norm(row, 2) == 5);
    assert_true(cmir_row_norm(row, 1) == 3);
    assert_true(fabs(cmir_row_norm(large, 3) / ((double)3e38f * sqrt(2)) - 1) < 1e-15);
    assert_true(fabs(cmir_row_norm(tiny, 2) / ((double)1e-40f * sqrt(2)) - 1) < 1e-15);
}

static void
test_mean(void **state)
{
    enum { MANY = 32768 };
    static const int16_t rows[4][64] = {{1, -1, 1, -1, 7, 32767, -32767},
                                        {2, -2, 0, 0, 7, 32767, -32767},
                                        {2, -2, 1, -1, 8, 32767, -32767},
                                        {1, -1, 0, 0, 8, 32767, -32766}};
    /* Of two rows, and of four: halves away from zero. */
    static const int16_t two[] = {2, -2, 1, -1, 7, 32767, -32767};
    static const int16_t four[] = {2, -2, 1, -1, 8, 32767, -32767};
    int16_t out[64];
    int16_t *many = malloc((size_t)MANY * 64 * sizeof *many);

    (void)state;
    cmir_rows_mean(rows[0], 2, 64, out);
    for (int d = 0; d < 7; d++)
        assert_int_equal(out[d], two[d]);
    cmir_rows_mean(rows[0], 4, 64, out);
    for (int d = 0; d < 7; d++)
        assert_int_equal(out[d], four[d]);
    assert_int_equal(out[63], 0);
    cmir_rows_mean(rows[2], 1, 64, out);
    assert_memory_equal(out, rows[2], sizeof out);
    /* As many as there can be, at their largest: no sum overflows. */
    assert_non_null(many);
    for (size_t i = 0; i < (size_t)MANY * 64; i++)
        many[i] = (int16_t)(i % 2 == 0 ? 32767 : -32768);
    cmir_rows_mean(many, MANY, 64, out);
    assert_int_equal(out[0], 32767);
    assert_int_equal(out[1], -32768);
    free(many);
    /* Random ones, in integers. */
    for (int round = 0; round < 200; round++) {
        int16_t some[16][64];
        const uint32_t n = 1 + rnd() % 16;

        for (uint32_t r = 0; r < n; r++)
            make_row((enum kind)(rnd() % N_KINDS), 64, some[r]);
        cmir_rows_mean(some[0], n, 64, out);
        for (uint32_t d = 0; d < 64; d++) {
            int64_t sum = 0;

            for (uint32_t r = 0; r < n; r++)
                sum += some[r][d];
            const int64_t up = (2 * llabs(sum) + n) / (2 * (int64_t)n);
            assert_int_equal(out[d], sum < 0 ? -up : up);
        }
    }
}

static void
test_dot(void **state)
{
    static int16_t a[CMIR_MAX_DIM], b[CMIR_MAX_DIM];

    (void)state;
    for (int w = 0; w < N_WIDTHS; w++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            int64_t sum = 0;

            make_row((enum kind)kind, widths[w], a);
            make_row((enum kind)(rnd() % 2), widths[w], b);
            for (uint32_t d = 0; d < widths[w]; d++)
                sum += (int64_t)a[d] * b[d];
            if (kind != EXTREME)
                assert_int_equal(cmir_row_dot(a, b, widths[w]), sum);
            else /* of damaged rows: some number, but no undefined one */
                assert_int_equal((uint32_t)cmir_row_dot(a, b, widths[w]), (uint32_t)sum);
        }
    memset(a, 0, sizeof a);
    a[0] = 32767;
    assert_int_equal(cmir_row_dot(a, a, 64), 32767 * 32767);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_row_equal_to_its_center),
        cmocka_unit_test(test_one_hot_loses_nothing),
        cmocka_unit_test(test_fix),
        cmocka_unit_test(test_fix_ties_and_limits),
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_mean),
        cmocka_unit_test(test_dot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
