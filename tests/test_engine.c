/* SPDX-License-Identifier: Apache-2.0 */
/* test_engine.c: adding and searching through the public interface, on a small archive of made-up
 * volumes; scores and matches against a loop in integers over the embeddings it gives out. */
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
#include "store/store.h"

#define SIDE 24u
#define N_VOLUMES 6u
#define MAX_SLICES 16u
#define N_AIR 2u /* last slices of every volume */

static char folder[64];
static cmir_encoder *encoder;
static uint64_t state = 20240717;

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

static uint32_t
slices_of(uint32_t volume)
{
    return 8 + volume;
}

/* Discs that change from slice to slice; the last slices are air. */
static void
write_volume(const char *name, uint32_t volume)
{
    const uint32_t n = slices_of(volume), dims[3] = {SIDE, SIDE, n};
    const double affine[3][4] = {{12, 0, 0, -100}, {0, 12, 0, -90}, {0, 0, 5, 30}};
    int16_t voxels[SIDE * SIDE * MAX_SLICES];
    const double a = 0.3 + 0.4 * rnd(), b = 0.3 + 0.4 * rnd(), c = 0.1 + 0.05 * volume;

    for (uint32_t i = 0; i < SIDE * SIDE * n; i++) {
        const uint32_t k = i / (SIDE * SIDE);
        const double x = 2.0 * (i % SIDE) / SIDE - 1, y = 2.0 * (i / SIDE % SIDE) / SIDE - 1;
        const bool body = x * x / a + y * y / b < 1, bone = hypot(x - c, y) < 0.02 * k + 0.1;
        voxels[i] = (int16_t)(k >= n - N_AIR ? -1000 : bone ? 700 : body ? 40 + 9 * (int)k : -1000);
        voxels[i] = (int16_t)(voxels[i] + 20 * rnd());
    }
    OK(cmir_nifti_write(in_folder(name), voxels, dims, affine, &err));
}

static cmir_volume *
read_volume(const char *name)
{
    cmir_volume *volume;

    OK(cmir_volume_read(in_folder(name), NULL, &volume, &err));
    return volume;
}

static cmir_status
add_file(cmir_archive *archive, const char *name, bool *added)
{
    cmir_volume *volume = read_volume(name);
    const cmir_label label = {"source", name};
    const cmir_status st =
        cmir_archive_add(archive, encoder, volume, &label, 1, NULL, NULL, added, &err);

    cmir_volume_close(volume);
    return st;
}

