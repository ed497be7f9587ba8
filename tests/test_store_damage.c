/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_damage.c: damage anywhere in an archive is found and named by verify, and never makes
 * a reader leave the bytes it was given. */
#include "synthetic.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <zlib.h>

#include "store/store_internal.h"

/* Numbers of volumes that are not large. */
static const uint64_t volumes[] = {2, 5, 9};

static void
make_archive(void **state, const char *name)
{
    cmir_store *store;

    create_archive(in_folder(state, name));
    assert_ok(cmir_store_open(in_folder(state, name), CMIR_WRITE, &store, err));
    for (size_t i = 0; i < 3; i++)
        add_synthetic(store, volumes[i]);
    cmir_store_close(store);
}

/* Adds up the rows of everything that opens: the sanitizers watch. */
static double
touch_everything(const cmir_snapshot *snapshot)
{
    double sum = 0;

    for (size_t c = 0; c < cmir_snapshot_count(snapshot); c++) {
        const cmir_rows *rows = &cmir_snapshot_get(snapshot, c)->rows;
        cmir_record *record;
        cmir_error err = {0};
        const size_t padded = (rows->n_rows + 15u) / 16 * 16;

        assert_true(rows->n_scored >= 1 && rows->n_scored <= rows->n_rows);
        assert_true(rows->n_reps >= 1 && rows->n_reps <= 8);
        for (uint32_t r = 0; r < rows->n_rows; r++)
            sum += (double)rows->code_sum[r] + rows->slice[r] +
                   (isfinite(rows->scale[r]) ? (double)rows->scale[r] : 0) +
                   (isfinite(rows->base[r]) ? (double)rows->base[r] : 0) +
                   (rows->row_residual[r] > 0) + (rows->row_reach[r] > 0);
        for (size_t i = 0; i < padded * rows->padded_dim; i++)
            sum += rows->codes[i];
        for (size_t i = 0; i < (size_t)rows->n_rows * rows->padded_dim; i++)
            sum += rows->exact[i];
        for (size_t i = 0; i < rows->padded_dim; i++)
            sum += rows->mean[i] + cmir_snapshot_center(snapshot)[i];
        for (size_t i = 0; i < (size_t)8 * rows->padded_dim; i++)
            sum += rows->rep_codes[i];
        for (size_t i = 0; i < 8; i++)
            sum += rows->rep_sum[i] + (rows->rep_scale[i] > 0) + (rows->rep_base[i] > 0);
        if (cmir_snapshot_record(snapshot, c, &record, &err) != CMIR_OK)
            continue;
        for (uint32_t i = 0; i < record->n_slices; i++)
            sum += (double)strlen(record->slice_uids[i]) + record->slice_marks[i];
        cmir_record_free(record);
    }
    return sum;
}

/* Everything a reader does; all of it may fail, none of it may crash.  Gives verify's faults. */
static uint64_t
read_all(const char *dir, char first_fault[240])
{
    cmir_store *store;
    cmir_snapshot *snapshot;
    cmir_error err = {0};
    uint64_t n = 1;
    char **ids;
    size_t n_ids;

    first_fault[0] = '\0';
    if (cmir_store_open(dir, CMIR_READ, &store, &err) != CMIR_OK) {
        snprintf(first_fault, 240, "%s", err.msg);
        return 1;
    }
    if (cmir_snapshot_open(store, "size > 3 or organ = 'lung'", &snapshot, &err) == CMIR_OK) {
        (void)touch_everything(snapshot);
        cmir_snapshot_close(snapshot);
    }
    if (cmir_store_list(store, NULL, &ids, &n_ids, NULL) == CMIR_OK)
        cmir_ids_free(ids, n_ids);
    err = (cmir_error){0};
    if (cmir_store_verify(store, print_problem, first_fault, &n, &err) != CMIR_OK) {
        snprintf(first_fault, 240, "%s", err.msg);
        n++;
    }
    cmir_store_close(store);
    return n;
}

