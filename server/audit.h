/* SPDX-License-Identifier: Apache-2.0 */
/* audit.h: the audit log: who looked at what.
 *
 * The one idea: every line holds the SHA-256 of the line before it, so that a line which is changed,
 * taken out or put in is found by anybody who reads the file: docs/security.md. */
#ifndef CMIR_SERVER_AUDIT_H
#define CMIR_SERVER_AUDIT_H

#include "server_internal.h"

#define AUDIT_FIRST "0000000000000000000000000000000000000000000000000000000000000000"

cmir_status audit_start(server *s, cmir_error *err); /* CMIR_EBUSY: another service writes there */
void audit_stop(server *s);
uint64_t audit_lines(server *s); /* written since the start */

#endif
