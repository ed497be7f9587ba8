/* SPDX-License-Identifier: Apache-2.0 */
/* search_batch.c: many queries of one list, for the verb search.
 *
 * The one idea: queries that need no encoder are searched together, some at a time; a scan is
 * encoded and searched alone, which costs more than the search.  Results are shown in the order of
 * the list, and a query that fails leaves the others alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

enum { TOGETHER = 64 };

struct pending {
    char *text;         /* as the list has it */
    cli_query query;
    uint8_t *marks;     /* of embeddings: none is air */
    cmir_embeddings embeddings;
    bool archive_is_shared; /* query.archive is the one that is searched */
    cmir_error why;         /* the query could not be read: told when its turn comes */
};

struct batch {
    cli_args *args;
    cmir_archive *archive;
    const cmir_search_options *options;
    cmir_encoder *encoder; /* NULL until a scan needs it */
    cli_progress *progress;
    struct pending pending[TOGETHER];
    size_t n;
    uint64_t n_failed;
};

static void
tell_failure(struct batch *b, const char *text, const cmir_error *why)
{
    b->n_failed++;
    cli_progress_clear(b->progress);
    if (b->args->json)
        cli_json_print(b->args,
                       json_pack("{s:{s:o}, s:{s:s, s:o}}", "Query", "Text", cmir_json_text(text),
                                 "Error", "Status", cmir_status_name(why->code), "Message",
                                 cmir_json_text(why->msg)));
    else
        cli_line(stderr, "cmir search: %s: %s", text, why->msg);
}

static void
tell(struct batch *b, const char *text, const cmir_result *result, const cmir_error *why)
{
    if (result == NULL) {
        tell_failure(b, text, why);
    } else {
        cli_progress_clear(b->progress);
        cli_show_result(b->args, b->archive, b->options, result);
    }
    cli_progress_item(b->progress, 0);
}

static void
close_pending(struct pending *p)
{
    if (p->archive_is_shared)
        p->query.archive = NULL;
    cli_close_query(&p->query);
    free(p->marks);
    free(p->text);
    *p = (struct pending){0};
}

static cmir_status
search_pending(struct batch *b, cmir_error *err)
{
    cmir_search_query queries[TOGETHER];
    cmir_result *results[TOGETHER];
    cmir_error errors[TOGETHER];
    size_t n = 0, k = 0;
    cmir_status st;

    for (size_t i = 0; i < b->n; i++) {
        const struct pending *p = &b->pending[i];

        if (p->why.code == CMIR_OK)
            queries[n++] =
                (cmir_search_query){.archive = p->query.archive,
                                    .volume_id = p->query.volume_id,
                                    .embeddings = p->query.archive == NULL ? &p->embeddings : NULL};
    }
    st = cmir_search_batch(b->archive, queries, n, b->options, NULL, NULL, results, errors, err);
    for (size_t i = 0; i < b->n; i++) {
        struct pending *p = &b->pending[i];

        if (st == CMIR_OK && p->why.code != CMIR_OK) {
            tell(b, p->text, NULL, &p->why);
        } else if (st == CMIR_OK) {
            tell(b, p->text, results[k], &errors[k]);
            cmir_result_free(results[k++]);
        }
        close_pending(p);
    }
    b->n = 0;
    return st;
}

/* What ARCHIVE:VOLUME of the archive that is searched names, or NULL: it need not be opened again.
 * Where the line can be read in another way, cli_open_query() decides. */
static const char *
own_volume(const struct batch *b, const char *text)
{
    const char *dir = b->args->operands[0];
    const size_t n = strlen(dir);
    struct stat info;

    if (strncmp(text, dir, n) != 0 || text[n] != ':' || strchr(text + n + 1, ':') != NULL ||
        stat(text, &info) == 0)
        return NULL;
    return text + n + 1;
}

static cmir_status
search_scan(struct batch *b, struct pending *p, cmir_error *why)
{
    cmir_result *result = NULL;
    cmir_status st = CMIR_OK;

    if (b->encoder == NULL)
        st = cli_open_encoder(b->args, b->archive, &b->encoder, why);
    if (st == CMIR_OK)
        st = cmir_search_volume(b->archive, b->encoder, p->query.volume, b->options, &result, why);
    tell(b, p->text, result, why);
    cmir_result_free(result);
    close_pending(p);
    return st;
}

/* An error is the archive's; what is wrong with the query is told. */
static cmir_status
take_query(struct batch *b, const char *text, cmir_error *err)
{
    struct pending p = {.text = cli_need(strdup(text))};
    const char *own = own_volume(b, p.text);
    cmir_error why = {0};
    cmir_status st = CMIR_OK;

    if (own != NULL) {
        p.query.archive = b->archive;
        p.query.volume_id = own;
        p.archive_is_shared = true;
    } else if (cli_open_query(b->args, p.text, &p.query, &p.why) != CMIR_OK) {
        cli_close_query(&p.query);
    }
    if (p.query.volume != NULL) {
        if (b->n > 0 && (st = search_pending(b, err)) != CMIR_OK) /* results keep their order */
            close_pending(&p);
        else
            (void)search_scan(b, &p, &why);
        return st;
    }
    if (p.query.npy.rows != NULL) {
        p.marks = cli_need(calloc(p.query.npy.n_slices, 1));
        p.embeddings = (cmir_embeddings){(float *)(uintptr_t)p.query.npy.rows, p.marks,
                                         p.query.npy.n_slices, p.query.npy.dim};
    }
    b->pending[b->n++] = p;
    return b->n == TOGETHER ? search_pending(b, err) : CMIR_OK;
}

static cmir_status
read_list(struct batch *b, FILE *list, const char *path, cmir_error *err)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    cmir_status st = CMIR_OK;

    while (st == CMIR_OK && !cli_interrupted() && (n = getline(&line, &cap, list)) >= 0) {
        if (n > 0 && line[n - 1] == '\n')
            line[--n] = '\0';
        if (strlen(line) != (size_t)n)
            st = cli_fail(err, CMIR_ECORRUPT, "%s: not a list of queries, one per line", path);
        else if (n > 0)
            st = take_query(b, line, err);
    }
    free(line);
    if (st == CMIR_OK && ferror(list))
        st = cli_fail(err, CMIR_EIO, "%s: %s", path, strerror(errno));
    if (st == CMIR_OK && b->n > 0)
        st = search_pending(b, err);
    return st;
}

cmir_status
cli_search_batch(cli_args *args, cmir_archive *archive, const char *list,
                 const cmir_search_options *options, cmir_error *err)
{
    struct batch b = {.args = args, .archive = archive, .options = options};
    const bool standard = strcmp(list, "-") == 0;
    FILE *file = standard ? stdin : fopen(list, "r");
    cmir_status st;

    if (file == NULL)
        return cli_fail(err, errno == ENOENT ? CMIR_ENOTFOUND : CMIR_EIO, "%s: %s", list,
                        strerror(errno));
    cli_catch_interrupts();
    b.progress = cli_progress_start(args, "queries", 0);
    st = read_list(&b, file, standard ? "standard input" : list, err);
    cli_progress_end(b.progress);
    for (size_t i = 0; i < b.n; i++)
        close_pending(&b.pending[i]);
    cmir_encoder_close(b.encoder);
    if (!standard)
        (void)fclose(file);
    if (b.n_failed > 0 || cli_interrupted())
        args->exit_code = 1;
    return st;
}
