/* SPDX-License-Identifier: Apache-2.0 */
/* search.c: the search functions of the public interface: query, snapshot, ranking and
 * localisation put together.
 *
 * The one idea: wherever a query comes from, it becomes a record and rows in fixed point, and from
 * there on there is one path; so a volume scores the same from a file and from an archive. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "engine/engine_internal.h"
#include "engine/result.h"
#include "rank/rank.h"
#include "store/codes.h"

#define DEFAULT_LIMIT 10u

/* The query's rows that take part, in memory of their own. */
struct query_rows {
    cmir_query query;
    int16_t *rows;
    uint32_t *slice;
};

static void
free_rows(struct query_rows *q)
{
    free(q->rows);
    free(q->slice);
}

static cmir_status
check_options(const cmir_search_options *o, cmir_error *err)
{
    if (o->struct_nbytes != sizeof *o)
        return FAIL(err, CMIR_EINVAL, "search options: struct_nbytes is not that of this library");
    if (o->score < CMIR_MAXSIM || o->score > CMIR_MEAN)
        return FAIL(err, CMIR_EINVAL, "search options: no such score: %d", (int)o->score);
    if (o->exclude < CMIR_EXCLUDE_VOLUME || o->exclude > CMIR_EXCLUDE_NONE)
        return FAIL(err, CMIR_EINVAL, "search options: no such exclusion: %d", (int)o->exclude);
    if (o->n_threads > CMIR_MAX_THREADS)
        return FAIL(err, CMIR_EINVAL, "search options: %u threads, at most %u", o->n_threads,
                    CMIR_MAX_THREADS);
    return CMIR_OK;
}

/* Before anything is encoded: do the slices asked for exist? */
static cmir_status
check_slices(const cmir_search_options *o, const char *name, uint32_t n_slices, cmir_error *err)
{
    if (!o->slices_given)
        return CMIR_OK;
    if (o->first_slice > o->last_slice || o->last_slice >= n_slices)
        return FAIL(err, CMIR_EINVAL, "%s: no slices %u:%u; it has the slices 0:%u", name,
                    o->first_slice, o->last_slice, n_slices - 1);
    return CMIR_OK;
}

static cmir_status
take_rows(const cmir_embeddings *e, uint32_t first, uint32_t last, const char *name,
          struct query_rows *out, cmir_error *err)
{
    const uint32_t n = last - first + 1;
    const uint32_t width =
        (e->dim + CMIR_DIM_MULTIPLE - 1) / CMIR_DIM_MULTIPLE * CMIR_DIM_MULTIPLE;
    uint32_t taken = 0;

