/* SPDX-License-Identifier: Apache-2.0 */
/* encode.c: the pipeline from a volume to its embeddings; cmir_encode() is called by the engine
 * for every volume that is searched with, cmir_encode_streamed() for every one that is added.
 *
 * One thread loads the volume, the others encode the slices it has reported; when it is done it
 * helps.  A volume that need not be loaded has each slice read by the thread that encodes it.  Work
 * is taken in batches of neighbouring slices from one counter under one lock, so
 * whatever number of threads the system grants finishes the work.  The first failure stops all. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "encode/air.h"
#include "encode/encode.h"
#include "encode/encoder_internal.h"
#include "volume/volume_internal.h"

#define BATCH_NBYTES ((uint64_t)64 << 20) /* of pixels a worker holds, unless one slice is larger */

struct job {
    const cmir_encoder *encoder;
    cmir_volume *volume;
    cmir_plane plane;
    cmir_stack stack;
    cmir_progress_fn progress;
    void *progress_ctx;
    const cmir_onlooker *onlooker; /* or NULL */
    cmir_embeddings *out;
    cmir_resizer blocks; /* for air.c */
    uint32_t batch;
    bool must_load;
    cmir_volume_stream *stream; /* NULL: slices come from the loaded volume */

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed; /* n_ready or stop */
    cmir_value_range range; /* settled before n_ready rises, as what follows */
    float low, gain; /* value -> 0..1 where there is no HU */
    uint32_t n_ready, next, done, n_workers;
    bool stop;
    cmir_status status;
    uint32_t failed_slice;
    cmir_error error;
};

/* Pixels and rows of the batch a worker is at. */
struct bench {
    float *pixels;
    uint8_t *voxels; /* of one slice, where they are streamed */
    cmir_picture *pictures;
    float *air; /* cmir_air_scratch() */
};

/* The first failure counts; of streamed slices the lowest, which is always the same one, as slices
 * are taken in order and those taken are finished. */
