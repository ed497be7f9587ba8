/* SPDX-License-Identifier: Apache-2.0 */
/* evidence.c: what a search's nearest cases say: their labels from the catalogue, counted by assess. */
#include "engine/evidence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "assess/evidence.h"
#include "assess/metrics.h"
#include "base/error.h"
#include "base/memory.h"

void
cmir_engine_evidence_free(cmir_engine_evidence *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; e->records != NULL && i < e->view.n_neighbours; i++)
        cmir_record_free(e->records[i]);
    free(e->records);
    free(e->neighbours);
    free(e->labels);
    free(e->calibrations);
    free(e->values);
    free(e->text);
    free(e);
}

static bool
same_text(const char *a, const char *b)
{
    return a[0] != '\0' && strcmp(a, b) == 0;
}

static bool
is_own(const cmir_volume_info *query, const cmir_volume_info *found)
{
    return same_text(query->patient_id, found->patient_id) ||
           same_text(query->study_uid, found->study_uid) ||
           same_text(query->volume_id, found->volume_id);
}

static cmir_status
take_neighbours(cmir_engine_evidence *e, const cmir_snapshot *snapshot, const cmir_record *query,
                const cmir_case *cases, size_t n, cmir_error *err)
{
    double *numbers = cmir_alloc(n, 2 * sizeof *numbers); /* scores, weights */
    cmir_status st = CMIR_OK;

    if (numbers == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the evidence of %zu cases", n);
    for (size_t i = 0; i < n; i++)
        numbers[i] = cases[i].score;
    cmir_vote_weights(numbers, n, numbers + n);
    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        if ((st = cmir_snapshot_record(snapshot, cases[i].candidate, &e->records[i], err)) !=
            CMIR_OK)
            break;
        const cmir_volume_info *info = &e->records[i]->info;
        e->neighbours[i] = (cmir_neighbour){.volume_id = info->volume_id,
                                            .rank = cases[i].rank,
                                            .score = cases[i].score,
                                            .weight = numbers[n + i] / numbers[n],
                                            .own = is_own(&query->info, info)};
        e->view.n_own += e->neighbours[i].own;
    }
    free(numbers);
    return st;
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of all labels that a neighbour has, in order; *names is to be freed. */
static cmir_status
name_labels(const cmir_engine_evidence *e, const char ***names, size_t *n_names, cmir_error *err)
{
    size_t n = 0, kept = 0, cap = 0;

    *names = NULL;
    *n_names = 0;
    for (size_t i = 0; i < e->view.n_neighbours; i++)
        for (size_t l = 0; l < e->records[i]->n_labels; l++) {
            if (!cmir_grow((void **)names, &cap, n + 1, sizeof **names))
                return FAIL(err, CMIR_ENOMEM, "no memory for the names of labels");
            (*names)[n++] = e->records[i]->labels[l].name;
        }
    if (n == 0)
        return CMIR_OK;
    qsort(*names, n, sizeof **names, by_text);
    for (size_t i = 1; i < n; i++)
        if (strcmp((*names)[i], (*names)[kept]) != 0)
            (*names)[++kept] = (*names)[i];
    *n_names = kept + 1;
    return CMIR_OK;
}

static const char *
value_of(const cmir_record *record, const char *name)
{
    for (size_t l = 0; l < record->n_labels; l++)
        if (strcmp(record->labels[l].name, name) == 0)
            return record->labels[l].value;
    return NULL;
}

static cmir_status
weigh_numbers(const cmir_engine_evidence *e, const cmir_snapshot *snapshot,
              cmir_evidence_label *label, cmir_error *err)
{
    const size_t n = e->view.n_neighbours;
    double *numbers = cmir_alloc(n, 2 * sizeof *numbers); /* values, weights */
    cmir_status st = CMIR_OK;

    if (numbers == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for the numbers of %zu cases", n);
    for (size_t i = 0; i < n && st == CMIR_OK; i++) {
        numbers[i] = NAN;
        numbers[n + i] = e->neighbours[i].weight;
        if (label->text[i] != NULL)
            st = cmir_snapshot_parse(snapshot, label->text[i], &numbers[i], err);
    }
    if (st == CMIR_OK)
        label->median = cmir_weighted_median(numbers, numbers + n, n, &label->low, &label->high);
    free(numbers);
    return st;
}

/* Label number l. */
static cmir_status
weigh_label(cmir_engine_evidence *e, const cmir_snapshot *snapshot, size_t l, const double *weight,
            uint32_t k, cmir_score score, cmir_error *err)
{
    const size_t n = e->view.n_neighbours;
    cmir_evidence_label *label = &e->labels[l];
    const char **text = e->text + l * n;
    bool found;
    cmir_status st;

    for (size_t i = 0; i < n; i++)
        text[i] = value_of(e->records[i], label->name);
    label->text = text;
    label->median = label->low = label->high = NAN;
    if ((st = cmir_snapshot_label_kind(snapshot, label->name, &label->kind, err)) != CMIR_OK ||
        (st = cmir_snapshot_calibration(snapshot, label->name, k, score, &e->calibrations[l],
                                        &found, err)) != CMIR_OK)
        return st;
    const size_t n_values =
        cmir_count_votes(text, weight, n, e->values + l * n, &label->n_labelled);
    label->enough = label->n_labelled >= CMIR_EVIDENCE_LEAST;
    if (found && e->calibrations[l].kind == label->kind) {
        cmir_calibration_rate(&e->calibrations[l]);
        label->calibration = &e->calibrations[l];
    }
    if (!label->enough)
        return CMIR_OK;
    if (label->kind == CMIR_LABEL_NUMBER)
        return weigh_numbers(e, snapshot, label, err);
    label->values = e->values + l * n;
    label->n_values = n_values;
    return CMIR_OK;
}

static cmir_status
take_labels(cmir_engine_evidence *e, const cmir_snapshot *snapshot, uint32_t k, cmir_score score,
            cmir_error *err)
{
    const size_t n = e->view.n_neighbours;
    const char **names;
    double *weight = cmir_alloc(n, sizeof *weight);
    size_t n_labels;
    uint64_t n_cells;
    cmir_status st = name_labels(e, &names, &n_labels, err);

    if (st == CMIR_OK && cmir_mul_u64(n_labels, n, &n_cells)) {
        e->labels = cmir_alloc_zeroed(n_labels, sizeof *e->labels);
        e->calibrations = cmir_alloc_zeroed(n_labels, sizeof *e->calibrations);
        e->values = cmir_alloc_zeroed((size_t)n_cells, sizeof *e->values);
        e->text = cmir_alloc_zeroed((size_t)n_cells, sizeof *e->text);
    }
    if (st == CMIR_OK && (weight == NULL || e->labels == NULL || e->calibrations == NULL ||
                          e->values == NULL || e->text == NULL))
        st = FAIL(err, CMIR_ENOMEM, "no memory for the evidence of %zu labels", n_labels);
    for (size_t i = 0; st == CMIR_OK && i < n; i++)
        weight[i] = e->neighbours[i].weight;
    for (size_t l = 0; st == CMIR_OK && l < n_labels; l++) {
        e->labels[l].name = names[l];
        st = weigh_label(e, snapshot, l, weight, k, score, err);
    }
    e->view.labels = e->labels;
    e->view.n_labels = st == CMIR_OK ? n_labels : 0;
    free(weight);
    free(names);
    return st;
}

cmir_status
cmir_evidence_gather(const cmir_snapshot *snapshot, const cmir_record *query,
                     const cmir_case *cases, size_t n, uint32_t k, cmir_score score,
                     cmir_engine_evidence **out, cmir_error *err)
{
    cmir_engine_evidence *e = cmir_alloc_zeroed(1, sizeof *e);
    cmir_status st = CMIR_OK;

    *out = NULL;
    if (e != NULL) {
        e->view.k = k;
        e->view.n_neighbours = n;
        e->records = cmir_alloc_zeroed(n, sizeof(cmir_record *));
        e->neighbours = cmir_alloc_zeroed(n, sizeof *e->neighbours);
        e->view.neighbours = e->neighbours;
    }
    if (e == NULL || e->records == NULL || e->neighbours == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory for the evidence of %zu cases", n);
    if (st == CMIR_OK)
        st = take_neighbours(e, snapshot, query, cases, n, err);
    if (st == CMIR_OK)
        st = take_labels(e, snapshot, k, score, err);
    if (st == CMIR_OK)
        *out = e;
    else
        cmir_engine_evidence_free(e);
    return st;
}
