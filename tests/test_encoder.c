/* SPDX-License-Identifier: Apache-2.0 */
/* test_encoder.c: the pipeline with a reader and an encoder of this file (order, overlap, failures
 * at any slice, cancelling, air), resizing, the built-in encoder on extreme pictures, the hash.
 * What encoders compute is tested against numpy in oracle/test_encoder.py. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/sha256.h"
#include "encode/encoder_internal.h"
#include "picture/resize.h"
#include "volume/volume_internal.h"

#define SIDE 8
#define MAX_SLICES 64

static uint64_t seed = 20250131;

static uint32_t
rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static void
nap(long us)
{
    nanosleep(&(struct timespec){0, us * 1000}, NULL);
}

/* One volume and one encoder that know each other.  Slice k holds the value 100 + k. */
struct scene {
    cmir_volume *volume;
    cmir_encoder encoder;
    int16_t voxels[MAX_SLICES][SIDE * SIDE];
    uint32_t n_slices;
    uint32_t load_fails_at, encode_fails_at; /* slice; UINT32_MAX: never */
    uint32_t wait_at; /* the loader stops before this slice until one is encoded; UINT32_MAX */
    bool slow;
    atomic_uint n_loaded, n_encoded, running, most_running, most_pictures;
};

static cmir_status
scene_load(cmir_volume *volume, void *state, cmir_error *err)
{
    struct scene *s = state;

    for (uint32_t k = 0; k < s->n_slices; k++) {
        if (k == s->load_fails_at)
            return FAIL(err, CMIR_ECORRUPT, "the loader fails at slice %u", k);
        for (int i = 0; k == s->wait_at && s->n_encoded == 0; i++) {
            assert_true(i < 100000); /* 10 s: nothing is encoded while the volume is loading */
            nap(100);
        }
        memcpy(volume->voxels + k * sizeof s->voxels[0], s->voxels[k], sizeof s->voxels[0]);
        atomic_store(&s->n_loaded, k + 1);
        cmir_volume_slices_done(volume, k + 1);
        if (s->slow)
            nap(rnd() % 300);
    }
    return CMIR_OK;
}

static cmir_status
scene_read_slice(const cmir_volume *volume, const void *state, uint32_t k, uint8_t *out,
                 cmir_error *err)
{
    const struct scene *s = state;

    (void)volume;
    if (s->slow)
        nap(100);
    if (k >= s->load_fails_at)
        return FAIL(err, CMIR_ECORRUPT, "the loader fails at slice %u", k);
    memcpy(out, s->voxels[k], sizeof s->voxels[0]);
    return CMIR_OK;
}

static cmir_status
scene_encode(const cmir_encoder *encoder, const cmir_picture *pictures, uint32_t n, float *rows,
             cmir_error *err)
{
    struct scene *s = encoder->state;
    const unsigned running = atomic_fetch_add(&s->running, 1) + 1;
    cmir_status st = CMIR_OK;

    if (running > s->most_running)
        s->most_running = running;
    if (n > s->most_pictures)
        s->most_pictures = n;
    if (s->slow)
        nap(200);
    for (uint32_t i = 0; i < n; i++) {
        const float value = pictures[i].pixels[SIDE + 1];
        if (value == 100.0f + (float)s->encode_fails_at)
            st = FAIL(err, CMIR_EINVAL, "the encoder fails at slice %u", s->encode_fails_at);
        rows[2 * i] = value;
        rows[2 * i + 1] = 100;
    }
    atomic_fetch_add(&s->n_encoded, n);
    atomic_fetch_sub(&s->running, 1);
    return st;
}

static void
scene_close(cmir_encoder *encoder)
{
    (void)encoder;
}

static const cmir_volume_reader scene_reader = {scene_load, NULL, scene_read_slice};
static const cmir_encoder_class scene_class = {scene_encode, NULL, scene_close};

