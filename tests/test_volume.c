/* SPDX-License-Identifier: Apache-2.0 */
/* test_volume.c: volumes made by a reader of this file: what is ready when, HU or not, every voxel
 * type, every plane against the voxels' places in the patient, slices taken while others load. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "volume/volume_internal.h"

static uint64_t seed = 20240611;

static uint32_t
rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static double
uniform(double low, double high)
{
    return low + (high - low) * rnd() / 2147483648.0;
}

/* The reader: copies `data` slice by slice, fails where told. */
struct fake {
    const uint8_t *data;
    uint32_t n_given; /* stops after so many slices */
    cmir_status status;
};

static cmir_status
fake_load(cmir_volume *volume, void *state, cmir_error *err)
{
    const struct fake *fake = state;
    const uint32_t *dims = volume->info.dims;
    const size_t nbytes = (size_t)dims[0] * dims[1] * cmir_voxel_nbytes(volume->type);

    for (uint32_t k = 0; k < fake->n_given; k++) {
        memcpy(volume->voxels + k * nbytes, fake->data + k * nbytes, nbytes);
        cmir_volume_slices_done(volume, k + 1);
    }
    if (fake->status != CMIR_OK)
        return FAIL(err, fake->status, "fake: told to fail");
    return CMIR_OK;
}

static const cmir_volume_reader fake_reader = {fake_load, NULL, NULL};

static cmir_volume *
make(struct fake *fake, cmir_voxel_type type, const void *data, const uint32_t dims[3],
     const char *modality)
{
    cmir_volume *volume = cmir_volume_new();

    assert_non_null(volume);
    *fake = (struct fake){data, dims[2], CMIR_OK};
    memcpy(volume->info.dims, dims, sizeof volume->info.dims);
    for (int p = 0; p < 3; p++)
        volume->info.affine[p][p] = 1;
    volume->type = type;
    volume->reader = &fake_reader;
    volume->reader_state = fake;
    assert_true(cmir_volume_set(&volume->info.modality, modality));
    assert_true(cmir_volume_set(&volume->info.path, "made/volume"));
    return volume;
}

/* What the ready callback saw. */
struct seen {
    cmir_volume *volume;
    unsigned n_calls, first, last;
    bool has_hu, whole_range;
};

static void
note_ready(void *ctx, uint32_t n_ready)
{
    struct seen *seen = ctx;
    float out[64];

    assert_true(n_ready > seen->last);
    if (seen->n_calls++ == 0) {
        seen->first = n_ready;
        seen->has_hu = cmir_volume_get_info(seen->volume)->has_hu;
        seen->whole_range = cmir_volume_get_info(seen->volume)->value_high != 0;
    }
    seen->last = n_ready;
    const uint32_t n = cmir_volume_get_info(seen->volume)->dims[2];
    assert_int_equal(cmir_volume_slice(seen->volume, CMIR_AXIAL, n_ready - 1, out, NULL), CMIR_OK);
    if (n_ready < n) {
        assert_int_equal(cmir_volume_slice(seen->volume, CMIR_AXIAL, n_ready, out, NULL),
                         CMIR_EINVAL);
        assert_int_equal(cmir_volume_slice(seen->volume, CMIR_CORONAL, 0, out, NULL), CMIR_EINVAL);
    } else {
        assert_int_equal(cmir_volume_slice(seen->volume, CMIR_CORONAL, 0, out, NULL), CMIR_OK);
    }
}

