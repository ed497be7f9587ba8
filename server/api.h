/* SPDX-License-Identifier: Apache-2.0 */
/* api.h: the handlers that routes.c names, by the file that holds them. */
#ifndef CMIR_SERVER_API_H
#define CMIR_SERVER_API_H

#include "http.h"

/* api_system.c */
void api_health(request *r);

#endif
