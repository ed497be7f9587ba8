/* SPDX-License-Identifier: Apache-2.0 */
/* test_labels.c: label tables: what a CSV file means, and what is refused with its line.  The
 * reading itself is compared with Python's csv module in oracle/test_labels.py. */
#include "synthetic.h"

#include <cmir/archive.h>

static const char *
write_file(void **state, const char *text, size_t nbytes)
{
    const char *path = in_folder(state, "t.csv");
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, nbytes, f), nbytes);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* The table as one line: "volume{name=value;...}..." */
static void
describe(const cmir_label_table *t, char *out, size_t room)
{
    const cmir_label_set *sets = cmir_label_table_sets(t);
    size_t at = 0, n;

    out[0] = '\0';
    for (size_t i = 0; i < cmir_label_table_count(t); i++) {
        assert_string_equal(cmir_label_table_volume(t, i), sets[i].volume_id);
        assert_ptr_equal(cmir_label_table_get(t, i, &n), sets[i].labels);
        assert_int_equal(n, sets[i].n_labels);
        at += (size_t)snprintf(out + at, room - at, "%s{", sets[i].volume_id);
        for (size_t k = 0; k < sets[i].n_labels; k++)
            at += (size_t)snprintf(out + at, room - at, "%s=%s;", sets[i].labels[k].name,
                                   sets[i].labels[k].value);
        at += (size_t)snprintf(out + at, room - at, "}");
    }
    assert_null(cmir_label_table_volume(t, cmir_label_table_count(t)));
    assert_null(cmir_label_table_get(t, cmir_label_table_count(t), &n));
    assert_int_equal(n, 0);
}

static void
test_meaning(void **state)
{
    static const struct {
        const char *text, *meaning;
    } cases[] = {
        {"name,organ\na,liver\nb,lung\n", "a{organ=liver;}b{organ=lung;}"},
        {"name,organ\r\na,liver\r\nb,lung", "a{organ=liver;}b{organ=lung;}"},
        {"name,organ\ra,liver\r", "a{organ=liver;}"},
        {"\xEF\xBB\xBFname,organ\na,liver\n", "a{organ=liver;}"},
        {"organ,name\nliver,a.nii.gz\nlung,b.nii\n", "a{organ=liver;}b{organ=lung;}"},
        {"organ,VolumeId\nliver,a\n", "a{organ=liver;}"},
        {"series,organ\n1.2.3,liver\n", "1.2.3{organ=liver;}"},
        {"name,a,b\nx,,1\ny,2,\n", "x{b=1;}y{a=2;}"},
        {"name,a\n\n\nx,1\n\n", "x{a=1;}"},
        {"name,note\nx,\"one, two\"\ny,\"say \"\"hi\"\"\"\nz,\"two\nlines\"\n",
         "x{note=one, two;}y{note=say \"hi\";}z{note=two\nlines;}"},
        {"name , note\n x ,\t text with blanks \t\ny, \" kept \" \n",
         "x{note=text with blanks;}y{note= kept ;}"},
        {",name,a\n0,x,1\n1,y,2\n", "x{a=1;}y{a=2;}"}, /* pandas writes an index */
        {"name,a\nx,1\nx,1\nx.nii,1\n", "x{a=1;}"},
        {"name\nx\n", "x{}"},
        {"name,a\n", ""},
        {"name,\"a\"\nx,\"\"\n", "x{}"},
        {"name,PatientAge,Gr\xC3\xB6\xC3\x9F"
         "e\nx,063Y,\xE2\x89\xA5 3\n",
         "x{PatientAge=063Y;Gr\xC3\xB6\xC3\x9F"
         "e=\xE2\x89\xA5 3;}"},
        {".nii,a\n.nii,1\n", ".nii{a=1;}"}, /* nothing would be left of it */
    };
    char text[400];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cmir_label_table *t;
        const char *path = write_file(state, cases[i].text, strlen(cases[i].text));

        assert_ok(cmir_label_table_read(path, &t, err));
        describe(t, text, sizeof text);
        assert_string_equal(text, cases[i].meaning);
        cmir_label_table_free(t);
    }
    cmir_label_table_free(NULL);
}

