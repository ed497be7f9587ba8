/* SPDX-License-Identifier: Apache-2.0 */
/* test_import.c: embeddings made elsewhere, through the public interface: what comes back, what is
 * refused and what that leaves of the others; encoders that are only a name. */
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

#define DIM 20u
#define MAX_N 30u
#define N_ITEMS 90u

static uint64_t random_state = 31;

static uint32_t
rnd(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static int
make_folder(void **state)
{
    *state = strdup("/tmp/cmir_import_XXXXXX");
    print_message("seed %llu\n", (unsigned long long)random_state);
    return *state == NULL || mkdtemp(*state) == NULL;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int
remove_folder(void **state)
{
    const int failed = nftw(*state, remove_one, 8, FTW_DEPTH | FTW_PHYS);

    free(*state);
    return failed;
}

static const char *
in_folder(void **state, const char *name)
{
    static char paths[8][160];
    static unsigned turn;
    char *path = paths[turn++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", (const char *)*state, name);
    return path;
}

static void
make_rows(float *rows, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        double sum = 0;

        for (uint32_t d = 0; d < DIM; d++) {
            rows[i * DIM + d] = (float)(rnd() % 2001) - 1000.5f;
            sum += (double)rows[i * DIM + d] * (double)rows[i * DIM + d];
        }
        for (uint32_t d = 0; d < DIM; d++)
            rows[i * DIM + d] = (float)((double)rows[i * DIM + d] / sqrt(sum));
    }
}

/* Made-up volumes: ids "i0", "i1", ...; every third has marks, every fourth labels. */
struct made {
    char id[N_ITEMS][16], path[N_ITEMS][32];
    float rows[N_ITEMS][MAX_N * DIM];
    uint8_t marks[N_ITEMS][MAX_N];
    cmir_label label;
    cmir_import_item item[N_ITEMS];
};

static void
make_items(struct made *m)
{
    memset(m, 0, sizeof *m);
    m->label = (cmir_label){"site", "north"};
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        const uint32_t n = 1 + rnd() % MAX_N;

        snprintf(m->id[i], sizeof m->id[i], "i%u", i);
        snprintf(m->path[i], sizeof m->path[i], "/elsewhere/i%u.npy", i);
        make_rows(m->rows[i], n);
        for (uint32_t k = 0; k + 1 < n; k += 2)
            m->marks[i][k] = CMIR_SLICE_AIR;
        m->item[i] = (cmir_import_item){.volume_id = m->id[i],
                                        .path = m->path[i],
                                        .rows = m->rows[i],
                                        .marks = i % 3 == 0 ? m->marks[i] : NULL,
                                        .n_slices = n,
                                        .labels = &m->label,
                                        .n_labels = i % 4 == 0,
                                        .added = true,
                                        .error = {.code = CMIR_EIO}};
    }
}

static cmir_archive *
new_archive(void **state, const char *name, uint32_t dim)
{
    cmir_encoder *encoder;
    cmir_archive *archive;

    OK(cmir_encoder_external("elsewhere", "2", dim, &encoder, &err));
    OK(cmir_archive_create(in_folder(state, name), encoder, CMIR_AXIAL, &err));
    cmir_encoder_close(encoder);
    OK(cmir_archive_open(in_folder(state, name), CMIR_WRITE, &archive, &err));
    return archive;
}

static void
tell(void *ctx, const char *sentence)
{
    (void)ctx;
    print_message("%s\n", sentence);
}

static void
check_sound(const cmir_archive *archive)
{
    uint64_t n = 1;

    OK(cmir_archive_verify(archive, tell, NULL, &n, &err));
    assert_int_equal(n, 0);
}

/* All that the archive knows of an item. */
static void
check_item(const cmir_archive *archive, const cmir_import_item *item)
{
    cmir_embeddings e;
    cmir_record *r;
    uint32_t n_air = 0;

    OK(cmir_archive_embeddings(archive, item->volume_id, &e, &err));
    assert_int_equal(e.n_slices, item->n_slices);
    assert_int_equal(e.dim, DIM);
    for (uint32_t i = 0; i < item->n_slices; i++) {
        double sum = 0;

        assert_int_equal(e.marks[i], item->marks == NULL ? 0 : item->marks[i]);
        n_air += e.marks[i];
        for (uint32_t d = 0; d < DIM; d++)
            sum += (double)item->rows[i * DIM + d] * (double)item->rows[i * DIM + d];
        for (uint32_t d = 0; d < DIM; d++)
            assert_true(fabs((double)e.rows[i * DIM + d] -
                             (double)item->rows[i * DIM + d] / sqrt(sum)) <= 0.5 / 32767 + 1e-7);
    }
    cmir_embeddings_free(&e);
    OK(cmir_archive_get(archive, item->volume_id, &r, &err));
    assert_string_equal(r->info.path, item->path);
    assert_string_equal(r->info.format, "embeddings");
    assert_string_equal(r->info.modality, "");
    assert_true(isnan(r->info.patient_age) && isnan(r->info.affine[1][2]));
    assert_int_equal(r->n_slices, item->n_slices);
    assert_int_equal(r->n_air, n_air);
    assert_true(r->slice_spacing_mm == 0);
    for (uint32_t i = 0; i < r->n_slices; i++)
        assert_true(isnan(r->slice_mm[i]) && r->slice_uids[i][0] == '\0');
    assert_int_equal(r->n_labels, item->n_labels);
    if (r->n_labels == 1)
        assert_string_equal(r->labels[0].value, "north");
    cmir_record_free(r);
}

/* Whatever the number of threads, the same bytes. */
static void
test_import(void **state)
{
    static struct made m;
    static const uint32_t threads[] = {1, 2, 7, 0};
    char command[400];

    make_items(&m);
    for (int t = 0; t < 4; t++) {
        char name[8];

        snprintf(name, sizeof name, "a%d", t);
        cmir_archive *archive = new_archive(state, name, DIM);
        OK(cmir_archive_import(archive, DIM, m.item, N_ITEMS / 2, threads[t], &err));
        OK(cmir_archive_import(archive, DIM, NULL, 0, threads[t], &err));
        OK(cmir_archive_import(archive, DIM, m.item + N_ITEMS / 2, N_ITEMS - N_ITEMS / 2,
                               threads[t], &err));
        assert_int_equal(cmir_archive_get_info(archive)->n_volumes, N_ITEMS);
        for (uint32_t i = 0; i < N_ITEMS; i++) {
            assert_true(m.item[i].added);
            assert_int_equal(m.item[i].error.code, CMIR_OK);
            check_item(archive, &m.item[i]);
        }
        check_sound(archive);
        OK(cmir_archive_import(archive, DIM, m.item, N_ITEMS, threads[t], &err)); /* once more */
        for (uint32_t i = 0; i < N_ITEMS; i++)
            assert_true(!m.item[i].added && m.item[i].error.code == CMIR_OK);
        assert_int_equal(cmir_archive_get_info(archive)->n_volumes, N_ITEMS);
        assert_int_equal(cmir_archive_get_info(archive)->dead_nbytes, 0);
        cmir_archive_close(archive);
        snprintf(command, sizeof command,
                 "cmp '%s/segments/00000001.seg' '%s/segments/00000001.seg'",
                 in_folder(state, "a0"), in_folder(state, name));
        assert_int_equal(system(command), 0);
    }
}

struct bad {
    cmir_import_item item;
    cmir_status status; /* CMIR_OK: there already, or added */
    const char *words;
    bool added;
};

/* All of it in one call, into a new archive and once more into that: a refused volume leaves the
 * others as they are, also where it comes first. */
static void
test_refused(void **state)
{
    static float rows[9][MAX_N * DIM];
    static const uint8_t air[2] = {CMIR_SLICE_AIR, CMIR_SLICE_AIR};
    static const cmir_label age = {"PatientAge", "old"};
    static char long_id[4000];
    cmir_archive *archive = new_archive(state, "a", DIM);

    memset(long_id, 'x', sizeof long_id - 1);
    for (int k = 0; k < 9; k++)
        make_rows(rows[k], MAX_N);
    rows[1][DIM + 3] = NAN;
    rows[2][3 * DIM] = INFINITY;
    memset(rows[3] + DIM, 0, DIM * sizeof(float));
    for (uint32_t d = 0; d < DIM; d++)
        rows[4][d] *= 1.01f;
    const struct bad all[] = {
        {{.volume_id = "nan", .rows = rows[1], .n_slices = 4}, CMIR_EINVAL, "nan: ", false},
        {{.volume_id = "none", .rows = rows[0], .n_slices = 0}, CMIR_EINVAL, "none: 0", false},
        {{.volume_id = "a", .rows = rows[0], .n_slices = 5}, CMIR_OK, "", true},
        {{.volume_id = "null", .rows = NULL, .n_slices = 4}, CMIR_EINVAL, "null: ", false},
        {{.volume_id = "many", .rows = rows[0], .n_slices = CMIR_MAX_SLICES + 1},
         CMIR_EINVAL,
         "many: ",
         false},
        {{.volume_id = "b", .rows = rows[5], .n_slices = MAX_N}, CMIR_OK, "", true},
        {{.volume_id = "a", .rows = rows[0], .n_slices = 5}, CMIR_OK, "", false}, /* the same */
        {{.volume_id = "a", .rows = rows[6], .n_slices = 5}, CMIR_EEXIST, "a: ", false},
        {{.volume_id = "a", .rows = rows[0], .n_slices = 6}, CMIR_EEXIST, "a: ", false},
        {{.volume_id = "inf", .rows = rows[2], .n_slices = 4}, CMIR_EINVAL, "slice 3", false},
        {{.volume_id = "zero", .rows = rows[3], .n_slices = 4}, CMIR_EINVAL, "slice 1", false},
        {{.volume_id = "long", .rows = rows[4], .n_slices = 4}, CMIR_EINVAL, "1.01", false},
        {{.volume_id = "air", .rows = rows[0], .n_slices = 2, .marks = air},
         CMIR_EINVAL,
         "air",
         false},
        {{.volume_id = "", .rows = rows[0], .n_slices = 2}, CMIR_EINVAL, "id", false},
        {{.volume_id = long_id, .rows = rows[0], .n_slices = 2}, CMIR_EINVAL, "id", false},
        {{.volume_id = "old", .rows = rows[7], .n_slices = 2, .labels = &age, .n_labels = 1},
         CMIR_EINVAL,
         "'old'",
         false},
        {{.volume_id = "c", .rows = rows[8], .n_slices = 1}, CMIR_OK, "", true},
    };
    enum { N = sizeof all / sizeof all[0] };
    cmir_import_item items[N];

    for (int again = 0; again < 2; again++) {
        for (size_t i = 0; i < N; i++) {
            items[i] = all[i].item;
            items[i].path = "";
        }
        OK(cmir_archive_import(archive, DIM, items, N, 1 + 2 * (uint32_t)again, &err));
        for (size_t i = 0; i < N; i++) {
            const cmir_error *e = &items[i].error;

            if (e->code != all[i].status || strstr(e->msg, all[i].words) == NULL)
                fail_msg("item %zu: %s: %s", i, cmir_status_name(e->code), e->msg);
            assert_int_equal(items[i].added, all[i].added && !again);
        }
        assert_int_equal(cmir_archive_get_info(archive)->n_volumes, 3);
        assert_int_equal(cmir_archive_get_info(archive)->n_slices, 5 + MAX_N + 1);
        check_item(archive, &items[2]);
        check_item(archive, &items[5]);
        check_item(archive, &items[N - 1]);
        check_sound(archive);
    }
    cmir_archive_close(archive);
    OK(cmir_archive_open(in_folder(state, "a"), CMIR_READ, &archive, &err));
    assert_int_equal(cmir_archive_get_info(archive)->n_volumes, 3);
    check_sound(archive);
    cmir_archive_close(archive);
}

/* What is wrong with the call adds nothing. */
static void
test_whole_call_refused(void **state)
{
    static struct made m;
    cmir_archive *archive = new_archive(state, "a", DIM), *reader;

    make_items(&m);
    FAILS(cmir_archive_import(archive, DIM + 1, m.item, 3, 1, &err), CMIR_EMISMATCH,
          "dimension 21");
    FAILS(cmir_archive_import(archive, 0, m.item, 3, 1, &err), CMIR_EMISMATCH, "dimension 0");
    FAILS(cmir_archive_import(archive, DIM, m.item, 3, 100000, &err), CMIR_EINVAL, "threads");
    for (int i = 0; i < 3; i++)
        assert_true(!m.item[i].added && m.item[i].error.code == CMIR_OK);
    assert_int_equal(cmir_archive_get_info(archive)->n_volumes, 0);
    OK(cmir_archive_import(archive, DIM, m.item, 3, 1, &err));
    OK(cmir_archive_open(in_folder(state, "a"), CMIR_READ, &reader, &err));
    FAILS(cmir_archive_import(reader, DIM, m.item + 3, 3, 1, &err), CMIR_EINVAL, "reading");
    assert_false(m.item[3].added);
    assert_int_equal(cmir_archive_get_info(reader)->n_volumes, 3);
    cmir_archive_close(reader);
    cmir_archive_close(archive);
}

/* An id is free again once its volume is removed, whatever is in the archive of it still. */
static void
test_removed_and_taken_again(void **state)
{
    static struct made m;
    cmir_archive *archive = new_archive(state, "a", DIM);

    make_items(&m);
    OK(cmir_archive_import(archive, DIM, m.item, 10, 2, &err));
    OK(cmir_archive_remove(archive, "i0", &err)); /* the first: the center stays */
    m.item[0].rows = m.rows[11];
    m.item[0].marks = NULL;
    m.item[0].n_slices = 1;
    OK(cmir_archive_import(archive, DIM, m.item, 10, 2, &err));
    for (int i = 0; i < 10; i++)
        assert_int_equal(m.item[i].added, i == 0);
    check_item(archive, &m.item[0]);
    check_sound(archive);
    assert_true(cmir_archive_get_info(archive)->dead_nbytes > 0);
    cmir_archive_close(archive);
}

static void
test_external_encoders(void **unused)
{
    static char name[202], version[202];
    static const char *const bad[] = {NULL,      "",         "a\"b",  "a\\b", "a\nb",
                                      "\x1b[2J", "\xC3\xA9", "a\x7f", "\t"};
    cmir_encoder *a, *b;
    char *text;

    (void)unused;
    memset(name, 'n', 200);
    memset(version, 'v', 200);
    OK(cmir_encoder_external(name, version, CMIR_MAX_DIM, &a, &err));
    assert_string_equal(cmir_encoder_get_info(a)->name, name);
    assert_string_equal(cmir_encoder_get_info(a)->version, version);
    assert_int_equal(cmir_encoder_get_info(a)->dim, CMIR_MAX_DIM);
    cmir_encoder_close(a);
    name[200] = version[200] = 'x';
    FAILS(cmir_encoder_external(name, "1", 1, &a, &err), CMIR_EINVAL, "1..200");
    FAILS(cmir_encoder_external("n", version, 1, &a, &err), CMIR_EINVAL, "1..200");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        a = (cmir_encoder *)(uintptr_t)1;
        FAILS(cmir_encoder_external(bad[i], "1", 1, &a, &err), CMIR_EINVAL, "printable");
        assert_null(a);
        FAILS(cmir_encoder_external("n", bad[i], 1, &a, &err), CMIR_EINVAL, "printable");
    }
    FAILS(cmir_encoder_external("n", "1", 0, &a, &err), CMIR_EINVAL, "dimension 0");
    FAILS(cmir_encoder_external("n", "1", CMIR_MAX_DIM + 1, &a, &err), CMIR_EINVAL, "4096");
    /* Equal in all three, and then only, they are the same. */
    static const struct {
        const char *name, *version;
        uint32_t dim;
    } others[] = {
        {"a b{}:,", "1", 7}, {"a b{}:,", "1", 8}, {"a b{}:,", "2", 7}, {"A b{}:,", "1", 7}};
    OK(cmir_encoder_external("a b{}:,", "1", 7, &a, &err));
    assert_int_equal(strlen(cmir_encoder_get_info(a)->sha256), 64);
    for (int i = 0; i < 4; i++) {
        OK(cmir_encoder_external(others[i].name, others[i].version, others[i].dim, &b, &err));
        assert_int_equal(
            strcmp(cmir_encoder_get_info(a)->sha256, cmir_encoder_get_info(b)->sha256) == 0,
            i == 0);
        assert_int_equal(
            strcmp(cmir_encoder_get_info(a)->card_json, cmir_encoder_get_info(b)->card_json) == 0,
            i == 0);
        cmir_encoder_close(b);
    }
    assert_string_equal(cmir_encoder_get_info(a)->card_path, "");
    OK(cmir_encoder_describe(a, &text, &err));
    assert_non_null(strstr(text, "imported"));
    cmir_free(text);
    cmir_encoder_close(a);
}

