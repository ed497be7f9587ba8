/* SPDX-License-Identifier: Apache-2.0 */
/* work_add.c: files that came over the net become volumes: of the served archive (job "add"), or of an
 * archive of their own that only their user searches with (job "upload").
 *
 * The one idea: both are the same work into different archives, volume by volume, so that it can be
 * broken off and begun again at any point: what is there already is found to be there. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "work_files.h"

#define BUSY_TRIES 1200 /* times half a second: ten minutes for another process to stop writing */
#define QUERY_MIN_SLICES 1u

struct batch {
    work *w;
    const char *archive; /* its folder */
    files_of_job *files;
    cmir_scan *scan;
    cmir_encoder *encoder;
    const json_t *skip; /* ids of volumes that ended this process before; or NULL */
    json_t *added, *present, *refused;
    uint64_t n_volumes, n_done; /* to encode */
    uint64_t n_slices, n_slices_of_this; /* done so far; of the volume at work */
};

static void
refuse(struct batch *b, const cmir_scan_item *item, cmir_status code, const char *message)
{
    json_t *o = cmir_json_need(json_object());
    char *text = work_files_message(b->files, message);

    cmir_json_set(o, "File", cmir_json_text(work_files_name(b->files, item->path)));
    cmir_json_set(o, "VolumeId", cmir_json_text(item->volume_id));
    cmir_json_set(o, "Status", json_string(cmir_status_name(code)));
    cmir_json_set(o, "Message", cmir_json_text(text));
    cmir_json_add(b->refused, o);
    free(text);
}

/* In slices; what is to come is taken to be like what has been. */
static int
on_slice(void *ctx, uint64_t done, uint64_t total)
{
    struct batch *b = ctx;
    const uint64_t so_far = b->n_slices + total;

    b->n_slices_of_this = total;
    return work_progress((void *)(uintptr_t)"encoding", b->n_slices + done,
                         so_far + so_far / (b->n_done + 1) * (b->n_volumes - b->n_done - 1));
}

static cmir_status
open_for_writing(struct batch *b, cmir_archive **out, cmir_error *err)
{
    const struct timespec pause = {0, 500000000};

    for (int i = 0; i < BUSY_TRIES; i++) {
        cmir_error why = {0};
        const cmir_status st = cmir_archive_open(b->archive, CMIR_WRITE, out, &why);

        if (st != CMIR_EBUSY)
            return st == CMIR_OK ? st : files_fail(err, st, "%s", why.msg);
        if (work_progress((void *)(uintptr_t)"waiting", (uint64_t)i, BUSY_TRIES) != 0)
            return files_fail(err, CMIR_ECANCELLED, "cancelled");
        (void)nanosleep(&pause, NULL);
    }
    return files_fail(err, CMIR_EBUSY, "another process is writing to the archive");
}

/* Whether the archive names files of this job as the volume's. */
static bool
refers_to_us(const struct batch *b, const cmir_archive *archive, const char *volume_id)
{
    cmir_record *record = NULL;
    const bool ours = cmir_archive_get(archive, volume_id, &record, NULL) == CMIR_OK &&
                      work_files_has(b->files, record->info.path);

    cmir_record_free(record);
    return ours;
}

/* Whether the archive itself failed, so that going on is of no use.  The files of the job may lie
 * below its folder. */
static bool
is_of_archive(const struct batch *b, const cmir_error *why)
{
    return strncmp(why->msg, b->archive, strlen(b->archive)) == 0 &&
           strncmp(why->msg, b->files->folder, strlen(b->files->folder)) != 0;
}

/* CMIR_OK where the volume was added, was there, or was refused. */
static cmir_status
add_volume(struct batch *b, size_t index, cmir_error *err)
{
    const cmir_scan_item *item = cmir_scan_get(b->scan, index);
    cmir_archive *archive = NULL;
    cmir_volume *volume = NULL;
    cmir_error why = {0};
    bool added = false;

    work_at(item->volume_id);
    cmir_status st = open_for_writing(b, &archive, err);
    if (st != CMIR_OK)
        return st;
    b->n_slices_of_this = 0;
    if ((st = cmir_volume_open(b->scan, index, &volume, &why)) == CMIR_OK)
        st = cmir_archive_add(archive, b->encoder, volume, NULL, 0, on_slice, b, &added, &why);
    if (st == CMIR_OK) {
        const char *id = cmir_volume_get_info(volume)->volume_id;
        if (refers_to_us(b, archive, id))
            work_keep();
        cmir_json_add(added ? b->added : b->present, cmir_json_text(id));
    } else if (st == CMIR_ECANCELLED || is_of_archive(b, &why)) {
        (void)files_fail(err, st, "%s", why.msg);
    } else {
        refuse(b, item, st, why.msg);
        st = CMIR_OK;
    }
    b->n_done++;
    b->n_slices += b->n_slices_of_this;
    cmir_volume_close(volume);
    cmir_archive_close(archive);
    return st;
}

static bool
is_skipped(const struct batch *b, const char *volume_id)
{
    const json_t *id;
    size_t i;

    json_array_foreach(b->skip, i, id)
    {
        if (strcmp(json_string_value(id), volume_id) == 0)
            return true;
    }
    return false;
}

static cmir_status
add_all(struct batch *b, cmir_error *err)
{
    const size_t n = cmir_scan_count(b->scan);
    cmir_status st = CMIR_OK;

    for (size_t i = 0; i < n; i++)
        b->n_volumes += cmir_scan_get(b->scan, i)->state == CMIR_SCAN_VOLUME;
    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        const cmir_scan_item *item = cmir_scan_get(b->scan, i);

        if (item->state != CMIR_SCAN_VOLUME)
            refuse(b, item, item->reason.code, item->reason.msg);
        else if (is_skipped(b, item->volume_id))
            refuse(b, item, CMIR_EUNSUPPORTED, "the process that read it died; it was left out");
        else
            st = add_volume(b, i, err);
    }
    return st;
}

