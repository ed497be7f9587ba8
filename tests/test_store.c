/* SPDX-License-Identifier: Apache-2.0 */
/* test_store.c: an archive against a model in memory, under seeded random changes; refusals. */
#include "synthetic.h"

#include <sys/stat.h>

#include "store/store_internal.h"

#define N_VOLUMES 16u /* numbers 0 .. N_VOLUMES - 1 come and go */

static void
test_empty(void **state)
{
    const char *dir = in_folder(state, "a");
    cmir_archive_info info;
    cmir_snapshot *snapshot;
    cmir_store *store;
    cmir_record *record;
    char **ids;
    size_t n = 9;

    create_archive(dir);
    assert_ok(cmir_store_open(dir, CMIR_READ, &store, err));
    cmir_store_info(store, &info);
    assert_string_equal(info.encoder_name, "tiny");
    assert_string_equal(info.encoder_sha256, SHA);
    assert_string_equal(info.card_json, "{\"name\":\"tiny\"}");
    assert_true(info.n_volumes == 0 && info.n_slices == 0 && info.segments_nbytes == 0);
    assert_true(info.dim == DIM && info.plane == CMIR_AXIAL && info.dead_nbytes == 0);
    assert_ok(cmir_store_list(store, NULL, &ids, &n, err));
    assert_int_equal(n, 0);
    cmir_ids_free(ids, n);
    assert_ok(cmir_snapshot_open(store, NULL, &snapshot, err));
    assert_int_equal(cmir_snapshot_count(snapshot), 0);
    assert_null(cmir_snapshot_get(snapshot, 0));
    for (uint32_t k = 0; k < WIDTH; k++)
        assert_int_equal(cmir_snapshot_center(snapshot)[k], 0);
    cmir_snapshot_close(snapshot);
    assert_refused(CMIR_ENOTFOUND, "'x'", cmir_snapshot_open_one(store, "x", &snapshot, err));
    assert_refused(CMIR_ENOTFOUND, "'x'", cmir_store_get(store, "x", &record, err));
    assert_refused(CMIR_EINVAL, "reading only", cmir_store_remove(store, "x", err));
    assert_refused(CMIR_EINVAL, "reading only", cmir_store_begin(store, err));
    assert_false(cmir_store_has_center(store));
    assert_int_equal(n_problems(store), 0);
    cmir_store_close(store);
}

static void
write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Folders are listed in an order that is the file system's: an archive without volumes is found to
 * be one in whichever. */
static void
test_create_again(void **state)
{
    const char *dir = in_folder(state, "a");
    const cmir_binding b = {"tiny", "1", SHA, "{}", "", DIM, CMIR_AXIAL, CMIR_PREVIEWS_SMALL, NULL};
    static const char *const names[][2] = {
        {"a/segments", "a/x"}, {"a/previews", "a/y"}, {"a/catalog.sqlite", "a/z"}};
    cmir_store *store;

    assert_ok(cmir_store_create(dir, &b, err));
    for (size_t i = 0; i < 3; i++) { /* the newest is first or last in some file systems */
        assert_int_equal(rename(in_folder(state, names[i][0]), in_folder(state, names[i][1])), 0);
        assert_int_equal(rename(in_folder(state, names[i][1]), in_folder(state, names[i][0])), 0);
        assert_refused(CMIR_EEXIST, "an archive already", cmir_store_create(dir, &b, err));
        assert_int_equal(access(in_folder(state, "a/segments"), F_OK), 0);
        assert_int_equal(access(in_folder(state, "a/previews"), F_OK), 0);
    }
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    add_synthetic(store, 1);
    cmir_store_close(store);
    assert_refused(CMIR_EEXIST, "an archive already", cmir_store_create(dir, &b, err));
    assert_int_equal(unlink(in_folder(state, "a/catalog.sqlite")), 0);
    assert_refused(CMIR_EEXIST, "this holds", cmir_store_create(dir, &b, err));
    assert_int_equal(access(in_folder(state, "a/segments/00000001.seg"), F_OK), 0);
}

