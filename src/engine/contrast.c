/* SPDX-License-Identifier: Apache-2.0 */
/* contrast.c: where a query looks like cases with a label: the nearest cases with it and without, and
 * how similar each slice of the query is to each of them; assess draws the conclusion.
 *
 * The one idea: "with" and "without" are two filters, so that each side is an ordinary search. */
#include "engine/contrast.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "assess/contrast.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "engine/cases.h"

#define DEFAULT_CASES 10u
#define SEED 1u

/* Appends text between quotes, doubling those inside. */
static void
quote(cmir_buf *out, const char *text, char mark)
{
    cmir_buf_add(out, &mark, 1);
    for (; *text != '\0'; text++) {
        if (*text == mark)
            cmir_buf_add(out, &mark, 1);
        cmir_buf_add(out, text, 1);
    }
    cmir_buf_add(out, &mark, 1);
}

/* The filter of one side, within that of the search; free(). */
static cmir_status
filter_of(const cmir_search_options *o, bool with, char **out, cmir_error *err)
{
    cmir_buf where = {0};

    if (!cmir_search_is_blank(o->where))
        cmir_buf_printf(&where, "(%s) and ", o->where);
    quote(&where, o->contrast_label, '"');
    if (o->contrast_value == NULL) {
        cmir_buf_puts(&where, with ? " > 0" : " <= 0");
    } else {
        cmir_buf_puts(&where, with ? " = " : " != ");
        quote(&where, o->contrast_value, '\'');
    }
    if (where.failed) {
        free(where.data);
        return FAIL(err, CMIR_ENOMEM, "no memory for a filter");
    }
    *out = where.data;
    return CMIR_OK;
}

/* One side: its nearest cases, and the similarity of each query slice to each. */
struct side {
    uint32_t n_cases;
    size_t n_volumes;
    cmir_match *matches; /* [n_cases][query's rows] */
};

static cmir_status
match_cases(const cmir_query *query, const cmir_snapshot *snapshot, const cmir_case *cases,
            struct side *out, cmir_error *err)
{
    const size_t n = out->n_cases;
    const cmir_rows **rows = cmir_alloc(n, sizeof *rows);
    uint64_t n_matches;
    cmir_status st = CMIR_OK;

