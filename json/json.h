/* SPDX-License-Identifier: Apache-2.0 */
/* json.h: records, results and evidence as JSON.  Called by cli/ and server/.
 *
 * The one idea: the command and the service print the same objects, made in one place from what
 * include/cmir gives.  Values are new references; where memory runs out for one, the program ends. */
#ifndef CMIR_JSON_JSON_H
#define CMIR_JSON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <cmir/cmir.h>

/* ---- value.c: valid whatever the strings hold. */
void *cmir_json_need(void *memory); /* ends the program where memory ran out */
/* Length of the UTF-8 character at `text` and its code; 0 where it is invalid. */
size_t cmir_json_decode(const char *text, uint32_t *code);
json_t *cmir_json_text(const char *text);   /* invalid bytes replaced */
json_t *cmir_json_number(double value);     /* null where it is not finite */
json_t *cmir_json_pair(uint32_t a, uint32_t b);
void cmir_json_set(json_t *object, const char *key, json_t *value);
void cmir_json_add(json_t *array, json_t *value);

/* ---- record.c.  `paths`: with "Path", where the source files lie on this machine. */
json_t *cmir_json_labels(const cmir_record *record);
json_t *cmir_json_record(const cmir_record *record, bool paths); /* as `cmir list --json` has it */
/* An array of those that pass `where` (NULL: all), in order of id. */
cmir_status cmir_json_records(const cmir_archive *archive, const char *where, bool paths,
                              json_t **out, cmir_error *err);
json_t *cmir_json_volume(const cmir_record *record, bool paths); /* as `cmir show --json` */
json_t *cmir_json_encoder(const cmir_archive_info *info);
json_t *cmir_json_whitening(const cmir_archive_info *info); /* null where it is not fitted */

/* ---- result.c: as `cmir search --json` has it. */
json_t *cmir_json_hit(const cmir_hit *hit, bool paths);
json_t *cmir_json_result(const cmir_archive *archive, const cmir_result *result, bool paths);

/* ---- evidence.c */
json_t *cmir_json_evidence(const cmir_evidence *evidence);
json_t *cmir_json_cases(const cmir_evidence *evidence);
json_t *cmir_json_calibration(const cmir_calibration *calibration);
json_t *cmir_json_contrast(const cmir_contrast *contrast);

#endif