static void
test_create_refusals(void **state)
{
    const char *dir = in_folder(state, "a");
    cmir_binding b = {"tiny", "1", SHA, "{}", "", DIM, CMIR_AXIAL, CMIR_PREVIEWS_NONE, NULL};
    cmir_store *store;

    create_archive(dir);
    assert_refused(CMIR_EEXIST, dir, cmir_store_create(dir, &b, err));
    assert_int_equal(mkdir(in_folder(state, "full"), 0777), 0);
    write_text(in_folder(state, "full/notes.txt"), "mine");
    assert_refused(CMIR_EEXIST, "notes.txt", cmir_store_create(in_folder(state, "full"), &b, err));
    assert_int_not_equal(access(in_folder(state, "full/lock"), F_OK), 0); /* left as it was */
    write_text(in_folder(state, "file"), "");
    assert_refused(CMIR_EEXIST, "a file", cmir_store_create(in_folder(state, "file"), &b, err));
    assert_refused(CMIR_EIO, "none/a", cmir_store_create(in_folder(state, "none/a"), &b, err));
    b.encoder_sha256 = "12";
    assert_refused(CMIR_EINVAL, "tiny", cmir_store_create(in_folder(state, "b"), &b, err));
    assert_int_not_equal(access(in_folder(state, "b"), F_OK), 0);

    /* What an interrupted creation leaves is no hindrance. */
    assert_int_equal(mkdir(in_folder(state, "c"), 0777), 0);
    assert_int_equal(mkdir(in_folder(state, "c/segments"), 0777), 0);
    write_text(in_folder(state, "c/lock"), "1\n");
    write_text(in_folder(state, "c/catalog.new"), "half a catalogue");
    create_archive(in_folder(state, "c"));
    assert_ok(cmir_store_open(in_folder(state, "c"), CMIR_WRITE, &store, err));
    add_synthetic(store, 1);
    cmir_store_close(store);
}

static void
run_sql(const char *path, const char *sql)
{
    cmir_db *db;

    assert_ok(cmir_db_open(path, CMIR_DB_CREATE, &db, err));
    assert_ok(cmir_db_exec(db, sql, err));
    cmir_db_close(db);
}

static void
test_open_refusals(void **state)
{
    cmir_store *store;
    const char *dir = in_folder(state, "a"), *catalog = in_folder(state, "a/catalog.sqlite");

    assert_refused(CMIR_ENOTFOUND, dir, cmir_store_open(dir, CMIR_READ, &store, err));
    assert_null(store);
    assert_int_equal(mkdir(dir, 0777), 0);
    assert_refused(CMIR_ENOTFOUND, dir, cmir_store_open(dir, CMIR_WRITE, &store, err));
    write_text(catalog, "This is no database, but it is long enough to be looked at as if it were "
                        "one: a header of SQLite has one hundred bytes, and this has more.");
    assert_refused(CMIR_ECORRUPT, catalog, cmir_store_open(dir, CMIR_READ, &store, err));
    assert_refused(CMIR_ECORRUPT, catalog, cmir_store_open(dir, CMIR_WRITE, &store, err));
    write_text(catalog, "");
    assert_refused(CMIR_ECORRUPT, catalog, cmir_store_open(dir, CMIR_READ, &store, err));
    run_sql(catalog, "CREATE TABLE recipes(name TEXT)");
    assert_refused(CMIR_ECORRUPT, "no cmir", cmir_store_open(dir, CMIR_READ, &store, err));

    create_archive(in_folder(state, "b"));
    static const struct {
        const char *sql, *words;
        cmir_status status;
    } versions[] = {{"PRAGMA user_version = 1", "archive format 1; this cmir reads format 2",
                     CMIR_EUNSUPPORTED},
                    {"PRAGMA user_version = 3", "archive format 3; this cmir reads format 2",
                     CMIR_EUNSUPPORTED},
                    {"PRAGMA user_version = 0", "archive format 0", CMIR_ECORRUPT}};
    for (size_t i = 0; i < 3; i++) {
        run_sql(in_folder(state, "b/catalog.sqlite"), versions[i].sql);
        assert_refused(versions[i].status, versions[i].words,
                       cmir_store_open(in_folder(state, "b"), CMIR_READ, &store, err));
        assert_refused(versions[i].status, versions[i].words,
                       cmir_store_open(in_folder(state, "b"), CMIR_WRITE, &store, err));
    }
    create_archive(in_folder(state, "c"));
    run_sql(in_folder(state, "c/catalog.sqlite"), "DELETE FROM archive");
    assert_refused(CMIR_ECORRUPT, "which encoder",
                   cmir_store_open(in_folder(state, "c"), CMIR_READ, &store, err));
    /* Code in the schema of a hostile catalogue does not run. */
    create_archive(in_folder(state, "d"));
    run_sql(in_folder(state, "d/catalog.sqlite"),
            "ALTER TABLE archive RENAME TO other; CREATE VIEW archive AS SELECT * FROM other");
    assert_refused(CMIR_ECORRUPT, "catalog.sqlite",
                   cmir_store_open(in_folder(state, "d"), CMIR_READ, &store, err));
}