static void
fail_job(struct job *job, uint32_t slice, cmir_status status, const cmir_error *error)
{
    pthread_mutex_lock(&job->lock);
    const bool lower =
        job->stream != NULL && job->status != CMIR_ECANCELLED && slice < job->failed_slice;
    if (!job->stop || lower) {
        job->stop = true;
        job->status = status;
        job->failed_slice = slice;
        job->error = *error;
    }
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

/* A cmir_volume_ready_fn.  The volume reports slices early only if it is in HU, and the last ones
 * when its range of values is known; slices of another plane need all of the source's. */
static void
set_ready(void *ctx, uint32_t n_ready)
{
    struct job *job = ctx;
    const cmir_volume_info *info = cmir_volume_get_info(job->volume);

    pthread_mutex_lock(&job->lock);
    if (job->n_ready == 0) { /* later, workers read this without the lock */
        const double width = info->value_high - info->value_low;
        job->range = (cmir_value_range){info->has_hu, info->value_low, info->value_high};
        job->low = (float)info->value_low;
        job->gain = width > 0.0 ? (float)(1.0 / width) : 0.0f;
    }
    if (n_ready == info->dims[2])
        job->n_ready = job->stack.n_slices;
    else if (job->stack.native)
        job->n_ready = n_ready;
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

static void
load(struct job *job)
{
    cmir_error error = {0};
    const cmir_status st = cmir_volume_load(job->volume, set_ready, job, &error);

    if (st != CMIR_OK)
        fail_job(job, 0, st, &error);
}

/* Waits for the next batch; false when there is none left. */
static bool
take_batch(struct job *job, uint32_t *first, uint32_t *n)
{
    bool got = false;

    pthread_mutex_lock(&job->lock);
    while (!job->stop && job->next < job->stack.n_slices && !got) {
        const uint32_t left = job->stack.n_slices - job->next;
        *n = left < job->batch ? left : job->batch;
        got = job->n_ready >= job->next + *n;
        if (!got)
            pthread_cond_wait(&job->changed, &job->lock);
    }
    if (got) {
        *first = job->next;
        job->next += *n;
    }
    pthread_mutex_unlock(&job->lock);
    return got;
}

static cmir_status
report(struct job *job, uint32_t n, cmir_error *err)
{
    int stop = 0;

    pthread_mutex_lock(&job->lock);
    job->done += n;
    const uint32_t done = job->done;
    if (job->progress != NULL && !job->stop)
        stop = job->progress(job->progress_ctx, done, job->stack.n_slices);
    pthread_mutex_unlock(&job->lock);
    if (stop != 0)
        return FAIL(err, CMIR_ECANCELLED, "%s: cancelled after %u of %u slices",
                    cmir_volume_get_info(job->volume)->path, done, job->stack.n_slices);
    return CMIR_OK;
}

/* One slice to a place on the bench, its marks into the result. */
static cmir_status
take_slice(struct job *job, const struct bench *bench, uint32_t slice, uint32_t place,
           cmir_error *err)
{
    const cmir_stack *stack = &job->stack;
    const size_t n_pixels = (size_t)stack->rows * stack->cols;
    float *pixels = bench->pixels + place * n_pixels;
    cmir_picture *picture = &bench->pictures[place];
    const cmir_onlooker *onlooker = job->onlooker;
    cmir_status st = job->stream != NULL
                         ? cmir_volume_stream_slice(job->stream, slice, bench->voxels, pixels, err)
                         : cmir_volume_slice(job->volume, job->plane, slice, pixels, err);

    if (st == CMIR_OK && onlooker != NULL)
        st = onlooker->see(onlooker->ctx, slice, pixels, &job->range, err);
    if (st != CMIR_OK)
        return st;
    for (size_t i = 0; !job->range.has_hu && i < n_pixels; i++) {
        const float x = (pixels[i] - job->low) * job->gain;
        pixels[i] = x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x;
    }
    *picture = (cmir_picture){
        pixels,           stack->rows, stack->cols, stack->row_spacing_mm, stack->col_spacing_mm,
        job->range.has_hu};
    if (cmir_air_is(&job->blocks, picture, bench->air))
        job->out->marks[slice] = CMIR_SLICE_AIR;
    return CMIR_OK;
}

/* Brings a row to unit length.  A model may give nothing for a slice of one value: such a row
 * becomes the diagonal, so that it is still a unit vector, the same every time. */
static cmir_status
normalise(const struct job *job, uint32_t slice, const cmir_picture *picture, float *row,
          cmir_error *err)
{
    const uint32_t dim = job->out->dim;
    const size_t n_pixels = (size_t)picture->rows * picture->cols;
    double sum = 0.0;
    size_t same = 1;

    for (uint32_t i = 0; i < dim; i++)
        sum += (double)row[i] * row[i];
    if (!isfinite(sum))
        return FAIL(err, CMIR_ECORRUPT, "encoder %s gave values that are not finite for slice %u",
                    job->encoder->info.name, slice);
    while (sum == 0.0 && same < n_pixels && picture->pixels[same] == picture->pixels[0])
        same++;
    if (sum == 0.0 && same < n_pixels)
        return FAIL(err, CMIR_ECORRUPT, "encoder %s gave a vector of zeros for slice %u",
                    job->encoder->info.name, slice);
    const double scale = 1.0 / sqrt(sum > 0.0 ? sum : dim);
    for (uint32_t i = 0; i < dim; i++)
        row[i] = (float)(sum > 0.0 ? row[i] * scale : scale);
    return CMIR_OK;
}

/* *failed is the slice that failed, where one did. */
static cmir_status
encode_batch(struct job *job, const struct bench *bench, uint32_t first, uint32_t n,
             uint32_t *failed, cmir_error *err)
{
    const size_t dim = job->out->dim;
    float *rows = job->out->rows + first * dim;
    cmir_status st;

    for (uint32_t i = 0; i < n; i++) {
        *failed = first + i;
        if ((st = take_slice(job, bench, first + i, i, err)) != CMIR_OK)
            return st;
    }
    *failed = first;
    st = job->encoder->class_->encode(job->encoder, bench->pictures, n, rows, err);
    for (uint32_t i = 0; st == CMIR_OK && i < n; i++)
        st = normalise(job, first + i, &bench->pictures[i], rows + i * dim, err);
    return st;
}

static void
work(struct job *job)
{
    const size_t n_pixels = (size_t)job->stack.rows * job->stack.cols;
    const size_t voxel_nbytes = job->stream != NULL ? cmir_voxel_nbytes(job->volume->type) : 0;
    const struct bench bench = {cmir_alloc_aligned(job->batch * n_pixels, sizeof(float)),
                                cmir_alloc_aligned(n_pixels, voxel_nbytes),
                                cmir_alloc(job->batch, sizeof(cmir_picture)),
                                cmir_alloc(cmir_air_scratch(&job->blocks), sizeof(float))};
    cmir_status st = CMIR_OK;
    cmir_error error = {0};
    uint32_t first, n, failed = 0;

    if (bench.pixels == NULL || bench.voxels == NULL || bench.pictures == NULL || bench.air == NULL)
        st = FAIL(&error, CMIR_ENOMEM, "%s: no memory to encode slices of %u x %u pixels",
                  cmir_volume_get_info(job->volume)->path, job->stack.rows, job->stack.cols);
    while (st == CMIR_OK && take_batch(job, &first, &n)) {
        st = encode_batch(job, &bench, first, n, &failed, &error);
        if (st == CMIR_OK)
            st = report(job, n, &error);
    }
    if (st != CMIR_OK)
        fail_job(job, failed, st, &error);
    free(bench.pixels);
    free(bench.voxels);
    free(bench.pictures);
    free(bench.air);
}

/* Thread 0 loads first; then whoever comes works, but no more of them than were asked for. */
static void
run(void *ctx, uint32_t thread)
{
    struct job *job = ctx;

    if (thread == 0 && job->must_load)
        load(job);
    pthread_mutex_lock(&job->lock);
    const bool wanted = job->n_workers < job->encoder->n_threads;
    job->n_workers += wanted;
    pthread_mutex_unlock(&job->lock);
    if (wanted)
        work(job);
}

/* A volume that holds nothing but air is scored by what it holds. */
static void
unmark_if_all_air(cmir_embeddings *e)
{
    for (uint32_t i = 0; i < e->n_slices; i++)
        if ((e->marks[i] & CMIR_SLICE_AIR) == 0)
            return;
    for (uint32_t i = 0; i < e->n_slices; i++)
        e->marks[i] &= (uint8_t)~CMIR_SLICE_AIR;
}

static cmir_status
start_job(struct job *job, cmir_error *err)
{
    const cmir_encoder *encoder = job->encoder;
    const cmir_volume_info *info = cmir_volume_get_info(job->volume);
    cmir_embeddings *out = job->out;
    cmir_status st = cmir_volume_stack(job->volume, job->plane, &job->stack, err);

    if (st != CMIR_OK || (st = cmir_air_init(&job->blocks, &job->stack, err)) != CMIR_OK)
        return st;
    out->n_slices = job->stack.n_slices;
    out->dim = encoder->info.dim;
    out->rows = cmir_alloc((size_t)out->n_slices * out->dim, sizeof *out->rows);
    out->marks = cmir_alloc_zeroed(out->n_slices, sizeof *out->marks);
    if (out->rows == NULL || out->marks == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for the embeddings of %u slices", info->path,
                    out->n_slices);
    const uint64_t nbytes = (uint64_t)job->stack.rows * job->stack.cols * sizeof(float);
    const uint64_t fit = BATCH_NBYTES / (nbytes == 0 ? 1 : nbytes);
    job->batch = fit >= encoder->batch ? encoder->batch : fit == 0 ? 1 : (uint32_t)fit;
    return CMIR_OK;
}

/* Where slices will come from; nothing that can fail follows. */
static cmir_status
open_source(struct job *job, cmir_volume_stream *stream, cmir_error *err)
{
    const uint32_t n = cmir_volume_get_info(job->volume)->dims[2];

    if (stream != NULL && cmir_volume_streams(job->volume, job->plane)) {
        const cmir_status st = cmir_volume_stream_start(job->volume, job->plane, stream, err);
        if (st != CMIR_OK)
            return st;
        job->stream = stream;
    }
    job->must_load = job->stream == NULL && atomic_load(&job->volume->n_ready) < n;
    if (!job->must_load)
        set_ready(job, n);
    return CMIR_OK;
}

/* `stream`: room for one, or NULL where the volume is to be loaded. */
static cmir_status
encode(struct job *job, cmir_volume_stream *stream, cmir_error *err)
{
    *job->out = (cmir_embeddings){0};
    pthread_mutex_init(&job->lock, NULL);
    pthread_cond_init(&job->changed, NULL);
    cmir_status st = start_job(job, err);
    if (st == CMIR_OK && (st = open_source(job, stream, err)) == CMIR_OK) {
        cmir_parallel(job->encoder->n_threads + job->must_load, run, job);
        st = job->status;
        if (st != CMIR_OK && err != NULL && err->code == CMIR_OK)
            *err = job->error;
        if (job->stream != NULL)
            st = cmir_volume_stream_finish(job->stream, st, err);
    }
    cmir_resizer_free(&job->blocks);
    pthread_cond_destroy(&job->changed);
    pthread_mutex_destroy(&job->lock);
    if (st == CMIR_OK)
        unmark_if_all_air(job->out);
    else
        cmir_embeddings_free(job->out);
    return st;
}

cmir_status
cmir_encode_seen(const cmir_encoder *encoder, cmir_volume *volume, cmir_plane plane,
                 const cmir_onlooker *onlooker, cmir_progress_fn progress, void *progress_ctx,
                 cmir_embeddings *out, cmir_error *err)
{
    cmir_volume_stream stream;
    struct job job = {.encoder = encoder,
                      .volume = volume,
                      .plane = plane,
                      .progress = progress,
                      .progress_ctx = progress_ctx,
                      .onlooker = onlooker,
                      .out = out};

    return encode(&job, &stream, err);
}

cmir_status
cmir_encode_streamed(const cmir_encoder *encoder, cmir_volume *volume, cmir_plane plane,
                     cmir_progress_fn progress, void *progress_ctx, cmir_embeddings *out,
                     cmir_error *err)
{
    return cmir_encode_seen(encoder, volume, plane, NULL, progress, progress_ctx, out, err);
}

cmir_status
cmir_encode(const cmir_encoder *encoder, cmir_volume *volume, cmir_plane plane,
            cmir_progress_fn progress, void *progress_ctx, cmir_embeddings *out, cmir_error *err)
{
    struct job job = {.encoder = encoder,
                      .volume = volume,
                      .plane = plane,
                      .progress = progress,
                      .progress_ctx = progress_ctx,
                      .out = out};

    return encode(&job, NULL, err);
}
