/* SPDX-License-Identifier: Apache-2.0 */
/* test_evidence.c: votes, medians, calibrations and contrast at their edges, and what the interface
 * refuses.  Figures are checked against numpy and scipy in oracle/test_evidence.py and
 * oracle/test_contrast.py. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "assess/contrast.h"
#include "assess/evidence.h"
#include "expect.h"

static void
test_votes(void **state)
{
    static const char *const text[] = {"b", NULL, "a", "b", "a", "c"};
    static const double weight[] = {1, 1, 1, 0.5, 0.5, 1};
    cmir_evidence_value values[6];
    uint32_t n_labelled;

    (void)state;
    assert_int_equal(cmir_count_votes(text, weight, 6, values, &n_labelled), 3);
    assert_int_equal(n_labelled, 5);
    assert_string_equal(values[0].text, "a"); /* as heavy and as frequent as b: by text */
    assert_string_equal(values[1].text, "b");
    assert_string_equal(values[2].text, "c");
    assert_float_equal(values[0].share, 0.4, 1e-12);
    assert_float_equal(values[0].weighted_share, 1.5 / 4, 1e-12);
    assert_true(values[0].low > 0 && values[0].low < 0.4 && values[0].high > 0.4);
    assert_int_equal(cmir_count_votes(text, weight, 0, values, &n_labelled), 0);
    assert_int_equal(n_labelled, 0);
    assert_int_equal(cmir_count_votes(text + 1, weight, 1, values, &n_labelled), 0);
}

static void
test_first_of_patients(void **state)
{
    static const char *const patient[] = {"x", "y", "x", "z", "y", "w"};
    size_t first[6];

    (void)state;
    assert_int_equal(cmir_first_of_patients(patient, 6, 3, first), 3);
    assert_int_equal(first[0], 0);
    assert_int_equal(first[1], 1);
    assert_int_equal(first[2], 3);
    assert_int_equal(cmir_first_of_patients(patient, 6, 6, first), 4);
    assert_int_equal(cmir_first_of_patients(patient, 0, 6, first), 0);
}

static void
test_weighted_median(void **state)
{
    static const double value[] = {3, NAN, 1, 2}, weight[] = {1, 9, 1, 1}, heavy[] = {5, 1, 1, 1};
    double low, high;

    (void)state;
    assert_float_equal(cmir_weighted_median(value, weight, 4, &low, &high), 2, 0);
    assert_float_equal(low, 1, 0);
    assert_float_equal(high, 3, 0);
    assert_float_equal(cmir_weighted_median(value, heavy, 4, &low, &high), 3, 0);
    /* Half of the weight is enough: the lower of two. */
    assert_float_equal(cmir_weighted_median(value + 2, weight, 2, &low, &high), 2, 0);
    assert_float_equal(cmir_weighted_median(value + 2, weight + 2, 2, &low, &high), 1, 0);
    assert_true(isnan(cmir_weighted_median(value + 1, weight, 1, &low, &high)));
    assert_true(isnan(cmir_weighted_median(value, weight, 0, &low, &high)) && isnan(low));
}

static void
test_calibration_of_little(void **state)
{
    cmir_outcome outcomes[] = {
        {.patient = "p", .truth = "a", .n_labelled = 4, .n_for = 4, .right = true},
        {.patient = "p", .truth = "a", .n_labelled = 5, .n_for = 3, .right = true},
        {.patient = "p", .truth = "b", .n_labelled = 1000, .n_for = 1000},
    };
    cmir_calibration c = {.kind = CMIR_LABEL_CLASS};

    (void)state;
    OK(cmir_calibration_of(outcomes, 3, &c, &err));
    assert_int_equal(c.n_labelled, 3);
    assert_int_equal(c.n_queries, 2); /* one had too few neighbours */
    assert_int_equal(c.n_patients, 1);
    assert_int_equal(c.n_right, 1);
    assert_int_equal(c.n_majority, 1);
    assert_int_equal(c.bin_n[6], 1);
    assert_int_equal(c.bin_right[6], 1);
    assert_int_equal(c.bin_n[10], 1);
    assert_true(c.rate > 0.49 && c.rate < 0.51 && c.low < 0.1 && c.high > 0.9); /* of one patient */
    for (int kind = 0; kind < 2; kind++) {
        c = (cmir_calibration){.kind = (cmir_label_kind)kind};
        OK(cmir_calibration_of(outcomes, 0, &c, &err));
        assert_int_equal(c.n_queries, 0);
        assert_true(isnan(c.rate) && isnan(c.error) && isnan(c.error_alone));
    }
}

