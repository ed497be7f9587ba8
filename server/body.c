/* SPDX-License-Identifier: Apache-2.0 */
/* body.c: what comes behind the headers: JSON and text into memory, files into a folder.
 *
 * The one idea: everything has a limit that is checked before the bytes are kept, and files are
 * named by us, never by the client. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "files.h"
#include "http_internal.h"
#include "text.h"

#define JSON_NBYTES (1u << 20)
#define TEXT_NBYTES (16u << 20)
#define JSON_DEPTH 32
#define MAX_FIELDS 32u
#define FIELD_NBYTES (64u << 10)
#define PARSER_NBYTES (64u << 10)

typedef struct field {
    char *name, *value;
    size_t nbytes;
} field;

struct upload {
    struct MHD_PostProcessor *parser;
    char *folder;
    request_file *files; /* names and paths are ours */
    size_t n_files, cap;
    int fd; /* of the last file; -1 */
    field fields[MAX_FIELDS];
    size_t n_fields;
    unsigned status; /* of a refusal met while parsing */
    const char *message;
};

static unsigned
refuse(char message[200], unsigned status, const char *text)
{
    snprintf(message, 200, "%s", text);
    return status;
}

static bool
is_type(const char *header, const char *type)
{
    const size_t n = strlen(type);

    return header != NULL && strncasecmp(header, type, n) == 0 &&
           (header[n] == '\0' || header[n] == ';' || header[n] == ' ');
}

static uint64_t
limit_of(const request *r)
{
    switch (r->target.route->body) {
    case BODY_JSON: return JSON_NBYTES;
    case BODY_TEXT: return TEXT_NBYTES;
    case BODY_FILES: return r->server->options.upload_nbytes;
    default: return 0;
    }
}

static const char too_large[] = "the body is larger than this service takes";

/* ---- Files. */
static unsigned
fail_upload(upload *u, unsigned status, const char *message)
{
    if (u->status == 0) {
        u->status = status;
        u->message = message;
    }
    return u->status;
}

static enum MHD_Result
fail_write(upload *u)
{
    const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;

    fail_upload(u, full ? 507 : 500,
                full ? "no space is left for uploads" : "the upload cannot be written");
    return MHD_NO;
}

static bool
end_file(upload *u)
{
    const bool ok = u->fd < 0 || close(u->fd) == 0;

    u->fd = -1;
    return ok;
}

static const char *
extension(const char *name)
{
    static const char *const known[] = {".nii.gz", ".nii"};
    const size_t n = strlen(name);

    for (size_t i = 0; i < 2; i++)
        if (n > strlen(known[i]) && strcasecmp(name + n - strlen(known[i]), known[i]) == 0)
            return known[i];
    return "";
}

static enum MHD_Result
begin_file(upload *u, const char *name)
{
    if (!end_file(u))
        return fail_write(u);
    if (u->n_files == SERVER_MAX_FILES) {
        fail_upload(u, 413, "more files than this service takes");
        return MHD_NO;
    }
    if (u->n_files == u->cap) {
        const size_t cap = u->cap == 0 ? 64 : 2 * u->cap;
        request_file *files = realloc(u->files, cap * sizeof *files);
        if (files == NULL)
            return fail_upload(u, 503, "no memory"), MHD_NO;
        u->files = files;
        u->cap = cap;
    }
    name = text_file_name(name);
    const size_t room = strlen(u->folder) + 32;
    char *own = strdup(name), *path = malloc(room);
    if (own == NULL || path == NULL) {
        free(own);
        free(path);
        return fail_upload(u, 503, "no memory"), MHD_NO;
    }
    snprintf(path, room, "%s/%06zu%s", u->folder, u->n_files + 1, extension(name));
    u->files[u->n_files++] = (request_file){own, path, 0};
    u->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return u->fd < 0 ? fail_write(u) : MHD_YES;
}

