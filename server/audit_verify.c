/* SPDX-License-Identifier: Apache-2.0 */
/* audit_verify.c: reads an audit log and finds the first line that does not follow from the one
 * before it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "files.h"
#include "secret.h"

/* Why the line is not the next of the chain, or NULL; *head becomes its hash. */
static const char *
check_line(const char *text, size_t nbytes, char head[SECRET_HEX])
{
    json_error_t why;
    json_t *line = json_loadb(text, nbytes, JSON_REJECT_DUPLICATES, &why);
    const char *prev = json_string_value(json_object_get(line, "Prev"));
    const char *fault = NULL;

    if (!json_is_object(line) || prev == NULL)
        fault = "is not a line of an audit log";
    else if (strcmp(prev, head) != 0)
        fault =
            "does not follow from the line before it: one of them was changed, taken out or put in";
    secret_hash(text, nbytes, head);
    json_decref(line);
    return fault;
}

cmir_status
server_audit_verify(const char *path, server_audit_result *out, cmir_error *err)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t cap = 0;
    ssize_t n;

    *out = (server_audit_result){.head = AUDIT_FIRST};
    if (file == NULL)
        return files_fail(err, errno == ENOENT ? CMIR_ENOTFOUND : CMIR_EIO, "%s: %s", path,
                          strerror(errno));
    cmir_status st = secret_start(err);
    while (st == CMIR_OK && out->fault == NULL && (n = getline(&text, &cap, file)) > 0) {
        if (text[n - 1] != '\n')
            out->fault =
                "is cut short: the service ended while writing it; the lines before it are "
                "sound";
        else
            out->fault = check_line(text, (size_t)n - 1, out->head);
        if (out->fault == NULL)
            out->n_lines++;
    }
    if (st == CMIR_OK && ferror(file))
        st = files_fail(err, CMIR_EIO, "%s: cannot be read: %s", path, strerror(errno));
    free(text);
    (void)fclose(file);
    return st;
}
