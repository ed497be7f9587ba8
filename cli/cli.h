/* SPDX-License-Identifier: Apache-2.0 */
/* cli.h: what the verbs of the command share.
 *
 * The one idea: a verb is a row of a table: its options, its help and a function that returns a
 * cmir_status.  main.c parses, prints the error if there is one and turns the status into the exit
 * code: 0 ok, 1 data or I/O error, 2 usage (CMIR_EINVAL). */
#ifndef CMIR_CLI_CLI_H
#define CMIR_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <cmir/cmir.h>

#include "json/json.h"

#if defined(__GNUC__)
#define CLI_PRINTF(format, args) __attribute__((__format__(__printf__, format, args)))
#else
#define CLI_PRINTF(format, args)
#endif

#define CLI_MAX_OPTIONS 32 /* common and of one verb */

/* An option.  Tables end with a NULL name. */
typedef struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* its short form, or 0 */
    const char *value; /* what it takes, as the help names it; NULL: nothing */
    const char *help;
} cli_option;

typedef struct cli_args cli_args;

typedef struct cli_verb {
    const char *name;
    const char *operands; /* as the help shows them */
    const char *summary;  /* one sentence */
    const char *example;  /* lines without "cmir" in front; parted by newlines */
    int min_operands, max_operands; /* max < 0: any number */
    const cli_option *options;
    cmir_status (*run)(cli_args *args, cmir_error *err);
} cli_verb;

/* A parsed command line. */
struct cli_args {
    const cli_verb *verb;
    char *command; /* the whole, quoted for a shell */
    char **operands;
    int n_operands;
    const char *values[CLI_MAX_OPTIONS]; /* common options first; NULL: not given */
    bool json, quiet, verbose;
    FILE *out;     /* standard output, or -o */
    int exit_code; /* of a verb that succeeded but has something to complain about: 1 */
};

extern const cli_verb cli_verb_init, cli_verb_add, cli_verb_import, cli_verb_label, cli_verb_list,
    cli_verb_show, cli_verb_remove, cli_verb_search, cli_verb_calibrate, cli_verb_eval,
    cli_verb_stat, cli_verb_verify, cli_verb_export, cli_verb_encoder, cli_verb_fit,
    cli_verb_phantom, cli_verb_serve, cli_verb_user, cli_verb_audit;

/* options.c */
extern const cli_option cli_common_options[];
cmir_status cli_parse(int argc, char **argv, const cli_verb *verb, cli_args *args, cmir_error *err);
const char *cli_get(const cli_args *args, const char *name); /* "" for a flag that is given */
/* Leaves *value alone where the option is not given. */
cmir_status cli_get_number(const cli_args *args, const char *name, uint64_t low, uint64_t high,
                           uint64_t *value, cmir_error *err);
cmir_status cli_get_u32(const cli_args *args, const char *name, uint32_t low, uint32_t high,
                        uint32_t *value, cmir_error *err);
/* Index of the option's value in `names` (NULL-terminated); 0 where it is not given. */
cmir_status cli_get_choice(const cli_args *args, const char *name, const char *const *names,
                           int *choice, cmir_error *err);
/* The name most like `wrong`, or NULL where none is near; names are taken from next() until it
 * gives NULL. */
const char *cli_nearest(const char *wrong, const char *(*next)(const void *ctx, size_t i),
                        const void *ctx);
void cli_print_help(FILE *out, const cli_verb *verb);

/* text.c: everything that comes from a file passes through these on its way to the terminal. */
CLI_PRINTF(3, 4)
cmir_status cli_fail(cmir_error *err, cmir_status code, const char *format, ...);
/* The text, cleaned of control characters and invalid UTF-8, and a newline. */
CLI_PRINTF(2, 3) void cli_line(FILE *out, const char *format, ...);
char *cli_clean(const char *text); /* free() */
bool cli_is_harmless(uint32_t code); /* to a terminal */
void *cli_need(void *memory);      /* ends the program where memory ran out */

/* A table of text; the first row is the heading. */
typedef struct cli_table {
    size_t n_columns;
    unsigned right; /* bit c: column c is aligned right */
    char **cells;
    size_t n_cells, cap;
} cli_table;
CLI_PRINTF(2, 3) void cli_cell(cli_table *table, const char *format, ...);
void cli_print_table(cli_table *table, FILE *out); /* and frees it; NULL: only that */
/* "name=value ..." of at most `width` characters; free(). */
char *cli_labels_text(const cmir_record *record, size_t width);

