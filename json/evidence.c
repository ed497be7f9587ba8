/* SPDX-License-Identifier: Apache-2.0 */
/* evidence.c: what the nearest cases say, and where a label shows in the query, as JSON.
 *
 * The one idea: counts and intervals, and which hits they are; never a verdict alone. */
#include <string.h>

#include "json.h"

static const char *const kinds[] = {"class", "number"};

json_t *
cmir_json_calibration(const cmir_calibration *c)
{
    json_t *o = cmir_json_need(json_object());

    cmir_json_set(o, "Label", cmir_json_text(c->label));
    cmir_json_set(o, "Kind", json_string(kinds[c->kind]));
    cmir_json_set(o, "ScoreType", json_string(cmir_score_name(c->score)));
    cmir_json_set(o, "K", json_integer(c->k));
    cmir_json_set(o, "Stale", json_boolean(c->stale));
    cmir_json_set(o, "LabelledVolumes", json_integer(c->n_labelled));
    cmir_json_set(o, "Queries", json_integer(c->n_queries));
    cmir_json_set(o, "Patients", json_integer(c->n_patients));
    if (c->kind == CMIR_LABEL_NUMBER) {
        cmir_json_set(o, "MedianError", cmir_json_number(c->error));
        cmir_json_set(o, "MedianErrorOfMedian", cmir_json_number(c->error_alone));
        return o;
    }
    json_t *bins = cmir_json_need(json_array());
    for (uint32_t i = 0; i < 11; i++)
        if (c->bin_n[i] > 0)
            cmir_json_add(bins,
                          json_pack("{s:I, s:I, s:I}", "VotesOf10", (json_int_t)i, "Queries",
                                    (json_int_t)c->bin_n[i], "Right", (json_int_t)c->bin_right[i]));
    cmir_json_set(o, "Right", json_integer(c->n_right));
    cmir_json_set(o, "Rate", cmir_json_number(c->rate));
    cmir_json_set(o, "RateInterval",
                  json_pack("[o, o]", cmir_json_number(c->low), cmir_json_number(c->high)));
    cmir_json_set(o, "RightByMajority", json_integer(c->n_majority));
    cmir_json_set(o, "ByVotes", bins);
    return o;
}

/* Ranks of the neighbours that have this value, or of those that have another. */
static json_t *
ranks_json(const cmir_evidence *e, const cmir_evidence_label *label, const char *value, bool same)
{
    json_t *ranks = cmir_json_need(json_array());

    for (size_t i = 0; i < e->n_neighbours; i++)
        if (label->text[i] != NULL && (strcmp(label->text[i], value) == 0) == same)
            cmir_json_add(ranks, json_integer(e->neighbours[i].rank));
    return ranks;
}

static json_t *
values_json(const cmir_evidence *e, const cmir_evidence_label *label)
{
    json_t *values = cmir_json_need(json_array());

    for (size_t v = 0; v < label->n_values; v++) {
        const cmir_evidence_value *value = &label->values[v];
        json_t *o = cmir_json_need(json_object());

        cmir_json_set(o, "Value", cmir_json_text(value->text));
        cmir_json_set(o, "Count", json_integer(value->n));
        cmir_json_set(o, "Share", cmir_json_number(value->share));
        cmir_json_set(
            o, "ShareInterval",
            json_pack("[o, o]", cmir_json_number(value->low), cmir_json_number(value->high)));
        cmir_json_set(o, "WeightedShare", cmir_json_number(value->weighted_share));
        cmir_json_set(o, "For", ranks_json(e, label, value->text, true));
        cmir_json_set(o, "Against", ranks_json(e, label, value->text, false));
        cmir_json_add(values, o);
    }
    return values;
}