static void
test_ready(void **state)
{
    const uint32_t dims[3] = {4, 3, 6};
    int16_t data[72];
    static const struct {
        const char *modality;
        int16_t air_from; /* first slice with a value below -200, or 99 */
        unsigned n_calls, first;
        bool has_hu;
        const char *modality_after;
    } cases[] = {
        {"CT", 99, 6, 1, true, "CT"},  {"CT", 2, 6, 1, true, "CT"}, {"MR", 2, 1, 6, false, "MR"},
        {"PT", 99, 1, 6, false, "PT"}, {"", 3, 3, 4, true, "CT"},   {"", 0, 6, 1, true, "CT"},
        {"", 5, 1, 6, true, "CT"},     {"", 99, 1, 6, false, ""},
    };

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct fake fake;
        for (int16_t i = 0; i < 72; i++)
            data[i] = i / 12 >= cases[c].air_from && i % 12 == 7 ? -201 : (int16_t)(i - 200);
        cmir_volume *volume = make(&fake, CMIR_VOXEL_I16, data, dims, cases[c].modality);
        struct seen seen = {.volume = volume};
        assert_int_equal(cmir_volume_load(volume, note_ready, &seen, NULL), CMIR_OK);
        assert_int_equal(seen.n_calls, cases[c].n_calls);
        assert_int_equal(seen.first, cases[c].first);
        assert_int_equal(seen.last, 6);
        assert_int_equal(seen.has_hu, cases[c].has_hu);
        assert_int_equal(volume->info.has_hu, cases[c].has_hu);
        assert_true(cases[c].has_hu || seen.whole_range);
        assert_string_equal(volume->info.modality, cases[c].modality_after);
        cmir_volume_close(volume);
    }
}

/* One voxel of a slice below -200 in `n`: CT from 1 % on. */
static void
test_told_by_values(void **state)
{
    static int16_t data[3 * 300];

    (void)state;
    for (uint32_t cols = 50; cols <= 300; cols += 50) {
        const uint32_t dims[3] = {cols, 1, 3};
        struct fake fake;
        for (uint32_t i = 0; i < 3 * cols; i++)
            data[i] = i == cols + 3 ? -201 : (int16_t)(i % 90);
        cmir_volume *volume = make(&fake, CMIR_VOXEL_I16, data, dims, "");
        assert_int_equal(cmir_volume_load(volume, NULL, NULL, NULL), CMIR_OK);
        assert_int_equal(volume->info.has_hu, cols <= 100);
        assert_string_equal(volume->info.modality, cols <= 100 ? "CT" : "");
        cmir_volume_close(volume);
    }
}

static void
expect_failure(cmir_volume *volume, cmir_status want, const char *words)
{
    cmir_error err = {0};
    float out[64];

    assert_int_equal(cmir_volume_load(volume, NULL, NULL, &err), want);
    assert_int_equal(err.code, want);
    assert_non_null(strstr(err.msg, words));
    err = (cmir_error){0};
    assert_int_equal(cmir_volume_load(volume, NULL, NULL, &err), CMIR_EINVAL);
    assert_non_null(strstr(err.msg, "made/volume"));
    if (strcmp(volume->info.modality, "CT") != 0)
        assert_int_equal(cmir_volume_slice(volume, CMIR_AXIAL, 0, out, NULL), CMIR_EINVAL);
    cmir_volume_close(volume);
}

static void
test_refusals(void **state)
{
    const uint32_t dims[3] = {4, 3, 2};
    float values[24];
    struct fake fake;

    (void)state;
    for (int i = 0; i < 24; i++)
        values[i] = 17;
    expect_failure(make(&fake, CMIR_VOXEL_F32, values, dims, ""), CMIR_ECORRUPT,
                   "made/volume: every voxel has the same value");
    values[3] = NAN; /* one value and NaN is still one value */
    expect_failure(make(&fake, CMIR_VOXEL_F32, values, dims, "CT"), CMIR_ECORRUPT, "same value");
    for (int i = 0; i < 24; i++)
        values[i] = i % 2 ? NAN : -INFINITY;
    expect_failure(make(&fake, CMIR_VOXEL_F32, values, dims, ""), CMIR_ECORRUPT,
                   "made/volume: no voxel has a finite value");
    for (int i = 0; i < 24; i++)
        values[i] = (float)i;
    cmir_volume *volume = make(&fake, CMIR_VOXEL_F32, values, dims, "MR");
    fake.n_given = 1;
    fake.status = CMIR_EIO;
    expect_failure(volume, CMIR_EIO, "told to fail");
    volume = make(&fake, CMIR_VOXEL_F32, values, dims, "MR");
    fake.n_given = 1;
    expect_failure(volume, CMIR_ECORRUPT, "only 1 of 2 slices");
    const uint32_t huge[3] = {CMIR_MAX_SIDE, CMIR_MAX_SIDE, 3}, wide[3] = {CMIR_MAX_SIDE + 1, 1, 2};
    expect_failure(make(&fake, CMIR_VOXEL_F32, values, huge, "MR"), CMIR_ELIMIT, "made/volume");
    expect_failure(make(&fake, CMIR_VOXEL_F32, values, wide, "MR"), CMIR_ELIMIT, "made/volume");
}

