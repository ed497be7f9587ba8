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
    PHANTOM_KIDNEY,
    PHANTOM_COLON,
    PHANTOM_PANCREAS
} phantom_organ;

#define PHANTOM_LOOPS 64 /* bowel loops */
#define PHANTOM_TUMOURS 4

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
    phantom_ball lesion; /* rx == ry == rz; rx is its radius in mm; bends with the body */
    double lesion_hu;
    bool has_colon_and_pancreas;    /* bodies with tumours only */
    phantom_ball colon[2], pancreas;
    double pancreas_hu;
    phantom_organ organ;            /* in which tumours may be: one host, or two alike */
    phantom_ball host[2];
    int n_hosts, n_tumours;
    phantom_ball tumour[PHANTOM_TUMOURS]; /* true balls of radius rx around LPS mm: do not bend */
    double tumour_hu;
} phantom_body;

/* A body with a lesion; colon and pancreas are not drawn. */
void phantom_body_make(uint64_t seed, phantom_organ lesion_organ, double lesion_diameter_mm,
                       phantom_body *out);

/* A body with all organs and `enhancement`, and n (0 .. PHANTOM_TUMOURS) tumours in `organ` (colon,
 * liver, lung or pancreas) that keep PHANTOM_GAP_MM from each other.  diameters_mm: the largest
 * first; one that finds no room in many tries shrinks, which shows in out->tumour. */
#define PHANTOM_GAP_MM 12.0
void phantom_body_make_tumours(uint64_t seed, double enhancement, phantom_organ organ,
                               const double *diameters_mm, int n, phantom_body *out);

/* HU at a point, edges softened over `blur_mm`.  *mask: 1 in the lesion; in bodies with tumours 1 in
 * the organ and 2 in a tumour; else 0. */
double phantom_body_hu(const phantom_body *body, double x, double y, double z, double blur_mm,
                       int16_t *mask);

#endif
