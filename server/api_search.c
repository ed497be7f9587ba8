/* SPDX-License-Identifier: Apache-2.0 */
/* api_search.c: volumes like a query, and what they say.
 *
 * The one idea: a query whose embeddings are stored is answered at once, by the library, in this
 * thread; what needs a scan to be read, or takes long, becomes a job. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api.h"
#include "files.h"
#include "query.h"
#include "server_internal.h"

/* The archives that a query needs; where one cannot be had the request is answered. */
struct place {
    server *server;
    char *upload_dir; /* of the query; NULL: it is in the served archive */
    cmir_archive *archive, *upload;
};

static void
leave(struct place *p)
{
    handle_give(p->server, NULL, p->archive);
    handle_give(p->server, p->upload_dir, p->upload);
    free(p->upload_dir);
}

static bool
find_upload(request *r, const query *q, struct place *p)
{
    *p = (struct place){.server = request_server(r)};
    if (q->upload_id == NULL)
        return true;
    p->upload_dir = upload_archive_dir(r, q->upload_id);
    return p->upload_dir != NULL;
}

static bool
enter(request *r, struct place *p)
{
    cmir_error err = {0};

    if ((p->upload_dir == NULL ||
         handle_take(p->server, p->upload_dir, &p->upload, &err) == CMIR_OK) &&
        handle_take(p->server, NULL, &p->archive, &err) == CMIR_OK)
        return true;
    reply_status(r, &err);
    return false;
}

static bool
parse(request *r, query_kind kind, query *q)
{
    char message[QUERY_MESSAGE_NBYTES];

    if (query_parse(request_json(r), kind, q, message))
        return true;
    reply_error(r, 400, "%s", message);
    return false;
}

/* Who asked for what and saw what; written before it is shown. */
static bool
remember(request *r, const char *what, const query *q, const cmir_result *result)
{
    const char **ids = cmir_json_need(malloc((result->n_hits + 1) * sizeof *ids));
    cmir_error err = {0};

    for (size_t i = 0; i < result->n_hits; i++)
        ids[i] = result->hits[i].record->info.volume_id;
    const cmir_status st = audit_write(request_server(r), request_user(r), what, q->volume_id, ids,
                                       result->n_hits, &err);
    free(ids);
    if (st != CMIR_OK)
        reply_status(r, &err);
    return st == CMIR_OK;
}

static void
submit(request *r, const char *kind, const query *q)
{
    struct place p;

    if (find_upload(r, q, &p)) /* it is there, and the user's */
        job_submit(r, kind, NULL, json_pack("{s:O}", "Body", request_json(r)));
    leave(&p);
}

/* Searches and answers with what `show` makes of the result. */
static void
search(request *r, const char *what, json_t *(*show)(const cmir_archive *, const cmir_result *))
{
    cmir_result *result = NULL;
    cmir_error err = {0};
    struct place p = {0};
    query q;

    if (parse(r, QUERY_SEARCH, &q) && find_upload(r, &q, &p) && enter(r, &p)) {
        q.options.n_threads = handle_threads(p.server);
        if (cmir_search_stored(p.archive, p.upload != NULL ? p.upload : p.archive, q.volume_id,
                               &q.options, &result, &err) != CMIR_OK)
            reply_status(r, &err);
        else if (remember(r, what, &q, result))
            reply_json(r, 200, show(p.archive, result));
    }
    cmir_result_free(result);
    leave(&p);
    query_free(&q);
}

static json_t *
show_result(const cmir_archive *archive, const cmir_result *result)
{
    return cmir_json_result(archive, result, false);
}

static json_t *
show_evidence(const cmir_archive *archive, const cmir_result *result)
{
    json_t *o = cmir_json_need(json_object());

    (void)archive;
    cmir_json_set(o, "Evidence", cmir_json_evidence(result->evidence));
    cmir_json_set(o, "EvidenceCases", cmir_json_cases(result->evidence));
    cmir_json_set(o, "Contrast",
                  result->contrast == NULL ? json_null() : cmir_json_contrast(result->contrast));
    cmir_json_set(o, "Notice", json_string(CMIR_NOTICE));
    return o;
}

static bool
wants_job(request *r)
{
    const char *prefer = request_header(r, "Prefer");
    const json_t *box = json_object_get(json_object_get(request_json(r), "Query"), "Box");

    return (box != NULL && !json_is_null(box)) ||
           (prefer != NULL && strcasecmp(prefer, "respond-async") == 0);
}

void
api_search(request *r)
{
    query q;

    if (!wants_job(r)) {
        search(r, "search", show_result);
        return;
    }
    if (parse(r, QUERY_SEARCH, &q))
        submit(r, "search", &q);
    query_free(&q);
}

void
api_evidence(request *r)
{
    if (wants_job(r))
        reply_error(r, 400,
                    "a search with a Box, or respond-async, has the evidence in its result");
    else
        search(r, "evidence", show_evidence);
}

void
api_report(request *r)
{
    query q;

    if (parse(r, QUERY_SEARCH, &q))
        submit(r, "report", &q);
    query_free(&q);
}

/* The one candidate's hit. */
static void
reply_matches(request *r, const query *q, const cmir_result *result)
{
    if (result->n_hits == 0) {
        reply_error(r, 404, "nothing to compare: all slices of one of the volumes are air");
        return;
    }
    if (!remember(r, "matches", q, result))
        return;
    json_t *o = cmir_json_hit(&result->hits[0], false);
    (void)json_object_del(o, "Rank");
    cmir_json_set(o, "Notice", json_string(CMIR_NOTICE));
    reply_json(r, 200, o);
}

void
api_matches(request *r)
{
    cmir_result *result = NULL;
    cmir_error err = {0}, why = {0};
    struct place p = {0};
    query q;

    if (parse(r, QUERY_MATCHES, &q) && find_upload(r, &q, &p) && enter(r, &p)) {
        const cmir_search_query one = {.archive = p.upload != NULL ? p.upload : p.archive,
                                       .volume_id = q.volume_id,
                                       .candidates = &q.candidate,
                                       .n_candidates = 1};

        if (cmir_search_batch(p.archive, &one, 1, &q.options, NULL, NULL, &result, &why, &err) !=
            CMIR_OK)
            reply_status(r, &err);
        else if (result == NULL)
            reply_status(r, &why);
        else
            reply_matches(r, &q, result);
    }
    cmir_result_free(result);
    leave(&p);
    query_free(&q);
}
