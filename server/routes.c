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
    {NULL, NULL, ROLE_NONE, BODY_NONE, NULL, NULL},
};
