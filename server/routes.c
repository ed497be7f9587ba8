/* SPDX-License-Identifier: Apache-2.0 */
/* routes.c: everything that can be asked of the service, one row each.
 *
 * The one idea: this table is the whole of who may do what, and with what body; openapi.json says the
 * same to clients. */
#include "api.h"

const route server_routes[] = {
    {"GET", "/healthz", ROLE_NONE, BODY_NONE, api_health, "health"},
    {NULL, NULL, ROLE_NONE, BODY_NONE, NULL, NULL},
};
