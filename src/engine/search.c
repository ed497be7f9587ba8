/* SPDX-License-Identifier: Apache-2.0 */
/* search.c: the search functions of the public interface: where queries come from, and many of them
 * at once.  search_job.c searches. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "engine/contrast.h"
#include "engine/search_job.h"

static cmir_status
check_options(const cmir_search_options *o, cmir_error *err)
{
    if (o->struct_nbytes != sizeof *o)
        return FAIL(err, CMIR_EINVAL, "search options: struct_nbytes is not that of this library");
    if (o->score < CMIR_MAXSIM || o->score > CMIR_WEIGHTED)
        return FAIL(err, CMIR_EINVAL, "search options: no such score: %d", (int)o->score);
    if (o->exclude < CMIR_EXCLUDE_VOLUME || o->exclude > CMIR_EXCLUDE_NONE)
        return FAIL(err, CMIR_EINVAL, "search options: no such exclusion: %d", (int)o->exclude);
    if (o->n_neighbours != 0 &&
        (o->n_neighbours < CMIR_EVIDENCE_LEAST || o->n_neighbours > CMIR_EVIDENCE_MOST))
        return FAIL(err, CMIR_EINVAL, "search options: %u neighbours; %u..%u are possible",
                    o->n_neighbours, CMIR_EVIDENCE_LEAST, CMIR_EVIDENCE_MOST);
    if (o->n_threads > CMIR_MAX_THREADS)
        return FAIL(err, CMIR_EINVAL, "search options: %u threads, at most %u", o->n_threads,
                    CMIR_MAX_THREADS);
    return CMIR_OK;
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

/* What is known of given embeddings: an id. */
static cmir_status
describe_embeddings(const cmir_embeddings *e, const char *id, cmir_record **out, cmir_error *err)
{
    cmir_record record = {.n_slices = e->n_slices,
                          .slice_marks = e->marks,
                          .info = {.volume_id = id, .format = "embeddings", .patient_age = NAN}};
    cmir_status st = CMIR_OK;

    record.slice_mm = cmir_alloc(e->n_slices, sizeof *record.slice_mm);
    record.slice_uids = cmir_alloc_zeroed(e->n_slices, sizeof *record.slice_uids);
    if (record.slice_mm == NULL || record.slice_uids == NULL)
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory for %u slices", id, e->n_slices);
    for (uint32_t i = 0; st == CMIR_OK && i < e->n_slices; i++) {
        record.slice_mm[i] = NAN;
        record.n_air += (e->marks[i] & CMIR_SLICE_AIR) != 0;
    }
    if (st == CMIR_OK)
        st = cmir_record_copy(&record, out, err);
    free(record.slice_mm);
    free(record.slice_uids);
    return st;
}

/* One query, with all threads. */
static cmir_status
search_one(const cmir_archive *archive, const cmir_embeddings *e, const cmir_search_options *o,
           cmir_search_job *job, cmir_error *err)
{
    cmir_snapshot *base;
    cmir_status st = cmir_snapshot_open(archive->store, o->where, &base, err);

    if (st != CMIR_OK)
        return st;
    if ((st = cmir_search_job_start(job, base, e, NULL, NULL, o, err)) == CMIR_OK &&
        (st = cmir_search_job_rank(job, o, o->n_threads, NULL, err)) == CMIR_OK)
        st = cmir_search_job_finish(job, o, o->n_threads, NULL, err);
    if (st == CMIR_OK)
        st = cmir_search_job_contrast(job, archive, o, o->n_threads, err);
    cmir_snapshot_close(job->snapshot);
    job->snapshot = NULL;
    cmir_snapshot_close(base);
    return st;
}

