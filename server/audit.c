/* SPDX-License-Identifier: Apache-2.0 */
/* audit.c: writes the audit log.
 *
 * The one idea: a line is on the disk before its request is answered; requests that come together
 * share one fdatasync().  A line that a crash cut short belongs to a request that was never
 * answered: the next start takes it off, and says so in a line of its own. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit.h"
#include "files.h"
#include "secret.h"

#define LINE_NBYTES (4u << 20) /* no line is longer */

struct audit {
    int fd;
    pthread_mutex_t lock;
    pthread_cond_t synced;
    char head[SECRET_HEX]; /* hash of the last line */
    uint64_t n_written, n_durable;
    bool syncing;
    bool failed; /* what is on the disk is not known: nothing more is written */
};

static cmir_status
fail_errno(cmir_error *err, const char *what)
{
    return files_fail(err, CMIR_EIO, "the audit log cannot be %s: %s", what, strerror(errno));
}

/* Appends a line; the lock is held.  A line that was written in part is taken off again. */
static cmir_status
append(audit *a, json_t *line, cmir_error *err)
{
    cmir_json_set(line, "Prev", json_string(a->head));
    char *text = cmir_json_need(json_dumps(line, JSON_COMPACT));
    const size_t n = strlen(text);
    const off_t end = lseek(a->fd, 0, SEEK_END);
    cmir_status st = CMIR_OK;

    if (a->failed || end < 0 || n >= LINE_NBYTES) {
        st = files_fail(err, CMIR_EIO, "the audit log cannot be written");
        free(text);
        return st;
    }
    char next[SECRET_HEX];
    secret_hash(text, n, next);
    text[n] = '\n'; /* in place of the NUL: one write */
    if (files_write_all(a->fd, text, n + 1)) {
        memcpy(a->head, next, sizeof next);
        a->n_written++;
    } else {
        st = fail_errno(err, "written");
        a->failed = ftruncate(a->fd, end) != 0;
    }
    free(text);
    return st;
}

/* Waits until line `n` is on the disk; the lock is held.  Whoever finds nobody at it syncs for all. */
static cmir_status
make_durable(audit *a, uint64_t n, cmir_error *err)
{
    while (a->n_durable < n && !a->failed) {
        if (a->syncing) {
            (void)pthread_cond_wait(&a->synced, &a->lock);
            continue;
        }
        const uint64_t upto = a->n_written;
        a->syncing = true;
        (void)pthread_mutex_unlock(&a->lock);
        const bool ok = fdatasync(a->fd) == 0;
        (void)pthread_mutex_lock(&a->lock);
        a->syncing = false;
        if (ok)
            a->n_durable = upto;
        else
            a->failed = true;
        (void)pthread_cond_broadcast(&a->synced);
    }
    return a->n_durable >= n ? CMIR_OK
                             : files_fail(err, CMIR_EIO, "the audit log cannot be made durable");
}

static json_t *
new_line(const char *user, const char *what)
{
    char now[21];

    files_now(now);
    return cmir_json_need(
        json_pack("{s:s, s:o, s:s}", "Time", now, "User", cmir_json_text(user), "What", what));
}

static cmir_status
write_line(audit *a, json_t *line, cmir_error *err)
{
    (void)pthread_mutex_lock(&a->lock);
    cmir_status st = append(a, line, err);
    if (st == CMIR_OK)
        st = make_durable(a, a->n_written, err);
    (void)pthread_mutex_unlock(&a->lock);
    json_decref(line);
    return st;
}

cmir_status
audit_write(server *s, const char *user, const char *what, const char *query,
            const char *const *hits, size_t n_hits, cmir_error *err)
{
    json_t *line = new_line(user, what);

    if (query != NULL)
        cmir_json_set(line, "Query", cmir_json_text(query));
    if (hits != NULL) {
        json_t *array = cmir_json_need(json_array());
        for (size_t i = 0; i < n_hits; i++)
            cmir_json_add(array, cmir_json_text(hits[i]));
        cmir_json_set(line, "Hits", array);
    }
    return write_line(s->audit, line, err);
}

