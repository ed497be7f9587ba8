/* SPDX-License-Identifier: Apache-2.0 */
/* test_gzip.c: gzip streams made by zlib are read as zlib reads them, or refused as zlib does.
 *
 * Streams of every level and strategy, of several members, with headers of all kinds, then cut
 * short or changed at random, are read in pieces of random sizes.  Seeded; CMIR_SEED overrides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "io/gzip.h"

#define N_STREAMS 300
#define MAX_CONTENT ((size_t)150000)
#define CAP (4 * MAX_CONTENT)

static uint64_t seed = 20260117;
static char path[64];
static uint8_t stream[CAP], content[CAP], expected[CAP], read_out[CAP];

static uint32_t
below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16) % n;
}

static int
make_file(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/cmir_test_XXXXXX");
    const int fd = mkstemp(path);
    return fd < 0 || close(fd) != 0;
}

static int
remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void
write_file(const uint8_t *data, size_t nbytes)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, nbytes, file), nbytes);
    assert_int_equal(fclose(file), 0);
}

/* Zeros, noise, noise on 16-bit values, repeats as far back as can be, text. */
static void
fill_content(uint8_t *out, size_t n)
{
    const uint32_t kind = below(5);

    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(kind == 0   ? 0
                           : kind == 1 ? below(256)
                           : kind == 2 ? (i % 2 == 1 ? 252 + below(2) : below(64))
                           : kind == 3 ? (i >= 32768 && below(3) > 0 ? out[i - 32768] : below(7))
                                       : 'a' + below(6));
}

/* Appends one member with `n` bytes of `from`; returns its length. */
static size_t
add_member(uint8_t *out, size_t cap, const uint8_t *from, size_t n, gz_header *header)
{
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, (int)below(10), Z_DEFLATED, 31, 1 + (int)below(9),
                                  (int)below(Z_FIXED + 1)),
                     Z_OK);
    if (header != NULL)
        assert_int_equal(deflateSetHeader(&z, header), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)from;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return cap - z.avail_out;
}

static size_t
make_stream(void)
{
    static Bytef text[] = "a name and a comment";
    size_t nbytes = 0, n_content = 0;

    for (uint32_t left = 1 + below(3); left > 0; left--) {
        const size_t n = below(4) == 0 ? below(20) : below(MAX_CONTENT);
        gz_header header = {.name = text, .hcrc = (int)below(2)};
        if (below(2) == 0) {
            header.comment = text;
            header.extra = text;
            header.extra_len = 7;
        }
        fill_content(content + n_content, n);
        nbytes += add_member(stream + nbytes, CAP - nbytes, content + n_content, n,
                             below(3) == 0 ? &header : NULL);
        n_content += n;
    }
    for (uint32_t left = below(4) == 0 ? below(40) : 0; left > 0; left--)
        stream[nbytes++] = (uint8_t)below(256); /* to be ignored */
    return nbytes;
}

/* What zlib makes of the stream: bytes of content, or -1 if it is damaged. */
static long
inflate_all(size_t nbytes)
{
    z_stream z = {0};
    int rc;

    assert_int_equal(inflateInit2(&z, 31), Z_OK);
    z.next_in = stream;
    z.avail_in = (uInt)nbytes;
    z.next_out = expected;
    z.avail_out = CAP;
    for (;;) {
        rc = inflate(&z, Z_FINISH);
        if (rc != Z_STREAM_END || z.avail_in < 2 || z.next_in[0] != 0x1F || z.next_in[1] != 0x8B)
            break;
        assert_int_equal(inflateReset(&z), Z_OK);
    }
    inflateEnd(&z);
    return rc == Z_STREAM_END ? (long)(CAP - z.avail_out) : -1;
}

