/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_archive.c: the verbs init, stat, verify, label and remove. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static cmir_status
run_init(cli_args *args, cmir_error *err)
{
    const char *dir = args->operands[0];
    cmir_encoder *encoder = NULL;
    cmir_archive_options options = {.struct_nbytes = sizeof options};
    int plane;
    cmir_status st = cli_get_choice(args, "plane", cli_planes, &plane, err);

    if (st == CMIR_OK)
        st = cli_get_previews(args, &options.previews, err);
    if (st == CMIR_OK && cli_is_archive(dir))
        st = cli_fail(err, CMIR_EEXIST, "%s: there is an archive already", dir);
    if (st == CMIR_OK)
        st = cli_open_encoder(args, NULL, &encoder, err);
    if (st == CMIR_OK)
        options.plane = (cmir_plane)plane;
    if (st == CMIR_OK)
        st = cmir_archive_create_with(dir, encoder, &options, err);
    if (st == CMIR_OK) {
        const cmir_encoder_info *e = cmir_encoder_get_info(encoder);
        if (args->json)
            cli_json_print(args,
                           json_pack("{s:o, s:{s:o, s:o, s:o}, s:s, s:I, s:s}", "Archive",
                                     cmir_json_text(dir), "Encoder", "Name",
                                     cmir_json_text(e->name), "Version", cmir_json_text(e->version),
                                     "Sha256", cmir_json_text(e->sha256), "Plane",
                                     cli_planes[plane], "Dim", (json_int_t)e->dim, "Previews",
                                     cmir_previews_name(options.previews)));
        else if (!args->quiet)
            cli_line(args->out,
                     "created archive %s: encoder %s %s, %u numbers per slice, %s slices", dir,
                     e->name, e->version, e->dim, cli_planes[plane]);
    }
    cmir_encoder_close(encoder);
    return st;
}

