/* SPDX-License-Identifier: Apache-2.0 */
/* add.c: a volume encoded and put into an archive.  Part of the public interface.
 *
 * The one idea: everything an archive keeps of a volume is made while its slices pass the encoder
 * once: embeddings, and previews where it keeps them. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "encode/encode.h"
#include "engine/engine_internal.h"

/* What is put. */
struct parts {
    cmir_embeddings embeddings, room;
    const cmir_embeddings *whitened; /* one of them */
    cmir_preview_maker *maker;       /* NULL: no previews */
    cmir_record record;
    cmir_blob preview;
    uint8_t *preview_bytes;
};

static cmir_status
see_slice(void *ctx, uint32_t slice, const float *values, const cmir_value_range *range,
          cmir_error *err)
{
    return cmir_preview_take(ctx, slice, values, range, err);
}

static cmir_status
begin_preview(const cmir_archive *archive, const cmir_volume *volume, struct parts *p,
              cmir_error *err)
{
    cmir_stack stack;
    cmir_status st;

    if (archive->info.previews == CMIR_PREVIEWS_NONE)
        return CMIR_OK;
    st = cmir_volume_stack(volume, archive->info.plane, &stack, err);
    return st == CMIR_OK ? cmir_preview_begin(&stack, archive->info.previews, &p->maker, err) : st;
}

static cmir_status
finish_preview(const cmir_volume *volume, struct parts *p, cmir_error *err)
{
    const cmir_volume_info *info = cmir_volume_get_info(volume);
    const cmir_value_range range = {info->has_hu, info->value_low, info->value_high};
    cmir_preview preview;
    uint64_t nbytes;
    cmir_status st;

    if (p->maker == NULL)
        return CMIR_OK;
    st = cmir_preview_finish(p->maker, &range, &p->preview_bytes, &nbytes, err);
    if (st == CMIR_OK)
        st = cmir_preview_parse(p->preview_bytes, nbytes, info->volume_id, &preview, err);
    if (st == CMIR_OK)
        p->preview = (cmir_blob){p->preview_bytes, nbytes, preview.crc};
    return st;
}

/* Encodes the volume; what is to be put of it. */
static cmir_status
make_parts(const cmir_archive *archive, const cmir_encoder *encoder, cmir_volume *volume,
           cmir_progress_fn progress, void *progress_ctx, struct parts *p, cmir_error *err)
{
    const cmir_plane plane = archive->info.plane;
    const char *id = cmir_volume_get_info(volume)->volume_id;
    cmir_status st = begin_preview(archive, volume, p, err);
    const cmir_onlooker onlooker = {see_slice, p->maker};

    if (st == CMIR_OK)
        st = cmir_encode_seen(encoder, volume, plane, p->maker == NULL ? NULL : &onlooker, progress,
                              progress_ctx, &p->embeddings, err);
    if (st == CMIR_OK)
        st = finish_preview(volume, p, err);
    if (st == CMIR_OK)
        st = cmir_record_describe(volume, plane, &p->embeddings, &p->record, err);
    if (st == CMIR_OK)
        st = cmir_whiten_embeddings(cmir_store_whitening(archive->store), &p->embeddings, id,
                                    &p->room, &p->whitened, err);
    return st;
}

static cmir_status
put_parts(cmir_archive *archive, const struct parts *p, bool *added, cmir_error *err)
{
    cmir_built *built;
    cmir_status st =
        cmir_store_build(archive->store, p->record.info.volume_id, p->whitened, &built, err);

    if (st != CMIR_OK)
        return st;
    st = cmir_store_put_with(archive->store, &p->record, built, &p->preview, added, err);
    cmir_built_free(built);
    cmir_store_info(archive->store, &archive->info);
    return st;
}

cmir_status
cmir_archive_add(cmir_archive *archive, const cmir_encoder *encoder, cmir_volume *volume,
                 const cmir_label *labels, size_t n_labels, cmir_progress_fn progress,
                 void *progress_ctx, bool *added, cmir_error *err)
{
    struct parts p = {0};
    cmir_status st = cmir_archive_check_encoder(archive, encoder, err);

    *added = false;
    if (st != CMIR_OK)
        return st;
    st = make_parts(archive, encoder, volume, progress, progress_ctx, &p, err);
    p.record.labels = (cmir_label *)(uintptr_t)labels; /* the store only reads them */
    p.record.n_labels = n_labels;
    if (st == CMIR_OK)
        st = put_parts(archive, &p, added, err);
    free(p.record.slice_mm);
    free(p.record.slice_uids);
    free(p.preview_bytes);
    cmir_preview_maker_free(p.maker);
    cmir_embeddings_free(&p.room);
    cmir_embeddings_free(&p.embeddings);
    return st;
}