static int
set_up(void **unused)
{
    char name[32];
    cmir_archive *archive;
    bool added;

    (void)unused;
    printf("seed %llu\n", (unsigned long long)state);
    strcpy(folder, "/tmp/cmir_test_XXXXXX");
    assert_non_null(mkdtemp(folder));
    OK(cmir_encoder_open("builtin", NULL, &encoder, &err));
    OK(cmir_archive_create(in_folder("archive"), encoder, CMIR_AXIAL, &err));
    OK(cmir_archive_open(in_folder("archive"), CMIR_WRITE, &archive, &err));
    for (uint32_t i = 0; i < N_VOLUMES; i++) {
        snprintf(name, sizeof name, "v%u.nii.gz", i);
        write_volume(name, i);
        OK(add_file(archive, name, &added));
        assert_true(added);
    }
    assert_int_equal(cmir_archive_get_info(archive)->n_volumes, N_VOLUMES);
    assert_int_equal(cmir_archive_get_info(archive)->n_air_slices, N_VOLUMES * N_AIR);
    cmir_archive_close(archive);
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
    cmir_encoder_close(encoder);
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static cmir_archive *
open_archive(cmir_access access)
{
    cmir_archive *archive;

    OK(cmir_archive_open(in_folder("archive"), access, &archive, &err));
    return archive;
}

static cmir_search_options
options_none(void)
{
    return (cmir_search_options){.struct_nbytes = sizeof(cmir_search_options),
                                 .exclude = CMIR_EXCLUDE_NONE};
}

#define UNIT 32767.0

/* The integer behind an element of what an archive gives out. */
static int64_t
element(const cmir_embeddings *e, uint32_t slice, uint32_t d)
{
    return llround((double)e->rows[(size_t)slice * e->dim + d] * UNIT);
}

/* <a, b> of two stored slices, in fixed point. */
static int64_t
product(const cmir_embeddings *a, uint32_t i, const cmir_embeddings *b, uint32_t j)
{
    int64_t sum = 0;

    for (uint32_t d = 0; d < a->dim; d++)
        sum += element(a, i, d) * element(b, j, d);
    return sum;
}

/* Everything a hit says, computed anew. */
static void
check_hit(const cmir_archive *archive, const cmir_embeddings *query, uint32_t first, uint32_t last,
          const cmir_hit *hit)
{
    const cmir_record *record = hit->record;
    cmir_embeddings e;
    int64_t sum = 0;
    uint32_t n = 0;

    OK(cmir_archive_embeddings(archive, record->info.volume_id, &e, &err));
    assert_int_equal(e.n_slices, record->n_slices);
    for (uint32_t i = first; i <= last; i++) {
        if (query->marks[i] & CMIR_SLICE_AIR)
            continue;
        int64_t best = INT64_MIN;
        uint32_t where = 0;
        for (uint32_t j = 0; j < e.n_slices; j++) {
            const int64_t p = (e.marks[j] & CMIR_SLICE_AIR) ? INT64_MIN : product(query, i, &e, j);

            where = p > best ? j : where;
            best = p > best ? p : best;
        }
        const cmir_match *m = &hit->matches[n++];
        assert_int_equal(m->query_slice, i);
        assert_int_equal(m->match_slice, where);
        assert_true(fabs((double)m->similarity - (double)best / (UNIT * UNIT)) < 6e-8);
        assert_true(m->similarity <= hit->matches[hit->best].similarity);
        sum += best;
    }
    assert_int_equal(hit->n_matches, n);
    assert_true(hit->score == (double)sum / (n * UNIT * UNIT)); /* all bits of it */
    assert_true(hit->match_first <= hit->match_last && hit->match_last < e.n_slices);
    assert_true(hit->query_first >= first && hit->query_last <= last);
    assert_true(hit->match_mm[0] == 30 + 5.0 * hit->match_first);
    assert_true(hit->match_mm[1] == 30 + 5.0 * hit->match_last);
    cmir_embeddings_free(&e);
}

static void
test_search_against_loop(void **unused)
{
    cmir_archive *archive = open_archive(CMIR_READ);
    cmir_search_options o = options_none();
    cmir_embeddings query;
    cmir_result *result;

    (void)unused;
    OK(cmir_archive_embeddings(archive, "v3", &query, &err));
    for (uint32_t first = 0; first < 6; first += 5) {
        o.slices_given = true;
        o.first_slice = first;
        o.last_slice = first + 4;
        OK(cmir_search_stored(archive, archive, "v3", &o, &result, &err));
        assert_int_equal(result->n_candidates, N_VOLUMES);
        assert_int_equal(result->n_reranked, N_VOLUMES); /* few: all of them */
        assert_int_equal(result->n_hits, N_VOLUMES);
        assert_string_equal(result->hits[0].record->info.volume_id, "v3");
        for (size_t i = 0; i < result->n_hits; i++) {
            assert_int_equal(result->hits[i].rank, i + 1);
            assert_true(i == 0 || result->hits[i].score <= result->hits[i - 1].score);
            check_hit(archive, &query, first, first + 4, &result->hits[i]);
        }
        cmir_result_free(result);
    }
    cmir_embeddings_free(&query);
    cmir_archive_close(archive);
}

/* The same scan gives the same answer from a file and from the archive, loaded or not; and the
 * result outlives the archive. */
static void
test_file_and_stored_agree(void **unused)
{
    cmir_archive *archive = open_archive(CMIR_READ);
    const char *path = in_folder("v2.nii.gz");
    cmir_search_options o = options_none();
    cmir_result *stored, *loaded, *unloaded;
    cmir_volume *volume = read_volume("v2.nii.gz");
    cmir_scan *scan;

    (void)unused;
    OK(cmir_search_stored(archive, archive, "v2", &o, &stored, &err));
    OK(cmir_search_volume(archive, encoder, volume, &o, &loaded, &err));
    cmir_volume_close(volume);
    OK(cmir_scan_open(&path, 1, NULL, &scan, &err));
    OK(cmir_volume_open(scan, 0, &volume, &err));
    OK(cmir_search_volume(archive, encoder, volume, &o, &unloaded, &err));
    cmir_volume_close(volume);
    cmir_scan_close(scan);
    cmir_archive_close(archive);
    const cmir_result *const all[] = {loaded, unloaded};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(all[k]->n_hits, stored->n_hits);
        assert_int_equal(all[k]->query->n_slices, stored->query->n_slices);
        assert_int_equal(all[k]->query->n_air, N_AIR);
        assert_string_equal(all[k]->query->info.volume_id, "v2");
        for (size_t i = 0; i < stored->n_hits; i++) {
            const cmir_hit *a = &all[k]->hits[i], *b = &stored->hits[i];
            assert_string_equal(a->record->info.volume_id, b->record->info.volume_id);
            assert_true(a->score == b->score);
            assert_int_equal(a->n_matches, b->n_matches);
            assert_memory_equal(a->matches, b->matches, a->n_matches * sizeof *a->matches);
        }
    }
    cmir_result_free(stored);
    cmir_result_free(loaded);
    cmir_result_free(unloaded);
}

