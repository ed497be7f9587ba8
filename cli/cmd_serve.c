/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_serve.c: the verb serve. */
#include "cli.h"

#include "server/server.h"

static FILE *announce_on;

static void
say_ready(const char *url)
{
    cli_line(announce_on, "serving at %s", url);
    fflush(announce_on);
}

static cmir_status
run_serve(cli_args *args, cmir_error *err)
{
    server_options options = {.archive = args->operands[0],
                              .listen = cli_get(args, "listen"),
                              .state = cli_get(args, "state")};
    cmir_status st = cli_get_u32(args, "threads", 1, 256, &options.n_threads, err);

    if (st != CMIR_OK)
        return st;
    announce_on = args->out;
    cli_catch_interrupts();
    return server_run(&options, cli_interrupted, say_ready, err);
}

static const cli_option serve_options[] = {
    {"listen", 0, "ADDRESS", "HOST:PORT to listen on (default 127.0.0.1:8043)"},
    {"state", 0, "DIR", "folder of the service's own state (default ARCHIVE/service)"},
    {NULL, 0, NULL, NULL},
};
const cli_verb cli_verb_serve = {"serve",
                                 "ARCHIVE",
                                 "Serves an archive as a web page and HTTP interface.",
                                 "serve lungs\nserve lungs --listen 127.0.0.1:9000",
                                 1,
                                 1,
                                 serve_options,
                                 run_serve};
