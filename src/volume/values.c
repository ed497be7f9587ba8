/* SPDX-License-Identifier: Apache-2.0 */
/* values.c: stored voxels to values, and the robust range of a volume's values.
 *
 * Everything that looks at voxels (slices, the check for constant volumes, percentiles) comes
 * through cmir_voxel_values(): scaled in double, rounded once to float. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "volume/volume_internal.h"

#define MAX_SAMPLES 500000u

size_t
cmir_voxel_nbytes(cmir_voxel_type type)
{
    static const uint8_t nbytes[] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};

    return nbytes[type];
}

/* Scaling of a run: element i has slope[i * step], intercept[i * step]. */
struct scaling {
    const double *slope, *intercept;
    ptrdiff_t step;
    float fill;
};

#define DEFINE_VALUES(name, voxel)                                                                 \
    static void name(const voxel *restrict src, ptrdiff_t stride, const struct scaling *s,         \
                     size_t n, float *restrict out)                                                \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < (ptrdiff_t)n; i++) {                                             \
            const double slope = s->slope[i * s->step], inter = s->intercept[i * s->step];         \
            const float value = (float)((double)src[i * stride] * slope + inter);                  \
            out[i] = isfinite(value) ? value : s->fill;                                            \
        }                                                                                          \
    }
DEFINE_VALUES(values_u8, uint8_t)
DEFINE_VALUES(values_i8, int8_t)
DEFINE_VALUES(values_u16, uint16_t)
DEFINE_VALUES(values_i16, int16_t)
DEFINE_VALUES(values_u32, uint32_t)
DEFINE_VALUES(values_i32, int32_t)
DEFINE_VALUES(values_u64, uint64_t)
DEFINE_VALUES(values_i64, int64_t)
DEFINE_VALUES(values_f32, float)
DEFINE_VALUES(values_f64, double)

/* The common CT: 16 bits, slope 1, a whole intercept.  Integer sums below 2^24 are exact floats.
 * Blocks of a fixed size are what compilers vectorise at every level of optimisation. */
#define DEFINE_SHIFTED(name, voxel)                                                                \
    static void name(const voxel *restrict src, ptrdiff_t stride, int32_t add, size_t n,           \
                     float *restrict out)                                                          \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; stride == 1 && i + 16 <= n; i += 16)                                                \
            for (size_t u = 0; u < 16; u++)                                                        \
                out[i + u] = (float)(src[i + u] + add);                                            \
        for (; i < n; i++)                                                                         \
            out[i] = (float)(src[(ptrdiff_t)i * stride] + add);                                    \
    }
DEFINE_SHIFTED(shifted_i16, int16_t)
DEFINE_SHIFTED(shifted_u16, uint16_t)

static bool
is_shift(const struct scaling *s)
{
    const double inter = s->intercept[0];

    return s->step == 0 && s->slope[0] == 1 && fabs(inter) < 1e6 && inter == rint(inter);
}

void
cmir_voxel_values(const cmir_volume *volume, const cmir_voxel_run *run, size_t n, float fill,
                  float *out)
{
    static const double one = 1, zero = 0;
    const void *src = run->from;
    const ptrdiff_t stride = run->stride;
    struct scaling s = {&one, &zero, 0, fill};

    if (volume->slope != NULL) {
        s.slope = volume->slope + run->k;
        s.intercept = volume->intercept + run->k;
        s.step = run->k_step;
    }
    switch (volume->type) {
    case CMIR_VOXEL_U8: values_u8(src, stride, &s, n, out); break;
    case CMIR_VOXEL_I8: values_i8(src, stride, &s, n, out); break;
    case CMIR_VOXEL_U16:
        if (is_shift(&s))
            shifted_u16(src, stride, (int32_t)s.intercept[0], n, out);
        else
            values_u16(src, stride, &s, n, out);
        break;
    case CMIR_VOXEL_I16:
        if (is_shift(&s))
            shifted_i16(src, stride, (int32_t)s.intercept[0], n, out);
        else
            values_i16(src, stride, &s, n, out);
        break;
    case CMIR_VOXEL_U32: values_u32(src, stride, &s, n, out); break;
    case CMIR_VOXEL_I32: values_i32(src, stride, &s, n, out); break;
    case CMIR_VOXEL_U64: values_u64(src, stride, &s, n, out); break;
    case CMIR_VOXEL_I64: values_i64(src, stride, &s, n, out); break;
    case CMIR_VOXEL_F32: values_f32(src, stride, &s, n, out); break;
    case CMIR_VOXEL_F64: values_f64(src, stride, &s, n, out); break;
    }
}

