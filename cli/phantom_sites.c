/* SPDX-License-Identifier: Apache-2.0 */
/* phantom_sites.c: `cmir phantom --sites`: four sites with tumours, to try evaluations with: labels
 * and splits in the layout of 3D-MIR (arXiv 2311.13752), and its confound on purpose.
 *
 * The one idea: four cohorts (colon, liver, lung, pancreas), each scanned in its own way: field of
 * view, slice thickness, noise, contrast medium.  Of each cohort 4 of 7 volumes have tumours in the
 * cohort's organ.  The same volumes make two benchmarks: in confounded/ the tumour-free volumes of a
 * site come from another cohort, so that the look of the scan gives the tumour away; in honest/
 * they come from the site's own.
 *
 *   OUT/volumes/COHORT_NNN.nii.gz            to be indexed
 *   OUT/masks/COHORT_NNN.nii.gz              1 in the cohort's organ, 2 in tumours, on the volume's grid
 *   OUT/confounded|honest/SITE_labels.csv    name, organ (its cohort), size of the largest tumour in
 *                                            cm, number, stage, flag
 *   OUT/confounded|honest/SITE_train.csv, SITE_test.csv    names; a volume is of one side everywhere
 *   OUT/scans.csv                            how each volume was scanned
 *   OUT/tumours.csv                          centre of each tumour in LPS mm, diameter in mm */
#include <math.h>
#include <stdio.h>

#include <cmir/cmir.h>

#include "cli.h"
#include "phantom_body.h"
#include "phantom_scan.h"

#define N_SITES 4
#define SIDE 128

static const struct cohort {
    const char *name;
    phantom_organ organ;
    double low, high; /* field of view along z, mm of the average body */
    double slice_mm, pixel_mm, noise_hu;
    double enhancement_low, enhancement_high;
} cohorts[N_SITES] = {
    {"colon", PHANTOM_COLON, 60, 300, 5.0, 3.0, 12, 0.45, 0.65},
    {"liver", PHANTOM_LIVER, 200, 420, 4.0, 2.9, 16, 0.3, 0.9},
    {"lung", PHANTOM_LUNG, 335, 610, 4.5, 3.1, 24, 0, 0.1},
    {"pancreas", PHANTOM_PANCREAS, 185, 365, 3.5, 2.8, 8, 0.8, 1},
};

/* How many tumours of which largest diameter a stage is drawn with: clear of the borders between
 * cmir_tumour_stage()'s stages. */
static const struct stage {
    int low_n, high_n;
    double low_cm, high_cm;
} stages[N_SITES][4] = {
    {{1, 1, 1.2, 1.9}, {1, 1, 2.1, 3.9}, {1, 1, 4.1, 5.9}, {1, 1, 6.1, 7}},
    {{1, 1, 1.2, 1.9}, {2, 4, 1.5, 4.8}, {2, 4, 5.2, 6}},
    {{1, 1, 1.2, 2.9}, {1, 1, 3.1, 6}, {2, 4, 1.5, 5}},
    {{1, 1, 1.2, 1.9}, {1, 1, 2.1, 3.9}, {1, 1, 4.1, 5.9}, {1, 1, 6.1, 7}},
};
static const uint32_t n_stages[N_SITES] = {4, 3, 3, 4};

struct case_of {
    char name[32];
    int cohort;
    bool is_test;
    double enhancement;
    phantom_body body;
    phantom_scan scan;
};

static phantom_scan
make_scan(phantom_rng *rng, const struct cohort *c, double height)
{
    phantom_scan s = {.side = SIDE, .gain = 1};
    const double low = c->low + phantom_uniform(rng, -10, 10);
    const double high = c->high + phantom_uniform(rng, -10, 10);

    s.dz = c->slice_mm;
    s.z0 = low * height;
    s.n_slices = (uint32_t)((high - low) * height / s.dz);
    s.pixel_mm = c->pixel_mm * phantom_uniform(rng, 0.97, 1.03);
    s.x0 = phantom_uniform(rng, -8, 8);
    s.y0 = phantom_uniform(rng, 0, 12);
    s.noise_hu = c->noise_hu * phantom_uniform(rng, 0.9, 1.1);
    s.angle = phantom_uniform(rng, -0.05, 0.05);
    s.noise_seed = phantom_random(rng);
    return s;
}

/* Case i of a cohort: every other one of seven has no tumour; of either kind every third is for
 * testing; stages take turns, in training and in testing. */
static void
make_case(uint64_t seed, int cohort, uint32_t i, struct case_of *out)
{
    const struct cohort *c = &cohorts[cohort];
    phantom_rng rng = {seed ^ (uint64_t)(cohort * 1000003 + (int)i + 1) * 0x8EBC6AF09C88C6E3u};
    const bool has_tumour = i % 7 % 2 == 0;
    const uint32_t nth = i / 7 * (has_tumour ? 4 : 3) + i % 7 / 2; /* of its kind */
    double diameters_mm[PHANTOM_TUMOURS];
    int n = 0;

    snprintf(out->name, sizeof out->name, "%s_%03u", c->name, i + 1);
    out->cohort = cohort;
    out->is_test = nth % 3 == 2;
    if (has_tumour) {
        const uint32_t turn = out->is_test ? nth / 3 : nth - nth / 3;
        const struct stage *s = &stages[cohort][turn % n_stages[cohort]];
        n = s->low_n + (int)(phantom_random(&rng) % (uint64_t)(s->high_n - s->low_n + 1));
        diameters_mm[0] = 10 * phantom_uniform(&rng, s->low_cm, s->high_cm);
        for (int k = 1; k < n; k++)
            diameters_mm[k] = phantom_uniform(&rng, 12, diameters_mm[0] * 0.7 + 4);
    }
    out->enhancement = phantom_uniform(&rng, c->enhancement_low, c->enhancement_high);
    phantom_body_make_tumours(phantom_random(&rng), out->enhancement, c->organ, diameters_mm, n,
                              &out->body);
    out->scan = make_scan(&rng, c, out->body.height);
}