static void
set_up(struct scene *s, uint32_t n_slices, const char *modality, uint32_t batch, uint32_t n_threads)
{
    memset(s, 0, sizeof *s);
    s->n_slices = n_slices;
    s->load_fails_at = s->encode_fails_at = s->wait_at = UINT32_MAX;
    for (uint32_t k = 0; k < n_slices; k++)
        for (int i = 0; i < SIDE * SIDE; i++)
            s->voxels[k][i] = (int16_t)(i == 0 ? -1000 : 100 + (int)k);
    s->volume = cmir_volume_new();
    assert_non_null(s->volume);
    assert_true(cmir_volume_set(&s->volume->info.modality, modality));
    assert_true(cmir_volume_set(&s->volume->info.path, "made"));
    s->volume->type = CMIR_VOXEL_I16;
    s->volume->info.dims[0] = s->volume->info.dims[1] = SIDE;
    s->volume->info.dims[2] = n_slices;
    for (int i = 0; i < 3; i++)
        s->volume->info.affine[i][i] = 1;
    s->volume->reader = &scene_reader;
    s->volume->reader_state = s;
    s->encoder = (cmir_encoder){.class_ = &scene_class,
                                .batch = batch,
                                .n_threads = n_threads,
                                .info = {.name = "scene", .dim = 2},
                                .state = s};
}

static void
check_rows(const struct scene *s, const cmir_embeddings *e)
{
    assert_int_equal(e->n_slices, s->n_slices);
    for (uint32_t k = 0; k < s->n_slices; k++) {
        const double value = 100 + k;
        assert_float_equal(e->rows[2 * k], value / hypot(value, 100), 1e-6);
        assert_float_equal(e->rows[2 * k + 1], 100 / hypot(value, 100), 1e-6);
        assert_int_equal(e->marks[k], 0);
    }
}

static void
test_every_slice_gets_its_row(void **state)
{
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 60; round++) {
        struct scene s;
        cmir_embeddings e;
        cmir_error err = {0};
        const uint32_t n_threads = 1 + rnd() % 6, batch = 1 + rnd() % 9;
        set_up(&s, 2 + rnd() % (MAX_SLICES - 2), "CT", batch, n_threads);
        s.slow = round % 3 == 0;
        if (round % 2 == 0)
            assert_int_equal(cmir_volume_load(s.volume, NULL, NULL, &err), CMIR_OK);
        assert_int_equal(cmir_encode(&s.encoder, s.volume, CMIR_AXIAL, NULL, NULL, &e, &err),
                         CMIR_OK);
        check_rows(&s, &e);
        assert_int_equal(s.n_encoded, s.n_slices);
        assert_true(s.most_running <= n_threads);
        assert_true(s.most_pictures <= batch);
        cmir_embeddings_free(&e);
        assert_null(e.rows);
        cmir_volume_close(s.volume);
    }
}

static void
test_encoding_overlaps_loading(void **state)
{
    (void)state;
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
        struct scene s;
        cmir_embeddings e;
        set_up(&s, 20, "CT", 4, n_threads);
        s.wait_at = 6;
        assert_int_equal(cmir_encode(&s.encoder, s.volume, CMIR_AXIAL, NULL, NULL, &e, NULL),
                         CMIR_OK);
        check_rows(&s, &e);
        cmir_embeddings_free(&e);
        cmir_volume_close(s.volume);
    }
}

/* Values without HU need the whole volume's range: the lowest becomes 0, the highest 1. */
static void
test_without_hu_all_is_loaded_first(void **state)
{
    struct scene s;
    cmir_embeddings e;

    (void)state;
    set_up(&s, 20, "MR", 4, 2);
    s.slow = true;
    assert_int_equal(cmir_encode(&s.encoder, s.volume, CMIR_AXIAL, NULL, NULL, &e, NULL), CMIR_OK);
    const double low = s.volume->info.value_low, high = s.volume->info.value_high;
    assert_true(high > low);
    for (uint32_t k = 0; k < s.n_slices; k++) {
        const double value = fmin(fmax((100 + k - low) / (high - low), 0), 1);
        assert_float_equal(e.rows[2 * k], value / hypot(value, 100), 1e-6);
    }
    cmir_embeddings_free(&e);
    cmir_volume_close(s.volume);
}

static void
check_failure(struct scene *s, cmir_progress_fn progress, void *ctx, cmir_status want,
              const char *message)
{
    cmir_embeddings e = {.dim = 7};
    cmir_error err = {0};

    assert_int_equal(cmir_encode(&s->encoder, s->volume, CMIR_AXIAL, progress, ctx, &e, &err),
                     want);
    assert_int_equal(err.code, want);
    assert_non_null(strstr(err.msg, message));
    assert_null(e.rows);
    assert_null(e.marks);
    assert_int_equal(e.dim, 0);
    cmir_volume_close(s->volume);
}

static int
stop_at(void *ctx, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    return done >= *(uint64_t *)ctx;
}

