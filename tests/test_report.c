/* SPDX-License-Identifier: Apache-2.0 */
/* test_report.c: text and pictures inside HTML, and what a caller of cmir_report_write() relies on:
 * options, progress, an old file that survives.  What the page holds is checked in
 * oracle/test_report.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <cmir/cmir.h>

#include "base/file.h"
#include "report/html.h"

#define FFFD "\xEF\xBF\xBD"

static void
test_text(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"plain 1.2", "plain 1.2"},
        {"<a href=\"x\" b='c'>&amp;", "&lt;a href=&quot;x&quot; b=&#39;c&#39;&gt;&amp;amp;"},
        {"M\xC3\xBCller \xE2\x82\xAC \xF0\x9F\x98\x80",
         "M\xC3\xBCller \xE2\x82\xAC \xF0\x9F\x98\x80"},
        {"tab\tline\n", "tab\tline\n"},
        {"\x01\x1B[31m\x7F", FFFD FFFD "[31m" FFFD},
        {"\xFF\xC3", FFFD FFFD}, /* no UTF-8; a character cut short */
        {"\xC0\xBC", FFFD FFFD}, /* '<' written in two bytes */
        {"\xED\xA0\x80", FFFD FFFD FFFD}, /* half of a surrogate pair */
        {"\xF4\x90\x80\x80", FFFD FFFD FFFD FFFD}, /* past the last character */
        {"a\xE2\x80\xAE"
         "b\xE2\x81\xA6",
         "a" FFFD "b" FFFD}, /* turns the direction of writing */
        {"\xEF\xBF\xBF\xC2\x85", FFFD FFFD}, /* no character; a C1 control */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cmir_buf out = {0};

        cmir_buf_puts(&out, "");
        cmir_html_text(&out, cases[i].in);
        assert_string_equal(out.data, cases[i].out);
        free(out.data);
    }
}

/* The vectors of RFC 4648, and the last digits of the alphabet. */
static void
test_base64(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    static const unsigned char high[3] = {0xFF, 0xFE, 0xFB};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cmir_buf out = {0};

        cmir_html_png(&out, cases[i][0], strlen(cases[i][0]));
        assert_memory_equal(out.data, "data:image/png;base64,", 22);
        assert_string_equal(out.data + 22, cases[i][1]);
        free(out.data);
    }
    cmir_buf out = {0};
    cmir_html_png(&out, high, sizeof high);
    assert_string_equal(out.data + 22, "//77");
    free(out.data);
}

/* An archive of two small volumes and a search in it. */
struct made {
    char dir[64], scan[2][96], archive_dir[96], report[96];
    cmir_encoder *encoder;
    cmir_archive *archive;
    cmir_result *result;
};

