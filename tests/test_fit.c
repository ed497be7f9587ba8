/* SPDX-License-Identifier: Apache-2.0 */
/* test_fit.c: what cmir_archive_fit() refuses, and that nothing is left then; that any number of
 * threads makes the same archive; progress.  What it computes is compared with numpy in
 * oracle/test_fit.py. */
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <cmir/cmir.h>

#include "expect.h"
#include "fit/whitening.h"

#define DIM 70u /* two panels of a row, the second mostly padding */
#define N_VOLUMES 7u
#define N_SLICES 40u

static char folder[64];
static uint64_t state = 20240722;

static double
rnd(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 33) / 2147483648.0;
}

static const char *
in_folder(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static cmir_archive *
open_archive(const char *name, cmir_access access)
{
    cmir_archive *archive;

    OK(cmir_archive_open(in_folder(name), access, &archive, &err));
    return archive;
}

/* Rows of unit length round a common mean, that vary less and less along the dimensions. */
static void
make_rows(float *rows)
{
    for (uint32_t i = 0; i < N_SLICES; i++) {
        double norm = 0;
        for (uint32_t d = 0; d < DIM; d++) {
            rows[i * DIM + d] = (float)(0.5 + (rnd() - 0.5) * exp(-0.05 * d));
            norm += (double)rows[i * DIM + d] * (double)rows[i * DIM + d];
        }
        for (uint32_t d = 0; d < DIM; d++)
            rows[i * DIM + d] = (float)(rows[i * DIM + d] / sqrt(norm));
    }
}

static int
set_up(void **unused)
{
    float *rows = malloc(sizeof *rows * N_SLICES * DIM);
    uint8_t marks[N_SLICES] = {0};
    char id[16];
    cmir_encoder *encoder;
    cmir_archive *archive;

    (void)unused;
    printf("seed %llu\n", (unsigned long long)state);
    strcpy(folder, "/tmp/cmir_test_XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_non_null(rows);
    marks[3] = CMIR_SLICE_AIR;
    OK(cmir_encoder_external("made up", "1", DIM, &encoder, &err));
    OK(cmir_archive_create(in_folder("base"), encoder, CMIR_AXIAL, &err));
    cmir_encoder_close(encoder);
    archive = open_archive("base", CMIR_WRITE);
    for (uint32_t i = 0; i < N_VOLUMES; i++) {
        const cmir_label label = {"n", id};
        cmir_import_item item = {.volume_id = id,
                                 .path = "",
                                 .rows = rows,
                                 .marks = marks,
                                 .n_slices = N_SLICES,
                                 .labels = &label,
                                 .n_labels = 1};
        snprintf(id, sizeof id, "v%u", i);
        make_rows(rows);
        OK(cmir_archive_import(archive, DIM, &item, 1, 1, &err));
        assert_true(item.added);
    }
    cmir_archive_close(archive);
    free(rows);
    return 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int
tear_down(void **unused)
{
    (void)unused;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static bool
is_there(const char *name)
{
    struct stat st;

    return lstat(in_folder(name), &st) == 0;
}

static cmir_fit_options
options_of(uint32_t dims)
{
    return (cmir_fit_options){.struct_nbytes = sizeof(cmir_fit_options), .dims = dims};
}

static void
test_refusals(void **unused)
{
    cmir_archive *base = open_archive("base", CMIR_READ);
    cmir_fit_options o = options_of(DIM + 1);
    const char *new = in_folder("new");

    (void)unused;
    FAILS(cmir_archive_fit(base, new, &o, &err), CMIR_EINVAL, "71 dimensions are wanted");
    o = options_of(8);
    FAILS(cmir_archive_fit(base, "", &o, &err), CMIR_EINVAL, "path of a directory");
    FAILS(cmir_archive_fit(base, NULL, &o, &err), CMIR_EINVAL, "path of a directory");
    FAILS(cmir_archive_fit(base, in_folder("base"), &o, &err), CMIR_EEXIST, "something already");
    o.where = "n = 'v3'";
    FAILS(cmir_archive_fit(base, new, &o, &err), CMIR_EINVAL, "two volumes or more");
    o.where = "n =";
    FAILS(cmir_archive_fit(base, new, &o, &err), CMIR_EINVAL, "filter");
    o = options_of(8);
    o.volumes = (const char *const[]){"v1", "v2"};
    o.n_volumes = 1;
    FAILS(cmir_archive_fit(base, new, &o, &err), CMIR_EINVAL, "two volumes or more");
    o.volumes = (const char *const[]){"v2", "v1"};
    o.n_volumes = 2;
    FAILS(cmir_archive_fit(base, new, &o, &err), CMIR_EINVAL, "order");
    o.volumes = (const char *const[]){"v1", "w"};
    FAILS(cmir_archive_fit(base, new, &o, &err), CMIR_ENOTFOUND, "w");
    o = options_of(8);
    o.n_threads = 257;
    FAILS(cmir_archive_fit(base, new, &o, &err), CMIR_EINVAL, "257 threads");
    o.struct_nbytes--;
    FAILS(cmir_archive_fit(base, new, &o, &err), CMIR_EINVAL, "struct_nbytes");
    o = options_of(8);
    FAILS(cmir_archive_fit(base, in_folder("no/new"), &o, &err), CMIR_EIO, "no/new");
    OK(mkdir(in_folder("new.partial"), 0777) == 0 ? CMIR_OK : CMIR_EIO);
    OK(mkdir(in_folder("new.partial/mine"), 0777) == 0 ? CMIR_OK : CMIR_EIO);
    FAILS(cmir_archive_fit(base, in_folder("new"), &o, &err), CMIR_EEXIST, "new.partial");
    assert_true(is_there("new.partial/mine"));
    assert_int_equal(rmdir(in_folder("new.partial/mine")), 0);
    assert_int_equal(rmdir(in_folder("new.partial")), 0);
    assert_false(is_there("new"));
    cmir_archive_close(base);
}

struct calls {
    uint64_t n, last, total, stop_at; /* 0: never */
};

static int
count(void *ctx, uint64_t done, uint64_t total)
{
    struct calls *c = ctx;

    assert_true(done == c->last + 1 && (c->n == 0 || total == c->total));
    c->n++;
    c->last = done;
    c->total = total;
    return done == c->stop_at;
}

static void
test_progress(void **unused)
{
    cmir_archive *base = open_archive("base", CMIR_READ);
    struct calls calls = {0};
    cmir_fit_options o = options_of(8);

    (void)unused;
    o.where = "not n = 'v0'";
    o.progress = count;
    o.progress_ctx = &calls;
    for (uint64_t stop = 1; stop <= 2 * N_VOLUMES - 1; stop++) {
        calls = (struct calls){.stop_at = stop};
        FAILS(cmir_archive_fit(base, in_folder("stopped"), &o, &err), CMIR_ECANCELLED, "stopped");
        assert_int_equal(calls.n, stop);
        assert_false(is_there("stopped") || is_there("stopped.partial"));
    }
    calls = (struct calls){0};
    OK(cmir_archive_fit(base, in_folder("done"), &o, &err));
    assert_true(calls.n == 2 * N_VOLUMES - 1 && calls.total == calls.n);
    cmir_archive_close(base);
}

/* Volumes by their ids are learnt from as those that a filter passes; all are written. */
static void
test_learnt_from_named_volumes(void **unused)
{
    static const char *const some[] = {"v0", "v2", "v3"};
    cmir_archive *base = open_archive("base", CMIR_READ), *fitted[2];
    cmir_fit_options o = options_of(8);

    (void)unused;
    o.where = "n = 'v0' or n = 'v2' or n = 'v3'";
    OK(cmir_archive_fit(base, in_folder("filtered"), &o, &err));
    o.where = NULL;
    o.volumes = some;
    o.n_volumes = 3;
    OK(cmir_archive_fit(base, in_folder("named"), &o, &err));
    fitted[0] = open_archive("filtered", CMIR_READ);
    fitted[1] = open_archive("named", CMIR_READ);
    const cmir_archive_info *a = cmir_archive_get_info(fitted[0]),
                            *b = cmir_archive_get_info(fitted[1]);
    assert_string_equal(a->encoder_sha256, b->encoder_sha256);
    assert_int_equal(b->whitening->n_volumes, 3);
    assert_true(a->n_volumes == N_VOLUMES && b->n_volumes == N_VOLUMES);
    for (int i = 0; i < 2; i++)
        cmir_archive_close(fitted[i]);
    cmir_archive_close(base);
}

/* The same sha256, which covers the weights, and the same rows. */
static void
test_threads_make_no_difference(void **unused)
{
    cmir_archive *base = open_archive("base", CMIR_READ), *fitted[2];
    cmir_embeddings a, b;

    (void)unused;
    for (uint32_t i = 0; i < 2; i++) {
        cmir_fit_options o = options_of(DIM - 1);
        o.n_threads = i == 0 ? 1 : 5;
        OK(cmir_archive_fit(base, in_folder(i == 0 ? "one" : "five"), &o, &err));
        fitted[i] = open_archive(i == 0 ? "one" : "five", CMIR_READ);
        const cmir_archive_info *info = cmir_archive_get_info(fitted[i]);
        assert_string_equal(info->encoder_name, "made up+whitened");
        assert_int_equal(info->dim, DIM - 1);
        assert_int_equal(info->n_air_slices, N_VOLUMES);
        assert_non_null(info->whitening);
        assert_string_equal(info->whitening->base_name, "made up");
        assert_string_equal(info->whitening->where, "");
        assert_int_equal(info->whitening->base_dim, DIM);
        assert_int_equal(info->whitening->n_volumes, N_VOLUMES);
        assert_int_equal(info->whitening->n_slices, N_VOLUMES * (N_SLICES - 1));
        assert_true(info->whitening->explained > 0.9 && info->whitening->explained <= 1);
    }
    assert_null(cmir_archive_get_info(base)->whitening);
    assert_string_equal(cmir_archive_get_info(fitted[0])->encoder_sha256,
                        cmir_archive_get_info(fitted[1])->encoder_sha256);
    OK(cmir_archive_embeddings(fitted[0], "v6", &a, &err));
    OK(cmir_archive_embeddings(fitted[1], "v6", &b, &err));
    assert_int_equal(a.n_slices, N_SLICES);
    assert_memory_equal(a.rows, b.rows, sizeof *a.rows * a.n_slices * a.dim);
    assert_true(a.marks[3] == CMIR_SLICE_AIR && a.marks[2] == 0);
    cmir_embeddings_free(&a);
    cmir_embeddings_free(&b);
    FAILS(cmir_archive_fit(fitted[0], in_folder("twice"), NULL, &err), CMIR_EINVAL,
          "fitted already");
    cmir_archive_close(fitted[0]);
    cmir_archive_close(fitted[1]);
    cmir_archive_close(base);
}

/* A row that is the mean has no direction once whitened: it gets one all the same. */
static void
test_apply(void **unused)
{
    const int16_t mean[3] = {0, 0, 0}, row[3] = {0, 16384, -8192};
    const float weights[6] = {1, 1, 2, 0, -3, 0};
    cmir_whitening *w;
    float out[2];

    (void)unused;
    OK(cmir_whitening_new(3, 2, "", "", "", &w, &err));
    memcpy(w->weights, weights, sizeof weights);
    cmir_whitening_apply(w, mean, out);
    assert_true(fabs(out[0] - sqrt(0.5)) < 1e-7 && out[0] == out[1]);
    cmir_whitening_apply(w, row, out); /* 1 x 1/2 - 2 x 1/4 = 0; -3 x 1/2 */
    assert_true(out[0] == 0 && out[1] == -1);
    cmir_whitening_free(w);
}

static void
test_given_embeddings(void **unused)
{
    cmir_archive *base = open_archive("base", CMIR_READ), *fitted;
    float rows[2 * DIM];
    uint8_t marks[2] = {0};
    cmir_embeddings query = {rows, marks, 2, DIM};
    cmir_result *result;

    (void)unused;
    OK(cmir_archive_fit(base, in_folder("default"), NULL, &err));
    fitted = open_archive("default", CMIR_READ);
    assert_int_equal(cmir_archive_get_info(fitted)->dim, 64);
    for (uint32_t d = 0; d < DIM; d++)
        rows[d] = rows[DIM + d] = 1;
    OK(cmir_search_embeddings(fitted, &query, "q", NULL, &result, &err));
    assert_int_equal(result->n_hits, N_VOLUMES);
    assert_true(isfinite(result->hits[0].score));
    cmir_result_free(result);
    for (uint32_t d = 0; d < DIM; d++)
        rows[DIM + d] = 0;
    FAILS(cmir_search_embeddings(fitted, &query, "q", NULL, &result, &err), CMIR_EINVAL,
          "slice 1 has no direction");
    query.dim = 64;
    FAILS(cmir_search_embeddings(fitted, &query, "q", NULL, &result, &err), CMIR_EMISMATCH,
          "dimension 64");
    cmir_archive_close(fitted);
    cmir_archive_close(base);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_learnt_from_named_volumes),
        cmocka_unit_test(test_threads_make_no_difference),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_given_embeddings),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