static json_t *
label_json(const cmir_evidence *e, const cmir_evidence_label *label)
{
    json_t *o = cmir_json_need(json_object()), *cases = cmir_json_need(json_array());

    for (size_t i = 0; i < e->n_neighbours; i++)
        if (label->text[i] != NULL)
            cmir_json_add(cases, json_pack("{s:I, s:o}", "Rank", (json_int_t)e->neighbours[i].rank,
                                           "Value", cmir_json_text(label->text[i])));
    cmir_json_set(o, "Label", cmir_json_text(label->name));
    cmir_json_set(o, "Kind", json_string(kinds[label->kind]));
    cmir_json_set(o, "Cases", json_integer((json_int_t)e->n_neighbours));
    cmir_json_set(o, "Labelled", json_integer(label->n_labelled));
    cmir_json_set(o, "Enough", json_boolean(label->enough));
    cmir_json_set(o, "CaseValues", cases);
    if (label->enough && label->kind == CMIR_LABEL_NUMBER) {
        cmir_json_set(o, "WeightedMedian", cmir_json_number(label->median));
        cmir_json_set(
            o, "Range",
            json_pack("[o, o]", cmir_json_number(label->low), cmir_json_number(label->high)));
    } else if (label->enough) {
        cmir_json_set(o, "Values", values_json(e, label));
    }
    cmir_json_set(o, "Calibration",
                  label->calibration == NULL ? json_null()
                                             : cmir_json_calibration(label->calibration));
    if (label->calibration != NULL)
        cmir_json_set(json_object_get(o, "Calibration"), "SameSearch",
                      json_boolean(e->as_calibrated));
    return o;
}

json_t *
cmir_json_evidence(const cmir_evidence *e)
{
    json_t *labels = cmir_json_need(json_array());

    for (size_t l = 0; l < e->n_labels; l++)
        cmir_json_add(labels, label_json(e, &e->labels[l]));
    return labels;
}

json_t *
cmir_json_cases(const cmir_evidence *e)
{
    json_t *cases = cmir_json_need(json_array());

    for (size_t i = 0; i < e->n_neighbours; i++) {
        const cmir_neighbour *n = &e->neighbours[i];
        json_t *o = cmir_json_need(json_object());

        cmir_json_set(o, "Rank", json_integer(n->rank));
        cmir_json_set(o, "VolumeId", cmir_json_text(n->volume_id));
        cmir_json_set(o, "Score", cmir_json_number(n->score));
        cmir_json_set(o, "Weight", cmir_json_number(n->weight));
        cmir_json_set(o, "OwnPatient", json_boolean(n->own));
        cmir_json_add(cases, o);
    }
    return cases;
}

static json_t *
pair_json(double a, double b)
{
    return json_pack("[o, o]", cmir_json_number(a), cmir_json_number(b));
}

json_t *
cmir_json_contrast(const cmir_contrast *c)
{
    json_t *o = cmir_json_need(json_object()), *curve = cmir_json_need(json_array());

    cmir_json_set(o, "Label", cmir_json_text(c->label));
    cmir_json_set(o, "Value", c->value == NULL ? json_null() : cmir_json_text(c->value));
    cmir_json_set(o, "PositiveCases", json_integer(c->n_positive));
    cmir_json_set(o, "NegativeCases", json_integer(c->n_negative));
    cmir_json_set(o, "Enough", json_boolean(c->enough));
    if (c->enough) {
        for (size_t i = 0; i < c->n_slices; i++) {
            const cmir_contrast_slice *s = &c->slices[i];

            cmir_json_add(curve, json_pack("[I, o, o, o, o]", (json_int_t)s->slice,
                                           cmir_json_number(s->value), cmir_json_number(s->low),
                                           cmir_json_number(s->high), cmir_json_number(s->in_run)));
        }
        cmir_json_set(o, "Slices", cmir_json_pair(c->first, c->last));
        cmir_json_set(o, "Mm", pair_json(c->mm[0], c->mm[1]));
        cmir_json_set(o, "FirstInterval", cmir_json_pair(c->first_low, c->first_high));
        cmir_json_set(o, "LastInterval", cmir_json_pair(c->last_low, c->last_high));
        cmir_json_set(o, "Rise", cmir_json_number(c->rise));
        cmir_json_set(o, "RiseInterval", pair_json(c->rise_low, c->rise_high));
        cmir_json_set(o, "P", cmir_json_number(c->p));
    }
    cmir_json_set(o, "Curve", curve);
    return o;
}
