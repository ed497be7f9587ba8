/* SPDX-License-Identifier: Apache-2.0 */
/* work_files.h: the files of a job: what lies in its folder, and what its client called them.
 *
 * A file arrives as FOLDER/files/NNNNNN; a NIfTI file, which says nothing of itself, is then given its
 * client's name, made harmless, in a folder of its own: its volume is called by it. */
#ifndef CMIR_SERVER_WORK_FILES_H
#define CMIR_SERVER_WORK_FILES_H

#include "child.h"

typedef struct files_of_job {
    char *folder;  /* FOLDER/files */
    char **paths;  /* of each */
    size_t n_paths;
    json_t *names; /* [{Path, Name}] as the service wrote it down, in order of NNNNNN */
} files_of_job;

/* Takes what `input` lists as Files, or the files of the upload that it names as Upload. */
cmir_status work_files_open(const work *w, const char *folder, const json_t *input,
                            files_of_job **out, cmir_error *err);
void work_files_close(files_of_job *files); /* NULL is fine */
/* What the client called the file at this path; "" where it is none of them. */
const char *work_files_name(const files_of_job *files, const char *path);
bool work_files_has(const files_of_job *files, const char *path);
/* The library's sentence, with client's names in place of paths; free(). */
char *work_files_message(const files_of_job *files, const char *message);

#endif
