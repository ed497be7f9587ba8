/* SPDX-License-Identifier: Apache-2.0 */
/* hit.c: one volume found, in the report: pictures of matched slices side by side, the strips, and
 * what is known of the case.  Called by report.c.
 *
 * The one idea: a pair is always drawn the same way on both sides, same windows, same size, with
 * the query on the left, so that the eye compares anatomy and nothing else. */
#include "report/hit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/html.h"
#include "report/strip.h"

enum { SIDE_BEST = 384, SIDE_FURTHER = 176, SIDE_THUMB = 72, N_FURTHER = 2 };

/* Letters at the left, right, top and bottom of a picture. */
static const char *const letters[3][4] = {
    [CMIR_AXIAL] = {"R", "L", "A", "P"},
    [CMIR_CORONAL] = {"R", "L", "S", "I"},
    [CMIR_SAGITTAL] = {"A", "P", "S", "I"},
};

/* A bar of round length, at most 40 % of the picture's width; widths in percent. */
static void
write_bar(cmir_buf *out, const cmir_frame *frame, double shown_share)
{
    static const unsigned lengths_mm[] = {100, 50, 20, 10, 5};

    for (size_t i = 0; i < sizeof lengths_mm / sizeof lengths_mm[0]; i++) {
        const double percent = 100.0 * lengths_mm[i] / frame->width_mm;

        if (percent > 40.0)
            continue;
        cmir_buf_printf(out, "<span class=\"bar\" style=\"width:%ld%%\">%u mm</span>",
                        lround(percent * shown_share), lengths_mm[i]);
        return;
    }
}

cmir_status
cmir_picture_write(cmir_buf *out, const cmir_frame *frame, cmir_preset window, cmir_plane plane,
                   unsigned side, const char *alt, cmir_error *err)
{
    static const char *const places[4] = {"left", "right", "top", "bottom"};
    cmir_buf png = {0};

    cmir_buf_printf(out, "<div class=\"pic w%u\">", side);
    if (frame->values == NULL) {
        cmir_buf_puts(out, "<span class=\"missing\">no picture");
        if (side > SIDE_FURTHER) {
            cmir_buf_puts(out, ": ");
            cmir_html_text(out, frame->problem.msg);
        }
        cmir_buf_puts(out, "</span></div>");
        return CMIR_OK;
    }
    const cmir_status st = cmir_frame_png(frame, window, &png, err);
    const double scale =
        (double)side / (frame->width > frame->height ? frame->width : frame->height);
    const long width = lround(frame->width * scale), height = lround(frame->height * scale);
    cmir_buf_puts(out, "<img alt=\"");
    cmir_html_text(out, alt);
    cmir_buf_printf(out, "\" width=\"%ld\" height=\"%ld\" src=\"", width > 0 ? width : 1,
                    height > 0 ? height : 1);
    if (st == CMIR_OK)
        cmir_html_png(out, png.data, png.nbytes);
    cmir_buf_puts(out, "\"/>");
    out->failed = out->failed || png.failed;
    free(png.data);
    if (side > SIDE_THUMB) {
        for (int i = 0; i < 4; i++)
            cmir_buf_printf(out, "<i class=\"%s\">%s</i>", places[i], letters[plane][i]);
    }
    if (side > SIDE_FURTHER)
        write_bar(out, frame, (double)width / side);
    cmir_buf_puts(out, "</div>");
    return st;
}

void
cmir_mm_write(cmir_buf *out, double mm)
{
    if (isfinite(mm)) /* + 0.0: never "-0.0" */
        cmir_buf_printf(out, "%.1f mm", round(mm * 10) / 10 + 0.0);
}

static void
write_fact(cmir_buf *out, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    cmir_buf_printf(out, "<dt>%s</dt><dd>", name);
    cmir_html_text(out, value);
    cmir_buf_puts(out, "</dd>\n");
}