static void
test_contrast_of_little(void **state)
{
    enum { N = 300 };
    static float similarity[2][N];
    static uint32_t slice[N];
    static cmir_contrast_slice slices[N];
    cmir_contrast_input in = {
        .similarity = similarity[0], .n_positive = 1, .n_negative = 1, .slice = slice, .seed = 7};
    cmir_contrast c = {0};

    (void)state;
    for (uint32_t i = 0; i < N; i++)
        slice[i] = 3 * i;
    in.n_slices = 1;
    OK(cmir_contrast_of(&in, slices, &c, &err));
    assert_int_equal(c.first, 0);
    assert_int_equal(c.last, 0);
    assert_true(isnan(c.rise));
    assert_float_equal(c.p, 1, 0);
    in.n_slices = N; /* a level curve: no slice is better than the first */
    OK(cmir_contrast_of(&in, slices, &c, &err));
    assert_int_equal(c.first, 0);
    assert_float_equal(c.p, 1, 0);
    for (uint32_t i = 280; i < 290; i++) /* behind the first block of slices */
        similarity[0][i] = 0.5f;
    OK(cmir_contrast_of(&in, slices, &c, &err));
    assert_int_equal(c.first, 3 * 280);
    assert_int_equal(c.last, 3 * 289);
    assert_int_equal(c.first_low, 3 * 280);
    assert_int_equal(c.last_high, 3 * 289);
    assert_float_equal(c.rise, 0.5, 1e-6);
    assert_float_equal(slices[285].low, 0.5, 1e-6);
    assert_float_equal(slices[285].in_run, 1, 1e-9);
    assert_float_equal(slices[279].in_run, 0, 0);
    assert_true(c.p > 0.4); /* of two cases each dealing has a chance of a half */
}

/* An archive of ten volumes of one slice, five with a label. */
static cmir_archive *
make_archive(const char *dir)
{
    static const cmir_label label = {"side", "left"};
    cmir_encoder *encoder;
    cmir_archive *archive;
    cmir_import_item items[10] = {{0}};
    char ids[10][4];
    float rows[10][2];

    OK(cmir_encoder_external("two", "1", 2, &encoder, &err));
    OK(cmir_archive_create(dir, encoder, CMIR_AXIAL, &err));
    cmir_encoder_close(encoder);
    OK(cmir_archive_open(dir, CMIR_WRITE, &archive, &err));
    for (int i = 0; i < 10; i++) {
        snprintf(ids[i], sizeof ids[i], "v%d", i);
        rows[i][0] = (float)cos(0.1 * i);
        rows[i][1] = (float)sin(0.1 * i);
        items[i] = (cmir_import_item){.volume_id = ids[i],
                                      .path = "",
                                      .rows = rows[i],
                                      .n_slices = 1,
                                      .labels = &label,
                                      .n_labels = i % 2};
    }
    OK(cmir_archive_import(archive, 2, items, 10, 1, &err));
    return archive;
}

static void
test_interface(void **state)
{
    char dir[] = "/tmp/cmir_test_evidence_XXXXXX", command[64], archive_dir[64];
    static const char *const nobody[] = {"nobody"};
    cmir_search_options options = {.struct_nbytes = sizeof options, .n_neighbours = 4};
    cmir_calibrate_options calibrate = {.struct_nbytes = sizeof calibrate, .k = 4};
    cmir_result *result;
    cmir_calibration *rows;
    size_t n;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(archive_dir, sizeof archive_dir, "%s/a", dir);
    cmir_archive *archive = make_archive(archive_dir);
    FAILS(cmir_search_stored(archive, archive, "v1", &options, &result, &err), CMIR_EINVAL,
          "5..1000");
    FAILS(cmir_calibrate(archive, &calibrate, &rows, &n, &err), CMIR_EINVAL, "5..1000");
    calibrate.k = 0;
    calibrate.labels = nobody;
    calibrate.n_labels = 1;
    FAILS(cmir_calibrate(archive, &calibrate, &rows, &n, &err), CMIR_ENOTFOUND, "nobody");
    calibrate.struct_nbytes = 8;
    FAILS(cmir_calibrate(archive, &calibrate, &rows, &n, &err), CMIR_EINVAL, "struct_nbytes");
    OK(cmir_calibrate(archive, NULL, NULL, NULL, &err));
    options.n_neighbours = 10;
    options.limit = 1;
    OK(cmir_search_stored(archive, archive, "v0", &options, &result, &err));
    assert_int_equal(result->n_hits, 1);
    assert_null(result->contrast);
    assert_int_equal(result->evidence->n_neighbours, 9);
    assert_int_equal(result->evidence->n_labels, 1);
    assert_true(result->evidence->labels[0].enough);
    assert_non_null(result->evidence->labels[0].calibration);
    cmir_archive_close(archive); /* the result outlives it */
    assert_string_equal(result->evidence->labels[0].name, "side");
    assert_string_equal(result->evidence->labels[0].values[0].text, "left");
    assert_string_equal(result->evidence->labels[0].calibration->label, "side");
    assert_string_equal(result->evidence->neighbours[8].volume_id, "v9");
    cmir_result_free(result);

    OK(cmir_archive_open(archive_dir, CMIR_READ, &archive, &err));
    FAILS(cmir_calibrate(archive, NULL, &rows, &n, &err), CMIR_EINVAL, "reading only");
    options.n_neighbours = 0;
    options.contrast_label = "side";
    options.contrast_value = "left";
    OK(cmir_search_stored(archive, archive, "v0", &options, &result, &err));
    assert_null(result->evidence);
    assert_int_equal(result->contrast->n_positive, 5);
    assert_int_equal(result->contrast->n_negative, 0);
    assert_false(result->contrast->enough);
    cmir_result_free(result);
    options.contrast_label = "";
    FAILS(cmir_search_stored(archive, archive, "v0", &options, &result, &err), CMIR_EINVAL, "name");
    cmir_archive_close(archive);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_votes),
        cmocka_unit_test(test_first_of_patients),
        cmocka_unit_test(test_weighted_median),
        cmocka_unit_test(test_calibration_of_little),
        cmocka_unit_test(test_contrast_of_little),
        cmocka_unit_test(test_interface),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