/* Hands the result over, or frees it. */
static cmir_status
finish(cmir_status st, cmir_search_job *job, cmir_result **out)
{
    if (st == CMIR_OK) {
        *out = &job->result->view;
        job->result = NULL;
    }
    cmir_search_job_free(job);
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
    const cmir_embeddings *whitened;
    cmir_embeddings embeddings = {0}, room = {0};
    cmir_stack stack;
    cmir_search_job job = {0};
    cmir_status st;

    *out = NULL;
    if ((st = check_options(o, err)) != CMIR_OK ||
        (st = cmir_archive_check_encoder(archive, encoder, err)) != CMIR_OK ||
        (st = cmir_volume_stack(query, plane, &stack, err)) != CMIR_OK ||
        (st = cmir_search_check_slices(o, id, stack.n_slices, err)) != CMIR_OK ||
        (st = cmir_engine_result_new(&job.result, err)) != CMIR_OK)
        return st;
    if ((st = cmir_encode(encoder, query, plane, NULL, NULL, &embeddings, err)) == CMIR_OK &&
        (st = describe_query(query, plane, &embeddings, &job.result->query, err)) == CMIR_OK &&
        (st = cmir_whiten_embeddings(cmir_store_whitening(archive->store), &embeddings, id, &room,
                                     &whitened, err)) == CMIR_OK)
        st = search_one(archive, whitened, o, &job, err);
    cmir_embeddings_free(&room);
    cmir_embeddings_free(&embeddings);
    return finish(st, &job, out);
}

/* The job of a stored volume's rows, whitened first if need be. */
static cmir_status
start_rows(const cmir_archive *archive, const cmir_snapshot *base, const cmir_rows *rows,
           bool whiten, const cmir_search_query *asked, const cmir_search_options *o,
           cmir_search_job *job, cmir_error *err)
{
    cmir_embeddings e;
    cmir_status st;

    if (!whiten)
        return cmir_search_job_start(job, base, NULL, rows, asked, o, err);
    st = cmir_whiten_rows(cmir_store_whitening(archive->store), rows,
                          job->result->query->info.volume_id, &e, err);
    if (st == CMIR_OK)
        st = cmir_search_job_start(job, base, &e, NULL, asked, o, err);
    cmir_embeddings_free(&e);
    return st;
}

/* A job from a stored volume, against what is in `base`. */
static cmir_status
start_stored(const cmir_archive *archive, const cmir_snapshot *base, const cmir_search_query *query,
             const cmir_search_options *o, cmir_search_job *job, cmir_error *err)
{
    cmir_snapshot *snapshot = NULL;
    bool whiten;
    cmir_status st = cmir_archive_check_same(archive, query->archive, &whiten, err);

    if (st == CMIR_OK &&
        (st = cmir_snapshot_open_one(query->archive->store, query->volume_id, &snapshot, err)) ==
            CMIR_OK &&
        (st = cmir_snapshot_record(snapshot, 0, &job->result->query, err)) == CMIR_OK)
        st = start_rows(archive, base, &cmir_snapshot_get(snapshot, 0)->rows, whiten, query, o, job,
                        err);
    cmir_snapshot_close(snapshot);
    return st;
}

/* The same from embeddings. */
static cmir_status
start_embeddings(const cmir_archive *archive, const cmir_snapshot *base,
                 const cmir_search_query *query, const cmir_search_options *o, cmir_search_job *job,
                 cmir_error *err)
{
    const cmir_embeddings *e = query->embeddings, *whitened;
    const uint32_t dim = cmir_archive_input_dim(archive);
    cmir_embeddings room = {0};
    cmir_status st;

    if (e->dim != dim)
        return FAIL(err, CMIR_EMISMATCH, "%s: embeddings of dimension %u; the archive's have %u",
                    query->volume_id, e->dim, dim);
    if (e->n_slices < 1 || e->n_slices > CMIR_MAX_SLICES)
        return FAIL(err, CMIR_EINVAL, "%s: %u slices; 1..%u are possible", query->volume_id,
                    e->n_slices, CMIR_MAX_SLICES);
    st = describe_embeddings(e, query->volume_id, &job->result->query, err);
    if (st == CMIR_OK &&
        (st = cmir_whiten_embeddings(cmir_store_whitening(archive->store), e, query->volume_id,
                                     &room, &whitened, err)) == CMIR_OK)
        st = cmir_search_job_start(job, base, whitened, NULL, query, o, err);
    cmir_embeddings_free(&room);
    return st;
}

