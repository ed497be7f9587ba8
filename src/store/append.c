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
remove_segments(const cmir_store *store, uint32_t number, cmir_error *err)
{
    for (;; number++) {
        uint64_t nbytes;
        bool there;
        char *path = cmir_segment_path(store->dir, number);
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
cut_tail(cmir_store *store, uint32_t segment, uint64_t nbytes, cmir_error *err)
{
    uint64_t last_nbytes = 0, next_nbytes;
    bool last_there = false, next_there;
    cmir_status st;
    char *last = cmir_segment_path(store->dir, segment),
         *next = cmir_segment_path(store->dir, segment + 1);

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
        st = remove_segments(store, segment + 1, err);
    store->tail_settled = st == CMIR_OK;
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
sync_segments(const cmir_store *store, cmir_error *err)
{
    cmir_status st;
    char *path = cmir_asprintf("%s/segments", store->dir);

    if (path == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir);
    st = cmir_dir_sync(path, err);
    free(path);
    return st;
}

cmir_status
cmir_store_settle(cmir_store *store, cmir_error *err)
{
    uint32_t segment;
    uint64_t end;
    cmir_status st;

    if (store->tail_settled)
        return CMIR_OK;
    if ((st = cmir_catalog_tail(store->db, &segment, &end, err)) == CMIR_OK)
        st = cut_tail(store, segment, end, err);
    return st;
}

cmir_status
cmir_store_append(cmir_store *store, const uint8_t *record, cmir_place *place, cmir_error *err)
{
    uint32_t segment;
    uint64_t end;
    cmir_status st = cmir_catalog_tail(store->db, &segment, &end, err);

    if (st != CMIR_OK)
        return st;
    const bool fresh = segment == 0 || end > store->segment_limit ||
                       place->claim.nbytes > store->segment_limit - end;
    place->segment = fresh ? segment + 1 : segment;
    place->offset = fresh ? 0 : end;
    char *path = cmir_segment_path(store->dir, place->segment);
    if (path == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir);
    store->tail_settled = false; /* until the transaction has committed */
    st = write_record(path, fresh, place->offset, record, place->claim.nbytes, err);
    free(path);
    if (st != CMIR_OK)
        return st;
    /* Not in order: where a change of a batch failed, its new segment may be of no use to the next. */
    if (store->unsynced_first == 0 || place->segment < store->unsynced_first)
        store->unsynced_first = place->segment;
    if (place->segment > store->unsynced_last)
        store->unsynced_last = place->segment;
    store->segment_made = store->segment_made || fresh;
    return CMIR_OK;
}

cmir_status
cmir_store_sync(cmir_store *store, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    for (uint32_t n = store->unsynced_first; n != 0 && n <= store->unsynced_last; n++) {
        char *path = cmir_segment_path(store->dir, n);

        st = path == NULL ? FAIL(err, CMIR_ENOMEM, "%s: no memory", store->dir)
                          : sync_segment(path, err);
        free(path);
        if (st != CMIR_OK)
            return st;
    }
    return store->segment_made ? sync_segments(store, err) : CMIR_OK;
}
