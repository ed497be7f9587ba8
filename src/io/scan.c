/* SPDX-License-Identifier: Apache-2.0 */
/* scan.c: from paths to volumes; called through cmir/volume.h.
 *
 * The one idea: every file is looked at once, and becomes part of a series, a volume of its own,
 * or an item that says why it is of no use.  Nothing found in a file fails the scan. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/dicom.h"
#include "io/io_internal.h"
#include "io/scan_index.h"
#include "volume/volume_internal.h"

#define DEFAULT_MIN_SLICES 5u
#define MAX_FILES 10000000u
#define MAX_DEPTH 64u
#define MAX_WAITING 64u

/* An item and what it stands for: a series, a NIfTI file, or nothing. */
struct entry {
    cmir_scan_item item; /* strings owned */
    cmir_dicom_series *series;
    bool is_nifti;
};

struct cmir_scan {
    struct entry *entries;
    size_t n, cap;
    uint32_t min_slices, frame;
    char *modality, *volume_id; /* NULL: not given */
    /* While scanning. */
    cmir_progress_fn progress;
    void *progress_ctx;
    uint64_t n_files;
    cmir_dicom_series **series;
    size_t n_series, series_cap;
    cmir_index series_index, seen; /* seen: device and inode of files and folders */
    struct file_key {
        uint64_t device, inode;
    } *keys;
    size_t n_keys, keys_cap;
    cmir_dicom_look *waiting; /* [MAX_WAITING]: files to be read together, paths owned */
    size_t n_waiting;
};

static cmir_status
out_of_memory(cmir_error *err)
{
    return FAIL(err, CMIR_ENOMEM, "no memory to scan files");
}

/* Adds an item; `reason` may be NULL. */
static cmir_status
add_item(cmir_scan *scan, cmir_scan_state state, const char *path, const char *volume_id,
         const cmir_error *reason, cmir_error *err)
{
    if (!cmir_grow((void **)&scan->entries, &scan->cap, scan->n + 1, sizeof *scan->entries))
        return out_of_memory(err);
    struct entry *e = &scan->entries[scan->n];
    char *id = cmir_strdup(volume_id), *name = cmir_strdup(path);
    if (id == NULL || name == NULL) {
        free(id);
        free(name);
        return out_of_memory(err);
    }
    memset(e, 0, sizeof *e);
    e->item = (cmir_scan_item){.state = state, .volume_id = id, .path = name, .n_files = 1};
    if (reason != NULL)
        e->item.reason = *reason;
    scan->n++;
    return CMIR_OK;
}

static cmir_status
add_refused(cmir_scan *scan, const char *path, int error_number, cmir_error *err)
{
    cmir_error reason = {0};

    (void)FAIL(&reason, error_number == ENOENT ? CMIR_ENOTFOUND : CMIR_EIO, "%s: %s",
               cmir_shown_path(path), strerror(error_number));
    return add_item(scan, CMIR_SCAN_REFUSED, path, "", &reason, err);
}

/* Do a file and the first of a series belong together?  By SeriesInstanceUID, and where that was
 * removed, by folder. */
static bool
is_of_series(const cmir_dicom_series *series, const char *uid, const char *path)
{
    const char *first = series->files[0].path;
    const size_t n = (size_t)(strrchr(path, '/') - path) + 1;

    return strcmp(series->text.series_uid, uid) == 0 &&
           (uid[0] != '\0' || (strncmp(first, path, n) == 0 && strchr(first + n, '/') == NULL));
}

/* The series of a file, made if need be; takes `text`. */
static cmir_dicom_series *
find_series(cmir_scan *scan, const char *path, cmir_dicom_text *text)
{
    const char *uid = text->series_uid;
    const uint64_t key = uid[0] != '\0'
                             ? cmir_index_hash(uid, strlen(uid))
                             : cmir_index_hash(path, (size_t)(strrchr(path, '/') - path));
    size_t cursor = 0;
    uint64_t found;

    while (cmir_index_next(&scan->series_index, key, &cursor, &found)) {
        if (is_of_series(scan->series[found], uid, path)) {
            cmir_dicom_text_clear(text);
            return scan->series[found];
        }
    }
    if (!cmir_grow((void **)&scan->series, &scan->series_cap, scan->n_series + 1,
                   sizeof *scan->series) ||
        !cmir_index_add(&scan->series_index, key, scan->n_series))
        return NULL;
    cmir_dicom_series *series = cmir_alloc_zeroed(1, sizeof *series);
    if (series == NULL)
        return NULL;
    series->text = *text;
    memset(text, 0, sizeof *text);
    scan->series[scan->n_series++] = series;
    return series;
}

