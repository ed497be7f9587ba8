/* SPDX-License-Identifier: Apache-2.0 */
/* verify_previews.c: reads every preview of an archive and tells what is wrong.  Called by verify. */
#include "store/verify.h"

#include "base/error.h"
#include "picture/preview.h"

/* The preview at its place: header, checksum, every slice. */
static cmir_status
check_record(struct verify *v, const char *id, const cmir_preview_claim *claim, int64_t n_slices,
             cmir_error *cause)
{
    cmir_segment_map *map;
    cmir_preview preview;
    cmir_status st = cmir_maps_take(&v->store->preview_maps, claim->segment,
                                    claim->offset + claim->nbytes, &map, cause);

    if (st != CMIR_OK)
        return st;
    st = cmir_preview_parse(map->map.data + claim->offset, claim->nbytes, id, &preview, cause);
    if (st == CMIR_OK && (preview.crc != claim->crc || (int64_t)preview.n_slices != n_slices))
        st = FAIL(cause, CMIR_ECORRUPT, "%s: the preview is of another volume", id);
    if (st == CMIR_OK)
        st = cmir_preview_check(&preview, id, cause);
    cmir_maps_give_back(&v->store->preview_maps, map);
    return st;
}

/* The preview of the current row: volume_id, n_slices, the segment's nbytes, CMIR_PREVIEW_COLUMNS. */
static void
check_preview(struct verify *v, cmir_stmt *q)
{
    const char *id = cmir_column_text(q, 0);
    const uint64_t owned = (uint64_t)cmir_column_int(q, 2);
    cmir_preview_claim claim;
    cmir_error cause = {0};

    if (cmir_catalog_read_preview(q, 3, id, &claim, &cause) != CMIR_OK) {
        cmir_verify_tell(v, &cause);
        return;
    }
    if (claim.nbytes > owned || claim.offset > owned - claim.nbytes) {
        REPORT(v, "%s: the catalogue places its preview outside of its file", id);
        return;
    }
    if (claim.segment == v->segment && claim.offset < v->end)
        REPORT(v, "%s: the catalogue places its preview where another lies", id);
    v->segment = claim.segment;
    v->end = claim.offset + claim.nbytes;
    if (check_record(v, id, &claim, cmir_column_int(q, 1), &cause) != CMIR_OK)
        cmir_verify_tell(v, &cause);
}

void
cmir_verify_previews(struct verify *v)
{
    cmir_stmt *q = cmir_verify_open(
        v, "SELECT v.volume_id, v.n_slices, s.nbytes, " CMIR_PREVIEW_COLUMNS
           " FROM previews AS p JOIN volumes AS v ON v.id = p.volume "
           "LEFT JOIN preview_segments AS s ON s.number = p.segment ORDER BY p.segment, p.offset");

    v->segment = 0;
    v->end = 0;
    while (q != NULL && v->st == CMIR_OK && cmir_verify_next(v, q))
        check_preview(v, q);
    cmir_stmt_close(q);
}