/* What the archive should hold. */
struct model {
    bool there[N_VOLUMES];
    int label[N_VOLUMES]; /* value of "grade"; 0: none */
    unsigned first;       /* the volume that was added first, plus 1; 0: none was */
    uint64_t live, total; /* bytes */
};

static int
compare_ids(const void *a, const void *b)
{
    char x[16], y[16];

    snprintf(x, sizeof x, "v%u", *(const unsigned *)a);
    snprintf(y, sizeof y, "v%u", *(const unsigned *)b);
    return strcmp(x, y);
}

static void
check_snapshot(cmir_snapshot *snapshot, const struct model *m)
{
    unsigned expected[N_VOLUMES];
    size_t n = 0;

    for (unsigned i = 0; i < N_VOLUMES; i++)
        if (m->there[i])
            expected[n++] = i;
    qsort(expected, n, sizeof expected[0], compare_ids);
    assert_int_equal(cmir_snapshot_count(snapshot), n);
    if (m->first > 0) {
        int64_t center[WIDTH];

        model_center(m->first - 1, center);
        for (uint32_t k = 0; k < WIDTH; k++)
            assert_int_equal(cmir_snapshot_center(snapshot)[k], center[k]);
    }
    for (size_t i = 0; i < n; i++) {
        cmir_record *r;
        const int want = m->label[expected[i]];

        check_candidate(snapshot, i, expected[i], m->first - 1);
        assert_ok(cmir_snapshot_record(snapshot, i, &r, err));
        assert_int_equal(r->n_labels, want != 0 ? 3 : 2);
        assert_string_equal(r->labels[0].name, want != 0 ? "grade" : "organ");
        if (want != 0)
            assert_int_equal(atoi(r->labels[0].value), want);
        cmir_record_free(r);
    }
}

