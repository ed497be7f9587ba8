/* SPDX-License-Identifier: Apache-2.0 */
/* png.c: grey pictures as PNG in memory, by libpng.  Called by picture.c. */
#include "picture/png.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

cmir_status
cmir_png_write(const uint8_t *grey, uint32_t width, uint32_t height, cmir_buf *out, cmir_error *err)
{
    png_image image;

    memset(&image, 0, sizeof image);
    image.version = PNG_IMAGE_VERSION;
    image.width = width;
    image.height = height;
    image.format = PNG_FORMAT_GRAY;
    png_alloc_size_t nbytes = PNG_IMAGE_PNG_SIZE_MAX(image);
    void *png = cmir_alloc(nbytes, 1);
    if (png == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory for a picture of %u x %u", width, height);
    cmir_status st = CMIR_OK;
    if (png_image_write_to_memory(&image, png, &nbytes, 0, grey, 0, NULL))
        cmir_buf_add(out, png, nbytes);
    else
        st = FAIL(err, CMIR_ENOMEM, "a picture of %u x %u cannot be written: %s", width, height,
                  image.message);
    free(png);
    return st;
}
