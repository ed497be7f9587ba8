/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_nifti.c: any bytes as a .nii file: opened, loaded, sliced in every plane.
 *
 * Readers take paths, so the bytes go through one file in /dev/shm that each input overwrites. */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/io_internal.h"

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
        snprintf(path, sizeof path, "%s/cmir_fuzz_%ld.nii",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
        atexit(remove_file);
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, nbytes) != (ssize_t)nbytes)
        abort();
    close(fd);
}

static void
take_slices(const cmir_volume *volume)
{
    for (int plane = CMIR_AXIAL; plane <= CMIR_SAGITTAL; plane++) {
        cmir_stack stack;
        if (cmir_volume_stack(volume, (cmir_plane)plane, &stack, NULL) != CMIR_OK ||
            !(stack.slice_spacing_mm > 0) || isinf(stack.slice_spacing_mm))
            abort();
        float *out = malloc((size_t)stack.rows * stack.cols * sizeof *out);
        const uint32_t last = stack.n_slices - 1;
        if (out == NULL || cmir_volume_slice(volume, (cmir_plane)plane, 0, out, NULL) != CMIR_OK ||
            cmir_volume_slice(volume, (cmir_plane)plane, last, out, NULL) != CMIR_OK)
            abort();
        for (size_t i = 0; i < (size_t)stack.rows * stack.cols; i++)
            if (!isfinite(out[i]))
                abort();
        if (isnan(cmir_volume_slice_mm(volume, (cmir_plane)plane, last)))
            abort();
        free(out);
    }
}

/* Every refusal names the file and gives a reason. */
static void
check_refusal(cmir_status st, const cmir_error *err)
{
    if (err->code != st || strlen(err->msg) < strlen("cmir_fuzz_.nii: why") ||
        strstr(err->msg, "cmir_fuzz_") == NULL)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
    write_file(data, nbytes);
    for (uint32_t frame = 0; frame <= 2; frame += 2) {
        cmir_volume *volume = NULL;
        cmir_error err = {0};
        cmir_status st = cmir_nifti_open(path, frame, "", &volume, &err);
        if (st == CMIR_OK && (st = cmir_volume_load(volume, NULL, NULL, &err)) == CMIR_OK)
            take_slices(volume);
        else
            check_refusal(st, &err);
        cmir_volume_close(volume);
        if (st != CMIR_EUNSUPPORTED)
            break; /* only 4-D files have another frame to try */
    }
    return 0;
}