/* Of n volumes, those of a cohort. */
static uint32_t
n_of(uint32_t n, int cohort)
{
    return (n + N_SITES - 1 - (uint32_t)cohort) / N_SITES;
}

static void
write_facts(FILE *scans, FILE *tumours, const struct case_of *c)
{
    const phantom_scan *s = &c->scan;
    const double cosine = cos(s->angle), sine = sin(s->angle);

    fprintf(scans, "%s,%s,%s,%.4f,%.4f,%u,%.2f,%.3f\n", c->name, c->name, cohorts[c->cohort].name,
            s->pixel_mm, s->dz, s->n_slices, s->noise_hu, c->enhancement);
    for (int k = 0; k < c->body.n_tumours; k++) {
        const phantom_ball *t = &c->body.tumour[k]; /* turn it with the patient */
        fprintf(tumours, "%s,%.2f,%.2f,%.2f,%.3f\n", c->name, cosine * t->x + sine * t->y,
                cosine * t->y - sine * t->x, t->z, 2 * t->rx);
    }
}

static cmir_status
write_volumes(const char *dir, uint32_t n, uint64_t seed, FILE *scans, FILE *tumours,
              cmir_progress_fn progress, void *ctx, cmir_error *err)
{
    struct case_of c;

    for (uint32_t i = 0; i < n; i++) {
        if (progress != NULL && progress(ctx, i, n) != 0)
            return cli_fail(err, CMIR_ECANCELLED, "stopped after %u of %u volumes", i, n);
        make_case(seed, (int)(i % N_SITES), i / N_SITES, &c);
        write_facts(scans, tumours, &c);
        const cmir_status st =
            phantom_scan_write(dir, "volumes", "masks", c.name, &c.body, &c.scan, err);
        if (st != CMIR_OK)
            return st;
    }
    if (progress != NULL)
        progress(ctx, n, n);
    return CMIR_OK;
}

/* The rows that a cohort gives to a site: its volumes with tumours, or those without. */
static cmir_status
write_rows(FILE *const files[3], uint32_t n, uint64_t seed, int cohort, bool with_tumours,
           cmir_error *err)
{
    const char *organ = cohorts[cohort].name;
    struct case_of c;
    cmir_status st;
    int stage;

    for (uint32_t i = 0; i < n_of(n, cohort); i++) {
        make_case(seed, cohort, i, &c);
        const int n_tumours = c.body.n_tumours;
        const double cm = n_tumours > 0 ? c.body.tumour[0].rx * 2 / 10 : 0;

        if ((n_tumours > 0) != with_tumours)
            continue;
        if ((st = cmir_tumour_stage(organ, cm, (uint32_t)n_tumours, &stage, err)) != CMIR_OK)
            return st;
        fprintf(files[0], "%s.nii.gz,%s,%.3f,%d,%d,%d\n", c.name, organ, cm, n_tumours, stage,
                with_tumours);
        fprintf(files[c.is_test ? 2 : 1], "%s.nii.gz\n", c.name);
    }
    return CMIR_OK;
}

static cmir_status
write_site(const char *dir, int site, bool confounded, uint32_t n, uint64_t seed, cmir_error *err)
{
    static const char *const kinds[] = {"labels", "train", "test"};
    static const char *const headers[] = {
        "name,organ,max_tumor_size,number_tumors,lesion_group,cancer_flag\n", "training\n",
        "testing\n"};
    char names[3][64];
    FILE *files[3] = {NULL};
    cmir_status st = CMIR_OK;

    for (int k = 0; k < 3 && st == CMIR_OK; k++) {
        snprintf(names[k], sizeof names[k], "%s/%s_%s.csv", confounded ? "confounded" : "honest",
                 cohorts[site].name, kinds[k]);
        st = phantom_open_csv(dir, names[k], headers[k], &files[k], err);
    }
    if (st == CMIR_OK)
        st = write_rows(files, n, seed, site, true, err);
    if (st == CMIR_OK)
        st = write_rows(files, n, seed, confounded ? (site + 1) % N_SITES : site, false, err);
    for (int k = 0; k < 3; k++)
        phantom_close_csv(files[k], dir, names[k], &st, err);
    return st;
}

cmir_status
phantom_write_sites(const char *dir, uint32_t n, uint64_t seed, cmir_progress_fn progress,
                    void *ctx, cmir_error *err)
{
    static const char *const subs[] = {"volumes", "masks", "confounded", "honest", NULL};
    FILE *scans = NULL, *tumours = NULL;
    cmir_status st = phantom_make_folders(dir, subs, err);

    if (st == CMIR_OK)
        st = phantom_open_csv(dir, "scans.csv",
                              "name,PatientID,cohort,pixel_mm,slice_mm,slices,noise_hu,"
                              "enhancement\n",
                              &scans, err);
    if (st == CMIR_OK)
        st = phantom_open_csv(dir, "tumours.csv", "name,x_mm,y_mm,z_mm,diameter_mm\n", &tumours,
                              err);
    for (int site = 0; site < N_SITES && st == CMIR_OK; site++) {
        st = write_site(dir, site, true, n, seed, err);
        if (st == CMIR_OK)
            st = write_site(dir, site, false, n, seed, err);
    }
    if (st == CMIR_OK)
        st = write_volumes(dir, n, seed, scans, tumours, progress, ctx, err);
    phantom_close_csv(scans, dir, "scans.csv", &st, err);
    phantom_close_csv(tumours, dir, "tumours.csv", &st, err);
    return st;
}