static bool
is_hit(const cmir_result *result, const char *id)
{
    for (size_t i = 0; i < result->n_hits; i++)
        if (strcmp(result->hits[i].record->info.volume_id, id) == 0)
            return true;
    return false;
}

/* v0, v1, v2: one patient; v0, v1: one study; the others' are unknown and exclude nothing. */
static void
test_exclusion(void **unused)
{
    static const char *const ids[] = {"v0", "v1", "v2", "v3"};
    static const int n_left[] = {N_VOLUMES - 1, N_VOLUMES - 2, N_VOLUMES - 3, N_VOLUMES};
    cmir_archive *archive = open_archive(CMIR_WRITE);
    cmir_search_options o = options_none();
    FILE *csv = fopen(in_folder("patients.csv"), "w");
    cmir_label_table *table;
    cmir_result *result;
    size_t n;

    (void)unused;
    assert_non_null(csv);
    fputs("name,PatientID,StudyInstanceUID,stage\nv0,anna,1.2,1\nv1,anna,1.2,2\nv2,anna,1.3,3\n"
          "nobody,x,1.4,4\n",
          csv);
    assert_int_equal(fclose(csv), 0);
    OK(cmir_label_table_read(in_folder("patients.csv"), &table, &err));
    OK(cmir_archive_label(archive, table, "v5", &n, &err));
    assert_int_equal(n, 0);
    OK(cmir_archive_label(archive, table, "v1", &n, &err));
    assert_int_equal(n, 1);
    OK(cmir_archive_label(archive, table, NULL, &n, &err));
    assert_int_equal(n, 3);
    cmir_label_table_free(table);
    for (int e = CMIR_EXCLUDE_VOLUME; e <= CMIR_EXCLUDE_NONE; e++) {
        o.exclude = (cmir_exclude)e;
        OK(cmir_search_stored(archive, archive, "v0", &o, &result, &err));
        assert_int_equal(result->n_candidates, n_left[e]);
        for (int i = 0; i < 4; i++)
            assert_int_equal(is_hit(result, ids[i]), e == CMIR_EXCLUDE_NONE || i > e);
        cmir_result_free(result);
        OK(cmir_search_stored(archive, archive, "v4", &o, &result, &err));
        assert_int_equal(result->n_candidates, N_VOLUMES - (e != CMIR_EXCLUDE_NONE));
        cmir_result_free(result);
    }
    o.where = "stage >= 2";
    OK(cmir_search_stored(archive, archive, "v0", &o, &result, &err));
    assert_int_equal(result->n_candidates, 2);
    cmir_result_free(result);
    o.where = "stage >= 9";
    OK(cmir_search_stored(archive, archive, "v0", &o, &result, &err));
    assert_int_equal(result->n_candidates, 0);
    assert_int_equal(result->n_hits, 0);
    cmir_result_free(result);
    cmir_archive_close(archive);
}

