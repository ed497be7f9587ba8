/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_durable.c: what was reported stays: through kill -9, full disks, other processes.
 * CMIR_SEED chooses another sequence of moments. */
#define _GNU_SOURCE /* setgroups */
#include "synthetic.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

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
        return cmir_store_add(store, &s.record, &s.embeddings, &added, err);
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
        check_candidate(snapshot, 0, i);
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

/* Starts a child, waits for some of its reports and then `us`, kills it, and gives the number of
 * changes that are done now. */
static unsigned
run_and_kill(const char *dir, unsigned n_done, unsigned n_reports, uint32_t us)
{
    int ends[2], status;

    assert_int_equal(pipe(ends), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        make_changes(dir, n_done, ends[1]);
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
        n_done = run_and_kill(dir, n_done, below(&random, 5), below(&random, 20000));
        /* Read before a writer has tidied up, and not only after. */
        check_changes(dir, n_done);
        if (k % 10 == 9)
            print_message("kill %u: %u changes, %u since the last\n", k + 1, n_done,
                          n_done - n_before);
    }
    assert_true(n_done > N_KILLS); /* the children came to do something */
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
    while (n_before < 60) {
        cmir_snapshot *s;

        assert_ok(cmir_snapshot_open(reader, NULL, NULL, &s, err));
        const size_t n = cmir_snapshot_count(s);
        assert_true(n + 1 >= n_before); /* one removal at most per four additions */
        for (size_t i = 0; i < n; i++)
            check_candidate(s, i, strtoull(cmir_snapshot_get(s, i)->volume_id + 1, NULL, 10));
        n_states += n != n_before;
        n_before = n;
        cmir_snapshot_close(s);
        assert_int_equal(n_problems(reader), 0);
    }
    assert_true(n_states > 5);
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
        (void)cmir_store_add(store, &s.record, &s.embeddings, &added, &err);
        n += added;
    }
    setrlimit(RLIMIT_FSIZE, &old);
    const bool told = err.code == CMIR_EIO && strstr(err.msg, dir) != NULL;
    if (!told)
        fprintf(stderr, "limit %llu: %u: %s\n", (unsigned long long)limit, n, err.msg);
    err = (cmir_error){0};
    if (cmir_store_add(store, &s.record, &s.embeddings, &added, &err) != CMIR_OK || !added ||
        cmir_store_verify(store, print_problem, NULL, &faults, &err) != CMIR_OK || faults != 0)
        fprintf(stderr, "limit %llu, afterwards: %s\n", (unsigned long long)limit, err.msg);
    cmir_store_close(store);
    _exit((int)(told && added && faults == 0 ? 100 + n : n));
}

static void
test_full_disk(void **state)
{
    unsigned seen[3] = {0}; /* failed at once, after a few, after many */

    for (rlim_t limit = 1024; limit < 400000; limit += limit / 5) {
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
            check_candidate(snapshot, 0, i);
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
    if (st != CMIR_OK || cmir_snapshot_open(store, NULL, NULL, &snapshot, &err) != CMIR_OK) {
        fprintf(stderr, "child: %s\n", err.msg);
        _exit(4);
    }
    if (cmir_snapshot_count(snapshot) != 1)
        _exit(5);
    check_candidate(snapshot, 0, 1);
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
        cmocka_unit_test_setup_teardown(test_reader_beside_writer, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_two_writers, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_full_disk, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_read_only, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
