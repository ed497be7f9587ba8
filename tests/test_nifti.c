/* SPDX-License-Identifier: Apache-2.0 */
/* test_nifti.c: what hostile NIfTI files may cost, and what failures of the system do.
 *
 * Every file of the hostile sets is read in a child process of its own: expected outcome, a
 * message that names the file, less than 512 MiB and 2 s of CPU time (10 s under ThreadSanitizer,
 * which slows whatever it checks).  Values and geometry are checked in
 * tests/oracle/test_nifti.py. */
#define _DEFAULT_SOURCE /* wait4 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "io/gzip.h"
#include "io/io_internal.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MAX_SECONDS 10.0
#endif
#endif
#ifndef MAX_SECONDS
#define MAX_SECONDS 2.0
#endif
#define MAX_MIB 512

enum { READ = 0, REFUSED = 3, BAD_MESSAGE = 4 };

static char folder[64];

static int
make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/cmir_test_XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int
remove_folder(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* Opens, loads, takes a slice of each plane. */
static int
try_file(const char *path)
{
    cmir_volume *volume = NULL;
    cmir_error err = {0};
    cmir_status st = cmir_nifti_open(path, 0, NULL, &volume, &err);

    if (st == CMIR_OK)
        st = cmir_volume_load(volume, NULL, NULL, &err);
    for (int plane = 0; plane < 3 && st == CMIR_OK; plane++) {
        cmir_stack stack;
        st = cmir_volume_stack(volume, (cmir_plane)plane, &stack, &err);
        float *out = malloc((size_t)stack.rows * stack.cols * sizeof *out);
        st = cmir_volume_slice(volume, (cmir_plane)plane, stack.n_slices - 1, out, &err);
        free(out);
    }
    cmir_volume_close(volume);
    if (st == CMIR_OK)
        return READ;
    const char *name = strrchr(path, '/') + 1, *found = strstr(err.msg, name);
    const bool reason = found != NULL && strlen(found) > strlen(name) + strlen(": why");
    return reason && err.code == st ? REFUSED : BAD_MESSAGE;
}

/* The same in a child; returns its exit status, or -1 if it crashed or cost too much. */
static int
try_in_child(const char *path, double max_mib)
{
    struct rusage usage;
    int status;

    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60); /* one that waits for something uses no CPU time */
        _exit(try_file(path));
    }
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    const double seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    const double mib = (double)usage.ru_maxrss / 1024;
    if (!WIFEXITED(status) || seconds >= MAX_SECONDS || mib >= max_mib) {
        print_error("%s: status %d, %.2f s, %.0f MiB\n", path, status, seconds, mib);
        return -1;
    }
    return WEXITSTATUS(status);
}

static void
check_hostile_set(const char *data, const char *set, const char *listing)
{
    char command[4096], path[256];
    json_error_t why;
    const char *name;
    json_t *want;
    unsigned n = 0, n_wrong = 0;

    snprintf(command, sizeof command, "tar xzf '%s/hostile/%s.tar.gz' -C %s", data, set, folder);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/%s", folder, listing);
    json_t *expected = json_load_file(path, 0, &why);
    assert_non_null(expected);
    json_object_foreach(expected, name, want)
    {
        snprintf(path, sizeof path, "%s/%s", folder, name);
        const bool readable =
            strcmp(json_string_value(json_object_get(want, "expect")), "read") == 0;
        const int got = try_in_child(path, MAX_MIB);
        if (got != (readable ? READ : REFUSED)) {
            print_error("%s: outcome %d, %s\n", name, got,
                        json_string_value(json_object_get(want, "why")));
            n_wrong++;
        }
        n++;
    }
    json_decref(expected);
    print_message("%u files of %s\n", n, set);
    assert_true(n > 0);
    assert_int_equal(n_wrong, 0);
}

static void
test_hostile(void **state)
{
    char data[2048];
    const char *shared = getenv("CMIR_SHARED");

    (void)state;
    snprintf(data, sizeof data, "%s/data", shared == NULL ? "../shared" : shared);
    if (access(data, R_OK) != 0) {
        print_message("skipped: no folder %s (CMIR_SHARED)\n", data);
        skip();
    }
    check_hostile_set(data, "nifti_bad", "expected.json");
    check_hostile_set(data, "nifti_more", "expected_more.json");
}