static void
flip(const char *path, off_t at, unsigned bit)
{
    uint8_t byte;
    const int fd = open(path, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (uint8_t)(byte ^ 1u << bit);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static off_t
nbytes_of(const char *path)
{
    struct stat info;

    assert_int_equal(stat(path, &info), 0);
    return info.st_size;
}

/* Every byte of a segment: verify names the volume it belongs to. */
static void
test_segment_bytes(void **state)
{
    char fault[240];
    uint64_t random = 11, end = 0;
    size_t v = 0;
    const char *dir = in_folder(state, "a"), *path = in_folder(state, "a/segments/00000001.seg");
    static synthetic s;

    make_archive(state, "a");
    assert_int_equal(read_all(dir, fault), 0);
    const off_t nbytes = nbytes_of(path);
    for (off_t at = 0; at < nbytes; at += at < 64 ? 1 : 1 + below(&random, 40)) {
        const unsigned bit = below(&random, 8);

        for (; (uint64_t)at >= end; v++) {
            make_synthetic(&s, volumes[v]);
            end += cmir_record_nbytes(s.record.n_slices, DIM);
        }
        flip(path, at, bit);
        if (read_all(dir, fault) == 0 || strncmp(fault, s.id, strlen(s.id)) != 0)
            fail_msg("bit %u of byte %ld (%s): %s", bit, (long)at, s.id, fault);
        flip(path, at, bit);
    }
    assert_int_equal(v, 3);
    assert_int_equal(read_all(dir, fault), 0);
}

static void
run_sql(const char *path, const char *sql)
{
    cmir_db *db;

    assert_ok(cmir_db_open(path, CMIR_DB_CREATE, &db, err));
    assert_ok(cmir_db_exec(db, "PRAGMA foreign_keys = OFF", err));
    assert_ok(cmir_db_exec(db, sql, err));
    cmir_db_close(db);
}

/* Damages the first record; its checksums are made right. */
static void
forge(void **state, off_t at, const void *bytes, size_t nbytes)
{
    const char *path = in_folder(state, "a/segments/00000001.seg");
    static synthetic s;
    char sql[100];

    make_synthetic(&s, volumes[0]);
    const size_t length = (size_t)cmir_record_nbytes(s.record.n_slices, DIM);
    uint8_t *record = malloc(length);
    const int fd = open(path, O_RDWR);
    assert_true(record != NULL && fd >= 0);
    assert_int_equal(pread(fd, record, length, 0), length);
    memcpy(record + at, bytes, nbytes);
    const uint32_t planes = (uint32_t)crc32(0, record + 64, (uInt)length - 64);
    memcpy(record + 40, &planes, 4);
    const uint32_t header = (uint32_t)crc32(0, record, 60);
    memcpy(record + 60, &header, 4);
    assert_int_equal(pwrite(fd, record, length, 0), length);
    close(fd);
    free(record);
    snprintf(sql, sizeof sql, "UPDATE volumes SET crc = %u WHERE volume_id = '%s'",
             (unsigned)header, s.id);
    run_sql(in_folder(state, "a/catalog.sqlite"), sql);
}

/* What a reader says of the forged archive `dir`, which holds v9 too. */
static void
check_forged(const char *dir, uint32_t at, const char *words)
{
    char fault[240];
    cmir_store *store;
    cmir_snapshot *snapshot;
    cmir_error cause = {0};

    if (read_all(dir, fault) != 1 || strncmp(fault, "v2: ", 4) != 0 || strstr(fault, words) == NULL)
        fail_msg("byte %u: not '%s': %s", (unsigned)at, words, fault);
    /* The others can be had one by one, whatever is wrong with this one. */
    assert_ok(cmir_store_open(dir, CMIR_READ, &store, err));
    assert_ok(cmir_snapshot_open_one(store, "v9", &snapshot, err));
    check_candidate(snapshot, 0, 9, 2);
    cmir_snapshot_close(snapshot);
    const bool header = strstr(words, "not what") == NULL && at < 64;
    const cmir_status st = cmir_snapshot_open(store, NULL, &snapshot, &cause);
    assert_int_equal(st == CMIR_OK, !header);
    if (st == CMIR_OK)
        cmir_snapshot_close(snapshot);
    else
        assert_non_null(strstr(cause.msg, words));
    cmir_store_close(store);
}

/* Records with right checksums that do not follow from their rows, or contradict the catalogue:
 * verify tells in what. */
static void
test_forged_records(void **state)
{
    static synthetic s;
    static model_record m;
    char fault[240], dir[120], path[120], catalog[120];

    snprintf(dir, sizeof dir, "%s", in_folder(state, "a"));
    snprintf(path, sizeof path, "%s", in_folder(state, "a/segments/00000001.seg"));
    snprintf(catalog, sizeof catalog, "%s", in_folder(state, "a/catalog.sqlite"));
    make_archive(state, "a");
    make_synthetic(&s, volumes[0]);
    model_exact(&s, &m);
    /* docs/format.md, with dim 20: */
    const uint32_t n = s.record.n_slices, column = (4 * n + 63) / 64 * 64;
    const uint32_t reps = 64, rep_codes = reps + 128, mean = rep_codes + 8 * WIDTH,
                   slice = mean + 2 * WIDTH, scale = slice + column, base = scale + column,
                   code_sum = base + column, residual = code_sum + column,
                   reach = residual + column, codes = reach + column,
                   exact = codes + (n + 15) / 16 * 16 * WIDTH;
    assert_true(n > 4 && n % 16 != 0);
    static const uint8_t one[8] = {1, 1, 1, 1, 1, 1, 1, 1}, zero[8];
    const float third = 0.25f, nothing = NAN;
    const uint32_t small = 5, many = 18;
    const int16_t more = (int16_t)(m.row[0].exact[0] + m.n_scored), most = 32767;
    const struct {
        uint32_t at;
        const void *bytes;
        uint32_t nbytes;
        const char *words;
    } cases[] = {
        {8, one, 1, "record version 1; this cmir reads version 2"},
        {12, &many, 4, "contradict"},
        {16, one, 1, "contradict"},
        {20, &many, 4, "contradict"},
        {24, one, 1, "contradict"},
        {32, one, 1, "contradict"},
        {56, zero, 4, "contradict"},
        {56, &many, 4, "contradict"},
        {56, &small, 4, "its header: not what"},
        {44, &third, 4, "its header: not what"},
        {44, &nothing, 4, "its header: not what"},
        {48, &third, 4, "its header: not what"},
        {48, &nothing, 4, "its header: not what"},
        {52, &third, 4, "its header: not what"},
        {mean, one, 1, "the mean of its rows: not what"},
        {mean + 2 * DIM, one, 1, "the mean of its rows: not what"}, /* padding */
        {reps, one, 2, "its representatives: not what"},
        {reps + 32, one, 2, "its representatives: not what"},
        {reps + 64, one, 2, "its representatives: not what"},
        {rep_codes + 3, one, 8, "its representatives: not what"},
        {slice, one, 2, "its slice numbers: not what"},
        {slice + 4 * n, one, 1, "its slice numbers: not what"}, /* padding */
        {scale + 4, &third, 4, "the scales of its codes: not what"},
        {base + 4, &third, 4, "its products with the center: not what"},
        {code_sum, one, 4, "the sums of its codes: not what"},
        {residual, &third, 4, "the bounds of its codes: not what"},
        {residual + 4, &nothing, 4, "the bounds of its codes: not what"},
        {residual + 4 * n, one, 1, "the bounds of its codes: not what"}, /* padding */
        {reach + 4, &third, 4, "the bounds of its codes: not what"},
        {reach, &nothing, 4, "the bounds of its codes: not what"},
        {codes + WIDTH, one, 8, "its codes: not what"},
        {codes + n * WIDTH, one, 1, "its codes: not what"}, /* padding */
        {exact, &more, 2, "its representatives: not what"},
        {exact + 2 * DIM, one, 1, "row 0: padding that is not zero"},
        {exact + 2 * WIDTH, &most, 2, "row 1: its length is"},
    };
    assert_int_equal(exact + 2 * WIDTH * n, cmir_record_nbytes(n, DIM));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char command[800];

        snprintf(command, sizeof command, "cp '%s' '%s.kept' && cp '%s' '%s.kept'", path, path,
                 catalog, catalog);
        assert_int_equal(system(command), 0);
        forge(state, cases[i].at, cases[i].bytes, cases[i].nbytes);
        snprintf(command, sizeof command, "mv '%s.kept' '%s.aside'", path, dir);
        assert_int_equal(system(command), 0);
        check_forged(dir, cases[i].at, cases[i].words);
        snprintf(command, sizeof command, "mv '%s.aside' '%s' && mv '%s.kept' '%s'", dir, path,
                 catalog, catalog);
        assert_int_equal(system(command), 0);
    }
    assert_int_equal(read_all(dir, fault), 0);
}

/* A record that is sound in itself, but of another volume of the same shape. */
static void
test_swapped_records(void **state)
{
    const char *dir = in_folder(state, "a"), *path = in_folder(state, "a/segments/00000001.seg");
    static synthetic s, t;
    cmir_store *store;
    cmir_snapshot *snapshot;
    uint64_t other = 0;
    bool added;

    make_synthetic(&s, 1);
    do
        make_synthetic(&t, ++other + 1);
    while (t.record.n_slices != s.record.n_slices || t.record.n_air != s.record.n_air);
    create_archive(dir);
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    assert_ok(cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    assert_ok(cmir_store_add(store, &t.record, &t.embeddings, &added, err));
    const size_t n = (size_t)nbytes_of(path) / 2;
    uint8_t *bytes = malloc(2 * n);
    const int fd = open(path, O_RDWR);
    assert_true(bytes != NULL && fd >= 0);
    assert_int_equal(pread(fd, bytes, 2 * n, 0), 2 * n);
    assert_int_equal(pwrite(fd, bytes + n, n, 0), n);
    assert_int_equal(pwrite(fd, bytes, n, (off_t)n), n);
    close(fd);
    free(bytes);
    assert_refused(CMIR_ECORRUPT, "another volume",
                   cmir_snapshot_open(store, NULL, &snapshot, err));
    assert_int_equal(n_problems(store), 2);
    cmir_store_close(store);
}

static void
test_missing_bytes(void **state)
{
    char fault[240];
    cmir_store *store;
    cmir_snapshot *snapshot;
    bool added;
    static synthetic s;
    const char *dir = in_folder(state, "a"), *path = in_folder(state, "a/segments/00000001.seg");

    make_archive(state, "a");
    assert_int_equal(truncate(path, nbytes_of(path) - 64), 0);
    assert_int_equal(read_all(dir, fault), 2); /* the segment, and the volume at its end */
    assert_non_null(strstr(fault, "cut short"));
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    assert_refused(CMIR_ECORRUPT, "cut short", cmir_snapshot_open(store, NULL, &snapshot, err));
    make_synthetic(&s, 77); /* nothing is written behind a hole */
    assert_refused(CMIR_ECORRUPT, "cut short",
                   cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    cmir_store_close(store);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(read_all(dir, fault), 4); /* the segment, and all three volumes */
    assert_non_null(strstr(fault, "00000001.seg"));
}

static void
write_bytes(const char *path, const char *mode, const char *text)
{
    FILE *f = fopen(path, mode);

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* What a crash leaves is no fault, and the next writer tidies it up; other files are one. */
static void
test_left_over_bytes(void **state)
{
    char fault[240];
    cmir_store *store;
    const char *dir = in_folder(state, "a"), *path = in_folder(state, "a/segments/00000001.seg"),
               *next = in_folder(state, "a/segments/00000002.seg");

    make_archive(state, "a");
    const off_t nbytes = nbytes_of(path);
    write_bytes(path, "ab", "half a record");
    write_bytes(next, "wb", "half a record of the next segment");
    assert_int_equal(read_all(dir, fault), 0);
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    add_synthetic(store, 77);
    static synthetic s;
    make_synthetic(&s, 77);
    assert_int_equal(nbytes_of(path), nbytes + (off_t)cmir_record_nbytes(s.record.n_slices, DIM));
    assert_int_not_equal(access(next, F_OK), 0);
    cmir_store_close(store);
    assert_int_equal(read_all(dir, fault), 0);
    write_bytes(in_folder(state, "a/segments/notes.txt"), "wb", "mine");
    assert_int_equal(read_all(dir, fault), 1);
    assert_non_null(strstr(fault, "notes.txt"));
}

/* A catalogue that is a sound database and says what is not so. */
static void
test_lying_catalogue(void **state)
{
    static const char *const lies[] = {
        "UPDATE volumes SET offset = offset + 64 WHERE volume_id = 'v5'",
        "UPDATE volumes SET offset = 1 WHERE volume_id = 'v5'",
        "UPDATE volumes SET offset = -64 WHERE volume_id = 'v5'",
        "UPDATE volumes SET offset = 9223372036854775744 WHERE volume_id = 'v5'",
        "UPDATE volumes SET offset = 0 WHERE volume_id = 'v9'",
        "UPDATE volumes SET nbytes = nbytes + 64 WHERE volume_id = 'v5'",
        "UPDATE volumes SET nbytes = 0 WHERE volume_id = 'v5'",
        "UPDATE volumes SET nbytes = 9223372036854775744 WHERE volume_id = 'v5'",
        "UPDATE volumes SET crc = crc + 1 WHERE volume_id = 'v5'",
        "UPDATE volumes SET crc = -1 WHERE volume_id = 'v5'",
        "UPDATE volumes SET segment = 2 WHERE volume_id = 'v5'",
        "UPDATE volumes SET segment = 0 WHERE volume_id = 'v5'",
        "UPDATE volumes SET segment = 4294967297 WHERE volume_id = 'v5'",
        "UPDATE volumes SET n_slices = n_slices + 1 WHERE volume_id = 'v5'",
        "UPDATE volumes SET n_slices = 4000000000 WHERE volume_id = 'v5'",
        "UPDATE volumes SET n_slices = 0 WHERE volume_id = 'v5'",
        "UPDATE volumes SET n_air = n_air + 1 WHERE volume_id = 'v5'",
        "UPDATE volumes SET n_air = n_slices WHERE volume_id = 'v5'",
        "UPDATE volumes SET dims = x'00' WHERE volume_id = 'v5'",
        "UPDATE volumes SET affine = x'' WHERE volume_id = 'v5'",
        "UPDATE slices SET mm = x'0011'",
        "UPDATE slices SET marks = zeroblob(length(marks))",
        "UPDATE slices SET marks = zeroblob(1 + length(marks))",
        "UPDATE slices SET uids = 'a' || uids || char(10)",
        "DELETE FROM slices",
        "DELETE FROM segments",
        "UPDATE segments SET nbytes = 64",
        "UPDATE segments SET nbytes = nbytes + 64",
        "UPDATE segments SET nbytes = -64",
        "UPDATE segments SET number = 0",
        "UPDATE archive SET center = NULL",
        "UPDATE archive SET center = x'00'",
        "UPDATE archive SET center = zeroblob(128)",
        "UPDATE archive SET center = zeroblob(256)",
        "UPDATE archive SET center = zeroblob(1000000)",
        "UPDATE archive SET dim = 21",
        "UPDATE archive SET dim = 65",
        "UPDATE archive SET dim = 0",
        "UPDATE archive SET encoder_sha256 = 'ff' || substr(encoder_sha256, 3)",
        "UPDATE archive SET encoder_sha256 = ''",
        "INSERT INTO labels VALUES (99, 'a', 'b')",
        "DROP TABLE slices",
        "DROP TABLE labels",
        "ALTER TABLE volumes RENAME COLUMN crc TO checksum",
    };

    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        char name[16], path[40], fault[240];

        snprintf(name, sizeof name, "a%zu", i);
        snprintf(path, sizeof path, "a%zu/catalog.sqlite", i);
        make_archive(state, name);
        run_sql(in_folder(state, path), lies[i]);
        if (read_all(in_folder(state, name), fault) == 0)
            fail_msg("not found: %s", lies[i]);
    }
}

/* Random bytes of the catalogue: any answer will do, but an answer. */
static void
test_catalogue_bytes(void **state)
{
    char fault[240];
    uint64_t random = 12;
    unsigned n_found = 0;
    const char *dir = in_folder(state, "a"), *path = in_folder(state, "a/catalog.sqlite");

    make_archive(state, "a");
    const off_t nbytes = nbytes_of(path);
    for (unsigned i = 0; i < 400; i++) {
        off_t at[4];
        unsigned bit[4];
        const unsigned n = 1 + below(&random, 4);

        for (unsigned k = 0; k < n; k++) {
            /* Half of them where pages begin: headers and cell pointers. */
            const off_t page = (off_t)below(&random, (uint32_t)(nbytes / 4096)) * 4096;
            at[k] = below(&random, 2) == 0 ? page + below(&random, 120)
                                           : (off_t)below(&random, (uint32_t)nbytes);
            bit[k] = below(&random, 8);
            flip(path, at[k], bit[k]);
        }
        n_found += read_all(dir, fault) > 0;
        for (unsigned k = 0; k < n; k++)
            flip(path, at[k], bit[k]);
    }
    print_message("%u of 400 found\n", n_found);
    assert_true(n_found > 40); /* the rest lies in free space or in what is only known there */
    assert_int_equal(read_all(dir, fault), 0);
}

/* The archive of format 2 that is kept for ever.  It was made by an earlier cmir; its volumes are
 * those of synthetic.h. */
static void
test_golden(void **state)
{
    const char *source = getenv("CMIR_SOURCE");
    char command[300];
    cmir_store *store;
    cmir_snapshot *snapshot;
    cmir_archive_info info;
    cmir_record *r;

    snprintf(command, sizeof command, "cp -r '%s/tests/golden/format_2' '%s'",
             source == NULL ? "." : source, in_folder(state, "a"));
    assert_int_equal(system(command), 0);
    assert_ok(cmir_store_open(in_folder(state, "a"), CMIR_READ, &store, err));
    cmir_store_info(store, &info);
    assert_true(info.n_volumes == 3 && info.dead_nbytes > 0);
    assert_string_equal(info.encoder_sha256, SHA);
    assert_int_equal(n_problems(store), 0);
    assert_ok(cmir_snapshot_open(store, NULL, &snapshot, err));
    assert_int_equal(cmir_snapshot_count(snapshot), 3);
    for (size_t i = 0; i < 3; i++)
        check_candidate(snapshot, i, volumes[i], 2);
    cmir_snapshot_close(snapshot);
    assert_ok(cmir_store_get(store, "v5", &r, err));
    assert_string_equal(r->info.patient_sex, "F");
    assert_int_equal(r->n_labels, 3);
    assert_string_equal(r->labels[0].name, "note");
    assert_string_equal(r->labels[0].value, "of the second format");
    cmir_record_free(r);
    cmir_store_close(store);
    /* And it can still be written to. */
    assert_ok(cmir_store_open(in_folder(state, "a"), CMIR_WRITE, &store, err));
    add_synthetic(store, 77);
    assert_int_equal(n_problems(store), 0);
    cmir_store_close(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_segment_bytes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_forged_records, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_swapped_records, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_missing_bytes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_left_over_bytes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_lying_catalogue, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_catalogue_bytes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_golden, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
