/* SPDX-License-Identifier: Apache-2.0 */
/* test_rankings.c: ranked lists from files: what CSV and TREC runs mean, and what is refused with
 * its line. */

#include "synthetic.h"

#include <cmir/assess.h>

static const char *
write_file(void **state, const char *text)
{
    const char *path = in_folder(state, "t.csv");
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    return path;
}

static void
test_meaning(void **state)
{
    static const struct {
        const char *text, *meaning; /* line:query>volume=score@method */
    } cases[] = {
        {"query,volume\nq,a\nq,b.nii.gz\n", "2:q>a=nan@ 3:q>b=nan@ "},
        {"score,volume,note,query\n.5,a,x,q.nii\n-1e-3,b,,q\n", "2:q>a=0.5@ 3:q>b=-0.001@ "},
        {"\xEF\xBB\xBFmethod,query,volume\r\n\"a, b\",q,v\r\n,q,w\r\n",
         "2:q>v=nan@a, b 3:q>w=nan@ "},
        {"query,volume\n", ""},
        {"q1 Q0 a 1 0.75 run1\nq1\tQ0\tb.nii\t2\t.5\trun1\r\n\n  q2 Q0 a 1 3 run2",
         "1:q1>a=0.75@run1 2:q1>b=0.5@run1 4:q2>a=3@run2 "},
    };
    char text[400];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = write_file(state, cases[i].text);
        cmir_ranking *rows;
        size_t n, at = 0;

        assert_ok(cmir_rankings_read(path, &rows, &n, err));
        text[0] = '\0';
        for (size_t k = 0; k < n; k++)
            at += (size_t)snprintf(text + at, sizeof text - at, "%zu:%s>%s=%g@%s ", rows[k].line,
                                   rows[k].query, rows[k].volume, rows[k].score, rows[k].method);
        assert_string_equal(text, cases[i].meaning);
        cmir_free(rows);
    }
}

static void
test_refusals(void **state)
{
    static const struct {
        const char *text;
        cmir_status status;
        const char *words;
    } cases[] = {
        {"", CMIR_ECORRUPT, "header line"},
        {"query;volume\nq;a\n", CMIR_EUNSUPPORTED, "semicolons"},
        {"query,name\nq,a\n", CMIR_ECORRUPT, "no column 'volume'"},
        {"qid,volume\nq,a\n", CMIR_ECORRUPT, "no column 'query'"},
        {"query,volume\nq,a\nq\n", CMIR_ECORRUPT, "line 3 has 1 cells"},
        {"query,volume\nq,a\n,b\n", CMIR_ECORRUPT, "line 3 names no query"},
        {"query,volume\nq,\n", CMIR_ECORRUPT, "line 2 names no volume"},
        {"query,volume,score\nq,a,1\nq,b,low\n", CMIR_ECORRUPT, "line 3: the score 'low'"},
        {"query,volume,score\nq,a,\n", CMIR_ECORRUPT, "line 2: the score ''"},
        {"query,volume,score\nq,a,nan\n", CMIR_ECORRUPT, "line 2: the score 'nan'"},
        {"q Q0 a 1 0.5 r\nq Q0 b 2 0.4\n", CMIR_ECORRUPT, "line 2 is not one of a TREC run"},
        {"q Q0 a 1 0.5 r\nq Q0 b 2 x r\n", CMIR_ECORRUPT, "line 2: the score 'x'"},
        {"query,volume\nq,\xE4\n", CMIR_EUNSUPPORTED, "line 2 is not UTF-8"},
    };
    cmir_ranking *rows;
    size_t n;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = write_file(state, cases[i].text);

        assert_refused(cases[i].status, cases[i].words, cmir_rankings_read(path, &rows, &n, err));
        assert_refused(cases[i].status, path, cmir_rankings_read(path, &rows, &n, err));
        assert_null(rows);
        assert_int_equal(n, 0);
    }
    assert_refused(CMIR_ENOTFOUND, "none.csv",
                   cmir_rankings_read(in_folder(state, "none.csv"), &rows, &n, err));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_meaning, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_refusals, make_folder, remove_folder),
    };

    return cmocka_run_group_tests_name("rankings", tests, NULL, NULL);
}
