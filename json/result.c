/* SPDX-License-Identifier: Apache-2.0 */
/* result.c: a search result as JSON: the query, the hits with their matches, the evidence. */
#include "json.h"

static json_t *
query_json(const cmir_result *r, bool paths)
{
    const cmir_volume_info *info = &r->query->info;
    json_t *o = cmir_json_need(json_object());

    cmir_json_set(o, "VolumeId", cmir_json_text(info->volume_id));
    cmir_json_set(o, "SeriesInstanceUID", cmir_json_text(info->series_uid));
    cmir_json_set(o, "StudyInstanceUID", cmir_json_text(info->study_uid));
    cmir_json_set(o, "PatientId", cmir_json_text(info->patient_id));
    if (paths)
        cmir_json_set(o, "Path", cmir_json_text(info->path));
    cmir_json_set(o, "Modality", cmir_json_text(info->modality));
    cmir_json_set(o, "Slices", json_integer(r->query->n_slices));
    cmir_json_set(o, "AirSlices", json_integer(r->query->n_air));
    cmir_json_set(o, "QuerySlices", cmir_json_pair(r->first_slice, r->last_slice));
    return o;
}

json_t *
cmir_json_hit(const cmir_hit *hit, bool paths)
{
    const cmir_record *record = hit->record;
    const cmir_volume_info *info = &record->info;
    const cmir_match *best = &hit->matches[hit->best];
    json_t *o = cmir_json_need(json_object());
    json_t *matches = cmir_json_need(json_array()), *mm = cmir_json_need(json_array());

    for (uint32_t i = 0; i < hit->n_matches; i++) {
        json_t *m = cmir_json_pair(hit->matches[i].query_slice, hit->matches[i].match_slice);
        cmir_json_add(m, cmir_json_number((double)hit->matches[i].similarity));
        cmir_json_add(matches, m);
    }
    cmir_json_add(mm, cmir_json_number(hit->match_mm[0]));
    cmir_json_add(mm, cmir_json_number(hit->match_mm[1]));
    cmir_json_set(o, "Rank", json_integer(hit->rank));
    cmir_json_set(o, "Score", cmir_json_number(hit->score));
    cmir_json_set(o, "VolumeId", cmir_json_text(info->volume_id));
    cmir_json_set(o, "SeriesInstanceUID", cmir_json_text(info->series_uid));
    cmir_json_set(o, "StudyInstanceUID", cmir_json_text(info->study_uid));
    cmir_json_set(o, "PatientId", cmir_json_text(info->patient_id));
    if (paths)
        cmir_json_set(o, "Path", cmir_json_text(info->path));
    cmir_json_set(o, "QuerySlices", cmir_json_pair(hit->query_first, hit->query_last));
    cmir_json_set(o, "MatchSlices", cmir_json_pair(hit->match_first, hit->match_last));
    cmir_json_set(o, "MatchMm", mm);
    if (record->slice_uids[hit->match_first][0] != '\0')
        cmir_json_set(o, "MatchSOPInstanceUIDs",
                      json_pack("[o, o]", cmir_json_text(record->slice_uids[hit->match_first]),
                                cmir_json_text(record->slice_uids[hit->match_last])));
    cmir_json_set(o, "BestPair",
                  json_pack("{s:I, s:I, s:o}", "QuerySlice", (json_int_t)best->query_slice,
                            "MatchSlice", (json_int_t)best->match_slice, "Similarity",
                            cmir_json_number((double)best->similarity)));
    cmir_json_set(o, "SliceMatches", matches);
    cmir_json_set(o, "Labels", cmir_json_labels(record));
    return o;
}

json_t *
cmir_json_result(const cmir_archive *archive, const cmir_result *r, bool paths)
{
    json_t *o = cmir_json_need(json_object()), *matches = cmir_json_need(json_array());

    for (size_t i = 0; i < r->n_hits; i++)
        cmir_json_add(matches, cmir_json_hit(&r->hits[i], paths));
    cmir_json_set(o, "Query", query_json(r, paths));
    cmir_json_set(o, "ScoreType", json_string(cmir_score_name(r->score)));
    cmir_json_set(o, "Encoder", cmir_json_encoder(cmir_archive_get_info(archive)));
    cmir_json_set(o, "Notice", json_string(CMIR_NOTICE));
    cmir_json_set(o, "Candidates", json_integer((json_int_t)r->n_candidates));
    cmir_json_set(o, "Reranked", json_integer((json_int_t)r->n_reranked));
    cmir_json_set(o, "Seconds", cmir_json_number(r->seconds));
    cmir_json_set(o, "Matches", matches);
    cmir_json_set(o, "Evidence", cmir_json_evidence(r->evidence));
    cmir_json_set(o, "EvidenceCases", cmir_json_cases(r->evidence));
    if (r->contrast != NULL)
        cmir_json_set(o, "Contrast", cmir_json_contrast(r->contrast));
    return o;
}