/* Scans: neither added nor searched with, by the encoder's name and by any other. */
static void
test_scans_are_refused(void **state)
{
    static struct made m;
    const uint32_t dims[3] = {8, 8, 6};
    const double affine[3][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}};
    static int16_t voxels[8 * 8 * 6];
    cmir_archive *archive = new_archive(state, "a", DIM);
    cmir_encoder *own, *builtin;
    cmir_volume *scan;
    cmir_embeddings e = {0};
    cmir_result *result;
    bool added;

    for (int i = 0; i < 8 * 8 * 6; i++)
        voxels[i] = (int16_t)(rnd() % 900);
    make_items(&m);
    OK(cmir_archive_import(archive, DIM, m.item, 4, 1, &err));
    OK(cmir_nifti_write(in_folder(state, "s.nii"), voxels, dims, affine, &err));
    OK(cmir_volume_read(in_folder(state, "s.nii"), NULL, &scan, &err));
    OK(cmir_encoder_external("elsewhere", "2", DIM, &own, &err));
    OK(cmir_encoder_open("builtin", NULL, &builtin, &err));
    FAILS(cmir_encode(own, scan, CMIR_AXIAL, NULL, NULL, &e, &err), CMIR_EUNSUPPORTED,
          "elsewhere runs outside of cmir");
    assert_null(e.rows);
    FAILS(cmir_archive_add(archive, own, scan, NULL, 0, NULL, NULL, &added, &err),
          CMIR_EUNSUPPORTED, "runs outside of cmir");
    FAILS(cmir_search_volume(archive, own, scan, NULL, &result, &err), CMIR_EUNSUPPORTED,
          "runs outside of cmir");
    FAILS(cmir_archive_add(archive, builtin, scan, NULL, 0, NULL, NULL, &added, &err),
          CMIR_EMISMATCH, "elsewhere 2");
    FAILS(cmir_search_volume(archive, builtin, scan, NULL, &result, &err), CMIR_EMISMATCH,
          "elsewhere 2");
    assert_int_equal(cmir_archive_get_info(archive)->n_volumes, 4);
    cmir_encoder_close(own);
    cmir_encoder_close(builtin);
    cmir_volume_close(scan);
    cmir_archive_close(archive);
}

