/* SPDX-License-Identifier: Apache-2.0 */
/* nifti.c: NIfTI files as volumes.  For scan.c, through io_internal.h.
 *
 * The file is opened twice: for its header, when the volume is opened, and for its voxels, when
 * it is loaded.  Both go through gzip.h and read what the header asks for, slice by slice. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/gzip.h"
#include "io/io_internal.h"
#include "io/nifti_header.h"

/* A gzipped scan is rarely smaller than a third of its voxels; beyond these it is a bomb. */
#define PLAIN_CLAIM_NBYTES ((uint64_t)256 << 20)
#define MAX_RATIO 100u

struct nifti {
    cmir_nifti_header header;
    uint64_t voxels_offset; /* of the frame to load */
};

static bool
ends_with(const char *path, const char *ending)
{
    const size_t n = strlen(path), length = strlen(ending);

    return n > length && strcasecmp(path + n - length, ending) == 0;
}

static size_t
extension_length(const char *path)
{
    return ends_with(path, ".nii.gz") ? 7 : ends_with(path, ".nii") ? 4 : 0;
}

bool
cmir_nifti_named(const char *path)
{
    return extension_length(path) != 0 || ends_with(path, ".hdr");
}

/* The volume's id is the file name without .nii or .nii.gz. */
static bool
set_names(cmir_volume_info *info, const char *absolute)
{
    char *name = cmir_strdup(strrchr(absolute, '/') + 1);

    if (name == NULL)
        return false;
    name[strlen(name) - extension_length(name)] = '\0';
    const bool set =
        cmir_volume_set(&info->path, absolute) && cmir_volume_set(&info->volume_id, name);
    free(name);
    return set;
}

static void
swap_bytes(uint8_t *data, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++, data += size) {
        for (size_t low = 0, high = size - 1; low < high; low++, high--) {
            const uint8_t byte = data[low];
            data[low] = data[high];
            data[high] = byte;
        }
    }
}

static bool
host_is_big_endian(void)
{
    const uint16_t one = 1;
    uint8_t first;

    memcpy(&first, &one, 1);
    return first == 0;
}

static cmir_status
load(cmir_volume *volume, void *state, cmir_error *err)
{
    const struct nifti *nifti = state;
    const uint32_t *dims = volume->info.dims;
    const size_t size = cmir_voxel_nbytes(volume->type), n = (size_t)dims[0] * dims[1];
    const bool swap = size > 1 && nifti->header.big_endian != host_is_big_endian();
    cmir_gzip_reader *reader = NULL;
    cmir_status st = cmir_gzip_open(volume->info.path, &reader, err);

    if (st == CMIR_OK)
        st = cmir_gzip_skip(reader, nifti->voxels_offset, err);
    for (uint32_t k = 0; k < dims[2] && st == CMIR_OK; k++) {
        uint8_t *slice = volume->voxels + k * n * size;
        if ((st = cmir_gzip_read(reader, slice, n * size, err)) != CMIR_OK)
            break;
        if (swap)
            swap_bytes(slice, n, size);
        cmir_volume_slices_done(volume, k + 1);
    }
    if (st == CMIR_OK)
        st = cmir_gzip_finish(reader, err);
    cmir_gzip_close(reader);
    return st;
}

static const cmir_volume_reader nifti_reader = {load, free, NULL};

/* Walks over the extensions between header and voxels: each states its own size. */
static cmir_status
check_extensions(cmir_gzip_reader *reader, const cmir_nifti_header *header, const char *path,
                 cmir_error *err)
{
    uint64_t left = header->data_offset - header->nbytes - 4;
    uint8_t start[8];
    cmir_status st = cmir_gzip_read(reader, start, 4, err);

    if (st != CMIR_OK || start[0] == 0)
        return st;
    while (left >= 16) {
        if ((st = cmir_gzip_read(reader, start, 8, err)) != CMIR_OK)
            return st;
        if (header->big_endian)
            swap_bytes(start, 1, 4);
        const uint32_t size = (uint32_t)start[0] | (uint32_t)start[1] << 8 |
                              (uint32_t)start[2] << 16 | (uint32_t)start[3] << 24;
        if (size == 0) /* padding */
            break;
        if (size < 8 || size > left)
            return FAIL(err, CMIR_ECORRUPT,
                        "%s: a header extension of %u bytes, but %llu are left before the voxels",
                        path, size, (unsigned long long)left);
        if ((st = cmir_gzip_skip(reader, size - 8, err)) != CMIR_OK)
            return st;
        left -= size;
    }
    return CMIR_OK;
}