static const cli_option init_options[] = {
    {"encoder", 0, "CARD", "builtin (default) or an encoder card: CARD.json"},
    {"plane", 0, "PLANE", "how volumes are sliced: axial (default), coronal, sagittal"},
    CLI_PREVIEWS_OPTION,
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_init = {"init",
                                "ARCHIVE",
                                "Makes an empty archive.",
                                "init lungs\ninit lungs --encoder biomedclip.json --plane coronal",
                                1,
                                1,
                                init_options,
                                run_init};

static void
print_stat(cli_args *args, const cmir_archive_info *info)
{
    static const char size_format[] = "%-15s %" PRIu64 "%s";

    cli_line(args->out, "%-15s %s", "archive", info->dir);
    cli_line(args->out, size_format, "volumes", info->n_volumes, "");
    cli_line(args->out, size_format, "slices", info->n_slices, "");
    cli_line(args->out, size_format, "  only air", info->n_air_slices, "");
    cli_line(args->out, "%-15s %s %s", "encoder", info->encoder_name, info->encoder_version);
    cli_line(args->out, "%-15s %s", "  sha256", info->encoder_sha256);
    if (info->card_path[0] != '\0')
        cli_line(args->out, "%-15s %s", "  card", info->card_path);
    cli_line(args->out, "%-15s %u", "  dimension", info->dim);
    if (info->whitening != NULL) {
        const cmir_whitening_info *w = info->whitening;
        cli_line(args->out, "%-15s %s, %u of %u dimensions, %.1f %% of the variance",
                 "whitening of", w->base_name, info->dim, w->base_dim, 100 * w->explained);
        cli_line(args->out, "%-15s %" PRIu64 " slices of %" PRIu64 " volumes%s%s", "  learnt from",
                 w->n_slices, w->n_volumes, *w->where == '\0' ? "" : " that pass ", w->where);
    }
    cli_line(args->out, "%-15s %s", "plane", cli_planes[info->plane]);
    cli_line(args->out, size_format, "embeddings", info->segments_nbytes, " bytes");
    cli_line(args->out, size_format, "  of removed", info->dead_nbytes, " bytes");
    cli_line(args->out, "%-15s %s", "previews", cmir_previews_name(info->previews));
    if (info->previews == CMIR_PREVIEWS_NONE)
        return;
    cli_line(args->out, size_format, "  take", info->previews_nbytes, " bytes");
    cli_line(args->out, size_format, "  of removed", info->dead_previews_nbytes, " bytes");
}

static cmir_status
run_stat(cli_args *args, cmir_error *err)
{
    cmir_archive *archive;
    const cmir_status st = cmir_archive_open(args->operands[0], CMIR_READ, &archive, err);

    if (st != CMIR_OK)
        return st;
    const cmir_archive_info *info = cmir_archive_get_info(archive);
    if (args->json) {
        json_t *o = cli_need(json_object());
        cmir_json_set(o, "Archive", cmir_json_text(info->dir));
        cmir_json_set(o, "Volumes", json_integer((json_int_t)info->n_volumes));
        cmir_json_set(o, "Slices", json_integer((json_int_t)info->n_slices));
        cmir_json_set(o, "AirSlices", json_integer((json_int_t)info->n_air_slices));
        cmir_json_set(o, "Encoder", cmir_json_encoder(info));
        cmir_json_set(o, "CardPath", cmir_json_text(info->card_path));
        cmir_json_set(o, "Dim", json_integer(info->dim));
        cmir_json_set(o, "Whitening", cmir_json_whitening(info));
        cmir_json_set(o, "Plane", json_string(cli_planes[info->plane]));
        cmir_json_set(o, "EmbeddingBytes", json_integer((json_int_t)info->segments_nbytes));
        cmir_json_set(o, "DeadBytes", json_integer((json_int_t)info->dead_nbytes));
        cmir_json_set(o, "Previews", json_string(cmir_previews_name(info->previews)));
        cmir_json_set(o, "PreviewBytes", json_integer((json_int_t)info->previews_nbytes));
        cmir_json_set(o, "DeadPreviewBytes", json_integer((json_int_t)info->dead_previews_nbytes));
        cli_json_print(args, o);
    } else {
        print_stat(args, info);
    }
    cmir_archive_close(archive);
    return CMIR_OK;
}

const cli_verb cli_verb_stat = {
    "stat", "ARCHIVE", "Says what an archive holds.", "stat lungs", 1, 1, NULL, run_stat};

/* A fault that verify found. */
static void
note_problem(void *problems, const char *sentence)
{
    cmir_json_add(problems, cmir_json_text(sentence));
}

static cmir_status
run_verify(cli_args *args, cmir_error *err)
{
    cmir_archive *archive;
    json_t *problems, *problem;
    uint64_t n = 0;
    size_t i;
    cmir_status st = cmir_archive_open(args->operands[0], CMIR_READ, &archive, err);

    if (st != CMIR_OK)
        return st;
    problems = cli_need(json_array());
    st = cmir_archive_verify(archive, note_problem, problems, &n, err);
    const uint64_t n_volumes = cmir_archive_get_info(archive)->n_volumes;
    cmir_archive_close(archive);
    if (n > 0)
        args->exit_code = 1;
    if (st == CMIR_OK && args->json) {
        cli_json_print(args,
                       json_pack("{s:o, s:I, s:b, s:O}", "Archive",
                                 cmir_json_text(args->operands[0]), "Volumes",
                                 (json_int_t)n_volumes, "Sound", n == 0, "Problems", problems));
    } else {
        json_array_foreach(problems, i, problem)
            cli_line(args->out, "%s", json_string_value(problem));
        if (st == CMIR_OK && n == 0 && !args->quiet)
            cli_line(args->out, "%s: sound, %" PRIu64 " volumes", args->operands[0], n_volumes);
        if (st == CMIR_OK && n > 0)
            cli_line(args->out, "%s: %" PRIu64 " problem%s", args->operands[0], n,
                     n == 1 ? "" : "s");
    }
    json_decref(problems);
    return st;
}

const cli_verb cli_verb_verify = {
    "verify", "ARCHIVE", "Reads all of an archive and checks it.", "verify lungs", 1, 1,
    NULL,     run_verify};

/* Rows of the table that name no volume of the archive. */
static json_t *
rows_without_volume(const cmir_label_table *table, char *const *ids, size_t n_ids)
{
    json_t *there = cli_need(json_object()), *missing = cli_need(json_array());

    for (size_t i = 0; i < n_ids; i++) {
        json_t *id = cmir_json_text(ids[i]);
        cmir_json_set(there, json_string_value(id), json_true());
        json_decref(id);
    }
    for (size_t row = 0; row < cmir_label_table_count(table); row++) {
        json_t *id = cmir_json_text(cmir_label_table_volume(table, row));
        if (json_object_get(there, json_string_value(id)) == NULL)
            cmir_json_add(missing, json_incref(id));
        json_decref(id);
    }
    json_decref(there);
    return missing;
}

static void
print_labelled(cli_args *args, size_t n_rows, size_t n_labelled, json_t *missing)
{
    const size_t shown = args->verbose ? json_array_size(missing) : 5;
    json_t *id;
    size_t i;

    if (args->json) {
        cli_json_print(args, json_pack("{s:I, s:I, s:O}", "Rows", (json_int_t)n_rows, "Labelled",
                                       (json_int_t)n_labelled, "Missing", missing));
        return;
    }
    if (args->quiet)
        return;
    cli_line(args->out, "%zu of %zu rows name a volume of the archive and were applied", n_labelled,
             n_rows);
    json_array_foreach(missing, i, id) if (i < shown)
        cli_line(args->out, "  no volume %s", json_string_value(id));
    if (json_array_size(missing) > shown)
        cli_line(args->out, "  ... and %zu more (-v lists all)", json_array_size(missing) - shown);
}

static cmir_status
run_label(cli_args *args, cmir_error *err)
{
    const char *csv = args->operands[1];
    cmir_archive *archive = NULL;
    cmir_label_table *table = NULL;
    char **ids = NULL;
    size_t n_ids = 0, n_labelled = 0;
    cmir_status st = cmir_archive_open(args->operands[0], CMIR_WRITE, &archive, err);

    if (st == CMIR_OK)
        st = cli_read_labels(csv, &table, err);
    if (st == CMIR_OK)
        st = cmir_archive_list(archive, NULL, &ids, &n_ids, err);
    if (st == CMIR_OK)
        st = cmir_archive_label(archive, table, NULL, &n_labelled, err);
    if (st == CMIR_OK) {
        const size_t n_rows = cmir_label_table_count(table);
        json_t *missing = rows_without_volume(table, ids, n_ids);
        print_labelled(args, n_rows, n_labelled, missing);
        json_decref(missing);
        if (n_rows > 0 && n_labelled == 0)
            st = cli_fail(
                err, CMIR_ENOTFOUND,
                "%.80s: no row names a volume of the archive: the first names '%.40s'%s%.40s%s",
                csv, cmir_label_table_volume(table, 0),
                n_ids > 0 ? ", the archive's first is '" : "", n_ids > 0 ? ids[0] : "",
                n_ids > 0 ? "'" : "");
    }
    cmir_ids_free(ids, n_ids);
    cmir_label_table_free(table);
    cmir_archive_close(archive);
    return st;
}

const cli_verb cli_verb_label = {
    "label",
    "ARCHIVE CSV",
    "Gives volumes labels from a CSV file: its first column, or `name`, names the volume.",
    "label lungs labels.csv",
    2,
    2,
    NULL,
    run_label};

static cmir_status
run_remove(cli_args *args, cmir_error *err)
{
    cmir_archive *archive;
    json_t *removed, *refused;
    cmir_status st = cmir_archive_open(args->operands[0], CMIR_WRITE, &archive, err);

    if (st != CMIR_OK)
        return st;
    removed = cli_need(json_array());
    refused = cli_need(json_array());
    for (int i = 1; i < args->n_operands; i++) {
        const char *id = args->operands[i];
        cmir_error why = {0};
        if (cmir_archive_remove(archive, id, &why) == CMIR_OK) {
            cmir_json_add(removed, cmir_json_text(id));
            if (!args->json && !args->quiet)
                cli_line(args->out, "removed %s", id);
        } else {
            cmir_json_add(refused, json_pack("{s:o, s:o}", "VolumeId", cmir_json_text(id), "Reason",
                                             cmir_json_text(why.msg)));
            cli_line(stderr, "cmir remove: %s", why.msg);
            args->exit_code = 1;
        }
    }
    if (args->json)
        cli_json_print(args, json_pack("{s:O, s:O}", "Removed", removed, "Refused", refused));
    json_decref(removed);
    json_decref(refused);
    cmir_archive_close(archive);
    return CMIR_OK;
}

const cli_verb cli_verb_remove = {"remove",
                                  "ARCHIVE VOLUME...",
                                  "Removes volumes from an archive; their files stay.",
                                  "remove lungs patient17_ct",
                                  2,
                                  -1,
                                  NULL,
                                  run_remove};
