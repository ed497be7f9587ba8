/* SPDX-License-Identifier: Apache-2.0 */
/* npy.c: embeddings in NumPy's .npy files, read and written.
 *
 * Read: versions 1 to 3, little-endian float32, C order, two dimensions; anything else is refused by
 * name.  The header is a Python literal; of it only the three keys that NumPy writes are wanted. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#define PREFIX_NBYTES 10u /* magic, version, length of the header in version 1 */
#define MAX_HEADER_NBYTES 4096u
#define MAX_FILE_NBYTES                                                                            \
    ((uint64_t)CMIR_MAX_SLICES * CMIR_MAX_DIM * sizeof(float) + MAX_HEADER_NBYTES + 12)

/* Behind 'key': in the header, or NULL. */
static const char *
value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);

    if (at == NULL)
        return NULL;
    at += strlen(key);
    return at + strspn(at, " :");
}

/* "(n, dim)" with optional blanks and a trailing comma. */
static bool
read_shape(const char *at, uint64_t *n, uint64_t *dim)
{
    char *end;

    if (at == NULL || *at != '(')
        return false;
    *n = strtoull(at + 1, &end, 10);
    end += strspn(end, " ,");
    *dim = strtoull(end, &end, 10);
    end += strspn(end, " ,");
    return *end == ')' && *n >= 1 && *dim >= 1 && *n <= CMIR_MAX_SLICES && *dim <= CMIR_MAX_DIM;
}

static cmir_status
read_header(const char *path, const uint8_t *data, uint64_t nbytes, cli_npy *out, cmir_error *err)
{
    char header[MAX_HEADER_NBYTES + 1];
    uint64_t n, dim;

    if (nbytes < 12 || memcmp(data, "\x93NUMPY", 6) != 0 || data[6] < 1 || data[6] > 3)
        return cli_fail(err, CMIR_ECORRUPT, "%s: not a .npy file", path);
    const uint64_t prefix = data[6] == 1 ? PREFIX_NBYTES : PREFIX_NBYTES + 2;
    uint64_t length = data[8] | (uint64_t)data[9] << 8;
    if (data[6] > 1)
        length |= (uint64_t)data[10] << 16 | (uint64_t)data[11] << 24;
    if (length > MAX_HEADER_NBYTES || prefix + length > nbytes)
        return cli_fail(err, CMIR_ECORRUPT, "%s: its header is cut short, or too long", path);
    memcpy(header, data + prefix, length);
    header[length] = '\0';
    const char *type = value_of(header, "'descr'"), *order = value_of(header, "'fortran_order'");
    if (type == NULL || order == NULL)
        return cli_fail(err, CMIR_ECORRUPT, "%s: its header is not NumPy's", path);
    if (strncmp(type, "'<f4'", 5) != 0 || strncmp(order, "False", 5) != 0)
        return cli_fail(err, CMIR_EUNSUPPORTED,
                        "%s: embeddings are little-endian float32 in C order; this is %.12s%s",
                        path, type, strncmp(order, "False", 5) == 0 ? "" : " in Fortran order");
    if (!read_shape(value_of(header, "'shape'"), &n, &dim))
        return cli_fail(err, CMIR_EUNSUPPORTED,
                        "%s: embeddings have the shape (slices, dimension), with 1..%u slices and "
                        "1..%u dimensions",
                        path, CMIR_MAX_SLICES, CMIR_MAX_DIM);
    if ((prefix + length) % sizeof(float) != 0)
        return cli_fail(err, CMIR_EUNSUPPORTED,
                        "%s: its data begin at byte %llu, which is no multiple of 4", path,
                        (unsigned long long)(prefix + length));
    if (nbytes - prefix - length != n * dim * 4)
        return cli_fail(err, CMIR_ECORRUPT, "%s: %llu bytes of data; %llu x %llu float32 take %llu",
                        path, (unsigned long long)(nbytes - prefix - length), (unsigned long long)n,
                        (unsigned long long)dim, (unsigned long long)(n * dim * 4));
    out->rows = (const float *)(const void *)(data + prefix + length);
    out->n_slices = (uint32_t)n;
    out->dim = (uint32_t)dim;
    return CMIR_OK;
}

bool
cli_is_npy(const char *path)
{
    const size_t n = strlen(path);

    return n > 4 && strcmp(path + n - 4, ".npy") == 0;
}

char *
cli_npy_id(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *id = cli_need(strdup(slash == NULL ? path : slash + 1));

    if (cli_is_npy(id))
        id[strlen(id) - 4] = '\0';
    return id;
}

/* A regular file as a whole; free(). */
static cmir_status
read_file(int fd, const char *path, uint8_t **data, uint64_t *nbytes, cmir_error *err)
{
    struct stat info;
    uint64_t at = 0;

    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= 0)
        return cli_fail(err, CMIR_ECORRUPT, "%s: not a .npy file", path);
    *nbytes = (uint64_t)info.st_size;
    if (*nbytes > MAX_FILE_NBYTES)
        return cli_fail(err, CMIR_ELIMIT, "%s: %llu bytes; embeddings of one volume take less",
                        path, (unsigned long long)*nbytes);
    *data = cli_need(malloc(*nbytes));
    while (at < *nbytes) {
        const ssize_t n = read(fd, *data + at, *nbytes - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return cli_fail(err, CMIR_EIO, "%s: %s", path,
                            n < 0 ? strerror(errno) : "became shorter while it was read");
        at += (uint64_t)n;
    }
    return CMIR_OK;
}

cmir_status
cli_npy_read(const char *path, cli_npy *out, cmir_error *err)
{
    uint64_t nbytes = 0;
    /* O_NONBLOCK: a FIFO must not stop us before fstat() tells what it is. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    *out = (cli_npy){0};
    if (fd < 0)
        return cli_fail(err, errno == ENOENT ? CMIR_ENOTFOUND : CMIR_EIO, "%s: %s", path,
                        strerror(errno));
    cmir_status st = read_file(fd, path, &out->data, &nbytes, err);
    close(fd);
    if (st == CMIR_OK)
        st = read_header(path, out->data, nbytes, out, err);
    if (st != CMIR_OK)
        cli_npy_free(out);
    return st;
}

void
cli_npy_free(cli_npy *npy)
{
    free(npy->data);
    *npy = (cli_npy){0};
}

/* numpy's format 1.0: magic, version, length of the header, the header padded to 64 bytes. */
void
cli_npy_write(FILE *out, const cmir_embeddings *e)
{
    const uint64_t n = (uint64_t)e->n_slices * e->dim;
    char header[118 + 1];
    const int used = snprintf(header, sizeof header,
                              "{'descr': '<f4', 'fortran_order': False, 'shape': (%u, %u), }",
                              e->n_slices, e->dim);

    memset(header + used, ' ', sizeof header - (size_t)used);
    header[117] = '\n';
    fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, out); /* 0x76 = 118 */
    fwrite(header, 1, 118, out);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &e->rows[i], sizeof bits);
        const unsigned char bytes[4] = {(unsigned char)bits, (unsigned char)(bits >> 8),
                                        (unsigned char)(bits >> 16), (unsigned char)(bits >> 24)};
        fwrite(bytes, 1, sizeof bytes, out);
    }
}
