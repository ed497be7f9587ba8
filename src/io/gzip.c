/* SPDX-License-Identifier: Apache-2.0 */
/* gzip.c: streams of bytes from and to files that may be gzipped.  For the NIfTI reader and writer.
 *
 * Content is inflated straight into the caller's memory, as much as was asked for and at most 64 KiB
 * more: a small file that inflates to terabytes costs what its header's reader asks for.  Files made
 * of several gzip members (pigz, bgzip) read as one; bytes after the last member are ignored.
 *
 * Read by ISA-L, which inflates scans in a third of zlib's time; written by zlib. */
#include "io/gzip.h"

#include <errno.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#define BUFFER_NBYTES 131072u
#define MAX_HEADER_NBYTES (BUFFER_NBYTES / 2) /* of one gzip member, its name included */
#define RESERVED_FLAGS 0xE0u /* of a gzip header: what they would mean is unknown */
#define FINISH_NBYTES (1u << 20)
#define GZIP_WINDOW (15 + 16) /* zlib's way to say: largest window, gzip header and trailer */

struct cmir_gzip_reader {
    char *path;
    int fd;
    bool compressed, in_member, at_end;
    uint64_t file_nbytes;
    uint64_t n_read; /* content so far */
    struct inflate_state z; /* next_in, avail_in: what of `buffer` is not used yet */
    uint8_t buffer[BUFFER_NBYTES];
};

/* Moves what is left of the buffer to its start and fills up; false on a read error. */
static bool
fill(cmir_gzip_reader *r)
{
    if (r->z.avail_in > 0)
        memmove(r->buffer, r->z.next_in, r->z.avail_in);
    r->z.next_in = r->buffer;
    while (r->z.avail_in < BUFFER_NBYTES) {
        const ssize_t n = read(r->fd, r->buffer + r->z.avail_in, BUFFER_NBYTES - r->z.avail_in);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0)
            break;
        r->z.avail_in += (uint32_t)n;
    }
    return true;
}

static bool
at_member(const cmir_gzip_reader *r)
{
    return r->z.avail_in >= 2 && r->z.next_in[0] == 0x1F && r->z.next_in[1] == 0x8B;
}