    if (cmir_mul_u64(n, query->n_rows, &n_matches) && n_matches <= SIZE_MAX)
        out->matches = cmir_alloc((size_t)n_matches, sizeof *out->matches);
    if (rows == NULL || out->matches == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory for the contrast of %u slices", query->n_rows);
    for (size_t i = 0; st == CMIR_OK && i < n; i++)
        rows[i] = &cmir_snapshot_get(snapshot, cases[i].candidate)->rows;
    if (st == CMIR_OK)
        st = cmir_match_rows(query, cmir_snapshot_center(snapshot), rows, n, cmir_cpu_flags(),
                             out->matches, err);
    free(rows);
    return st;
}

static cmir_status
search_side(const cmir_search_job *job, const cmir_snapshot *snapshot, const cmir_search_options *o,
            uint32_t n_threads, uint32_t k, struct side *out, cmir_error *err)
{
    cmir_rank_options options;
    cmir_case *cases = cmir_alloc(k, sizeof *cases);
    size_t n_cases = 0;
    cmir_status st;

    out->n_volumes = cmir_snapshot_count(snapshot);
    options = cmir_search_rank_options(o, out->n_volumes, n_threads, NULL);
    options.limit = options.limit < k ? options.limit : k;
    if (cases == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory for %u cases", k);
    else
        st = out->n_volumes == 0 ? CMIR_OK
                                 : cmir_nearest_cases(&job->query, snapshot, &options, NULL, 0, k,
                                                      cases, &n_cases, err);
    out->n_cases = (uint32_t)n_cases;
    if (st == CMIR_OK)
        st = match_cases(&job->query, snapshot, cases, out, err);
    free(cases);
    return st;
}

static cmir_status
find_side(const cmir_search_job *job, const cmir_archive *archive, const cmir_search_options *o,
          uint32_t n_threads, bool with, uint32_t k, struct side *out, cmir_error *err)
{
    const cmir_without without = cmir_search_exclusion(o, &job->result->query->info);
    cmir_snapshot *base = NULL, *snapshot = NULL;
    char *where = NULL;
    cmir_status st = filter_of(o, with, &where, err);

    if (st == CMIR_OK && (st = cmir_snapshot_open(archive->store, where, &base, err)) == CMIR_OK &&
        (st = cmir_snapshot_without(base, &without, &snapshot, err)) == CMIR_OK)
        st = search_side(job, snapshot, o, n_threads, k, out, err);
    cmir_snapshot_close(snapshot);
    cmir_snapshot_close(base);
    free(where);
    return st;
}

/* Both sides are known. */
static cmir_status
conclude(const cmir_search_job *job, const struct side sides[2], cmir_engine_contrast *c,
         cmir_error *err)
{
    const uint32_t m = job->query.n_rows, n = sides[0].n_cases + sides[1].n_cases;
    const double *mm = job->result->query->slice_mm;
    float *similarity = cmir_alloc((size_t)n * m, sizeof *similarity), *to = similarity;
    cmir_status st;

    c->slices = cmir_alloc(m, sizeof *c->slices);
    if (similarity == NULL || c->slices == NULL) {
        free(similarity);
        return FAIL(err, CMIR_ENOMEM, "no memory for the contrast of %u slices", m);
    }
    for (int s = 0; s < 2; s++)
        for (size_t i = 0; i < (size_t)sides[s].n_cases * m; i++)
            *to++ = sides[s].matches[i].similarity;
    st = cmir_contrast_of(&(cmir_contrast_input){.similarity = similarity,
                                                 .n_positive = sides[0].n_cases,
                                                 .n_negative = sides[1].n_cases,
                                                 .slice = job->query.slice,
                                                 .n_slices = m,
                                                 .seed = SEED},
                          c->slices, &c->view, err);
    c->view.slices = c->slices;
    c->view.n_slices = m;
    c->view.mm[0] = fmin(mm[c->view.first], mm[c->view.last]);
    c->view.mm[1] = fmax(mm[c->view.first], mm[c->view.last]);
    free(similarity);
    return st;
}

cmir_status
cmir_search_job_contrast(cmir_search_job *job, const cmir_archive *archive,
                         const cmir_search_options *o, uint32_t n_threads, cmir_error *err)
{
    const uint32_t k = o->n_neighbours > 0 ? o->n_neighbours : DEFAULT_CASES;
    cmir_engine_contrast *c;
    struct side sides[2] = {{0}, {0}};
    cmir_status st = CMIR_OK;

    if (o->contrast_label == NULL)
        return CMIR_OK;
    if ((st = cmir_engine_contrast_new(job->result, o->contrast_label, o->contrast_value, &c,
                                       err)) != CMIR_OK)
        return st;
    for (int s = 0; s < 2 && st == CMIR_OK; s++)
        st = find_side(job, archive, o, n_threads, s == 0, k, &sides[s], err);
    if (st == CMIR_OK && sides[0].n_volumes == 0 && sides[1].n_volumes == 0)
        st = FAIL(err, CMIR_ENOTFOUND, "contrast: no volume that may answer has %s '%.100s'",
                  o->contrast_value == NULL ? "a number as its label" : "the label",
                  o->contrast_label);
    c->view.n_positive = sides[0].n_cases;
    c->view.n_negative = sides[1].n_cases;
    c->view.enough =
        sides[0].n_cases >= CMIR_EVIDENCE_LEAST && sides[1].n_cases >= CMIR_EVIDENCE_LEAST;
    if (st == CMIR_OK && c->view.enough)
        st = conclude(job, sides, c, err);
    free(sides[0].matches);
    free(sides[1].matches);
    return st;
}
