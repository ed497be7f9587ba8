/* SPDX-License-Identifier: Apache-2.0 */
/* test_half.c: half precision against the definition of IEEE 754 binary16, not against itself. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"

/* The value that the standard gives to a finite half. */
static double
defined_value(uint16_t half)
{
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const double magnitude =
        exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);

    return half & 0x8000u ? -magnitude : magnitude;
}

static void
test_every_half(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float value = cmir_half_to_float((uint16_t)h);

        if ((h & 0x7FFFu) > 0x7C00u) {
            assert_true(isnan(value));
            assert_true((cmir_float_to_half(value) & 0x7FFFu) > 0x7C00u);
            continue;
        }
        if ((h & 0x7FFFu) == 0x7C00u)
            assert_true(isinf(value));
        else
            assert_true((double)value == defined_value((uint16_t)h));
        assert_int_equal(signbit(value) != 0, h >> 15);
        assert_int_equal(cmir_float_to_half(value), h);
    }
}

/* Between every two neighbouring halves: the midpoint goes to the even one, either side of it to
 * the nearer one. */
static void
test_rounding(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7BFFu; h++) {
        const double low = defined_value((uint16_t)h), high = defined_value((uint16_t)(h + 1));
        const float middle = (float)((low + high) / 2);
        const uint16_t even = (uint16_t)(h & 1u ? h + 1 : h);

        assert_true((double)middle == (low + high) / 2);
        assert_int_equal(cmir_float_to_half(middle), even);
        assert_int_equal(cmir_float_to_half(-middle), even | 0x8000u);
        assert_int_equal(cmir_float_to_half(nextafterf(middle, 0.0f)), h);
        assert_int_equal(cmir_float_to_half(nextafterf(middle, INFINITY)), h + 1);
    }
}

static void
test_overflow(void **state)
{
    (void)state;
    assert_int_equal(cmir_float_to_half(65504.0f), 0x7BFF);
    assert_int_equal(cmir_float_to_half(nextafterf(65520.0f, 0.0f)), 0x7BFF);
    assert_int_equal(cmir_float_to_half(65520.0f), 0x7C00);
    assert_int_equal(cmir_float_to_half(-1e30f), 0xFC00);
    assert_int_equal(cmir_float_to_half(1e-30f), 0);
    assert_int_equal(cmir_float_to_half(-1e-30f), 0x8000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
