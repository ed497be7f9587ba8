/* SPDX-License-Identifier: Apache-2.0 */
/* evidence.c: what the nearest cases say, as a table below the hits.  Called by
 * cmd_search.c and cmd_calibrate.c.
 *
 * The one idea: counts and intervals, and which hits they are; never a verdict alone. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { VALUES_SHOWN = 5, WIDTH = 32 };

/* A number as one would write it. */
static void
puts_number(char *out, size_t size, double value)
{
    snprintf(out, size, "%.6g", value);
}

char *
cli_calibration_text(const cmir_calibration *c)
{
    char text[256], error[32], alone[32];

    if (c->n_queries == 0) {
        snprintf(text, sizeof text, "not enough labelled cases to calibrate");
    } else if (c->kind == CMIR_LABEL_NUMBER) {
        puts_number(error, sizeof error, c->error);
        puts_number(alone, sizeof alone, c->error_alone);
        snprintf(text, sizeof text,
                 "half of %u medians were within %s of the truth; the median of all within %s",
                 c->n_queries, error, alone);
    } else {
        snprintf(text, sizeof text,
                 "right in %u of %u (%.0f %%, %.0f-%.0f %%; %u patients); always the commonest "
                 "value: %u of %u",
                 c->n_right, c->n_queries, 100 * c->rate, 100 * c->low, 100 * c->high,
                 c->n_patients, c->n_majority, c->n_queries);
    }
    return cli_need(strdup(text));
}

/* The hits that have a value, or, with NULL, another than it. */
static char *
ranks_text(const cmir_evidence *e, const cmir_evidence_label *label, const char *value)
{
    char *text = cli_need(malloc(12 * e->n_neighbours + 1)), *p = text;

    *p = '\0';
    for (size_t i = 0; i < e->n_neighbours; i++)
        if (label->text[i] != NULL && (value == NULL || strcmp(label->text[i], value) == 0))
            p += sprintf(p, "%s%u", p == text ? "" : " ", e->neighbours[i].rank);
    return text;
}

/* Of at most WIDTH characters. */
static char *
shortened(const char *text)
{
    char *clean = cli_clean(text);
    size_t n = 0;

    for (char *p = clean; *p != '\0'; p++) {
        n += ((unsigned char)*p & 0xC0) != 0x80;
        if (n > WIDTH) {
            *p = '\0';
            break;
        }
    }
    return clean;
}

static void
add_row(cli_table *table, const char *label, const char *value, const char *cases,
        const char *share, const char *weighted, const char *hits)
{
    char *short_label = shortened(label), *short_value = shortened(value);

    cli_cell(table, "%s", short_label);
    cli_cell(table, "%s", short_value);
    cli_cell(table, "%s", cases);
    cli_cell(table, "%s", share);
    cli_cell(table, "%s", weighted);
    cli_cell(table, "%s", hits);
    free(short_label);
    free(short_value);
}

static void
add_classes(cli_table *table, const cmir_evidence *e, const cmir_evidence_label *label)
{
    char cases[48], share[64], weighted[16];

    for (size_t v = 0; v < label->n_values && v < VALUES_SHOWN; v++) {
        const cmir_evidence_value *value = &label->values[v];
        char *hits = ranks_text(e, label, value->text);

        snprintf(cases, sizeof cases, "%u of %u", value->n, label->n_labelled);
        snprintf(share, sizeof share, "%.0f %% (%.0f-%.0f)", 100 * value->share, 100 * value->low,
                 100 * value->high);
        snprintf(weighted, sizeof weighted, "%.0f %%", 100 * value->weighted_share);
        add_row(table, v == 0 ? label->name : "", value->text, cases, share, weighted, hits);
        free(hits);
    }
    if (label->n_values > VALUES_SHOWN) {
        snprintf(cases, sizeof cases, "%zu other values", label->n_values - VALUES_SHOWN);
        add_row(table, "", cases, "", "", "", "");
    }
}

static void
add_label(cli_table *table, const cmir_evidence *e, const cmir_evidence_label *label)
{
    char cases[48], value[96], median[24], low[24], high[24];

    if (label->enough && label->kind == CMIR_LABEL_CLASS && label->values[0].n > 1) {
        add_classes(table, e, label);
        return;
    }
    char *hits = ranks_text(e, label, NULL);
    snprintf(cases, sizeof cases, "%u of %zu", label->n_labelled, e->n_neighbours);
    puts_number(median, sizeof median, label->median);
    puts_number(low, sizeof low, label->low);
    puts_number(high, sizeof high, label->high);
    snprintf(value, sizeof value, "%s (%s to %s)", median, low, high);
    const bool is_number = label->enough && label->kind == CMIR_LABEL_NUMBER;
    add_row(table, label->name,
            is_number       ? value
            : label->enough ? "no value twice"
                            : "not enough evidence",
            cases, is_number ? "median (range)" : "", "", hits);
    free(hits);
}

static void
print_calibration(cli_args *args, const cmir_evidence *e, const cmir_evidence_label *label)
{
    const cmir_calibration *c = label->calibration;

    if (c == NULL || !label->enough || (label->n_values > 0 && label->values[0].n == 1))
        return;
    char *text = cli_calibration_text(c);
    char like[80] = "";
    if (label->n_values > 0) {
        const uint32_t n = label->n_labelled, bin = (20 * label->values[0].n + n) / (2 * n);

        if (c->bin_n[bin] > 0)
            snprintf(like, sizeof like, "; with %u of 10 votes in %u of %u", bin, c->bin_right[bin],
                     c->bin_n[bin]);
    }
    cli_line(args->out, "%s in this archive: %s%s%s%s", label->name, text, like,
             c->stale ? "; STALE: the archive has changed since" : "",
             e->as_calibrated ? ""
                              : "; measured with whole volumes, no filter, other patients only");
    free(text);
}

void
cli_print_evidence(cli_args *args, const cmir_evidence *e)
{
    static const char *const heading[] = {"EVIDENCE",     "VALUE",    "CASES",
                                          "SHARE (95 %)", "WEIGHTED", "HITS"};
    cli_table table = {.n_columns = 6};
    bool missing = false;

    if (e->n_labels == 0)
        return;
    for (size_t i = 0; i < sizeof heading / sizeof heading[0]; i++)
        cli_cell(&table, "%s", heading[i]);
    for (size_t l = 0; l < e->n_labels; l++) {
        add_label(&table, e, &e->labels[l]);
        missing = missing || (e->labels[l].enough && e->labels[l].calibration == NULL);
    }
    fputc('\n', args->out);
    cli_print_table(&table, args->out);
    for (size_t l = 0; l < e->n_labels; l++)
        print_calibration(args, e, &e->labels[l]);
    for (size_t i = 0; i < e->n_neighbours; i++)
        if (e->neighbours[i].own)
            cli_line(args->out,
                     "Hit %u is of the query's own patient (--exclude patient leaves it out).",
                     e->neighbours[i].rank);
    if (!args->quiet)
        cli_line(
            args->out, "Of the %zu nearest cases; of a patient's volumes the nearest counts.%s",
            e->n_neighbours, missing ? "  How often such votes are right: cmir calibrate." : "");
}