    out->rows = cmir_alloc_aligned((size_t)n * width, sizeof *out->rows);
    out->slice = cmir_alloc(n, sizeof *out->slice);
    if (out->rows == NULL || out->slice == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for a query of %u slices", name, n);
    for (uint32_t i = first; i <= last; i++) {
        const float *from = e->rows + (size_t)i * e->dim;
        const double norm = cmir_row_norm(from, e->dim);

        if (e->marks[i] & CMIR_SLICE_AIR)
            continue;
        if (!(norm > 0) || isinf(norm))
            return FAIL(err, CMIR_EINVAL, "%s: the embedding of slice %u has no direction", name, i);
        cmir_row_fix(from, e->dim, norm, width, out->rows + (size_t)taken * width);
        out->slice[taken++] = i;
    }
    if (taken == 0)
        return FAIL(err, CMIR_EINVAL, "%s: the slices %u:%u hold only air: nothing to search for",
                    name, first, last);
    out->query = (cmir_query){out->rows, out->slice, taken, width};
    return CMIR_OK;
}

/* Everything about one hit but its rank, score and matches. */
static cmir_status
fill_hit(uint32_t m, double query_spacing_mm, const cmir_record *record, const cmir_match *matches,
         cmir_hit *hit, cmir_error *err)
{
    cmir_run run;
    cmir_status st = cmir_locate(matches, m, query_spacing_mm, record->n_slices,
                                 record->slice_spacing_mm, &run, err);

    if (st != CMIR_OK)
        return st;
    hit->record = record;
    hit->matches = matches;
    hit->n_matches = m;
    for (uint32_t i = 1; i < m; i++)
        if (matches[i].similarity > matches[hit->best].similarity)
            hit->best = i;
    hit->match_first = run.match_first;
    hit->match_last = run.match_last;
    hit->query_first = run.query_first;
    hit->query_last = run.query_last;
    const double a = record->slice_mm[run.match_first], b = record->slice_mm[run.match_last];
    hit->match_mm[0] = a < b ? a : b;
    hit->match_mm[1] = a < b ? b : a;
    return CMIR_OK;
}

/* The hits behind `ranked`. */
static cmir_status
fill_hits(const cmir_snapshot *snapshot, const cmir_query *query, const cmir_ranked *ranked,
          size_t n, cmir_engine_result *result, cmir_error *err)
{
    const uint32_t m = query->n_rows;
    const cmir_rows **rows = cmir_alloc(n, sizeof *rows);
    cmir_status st;

    if (rows == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu hits", n);
    for (size_t i = 0; i < n; i++)
        rows[i] = &cmir_snapshot_get(snapshot, ranked[i].candidate)->rows;
    st = cmir_engine_result_reserve(result, n, m, err);
    if (st == CMIR_OK)
        st = cmir_match_rows(query, cmir_snapshot_center(snapshot), rows, n, cmir_cpu_flags(),
                             result->matches, err);
    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        cmir_hit *hit = &result->hits[i];

        if ((st = cmir_snapshot_record(snapshot, ranked[i].candidate, &result->records[i], err)) !=
            CMIR_OK)
            break;
        hit->rank = (uint32_t)i + 1;
        hit->score = ranked[i].score;
        st = fill_hit(m, result->query->slice_spacing_mm, result->records[i],
                      result->matches + i * m, hit, err);
    }
    free(rows);
    return st;
}

static cmir_status
rank_snapshot(const cmir_snapshot *snapshot, const struct query_rows *rows,
              const cmir_search_options *o, cmir_engine_result *result, cmir_error *err)
{
    const size_t count = cmir_snapshot_count(snapshot);
    const uint32_t wanted = o->limit == 0 ? DEFAULT_LIMIT : o->limit;
    const cmir_rank_options options = {.score = o->score,
                                       .limit = count < wanted ? (uint32_t)count : wanted,
                                       .n_threads = o->n_threads,
                                       .exhaustive = o->exhaustive,
                                       .n_rerank = o->n_rerank,
                                       .cpu_flags = cmir_cpu_flags()};
    cmir_rank_work work;
    size_t n_ranked = 0;
    cmir_status st = CMIR_OK;

    result->view.n_candidates = count;
    if (count == 0)
        return CMIR_OK;
    cmir_ranked *ranked = cmir_alloc(options.limit, sizeof *ranked);
    if (ranked == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %u hits", options.limit);
    st = cmir_rank(&rows->query, snapshot, &options, ranked, &n_ranked, &work, err);
    if (st == CMIR_OK)
        st = fill_hits(snapshot, &rows->query, ranked, n_ranked, result, err);
    result->view.n_hits = n_ranked;
    result->view.n_reranked = work.n_reranked;
    free(ranked);
    return st;
}

static cmir_without
exclusion(const cmir_search_options *o, const cmir_volume_info *query)
{
    cmir_without without = {0};

    if (o->exclude == CMIR_EXCLUDE_NONE)
        return without;
    without.volume_id = query->volume_id;
    if (o->exclude >= CMIR_EXCLUDE_STUDY)
        without.study_uid = query->study_uid;
    if (o->exclude >= CMIR_EXCLUDE_PATIENT)
        without.patient_id = query->patient_id;
    return without;
}

/* The one path: `result` knows its query; `e` is the query's embeddings. */
static cmir_status
search(const cmir_archive *archive, const cmir_embeddings *e, const cmir_search_options *o,
       cmir_engine_result *result, cmir_error *err)
{
    const cmir_volume_info *info = &result->query->info;
    const cmir_without without = exclusion(o, info);
    const uint32_t first = o->slices_given ? o->first_slice : 0;
    const uint32_t last = o->slices_given ? o->last_slice : e->n_slices - 1;
    struct query_rows rows = {0};
    cmir_snapshot *snapshot = NULL;
    struct timespec start, end;
    cmir_status st;

    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    result->view.query = result->query;
    result->view.score = o->score;
    result->view.first_slice = first;
    result->view.last_slice = last;
    if ((st = take_rows(e, first, last, info->volume_id, &rows, err)) == CMIR_OK &&
        (st = cmir_snapshot_open(archive->store, o->where, &without, &snapshot, err)) == CMIR_OK)
        st = rank_snapshot(snapshot, &rows, o, result, err);
    cmir_snapshot_close(snapshot);
    free_rows(&rows);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    result->view.seconds =
        (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) * 1e-9;
    return st;
}

static cmir_status
finish(cmir_status st, cmir_engine_result *result, cmir_result **out)
{
    if (st == CMIR_OK)
        *out = &result->view;
    else
        cmir_engine_result_free(result);
    return st;
}

/* What is known of a volume from a file, to keep. */
static cmir_status
describe_query(const cmir_volume *volume, cmir_plane plane, const cmir_embeddings *embeddings,
               cmir_record **out, cmir_error *err)
{
    cmir_record record;
    cmir_status st = cmir_record_describe(volume, plane, embeddings, &record, err);

    if (st == CMIR_OK)
        st = cmir_record_copy(&record, out, err);
    free(record.slice_mm);
    free(record.slice_uids);
    return st;
}

cmir_status
cmir_search_volume(const cmir_archive *archive, const cmir_encoder *encoder, cmir_volume *query,
                   const cmir_search_options *options, cmir_result **out, cmir_error *err)
{
    const cmir_search_options defaults = {.struct_nbytes = sizeof defaults};
    const cmir_search_options *o = options == NULL ? &defaults : options;
    const cmir_plane plane = archive->info.plane;
    const char *id = cmir_volume_get_info(query)->volume_id;
    cmir_embeddings embeddings = {0};
    cmir_stack stack;
    cmir_engine_result *result = NULL;
    cmir_status st;

    *out = NULL;
    if ((st = check_options(o, err)) != CMIR_OK ||
        (st = cmir_archive_check_encoder(archive, encoder, err)) != CMIR_OK ||
        (st = cmir_volume_stack(query, plane, &stack, err)) != CMIR_OK ||
        (st = check_slices(o, id, stack.n_slices, err)) != CMIR_OK ||
        (st = cmir_engine_result_new(&result, err)) != CMIR_OK)
        return st;
    if ((st = cmir_encode(encoder, query, plane, NULL, NULL, &embeddings, err)) == CMIR_OK &&
        (st = describe_query(query, plane, &embeddings, &result->query, err)) == CMIR_OK)
        st = search(archive, &embeddings, o, result, err);
    cmir_embeddings_free(&embeddings);
    return finish(st, result, out);
}

cmir_status
cmir_search_stored(const cmir_archive *archive, const cmir_archive *query_archive,
                   const char *volume_id, const cmir_search_options *options, cmir_result **out,
                   cmir_error *err)
{
    const cmir_search_options defaults = {.struct_nbytes = sizeof defaults};
    const cmir_search_options *o = options == NULL ? &defaults : options;
    cmir_embeddings embeddings = {0};
    cmir_snapshot *snapshot = NULL;
    cmir_engine_result *result = NULL;
    cmir_status st;

    *out = NULL;
    if ((st = check_options(o, err)) != CMIR_OK ||
        (st = cmir_archive_check_same(archive, query_archive, err)) != CMIR_OK ||
        (st = cmir_engine_result_new(&result, err)) != CMIR_OK)
        return st;
    if ((st = cmir_snapshot_open_one(query_archive->store, volume_id, &snapshot, err)) == CMIR_OK &&
        (st = cmir_snapshot_record(snapshot, 0, &result->query, err)) == CMIR_OK &&
        (st = check_slices(o, volume_id, result->query->n_slices, err)) == CMIR_OK &&
        (st = cmir_rows_to_embeddings(&cmir_snapshot_get(snapshot, 0)->rows, volume_id, &embeddings,
                                      err)) == CMIR_OK) {
        cmir_snapshot_close(snapshot);
        snapshot = NULL;
        st = search(archive, &embeddings, o, result, err);
    }
    cmir_snapshot_close(snapshot);
    cmir_embeddings_free(&embeddings);
    return finish(st, result, out);
}
