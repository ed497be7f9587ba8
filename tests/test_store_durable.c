/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_durable.c: what was reported stays: through kill -9, full disks, other processes.
 * CMIR_SEED chooses another sequence of moments.  Every volume comes with a preview. */
#define _GNU_SOURCE /* setgroups */
#define SYNTHETIC_PREVIEWS CMIR_PREVIEWS_SMALL
#include "synthetic.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "picture/preview.h"
#include "store/store_internal.h"

#define N_KILLS 60
#define SEGMENT_LIMIT 30000

static uint64_t
seed_of_run(void)
{
    const char *text = getenv("CMIR_SEED");
    const uint64_t seed = text == NULL ? 20240229 : strtoull(text, NULL, 10);

    print_message("CMIR_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* A preview of 5 x 7 pixels a slice, which tell its number; kept for the next volume of as many
 * slices. */
static cmir_status
make_preview(uint32_t n_slices, cmir_blob *out, cmir_error *err)
{
    static cmir_blob made[MAX_N + 1];
    const cmir_stack stack = {
        .n_slices = n_slices, .rows = 5, .cols = 7, .row_spacing_mm = 1, .col_spacing_mm = 1};
    const cmir_value_range range = {true, 0, 1};
    cmir_preview_maker *maker;
    cmir_preview preview;
    float values[35];
    uint8_t *bytes;
    uint64_t nbytes;
    cmir_status st;

    *out = made[n_slices];
    if (out->data != NULL)
        return CMIR_OK;
    st = cmir_preview_begin(&stack, CMIR_PREVIEWS_SMALL, &maker, err);
    for (uint32_t k = 0; k < n_slices && st == CMIR_OK; k++) {
        for (unsigned i = 0; i < 35; i++)
            values[i] = (float)(2 * i + 4 * k);
        st = cmir_preview_take(maker, k, values, &range, err);
    }
    if (st == CMIR_OK)
        st = cmir_preview_finish(maker, &range, &bytes, &nbytes, err);
    if (st == CMIR_OK)
        st = cmir_preview_parse(bytes, nbytes, "preview", &preview, err);
    if (st == CMIR_OK)
        *out = made[n_slices] = (cmir_blob){bytes, nbytes, preview.crc};
    cmir_preview_maker_free(maker);
    return st;
}

/* Adds the volume with a preview. */
static cmir_status
add(cmir_store *store, const synthetic *s, bool *added, cmir_error *err)
{
    cmir_built *built = NULL;
    cmir_blob preview;
    cmir_status st = make_preview(s->record.n_slices, &preview, err);

    *added = false;
    if (st == CMIR_OK)
        st = cmir_store_build(store, s->id, &s->embeddings, &built, err);
    if (st == CMIR_OK)
        st = cmir_store_put_with(store, &s->record, built, &preview, added, err);
    cmir_built_free(built);
    return st;
}

/* Whether the record of a volume has its preview. */
static void
check_preview(cmir_store *store, const char *id)
{
    cmir_record *record;

    assert_ok(cmir_store_get(store, id, &record, err));
    assert_true(record->preview_nbytes > 0);
    cmir_record_free(record);
}

/* Change number i: every fifth removes the volume that change i - 3 added, the others add volume i.
 * Done again after a crash it finds its work done. */
static bool
is_removal(unsigned i)
{
    return i % 5 == 4;
}

static cmir_status
change(cmir_store *store, unsigned i, cmir_error *err)
{
    static synthetic s;
    bool added;
    cmir_status st;

    make_synthetic(&s, is_removal(i) ? i - 3 : i);
    if (!is_removal(i))
        return add(store, &s, &added, err);
    st = cmir_store_remove(store, s.id, err);
    return st == CMIR_ENOTFOUND ? CMIR_OK : st;
}

/* The child: makes changes from `first` on for ever, and reports each through the pipe once the
 * store has; opens the archive anew every seventh time. */
static void
make_changes(const char *dir, unsigned first, int pipe_fd)
{
    cmir_store *store = NULL;
    cmir_error err = {0};

    for (unsigned i = first;; i++) {
        if (store != NULL && i % 7 == 0) {
            cmir_store_close(store);
            store = NULL;
        }
        if (store == NULL && cmir_store_open(dir, CMIR_WRITE, &store, &err) != CMIR_OK)
            break;
        store->segment_limit = SEGMENT_LIMIT;
        if (change(store, i, &err) != CMIR_OK || write(pipe_fd, &i, sizeof i) != sizeof i)
            break;
    }
    fprintf(stderr, "child: %s\n", err.msg);
    _exit(1);
}

/* Changes 0 .. n_done - 1 are there; change n_done may be. */
static void
check_changes(const char *dir, unsigned n_done)
{
    cmir_store *store;
    cmir_snapshot *snapshot;

    assert_ok(cmir_store_open(dir, CMIR_READ, &store, err));
    assert_int_equal(n_problems(store), 0);
    for (unsigned i = 0; i < n_done; i++) {
        static synthetic s;
        cmir_error cause = {0};
        const unsigned removal = i + 3;
        const bool removable = !is_removal(i) && is_removal(removal);

        if (is_removal(i) || (removable && removal == n_done))
            continue;
        make_synthetic(&s, i);
        const cmir_status st = cmir_snapshot_open_one(store, s.id, &snapshot, &cause);
        if (removable && removal < n_done) {
            assert_int_equal(st, CMIR_ENOTFOUND);
            continue;
        }
        if (st != CMIR_OK)
            fail_msg("change %u of %u is lost: %s", i, n_done, cause.msg);
        check_candidate(snapshot, 0, i, 0);
        check_preview(store, s.id);
        cmir_snapshot_close(snapshot);
    }
    cmir_store_close(store);
}

static void
sleep_us(uint32_t us)
{
    const struct timespec time = {us / 1000000, (long)(us % 1000000) * 1000};

    nanosleep(&time, NULL);
}

static unsigned
count_reports(int fd, unsigned n_done, unsigned at_most)
{
    unsigned i;

    for (unsigned n = 0; n < at_most && read(fd, &i, sizeof i) == sizeof i; n++)
        assert_int_equal(i, n_done++);
    return n_done;
}

/* Batch b: volumes 20 b to 20 b + 11, of which an even batch removes the first three again, all in
 * one transaction; some changes of it fail.  Done again after a crash it finds its work done, or
 * nothing of it. */
enum { BATCH = 12, BATCH_STEP = 20, BATCH_REMOVED = 3 };

static cmir_status
run_batch(cmir_store *store, unsigned b, cmir_error *err)
{
    static synthetic s;
    bool added;
    cmir_status st = cmir_store_begin(store, err);

    for (unsigned k = 0; k < BATCH && st == CMIR_OK; k++) {
        make_synthetic(&s, b * BATCH_STEP + k + 1000000); /* fails, its record written */
        s.labels[1] = (cmir_label){"PatientAge", "old"};
        if (add(store, &s, &added, err) != CMIR_EINVAL)
            return CMIR_ECORRUPT;
        *err = (cmir_error){0};
        make_synthetic(&s, b * BATCH_STEP + k);
        st = add(store, &s, &added, err);
    }
    for (unsigned k = 0; k < BATCH_REMOVED && b % 2 == 0 && st == CMIR_OK; k++) {
        char id[24];

        snprintf(id, sizeof id, "v%u", b * BATCH_STEP + k);
        st = cmir_store_remove(store, id, err);
    }
    return st == CMIR_OK ? cmir_store_commit(store, err) : st;
}

static bool
is_there(cmir_store *store, unsigned number)
{
    cmir_record *r;
    char id[24];

    snprintf(id, sizeof id, "v%u", number);
    if (cmir_store_get(store, id, &r, NULL) != CMIR_OK)
        return false;
    cmir_record_free(r);
    return true;
}

/* Whether more bytes lie behind what the catalogue names than two changes that failed leave. */
static bool
has_tail(const char *dir)
{
    cmir_store *store;
    uint32_t last;
    uint64_t end, nbytes = 0;

    assert_ok(cmir_store_open(dir, CMIR_READ, &store, err));
    assert_ok(cmir_catalog_tail(store->db, CMIR_ROWS, &last, &end, err));
    cmir_store_close(store);
    for (uint32_t n = last == 0 ? 1 : last;; n++) {
        char path[160];
        struct stat file;

        snprintf(path, sizeof path, "%s/segments/%08u.seg", dir, (unsigned)n);
        if (stat(path, &file) != 0)
            break;
        nbytes += (uint64_t)file.st_size;
    }
    return nbytes > end + 24000;
}

/* The child, as make_changes(). */
static void
make_batches(const char *dir, unsigned first, int pipe_fd)
{
    cmir_store *store = NULL;
    cmir_error err = {0};

    for (unsigned b = first;; b++) {
        if (store != NULL && b % 4 == 0) {
            cmir_store_close(store);
            store = NULL;
        }
        if (store == NULL && cmir_store_open(dir, CMIR_WRITE, &store, &err) != CMIR_OK)
            break;
        store->segment_limit = SEGMENT_LIMIT;
        if (!is_there(store, b * BATCH_STEP + BATCH - 1) && run_batch(store, b, &err) != CMIR_OK)
            break;
        if (write(pipe_fd, &b, sizeof b) != sizeof b)
            break;
    }
    fprintf(stderr, "child: %s\n", err.msg);
    _exit(1);
}

/* Batches 0 .. n_done - 1 are there; batch n_done is, or is not, but not in part. */
static void
check_batches(const char *dir, unsigned n_done, unsigned *n_unreported)
{
    cmir_store *store;
    cmir_snapshot *snapshot;
    size_t at = 0, n_expected = 0;

    assert_ok(cmir_store_open(dir, CMIR_READ, &store, err));
    assert_int_equal(n_problems(store), 0);
    const bool unreported = is_there(store, n_done * BATCH_STEP + BATCH - 1);
    *n_unreported += unreported;
    assert_ok(cmir_snapshot_open(store, NULL, &snapshot, err));
    for (unsigned b = 0; b < n_done + unreported; b++)
        for (unsigned k = 0; k < BATCH; k++) {
            const bool there = is_there(store, b * BATCH_STEP + k);

            if (there != (b % 2 != 0 || k >= BATCH_REMOVED))
                fail_msg("batch %u of %u, volume %u: %d", b, n_done, k, there);
            n_expected += there;
        }
    if (cmir_snapshot_count(snapshot) != n_expected)
        fail_msg("%zu volumes, not %zu: part of batch %u", cmir_snapshot_count(snapshot),
                 n_expected, n_done);
    for (; at < n_expected; at++)
        check_candidate(snapshot, at,
                        strtoull(cmir_snapshot_get(snapshot, at)->volume_id + 1, NULL, 10), 0);
    cmir_snapshot_close(snapshot);
    cmir_store_close(store);
}

/* Starts a child, waits for some of its reports and then `us`, kills it, and gives the number of
 * changes that are done now. */
static unsigned
run_and_kill(void (*child)(const char *dir, unsigned first, int pipe_fd), const char *dir,
             unsigned n_done, unsigned n_reports, uint32_t us)
{
    int ends[2], status;

    assert_int_equal(pipe(ends), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        child(dir, n_done, ends[1]);
    }
    close(ends[1]);
    n_done = count_reports(ends[0], n_done, n_reports);
    sleep_us(us);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* it never ended by itself */
    n_done = count_reports(ends[0], n_done, UINT32_MAX);
    close(ends[0]);
    return n_done;
}

static void
test_kill(void **state)
{
    const char *dir = in_folder(state, "a");
    uint64_t random = seed_of_run();
    unsigned n_done = 0, n_before;

    create_archive(dir);
    for (unsigned k = 0; k < N_KILLS; k++) {
        n_before = n_done;
        n_done = run_and_kill(make_changes, dir, n_done, below(&random, 5), below(&random, 20000));
        /* Read before a writer has tidied up, and not only after. */
        check_changes(dir, n_done);
        if (k % 10 == 9)
            print_message("kill %u: %u changes, %u since the last\n", k + 1, n_done,
                          n_done - n_before);
    }
    assert_true(n_done > N_KILLS); /* the children came to do something */
}

/* The same with batches: all of one or none, and the center is that of the first, whatever was lost
 * before it. */
static void
test_kill_batches(void **state)
{
    const char *dir = in_folder(state, "a");
    uint64_t random = seed_of_run() + 1;
    unsigned n_done = 0, n_unreported = 0, n_tails = 0;

    create_archive(dir);
    /* Where a kill comes is a matter of how busy the machine is: as many as it takes. */
    for (unsigned k = 0; k < N_KILLS || (n_tails <= N_KILLS / 4 && k < 10 * N_KILLS); k++) {
        n_done = run_and_kill(make_batches, dir, n_done, below(&random, 3), below(&random, 15000));
        check_batches(dir, n_done, &n_unreported);
        n_tails += has_tail(dir);
        if (k % 10 == 9)
            print_message("kill %u: %u batches, %u killed amid records, %u before the report\n",
                          k + 1, n_done, n_tails, n_unreported);
    }
    assert_true(n_done > N_KILLS / 4);
    assert_true(n_tails > N_KILLS / 4); /* kills came amid batches */
}

/* A reader while another process writes: every state it sees is whole, and none is older than the
 * one before. */
static void
test_reader_beside_writer(void **state)
{
    const char *dir = in_folder(state, "a");
    cmir_store *reader;
    int ends[2], status;
    size_t n_before = 0, n_states = 0;

    create_archive(dir);
    assert_int_equal(pipe(ends), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        make_changes(dir, 0, ends[1]);
    assert_ok(cmir_store_open(dir, CMIR_READ, &reader, err));
    while (n_before < 60 || n_states <= 5) {
        cmir_snapshot *s;

        assert_ok(cmir_snapshot_open(reader, NULL, &s, err));
        const size_t n = cmir_snapshot_count(s);
        assert_true(n + 1 >= n_before); /* one removal at most per four additions */
        for (size_t i = 0; i < n; i++)
            check_candidate(s, i, strtoull(cmir_snapshot_get(s, i)->volume_id + 1, NULL, 10), 0);
        n_states += n != n_before;
        n_before = n;
        cmir_snapshot_close(s);
        assert_int_equal(n_problems(reader), 0);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    cmir_store_close(reader);
    close(ends[0]);
    close(ends[1]);
}

static void
test_two_writers(void **state)
{
    const char *dir = in_folder(state, "a");
    cmir_store *store, *second;
    char who[40];
    int status;

    create_archive(dir);
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    snprintf(who, sizeof who, "process %ld", (long)getpid());
    assert_refused(CMIR_EBUSY, who, cmir_store_open(dir, CMIR_WRITE, &second, err));
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        cmir_error err = {0};
        const cmir_status st = cmir_store_open(dir, CMIR_WRITE, &second, &err);
        _exit(st == CMIR_EBUSY && strstr(err.msg, who) != NULL ? 7 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_ok(cmir_store_open(dir, CMIR_READ, &second, err)); /* readers are welcome */
    cmir_store_close(second);
    add_synthetic(store, 1);
    cmir_store_close(store);
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &second, err));
    cmir_store_close(second);
}

/* In the child: adds volumes while no file may grow beyond `limit`; when that fails, goes on without
 * the limit.  Exit status: number of volumes added before the failure, 100 more if all is well. */
static void
fill_disk(const char *dir, rlim_t limit)
{
    static synthetic s;
    struct rlimit old, tight;
    cmir_store *store;
    cmir_error err = {0};
    bool added = true;
    unsigned n = 0;
    uint64_t faults = 1;

    signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_FSIZE, &old) != 0 ||
        cmir_store_open(dir, CMIR_WRITE, &store, &err) != CMIR_OK)
        _exit(1);
    tight = old;
    tight.rlim_cur = limit;
    setrlimit(RLIMIT_FSIZE, &tight);
    while (added && n < 90) {
        make_synthetic(&s, n);
        (void)add(store, &s, &added, &err);
        n += added;
    }
    setrlimit(RLIMIT_FSIZE, &old);
    const bool told = err.code == CMIR_EIO && strstr(err.msg, dir) != NULL;
    if (!told)
        fprintf(stderr, "limit %llu: %u: %s\n", (unsigned long long)limit, n, err.msg);
    err = (cmir_error){0};
    if (add(store, &s, &added, &err) != CMIR_OK || !added ||
        cmir_store_verify(store, print_problem, NULL, &faults, &err) != CMIR_OK || faults != 0)
        fprintf(stderr, "limit %llu, afterwards: %s\n", (unsigned long long)limit, err.msg);
    cmir_store_close(store);
    _exit((int)(told && added && faults == 0 ? 100 + n : n));
}

/* The same in one batch of 90: exit status 100 where none of it is there, 101 where all of it. */
static void
fill_disk_batch(const char *dir, rlim_t limit)
{
    static synthetic s;
    struct rlimit old, tight;
    cmir_store *store;
    cmir_archive_info info = {0};
    cmir_error err = {0};
    bool added;
    uint64_t faults = 1;

    signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_FSIZE, &old) != 0 ||
        cmir_store_open(dir, CMIR_WRITE, &store, &err) != CMIR_OK)
        _exit(1);
    tight = old;
    tight.rlim_cur = limit;
    setrlimit(RLIMIT_FSIZE, &tight);
    cmir_status st = cmir_store_begin(store, &err);
    for (unsigned n = 0; n < 90 && st == CMIR_OK; n++) {
        make_synthetic(&s, n);
        st = add(store, &s, &added, &err);
    }
    if (st == CMIR_OK)
        st = cmir_store_commit(store, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    if (st != CMIR_OK && st != CMIR_EIO)
        _exit(2);
    if (st != CMIR_OK)
        cmir_store_rollback(store); /* nothing, where commit failed */
    cmir_store_info(store, &info);
    if (info.n_volumes != (st == CMIR_OK ? 90 : 0) ||
        cmir_store_has_center(store) != (st == CMIR_OK))
        _exit(3);
    make_synthetic(&s, 100);
    err = (cmir_error){0};
    if (add(store, &s, &added, &err) != CMIR_OK || !added ||
        cmir_store_verify(store, print_problem, NULL, &faults, &err) != CMIR_OK || faults != 0)
        _exit(4);
    cmir_store_close(store);
    _exit(st == CMIR_OK ? 101 : 100);
}