/* Takes what was found in a file. */
static cmir_status
add_look(cmir_scan *scan, cmir_dicom_look *look, cmir_error *err)
{
    if (look->status != CMIR_OK) {
        const bool skip =
            look->kind == CMIR_DICOM_OTHER || (look->kind == CMIR_DICOM_NONE && !look->named);
        return add_item(scan, skip ? CMIR_SCAN_SKIPPED : CMIR_SCAN_REFUSED, look->path, "",
                        &look->reason, err);
    }
    cmir_dicom_series *series = find_series(scan, look->path, &look->text);
    if (series == NULL || !cmir_grow((void **)&series->files, &series->files_cap,
                                     series->n_files + 1, sizeof *series->files))
        return out_of_memory(err);
    series->n_slices += look->file.is_scout ? 0 : look->file.n_frames;
    series->files[series->n_files++] = look->file;
    memset(&look->file, 0, sizeof look->file);
    return CMIR_OK;
}

/* Reads the files that wait, several at a time, and takes them in the order they were met. */
static cmir_status
take_waiting(cmir_scan *scan, cmir_error *err)
{
    cmir_status st = CMIR_OK;

    cmir_dicom_read_batch(scan->waiting, scan->n_waiting);
    for (size_t i = 0; i < scan->n_waiting; i++) {
        cmir_dicom_look *look = &scan->waiting[i];
        if (st == CMIR_OK)
            st = add_look(scan, look, err);
        cmir_dicom_file_clear(&look->file);
        cmir_dicom_text_clear(&look->text);
        free(look->path);
        look->path = NULL;
    }
    scan->n_waiting = 0;
    return st;
}

static cmir_status
add_dicom(cmir_scan *scan, const char *path, bool named, cmir_error *err)
{
    if (scan->waiting == NULL)
        scan->waiting = cmir_alloc_zeroed(MAX_WAITING, sizeof *scan->waiting);
    char *copy = cmir_strdup(path);
    if (scan->waiting == NULL || copy == NULL) {
        free(copy);
        return out_of_memory(err);
    }
    cmir_dicom_look *look = &scan->waiting[scan->n_waiting++];
    memset(look, 0, sizeof *look);
    look->path = copy;
    look->named = named;
    return scan->n_waiting < MAX_WAITING ? CMIR_OK : take_waiting(scan, err);
}

static cmir_status
add_nifti(cmir_scan *scan, const char *path, cmir_error *err)
{
    cmir_volume *volume = NULL;
    cmir_error reason = {0};
    cmir_status st;

    if (cmir_nifti_open(path, scan->frame, scan->modality, &volume, &reason) != CMIR_OK)
        return add_item(scan, CMIR_SCAN_REFUSED, path, "", &reason, err);
    const uint32_t n = volume->info.dims[2];
    if (n < scan->min_slices) {
        (void)FAIL(&reason, CMIR_EUNSUPPORTED, "%s: %u slices, fewer than %u",
                   cmir_shown_path(path), n, scan->min_slices);
        st = add_item(scan, CMIR_SCAN_SKIPPED, path, volume->info.volume_id, &reason, err);
    } else {
        st = add_item(scan, CMIR_SCAN_VOLUME, path, volume->info.volume_id, NULL, err);
        if (st == CMIR_OK)
            scan->entries[scan->n - 1].is_nifti = true;
    }
    cmir_volume_close(volume);
    return st;
}

/* Notes a file or folder; *again if it was met before, by another name or through a link. */
static cmir_status
note_seen(cmir_scan *scan, const struct stat *info, bool *again, cmir_error *err)
{
    const struct file_key key = {(uint64_t)info->st_dev, (uint64_t)info->st_ino};
    const uint64_t hash = cmir_index_hash(&key, sizeof key);
    size_t cursor = 0;
    uint64_t found;

    *again = true;
    while (cmir_index_next(&scan->seen, hash, &cursor, &found))
        if (scan->keys[found].device == key.device && scan->keys[found].inode == key.inode)
            return CMIR_OK;
    *again = false;
    if (!cmir_grow((void **)&scan->keys, &scan->keys_cap, scan->n_keys + 1, sizeof *scan->keys) ||
        !cmir_index_add(&scan->seen, hash, scan->n_keys))
        return out_of_memory(err);
    scan->keys[scan->n_keys++] = key;
    return CMIR_OK;
}

