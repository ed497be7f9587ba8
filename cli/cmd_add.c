/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_add.c: the verb add: scans from files into an archive.
 *
 * The one idea: a bad file never stops a batch.  What became of each volume is kept as JSON, from
 * which the table of refusals, the summary and --json are made. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli.h"

#define MAX_PATH_NBYTES 65536

struct batch {
    cli_args *args;
    const char *dir;
    cmir_archive *archive;     /* NULL until there is one */
    cmir_encoder *encoder;
    cmir_label_table *labels;  /* or NULL */
    cmir_scan *scan;
    cli_progress *progress;
    char **paths;              /* of the inputs */
    size_t n_paths, cap;
    json_t *added, *there, *refused, *skipped;
    uint64_t n_slices;         /* of volumes added */
    bool created;
};

static void
add_path(struct batch *b, const char *path)
{
    if (b->n_paths == b->cap) {
        b->cap = b->cap == 0 ? 64 : b->cap * 2;
        b->paths = cli_need(realloc(b->paths, b->cap * sizeof *b->paths));
    }
    b->paths[b->n_paths++] = cli_need(strdup(path));
}

/* One path per line. */
static cmir_status
read_paths(struct batch *b, cmir_error *err)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    cmir_status st = CMIR_OK;

    while (st == CMIR_OK && (n = getline(&line, &cap, stdin)) >= 0) {
        if (n > 0 && line[n - 1] == '\n')
            line[--n] = '\0';
        if (n > MAX_PATH_NBYTES || (n > 0 && strlen(line) != (size_t)n))
            st = cli_fail(err, CMIR_ECORRUPT, "standard input: not a list of paths, one per line");
        else if (n > 0)
            add_path(b, line);
    }
    free(line);
    if (st == CMIR_OK && ferror(stdin))
        st = cli_fail(err, CMIR_EIO, "standard input: %s", strerror(errno));
    return st;
}

/* Opens what exists; an archive that does not exist is made later, once there is a volume for
 * it. */
static cmir_status
open_batch(struct batch *b, cmir_error *err)
{
    const cli_args *args = b->args;
    const char *csv = cli_get(args, "labels");
    struct stat st;
    cmir_status status = CMIR_OK;

    if (stat(b->dir, &st) == 0)
        status = cmir_archive_open(b->dir, CMIR_WRITE, &b->archive, err);
    else if (errno != ENOENT)
        status = cli_fail(err, CMIR_EIO, "%s: %s", b->dir, strerror(errno));
    if (status == CMIR_OK)
        status = cli_open_encoder(args, b->archive, &b->encoder, err);
    if (status == CMIR_OK && csv != NULL)
        status = cli_read_labels(csv, &b->labels, err);
    for (int i = 1; i < args->n_operands && status == CMIR_OK; i++) {
        if (strcmp(args->operands[i], "-") == 0)
            status = read_paths(b, err);
        else
            add_path(b, args->operands[i]);
    }
    if (status == CMIR_OK && b->n_paths == 0)
        status = cli_fail(err, CMIR_EINVAL, "no paths on standard input");
    return status;
}

static cmir_status
scan_inputs(struct batch *b, cmir_error *err)
{
    cmir_scan_options options = {.struct_nbytes = sizeof options};
    cmir_status st;

    options.volume_id = cli_get(b->args, "id");
    if (options.volume_id != NULL && *options.volume_id == '\0')
        return cli_fail(err, CMIR_EINVAL, "--id: an id has at least one character");
    if ((st = cli_get_u32(b->args, "min-slices", 1, CMIR_MAX_SLICES, &options.min_slices, err)) !=
            CMIR_OK ||
        (st = cli_get_u32(b->args, "frame", 1, UINT32_MAX, &options.frame, err)) != CMIR_OK ||
        (st = cli_modality(b->args, &options.modality, err)) != CMIR_OK)
        return st;
    cli_progress *progress = cli_progress_start(b->args, "files looked at", 0);
    options.progress = cli_progress_count;
    options.progress_ctx = progress;
    /* A pointer to pointers to const is what the interface takes; C does not convert to it. */
    st = cmir_scan_open((const char *const *)b->paths, b->n_paths, &options, &b->scan, err);
    cli_progress_end(progress);
    return st;
}

static cmir_status
create_archive(struct batch *b, cmir_error *err)
{
    cmir_archive_options options = {.struct_nbytes = sizeof options, .plane = CMIR_AXIAL};
    cmir_status st = cli_get_previews(b->args, &options.previews, err);

    if (st != CMIR_OK ||
        (st = cmir_archive_create_with(b->dir, b->encoder, &options, err)) != CMIR_OK ||
        (st = cmir_archive_open(b->dir, CMIR_WRITE, &b->archive, err)) != CMIR_OK)
        return st;
    b->created = true;
    if (!b->args->quiet && !b->args->json)
        cli_line(b->args->out, "created archive %s with %s encoder", b->dir,
                 cli_get(b->args, "encoder") == NULL ? "the built-in" : "this");
    return CMIR_OK;
}

