/* SPDX-License-Identifier: Apache-2.0 */
/* bench_stored.c: what a search costs in archives that hold the same volumes, such as an archive and
 * a fit of it.
 *
 *     bench_stored ARCHIVE...
 *
 * 30 stored volumes search the archive that they are in, one thread, nothing cold.  CPU milliseconds of a search,
 * not wall time, so that other work on the machine disturbs less: median and least. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmir/cmir.h>

enum { N_WARM = 3, N_TIMED = 30, STRIDE = 37 /* queries come from all over the archive */ };

static double
cpu_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void
must(cmir_status st, const cmir_error *err)
{
    if (st == CMIR_OK)
        return;
    fprintf(stderr, "bench_stored: %s: %s\n", cmir_status_name(st), err->msg);
    exit(1);
}

static int
by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void
measure(const cmir_archive *archive, const char *what, cmir_search_options options)
{
    const cmir_archive_info *info = cmir_archive_get_info(archive);
    double ms[N_TIMED];
    cmir_error err = {0};
    char **ids;
    size_t n;

    must(cmir_archive_list(archive, NULL, &ids, &n, &err), &err);
    for (size_t i = 0; n > 0 && i < N_WARM + N_TIMED; i++) {
        const double start = cpu_ms();
        cmir_result *result;

        must(cmir_search_stored(archive, archive, ids[i * STRIDE % n], &options, &result, &err),
             &err);
        if (i >= N_WARM)
            ms[i - N_WARM] = cpu_ms() - start;
        cmir_result_free(result);
    }
    if (n > 0) {
        qsort(ms, N_TIMED, sizeof ms[0], by_size);
        printf("%-20s %-18s %u dims: median %.2f ms, least %.2f ms\n", info->dir, what, info->dim,
               ms[N_TIMED / 2], ms[0]);
    }
    cmir_ids_free(ids, n);
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const cmir_search_options options = {.struct_nbytes = sizeof options, .n_threads = 1};
        cmir_search_options all = options, both = options;
        cmir_archive *archive;
        cmir_error err = {0};

        all.exhaustive = true;
        both.score = CMIR_SYMMETRIC;
        must(cmir_archive_open(argv[i], CMIR_READ, &archive, &err), &err);
        measure(archive, "maxsim", options);
        measure(archive, "maxsim exhaustive", all);
        measure(archive, "symmetric", both);
        cmir_archive_close(archive);
    }
    return 0;
}
