/* SPDX-License-Identifier: Apache-2.0 */
/* report.c: a search result as one self-contained HTML file.  Called by the command and the server.
 *
 * The one idea: the page is built in memory hit by hit, with no more than the query's voxels and
 * one hit's loaded at a time, and takes its place on disk in one step when it is whole. */
#include <cmir/report.h>

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "report/evidence.h"
#include "report/hit.h"
#include "report/html.h"
#include "report/page.h"
#include "report/picture.h"

#define DEFAULT_HITS 10u
#define MAX_HITS 100u /* some 300 KiB each */

enum { SIDE_QUERY = 288 };

static const char *const score_sentences[] = {
    [CMIR_MAXSIM] = "For every slice of the query the most similar slice of the volume is taken; "
                    "the score is the mean of those cosine similarities (1: the same).",
    [CMIR_SYMMETRIC] = "The mean of two: how well each slice of the query is found in the volume, "
                       "and each slice of the volume in the query (1: the same).",
    [CMIR_FREQ] = "Every slice of the query fetches its 20 nearest slices of all volumes; the "
                  "score is how many of them are this volume's.",
    [CMIR_MAX] = "Every slice of the query fetches its 20 nearest slices of all volumes; the score "
                 "is the highest similarity among this volume's.",
    [CMIR_SUM] = "Every slice of the query fetches its 20 nearest slices of all volumes; the score "
                 "is the sum of the similarities of this volume's.",
    [CMIR_MEAN] = "The cosine similarity of the mean of all slices' embeddings (1: the same).",
    [CMIR_MEDIAN] = "The cosine similarity of the element-wise median of all slices' embeddings "
                    "(1: the same).",
    [CMIR_MAX_POOL] = "The cosine similarity of the element-wise maximum of all slices' embeddings "
                      "(1: the same).",
    [CMIR_STD] = "The cosine similarity of the element-wise standard deviation of all slices' "
                 "embeddings (1: the same).",
    [CMIR_LENGTH_CORRECTED] = "For every slice of the query the most similar slice of the volume "
                              "is taken; the score is the mean of those cosine similarities, less "
                              "what volumes of so many slices reach by their length.",
    [CMIR_ORDERED] = "The slices of the query are laid along the volume in one direction, none "
                     "before its predecessor, as they match best; the score is the mean of those "
                     "cosine similarities (1: the same).",
    [CMIR_WEIGHTED] = "For every slice of the query the most similar slice of the volume is taken; "
                      "the score is the mean of those cosine similarities, in which slices that "
                      "every volume has something alike for count less (1: the same).",
};

static const char *const plane_names[] = {"axial", "coronal", "sagittal"};

static void
write_head(cmir_buf *out, const cmir_result *result)
{
    cmir_page_open(out, result->query->info.volume_id, " - similar volumes", "Volumes similar to ",
                   result->query->info.volume_id);
}

/* The query's picture: the slice that the best hit matched best, or the middle one. */
static cmir_status
write_query_picture(cmir_buf *out, const cmir_result *result, const cmir_source *query,
                    cmir_error *err)
{
    const uint32_t middle = result->first_slice + (result->last_slice - result->first_slice) / 2;
    const cmir_hit *first = result->n_hits > 0 ? &result->hits[0] : NULL;
    const uint32_t slice = first != NULL ? first->matches[first->best].query_slice : middle;
    cmir_frame frame;
    cmir_preset windows[2];

    cmir_frame_take(&frame, query, slice, SIDE_QUERY);
    cmir_frame_presets(&frame, windows);
    cmir_buf_puts(out, "<div class=\"fit\"><figure>");
    const cmir_status st = cmir_picture_write(out, &frame, windows[0], query->plane, SIDE_QUERY,
                                              "A slice of the query", err);
    cmir_buf_printf(out, "<figcaption><span class=\"query\">query slice %u</span> ", slice);
    if (slice < result->query->n_slices)
        cmir_mm_write(out, result->query->slice_mm[slice]);
    cmir_buf_puts(out, "</figcaption></figure></div>\n");
    cmir_frame_free(&frame);
    return st;
}

/* How the result came about: enough to do it again. */
static void
write_method(cmir_buf *out, const cmir_result *result, const cmir_archive_info *archive,
             const cmir_source *query, const char *command)
{
    cmir_buf_printf(out, "<h3>How it was searched</h3>\n<dl>\n<dt>Score</dt><dd><b>%s</b> ",
                    cmir_score_name(result->score));
    cmir_buf_puts(out, score_sentences[result->score]);
    cmir_buf_printf(out,
                    "</dd>\n<dt>Candidates</dt><dd>%llu volumes passed the filters, %zu listed; "
                    "%.3f s</dd>\n",
                    (unsigned long long)result->n_candidates, result->n_hits, result->seconds);
    if (!query->no_paths)
        cmir_page_fact(out, "Archive", archive->dir);
    cmir_page_fact(out, "Plane", plane_names[archive->plane]);
    cmir_buf_puts(out, "<dt>Encoder</dt><dd>");
    cmir_html_text(out, archive->encoder_name);
    cmir_buf_puts(out, " ");
    cmir_html_text(out, archive->encoder_version);
    cmir_buf_puts(out, " <span class=\"soft\">sha256 ");
    cmir_html_text(out, archive->encoder_sha256);
    cmir_buf_puts(out, "</span></dd>\n");
    if (command != NULL)
        cmir_page_fact(out, "Command", command);
    cmir_page_written(out);
    cmir_buf_puts(out, "</dl>\n");
}

