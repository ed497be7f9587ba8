/* SPDX-License-Identifier: Apache-2.0 */
/* test_dicom.c: the parts of the DICOM reader that need no real file, and a command that
 * oracle/test_dicom.py runs, one process per file, to measure time and memory:
 *   test_dicom --probe PATH [OUT]     scans, opens and loads; prints what came of it, and writes
 *                                     the stored values of the first frame as int32 to OUT */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cmir/volume.h>

#include "base/memory.h"
#include "io/dicom.h"

static int
report_error(const char *what, const cmir_error *err)
{
    printf("%s %s %s\n", what, cmir_status_name(err->code), err->msg);
    return 0;
}

/* One line per item of the scan: volume, refused or skipped, and why. */
static int
probe_volume(const char *path)
{
    const cmir_scan_options options = {.struct_nbytes = sizeof options, .min_slices = 1};
    cmir_scan *scan = NULL;
    cmir_error err = {0};

    if (cmir_scan_open(&path, 1, &options, &scan, &err) != CMIR_OK)
        return report_error("failed", &err);
    for (size_t i = 0; i < cmir_scan_count(scan); i++) {
        const cmir_scan_item *item = cmir_scan_get(scan, i);
        cmir_volume *volume = NULL;
        err = item->reason;
        if (item->state != CMIR_SCAN_VOLUME) {
            (void)report_error(item->state == CMIR_SCAN_SKIPPED ? "skipped" : "refused", &err);
        } else if (cmir_volume_open(scan, i, &volume, &err) != CMIR_OK ||
                   cmir_volume_load(volume, NULL, NULL, &err) != CMIR_OK) {
            (void)report_error("refused", &err);
        } else {
            const cmir_volume_info *info = cmir_volume_get_info(volume);
            printf("volume %" PRIu32 " %" PRIu32 " %" PRIu32 " %g %g %s\n", info->dims[0],
                   info->dims[1], info->dims[2], info->value_low, info->value_high, info->path);
        }
        cmir_volume_close(volume);
    }
    cmir_scan_close(scan);
    return 0;
}

/* "peak KIB": of this program alone; ru_maxrss starts from what the forking parent had. */
static void
print_peak_memory(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];

    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            printf("peak %ld\n", strtol(line + 6, NULL, 10));
    if (status != NULL)
        fclose(status);
}

static int32_t
stored_value(const cmir_dicom_file *file, const uint8_t *buffer, size_t i)
{
    int32_t i32;
    int16_t i16;
    uint16_t u16;

    if (file->bits_allocated == 8)
        return file->is_signed ? (int8_t)buffer[i] : buffer[i];
    if (file->bits_allocated == 16) {
        memcpy(&i16, buffer + 2 * i, 2);
        memcpy(&u16, buffer + 2 * i, 2);
        return file->is_signed ? i16 : u16;
    }
    memcpy(&i32, buffer + 4 * i, 4);
    return i32;
}

/* Writes the stored values of a file's first frame, wherever it lies in the patient. */
static int
probe_frame(const char *path, const char *out)
{
    cmir_dicom_file file;
    cmir_dicom_text text;
    cmir_dicom_kind kind;
    cmir_dicom_pixels *pixels = NULL;
    cmir_error err = {0};

    if (cmir_dicom_file_read(path, &file, &text, &kind, &err) != CMIR_OK)
        return 0;
    const size_t n = (size_t)file.rows * file.cols, nbytes = n * (file.bits_allocated / 8);
    uint8_t *buffer = cmir_alloc(nbytes, 1);
    assert_non_null(buffer);
    if (file.syntax != CMIR_DICOM_UNSUPPORTED &&
        cmir_dicom_pixels_open(&file, &pixels, &err) == CMIR_OK &&
        cmir_dicom_pixels_frame(pixels, 0, buffer, nbytes, &err) == CMIR_OK) {
        FILE *f = fopen(out, "wb");
        assert_non_null(f);
        cmir_dicom_unpack(&file, buffer, n);
        for (size_t i = 0; i < n; i++) {
            const int32_t value = stored_value(&file, buffer, i);
            assert_int_equal(fwrite(&value, sizeof value, 1, f), 1);
        }
        assert_int_equal(fclose(f), 0);
    }
    cmir_dicom_pixels_close(pixels);
    free(buffer);
    cmir_dicom_file_clear(&file);
    cmir_dicom_text_clear(&text);
    return 0;
}

