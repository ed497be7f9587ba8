/* SPDX-License-Identifier: Apache-2.0 */
/* phantom.c: `cmir phantom`: a folder of CT-like volumes of made-up patients, with labels, lesion
 * masks and queries whose answers are known.  Seeded: the same seed writes the same bytes.
 *
 *   OUT/volumes/PATIENT.nii.gz   to be indexed
 *   OUT/queries/NAME.nii.gz      held out: new patients, and new scans of a part of indexed ones
 *   OUT/masks/PATIENT.nii.gz     1 inside the lesion, on the volume's grid
 *   OUT/labels.csv               name, organ, lesion size, flag, patient: as 3D-MIR writes them
 *   OUT/truth.csv                query, source, first and last slice of the source it shows */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmir/cmir.h>

#include "cli.h"
#include "phantom_body.h"

#define SIDE 160 /* rows and columns */
#define MAX_PATIENTS 10000

/* A scan of a patient: where the slices lie and what the machine adds. */
struct scan {
    double z0, dz;            /* of the first slice, and between slices: mm */
    uint32_t n_slices;
    double pixel_mm, x0, y0;  /* centre of the field of view */
    double noise_hu, gain;
    double angle;             /* of the patient on the table, radians */
    uint64_t noise_seed;
};

/* Field of view along z: chest, abdomen, pelvis, all three. */
static const double coverage[][2] = {{340, 610}, {190, 400}, {0, 215}, {20, 600}};
static const char *const coverage_name[] = {"chest", "abdomen", "pelvis", "trunk"};

