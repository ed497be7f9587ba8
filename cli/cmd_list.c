/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_list.c: the verbs list, show and export: what an archive holds, volume by volume. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define LABELS_WIDTH 60

static void
list_row(cli_table *table, const cmir_record *record, bool verbose)
{
    const cmir_volume_info *info = &record->info;
    char *labels = cli_labels_text(record, LABELS_WIDTH);

    cli_cell(table, "%s", info->volume_id);
    cli_cell(table, "%u", record->n_slices);
    cli_cell(table, "%s", info->modality);
    cli_cell(table, "%s", info->body_part);
    cli_cell(table, "%s", info->patient_id);
    cli_cell(table, "%s", info->study_date);
    if (verbose)
        cli_cell(table, "%s", info->path);
    cli_cell(table, "%s", labels);
    free(labels);
}

static cmir_status
list_volumes(cli_args *args, const cmir_archive *archive, char *const *ids, size_t n,
             cmir_error *err)
{
    static const char *const heading[] = {"VOLUME",  "SLICES", "MODALITY", "BODY PART",
                                          "PATIENT", "DATE",   "PATH",     "LABELS"};
    cli_table table = {.n_columns = args->verbose ? 8 : 7, .right = 1u << 1};
    json_t *volumes = cli_need(json_array());
    cmir_status st = CMIR_OK;

    for (size_t i = 0; i < sizeof heading / sizeof heading[0]; i++)
        if (args->verbose || i != 6)
            cli_cell(&table, "%s", heading[i]);
    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        cmir_record *record;
        if ((st = cmir_archive_get(archive, ids[i], &record, err)) != CMIR_OK)
            break;
        if (args->json)
            cmir_json_add(volumes, cmir_json_record(record, true));
        else
            list_row(&table, record, args->verbose);
        cmir_record_free(record);
    }
    if (st == CMIR_OK && args->json)
        cli_json_print(args, json_pack("{s:O}", "Volumes", volumes));
    cli_print_table(&table, st == CMIR_OK && !args->json && n > 0 ? args->out : NULL);
    json_decref(volumes);
    return st;
}

static cmir_status
run_list(cli_args *args, cmir_error *err)
{
    cmir_archive *archive;
    char **ids = NULL;
    size_t n = 0;
    cmir_status st = cmir_archive_open(args->operands[0], CMIR_READ, &archive, err);

    if (st != CMIR_OK)
        return st;
    if ((st = cmir_archive_list(archive, cli_get(args, "where"), &ids, &n, err)) == CMIR_OK)
        st = list_volumes(args, archive, ids, n, err);
    if (st == CMIR_OK && n == 0 && !args->json && !args->quiet)
        cli_line(stderr, "cmir list: %s",
                 cmir_archive_get_info(archive)->n_volumes == 0 ? "the archive is empty"
                                                                : "no volume passes --where");
    cmir_ids_free(ids, n);
    cmir_archive_close(archive);
    return st;
}

