/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h: what the service counts, for Prometheus. */
#ifndef CMIR_SERVER_METRICS_H
#define CMIR_SERVER_METRICS_H

#include "server_internal.h"

cmir_status metrics_start(server *s, cmir_error *err);
void metrics_stop(server *s);
/* One more request; `of` NULL: for no route. */
void metrics_request(server *s, const route *of, unsigned status, double seconds);

#endif
