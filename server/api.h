/* SPDX-License-Identifier: Apache-2.0 */
/* api.h: the handlers that routes.c names, by the file that holds them. */
#ifndef CMIR_SERVER_API_H
#define CMIR_SERVER_API_H

#include "http.h"

/* api_system.c */
void api_health(request *r);
void api_system(request *r);
/* metrics.c */
void api_metrics(request *r);
/* page.c */
void api_page(request *r);
void api_page_file(request *r);
void api_page_asset(request *r);
void api_openapi(request *r);
/* api_session.c */
void api_session_get(request *r);
void api_session_begin(request *r);
void api_session_end(request *r);

/* api_volumes.c; "upload": the same of an upload */
void api_volumes(request *r);
void api_volume(request *r);
void api_volume_delete(request *r);
void api_upload_volume(request *r);

/* api_slices.c */
void api_slice(request *r);
void api_thumbnail(request *r);
void api_nifti(request *r);

/* api_search.c */
void api_search(request *r);
void api_evidence(request *r);
void api_matches(request *r);
void api_report(request *r);

/* api_jobs.c */
void api_jobs(request *r);
void api_job(request *r);
void api_job_delete(request *r);
void api_job_report(request *r);

/* api_upload.c */
void api_volumes_post(request *r);
void api_uploads_post(request *r);
void api_upload(request *r);
void api_upload_delete(request *r);
void api_upload_add(request *r);

/* api_labels.c */
void api_labels_get(request *r);
void api_labels_post(request *r);

/* api_feedback.c */
void api_feedback_get(request *r);
void api_feedback_post(request *r);

/* api_cohorts.c */
void api_cohorts_get(request *r);
void api_cohorts_post(request *r);
void api_cohort_get(request *r);
void api_cohort_put(request *r);
void api_cohort_delete(request *r);
void api_cohort_csv(request *r);
void api_cohort_json(request *r);

#endif