static const cli_option list_options[] = {
    {"where", 0, "EXPR", "only volumes that pass, as in \"Modality = 'CT' and PatientAge > 60\""},
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_list = {
    "list",
    "ARCHIVE",
    "Lists the volumes of an archive.",
    "list lungs\nlist lungs --where \"cancer_flag = 1 and not PatientSex = 'F'\"",
    1,
    1,
    list_options,
    run_list};

static void
show_text(cli_args *args, const cmir_record *record)
{
    const cmir_volume_info *info = &record->info;
    const struct {
        const char *name, *value;
    } texts[] = {
        {"volume", info->volume_id},    {"path", info->path},
        {"format", info->format},       {"modality", info->modality},
        {"body part", info->body_part}, {"patient", info->patient_id},
        {"sex", info->patient_sex},     {"date", info->study_date},
        {"study", info->study_uid},     {"series", info->series_uid},
        {"maker", info->manufacturer},  {"description", info->description},
        {"added", record->added},
    };
    FILE *out = args->out;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].value[0] != '\0')
            cli_line(out, "%-12s %s", texts[i].name, texts[i].value);
    if (isfinite(info->patient_age))
        cli_line(out, "%-12s %g years", "age", info->patient_age);
    if (info->dims[0] > 0)
        cli_line(out, "%-12s %u x %u x %u, %s", "voxels", info->dims[0], info->dims[1],
                 info->dims[2], info->has_hu ? "HU" : "no HU");
    if (isfinite(record->slice_mm[0]))
        cli_line(out, "%-12s %u, %.3g mm apart, %.1f to %.1f mm; %u hold only air", "slices",
                 record->n_slices, record->slice_spacing_mm, record->slice_mm[0],
                 record->slice_mm[record->n_slices - 1], record->n_air);
    else /* of imported embeddings */
        cli_line(out, "%-12s %u; %u hold only air", "slices", record->n_slices, record->n_air);
    for (size_t i = 0; i < record->n_labels; i++)
        cli_line(out, "%-12s %s = %s", i == 0 ? "labels" : "", record->labels[i].name,
                 record->labels[i].value);
}

static cmir_status
run_show(cli_args *args, cmir_error *err)
{
    cmir_archive *archive;
    cmir_record *record = NULL;
    cmir_status st = cmir_archive_open(args->operands[0], CMIR_READ, &archive, err);

    if (st != CMIR_OK)
        return st;
    if ((st = cmir_archive_get(archive, args->operands[1], &record, err)) == CMIR_OK) {
        if (args->json)
            cli_json_print(args, cmir_json_volume(record, true));
        else
            show_text(args, record);
    }
    cmir_record_free(record);
    cmir_archive_close(archive);
    return st;
}

const cli_verb cli_verb_show = {"show",
                                "ARCHIVE VOLUME",
                                "Tells all that an archive knows of one volume.",
                                "show lungs patient17_ct",
                                2,
                                2,
                                NULL,
                                run_show};

static cmir_status
run_export(cli_args *args, cmir_error *err)
{
    const char *path = cli_get(args, "output");
    cmir_archive *archive;
    cmir_embeddings e = {0};
    cmir_status st;

    if (path == NULL)
        return cli_fail(err, CMIR_EINVAL, "where to? -o FILE.npy, or -o - for standard output");
    if (args->out == stdout && args->json)
        return cli_fail(err, CMIR_EINVAL, "--json and -o - would both write to standard output");
    if (args->out == stdout && isatty(STDOUT_FILENO))
        return cli_fail(err, CMIR_EINVAL,
                        "standard output is a terminal; it would get binary data");
    if ((st = cmir_archive_open(args->operands[0], CMIR_READ, &archive, err)) != CMIR_OK)
        return st;
    if ((st = cmir_archive_embeddings(archive, args->operands[1], &e, err)) == CMIR_OK) {
        cli_npy_write(args->out, &e);
        if (fflush(args->out) != 0 || ferror(args->out)) {
            st = cli_fail(err, CMIR_EIO, "%s: cannot write: %s", path, strerror(errno));
        } else if (args->json) {
            FILE *file = args->out;
            args->out = stdout;
            cli_json_print(args, json_pack("{s:o, s:o, s:I, s:I}", "VolumeId",
                                           cmir_json_text(args->operands[1]), "Path",
                                           cmir_json_text(path), "Slices", (json_int_t)e.n_slices,
                                           "Dim", (json_int_t)e.dim));
            args->out = file;
        } else if (args->out != stdout && !args->quiet) {
            cli_line(stderr, "%s: %u slices x %u, float32", path, e.n_slices, e.dim);
        }
    }
    cmir_embeddings_free(&e);
    cmir_archive_close(archive);
    return st;
}

const cli_verb cli_verb_export = {
    "export",
    "ARCHIVE VOLUME -o FILE.npy",
    "Writes the embeddings of a volume as a numpy array: float32, one row per slice.",
    "export lungs patient17_ct -o patient17.npy",
    2,
    2,
    NULL,
    run_export};