static cmir_status
write_query(cmir_buf *out, const cmir_result *result, const cmir_archive_info *archive,
            const cmir_source *query, const char *command, cmir_error *err)
{
    cmir_buf_puts(out, "<section>\n<div class=\"two\">\n<div>\n<h2><span class=\"query\">Query"
                       "</span></h2>\n<dl>\n<dt>Volume</dt><dd>");
    cmir_html_text(out, result->query->info.volume_id);
    cmir_buf_printf(out, "</dd>\n<dt>Searched</dt><dd>slices %u to %u of 0 to %u</dd>\n",
                    result->first_slice, result->last_slice,
                    result->query->n_slices > 0 ? result->query->n_slices - 1 : 0);
    cmir_facts_write(out, result->query, query->no_paths);
    cmir_preview_note(out, query);
    cmir_buf_puts(out, "</dl>\n");
    write_method(out, result, archive, query, command);
    cmir_buf_puts(out, "</div>\n");
    const cmir_status st = write_query_picture(out, result, query, err);
    cmir_buf_puts(out, "</div>\n</section>\n");
    return st;
}

static void
write_summary(cmir_buf *out, const cmir_result *result, const cmir_buf *rows, size_t n_shown)
{
    cmir_buf_puts(out, "<section>\n<h2>What was found</h2>\n");
    if (result->n_hits == 0) {
        cmir_buf_puts(out, "<p>No volume of the archive passed the filters.</p>\n</section>\n");
        return;
    }
    cmir_buf_puts(out, "<table>\n<thead><tr><th>Rank</th><th></th><th>Volume</th><th>Score</th>"
                       "<th>Matched run</th><th>Labels</th></tr></thead>\n<tbody>\n");
    if (rows->nbytes > 0)
        cmir_buf_add(out, rows->data, rows->nbytes);
    cmir_buf_puts(out, "</tbody>\n</table>\n");
    if (n_shown < result->n_hits)
        cmir_buf_printf(out, "<p class=\"soft\">%zu further volumes are not shown.</p>\n",
                        result->n_hits - n_shown);
    cmir_buf_puts(out, "</section>\n");
}

/* All hits that are shown: sections and rows. */
static cmir_status
write_hits(const cmir_result *result, const cmir_archive *archive, const cmir_report_options *o,
           const cmir_source *query, size_t n_shown, cmir_buf *sections, cmir_buf *rows,
           cmir_error *err)
{
    for (size_t i = 0; i < n_shown; i++) {
        cmir_source found;
        cmir_status st;

        if (o->progress != NULL && o->progress(o->progress_ctx, i, n_shown) != 0)
            return FAIL(err, CMIR_ECANCELLED, "the report was cancelled");
        cmir_source_open(&found, archive, result->hits[i].record, query->plane, NULL);
        found.no_paths = o->no_paths;
        st = cmir_hit_write(result, &result->hits[i], query, &found, sections, rows, err);
        cmir_source_close(&found);
        if (st != CMIR_OK)
            return st;
    }
    if (o->progress != NULL && o->progress(o->progress_ctx, n_shown, n_shown) != 0)
        return FAIL(err, CMIR_ECANCELLED, "the report was cancelled");
    return CMIR_OK;
}

static cmir_status
check_arguments(const cmir_result *result, const cmir_archive *archive,
                const cmir_report_options *o, const char *path, cmir_error *err)
{
    if (result == NULL || archive == NULL || path == NULL)
        return FAIL(err, CMIR_EINVAL, "report: result, archive and path must be given");
    if (o->struct_nbytes != sizeof *o)
        return FAIL(err, CMIR_EINVAL, "report options: struct_nbytes is not that of this library");
    if ((unsigned)result->score > CMIR_WEIGHTED)
        return FAIL(err, CMIR_EINVAL, "report: score %d is none", (int)result->score);
    return CMIR_OK;
}

cmir_status
cmir_report_write(const cmir_result *result, const cmir_archive *archive,
                  const cmir_report_options *options, const char *path, cmir_error *err)
{
    const cmir_report_options defaults = {.struct_nbytes = sizeof defaults};
    const cmir_report_options *o = options == NULL ? &defaults : options;
    cmir_buf page = {0}, sections = {0}, rows = {0};
    cmir_source query;
    cmir_status st = check_arguments(result, archive, o, path, err);

    if (st != CMIR_OK)
        return st;
    const cmir_archive_info *info = cmir_archive_get_info(archive);
    const size_t wanted = o->max_hits == 0 ? DEFAULT_HITS : o->max_hits;
    const size_t most = wanted < MAX_HITS ? wanted : MAX_HITS;
    const size_t n_shown = result->n_hits < most ? result->n_hits : most;
    cmir_source_open(&query, archive, result->query, info->plane, o->query);
    query.no_paths = o->no_paths;
    write_head(&page, result);
    if ((st = write_query(&page, result, info, &query, o->command, err)) == CMIR_OK &&
        (st = write_hits(result, archive, o, &query, n_shown, &sections, &rows, err)) == CMIR_OK) {
        cmir_contrast_write(&page, result->query, result->contrast);
        write_summary(&page, result, &rows, n_shown);
        cmir_evidence_write(&page, result->evidence, n_shown);
        if (sections.nbytes > 0)
            cmir_buf_add(&page, sections.data, sections.nbytes);
        cmir_page_close(&page);
        if (page.failed || sections.failed || rows.failed)
            st = FAIL(err, CMIR_ENOMEM, "%s: no memory for the report", path);
        else
            st = cmir_file_replace(path, page.data, page.nbytes, err);
    }
    cmir_source_close(&query);
    free(page.data);
    free(sections.data);
    free(rows.data);
    return st;
}
