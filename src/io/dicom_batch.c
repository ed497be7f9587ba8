/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_batch.c: the headers of many DICOM files, read by several threads; called by scan.c. */
#include <stdatomic.h>

#include "base/thread.h"
#include "io/dicom.h"

#define MAX_READERS 4u /* DCMTK takes locks for every element: more wait for each other */

struct batch {
    cmir_dicom_look *looks;
    size_t n;
    atomic_size_t next;
};

static void
read_files(void *ctx, uint32_t thread)
{
    struct batch *batch = ctx;
    size_t i;

    (void)thread;
    while ((i = atomic_fetch_add(&batch->next, 1)) < batch->n) {
        cmir_dicom_look *look = &batch->looks[i];
        look->reason = (cmir_error){0};
        look->status =
            cmir_dicom_file_read(look->path, &look->file, &look->text, &look->kind, &look->reason);
    }
}

void
cmir_dicom_read_batch(cmir_dicom_look *looks, size_t n)
{
    struct batch batch = {.looks = looks, .n = n};
    const uint32_t n_cpus = cmir_cpu_count();
    const uint32_t most = n_cpus < MAX_READERS ? n_cpus : MAX_READERS;

    cmir_parallel(n < most ? (uint32_t)n : most, read_files, &batch);
}
