/* SPDX-License-Identifier: Apache-2.0 */
/* eval.h: what the files of the verb eval share: one evaluation, from its options to its lists.
 *
 * The one idea: whether lists are searched or read from files, they become a cmir_eval_input, and
 * everything behind that is the same. */
#ifndef CMIR_CLI_EVAL_H
#define CMIR_CLI_EVAL_H

#include "cli.h"

/* What a part of the evaluation stands for; as on the command line. */
typedef enum eval_database { EVAL_MERGED, EVAL_PER_SITE, EVAL_MASKED } eval_database;

typedef struct eval_options {
    const char *task, *group, *cohort, *site, *mask, *locate; /* columns; NULL: not given */
    char **nuisances, **methods;
    size_t n_nuisances, n_methods;
    eval_database database;
    uint32_t *k;
    size_t n_k;
    uint32_t n_neighbours, n_bootstrap, n_shuffles, n_threads; /* 0: the library's */
    uint32_t whiten; /* dimensions; 0: embeddings as they are */
    uint64_t seed;
    const char *positive; /* NULL: the library's choice */
    bool allow_leak;
} eval_options;

/* Slices of a volume, rising. */
typedef struct eval_slices {
    uint32_t *at;
    uint32_t n;
    char *path; /* of the mask that marks them; NULL: they are a range, or nothing is known */
} eval_slices;

/* A volume beyond its cmir_eval_volume. */
typedef struct eval_extra {
    char *site;         /* NULL but for EVAL_PER_SITE */
    eval_slices masked; /* EVAL_MASKED: those that take part */
    bool is_query, is_candidate;
    eval_slices shown; /* --locate: those that show the structure; none: it takes no part there */
    uint32_t n_slices, n_shown; /* of all, of those shown: they are not air */
    bool ungrouped; /* nothing is known of its patient: it is one of its own */
} eval_extra;

/* Queries that are searched with one whitening. */
typedef struct eval_fold {
    bool leaves_out; /* a patient: */
    size_t volume;   /* of that patient */
} eval_fold;

/* A line of a file of ranked lists. */
typedef struct eval_ranking {
    const char *path;
    size_t file, method; /* their numbers, by first appearance */
    cmir_ranking row;
} eval_ranking;

typedef struct eval_ranking_file {
    const char *path;
    char *name; /* of its method, where it does not say */
    cmir_ranking *rows;
} eval_ranking_file;

typedef struct eval {
    cli_args *args;
    eval_options options;
    cmir_archive *archive; /* NULL: lists come from files */
    cmir_digest digest;    /* of it */
    cmir_label_table *labels, *queries_csv, *candidates_csv; /* NULL: not given */

    /* eval_volumes.c: those that take part, in order of id. */
    cmir_eval_volume *volumes;
    eval_extra *extras;
    size_t n_volumes;
    size_t n_without_value, n_without_mask; /* left out */
    size_t n_masks, n_empty_masks; /* files; of them, those that mark nothing */
    size_t n_unknown; /* lines of --labels whose volume is not in the archive */
    char *task_column; /* what the task means: "cancer_flag" */

    /* eval_rankings.c: the lines of all files, in order of files; nothing with an archive. */
    eval_ranking_file *files;
    size_t n_files;
    eval_ranking *rankings;
    size_t n_rankings;

    /* eval_split.c */
    cmir_eval_query *queries;
    size_t n_queries;

    /* eval_search.c or eval_rankings.c */
    cmir_eval_method *methods;
    size_t n_methods;

    char *scratch;        /* eval_scratch.c; NULL: not needed */
    cmir_archive *masked; /* eval_masked.c; NULL but for EVAL_MASKED */

    /* eval_whiten.c: one fold, of nobody left out, without --whiten. */
    eval_fold *folds;
    uint32_t n_folds;
    uint32_t *fold_of;      /* [n_queries] */
    cmir_archive *whitened; /* of open_fold; NULL: none is there */
    uint32_t open_fold;
    size_t n_seen; /* queries whose patient the fitted archive's whitening has seen */
    cmir_evaluation *result;

    /* eval_locate.c; NULL without --locate */
    cmir_eval_location *locations;
    size_t n_locations;
    cmir_eval_localisation *localised; /* [n_methods] */
    size_t *n_unknown_hits;            /* [n_methods]: among the first, but without slices */
} eval;

/* eval_columns.c: what is known of volumes, by column. */
typedef struct eval_columns eval_columns;
/* Reads the catalogue, if there is an archive; e's tables must outlive it. */
cmir_status eval_columns_open(const eval *e, eval_columns **out, cmir_error *err);
void eval_columns_close(eval_columns *columns); /* NULL is fine */
/* The volumes: of the archive, or of the labels. */
size_t eval_columns_count(const eval_columns *columns);
const char *eval_columns_volume(const eval_columns *columns, size_t i);
/* The value of a column for volume i, or NULL; valid until the next call.  Looked for in --queries,
 * --labels, the archive's labels, and its catalogue, in this order. */
