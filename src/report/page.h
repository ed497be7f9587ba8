/* SPDX-License-Identifier: Apache-2.0 */
/* page.h: the frame of every report: one self-contained page in one style, with the notice at both
 * ends.  Called by report.c and evaluation.c. */
#ifndef CMIR_REPORT_PAGE_H
#define CMIR_REPORT_PAGE_H

#include "base/memory.h"

/* Head and heading; `title` and `name` come from files, the others do not: the window is called
 * title, then `kind`; the heading is `heading`, then name. */
void cmir_page_open(cmir_buf *out, const char *title, const char *kind, const char *heading,
                    const char *name);
void cmir_page_close(cmir_buf *out);

/* "<dt>name</dt><dd>value</dd>"; the value comes from anywhere. */
void cmir_page_fact(cmir_buf *out, const char *name, const char *value);

/* When it was written, and by which version, as such a pair. */
void cmir_page_written(cmir_buf *out);

#endif
