/* SPDX-License-Identifier: Apache-2.0 */
/* evaluation_case.c: one query of an evaluation and its best hits, with pictures.
 *
 * The one idea: a hit that counts and one that does not look alike but for one word and colour, so
 * that the eye judges the pictures first. */
#include <string.h>

#include "report/evaluation.h"
#include "report/hit.h"
#include "report/html.h"

static const cmir_eval_volume *
find_volume(const cmir_eval_input *input, const char *id)
{
    for (size_t i = 0; i < input->n_volumes; i++)
        if (strcmp(input->volumes[i].id, id) == 0)
            return &input->volumes[i];
    return NULL;
}

static cmir_status
draw_hit(cmir_buf *out, const cmir_eval_input *input, const char *value, const cmir_source *query,
         const cmir_hit *hit, const cmir_archive *archive, cmir_error *err)
{
    const char *id = hit->record->info.volume_id;
    const cmir_eval_volume *volume = find_volume(input, id);
    const bool relevant = volume != NULL && strcmp(volume->value, value) == 0;
    cmir_source found;
    cmir_status st;

    cmir_buf_printf(out, "<div class=\"case %s\"><p><b>%u</b> ", relevant ? "right" : "wrong",
                    hit->rank);
    cmir_html_text(out, id);
    cmir_buf_printf(out, "<br/><span class=\"verdict\">%s</span> ",
                    relevant ? "relevant" : "not relevant");
    cmir_html_text(out, volume == NULL ? "" : volume->value);
    if (volume != NULL && volume->cohort != NULL) {
        cmir_buf_puts(out, " <span class=\"soft\">");
        cmir_html_text(out, volume->cohort);
        cmir_buf_puts(out, "</span>");
    }
    cmir_buf_puts(out, "</p>\n");
    cmir_source_open(&found, archive, hit->record, query->plane, NULL);
    st = cmir_pair_write(out, query, &found, &hit->matches[hit->best], err);
    cmir_source_close(&found);
    cmir_buf_puts(out, "</div>\n");
    return st;
}

cmir_status
cmir_evaluation_draw(cmir_buf *out, const cmir_evaluation *e, const cmir_eval_input *input,
                     const cmir_evaluation_case *shown, const cmir_archive *archive,
                     cmir_error *err)
{
    const size_t metric = cmir_evaluation_main_metric(e);
    const cmir_eval_volume *volume = &input->volumes[input->queries[shown->query].volume];
    const cmir_result *result = shown->result;
    cmir_source query;
    cmir_status st = CMIR_OK;

    cmir_buf_puts(out, "<h3><span class=\"query\">");
    cmir_html_text(out, volume->id);
    cmir_buf_puts(out, "</span> ");
    cmir_html_text(out, volume->value);
    if (volume->cohort != NULL) {
        cmir_buf_puts(out, " &#183; ");
        cmir_html_text(out, volume->cohort);
    }
    cmir_buf_puts(out, " &#183; ");
    cmir_html_text(out, e->metrics[metric]);
    cmir_buf_printf(out, " %.3f</h3>\n<div class=\"cases\">\n",
                    e->lines[0].per_query[shown->query * e->n_metrics + metric]);
    cmir_source_open(&query, archive, result->query, cmir_archive_get_info(archive)->plane, NULL);
    for (size_t i = 0; i < result->n_hits && st == CMIR_OK; i++)
        st = draw_hit(out, input, volume->value, &query, &result->hits[i], archive, err);
    cmir_source_close(&query);
    cmir_buf_puts(out, "</div>\n");
    return st;
}
