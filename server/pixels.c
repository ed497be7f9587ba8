/* SPDX-License-Identifier: Apache-2.0 */
/* pixels.c: volumes opened for pictures, kept for the next request.
 *
 * The one idea: opening a scan takes a second and a picture of it milliseconds, so what was opened last
 * stays open, up to a number of bytes; whoever asks for what another is just opening waits for it.
 * Small pictures come from small previews: a list of hits opens no scan.  Uploads are only ever shown
 * from previews: what strangers sent is decoded by jobs, in processes of their own, never here; nor is
 * any of it kept open, so that it is gone when it is deleted. */
#include "pixels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "secret.h"

#define KEPT_NBYTES ((uint64_t)1 << 30) /* of open volumes; nor is a larger one opened */
#define MAX_KEPT 256                    /* volumes */
#define MAX_OPENING 2                   /* at once */
#define MAX_LARGE 2                     /* pictures at once that need much memory */
#define FALLBACK_S 60.0 /* after which a scan that could not be read is tried again */

struct seen {
    char *dir, *volume_id, version[PIXELS_VERSION_NBYTES];
    cmir_pixels_from from; /* asked for */
    cmir_pixels *pixels;   /* NULL: being opened, or failed */
    cmir_error error;
    bool ready;    /* opened, or failed */
    bool obsolete; /* found no more; goes with its last user */
    uint32_t n_users;
    uint64_t nbytes, last_use;
    double opened;
    struct seen *next;
};

struct pixels {
    pthread_mutex_t lock; /* of all below but the archive */
    pthread_cond_t changed;
    struct seen *first;
    size_t n;
    uint64_t nbytes, clock;
    unsigned n_opening, n_large;
    pthread_mutex_t archive_lock;
    cmir_archive *archive; /* for records: pictures never wait for searches */
};

cmir_status
pixels_start(server *s, cmir_error *err)
{
    struct pixels *p = cmir_json_need(calloc(1, sizeof *p));

    s->pixels = p;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_mutex_init(&p->archive_lock, NULL);
    (void)pthread_cond_init(&p->changed, NULL);
    char *left = files_path(s->state_dir, PIXELS_FOLDER, (char *)NULL); /* by one that was killed */
    const cmir_status st = files_remove_tree(left, err);
    free(left);
    return st != CMIR_OK ? st : cmir_archive_open(s->archive_dir, CMIR_READ, &p->archive, err);
}

static void
free_seen(struct seen *v)
{
    cmir_pixels_close(v->pixels);
    free(v->dir);
    free(v->volume_id);
    free(v);
}

void
pixels_stop(server *s)
{
    struct pixels *p = s->pixels;

    if (p == NULL)
        return;
    for (struct seen *v = p->first, *next; v != NULL; v = next) {
        next = v->next;
        free_seen(v);
    }
    cmir_archive_close(p->archive);
    (void)pthread_cond_destroy(&p->changed);
    (void)pthread_mutex_destroy(&p->archive_lock);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
    s->pixels = NULL;
}

/* An archive to read records and previews of: the one kept for it, locked, or an upload's. */
static cmir_status
begin(server *s, const char *dir, cmir_archive **out, cmir_error *err)
{
    if (dir != NULL)
        return cmir_archive_open(dir, CMIR_READ, out, err);
    (void)pthread_mutex_lock(&s->pixels->archive_lock);
    *out = s->pixels->archive;
    return CMIR_OK;
}

static void
end(server *s, const char *dir, cmir_archive *archive)
{
    if (dir != NULL)
        cmir_archive_close(archive);
    else
        (void)pthread_mutex_unlock(&s->pixels->archive_lock);
}

cmir_status
pixels_record(server *s, const char *dir, const char *volume_id, cmir_record **out, cmir_error *err)
{
    cmir_archive *archive;
    cmir_status st = begin(s, dir, &archive, err);

    *out = NULL;
    if (st != CMIR_OK)
        return st;
    st = cmir_archive_get(archive, volume_id, out, err);
    end(s, dir, archive);
    return st;
}

