/* SPDX-License-Identifier: Apache-2.0 */
/* eval_scratch.c: a private folder for archives that an evaluation makes for its own use.
 *
 * The one idea: whatever ends the evaluation, all of it goes when the folder is removed. */
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

cmir_status
eval_scratch_open(eval *e, cmir_error *err)
{
    const char *tmp = getenv("TMPDIR"), *parent = tmp == NULL || *tmp == '\0' ? "/tmp" : tmp;

    if (e->scratch != NULL)
        return CMIR_OK;
    e->scratch = cli_need(malloc(strlen(parent) + 32));
    sprintf(e->scratch, "%s/cmir-eval-XXXXXX", parent);
    if (mkdtemp(e->scratch) != NULL)
        return CMIR_OK;
    free(e->scratch);
    e->scratch = NULL;
    return cli_fail(err, CMIR_EIO, "%.100s: no folder for the archives of an evaluation: %s",
                    parent, strerror(errno));
}

char *
eval_scratch_path(const eval *e, const char *name)
{
    char *path = cli_need(malloc(strlen(e->scratch) + strlen(name) + 2));

    sprintf(path, "%s/%s", e->scratch, name);
    return path;
}

static int
remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void
eval_scratch_remove(const char *path)
{
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void
eval_scratch_close(eval *e)
{
    if (e->scratch != NULL)
        eval_scratch_remove(e->scratch);
    free(e->scratch);
    e->scratch = NULL;
}
