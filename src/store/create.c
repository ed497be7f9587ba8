/* SPDX-License-Identifier: Apache-2.0 */
/* create.c: makes an archive, and the lock that one writer holds.  Called by engine and store.
 *
 * The one idea: catalog.sqlite appears by a rename, whole; a directory without it is no archive.  An
 * archive that must not be seen before it is filled appears by a rename of its directory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "store/store_internal.h"

/* The process whose id the lock's file holds, if it is there; 0: not known. */
static long
holder_of(int fd)
{
    char text[32];
    const ssize_t n = pread(fd, text, sizeof text - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    const long pid = strtol(text, NULL, 10);
    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM) ? pid : 0;
}

static cmir_status
refuse_busy(const char *dir, bool write, int fd, cmir_error *err)
{
    const long pid = holder_of(fd);
    char holder[48] = "another process";

    if (pid > 0)
        (void)snprintf(holder, sizeof holder, "process %ld", pid);
    if (!write)
        return FAIL(err, CMIR_EBUSY,
                    "%s: %s is writing to it, and without write permission there it can be read "
                    "only when nobody writes",
                    dir, holder);
    return FAIL(err, CMIR_EBUSY, "%s: %s is using it; try again when it has ended", dir, holder);
}

cmir_status
cmir_store_lock(const char *dir, bool write, int *fd, cmir_error *err)
{
    char pid[32];
    char *path = cmir_asprintf("%s/lock", dir);

    *fd = -1;
    if (path == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
    *fd = open(path, write ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0666);
    free(path);
    if (*fd < 0 && !write && errno == ENOENT)
        return CMIR_OK; /* a copy without it: nobody has ever written here */
    if (*fd < 0)
        return FAIL(err, CMIR_EIO, "%s/lock: %s", dir, strerror(errno));
    if (flock(*fd, (write ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
        const cmir_status st =
            errno == EWOULDBLOCK
                ? refuse_busy(dir, write, *fd, err)
                : FAIL(err, CMIR_EIO, "%s/lock: cannot lock: %s", dir, strerror(errno));
        close(*fd);
        *fd = -1;
        return st;
    }
    if (write) { /* for the message above only: failing to write it does no harm */
        const int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
        if (ftruncate(*fd, 0) == 0 && pwrite(*fd, pid, (size_t)n, 0) < 0)
            errno = 0;
    }
    return CMIR_OK;
}

static bool
is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool
is_empty_folder(const char *dir, const char *name)
{
    char *path = cmir_asprintf("%s/%s", dir, name);
    DIR *d = path == NULL ? NULL : opendir(path);
    const struct dirent *entry = NULL;

    while (d != NULL && (entry = readdir(d)) != NULL && is_dot(entry->d_name))
        ;
    const bool empty = d != NULL && entry == NULL;
    if (d != NULL)
        closedir(d);
    free(path);
    return empty;
}

/* Whether `name` may lie in a directory in which an archive is made; `dir` is where. */
static bool
is_left_over(const char *dir, const char *name)
{
    return is_dot(name) || strcmp(name, "lock") == 0 || strncmp(name, "catalog.new", 11) == 0 ||
           ((strcmp(name, "segments") == 0 || strcmp(name, "previews") == 0) &&
            is_empty_folder(dir, name));
}

static bool
has_catalog(const char *dir)
{
    char *path = cmir_asprintf("%s/catalog.sqlite", dir);
    const bool has = path != NULL && access(path, F_OK) == 0;

    free(path);
    return has;
}

/* Only looks: what lies here may be an archive, or one that another process is making. */
static cmir_status
check_empty(const char *dir, cmir_error *err)
{
    cmir_status st = CMIR_OK;
    struct dirent *entry;

    if (has_catalog(dir))
        return FAIL(err, CMIR_EEXIST, "%s: there is an archive already", dir);
    DIR *d = opendir(dir);
    if (d == NULL)
        return FAIL(err, errno == ENOTDIR ? CMIR_EEXIST : CMIR_EIO, "%s: %s", dir,
                    errno == ENOTDIR ? "a file, where a new archive needs a folder"
                                     : strerror(errno));
    while (st == CMIR_OK && (entry = readdir(d)) != NULL)
        if (!is_left_over(dir, entry->d_name))
            st = FAIL(err, CMIR_EEXIST, "%s: a new archive needs an empty folder; this holds %s",
                      dir, entry->d_name);
    closedir(d);
    return st;
}

static void
remove_file(const char *dir, const char *name)
{
    char *path = cmir_asprintf("%s/%s", dir, name);

    if (path != NULL)
        unlink(path);
    free(path);
}

static void
remove_left_over(const char *dir)
{
    static const char *const names[] = {"catalog.new", "catalog.new-wal", "catalog.new-shm",
                                        "catalog.new-journal"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        remove_file(dir, names[i]);
}

static cmir_status
sync_file(const char *path, cmir_error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0) {
        const cmir_status st = FAIL(err, CMIR_EIO, "%s: cannot sync: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return st;
    }
    close(fd);
    return CMIR_OK;
}

static cmir_status
sync_parent(const char *dir, cmir_error *err)
{
    cmir_status st;
    char *parent = cmir_strdup(dir);

    if (parent == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
    size_t n = strlen(parent);
    while (n > 1 && parent[n - 1] == '/')
        n--;
    while (n > 0 && parent[n - 1] != '/')
        n--;
    parent[n] = '\0';
    st = cmir_dir_sync(n == 0 ? "." : parent, err);
    free(parent);
    return st;
}

/* The folders of series that are empty. */
static void
remove_folders(const char *dir)
{
    for (int i = 0; i < CMIR_N_SERIES; i++) {
        char *path = cmir_asprintf("%s/%s", dir, cmir_series_of[i].folder);

        if (path != NULL)
            rmdir(path);
        free(path);
    }
}

/* The folders of its series. */
static cmir_status
make_folders(const char *dir, int n_series, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    for (int i = 0; i < n_series && st == CMIR_OK; i++) {
        char *path = cmir_asprintf("%s/%s", dir, cmir_series_of[i].folder);

        if (path == NULL)
            st = FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
        else if (mkdir(path, 0777) != 0)
            st = FAIL(err, CMIR_EIO, "%s: %s", path, strerror(errno));
        free(path);
    }
    return st;
}

/* The files of an archive, in a directory that is empty but for what an earlier try left. */
static cmir_status
make_files(const char *dir, const cmir_binding *binding, cmir_error *err)
{
    const int n_series = binding->previews == CMIR_PREVIEWS_NONE ? CMIR_PREVIEWS : CMIR_N_SERIES;
    bool renamed = false;
    cmir_status st;
    char *fresh = cmir_asprintf("%s/catalog.new", dir),
         *path = cmir_asprintf("%s/catalog.sqlite", dir);

    if (fresh == NULL || path == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
        goto done;
    }
    remove_left_over(dir);
    remove_folders(dir);
    if ((st = make_folders(dir, n_series, err)) != CMIR_OK ||
        (st = cmir_catalog_create(fresh, binding, err)) != CMIR_OK ||
        (st = sync_file(fresh, err)) != CMIR_OK)
        goto done;
    if (rename(fresh, path) != 0) {
        st = FAIL(err, CMIR_EIO, "%s: %s", path, strerror(errno));
        goto done;
    }
    renamed = true;
    if ((st = cmir_dir_sync(dir, err)) == CMIR_OK)
        st = sync_parent(dir, err);
done:
    if (st != CMIR_OK) {
        if (renamed)
            unlink(path);
        remove_left_over(dir);
        remove_folders(dir);
    }
    free(fresh);
    free(path);
    return st;
}

static cmir_status
check_binding(const cmir_binding *b, cmir_error *err)
{
    if (b->dim < 1 || b->dim > CMIR_MAX_DIM)
        return FAIL(err, CMIR_EINVAL, "dimension %u of encoder %s is not in 1..%u",
                    (unsigned)b->dim, b->encoder_name, CMIR_MAX_DIM);
    if ((unsigned)b->plane > CMIR_SAGITTAL)
        return FAIL(err, CMIR_EINVAL, "there is no plane %u", (unsigned)b->plane);
    if ((unsigned)b->previews > CMIR_PREVIEWS_FULL)
        return FAIL(err, CMIR_EINVAL, "there are no previews of kind %u", (unsigned)b->previews);
    if (strlen(b->encoder_sha256) != 64 || strspn(b->encoder_sha256, "0123456789abcdef") != 64)
        return FAIL(err, CMIR_EINVAL, "the sha256 of encoder %s is not 64 hex digits: %s",
                    b->encoder_name, b->encoder_sha256);
    return CMIR_OK;
}

cmir_status
cmir_store_create(const char *dir, const cmir_binding *binding, cmir_error *err)
{
    int lock_fd = -1;
    cmir_status st = check_binding(binding, err);

    if (st != CMIR_OK)
        return st;
    const bool made = mkdir(dir, 0777) == 0;
    if (!made && errno != EEXIST)
        return FAIL(err, CMIR_EIO, "%s: cannot make the folder: %s", dir, strerror(errno));
    if ((st = check_empty(dir, err)) == CMIR_OK &&
        (st = cmir_store_lock(dir, true, &lock_fd, err)) == CMIR_OK) {
        /* Again: another process may have made an archive before the lock was ours. */
        if ((st = check_empty(dir, err)) == CMIR_OK &&
            (st = make_files(dir, binding, err)) != CMIR_OK)
            remove_file(dir, "lock");
        close(lock_fd);
    }
    if (st != CMIR_OK && made)
        rmdir(dir); /* stays if another process has put something there */
    return st;
}

cmir_status
cmir_store_check_absent(const char *dir, cmir_error *err)
{
    struct stat info;

    if (lstat(dir, &info) == 0)
        return FAIL(err, CMIR_EEXIST,
                    "%s: there is something already; a new archive needs a name "
                    "of its own",
                    dir);
    if (errno != ENOENT)
        return FAIL(err, CMIR_EIO, "%s: %s", dir, strerror(errno));
    return CMIR_OK;
}

/* DIR.partial, whether or not `dir` ends in slashes; NULL where memory runs out. */
static char *
partial_path(const char *dir)
{
    size_t n = strlen(dir);

    while (n > 1 && dir[n - 1] == '/')
        n--;
    return cmir_asprintf("%.*s.partial", (int)n, dir);
}

/* Removes an archive of ours that nobody has seen. */
static void
remove_archive(const char *dir)
{
    for (int series = 0; series < CMIR_N_SERIES; series++) {
        bool more = true;

        for (uint32_t number = 1; more && number <= CMIR_MAX_SEGMENT; number++) {
            char *path = cmir_series_path(series, dir, number);
            more = path != NULL && unlink(path) == 0;
            free(path);
        }
    }
    remove_folders(dir);
    remove_file(dir, "catalog.sqlite");
    remove_file(dir, "lock");
    rmdir(dir);
}

cmir_status
cmir_store_begin_partial(const char *dir, const cmir_binding *binding, cmir_store **out,
                         cmir_error *err)
{
    cmir_error cause = {0};
    cmir_status st = cmir_store_check_absent(dir, err);
    char *path = partial_path(dir);

    *out = NULL;
    if (st == CMIR_OK && path == NULL)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
    if (st == CMIR_OK && (st = cmir_store_create(path, binding, &cause)) != CMIR_OK)
        st = st == CMIR_EEXIST ? FAIL(err, st,
                                      "%s: left by an attempt that was interrupted, or one that "
                                      "still goes on; if not, remove it",
                                      path)
                               : FAIL(err, st, "%s", cause.msg);
    else if (st == CMIR_OK && (st = cmir_store_open(path, CMIR_WRITE, out, err)) != CMIR_OK)
        remove_archive(path);
    free(path);
    return st;
}

cmir_status
cmir_store_end_partial(cmir_store *store, const char *dir, cmir_status st, cmir_error *err)
{
    char *path = cmir_strdup(store->dir);

    cmir_store_close(store);
    if (path == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", dir);
    if (st == CMIR_OK && (st = cmir_store_check_absent(dir, err)) == CMIR_OK &&
        rename(path, dir) != 0)
        st = FAIL(err, CMIR_EIO, "%s: cannot become %s: %s", path, dir, strerror(errno));
    if (st != CMIR_OK)
        remove_archive(path);
    else
        st = sync_parent(dir, err);
    free(path);
    return st;
}
