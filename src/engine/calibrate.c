/* SPDX-License-Identifier: Apache-2.0 */
/* calibrate.c: how often votes are right in this archive.  Part of the public interface.
 *
 * The one idea: the very search that users make, asked about every labelled volume with its patient
 * left out; what it would have said is compared with what is known. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "assess/evidence.h"
#include "base/error.h"
#include "base/memory.h"
#include "engine/engine_internal.h"

#define DEFAULT_K 10u

enum { AT_A_TIME = 64 }; /* questions of one batch */

/* A label that is calibrated, and what was learnt of it. */
struct topic {
    char *name;
    cmir_label_kind kind;
    cmir_outcome *outcomes; /* truths are owned, patients are the questions' */
    size_t n, cap;
};

/* A volume that is asked about; the id is the snapshot's. */
struct question {
    const char *volume_id;
    char *patient;
};

struct job {
    cmir_archive *archive;
    cmir_snapshot *snapshot; /* the state that is asked: nobody else writes meanwhile */
    const cmir_calibrate_options *options;
    uint32_t k;
    struct topic *topics; /* by name, once all are known */
    size_t n_topics, topics_cap;
    struct question *questions;
    size_t n_questions, questions_cap;
};

static void
free_job(struct job *job)
{
    for (size_t t = 0; t < job->n_topics; t++) {
        for (size_t i = 0; i < job->topics[t].n; i++)
            free((char *)(uintptr_t)job->topics[t].outcomes[i].truth);
        free(job->topics[t].outcomes);
        free(job->topics[t].name);
    }
    for (size_t i = 0; i < job->n_questions; i++)
        free(job->questions[i].patient);
    free(job->topics);
    free(job->questions);
    cmir_snapshot_close(job->snapshot);
}

static struct topic *
find_topic(const struct job *job, const char *name)
{
    for (size_t t = 0; t < job->n_topics; t++)
        if (strcmp(job->topics[t].name, name) == 0)
            return &job->topics[t];
    return NULL;
}

static bool
is_wanted(const cmir_calibrate_options *o, const char *name)
{
    bool wanted = o->labels == NULL;

    for (size_t i = 0; o->labels != NULL && i < o->n_labels; i++)
        wanted = wanted || strcmp(o->labels[i], name) == 0;
    return wanted;
}

static cmir_status
add_topic(struct job *job, const char *name, cmir_error *err)
{
    struct topic topic = {0};
    cmir_status st;

    if (find_topic(job, name) != NULL)
        return CMIR_OK;
    if ((st = cmir_snapshot_label_kind(job->snapshot, name, &topic.kind, err)) != CMIR_OK)
        return st;
    topic.name = cmir_strdup(name);
    if (topic.name == NULL || !cmir_grow((void **)&job->topics, &job->topics_cap, job->n_topics + 1,
                                         sizeof *job->topics)) {
        free(topic.name);
        return FAIL(err, CMIR_ENOMEM, "no memory for the labels of the archive");
    }
    job->topics[job->n_topics++] = topic;
    return CMIR_OK;
}

/* The volume is asked about where it has a label that is wanted. */
static cmir_status
consider(struct job *job, size_t index, const cmir_record *record, cmir_error *err)
{
    struct question question = {cmir_snapshot_get(job->snapshot, index)->volume_id, NULL};
    bool wanted = false;
    cmir_status st = CMIR_OK;

    for (size_t l = 0; l < record->n_labels && st == CMIR_OK; l++)
        if (is_wanted(job->options, record->labels[l].name)) {
            wanted = true;
            st = add_topic(job, record->labels[l].name, err);
        }
    if (st != CMIR_OK || !wanted ||
        (st = cmir_snapshot_patient(job->snapshot, index, &question.patient, err)) != CMIR_OK)
        return st;
    if (!cmir_grow((void **)&job->questions, &job->questions_cap, job->n_questions + 1,
                   sizeof *job->questions)) {
        free(question.patient);
        return FAIL(err, CMIR_ENOMEM, "no memory for the volumes of the archive");
    }
    job->questions[job->n_questions++] = question;
    return CMIR_OK;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct topic *)a)->name, ((const struct topic *)b)->name);
}

