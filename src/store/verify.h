/* SPDX-License-Identifier: Apache-2.0 */
/* verify.h: what the files of the verification share. */
#ifndef CMIR_STORE_VERIFY_H
#define CMIR_STORE_VERIFY_H

#include "store/store_internal.h"

struct verify {
    cmir_store *store;
    cmir_db *db; /* with a read transaction */
    void (*problem)(void *ctx, const char *sentence);
    void *ctx;
    uint64_t n_problems;
    int16_t center[CMIR_MAX_DIM]; /* the archive's; zero where it has none */
    cmir_error *err;
    cmir_status st;   /* why it could not go on */
    uint32_t segment; /* of the volume before, in order of place */
    uint64_t end;     /* where it ended */
};

/* Counts a fault and hands it to the caller. */
void cmir_verify_tell(struct verify *v, const cmir_error *fault);

/* Tells a fault in the words of FAIL(). */
#define REPORT(v, ...)                                                                             \
    do {                                                                                           \
        cmir_error fault = {0};                                                                    \
        (void)FAIL(&fault, CMIR_ECORRUPT, __VA_ARGS__);                                            \
        cmir_verify_tell((v), &fault);                                                             \
    } while (0)

/* A statement; NULL, and told, where it fails. */
cmir_stmt *cmir_verify_open(struct verify *v, const char *sql);
/* The next row of it; false, and told where it is damage: no more. */
bool cmir_verify_next(struct verify *v, cmir_stmt *q);

/* verify_previews.c: every preview that the catalogue names. */
void cmir_verify_previews(struct verify *v);

#endif