static cmir_status
start_job(const cmir_archive *archive, const cmir_snapshot *base, const cmir_search_query *query,
          const cmir_search_options *o, cmir_search_job *job, cmir_error *err)
{
    cmir_status st;

    if (query->volume_id == NULL || (query->archive == NULL) == (query->embeddings == NULL))
        return FAIL(err, CMIR_EINVAL,
                    "a query is a volume of an archive, or embeddings with an id");
    if ((st = cmir_engine_result_new(&job->result, err)) != CMIR_OK)
        return st;
    return query->archive != NULL ? start_stored(archive, base, query, o, job, err)
                                  : start_embeddings(archive, base, query, o, job, err);
}

/* Queries that are searched together: their first look takes 8 bytes a volume each. */
enum { AT_A_TIME = 64 };

struct batch {
    cmir_search_job *jobs;
    cmir_error *errors;
    const cmir_search_options *options;
    uint32_t n_threads; /* of each job */
    double *looked; /* first looks, [n][all volumes]; NULL: each job takes its own */
    size_t n_volumes;
    size_t n;
    atomic_size_t next;
};

/* The first look of job i, where there was one. */
static const double *
looked_of(const struct batch *b, size_t i)
{
    return b->looked == NULL ? NULL : b->looked + i * b->n_volumes;
}

static void
rank_some(void *ctx, uint32_t thread)
{
    struct batch *b = ctx;

    (void)thread;
    for (;;) {
        const size_t i = atomic_fetch_add(&b->next, 1);

        if (i >= b->n)
            return;
        if (b->errors[i].code == CMIR_OK)
            (void)cmir_search_job_rank(&b->jobs[i], b->options, b->n_threads, looked_of(b, i),
                                       &b->errors[i]);
    }
}

/* One first look for all queries, where there is to be one: it is mostly reading.  Without a filter
 * the numbers of the base are those of the listing. */