static void
add_or_refuse(cmir_store *store, struct model *m, unsigned number)
{
    static synthetic s, other;
    bool added;

    make_synthetic(&s, number);
    assert_ok(cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    assert_true(added == !m->there[number]);
    if (added) {
        m->first = m->first == 0 ? number + 1 : m->first;
        m->label[number] = 0;
        m->live += record_nbytes(number);
        m->total += record_nbytes(number);
    }
    m->there[number] = true;
    make_synthetic(&other, number + 1000);
    other.record.info.volume_id = s.id;
    assert_refused(CMIR_EEXIST, s.id,
                   cmir_store_add(store, &other.record, &other.embeddings, &added, err));
    assert_false(added);
}

static void
remove_or_miss(cmir_store *store, struct model *m, unsigned number)
{
    char id[16];

    snprintf(id, sizeof id, "v%u", number);
    if (m->there[number]) {
        assert_ok(cmir_store_remove(store, id, err));
        m->live -= record_nbytes(number);
    } else {
        assert_refused(CMIR_ENOTFOUND, id, cmir_store_remove(store, id, err));
    }
    m->there[number] = false;
}

static void
label_two(cmir_store *store, struct model *m, unsigned number, int value)
{
    char ids[2][16], text[16];
    size_t n;
    const cmir_label label = {"grade", text};
    const unsigned other = (number + 1) % N_VOLUMES;

    snprintf(ids[0], sizeof ids[0], "v%u", number);
    snprintf(ids[1], sizeof ids[1], "v%u", other);
    snprintf(text, sizeof text, "%d", value);
    const cmir_label_set sets[] = {{ids[0], &label, 1}, {ids[1], &label, 1}};
    assert_ok(cmir_store_label(store, sets, 2, &n, err));
    assert_int_equal(n, m->there[number] + m->there[other]);
    if (m->there[number])
        m->label[number] = value;
    if (m->there[other])
        m->label[other] = value;
}

static void
check_info(cmir_store *store, const struct model *m)
{
    cmir_archive_info info;
    uint64_t n = 0;

    for (unsigned i = 0; i < N_VOLUMES; i++)
        n += m->there[i];
    cmir_store_info(store, &info);
    assert_int_equal(info.n_volumes, n);
    assert_int_equal(info.segments_nbytes, m->total);
    assert_int_equal(info.dead_nbytes, m->total - m->live);
}

static void
run_model(void **state, uint64_t seed)
{
    char name[32];
    struct model m = {0}, then = {0};
    uint64_t random = seed;
    cmir_snapshot *old = NULL;
    struct model before = {0}; /* the open batch */
    bool batch = false;

    snprintf(name, sizeof name, "m%llu", (unsigned long long)seed);
    const char *path = in_folder(state, name);
    create_archive(path);
    cmir_store *store = open_small_segments(path), *reader;
    assert_ok(cmir_store_open(path, CMIR_READ, &reader, err));
    for (unsigned step = 0; step < 160; step++) {
        const unsigned number = below(&random, N_VOLUMES), what = below(&random, 12);

        if (what >= 10 && !batch) {
            assert_ok(cmir_store_begin(store, err));
            before = m;
            batch = true;
        } else if (what >= 10) {
            batch = false;
            if (what == 10) {
                assert_ok(cmir_store_commit(store, err));
            } else {
                cmir_store_rollback(store);
                m = before;
            }
        } else if (what < 5)
            add_or_refuse(store, &m, number);
        else if (what < 7)
            remove_or_miss(store, &m, number);
        else if (what < 8)
            label_two(store, &m, number, 1 + (int)below(&random, 99));
        else if (what < 9 && old == NULL) {
            assert_ok(cmir_snapshot_open(reader, NULL, &old, err));
            then = batch ? before : m;
        } else if (old != NULL) { /* still shows what was, whatever happened since */
            check_snapshot(old, &then);
            cmir_snapshot_close(old);
            old = NULL;
        } else {
            cmir_store_close(store); /* an open batch is lost */
            store = open_small_segments(path);
            m = batch ? before : m;
            batch = false;
        }
        check_info(store, &m);
    }
    if (batch)
        assert_ok(cmir_store_commit(store, err));
    cmir_snapshot_close(old);
    assert_ok(cmir_snapshot_open(reader, NULL, &old, err));
    check_snapshot(old, &m);
    cmir_snapshot_close(old);
    assert_int_equal(n_problems(reader), 0);
    cmir_store_close(reader);
    cmir_store_close(store);
}

static void
test_model(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run_model(state, seed);
    }
}

/* Records never lie across the limit; a new segment starts at 0. */
static void
test_rotation(void **state)
{
    const char *dir = in_folder(state, "a");
    uint64_t end = 0, segments = 1;
    struct stat info;

    create_archive(dir);
    cmir_store *store = open_small_segments(dir);
    for (uint64_t v = 0; v < 30; v++) {
        char name[40];
        const uint64_t nbytes = record_nbytes(v);

        add_synthetic(store, v);
        segments += end + nbytes > 40000;
        end = end + nbytes > 40000 ? nbytes : end + nbytes;
        snprintf(name, sizeof name, "a/segments/%08llu.seg", (unsigned long long)segments);
        assert_int_equal(stat(in_folder(state, name), &info), 0);
        assert_int_equal(info.st_size, end);
    }
    assert_true(segments > 2);
    cmir_store_close(store);
    assert_ok(cmir_store_open(dir, CMIR_READ, &store, err));
    assert_int_equal(n_problems(store), 0);
    cmir_store_close(store);
}

