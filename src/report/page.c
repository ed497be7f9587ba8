/* SPDX-License-Identifier: Apache-2.0 */
/* page.c: the frame of every report.  Called by report.c and evaluation.c.
 *
 * The one idea: what the page may load is forbidden in its head, so that nothing in it can fetch or
 * run anything, whatever gets past the escaping of text. */
#include "report/page.h"

#include <time.h>

#include <cmir/status.h>

#include "report/html.h"
#include "report/style.h"

void
cmir_page_open(cmir_buf *out, const char *title, const char *kind, const char *heading,
               const char *name)
{
    cmir_buf_puts(out,
                  "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n"
                  "<head>\n<meta charset=\"utf-8\"/>\n"
                  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                  "img-src data:; style-src 'unsafe-inline'\"/>\n"
                  "<meta name=\"viewport\" content=\"width=device-width\"/>\n<title>");
    cmir_html_text(out, title);
    cmir_buf_puts(out, kind);
    cmir_buf_puts(out, " - " CMIR_NOTICE "</title>\n<style>\n");
    cmir_buf_puts(out, style_screen);
    cmir_buf_puts(out, style_pictures);
    cmir_buf_puts(out, style_evaluation);
    cmir_buf_puts(out, style_print);
    cmir_buf_puts(out, "</style>\n</head>\n<body>\n<h1>");
    cmir_buf_puts(out, heading);
    cmir_html_text(out, name);
    cmir_buf_puts(out, "</h1>\n<p class=\"notice\" role=\"note\">" CMIR_NOTICE "</p>\n");
}

void
cmir_page_close(cmir_buf *out)
{
    cmir_buf_puts(out, "<p class=\"notice\" role=\"note\">" CMIR_NOTICE "</p>\n</body>\n</html>\n");
}

void
cmir_page_fact(cmir_buf *out, const char *name, const char *value)
{
    cmir_buf_printf(out, "<dt>%s</dt><dd>", name);
    cmir_html_text(out, value);
    cmir_buf_puts(out, "</dd>\n");
}

void
cmir_page_written(cmir_buf *out)
{
    char date[32] = "";
    const time_t now = time(NULL);
    struct tm utc;

    if (gmtime_r(&now, &utc) != NULL)
        (void)strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &utc);
    cmir_buf_printf(out, "<dt>Written</dt><dd>%s by cmir %s</dd>\n", date, cmir_version());
}
