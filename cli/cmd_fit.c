/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_fit.c: the verb fit: a whitened copy of an archive. */
#include <stdlib.h>
#include <time.h>

#include "cli.h"

static void
print_fit(cli_args *args, const cmir_archive_info *info, double seconds)
{
    const cmir_whitening_info *w = info->whitening;

    if (args->json) {
        json_t *o = cli_need(json_object());
        cmir_json_set(o, "Archive", cmir_json_text(info->dir));
        cmir_json_set(o, "Volumes", json_integer((json_int_t)info->n_volumes));
        cmir_json_set(o, "Slices", json_integer((json_int_t)info->n_slices));
        cmir_json_set(o, "Encoder", cmir_json_encoder(info));
        cmir_json_set(o, "Dim", json_integer(info->dim));
        cmir_json_set(o, "Whitening", cmir_json_whitening(info));
        cmir_json_set(o, "Seconds", json_real(seconds));
        cli_json_print(args, o);
    } else if (!args->quiet) {
        cli_line(args->out,
                 "%s: %llu volumes, %u of %u dimensions, which keep %.1f %% of the variance of "
                 "%llu slices of %llu volumes; %.1f s",
                 info->dir, (unsigned long long)info->n_volumes, info->dim, w->base_dim,
                 100 * w->explained, (unsigned long long)w->n_slices,
                 (unsigned long long)w->n_volumes, seconds);
    }
}

static cmir_status
run_fit(cli_args *args, cmir_error *err)
{
    cmir_fit_options options = {.struct_nbytes = sizeof options,
                                .where = cli_get(args, "where"),
                                .progress = cli_progress_count};
    const char *dir = args->operands[1];
    cmir_archive *archive = NULL, *fitted = NULL;
    struct timespec start, end;
    cmir_status st = cli_get_u32(args, "dims", 1, CMIR_MAX_DIM, &options.dims, err);

    if (st == CMIR_OK)
        st = cli_get_u32(args, "threads", 1, 256, &options.n_threads, err);
    if (st != CMIR_OK ||
        (st = cmir_archive_open(args->operands[0], CMIR_READ, &archive, err)) != CMIR_OK)
        return st;
    cli_catch_interrupts();
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    options.progress_ctx = cli_progress_start(args, "volumes", 0);
    st = cmir_archive_fit(archive, dir, &options, err);
    cli_progress_end(options.progress_ctx);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    cmir_archive_close(archive);
    if (st == CMIR_OK && (st = cmir_archive_open(dir, CMIR_READ, &fitted, err)) == CMIR_OK)
        print_fit(args, cmir_archive_get_info(fitted),
                  (double)(end.tv_sec - start.tv_sec) +
                      (double)(end.tv_nsec - start.tv_nsec) * 1e-9);
    cmir_archive_close(fitted);
    return st;
}

static const cli_option fit_options[] = {
    {"dims", 0, "D", "numbers a slice in the new archive, default 64"},
    {"where", 0, "EXPR", "learn from volumes that pass only; all are written"},
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_fit = {
    "fit",
    "ARCHIVE NEW_ARCHIVE",
    "Makes a whitened copy of an archive, in fewer dimensions, that searches faster.",
    "fit lungs lungs64\nfit lungs lungs32 --dims 32 --where \"not PatientID = 'anna'\"",
    2,
    2,
    fit_options,
    run_fit};
