/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_labels.c: any bytes as a CSV file of labels. */
#define _GNU_SOURCE /* memfd_create */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

static int fd = -1; /* a file in memory */
static char path[40];

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
    cmir_label_table *table;
    cmir_error err = {0};

    if (fd < 0) {
        if ((fd = memfd_create("labels", 0)) < 0)
            abort();
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) != 0 || cmir_file_write_at(fd, path, 0, data, nbytes, NULL) != CMIR_OK)
        abort();
    if (cmir_label_table_read(path, &table, &err) != CMIR_OK) {
        if (err.msg[0] == '\0')
            abort();
        return 0;
    }
    const cmir_label_set *sets = cmir_label_table_sets(table);
    for (size_t i = 0; i < cmir_label_table_count(table); i++) {
        if (strlen(cmir_label_table_volume(table, i)) == 0)
            abort();
        for (size_t k = 0; k < sets[i].n_labels; k++)
            if (strlen(sets[i].labels[k].name) == 0 || strlen(sets[i].labels[k].value) == 0)
                abort();
    }
    cmir_label_table_free(table);
    return 0;
}