/* The reason, without the path that stands beside it. */
static void
refuse(struct batch *b, json_t *list, const cmir_scan_item *item, const cmir_error *why)
{
    const size_t n = strlen(item->path);
    const char *reason = why->msg;
    json_t *o = cli_need(json_object());

    if (strncmp(reason, item->path, n) == 0 && strncmp(reason + n, ": ", 2) == 0)
        reason += n + 2;
    cmir_json_set(o, "Path", cmir_json_text(item->path));
    cmir_json_set(o, "VolumeId", cmir_json_text(item->volume_id));
    cmir_json_set(o, "Reason", cmir_json_text(reason));
    cmir_json_set(o, "Status", json_string(cmir_status_name(why->code)));
    cmir_json_add(list, o);
    if (list == b->refused && b->args->verbose) {
        cli_progress_clear(b->progress);
        cli_line(stderr, "cmir add: refused %s: %s", item->path, reason);
    }
}

/* A volume that went in, or was there. */
static void
report_volume(struct batch *b, const cmir_volume *volume, bool added, uint32_t n_slices)
{
    const cmir_volume_info *info = cmir_volume_get_info(volume);
    const char *warning;
    json_t *o = cli_need(json_object()), *warnings = cli_need(json_array());

    cli_progress_clear(b->progress);
    for (size_t i = 0; (warning = cmir_volume_warning(volume, i)) != NULL; i++) {
        cmir_json_add(warnings, cmir_json_text(warning));
        if (!b->args->quiet)
            cli_line(stderr, "cmir add: warning: %s", warning);
    }
    cmir_json_set(o, "VolumeId", cmir_json_text(info->volume_id));
    cmir_json_set(o, "Path", cmir_json_text(info->path));
    cmir_json_set(o, "Slices", json_integer(n_slices));
    cmir_json_set(o, "Warnings", warnings);
    cmir_json_add(added ? b->added : b->there, o);
    if (!b->args->quiet && !b->args->json) {
        cli_line(b->args->out, added ? "added %s (%u slices)" : "already there: %s (%u slices)",
                 info->volume_id, n_slices);
        fflush(b->args->out); /* who reads this line may rely on it */
    }
}

/* Encodes and adds one volume; *added where it was new. */
static cmir_status
add_volume(struct batch *b, size_t index, cmir_error *why)
{
    cmir_volume *volume = NULL;
    cmir_stack stack = {0};
    size_t n_labelled;
    bool added = false;
    cmir_status st = cmir_volume_open(b->scan, index, &volume, why);

    if (st == CMIR_OK)
        st = cmir_volume_stack(volume, cmir_archive_get_info(b->archive)->plane, &stack, why);
    if (st == CMIR_OK)
        st = cmir_archive_add(b->archive, b->encoder, volume, NULL, 0, cli_progress_step,
                              b->progress, &added, why);
    if (st == CMIR_OK && b->labels != NULL)
        st = cmir_archive_label(b->archive, b->labels, cmir_volume_get_info(volume)->volume_id,
                                &n_labelled, why);
    if (st == CMIR_OK) {
        report_volume(b, volume, added, stack.n_slices);
        b->n_slices += added ? stack.n_slices : 0;
    }
    cli_progress_item(b->progress, stack.n_slices);
    cmir_volume_close(volume);
    return st;
}

/* Whether the archive itself failed, so that going on is of no use. */
static bool
is_archive_at_fault(const struct batch *b, const cmir_error *why)
{
    const char *dir = cmir_archive_get_info(b->archive)->dir;
    const size_t n = strlen(dir);

    return (why->code == CMIR_EIO || why->code == CMIR_ECORRUPT || why->code == CMIR_EBUSY) &&
           strncmp(why->msg, dir, n) == 0 && (why->msg[n] == '/' || why->msg[n] == ':');
}

static cmir_status
add_all(struct batch *b, cmir_error *err)
{
    const size_t n = cmir_scan_count(b->scan);
    size_t n_volumes = 0;
    cmir_status st = CMIR_OK;

    for (size_t i = 0; i < n; i++)
        n_volumes += cmir_scan_get(b->scan, i)->state == CMIR_SCAN_VOLUME;
    if (n_volumes > 1 && cli_get(b->args, "id") != NULL)
        return cli_fail(err, CMIR_EINVAL, "--id fits one volume, and the inputs hold %zu",
                        n_volumes);
    if (n_volumes > 0 && b->archive == NULL && (st = create_archive(b, err)) != CMIR_OK)
        return st;
    b->progress = cli_progress_start(b->args, "volumes", n_volumes);
    for (size_t i = 0; i < n && st == CMIR_OK && !cli_interrupted(); i++) {
        const cmir_scan_item *item = cmir_scan_get(b->scan, i);
        cmir_error why = {0};
        if (item->state == CMIR_SCAN_REFUSED)
            refuse(b, b->refused, item, &item->reason);
        else if (item->state == CMIR_SCAN_SKIPPED)
            refuse(b, b->skipped, item, &item->reason);
        else if ((st = add_volume(b, i, &why)) == CMIR_OK || cli_interrupted())
            continue;
        else if (is_archive_at_fault(b, &why))
            *err = why;
        else {
            refuse(b, b->refused, item, &why);
            st = CMIR_OK;
        }
    }
    cli_progress_end(b->progress);
    b->progress = NULL;
    return st == CMIR_ECANCELLED ? CMIR_OK : st;
}