static cmir_status
start(cmir_gzip_reader *r, cmir_error *err)
{
    struct stat st;

    /* O_NONBLOCK: a FIFO must not stop us before fstat() tells what it is. */
    r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (r->fd < 0)
        return FAIL(err, errno == ENOENT ? CMIR_ENOTFOUND : CMIR_EIO, "%s: %s", r->path,
                    strerror(errno));
    if (fstat(r->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return FAIL(err, CMIR_EIO, "%s: not a regular file", r->path);
    r->file_nbytes = (uint64_t)st.st_size;
    isal_inflate_init(&r->z);
    if (!fill(r))
        return FAIL(err, CMIR_EIO, "%s: %s", r->path, strerror(errno));
    r->compressed = at_member(r);
    return CMIR_OK;
}

cmir_status
cmir_gzip_open(const char *path, cmir_gzip_reader **out, cmir_error *err)
{
    cmir_gzip_reader *r = cmir_alloc_zeroed(1, sizeof *r);

    *out = NULL;
    if (r == NULL || (r->path = cmir_strdup(path)) == NULL) {
        free(r);
        return FAIL(err, CMIR_ENOMEM, "%s: no memory to read it", path);
    }
    const cmir_status st = start(r, err);
    if (st != CMIR_OK) {
        cmir_gzip_close(r);
        return st;
    }
    *out = r;
    return CMIR_OK;
}

void
cmir_gzip_close(cmir_gzip_reader *r)
{
    if (r == NULL)
        return;
    if (r->fd >= 0)
        close(r->fd);
    free(r->path);
    free(r);
}

bool
cmir_gzip_is_compressed(const cmir_gzip_reader *r)
{
    return r->compressed;
}

uint64_t
cmir_gzip_file_nbytes(const cmir_gzip_reader *r)
{
    return r->file_nbytes;
}

static cmir_status
damaged(const cmir_gzip_reader *r, int why, cmir_error *err)
{
    const char *text = "unknown error";

    switch (why) {
    case ISAL_INVALID_BLOCK: text = "invalid block"; break;
    case ISAL_INVALID_SYMBOL: text = "invalid code"; break;
    case ISAL_INVALID_LOOKBACK: text = "invalid distance too far back"; break;
    case ISAL_INVALID_WRAPPER: text = "invalid header"; break;
    case ISAL_UNSUPPORTED_METHOD: text = "unknown compression method"; break;
    case ISAL_INCORRECT_CHECKSUM: text = "incorrect checksum"; break;
    default: break;
    }
    return FAIL(err, CMIR_ECORRUPT, "%s: damaged gzip stream: %s", r->path, text);
}

static cmir_status
stream_cut_short(const cmir_gzip_reader *r, cmir_error *err)
{
    return FAIL(err, CMIR_ECORRUPT, "%s: the gzip stream is cut short", r->path);
}

/* Reads a member's header, all at once: ISA-L forgets the flags of one that comes in pieces. */
static cmir_status
start_member(cmir_gzip_reader *r, cmir_error *err)
{
    struct isal_gzip_header header;

    if (r->z.avail_in < MAX_HEADER_NBYTES && !fill(r))
        return FAIL(err, CMIR_EIO, "%s: %s", r->path, strerror(errno));
    const bool all = r->z.avail_in < MAX_HEADER_NBYTES; /* of the file is here */
    if (r->z.avail_in > 3 && (r->z.next_in[3] & RESERVED_FLAGS) != 0)
        return damaged(r, ISAL_INVALID_WRAPPER, err);
    isal_inflate_reset(&r->z);
    r->z.crc_flag = ISAL_GZIP;
    isal_gzip_header_init(&header);
    const int rc = isal_read_gzip_header(&r->z, &header);
    if (rc < 0)
        return damaged(r, rc, err);
    if (rc != ISAL_DECOMP_OK)
        return all ? stream_cut_short(r, err)
                   : FAIL(err, CMIR_ELIMIT, "%s: a gzip header of more than %u bytes", r->path,
                          MAX_HEADER_NBYTES);
    r->in_member = true;
    return CMIR_OK;
}

/* One step of inflation into what z.next_out, avail_out say. */
static cmir_status
inflate_some(cmir_gzip_reader *r, cmir_error *err)
{
    cmir_status st;

    if (!r->in_member && (st = start_member(r, err)) != CMIR_OK)
        return st;
    if (r->z.avail_in == 0 && !fill(r))
        return FAIL(err, CMIR_EIO, "%s: %s", r->path, strerror(errno));
    const uint32_t n_in = r->z.avail_in, room = r->z.avail_out;
    const int rc = isal_inflate(&r->z);
    if (rc != ISAL_DECOMP_OK)
        return damaged(r, rc, err);
    if (r->z.block_state == ISAL_BLOCK_FINISH) { /* and its checksum is right */
        r->in_member = false;
        if (r->z.avail_in < 2 && !fill(r))
            return FAIL(err, CMIR_EIO, "%s: %s", r->path, strerror(errno));
        r->at_end = !at_member(r);
        return CMIR_OK;
    }
    /* Without input it may still give what it had inflated before. */
    if (r->z.avail_out == room && r->z.avail_in == n_in)
        return n_in == 0 ? stream_cut_short(r, err) : damaged(r, 0, err);
    return CMIR_OK;
}

/* Up to `nbytes` of content; *got is less only at its end. */
static cmir_status
read_some(cmir_gzip_reader *r, uint8_t *out, size_t nbytes, size_t *got, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    *got = 0;
    while (*got < nbytes && !r->at_end && st == CMIR_OK) {
        const size_t want = nbytes - *got;
        if (r->compressed) {
            const uint32_t room = want > 1u << 30 ? 1u << 30 : (uint32_t)want;
            r->z.next_out = out + *got;
            r->z.avail_out = room;
            st = inflate_some(r, err);
            *got += room - r->z.avail_out;
        } else if (r->z.avail_in > 0) {
            const size_t n = want < r->z.avail_in ? want : r->z.avail_in;
            memcpy(out + *got, r->z.next_in, n);
            r->z.next_in += n;
            r->z.avail_in -= (uint32_t)n;
            *got += n;
        } else {
            const ssize_t n = read(r->fd, out + *got, want);
            if (n < 0 && errno != EINTR)
                st = FAIL(err, CMIR_EIO, "%s: %s", r->path, strerror(errno));
            r->at_end = n == 0;
            *got += n > 0 ? (size_t)n : 0;
        }
    }
    r->n_read += *got;
    return st;
}

static cmir_status
cut_short(const cmir_gzip_reader *r, uint64_t missing, cmir_error *err)
{
    if (r->file_nbytes == 0)
        return FAIL_AT(err, CMIR_ECORRUPT, 0, "%s: the file is empty", r->path);
    return FAIL_AT(err, CMIR_ECORRUPT, r->n_read, "%s: ends after %llu bytes, %llu are missing",
                   r->path, (unsigned long long)r->n_read, (unsigned long long)missing);
}

cmir_status
cmir_gzip_read(cmir_gzip_reader *r, void *out, size_t nbytes, cmir_error *err)
{
    size_t got;
    const cmir_status st = read_some(r, out, nbytes, &got, err);

    if (st == CMIR_OK && got < nbytes)
        return cut_short(r, nbytes - got, err);
    return st;
}

cmir_status
cmir_gzip_skip(cmir_gzip_reader *r, uint64_t nbytes, cmir_error *err)
{
    uint8_t waste[16384];

    if (!r->compressed && nbytes > r->z.avail_in) {
        const uint64_t beyond = nbytes - r->z.avail_in;
        if (r->n_read + nbytes > r->file_nbytes)
            return cut_short(r, nbytes, err);
        if (lseek(r->fd, (off_t)beyond, SEEK_CUR) < 0)
            return FAIL(err, CMIR_EIO, "%s: %s", r->path, strerror(errno));
        r->n_read += nbytes;
        r->z.avail_in = 0;
        return CMIR_OK;
    }
    while (nbytes > 0) {
        const size_t n = nbytes < sizeof waste ? (size_t)nbytes : sizeof waste;
        const cmir_status st = cmir_gzip_read(r, waste, n, err);
        if (st != CMIR_OK)
            return st;
        nbytes -= n;
    }
    return CMIR_OK;
}

cmir_status
cmir_gzip_finish(cmir_gzip_reader *r, cmir_error *err)
{
    uint8_t waste[16384];

    for (size_t n = 0; r->compressed && !r->at_end && n < FINISH_NBYTES; n += sizeof waste) {
        size_t got;
        const cmir_status st = read_some(r, waste, sizeof waste, &got, err);
        if (st != CMIR_OK)
            return st;
    }
    return CMIR_OK;
}

struct cmir_gzip_writer {
    char *path, *temporary;
    int fd;
    bool compress, committed;
    uint64_t offset;
    z_stream z;
    uint8_t buffer[BUFFER_NBYTES];
};

cmir_status
cmir_gzip_create(const char *path, bool compress, cmir_gzip_writer **out, cmir_error *err)
{
    cmir_gzip_writer *w = cmir_alloc_zeroed(1, sizeof *w);

    *out = NULL;
    if (w == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory to write it", path);
    w->fd = -1;
    w->path = cmir_strdup(path);
    w->temporary = cmir_asprintf("%s.%ld.tmp", path, (long)getpid());
    if (w->path == NULL || w->temporary == NULL ||
        /* Level 1: scans are noise, higher levels cost much time and gain little. */
        (compress &&
         deflateInit2(&w->z, 1, Z_DEFLATED, GZIP_WINDOW, 9, Z_DEFAULT_STRATEGY) != Z_OK)) {
        cmir_gzip_discard(w);
        return FAIL(err, CMIR_ENOMEM, "%s: no memory to write it", path);
    }
    w->compress = compress;
    w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        const cmir_status st = FAIL(err, CMIR_EIO, "%s: cannot write: %s", path, strerror(errno));
        cmir_gzip_discard(w);
        return st;
    }
    *out = w;
    return CMIR_OK;
}

static cmir_status
put(cmir_gzip_writer *w, const void *data, size_t nbytes, cmir_error *err)
{
    const cmir_status st = cmir_file_write_at(w->fd, w->path, w->offset, data, nbytes, err);

    w->offset += nbytes;
    return st;
}

static cmir_status
deflate_some(cmir_gzip_writer *w, int flush, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    do {
        w->z.next_out = w->buffer;
        w->z.avail_out = BUFFER_NBYTES;
        (void)deflate(&w->z, flush); /* cannot fail on a sane stream */
        st = put(w, w->buffer, BUFFER_NBYTES - w->z.avail_out, err);
    } while (st == CMIR_OK && w->z.avail_out == 0);
    return st;
}

cmir_status
cmir_gzip_write(cmir_gzip_writer *w, const void *data, size_t nbytes, cmir_error *err)
{
    /* deflate() takes its input by a pointer to non-const, but leaves it alone. */
    union {
        const void *in;
        Bytef *out;
    } source = {data};
    cmir_status st = CMIR_OK;

    if (!w->compress)
        return put(w, data, nbytes, err);
    w->z.next_in = source.out;
    while (nbytes > 0 && st == CMIR_OK) {
        const uInt n = nbytes > 1u << 30 ? 1u << 30 : (uInt)nbytes;
        w->z.avail_in = n;
        nbytes -= n;
        st = deflate_some(w, Z_NO_FLUSH, err);
    }
    return st;
}

cmir_status
cmir_gzip_commit(cmir_gzip_writer *w, cmir_error *err)
{
    const cmir_status st = w->compress ? deflate_some(w, Z_FINISH, err) : CMIR_OK;

    if (st != CMIR_OK)
        return st;
    if (fsync(w->fd) != 0 || rename(w->temporary, w->path) != 0)
        return FAIL(err, CMIR_EIO, "%s: cannot write: %s", w->path, strerror(errno));
    w->committed = true;
    return CMIR_OK;
}

void
cmir_gzip_discard(cmir_gzip_writer *w)
{
    if (w == NULL)
        return;
    if (w->compress)
        deflateEnd(&w->z);
    if (w->fd >= 0) {
        close(w->fd);
        if (!w->committed)
            unlink(w->temporary);
    }
    free(w->path);
    free(w->temporary);
    free(w);
}