static double
stored(cmir_voxel_type type, const void *data, size_t i)
{
    switch (type) {
    case CMIR_VOXEL_U8: return ((const uint8_t *)data)[i];
    case CMIR_VOXEL_I8: return ((const int8_t *)data)[i];
    case CMIR_VOXEL_U16: return ((const uint16_t *)data)[i];
    case CMIR_VOXEL_I16: return ((const int16_t *)data)[i];
    case CMIR_VOXEL_U32: return ((const uint32_t *)data)[i];
    case CMIR_VOXEL_I32: return ((const int32_t *)data)[i];
    case CMIR_VOXEL_U64: return (double)((const uint64_t *)data)[i];
    case CMIR_VOXEL_I64: return (double)((const int64_t *)data)[i];
    case CMIR_VOXEL_F32: return (double)((const float *)data)[i];
    case CMIR_VOXEL_F64: return ((const double *)data)[i];
    }
    return NAN;
}

/* A random affine of permuted and reversed axes with a little of a turn. */
static void
random_affine(double affine[3][4])
{
    static const unsigned permutations[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                                {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const unsigned *axis_of = permutations[rnd() % 6];

    for (int p = 0; p < 3; p++)
        for (int axis = 0; axis < 4; axis++)
            affine[p][axis] = uniform(-0.1, 0.1);
    for (int p = 0; p < 3; p++)
        affine[p][axis_of[p]] = uniform(1, 4) * (rnd() % 2 ? -1 : 1);
}

/* The pixel that shows voxel `at`: along the patient's axis p, which lies nearest to voxel axis a,
 * the voxel is the n-th from the smallest coordinate (or, reversed, from the largest). */
static uint32_t
place_along(const cmir_volume *volume, const uint32_t at[3], int p, bool from_largest)
{
    int axis = 0;

    for (int a = 1; a < 3; a++)
        if (fabs(volume->info.affine[p][a]) > fabs(volume->info.affine[p][axis]))
            axis = a;
    const bool rises = volume->info.affine[p][axis] > 0;
    return rises != from_largest ? at[axis] : volume->info.dims[axis] - 1 - at[axis];
}

static void
check_plane(const cmir_volume *volume, cmir_plane plane, const void *data)
{
    static const int normal[3] = {2, 1, 0}, row[3] = {1, 2, 2}, col[3] = {0, 0, 1};
    const uint32_t *dims = volume->info.dims;
    cmir_stack stack;
    size_t n_checked = 0;

    assert_int_equal(cmir_volume_stack(volume, plane, &stack, NULL), CMIR_OK);
    float *out = malloc((size_t)stack.rows * stack.cols * sizeof *out);
    for (uint32_t s = 0; s < stack.n_slices; s++) {
        assert_int_equal(cmir_volume_slice(volume, plane, s, out, NULL), CMIR_OK);
        for (uint32_t k = 0; k < dims[2]; k++)
            for (uint32_t j = 0; j < dims[1]; j++)
                for (uint32_t i = 0; i < dims[0]; i++) {
                    const uint32_t at[3] = {i, j, k};
                    const bool rises =
                        place_along(volume, (uint32_t[3]){0, 0, 0}, normal[plane], false) == 0;
                    if (place_along(volume, at, normal[plane], !rises) != s)
                        continue;
                    const uint32_t r = place_along(volume, at, row[plane], plane != CMIR_AXIAL);
                    const uint32_t c = place_along(volume, at, col[plane], false);
                    const size_t index = ((size_t)k * dims[1] + j) * dims[0] + i;
                    const double x = stored(volume->type, data, index);
                    const float want = (float)(x * volume->slope[k] + volume->intercept[k]);
                    assert_true(r < stack.rows && c < stack.cols);
                    assert_true(out[(size_t)r * stack.cols + c] == want);
                    n_checked++;
                }
    }
    assert_int_equal(n_checked, (size_t)dims[0] * dims[1] * dims[2]);
    free(out);
}

/* Every type, scaling per slice, random axes; random bytes cover the extremes of integers. */
static void
test_values_in_every_plane(void **state)
{
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 120; round++) {
        const cmir_voxel_type type = (cmir_voxel_type)(round % 10);
        const uint32_t dims[3] = {2 + rnd() % 40, 2 + rnd() % 9, 2 + rnd() % 7};
        const size_t n = (size_t)dims[0] * dims[1] * dims[2];
        uint8_t *data = malloc(n * 8);
        struct fake fake;
        for (size_t i = 0; i < n * 8; i++)
            data[i] = (uint8_t)rnd();
        for (size_t i = 0; i < n && type == CMIR_VOXEL_F32; i++)
            ((float *)(void *)data)[i] = (float)uniform(-1e4, 1e4);
        for (size_t i = 0; i < n && type == CMIR_VOXEL_F64; i++)
            ((double *)(void *)data)[i] = uniform(-1e4, 1e4);
        cmir_volume *volume = make(&fake, type, data, dims, round % 3 ? "CT" : "MR");
        random_affine(volume->info.affine);
        volume->slope = malloc(dims[2] * sizeof(double));
        volume->intercept = malloc(dims[2] * sizeof(double));
        for (uint32_t k = 0; k < dims[2]; k++) {
            const bool plain = round % 4 < 2;
            volume->slope[k] = plain ? 1 : uniform(-3, 3);
            volume->intercept[k] = plain ? round % 2 * -1024.0 : uniform(-2000, 2000);
        }
        assert_int_equal(cmir_volume_load(volume, NULL, NULL, NULL), CMIR_OK);
        for (int plane = 0; plane < 3; plane++)
            check_plane(volume, (cmir_plane)plane, data);
        cmir_volume_close(volume);
        free(data);
    }
}

/* Slices at uneven places, as a series with a gap has them. */
static void
test_uneven_slices(void **state)
{
    const uint32_t dims[3] = {5, 3, 5};
    const double z[5] = {10, 12, 14, 19, 21}; /* gaps 2 2 5 2 */
    uint8_t data[75];
    struct fake fake;
    cmir_stack stack;

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    cmir_volume *volume = make(&fake, CMIR_VOXEL_U8, data, dims, "CT");
    volume->info.affine[2][2] = 2.75;
    volume->info.affine[2][3] = 10;
    volume->slice_position = calloc(5, sizeof *volume->slice_position);
    volume->slice_uids = calloc(5, sizeof *volume->slice_uids);
    for (uint32_t k = 0; k < 5; k++)
        volume->slice_position[k][2] = z[k];
    volume->slice_uids[3] = strdup("1.2.3");
    assert_int_equal(cmir_volume_stack(volume, CMIR_AXIAL, &stack, NULL), CMIR_OK);
    assert_true(stack.native && stack.slice_spacing_mm == 2);
    for (uint32_t k = 0; k < 5; k++)
        assert_true(cmir_volume_slice_mm(volume, CMIR_AXIAL, k) == z[k]);
    assert_true(isnan(cmir_volume_slice_mm(volume, CMIR_AXIAL, 5)));
    assert_true(cmir_volume_slice_mm(volume, CMIR_SAGITTAL, 4) == 4);
    assert_string_equal(cmir_volume_slice_uid(volume, CMIR_AXIAL, 3), "1.2.3");
    assert_string_equal(cmir_volume_slice_uid(volume, CMIR_AXIAL, 2), "");
    assert_string_equal(cmir_volume_slice_uid(volume, CMIR_AXIAL, 99), "");
    assert_string_equal(cmir_volume_slice_uid(volume, CMIR_CORONAL, 3 % dims[1]), "");
    cmir_volume_close(volume);
}

static void
test_warnings(void **state)
{
    cmir_volume *volume = cmir_volume_new();

    (void)state;
    assert_null(cmir_volume_warning(volume, 0));
    for (int i = 0; i < 1500; i++)
        cmir_volume_warn(volume, "%s.dcm: gap of %d mm", "a", i);
    assert_string_equal(cmir_volume_warning(volume, 0), "a.dcm: gap of 0 mm");
    assert_string_equal(cmir_volume_warning(volume, 999), "a.dcm: gap of 999 mm");
    assert_null(cmir_volume_warning(volume, 1000));
    cmir_volume_close(volume);
    cmir_volume_close(NULL);
}

static void
test_arguments(void **state)
{
    const uint32_t dims[3] = {4, 3, 2};
    int16_t data[24] = {1, 2};
    float out[24];
    cmir_stack stack;
    struct fake fake;
    cmir_volume *volume = make(&fake, CMIR_VOXEL_I16, data, dims, "CT");

    (void)state;
    assert_int_equal(cmir_volume_slice(volume, CMIR_AXIAL, 0, out, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_volume_load(volume, NULL, NULL, NULL), CMIR_OK);
    assert_int_equal(cmir_volume_slice(volume, (cmir_plane)3, 0, out, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_volume_slice(volume, CMIR_AXIAL, 2, out, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_volume_slice(volume, CMIR_AXIAL, 0, NULL, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_volume_slice(NULL, CMIR_AXIAL, 0, out, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_volume_stack(volume, (cmir_plane)-1, &stack, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_volume_load(NULL, NULL, NULL, NULL), CMIR_EINVAL);
    assert_null(cmir_volume_get_info(NULL));
    cmir_volume_close(volume);
}

/* Takers that know nothing of the callback: what cmir_volume_slice() gives is decoded. */
struct taker {
    cmir_volume *volume;
    const int16_t *data;
    bool right;
};

static void *
take_all(void *arg)
{
    struct taker *taker = arg;
    const uint32_t *dims = taker->volume->info.dims;
    const size_t n = (size_t)dims[0] * dims[1];
    float *out = malloc(n * sizeof *out);

    taker->right = true;
    for (uint32_t k = 0; k < dims[2]; k++) {
        while (cmir_volume_slice(taker->volume, CMIR_AXIAL, k, out, NULL) != CMIR_OK)
            ;
        for (size_t i = 0; i < n; i++)
            if (out[i] != (float)taker->data[k * n + i])
                taker->right = false;
    }
    free(out);
    return NULL;
}

static void
test_taking_while_loading(void **state)
{
    static const char *const modalities[] = {"CT", "", "MR"};
    const uint32_t dims[3] = {64, 48, 100};
    const size_t n = (size_t)dims[0] * dims[1] * dims[2];
    int16_t *data = malloc(n * sizeof *data);

    (void)state;
    for (size_t i = 0; i < n; i++)
        data[i] = (int16_t)(rnd() % 4000) - 1000;
    for (int round = 0; round < 3; round++) {
        pthread_t threads[3];
        struct taker takers[3];
        struct fake fake;
        cmir_volume *volume = make(&fake, CMIR_VOXEL_I16, data, dims, modalities[round]);
        for (int t = 0; t < 3; t++) {
            takers[t] = (struct taker){volume, data, false};
            assert_int_equal(pthread_create(&threads[t], NULL, take_all, &takers[t]), 0);
        }
        assert_int_equal(cmir_volume_load(volume, NULL, NULL, NULL), CMIR_OK);
        for (int t = 0; t < 3; t++) {
            pthread_join(threads[t], NULL);
            assert_true(takers[t].right);
        }
        cmir_volume_close(volume);
    }
    free(data);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ready),         cmocka_unit_test(test_told_by_values),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_values_in_every_plane),
        cmocka_unit_test(test_uneven_slices), cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_arguments),     cmocka_unit_test(test_taking_while_loading),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
