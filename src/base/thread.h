/* SPDX-License-Identifier: Apache-2.0 */
/* thread.h: one way to run work on several threads. */
#ifndef CMIR_BASE_THREAD_H
#define CMIR_BASE_THREAD_H

#include <stdint.h>

#include <cmir/status.h>

#define CMIR_MAX_THREADS 256u

/* CPUs this process may use, 1..CMIR_MAX_THREADS. */
uint32_t cmir_cpu_count(void);

/* Runs fn(ctx, 0) .. fn(ctx, n_threads - 1), one thread each (the caller's is one of them), and
 * returns when all have returned.  Fewer threads run where the system refuses more, so fn must
 * share work by taking it, never by its index; fn(ctx, 0) always runs. */
void cmir_parallel(uint32_t n_threads, void (*fn)(void *ctx, uint32_t thread), void *ctx);

#endif
