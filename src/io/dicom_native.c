/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_native.c: uncompressed pixels straight from the file into the volume; called by dicom.c.
 *
 * Where they lie is known from the parse that found the series, so no file is parsed twice.  A file
 * that has changed in between is left to the parser. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "io/dicom.h"

void
cmir_dicom_native_stamp(cmir_dicom_native *native, const struct stat *info)
{
    native->device = (uint64_t)info->st_dev;
    native->inode = (uint64_t)info->st_ino;
    native->nbytes = (uint64_t)info->st_size;
    native->seconds = (int64_t)info->st_mtim.tv_sec;
    native->nanoseconds = (int64_t)info->st_mtim.tv_nsec;
}

static bool
is_same(const cmir_dicom_native *native, int fd)
{
    cmir_dicom_native now = {0};
    struct stat info;

    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return false;
    cmir_dicom_native_stamp(&now, &info);
    return now.device == native->device && now.inode == native->inode &&
           now.nbytes == native->nbytes && now.seconds == native->seconds &&
           now.nanoseconds == native->nanoseconds;
}

static cmir_status
read_at(const cmir_dicom_file *file, int fd, uint32_t frame, uint8_t *out, size_t nbytes,
        cmir_error *err)
{
    uint64_t offset = file->native.offset + (uint64_t)frame * nbytes;

    while (nbytes > 0) {
        const ssize_t n = pread(fd, out, nbytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return FAIL(err, n < 0 ? CMIR_EIO : CMIR_ECORRUPT, "%s: frame %u cannot be read (%s)",
                        cmir_shown_path(file->path), frame, n < 0 ? strerror(errno) : "cut short");
        out += n;
        offset += (uint64_t)n;
        nbytes -= (size_t)n;
    }
    return CMIR_OK;
}

cmir_status
cmir_dicom_native_frame(const cmir_dicom_file *file, uint32_t frame, void *buffer, size_t nbytes,
                        bool *done, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    *done = false;
    if (file->native.offset == 0)
        return CMIR_OK;
    const int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return CMIR_OK; /* whoever parses it says why */
    if (is_same(&file->native, fd)) {
        *done = true;
        st = read_at(file, fd, frame, buffer, nbytes, err);
    }
    (void)close(fd);
    return st;
}