/* What is to be asked. */
static cmir_status
prepare(struct job *job, cmir_error *err)
{
    const cmir_calibrate_options *o = job->options;
    cmir_status st = cmir_snapshot_open(job->archive->store, NULL, &job->snapshot, err);

    for (size_t i = 0; st == CMIR_OK && i < cmir_snapshot_count(job->snapshot); i++) {
        cmir_record *record;

        if ((st = cmir_snapshot_record(job->snapshot, i, &record, err)) == CMIR_OK) {
            st = consider(job, i, record, err);
            cmir_record_free(record);
        }
    }
    if (st != CMIR_OK)
        return st;
    for (size_t i = 0; o->labels != NULL && i < o->n_labels; i++)
        if (find_topic(job, o->labels[i]) == NULL)
            return FAIL(err, CMIR_ENOTFOUND, "no volume of the archive has the label '%s'",
                        o->labels[i]);
    if (job->n_topics == 0)
        return FAIL(err, CMIR_ENOTFOUND, "no volume of the archive has a label");
    qsort(job->topics, job->n_topics, sizeof *job->topics, by_name);
    return CMIR_OK;
}

static const cmir_evidence_label *
find_label(const cmir_evidence *evidence, const char *name)
{
    for (size_t l = 0; l < evidence->n_labels; l++)
        if (strcmp(evidence->labels[l].name, name) == 0)
            return &evidence->labels[l];
    return NULL;
}

/* What a search said of one label of its query, beside the truth. */
static cmir_status
learn(struct job *job, struct topic *topic, const struct question *question, const char *truth,
      const cmir_evidence *evidence, cmir_error *err)
{
    const cmir_evidence_label *said = find_label(evidence, topic->name);
    cmir_outcome o = {.patient = question->patient, .true_number = NAN, .median = NAN};
    cmir_status st = CMIR_OK;

    if (said != NULL) {
        o.n_labelled = said->n_labelled;
        o.median = said->median;
        if (said->n_values > 0) {
            o.n_for = said->values[0].n;
            o.right = strcmp(said->values[0].text, truth) == 0;
        }
    }
    if (topic->kind == CMIR_LABEL_NUMBER)
        st = cmir_snapshot_parse(job->snapshot, truth, &o.true_number, err);
    if (st != CMIR_OK)
        return st;
    o.truth = cmir_strdup(truth);
    if (o.truth == NULL ||
        !cmir_grow((void **)&topic->outcomes, &topic->cap, topic->n + 1, sizeof *topic->outcomes)) {
        free((char *)(uintptr_t)o.truth);
        return FAIL(err, CMIR_ENOMEM, "no memory for what was learnt of %s", topic->name);
    }
    topic->outcomes[topic->n++] = o;
    return CMIR_OK;
}

/* Asks about the n (at most AT_A_TIME) volumes from `first` on. */
static cmir_status
ask_some(struct job *job, size_t first, size_t n, cmir_error *err)
{
    const cmir_search_options options = {.struct_nbytes = sizeof options,
                                         .exclude = CMIR_EXCLUDE_PATIENT,
                                         .limit = 1,
                                         .n_threads = job->options->n_threads,
                                         .n_neighbours = job->k};
    cmir_search_query queries[AT_A_TIME];
    cmir_result *results[AT_A_TIME];
    cmir_error errors[AT_A_TIME];
    cmir_status st;

    for (size_t i = 0; i < n; i++)
        queries[i] = (cmir_search_query){.archive = job->archive,
                                         .volume_id = job->questions[first + i].volume_id};
    if ((st = cmir_search_batch(job->archive, queries, n, &options, NULL, NULL, results, errors,
                                err)) != CMIR_OK)
        return st;
    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        if (results[i] == NULL) {
            st = FAIL_AT(err, errors[i].code, errors[i].offset, "%s", errors[i].msg);
            break;
        }
        const cmir_record *query = results[i]->query;
        for (size_t l = 0; l < query->n_labels && st == CMIR_OK; l++) {
            struct topic *topic = find_topic(job, query->labels[l].name);

            if (topic != NULL)
                st = learn(job, topic, &job->questions[first + i], query->labels[l].value,
                           results[i]->evidence, err);
        }
    }
    for (size_t i = 0; i < n; i++)
        cmir_result_free(results[i]);
    return st;
}

