/* SPDX-License-Identifier: Apache-2.0 */
/* files.h: the service's own files: small, private to its user (0700, 0600), replaced whole.
 *
 * The one idea: a file of the service is either as it was or as it was meant to be: it is written under
 * another name, made durable, then renamed. */
#ifndef CMIR_SERVER_FILES_H
#define CMIR_SERVER_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/cmir.h>

#include "json/json.h"

#define FILES_ID_NCHARS 32u /* of files_new_id(): 128 random bits as hex digits */

/* "a/b/c" of parts, NULL-terminated; free(). */
char *files_path(const char *dir, ...);
/* Makes the folder, its parent being there, or finds it; 0700. */
cmir_status files_mkdir(const char *path, cmir_error *err);
cmir_status files_remove_tree(const char *path, cmir_error *err); /* nothing there is fine */
bool files_is_dir(const char *path);

/* An id that nobody guesses. */
cmir_status files_new_id(char out[FILES_ID_NCHARS + 1], cmir_error *err);
/* Whether `text` has the form of one: then it can stand in a path. */
bool files_is_id(const char *text);

bool files_write_all(int fd, const char *data, size_t nbytes); /* false: errno says why */
/* Durable when it returns. */
cmir_status files_write(const char *path, const void *data, size_t nbytes, cmir_error *err);
cmir_status files_write_json(const char *path, const json_t *value, cmir_error *err);
/* Durably adds one line to the file. */
cmir_status files_append_json(const char *path, const json_t *value, cmir_error *err);
/* CMIR_ENOTFOUND where there is none, CMIR_ECORRUPT where it is no JSON object. */
cmir_status files_read_json(const char *path, json_t **out, cmir_error *err);

/* Calls `each` for every name in the folder but "." and ".."; a folder that is not there has none. */
cmir_status files_each(const char *dir, void (*each)(void *ctx, const char *name), void *ctx,
                       cmir_error *err);

/* An error of the service: `code` with the sentence; the first cause wins. */
#if defined(__GNUC__)
__attribute__((__format__(__printf__, 3, 4)))
#endif
cmir_status files_fail(cmir_error *err, cmir_status code, const char *format, ...);

/* The text without the two folders' paths (may be NULL), which say where things lie on this machine;
 * what lies below them keeps its name.  free(). */
char *files_without(const char *text, const char *dir1, const char *dir2);

/* Now, as "2026-01-31T12:00:00Z". */
void files_now(char out[21]);

#endif