static enum MHD_Result
write_file(upload *u, const char *data, size_t nbytes)
{
    u->files[u->n_files - 1].nbytes += nbytes;
    while (nbytes > 0) {
        const ssize_t n = write(u->fd, data, nbytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_write(u);
        data += n;
        nbytes -= (size_t)n;
    }
    return MHD_YES;
}

static enum MHD_Result
add_to_field(upload *u, const char *key, const char *data, uint64_t offset, size_t nbytes)
{
    if (offset == 0) {
        if (u->n_fields == MAX_FIELDS || !text_is_clean(key, strlen(key)))
            return fail_upload(u, 400, "more fields than this service takes"), MHD_NO;
        u->fields[u->n_fields++] = (field){strdup(key), calloc(1, 1), 0};
    }
    field *f = &u->fields[u->n_fields - 1];
    if (f->nbytes + nbytes > FIELD_NBYTES)
        return fail_upload(u, 413, "a field is larger than this service takes"), MHD_NO;
    char *value = f->name == NULL ? NULL : realloc(f->value, f->nbytes + nbytes + 1);
    if (value == NULL)
        return fail_upload(u, 503, "no memory"), MHD_NO;
    f->value = value;
    memcpy(value + f->nbytes, data, nbytes);
    f->nbytes += nbytes;
    value[f->nbytes] = '\0';
    return MHD_YES;
}

/* Called by the parser of multipart/form-data with each piece of a part. */
static enum MHD_Result
on_part(void *cls, enum MHD_ValueKind kind, const char *key, const char *name, const char *type,
        const char *encoding, const char *data, uint64_t offset, size_t nbytes)
{
    upload *u = cls;

    (void)kind;
    (void)type;
    (void)encoding;
    if (u->status != 0)
        return MHD_NO;
    if (name == NULL)
        return add_to_field(u, key == NULL ? "" : key, data, offset, nbytes);
    if (offset == 0 && begin_file(u, name) != MHD_YES)
        return MHD_NO;
    return write_file(u, data, nbytes);
}

static unsigned
begin_upload(request *r, char message[200])
{
    cmir_error err = {0};
    char *incoming, id[FILES_ID_NCHARS + 1], name[64];

    if (server_state_folder(r->server, "incoming", &incoming, &err) != CMIR_OK)
        return refuse(message, 500, "the upload cannot be written");
    free(incoming);
    r->upload = calloc(1, sizeof *r->upload);
    if (r->upload == NULL)
        return refuse(message, 503, "no memory");
    r->upload->fd = -1;
    if (files_new_id(id, &err) != CMIR_OK)
        return refuse(message, 500, "no random numbers");
    snprintf(name, sizeof name, "incoming/%s", id);
    if (server_state_folder(r->server, name, &r->upload->folder, &err) != CMIR_OK)
        return refuse(message, 507, "the upload cannot be written");
    r->upload->parser = MHD_create_post_processor(r->connection, PARSER_NBYTES, on_part, r->upload);
    if (r->upload->parser == NULL)
        return refuse(message, 400, "multipart/form-data without a boundary");
    return 0;
}

/* The parser is destroyed to learn whether the last part was whole. */
static unsigned
end_upload(upload *u, char message[200])
{
    const enum MHD_Result whole = MHD_destroy_post_processor(u->parser);

    u->parser = NULL;
    if (!end_file(u))
        (void)fail_write(u);
    if (u->status == 0 && whole != MHD_YES)
        fail_upload(u, 400, "the multipart body is cut short");
    for (size_t i = 0; i < u->n_fields && u->status == 0; i++)
        if (!text_is_clean(u->fields[i].value, u->fields[i].nbytes))
            fail_upload(u, 400, "a field is not valid UTF-8 without control characters");
    return u->status == 0 ? 0 : refuse(message, u->status, u->message);
}

static void
free_upload(upload *u)
{
    if (u == NULL)
        return;
    if (u->parser != NULL)
        (void)MHD_destroy_post_processor(u->parser);
    (void)end_file(u);
    for (size_t i = 0; i < u->n_files; i++) {
        (void)unlink(u->files[i].path);
        free((void *)(uintptr_t)u->files[i].path);
        free((void *)(uintptr_t)u->files[i].name);
    }
    for (size_t i = 0; i < u->n_fields; i++) {
        free(u->fields[i].name);
        free(u->fields[i].value);
    }
    if (u->folder != NULL)
        (void)rmdir(u->folder);
    free(u->folder);
    free(u->files);
    free(u);
}

/* ---- All bodies. */
static unsigned
check_type(const request *r, char message[200])
{
    const char *type =
        MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);

    switch (r->target.route->body) {
    case BODY_JSON:
        return is_type(type, "application/json")
                   ? 0
                   : refuse(message, 415, "application/json is wanted");
    case BODY_TEXT:
        return is_type(type, "text/csv") || is_type(type, "text/plain")
                   ? 0
                   : refuse(message, 415, "text/csv is wanted");
    case BODY_FILES:
        return is_type(type, "multipart/form-data")
                   ? 0
                   : refuse(message, 415, "multipart/form-data is wanted");
    default: return 0;
    }
}

