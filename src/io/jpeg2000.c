/* SPDX-License-Identifier: Apache-2.0 */
/* jpeg2000.c: one JPEG 2000 frame through OpenJPEG; called by dicom_dcmtk.cc.
 *
 * The stream's own image size (SIZ) is read and compared with the data set's first, so that
 * OpenJPEG only ever allocates what the caller expects. */
#include <openjpeg.h>
#include <string.h>

#include "base/error.h"
#include "io/dicom.h"

#define MAX_TILES 4096u

struct input {
    const uint8_t *data;
    size_t nbytes, at;
};

static OPJ_SIZE_T
input_read(void *buffer, OPJ_SIZE_T nbytes, void *user)
{
    struct input *in = user;
    const size_t left = in->nbytes - in->at;
    const size_t n = nbytes < left ? nbytes : left;

    if (n == 0)
        return (OPJ_SIZE_T)-1;
    memcpy(buffer, in->data + in->at, n);
    in->at += n;
    return n;
}

static OPJ_OFF_T
input_skip(OPJ_OFF_T nbytes, void *user)
{
    struct input *in = user;

    if (nbytes < 0 || (uint64_t)nbytes > in->nbytes - in->at)
        return -1;
    in->at += (size_t)nbytes;
    return nbytes;
}

static OPJ_BOOL
input_seek(OPJ_OFF_T nbytes, void *user)
{
    struct input *in = user;

    if (nbytes < 0 || (uint64_t)nbytes > in->nbytes)
        return OPJ_FALSE;
    in->at = (size_t)nbytes;
    return OPJ_TRUE;
}

static uint32_t
be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The codestream itself where it is wrapped in JP2 boxes. */
static void
unwrap(struct input *in)
{
    static const uint8_t signature[8] = {0, 0, 0, 12, 'j', 'P', ' ', ' '};
    size_t at = 0;

    if (in->nbytes < 12 || memcmp(in->data, signature, 8) != 0)
        return;
    while (in->nbytes - at >= 8) {
        const uint32_t n = be32(in->data + at);
        if (memcmp(in->data + at + 4, "jp2c", 4) == 0) {
            in->data += at + 8;
            in->nbytes -= at + 8;
            return;
        }
        if (n < 8 || n > in->nbytes - at)
            return;
        at += n;
    }
}

/* SOC and SIZ: the image is rows x cols of one component, in few tiles. */
static cmir_status
check_size(const cmir_dicom_file *file, const struct input *in, cmir_error *err)
{
    static const uint8_t start[4] = {0xFF, 0x4F, 0xFF, 0x51};
    const char *shown = cmir_shown_path(file->path);
    const uint8_t *siz = in->data + 8;

    if (in->nbytes < 45 || memcmp(in->data, start, sizeof start) != 0)
        return FAIL(err, CMIR_ECORRUPT, "%s: no JPEG 2000 stream", shown);
    const uint64_t width = be32(siz), height = be32(siz + 4);
    const uint64_t left = be32(siz + 8), top = be32(siz + 12);
    const uint64_t tile_width = be32(siz + 16), tile_height = be32(siz + 20);
    const uint64_t tile_left = be32(siz + 24), tile_top = be32(siz + 28);
    const unsigned n_components = (unsigned)siz[32] << 8 | siz[33];
    const unsigned bits = (siz[34] & 0x7Fu) + 1;
    if (left + file->cols != width || top + file->rows != height || n_components != 1)
        return FAIL(err, CMIR_ECORRUPT,
                    "%s: the JPEG 2000 stream is not of %u x %u pixels with "
                    "one component, as the data set says",
                    shown, file->rows, file->cols);
    if (bits > file->bits_allocated || bits > 31)
        return FAIL(err, CMIR_ECORRUPT, "%s: JPEG 2000 precision of %u bits for %u allocated ones",
                    shown, bits, file->bits_allocated);
    if (tile_width == 0 || tile_height == 0 || tile_left > left || tile_top > top ||
        ((width - tile_left + tile_width - 1) / tile_width) *
                ((height - tile_top + tile_height - 1) / tile_height) >
            MAX_TILES)
        return FAIL(err, CMIR_ECORRUPT, "%s: JPEG 2000 stream with too many tiles", shown);
    return CMIR_OK;
}

static void
copy_words(const OPJ_INT32 *values, size_t n, uint32_t bits, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t value = (uint32_t)values[i];
        const uint16_t half = (uint16_t)value;
        if (bits == 8)
            out[i] = (uint8_t)value;
        else if (bits == 16)
            memcpy(out + 2 * i, &half, sizeof half);
        else
            memcpy(out + 4 * i, &value, sizeof value);
    }
}

static cmir_status
decode(const cmir_dicom_file *file, opj_codec_t *codec, opj_stream_t *stream, opj_image_t **image,
       uint8_t *buffer, cmir_error *err)
{
    const char *shown = cmir_shown_path(file->path);
    opj_dparameters_t parameters;

    opj_set_default_decoder_parameters(&parameters);
    if (!opj_setup_decoder(codec, &parameters) || !opj_read_header(stream, codec, image) ||
        !opj_decode(codec, stream, *image) || !opj_end_decompress(codec, stream))
        return FAIL(err, CMIR_ECORRUPT, "%s: the JPEG 2000 stream cannot be decoded", shown);
    const opj_image_comp_t *component = &(*image)->comps[0];
    if ((*image)->numcomps != 1 || component->w != file->cols || component->h != file->rows ||
        component->data == NULL)
        return FAIL(err, CMIR_ECORRUPT, "%s: the JPEG 2000 stream is of another size", shown);
    copy_words(component->data, (size_t)file->rows * file->cols, file->bits_allocated, buffer);
    return CMIR_OK;
}

cmir_status
cmir_jpeg2000_decode(const cmir_dicom_file *file, const uint8_t *data, size_t nbytes, void *buffer,
                     cmir_error *err)
{
    struct input in = {data, nbytes, 0};
    opj_image_t *image = NULL;
    cmir_status st;

    unwrap(&in);
    if ((st = check_size(file, &in, err)) != CMIR_OK)
        return st;
    opj_codec_t *codec = opj_create_decompress(OPJ_CODEC_J2K);
    opj_stream_t *stream = opj_stream_create(65536, OPJ_TRUE);
    if (codec == NULL || stream == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory to decode JPEG 2000");
    } else {
        opj_stream_set_read_function(stream, input_read);
        opj_stream_set_skip_function(stream, input_skip);
        opj_stream_set_seek_function(stream, input_seek);
        opj_stream_set_user_data(stream, &in, NULL);
        opj_stream_set_user_data_length(stream, in.nbytes);
        st = decode(file, codec, stream, &image, buffer, err);
    }
    opj_image_destroy(image);
    if (stream != NULL)
        opj_stream_destroy(stream);
    if (codec != NULL)
        opj_destroy_codec(codec);
    return st;
}
