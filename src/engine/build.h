/* SPDX-License-Identifier: Apache-2.0 */
/* build.h: many volumes with one commit.  Called by import.c and fit.c. */
#ifndef CMIR_ENGINE_BUILD_H
#define CMIR_ENGINE_BUILD_H

#include "store/store.h"

typedef struct cmir_build_job {
    cmir_store *store;
    size_t n;
    void *ctx;
    /* Volume i ready to be put; from any thread.  NULL where there is none: put() tells why. */
    cmir_built *(*build)(void *ctx, size_t i);
    /* Puts it, in order of i, in one thread.  An error is the archive's, and undoes the whole. */
    cmir_status (*put)(void *ctx, size_t i, const cmir_built *built, cmir_error *err);
} cmir_build_job;

/* n_threads 0: the CPUs this process may use. */
cmir_status cmir_build_all(const cmir_build_job *job, uint32_t n_threads, cmir_error *err);

#endif
