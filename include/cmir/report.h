/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/report.h: a search result as one self-contained HTML file. */
#ifndef CMIR_REPORT_H
#define CMIR_REPORT_H

#include <cmir/search.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cmir_report_options {
    size_t struct_nbytes;    /* sizeof (cmir_report_options) */
    const char *command;     /* the command line that made the result, shown in the report; or NULL */
    cmir_volume *query;      /* the query's voxels if the caller has them loaded; NULL: read again
                                from the path of result->query */
    uint32_t max_hits;       /* shown with pictures; 0: 10; at most 100 */
    cmir_progress_fn progress; /* hits drawn */
    void *progress_ctx;
} cmir_report_options;

/* cmir_report_write() writes the report of `result`, a search in `archive`, to `path`.  Pictures
 * come from the source files; where one can no longer be read, or no longer has the slices it had,
 * the report says so in its place.  An existing file is replaced only when the new one is whole. */
CMIR_API cmir_status
cmir_report_write(const cmir_result *result, const cmir_archive *archive,
                  const cmir_report_options *options, const char *path, cmir_error *err);

#ifdef __cplusplus
}
#endif
#endif