static void
test_full_disk_batch(void **state)
{
    unsigned n_lost = 0, n_whole = 0;

    for (rlim_t limit = 1024; limit < 2000000; limit += limit / 4) {
        char name[24];
        int status;
        cmir_store *store;
        cmir_archive_info info;

        snprintf(name, sizeof name, "a%llu", (unsigned long long)limit);
        const char *dir = in_folder(state, name);
        create_archive(dir);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            fill_disk_batch(dir, limit);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) < 100)
            fail_msg("limit %llu: %d", (unsigned long long)limit, WEXITSTATUS(status));
        n_lost += WEXITSTATUS(status) == 100;
        n_whole += WEXITSTATUS(status) == 101;
        assert_ok(cmir_store_open(dir, CMIR_READ, &store, err));
        assert_int_equal(n_problems(store), 0);
        cmir_store_info(store, &info);
        assert_int_equal(info.n_volumes, WEXITSTATUS(status) == 101 ? 91 : 1);
        cmir_store_close(store);
    }
    assert_true(n_lost > 3 && n_whole > 1);
}

static void
test_full_disk(void **state)
{
    unsigned seen[3] = {0}; /* failed at once, after a few, after many */

    for (rlim_t limit = 1024; limit < 600000; limit += limit / 5) {
        char name[24];
        int status;
        cmir_store *store;
        cmir_snapshot *snapshot;

        snprintf(name, sizeof name, "a%llu", (unsigned long long)limit);
        const char *dir = in_folder(state, name);
        create_archive(dir);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            fill_disk(dir, limit);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_true(WEXITSTATUS(status) >= 100);
        const unsigned n = (unsigned)WEXITSTATUS(status) - 100 + 1;
        seen[n == 1 ? 0 : n < 10 ? 1 : 2]++;
        assert_ok(cmir_store_open(dir, CMIR_READ, &store, err));
        assert_int_equal(n_problems(store), 0);
        for (unsigned i = 0; i < n; i++) {
            char id[16];

            snprintf(id, sizeof id, "v%u", i);
            assert_ok(cmir_snapshot_open_one(store, id, &snapshot, err));
            check_candidate(snapshot, 0, i, 0);
            cmir_snapshot_close(snapshot);
        }
        cmir_store_close(store);
    }
    assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
}