static void
test_refused_volumes(void **state)
{
    static synthetic s;
    const char *dir = in_folder(state, "a");
    cmir_store *store;
    cmir_archive_info info;
    char long_id[1100];
    bool added;

    create_archive(dir);
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    make_synthetic(&s, 6);
    assert_true(s.record.n_slices > 3);
    s.embeddings.dim = DIM + 1;
    assert_refused(CMIR_EMISMATCH, "21",
                   cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    s.embeddings.dim = DIM;
    s.rows[2 * DIM] += 0.5f;
    assert_refused(CMIR_EINVAL, "slice 2",
                   cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    s.rows[2 * DIM] = NAN;
    assert_refused(CMIR_EINVAL, "slice 2",
                   cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    make_synthetic(&s, 6);
    memset(s.marks, CMIR_SLICE_AIR, sizeof s.marks);
    assert_refused(CMIR_EINVAL, "air",
                   cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    make_synthetic(&s, 6);
    s.record.n_slices--;
    assert_refused(CMIR_EINVAL, s.id, cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    make_synthetic(&s, 6);
    s.record.info.volume_id = "";
    assert_refused(CMIR_EINVAL, "id", cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    memset(long_id, 'x', sizeof long_id - 1);
    long_id[sizeof long_id - 1] = '\0';
    s.record.info.volume_id = long_id;
    assert_refused(CMIR_EINVAL, "id", cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    make_synthetic(&s, 6);
    s.uids[1] = "1.2\n3";
    assert_refused(CMIR_EINVAL, "line break",
                   cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    make_synthetic(&s, 6);
    s.labels[1] = (cmir_label){"PatientAge", "old"};
    assert_refused(CMIR_EINVAL, "'old'",
                   cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    cmir_store_info(store, &info);
    assert_true(info.n_volumes == 0 && info.segments_nbytes == 0);
    add_synthetic(store, 6); /* and the store still works */
    assert_int_equal(n_problems(store), 0);
    cmir_store_close(store);
}

/* Label tables fill what the scan left open, correct themselves, and never touch what it says. */
static void
test_fill(void **state)
{
    const char *dir = in_folder(state, "a");
    cmir_store *store;
    cmir_record *r;
    size_t n;

    create_archive(dir);
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    add_synthetic(store, 5);
    const cmir_label first[] = {{"PatientSex", "m"}, {"PatientAge", "018M"},
                                {"Modality", "US"},  {"BodyPartExamined", "CHEST"},
                                {"note", "a"},       {"empty", ""}},
                     second[] = {{"PatientSex", "F"}, {"StudyDate", "2020-01-31"}, {"note", "b"}};
    const cmir_label_set one = {"v5", first, 6}, two[] = {{"v5", second, 3}, {"v6", second, 3}};
    assert_ok(cmir_store_label(store, &one, 1, &n, err));
    assert_ok(cmir_store_label(store, two, 2, &n, err));
    assert_int_equal(n, 1);
    assert_ok(cmir_store_get(store, "v5", &r, err));
    assert_string_equal(r->info.patient_sex, "F");      /* corrected */
    assert_string_equal(r->info.study_date, "20240229"); /* the scan's */
    assert_string_equal(r->info.modality, "MR");        /* the scan's */
    assert_string_equal(r->info.body_part, "CHEST");
    assert_true(r->info.patient_age == 1.5);
    assert_int_equal(r->n_labels, 3); /* note, organ, size: by name */
    assert_string_equal(r->labels[0].name, "note");
    assert_string_equal(r->labels[0].value, "b");
    cmir_record_free(r);
    /* All or none. */
    const cmir_label good = {"note", "c"}, bad = {"StudyDate", "yesterday"};
    const cmir_label_set sets[] = {{"v5", &good, 1}, {"v5", &bad, 1}};
    assert_refused(CMIR_EINVAL, "yesterday", cmir_store_label(store, sets, 2, &n, err));
    assert_int_equal(n, 0);
    assert_ok(cmir_store_get(store, "v5", &r, err));
    assert_string_equal(r->labels[0].value, "b");
    cmir_record_free(r);
    cmir_store_close(store);
}

static void
test_without(void **state)
{
    const char *dir = in_folder(state, "a");
    cmir_store *store;
    cmir_snapshot *base, *snapshot;

    create_archive(dir);
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    for (uint64_t v = 0; v < 6; v++)
        add_synthetic(store, v);
    const struct {
        cmir_without without;
        size_t n;
    } cases[] = {{{NULL, NULL, NULL, NULL, 0}, 6}, {{"", "", "", NULL, 0}, 6},
                 {{"v3", NULL, NULL, NULL, 0}, 5}, {{"v3", "P1", "", NULL, 0}, 4},
                 {{NULL, NULL, "P2", NULL, 0}, 4}, {{"v0", "P1", "P2", NULL, 0}, 1}};
    assert_ok(cmir_snapshot_open(store, NULL, &base, err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_ok(cmir_snapshot_without(base, &cases[i].without, &snapshot, err));
        assert_int_equal(cmir_snapshot_count(snapshot), cases[i].n);
        cmir_snapshot_close(snapshot);
    }
    /* Which ones: patients P1 and P2 have volumes 2 to 5. */
    assert_ok(cmir_snapshot_without(base, &cases[5].without, &snapshot, err));
    check_candidate(snapshot, 0, 1, 0);
    assert_null(cmir_snapshot_get(snapshot, 1));
    /* The base's state is theirs, and what they leave out the base keeps. */
    assert_ok(cmir_store_remove(store, "v1", err));
    cmir_snapshot_close(snapshot);
    assert_ok(cmir_snapshot_without(base, &cases[5].without, &snapshot, err));
    assert_int_equal(cmir_snapshot_count(snapshot), 1);
    check_candidate(snapshot, 0, 1, 0);
    assert_ptr_equal(cmir_snapshot_get(snapshot, 0), cmir_snapshot_get(base, 1));
    assert_ptr_equal(cmir_snapshot_center(snapshot), cmir_snapshot_center(base));
    cmir_snapshot_close(snapshot);
    assert_int_equal(cmir_snapshot_count(base), 6);
    check_candidate(base, 4, 4, 0);
    cmir_snapshot_close(base);
    /* Together with a filter: volumes of organ liver are 0 and 3. */
    assert_ok(cmir_snapshot_open(store, "organ = 'liver'", &base, err));
    assert_ok(cmir_snapshot_without(base, &cases[0].without, &snapshot, err));
    assert_int_equal(cmir_snapshot_count(snapshot), 2);
    check_candidate(snapshot, 1, 3, 0);
    cmir_snapshot_close(snapshot);
    assert_ok(cmir_snapshot_without(base, &cases[2].without, &snapshot, err));
    assert_int_equal(cmir_snapshot_count(snapshot), 1);
    check_candidate(snapshot, 0, 0, 0);
    assert_null(cmir_snapshot_get(snapshot, 1));
    cmir_snapshot_close(snapshot);
    cmir_snapshot_close(base);
    static const char *const named[] = {"v0", "v2", "v3"}, *const wrong[] = {"v3", "v2", "v7"};
    const cmir_without among = {.volume_id = "v2", .among = named, .n_among = 3};
    const cmir_without none = {.among = named}, unordered = {.among = wrong, .n_among = 2};
    const cmir_without unknown = {.among = wrong + 1, .n_among = 2};
    assert_ok(cmir_snapshot_open(store, NULL, &base, err));
    assert_ok(cmir_snapshot_without(base, &among, &snapshot, err));
    assert_int_equal(cmir_snapshot_count(snapshot), 2);
    check_candidate(snapshot, 0, 0, 0);
    check_candidate(snapshot, 1, 3, 0);
    cmir_snapshot_close(snapshot);
    assert_ok(cmir_snapshot_without(base, &none, &snapshot, err));
    assert_int_equal(cmir_snapshot_count(snapshot), 0);
    cmir_snapshot_close(snapshot);
    assert_refused(CMIR_EINVAL, "'v2'", cmir_snapshot_without(base, &unordered, &snapshot, err));
    assert_refused(CMIR_ENOTFOUND, "'v7'", cmir_snapshot_without(base, &unknown, &snapshot, err));
    cmir_snapshot_close(base);
    assert_ok(cmir_snapshot_open(store, "organ = 'none'", &base, err));
    assert_ok(cmir_snapshot_without(base, &cases[5].without, &snapshot, err));
    assert_int_equal(cmir_snapshot_count(snapshot), 0);
    cmir_snapshot_close(snapshot);
    cmir_snapshot_close(base);
    assert_ok(cmir_snapshot_open_one(store, "v4", &snapshot, err));
    check_candidate(snapshot, 0, 4, 0);
    cmir_snapshot_close(snapshot);
    cmir_store_close(store);
}

/* Snapshots of one state share a listing; a change makes another, the old ones stay as they are. */
static void
test_listings(void **state)
{
    const char *dir = in_folder(state, "a");
    const cmir_without without = {.volume_id = "v1"};
    const cmir_label label = {"note", "x"};
    const cmir_label_set set = {"v1", &label, 1};
    cmir_store *writer, *reader;
    cmir_snapshot *a, *b, *c, *d;
    size_t n;

    create_archive(dir);
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &writer, err));
    add_synthetic(writer, 1);
    add_synthetic(writer, 2);
    assert_ok(cmir_store_open(dir, CMIR_READ, &reader, err));
    assert_ok(cmir_snapshot_open(reader, NULL, &a, err));
    assert_ok(cmir_snapshot_open(reader, NULL, &b, err));
    assert_ok(cmir_snapshot_without(b, &without, &c, err));
    assert_ptr_equal(cmir_snapshot_get(a, 0), cmir_snapshot_get(b, 0));
    assert_ptr_equal(cmir_snapshot_get(a, 1), cmir_snapshot_get(c, 0));
    assert_ptr_equal(cmir_snapshot_center(a), cmir_snapshot_center(c));
    add_synthetic(writer, 3);
    cmir_snapshot *const with_two = b;
    assert_ok(cmir_snapshot_open(reader, NULL, &b, err));
    assert_int_equal(cmir_snapshot_count(b), 3);
    assert_ptr_not_equal(cmir_snapshot_get(a, 0), cmir_snapshot_get(b, 0));
    assert_int_equal(cmir_snapshot_count(a), 2);
    assert_ok(cmir_store_label(writer, &set, 1, &n, err)); /* a label is another state, too */
    assert_ok(cmir_snapshot_open(reader, "note = 'x'", &d, err));
    assert_int_equal(cmir_snapshot_count(d), 1);
    assert_ptr_not_equal(cmir_snapshot_get(b, 0), cmir_snapshot_get(d, 0));
    assert_ok(cmir_store_remove(writer, "v2", err));
    check_candidate(a, 0, 1, 1);
    check_candidate(a, 1, 2, 1);
    check_candidate(b, 2, 3, 1);
    check_candidate(c, 0, 2, 1);
    check_candidate(d, 0, 1, 1);
    cmir_snapshot_close(a);
    cmir_snapshot_close(b);
    cmir_snapshot_close(c);
    cmir_snapshot_close(with_two); /* c's base */
    cmir_snapshot_close(d);
    assert_ok(cmir_snapshot_open(reader, NULL, &a, err));
    assert_int_equal(cmir_snapshot_count(a), 2);
    check_candidate(a, 1, 3, 1);
    cmir_snapshot_close(a);
    cmir_store_close(reader);
    cmir_store_close(writer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_create_again, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_create_refusals, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_open_refusals, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_model, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_rotation, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_refused_volumes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_fill, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_without, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_listings, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