/* YYYYMMDD with dashes; anything else as it is. */
static void
write_date(cmir_buf *out, const char *date)
{
    char text[12];

    if (strlen(date) == 8 && strspn(date, "0123456789") == 8) {
        (void)snprintf(text, sizeof text, "%.4s-%.2s-%.2s", date, date + 4, date + 6);
        date = text;
    }
    write_fact(out, "Study date", date);
}

void
cmir_facts_write(cmir_buf *out, const cmir_record *record, bool no_paths)
{
    const cmir_volume_info *info = &record->info;

    write_fact(out, "Modality", info->modality);
    write_fact(out, "Body part", info->body_part);
    write_fact(out, "Series", info->description);
    write_fact(out, "Patient", info->patient_id);
    write_fact(out, "Sex", info->patient_sex);
    if (isfinite(info->patient_age))
        cmir_buf_printf(out, "<dt>Age</dt><dd>%.0f years</dd>\n", info->patient_age);
    write_date(out, info->study_date);
    write_fact(out, "Manufacturer", info->manufacturer);
    cmir_buf_printf(out, "<dt>Slices</dt><dd>%u, every %.2f mm", record->n_slices,
                    record->slice_spacing_mm);
    if (record->n_air > 0)
        cmir_buf_printf(out, "; %u of them only air, left out", record->n_air);
    cmir_buf_puts(out, "</dd>\n");
    write_fact(out, "Study UID", info->study_uid);
    write_fact(out, "Series UID", info->series_uid);
    if (!no_paths)
        write_fact(out, "Source", info->path);
}

void
cmir_preview_note(cmir_buf *out, const cmir_source *source)
{
    if (!cmir_source_is_preview(source))
        return;
    cmir_buf_puts(out, "<dt>Pictures</dt><dd>of the preview that the archive keeps; the scan "
                       "itself: ");
    cmir_html_text(out, cmir_source_problem(source));
    cmir_buf_puts(out, "</dd>\n");
}

/* The caption of one side of a pair; a short one below a small picture. */
static void
write_caption(cmir_buf *out, bool is_query, const cmir_source *source, uint32_t slice, bool brief)
{
    const cmir_record *record = source->record;
    const char *who = brief ? "" : is_query ? "query " : "this volume ";

    cmir_buf_printf(out, "<figcaption><span class=\"%s\">%sslice %u</span> ",
                    is_query ? "query" : "found", who, slice);
    if (slice < record->n_slices) {
        cmir_mm_write(out, record->slice_mm[slice]);
        if (!brief && record->slice_uids[slice][0] != '\0') {
            cmir_buf_puts(out, "<br/><span class=\"soft\">");
            cmir_html_text(out, record->slice_uids[slice]);
            cmir_buf_puts(out, "</span>");
        }
    }
    if (brief && cmir_source_is_preview(source))
        cmir_buf_puts(out, " <span class=\"soft\">preview</span>");
    cmir_buf_puts(out, "</figcaption>");
}

/* One side of a pair: where the pair is CT and this side is not, by its own range. */
static cmir_status
write_side(cmir_buf *out, const cmir_source *source, const cmir_frame *frame, uint32_t slice,
           cmir_preset window, unsigned side, bool is_query, cmir_error *err)
{
    const cmir_preset own = frame->has_hu ? window : CMIR_WINDOW_RANGE;
    char alt[160];

    (void)snprintf(alt, sizeof alt, "%s slice %u, window %s", is_query ? "Query" : "Matched", slice,
                   cmir_preset_name(own));
    cmir_buf_puts(out, "<figure>");
    const cmir_status st = cmir_picture_write(out, frame, own, source->plane, side, alt, err);
    write_caption(out, is_query, source, slice, side != SIDE_BEST);
    cmir_buf_puts(out, "</figure>\n");
    return st;
}

