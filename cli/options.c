/* SPDX-License-Identifier: Apache-2.0 */
/* options.c: command lines: one table per verb says what may be given, and both the parser and
 * --help read it. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define LONG_BASE 256 /* getopt's value of option i is LONG_BASE + i */

const cli_option cli_common_options[] = {
    {"json", 0, NULL, "print one JSON object"},
    {"output", 'o', "FILE", "write the output to FILE (- is standard output)"},
    {"verbose", 'v', NULL, "say more"},
    {"quiet", 'q', NULL, "no progress, no remarks"},
    {"threads", 0, "N", "use N threads (default: all CPUs)"},
    {"onnxruntime", 0, "PATH",
     "libonnxruntime.so to use (default: beside cmir, then the system's)"},
    {"version", 0, NULL, "print the version"},
    {"help", 'h', NULL, "print this help"},
    {NULL, 0, NULL, NULL},
};
#define N_COMMON (sizeof cli_common_options / sizeof cli_common_options[0] - 1)

/* Option i of a verb, common ones first; NULL past the last. */
static const cli_option *
option_at(const cli_verb *verb, size_t i)
{
    if (i < N_COMMON)
        return &cli_common_options[i];
    if (verb == NULL || verb->options == NULL)
        return NULL;
    for (size_t k = 0; k <= i - N_COMMON; k++)
        if (verb->options[k].name == NULL)
            return NULL;
    return &verb->options[i - N_COMMON];
}

static const char *
option_name(const void *verb, size_t i)
{
    const cli_option *option = option_at(verb, i);

    return option == NULL ? NULL : option->name;
}

const char *
cli_get(const cli_args *args, const char *name)
{
    for (size_t i = 0; option_at(args->verb, i) != NULL; i++)
        if (strcmp(option_at(args->verb, i)->name, name) == 0)
            return args->values[i];
    return NULL;
}

/* Number of single-character changes from a to b. */
static size_t
distance(const char *a, const char *b)
{
    size_t row[64], n = strlen(b);

    if (n >= sizeof row / sizeof row[0] || strlen(a) >= sizeof row / sizeof row[0])
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const size_t swap = diagonal + (a[i - 1] != b[j - 1]);
            const size_t gap = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = swap < gap ? swap : gap;
        }
    }
    return row[n];
}

const char *
cli_nearest(const char *wrong, const char *(*next)(const void *ctx, size_t i), const void *ctx)
{
    const char *best = NULL, *name;
    size_t least = strlen(wrong) / 3 + 2;

    for (size_t i = 0; (name = next(ctx, i)) != NULL; i++) {
        const size_t d = distance(wrong, name);
        if (d < least) {
            least = d;
            best = name;
        }
    }
    return best;
}

static cmir_status
unknown_option(const cli_verb *verb, const char *text, cmir_error *err)
{
    char name[64];

    snprintf(name, sizeof name, "%.*s", (int)strcspn(text + strspn(text, "-"), "="),
             text + strspn(text, "-"));
    const char *nearest = cli_nearest(name, option_name, verb);
    if (nearest == NULL)
        return cli_fail(err, CMIR_EINVAL, "unknown option '%s'", text);
    return cli_fail(err, CMIR_EINVAL, "unknown option '%s': did you mean '--%s'?", text, nearest);
}

/* What getopt complains about: '?' or ':'. */
static cmir_status
bad_option(const cli_verb *verb, int what, char *const *argv, cmir_error *err)
{
    const cli_option *option = NULL;
    const char letter[3] = {'-', (char)optopt, '\0'};

    if (optopt >= LONG_BASE)
        option = option_at(verb, (size_t)(optopt - LONG_BASE));
    else if (what == '?')
        return unknown_option(verb, optopt == 0 ? argv[optind - 1] : letter, err);
    for (size_t i = 0; option == NULL && option_at(verb, i) != NULL; i++)
        if (option_at(verb, i)->letter == optopt)
            option = option_at(verb, i);
    if (what == '?')
        return cli_fail(err, CMIR_EINVAL, "option --%s takes no value", option->name);
    return cli_fail(err, CMIR_EINVAL, "option --%s needs a value: %s", option->name, option->value);
}

static cmir_status
check_operands(const cli_args *args, cmir_error *err)
{
    const cli_verb *verb = args->verb;

    if (args->n_operands < verb->min_operands)
        return cli_fail(err, CMIR_EINVAL, "an argument is missing: cmir %s %s", verb->name,
                        verb->operands);
    if (verb->max_operands >= 0 && args->n_operands > verb->max_operands)
        return cli_fail(err, CMIR_EINVAL, "one argument too many: '%s'",
                        args->operands[verb->max_operands]);
    return CMIR_OK;
}

