/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_encoder.c: the verb encoder: which encoders there are, and what one of them expects. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static json_t *
encoder_json(const cmir_encoder_info *e)
{
    json_t *o = cli_need(json_object());

    cmir_json_set(o, "Name", cmir_json_text(e->name));
    cmir_json_set(o, "Version", cmir_json_text(e->version));
    cmir_json_set(o, "Sha256", cmir_json_text(e->sha256));
    cmir_json_set(o, "Licence", cmir_json_text(e->licence));
    cmir_json_set(o, "Dim", json_integer(e->dim));
    cmir_json_set(o, "CardPath", cmir_json_text(e->card_path));
    return o;
}

/* "builtin", or a card file, opened with the options of the command line. */
static cmir_status
open_card(const cli_args *args, const char *card, cmir_encoder **out, cmir_error *err)
{
    const cmir_encoder_options options = {.struct_nbytes = sizeof options,
                                          .onnxruntime_path = cli_get(args, "onnxruntime")};

    return cmir_encoder_open(card, &options, out, err);
}

/* The built-in encoder and the cards given; one that cannot be opened is listed with the reason. */
static cmir_status
list_encoders(cli_args *args, cmir_error *err)
{
    cli_table table = {.n_columns = 5, .right = 1u << 2};
    json_t *encoders = cli_need(json_array());

    (void)err;
    cli_cell(&table, "NAME");
    cli_cell(&table, "VERSION");
    cli_cell(&table, "DIM");
    cli_cell(&table, "LICENCE");
    cli_cell(&table, "CARD");
    for (int i = 0; i < args->n_operands; i++) {
        const char *card = i == 0 ? "builtin" : args->operands[i];
        cmir_encoder *encoder;
        cmir_error why = {0};
        if (open_card(args, card, &encoder, &why) != CMIR_OK) {
            cli_line(stderr, "cmir encoder: %s", why.msg);
            cmir_json_add(encoders, json_pack("{s:o, s:o}", "CardPath", cmir_json_text(card),
                                              "Reason", cmir_json_text(why.msg)));
            args->exit_code = 1;
            continue;
        }
        const cmir_encoder_info *e = cmir_encoder_get_info(encoder);
        cli_cell(&table, "%s", e->name);
        cli_cell(&table, "%s", e->version);
        cli_cell(&table, "%u", e->dim);
        cli_cell(&table, "%s", e->licence);
        cli_cell(&table, "%s", e->card_path[0] != '\0' ? e->card_path : "built in");
        cmir_json_add(encoders, encoder_json(e));
        cmir_encoder_close(encoder);
    }
    cli_print_table(&table, args->json ? NULL : args->out);
    if (args->json)
        cli_json_print(args, json_pack("{s:O}", "Encoders", encoders));
    json_decref(encoders);
    return CMIR_OK;
}

static cmir_status
inspect_encoder(cli_args *args, cmir_error *err)
{
    cmir_encoder *encoder;
    char *text = NULL;
    cmir_status st = open_card(args, args->operands[1], &encoder, err);

    if (st != CMIR_OK)
        return st;
    if ((st = cmir_encoder_describe(encoder, &text, err)) == CMIR_OK && args->json) {
        const cmir_encoder_info *e = cmir_encoder_get_info(encoder);
        json_t *o = encoder_json(e), *card = json_loads(e->card_json, 0, NULL);
        cmir_json_set(o, "Card", card != NULL ? card : json_null());
        cmir_json_set(o, "Description", cmir_json_text(text));
        cli_json_print(args, o);
    } else if (st == CMIR_OK) {
        for (char *p = text, *end; *p != '\0'; p = end + 1) {
            end = p + strcspn(p, "\n");
            const bool last = *end == '\0';
            *end = '\0';
            cli_line(args->out, "%s", p);
            if (last)
                break;
        }
    }
    cmir_free(text);
    cmir_encoder_close(encoder);
    return st;
}

static cmir_status
run_encoder(cli_args *args, cmir_error *err)
{
    const char *action = args->operands[0];

    if (strcmp(action, "list") == 0)
        return list_encoders(args, err);
    if (strcmp(action, "inspect") != 0)
        return cli_fail(err, CMIR_EINVAL, "'%s': one of these is wanted: list, inspect", action);
    if (args->n_operands != 2)
        return cli_fail(err, CMIR_EINVAL, "inspect needs one card: builtin or CARD.json");
    return inspect_encoder(args, err);
}

const cli_verb cli_verb_encoder = {"encoder",
                                   "list [CARD.json...] | inspect CARD.json",
                                   "Lists encoders, or tells what one expects and gives.",
                                   "encoder list\nencoder inspect biomedclip.json",
                                   1,
                                   -1,
                                   NULL,
                                   run_encoder};
