/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_import.c: the verb import: embeddings from .npy files into an archive.
 *
 * The one idea: files are read a batch at a time, and every batch is one commit: durable, or not
 * there.  A bad file never stops the others. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli.h"

#define BATCH_NBYTES ((size_t)256 << 20) /* of embeddings read together */
#define BATCH_FILES 512u
#define MAX_DEPTH 64u

struct import {
    cli_args *args;
    const char *dir;
    cmir_archive *archive; /* NULL until the first file tells its dimension */
    uint32_t dim;          /* of the embeddings that it takes */
    char **paths;
    size_t n_paths, cap;
    cli_progress *progress;
    cmir_import_item items[BATCH_FILES];
    cli_npy npys[BATCH_FILES];
    size_t n_items, n_bytes;
    json_t *refused;
    uint64_t n_added, n_there, n_slices;
    bool created;
};

static void
add_path(struct import *m, const char *path)
{
    if (m->n_paths == m->cap) {
        m->cap = m->cap == 0 ? 64 : m->cap * 2;
        m->paths = cli_need(realloc(m->paths, m->cap * sizeof *m->paths));
    }
    m->paths[m->n_paths++] = cli_need(strdup(path));
}

/* All .npy files below a folder, by name. */
static cmir_status
add_folder(struct import *m, const char *folder, unsigned depth, cmir_error *err)
{
    struct dirent **entries;
    cmir_status st = CMIR_OK;
    const int n = depth > MAX_DEPTH ? -1 : scandir(folder, &entries, NULL, alphasort);

    if (n < 0)
        return cli_fail(err, CMIR_EIO, "%s: %s", folder,
                        depth > MAX_DEPTH ? "folders are nested too deeply" : strerror(errno));
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        const size_t length = strlen(folder) + strlen(name) + 2;
        char *path = cli_need(malloc(length));
        struct stat info;

        (void)snprintf(path, length, "%s/%s", folder, name);
        if (st == CMIR_OK && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
            lstat(path, &info) == 0) {
            if (S_ISDIR(info.st_mode))
                st = add_folder(m, path, depth + 1, err);
            else if (cli_is_npy(name))
                add_path(m, path);
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
    return st;
}

static cmir_status
find_files(struct import *m, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    for (int i = 1; i < m->args->n_operands && st == CMIR_OK; i++) {
        const char *path = m->args->operands[i];
        struct stat info;

        if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
            st = add_folder(m, path, 0, err);
        else
            add_path(m, path);
    }
    if (st == CMIR_OK && m->n_paths == 0)
        st = cli_fail(err, CMIR_ENOTFOUND, "no .npy file found");
    return st;
}

static void
refuse(struct import *m, const char *path, const cmir_error *why)
{
    const size_t n = strlen(path);
    const char *reason = why->msg;
    json_t *o = cli_need(json_object());

    if (strncmp(reason, path, n) == 0 && strncmp(reason + n, ": ", 2) == 0)
        reason += n + 2;
    cmir_json_set(o, "Path", cmir_json_text(path));
    cmir_json_set(o, "Reason", cmir_json_text(reason));
    cmir_json_set(o, "Status", json_string(cmir_status_name(why->code)));
    cmir_json_add(m->refused, o);
}

/* The archive that is there, or a new one of an external encoder of dimension `dim`. */
static cmir_status
open_archive(struct import *m, uint32_t dim, cmir_error *err)
{
    const char *name = cli_get(m->args, "external");
    const char *version = cli_get(m->args, "external-version");
    cmir_encoder *encoder;
    struct stat info;
    cmir_status st;

    if (stat(m->dir, &info) != 0 && errno == ENOENT) {
        if (name == NULL)
            return cli_fail(err, CMIR_EINVAL,
                            "%s does not exist; to make it, say which encoder made the "
                            "embeddings: --external NAME [--external-version V]",
                            m->dir);
        if ((st = cmir_encoder_external(name, version == NULL ? "1" : version, dim, &encoder,
                                        err)) != CMIR_OK)
            return st;
        st = cmir_archive_create(m->dir, encoder, CMIR_AXIAL, err);
        cmir_encoder_close(encoder);
        if (st != CMIR_OK)
            return st;
        m->created = true;
    }
    if ((st = cmir_archive_open(m->dir, CMIR_WRITE, &m->archive, err)) != CMIR_OK)
        return st;
    const cmir_archive_info *own = cmir_archive_get_info(m->archive);
    const char *own_name = own->whitening != NULL ? own->whitening->base_name : own->encoder_name;
    m->dim = own->whitening != NULL ? own->whitening->base_dim : own->dim;
    if ((name != NULL && strcmp(name, own_name) != 0) ||
        (version != NULL && strcmp(version, own->encoder_version) != 0))
        return cli_fail(err, CMIR_EMISMATCH,
                        "%.120s: made with encoder %.40s %.16s, which is not what --external or "
                        "--external-version says",
                        m->dir, own_name, own->encoder_version);
    return CMIR_OK;
}

/* Adds what was read, with one commit. */
static cmir_status
commit(struct import *m, cmir_error *err)
{
    uint32_t n_threads = 0, dim = m->n_items == 0 ? 0 : m->npys[0].dim;
    cmir_status st = cli_get_u32(m->args, "threads", 1, 256, &n_threads, err);

    if (st == CMIR_OK && m->n_items > 0)
        st = cmir_archive_import(m->archive, dim, m->items, m->n_items, n_threads, err);
    for (size_t i = 0; i < m->n_items; i++) {
        cmir_import_item *item = &m->items[i];

        if (st == CMIR_OK && item->error.code != CMIR_OK)
            refuse(m, item->path, &item->error);
        m->n_added += item->added;
        m->n_there += st == CMIR_OK && !item->added && item->error.code == CMIR_OK;
        m->n_slices += item->added ? item->n_slices : 0;
        cli_progress_item(m->progress, item->n_slices);
        free((char *)(uintptr_t)item->volume_id);
        cli_npy_free(&m->npys[i]);
    }
    m->n_items = m->n_bytes = 0;
    return st;
}

/* Reads one file into the batch; what is wrong with it is told in the end. */
static cmir_status
take_file(struct import *m, const char *path, cmir_error *err)
{
    cli_npy npy;
    cmir_error why = {0};
    cmir_status st;

    if (cli_npy_read(path, &npy, &why) != CMIR_OK) {
        refuse(m, path, &why);
        cli_progress_item(m->progress, 0);
        return CMIR_OK;
    }
    if (m->archive == NULL && (st = open_archive(m, npy.dim, err)) != CMIR_OK) {
        cli_npy_free(&npy);
        return st;
    }
    if (npy.dim != m->dim) {
        (void)cli_fail(&why, CMIR_EMISMATCH,
                       "%s: embeddings of dimension %u; the archive's have %u", path, npy.dim,
                       m->dim);
        refuse(m, path, &why);
        cli_npy_free(&npy);
        return CMIR_OK;
    }
    m->npys[m->n_items] = npy;
    m->items[m->n_items++] = (cmir_import_item){
        .volume_id = cli_npy_id(path), .path = path, .rows = npy.rows, .n_slices = npy.n_slices};
    m->n_bytes += (size_t)npy.n_slices * npy.dim * sizeof(float);
    return m->n_items == BATCH_FILES || m->n_bytes >= BATCH_NBYTES ? commit(m, err) : CMIR_OK;
}

static void
print_summary(struct import *m, double seconds)
{
    const size_t n_refused = json_array_size(m->refused);
    cli_table table = {.n_columns = 2};
    json_t *o;
    size_t i;

    if (m->args->json)
        cli_json_print(m->args,
                       json_pack("{s:o, s:b, s:I, s:I, s:O, s:I, s:f, s:b}", "Archive",
                                 cmir_json_text(m->dir), "Created", m->created, "Added",
                                 (json_int_t)m->n_added, "AlreadyThere", (json_int_t)m->n_there,
                                 "Refused", m->refused, "Slices", (json_int_t)m->n_slices,
                                 "Seconds", seconds, "Interrupted", cli_interrupted()));
    cli_cell(&table, "REFUSED");
    cli_cell(&table, "REASON");
    json_array_foreach(m->refused, i, o)
    {
        cli_cell(&table, "%s", json_string_value(json_object_get(o, "Path")));
        cli_cell(&table, "%s", json_string_value(json_object_get(o, "Reason")));
    }
    cli_print_table(&table, n_refused > 0 ? stderr : NULL);
    if (cli_interrupted())
        cli_line(stderr, "cmir import: interrupted; what was committed stays");
    if (!m->args->json && !m->args->quiet)
        cli_line(m->args->out,
                 "%llu added, %llu already there, %zu refused; %llu new slices in %.1f s",
                 (unsigned long long)m->n_added, (unsigned long long)m->n_there, n_refused,
                 (unsigned long long)m->n_slices, seconds);
    if (n_refused > 0 || cli_interrupted())
        m->args->exit_code = 1;
}

static cmir_status
import_files(struct import *m, cmir_error *err)
{
    const char *csv = cli_get(m->args, "labels");
    cmir_label_table *labels = NULL;
    struct timespec start, end;
    size_t n_labelled;
    cmir_status st = find_files(m, err);

    if (st != CMIR_OK || (csv != NULL && (st = cli_read_labels(csv, &labels, err)) != CMIR_OK))
        return st;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    m->progress = cli_progress_start(m->args, "volumes", m->n_paths);
    for (size_t i = 0; i < m->n_paths && st == CMIR_OK && !cli_interrupted(); i++)
        st = take_file(m, m->paths[i], err);
    if (st == CMIR_OK)
        st = commit(m, err);
    if (st == CMIR_OK && labels != NULL && m->archive != NULL)
        st = cmir_archive_label(m->archive, labels, NULL, &n_labelled, err);
    cli_progress_end(m->progress);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    cmir_label_table_free(labels);
    if (st != CMIR_EINVAL)
        print_summary(m, (double)(end.tv_sec - start.tv_sec) +
                             (double)(end.tv_nsec - start.tv_nsec) * 1e-9);
    return st;
}

static cmir_status
run_import(cli_args *args, cmir_error *err)
{
    struct import *m = cli_need(calloc(1, sizeof *m));

    m->args = args;
    m->dir = args->operands[0];
    m->refused = cli_need(json_array());
    cli_catch_interrupts();
    const cmir_status st = import_files(m, err);
    for (size_t i = 0; i < m->n_items; i++) {
        free((char *)(uintptr_t)m->items[i].volume_id);
        cli_npy_free(&m->npys[i]);
    }
    for (size_t i = 0; i < m->n_paths; i++)
        free(m->paths[i]);
    free(m->paths);
    json_decref(m->refused);
    cmir_archive_close(m->archive);
    free(m);
    return st;
}

static const cli_option import_options[] = {
    {"labels", 0, "CSV", "labels of the volumes; the column `name` (or the first) names them"},
    {"external", 0, "NAME", "of a new archive: the encoder that made the embeddings"},
    {"external-version", 0, "V", "and its version (default 1)"},
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_import = {
    "import",
    "ARCHIVE INPUT...",
    "Adds embeddings made elsewhere: .npy files (float32, slices x dimension), folders with all "
    "below.",
    "import brains embeddings/ --external dinov2_b --labels labels.csv\n"
    "import brains patient17.npy",
    2,
    -1,
    import_options,
    run_import};
