/* SPDX-License-Identifier: Apache-2.0 */
/* api_system.c: what the service says of itself. */
#include "api.h"

void
api_health(request *r)
{
    reply_json(r, 200, json_pack("{s:s}", "Status", "ok"));
}
