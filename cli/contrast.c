/* SPDX-License-Identifier: Apache-2.0 */
/* contrast.c: where a query looks like cases with a label, as a line below the evidence.
 * Called by cmd_search.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

cmir_status
cli_parse_contrast(const char *text, char **copy, cmir_search_options *options, cmir_error *err)
{
    const char *equals = strchr(text, '=');

    if (text[0] == '\0' || equals == text || (equals != NULL && equals[1] == '\0'))
        return cli_fail(err, CMIR_EINVAL,
                        "--contrast '%s': a label is wanted, or LABEL=VALUE, such as tumour=yes",
                        text);
    *copy = cli_need(strdup(text));
    if (equals != NULL) {
        (*copy)[equals - text] = '\0';
        options->contrast_value = *copy + (equals - text) + 1;
    }
    options->contrast_label = *copy;
    return CMIR_OK;
}

void
cli_print_contrast(cli_args *args, const cmir_contrast *c)
{
    const char *equals = c->value == NULL ? "" : "=", *value = c->value == NULL ? "" : c->value;
    char mm[64] = "";

    fputc('\n', args->out);
    if (!c->enough) {
        cli_line(args->out,
                 "CONTRAST %s%s%s: not enough evidence: %u cases with it, %u without; %u of each "
                 "are wanted.",
                 c->label, equals, value, c->n_positive, c->n_negative, CMIR_EVIDENCE_LEAST);
        return;
    }
    if (isfinite(c->mm[0]) && isfinite(c->mm[1]))
        snprintf(mm, sizeof mm, ", %.1f..%.1f mm", c->mm[0], c->mm[1]);
    cli_line(
        args->out,
        "CONTRAST %s%s%s: slices %u-%u of the query%s look most like the %u nearest cases with "
        "it and least like the %u without.",
        c->label, equals, value, c->first, c->last, mm, c->n_positive, c->n_negative);
    cli_line(args->out,
             "  %s  p %.3f; 95 %%: it begins at %u-%u and ends at %u-%u; difference %.4f "
             "(%.4f to %.4f)",
             c->p < 0.05 ? "It stands out:" : "It does not stand out from chance:", c->p,
             c->first_low, c->first_high, c->last_low, c->last_high, c->rise, c->rise_low,
             c->rise_high);
}
