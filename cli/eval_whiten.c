/* SPDX-License-Identifier: Apache-2.0 */
/* eval_whiten.c: whitening that has not seen who asks: for every patient among the queries the
 * candidates of all others are learnt from, and everything is searched as that whitens it.
 *
 * The one idea: a fold is what `cmir fit` would make without a patient, an archive like any other; one
 * at a time is kept, and every question that its patient has is asked while it is there. */
#include <stdlib.h>
#include <string.h>

#include "eval.h"

static bool
same_patient(const eval *e, size_t a, size_t b)
{
    return strcmp(e->volumes[a].group, e->volumes[b].group) == 0;
}

/* Whether the patient of a query has a candidate, who is then to be left out. */
static bool
has_candidate(const eval *e, size_t query)
{
    for (size_t i = 0; i < e->n_volumes; i++)
        if (e->extras[i].is_candidate && same_patient(e, i, query))
            return true;
    return false;
}

/* The fold of query q: those of one patient share it, and so do all whose patient has no candidate. */
static uint32_t
fold_of(eval *e, size_t q)
{
    const size_t volume = e->queries[q].volume;
    const bool left_out = has_candidate(e, volume);

    for (uint32_t f = 0; f < e->n_folds; f++)
        if (e->folds[f].leaves_out == left_out &&
            (!left_out || same_patient(e, e->folds[f].volume, volume)))
            return f;
    e->folds[e->n_folds] = (eval_fold){left_out, volume};
    return e->n_folds++;
}

void
eval_whiten_split(eval *e)
{
    e->folds = cli_need(calloc(e->n_queries + 1, sizeof *e->folds));
    e->fold_of = cli_need(calloc(e->n_queries + 1, sizeof *e->fold_of));
    if (e->options.whiten == 0) {
        e->n_folds = 1;
        return;
    }
    for (size_t q = 0; q < e->n_queries; q++)
        e->fold_of[q] = fold_of(e, q);
}

/* Makes the archive of a fold at `dir`. */
static cmir_status
fit(const eval *e, const eval_fold *fold, const char *dir, cmir_error *err)
{
    const cmir_archive *from = e->masked != NULL ? e->masked : e->archive;
    const char **ids = cli_need(malloc((e->n_volumes + 1) * sizeof *ids));
    cmir_fit_options options = {.struct_nbytes = sizeof options,
                                .dims = e->options.whiten,
                                .volumes = ids,
                                .n_threads = e->options.n_threads,
                                .progress = cli_progress_count}; /* shows nothing, but stops */
    cmir_error cause = {0};
    cmir_status st;

    for (size_t i = 0; i < e->n_volumes; i++)
        if (e->extras[i].is_candidate && !(fold->leaves_out && same_patient(e, i, fold->volume)))
            ids[options.n_volumes++] = e->volumes[i].id;
    st = cmir_archive_fit(from, dir, &options, &cause);
    if (st != CMIR_OK && fold->leaves_out)
        st = cli_fail(err, st, "--whiten, learnt without '%.60s': %s",
                      e->volumes[fold->volume].group, cause.msg);
    else if (st != CMIR_OK)
        st = cli_fail(err, st, "--whiten: %s", cause.msg);
    free(ids);
    return st;
}

static void
close_fold(eval *e)
{
    if (e->whitened == NULL)
        return;
    cmir_archive_close(e->whitened);
    e->whitened = NULL;
    char *dir = eval_scratch_path(e, "whitened");
    eval_scratch_remove(dir);
    free(dir);
}

cmir_status
eval_whiten_open(eval *e, uint32_t fold, cmir_error *err)
{
    cmir_status st;

    if (e->options.whiten == 0 || (e->whitened != NULL && e->open_fold == fold))
        return CMIR_OK;
    close_fold(e);
    if ((st = eval_scratch_open(e, err)) != CMIR_OK)
        return st;
    char *dir = eval_scratch_path(e, "whitened");
    if ((st = fit(e, &e->folds[fold], dir, err)) == CMIR_OK)
        st = cmir_archive_open(dir, CMIR_READ, &e->whitened, err);
    e->open_fold = fold;
    free(dir);
    return st;
}

void
eval_whiten_close(eval *e)
{
    cmir_archive_close(e->whitened);
    e->whitened = NULL;
    free(e->folds);
    free(e->fold_of);
}

/* Which volumes the whitening of a fitted archive was learnt from, as far as its filter tells. */
static cmir_status
mark_learnt(const eval *e, bool *learnt, cmir_error *err)
{
    const char *where = cmir_archive_get_info(e->archive)->whitening->where;
    char **ids;
    size_t n;
    const cmir_status st =
        cmir_archive_list(e->archive, *where == '\0' ? NULL : where, &ids, &n, err);

    if (st != CMIR_OK)
        return st;
    for (size_t i = 0; i < n; i++) {
        const size_t volume = eval_find(e, ids[i]);

        if (volume != SIZE_MAX)
            learnt[volume] = true;
    }
    cmir_ids_free(ids, n);
    return CMIR_OK;
}

cmir_status
eval_whiten_count_seen(eval *e, cmir_error *err)
{
    bool *learnt;
    cmir_status st;

    if (e->archive == NULL || cmir_archive_get_info(e->archive)->whitening == NULL)
        return CMIR_OK;
    if (e->options.whiten != 0)
        return cli_fail(err, CMIR_EINVAL,
                        "--whiten: %.120s is fitted already; evaluate the archive that it was made "
                        "from",
                        e->args->operands[0]);
    learnt = cli_need(calloc(e->n_volumes + 1, sizeof *learnt));
    st = mark_learnt(e, learnt, err);
    for (size_t q = 0; q < e->n_queries && st == CMIR_OK; q++) {
        bool seen = false;

        for (size_t i = 0; i < e->n_volumes && !seen; i++)
            seen = learnt[i] && same_patient(e, i, e->queries[q].volume);
        e->n_seen += seen;
    }
    free(learnt);
    return st;
}

json_t *
eval_whiten_json(const eval *e)
{
    const cmir_archive_info *info = e->archive == NULL ? NULL : cmir_archive_get_info(e->archive);
    const bool fitted = info != NULL && info->whitening != NULL;
    json_t *o;

    if (!fitted && e->options.whiten == 0)
        return NULL;
    o = cli_need(json_object());
    cmir_json_set(o, "Dims", json_integer(fitted ? info->dim : e->options.whiten));
    cmir_json_set(o, "LearntFrom",
                  json_string(fitted ? "volumes of the archive" : "candidates of other patients"));
    cmir_json_set(o, "Where", cmir_json_text(fitted ? info->whitening->where : ""));
    cmir_json_set(o, "Fits", json_integer(e->n_folds));
    cmir_json_set(o, "SeenQueries", json_integer((json_int_t)e->n_seen));
    return o;
}

void
eval_whiten_describe(const eval *e, char *text, size_t size)
{
    const cmir_archive_info *info = e->archive == NULL ? NULL : cmir_archive_get_info(e->archive);

    text[0] = '\0';
    if (e->options.whiten != 0)
        (void)snprintf(text, size,
                       "%u of %u dimensions, learnt for each patient from the candidates of all "
                       "others; %u fit%s",
                       e->options.whiten, info->dim, e->n_folds, e->n_folds == 1 ? "" : "s");
    else if (info != NULL && info->whitening != NULL)
        (void)snprintf(text, size,
                       "%u dimensions, learnt before, from volumes of the patients of %zu of the "
                       "%zu queries among others, without labels",
                       info->dim, e->n_seen, e->n_queries);
}
