/* SPDX-License-Identifier: Apache-2.0 */
/* phantom_scan.h: scans of made-up patients as files.  Used by phantom.c and phantom_sites.c. */
#ifndef CMIR_CLI_PHANTOM_SCAN_H
#define CMIR_CLI_PHANTOM_SCAN_H

#include <stdint.h>
#include <stdio.h>

#include <cmir/cmir.h>

#include "phantom_body.h"

/* A scan of a patient: where the slices lie and what the machine adds. */
typedef struct phantom_scan {
    uint32_t side;            /* rows and columns */
    double z0, dz;            /* of the first slice, and between slices: mm */
    uint32_t n_slices;
    double pixel_mm, x0, y0;  /* centre of the field of view */
    double noise_hu, gain;
    double angle;             /* of the patient on the table, radians */
    uint64_t noise_seed;
} phantom_scan;

/* Writes the scan to DIR/SUB/NAME.nii.gz; with mask_sub, what phantom_body_hu() gives as the
 * mask to DIR/MASK_SUB/NAME.nii.gz, on the same grid. */
cmir_status phantom_scan_write(const char *dir, const char *sub, const char *mask_sub,
                               const char *name, const phantom_body *body, const phantom_scan *scan,
                               cmir_error *err);

/* Makes DIR and the folders `subs` (NULL-terminated) in it; what is there already is fine. */
cmir_status phantom_make_folders(const char *dir, const char *const *subs, cmir_error *err);

/* DIR/NAME with its first line.  phantom_close_csv() takes NULL; *st stays where it was an error. */
cmir_status phantom_open_csv(const char *dir, const char *name, const char *header, FILE **out,
                             cmir_error *err);
void phantom_close_csv(FILE *csv, const char *dir, const char *name, cmir_status *st,
                       cmir_error *err);

#endif
