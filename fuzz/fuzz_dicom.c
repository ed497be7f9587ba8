/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_dicom.c: any bytes as a DICOM file: scanned, opened, loaded as a volume of its own, and its
 * first frames decoded even where its place in the patient is unknown.  What is read without DCMTK
 * is compared with what DCMTK reads.
 *
 * Readers take paths, so the bytes go through one file in /dev/shm that each input overwrites. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmir/volume.h>

#include "dicom_alike.h"
#include "io/dicom.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

static char path[64];

static void
remove_file(void)
{
    unlink(path);
}

static void
write_file(const uint8_t *data, size_t nbytes)
{
    if (path[0] == '\0') {
        snprintf(path, sizeof path, "%s/cmir_fuzz_%ld.dcm",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
        atexit(remove_file);
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, nbytes) != (ssize_t)nbytes)
        abort();
    close(fd);
}

/* A refusal must say why, and name the file or its folder. */
static void
check_refusal(const cmir_error *err)
{
    if (err->code == CMIR_OK ||
        (strstr(err->msg, "cmir_fuzz_") == NULL && strncmp(err->msg, path, strlen("/tmp")) != 0))
        abort();
}

/* What is read straight from the file is what DCMTK reads. */
static void
check_native(const cmir_dicom_file *file, uint32_t frame, const uint8_t *expected, size_t nbytes)
{
    uint8_t *buffer = malloc(nbytes);
    bool done = false;

    if (buffer == NULL)
        abort();
    if (cmir_dicom_native_frame(file, frame, buffer, nbytes, &done, NULL) != CMIR_OK ||
        (done && memcmp(buffer, expected, nbytes) != 0))
        abort();
    free(buffer);
}

static void
decode_frames(void)
{
    cmir_dicom_file file;
    cmir_dicom_text text;
    cmir_dicom_kind kind;
    cmir_dicom_pixels *pixels = NULL;
    cmir_error err = {0};

    if (cmir_dicom_file_read(path, &file, &text, &kind, &err) != CMIR_OK) {
        check_refusal(&err);
        return;
    }
    const size_t n = (size_t)file.rows * file.cols, nbytes = n * (file.bits_allocated / 8);
    uint8_t *buffer = malloc(nbytes);
    if (buffer == NULL)
        abort();
    if (file.syntax != CMIR_DICOM_UNSUPPORTED &&
        cmir_dicom_pixels_open(&file, &pixels, &err) == CMIR_OK) {
        for (uint32_t i = 0; i < file.n_frames && i < 3; i++)
            if (cmir_dicom_pixels_frame(pixels, i, buffer, nbytes, NULL) == CMIR_OK) {
                check_native(&file, i, buffer, nbytes);
                cmir_dicom_unpack(&file, buffer, n);
            }
    }
    cmir_dicom_pixels_close(pixels);
    free(buffer);
    cmir_dicom_file_clear(&file);
    cmir_dicom_text_clear(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
    const cmir_scan_options options = {.struct_nbytes = sizeof options, .min_slices = 1};
    cmir_volume *volume = NULL;
    cmir_error err = {0};

    write_file(data, nbytes);
    if (strcmp(compare_ways(path), "different") == 0)
        abort();
    if (cmir_volume_read(path, &options, &volume, &err) != CMIR_OK)
        check_refusal(&err);
    cmir_volume_close(volume);
    decode_frames();
    return 0;
}
