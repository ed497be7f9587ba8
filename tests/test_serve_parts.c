/* SPDX-License-Identifier: Apache-2.0 */
/* test_serve_parts.c: the parts of the service that know nothing of connections: paths, text, origins,
 * sessions, throttles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/origin.h"
#include "server/router.h"
#include "server/sessions.h"
#include "server/text.h"
#include "server/throttle.h"

static const route table[] = {
    {"GET", "/", ROLE_NONE, BODY_NONE, NULL, "page"},
    {"GET", "/{file}", ROLE_NONE, BODY_NONE, NULL, "file"},
    {"GET", "/healthz", ROLE_NONE, BODY_NONE, NULL, "health"},
    {"GET", "/v/{volume}", ROLE_NONE, BODY_NONE, NULL, "volume"},
    {"DELETE", "/v/{volume}", ROLE_NONE, BODY_NONE, NULL, "remove"},
    {"GET", "/v/{volume}/s/{slice}.png", ROLE_NONE, BODY_NONE, NULL, "slice"},
    {"GET", "/c/{cohort}", ROLE_NONE, BODY_NONE, NULL, "cohort"},
    {"PUT", "/c/{cohort}", ROLE_NONE, BODY_NONE, NULL, "put"},
    {"GET", "/c/{cohort}.csv", ROLE_NONE, BODY_NONE, NULL, "csv"},
    {NULL, NULL, ROLE_NONE, BODY_NONE, NULL, NULL},
};

/* One target, and what it is taken for: the row's name with up to two parts, or a status. */
static const struct {
    const char *method, *text, *name;
    unsigned status;
    const char *part[2]; /* name and value */
} targets[] = {
    {"GET", "/", "page", 0, {NULL, NULL}},
    {"GET", "/healthz", "health", 0, {NULL, NULL}}, /* more literal than {file} */
    {"HEAD", "/healthz", "health", 0, {NULL, NULL}},
    {"GET", "/icon.svg", "file", 0, {"file", "icon.svg"}},
    {"GET", "/healthz/", NULL, 404, {NULL, NULL}},
    {"GET", "//", NULL, 404, {NULL, NULL}},
    {"GET", "/v/", NULL, 404, {NULL, NULL}},
    {"GET", "/v/a%2Fb", "volume", 0, {"volume", "a/b"}},
    {"GET", "/v/a/b", NULL, 404, {NULL, NULL}},
    {"GET", "/v/..", "volume", 0, {"volume", ".."}},
    {"DELETE", "/v/x", "remove", 0, {"volume", "x"}},
    {"GET", "/v/x/s/12.png", "slice", 0, {"slice", "12"}},
    {"GET", "/v/Zo%C3%AB%20M/s/1.png?side=3", "slice", 0, {"volume", "Zo\xC3\xAB M"}},
    {"GET", "/v/x/s/.png", NULL, 404, {NULL, NULL}},
    {"GET", "/v/x/s/1.jpg", NULL, 404, {NULL, NULL}},
    {"GET", "/c/a.csv", "csv", 0, {"cohort", "a"}},
    {"GET", "/c/a.csv.csv", "csv", 0, {"cohort", "a.csv"}},
    {"GET", "/c/.csv", "cohort", 0, {"cohort", ".csv"}},
    {"GET", "/c/a%2Ecsv", "csv", 0, {"cohort", "a"}},
    {"POST", "/c/a", NULL, 405, {NULL, NULL}},
    {"get", "/healthz", NULL, 405, {NULL, NULL}},
    {"GET", "", NULL, 400, {NULL, NULL}},
    {"GET", "healthz", NULL, 400, {NULL, NULL}},
    {"GET", "http://localhost/healthz", NULL, 400, {NULL, NULL}},
    {"GET", "*", NULL, 400, {NULL, NULL}},
    {"GET", "/%", NULL, 400, {NULL, NULL}},
    {"GET", "/%4", NULL, 400, {NULL, NULL}},
    {"GET", "/%4g", NULL, 400, {NULL, NULL}},
    {"GET", "/%00", NULL, 400, {NULL, NULL}},
    {"GET", "/a%0Ab", NULL, 400, {NULL, NULL}},
    {"GET", "/%C3", NULL, 400, {NULL, NULL}},
    {"GET", "/%C0%AF", NULL, 400, {NULL, NULL}}, /* overlong '/' */
    {"GET", "/%ED%A0%80", NULL, 400, {NULL, NULL}}, /* a surrogate */
    {"GET", "/\xFF", NULL, 400, {NULL, NULL}},
    {"GET", "/healthz?%", NULL, 400, {NULL, NULL}},
    {"GET", "/a/b/c/d/e/f/g/h/i", NULL, 404, {NULL, NULL}},
};