void cli_json_print(cli_args *args, json_t *object); /* and frees it */

/* progress.c: a line on the terminal, and interruption. */
typedef struct cli_progress cli_progress;
/* NULL where nothing is to be shown: no terminal, or --quiet.  All calls take NULL. */
cli_progress *cli_progress_start(const cli_args *args, const char *what, uint64_t n_items);
int cli_progress_step(void *progress, uint64_t done, uint64_t total); /* a cmir_progress_fn */
int cli_progress_count(void *progress, uint64_t done, uint64_t total); /* of unknown total too */
void cli_progress_item(cli_progress *progress, uint64_t n_slices); /* one more item is done */
void cli_progress_clear(const cli_progress *progress); /* before other output */
void cli_progress_end(cli_progress *progress);
void cli_catch_interrupts(void); /* SIGINT, SIGTERM, SIGHUP: the second one kills */
bool cli_interrupted(void);

/* open.c: archives, encoders and queries as the command line names them. */
extern const char *const cli_planes[];
/* --previews: none, small (the default) or full. */
cmir_status cli_get_previews(const cli_args *args, cmir_previews *out, cmir_error *err);
#define CLI_PREVIEWS_OPTION                                                                        \
    {"previews", 0, "KIND",                                                                        \
     "pictures that a new archive keeps of its volumes: none, small (default), full"}
bool cli_is_archive(const char *path);
/* --encoder, else where the archive (may be NULL) remembers its card, else builtin.  Checked
 * against the archive. */
cmir_status cli_open_encoder(const cli_args *args, const cmir_archive *archive, cmir_encoder **out,
                             cmir_error *err);
cmir_status cli_read_labels(const char *path, cmir_label_table **out, cmir_error *err);
cmir_status cli_modality(const cli_args *args, const char **out, cmir_error *err);

/* npy.c: embeddings in .npy files. */
typedef struct cli_npy {
    uint8_t *data;     /* the file */
    const float *rows; /* [n_slices][dim], in `data` */
    uint32_t n_slices, dim;
} cli_npy;
cmir_status cli_npy_read(const char *path, cli_npy *out, cmir_error *err);
void cli_npy_free(cli_npy *npy);
void cli_npy_write(FILE *out, const cmir_embeddings *embeddings);
/* File name without folder and ".npy"; free(). */
char *cli_npy_id(const char *path);
bool cli_is_npy(const char *path); /* by its name */

/* A query: a volume from a file, a volume of an archive, or embeddings from a .npy file. */
typedef struct cli_query {
    cmir_volume *volume;
    cmir_archive *archive;
    const char *volume_id; /* in `archive`; of the embeddings */
    cli_npy npy;
    char *npy_id;
} cli_query;
cmir_status cli_open_query(const cli_args *args, const char *text, cli_query *out, cmir_error *err);
void cli_close_query(cli_query *query);

/* cmd_search.c: one result, as JSON or as a table. */
void cli_show_result(cli_args *args, const cmir_archive *archive,
                     const cmir_search_options *options, const cmir_result *result);

/* evidence.c: what the nearest cases say, below the hits. */
void cli_print_evidence(cli_args *args, const cmir_evidence *evidence);
/* "right in 45 of 60 (75 %, ...)"; free() */
char *cli_calibration_text(const cmir_calibration *calibration);

/* contrast.c: where the query looks like cases with a label.  "LABEL[=VALUE]" to options, which point
 * into *copy; free(). */
cmir_status cli_parse_contrast(const char *text, char **copy, cmir_search_options *options,
                               cmir_error *err);
void cli_print_contrast(cli_args *args, const cmir_contrast *contrast);

/* search_batch.c: the queries of a list, one per line ("-": standard input); with --json one object
 * per line. */
cmir_status cli_search_batch(cli_args *args, cmir_archive *archive, const char *list,
                             const cmir_search_options *options, cmir_error *err);

/* phantom.c, phantom_sites.c */
cmir_status phantom_write(const char *dir, uint32_t n, uint64_t seed, cmir_progress_fn progress,
                          void *ctx, cmir_error *err);
cmir_status phantom_write_sites(const char *dir, uint32_t n, uint64_t seed,
                                cmir_progress_fn progress, void *ctx, cmir_error *err);

#endif
