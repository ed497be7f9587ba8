/* SPDX-License-Identifier: Apache-2.0 */
/* test_candidates.c: searches among named candidates, lists of scores alone, and the digest that
 * tells whether two archives give the same ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cmir/cmir.h>

#include "expect.h"

enum { DIM = 24, N = 6, MAX_ROWS = 9 };

static char folder[64];
static cmir_encoder *encoder;
static float rows[N][MAX_ROWS * DIM];
static const char *const ids[N] = {"v0", "v1", "v2", "v3", "v4", "v5"};

static const char *
in_folder(const char *name)
{
    static char paths[2][128];
    static int next;

    next = 1 - next;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

static int
set_up(void **unused)
{
    uint64_t state = 20261127;

    (void)unused;
    printf("seed %llu\n", (unsigned long long)state);
    strcpy(folder, "/tmp/cmir_test_candidates_XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (size_t v = 0; v < N; v++)
        for (size_t i = 0; i < MAX_ROWS * DIM; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            rows[v][i] = (float)(int32_t)(state >> 32) / 2147483648.0f;
        }
    for (size_t r = 0; r < N * (size_t)MAX_ROWS; r++) { /* to unit length */
        float *row = &rows[0][0] + r * DIM;
        double sum = 0;

        for (size_t i = 0; i < DIM; i++)
            sum += (double)row[i] * row[i];
        for (size_t i = 0; i < DIM; i++)
            row[i] = (float)(row[i] / sqrt(sum));
    }
    OK(cmir_encoder_external("toy", "1", DIM, &encoder, &err));
    return 0;
}

static int
tear_down(void **unused)
{
    char command[128];

    (void)unused;
    cmir_encoder_close(encoder);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* An archive of volumes first, first + step, ... */
static cmir_archive *
make_archive(const char *name, int first, int step, int n)
{
    cmir_archive *archive;

    OK(cmir_archive_create(in_folder(name), encoder, CMIR_AXIAL, &err));
    OK(cmir_archive_open(in_folder(name), CMIR_WRITE, &archive, &err));
    for (int i = 0; i < n; i++) {
        const int v = first + i * step;
        cmir_import_item item = {
            .volume_id = ids[v], .path = "", .rows = rows[v], .n_slices = (uint32_t)(MAX_ROWS - v)};

        OK(cmir_archive_import(archive, DIM, &item, 1, 1, &err));
        assert_true(item.added);
    }
    return archive;
}

/* The hits of `bare` are those of `full` but for what scores_only leaves out. */
static void
check_hits(const cmir_result *bare, const cmir_result *full, bool scores_only)
{
    assert_int_equal(bare->n_hits, full->n_hits);
    assert_int_equal(bare->n_candidates, full->n_candidates);
    for (size_t i = 0; i < bare->n_hits; i++) {
        const cmir_hit *x = &bare->hits[i], *y = &full->hits[i];

        assert_string_equal(x->record->info.volume_id, y->record->info.volume_id);
        assert_true(x->rank == y->rank && x->score == y->score);
        assert_int_equal(x->n_matches, scores_only ? 0 : y->n_matches);
        assert_int_equal(x->record->n_slices, scores_only ? 0 : y->record->n_slices);
    }
}

/* Votes are counted among the candidates alone, so a search among some is one in an archive of
 * those; the filter of the options still holds. */
static void
test_candidates(void **unused)
{
    static const char *const some[] = {"v0", "v2", "v3", "v5"};
    cmir_archive *archive = make_archive("whole", 0, 1, N);
    cmir_search_options o = {.struct_nbytes = sizeof o, .exclude = CMIR_EXCLUDE_NONE};
    const cmir_search_query query = {archive, "v1", NULL, some, 4};
    cmir_result *among, *filtered;
    cmir_error why;

    (void)unused;
    for (int k = CMIR_MAXSIM; k <= CMIR_MEAN; k++) {
        o.score = (cmir_score)k;
        o.where = "not (VolumeId = 'v1' or VolumeId = 'v4')";
        OK(cmir_search_stored(archive, archive, "v1", &o, &filtered, &err));
        o.where = NULL;
        for (int bare = 0; bare < 2; bare++) {
            o.scores_only = bare == 1;
            OK(cmir_search_batch(archive, &query, 1, &o, NULL, NULL, &among, &why, &err));
            assert_true(among->n_candidates == 4 && among->n_hits > 0);
            check_hits(among, filtered, o.scores_only);
            cmir_result_free(among);
        }
        o.scores_only = false;
        cmir_result_free(filtered);
    }
    o.where = "VolumeId = 'v2' or VolumeId = 'v4'";
    OK(cmir_search_batch(archive, &query, 1, &o, NULL, NULL, &among, &why, &err));
    assert_int_equal(among->n_candidates, 1);
    assert_string_equal(among->hits[0].record->info.volume_id, "v2");
    cmir_result_free(among);
    cmir_archive_close(archive);
}

static void
test_bad_candidates(void **unused)
{
    static const char *const unknown[] = {"v0", "v9"}, *const unordered[] = {"v2", "v0"};
    cmir_archive *archive = make_archive("bad", 0, 1, N);
    const cmir_search_query queries[] = {{archive, "v1", NULL, unknown, 2},
                                         {archive, "v1", NULL, unordered, 2},
                                         {archive, "v1", NULL, unordered, 0}};
    cmir_result *out[3];
    const cmir_search_options wrong = {.struct_nbytes = sizeof wrong - 1};
    cmir_error why[3];

    (void)unused;
    FAILS(cmir_search_batch(archive, queries, 3, &wrong, NULL, NULL, out, why, &err), CMIR_EINVAL,
          "struct_nbytes");
    OK(cmir_search_batch(archive, queries, 3, NULL, NULL, NULL, out, why, &err));
    assert_true(out[0] == NULL && why[0].code == CMIR_ENOTFOUND);
    assert_non_null(strstr(why[0].msg, "v9"));
    assert_true(out[1] == NULL && why[1].code == CMIR_EINVAL);
    assert_non_null(strstr(why[1].msg, "v0"));
    assert_int_equal(out[2]->n_hits, 0); /* among none */
    cmir_result_free(out[2]);
    cmir_archive_close(archive);
}

/* The same volumes give the same digest in whatever order they were added; one volume less gives
 * another. */
static void
test_digest(void **unused)
{
    cmir_archive *up = make_archive("up", 0, 1, N), *down = make_archive("down", N - 1, -1, N);
    cmir_digest x, y;

    (void)unused;
    OK(cmir_archive_digest(up, &x, &err));
    OK(cmir_archive_digest(down, &y, &err));
    assert_string_equal(x.contents, y.contents);
    assert_string_equal(x.card, y.card);
    assert_true(strlen(x.contents) == 64 && strlen(x.card) == 64);
    OK(cmir_archive_remove(down, "v3", &err));
    OK(cmir_archive_digest(down, &y, &err));
    assert_string_not_equal(x.contents, y.contents);
    assert_string_equal(x.card, y.card);
    cmir_archive_close(up);
    cmir_archive_close(down);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_bad_candidates),
        cmocka_unit_test(test_digest),
    };

    return cmocka_run_group_tests_name("candidates", tests, set_up, tear_down);
}
