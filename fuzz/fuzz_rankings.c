/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_rankings.c: any bytes as a file of ranked lists. */
#define _GNU_SOURCE /* memfd_create */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmir/assess.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

static int fd = -1; /* a file in memory */
static char path[40];

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
    cmir_ranking *rows;
    size_t n;
    cmir_error err = {0};

    if (fd < 0) {
        if ((fd = memfd_create("rankings", 0)) < 0)
            abort();
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) != 0 || cmir_file_write_at(fd, path, 0, data, nbytes, NULL) != CMIR_OK)
        abort();
    if (cmir_rankings_read(path, &rows, &n, &err) != CMIR_OK) {
        if (err.msg[0] == '\0')
            abort();
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        if (strlen(rows[i].query) == 0 || strlen(rows[i].volume) == 0 || rows[i].line == 0 ||
            strlen(rows[i].method) > nbytes || isinf(rows[i].score))
            abort();
    cmir_free(rows);
    return 0;
}