uint64_t
audit_lines(server *s)
{
    (void)pthread_mutex_lock(&s->audit->lock);
    const uint64_t n = s->audit->n_written;
    (void)pthread_mutex_unlock(&s->audit->lock);
    return n;
}

/* Reads the end of the file: the hash of its last whole line, and how many bytes of a cut one follow. */
static cmir_status
read_end(audit *a, size_t *n_cut, cmir_error *err)
{
    struct stat st;
    char *tail;

    *n_cut = 0;
    memcpy(a->head, AUDIT_FIRST, SECRET_HEX);
    if (fstat(a->fd, &st) != 0)
        return fail_errno(err, "read");
    const size_t n = st.st_size < (off_t)(2 * LINE_NBYTES) ? (size_t)st.st_size : 2 * LINE_NBYTES;
    if (n == 0)
        return CMIR_OK;
    tail = cmir_json_need(malloc(n));
    if (pread(a->fd, tail, n, st.st_size - (off_t)n) != (ssize_t)n) {
        free(tail);
        return fail_errno(err, "read");
    }
    size_t end = n; /* behind the last newline */
    while (end > 0 && tail[end - 1] != '\n')
        end--;
    size_t start = end > 0 ? end - 1 : 0;
    while (start > 0 && tail[start - 1] != '\n')
        start--;
    *n_cut = n - end;
    if (end > 0)
        secret_hash(tail + start, end - 1 - start, a->head);
    const bool odd = (end == 0 || start == 0) && n < (size_t)st.st_size;
    free(tail);
    return odd ? files_fail(err, CMIR_ECORRUPT,
                            "the audit log ends in a line that no service wrote")
               : CMIR_OK;
}

/* Takes a cut line off. */
static cmir_status
repair(audit *a, size_t n_cut, cmir_error *err)
{
    if (n_cut == 0)
        return CMIR_OK;
    const off_t end = lseek(a->fd, 0, SEEK_END);
    if (end < 0 || ftruncate(a->fd, end - (off_t)n_cut) != 0)
        return fail_errno(err, "repaired");
    json_t *line = new_line("", "cut-line-removed");
    cmir_json_set(line, "Bytes", json_integer((json_int_t)n_cut));
    return write_line(a, line, err);
}

static void
log_head(const audit *a, const char *event)
{
    server_log(event, json_pack("{s:s}", "Head", a->head));
}

cmir_status
audit_start(server *s, cmir_error *err)
{
    audit *a = cmir_json_need(calloc(1, sizeof *a));
    char *path = files_path(s->state_dir, "audit.jsonl", (char *)NULL);
    size_t n_cut = 0;
    cmir_status st = CMIR_OK;

    s->audit = a;
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->synced, NULL);
    a->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    free(path);
    if (a->fd < 0)
        return fail_errno(err, "opened");
    if (flock(a->fd, LOCK_EX | LOCK_NB) != 0)
        return files_fail(err, CMIR_EBUSY, "another service runs with this state folder");
    st = read_end(a, &n_cut, err);
    if (st == CMIR_OK)
        st = repair(a, n_cut, err);
    if (st == CMIR_OK)
        st = write_line(a, new_line("", "start"), err);
    if (st == CMIR_OK)
        log_head(a, "audit-start");
    return st;
}

void
audit_stop(server *s)
{
    audit *a = s->audit;

    if (a == NULL)
        return;
    if (a->fd >= 0) {
        cmir_error err = {0};
        if (a->n_written > 0 && write_line(a, new_line("", "stop"), &err) == CMIR_OK)
            log_head(a, "audit-stop");
        (void)close(a->fd);
    }
    (void)pthread_mutex_destroy(&a->lock);
    (void)pthread_cond_destroy(&a->synced);
    free(a);
    s->audit = NULL;
}
