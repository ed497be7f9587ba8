/* SPDX-License-Identifier: Apache-2.0 */
/* open.c: archives, encoders and queries as the command line names them. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

#define QUERY_MIN_SLICES 1u /* a slab of a few slices is a query too */

const char *const cli_planes[] = {"axial", "coronal", "sagittal", NULL};

/* Whether its encoder runs outside of cmir: such a card says so. */
static bool
is_external(const cmir_archive_info *info)
{
    json_t *card = json_loads(info->card_json, 0, NULL);
    const bool external = json_is_true(json_object_get(card, "external"));

    json_decref(card);
    return external;
}

cmir_status
cli_get_previews(const cli_args *args, cmir_previews *out, cmir_error *err)
{
    static const char *const names[] = {"small", "none", "full", NULL};
    static const cmir_previews kinds[] = {CMIR_PREVIEWS_SMALL, CMIR_PREVIEWS_NONE,
                                          CMIR_PREVIEWS_FULL};
    int choice;
    const cmir_status st = cli_get_choice(args, "previews", names, &choice, err);

    *out = st == CMIR_OK ? kinds[choice] : CMIR_PREVIEWS_NONE;
    return st;
}

bool
cli_is_archive(const char *path)
{
    struct stat st;
    cmir_archive *archive = NULL;

    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return false;
    const cmir_status status = cmir_archive_open(path, CMIR_READ, &archive, NULL);
    cmir_archive_close(archive);
    return status != CMIR_ENOTFOUND;
}

cmir_status
cli_open_encoder(const cli_args *args, const cmir_archive *archive, cmir_encoder **out,
                 cmir_error *err)
{
    cmir_encoder_options options = {.struct_nbytes = sizeof options,
                                    .onnxruntime_path = cli_get(args, "onnxruntime")};
    const cmir_archive_info *info = archive == NULL ? NULL : cmir_archive_get_info(archive);
    const char *given = cli_get(args, "encoder");
    const bool remembered = given == NULL && info != NULL && info->card_path[0] != '\0';
    const char *card = given != NULL ? given : remembered ? info->card_path : "builtin";
    cmir_error cause = {0};
    cmir_status st = cli_get_u32(args, "threads", 1, 256, &options.n_threads, err);

    *out = NULL;
    if (st != CMIR_OK)
        return st;
    if (given == NULL && info != NULL && is_external(info))
        return cli_fail(err, CMIR_EUNSUPPORTED,
                        "%.120s: its encoder %.40s runs outside of cmir: give embeddings (.npy), "
                        "not scans",
                        info->dir, info->encoder_name);
    st = cmir_encoder_open(card, &options, out, &cause);
    if (st == CMIR_ENOTFOUND && remembered)
        return cli_fail(err, st, "%s; if encoder %.40s lies elsewhere now: --encoder CARD.json",
                        cause.msg, info->encoder_name);
    if (st == CMIR_OK && archive != NULL)
        st = cmir_archive_check_encoder(archive, *out, &cause);
    if (st != CMIR_OK) {
        cmir_encoder_close(*out);
        *out = NULL;
        return cli_fail(err, st, "%s", cause.msg);
    }
    return CMIR_OK;
}

/* What is wrong with a file is no mistake of the command line. */
cmir_status
cli_read_labels(const char *path, cmir_label_table **out, cmir_error *err)
{
    cmir_error cause = {0};
    const cmir_status st = cmir_label_table_read(path, out, &cause);

    return st == CMIR_OK ? st
                         : cli_fail(err, st == CMIR_EINVAL ? CMIR_ECORRUPT : st, "%s", cause.msg);
}

cmir_status
cli_modality(const cli_args *args, const char **out, cmir_error *err)
{
    static const char *const names[] = {"CT", "MR", NULL};
    int choice;
    const cmir_status st = cli_get_choice(args, "modality", names, &choice, err);

    *out = cli_get(args, "modality") == NULL ? NULL : names[choice];
    return st;
}