const char *eval_columns_get(eval_columns *columns, size_t i, const char *name);
/* The same; *csv is the file that it stands in, or NULL. */
const char *eval_columns_find(eval_columns *columns, size_t i, const char *name, const char **csv);
/* What the archive knows of volume i; there must be an archive. */
const cmir_record *eval_columns_record(const eval_columns *columns, size_t i);
/* Lines of --labels that are of none of the volumes. */
size_t eval_columns_unknown(const eval_columns *columns);
bool eval_columns_has(const eval_columns *columns, const char *name);
/* CMIR_EINVAL unless some volume may have it: names the option and a column like it. */
cmir_status eval_columns_need(const eval_columns *columns, const char *option, const char *name,
                              cmir_error *err);

/* eval_volumes.c */
cmir_status eval_take_volumes(eval *e, cmir_error *err);
/* Its number, or SIZE_MAX. */
size_t eval_find(const eval *e, const char *id);

/* eval_slices.c: the slices that the cell `text` of `column` names, `csv` is where it
 * stands, NULL: in the archive.  CMIR_ECORRUPT and what cmir_mask_read() says name the volume. */
cmir_status eval_slices_take(eval *e, const cmir_record *record, const char *column,
                             const char *text, const char *csv, eval_slices *out, cmir_error *err);
void eval_slices_free(eval_slices *slices);
bool eval_slices_have(const eval_slices *slices, uint32_t slice);
json_t *eval_slices_runs(const eval_slices *slices); /* [[first, last], ...] */

/* eval_scratch.c: a private folder, made when first asked for; closing removes it and all in it. */
cmir_status eval_scratch_open(eval *e, cmir_error *err);
char *eval_scratch_path(const eval *e, const char *name); /* free() */
void eval_scratch_remove(const char *path);
void eval_scratch_close(eval *e);

/* eval_whiten.c: which queries share a whitening; the archive of a fold, which is then searched. */
void eval_whiten_split(eval *e);
cmir_status eval_whiten_open(eval *e, uint32_t fold,
                             cmir_error *err); /* nothing without --whiten */
void eval_whiten_close(eval *e);
/* Of a fitted archive: whose queries has its whitening seen?  Refuses to whiten it again. */
cmir_status eval_whiten_count_seen(eval *e, cmir_error *err);
json_t *eval_whiten_json(const eval *e); /* NULL: nothing is whitened */
void eval_whiten_describe(const eval *e, char *text, size_t size); /* "": nothing is whitened */

/* eval_split.c: who is asked, and among whom is searched. */
cmir_status eval_split(eval *e, cmir_error *err);
const char *eval_split_name(const eval *e); /* "given", "leave-one-patient-out", ... */

/* One query searched again, with its matches: for pictures. */
typedef struct eval_case {
    cmir_result view; /* records and slice numbers are those of the archive */
    cmir_result *found;
    cmir_record **records; /* the view's own, of the query and the hits; NULL: those of `found` */
    cmir_hit *hits;
    cmir_match *matches;
} eval_case;

/* eval_search.c: lists by search, and where hits lie; then one query again by the first method. */
cmir_status eval_search(eval *e, cmir_error *err);
cmir_status eval_search_again(eval *e, size_t query, uint32_t limit, eval_case *out,
                              cmir_error *err);
void eval_case_free(eval_case *c);
/* With some slices of a query, by any method; the result has matches. */
cmir_status eval_search_slices(const eval *e, size_t query, const char *method,
                               const eval_slices *slices, uint32_t limit, cmir_result **out,
                               cmir_error *err);

/* eval_locate.c: searches with the slices of --locate: do hits match where they show the same?  Begun
 * before searching, asked of every query by every method, and judged in the end. */
cmir_status eval_locate_begin(eval *e, cmir_error *err);
cmir_status eval_locate_query(eval *e, size_t method, size_t query, cmir_error *err);
cmir_status eval_locate_judge(eval *e, cmir_error *err);
/* Queries that have such slices, and volumes. */
void eval_count_shown(const eval *e, size_t *n_queries, size_t *n_volumes);

/* eval_masked.c: a copy of the archive that holds the masked slices only, in the scratch folder. */
cmir_status eval_masked_open(eval *e, cmir_error *err);
void eval_masked_close(eval *e);
/* The view of a search in the copy, whose result is in c->found. */
cmir_status eval_unmask(const eval *e, eval_case *c, cmir_error *err);

/* eval_rankings.c: lists from files: reads one more; makes lists of all once there are queries. */
cmir_status eval_read_rankings(eval *e, const char *path, cmir_error *err);
cmir_status eval_lists_of_rankings(eval *e, cmir_error *err);

/* cmd_eval.c: the volumes, queries and lists, and the library's options, borrowed. */
cmir_eval_input eval_input(const eval *e);
cmir_eval_options eval_library_options(const eval *e, cli_progress *progress);
uint32_t eval_largest_k(const eval *e);

/* eval_print.c, eval_json.c: the outcome. */
void eval_print(const eval *e);
json_t *eval_json(const eval *e);

/* eval_report.c: the page. */
cmir_status eval_report(eval *e, const char *path, cmir_error *err);

#endif