static uint64_t
greatest_common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Floats as unsigned integers of the same order, and back. */
static uint32_t
key_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float
value_of(uint32_t key)
{
    const uint32_t bits = key & 0x80000000u ? key & 0x7FFFFFFFu : ~key;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The least key above `key`, or `key` where there is none. */
static uint32_t
next_key(const float *values, size_t n, uint32_t key)
{
    uint32_t next = UINT32_MAX; /* a NaN's: no value has it */

    for (size_t i = 0; i < n; i++) {
        const uint32_t candidate = key_of(values[i]);
        if (candidate > key && candidate < next)
            next = candidate;
    }
    return next == UINT32_MAX ? key : next;
}

/* The rank-th smallest (from 0) of n values and the one after it: its key, at most 11 bits at a time
 * from the top, by counting the values whose key agrees so far. */
static void
order_statistics(const float *values, size_t n, size_t rank, double out[2])
{
    static const struct {
        unsigned low;
        uint32_t mask;
    } digits[] = {{21, 0x7FF}, {10, 0x7FF}, {0, 0x3FF}};
    uint32_t counts[2048], key = 0, decided = 0, n_equal = 0;

    for (size_t d = 0; d < 3; d++) {
        const unsigned low = digits[d].low;
        uint32_t bucket = 0;
        memset(counts, 0, sizeof counts);
        for (size_t i = 0; i < n; i++) {
            const uint32_t candidate = key_of(values[i]);
            if ((candidate & decided) == key)
                counts[candidate >> low & digits[d].mask]++;
        }
        while (rank >= counts[bucket])
            rank -= counts[bucket++];
        key |= bucket << low;
        decided |= digits[d].mask << low;
        n_equal = counts[bucket];
    }
    out[0] = (double)value_of(key);
    out[1] = rank + 1 < n_equal ? out[0] : (double)value_of(next_key(values, n, key));
}

/* Interpolated linearly between the two nearest ranks. */
static double
percentile(const float *values, size_t n, double percent)
{
    const double place = (double)(n - 1) * percent / 100, whole = floor(place);
    double at[2];

    order_statistics(values, n, (size_t)whole, at);
    return at[0] + (place - whole) * (at[1] - at[0]);
}

static uint64_t
slice_area(const cmir_volume *volume)
{
    return (uint64_t)volume->info.dims[0] * volume->info.dims[1];
}

/* The step has no factor in common with the slice's sides, so that all rows and columns are met
 * alike. */
cmir_status
cmir_volume_range_start(const cmir_volume *volume, cmir_volume_range *range, cmir_error *err)
{
    const uint64_t area = slice_area(volume), n = area * volume->info.dims[2];

    range->step = n / MAX_SAMPLES + 1;
    while (range->step > 1 && greatest_common_divisor(range->step, area) != 1)
        range->step++;
    range->samples = cmir_alloc((size_t)(n / range->step) + 1, sizeof *range->samples);
    if (range->samples == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for the range of values", volume->info.path);
    return CMIR_OK;
}

/* How many of the first n voxels are taken. */
static uint64_t
n_samples(const cmir_volume_range *range, uint64_t n)
{
    return (n + range->step - 1) / range->step;
}

void
cmir_volume_range_take(const cmir_volume *volume, cmir_volume_range *range, uint32_t k,
                       const uint8_t *voxels)
{
    const uint64_t area = slice_area(volume);
    const uint64_t before = n_samples(range, k * area),
                   n = n_samples(range, (k + 1) * area) - before;
    const size_t offset = (size_t)(before * range->step - k * area);

    if (n == 0)
        return;
    const cmir_voxel_run run = {voxels + offset * cmir_voxel_nbytes(volume->type),
                                (ptrdiff_t)range->step, k, 0};
    cmir_voxel_values(volume, &run, (size_t)n, NAN, range->samples + before);
}

void
cmir_volume_range_finish(cmir_volume *volume, cmir_volume_range *range, float first)
{
    const uint64_t n = n_samples(range, slice_area(volume) * volume->info.dims[2]);
    float *samples = range->samples;
    size_t n_finite = 0;

    for (size_t i = 0; i < n; i++)
        if (!isnan(samples[i]))
            samples[n_finite++] = samples[i];
    if (n_finite > 0) {
        volume->info.value_low = percentile(samples, n_finite, 0.5);
        volume->info.value_high = percentile(samples, n_finite, 99.5);
    } else { /* finite values exist, between the samples only */
        volume->info.value_low = volume->info.value_high = (double)first;
    }
}

void
cmir_volume_range_free(cmir_volume_range *range)
{
    free(range->samples);
    range->samples = NULL;
}