static void
test_bad_queries(void **unused)
{
    cmir_archive *archive = open_archive(CMIR_READ);
    cmir_volume *volume = read_volume("v0.nii.gz");
    cmir_search_options o = options_none();
    cmir_result *result;

    (void)unused;
    FAILS(cmir_search_stored(archive, archive, "nobody", &o, &result, &err), CMIR_ENOTFOUND,
          "nobody");
    assert_null(result);
    o.slices_given = true;
    o.first_slice = 5;
    o.last_slice = slices_of(0);
    FAILS(cmir_search_stored(archive, archive, "v0", &o, &result, &err), CMIR_EINVAL, "0:7");
    FAILS(cmir_search_volume(archive, encoder, volume, &o, &result, &err), CMIR_EINVAL, "0:7");
    o.first_slice = 7;
    o.last_slice = 6;
    FAILS(cmir_search_stored(archive, archive, "v0", &o, &result, &err), CMIR_EINVAL, "0:7");
    o.first_slice = slices_of(0) - N_AIR;
    o.last_slice = slices_of(0) - 1;
    FAILS(cmir_search_stored(archive, archive, "v0", &o, &result, &err), CMIR_EINVAL, "air");
    o = options_none();
    o.slices = (const uint32_t[]){2, 2};
    o.n_slices = 2;
    FAILS(cmir_search_stored(archive, archive, "v0", &o, &result, &err), CMIR_EINVAL, "no slice 2");
    FAILS(cmir_search_volume(archive, encoder, volume, &o, &result, &err), CMIR_EINVAL, "rise");
    o.slices = (const uint32_t[]){2, 8};
    FAILS(cmir_search_stored(archive, archive, "v0", &o, &result, &err), CMIR_EINVAL, "no slice 8");
    o.n_slices = 0;
    FAILS(cmir_search_stored(archive, archive, "v0", &o, &result, &err), CMIR_EINVAL, "none");
    o.n_slices = 1;
    o.slices_given = true;
    FAILS(cmir_search_stored(archive, archive, "v0", &o, &result, &err), CMIR_EINVAL, "one by one");
    o = options_none();
    o.where = "Modality =";
    FAILS(cmir_search_stored(archive, archive, "v0", &o, &result, &err), CMIR_EINVAL, "filter");
    o = options_none();
    o.score = (cmir_score)17;
    FAILS(cmir_search_stored(archive, archive, "v0", &o, &result, &err), CMIR_EINVAL, "17");
    o = options_none();
    o.struct_nbytes = 8;
    FAILS(cmir_search_stored(archive, archive, "v0", &o, &result, &err), CMIR_EINVAL, "struct");
    cmir_volume_close(volume);
    cmir_archive_close(archive);
}

