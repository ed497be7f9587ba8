/* SPDX-License-Identifier: Apache-2.0 */
/* record.c: what an archive knows of a volume, and of itself, as JSON. */
#include "json.h"

/* A label's name need not be valid UTF-8 either, nor unique. */
json_t *
cmir_json_labels(const cmir_record *record)
{
    json_t *labels = cmir_json_need(json_object());

    for (size_t i = 0; i < record->n_labels; i++) {
        json_t *name = cmir_json_text(record->labels[i].name);
        cmir_json_set(labels, json_string_value(name), cmir_json_text(record->labels[i].value));
        json_decref(name);
    }
    return labels;
}

json_t *
cmir_json_record(const cmir_record *record, bool paths)
{
    const cmir_volume_info *info = &record->info;
    json_t *o = cmir_json_need(json_object());

    cmir_json_set(o, "VolumeId", cmir_json_text(info->volume_id));
    if (paths)
        cmir_json_set(o, "Path", cmir_json_text(info->path));
    cmir_json_set(o, "Format", cmir_json_text(info->format));
    cmir_json_set(o, "Modality", cmir_json_text(info->modality));
    cmir_json_set(o, "SeriesInstanceUID", cmir_json_text(info->series_uid));
    cmir_json_set(o, "StudyInstanceUID", cmir_json_text(info->study_uid));
    cmir_json_set(o, "PatientId", cmir_json_text(info->patient_id));
    cmir_json_set(o, "PatientSex", cmir_json_text(info->patient_sex));
    cmir_json_set(o, "PatientAge", cmir_json_number(info->patient_age));
    cmir_json_set(o, "StudyDate", cmir_json_text(info->study_date));
    cmir_json_set(o, "BodyPartExamined", cmir_json_text(info->body_part));
    cmir_json_set(o, "Manufacturer", cmir_json_text(info->manufacturer));
    cmir_json_set(o, "SeriesDescription", cmir_json_text(info->description));
    cmir_json_set(o, "Slices", json_integer(record->n_slices));
    cmir_json_set(o, "AirSlices", json_integer(record->n_air));
    cmir_json_set(o, "SliceSpacing", cmir_json_number(record->slice_spacing_mm));
    cmir_json_set(o, "PreviewBytes", json_integer((json_int_t)record->preview_nbytes));
    cmir_json_set(o, "Added", cmir_json_text(record->added));
    cmir_json_set(o, "Labels", cmir_json_labels(record));
    return o;
}

cmir_status
cmir_json_records(const cmir_archive *archive, const char *where, bool paths, json_t **out,
                  cmir_error *err)
{
    json_t *list = cmir_json_need(json_array());
    char **ids = NULL;
    size_t n = 0;
    cmir_status st = cmir_archive_list(archive, where, &ids, &n, err);

    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        cmir_record *record = NULL;
        if ((st = cmir_archive_get(archive, ids[i], &record, err)) == CMIR_OK)
            cmir_json_add(list, cmir_json_record(record, paths));
        cmir_record_free(record);
    }
    cmir_ids_free(ids, n);
    *out = st == CMIR_OK ? list : NULL;
    if (st != CMIR_OK)
        json_decref(list);
    return st;
}

json_t *
cmir_json_volume(const cmir_record *record, bool paths)
{
    const cmir_volume_info *info = &record->info;
    json_t *o = cmir_json_record(record, paths), *affine = cmir_json_need(json_array());
    json_t *mm = cmir_json_need(json_array()), *air = cmir_json_need(json_array());
    json_t *uids = cmir_json_need(json_array());

    for (int r = 0; r < 3; r++) {
        json_t *row = cmir_json_need(json_array());
        for (int c = 0; c < 4; c++)
            cmir_json_add(row, cmir_json_number(info->affine[r][c]));
        cmir_json_add(affine, row);
    }
    for (uint32_t i = 0; i < record->n_slices; i++) {
        cmir_json_add(mm, cmir_json_number(record->slice_mm[i]));
        cmir_json_add(uids, cmir_json_text(record->slice_uids[i]));
        if (record->slice_marks[i] & CMIR_SLICE_AIR)
            cmir_json_add(air, json_integer(i));
    }
    cmir_json_set(o, "Dims",
                  json_pack("[I, I, I]", (json_int_t)info->dims[0], (json_int_t)info->dims[1],
                            (json_int_t)info->dims[2]));
    cmir_json_set(o, "Affine", affine);
    cmir_json_set(o, "HasHU", json_boolean(info->has_hu));
    cmir_json_set(o, "ValueLow", cmir_json_number(info->value_low));
    cmir_json_set(o, "ValueHigh", cmir_json_number(info->value_high));
    cmir_json_set(o, "SliceMm", mm);
    cmir_json_set(o, "AirSliceNumbers", air);
    cmir_json_set(o, "SOPInstanceUIDs", uids);
    return o;
}

json_t *
cmir_json_encoder(const cmir_archive_info *info)
{
    json_t *o = cmir_json_need(json_object());

    cmir_json_set(o, "Name", cmir_json_text(info->encoder_name));
    cmir_json_set(o, "Version", cmir_json_text(info->encoder_version));
    cmir_json_set(o, "Sha256", cmir_json_text(info->encoder_sha256));
    return o;
}

json_t *
cmir_json_whitening(const cmir_archive_info *info)
{
    const cmir_whitening_info *w = info->whitening;
    json_t *o, *base;

    if (w == NULL)
        return json_null();
    o = cmir_json_need(json_object());
    base = cmir_json_need(json_object());
    cmir_json_set(base, "Name", cmir_json_text(w->base_name));
    cmir_json_set(base, "Version", cmir_json_text(info->encoder_version));
    cmir_json_set(base, "Sha256", cmir_json_text(w->base_sha256));
    cmir_json_set(o, "BaseEncoder", base);
    cmir_json_set(o, "BaseDim", json_integer(w->base_dim));
    cmir_json_set(o, "ExplainedVariance", cmir_json_number(w->explained));
    cmir_json_set(o, "LearntVolumes", json_integer((json_int_t)w->n_volumes));
    cmir_json_set(o, "LearntSlices", json_integer((json_int_t)w->n_slices));
    cmir_json_set(o, "Where", cmir_json_text(w->where));
    return o;
}