static void
test_any_failure_ends_the_call(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct scene s;
        char message[64];
        const uint32_t at = rnd() % 30, n_threads = 1 + rnd() % 5;
        set_up(&s, 30, "CT", 1 + rnd() % 4, n_threads);
        s.slow = round % 4 == 0;
        if (round % 3 == 0) {
            s.load_fails_at = at;
            (void)snprintf(message, sizeof message, "the loader fails at slice %u", at);
            check_failure(&s, NULL, NULL, CMIR_ECORRUPT, message);
        } else if (round % 3 == 1) {
            s.encode_fails_at = at;
            (void)snprintf(message, sizeof message, "the encoder fails at slice %u", at);
            check_failure(&s, NULL, NULL, CMIR_EINVAL, message);
        } else {
            uint64_t when = at;
            check_failure(&s, stop_at, &when, CMIR_ECANCELLED, "made: cancelled after");
        }
    }
}

static void
test_a_failed_volume_is_refused(void **state)
{
    struct scene s;

    (void)state;
    set_up(&s, 30, "CT", 2, 2);
    s.load_fails_at = 5;
    assert_int_equal(cmir_volume_load(s.volume, NULL, NULL, NULL), CMIR_ECORRUPT);
    check_failure(&s, NULL, NULL, CMIR_EINVAL, "made: loaded already");
}

static void
fill(struct scene *s, uint32_t slice, int16_t first, int16_t rest)
{
    for (int i = 0; i < SIDE * SIDE; i++)
        s->voxels[slice][i] = i == 0 ? first : rest;
}

static void
test_air(void **state)
{
    struct scene s;
    cmir_embeddings e;

    (void)state;
    set_up(&s, 6, "CT", 2, 2);
    fill(&s, 0, -1000, -1000);
    fill(&s, 3, -3024, -950);
    assert_int_equal(cmir_encode(&s.encoder, s.volume, CMIR_AXIAL, NULL, NULL, &e, NULL), CMIR_OK);
    for (uint32_t k = 0; k < 6; k++)
        assert_int_equal(e.marks[k], k == 0 || k == 3 ? CMIR_SLICE_AIR : 0);
    cmir_embeddings_free(&e);
    cmir_volume_close(s.volume);

    set_up(&s, 6, "CT", 2, 2); /* nothing but air: all slices count */
    for (uint32_t k = 0; k < 6; k++)
        fill(&s, k, -1000, (int16_t)(-990 + (int)k));
    assert_int_equal(cmir_encode(&s.encoder, s.volume, CMIR_AXIAL, NULL, NULL, &e, NULL), CMIR_OK);
    for (uint32_t k = 0; k < 6; k++)
        assert_int_equal(e.marks[k], 0);
    cmir_embeddings_free(&e);
    cmir_volume_close(s.volume);
}

/* Everything that loading and encoding give, from slices that are read one by one. */
static void
test_streaming_is_as_loading(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct scene s, t;
        cmir_embeddings a, b;
        const uint32_t n = 2 + rnd() % (MAX_SLICES - 2), batch = 1 + rnd() % 9;
        set_up(&s, n, "CT", batch, 1 + rnd() % 6);
        set_up(&t, n, "CT", batch, 1 + rnd() % 6);
        for (uint32_t k = 0; k < n; k++)
            fill(&s, k, (int16_t)(rnd() % 3 == 0 ? 7 : -1000), (int16_t)(rnd() % 5 == 0 ? 7 : 90));
        memcpy(t.voxels, s.voxels, sizeof s.voxels);
        t.slow = round % 3 == 0;
        t.volume->slices_apart = true;
        assert_int_equal(cmir_encode(&s.encoder, s.volume, CMIR_AXIAL, NULL, NULL, &a, NULL),
                         CMIR_OK);
        assert_int_equal(
            cmir_encode_streamed(&t.encoder, t.volume, CMIR_AXIAL, NULL, NULL, &b, NULL), CMIR_OK);
        assert_int_equal(t.n_loaded, 0);
        assert_memory_equal(a.rows, b.rows, (size_t)n * a.dim * sizeof *a.rows);
        assert_memory_equal(a.marks, b.marks, n);
        assert_true(s.volume->info.value_low == t.volume->info.value_low);
        assert_true(s.volume->info.value_high == t.volume->info.value_high);
        assert_int_equal(cmir_volume_load(t.volume, NULL, NULL, NULL), CMIR_OK); /* still can be */
        assert_true(s.volume->info.value_high == t.volume->info.value_high);
        cmir_embeddings_free(&a);
        cmir_embeddings_free(&b);
        cmir_volume_close(s.volume);
        cmir_volume_close(t.volume);
    }
}

