/* SPDX-License-Identifier: Apache-2.0 */
/* contrast.h: where a query looks like cases with a label.  Called by search.c. */
#ifndef CMIR_ENGINE_CONTRAST_H
#define CMIR_ENGINE_CONTRAST_H

#include "engine/search_job.h"

/* cmir_search_job_contrast() adds the contrast that the options ask for to the job's result.
 * CMIR_ENOTFOUND where no volume that may answer has the label. */
cmir_status cmir_search_job_contrast(cmir_search_job *job, const cmir_archive *archive,
                                     const cmir_search_options *o, uint32_t n_threads,
                                     cmir_error *err);

#endif