/* A user without write permission (or any user, where the test does not run as root). */
static void
become_nobody(void)
{
    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0))
        _exit(2);
}

/* The child of test_read_only(): 0 if it could read volume 1 or was told why not. */
static void
read_as_nobody(const char *dir, bool expect_busy)
{
    cmir_store *store;
    cmir_snapshot *snapshot;
    cmir_error err = {0};
    uint64_t faults = 1;

    become_nobody();
    const cmir_status st = cmir_store_open(dir, CMIR_READ, &store, &err);
    if (expect_busy)
        _exit(st == CMIR_EIO && strstr(err.msg, "write permission") != NULL ? 0 : 3);
    if (st != CMIR_OK || cmir_snapshot_open(store, NULL, &snapshot, &err) != CMIR_OK) {
        fprintf(stderr, "child: %s\n", err.msg);
        _exit(4);
    }
    if (cmir_snapshot_count(snapshot) != 1)
        _exit(5);
    check_candidate(snapshot, 0, 1, 1);
    cmir_snapshot_close(snapshot);
    if (cmir_store_verify(store, print_problem, NULL, &faults, &err) != CMIR_OK || faults != 0)
        _exit(6);
    cmir_store_close(store);
    if (cmir_store_open(dir, CMIR_WRITE, &store, &err) != CMIR_EIO)
        _exit(7);
    _exit(0);
}

