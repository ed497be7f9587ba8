/* SPDX-License-Identifier: Apache-2.0 */
/* digest.c: a hash that tells whether two archives give the same search results.
 *
 * The one idea: a line per volume with the hashes of its slice numbers and of its rows as they lie
 * in the maps, and a hash of all lines: nothing is copied, and what follows from the rows (codes,
 * means) does not enter. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "engine/engine_internal.h"

static void
add_volume(const cmir_candidate *candidate, cmir_buf *lines)
{
    const cmir_rows *r = &candidate->rows;
    char slices[CMIR_SHA256_HEX_NBYTES], rows[CMIR_SHA256_HEX_NBYTES];

    cmir_sha256(r->slice, r->n_rows * sizeof *r->slice, slices);
    cmir_sha256(r->exact, (size_t)r->n_rows * r->padded_dim * sizeof *r->exact, rows);
    cmir_buf_add(lines, candidate->volume_id, strlen(candidate->volume_id) + 1);
    cmir_buf_printf(lines, "%u %u %s %s\n", r->n_rows, r->n_scored, slices, rows);
}

cmir_status
cmir_archive_digest(const cmir_archive *archive, cmir_digest *out, cmir_error *err)
{
    const char *card = archive->info.card_json;
    cmir_snapshot *snapshot;
    cmir_buf lines = {0};
    cmir_status st = cmir_snapshot_open(archive->store, NULL, &snapshot, err);

    if (st != CMIR_OK)
        return st;
    cmir_sha256(card, strlen(card), out->card);
    cmir_buf_printf(&lines, "%s\n", out->card);
    for (size_t i = 0; i < cmir_snapshot_count(snapshot); i++)
        add_volume(cmir_snapshot_get(snapshot, i), &lines);
    cmir_snapshot_close(snapshot);
    if (lines.failed)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory to hash it", archive->info.dir);
    else
        cmir_sha256(lines.data, lines.nbytes, out->contents);
    free(lines.data);
    return st;
}