/* Archives that other encoders made neither take volumes nor answer. */
static void
test_other_encoder(void **unused)
{
    const cmir_encoder_info *e = cmir_encoder_get_info(encoder);
    const cmir_binding own = {e->name, e->version, e->sha256,          e->card_json, "",
                              e->dim,  CMIR_AXIAL, CMIR_PREVIEWS_NONE, NULL};
    cmir_binding others[] = {own, own, own, own, own};
    static const char *const field[] = {"name", "version", "sha256", "card", "dimension"};
    cmir_archive *archive = open_archive(CMIR_READ), *other;
    cmir_result *result;
    char name[16];
    bool added;

    (void)unused;
    others[0].encoder_name = "stranger";
    others[1].encoder_version = "99";
    others[2].encoder_sha256 = "0123456789012345678901234567890123456789012345678901234567890123";
    others[3].card_json = "{}";
    others[4].dim = 7;
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "other%d", i);
        OK(cmir_store_create(in_folder(name), &others[i], &err));
        OK(cmir_archive_open(in_folder(name), CMIR_WRITE, &other, &err));
        FAILS(cmir_archive_check_encoder(other, encoder, &err), CMIR_EMISMATCH, field[i]);
        FAILS(add_file(other, "v0.nii.gz", &added), CMIR_EMISMATCH, field[i]);
        FAILS(cmir_search_stored(other, archive, "v0", NULL, &result, &err), CMIR_EMISMATCH,
              "builtin");
        cmir_archive_close(other);
    }
    OK(cmir_archive_check_encoder(archive, encoder, &err));
    cmir_archive_close(archive);
}

static int
stop_at_three(void *n_calls, uint64_t done, uint64_t total)
{
    (void)total;
    ++*(int *)n_calls;
    return done >= 3;
}

static void
test_adding_again(void **unused)
{
    cmir_archive *archive = open_archive(CMIR_WRITE);
    cmir_volume *volume;
    cmir_record *record;
    bool added = true;
    int n_calls = 0;

    (void)unused;
    const uint64_t nbytes = cmir_archive_get_info(archive)->segments_nbytes;
    OK(add_file(archive, "v1.nii.gz", &added));
    assert_false(added);
    OK(cmir_archive_get(archive, "v1", &record, &err));
    assert_int_equal(record->n_slices, slices_of(1));
    assert_int_equal(record->n_air, N_AIR);
    assert_true(record->slice_spacing_mm == 5.0 && record->slice_mm[2] == 40.0);
    bool labelled = false;
    for (size_t i = 0; i < record->n_labels; i++)
        labelled = labelled || (strcmp(record->labels[i].name, "source") == 0 &&
                                strcmp(record->labels[i].value, "v1.nii.gz") == 0);
    assert_true(labelled);
    cmir_record_free(record);

    assert_int_equal(mkdir(in_folder("copy"), 0777), 0);
    write_volume("copy/v1.nii.gz", 1); /* the same id, other voxels */
    FAILS(add_file(archive, "copy/v1.nii.gz", &added), CMIR_EEXIST, "v1");
    assert_int_equal(cmir_archive_get_info(archive)->segments_nbytes, nbytes);

    write_volume("new.nii", 2);
    volume = read_volume("new.nii");
    FAILS(
        cmir_archive_add(archive, encoder, volume, NULL, 0, stop_at_three, &n_calls, &added, &err),
        CMIR_ECANCELLED, "");
    assert_true(n_calls >= 1);
    cmir_volume_close(volume);
    FAILS(cmir_archive_get(archive, "new", &record, &err), CMIR_ENOTFOUND, "new");
    OK(add_file(archive, "new.nii", &added));
    assert_true(added);
    OK(cmir_archive_remove(archive, "new", &err));
    FAILS(cmir_archive_remove(archive, "new", &err), CMIR_ENOTFOUND, "new");
    assert_int_equal(cmir_archive_get_info(archive)->n_volumes, N_VOLUMES);
    assert_true(cmir_archive_get_info(archive)->dead_nbytes > 0);
    cmir_archive_close(archive);

    archive = open_archive(CMIR_READ);
    assert_int_not_equal(add_file(archive, "new.nii", &added), CMIR_OK);
    err = (cmir_error){0};
    cmir_archive_close(archive);
}