/* The best pair in the windows its slices need, or a further pair in the first of them. */
static cmir_status
write_pair(cmir_buf *out, const cmir_source *query, const cmir_source *found,
           const cmir_match *match, unsigned side, cmir_error *err)
{
    cmir_frame q, f;
    cmir_preset windows[2], others[2];
    cmir_status st = CMIR_OK;

    cmir_frame_take(&q, query, match->query_slice, 2 * side);
    cmir_frame_take(&f, found, match->match_slice, 2 * side);
    cmir_frame_presets(q.values != NULL ? &q : &f, windows);
    cmir_frame_presets(&f, others);
    if (windows[1] == windows[0] && q.has_hu && f.has_hu)
        windows[1] = others[1];
    const int n_windows = side == SIDE_BEST && windows[1] != windows[0] ? 2 : 1;
    for (int w = 0; w < n_windows && st == CMIR_OK; w++) {
        cmir_buf_puts(out, "<div class=\"pair\"><h3>");
        if (side == SIDE_BEST)
            cmir_buf_puts(out, "Best pair &#183; ");
        if (side == SIDE_BEST && (q.values != NULL || f.values != NULL))
            cmir_buf_printf(out, "%s &#183; ", cmir_preset_name(windows[w]));
        cmir_buf_printf(out, "similarity %.4f</h3>\n", (double)match->similarity);
        st = write_side(out, query, &q, match->query_slice, windows[w], side, true, err);
        if (st == CMIR_OK)
            st = write_side(out, found, &f, match->match_slice, windows[w], side, false, err);
        cmir_buf_puts(out, "</div>\n");
    }
    cmir_frame_free(&q);
    cmir_frame_free(&f);
    return st;
}

cmir_status
cmir_pair_write(cmir_buf *out, const cmir_source *query, const cmir_source *found,
                const cmir_match *match, cmir_error *err)
{
    return write_pair(out, query, found, match, SIDE_FURTHER, err);
}

/* Further pairs, spread over the matched run: the matches nearest to a fifth and to four fifths of
 * it, none twice and none of them the best pair's query slice. */
static uint32_t
choose_further(const cmir_hit *hit, const cmir_match *chosen[N_FURTHER])
{
    uint32_t n = 0;

    for (int k = 0; k < N_FURTHER; k++) {
        const double length = (double)hit->match_last - hit->match_first;
        const double target = hit->match_first + length * (k == 0 ? 0.2 : 0.8);
        const cmir_match *nearest = NULL;

        for (uint32_t i = 0; i < hit->n_matches; i++) {
            const cmir_match *m = &hit->matches[i];
            const double away = fabs(m->match_slice - target);

            if (i == hit->best || m->match_slice < hit->match_first ||
                m->match_slice > hit->match_last || (n > 0 && m == chosen[0]) ||
                m->match_slice == hit->matches[hit->best].match_slice)
                continue;
            if (nearest == NULL || away < fabs(nearest->match_slice - target) ||
                (away <= fabs(nearest->match_slice - target) &&
                 m->similarity > nearest->similarity))
                nearest = m;
        }
        if (nearest != NULL)
            chosen[n++] = nearest;
    }
    return n;
}

static void
write_labels(cmir_buf *out, const cmir_record *record, bool as_list)
{
    if (as_list)
        cmir_buf_puts(out, "<ul class=\"labels\">");
    for (size_t i = 0; i < record->n_labels; i++) {
        cmir_buf_puts(out, as_list ? "<li><b>" : i > 0 ? "; " : "");
        cmir_html_text(out, record->labels[i].name);
        cmir_buf_puts(out, as_list ? "</b> " : " ");
        cmir_html_text(out, record->labels[i].value);
        cmir_buf_puts(out, as_list ? "</li>" : "");
    }
    if (as_list && record->n_labels == 0)
        cmir_buf_puts(out, "<li><b>no labels</b></li>");
    if (as_list)
        cmir_buf_puts(out, "</ul>\n");
}

/* "slices 12 to 40 (-87.5 mm to 52.5 mm)" */
static void
write_run(cmir_buf *out, const cmir_hit *hit)
{
    cmir_buf_printf(out, "slices %u to %u", hit->match_first, hit->match_last);
    if (isfinite(hit->match_mm[0]) && isfinite(hit->match_mm[1]))
        cmir_buf_printf(out, " (%.1f to %.1f mm)", hit->match_mm[0], hit->match_mm[1]);
}

