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

#endif