static cmir_status
scan_files(struct batch *b, uint32_t min_slices, cmir_error *err)
{
    const cmir_scan_options options = {.struct_nbytes = sizeof options,
                                       .min_slices = min_slices,
                                       .progress = work_progress,
                                       .progress_ctx = (void *)(uintptr_t)"reading"};
    size_t n_volumes = 0;

    cmir_scan_close(b->scan);
    b->scan = NULL;
    const cmir_status st = cmir_scan_open((const char *const *)b->files->paths, b->files->n_paths,
                                          &options, &b->scan, err);
    for (size_t i = 0; st == CMIR_OK && i < cmir_scan_count(b->scan); i++)
        n_volumes += cmir_scan_get(b->scan, i)->state == CMIR_SCAN_VOLUME;
    return st != CMIR_OK || n_volumes > 0 || min_slices == QUERY_MIN_SLICES || min_slices == 0
               ? st
               : scan_files(b, QUERY_MIN_SLICES, err);
}

static void
start_batch(struct batch *b, work *w, const json_t *input)
{
    *b = (struct batch){.w = w, .skip = json_object_get(input, "Skip")};
    b->added = cmir_json_need(json_array());
    b->present = cmir_json_need(json_array());
    b->refused = cmir_json_need(json_array());
}

static void
end_batch(struct batch *b)
{
    json_decref(b->added);
    json_decref(b->present);
    json_decref(b->refused);
    work_files_close(b->files);
    cmir_encoder_close(b->encoder);
    cmir_scan_close(b->scan);
}

/* The encoder of the served archive, and its plane. */
static cmir_status
open_encoder(struct batch *b, cmir_plane *plane, cmir_error *err)
{
    cmir_archive *served;
    cmir_status st = cmir_archive_open(b->w->archive, CMIR_READ, &served, err);

    if (st != CMIR_OK)
        return st;
    *plane = cmir_archive_get_info(served)->plane;
    st = work_encoder(b->w, served, &b->encoder, err);
    cmir_archive_close(served);
    return st;
}

json_t *
work_add(work *w, const json_t *input, cmir_error *err)
{
    struct batch b;
    json_t *result = NULL;
    cmir_plane plane;

    start_batch(&b, w, input);
    b.archive = w->archive;
    char *folder = work_folder(w, "sources");
    if (work_files_open(w, folder, input, &b.files, err) == CMIR_OK &&
        open_encoder(&b, &plane, err) == CMIR_OK && scan_files(&b, 0, err) == CMIR_OK &&
        add_all(&b, err) == CMIR_OK)
        result = json_pack("{s:O, s:O, s:O}", "Added", b.added, "Present", b.present, "Refused",
                           b.refused);
    if (json_array_size(b.added) > 0)
        w->audit = json_pack("{s:s, s:n, s:O}", "What", "add", "Query", "Hits", b.added);
    free(folder);
    end_batch(&b);
    return result;
}

/* Slices are kept as they are: the service shows an upload from its previews only, so that what
 * strangers sent is decoded in this process alone. */
static cmir_status
create_archive(struct batch *b, cmir_plane plane, cmir_error *err)
{
    const cmir_archive_options options = {
        .struct_nbytes = sizeof options, .plane = plane, .previews = CMIR_PREVIEWS_FULL};
    cmir_error why = {0};
    const cmir_status st = cmir_archive_create_with(b->archive, b->encoder, &options, &why);

    return st == CMIR_OK || st == CMIR_EEXIST ? CMIR_OK : files_fail(err, st, "%s", why.msg);
}

static json_t *
volumes_json(const char *dir, cmir_error *err)
{
    json_t *list = NULL;
    cmir_archive *archive;

    if (cmir_archive_open(dir, CMIR_READ, &archive, err) == CMIR_OK)
        (void)cmir_json_records(archive, NULL, false, &list, err);
    cmir_archive_close(archive);
    return list;
}

/* Whose it is: asked for with every request that names it. */
static cmir_status
write_owner(const char *folder, const json_t *input, cmir_error *err)
{
    char *path = files_path(folder, "owner.json", NULL);
    json_t *owner = json_pack("{s:O}", "User", json_object_get(input, "User"));
    const cmir_status st = files_write_json(path, owner, err);

    json_decref(owner);
    free(path);
    return st;
}

json_t *
work_upload(work *w, const json_t *input, cmir_error *err)
{
    struct batch b;
    json_t *result = NULL, *volumes = NULL;
    cmir_plane plane;

    start_batch(&b, w, input);
    char *folder = work_folder(w, "uploads"), *dir = files_path(folder, "archive", NULL);
    b.archive = dir;
    if (write_owner(folder, input, err) == CMIR_OK &&
        work_files_open(w, folder, input, &b.files, err) == CMIR_OK &&
        open_encoder(&b, &plane, err) == CMIR_OK && create_archive(&b, plane, err) == CMIR_OK &&
        scan_files(&b, 5, err) == CMIR_OK && add_all(&b, err) == CMIR_OK &&
        (volumes = volumes_json(dir, err)) != NULL)
        result = json_pack("{s:s, s:o, s:O}", "UploadId", w->job_id, "Volumes", volumes, "Refused",
                           b.refused);
    free(dir);
    free(folder);
    end_batch(&b);
    return result;
}