static cmir_status
visit_file(cmir_scan *scan, const char *path, bool named, cmir_error *err)
{
    if (++scan->n_files > MAX_FILES)
        return FAIL(err, CMIR_ELIMIT, "more than %u files", MAX_FILES);
    if (scan->progress != NULL && scan->progress(scan->progress_ctx, scan->n_files, 0) != 0)
        return FAIL(err, CMIR_ECANCELLED, "the scan was stopped");
    return cmir_nifti_named(path) ? add_nifti(scan, path, err) : add_dicom(scan, path, named, err);
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in a folder, sorted; errno tells of a failure. */
static bool
list_folder(const char *path, char ***out, size_t *n_out)
{
    DIR *dir = opendir(path);
    struct dirent *d;
    char **names = NULL;
    size_t n = 0, cap = 0;
    bool ok = dir != NULL;

    while (ok && (errno = 0, d = readdir(dir)) != NULL) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        ok = cmir_grow((void **)&names, &cap, n + 1, sizeof *names) &&
             (names[n] = cmir_strdup(d->d_name)) != NULL;
        n += ok;
        if (!ok)
            errno = ENOMEM;
    }
    const int error_number = errno;
    if (dir != NULL)
        (void)closedir(dir);
    if (n > 0)
        qsort(names, n, sizeof *names, compare_names);
    *out = names;
    *n_out = n;
    errno = error_number;
    return error_number == 0;
}

static cmir_status visit(cmir_scan *scan, const char *path, unsigned depth, cmir_error *err);

static cmir_status
visit_folder(cmir_scan *scan, const char *path, unsigned depth, cmir_error *err)
{
    cmir_error reason = {0};
    cmir_status st = CMIR_OK;
    char **names = NULL;
    size_t n = 0;

    if (depth >= MAX_DEPTH) {
        (void)FAIL(&reason, CMIR_ELIMIT, "%s: more than %u folders deep", cmir_shown_path(path),
                   MAX_DEPTH);
        return add_item(scan, CMIR_SCAN_REFUSED, path, "", &reason, err);
    }
    if (!list_folder(path, &names, &n))
        st = add_refused(scan, path, errno, err);
    for (size_t i = 0; i < n; i++) {
        char *inner = NULL;
        if (st == CMIR_OK) {
            inner = cmir_asprintf("%s%s%s", path, strcmp(path, "/") == 0 ? "" : "/", names[i]);
            st = inner == NULL ? out_of_memory(err) : visit(scan, inner, depth + 1, err);
        }
        free(inner);
        free(names[i]);
    }
    free(names);
    return st;
}

/* A path that exists; depth 0: named by the caller. */
static cmir_status
visit(cmir_scan *scan, const char *path, unsigned depth, cmir_error *err)
{
    struct stat info;
    cmir_error reason = {0};
    bool again;
    cmir_status st;

    if (stat(path, &info) != 0)
        return add_refused(scan, path, errno, err);
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
        (void)FAIL(&reason, CMIR_EUNSUPPORTED, "%s: neither a file nor a folder",
                   cmir_shown_path(path));
        return add_item(scan, depth == 0 ? CMIR_SCAN_REFUSED : CMIR_SCAN_SKIPPED, path, "", &reason,
                        err);
    }
    if ((st = note_seen(scan, &info, &again, err)) != CMIR_OK || again)
        return st;
    return S_ISDIR(info.st_mode) ? visit_folder(scan, path, depth, err)
                                 : visit_file(scan, path, depth == 0, err);
}

static cmir_status
visit_named(cmir_scan *scan, const char *path, cmir_error *err)
{
    char *resolved = realpath(path, NULL), *own = NULL;
    struct stat info;
    cmir_status st = CMIR_OK;

    if (resolved == NULL || stat(resolved, &info) != 0) {
        const int why = errno;
        free(resolved);
        return why == ENOMEM ? out_of_memory(err) : add_refused(scan, path, why, err);
    }
    /* A link to a file goes by its own name: what it points to may be called by a hash. */
    if (!S_ISDIR(info.st_mode))
        st = cmir_file_absolute(path, &own, err);
    if (st == CMIR_OK)
        st = visit(scan, own != NULL ? own : resolved, 0, err);
    free(own);
    free(resolved);
    return st;
}

