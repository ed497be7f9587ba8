/* SPDX-License-Identifier: Apache-2.0 */
/* test_dicom_plain.c: files that are read without DCMTK are read as DCMTK reads them, or left to
 * it.  And a command that oracle/test_dicom.py runs:
 *   test_dicom_plain --ways PATH...   prints of each file "alike", "declined" or "different" */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "dicom_alike.h"
#include "io/dicom_walk.h"

static char path[] = "/tmp/cmir_test_plain.XXXXXX";

static void
write_all(const uint8_t *bytes, size_t n)
{
    const int fd = open(path, O_WRONLY | O_TRUNC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    assert_int_equal(close(fd), 0);
}

/* A file of the corpus; 0 bytes where there is none. */
static size_t
read_all(const char *name, uint8_t *bytes, size_t most)
{
    FILE *f = fopen(name, "rb");

    assert_non_null(f);
    const size_t n = fread(bytes, 1, most, f);
    assert_true(n < most);
    assert_int_equal(fclose(f), 0);
    return n;
}

/* Bytes before the pixels, which are the last of an uncompressed file. */
static size_t
header_nbytes(const uint8_t *bytes, size_t n)
{
    cmir_dicom_walk walk;

    assert_true(cmir_dicom_walk_file(bytes, n, n, &walk));
    assert_int_equal(walk.pixels_at + walk.pixels_nbytes, n);
    return walk.pixels_at;
}

static const char *const names[] = {"explicit", "signed", "bits8", "bits32"};
#define N_NAMES (sizeof names / sizeof names[0])

static size_t
read_named(size_t i, uint8_t *bytes, size_t most)
{
    char name[64];

    (void)snprintf(name, sizeof name, "tests/corpus/dicom/%s.dcm", names[i]);
    return read_all(name, bytes, most);
}

static void
test_corpus_is_alike(void **state)
{
    static uint8_t bytes[1 << 16];

    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        write_all(bytes, read_named(i, bytes, sizeof bytes));
        assert_string_equal(compare_ways(path), "alike");
    }
}

/* Every byte of a header, changed to whatever could mean something else. */
static void
test_changed_bytes(void **state)
{
    static const uint8_t changes[] = {0,   1,   2,   ' ', '\\', '-',  '.', '9',
                                      'E', 'S', 'U', 'Q', 0x1B, 0x80, 0xFF};
    static uint8_t bytes[1 << 16];
    const size_t n = read_named(0, bytes, sizeof bytes), end = header_nbytes(bytes, n);
    size_t n_alike = 0;

    (void)state;
    for (size_t at = 128; at < end; at++) {
        const uint8_t was = bytes[at];
        for (size_t c = 0; c < sizeof changes; c++) {
            bytes[at] = changes[c];
            write_all(bytes, n);
            const char *outcome = compare_ways(path);
            if (strcmp(outcome, "different") == 0)
                fail_msg("byte %zu was %u, is %u", at, was, changes[c]);
            n_alike += strcmp(outcome, "alike") == 0;
        }
        bytes[at] = was;
    }
    assert_true(n_alike > end); /* most changes are to values of attributes that nobody reads */
}

/* A file that is cut short, or goes on, is DCMTK's. */
static void
test_lengths(void **state)
{
    static uint8_t bytes[1 << 16];
    const size_t n = read_named(0, bytes, sizeof bytes);

    (void)state;
    for (size_t cut = 0; cut < n; cut++) {
        write_all(bytes, cut);
        assert_string_equal(compare_ways(path), "declined");
    }
    for (size_t more = 1; more < 20; more++) {
        write_all(bytes, n + more);
        assert_string_equal(compare_ways(path), "declined");
    }
}

/* The walk reads nothing beyond the bytes it is given, wherever they end. */
static void
test_walk_ends(void **state)
{
    static uint8_t bytes[1 << 16];
    const size_t n = read_named(0, bytes, sizeof bytes), end = header_nbytes(bytes, n);

    (void)state;
    for (size_t given = 0; given < end; given++) {
        cmir_dicom_walk walk;
        uint8_t *part = malloc(given + 1); /* so that AddressSanitizer sees it */
        assert_non_null(part);
        memcpy(part, bytes, given);
        part = realloc(part, given == 0 ? 1 : given);
        assert_non_null(part);
        assert_false(cmir_dicom_walk_file(part, given, n, &walk));
        free(part);
    }
}

static int
print_ways(int n, char **paths)
{
    for (int i = 0; i < n; i++)
        printf("%s %s\n", compare_ways(paths[i]), paths[i]);
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus_is_alike),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_walk_ends),
    };

    if (argc >= 2 && strcmp(argv[1], "--ways") == 0)
        return print_ways(argc - 2, argv + 2);
    const int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
