/* SPDX-License-Identifier: Apache-2.0 */
/* append.c: puts records at the end of the last segment, without naming them, and makes them
 * durable before the transaction that names them commits.  Called by store.
 *
 * What lies behind the catalogue's tail belongs to nobody: an add that a crash or an error ended.
 * Before it is cut off, a transaction of our own is committed, so that one whose commit failed
 * half way cannot come back from SQLite's log and name it after all. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "store/store_internal.h"

/* Length of a file; 0 where there is none. */
static cmir_status
file_nbytes(const char *path, uint64_t *nbytes, bool *there, cmir_error *err)
{
    struct stat info;

    *nbytes = 0;
    *there = stat(path, &info) == 0;
    if (!*there)
        return errno == ENOENT ? CMIR_OK : FAIL(err, CMIR_EIO, "%s: %s", path, strerror(errno));
    *nbytes = (uint64_t)info.st_size;
    return CMIR_OK;
}

/* Cuts `path` to `nbytes`, or removes it where that is 0. */
static cmir_status
cut(const char *path, uint64_t nbytes, cmir_error *err)
{
    const int bad = nbytes == 0 ? unlink(path) : truncate(path, (off_t)nbytes);

    if (bad != 0)
        return FAIL(err, CMIR_EIO, "%s: cannot cut off an unfinished record: %s", path,
                    strerror(errno));
    return CMIR_OK;
}

/* Removes segment `number` and those behind it, which nobody names. */
static cmir_status
remove_segments(const cmir_store *store, int series, uint32_t number, cmir_error *err)
{
    for (;; number++) {
        uint64_t nbytes;
        bool there;
        char *path = cmir_series_path(series, store->dir, number);
        cmir_status st = path == NULL ? FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir)
                                      : file_nbytes(path, &nbytes, &there, err);

        if (st == CMIR_OK && there)
            st = cut(path, 0, err);
        free(path);
        if (st != CMIR_OK || !there)
            return st;
    }
}

static cmir_status
cut_tail(cmir_store *store, int series, uint32_t segment, uint64_t nbytes, cmir_error *err)
{
    uint64_t last_nbytes = 0, next_nbytes;
    bool last_there = false, next_there;
    cmir_status st;
    char *last = cmir_series_path(series, store->dir, segment),
         *next = cmir_series_path(series, store->dir, segment + 1);

    if (last == NULL || next == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir);
        goto done;
    }
    if ((segment > 0 && (st = file_nbytes(last, &last_nbytes, &last_there, err)) != CMIR_OK) ||
        (st = file_nbytes(next, &next_nbytes, &next_there, err)) != CMIR_OK)
        goto done;
    if (last_nbytes < nbytes) {
        st = FAIL_AT(err, CMIR_ECORRUPT, last_nbytes,
                     "%s: missing or cut short (%llu bytes, of which the catalogue names %llu)",
                     last, (unsigned long long)last_nbytes, (unsigned long long)nbytes);
        goto done;
    }
    if (last_nbytes > nbytes || next_there)
        st = cmir_catalog_count_write(store->db, err);
    if (st == CMIR_OK && last_nbytes > nbytes)
        st = cut(last, nbytes, err);
    if (st == CMIR_OK && next_there)
        st = remove_segments(store, series, segment + 1, err);
done:
    free(last);
    free(next);
    return st;
}

static cmir_status
write_record(const char *path, bool fresh, uint64_t offset, const uint8_t *record, uint64_t nbytes,
             cmir_error *err)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC | (fresh ? O_CREAT | O_TRUNC : 0), 0666);
    cmir_status st;

    if (fd < 0)
        return FAIL(err, CMIR_EIO, "%s: %s", path, strerror(errno));
    st = cmir_file_write_at(fd, path, offset, record, (size_t)nbytes, err);
    close(fd);
    return st;
}

static cmir_status
sync_segment(const char *path, cmir_error *err)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    cmir_status st = CMIR_OK;

    if (fd < 0)
        return FAIL(err, CMIR_EIO, "%s: %s", path, strerror(errno));
    if (fdatasync(fd) != 0)
        st = FAIL(err, CMIR_EIO, "%s: cannot sync: %s", path, strerror(errno));
    close(fd);
    return st;
}

static cmir_status
sync_folder(const cmir_store *store, int series, cmir_error *err)
{
    cmir_status st;
    char *path = cmir_asprintf("%s/%s", store->dir, cmir_series_of[series].folder);

    if (path == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir);
    st = cmir_dir_sync(path, err);
    free(path);
    return st;
}

int
cmir_store_n_series(const cmir_store *store)
{
    return store->binding.previews == CMIR_PREVIEWS_NONE ? CMIR_PREVIEWS : CMIR_N_SERIES;
}

cmir_status
cmir_store_settle(cmir_store *store, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    if (store->tail_settled)
        return CMIR_OK;
    for (int series = 0; series < cmir_store_n_series(store) && st == CMIR_OK; series++) {
        uint32_t segment;
        uint64_t end;

        if ((st = cmir_catalog_tail(store->db, series, &segment, &end, err)) == CMIR_OK)
            st = cut_tail(store, series, segment, end, err);
    }
    store->tail_settled = st == CMIR_OK;
    return st;
}

cmir_status
cmir_store_append(cmir_store *store, int series, const uint8_t *record, uint64_t nbytes,
                  uint32_t *segment, uint64_t *offset, cmir_error *err)
{
    uint32_t last;
    uint64_t end;
    cmir_status st = cmir_catalog_tail(store->db, series, &last, &end, err);

    if (st != CMIR_OK)
        return st;
    const bool fresh =
        last == 0 || end > store->segment_limit || nbytes > store->segment_limit - end;
    *segment = fresh ? last + 1 : last;
    *offset = fresh ? 0 : end;
    char *path = cmir_series_path(series, store->dir, *segment);
    if (path == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir);
    store->tail_settled = false; /* until the transaction has committed */
    st = write_record(path, fresh, *offset, record, nbytes, err);
    free(path);
    if (st != CMIR_OK)
        return st;
    /* Not in order: where a change of a batch failed, its new segment may be of no use to the next. */
    if (store->unsynced[series].first == 0 || *segment < store->unsynced[series].first)
        store->unsynced[series].first = *segment;
    if (*segment > store->unsynced[series].last)
        store->unsynced[series].last = *segment;
    store->unsynced[series].made = store->unsynced[series].made || fresh;
    return cmir_catalog_set_tail(store->db, series, *segment, *offset + nbytes, err);
}

static cmir_status
sync_series(const cmir_store *store, int series, cmir_error *err)
{
    const uint32_t first = store->unsynced[series].first, last = store->unsynced[series].last;
    cmir_status st = CMIR_OK;

    for (uint32_t n = first; n != 0 && n <= last; n++) {
        char *path = cmir_series_path(series, store->dir, n);

        st = path == NULL ? FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir)
                          : sync_segment(path, err);
        free(path);
        if (st != CMIR_OK)
            return st;
    }
    return store->unsynced[series].made ? sync_folder(store, series, err) : CMIR_OK;
}

cmir_status
cmir_store_sync(cmir_store *store, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    for (int series = 0; series < CMIR_N_SERIES && st == CMIR_OK; series++)
        st = sync_series(store, series, err);
    return st;
}
