/* SPDX-License-Identifier: Apache-2.0 */
/* pixels.h: volumes opened for pictures, kept for the next request.  Called by api_slices.c and
 * api_volumes.c. */
#ifndef CMIR_SERVER_PIXELS_H
#define CMIR_SERVER_PIXELS_H

#include "server_internal.h"

#define PIXELS_FOLDER "views" /* of the state: files while they are sent */
#define PIXELS_SMALL_SIDE 128 /* pictures no larger are made of small previews */

cmir_status pixels_start(server *s, cmir_error *err);
void pixels_stop(server *s);

/* The record of a volume of an archive (dir NULL: the served one; else an upload's). */
cmir_status pixels_record(server *s, const char *dir, const char *volume_id, cmir_record **out,
                          cmir_error *err);

/* A volume of the served archive or of an upload, opened; shared with other requests. */
typedef struct seen seen;
/* Opens what suits pictures of at most `side` pixels of `record`, or finds it open.  Several that ask
 * for the same wait for one of them.  CMIR_ENOTFOUND and the like: there is nothing to see.  Give it
 * back. */
cmir_status pixels_take(server *s, const char *dir, const cmir_record *record, uint32_t side,
                        seen **out, cmir_error *err);
const cmir_pixels *pixels_of(const seen *what);
bool pixels_is_fallback(const seen *what); /* a small preview where the scan was wanted */
void pixels_give(server *s, seen *what);

/* What needs much memory waits its turn: between these, at most two requests. */
void pixels_begin_large(server *s);
void pixels_end_large(server *s);

/* "source", "preview" or "none": what pictures of a volume are likely to be made of, by a look at where
 * it was; nothing is opened. */
const char *pixels_expected(server *s, const char *dir, const cmir_record *record);

/* What makes a record's pictures what they are, as a short text: other after it was removed and added
 * again. */
#define PIXELS_VERSION_NBYTES 17
void pixels_version(const cmir_record *record, char out[PIXELS_VERSION_NBYTES]);

#endif