static void
test_refusals(void **state)
{
    static const struct {
        const char *text;
        size_t nbytes; /* 0: strlen */
        cmir_status status;
        const char *words;
    } cases[] = {
        {"", 0, CMIR_ECORRUPT, "header line"},
        {"\n\n", 0, CMIR_ECORRUPT, "header line"},
        {"name;organ\na;liver\n", 0, CMIR_EUNSUPPORTED, "semicolons"},
        {"name\torgan\na\tliver\n", 0, CMIR_EUNSUPPORTED, "tabs"},
        {"\xFF\xFEn\0a\0", 6, CMIR_EUNSUPPORTED, "UTF-16"},
        {"name,a\nx,1\ny,\xE4\n", 0, CMIR_EUNSUPPORTED, "line 3 is not UTF-8"},
        {"name,a\nx,\xC0\x80\n", 0, CMIR_EUNSUPPORTED, "line 2"},
        {"name,a\nx,\xED\xA0\x80\n", 0, CMIR_EUNSUPPORTED, "line 2"},
        {"name,a\nx,\xF4\x90\x80\x80\n", 0, CMIR_EUNSUPPORTED, "line 2"},
        {"name,a\nx,\0\n", 11, CMIR_EUNSUPPORTED, "line 2"},
        {"name,a\nx,1,2\n", 0, CMIR_ECORRUPT, "line 2 has 3 cells, the header 2"},
        {"name,a\nx,1\ny\n", 0, CMIR_ECORRUPT, "line 3 has 1 cells"},
        {"name,a\n\"x\ny\",1\nz\n", 0, CMIR_ECORRUPT, "line 4 has 1 cells"},
        {"name,a,a\nx,1,2\n", 0, CMIR_ECORRUPT, "columns 2 and 3 are both called a"},
        {"name,a\n,1\n", 0, CMIR_ECORRUPT, "line 2 names no volume"},
        {"name,a\nx,1\ny,3\nx,2\n", 0, CMIR_ECORRUPT, "lines 2 and 4 say different things of x"},
        {"name,a\nx,1\nx.nii.gz,\n", 0, CMIR_ECORRUPT, "lines 2 and 3"},
        {"name,a\nx,\"1\n", 0, CMIR_ECORRUPT, "line 2: a quote that is never closed"},
        {"name,a\nx,\"1\"2\n", 0, CMIR_ECORRUPT, "line 2: text behind"},
        {"name,a\nx,5\" long\n", 0, CMIR_ECORRUPT, "line 2: a quote inside"},
        {"name,PatientAge\nx,60\ny,unknown\n", 0, CMIR_EINVAL, "line 3: PatientAge 'unknown'"},
        {"name,PatientAge\nx,999\n", 0, CMIR_EINVAL, "line 2"},
        {"name,PatientSex\nx,male\n", 0, CMIR_EINVAL, "line 2: PatientSex 'male'"},
        {"name,StudyDate\nx,20241301\n", 0, CMIR_EINVAL, "line 2: StudyDate"},
        {"name,StudyDate\nx,01.02.2024\n", 0, CMIR_EINVAL, "line 2: StudyDate"},
    };
    cmir_label_table *t;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t n = cases[i].nbytes != 0 ? cases[i].nbytes : strlen(cases[i].text);
        const char *path = write_file(state, cases[i].text, n);

        assert_refused(cases[i].status, cases[i].words, cmir_label_table_read(path, &t, err));
        assert_refused(cases[i].status, path, cmir_label_table_read(path, &t, err));
        assert_null(t);
    }
    assert_refused(CMIR_ENOTFOUND, "none.csv",
                   cmir_label_table_read(in_folder(state, "none.csv"), &t, err));
    assert_refused(CMIR_EIO, "regular", cmir_label_table_read(in_folder(state, "."), &t, err));
}

static void
test_limits(void **state)
{
    cmir_label_table *t;
    const size_t room = 200000;
    char *text = malloc(room);

    assert_non_null(text);
    size_t at = (size_t)sprintf(text, "name");
    for (unsigned i = 1; i < 4096; i++)
        at += (size_t)sprintf(text + at, ",c%u", i);
    assert_ok(cmir_label_table_read(write_file(state, text, at), &t, err));
    cmir_label_table_free(t);
    at += (size_t)sprintf(text + at, ",one more");
    assert_refused(CMIR_ELIMIT, "4096 columns",
                   cmir_label_table_read(write_file(state, text, at), &t, err));
    at = (size_t)sprintf(text, "name,a\nx,");
    memset(text + at, 'v', 65535);
    assert_ok(cmir_label_table_read(write_file(state, text, at + 65535), &t, err));
    cmir_label_table_free(t);
    text[at + 65535] = 'v';
    assert_refused(CMIR_ECORRUPT, "65535 bytes",
                   cmir_label_table_read(write_file(state, text, at + 65536), &t, err));
    at = (size_t)sprintf(text, "name,");
    memset(text + at, 'n', 256);
    assert_refused(CMIR_ELIMIT, "column 2",
                   cmir_label_table_read(write_file(state, text, at + 256), &t, err));
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_meaning, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_refusals, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_limits, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