static void
check_streamed_failure(struct scene *s, cmir_status want, const char *message)
{
    cmir_embeddings e = {.dim = 7};
    cmir_error err = {0};

    s->volume->slices_apart = true;
    assert_int_equal(cmir_encode_streamed(&s->encoder, s->volume, CMIR_AXIAL, NULL, NULL, &e, &err),
                     want);
    assert_string_equal(err.msg, message);
    assert_null(e.rows);
    assert_int_equal(cmir_volume_load(s->volume, NULL, NULL, NULL), CMIR_EINVAL);
    cmir_volume_close(s->volume);
}

static void
test_streaming_fails_as_loading(void **state)
{
    struct scene s;

    (void)state;
    for (int round = 0; round < 40; round++) { /* the lowest of many slices that fail */
        char message[64];
        const uint32_t at = rnd() % 30;
        set_up(&s, 30, "CT", 1 + rnd() % 4, 1 + rnd() % 5);
        s.slow = round % 4 == 0;
        s.load_fails_at = at;
        (void)snprintf(message, sizeof message, "the loader fails at slice %u", at);
        check_streamed_failure(&s, CMIR_ECORRUPT, message);
    }
    set_up(&s, 6, "CT", 2, 2);
    for (uint32_t k = 0; k < 6; k++)
        fill(&s, k, 33, 33);
    check_streamed_failure(&s, CMIR_ECORRUPT, "made: every voxel has the same value, 33");
    set_up(&s, 6, "CT", 2, 2); /* even slices, of two values: no failure */
    for (uint32_t k = 0; k < 6; k++)
        fill(&s, k, k == 4, k == 4);
    cmir_embeddings e;
    s.volume->slices_apart = true;
    assert_int_equal(cmir_encode_streamed(&s.encoder, s.volume, CMIR_AXIAL, NULL, NULL, &e, NULL),
                     CMIR_OK);
    cmir_embeddings_free(&e);
    cmir_volume_close(s.volume);
}

/* Values of another kind, and slices of another plane, need all voxels. */
static void
test_what_cannot_be_streamed_is_loaded(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        struct scene s;
        cmir_embeddings e;
        set_up(&s, 8, round == 0 ? "MR" : round == 1 ? "" : "CT", 2, 2);
        s.volume->slices_apart = round != 2;
        assert_int_equal(cmir_encode_streamed(&s.encoder, s.volume,
                                              round == 3 ? CMIR_CORONAL : CMIR_AXIAL, NULL, NULL,
                                              &e, NULL),
                         CMIR_OK);
        assert_int_equal(s.n_loaded, 8);
        assert_int_equal(cmir_volume_load(s.volume, NULL, NULL, NULL), CMIR_EINVAL);
        cmir_embeddings_free(&e);
        cmir_volume_close(s.volume);
    }
}

/* A picture of one value stays so, whatever the sizes; ASan watches the ends. */
static void
test_resizing_keeps_what_is_even(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        static const cmir_filter filters[] = {CMIR_AREA, CMIR_BILINEAR, CMIR_BICUBIC};
        const uint32_t rows = 1 + rnd() % 70, cols = 1 + rnd() % 70;
        const uint32_t out_rows = 1 + rnd() % 70, out_cols = 1 + rnd() % 70;
        float *pixels = malloc(rows * cols * sizeof *pixels);
        float *scratch = malloc(cols * sizeof *scratch);
        float *out = malloc(out_rows * out_cols * sizeof *out);
        cmir_resizer r;

        for (uint32_t i = 0; i < rows * cols; i++)
            pixels[i] = 40;
        assert_int_equal(
            cmir_resizer_init(&r, filters[round % 3], rows, cols, NULL, out_rows, out_cols, NULL),
            CMIR_OK);
        cmir_resize(&r, pixels, -160, 1 / 400.0f, scratch, out);
        for (uint32_t i = 0; i < out_rows * out_cols; i++)
            assert_float_equal(out[i], 0.5, 1e-5);
        cmir_resizer_free(&r);
        free(pixels);
        free(scratch);
        free(out);
    }
}