static struct scan
make_scan(phantom_rng *rng, int region, double height)
{
    struct scan s = {0};
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

static void
draw_slice(const phantom_body *body, const struct scan *s, uint32_t k, int16_t *voxels,
           int16_t *mask)
{
    phantom_rng noise = {s->noise_seed + k};
    const double z = s->z0 + k * s->dz, c = cos(s->angle), d = sin(s->angle);
    bool in_lesion;

    for (int row = 0; row < SIDE; row++) {
        for (int col = 0; col < SIDE; col++) {
            const double x = s->x0 + (col - (SIDE - 1) / 2.0) * s->pixel_mm;
            const double y = s->y0 + (row - (SIDE - 1) / 2.0) * s->pixel_mm;
            double hu =
                phantom_body_hu(body, c * x - d * y, d * x + c * y, z, s->pixel_mm, &in_lesion);
            hu = (hu + 1000) * s->gain - 1000 + s->noise_hu * phantom_normal(&noise);
            voxels[row * SIDE + col] = (int16_t)lrint(hu < -1024 ? -1024 : hu);
            if (mask != NULL)
                mask[row * SIDE + col] = in_lesion;
        }
    }
}

/* Writes the scan to DIR/SUB/NAME.nii.gz; a mask too where `mask_sub` is not NULL. */
static cmir_status
write_scan(const char *dir, const char *sub, const char *mask_sub, const char *name,
           const phantom_body *body, const struct scan *s, cmir_error *err)
{
    const size_t per_slice = (size_t)SIDE * SIDE;
    const double half = (SIDE - 1) / 2.0 * s->pixel_mm;
    const double affine[3][4] = {
        {s->pixel_mm, 0, 0, s->x0 - half}, {0, s->pixel_mm, 0, s->y0 - half}, {0, 0, s->dz, s->z0}};
    const uint32_t dims[3] = {SIDE, SIDE, s->n_slices};
    int16_t *voxels = calloc(2 * per_slice * s->n_slices, sizeof *voxels);
    char path[4096];
    cmir_status st = CMIR_OK;

    if (voxels == NULL)
        return cli_fail(err, CMIR_ENOMEM, "no memory for a phantom of %u slices", s->n_slices);
    int16_t *mask = voxels + per_slice * s->n_slices;
    for (uint32_t k = 0; k < s->n_slices; k++)
        draw_slice(body, s, k, voxels + k * per_slice, mask + k * per_slice);
    snprintf(path, sizeof path, "%s/%s/%s.nii.gz", dir, sub, name);
    st = cmir_nifti_write(path, voxels, dims, affine, err);
    if (st == CMIR_OK && mask_sub != NULL) {
        snprintf(path, sizeof path, "%s/%s/%s.nii.gz", dir, mask_sub, name);
        st = cmir_nifti_write(path, mask, dims, affine, err);
    }
    free(voxels);
    return st;
}

struct patient {
    char name[32];
    int region;
    phantom_organ organ;
    double diameter_mm;
    phantom_body body;
    struct scan scan;
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
static struct scan
part_scan(uint64_t seed, const struct patient *p, uint32_t *first, uint32_t *last)
{
    phantom_rng rng = {seed ^ p->scan.noise_seed};
    struct scan s = p->scan;

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

static cmir_status
make_folders(const char *dir, cmir_error *err)
{
    static const char *const subs[] = {"", "/volumes", "/queries", "/masks"};
    char path[4096];

    if (strlen(dir) > sizeof path - 64)
        return cli_fail(err, CMIR_EINVAL, "%.80s...: path too long", dir);
    for (size_t i = 0; i < sizeof subs / sizeof subs[0]; i++) {
        snprintf(path, sizeof path, "%s%s", dir, subs[i]);
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return cli_fail(err, CMIR_EIO, "%s: cannot create folder: %s", path, strerror(errno));
    }
    return CMIR_OK;
}

static cmir_status
open_csv(const char *dir, const char *name, const char *header, FILE **out, cmir_error *err)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    *out = fopen(path, "w");
    if (*out == NULL || fputs(header, *out) == EOF)
        return cli_fail(err, CMIR_EIO, "%s: cannot write: %s", path, strerror(errno));
    return CMIR_OK;
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
            st = write_scan(dir, "volumes", p.organ != PHANTOM_NO_LESION ? "masks" : NULL, p.name,
                            &p.body, &p.scan, err);
        } else if (i < n + n_queries) {
            make_patient(seed, i, &p); /* a patient that is not in the archive */
            snprintf(name, sizeof name, "new_%s_%s", coverage_name[p.region], p.name);
            st = write_scan(dir, "queries", NULL, name, &p.body, &p.scan, err);
        } else {
            make_patient(seed, (i - n - n_queries) * 6 % n, &p);
            const struct scan part = part_scan(seed, &p, &first, &last);
            snprintf(name, sizeof name, "part_of_%s", p.name);
            fprintf(truth, "%s,%s,%u,%u\n", name, p.name, first, last);
            st = write_scan(dir, "queries", NULL, name, &p.body, &part, err);
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
    FILE *labels = NULL, *truth = NULL;
    cmir_status st = make_folders(dir, err);

    if (n < 1 || n > MAX_PATIENTS)
        return cli_fail(err, CMIR_EINVAL, "%u volumes: choose 1 to %d", n, MAX_PATIENTS);
    if (st == CMIR_OK)
        st = open_csv(dir, "labels.csv",
                      "name,organ,max_tumor_size,number_tumors,lesion_group,cancer_flag,"
                      "BodyPartExamined,PatientID\n",
                      &labels, err);
    if (st == CMIR_OK)
        st = open_csv(dir, "truth.csv", "query,source,first_slice,last_slice\n", &truth, err);
    if (st == CMIR_OK)
        st = write_phantoms(dir, n, seed, labels, truth, progress, ctx, err);
    if (labels != NULL && fclose(labels) != 0 && st == CMIR_OK)
        st = cli_fail(err, CMIR_EIO, "%s/labels.csv: cannot write: %s", dir, strerror(errno));
    if (truth != NULL && fclose(truth) != 0 && st == CMIR_OK)
        st = cli_fail(err, CMIR_EIO, "%s/truth.csv: cannot write: %s", dir, strerror(errno));
    return st;
}