static cmir_status
look_first(const cmir_snapshot *base, uint32_t n_threads, struct batch *b, cmir_error *err)
{
    const size_t n = cmir_snapshot_count(base);
    const cmir_rank_options o = cmir_search_rank_options(b->options, n, n_threads, NULL);
    const cmir_query *queries[AT_A_TIME];
    double *scores;
    size_t n_queries = 0;
    cmir_status st;

    b->n_volumes = n;
    if (b->n < 2 || !cmir_snapshot_is_whole(base) || !cmir_rank_looks_first(&o, n))
        return CMIR_OK;
    b->looked = cmir_alloc(b->n * n, sizeof *b->looked);
    if (b->looked == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to look at %zu volumes", n);
    for (size_t i = 0; i < b->n; i++)
        if (b->errors[i].code == CMIR_OK)
            queries[n_queries++] = &b->jobs[i].query;
    scores = b->looked + (b->n - n_queries) * n; /* at the end, then to the places of the jobs */
    st = cmir_coarse(queries, n_queries, base, o.cpu_flags, n_threads, scores, err);
    for (size_t i = 0; i < b->n; i++)
        if (b->errors[i].code == CMIR_OK) {
            memmove(b->looked + i * n, scores, n * sizeof *scores);
            scores += n;
        }
    return st;
}

/* Jobs that fit into memory together. */
static cmir_status
search_some(const cmir_archive *archive, const cmir_snapshot *base,
            const cmir_search_query *queries, uint32_t n_threads, struct batch *b,
            cmir_result **out, cmir_error *err)
{
    cmir_status st;

    for (size_t i = 0; i < b->n; i++)
        (void)start_job(archive, base, &queries[i], b->options, &b->jobs[i], &b->errors[i]);
    if ((st = look_first(base, n_threads, b, err)) == CMIR_OK) {
        atomic_store(&b->next, 0);
        b->n_threads = b->n >= n_threads ? 1 : n_threads;
        cmir_parallel(b->n >= n_threads ? n_threads : 1, rank_some, b);
    }
    for (size_t i = 0; i < b->n; i++) {
        cmir_status one = st == CMIR_OK ? b->errors[i].code : st;

        if (one == CMIR_OK)
            one = cmir_search_job_finish(&b->jobs[i], b->options, n_threads, looked_of(b, i),
                                         &b->errors[i]);
        if (one == CMIR_OK)
            one = cmir_search_job_contrast(&b->jobs[i], archive, b->options, n_threads,
                                           &b->errors[i]);
        (void)finish(one, &b->jobs[i], &out[i]);
    }
    free(b->looked);
    b->looked = NULL;
    return st;
}

cmir_status
cmir_search_batch(const cmir_archive *archive, const cmir_search_query *queries, size_t n,
                  const cmir_search_options *options, cmir_progress_fn progress, void *progress_ctx,
                  cmir_result **out, cmir_error *errors, cmir_error *err)
{
    const cmir_search_options defaults = {.struct_nbytes = sizeof defaults};
    struct batch b = {.options = options == NULL ? &defaults : options};
    cmir_snapshot *base = NULL;
    cmir_status st = check_options(b.options, err);

    for (size_t i = 0; i < n; i++)
        out[i] = NULL;
    if (st != CMIR_OK ||
        (st = cmir_snapshot_open(archive->store, b.options->where, &base, err)) != CMIR_OK)
        return st;
    const uint32_t n_threads = b.options->n_threads > 0 ? b.options->n_threads : cmir_cpu_count();
    b.jobs = cmir_alloc_zeroed(AT_A_TIME, sizeof *b.jobs);
    if (b.jobs == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory for %zu queries", n);
    for (size_t at = 0; at < n && st == CMIR_OK; at += b.n) {
        b.n = n - at < AT_A_TIME ? n - at : AT_A_TIME;
        b.errors = errors + at;
        memset(b.errors, 0, b.n * sizeof *b.errors);
        st = search_some(archive, base, queries + at, n_threads, &b, out + at, err);
        if (st == CMIR_OK && progress != NULL && progress(progress_ctx, at + b.n, n) != 0)
            st =
                FAIL(err, CMIR_ECANCELLED, "search: stopped after %zu of %zu queries", at + b.n, n);
    }
    free(b.jobs);
    cmir_snapshot_close(base);
    if (st != CMIR_OK)
        for (size_t i = 0; i < n; i++) {
            cmir_result_free(out[i]);
            out[i] = NULL;
        }
    return st;
}

/* A batch of one, its error the call's. */
static cmir_status
search_query(const cmir_archive *archive, const cmir_search_query *query,
             const cmir_search_options *options, cmir_result **out, cmir_error *err)
{
    cmir_error own = {0};
    cmir_status st = cmir_search_batch(archive, query, 1, options, NULL, NULL, out, &own, err);

    if (st == CMIR_OK && own.code != CMIR_OK)
        st = FAIL_AT(err, own.code, own.offset, "%s", own.msg);
    return st;
}

cmir_status
cmir_search_stored(const cmir_archive *archive, const cmir_archive *query_archive,
                   const char *volume_id, const cmir_search_options *options, cmir_result **out,
                   cmir_error *err)
{
    const cmir_search_query query = {.archive = query_archive, .volume_id = volume_id};

    return search_query(archive, &query, options, out, err);
}

cmir_status
cmir_search_embeddings(const cmir_archive *archive, const cmir_embeddings *embeddings,
                       const char *volume_id, const cmir_search_options *options, cmir_result **out,
                       cmir_error *err)
{
    const cmir_search_query query = {.volume_id = volume_id, .embeddings = embeddings};

    return search_query(archive, &query, options, out, err);
}
