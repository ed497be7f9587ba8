/* SPDX-License-Identifier: Apache-2.0 */
/* html.h: text and pictures inside HTML that is also well-formed XML.  Called by all of report. */
#ifndef CMIR_REPORT_HTML_H
#define CMIR_REPORT_HTML_H

#include <stddef.h>

#include "base/memory.h"

/* Appends `text` so that it is only text, in an element or in a quoted attribute, whatever it
 * holds: markup is escaped; bytes that are not UTF-8, control characters and characters that turn
 * the direction of writing become U+FFFD. */
void cmir_html_text(cmir_buf *out, const char *text);

/* Appends "data:image/png;base64,..." */
void cmir_html_png(cmir_buf *out, const void *png, size_t nbytes);

#endif