static void
print_list(const char *heading, const json_t *list)
{
    cli_table table = {.n_columns = 2};
    json_t *o;
    size_t i;

    if (json_array_size(list) == 0)
        return;
    cli_cell(&table, "%s", heading);
    cli_cell(&table, "REASON");
    json_array_foreach(list, i, o)
    {
        cli_cell(&table, "%s", json_string_value(json_object_get(o, "Path")));
        cli_cell(&table, "%s", json_string_value(json_object_get(o, "Reason")));
    }
    cli_print_table(&table, stderr);
}

static void
print_summary(struct batch *b, double seconds)
{
    const size_t n_added = json_array_size(b->added), n_there = json_array_size(b->there);
    const size_t n_refused = json_array_size(b->refused), n_skipped = json_array_size(b->skipped);

    if (b->args->json)
        cli_json_print(b->args,
                       json_pack("{s:o, s:b, s:O, s:O, s:O, s:O, s:I, s:f, s:b}", "Archive",
                                 cmir_json_text(b->dir), "Created", b->created, "Added", b->added,
                                 "AlreadyThere", b->there, "Refused", b->refused, "Skipped",
                                 b->skipped, "Slices", (json_int_t)b->n_slices, "Seconds", seconds,
                                 "Interrupted", cli_interrupted()));
    fflush(b->args->out);
    if (b->args->verbose)
        print_list("SKIPPED", b->skipped);
    print_list("REFUSED", b->refused);
    if (cli_interrupted())
        cli_line(stderr, "cmir add: interrupted; what was added stays");
    if (!b->args->json && !b->args->quiet)
        cli_line(b->args->out,
                 "%zu added, %zu already there, %zu refused, %zu skipped; %llu new "
                 "slices in %.1f s",
                 n_added, n_there, n_refused, n_skipped, (unsigned long long)b->n_slices, seconds);
    if (n_refused > 0 || cli_interrupted())
        b->args->exit_code = 1;
}

static cmir_status
run_batch(struct batch *b, cmir_error *err)
{
    struct timespec start, end;
    cmir_status st;

    if ((st = open_batch(b, err)) != CMIR_OK || (st = scan_inputs(b, err)) != CMIR_OK)
        return st;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    if ((st = add_all(b, err)) == CMIR_EINVAL)
        return st;
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    print_summary(b, (double)(end.tv_sec - start.tv_sec) +
                         (double)(end.tv_nsec - start.tv_nsec) * 1e-9);
    if (st == CMIR_OK && !cli_interrupted() && json_array_size(b->refused) == 0 &&
        json_array_size(b->added) + json_array_size(b->there) == 0)
        st = cli_fail(err, CMIR_ENOTFOUND, "no scan found: %zu skipped (-v lists them)",
                      json_array_size(b->skipped));
    return st;
}

static cmir_status
run_add(cli_args *args, cmir_error *err)
{
    struct batch b = {.args = args, .dir = args->operands[0]};

    b.added = cli_need(json_array());
    b.there = cli_need(json_array());
    b.refused = cli_need(json_array());
    b.skipped = cli_need(json_array());
    cli_catch_interrupts();
    const cmir_status st = run_batch(&b, err);
    for (size_t i = 0; i < b.n_paths; i++)
        free(b.paths[i]);
    free(b.paths);
    json_decref(b.added);
    json_decref(b.there);
    json_decref(b.refused);
    json_decref(b.skipped);
    cmir_scan_close(b.scan);
    cmir_label_table_free(b.labels);
    cmir_encoder_close(b.encoder);
    cmir_archive_close(b.archive);
    return st;
}

static const cli_option add_options[] = {
    {"labels", 0, "CSV", "labels of the volumes; the column `name` (or the first) names them"},
    {"id", 0, "ID", "the volume's id; the inputs must hold just one"},
    {"modality", 0, "CT|MR", "of files that state none (NIfTI); default: told by the values"},
    {"frame", 0, "N", "frame of a 4-D NIfTI, from 1"},
    {"min-slices", 0, "N", "skip series with fewer slices (default 5): scouts"},
    {"encoder", 0, "CARD", "where the archive's encoder card lies now, or of a new archive"},
    CLI_PREVIEWS_OPTION,
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_add = {
    "add",
    "ARCHIVE INPUT...",
    "Adds scans: DICOM and NIfTI files, folders with all below; - reads paths from standard input.",
    "add lungs /data/ct --labels labels.csv\nadd lungs scan.nii.gz --id patient17_ct",
    2,
    -1,
    add_options,
    run_add};