static cmir_status
ask_all(struct job *job, cmir_error *err)
{
    const cmir_calibrate_options *o = job->options;
    cmir_status st = CMIR_OK;

    for (size_t at = 0; at < job->n_questions && st == CMIR_OK; at += AT_A_TIME) {
        const size_t left = job->n_questions - at, n = left < AT_A_TIME ? left : AT_A_TIME;

        st = ask_some(job, at, n, err);
        if (st == CMIR_OK && o->progress != NULL &&
            o->progress(o->progress_ctx, at + n, job->n_questions) != 0)
            st = FAIL(err, CMIR_ECANCELLED, "calibration: stopped after %zu of %zu volumes", at + n,
                      job->n_questions);
    }
    return st;
}

/* The outcomes as calibrations, which are stored. */
static cmir_status
conclude(struct job *job, cmir_calibration **out, size_t *n_out, cmir_error *err)
{
    cmir_calibration *rows = cmir_alloc_zeroed(job->n_topics, sizeof *rows);
    cmir_status st = CMIR_OK;

    if (rows == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for %zu calibrations", job->n_topics);
    for (size_t t = 0; t < job->n_topics && st == CMIR_OK; t++) {
        struct topic *topic = &job->topics[t];

        rows[t] = (cmir_calibration){
            .label = topic->name, .kind = topic->kind, .score = CMIR_MAXSIM, .k = job->k};
        st = cmir_calibration_of(topic->outcomes, topic->n, &rows[t], err);
    }
    if (st == CMIR_OK)
        st = cmir_store_calibrate(job->archive->store, rows, job->n_topics, err);
    if (st != CMIR_OK || out == NULL) {
        free(rows);
        return st;
    }
    for (size_t t = 0; t < job->n_topics; t++)
        job->topics[t].name = NULL; /* theirs now */
    *out = rows;
    *n_out = job->n_topics;
    return CMIR_OK;
}

cmir_status
cmir_calibrate(cmir_archive *archive, const cmir_calibrate_options *options, cmir_calibration **out,
               size_t *n_out, cmir_error *err)
{
    const cmir_calibrate_options defaults = {.struct_nbytes = sizeof defaults};
    struct job job = {.archive = archive, .options = options == NULL ? &defaults : options};
    cmir_status st;

    if (out != NULL) {
        *out = NULL;
        *n_out = 0;
    }
    if (job.options->struct_nbytes != sizeof defaults)
        return FAIL(err, CMIR_EINVAL,
                    "calibration options: struct_nbytes is not that of this library");
    job.k = job.options->k == 0 ? DEFAULT_K : job.options->k;
    if (job.k < CMIR_EVIDENCE_LEAST || job.k > CMIR_EVIDENCE_MOST)
        return FAIL(err, CMIR_EINVAL, "calibration options: k %u; %u..%u are possible", job.k,
                    CMIR_EVIDENCE_LEAST, CMIR_EVIDENCE_MOST);
    if ((st = cmir_store_check_writable(archive->store, err)) == CMIR_OK &&
        (st = prepare(&job, err)) == CMIR_OK && (st = ask_all(&job, err)) == CMIR_OK)
        st = conclude(&job, out, n_out, err);
    free_job(&job);
    return st;
}

void
cmir_calibrations_free(cmir_calibration *calibrations, size_t n)
{
    for (size_t i = 0; calibrations != NULL && i < n; i++)
        free((char *)(uintptr_t)calibrations[i].label);
    free(calibrations);
}