static int
run_nobody(const char *dir, bool expect_busy)
{
    int status;
    const pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        read_as_nobody(dir, expect_busy);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
set_modes(void **state, mode_t folder, mode_t file)
{
    assert_int_equal(chmod(in_folder(state, "."), 0755), 0);
    assert_int_equal(chmod(in_folder(state, "a/lock"), file), 0);
    assert_int_equal(chmod(in_folder(state, "a/catalog.sqlite"), file), 0);
    assert_int_equal(chmod(in_folder(state, "a/segments/00000001.seg"), file), 0);
    assert_int_equal(chmod(in_folder(state, "a/segments"), folder), 0);
    assert_int_equal(chmod(in_folder(state, "a"), folder), 0);
}

static void
test_read_only(void **state)
{
    const char *dir = in_folder(state, "a");
    cmir_store *store;

    create_archive(dir);
    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    add_synthetic(store, 1);
    cmir_store_close(store);
    set_modes(state, 0555, 0444);
    assert_int_equal(run_nobody(dir, false), 0);
    /* The same where a reader with permission has left SQLite's files behind. */
    set_modes(state, 0755, 0644);
    assert_ok(cmir_store_open(dir, CMIR_READ, &store, err));
    cmir_store_close(store);
    assert_int_equal(access(in_folder(state, "a/catalog.sqlite-shm"), F_OK), 0);
    set_modes(state, 0555, 0444);
    assert_int_equal(chmod(in_folder(state, "a/catalog.sqlite-shm"), 0444), 0);
    assert_int_equal(chmod(in_folder(state, "a/catalog.sqlite-wal"), 0444), 0);
    assert_int_equal(run_nobody(dir, false), 0);
    assert_int_equal(unlink(in_folder(state, "a/catalog.sqlite-shm")), 0);
    assert_int_equal(unlink(in_folder(state, "a/catalog.sqlite-wal")), 0);
    /* Changes that wait in the log cannot be read without making its index. */
    set_modes(state, 0755, 0644);
    FILE *f = fopen(in_folder(state, "a/catalog.sqlite-wal"), "wb");
    assert_true(f != NULL && fputs("changes", f) >= 0 && fclose(f) == 0);
    set_modes(state, 0555, 0444);
    assert_int_equal(run_nobody(dir, true), 0);
    set_modes(state, 0755, 0644);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_kill_batches, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_reader_beside_writer, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_two_writers, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_full_disk, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_full_disk_batch, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_read_only, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
