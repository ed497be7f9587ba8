/* SPDX-License-Identifier: Apache-2.0 */
/* routes.c: everything that can be asked of the service, one row each.
 *
 * The one idea: this table is the whole of who may do what, and with what body; openapi.json says the
 * same to clients. */
#include "api.h"

const route server_routes[] = {
    {"GET", "/", ROLE_NONE, BODY_NONE, api_page, "page"},
    {"GET", "/{file}", ROLE_NONE, BODY_NONE, api_page_file, "page-file"},
    {"GET", "/assets/{file}", ROLE_NONE, BODY_NONE, api_page_asset, "page-asset"},
    {"GET", "/openapi.json", ROLE_NONE, BODY_NONE, api_openapi, "openapi"},
    {"GET", "/healthz", ROLE_NONE, BODY_NONE, api_health, "health"},
    {"GET", "/api/v1/system", ROLE_READER, BODY_NONE, api_system, "system"},
    {"GET", "/metrics", ROLE_READER, BODY_NONE, api_metrics, "metrics"},
    {"GET", "/api/v1/session", ROLE_READER, BODY_NONE, api_session_get, "session"},
    {"POST", "/api/v1/session", ROLE_NONE, BODY_JSON, api_session_begin, "login"},
    {"DELETE", "/api/v1/session", ROLE_READER, BODY_NONE, api_session_end, "logout"},
    {"POST", "/api/v1/volumes", ROLE_CONTRIBUTOR, BODY_FILES, api_volumes_post, "add"},
    {"POST", "/api/v1/uploads", ROLE_READER, BODY_FILES, api_uploads_post, "upload"},
    {"GET", "/api/v1/uploads/{upload}", ROLE_READER, BODY_NONE, api_upload, "upload"},
    {"DELETE", "/api/v1/uploads/{upload}", ROLE_READER, BODY_NONE, api_upload_delete, "upload"},
    {"POST", "/api/v1/uploads/{upload}/add", ROLE_CONTRIBUTOR, BODY_NONE, api_upload_add, "add"},
    {"POST", "/api/v1/search", ROLE_READER, BODY_JSON, api_search, "search"},
    {"POST", "/api/v1/evidence", ROLE_READER, BODY_JSON, api_evidence, "evidence"},
    {"POST", "/api/v1/matches", ROLE_READER, BODY_JSON, api_matches, "matches"},
    {"POST", "/api/v1/report", ROLE_READER, BODY_JSON, api_report, "report"},
    {"GET", "/api/v1/jobs", ROLE_READER, BODY_NONE, api_jobs, "jobs"},
    {"GET", "/api/v1/jobs/{job}", ROLE_READER, BODY_NONE, api_job, "jobs"},
    {"DELETE", "/api/v1/jobs/{job}", ROLE_READER, BODY_NONE, api_job_delete, "jobs"},
    {"GET", "/api/v1/jobs/{job}/report.html", ROLE_READER, BODY_NONE, api_job_report, "report"},
    {"GET", "/api/v1/labels", ROLE_READER, BODY_NONE, api_labels_get, "labels"},
    {"POST", "/api/v1/labels", ROLE_CONTRIBUTOR, BODY_TEXT, api_labels_post, "labels"},
    {"GET", "/api/v1/feedback", ROLE_READER, BODY_NONE, api_feedback_get, "feedback"},
    {"POST", "/api/v1/feedback", ROLE_READER, BODY_JSON, api_feedback_post, "feedback"},
    {"GET", "/api/v1/cohorts", ROLE_READER, BODY_NONE, api_cohorts_get, "cohorts"},
    {"POST", "/api/v1/cohorts", ROLE_READER, BODY_JSON, api_cohorts_post, "cohorts"},
    {"GET", "/api/v1/cohorts/{cohort}.csv", ROLE_READER, BODY_NONE, api_cohort_csv,
     "cohort-export"},
    {"GET", "/api/v1/cohorts/{cohort}.json", ROLE_READER, BODY_NONE, api_cohort_json,
     "cohort-export"},
    {"GET", "/api/v1/cohorts/{cohort}", ROLE_READER, BODY_NONE, api_cohort_get, "cohorts"},
    {"PUT", "/api/v1/cohorts/{cohort}", ROLE_READER, BODY_JSON, api_cohort_put, "cohorts"},
    {"DELETE", "/api/v1/cohorts/{cohort}", ROLE_READER, BODY_NONE, api_cohort_delete, "cohorts"},
    {NULL, NULL, ROLE_NONE, BODY_NONE, NULL, NULL},
};
