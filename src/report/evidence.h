/* SPDX-License-Identifier: Apache-2.0 */
/* evidence.h: what the nearest cases say, in the report.  Called by report.c. */
#ifndef CMIR_REPORT_EVIDENCE_H
#define CMIR_REPORT_EVIDENCE_H

#include <cmir/evidence.h>

#include "base/memory.h"

/* Appends the section, where a label is known; the first n_shown hits have sections of their own. */
void cmir_evidence_write(cmir_buf *out, const cmir_evidence *evidence, size_t n_shown);

/* Appends what the contrast of `query` shows; nothing where it is NULL. */
void cmir_contrast_write(cmir_buf *out, const cmir_record *query, const cmir_contrast *contrast);

#endif
