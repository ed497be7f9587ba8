/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_phantom.c: the verb phantom: made-up scans to try everything with. */
#include "cli.h"

#define DEFAULT_VOLUMES 24u
#define DEFAULT_SITES_VOLUMES 112u /* 28 of each cohort */
#define MIN_SITES_VOLUMES 28u      /* less lacks test volumes of a kind */
#define MAX_VOLUMES 10000u

static cmir_status
run_phantom(cli_args *args, cmir_error *err)
{
    const char *dir = args->operands[0];
    const bool sites = cli_get(args, "sites") != NULL;
    uint32_t n = sites ? DEFAULT_SITES_VOLUMES : DEFAULT_VOLUMES;
    uint64_t seed = 1;
    cmir_status st;

    if ((st = cli_get_u32(args, "volumes", sites ? MIN_SITES_VOLUMES : 1, MAX_VOLUMES, &n, err)) !=
            CMIR_OK ||
        (st = cli_get_number(args, "seed", 0, UINT64_MAX / 16, &seed, err)) != CMIR_OK)
        return st;
    cli_catch_interrupts();
    cli_progress *progress = cli_progress_start(args, "volumes written", 0);
    st = (sites ? phantom_write_sites : phantom_write)(dir, n, seed, cli_progress_count, progress,
                                                       err);
    cli_progress_end(progress);
    if (st != CMIR_OK)
        return st;
    if (args->json)
        cli_json_print(args, json_pack("{s:o, s:I, s:I}", "Path", cmir_json_text(dir), "Volumes",
                                       (json_int_t)n, "Seed", (json_int_t)seed));
    else if (!args->quiet)
        cli_line(args->out,
                 sites ? "%s: %u volumes in volumes/, organs and tumours in masks/; labels and "
                         "splits of four "
                         "sites in confounded/ and honest/; scans.csv, tumours.csv"
                       : "%s: %u volumes in volumes/, queries in queries/, lesions in masks/; "
                         "labels.csv, truth.csv",
                 dir, n);
    return CMIR_OK;
}

static const cli_option phantom_options[] = {
    {"sites", 0, NULL,
     "tumours at four sites, labelled as in 3D-MIR, with its confound and without"},
    {"volumes", 0, "N", "volumes to index (default 24, with --sites 112)"},
    {"seed", 0, "N", "the same seed writes the same scans (default 1)"},
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_phantom = {"phantom",
                                   "OUT",
                                   "Writes CT-like scans of made-up patients, to try things with.",
                                   "phantom trial --volumes 24 --seed 7",
                                   1,
                                   1,
                                   phantom_options,
                                   run_phantom};