static void
test_unpack(void **state)
{
    /* 12 bits in the upper part of 16: overlay bits below are dropped, the sign is extended. */
    uint16_t words[] = {0x7FFF, 0x800F, 0xFFF0, 0x0010};
    const int16_t as_signed[] = {0x7FF, -0x800, -1, 1};
    const cmir_dicom_file file = {
        .bits_allocated = 16, .bits_stored = 12, .high_bit = 15, .is_signed = true};
    uint8_t bytes[] = {0xFF, 0x13};
    const cmir_dicom_file low = {.bits_allocated = 8, .bits_stored = 4, .high_bit = 3};

    (void)state;
    cmir_dicom_unpack(&file, words, 4);
    assert_memory_equal(words, as_signed, sizeof words);
    cmir_dicom_unpack(&low, bytes, 2);
    assert_int_equal(bytes[0], 15);
    assert_int_equal(bytes[1], 3);
}

static void
test_age(void **state)
{
    (void)state;
    assert_float_equal(cmir_dicom_age("045Y", "", ""), 45, 0);
    assert_float_equal(cmir_dicom_age("018M", "", ""), 1.5, 0);
    assert_float_equal(cmir_dicom_age("000D", "", ""), 0, 0);
    /* 31 years and a day, by the calendar */
    assert_float_equal(cmir_dicom_age("", "19900228", "20210301"), 31.0, 0.02);
    assert_true(isnan(cmir_dicom_age("45Y", "", "")));
    assert_true(isnan(cmir_dicom_age("", "20210301", "19900228"))); /* born after the study */
    assert_true(isnan(cmir_dicom_age("", "1990", "20210301")));
}

static void
test_clean_text(void **state)
{
    char text[] = "Lunge\xC3\xA4 \x1B[1m \xE4 \xC2\x85 end";

    (void)state;
    cmir_dicom_clean_text(text);
    assert_string_equal(text, "Lunge\xC3\xA4 ?[1m ? ?? end");
}

static void
test_shown_path(void **state)
{
    const char *deep = "/a/very/long/path/that/goes/on/and/on/through/many/folders/until/it/no/"
                       "longer/fits/into/a/sentence/IM0001.dcm";

    (void)state;
    assert_string_equal(cmir_shown_path("/data/IM0001.dcm"), "/data/IM0001.dcm");
    assert_true(strlen(cmir_shown_path(deep)) <= 80);
    assert_non_null(strstr(cmir_shown_path(deep), "IM0001.dcm"));
}

/* A JPEG stream up to its first scan, with a frame header of the given content. */
/* SOI, frame header, `n_extra` bytes, scan header, two bytes of scan, EOI. */
static size_t
make_jpeg(uint8_t *out, uint8_t marker, uint8_t precision, uint16_t rows, const uint8_t *extra,
          size_t n_extra)
{
    const uint8_t start[] = {
        0xFF,          0xD8, 0xFF, marker, 0, 11,   precision, (uint8_t)(rows >> 8),
        (uint8_t)rows, 0,    5,    1,      1, 0x11, 0};
    const uint8_t end[] = {0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 0, 0, 0x12, 0x34, 0xFF, 0xD9};

    memcpy(out, start, sizeof start);
    if (n_extra > 0)
        memcpy(out + sizeof start, extra, n_extra);
    memcpy(out + sizeof start + n_extra, end, sizeof end);
    return sizeof start + n_extra + sizeof end;
}