cmir_status
cli_parse(int argc, char **argv, const cli_verb *verb, cli_args *args, cmir_error *err)
{
    struct option table[CLI_MAX_OPTIONS + 1] = {0};
    char letters[2 * CLI_MAX_OPTIONS + 3] =
        "-:"; /* -: operands in their place; :: tell what lacks */
    size_t n = 0;
    int got;

    args->verb = verb;
    for (const cli_option *o; n < CLI_MAX_OPTIONS && (o = option_at(verb, n)) != NULL; n++) {
        table[n] = (struct option){o->name, o->value != NULL, NULL, LONG_BASE + (int)n};
        if (o->letter != 0)
            snprintf(letters + strlen(letters), 3, "%c%s", o->letter, o->value != NULL ? ":" : "");
    }
    opterr = 0;
    optind = 0; /* glibc: start anew */
    while ((got = getopt_long(argc, argv, letters, table, NULL)) != -1) {
        if (got == 1) {
            args->operands[args->n_operands++] = optarg;
            continue;
        }
        if (got == '?' || got == ':')
            return bad_option(verb, got, argv, err);
        size_t i = got >= LONG_BASE ? (size_t)(got - LONG_BASE) : 0;
        while (got < LONG_BASE && option_at(verb, i)->letter != got)
            i++;
        args->values[i] = optarg == NULL ? "" : optarg;
    }
    while (optind < argc) /* behind -- */
        args->operands[args->n_operands++] = argv[optind++];
    args->json = cli_get(args, "json") != NULL;
    args->quiet = cli_get(args, "quiet") != NULL;
    args->verbose = cli_get(args, "verbose") != NULL;
    if (verb == NULL || cli_get(args, "help") != NULL || cli_get(args, "version") != NULL)
        return CMIR_OK;
    return check_operands(args, err);
}

cmir_status
cli_get_number(const cli_args *args, const char *name, uint64_t low, uint64_t high, uint64_t *value,
               cmir_error *err)
{
    const char *text = cli_get(args, name);
    uint64_t sum = 0;
    bool good = true;

    if (text == NULL)
        return CMIR_OK;
    for (const char *p = text; *p != '\0' && good; p++) {
        good = *p >= '0' && *p <= '9' && sum <= (UINT64_MAX - 9) / 10;
        sum = sum * 10 + (uint64_t)(*p - '0');
    }
    if (!good || *text == '\0' || sum < low || sum > high)
        return cli_fail(err, CMIR_EINVAL, "--%s '%s': a whole number from %llu to %llu is wanted",
                        name, text, (unsigned long long)low, (unsigned long long)high);
    *value = sum;
    return CMIR_OK;
}

cmir_status
cli_get_u32(const cli_args *args, const char *name, uint32_t low, uint32_t high, uint32_t *value,
            cmir_error *err)
{
    uint64_t wide = *value;
    const cmir_status st = cli_get_number(args, name, low, high, &wide, err);

    *value = (uint32_t)wide;
    return st;
}

cmir_status
cli_get_choice(const cli_args *args, const char *name, const char *const *names, int *choice,
               cmir_error *err)
{
    const char *text = cli_get(args, name);
    char all[128] = "";

    *choice = 0;
    if (text == NULL)
        return CMIR_OK;
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(text, names[i]) == 0) {
            *choice = i;
            return CMIR_OK;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i == 0 ? "" : ", ", names[i]);
    }
    return cli_fail(err, CMIR_EINVAL, "--%s '%s': one of these is wanted: %s", name, text, all);
}

static void
print_options(FILE *out, const char *heading, const cli_option *options)
{
    char left[64];

    fprintf(out, "\n%s:\n", heading);
    for (; options->name != NULL; options++) {
        snprintf(left, sizeof left, "%c%c%s--%s%s%s", options->letter != 0 ? '-' : ' ',
                 options->letter != 0 ? options->letter : ' ', options->letter != 0 ? ", " : "  ",
                 options->name, options->value != NULL ? " " : "",
                 options->value != NULL ? options->value : "");
        fprintf(out, "  %-28s %s\n", left, options->help);
    }
}

void
cli_print_help(FILE *out, const cli_verb *verb)
{
    const char *p = verb->example;

    fprintf(out, "cmir %s %s\n\n%s\n", verb->name, verb->operands, verb->summary);
    if (verb->options != NULL)
        print_options(out, "Options", verb->options);
    print_options(out, "Common options", cli_common_options);
    fprintf(out, "\nExample:\n");
    while (*p != '\0') {
        const int n = (int)strcspn(p, "\n");
        fprintf(out, "  cmir %.*s\n", n, p);
        p += n + (p[n] == '\n');
    }
    fprintf(out, "\nResearch use only, not for diagnosis.\n");
}
