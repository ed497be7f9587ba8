/* SPDX-License-Identifier: Apache-2.0 */
/* text.h: text from outside, checked before anybody sees it. */
#ifndef CMIR_SERVER_TEXT_H
#define CMIR_SERVER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Valid UTF-8 without control characters (C0, DEL, C1). */
bool text_is_clean(const char *text, size_t nbytes);
/* Undoes percent-encoding ('+' is a blank where `plus` says so); free().  NULL where a '%' is not
 * followed by two hex digits, or the result is not clean, or memory ran out. */
char *text_percent_decode(const char *text, size_t nbytes, bool plus);
/* The last component of what a client calls a file, whatever its system's separators; "" for "."
 * and "..", and where it is not clean. */
const char *text_file_name(const char *name);
/* 2 n digits and NUL. */
void text_hex(const uint8_t *bytes, size_t n, char *out);

/* Text of a few words: whether it stands in a comma-separated header such as If-None-Match.
 * "W/" in front and quotes do not count; "*" matches everything. */
bool text_list_has_etag(const char *list, const char *etag);

/* Of paths in `text` the last part is kept: where files lie is nobody's business. */
void text_strip_paths(char *text);

#endif
