/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_user.c: the verbs user and audit: who may use a service, and whether its audit log is whole.
 *
 * Passwords are typed (not shown, twice) or come as one line of standard input: never as an argument,
 * which other users of the machine can read. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

#include "server/server.h"

#define LINE_NBYTES 1100

/* One line without its end; what is typed is not shown. */
static cmir_status
read_line(const char *prompt, char line[LINE_NBYTES], cmir_error *err)
{
    struct termios shown, hidden;
    const bool typed = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &shown) == 0;

    if (typed) {
        fprintf(stderr, "%s: ", prompt);
        hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    }
    const bool got = fgets(line, LINE_NBYTES, stdin) != NULL;
    if (typed) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
        fputc('\n', stderr);
    }
    if (!got)
        return cli_fail(err, CMIR_EINVAL, "no password was given");
    line[strcspn(line, "\r\n")] = '\0';
    return CMIR_OK;
}

static cmir_status
read_password(char password[LINE_NBYTES], cmir_error *err)
{
    char again[LINE_NBYTES];
    cmir_status st = read_line("Password", password, err);

    if (st != CMIR_OK || !isatty(STDIN_FILENO))
        return st;
    st = read_line("The same again", again, err);
    if (st == CMIR_OK && strcmp(password, again) != 0)
        st = cli_fail(err, CMIR_EINVAL, "the passwords differ");
    memset(again, 0, sizeof again);
    return st;
}

static cmir_status
add_user(const cli_args *args, const char *dir, const char *name, cmir_error *err)
{
    const bool without = cli_get(args, "without-password") != NULL;
    char password[LINE_NBYTES] = "";
    cmir_status st = CMIR_OK;

    if (cli_get(args, "role") == NULL)
        return cli_fail(err, CMIR_EINVAL, "--role is missing: reader, contributor or admin");
    if (!without)
        st = read_password(password, err);
    if (st == CMIR_OK)
        st = server_user_add(dir, name, cli_get(args, "role"), without ? NULL : password, err);
    memset(password, 0, sizeof password);
    return st;
}

struct listing {
    cli_table table;
    json_t *json;
};

static void
list_user(void *ctx, const server_user *user)
{
    struct listing *l = ctx;

    cmir_json_add(l->json,
                  json_pack("{s:s, s:s, s:b, s:I}", "Name", user->name, "Role", user->role,
                            "Password", user->has_password, "Tokens", (json_int_t)user->n_tokens));
    cli_cell(&l->table, "%s", user->name);
    cli_cell(&l->table, "%s", user->role);
    cli_cell(&l->table, "%s", user->has_password ? "yes" : "no");
    cli_cell(&l->table, "%zu", user->n_tokens);
}

static cmir_status
list_users(cli_args *args, const char *dir, cmir_error *err)
{
    struct listing l = {.table = {.n_columns = 4, .right = 8},
                        .json = cmir_json_need(json_array())};

    cli_cell(&l.table, "NAME");
    cli_cell(&l.table, "ROLE");
    cli_cell(&l.table, "PASSWORD");
    cli_cell(&l.table, "TOKENS");
    const cmir_status st = server_user_list(dir, list_user, &l, err);
    cli_print_table(&l.table, st == CMIR_OK && !args->json ? args->out : NULL);
    if (st == CMIR_OK && args->json)
        cli_json_print(args, json_pack("{s:O}", "Users", l.json));
    json_decref(l.json);
    return st;
}

static cmir_status
new_token(cli_args *args, const char *dir, const char *name, cmir_error *err)
{
    char token[SERVER_TOKEN_NBYTES];

    if (cli_get(args, "revoke") != NULL)
        return server_user_revoke(dir, name, err);
    const cmir_status st = server_user_token(dir, name, token, err);
    if (st != CMIR_OK)
        return st;
    if (args->json)
        cli_json_print(args, json_pack("{s:s}", "Token", token));
    else
        cli_line(args->out, "%s", token);
    return CMIR_OK;
}

static cmir_status
run_user(cli_args *args, cmir_error *err)
{
    const char *what = args->operands[0], *dir = args->operands[1];
    const char *name = args->n_operands > 2 ? args->operands[2] : NULL;

    if (strcmp(what, "list") == 0)
        return name == NULL ? list_users(args, dir, err)
                            : cli_fail(err, CMIR_EINVAL, "one argument too many: '%s'", name);
    if (name == NULL)
        return cli_fail(err, CMIR_EINVAL, "the user's name is missing");
    if (strcmp(what, "add") == 0)
        return add_user(args, dir, name, err);
    if (strcmp(what, "remove") == 0)
        return server_user_remove(dir, name, err);
    if (strcmp(what, "token") == 0)
        return new_token(args, dir, name, err);
    return cli_fail(err, CMIR_EINVAL, "'%s': one of these is wanted: add, remove, list, token",
                    what);
}

static const cli_option user_options[] = {
    {"role", 0, "ROLE", "add: reader (searches), contributor (adds and labels), admin (removes)"},
    {"without-password", 0, NULL, "add: for users that a proxy names, or programs with a token"},
    {"revoke", 0, NULL, "token: take all tokens of the user back instead of making one"},
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_user = {"user",
                                "add|remove|list|token ARCHIVE [NAME]",
                                "Says who may use the service of an archive.",
                                "user add lungs ada --role contributor\n"
                                "user token lungs ada\n"
                                "user list lungs",
                                2,
                                3,
                                user_options,
                                run_user};

/* The log of an archive, of a state folder, or the file itself; free(). */
static char *
log_path(const char *path)
{
    static const char *const below[] = {"/service/audit.jsonl", "/audit.jsonl"};
    struct stat st;

    for (size_t i = 0; i < 2; i++) {
        char *file = cmir_json_need(malloc(strlen(path) + strlen(below[i]) + 1));
        strcpy(stpcpy(file, path), below[i]);
        if (stat(file, &st) == 0)
            return file;
        free(file);
    }
    return cmir_json_need(strdup(path));
}

static cmir_status
run_audit(cli_args *args, cmir_error *err)
{
    server_audit_result result;

    if (strcmp(args->operands[0], "verify") != 0)
        return cli_fail(err, CMIR_EINVAL, "'%s': verify is wanted", args->operands[0]);
    char *path = log_path(args->operands[1]);
    const cmir_status st = server_audit_verify(path, &result, err);
    if (st == CMIR_OK) {
        args->exit_code = result.fault != NULL;
        if (args->json)
            cli_json_print(args,
                           json_pack("{s:I, s:b, s:s?, s:s}", "Lines", (json_int_t)result.n_lines,
                                     "Sound", result.fault == NULL, "Fault", result.fault, "Head",
                                     result.head));
        else if (result.fault != NULL)
            cli_line(args->out, "%s: line %" PRIu64 " %s", path, result.n_lines + 1, result.fault);
        else
            cli_line(args->out, "%s: sound, %" PRIu64 " lines, the last is %s", path,
                     result.n_lines, result.head);
    }
    free(path);
    return st;
}

const cli_verb cli_verb_audit = {"audit",
                                 "verify ARCHIVE|FILE",
                                 "Checks the audit log of a service.",
                                 "audit verify lungs",
                                 2,
                                 2,
                                 NULL,
                                 run_audit};
