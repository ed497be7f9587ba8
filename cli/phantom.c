/* SPDX-License-Identifier: Apache-2.0 */
/* phantom.c: `cmir phantom`: a folder of CT-like volumes of made-up patients, with labels, lesion
 * masks and queries whose answers are known.  Seeded: the same seed writes the same bytes.
 *
 *   OUT/volumes/PATIENT.nii.gz   to be indexed
 *   OUT/queries/NAME.nii.gz      held out: new patients, and new scans of a part of indexed ones
 *   OUT/masks/PATIENT.nii.gz     1 inside the lesion, on the volume's grid
 *   OUT/labels.csv               name, organ, lesion size, flag, patient: as 3D-MIR writes them
 *   OUT/truth.csv                query, source, first and last slice of the source it shows */
#include <stdio.h>

#include <cmir/cmir.h>

#include "cli.h"
#include "phantom_body.h"
#include "phantom_scan.h"

/* Field of view along z: chest, abdomen, pelvis, all three. */
static const double coverage[][2] = {{340, 610}, {190, 400}, {0, 215}, {20, 600}};
static const char *const coverage_name[] = {"chest", "abdomen", "pelvis", "trunk"};

static phantom_scan
make_scan(phantom_rng *rng, int region, double height)
{
    phantom_scan s = {.side = 160};
    const double low = coverage[region][0] + phantom_uniform(rng, -15, 15);
    const double high = coverage[region][1] + phantom_uniform(rng, -15, 15);

    s.dz = region == 3 ? phantom_uniform(rng, 5, 7) : phantom_uniform(rng, 3, 5);
    s.z0 = low * height;
    s.n_slices = (uint32_t)((high - low) * height / s.dz);
    s.pixel_mm = phantom_uniform(rng, 2.3, 2.7);
    s.x0 = phantom_uniform(rng, -10, 10);
    s.y0 = phantom_uniform(rng, 0, 20);
    s.noise_hu = phantom_uniform(rng, 8, 18);
    s.gain = 1;
    s.noise_seed = phantom_random(rng);
    return s;
}

struct patient {
    char name[32];
    int region;
    phantom_organ organ;
    double diameter_mm;
    phantom_body body;
    phantom_scan scan;
};

/* Patient `i`: two of three carry a lesion, in an organ that the field of view shows. */
static void
make_patient(uint64_t seed, uint32_t i, struct patient *p)
{
    static const phantom_organ visible[4][2] = {{PHANTOM_LUNG, PHANTOM_LUNG},
                                                {PHANTOM_LIVER, PHANTOM_KIDNEY},
                                                {PHANTOM_NO_LESION, PHANTOM_NO_LESION},
                                                {PHANTOM_LIVER, PHANTOM_LUNG}};
    phantom_rng rng = {seed ^ (uint64_t)(i + 1) * 0xA0761D6478BD642Fu};

    snprintf(p->name, sizeof p->name, "phantom_%03u", i + 1);
    p->region = (int)(i % 4);
    p->organ = phantom_random(&rng) % 3 == 0 ? PHANTOM_NO_LESION
                                             : visible[p->region][phantom_random(&rng) & 1];
    p->diameter_mm = p->organ == PHANTOM_NO_LESION ? 0 : phantom_uniform(&rng, 14, 70);
    phantom_body_make(phantom_random(&rng), p->organ, p->diameter_mm, &p->body);
    p->scan = make_scan(&rng, p->region, p->body.height);
}

/* A new scan of the middle third of patient `p`: other slices, angle, field of view, noise. */
static phantom_scan
part_scan(uint64_t seed, const struct patient *p, uint32_t *first, uint32_t *last)
{
    phantom_rng rng = {seed ^ p->scan.noise_seed};
    phantom_scan s = p->scan;

    *first = p->scan.n_slices / 3;
    *last = 2 * p->scan.n_slices / 3;
    s.dz = p->scan.dz * 1.25;
    s.z0 = p->scan.z0 + *first * p->scan.dz;
    s.n_slices = (uint32_t)((*last - *first) * p->scan.dz / s.dz) + 1;
    s.pixel_mm *= phantom_uniform(&rng, 0.94, 1.06);
    s.x0 += phantom_uniform(&rng, -12, 12);
    s.y0 += phantom_uniform(&rng, -12, 12);
    s.angle = phantom_uniform(&rng, -0.08, 0.08);
    s.noise_hu *= 1.3;
    s.gain = phantom_uniform(&rng, 0.98, 1.02);
    s.noise_seed = phantom_random(&rng);
    return s;
}