void
pixels_version(const cmir_record *record, char out[PIXELS_VERSION_NBYTES])
{
    char text[64], hex[SECRET_HEX];
    const int n = snprintf(text, sizeof text, "%s %u %llu", record->added, record->n_slices,
                           (unsigned long long)record->preview_nbytes);

    secret_hash(text, (size_t)n, hex);
    memcpy(out, hex, PIXELS_VERSION_NBYTES - 1);
    out[PIXELS_VERSION_NBYTES - 1] = '\0';
}

static cmir_previews
previews_of(server *s, const char *dir)
{
    return dir != NULL ? CMIR_PREVIEWS_FULL : cmir_archive_get_info(s->pixels->archive)->previews;
}

/* What pictures of at most `side` pixels are made of. */
static cmir_pixels_from
choose(server *s, const char *dir, const cmir_record *record, uint32_t side)
{
    const bool small = previews_of(s, dir) == CMIR_PREVIEWS_SMALL && side > PIXELS_SMALL_SIDE;

    if (dir != NULL || (record->preview_nbytes > 0 && !small))
        return CMIR_PIXELS_PREVIEW;
    return CMIR_PIXELS_ANY;
}

const char *
pixels_expected(server *s, const char *dir, const cmir_record *record)
{
    if (choose(s, dir, record, CMIR_MAX_SIDE) == CMIR_PIXELS_ANY &&
        access(record->info.path, R_OK) == 0)
        return "source";
    return record->preview_nbytes > 0 ? "preview" : "none";
}

static bool
is_same(const struct seen *v, const char *dir, const char *id, const char *version,
        cmir_pixels_from from)
{
    return !v->obsolete && v->from == from && strcmp(v->volume_id, id) == 0 &&
           strcmp(v->version, version) == 0 && strcmp(v->dir, dir == NULL ? "" : dir) == 0;
}

bool
pixels_is_fallback(const seen *what)
{
    return what->from == CMIR_PIXELS_ANY &&
           cmir_pixels_get_info(what->pixels)->from != CMIR_PIXELS_SOURCE;
}

/* Whether it must be opened anew: it failed, or shows the preview for want of the source. */
static bool
is_stale(const struct seen *v)
{
    return v->ready && (v->pixels == NULL || pixels_is_fallback(v)) &&
           server_now() - v->opened > FALLBACK_S;
}

static void
unlink_seen(struct pixels *p, struct seen *v)
{
    struct seen **at = &p->first;

    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    p->n--;
    p->nbytes -= v->nbytes;
    free_seen(v);
}

/* Closes what was used longest ago until the rest fits; the lock is held. */
static void
shrink(struct pixels *p)
{
    while (p->nbytes > KEPT_NBYTES || p->n > MAX_KEPT) {
        struct seen *oldest = NULL;

        for (struct seen *v = p->first; v != NULL; v = v->next)
            if (v->n_users == 0 && (oldest == NULL || v->last_use < oldest->last_use))
                oldest = v;
        if (oldest == NULL)
            return;
        unlink_seen(p, oldest);
    }
}

/* The one that is there, or a new one that the caller is to open; the lock is held. */
static struct seen *
find_or_begin(struct pixels *p, const char *dir, const char *id, const char *version,
              cmir_pixels_from from, bool *mine)
{
    struct seen *v = p->first;

    *mine = false;
    while (v != NULL && !is_same(v, dir, id, version, from))
        v = v->next;
    if (v != NULL && is_stale(v)) {
        v->obsolete = true;
        if (v->n_users == 0)
            unlink_seen(p, v);
        v = NULL;
    }
    if (v == NULL) {
        v = cmir_json_need(calloc(1, sizeof *v));
        v->dir = cmir_json_need(strdup(dir == NULL ? "" : dir));
        v->volume_id = cmir_json_need(strdup(id));
        memcpy(v->version, version, sizeof v->version);
        v->from = from;
        v->obsolete = dir != NULL;
        v->next = p->first;
        p->first = v;
        p->n++;
        *mine = true;
    }
    v->n_users++;
    return v;
}

