/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_batch.c: many changes as one transaction: failures within it, syncing, rolling back. */
#include "synthetic.h"

/* One that fails, for every reason, leaves the others of its batch. */
static void
test_batch_with_failures(void **state)
{
    static synthetic s;
    const char *dir = in_folder(state, "a");
    cmir_store *store, *reader;
    cmir_archive_info info;
    cmir_snapshot *snapshot;
    cmir_record *r;
    bool added;
    size_t n;

    create_archive(dir);
    store = open_small_segments(dir);
    assert_ok(cmir_store_open(dir, CMIR_READ, &reader, err));
    assert_refused(CMIR_EINVAL, "no batch", cmir_store_commit(store, err));
    cmir_store_rollback(store); /* of nothing */
    assert_ok(cmir_store_begin(store, err));
    assert_refused(CMIR_EINVAL, "batch", cmir_store_begin(store, err));
    /* The first of all fails behind its record: no center stays. */
    make_synthetic(&s, 8);
    s.labels[1] = (cmir_label){"PatientAge", "old"};
    assert_refused(CMIR_EINVAL, "'old'",
                   cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    assert_false(added || cmir_store_has_center(store));
    for (uint64_t v = 2; v < 12; v++) {
        add_synthetic(store, v);
        assert_true(cmir_store_has_center(store));
        make_synthetic(&s, v + 100); /* taken */
        s.record.info.volume_id = v % 2 == 0 ? "v2" : "v3";
        assert_refused(CMIR_EEXIST, s.record.info.volume_id,
                       cmir_store_add(store, &s.record, &s.embeddings, &added, err));
        make_synthetic(&s, v + 200); /* fails once its record is written, and a new segment begun */
        s.labels[1] = (cmir_label){"PatientAge", "old"};
        assert_refused(CMIR_EINVAL, "'old'",
                       cmir_store_add(store, &s.record, &s.embeddings, &added, err));
        assert_refused(CMIR_ENOTFOUND, "'x'", cmir_store_remove(store, "x", err));
    }
    const cmir_label good = {"note", "c"}, bad = {"StudyDate", "yesterday"};
    const cmir_label_set sets[] = {{"v5", &good, 1}, {"v5", &bad, 1}};
    assert_refused(CMIR_EINVAL, "yesterday", cmir_store_label(store, sets, 2, &n, err));
    assert_int_equal(n, 0);
    assert_ok(cmir_store_remove(store, "v9", err));
    /* Nobody sees any of it; the batch itself does. */
    cmir_store_info(reader, &info);
    assert_int_equal(info.n_volumes, 0);
    assert_ok(cmir_snapshot_open(store, NULL, &snapshot, err));
    assert_int_equal(cmir_snapshot_count(snapshot), 0);
    cmir_snapshot_close(snapshot);
    cmir_store_info(store, &info);
    assert_int_equal(info.n_volumes, 9);
    assert_ok(cmir_store_commit(store, err));
    uint64_t live = 0;
    for (uint64_t v = 2; v < 12; v++)
        live += record_nbytes(v);
    cmir_store_info(reader, &info);
    assert_int_equal(info.n_volumes, 0); /* counts are as of opening */
    cmir_store_close(reader);
    assert_ok(cmir_store_open(dir, CMIR_READ, &reader, err));
    cmir_store_info(reader, &info);
    assert_int_equal(info.n_volumes, 9);
    assert_int_equal(info.segments_nbytes, live);
    assert_int_equal(info.dead_nbytes, record_nbytes(9));
    assert_int_equal(n_problems(reader), 0);
    assert_ok(cmir_snapshot_open(reader, NULL, &snapshot, err));
    static const uint64_t in_order[] = {10, 11, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal(cmir_snapshot_count(snapshot), 9);
    for (size_t i = 0; i < 9; i++)
        check_candidate(snapshot, i, in_order[i], 2);
    cmir_snapshot_close(snapshot);
    assert_ok(cmir_store_get(reader, "v5", &r, err));
    assert_int_equal(r->n_labels, 2);
    cmir_record_free(r);
    cmir_store_close(reader);
    cmir_store_close(store);
}

static unsigned
count_files(void **state, const char *name)
{
    char command[200];
    unsigned n = 0;

    snprintf(command, sizeof command, "ls -A '%s' | wc -l", in_folder(state, name));
    FILE *f = popen(command, "r");
    assert_true(f != NULL && fscanf(f, "%u", &n) == 1);
    pclose(f);
    return n;
}

/* Segments written since the batch began, to be synced before it commits; in whatever order. */
static void
test_batch_syncs_all(void **state)
{
    static synthetic s;
    const char *dir = in_folder(state, "a");
    cmir_store *store;
    bool added;

    create_archive(dir);
    store = open_small_segments(dir);
    add_synthetic(store, 6);
    assert_ok(cmir_store_begin(store, err));
    /* A large one that does not fit fails in segment 2, a small one goes to segment 1. */
    make_synthetic(&s, 10);
    store->segment_limit = record_nbytes(6) + record_nbytes(7);
    assert_true(record_nbytes(10) > record_nbytes(7));
    s.labels[1] = (cmir_label){"PatientAge", "old"};
    assert_refused(CMIR_EINVAL, "'old'",
                   cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    assert_int_equal(store->unsynced[CMIR_ROWS].first, 2);
    add_synthetic(store, 7);
    assert_int_equal(store->unsynced[CMIR_ROWS].first, 1);
    assert_int_equal(store->unsynced[CMIR_ROWS].last, 2);
    assert_true(store->unsynced[CMIR_ROWS].made);
    assert_ok(cmir_store_commit(store, err));
    assert_int_equal(n_problems(store), 0);
    cmir_store_close(store);
    store = open_small_segments(dir); /* and the left-over segment goes with the next writer */
    add_synthetic(store, 8);
    assert_int_equal(count_files(state, "a/segments"), 1);
    assert_int_equal(n_problems(store), 0);
    cmir_store_close(store);
}

/* What was rolled back was never there, the center neither. */
static void
test_rolled_back_batch(void **state)
{
    static synthetic s;
    const char *dir = in_folder(state, "a");
    int64_t center[WIDTH];
    cmir_store *store;
    cmir_archive_info info;
    cmir_snapshot *snapshot;
    cmir_built *early[2], *late;
    bool added;

    create_archive(dir);
    store = open_small_segments(dir);
    assert_ok(cmir_store_begin(store, err));
    for (uint64_t v = 20; v < 50; v++)
        add_synthetic(store, v); /* several segments */
    assert_true(cmir_store_has_center(store));
    make_synthetic(&s, 60);
    assert_ok(cmir_store_build(store, s.id, &s.embeddings, &late, err));
    assert_true(count_files(state, "a/segments") > 2);
    cmir_store_rollback(store);
    cmir_store_rollback(store); /* of nothing */
    assert_false(cmir_store_has_center(store));
    cmir_store_info(store, &info);
    assert_true(info.n_volumes == 0 && info.segments_nbytes == 0);
    assert_int_equal(n_problems(store), 0);

    /* A record fits one center: that of an archive without, or of one that is gone, is another. */
    assert_refused(CMIR_EINVAL, "v60", cmir_store_put(store, &s.record, late, &added, err));
    for (uint64_t v = 2; v < 4; v++) {
        make_synthetic(&s, v);
        assert_ok(cmir_store_build(store, s.id, &s.embeddings, &early[v - 2], err));
        assert_false(cmir_store_has_center(store));
    }
    make_synthetic(&s, 2);
    assert_ok(cmir_store_put(store, &s.record, early[0], &added, err));
    assert_true(added && cmir_store_has_center(store));
    make_synthetic(&s, 3);
    assert_refused(CMIR_EINVAL, "v3", cmir_store_put(store, &s.record, early[1], &added, err));
    assert_false(added);
    add_synthetic(store, 3);
    for (int i = 0; i < 2; i++)
        cmir_built_free(early[i]);
    cmir_built_free(late);
    cmir_built_free(NULL);
    assert_int_equal(count_files(state, "a/segments"), 1); /* nothing is left over */

    /* The center is that of the first, though it goes and others come. */
    assert_ok(cmir_store_remove(store, "v2", err));
    assert_ok(cmir_store_remove(store, "v3", err));
    cmir_store_close(store);
    store = open_small_segments(dir);
    assert_true(cmir_store_has_center(store));
    add_synthetic(store, 7);
    assert_ok(cmir_store_begin(store, err));
    add_synthetic(store, 8);
    cmir_store_rollback(store);
    assert_true(cmir_store_has_center(store));
    add_synthetic(store, 2);
    assert_ok(cmir_snapshot_open(store, NULL, &snapshot, err));
    assert_int_equal(cmir_snapshot_count(snapshot), 2);
    model_center(2, center);
    for (uint32_t k = 0; k < WIDTH; k++)
        assert_int_equal(cmir_snapshot_center(snapshot)[k], center[k]);
    check_candidate(snapshot, 0, 2, 2);
    check_candidate(snapshot, 1, 7, 2);
    cmir_snapshot_close(snapshot);
    assert_int_equal(n_problems(store), 0);
    cmir_store_close(store);
}

/* What ends a transaction behind the store's back ends the batch. */
static void
test_ended_batch(void **state)
{
    static synthetic s;
    const char *dir = in_folder(state, "a");
    cmir_store *store;
    cmir_archive_info info;
    bool added;

    create_archive(dir);
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    add_synthetic(store, 1);
    assert_ok(cmir_store_begin(store, err));
    add_synthetic(store, 2);
    cmir_db_rollback(store->db); /* as SQLite does where the disk is full */
    make_synthetic(&s, 3);
    assert_refused(CMIR_EIO, "batch", cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    assert_false(added);
    assert_refused(CMIR_EIO, "batch", cmir_store_remove(store, "v1", err));
    assert_refused(CMIR_EIO, "batch", cmir_store_commit(store, err));
    cmir_store_info(store, &info);
    assert_int_equal(info.n_volumes, 1);
    add_synthetic(store, 3); /* and the store works on */
    assert_ok(cmir_store_begin(store, err));
    add_synthetic(store, 2);
    assert_ok(cmir_store_commit(store, err));
    assert_int_equal(n_problems(store), 0);
    cmir_store_close(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_batch_with_failures, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_batch_syncs_all, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_rolled_back_batch, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_ended_batch, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