/* Outside the picture a box holds 0: what it holds in all is what of the picture it covers. */
static void
test_a_box_counts_what_it_covers(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        const uint32_t rows = 1 + rnd() % 40, cols = 1 + rnd() % 40;
        const double top = rnd() % 60 - 30.0, left = rnd() % 60 - 30.0;
        const cmir_part box = {top, top + 40 + rnd() % 60, left, left + 40 + rnd() % 60};
        float pixels[1600], scratch[40], out[400];
        double sum = 0;
        cmir_resizer r;

        for (uint32_t i = 0; i < rows * cols; i++)
            pixels[i] = 1;
        assert_int_equal(cmir_resizer_init(&r, CMIR_AREA, rows, cols, &box, 20, 20, NULL), CMIR_OK);
        cmir_resize(&r, pixels, 0, 1, scratch, out);
        for (int i = 0; i < 400; i++)
            sum += out[i];
        const double high = fmin(box.bottom, rows) - fmax(box.top, 0);
        const double wide = fmin(box.right, cols) - fmax(box.left, 0);
        const double covered = fmax(high, 0) * fmax(wide, 0);
        const double area = (box.bottom - box.top) * (box.right - box.left);
        assert_float_equal(sum / 400, covered / area, 1e-5);
        cmir_resizer_free(&r);
    }
}

static void
test_builtin_survives_any_picture(void **state)
{
    static const double spacings[] = {1, 0, -1, 1e-300, 1e300, INFINITY, NAN, 0.3};
    static const float values[] = {0, -1024, 3000, 1e30f, -1e30f, -500, 40, 1e-30f};
    const cmir_encoder_options options = {sizeof options, NULL, 1};
    cmir_encoder *encoder;

    (void)state;
    assert_int_equal(cmir_encoder_open("builtin", &options, &encoder, NULL), CMIR_OK);
    const uint32_t dim = cmir_encoder_get_info(encoder)->dim;
    float *rows = malloc(2 * dim * sizeof *rows);
    for (int round = 0; round < 200; round++) {
        const uint32_t h = 1 + rnd() % 300, w = round % 5 == 0 ? 1 : 1 + rnd() % 300;
        float *pixels = malloc((size_t)h * w * sizeof *pixels);
        const bool even = rnd() % 4 == 0, has_hu = rnd() % 4 != 0;

        for (uint32_t i = 0; i < h * w; i++)
            pixels[i] = has_hu ? values[even ? 1 : rnd() % 8] : (float)(rnd() % 100) / 99;
        const cmir_picture p = {pixels, h, w, spacings[rnd() % 8], spacings[rnd() % 8], has_hu};
        const cmir_picture both[2] = {p, p};
        assert_int_equal(encoder->class_->encode(encoder, both, 2, rows, NULL), CMIR_OK);
        double norm = 0;
        for (uint32_t i = 0; i < dim; i++)
            norm += (double)rows[i] * rows[i];
        assert_true(norm > 0.5 && norm < 1e3);
        assert_memory_equal(rows, rows + dim, dim * sizeof *rows);
        free(pixels);
    }
    free(rows);
    cmir_encoder_close(encoder);
}

static void
test_arguments(void **state)
{
    const cmir_encoder_options no_size = {0, NULL, 0}, many = {sizeof many, NULL, 100000};
    cmir_encoder *encoder;
    cmir_error err = {0};

    (void)state;
    assert_int_equal(cmir_encoder_open(NULL, NULL, &encoder, &err), CMIR_EINVAL);
    assert_null(encoder);
    assert_int_equal(cmir_encoder_open("builtin", &no_size, &encoder, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_encoder_open("builtin", &many, &encoder, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_encoder_open("builtin", NULL, &encoder, NULL), CMIR_OK);
    cmir_encoder_close(encoder);
    cmir_encoder_close(NULL);
    cmir_embeddings_free(NULL);
}

/* FIPS 180-4, examples. */
static void
test_sha256(void **state)
{
    char hex[CMIR_SHA256_HEX_NBYTES];

    (void)state;
    cmir_sha256("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    cmir_sha256("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_slice_gets_its_row),
        cmocka_unit_test(test_encoding_overlaps_loading),
        cmocka_unit_test(test_without_hu_all_is_loaded_first),
        cmocka_unit_test(test_any_failure_ends_the_call),
        cmocka_unit_test(test_a_failed_volume_is_refused),
        cmocka_unit_test(test_air),
        cmocka_unit_test(test_streaming_is_as_loading),
        cmocka_unit_test(test_streaming_fails_as_loading),
        cmocka_unit_test(test_what_cannot_be_streamed_is_loaded),
        cmocka_unit_test(test_resizing_keeps_what_is_even),
        cmocka_unit_test(test_a_box_counts_what_it_covers),
        cmocka_unit_test(test_builtin_survives_any_picture),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_sha256),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