/* Series become items; what is too small is skipped. */
static cmir_status
add_series(cmir_scan *scan, cmir_error *err)
{
    for (size_t i = 0; i < scan->n_series; i++) {
        cmir_dicom_series *series = scan->series[i];
        const bool skip = series->n_slices < scan->min_slices;
        cmir_error reason = {0};
        char *place = cmir_dicom_place(series);
        if (place == NULL)
            return out_of_memory(err);
        if (skip)
            (void)FAIL(&reason, CMIR_EUNSUPPORTED, "%s: %s (%llu slices, fewer than %u)",
                       cmir_shown_path(series->files[0].path),
                       series->files[0].is_scout ? "a scout" : "no stack",
                       (unsigned long long)series->n_slices, scan->min_slices);
        const char *id =
            series->text.series_uid[0] != '\0' ? series->text.series_uid : strrchr(place, '/') + 1;
        const cmir_status st = add_item(scan, skip ? CMIR_SCAN_SKIPPED : CMIR_SCAN_VOLUME, place,
                                        id, skip ? &reason : NULL, err);
        free(place);
        if (st != CMIR_OK)
            return st;
        struct entry *e = &scan->entries[scan->n - 1];
        e->item.n_files = (uint32_t)series->n_files;
        e->series = series;
        scan->series[i] = NULL;
    }
    return CMIR_OK;
}

static int
compare_entries(const void *a, const void *b)
{
    const cmir_scan_item *x = &((const struct entry *)a)->item;
    const cmir_scan_item *y = &((const struct entry *)b)->item;
    const int by_path = strcmp(x->path, y->path);

    return by_path != 0 ? by_path : strcmp(x->volume_id, y->volume_id);
}

/* The caller's id, where there is one volume to have it. */
static cmir_status
override_id(cmir_scan *scan, cmir_error *err)
{
    struct entry *only = NULL;

    for (size_t i = 0; i < scan->n && scan->volume_id != NULL; i++) {
        if (scan->entries[i].item.state != CMIR_SCAN_VOLUME)
            continue;
        if (only != NULL) {
            free(scan->volume_id);
            scan->volume_id = NULL;
            return CMIR_OK;
        }
        only = &scan->entries[i];
    }
    if (only != NULL && !cmir_volume_set(&only->item.volume_id, scan->volume_id))
        return out_of_memory(err);
    return CMIR_OK;
}

static void
free_search_state(cmir_scan *scan)
{
    for (size_t i = 0; i < scan->n_series; i++) {
        if (scan->series[i] != NULL)
            cmir_dicom_series_clear(scan->series[i]);
        free(scan->series[i]);
    }
    free(scan->series);
    scan->series = NULL;
    scan->n_series = 0;
    for (size_t i = 0; i < scan->n_waiting; i++)
        free(scan->waiting[i].path);
    free(scan->waiting);
    scan->waiting = NULL;
    scan->n_waiting = 0;
    free(scan->keys);
    scan->keys = NULL;
    cmir_index_clear(&scan->series_index);
    cmir_index_clear(&scan->seen);
}

static cmir_status
take_options(cmir_scan *scan, const cmir_scan_options *o, cmir_error *err)
{
    scan->min_slices = DEFAULT_MIN_SLICES;
    if (o == NULL)
        return CMIR_OK;
    if (o->struct_nbytes != sizeof *o)
        return FAIL(err, CMIR_EINVAL, "struct_nbytes is not the size of cmir_scan_options");
    if (o->min_slices != 0)
        scan->min_slices = o->min_slices;
    scan->frame = o->frame;
    scan->progress = o->progress;
    scan->progress_ctx = o->progress_ctx;
    scan->modality = cmir_strdup(o->modality);
    scan->volume_id = cmir_strdup(o->volume_id);
    if ((o->modality != NULL && scan->modality == NULL) ||
        (o->volume_id != NULL && scan->volume_id == NULL))
        return out_of_memory(err);
    return CMIR_OK;
}

cmir_status
cmir_scan_open(const char *const *paths, size_t n_paths, const cmir_scan_options *options,
               cmir_scan **out, cmir_error *err)
{
    cmir_status st;

    if (out == NULL || (paths == NULL && n_paths > 0))
        return FAIL(err, CMIR_EINVAL, "paths or out is NULL");
    *out = NULL;
    cmir_scan *scan = cmir_alloc_zeroed(1, sizeof *scan);
    if (scan == NULL)
        return out_of_memory(err);
    st = take_options(scan, options, err);
    for (size_t i = 0; i < n_paths && st == CMIR_OK; i++)
        st = paths[i] == NULL ? FAIL(err, CMIR_EINVAL, "path %zu is NULL", i)
                              : visit_named(scan, paths[i], err);
    if (st == CMIR_OK && scan->n_waiting > 0)
        st = take_waiting(scan, err);
    if (st == CMIR_OK)
        st = add_series(scan, err);
    if (st == CMIR_OK)
        st = override_id(scan, err);
    if (st != CMIR_OK) {
        cmir_scan_close(scan);
        return st;
    }
    free_search_state(scan);
    if (scan->n > 0)
        qsort(scan->entries, scan->n, sizeof *scan->entries, compare_entries);
    *out = scan;
    return CMIR_OK;
}