static void
open_from(server *s, const char *dir, const cmir_record *record, cmir_pixels_from from,
          struct seen *v, cmir_error *err)
{
    const cmir_pixels_options options = {
        .struct_nbytes = sizeof options, .from = from, .max_nbytes = KEPT_NBYTES};
    const bool source = from == CMIR_PIXELS_SOURCE;
    cmir_archive *archive;

    if (begin(s, dir, &archive, err) != CMIR_OK)
        return;
    const cmir_plane plane = cmir_archive_get_info(archive)->plane;
    if (source) /* others need not wait while the scan is read */
        end(s, dir, archive);
    (void)cmir_pixels_open(source ? NULL : archive, record, plane, &options, &v->pixels, err);
    if (!source)
        end(s, dir, archive);
}

/* Opens it; the lock is not held. */
static void
open_seen(server *s, const char *dir, const cmir_record *record, struct seen *v)
{
    if (v->from == CMIR_PIXELS_ANY)
        open_from(s, dir, record, CMIR_PIXELS_SOURCE, v, &v->error);
    if (v->pixels == NULL && (record->preview_nbytes > 0 || v->from == CMIR_PIXELS_PREVIEW))
        open_from(s, dir, record, CMIR_PIXELS_PREVIEW, v, &v->error);
}

/* Opens it when its turn has come; the lock is held before and after. */
static void
open_in_turn(server *s, const char *dir, const cmir_record *record, struct seen *v)
{
    struct pixels *p = s->pixels;
    const bool slow = v->from == CMIR_PIXELS_ANY;

    while (slow && p->n_opening >= MAX_OPENING)
        (void)pthread_cond_wait(&p->changed, &p->lock);
    p->n_opening += slow;
    (void)pthread_mutex_unlock(&p->lock);
    open_seen(s, dir, record, v);
    (void)pthread_mutex_lock(&p->lock);
    p->n_opening -= slow;
    v->opened = server_now();
    v->ready = true;
    v->nbytes = v->pixels == NULL ? 0 : cmir_pixels_get_info(v->pixels)->nbytes;
    p->nbytes += v->nbytes;
    shrink(p);
    (void)pthread_cond_broadcast(&p->changed);
}

cmir_status
pixels_take(server *s, const char *dir, const cmir_record *record, uint32_t side, seen **out,
            cmir_error *err)
{
    struct pixels *p = s->pixels;
    char version[PIXELS_VERSION_NBYTES];
    const cmir_pixels_from from = choose(s, dir, record, side);
    cmir_status st = CMIR_OK;
    bool mine;

    *out = NULL;
    pixels_version(record, version);
    (void)pthread_mutex_lock(&p->lock);
    struct seen *v = find_or_begin(p, dir, record->info.volume_id, version, from, &mine);
    if (mine)
        open_in_turn(s, dir, record, v);
    while (!v->ready)
        (void)pthread_cond_wait(&p->changed, &p->lock);
    v->last_use = ++p->clock;
    const bool there = v->pixels != NULL;
    if (!there) {
        st = v->error.code;
        if (err != NULL)
            *err = v->error;
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (there)
        *out = v;
    else
        pixels_give(s, v);
    return st;
}

void
pixels_begin_large(server *s)
{
    struct pixels *p = s->pixels;

    (void)pthread_mutex_lock(&p->lock);
    while (p->n_large >= MAX_LARGE)
        (void)pthread_cond_wait(&p->changed, &p->lock);
    p->n_large++;
    (void)pthread_mutex_unlock(&p->lock);
}

void
pixels_end_large(server *s)
{
    struct pixels *p = s->pixels;

    (void)pthread_mutex_lock(&p->lock);
    p->n_large--;
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
}

const cmir_pixels *
pixels_of(const seen *what)
{
    return what->pixels;
}

void
pixels_give(server *s, seen *what)
{
    struct pixels *p = s->pixels;

    if (what == NULL)
        return;
    (void)pthread_mutex_lock(&p->lock);
    if (--what->n_users == 0 && what->obsolete)
        unlink_seen(p, what);
    else
        shrink(p);
    (void)pthread_mutex_unlock(&p->lock);
}