static void
targets_are_taken_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        target t;
        const unsigned status = target_parse(table, targets[i].method, targets[i].text, &t);
        if (status != targets[i].status)
            fail_msg("%s %s: %u", targets[i].method, targets[i].text, status);
        if (status == 0)
            assert_string_equal(t.route->name, targets[i].name);
        if (targets[i].part[0] != NULL)
            assert_string_equal(target_part(&t, targets[i].part[0]), targets[i].part[1]);
        assert_null(target_part(&t, "nothing"));
        target_free(&t);
    }
}

static void
allow_names_the_methods(void **state)
{
    target t;

    (void)state;
    assert_int_equal(target_parse(table, "POST", "/v/x", &t), 405);
    assert_string_equal(t.allow, "GET, HEAD, DELETE");
    target_free(&t);
    assert_int_equal(target_parse(table, "DELETE", "/c/x", &t), 405);
    assert_string_equal(t.allow, "GET, HEAD, PUT");
    target_free(&t);
}

static void
parameters_are_decoded(void **state)
{
    target t;

    (void)state;
    assert_int_equal(
        target_parse(table, "GET", "/healthz?a=1&b=x+y%2B%26&&c&=d&a=2&e=f=g&%C3%A9=%20", &t), 0);
    assert_string_equal(target_param(&t, "a"), "1"); /* the first counts */
    assert_string_equal(target_param(&t, "b"), "x y+&");
    assert_string_equal(target_param(&t, "c"), "");
    assert_string_equal(target_param(&t, ""), "d");
    assert_string_equal(target_param(&t, "e"), "f=g");
    assert_string_equal(target_param(&t, "\xC3\xA9"), " ");
    assert_null(target_param(&t, "d"));
    target_free(&t);
}

static void
names_of_files_lose_their_folders(void **state)
{
    static const char *const names[][2] = {
        {"scan.nii.gz", "scan.nii.gz"},
        {"../../etc/passwd", "passwd"},
        {"C:\\scans\\a.dcm", "a.dcm"},
        {"..", ""},
        {".", ""},
        {"a/..", ""},
        {"a/", ""},
        {"a\nb", ""},
        {"\xFF", ""},
        {"Zo\xC3\xAB.nii", "Zo\xC3\xAB.nii"},
        {"...", "..."},
    };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_string_equal(text_file_name(names[i][0]), names[i][1]);
    assert_string_equal(text_file_name(NULL), "");
}

static void
etags_are_found_in_lists(void **state)
{
    (void)state;
    assert_true(text_list_has_etag("\"a\"", "a"));
    assert_true(text_list_has_etag("\"b\" , W/\"a\"", "a"));
    assert_true(text_list_has_etag("*", "a"));
    assert_false(text_list_has_etag("", "a"));
    assert_false(text_list_has_etag("a", "a"));
    assert_false(text_list_has_etag("\"ab\", \"", "a"));
    assert_false(text_list_has_etag("W/", "a"));
}

static void
origins_and_hosts(void **state)
{
    (void)state;
    assert_true(origin_is_local("127.0.0.1:8043"));
    assert_true(origin_is_local("[::1]:1"));
    assert_true(origin_is_local("localhost:1"));
    assert_false(origin_is_local("0.0.0.0:1"));
    assert_false(origin_is_local("[::]:1"));
    assert_false(origin_is_local("127.0.0.10:1")); /* reached by other names */
    assert_true(origin_is_host("https://archive.example", "archive.example"));
    assert_true(origin_is_host("https://ARCHIVE.example:8043", "archive.example:8043"));
    assert_false(origin_is_host("https://archive.example.evil", "archive.example"));
    assert_false(origin_is_host("null", "archive.example"));
    assert_false(origin_is_host("https://a", NULL));
    assert_false(origin_is_foreign(NULL, NULL, "a"));
    assert_false(origin_is_foreign("http://a", "same-origin", "a"));
    assert_false(origin_is_foreign(NULL, "none", "a"));
    assert_true(origin_is_foreign(NULL, "same-site", "a"));
    assert_true(origin_is_foreign("http://b", "same-origin", "a"));
}