static void
write_score(cmir_buf *out, const cmir_result *result, const cmir_hit *hit)
{
    cmir_buf_printf(out, result->score == CMIR_FREQ ? "%.0f" : "%.4f", hit->score);
}

/* What kind of scan it is, in a few words below its id. */
static void
write_kind(cmir_buf *out, const cmir_volume_info *info)
{
    const char *const words[] = {info->modality, info->body_part, info->description};

    cmir_buf_puts(out, "<br/><span class=\"soft\">");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        cmir_html_text(out, words[i]);
        cmir_buf_puts(out, words[i][0] != '\0' ? " " : "");
    }
    cmir_buf_puts(out, "</span>");
}

static cmir_status
write_row(cmir_buf *row, const cmir_result *result, const cmir_hit *hit, const cmir_source *found,
          cmir_error *err)
{
    cmir_frame frame;
    cmir_preset windows[2];

    cmir_frame_take(&frame, found, hit->matches[hit->best].match_slice, 2 * SIDE_THUMB);
    cmir_frame_presets(&frame, windows);
    cmir_buf_printf(row, "<tr><td class=\"number\"><a href=\"#hit-%u\">%u</a></td><td>", hit->rank,
                    hit->rank);
    const cmir_status st = cmir_picture_write(row, &frame, windows[0], found->plane, SIDE_THUMB,
                                              "Best matching slice", err);
    cmir_frame_free(&frame);
    cmir_buf_printf(row, "</td><td><a href=\"#hit-%u\">", hit->rank);
    cmir_html_text(row, hit->record->info.volume_id);
    cmir_buf_puts(row, "</a>");
    write_kind(row, &hit->record->info);
    cmir_buf_puts(row, "</td><td class=\"number\">");
    write_score(row, result, hit);
    cmir_buf_puts(row, "</td><td class=\"number\">");
    write_run(row, hit);
    cmir_buf_puts(row, "</td><td>");
    write_labels(row, hit->record, false);
    cmir_buf_puts(row, "</td></tr>\n");
    return st;
}

cmir_status
cmir_hit_write(const cmir_result *result, const cmir_hit *hit, const cmir_source *query,
               const cmir_source *found, cmir_buf *section, cmir_buf *row, cmir_error *err)
{
    const cmir_match *further[N_FURTHER];
    cmir_status st;

    cmir_buf_printf(
        section, "<section class=\"hit\" id=\"hit-%u\">\n<h2><span class=\"rank\">%u</span><span>",
        hit->rank, hit->rank);
    cmir_html_text(section, hit->record->info.volume_id);
    cmir_buf_printf(section, "</span><span class=\"score\">%s ", cmir_score_name(result->score));
    write_score(section, result, hit);
    cmir_buf_puts(section, "</span></h2>\n");
    write_labels(section, hit->record, true);
    cmir_buf_puts(section, "<p>Matched run: <b class=\"found\">");
    write_run(section, hit);
    cmir_buf_printf(section,
                    "</b> of this volume, found by <b class=\"query\">slices %u to %u</b> of the "
                    "query.</p>\n<div class=\"pairs\">\n<div>\n",
                    hit->query_first, hit->query_last);
    st = write_pair(section, query, found, &hit->matches[hit->best], SIDE_BEST, err);
    cmir_buf_puts(section, "</div>\n<div class=\"side\">\n");
    const uint32_t n = choose_further(hit, further);
    for (uint32_t k = 0; k < n && st == CMIR_OK; k++)
        st = write_pair(section, query, found, further[k], SIDE_FURTHER, err);
    cmir_buf_puts(section, "<dl>\n");
    cmir_facts_write(section, hit->record, found->no_paths);
    cmir_preview_note(section, found);
    cmir_buf_puts(section, "</dl>\n</div>\n</div>\n<div class=\"strips\">\n");
    cmir_strip_similarity(section, hit);
    cmir_strip_pairs(section, result, hit);
    cmir_buf_puts(section, "</div>\n</section>\n");
    return st == CMIR_OK ? write_row(row, result, hit, found, err) : st;
}