/* Reads `n` bytes of the file in pieces, each into memory of its own size, then the end. */
static cmir_status
read_all(size_t n, cmir_error *err)
{
    cmir_gzip_reader *reader;
    cmir_status st = cmir_gzip_open(path, &reader, err);
    size_t got = 0;

    assert_int_equal(st, CMIR_OK);
    assert_true(cmir_gzip_is_compressed(reader));
    while (st == CMIR_OK && got < n) {
        const size_t want = 1 + below(below(2) == 0 ? 50 : 200000);
        const size_t piece = want < n - got ? want : n - got;
        uint8_t *memory = malloc(piece); /* so that AddressSanitizer knows its end */
        assert_non_null(memory);
        st = cmir_gzip_read(reader, memory, piece, err);
        if (st == CMIR_OK)
            memcpy(read_out + got, memory, piece);
        got += piece;
        free(memory);
    }
    if (st == CMIR_OK)
        st = cmir_gzip_finish(reader, err);
    if (st == CMIR_OK)
        assert_int_equal(cmir_gzip_read(reader, read_out + got, 1, NULL), CMIR_ECORRUPT);
    cmir_gzip_close(reader);
    return st;
}

static void
test_as_zlib(void **state)
{
    unsigned n_read = 0, n_refused = 0;

    (void)state;
    for (int i = 0; i < N_STREAMS; i++) {
        size_t nbytes = make_stream();
        cmir_error err = {0};
        const uint32_t harm = below(4);
        if (harm == 1)
            nbytes = 2 + below((uint32_t)nbytes - 2);
        for (uint32_t left = harm >= 2 ? 1 + below(3) : 0; left > 0; left--) {
            const uint32_t near = nbytes < 300 ? (uint32_t)nbytes : 300;
            const size_t at = below(2) == 0
                                  ? below((uint32_t)nbytes)
                                  : (below(2) == 0 ? below(near) : nbytes - 1 - below(20));
            if (at >= 2)
                stream[at] = (uint8_t)(stream[at] ^ 1u << below(8));
        }
        write_file(stream, nbytes);
        const long n = inflate_all(nbytes);
        const cmir_status st = read_all(n < 0 ? CAP - 1 : (size_t)n, &err);
        assert_int_equal(st, n < 0 ? CMIR_ECORRUPT : CMIR_OK);
        if (n < 0)
            assert_non_null(strstr(err.msg, path));
        else
            assert_memory_equal(read_out, expected, (size_t)n);
        n_read += n >= 0;
        n_refused += n < 0;
    }
    assert_true(n_read >= N_STREAMS / 10 && n_refused >= N_STREAMS / 10);
}

/* What follows the content is not read; a wrong checksum is told only where it is looked for. */
static void
test_damaged_end(void **state)
{
    static uint8_t out[100];
    cmir_gzip_reader *reader;
    cmir_error err = {0};

    (void)state;
    for (int at = 0; at < 8; at++) { /* of checksum and length */
        memset(content, 'x', 100);
        const size_t nbytes = add_member(stream, CAP, content, 100, NULL);
        stream[nbytes - 1 - (size_t)at] ^= 1;
        write_file(stream, nbytes);
        assert_int_equal(cmir_gzip_open(path, &reader, NULL), CMIR_OK);
        assert_int_equal(cmir_gzip_read(reader, out, 50, NULL), CMIR_OK);
        assert_memory_equal(out, content, 50);
        err = (cmir_error){0};
        assert_int_equal(cmir_gzip_finish(reader, &err), CMIR_ECORRUPT);
        assert_non_null(strstr(err.msg, "incorrect checksum"));
        cmir_gzip_close(reader);
    }
}

/* Names as long as a file may have are read; a header without end is refused. */
static void
test_long_headers(void **state)
{
    static Bytef name[200000];
    cmir_error err = {0};

    (void)state;
    memset(content, 'x', 100);
    for (size_t length = 60000; length <= 180000; length += 120000) {
        gz_header header = {.name = name, .comment = name + length - 10, .hcrc = 1};
        memset(name, 'n', length);
        name[length] = '\0';
        write_file(stream, add_member(stream, CAP, content, 100, &header));
        const cmir_status st = read_all(100, &err);
        assert_int_equal(st, length == 60000 ? CMIR_OK : CMIR_ELIMIT);
    }
    assert_non_null(strstr(err.msg, "header"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_zlib),
        cmocka_unit_test(test_damaged_end),
        cmocka_unit_test(test_long_headers),
    };
    const char *given = getenv("CMIR_SEED");

    if (given != NULL)
        seed = strtoull(given, NULL, 10) * 2 + 1;
    printf("seed %llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
