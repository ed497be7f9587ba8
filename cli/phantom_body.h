/* SPDX-License-Identifier: Apache-2.0 */
/* phantom_body.h: a made-up patient whose inside can be asked for at any point. */
#ifndef CMIR_CLI_PHANTOM_BODY_H
#define CMIR_CLI_PHANTOM_BODY_H

#include <stdbool.h>
#include <stdint.h>

/* Seeded random numbers (splitmix64). */
typedef struct phantom_rng {
    uint64_t state;
} phantom_rng;
uint64_t phantom_random(phantom_rng *rng);
double phantom_uniform(phantom_rng *rng, double low, double high);
double phantom_normal(phantom_rng *rng); /* mean 0, variance 1; bounded */

typedef enum phantom_organ {
    PHANTOM_NO_LESION,
    PHANTOM_LIVER,
    PHANTOM_LUNG,
    PHANTOM_KIDNEY
} phantom_organ;

#define PHANTOM_LOOPS 64 /* bowel loops */

/* A patient.  Coordinates are LPS mm, origin in the body's axis at the pelvic floor; z from 0
 * (upper thigh) to PHANTOM_TOP_MM (neck). */
#define PHANTOM_TOP_MM 660.0
typedef struct phantom_ball {
    double x, y, z, rx, ry, rz;
} phantom_ball;
typedef struct phantom_body {
    double width, depth, height;    /* factors on the average body */
    double fat_mm;                  /* under the skin */
    double enhancement;             /* 0: no contrast medium .. 1: arterial */
    double phase[6];                /* of the smooth deformation that makes patients differ */
    double liver_hu, rib_phase;
    phantom_ball liver, spleen, stomach, heart, bladder, kidney[2], lung[2];
    phantom_ball loop[PHANTOM_LOOPS];
    double loop_hu[PHANTOM_LOOPS];
    phantom_organ lesion_organ;
    phantom_ball lesion;            /* rx == ry == rz; rx is its radius in mm */
    double lesion_hu;
} phantom_body;

void phantom_body_make(uint64_t seed, phantom_organ lesion_organ, double lesion_diameter_mm,
                       phantom_body *out);

/* HU at a point, edges softened over `blur_mm`; *in_lesion tells whether the point lies in the
 * lesion. */
double phantom_body_hu(const phantom_body *body, double x, double y, double z, double blur_mm,
                       bool *in_lesion);

#endif