static void
test_empty_archive(void **unused)
{
    cmir_archive *archive = open_archive(CMIR_READ), *empty;
    cmir_result *result;

    (void)unused;
    OK(cmir_archive_create(in_folder("empty"), encoder, CMIR_AXIAL, &err));
    FAILS(cmir_archive_create(in_folder("empty"), encoder, CMIR_AXIAL, &err), CMIR_EEXIST, "empty");
    FAILS(cmir_archive_open(in_folder("nowhere"), CMIR_READ, &empty, &err), CMIR_ENOTFOUND,
          "nowhere");
    OK(cmir_archive_open(in_folder("empty"), CMIR_READ, &empty, &err));
    OK(cmir_search_stored(empty, archive, "v0", NULL, &result, &err));
    assert_int_equal(result->n_candidates, 0);
    assert_int_equal(result->n_hits, 0);
    cmir_result_free(result);
    cmir_archive_close(empty);
    cmir_archive_close(archive);
}

static void
test_score_names(void **unused)
{
    cmir_score score;

    (void)unused;
    for (int s = CMIR_MAXSIM; s <= CMIR_WEIGHTED; s++) {
        OK(cmir_score_parse(cmir_score_name((cmir_score)s), &score, &err));
        assert_int_equal(score, s);
    }
    FAILS(cmir_score_parse("MaxSim", &score, &err), CMIR_EINVAL, "symmetric");
}

/* Equal in all but the time they took. */
static void
check_same_result(const cmir_result *a, const cmir_result *b)
{
    assert_int_equal(a->score, b->score);
    assert_string_equal(a->query->info.volume_id, b->query->info.volume_id);
    assert_string_equal(a->query->info.patient_id, b->query->info.patient_id);
    assert_true(a->first_slice == b->first_slice && a->last_slice == b->last_slice);
    assert_int_equal(a->n_candidates, b->n_candidates);
    assert_int_equal(a->n_reranked, b->n_reranked);
    assert_int_equal(a->n_hits, b->n_hits);
    for (size_t i = 0; i < a->n_hits; i++) {
        const cmir_hit *x = &a->hits[i], *y = &b->hits[i];

        assert_string_equal(x->record->info.volume_id, y->record->info.volume_id);
        assert_true(x->rank == y->rank && x->score == y->score && x->best == y->best);
        assert_int_equal(x->n_matches, y->n_matches);
        assert_memory_equal(x->matches, y->matches, x->n_matches * sizeof *x->matches);
        assert_true(x->match_first == y->match_first && x->match_last == y->match_last);
        assert_true(x->query_first == y->query_first && x->query_last == y->query_last);
        assert_memory_equal(x->match_mm, y->match_mm, sizeof x->match_mm);
    }
}

/* Slices one by one: a range of them is that range; with gaps, just these take part, whether the query
 * is stored or given. */
static void
test_slices_one_by_one(void **unused)
{
    static const uint32_t range[] = {1, 2, 3, 4}, gaps[] = {0, 3, 4};
    cmir_archive *archive = open_archive(CMIR_READ);
    cmir_search_options o = options_none(), whole = o;
    cmir_embeddings query;
    cmir_result *a, *b;

    (void)unused;
    o.slices = range;
    o.n_slices = 4;
    whole.slices_given = true;
    whole.first_slice = 1;
    whole.last_slice = 4;
    OK(cmir_search_stored(archive, archive, "v3", &o, &a, &err));
    OK(cmir_search_stored(archive, archive, "v3", &whole, &b, &err));
    check_same_result(a, b);
    cmir_result_free(a);
    cmir_result_free(b);
    o.slices = gaps;
    o.n_slices = 3;
    OK(cmir_archive_embeddings(archive, "v3", &query, &err));
    OK(cmir_search_stored(archive, archive, "v3", &o, &a, &err));
    OK(cmir_search_embeddings(archive, &query, "v3", &o, &b, &err));
    assert_true(a->first_slice == 0 && a->last_slice == 4);
    for (size_t i = 0; i < a->n_hits; i++) {
        assert_int_equal(a->hits[i].n_matches, 3);
        assert_int_equal(b->hits[i].n_matches, 3);
        for (uint32_t k = 0; k < 3; k++)
            assert_true(a->hits[i].matches[k].query_slice == gaps[k] &&
                        b->hits[i].matches[k].query_slice == gaps[k]);
    }
    cmir_result_free(a);
    cmir_result_free(b);
    cmir_embeddings_free(&query);
    cmir_archive_close(archive);
}

