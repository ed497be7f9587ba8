/* SPDX-License-Identifier: Apache-2.0 */
/* search_job.c: one query against one state of an archive.  Called by search.c.
 *
 * The one idea: wherever a query comes from, it becomes a record and rows in fixed point, and from
 * there on there is one path; so a volume scores the same from a file and from an archive. */
#include "engine/search_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "store/codes.h"

#define DEFAULT_LIMIT 10u

/* Room for n slices. */
static cmir_status
make_rows(uint32_t n, uint32_t dim, const char *name, cmir_search_job *out, cmir_error *err)
{
    const uint32_t width = (dim + CMIR_DIM_MULTIPLE - 1) / CMIR_DIM_MULTIPLE * CMIR_DIM_MULTIPLE;

    out->rows = cmir_alloc_aligned((size_t)n * width, sizeof *out->rows);
    out->slice = cmir_alloc(n, sizeof *out->slice);
    if (out->rows == NULL || out->slice == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for a query of %u slices", name, n);
    out->query = (cmir_query){out->rows, out->slice, 0, width};
    return CMIR_OK;
}

/* The slices of a query that are searched with. */
struct part {
    uint32_t first, last;
    const uint32_t *slices; /* rising; NULL: all from the first to the last */
    size_t n, next;
};

/* Whether it has the slice; asked of rising slices. */
static bool
part_has(struct part *part, uint32_t slice)
{
    if (slice < part->first || slice > part->last)
        return false;
    while (part->slices != NULL && part->next < part->n && part->slices[part->next] < slice)
        part->next++;
    return part->slices == NULL || (part->next < part->n && part->slices[part->next] == slice);
}

static struct part
part_of(const cmir_search_options *o, uint32_t n_slices)
{
    struct part part = {0, n_slices - 1, o->slices, o->n_slices, 0};

    if (o->slices != NULL) {
        part.first = o->slices[0];
        part.last = o->slices[o->n_slices - 1];
    } else if (o->slices_given) {
        part.first = o->first_slice;
        part.last = o->last_slice;
    }
    return part;
}

static cmir_status
take_embeddings(const cmir_embeddings *e, struct part part, const char *name, cmir_search_job *out,
                cmir_error *err)
{
    cmir_status st = make_rows(part.last - part.first + 1, e->dim, name, out, err);

    for (uint32_t i = part.first; i <= part.last && st == CMIR_OK; i++) {
        const uint32_t width = out->query.padded_dim, taken = out->query.n_rows;
        const float *from = e->rows + (size_t)i * e->dim;
        const double norm = cmir_row_norm(from, e->dim);

        if (!part_has(&part, i) || (e->marks[i] & CMIR_SLICE_AIR) != 0)
            continue;
        if (!(norm > 0) || isinf(norm))
            return FAIL(err, CMIR_EINVAL, "%s: the embedding of slice %u has no direction", name,
                        i);
        cmir_row_fix(from, e->dim, norm, width, out->rows + (size_t)taken * width);
        out->slice[out->query.n_rows++] = i;
    }
    return st;
}

/* The stored rows themselves: fixed once more, as embeddings, some elements would come out another
 * integer. */
static cmir_status
take_stored(const cmir_rows *rows, struct part part, const char *name, cmir_search_job *out,
            cmir_error *err)
{
    cmir_status st;

    if (!cmir_rows_slices_rise(rows))
        return FAIL(err, CMIR_ECORRUPT, "%s: impossible slice numbers", name);
    st = make_rows(part.last - part.first + 1, rows->dim, name, out, err);
    for (uint32_t r = 0; r < rows->n_scored && st == CMIR_OK; r++) {
        const uint32_t width = out->query.padded_dim, taken = out->query.n_rows;

        if (!part_has(&part, rows->slice[r]))
            continue;
        memcpy(out->rows + (size_t)taken * width, rows->exact + (size_t)r * width,
               width * sizeof *out->rows);
        out->slice[out->query.n_rows++] = rows->slice[r];
    }
    return st;
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

cmir_without
cmir_search_exclusion(const cmir_search_options *o, const cmir_volume_info *query)
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

/* The query's slice spacing over that of each candidate, 0 where one is unknown. */
static cmir_status
compare_spacings(cmir_search_job *job, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(job->snapshot);
    const double own = job->result->query->slice_spacing_mm;
    cmir_status st;

    if ((job->spacing_ratio = cmir_alloc(n, sizeof *job->spacing_ratio)) == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the spacings of %zu volumes", n);
    st = cmir_snapshot_spacings(job->snapshot, job->spacing_ratio, err);
    for (size_t c = 0; c < n && st == CMIR_OK; c++)
        job->spacing_ratio[c] =
            own > 0 && job->spacing_ratio[c] > 0 ? own / job->spacing_ratio[c] : 0;
    return st;
}

static double
seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

cmir_status
cmir_search_check_slices(const cmir_search_options *o, const char *name, uint32_t n_slices,
                         cmir_error *err)
{
    for (size_t i = 0; o->slices != NULL && i < o->n_slices; i++)
        if (o->slices[i] >= n_slices || (i > 0 && o->slices[i] <= o->slices[i - 1]))
            return FAIL(err, CMIR_EINVAL,
                        "%s: no slice %u here; slices rise, and it has the slices 0:%u", name,
                        o->slices[i], n_slices - 1);
    if (o->slices != NULL && (o->n_slices == 0 || o->slices_given))
        return FAIL(err, CMIR_EINVAL, "%s: %s", name,
                    o->n_slices == 0 ? "none of its slices are wanted"
                                     : "its slices are given as a range and one by one");
    if (!o->slices_given)
        return CMIR_OK;
    if (o->first_slice > o->last_slice || o->last_slice >= n_slices)
        return FAIL(err, CMIR_EINVAL, "%s: no slices %u:%u; it has the slices 0:%u", name,
                    o->first_slice, o->last_slice, n_slices - 1);
    return CMIR_OK;
}

cmir_status
cmir_search_job_start(cmir_search_job *job, const cmir_snapshot *base, const cmir_embeddings *e,
                      const cmir_rows *stored, const cmir_search_query *asked,
                      const cmir_search_options *o, cmir_error *err)
{
    cmir_engine_result *result = job->result;
    const cmir_volume_info *info = &result->query->info;
    cmir_without without = cmir_search_exclusion(o, info);
    const double start = seconds_now();
    struct part part;
    cmir_status st;

    if (asked != NULL) {
        without.among = asked->candidates;
        without.n_among = asked->n_candidates;
    }
    job->scores_only = o->scores_only;
    result->view.query = result->query;
    result->view.score = o->score;
    if ((st = cmir_search_check_slices(o, info->volume_id, result->query->n_slices, err)) !=
        CMIR_OK)
        return st;
    part = part_of(o, result->query->n_slices);
    result->view.first_slice = part.first;
    result->view.last_slice = part.last;
    st = stored == NULL ? take_embeddings(e, part, info->volume_id, job, err)
                        : take_stored(stored, part, info->volume_id, job, err);
    if (st == CMIR_OK && job->query.n_rows == 0)
        st = FAIL(err, CMIR_EINVAL, "%s: the slices %u:%u hold only air: nothing to search for",
                  info->volume_id, part.first, part.last);
    if (st == CMIR_OK)
        st = cmir_snapshot_without(base, &without, &job->snapshot, err);
    if (st == CMIR_OK && o->score == CMIR_ORDERED)
        st = compare_spacings(job, err);
    result->view.seconds += seconds_now() - start;
    return st;
}

/* The matches of every hit. */
static cmir_status
match_hits(cmir_search_job *job, unsigned cpu_flags, cmir_error *err)
{
    const size_t n = job->n_hits;
    const cmir_rows **rows = cmir_alloc(n, sizeof *rows);
    double *ratio = cmir_alloc_zeroed(n, sizeof *ratio);
    cmir_status st = rows == NULL || ratio == NULL
                         ? FAIL(err, CMIR_ENOMEM, "no memory for %zu hits", n)
                         : cmir_engine_result_reserve(job->result, n, job->query.n_rows, err);

    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        rows[i] = &cmir_snapshot_get(job->snapshot, job->ranked[i].candidate)->rows;
        if (job->spacing_ratio != NULL)
            ratio[i] = job->spacing_ratio[job->ranked[i].candidate];
    }
    if (st == CMIR_OK && job->result->view.score == CMIR_ORDERED)
        st = cmir_match_ordered(&job->query, rows, ratio, n, cpu_flags, job->result->matches, err);
    else if (st == CMIR_OK)
        st = cmir_match_rows(&job->query, cmir_snapshot_center(job->snapshot), rows, n, cpu_flags,
                             job->result->matches, err);
    free(rows);
    free(ratio);
    return st;
}

static uint32_t
hits_wanted(const cmir_search_options *o)
{
    return o->limit == 0 ? DEFAULT_LIMIT : o->limit;
}

cmir_rank_options
cmir_search_rank_options(const cmir_search_options *o, size_t count, uint32_t n_threads,
                         const double *looked)
{
    const uint32_t wanted = hits_wanted(o);

    return (cmir_rank_options){.score = o->score,
                               .limit = count < wanted ? (uint32_t)count : wanted,
                               .n_threads = n_threads,
                               .exhaustive = o->exhaustive,
                               .n_rerank = o->n_rerank,
                               .cpu_flags = cmir_cpu_flags(),
                               .looked = looked};
}

/* Where everything is ranked, one list serves for the hits and for the evidence. */
static void
lengthen(const cmir_search_options *o, size_t count, cmir_rank_options *options)
{
    if (cmir_rank_looks_first(options, count) || options->limit >= o->n_neighbours)
        return;
    options->limit = count < o->n_neighbours ? (uint32_t)count : o->n_neighbours;
}

cmir_status
cmir_search_job_rank(cmir_search_job *job, const cmir_search_options *o, uint32_t n_threads,
                     const double *looked, cmir_error *err)
{
    const size_t count = cmir_snapshot_count(job->snapshot);
    cmir_rank_options options = cmir_search_rank_options(o, count, n_threads, looked);
    const double start = seconds_now();
    cmir_rank_work work = {0};
    cmir_status st = CMIR_OK;

    options.spacing_ratio = job->spacing_ratio;
    job->result->view.n_candidates = count;
    if (count == 0)
        return CMIR_OK;
    lengthen(o, count, &options);
    if ((job->ranked = cmir_alloc(options.limit, sizeof *job->ranked)) == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %u hits", options.limit);
    st = cmir_rank(&job->query, job->snapshot, &options, job->ranked, &job->n_ranked, &work, err);
    job->n_hits = job->n_ranked < hits_wanted(o) ? job->n_ranked : hits_wanted(o);
    if (st == CMIR_OK && o->scores_only)
        st = cmir_engine_result_reserve(job->result, job->n_hits, 0, err);
    else if (st == CMIR_OK)
        st = match_hits(job, options.cpu_flags, err);
    job->result->view.n_reranked = work.n_reranked;
    job->result->view.seconds += seconds_now() - start;
    return st;
}

bool
cmir_search_is_blank(const char *where)
{
    return where == NULL || where[strspn(where, " \t\r\n")] == '\0';
}

/* The nearest cases do not depend on how many hits are wanted: where a first look keeps as many as
 * that takes, they are ranked on their own. */
static cmir_status
gather_evidence(cmir_search_job *job, const cmir_search_options *o, uint32_t n_threads,
                const double *looked, cmir_error *err)
{
    cmir_engine_result *result = job->result;
    const size_t count = cmir_snapshot_count(job->snapshot);
    const uint32_t k = o->n_neighbours;
    cmir_rank_options options = cmir_search_rank_options(o, count, n_threads, looked);
    cmir_rank_options alone = options;
    alone.limit = count < k ? (uint32_t)count : k;
    const bool ranked = options.limit == alone.limit ||
                        (result->view.n_reranked == count && !cmir_rank_looks_first(&alone, count));
    cmir_case *cases = cmir_alloc(k, sizeof *cases);
    size_t n_cases = 0;
    cmir_status st = CMIR_OK;

    if (cases == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %u cases", k);
    if (ranked)
        lengthen(o, count, &options);
    if (count > 0)
        st =
            cmir_nearest_cases(&job->query, job->snapshot, ranked ? &options : &alone,
                               ranked ? job->ranked : NULL, job->n_ranked, k, cases, &n_cases, err);
    for (size_t i = 0; i < n_cases; i++)
        for (size_t h = 0; h < job->n_hits; h++)
            if (job->ranked[h].candidate == cases[i].candidate)
                cases[i].rank = (uint32_t)h + 1;
    if (st == CMIR_OK)
        st = cmir_evidence_gather(job->snapshot, result->query, cases, n_cases, k, o->score,
                                  &result->evidence, err);
    if (st == CMIR_OK) {
        cmir_evidence *view = &result->evidence->view;

        view->as_calibrated = cmir_search_is_blank(o->where) && view->n_own == 0 &&
                              result->view.first_slice == 0 &&
                              result->view.last_slice == result->query->n_slices - 1 &&
                              (o->slices == NULL || o->n_slices == result->query->n_slices);
        result->view.evidence = view;
    }
    free(cases);
    return st;
}

/* The record of a hit: its id, where that is all that was asked for. */
static cmir_status
take_record(const cmir_search_job *job, size_t candidate, cmir_record **out, cmir_error *err)
{
    const cmir_record bare = {
        .info = {.volume_id = cmir_snapshot_get(job->snapshot, candidate)->volume_id,
                 .patient_age = NAN}};

    return job->scores_only ? cmir_record_copy(&bare, out, err)
                            : cmir_snapshot_record(job->snapshot, candidate, out, err);
}

cmir_status
cmir_search_job_finish(cmir_search_job *job, const cmir_search_options *o, uint32_t n_threads,
                       const double *looked, cmir_error *err)
{
    cmir_engine_result *result = job->result;
    const uint32_t m = job->query.n_rows;
    const double start = seconds_now();
    cmir_status st = CMIR_OK;

    for (size_t i = 0; i < job->n_hits && st == CMIR_OK; i++) {
        cmir_hit *hit = &result->hits[i];

        if ((st = take_record(job, job->ranked[i].candidate, &result->records[i], err)) != CMIR_OK)
            break;
        hit->rank = (uint32_t)i + 1;
        hit->score = job->ranked[i].score;
        hit->record = result->records[i];
        if (!job->scores_only)
            st = fill_hit(m, result->query->slice_spacing_mm, result->records[i],
                          result->matches + i * m, hit, err);
    }
    result->view.n_hits = job->n_hits;
    if (st == CMIR_OK && o->n_neighbours > 0)
        st = gather_evidence(job, o, n_threads, looked, err);
    result->view.seconds += seconds_now() - start;
    return st;
}

void
cmir_search_job_free(cmir_search_job *job)
{
    cmir_snapshot_close(job->snapshot);
    cmir_engine_result_free(job->result);
    free(job->rows);
    free(job->slice);
    free(job->spacing_ratio);
    free(job->ranked);
    *job = (cmir_search_job){0};
}