void
cmir_scan_close(cmir_scan *scan)
{
    if (scan == NULL)
        return;
    free_search_state(scan);
    for (size_t i = 0; i < scan->n; i++) {
        struct entry *e = &scan->entries[i];
        free((void *)(uintptr_t)e->item.volume_id);
        free((void *)(uintptr_t)e->item.path);
        if (e->series != NULL)
            cmir_dicom_series_clear(e->series);
        free(e->series);
    }
    free(scan->entries);
    free(scan->modality);
    free(scan->volume_id);
    free(scan);
}

size_t
cmir_scan_count(const cmir_scan *scan)
{
    return scan == NULL ? 0 : scan->n;
}

const cmir_scan_item *
cmir_scan_get(const cmir_scan *scan, size_t index)
{
    return scan == NULL || index >= scan->n ? NULL : &scan->entries[index].item;
}

static cmir_status
give_reason(const cmir_error *reason, cmir_error *err)
{
    if (err != NULL && err->code == CMIR_OK)
        *err = *reason;
    return reason->code;
}

cmir_status
cmir_volume_open(const cmir_scan *scan, size_t index, cmir_volume **out, cmir_error *err)
{
    cmir_status st;

    if (out == NULL)
        return FAIL(err, CMIR_EINVAL, "out is NULL");
    *out = NULL;
    if (scan == NULL || index >= scan->n)
        return FAIL(err, CMIR_EINVAL, "item %zu of a scan of %zu", index, cmir_scan_count(scan));
    const struct entry *e = &scan->entries[index];
    if (e->item.state != CMIR_SCAN_VOLUME)
        return give_reason(&e->item.reason, err);
    st = e->is_nifti ? cmir_nifti_open(e->item.path, scan->frame, scan->modality, out, err)
                     : cmir_dicom_open(e->series, out, err);
    if (st == CMIR_OK && !cmir_volume_set(&(*out)->info.volume_id, e->item.volume_id)) {
        cmir_volume_close(*out);
        *out = NULL;
        return out_of_memory(err);
    }
    return st;
}

/* The only volume of a scan, or why there is none or more than one. */
static cmir_status
find_only(const cmir_scan *scan, const char *path, size_t *index, cmir_error *err)
{
    const cmir_error *reason = NULL;
    size_t n_volumes = 0, second = 0;

    for (size_t i = 0; i < scan->n; i++) {
        const cmir_scan_item *item = &scan->entries[i].item;
        if (item->state == CMIR_SCAN_VOLUME) {
            if (n_volumes == 0)
                *index = i;
            else if (n_volumes == 1)
                second = i;
            n_volumes++;
        } else if (reason == NULL ||
                   (reason->code != CMIR_OK && item->state == CMIR_SCAN_REFUSED)) {
            reason = &item->reason;
        }
    }
    if (n_volumes == 1)
        return CMIR_OK;
    if (n_volumes > 1)
        return FAIL(err, CMIR_EINVAL, "%s holds %zu volumes, not one: %.40s, %.40s%s",
                    cmir_shown_path(path), n_volumes, scan->entries[*index].item.volume_id,
                    scan->entries[second].item.volume_id, n_volumes > 2 ? ", ..." : "");
    return reason != NULL ? give_reason(reason, err)
                          : FAIL(err, CMIR_EINVAL, "%s holds no volume", cmir_shown_path(path));
}

cmir_status
cmir_volume_read(const char *path, const cmir_scan_options *options, cmir_volume **out,
                 cmir_error *err)
{
    cmir_scan *scan = NULL;
    size_t index = 0;
    cmir_status st;

    if (out == NULL)
        return FAIL(err, CMIR_EINVAL, "out is NULL");
    *out = NULL;
    if ((st = cmir_scan_open(&path, 1, options, &scan, err)) == CMIR_OK &&
        (st = find_only(scan, path, &index, err)) == CMIR_OK)
        st = cmir_volume_open(scan, index, out, err);
    cmir_scan_close(scan);
    if (st == CMIR_OK && (st = cmir_volume_load(*out, NULL, NULL, err)) != CMIR_OK) {
        cmir_volume_close(*out);
        *out = NULL;
    }
    return st;
}
