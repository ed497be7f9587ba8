/* SPDX-License-Identifier: Apache-2.0 */
/* file.c: whole-file reads, durable writes, atomic replacement, read-only maps. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

static cmir_status
open_regular(const char *path, int *fd, uint64_t *nbytes, cmir_error *err)
{
    struct stat st;

    /* O_NONBLOCK: a FIFO must not stop us before fstat() tells what it is. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return FAIL(err, errno == ENOENT ? CMIR_ENOTFOUND : CMIR_EIO, "%s: %s", path,
                    strerror(errno));
    if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(*fd);
        return FAIL(err, CMIR_EIO, "%s: not a regular file", path);
    }
    *nbytes = (uint64_t)st.st_size;
    return CMIR_OK;
}

cmir_status
cmir_file_read(const char *path, uint64_t limit, char **data, size_t *nbytes, cmir_error *err)
{
    uint64_t size;
    size_t done = 0;
    int fd;
    cmir_status st = open_regular(path, &fd, &size, err);

    *data = NULL;
    *nbytes = 0;
    if (st != CMIR_OK)
        return st;
    if (size > limit) {
        close(fd);
        return FAIL(err, CMIR_ELIMIT, "%s: %llu bytes, more than the %llu read of such a file",
                    path, (unsigned long long)size, (unsigned long long)limit);
    }
    char *buf = cmir_alloc((size_t)size + 1, 1);
    if (buf == NULL) {
        close(fd);
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for %llu bytes", path,
                    (unsigned long long)size);
    }
    while (done < size) {
        const ssize_t n = read(fd, buf + done, (size_t)size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            st = FAIL_AT(err, CMIR_EIO, done, "%s: %s", path, strerror(errno));
            close(fd);
            free(buf);
            return st;
        }
        if (n == 0)
            break;
        done += (size_t)n;
    }
    close(fd);
    buf[done] = '\0';
    *data = buf;
    *nbytes = done;
    return CMIR_OK;
}

cmir_status
cmir_file_write_at(int fd, const char *path, uint64_t offset, const void *data, size_t nbytes,
                   cmir_error *err)
{
    const char *p = data;

    while (nbytes > 0) {
        const ssize_t n = pwrite(fd, p, nbytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return FAIL_AT(err, CMIR_EIO, offset, "%s: cannot write: %s", path,
                           n == 0 ? "no progress" : strerror(errno));
        p += n;
        nbytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return CMIR_OK;
}

cmir_status
cmir_file_absolute(const char *path, char **out, cmir_error *err)
{
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    char *folder =
        slash == NULL ? cmir_strdup(".") : cmir_asprintf("%.*s", (int)(name - path), path);

    *out = NULL;
    if (folder == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for its name", path);
    char *resolved = realpath(folder, NULL);
    const int why = errno;
    free(folder);
    if (resolved == NULL)
        return FAIL(err, why == ENOENT ? CMIR_ENOTFOUND : CMIR_EIO, "%s: %s", path, strerror(why));
    *out = cmir_asprintf("%s/%s", strcmp(resolved, "/") == 0 ? "" : resolved, name);
    free(resolved);
    return *out == NULL ? FAIL(err, CMIR_ENOMEM, "%s: no memory for its name", path) : CMIR_OK;
}

cmir_status
cmir_dir_sync(const char *path, cmir_error *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return FAIL(err, CMIR_EIO, "%s: %s", path, strerror(errno));
    const int bad = fsync(fd);
    const int why = errno;
    close(fd);
    if (bad != 0)
        return FAIL(err, CMIR_EIO, "%s: cannot sync: %s", path, strerror(why));
    return CMIR_OK;
}

cmir_status
cmir_file_replace(const char *path, const void *data, size_t nbytes, cmir_error *err)
{
    cmir_status st;
    char *tmp = cmir_asprintf("%s.%ld.tmp", path, (long)getpid());
    int fd = -1;

    if (tmp == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory", path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        st = FAIL(err, CMIR_EIO, "%s: cannot write: %s", path, strerror(errno));
        goto done;
    }
    if ((st = cmir_file_write_at(fd, path, 0, data, nbytes, err)) != CMIR_OK)
        goto done;
    if (fsync(fd) != 0 || rename(tmp, path) != 0)
        st = FAIL(err, CMIR_EIO, "%s: cannot write: %s", path, strerror(errno));
done:
    if (fd >= 0) {
        close(fd);
        if (st != CMIR_OK)
            unlink(tmp);
    }
    free(tmp);
    return st;
}

cmir_status
cmir_map_open(const char *path, cmir_map *out, cmir_error *err)
{
    uint64_t nbytes;
    int fd;
    cmir_status st = open_regular(path, &fd, &nbytes, err);

    *out = (cmir_map){0};
    if (st != CMIR_OK)
        return st;
    if (nbytes > 0) {
        void *p = mmap(NULL, (size_t)nbytes, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            st = FAIL(err, CMIR_EIO, "%s: cannot map: %s", path, strerror(errno));
        else
            *out = (cmir_map){p, (size_t)nbytes};
    }
    close(fd);
    return st;
}

void
cmir_map_close(cmir_map *map)
{
    union {
        const uint8_t *in;
        void *out;
    } data = {map->data};

    if (map->data != NULL)
        munmap(data.out, map->nbytes);
    *map = (cmir_map){0};
}