/* Embeddings search as the volume they were imported as. */
static void
test_search_with_embeddings(void **state)
{
    static struct made m;
    static uint8_t marks[MAX_N];
    cmir_archive *archive = new_archive(state, "a", DIM);
    cmir_search_options o = {.struct_nbytes = sizeof o, .limit = N_ITEMS};
    cmir_result *stored, *given;

    make_items(&m);
    OK(cmir_archive_import(archive, DIM, m.item, N_ITEMS, 2, &err));
    for (uint32_t i = 0; i < N_ITEMS; i += 7) {
        const uint8_t *own = m.item[i].marks == NULL ? marks : m.item[i].marks;
        const cmir_embeddings e = {m.rows[i], (uint8_t *)(uintptr_t)own, m.item[i].n_slices, DIM};

        for (int score = CMIR_MAXSIM; score <= CMIR_WEIGHTED; score++) {
            o.score = (cmir_score)score;
            OK(cmir_search_stored(archive, archive, m.id[i], &o, &stored, &err));
            OK(cmir_search_embeddings(archive, &e, m.id[i], &o, &given, &err));
            assert_int_equal(given->n_candidates, N_ITEMS - 1); /* less the volume of that id */
            assert_int_equal(given->n_hits, stored->n_hits);
            assert_string_equal(given->query->info.volume_id, m.id[i]);
            assert_int_equal(given->query->n_air, stored->query->n_air);
            for (size_t k = 0; k < given->n_hits; k++) {
                const cmir_hit *x = &given->hits[k], *y = &stored->hits[k];

                assert_string_equal(x->record->info.volume_id, y->record->info.volume_id);
                assert_true(x->score == y->score);
                assert_int_equal(x->n_matches, y->n_matches);
                assert_memory_equal(x->matches, y->matches, x->n_matches * sizeof *x->matches);
                assert_true(isnan(x->match_mm[0]) && isnan(x->match_mm[1]));
            }
            cmir_result_free(stored);
            cmir_result_free(given);
        }
    }
    cmir_archive_close(archive);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_import, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_whole_call_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_removed_and_taken_again, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_scans_are_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_search_with_embeddings, make_folder, remove_folder),
        cmocka_unit_test(test_external_encoders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
