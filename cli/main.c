/* SPDX-License-Identifier: Apache-2.0 */
/* main.c: the command `cmir`: finds the verb, runs it, prints what went wrong.
 *
 * Output goes to standard output or, with -o, to a file that appears under its name only when it
 * is whole. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#include "server/server.h"

static const cli_verb *const verbs[] = {
    &cli_verb_init,    &cli_verb_add,    &cli_verb_import, &cli_verb_label,     &cli_verb_list,
    &cli_verb_show,    &cli_verb_remove, &cli_verb_search, &cli_verb_calibrate, &cli_verb_eval,
    &cli_verb_stat,    &cli_verb_verify, &cli_verb_export, &cli_verb_encoder,   &cli_verb_fit,
    &cli_verb_phantom, &cli_verb_serve,  &cli_verb_user,   &cli_verb_audit,
};
#define N_VERBS (sizeof verbs / sizeof verbs[0])

static const char *
verb_name(const void *ctx, size_t i)
{
    (void)ctx;
    return i < N_VERBS ? verbs[i]->name : i == N_VERBS ? "help" : NULL;
}

static void
print_overview(FILE *out)
{
    fputs("cmir VERB [options] ARCHIVE ...\n\n"
          "Finds past 3-D scans that look like a query, and the slices that match.\n\n",
          out);
    for (size_t i = 0; i < N_VERBS; i++)
        fprintf(out, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs("  help      Explains a verb: cmir help VERB.\n\n"
          "cmir VERB --help shows options and an example.\n\n"
          "Research use only, not for diagnosis.\n",
          out);
}

/* Index of the verb: the first word that is neither an option nor the value of one. */
static int
find_verb(int argc, char **argv)
{
    int i = 1;

    while (i < argc && argv[i][0] == '-' && argv[i][1] != '\0') {
        bool takes_next = false;
        for (const cli_option *o = cli_common_options; o->name != NULL; o++) {
            const bool is_long =
                strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, o->name) == 0;
            const bool is_short = o->letter != 0 && argv[i][1] == o->letter && argv[i][2] == '\0';
            takes_next = takes_next || (o->value != NULL && (is_long || is_short));
        }
        i += takes_next ? 2 : 1;
    }
    return i < argc ? i : 0;
}

/* The command line as one would type it. */
static char *
quote_command(int argc, char **argv)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./:=,@%+";
    size_t nbytes = sizeof "cmir";

    for (int i = 1; i < argc; i++)
        nbytes += 4 * strlen(argv[i]) + 3;
    char *text = cli_need(malloc(nbytes)), *p = text;
    p = stpcpy(p, "cmir");
    for (int i = 1; i < argc; i++) {
        *p++ = ' ';
        if (argv[i][0] != '\0' && argv[i][strspn(argv[i], plain)] == '\0') {
            p = stpcpy(p, argv[i]);
            continue;
        }
        *p++ = '\'';
        for (const char *c = argv[i]; *c != '\0'; c++)
            p += sprintf(p, *c == '\'' ? "'\\''" : "%c", *c);
        *p++ = '\'';
    }
    *p = '\0';
    return text;
}

/* -o FILE is written beside FILE and renamed; what is there and no regular file (a pipe, a device)
 * is written to directly. */
static cmir_status
open_output(cli_args *args, char **tmp, cmir_error *err)
{
    const char *path = cli_get(args, "output");
    struct stat st;

    *tmp = NULL;
    args->out = stdout;
    if (path == NULL || strcmp(path, "-") == 0)
        return CMIR_OK;
    const bool direct = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
    char *name = cli_need(malloc(strlen(path) + 32));
    sprintf(name, direct ? "%s" : "%s.%ld.tmp", path, (long)getpid());
    args->out = fopen(name, "w");
    if (args->out == NULL) {
        const cmir_status status =
            cli_fail(err, CMIR_EIO, "%s: cannot write: %s", path, strerror(errno));
        free(name);
        args->out = stdout;
        return status;
    }
    if (direct)
        free(name);
    else
        *tmp = name;
    return CMIR_OK;
}

