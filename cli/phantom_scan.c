/* SPDX-License-Identifier: Apache-2.0 */
/* phantom_scan.c: scans of made-up patients as files.  Used by phantom.c and phantom_sites.c.
 *
 * The one idea: a body can be asked for its HU at any point; a scan asks on a grid and adds what
 * machines add. */
#include "phantom_scan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

static void
draw_slice(const phantom_body *body, const phantom_scan *s, uint32_t k, int16_t *voxels,
           int16_t *mask)
{
    phantom_rng noise = {s->noise_seed + k};
    const double z = s->z0 + k * s->dz, c = cos(s->angle), d = sin(s->angle);
    const double half = (s->side - 1) / 2.0;

    for (uint32_t row = 0; row < s->side; row++) {
        for (uint32_t col = 0; col < s->side; col++) {
            const double x = s->x0 + (col - half) * s->pixel_mm;
            const double y = s->y0 + (row - half) * s->pixel_mm;
            double hu = phantom_body_hu(body, c * x - d * y, d * x + c * y, z, s->pixel_mm,
                                        &mask[row * s->side + col]);
            hu = (hu + 1000) * s->gain - 1000 + s->noise_hu * phantom_normal(&noise);
            voxels[row * s->side + col] = (int16_t)lrint(hu < -1024 ? -1024 : hu);
        }
    }
}

cmir_status
phantom_scan_write(const char *dir, const char *sub, const char *mask_sub, const char *name,
                   const phantom_body *body, const phantom_scan *s, cmir_error *err)
{
    const size_t per_slice = (size_t)s->side * s->side;
    const double half = (s->side - 1) / 2.0 * s->pixel_mm;
    const double affine[3][4] = {
        {s->pixel_mm, 0, 0, s->x0 - half}, {0, s->pixel_mm, 0, s->y0 - half}, {0, 0, s->dz, s->z0}};
    const uint32_t dims[3] = {s->side, s->side, s->n_slices};
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

static cmir_status
make_folder(const char *path, cmir_error *err)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return cli_fail(err, CMIR_EIO, "%s: cannot create folder: %s", path, strerror(errno));
    return CMIR_OK;
}

cmir_status
phantom_make_folders(const char *dir, const char *const *subs, cmir_error *err)
{
    char path[4096];

    if (strlen(dir) > sizeof path - 64)
        return cli_fail(err, CMIR_EINVAL, "%.80s...: path too long", dir);
    cmir_status st = make_folder(dir, err);
    for (size_t i = 0; subs[i] != NULL && st == CMIR_OK; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, subs[i]);
        st = make_folder(path, err);
    }
    return st;
}

cmir_status
phantom_open_csv(const char *dir, const char *name, const char *header, FILE **out, cmir_error *err)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    *out = fopen(path, "w");
    if (*out == NULL || fputs(header, *out) == EOF)
        return cli_fail(err, CMIR_EIO, "%s: cannot write: %s", path, strerror(errno));
    return CMIR_OK;
}

void
phantom_close_csv(FILE *csv, const char *dir, const char *name, cmir_status *st, cmir_error *err)
{
    if (csv != NULL && fclose(csv) != 0 && *st == CMIR_OK)
        *st = cli_fail(err, CMIR_EIO, "%s/%s: cannot write: %s", dir, name, strerror(errno));
}
