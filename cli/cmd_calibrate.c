/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_calibrate.c: the verb calibrate: how often the nearest cases of a volume tell its labels. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static void
show(cli_args *args, const cmir_calibration *calibrations, size_t n)
{
    cli_table table = {.n_columns = 3, .right = 1u << 1};

    if (args->json) {
        json_t *rows = cli_need(json_array());

        for (size_t i = 0; i < n; i++)
            cmir_json_add(rows, cmir_json_calibration(&calibrations[i]));
        cli_json_print(args,
                       json_pack("{s:o, s:s, s:o}", "Archive", cmir_json_text(args->operands[0]),
                                 "Notice", CMIR_NOTICE, "Calibrations", rows));
        return;
    }
    cli_cell(&table, "LABEL");
    cli_cell(&table, "VOLUMES");
    cli_cell(&table, "%s", "THE NEAREST CASES");
    for (size_t i = 0; i < n; i++) {
        char *text = cli_calibration_text(&calibrations[i]);

        cli_cell(&table, "%s", calibrations[i].label);
        cli_cell(&table, "%u", calibrations[i].n_labelled);
        cli_cell(&table, "%s", text);
        free(text);
    }
    cli_print_table(&table, args->out);
    cli_line(args->out, "Research use only, not for diagnosis.");
}

static cmir_status
run_calibrate(cli_args *args, cmir_error *err)
{
    cmir_calibrate_options options = {.struct_nbytes = sizeof options, .k = 10};
    const char *first = cli_get(args, "label");
    cmir_calibration *calibrations = NULL;
    cmir_archive *archive = NULL;
    size_t n = 0;
    cmir_status st;

    if (first == NULL && args->n_operands > 1)
        return cli_fail(err, CMIR_EINVAL, "one argument too many: '%s'; labels follow --label",
                        args->operands[1]);
    if ((st = cli_get_u32(args, "k", CMIR_EVIDENCE_LEAST, CMIR_EVIDENCE_MOST, &options.k, err)) !=
            CMIR_OK ||
        (st = cli_get_u32(args, "threads", 1, 256, &options.n_threads, err)) != CMIR_OK ||
        (st = cmir_archive_open(args->operands[0], CMIR_WRITE, &archive, err)) != CMIR_OK)
        return st;
    const char **labels = cli_need(calloc((size_t)args->n_operands, sizeof *labels));
    labels[0] = first; /* the others stand behind the archive */
    for (int i = 1; i < args->n_operands; i++)
        labels[i] = args->operands[i];
    options.labels = first == NULL ? NULL : labels;
    options.n_labels = (size_t)args->n_operands;
    cli_catch_interrupts();
    cli_progress *progress = cli_progress_start(args, "volumes", 0);
    options.progress = cli_progress_count;
    options.progress_ctx = progress;
    st = cmir_calibrate(archive, &options, &calibrations, &n, err);
    cli_progress_end(progress);
    if (st == CMIR_OK)
        show(args, calibrations, n);
    cmir_calibrations_free(calibrations, n);
    free(labels);
    cmir_archive_close(archive);
    return st;
}

static const cli_option calibrate_options[] = {
    {"k", 0, "N", "let the N nearest cases vote (default 10)"},
    {"label", 0, "NAME...", "these labels only (default: all)"},
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_calibrate = {
    "calibrate",
    "ARCHIVE",
    "Measures how often the nearest cases tell a volume's labels, for `search` to say so.",
    "calibrate lungs\ncalibrate lungs --label stage --k 20",
    1,
    -1,
    calibrate_options,
    run_calibrate};