/* A NIfTI-1 header of int16 in the host's byte order. */
static void
make_header(uint8_t header[352], int16_t nx, int16_t ny, int16_t nz, float vox_offset)
{
    const int32_t sizeof_hdr = 348;
    const int16_t dim[8] = {3, nx, ny, nz, 1, 1, 1, 1}, type[2] = {4, 16}, sform = 1;
    const float srow[12] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};

    memset(header, 0, 352);
    memcpy(header, &sizeof_hdr, 4);
    memcpy(header + 40, dim, sizeof dim);
    memcpy(header + 70, type, sizeof type);
    memcpy(header + 108, &vox_offset, sizeof vox_offset);
    memcpy(header + 254, &sform, sizeof sform);
    memcpy(header + 280, srow, sizeof srow);
    memcpy(header + 344, "n+1", 4);
}

/* A gzipped file: header, then n MiB of zeros. */
static void
write_zeros(const char *path, const uint8_t header[352], unsigned n_mib)
{
    const size_t mib = (size_t)1 << 20;
    uint8_t *zeros = calloc(1, mib);
    cmir_gzip_writer *writer;

    assert_int_equal(cmir_gzip_create(path, true, &writer, NULL), CMIR_OK);
    assert_int_equal(cmir_gzip_write(writer, header, 352, NULL), CMIR_OK);
    for (unsigned i = 0; i < n_mib; i++)
        assert_int_equal(cmir_gzip_write(writer, zeros, mib, NULL), CMIR_OK);
    assert_int_equal(cmir_gzip_commit(writer, NULL), CMIR_OK);
    cmir_gzip_discard(writer);
    free(zeros);
}

/* Claims that the stream keeps: beyond 256 MiB they need a file of a hundredth of their size. */
static void
test_claims(void **state)
{
    char path[128];
    uint8_t header[352];

    (void)state;
    snprintf(path, sizeof path, "%s/voxels.nii.gz", folder);
    make_header(header, 4096, 4096, 9, 352); /* 288 MiB of zeros in 1.3 MiB of file */
    write_zeros(path, header, 288);
    assert_int_equal(try_in_child(path, 64), REFUSED);
    make_header(header, 4, 4, 4, 280e6f); /* voxels far behind */
    write_zeros(path, header, 288);
    assert_int_equal(try_in_child(path, 64), REFUSED);
    make_header(header, 4096, 4096, 4, 352); /* 128 MiB: read, and refused as constant */
    write_zeros(path, header, 128);
    assert_int_equal(try_in_child(path, MAX_MIB), REFUSED);
}

/* Names that are no regular files: refused at once. */
static void
test_not_regular(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/fifo.nii", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(try_in_child(path, MAX_MIB), REFUSED);
    snprintf(path, sizeof path, "%s/folder.nii", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(try_in_child(path, MAX_MIB), REFUSED);
    snprintf(path, sizeof path, "%s/absent.nii", folder);
    assert_int_equal(try_in_child(path, MAX_MIB), REFUSED);
    assert_int_equal(cmir_nifti_open(path, 0, NULL, &(cmir_volume *){NULL}, NULL), CMIR_ENOTFOUND);
}

static size_t
read_back(const char *path, uint8_t *out, size_t nbytes)
{
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    const size_t n = fread(out, 1, nbytes, file);
    fclose(file);
    return n;
}

/* A write that the system cuts off leaves the old file and no temporary one. */
static void
test_write_cut_off(void **state)
{
    static int16_t voxels[64 * 64 * 64];
    static const double affine[3][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}};
    const uint32_t dims[3] = {64, 64, 64};
    char path[128], command[256];
    uint8_t old[16];

    (void)state;
    for (size_t i = 0; i < sizeof voxels / sizeof voxels[0]; i++)
        voxels[i] = (int16_t)(i * 2654435761u >> 13);
    for (int compress = 0; compress < 2; compress++) {
        snprintf(path, sizeof path, "%s/write.nii%s", folder, compress ? ".gz" : "");
        FILE *file = fopen(path, "wb");
        assert_true(file != NULL && fputs("old", file) >= 0 && fclose(file) == 0);
        const struct rlimit small = {65536, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
        cmir_error err = {0};
        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        const cmir_status st = cmir_nifti_write(path, voxels, dims, affine, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
        assert_int_equal(st, CMIR_EIO);
        assert_non_null(strstr(err.msg, path));
        assert_int_equal(read_back(path, old, sizeof old), 3);
        assert_memory_equal(old, "old", 3);
        snprintf(command, sizeof command, "test -z \"$(ls %s | grep tmp)\"", folder);
        assert_int_equal(system(command), 0);
        assert_int_equal(cmir_nifti_write(path, voxels, dims, affine, NULL), CMIR_OK);
        assert_int_equal(try_file(path), READ);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_not_regular),
        cmocka_unit_test(test_write_cut_off),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
