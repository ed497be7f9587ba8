/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_serve.c: the verb serve.
 *
 * Options come from the command line or from a JSON file with the same names; the command line wins. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#include "server/server.h"

#define MOST_NBYTES (1ull << 50)

static const cli_option serve_options[] = {
    {"listen", 0, "ADDRESS", "HOST:PORT in numbers, or [IPv6]:PORT (default 127.0.0.1:8043)"},
    {"config", 0, "FILE", "JSON object with these options, without dashes in front"},
    {"state", 0, "DIR", "folder of the service's own state (default ARCHIVE/service)"},
    {"certificate", 0, "PEM", "TLS: the certificate, with those that it depends on"},
    {"key", 0, "PEM", "TLS: its private key"},
    {"behind-proxy", 0, NULL, "a proxy in front ends TLS"},
    {"proxy-address", 0, "IP", "the proxy's address: it is believed of X-Forwarded-For"},
    {"proxy-user-header", 0, "NAME", "header in which the proxy names the user"},
    {"upload-limit", 0, "BYTES", "largest upload (default 4294967296)"},
    {"requests-per-minute", 0, "N", "of one user (default 12000)"},
    {NULL, 0, NULL, NULL},
};

static const char *
option_name(const void *ctx, size_t i)
{
    (void)ctx;
    return serve_options[i].name;
}

static bool
is_option(const char *name)
{
    bool found = strcmp(name, "threads") == 0;

    for (const cli_option *o = serve_options; o->name != NULL; o++)
        found = found || (strcmp(o->name, name) == 0 && strcmp(name, "config") != 0);
    return found;
}

/* Every value as text, as the command line would have it: numbers in digits, true as "". */
static cmir_status
read_config(const char *path, json_t **out, cmir_error *err)
{
    json_error_t why;
    json_t *config = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    const char *name;
    json_t *value;
    void *next;
    cmir_status st = CMIR_OK;

    if (!json_is_object(config)) {
        json_decref(config);
        return cli_fail(err, CMIR_EINVAL, "%s: not a JSON object: %s", path, why.text);
    }
    json_object_foreach_safe(config, next, name, value)
    {
        char digits[32];
        if (!is_option(name)) {
            const char *nearest = cli_nearest(name, option_name, NULL);
            st = cli_fail(err, CMIR_EINVAL, "%s: unknown option '%s'%s%s", path, name,
                          nearest == NULL ? "" : ": did you mean ", nearest == NULL ? "" : nearest);
        } else if (json_is_integer(value)) {
            snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(value));
            cmir_json_set(config, name, json_string(digits));
        } else if (json_is_true(value)) {
            cmir_json_set(config, name, json_string(""));
        } else if (json_is_false(value)) {
            (void)json_object_del(config, name);
        } else if (!json_is_string(value)) {
            st = cli_fail(err, CMIR_EINVAL, "%s: '%s' is neither text, a number, true nor false",
                          path, name);
        }
    }
    *out = config;
    return st;
}

/* Fills the values that the command line leaves open. */
static void
apply_config(cli_args *args, const json_t *config)
{
    size_t n_common = 0;

    while (cli_common_options[n_common].name != NULL)
        n_common++;
    for (size_t i = 0; i < CLI_MAX_OPTIONS && config != NULL; i++) {
        const cli_option *o = i < n_common ? &cli_common_options[i] : &serve_options[i - n_common];
        if (o->name == NULL)
            return;
        if (args->values[i] == NULL)
            args->values[i] = json_string_value(json_object_get(config, o->name));
    }
}

static FILE *announce_on;

static void
say_ready(const char *url)
{
    cli_line(announce_on, "serving at %s", url);
    (void)fflush(announce_on);
}

static cmir_status
serve(cli_args *args, cmir_error *err)
{
    server_options options = {.archive = args->operands[0],
                              .listen = cli_get(args, "listen"),
                              .state = cli_get(args, "state"),
                              .certificate = cli_get(args, "certificate"),
                              .key = cli_get(args, "key"),
                              .behind_proxy = cli_get(args, "behind-proxy") != NULL,
                              .proxy_address = cli_get(args, "proxy-address"),
                              .proxy_user_header = cli_get(args, "proxy-user-header")};
    cmir_status st = cli_get_u32(args, "threads", 1, 256, &options.n_threads, err);

    if (st == CMIR_OK)
        st = cli_get_number(args, "upload-limit", 1, MOST_NBYTES, &options.upload_nbytes, err);
    if (st == CMIR_OK)
        st =
            cli_get_u32(args, "requests-per-minute", 1, 1000000, &options.requests_per_minute, err);
    if (st != CMIR_OK)
        return st;
    announce_on = args->out;
    cli_catch_interrupts();
    return server_run(&options, cli_interrupted, say_ready, err);
}

static cmir_status
run_serve(cli_args *args, cmir_error *err)
{
    const char *path = cli_get(args, "config");
    json_t *config = NULL;
    cmir_status st = path == NULL ? CMIR_OK : read_config(path, &config, err);

    if (st == CMIR_OK) {
        apply_config(args, config);
        st = serve(args, err);
    }
    json_decref(config);
    return st;
}

const cli_verb cli_verb_serve = {"serve",
                                 "ARCHIVE",
                                 "Serves an archive as a web page and HTTP interface.",
                                 "serve lungs\n"
                                 "serve lungs --listen 0.0.0.0:443 --certificate cert.pem "
                                 "--key key.pem",
                                 1,
                                 1,
                                 serve_options,
                                 run_serve};
