/* SPDX-License-Identifier: Apache-2.0 */
/* eval_slices.c: the slices of a volume that a cell names: a range, "40:60", or the path of a NIfTI mask.
 *
 * The one idea: either becomes a list of slice numbers, so nothing behind this knows which it was, and
 * a mask with gaps keeps them. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "eval.h"

bool
eval_slices_have(const eval_slices *slices, uint32_t slice)
{
    uint32_t low = 0, high = slices->n;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;

        if (slices->at[middle] < slice)
            low = middle + 1;
        else
            high = middle;
    }
    return low < slices->n && slices->at[low] == slice;
}

json_t *
eval_slices_runs(const eval_slices *slices)
{
    json_t *runs = cli_need(json_array());

    for (uint32_t i = 0, last; i < slices->n; i = last + 1) {
        for (last = i; last + 1 < slices->n && slices->at[last + 1] == slices->at[last] + 1;)
            last++;
        cmir_json_add(runs, cmir_json_pair(slices->at[i], slices->at[last]));
    }
    return runs;
}

static bool
names_mask(const char *text)
{
    const size_t n = strlen(text);

    return (n > 4 && strcasecmp(text + n - 4, ".nii") == 0) ||
           (n > 7 && strcasecmp(text + n - 7, ".nii.gz") == 0);
}

/* "A:B" */
static bool
parse_range(const char *text, uint32_t *first_slice, uint32_t *last_slice)
{
    char *end;
    unsigned long first, last;

    if (text[0] < '0' || text[0] > '9')
        return false;
    first = strtoul(text, &end, 10);
    if (end[0] != ':' || end[1] < '0' || end[1] > '9')
        return false;
    last = strtoul(end + 1, &end, 10);
    if (*end != '\0' || first > last || last >= CMIR_MAX_SLICES)
        return false;
    *first_slice = (uint32_t)first;
    *last_slice = (uint32_t)last;
    return true;
}

/* Those of n that are marked. */
static void
take_marked(const uint8_t *marked, uint32_t n, eval_slices *out)
{
    out->at = cli_need(malloc((n + 1) * sizeof *out->at));
    out->n = 0;
    for (uint32_t i = 0; i < n; i++)
        if (marked[i] != 0)
            out->at[out->n++] = i;
}

/* A path in a CSV file is relative to that file; free(). */
static cmir_status
mask_path(const cmir_record *record, const char *column, const char *text, const char *csv,
          char **out, cmir_error *err)
{
    const char *slash = csv == NULL ? NULL : strrchr(csv, '/');
    const size_t n = slash == NULL ? 0 : (size_t)(slash - csv) + 1;

    if (text[0] != '/' && csv == NULL)
        return cli_fail(err, CMIR_ECORRUPT,
                        "%.60s: its %.40s '%.60s' is a label of the archive: a mask there needs an "
                        "absolute path, one in --labels CSV does not",
                        record->info.volume_id, column, text);
    *out = cli_need(malloc(n + strlen(text) + 1));
    sprintf(*out, "%.*s%s", text[0] == '/' ? 0 : (int)n, text[0] == '/' ? "" : csv, text);
    return CMIR_OK;
}

static cmir_status
read_mask(const cmir_record *record, cmir_plane plane, const char *column, const char *path,
          eval_slices *out, cmir_error *err)
{
    uint8_t *marked = cli_need(calloc(record->n_slices, 1));
    cmir_error cause = {0};
    cmir_status st = cmir_mask_read(path, &record->info, plane, marked, record->n_slices, &cause);

    if (st == CMIR_OK)
        take_marked(marked, record->n_slices, out);
    else /* what a file is like is no fault of the command line */
        st = cli_fail(err, st == CMIR_EINVAL ? CMIR_ECORRUPT : st, "%.40s: its %.30s: %s",
                      record->info.volume_id, column, cause.msg);
    free(marked);
    return st;
}

cmir_status
eval_slices_take(eval *e, const cmir_record *record, const char *column, const char *text,
                 const char *csv, eval_slices *out, cmir_error *err)
{
    const char *id = record->info.volume_id;
    uint32_t first, last;
    cmir_status st;

    if (names_mask(text)) {
        const cmir_plane plane = cmir_archive_get_info(e->archive)->plane;

        if ((st = mask_path(record, column, text, csv, &out->path, err)) == CMIR_OK &&
            (st = read_mask(record, plane, column, out->path, out, err)) == CMIR_OK) {
            e->n_masks++;
            e->n_empty_masks += out->n == 0;
        }
        return st;
    }
    if (!parse_range(text, &first, &last))
        return cli_fail(err, CMIR_ECORRUPT,
                        "%.60s: its %.40s '%.40s': the first and last slice are wanted, from 0, "
                        "such as 40:60, or a mask, FILE.nii or .nii.gz",
                        id, column, text);
    if (last >= record->n_slices)
        return cli_fail(err, CMIR_ECORRUPT, "%.80s: its %.60s %u:%u goes beyond its %u slices", id,
                        column, first, last, record->n_slices);
    out->at = cli_need(malloc((last - first + 1) * sizeof *out->at));
    for (uint32_t slice = first; slice <= last; slice++)
        out->at[out->n++] = slice;
    return CMIR_OK;
}

void
eval_slices_free(eval_slices *slices)
{
    free(slices->at);
    free(slices->path);
    *slices = (eval_slices){0};
}