#define N_QUERIES 150u /* more than are worked on at once */

/* Queries of every kind, and every ninth of them wrong. */
static void
make_queries(const cmir_archive *archive, const cmir_archive *other, const cmir_embeddings *good,
             const cmir_embeddings *bad, cmir_search_query *queries)
{
    static const char *const ids[] = {"v0", "v1", "v2", "v3", "v4", "v5"};

    for (size_t i = 0; i < N_QUERIES; i++) {
        const char *id = ids[i % 6];

        queries[i] = i % 3 == 0   ? (cmir_search_query){archive, id, NULL, NULL, 0}
                     : i % 3 == 1 ? (cmir_search_query){NULL, id, &good[i % 6], NULL, 0}
                                  : (cmir_search_query){other, "w", NULL, NULL, 0};
        if (i % 9 == 4)
            queries[i] = i % 4 == 0   ? (cmir_search_query){archive, "nobody", NULL, NULL, 0}
                         : i % 4 == 1 ? (cmir_search_query){NULL, "bad", &bad[i / 36 % 3], NULL, 0}
                         : i % 4 == 2 ? (cmir_search_query){archive, NULL, NULL, NULL, 0}
                                      : (cmir_search_query){archive, id, &good[i % 6], NULL, 0};
    }
}

static int
count_queries(void *last, uint64_t done, uint64_t total)
{
    assert_int_equal(total, N_QUERIES);
    assert_true(done > *(uint64_t *)last && done <= total);
    *(uint64_t *)last = done;
    return 0;
}

static int
stop_early(void *n_calls, uint64_t done, uint64_t total)
{
    ++*(int *)n_calls;
    return done < total;
}

static void
check_batch(const cmir_archive *archive, const cmir_search_query *queries,
            const cmir_search_options *o)
{
    cmir_result *out[N_QUERIES], *one;
    cmir_error errors[N_QUERIES];
    uint64_t last = 0;

    memset(errors, 0x77, sizeof errors); /* whatever was in them */
    memset(out, 0x77, sizeof out);
    OK(cmir_search_batch(archive, queries, N_QUERIES, o, count_queries, &last, out, errors, &err));
    assert_int_equal(last, N_QUERIES);
    for (size_t i = 0; i < N_QUERIES; i++) {
        cmir_error why = {0};

        assert_true((out[i] == NULL) == (i % 9 == 4));
        assert_true((errors[i].code == CMIR_OK) == (i % 9 != 4));
        if (queries[i].volume_id == NULL || (queries[i].archive && queries[i].embeddings)) {
            assert_int_equal(errors[i].code, CMIR_EINVAL);
            assert_non_null(strstr(errors[i].msg, "a query is"));
            continue;
        }
        const cmir_status st = queries[i].archive != NULL
                                   ? cmir_search_stored(archive, queries[i].archive,
                                                        queries[i].volume_id, o, &one, &why)
                                   : cmir_search_embeddings(archive, queries[i].embeddings,
                                                            queries[i].volume_id, o, &one, &why);
        assert_int_equal(st, errors[i].code);
        assert_string_equal(why.msg, errors[i].msg);
        if (st != CMIR_OK)
            continue;
        check_same_result(out[i], one);
        cmir_result_free(one);
    }
    for (size_t i = 0; i < N_QUERIES; i++)
        cmir_result_free(out[i]);
}