/* The one volume of a scan, or the one called `series`; the error lists what there is. */
static cmir_status
choose_volume(const cmir_scan *scan, const char *path, const char *series, size_t *chosen,
              cmir_error *err)
{
    const cmir_scan_item *refused = NULL;
    size_t n_volumes = 0, n_fits = 0, n_refused = 0;
    char ids[160] = "";

    for (size_t i = 0; i < cmir_scan_count(scan); i++) {
        const cmir_scan_item *item = cmir_scan_get(scan, i);
        if (item->state == CMIR_SCAN_REFUSED) {
            refused = item;
            n_refused++;
        }
        if (item->state != CMIR_SCAN_VOLUME)
            continue;
        if (n_volumes++ < 8)
            snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s%s",
                     n_volumes == 1 ? "" : ", ", item->volume_id);
        if (series == NULL || strcmp(series, item->volume_id) == 0) {
            *chosen = i;
            n_fits++;
        }
    }
    if (n_fits == 1)
        return CMIR_OK;
    if (n_fits > 1 && series == NULL)
        return cli_fail(err, CMIR_EINVAL, "%.60s holds %zu volumes; choose with --series: %s", path,
                        n_volumes, ids);
    if (n_fits > 1)
        return cli_fail(err, CMIR_EINVAL, "%.80s holds %zu volumes called %s", path, n_fits,
                        series);
    if (n_volumes > 0)
        return cli_fail(err, CMIR_ENOTFOUND, "%.60s holds no series %.64s, but %s", path, series,
                        ids);
    if (n_refused == 1)
        return cli_fail(err, refused->reason.code, "%s", refused->reason.msg);
    if (n_refused > 1)
        return cli_fail(err, refused->reason.code, "%s (and %zu more refused)", refused->reason.msg,
                        n_refused - 1);
    return cli_fail(err, CMIR_ENOTFOUND, "%s: no scan found in it%s", path,
                    cli_is_archive(path) ? "; to search with a volume of an archive, name it as "
                                           "ARCHIVE:VOLUME"
                                         : "");
}

/* Scouts beside a series do not count unless there is nothing else. */
static cmir_status
open_volume(const cli_args *args, const char *path, cmir_volume **out, cmir_error *err)
{
    cmir_scan_options options = {.struct_nbytes = sizeof options};
    const char *series = cli_get(args, "series");
    cmir_scan *scan = NULL;
    size_t chosen = 0;
    cmir_status st = cli_get_u32(args, "frame", 1, UINT32_MAX, &options.frame, err);

    if (st != CMIR_OK || (st = cli_modality(args, &options.modality, err)) != CMIR_OK ||
        (st = cmir_scan_open(&path, 1, &options, &scan, err)) != CMIR_OK)
        return st;
    if (choose_volume(scan, path, series, &chosen, NULL) == CMIR_ENOTFOUND) {
        cmir_scan_close(scan);
        scan = NULL;
        options.min_slices = QUERY_MIN_SLICES;
        if ((st = cmir_scan_open(&path, 1, &options, &scan, err)) != CMIR_OK)
            return st;
    }
    if ((st = choose_volume(scan, path, series, &chosen, err)) == CMIR_OK)
        st = cmir_volume_open(scan, chosen, out, err);
    cmir_scan_close(scan);
    for (size_t i = 0; st == CMIR_OK && !args->quiet && cmir_volume_warning(*out, i); i++)
        cli_line(stderr, "cmir: warning: %s", cmir_volume_warning(*out, i));
    return st;
}

/* ARCHIVE:VOLUME, split at the last colon behind the name of an archive; either part may hold
 * colons. */
static cmir_status
open_stored(const char *text, cli_query *out, cmir_error *err)
{
    char *dir = cli_need(strdup(text));
    cmir_status st = CMIR_ENOTFOUND;

    for (char *colon; st == CMIR_ENOTFOUND && (colon = strrchr(dir, ':')) != NULL;) {
        *colon = '\0';
        if (!cli_is_archive(dir))
            continue;
        out->volume_id = text + (colon - dir) + 1;
        st = cmir_archive_open(dir, CMIR_READ, &out->archive, err);
    }
    free(dir);
    if (out->volume_id == NULL)
        return cli_fail(err, CMIR_ENOTFOUND,
                        "%s: no such file or folder, and no ARCHIVE:VOLUME of an archive that "
                        "exists",
                        text);
    return st;
}

/* Rows of a query are of any length, but of some. */
static cmir_status
check_rows(const char *path, const cli_npy *npy, cmir_error *err)
{
    for (uint32_t i = 0; i < npy->n_slices; i++) {
        const float *row = npy->rows + (size_t)i * npy->dim;
        double sum = 0;

        for (uint32_t d = 0; d < npy->dim; d++)
            sum += (double)row[d] * (double)row[d];
        if (!(sum > 0) || isinf(sum))
            return cli_fail(err, CMIR_ECORRUPT, "%s: the embedding of slice %u has no direction",
                            path, i);
    }
    return CMIR_OK;
}

cmir_status
cli_open_query(const cli_args *args, const char *text, cli_query *out, cmir_error *err)
{
    struct stat st;

    *out = (cli_query){0};
    if (stat(text, &st) == 0 && S_ISREG(st.st_mode) && cli_is_npy(text)) {
        out->volume_id = out->npy_id = cli_npy_id(text);
        const cmir_status read = cli_npy_read(text, &out->npy, err);
        return read == CMIR_OK ? check_rows(text, &out->npy, err) : read;
    }
    if (stat(text, &st) == 0)
        return open_volume(args, text, &out->volume, err);
    if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG)
        return cli_fail(err, CMIR_EIO, "%s: %s", text, strerror(errno));
    return open_stored(text, out, err);
}

void
cli_close_query(cli_query *query)
{
    cmir_volume_close(query->volume);
    cmir_archive_close(query->archive);
    cli_npy_free(&query->npy);
    free(query->npy_id);
    *query = (cli_query){0};
}