static cmir_status
read_header(cmir_gzip_reader *reader, const char *path, cmir_nifti_header *header, cmir_error *err)
{
    uint8_t bytes[CMIR_NIFTI2_NBYTES];
    cmir_status st = cmir_gzip_read(reader, bytes, 4, err);

    if (st != CMIR_OK)
        return st;
    if (!cmir_nifti_header_kind(bytes, header))
        return FAIL_AT(err, CMIR_ECORRUPT, 0, "%s: not NIfTI, sizeof_hdr is neither 348 nor 540",
                       path);
    if ((st = cmir_gzip_read(reader, bytes + 4, header->nbytes - 4, err)) != CMIR_OK ||
        (st = cmir_nifti_header_parse(bytes, path, header, err)) != CMIR_OK)
        return st;
    return check_extensions(reader, header, path, err);
}

/* Finds where the frame's voxels lie and whether the file can hold them. */
static cmir_status
place_voxels(const cmir_volume *volume, const cmir_gzip_reader *reader, uint32_t frame,
             const char *path, struct nifti *nifti, cmir_error *err)
{
    const uint64_t n_frames = nifti->header.n_frames;
    const uint64_t file_nbytes = cmir_gzip_file_nbytes(reader);
    uint64_t nbytes;
    const cmir_status st = cmir_volume_nbytes(volume, &nbytes, err);

    if (st != CMIR_OK)
        return st;
    if (n_frames > 1 && frame == 0)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: holds %llu frames, choose one", path,
                    (unsigned long long)n_frames);
    if (n_frames > 1 && frame > n_frames)
        return FAIL(err, CMIR_EINVAL, "%s: no frame %u, there are %llu", path, frame,
                    (unsigned long long)n_frames);
    /* At most 2^53 + 2^24 * 2^33, and one frame: no overflow. */
    nifti->voxels_offset = nifti->header.data_offset + (n_frames > 1 ? (frame - 1) * nbytes : 0);
    const uint64_t end = nifti->voxels_offset + nbytes;
    if (!cmir_gzip_is_compressed(reader) && end > file_nbytes)
        return FAIL_AT(err, CMIR_ECORRUPT, file_nbytes,
                       "%s: the voxels are cut short: %llu bytes where %llu are needed", path,
                       (unsigned long long)file_nbytes, (unsigned long long)end);
    if (end > PLAIN_CLAIM_NBYTES && end / MAX_RATIO > file_nbytes)
        return FAIL(err, CMIR_ELIMIT, "%s: claims %llu MiB in a gzip stream of %llu bytes", path,
                    (unsigned long long)(end >> 20), (unsigned long long)file_nbytes);
    return CMIR_OK;
}

static cmir_status
describe(cmir_volume *volume, const char *path, const char *modality,
         const cmir_nifti_header *header, cmir_error *err)
{
    const uint32_t n_slices = header->dims[2];
    char *absolute;
    const cmir_status st = cmir_file_absolute(path, &absolute, err);

    if (st != CMIR_OK)
        return st;
    const bool named = set_names(&volume->info, absolute) &&
                       cmir_volume_set(&volume->info.format, "NIfTI") &&
                       cmir_volume_set(&volume->info.modality, modality);
    free(absolute);
    volume->type = header->type;
    memcpy(volume->info.dims, header->dims, sizeof header->dims);
    memcpy(volume->info.affine, header->affine, sizeof header->affine);
    volume->info.has_hu = strcmp(volume->info.modality, "CT") == 0;
    volume->slope = cmir_alloc(n_slices, sizeof *volume->slope);
    volume->intercept = cmir_alloc(n_slices, sizeof *volume->intercept);
    if (!named || volume->slope == NULL || volume->intercept == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory to describe it", path);
    for (uint32_t k = 0; k < n_slices; k++) {
        volume->slope[k] = header->slope;
        volume->intercept[k] = header->intercept;
    }
    return CMIR_OK;
}

cmir_status
cmir_nifti_open(const char *path, uint32_t frame, const char *modality, cmir_volume **out,
                cmir_error *err)
{
    struct nifti *nifti = cmir_alloc_zeroed(1, sizeof *nifti);
    cmir_volume *volume = cmir_volume_new();
    cmir_gzip_reader *reader = NULL;
    cmir_status st;

    *out = NULL;
    if (nifti == NULL || volume == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory to open it", path);
        free(nifti);
        goto done;
    }
    volume->reader = &nifti_reader;
    volume->reader_state = nifti;
    if ((st = cmir_gzip_open(path, &reader, err)) != CMIR_OK)
        goto done;
    if (ends_with(path, ".nii.gz") && !cmir_gzip_is_compressed(reader)) {
        st = FAIL(err, CMIR_ECORRUPT, "%s: not a gzip stream", path);
        goto done;
    }
    if ((st = read_header(reader, path, &nifti->header, err)) != CMIR_OK ||
        (st = describe(volume, path, modality, &nifti->header, err)) != CMIR_OK ||
        (st = place_voxels(volume, reader, frame, path, nifti, err)) != CMIR_OK)
        goto done;
    *out = volume;
    volume = NULL;
done:
    cmir_gzip_close(reader);
    cmir_volume_close(volume);
    return st;
}
