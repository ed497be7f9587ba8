/* SPDX-License-Identifier: Apache-2.0 */
/* work_files.c: see work_files.h. */
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"
#include "work_files.h"

#define N_DIGITS 6
#define MAX_NAME_NBYTES 128

/* Letters, digits and "._- " stay as they are. */
static void
harmless(const char *name, char out[MAX_NAME_NBYTES])
{
    static const char kept[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const size_t n = strlen(name);

    /* the end, with the extension, matters more than the beginning */
    (void)snprintf(out, MAX_NAME_NBYTES, "%s",
                   n < MAX_NAME_NBYTES ? name : name + n - (MAX_NAME_NBYTES - 1));
    for (char *p = out; *p != '\0'; p++)
        if (strchr(kept, *p) == NULL || (p == out && *p == '.'))
            *p = '_';
}

static bool
is_nifti(const char *path)
{
    const size_t n = strlen(path);

    return (n > 4 && strcmp(path + n - 4, ".nii") == 0) ||
           (n > 7 && strcmp(path + n - 7, ".nii.gz") == 0);
}

/* Where the file lies now; moves it there the first time. */
static cmir_status
settle(const files_of_job *f, const char *path, const char *name, char **out, cmir_error *err)
{
    char digits[N_DIGITS + 1] = "", tame[MAX_NAME_NBYTES];
    char *from = files_path(f->folder, path, NULL);
    cmir_status st = CMIR_OK;

    *out = from;
    if (!is_nifti(path))
        return CMIR_OK;
    memcpy(digits, path, N_DIGITS);
    harmless(is_nifti(name) ? name : path, tame);
    char *dir = files_path(f->folder, digits, NULL);
    *out = files_path(dir, tame, NULL);
    if (access(*out, F_OK) != 0 && (st = files_mkdir(dir, err)) == CMIR_OK &&
        rename(from, *out) != 0)
        st = files_fail(err, CMIR_EIO, "a file of the upload cannot be kept: %s", strerror(errno));
    free(dir);
    free(from);
    return st;
}

/* nftw() passes no context; a job's process has one thread that links. */
static const char *link_from, *link_to;

static int
link_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    char *to = files_path(link_to, path + strlen(link_from) + (where->level > 0), NULL);
    int rc;

    (void)st;
    rc = kind == FTW_D ? mkdir(to, 0700) : kind == FTW_F ? link(path, to) : 0;
    rc = rc != 0 && errno != EEXIST ? -1 : 0;
    free(to);
    return rc;
}

/* The files of an upload, which go tomorrow, under a second name, which stays. */
static cmir_status
take_upload(const work *w, const char *folder, const char *upload, files_of_job *f, cmir_error *err)
{
    char *from = files_path(w->state, "uploads", upload, NULL);
    char *files = files_path(from, "files", NULL), *names = files_path(from, "names.json", NULL);
    json_t *o = NULL;
    cmir_status st = files_mkdir(folder, err);

    link_from = files;
    link_to = f->folder;
    if (st == CMIR_OK && nftw(files, link_one, 16, FTW_PHYS) != 0)
        st = files_fail(err, CMIR_EIO, "the files of the upload cannot be kept: %s",
                        strerror(errno));
    if (st == CMIR_OK && (st = files_read_json(names, &o, err)) == CMIR_OK)
        f->names = json_incref(json_object_get(o, "Files"));
    json_decref(o);
    free(names);
    free(files);
    free(from);
    return st;
}

static cmir_status
take_paths(files_of_job *f, cmir_error *err)
{
    const json_t *entry;
    cmir_status st = CMIR_OK;
    size_t i;

    f->paths = cmir_json_need(calloc(json_array_size(f->names) + 1, sizeof *f->paths));
    json_array_foreach(f->names, i, entry)
    {
        const char *path = json_string_value(json_object_get(entry, "Path"));
        const char *name = json_string_value(json_object_get(entry, "Name"));

        if (st != CMIR_OK || path == NULL || name == NULL || strlen(path) < N_DIGITS)
            continue;
        st = settle(f, path, name, &f->paths[f->n_paths], err);
        f->n_paths++;
    }
    return st;
}

cmir_status
work_files_open(const work *w, const char *folder, const json_t *input, files_of_job **out,
                cmir_error *err)
{
    const char *upload = json_string_value(json_object_get(input, "Upload"));
    files_of_job *f = cmir_json_need(calloc(1, sizeof *f));
    cmir_status st = CMIR_OK;

    *out = f;
    f->folder = files_path(folder, "files", NULL);
    if (upload != NULL)
        st = take_upload(w, folder, upload, f, err);
    else
        f->names = json_incref(json_object_get(input, "Files"));
    if (st == CMIR_OK)
        st = take_paths(f, err);
    if (st == CMIR_OK) { /* for who adds the upload later */
        json_t *names = json_pack("{s:O}", "Files", f->names);
        char *path = files_path(folder, "names.json", NULL);
        st = files_write_json(path, names, err);
        free(path);
        json_decref(names);
    }
    return st;
}

void
work_files_close(files_of_job *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->n_paths; i++)
        free(f->paths[i]);
    free(f->paths);
    free(f->folder);
    json_decref(f->names);
    free(f);
}

bool
work_files_has(const files_of_job *f, const char *path)
{
    const size_t n = strlen(f->folder);

    return strncmp(path, f->folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

const char *
work_files_name(const files_of_job *f, const char *path)
{
    const char *rest = path + strlen(f->folder);

    if (!work_files_has(f, path) || rest[0] == '\0')
        return "";
    const size_t number = (size_t)strtoul(rest + 1, NULL, 10);
    const char *name =
        json_string_value(json_object_get(json_array_get(f->names, number - 1), "Name"));
    return name == NULL ? "" : name;
}

/* Where the next path of a file of the job begins in `message`, and which file it is; NULL: there is
 * none.  The library cuts the beginnings of long paths. */
static const char *
next_path(const files_of_job *f, const char *message, const char **end, const char **name)
{
    const char *tail = f->folder + strlen(f->folder);
    const char *p = strstr(message, f->folder);

    for (int n = 0; n < 2 && tail > f->folder;) /* ID/files */
        n += *--tail == '/';
    if (p == NULL && (p = strstr(message, tail + 1)) != NULL) {
        const char *whole = p;
        while (p > message && strchr(" '\"(", p[-1]) == NULL)
            p--;
        *end = whole + strlen(tail + 1);
    } else if (p != NULL) {
        *end = p + strlen(f->folder);
    }
    if (p == NULL)
        return NULL;
    char *rest = cmir_json_need(strndup(*end, strcspn(*end, ":,;")));
    char *path = files_path(f->folder, rest[0] == '/' ? rest + 1 : rest, NULL);
    *name = work_files_name(f, path);
    *end += strlen(rest);
    free(path);
    free(rest);
    return p;
}

/* "/x/files/000002/a.nii: cut short" becomes "a.nii: cut short" with what the client called it. */
char *
work_files_message(const files_of_job *f, const char *message)
{
    char *out = NULL;
    size_t nbytes;
    const char *end, *name;
    FILE *memory = cmir_json_need(open_memstream(&out, &nbytes));

    for (const char *p; (p = next_path(f, message, &end, &name)) != NULL;) {
        (void)fprintf(memory, "%.*s%s", (int)(p - message), message, name);
        message = end + (name[0] == '\0' && strncmp(end, ": ", 2) == 0 ? 2 : 0);
    }
    (void)fputs(message, memory);
    (void)fclose(memory);
    text_strip_paths(cmir_json_need(out));
    return out;
}
