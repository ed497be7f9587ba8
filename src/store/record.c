/* SPDX-License-Identifier: Apache-2.0 */
/* record.c: a cmir_record with all it points to in one block of memory, so that free() frees it.
 * Called by catalog, by engine for queries that come from files, and by users. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/store.h"

/* Hands out pieces of one block; measures first, with a NULL block. */
struct arena {
    char *block;
    size_t used;
};

static void *
take(struct arena *a, const void *from, size_t nbytes, size_t align)
{
    void *to = NULL;

    a->used = (a->used + align - 1) / align * align;
    if (a->block != NULL) {
        to = a->block + a->used;
        if (nbytes > 0 && from != NULL)
            memcpy(to, from, nbytes);
    }
    a->used += nbytes;
    return to;
}

static const char *
take_text(struct arena *a, const char *text)
{
    return take(a, text == NULL ? "" : text, strlen(text == NULL ? "" : text) + 1, 1);
}

static void
take_info(struct arena *a, const cmir_volume_info *from, cmir_volume_info *to)
{
    to->volume_id = take_text(a, from->volume_id);
    to->path = take_text(a, from->path);
    to->format = take_text(a, from->format);
    to->modality = take_text(a, from->modality);
    to->series_uid = take_text(a, from->series_uid);
    to->study_uid = take_text(a, from->study_uid);
    to->patient_id = take_text(a, from->patient_id);
    to->patient_sex = take_text(a, from->patient_sex);
    to->study_date = take_text(a, from->study_date);
    to->body_part = take_text(a, from->body_part);
    to->manufacturer = take_text(a, from->manufacturer);
    to->description = take_text(a, from->description);
}

/* The copy of `from`, or with a NULL block only its size. */
static cmir_record *
lay_out(struct arena *a, const cmir_record *from)
{
    cmir_record copy = *from;
    cmir_record *to = take(a, NULL, sizeof *to, _Alignof(cmir_record));

    copy.slice_mm = take(a, from->slice_mm, from->n_slices * sizeof(double), _Alignof(double));
    copy.slice_uids = take(a, NULL, from->n_slices * sizeof(char *), _Alignof(char *));
    copy.labels = take(a, NULL, from->n_labels * sizeof(cmir_label), _Alignof(cmir_label));
    copy.slice_marks = take(a, from->slice_marks, from->n_slices, 1);
    take_info(a, &from->info, &copy.info);
    copy.added = take_text(a, from->added);
    for (size_t i = 0; i < from->n_labels; i++) {
        const cmir_label label = {take_text(a, from->labels[i].name),
                                  take_text(a, from->labels[i].value)};
        if (a->block != NULL)
            copy.labels[i] = label;
    }
    for (uint32_t i = 0; i < from->n_slices; i++) {
        const char *uid = take_text(a, from->slice_uids[i]);
        if (a->block != NULL)
            copy.slice_uids[i] = uid;
    }
    if (to != NULL)
        *to = copy;
    return to;
}

cmir_status
cmir_record_copy(const cmir_record *from, cmir_record **out, cmir_error *err)
{
    struct arena arena = {0};

    (void)lay_out(&arena, from);
    arena.block = cmir_alloc_zeroed(arena.used, 1);
    arena.used = 0;
    *out = NULL;
    if (arena.block == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the record of %s", from->info.volume_id);
    *out = lay_out(&arena, from);
    return CMIR_OK;
}

void
cmir_record_free(cmir_record *record)
{
    free(record);
}

void
cmir_ids_free(char **ids, size_t n_ids)
{
    if (ids == NULL)
        return;
    for (size_t i = 0; i < n_ids; i++)
        free(ids[i]);
    free(ids);
}
