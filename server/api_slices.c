/* SPDX-License-Identifier: Apache-2.0 */
/* api_slices.c: pictures of volumes, of the archive and of uploads: slices as PNG, and all of a volume
 * as NIfTI for the page's three-dimensional viewer.
 *
 * The one idea: a picture is named by its URL and the volume's version; with the version in the URL
 * (?v=) it can be kept for ever, without it the client asks each time whether it is still the same. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "files.h"
#include "pixels.h"
#include "secret.h"

#define DEFAULT_SIDE 512
#define MAX_SIDE 4096
#define THUMBNAIL_SIDE 128
#define NIFTI_SIDE 256
#define NIFTI_MAX_SIDE 512
#define NIFTI_SLICES 256
#define LARGE_PIXELS ((uint64_t)1 << 22) /* of a slice: few of these at once */
#define MAX_PIXELS ((uint64_t)1 << 26) /* of a slice that is shown */

/* What a request is about; `dir` and `record` are its own. */
struct target {
    char *dir; /* of an upload's archive; NULL: the served one */
    cmir_record *record;
    char version[PIXELS_VERSION_NBYTES];
};

static void
target_free(struct target *t)
{
    free(t->dir);
    cmir_record_free(t->record);
}

/* False: the request has been answered. */
static bool
find_target(request *r, struct target *t)
{
    const char *upload = request_part(r, "upload");
    cmir_error err = {0};

    *t = (struct target){0};
    if (upload != NULL && (t->dir = upload_archive_dir(r, upload)) == NULL)
        return false;
    if (pixels_record(request_server(r), t->dir, request_part(r, "volume"), &t->record, &err) !=
        CMIR_OK) {
        target_free(t);
        reply_status(r, &err);
        return false;
    }
    pixels_version(t->record, t->version);
    return true;
}

/* The window of the request; *given is false where it names none. */
static bool
read_window(request *r, cmir_window *out, bool *given)
{
    const bool centre = request_param(r, "centre") != NULL,
               width = request_param(r, "width") != NULL;
    bool ok = true;

    *given = centre;
    if (centre != width) {
        reply_error(r, 400, "centre and width belong together");
        return false;
    }
    out->centre = request_number(r, "centre", -1e9, 1e9, 0, &ok);
    if (ok)
        out->width = request_number(r, "width", 1e-6, 1e9, 1, &ok);
    return ok;
}

/* A slice's number; -1 where it is none (answered). */
static long
read_slice(request *r, const char *text, uint32_t n_slices)
{
    char *end;
    const size_t n = strspn(text, "0123456789");
    const long slice = n > 0 && n < 6 && text[n] == '\0' ? strtol(text, &end, 10) : -1;

    if (slice >= 0 && slice < (long)n_slices)
        return slice;
    reply_error(r, 404, "no slice %.20s: there are %u, from 0", text, n_slices);
    return -1;
}

/* Nothing can be seen of it: 404, for the volume itself is there. */
static void
reply_unseen(request *r, const cmir_error *err)
{
    if (err->code == CMIR_ENOMEM || err->code == CMIR_EBUSY)
        reply_status(r, err);
    else
        reply_error(r, 404,
                    "no pixels of this volume: its scan cannot be read, and the archive keeps "
                    "no preview of it");
}

static caching
cache_of(const request *r, const struct target *t, bool lasting)
{
    const char *v = request_param(r, "v");

    return lasting && v != NULL && strcmp(v, t->version) == 0 ? CACHE_FOREVER : CACHE_REVALIDATE;
}

/* False: slices are too large to be shown (answered). */
static bool
check_size(request *r, const cmir_stack *stack)
{
    if ((uint64_t)stack->rows * stack->cols <= MAX_PIXELS)
        return true;
    reply_error(r, 422, "slices of %u x %u pixels are too large to be shown", stack->rows,
                stack->cols);
    return false;
}