static void
write_scan(const char *path, uint32_t number)
{
    static const uint32_t dims[3] = {24, 20, 7};
    static const double affine[3][4] = {{8, 0, 0, 0}, {0, 8, 0, 0}, {0, 0, 5, 0}};
    int16_t voxels[24 * 20 * 7];
    cmir_error err = {0};

    for (uint32_t i = 0; i < 24 * 20 * 7; i++) {
        const int x = (int)(i % 24) - 12, y = (int)(i / 24 % 20) - 10;

        voxels[i] = (int16_t)(x * x + y * y < 80 ? 40 + (int)((i * number) % 97) : -1000);
    }
    if (cmir_nifti_write(path, voxels, dims, affine, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
}

static int
make(void **state)
{
    struct made *m = calloc(1, sizeof *m);
    const cmir_search_options options = {.struct_nbytes = sizeof options};
    cmir_error err = {0};

    assert_non_null(m);
    strcpy(m->dir, "/tmp/cmir_test_report_XXXXXX");
    assert_non_null(mkdtemp(m->dir));
    snprintf(m->archive_dir, sizeof m->archive_dir, "%s/archive", m->dir);
    snprintf(m->report, sizeof m->report, "%s/report.html", m->dir);
    if (cmir_encoder_open("builtin", NULL, &m->encoder, &err) != CMIR_OK ||
        cmir_archive_create(m->archive_dir, m->encoder, CMIR_AXIAL, &err) != CMIR_OK ||
        cmir_archive_open(m->archive_dir, CMIR_WRITE, &m->archive, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
    for (uint32_t i = 0; i < 2; i++) {
        cmir_volume *volume;
        bool added;

        snprintf(m->scan[i], sizeof m->scan[i], "%s/scan%u.nii", m->dir, i);
        write_scan(m->scan[i], i + 3);
        if (cmir_volume_read(m->scan[i], NULL, &volume, &err) != CMIR_OK ||
            cmir_archive_add(m->archive, m->encoder, volume, NULL, 0, NULL, NULL, &added, &err) !=
                CMIR_OK)
            fail_msg("%s", err.msg);
        cmir_volume_close(volume);
    }
    if (cmir_search_stored(m->archive, m->archive, "scan0", &options, &m->result, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(m->result->n_hits, 1);
    *state = m;
    return 0;
}

static int
unmake(void **state)
{
    struct made *m = *state;
    char command[128];

    cmir_result_free(m->result);
    cmir_archive_close(m->archive);
    cmir_encoder_close(m->encoder);
    snprintf(command, sizeof command, "rm -rf %s", m->dir);
    const int failed = system(command);
    free(m);
    return failed;
}

static int
stop_at_once(void *ctx, uint64_t done, uint64_t total)
{
    (void)done;
    assert_int_equal(total, 1);
    ++*(int *)ctx;
    return 1;
}

static int
count_hits(void *ctx, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    assert_int_equal(done, (*(int *)ctx)++);
    return 0;
}

static char *
read_report(const struct made *m)
{
    char *data;
    size_t nbytes;
    cmir_error err = {0};

    if (cmir_file_read(m->report, 1u << 24, &data, &nbytes, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
    return data;
}

static void
test_refused_and_cancelled(void **state)
{
    struct made *m = *state;
    int calls = 0;
    cmir_report_options options = {.struct_nbytes = sizeof options + 8};
    cmir_error err = {0};

    assert_int_equal(cmir_file_replace(m->report, "old", 3, NULL), CMIR_OK);
    assert_int_equal(cmir_report_write(m->result, m->archive, &options, m->report, NULL),
                     CMIR_EINVAL);
    assert_int_equal(cmir_report_write(NULL, m->archive, NULL, m->report, NULL), CMIR_EINVAL);
    options = (cmir_report_options){
        .struct_nbytes = sizeof options, .progress = stop_at_once, .progress_ctx = &calls};
    assert_int_equal(cmir_report_write(m->result, m->archive, &options, m->report, &err),
                     CMIR_ECANCELLED);
    assert_int_equal(calls, 1);
    char *data = read_report(m);
    assert_string_equal(data, "old");
    free(data);
}

/* The caller's volume serves where the query's file is gone. */
static void
test_given_query(void **state)
{
    struct made *m = *state;
    int calls = 0;
    cmir_report_options options = {.struct_nbytes = sizeof options,
                                   .command = "a <b> & c",
                                   .progress = count_hits,
                                   .progress_ctx = &calls};
    cmir_error err = {0};

    if (cmir_volume_read(m->scan[0], NULL, &options.query, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(unlink(m->scan[0]), 0);
    assert_int_equal(cmir_report_write(m->result, m->archive, &options, m->report, &err), CMIR_OK);
    assert_int_equal(calls, 2);
    char *data = read_report(m);
    assert_null(strstr(data, "no picture"));
    assert_non_null(strstr(data, "a &lt;b&gt; &amp; c"));
    free(data);
    cmir_volume_close(options.query);
    options.query = NULL;
    calls = 0;
    assert_int_equal(cmir_report_write(m->result, m->archive, &options, m->report, &err), CMIR_OK);
    data = read_report(m);
    assert_non_null(strstr(data, "no picture"));
    free(data);
    write_scan(m->scan[0], 3);
}

/* The same of an evaluation: two queries, of which one is shown with the hit of its search. */
static void
test_evaluation(void **state)
{
    struct made *m = *state;
    const cmir_eval_volume volumes[] = {{.id = "scan0", .value = "1"},
                                        {.id = "scan1", .value = "0"}};
    const uint32_t other[] = {1, 0};
    const cmir_eval_list lists[] = {{.found = &other[0], .n_found = 1},
                                    {.found = &other[1], .n_found = 1}};
    const cmir_eval_query queries[] = {{0, &other[0], 1}, {1, &other[1], 1}};
    const cmir_eval_method method = {"a <b> & c", lists};
    const cmir_eval_input input = {.struct_nbytes = sizeof input,
                                   .volumes = volumes,
                                   .n_volumes = 2,
                                   .queries = queries,
                                   .n_queries = 2,
                                   .methods = &method,
                                   .n_methods = 1};
    const cmir_evaluation_case shown[] = {{0, m->result}, {2, m->result}};
    cmir_evaluation_report_options options = {.struct_nbytes = sizeof options, .cases = shown};
    cmir_evaluation *e;
    int calls = 0;
    cmir_error err = {0};

    if (cmir_evaluate(&input, NULL, &e, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(e->metrics[cmir_evaluation_main_metric(e)], "P@10");
    assert_int_equal(cmir_file_replace(m->report, "old", 3, NULL), CMIR_OK);
    assert_int_equal(cmir_evaluation_report_write(e, &input, NULL, m->report, NULL), CMIR_EINVAL);
    options.n_cases = 1; /* of no archive */
    assert_int_equal(cmir_evaluation_report_write(e, &input, &options, m->report, NULL),
                     CMIR_EINVAL);
    options.archive = m->archive;
    options.n_best = 2; /* of one case */
    assert_int_equal(cmir_evaluation_report_write(e, &input, &options, m->report, NULL),
                     CMIR_EINVAL);
    options.n_cases = 2; /* the second one is of query 2 of 0 and 1 */
    assert_int_equal(cmir_evaluation_report_write(e, &input, &options, m->report, NULL),
                     CMIR_EINVAL);
    options.n_cases = options.n_best = 1;
    options.progress = stop_at_once;
    options.progress_ctx = &calls;
    assert_int_equal(cmir_evaluation_report_write(e, &input, &options, m->report, &err),
                     CMIR_ECANCELLED);
    char *data = read_report(m);
    assert_string_equal(data, "old");
    free(data);
    options.progress = NULL;
    err = (cmir_error){0};
    if (cmir_evaluation_report_write(e, &input, &options, m->report, &err) != CMIR_OK)
        fail_msg("%s", err.msg);
    data = read_report(m);
    assert_null(strstr(data, "no picture"));
    assert_non_null(strstr(data, "a &lt;b&gt; &amp; c"));
    assert_non_null(strstr(data, "not relevant"));
    free(data);
    cmir_evaluation_free(e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_refused_and_cancelled),
        cmocka_unit_test(test_given_query),
        cmocka_unit_test(test_evaluation),
    };

    return cmocka_run_group_tests(tests, make, unmake);
}