static void
write_label(FILE *labels, const struct patient *p)
{
    static const char *const organs[] = {"none", "liver", "lung", "kidney"};
    const double cm = p->diameter_mm / 10;
    const int stage = p->organ == PHANTOM_NO_LESION ? -1 : cm < 2 ? 1 : cm < 4 ? 2 : cm < 6 ? 3 : 4;

    fprintf(labels, "%s,%s,%.1f,%d,%d,%d,%s,%s\n", p->name, organs[p->organ], cm,
            p->organ != PHANTOM_NO_LESION, stage, p->organ != PHANTOM_NO_LESION,
            coverage_name[p->region], p->name);
}

/* n volumes to index; then n / 6 new patients and n / 6 new scans of indexed ones as queries. */
static cmir_status
write_phantoms(const char *dir, uint32_t n, uint64_t seed, FILE *labels, FILE *truth,
               cmir_progress_fn progress, void *ctx, cmir_error *err)
{
    const uint32_t n_queries = n < 6 ? 1 : n / 6, total = n + 2 * n_queries;
    struct patient p;
    uint32_t first, last;
    char name[64];
    cmir_status st;

    for (uint32_t i = 0; i < total; i++) {
        if (progress != NULL && progress(ctx, i, total) != 0)
            return cli_fail(err, CMIR_ECANCELLED, "stopped after %u of %u volumes", i, total);
        if (i < n) {
            make_patient(seed, i, &p);
            write_label(labels, &p);
            st = phantom_scan_write(dir, "volumes", p.organ != PHANTOM_NO_LESION ? "masks" : NULL,
                                    p.name, &p.body, &p.scan, err);
        } else if (i < n + n_queries) {
            make_patient(seed, i, &p); /* a patient that is not in the archive */
            snprintf(name, sizeof name, "new_%s_%s", coverage_name[p.region], p.name);
            st = phantom_scan_write(dir, "queries", NULL, name, &p.body, &p.scan, err);
        } else {
            make_patient(seed, (i - n - n_queries) * 6 % n, &p);
            const phantom_scan part = part_scan(seed, &p, &first, &last);
            snprintf(name, sizeof name, "part_of_%s", p.name);
            fprintf(truth, "%s,%s,%u,%u\n", name, p.name, first, last);
            st = phantom_scan_write(dir, "queries", NULL, name, &p.body, &part, err);
        }
        if (st != CMIR_OK)
            return st;
    }
    if (progress != NULL)
        progress(ctx, total, total);
    return CMIR_OK;
}

cmir_status
phantom_write(const char *dir, uint32_t n, uint64_t seed, cmir_progress_fn progress, void *ctx,
              cmir_error *err)
{
    static const char *const subs[] = {"volumes", "queries", "masks", NULL};
    FILE *labels = NULL, *truth = NULL;
    cmir_status st = phantom_make_folders(dir, subs, err);

    if (st == CMIR_OK)
        st = phantom_open_csv(dir, "labels.csv",
                              "name,organ,max_tumor_size,number_tumors,lesion_group,cancer_flag,"
                              "BodyPartExamined,PatientID\n",
                              &labels, err);
    if (st == CMIR_OK)
        st = phantom_open_csv(dir, "truth.csv", "query,source,first_slice,last_slice\n", &truth,
                              err);
    if (st == CMIR_OK)
        st = write_phantoms(dir, n, seed, labels, truth, progress, ctx, err);
    phantom_close_csv(labels, dir, "labels.csv", &st, err);
    phantom_close_csv(truth, dir, "truth.csv", &st, err);
    return st;
}