static void
reply_slice(request *r, const struct target *t, uint32_t slice, const cmir_window *window,
            uint32_t side)
{
    server *s = request_server(r);
    cmir_error err = {0};
    char text[256], etag[SECRET_HEX];
    seen *what;
    void *png;
    size_t nbytes;

    if (pixels_take(s, t->dir, t->record, side, &what, &err) != CMIR_OK) {
        reply_unseen(r, &err);
        return;
    }
    const cmir_pixels_info *info = cmir_pixels_get_info(pixels_of(what));
    const cmir_window *w = window == NULL ? &info->window : window;
    const bool source = info->from == CMIR_PIXELS_SOURCE;
    const int n = snprintf(text, sizeof text, "%s %d %u %u %.17g %.17g", t->version, info->from,
                           slice, side, w->centre, w->width);
    const caching cache = cache_of(r, t, !pixels_is_fallback(what));
    secret_hash(text, (size_t)n, etag);
    reply_header(r, "X-Cmir-Pixels", source ? "source" : "preview");
    if (reply_if_known(r, cache, etag)) {
        pixels_give(s, what);
        return;
    }
    if (!check_size(r, &info->stack)) {
        pixels_give(s, what);
        return;
    }
    const bool large = (uint64_t)info->stack.rows * info->stack.cols > LARGE_PIXELS;
    if (large)
        pixels_begin_large(s);
    const cmir_status st = cmir_pixels_png(pixels_of(what), slice, w, side, &png, &nbytes, &err);
    if (large)
        pixels_end_large(s);
    pixels_give(s, what);
    if (st != CMIR_OK)
        reply_status(r, &err);
    else
        reply_bytes(r, 200, "image/png", png, nbytes, cache, etag);
}

void
api_slice(request *r)
{
    struct target t;
    cmir_window window;
    bool ok = true, given;
    const uint32_t side = (uint32_t)request_number(r, "side", 1, MAX_SIDE, DEFAULT_SIDE, &ok);

    if (!ok || !read_window(r, &window, &given) || !find_target(r, &t))
        return;
    const long slice = read_slice(r, request_part(r, "slice"), t.record->n_slices);
    if (slice >= 0)
        reply_slice(r, &t, (uint32_t)slice, given ? &window : NULL, side);
    target_free(&t);
}

void
api_thumbnail(request *r)
{
    const char *text = request_param(r, "slice");
    struct target t;
    cmir_window window;
    bool given;

    if (!read_window(r, &window, &given) || !find_target(r, &t))
        return;
    const long slice =
        text == NULL ? (long)(t.record->n_slices / 2) : read_slice(r, text, t.record->n_slices);
    if (slice >= 0)
        reply_slice(r, &t, (uint32_t)slice, given ? &window : NULL, THUMBNAIL_SIDE);
    target_free(&t);
}

/* Writes the volume to a file of STATE/views, which loses its name at once; the open file. */
static cmir_status
write_nifti(server *s, const cmir_pixels *pixels, uint32_t side, int *fd, uint64_t *nbytes,
            cmir_error *err)
{
    char name[FILES_ID_NCHARS + 16], *folder = NULL;
    struct stat st;
    cmir_status status = server_state_folder(s, PIXELS_FOLDER, &folder, err);

    *fd = -1;
    if (status == CMIR_OK)
        status = files_new_id(name, err);
    if (status != CMIR_OK) {
        free(folder);
        return status;
    }
    strcat(name, ".nii.gz");
    char *path = files_path(folder, name, (char *)NULL);
    status = cmir_pixels_nifti_write(pixels, side, NIFTI_SLICES, path, err);
    if (status == CMIR_OK) {
        *fd = open(path, O_RDONLY | O_CLOEXEC);
        if (*fd < 0 || fstat(*fd, &st) != 0)
            status = files_fail(err, CMIR_EIO, "%s: %s", path, strerror(errno));
        else
            *nbytes = (uint64_t)st.st_size;
        (void)unlink(path);
    }
    free(path);
    free(folder);
    if (status != CMIR_OK && *fd >= 0)
        (void)close(*fd);
    return status;
}

static void
reply_nifti(request *r, const cmir_pixels *pixels, uint32_t side)
{
    server *s = request_server(r);
    const cmir_pixels_info *info = cmir_pixels_get_info(pixels);
    cmir_error err = {0};
    uint64_t nbytes = 0;
    int fd;

    if (!check_size(r, &info->stack))
        return;
    pixels_begin_large(s);
    const cmir_status st = write_nifti(s, pixels, side, &fd, &nbytes, &err);
    pixels_end_large(s);
    reply_header(r, "X-Cmir-Pixels", info->from == CMIR_PIXELS_SOURCE ? "source" : "preview");
    if (st != CMIR_OK)
        reply_status(r, &err);
    else
        reply_file(r, "application/gzip", fd, nbytes, NULL);
}

void
api_nifti(request *r)
{
    server *s = request_server(r);
    bool ok = true;
    const uint32_t side = (uint32_t)request_number(r, "side", 1, NIFTI_MAX_SIDE, NIFTI_SIDE, &ok);
    cmir_error err = {0};
    struct target t;
    seen *what;

    if (!ok || !find_target(r, &t))
        return;
    if (pixels_take(s, t.dir, t.record, side, &what, &err) != CMIR_OK) {
        reply_unseen(r, &err);
    } else {
        reply_nifti(r, pixels_of(what), side);
        pixels_give(s, what);
    }
    target_free(&t);
}