unsigned
body_begin(request *r, char message[200])
{
    const char *length =
        MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const unsigned status = check_type(r, message);

    if (status != 0)
        return status;
    if (length != NULL && strtoull(length, NULL, 10) > limit_of(r))
        return refuse(message, 413,
                      r->target.route->body == BODY_NONE ? "no body is wanted here" : too_large);
    return r->target.route->body == BODY_FILES ? begin_upload(r, message) : 0;
}

unsigned
body_take(request *r, const char *data, size_t nbytes, char message[200])
{
    if (r->body_nbytes + nbytes > limit_of(r))
        return refuse(message, 413, too_large);
    if (r->upload != NULL) {
        r->body_nbytes += nbytes;
        if (MHD_post_process(r->upload->parser, data, nbytes) == MHD_YES && r->upload->status == 0)
            return 0;
        fail_upload(r->upload, 400, "this is not valid multipart/form-data");
        return refuse(message, r->upload->status, r->upload->message);
    }
    /* Grows by doubling: a power of two is full. */
    const uint64_t end = r->body_nbytes + nbytes + 1;
    uint64_t cap = 4096;
    while (cap < end)
        cap *= 2;
    char *text = realloc(r->text, (size_t)cap);
    if (text == NULL)
        return refuse(message, 503, "no memory");
    r->text = text;
    memcpy(text + r->body_nbytes, data, nbytes);
    r->body_nbytes += nbytes;
    text[r->body_nbytes] = '\0';
    return 0;
}

/* jansson nests a function per level: the depth is bounded before it sees the text. */
static bool
is_too_deep(const char *text, size_t nbytes)
{
    unsigned depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < nbytes; i++) {
        if (quoted && text[i] == '\\') {
            i++; /* what is escaped is no end */
        } else if (quoted) {
            quoted = text[i] != '"';
        } else if (text[i] == '"') {
            quoted = true;
        } else if (text[i] == '[' || text[i] == '{') {
            if (++depth > JSON_DEPTH)
                return true;
        } else if (text[i] == ']' || text[i] == '}') {
            depth -= depth > 0;
        }
    }
    return false;
}

static unsigned
parse_json(request *r, char message[200])
{
    json_error_t why;
    const char *text = r->text == NULL ? "" : r->text;

    if (is_too_deep(text, (size_t)r->body_nbytes))
        return refuse(message, 400, "the JSON is nested too deeply");
    r->json = json_loadb(text, (size_t)r->body_nbytes, JSON_REJECT_DUPLICATES, &why);
    if (r->json == NULL) {
        snprintf(message, 200, "not valid JSON: line %d, column %d", why.line, why.column);
        return 400;
    }
    return json_is_object(r->json) ? 0 : refuse(message, 400, "a JSON object is wanted");
}

unsigned
body_end(request *r, char message[200])
{
    switch (r->target.route->body) {
    case BODY_JSON: return parse_json(r, message);
    case BODY_FILES: return end_upload(r->upload, message);
    default: return 0;
    }
}

void
body_free(request *r)
{
    free_upload(r->upload);
    json_decref(r->json);
    free(r->text);
}

const json_t *
request_json(const request *r)
{
    return r->json;
}

const char *
request_text(const request *r, size_t *nbytes)
{
    *nbytes = (size_t)r->body_nbytes;
    return r->text == NULL ? "" : r->text;
}

const char *
request_folder(const request *r)
{
    return r->upload->folder;
}

const request_file *
request_files(const request *r, size_t *n)
{
    *n = r->upload->n_files;
    return r->upload->files;
}

const char *
request_field(const request *r, const char *name)
{
    for (size_t i = 0; i < r->upload->n_fields; i++)
        if (strcmp(r->upload->fields[i].name, name) == 0)
            return r->upload->fields[i].value;
    return NULL;
}