/* What is wrong with a batch as a whole, and batches of nothing. */
static void
check_bad_batches(const cmir_archive *archive, const cmir_search_query *queries)
{
    cmir_search_options o = options_none();
    cmir_result *out[N_QUERIES];
    cmir_error errors[N_QUERIES];
    int n_calls = 0;

    FAILS(
        cmir_search_batch(archive, queries, N_QUERIES, &o, stop_early, &n_calls, out, errors, &err),
        CMIR_ECANCELLED, "of 150 queries");
    assert_int_equal(n_calls, 1);
    for (size_t i = 0; i < N_QUERIES; i++)
        assert_null(out[i]);
    OK(cmir_search_batch(archive, NULL, 0, &o, stop_early, &n_calls, NULL, NULL, &err));
    assert_int_equal(n_calls, 1);
    o.score = (cmir_score)17;
    memset(out, 0x77, sizeof out);
    FAILS(cmir_search_batch(archive, queries, 5, &o, NULL, NULL, out, errors, &err), CMIR_EINVAL,
          "17");
    for (size_t i = 0; i < 5; i++)
        assert_null(out[i]);
    o = options_none();
    o.where = "Modality =";
    FAILS(cmir_search_batch(archive, queries, 5, &o, NULL, NULL, out, errors, &err), CMIR_EINVAL,
          "filter");
    o.where = "VolumeId = 'none'";
    OK(cmir_search_batch(archive, queries, 1, &o, NULL, NULL, out, errors, &err));
    assert_true(out[0]->n_hits == 0 && out[0]->n_candidates == 0);
    cmir_result_free(out[0]);
}

/* A batch gives what its queries give one by one, for all scores, exclusions and numbers of
 * threads; those that fail leave the others alone. */
static void
test_batch(void **unused)
{
    cmir_archive *archive = open_archive(CMIR_READ), *other;
    cmir_search_options o = options_none();
    cmir_embeddings good[6], bad[3];
    static cmir_search_query queries[N_QUERIES];
    bool added;

    (void)unused;
    OK(cmir_archive_create(in_folder("second"), encoder, CMIR_AXIAL, &err));
    OK(cmir_archive_open(in_folder("second"), CMIR_WRITE, &other, &err));
    write_volume("w.nii", 3);
    OK(add_file(other, "w.nii", &added));
    for (uint32_t i = 0; i < 6; i++) {
        char id[4];

        snprintf(id, sizeof id, "v%u", i);
        OK(cmir_archive_embeddings(archive, id, &good[i], &err));
    }
    for (uint32_t i = 0; i < 3; i++)
        OK(cmir_archive_embeddings(archive, "v0", &bad[i], &err));
    bad[0].dim--;
    bad[1].rows[5 * (size_t)bad[1].dim] = NAN;
    bad[2].n_slices = 0;
    make_queries(archive, other, good, bad, queries);
    for (int k = CMIR_MAXSIM; k <= CMIR_WEIGHTED; k++) {
        o.score = (cmir_score)k;
        o.exclude = (cmir_exclude)(k % 4);
        o.n_threads = (uint32_t)k % 5;
        o.limit = k % 2 == 0 ? 0 : 3;
        o.slices_given = k % 3 == 0;
        o.first_slice = 1;
        o.last_slice = 5; /* of bad[1] the NAN row, too */
        o.where = k == 7 ? "Slices > 9" : NULL;
        o.exhaustive = k == 6;
        o.n_rerank = k == 8 ? 2 : 0;
        check_batch(archive, queries, &o);
    }
    check_bad_batches(archive, queries);
    for (uint32_t i = 0; i < 9; i++) {
        if (i == 6)
            bad[0].dim++;
        cmir_embeddings_free(i < 6 ? &good[i] : &bad[i - 6]);
    }
    cmir_archive_close(other);
    cmir_archive_close(archive);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search_against_loop),   cmocka_unit_test(test_slices_one_by_one),
        cmocka_unit_test(test_file_and_stored_agree), cmocka_unit_test(test_exclusion),
        cmocka_unit_test(test_bad_queries),           cmocka_unit_test(test_other_encoder),
        cmocka_unit_test(test_adding_again),          cmocka_unit_test(test_empty_archive),
        cmocka_unit_test(test_score_names),           cmocka_unit_test(test_batch),
    };

    return cmocka_run_group_tests_name("engine", tests, set_up, tear_down);
}