/* Ids end by idleness, by age, by being ended; the one unused longest makes room. */
static void
sessions_end(void **state)
{
    sessions *s = calloc(1, sizeof *s);
    char id[SECRET_HEX], other[SECRET_HEX], more[SECRET_HEX];

    (void)state;
    assert_int_equal(secret_start(NULL), CMIR_OK);
    session_begin(s, "ada", 100, id);
    session_begin(s, "bob", 101, other);
    assert_string_not_equal(id, other);
    assert_string_equal(session_find(s, id, 102), "ada");
    assert_string_equal(session_find(s, other, 102), "bob");
    assert_null(session_find(s, "", 102));
    assert_null(
        session_find(s, "0000000000000000000000000000000000000000000000000000000000000000", 102));
    session_end(s, other);
    assert_null(session_find(s, other, 103));
    assert_null(session_find(s, id, 102 + SESSION_IDLE_S + 1));
    double now = 102;
    while (now < 100 + SESSION_S) { /* used all the time */
        assert_non_null(session_find(s, id, now));
        now += SESSION_IDLE_S / 2;
    }
    assert_null(session_find(s, id, 101 + SESSION_S));
    session_begin(s, "old", 1e6, id);
    for (int i = 1; i < MAX_SESSIONS; i++)
        session_begin(s, "other", 1e6 + i / 1e3, more);
    assert_non_null(session_find(s, id, 1e6 + 2)); /* used: the second is now the oldest */
    session_begin(s, "new", 1e6 + 3, other);
    assert_non_null(session_find(s, id, 1e6 + 4));
    assert_non_null(session_find(s, other, 1e6 + 4));
    assert_non_null(session_find(s, more, 1e6 + 4));
    free(s);
}

static void
failures_make_the_next_wait(void **state)
{
    throttle *t = calloc(1, sizeof *t);
    double wait = 0;

    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_true(throttle_wait(t, 7, 100) <= 0);
        throttle_fail(t, 7, 5, 100);
    }
    for (int i = 0; i < 12; i++) {
        throttle_fail(t, 7, 5, 100);
        assert_true(throttle_wait(t, 7, 100) >= wait);
        wait = throttle_wait(t, 7, 100);
    }
    assert_true(wait > 299 && wait <= 300); /* at most five minutes */
    assert_true(throttle_wait(t, 7, 401) <= 0);
    assert_true(throttle_wait(t, 8, 100) <= 0); /* another */
    throttle_forget(t, 7, 401);
    throttle_fail(t, 7, 5, 401);
    assert_true(throttle_wait(t, 7, 401) <= 0);
    free(t);
}

static void
tokens_come_back(void **state)
{
    throttle *t = calloc(1, sizeof *t);

    (void)state;
    for (int i = 0; i < 60; i++)
        assert_true(throttle_take(t, 1, 60, 10) <= 0);
    const double wait = throttle_take(t, 1, 60, 10);
    assert_true(wait > 0.9 && wait <= 1);
    assert_true(throttle_take(t, 1, 60, 11.01) <= 0);
    assert_true(throttle_take(t, 1, 60, 11.01) > 0);
    for (int i = 0; i < 60; i++) /* never more than a minute's worth */
        assert_true(throttle_take(t, 1, 60, 1e6) <= 0);
    assert_true(throttle_take(t, 1, 60, 1e6) > 0);
    free(t);
}

/* A table of fixed size: what is in use stays, whatever else comes. */
static void
a_full_table_forgets_the_oldest(void **state)
{
    throttle *t = calloc(1, sizeof *t);

    (void)state;
    for (int i = 0; i < 10; i++)
        throttle_fail(t, 5, 5, 100);
    for (uint64_t k = 1; k < 4; k++)
        throttle_fail(t, 5 + k * THROTTLE_SETS, 5, 101);
    assert_true(throttle_wait(t, 5, 102) > 0);
    throttle_fail(t, 5 + 4 * THROTTLE_SETS, 5, 103);
    assert_true(throttle_wait(t, 5, 104) > 0);
    free(t);
}

static void
passwords_and_hashes(void **state)
{
    char stored[SECRET_PASSWORD_NBYTES], hash[SECRET_HEX], out[8];

    (void)state;
    assert_int_equal(secret_start(NULL), CMIR_OK);
    assert_true(secret_store_password("pass word", stored));
    assert_memory_equal(stored, "$argon2id$v=19$m=65536,t=3,p=1$", 31);
    assert_true(secret_check_password(stored, "pass word"));
    assert_false(secret_check_password(stored, "pass worD"));
    assert_false(secret_check_password("", "pass word"));
    secret_hash("abc", 3, hash); /* FIPS 180-2 */
    assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(secret_base64("YWJj", out, sizeof out), 3);
    assert_memory_equal(out, "abc", 3);
    assert_true(secret_base64("YWJj!", out, sizeof out) == SIZE_MAX);
    assert_true(secret_base64("YWJjYWJjYWJjYWJj", out, sizeof out) == SIZE_MAX); /* too long */
    assert_true(secret_number("a", "b", "c") != secret_number("a", "bc", ""));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_are_taken_apart),
        cmocka_unit_test(allow_names_the_methods),
        cmocka_unit_test(parameters_are_decoded),
        cmocka_unit_test(names_of_files_lose_their_folders),
        cmocka_unit_test(etags_are_found_in_lists),
        cmocka_unit_test(origins_and_hosts),
        cmocka_unit_test(sessions_end),
        cmocka_unit_test(failures_make_the_next_wait),
        cmocka_unit_test(tokens_come_back),
        cmocka_unit_test(a_full_table_forgets_the_oldest),
        cmocka_unit_test(passwords_and_hashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