static cmir_status
close_output(cli_args *args, char *tmp, cmir_error *err)
{
    const char *path = args->out == stdout ? "standard output" : cli_get(args, "output");
    const long nbytes = tmp == NULL ? 0 : ftell(args->out);
    bool bad = fflush(args->out) != 0 || ferror(args->out);
    int why = errno;

    if (args->out != stdout && fclose(args->out) != 0 && !bad) {
        bad = true;
        why = errno;
    }
    if (tmp != NULL && (bad || nbytes == 0)) {
        (void)unlink(tmp);
    } else if (tmp != NULL && rename(tmp, path) != 0) {
        bad = true;
        why = errno;
    }
    free(tmp);
    return bad ? cli_fail(err, CMIR_EIO, "%s: cannot write: %s", path, strerror(why)) : CMIR_OK;
}

/* Prints the error and gives the exit code. */
static int
conclude(const cli_args *args, cmir_status st, const cmir_error *err)
{
    const char *verb = args->verb == NULL ? "help" : args->verb->name;

    if (st == CMIR_OK)
        return args->exit_code;
    fflush(stdout);
    cli_line(stderr, "cmir %s%s%s", args->verb == NULL ? "" : verb, args->verb == NULL ? "" : ": ",
             err->msg[0] != '\0' ? err->msg : cmir_status_name(st));
    if (st != CMIR_EINVAL)
        return 1;
    cli_line(stderr, "Try: cmir %s%s", verb, args->verb == NULL ? "" : " --help");
    return 2;
}

static cmir_status
run_verb(cli_args *args, cmir_error *err)
{
    char *tmp = NULL;
    cmir_status st;

    if (cli_get(args, "help") != NULL) {
        cli_print_help(stdout, args->verb);
        args->out = stdout;
        return close_output(args, NULL, err);
    }
    if ((st = open_output(args, &tmp, err)) != CMIR_OK)
        return st;
    st = args->verb->run(args, err);
    const cmir_status closed = close_output(args, tmp, err);
    return st != CMIR_OK ? st : closed;
}

static const cli_verb *
verb_called(const char *name)
{
    for (size_t i = 0; i < N_VERBS; i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    return NULL;
}

static cmir_status
unknown_verb(const char *name, cmir_error *err)
{
    const char *nearest = cli_nearest(name, verb_name, NULL);

    if (nearest == NULL)
        return cli_fail(err, CMIR_EINVAL, "has no verb '%s'", name);
    return cli_fail(err, CMIR_EINVAL, "has no verb '%s': did you mean '%s'?", name, nearest);
}

/* `cmir help [VERB]`, `cmir --help`, `cmir --version`, or nothing at all. */
static cmir_status
run_without_verb(cli_args *args, bool asked, cmir_error *err)
{
    const cli_verb *verb = args->n_operands > 0 ? verb_called(args->operands[0]) : NULL;

    args->out = stdout;
    if (cli_get(args, "version") != NULL)
        printf("cmir %s\n", cmir_version());
    else if (args->n_operands > 0 && verb == NULL)
        return unknown_verb(args->operands[0], err);
    else if (verb != NULL)
        cli_print_help(stdout, verb);
    else if (asked || cli_get(args, "help") != NULL)
        print_overview(stdout);
    else
        return cli_fail(err, CMIR_EINVAL, "needs a verb: what is it to do?");
    return close_output(args, NULL, err);
}

int
main(int argc, char **argv)
{
    cli_args args = {0};
    cmir_error err = {0};
    const int at = argc > 0 ? find_verb(argc, argv) : 0;
    const bool help = at > 0 && strcmp(argv[at], "help") == 0;
    const cli_verb *verb = at > 0 ? verb_called(argv[at]) : NULL;
    cmir_status st = CMIR_OK;

    if (argc == 2 && strcmp(argv[1], "serve-job") == 0) /* the service starts this, nobody else */
        return server_work();
    args.command = quote_command(argc, argv);
    args.operands = cli_need(calloc((size_t)argc + 1, sizeof *args.operands));
    if (at > 0 && verb == NULL && !help) {
        st = unknown_verb(argv[at], &err);
    } else {
        if (at > 0) /* what is left are options and operands */
            memmove(argv + at, argv + at + 1, (size_t)(argc - at) * sizeof *argv);
        st = cli_parse(at > 0 ? argc - 1 : argc, argv, verb, &args, &err);
    }
    if (st == CMIR_OK && (verb == NULL || cli_get(&args, "version") != NULL))
        st = run_without_verb(&args, help, &err);
    else if (st == CMIR_OK)
        st = run_verb(&args, &err);
    const int code = conclude(&args, st, &err);
    free(args.operands);
    free(args.command);
    return code;
}
