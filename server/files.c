/* SPDX-License-Identifier: Apache-2.0 */
/* files.c: the service's own files: see files.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

#define TREE_FDS 16

cmir_status
files_fail(cmir_error *err, cmir_status code, const char *format, ...)
{
    va_list args;

    if (err == NULL || err->code != CMIR_OK)
        return code;
    err->code = code;
    err->offset = UINT64_MAX;
    va_start(args, format);
    (void)vsnprintf(err->msg, sizeof err->msg, format, args);
    va_end(args);
    return code;
}

/* Errors go to clients: they name the file, not where it lies. */
static cmir_status
fail_errno(cmir_error *err, const char *path, const char *what)
{
    const char *slash = strrchr(path, '/');
    const int cause = errno;

    return files_fail(err, cause == ENOENT ? CMIR_ENOTFOUND : CMIR_EIO,
                      "the service's file %.80s cannot be %s: %s", slash == NULL ? path : slash + 1,
                      what, strerror(cause));
}

char *
files_path(const char *dir, ...)
{
    va_list args;
    const char *part;
    size_t n = strlen(dir) + 1;

    va_start(args, dir);
    while ((part = va_arg(args, const char *)) != NULL)
        n += 1 + strlen(part);
    va_end(args);
    char *path = cmir_json_need(malloc(n)), *p = path + sprintf(path, "%s", dir);
    va_start(args, dir);
    while ((part = va_arg(args, const char *)) != NULL)
        p += sprintf(p, "/%s", part);
    va_end(args);
    return path;
}

bool
files_is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

cmir_status
files_mkdir(const char *path, cmir_error *err)
{
    if (mkdir(path, 0700) == 0 || (errno == EEXIST && files_is_dir(path)))
        return CMIR_OK;
    return fail_errno(err, path, "made");
}

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

cmir_status
files_remove_tree(const char *path, cmir_error *err)
{
    if (nftw(path, remove_one, TREE_FDS, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return CMIR_OK;
    return fail_errno(err, path, "removed");
}

cmir_status
files_new_id(char out[FILES_ID_NCHARS + 1], cmir_error *err)
{
    uint8_t bytes[FILES_ID_NCHARS / 2];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return files_fail(err, CMIR_EIO, "no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++)
        sprintf(out + 2 * i, "%02x", bytes[i]);
    return CMIR_OK;
}

bool
files_is_id(const char *text)
{
    return strlen(text) == FILES_ID_NCHARS && strspn(text, "0123456789abcdef") == FILES_ID_NCHARS;
}

bool
files_write_all(int fd, const char *data, size_t nbytes)
{
    while (nbytes > 0) {
        const ssize_t n = write(fd, data, nbytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        nbytes -= (size_t)n;
    }
    return true;
}

static cmir_status
sync_folder_of(const char *path, cmir_error *err)
{
    const char *slash = strrchr(path, '/');
    char *dir = cmir_json_need(
        strndup(slash == NULL ? "." : path, slash == NULL ? 1 : (size_t)(slash - path)));
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool good = fd >= 0 && fsync(fd) == 0;

    free(dir);
    const cmir_status st = good ? CMIR_OK : fail_errno(err, path, "made durable");
    if (fd >= 0)
        (void)close(fd);
    return st;
}

cmir_status
files_write(const char *path, const void *data, size_t nbytes, cmir_error *err)
{
    static const char suffix[] = ".XXXXXX";
    const size_t n = strlen(path);
    char *tmp = cmir_json_need(malloc(n + sizeof suffix));
    cmir_status st = CMIR_OK;

    memcpy(tmp, path, n);
    memcpy(tmp + n, suffix, sizeof suffix);
    const int fd = mkstemp(tmp); /* 0600 */
    if (fd < 0) {
        st = fail_errno(err, path, "written");
        free(tmp);
        return st;
    }
    if (!files_write_all(fd, data, nbytes) || fsync(fd) != 0)
        st = fail_errno(err, path, "written");
    if (close(fd) != 0 && st == CMIR_OK)
        st = fail_errno(err, path, "written");
    if (st == CMIR_OK && rename(tmp, path) != 0)
        st = fail_errno(err, path, "written");
    if (st != CMIR_OK)
        (void)unlink(tmp);
    free(tmp);
    return st == CMIR_OK ? sync_folder_of(path, err) : st;
}

cmir_status
files_write_json(const char *path, const json_t *value, cmir_error *err)
{
    char *text = cmir_json_need(json_dumps(value, JSON_COMPACT));
    const cmir_status st = files_write(path, text, strlen(text), err);

    free(text);
    return st;
}

cmir_status
files_append_json(const char *path, const json_t *value, cmir_error *err)
{
    char *text = cmir_json_need(json_dumps(value, JSON_COMPACT));
    const size_t n = strlen(text);
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    cmir_status st = CMIR_OK;

    text[n] = '\n'; /* in place of the NUL: one write */
    if (fd < 0 || !files_write_all(fd, text, n + 1) || fdatasync(fd) != 0)
        st = fail_errno(err, path, "written");
    if (fd >= 0 && close(fd) != 0 && st == CMIR_OK)
        st = fail_errno(err, path, "written");
    free(text);
    return st;
}

cmir_status
files_read_json(const char *path, json_t **out, cmir_error *err)
{
    FILE *file = fopen(path, "re");
    json_error_t why;

    *out = NULL;
    if (file == NULL)
        return fail_errno(err, path, "read");
    *out = json_loadf(file, JSON_REJECT_DUPLICATES, &why);
    (void)fclose(file);
    if (json_is_object(*out))
        return CMIR_OK;
    json_decref(*out);
    *out = NULL;
    return files_fail(err, CMIR_ECORRUPT, "a file of the service is damaged: %.100s", why.text);
}

cmir_status
files_each(const char *dir, void (*each)(void *ctx, const char *name), void *ctx, cmir_error *err)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;

    if (d == NULL)
        return errno == ENOENT ? CMIR_OK : fail_errno(err, dir, "read");
    while ((entry = readdir(d)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(ctx, entry->d_name);
    (void)closedir(d);
    return CMIR_OK;
}

char *
files_without(const char *text, const char *dir1, const char *dir2)
{
    const char *const dirs[] = {dir1, dir2};
    char *out = cmir_json_need(strdup(text));

    for (size_t i = 0; i < 2; i++) {
        const size_t n = dirs[i] == NULL ? 0 : strlen(dirs[i]);
        for (char *p = out; n > 0 && (p = strstr(p, dirs[i])) != NULL;) {
            const size_t cut = n + (p[n] == '/');
            memmove(p, p + cut, strlen(p + cut) + 1);
        }
    }
    return out;
}

void
files_now(char out[21])
{
    const time_t now = time(NULL);
    struct tm utc;

    (void)gmtime_r(&now, &utc);
    (void)strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &utc);
}