static void
test_check_jpeg(void **state)
{
    char path[] = "x.dcm";
    cmir_dicom_file file = {.path = path,
                            .syntax = CMIR_DICOM_JPEG,
                            .rows = 300,
                            .cols = 5,
                            .syntax_uid = "1.2.840.10008.1.2.4.70",
                            .bits_allocated = 16};
    uint8_t s[128];
    uint32_t precision = 0;
    cmir_error err = {0};

    (void)state;
    size_t n = make_jpeg(s, 0xC3, 12, 300, NULL, 0);
    assert_int_equal(cmir_dicom_check_jpeg(&file, s, n, &precision, &err), CMIR_OK);
    assert_int_equal(precision, 12);
    /* Cut anywhere before the scan, or with other sizes, it is refused. */
    for (size_t cut = 0; cut + 10 < n; cut++)
        assert_int_equal(cmir_dicom_check_jpeg(&file, s, cut, &precision, NULL), CMIR_ECORRUPT);
    n = make_jpeg(s, 0xC3, 12, 299, NULL, 0);
    assert_int_equal(cmir_dicom_check_jpeg(&file, s, n, &precision, &err), CMIR_ECORRUPT);
    assert_non_null(strstr(err.msg, "299 x 5"));
    n = make_jpeg(s, 0xC3, 17, 300, NULL, 0);
    assert_int_equal(cmir_dicom_check_jpeg(&file, s, n, &precision, NULL), CMIR_ECORRUPT);
    n = make_jpeg(s, 0xC2, 12, 300, NULL, 0); /* progressive */
    assert_int_equal(cmir_dicom_check_jpeg(&file, s, n, &precision, NULL), CMIR_ECORRUPT);
    n = make_jpeg(s, 0xF7, 12, 300, NULL, 0);
    assert_int_equal(cmir_dicom_check_jpeg(&file, s, n, &precision, NULL), CMIR_ECORRUPT);
    file.syntax = CMIR_DICOM_JPEG_LS;
    assert_int_equal(cmir_dicom_check_jpeg(&file, s, n, &precision, NULL), CMIR_OK);
    /* That decoder reads on where there is no EOI. */
    assert_int_equal(cmir_dicom_check_jpeg(&file, s, n - 1, &precision, NULL), CMIR_ECORRUPT);
}

/* What makes DCMTK's decoders read past their tables. */
static void
test_check_jpeg_tables(void **state)
{
    static const struct {
        const char *syntax_uid;
        uint8_t marker, class_, category;
        cmir_status want;
    } cases[] = {
        {"1.2.840.10008.1.2.4.70", 0xC3, 0, 16, CMIR_OK},
        {"1.2.840.10008.1.2.4.70", 0xC3, 0, 17, CMIR_ECORRUPT},
        {"1.2.840.10008.1.2.4.51", 0xC1, 0, 15, CMIR_OK},
        {"1.2.840.10008.1.2.4.51", 0xC1, 0, 16, CMIR_ECORRUPT},
        {"1.2.840.10008.1.2.4.51", 0xC1, 1, 0xF5, CMIR_OK},
        {"1.2.840.10008.1.2.4.51", 0xC1, 2, 3, CMIR_ECORRUPT},
    };
    char path[] = "x.dcm";
    uint8_t s[128], table[2 + 2 + 17 + 1] = {0xFF, 0xC4, 0, 20, 0, 1};
    uint32_t precision = 0;

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        cmir_dicom_file file = {
            .path = path, .syntax = CMIR_DICOM_JPEG, .rows = 300, .cols = 5, .bits_allocated = 16};
        snprintf(file.syntax_uid, sizeof file.syntax_uid, "%s", cases[c].syntax_uid);
        table[4] = (uint8_t)(cases[c].class_ << 4);
        table[21] = cases[c].category;
        const size_t n = make_jpeg(s, cases[c].marker, 12, 300, table, sizeof table);
        assert_int_equal(cmir_dicom_check_jpeg(&file, s, n, &precision, NULL), cases[c].want);
        s[n - 4] = 0xFF; /* a second table after the scan began */
        s[n - 3] = 0xC4;
        assert_int_equal(cmir_dicom_check_jpeg(&file, s, n, &precision, NULL), CMIR_ECORRUPT);
        table[5] = 2; /* more codes than values */
        const size_t m = make_jpeg(s, cases[c].marker, 12, 300, table, sizeof table);
        assert_int_equal(cmir_dicom_check_jpeg(&file, s, m, &precision, NULL), CMIR_ECORRUPT);
        table[5] = 1;
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unpack),     cmocka_unit_test(test_age),
        cmocka_unit_test(test_clean_text), cmocka_unit_test(test_shown_path),
        cmocka_unit_test(test_check_jpeg), cmocka_unit_test(test_check_jpeg_tables),
    };

    if (argc >= 3 && strcmp(argv[1], "--probe") == 0) {
        const int failed = probe_volume(argv[2]) + (argc > 3 ? probe_frame(argv[2], argv[3]) : 0);
        print_peak_memory();
        return failed;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
