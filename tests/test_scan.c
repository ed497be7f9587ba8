/* SPDX-License-Identifier: Apache-2.0 */
/* test_scan.c: which files a scan looks at and what it makes of them: folders, links, devices,
 * names given by the caller, options.  What is inside the files: oracle/test_dicom.py and
 * oracle/test_nifti.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <cmir/volume.h>

#include "io/scan_index.h"

static char root[] = "/tmp/cmir_scan_XXXXXX";

/* The path of a name under the test's folder; a few are valid at a time. */
static const char *
under(const char *name)
{
    static char buffers[4][256];
    static int next;
    char *out = buffers[next++ % 4];

    (void)snprintf(out, sizeof buffers[0], "%s/%s", root, name);
    return out;
}

static void
write_bytes(const char *name, const void *data, size_t nbytes)
{
    FILE *f = fopen(under(name), "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, nbytes, f), nbytes);
    assert_int_equal(fclose(f), 0);
}

/* One element in explicit little endian. */
static size_t
put(uint8_t *out, size_t at, unsigned group, unsigned element, const char *vr, const char *value,
    size_t nbytes)
{
    const uint8_t head[] = {(uint8_t)group,          (uint8_t)(group >> 8), (uint8_t)element,
                            (uint8_t)(element >> 8), (uint8_t)vr[0],        (uint8_t)vr[1]};
    const uint8_t pad = strcmp(vr, "UI") == 0 ? 0 : ' ';
    const size_t padded = (nbytes + 1) / 2 * 2;

    memcpy(out + at, head, sizeof head);
    at += sizeof head;
    if (strcmp(vr, "OW") == 0) {
        memset(out + at, 0, 2);
        at += 2;
    }
    out[at++] = (uint8_t)padded;
    out[at++] = (uint8_t)(padded >> 8);
    if (strcmp(vr, "OW") == 0) {
        memset(out + at, 0, 2);
        at += 2;
    }
    memcpy(out + at, value, nbytes);
    if (padded > nbytes)
        out[at + nbytes] = pad;
    return at + padded;
}

static size_t
put_text(uint8_t *out, size_t at, unsigned group, unsigned element, const char *vr,
         const char *value)
{
    return put(out, at, group, element, vr, value, strlen(value));
}

/* Byte `i` of the pixels of slice `k`. */
static uint8_t
pixel_byte(size_t i, int k)
{
    return (uint8_t)(i * 7 + i / 251 + (size_t)k);
}

/* A CT slice of side x side pixels, at most 64, numbered `k`, of a series; `comment` may be NULL. */
static void
write_sized(const char *name, const char *series, int k, int side, const char *comment)
{
    static uint8_t file[16384], pixels[2 * 64 * 64];
    const char sides[2] = {(char)side, 0};
    const size_t n = 2 * (size_t)side * (size_t)side;
    char uid[64], position[64];
    size_t at = 132;

    memcpy(file + 128, "DICM", 4);
    (void)snprintf(uid, sizeof uid, "%s.%d", series, k + 1);
    (void)snprintf(position, sizeof position, "0\\0\\%d", 3 * k);
    for (size_t i = 0; i < n; i++)
        pixels[i] = pixel_byte(i, k);
    at = put_text(file, at, 0x0002, 0x0010, "UI", "1.2.840.10008.1.2.1");
    at = put_text(file, at, 0x0008, 0x0016, "UI", "1.2.840.10008.5.1.4.1.1.2");
    at = put_text(file, at, 0x0008, 0x0018, "UI", uid);
    at = put_text(file, at, 0x0008, 0x0060, "CS", "CT");
    at = put_text(file, at, 0x0020, 0x000E, "UI", series);
    at = put_text(file, at, 0x0020, 0x0032, "DS", position);
    at = put_text(file, at, 0x0020, 0x0037, "DS", "1\\0\\0\\0\\1\\0");
    if (comment != NULL)
        at = put_text(file, at, 0x0020, 0x4000, "LT", comment);
    at = put(file, at, 0x0028, 0x0002, "US", "\1\0", 2);
    at = put_text(file, at, 0x0028, 0x0004, "CS", "MONOCHROME2");
    at = put(file, at, 0x0028, 0x0010, "US", sides, 2);
    at = put(file, at, 0x0028, 0x0011, "US", sides, 2);
    at = put_text(file, at, 0x0028, 0x0030, "DS", "1\\1");
    at = put(file, at, 0x0028, 0x0100, "US", "\20\0", 2);
    at = put(file, at, 0x0028, 0x0101, "US", "\20\0", 2);
    at = put(file, at, 0x0028, 0x0102, "US", "\17\0", 2);
    at = put(file, at, 0x0028, 0x0103, "US", "\0\0", 2);
    at = put_text(file, at, 0x0028, 0x1052, "DS", "-1024");
    at = put_text(file, at, 0x0028, 0x1053, "DS", "1");
    at = put(file, at, 0x7FE0, 0x0010, "OW", (const char *)pixels, n);
    write_bytes(name, file, at);
}

static void
write_slice(const char *name, const char *series, int k)
{
    write_sized(name, series, k, 4, NULL);
}

static void
write_series(const char *folder, const char *series, int n)
{
    char name[64];

    (void)mkdir(under(folder), 0700);
    for (int k = 0; k < n; k++) {
        (void)snprintf(name, sizeof name, "%s/%s_%d", folder, series, k);
        write_slice(name, series, k);
    }
}

static cmir_scan *
scan(const char *name, uint32_t min_slices)
{
    const cmir_scan_options options = {.struct_nbytes = sizeof options, .min_slices = min_slices};
    const char *path = name[0] == '/' ? name : under(name);
    cmir_scan *out = NULL;
    cmir_error err = {0};

    assert_int_equal(cmir_scan_open(&path, 1, &options, &out, &err), CMIR_OK);
    return out;
}

static size_t
count(const cmir_scan *s, cmir_scan_state state)
{
    size_t n = 0;

    for (size_t i = 0; i < cmir_scan_count(s); i++)
        n += cmir_scan_get(s, i)->state == state;
    return n;
}

static int
make_root(void **state)
{
    (void)state;
    return mkdtemp(root) == NULL;
}

static int
remove_root(void **state)
{
    char command[64];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static void
test_series_are_grouped_and_sorted(void **state)
{
    (void)state;
    write_series("two", "1.9", 6);
    write_series("two", "1.10", 5);
    write_series("two", "1.3", 2); /* too few */
    cmir_scan *s = scan("two", 0);
    assert_int_equal(cmir_scan_count(s), 3);
    assert_int_equal(count(s, CMIR_SCAN_VOLUME), 2);
    assert_string_equal(cmir_scan_get(s, 0)->volume_id, "1.10");
    assert_int_equal(cmir_scan_get(s, 0)->n_files, 5);
    assert_string_equal(cmir_scan_get(s, 2)->volume_id, "1.9");
    assert_non_null(strstr(cmir_scan_get(s, 1)->reason.msg, "fewer than 5"));
    assert_null(cmir_scan_get(s, 3));
    cmir_scan_close(s);
    s = scan("two", 2);
    assert_int_equal(count(s, CMIR_SCAN_VOLUME), 3);
    cmir_scan_close(s);
}

static void
test_links_and_devices(void **state)
{
    (void)state;
    write_series("links", "1.4", 5);
    assert_int_equal(symlink(".", under("links/loop")), 0);
    assert_int_equal(symlink("1.4_0", under("links/again")), 0);
    assert_int_equal(link(under("links/1.4_1"), under("links/hard")), 0);
    assert_int_equal(symlink("nowhere", under("links/dangling")), 0);
    assert_int_equal(mkfifo(under("links/fifo"), 0600), 0);
    cmir_scan *s = scan("links", 0);
    assert_int_equal(count(s, CMIR_SCAN_VOLUME), 1);
    assert_int_equal(count(s, CMIR_SCAN_SKIPPED), 1); /* the FIFO */
    assert_int_equal(count(s, CMIR_SCAN_REFUSED), 1); /* the dangling link */
    for (size_t i = 0; i < cmir_scan_count(s); i++)
        if (cmir_scan_get(s, i)->state == CMIR_SCAN_VOLUME)
            assert_int_equal(cmir_scan_get(s, i)->n_files, 5);
    cmir_scan_close(s);
    s = scan("links/fifo", 0);
    assert_int_equal(count(s, CMIR_SCAN_REFUSED), 1);
    cmir_scan_close(s);
    s = scan("/dev/zero", 0);
    assert_int_equal(count(s, CMIR_SCAN_REFUSED), 1);
    cmir_scan_close(s);
}

static void
test_named_files(void **state)
{
    cmir_volume *volume = NULL;
    cmir_error err = {0};

    (void)state;
    (void)mkdir(under("named"), 0700);
    write_bytes("named/notes.txt", "hello", 5);
    write_bytes("named/empty", "", 0);
    cmir_scan *s = scan("named", 0);
    assert_int_equal(count(s, CMIR_SCAN_SKIPPED), 2); /* found inside a folder */
    cmir_scan_close(s);
    s = scan("named/notes.txt", 0);
    assert_int_equal(cmir_scan_get(s, 0)->state, CMIR_SCAN_REFUSED);
    assert_int_equal(cmir_scan_get(s, 0)->reason.code, CMIR_EUNSUPPORTED);
    assert_non_null(strstr(cmir_scan_get(s, 0)->reason.msg, "notes.txt: neither DICOM nor NIfTI"));
    assert_int_equal(cmir_volume_open(s, 0, &volume, &err), CMIR_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "notes.txt"));
    cmir_scan_close(s);
    s = scan("named/missing", 0);
    assert_int_equal(cmir_scan_get(s, 0)->reason.code, CMIR_ENOTFOUND);
    assert_non_null(strstr(cmir_scan_get(s, 0)->reason.msg, "named/missing: No such file"));
    cmir_scan_close(s);
}

static void
test_unreadable(void **state)
{
    (void)state;
    if (geteuid() == 0) {
        print_message("skipped: root reads everything\n");
        skip();
    }
    write_series("locked", "1.5", 5);
    assert_int_equal(mkdir(under("locked/inner"), 0), 0);
    assert_int_equal(chmod(under("locked/1.5_4"), 0), 0);
    cmir_scan *s = scan("locked", 4);
    assert_int_equal(count(s, CMIR_SCAN_VOLUME), 1);
    assert_int_equal(count(s, CMIR_SCAN_REFUSED), 2);
    cmir_scan_close(s);
}

static void
test_deep_folders_end(void **state)
{
    char path[4096];
    size_t n = (size_t)snprintf(path, sizeof path, "%s/deep", root);

    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    for (int i = 0; i < 80; i++) {
        n += (size_t)snprintf(path + n, sizeof path - n, "/d");
        assert_int_equal(mkdir(path, 0700), 0);
    }
    cmir_scan *s = scan("deep", 0);
    assert_int_equal(cmir_scan_count(s), 1);
    assert_int_equal(cmir_scan_get(s, 0)->reason.code, CMIR_ELIMIT);
    cmir_scan_close(s);
}

static int
stop_at_third(void *ctx, uint64_t done, uint64_t total)
{
    uint64_t *last = ctx;

    assert_int_equal(done, *last + 1);
    assert_int_equal(total, 0);
    *last = done;
    return done == 3;
}

static void
test_options(void **state)
{
    uint64_t last = 0;
    cmir_scan_options options = {.struct_nbytes = sizeof options, .volume_id = "mine"};
    cmir_scan *s = NULL;
    cmir_volume *volume = NULL;
    cmir_error err = {0};

    (void)state;
    write_series("one", "1.6", 5);
    const char *one = under("one"), *both[] = {under("one"), under("two")};
    assert_int_equal(cmir_volume_read(one, &options, &volume, &err), CMIR_OK);
    assert_string_equal(cmir_volume_get_info(volume)->volume_id, "mine");
    assert_string_equal(cmir_volume_get_info(volume)->series_uid, "1.6");
    cmir_volume_close(volume);
    /* Several volumes cannot share an id. */
    assert_int_equal(cmir_scan_open(both, 2, &options, &s, &err), CMIR_OK);
    assert_int_equal(count(s, CMIR_SCAN_VOLUME), 3);
    for (size_t i = 0; i < cmir_scan_count(s); i++)
        assert_string_not_equal(cmir_scan_get(s, i)->volume_id, "mine");
    cmir_scan_close(s);
    options.progress = stop_at_third;
    options.progress_ctx = &last;
    assert_int_equal(cmir_scan_open(&one, 1, &options, &s, &err), CMIR_ECANCELLED);
    assert_null(s);
    assert_int_equal(last, 3);
    options.struct_nbytes = 1;
    assert_int_equal(cmir_scan_open(&one, 1, &options, &s, NULL), CMIR_EINVAL);
    assert_int_equal(cmir_scan_open(NULL, 1, NULL, &s, NULL), CMIR_EINVAL);
}

static void
test_read_needs_one_volume(void **state)
{
    cmir_volume *volume = NULL;
    cmir_error err = {0};

    (void)state;
    assert_int_equal(cmir_volume_read(under("two"), NULL, &volume, &err), CMIR_EINVAL);
    assert_null(volume);
    assert_non_null(strstr(err.msg, "holds 2 volumes"));
    assert_non_null(strstr(err.msg, "1.10"));
    assert_non_null(strstr(err.msg, "1.9"));
    err = (cmir_error){0};
    (void)mkdir(under("nothing"), 0700);
    assert_int_equal(cmir_volume_read(under("nothing"), NULL, &volume, &err), CMIR_EINVAL);
    assert_non_null(strstr(err.msg, "nothing holds no volume"));
}

/* Are the values of slice `k` those of the file of slice `number`? */
static bool
holds_slice(const cmir_volume *volume, uint32_t k, int number)
{
    static float out[64 * 64];

    assert_int_equal(cmir_volume_slice(volume, CMIR_AXIAL, k, out, NULL), CMIR_OK);
    for (size_t i = 0; i < 64 * 64; i++)
        if (out[i] !=
            (float)(pixel_byte(2 * i, number) + 256 * pixel_byte(2 * i + 1, number)) - 1024)
            return false;
    return true;
}

/* Pixels are read from where the scan found them, unless the file has changed since. */
static void
test_changed_since_scanned(void **state)
{
    cmir_volume *volume = NULL;
    cmir_error err = {0};
    char name[64];

    (void)state;
    (void)mkdir(under("large"), 0700);
    for (int k = 0; k < 6; k++) {
        (void)snprintf(name, sizeof name, "large/%d", k);
        write_sized(name, "1.20", k, 64, NULL);
    }
    cmir_scan *s = scan("large", 0);
    assert_int_equal(cmir_volume_open(s, 0, &volume, NULL), CMIR_OK);
    assert_int_equal(cmir_volume_load(volume, NULL, NULL, NULL), CMIR_OK);
    for (uint32_t k = 0; k < 6; k++)
        assert_true(holds_slice(volume, k, (int)k));
    cmir_volume_close(volume);

    write_sized("large/3", "1.20", 7, 64, "other pixels, elsewhere in the file");
    assert_int_equal(cmir_volume_open(s, 0, &volume, NULL), CMIR_OK);
    assert_int_equal(cmir_volume_load(volume, NULL, NULL, NULL), CMIR_OK);
    assert_true(holds_slice(volume, 2, 2) && holds_slice(volume, 3, 7));
    cmir_volume_close(volume);

    assert_int_equal(truncate(under("large/3"), 4000), 0);
    assert_int_equal(cmir_volume_open(s, 0, &volume, NULL), CMIR_OK);
    assert_int_equal(cmir_volume_load(volume, NULL, NULL, &err), CMIR_ECORRUPT);
    assert_non_null(strstr(err.msg, "large/3"));
    cmir_volume_close(volume);
    assert_int_equal(unlink(under("large/3")), 0);
    assert_int_equal(cmir_volume_open(s, 0, &volume, NULL), CMIR_OK);
    assert_int_not_equal(cmir_volume_load(volume, NULL, NULL, &err), CMIR_OK);
    cmir_volume_close(volume);
    cmir_scan_close(s);
}

/* Many keys, equal ones among them, all found again. */
static void
test_index(void **state)
{
    cmir_index index = {0};
    uint64_t value;

    (void)state;
    for (uint64_t i = 0; i < 10000; i++)
        assert_true(cmir_index_add(&index, (i % 5000) << 40, i));
    for (uint64_t key = 0; key < 5000; key++) {
        size_t cursor = 0, n = 0;
        while (cmir_index_next(&index, key << 40, &cursor, &value)) {
            assert_true(value == key || value == key + 5000);
            n++;
        }
        assert_int_equal(n, 2);
    }
    size_t cursor = 0;
    assert_false(cmir_index_next(&index, 12345, &cursor, &value));
    cmir_index_clear(&index);
    cursor = 0;
    assert_false(cmir_index_next(&index, 0, &cursor, &value));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_series_are_grouped_and_sorted),
        cmocka_unit_test(test_links_and_devices),
        cmocka_unit_test(test_named_files),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_deep_folders_end),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_read_needs_one_volume),
        cmocka_unit_test(test_changed_since_scanned),
        cmocka_unit_test(test_index),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
