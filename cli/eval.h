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
    uint64_t seed;
    const char *positive; /* NULL: the library's choice */
    bool allow_leak;
} eval_options;

/* A volume beyond its cmir_eval_volume. */
typedef struct eval_extra {
    char *site;           /* NULL but for EVAL_PER_SITE */
    uint32_t first, last; /* EVAL_MASKED: the slices that take part */
    bool is_query, is_candidate;
    bool shows; /* --locate: it has slices that show the structure, these: */
    uint32_t shown_first, shown_last;
    uint32_t n_slices, n_shown; /* of all, of those: they are not air */
    bool ungrouped; /* nothing is known of its patient: it is one of its own */
} eval_extra;

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

    cmir_archive *masked; /* eval_masked.c; NULL but for EVAL_MASKED */
    char *masked_dir;
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

/* eval_search.c: lists by search; then one query again by the first method. */
cmir_status eval_search(eval *e, cmir_error *err);
cmir_status eval_search_again(const eval *e, size_t query, uint32_t limit, eval_case *out,
                              cmir_error *err);
void eval_case_free(eval_case *c);
/* With some slices of a query, by any method; the result has matches. */
cmir_status eval_search_slices(const eval *e, size_t query, const char *method, uint32_t first,
                               uint32_t last, uint32_t limit, cmir_result **out, cmir_error *err);

/* eval_locate.c: searches with the slices of --locate: do hits match where they show the same? */
cmir_status eval_locate(eval *e, cmir_error *err);
/* Queries that have such slices, and volumes. */
void eval_count_shown(const eval *e, size_t *n_queries, size_t *n_volumes);

/* eval_masked.c: a copy of the archive that holds the masked slices only, in a folder of its own,
 * which closing removes. */
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
cmir_status eval_report(const eval *e, const char *path, cmir_error *err);

#endif
