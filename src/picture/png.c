/* SPDX-License-Identifier: Apache-2.0 */
/* png.c: grey pictures as PNG in memory, by libpng.  Called by picture.c.
 *
 * Every row is predicted by Paeth's filter and only runs are matched: scans are too noisy for libpng's
 * search for the best filter and the longest match to make files smaller, and it takes longer. */
#include "picture/png.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/error.h"

static void
add_bytes(png_structp png, png_bytep data, png_size_t nbytes)
{
    cmir_buf_add(png_get_io_ptr(png), data, nbytes);
}

static void
flush_nothing(png_structp png)
{
    (void)png;
}

static void
ignore_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

/* False where libpng gave up, which jumps back to here. */
static bool
write_all(png_structp png, png_infop info, const uint8_t *grey, uint32_t width, uint32_t height)
{
    if (setjmp(png_jmpbuf(png)) != 0)
        return false;
    png_set_user_limits(png, width, height);
    png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(png, 1);
    png_set_compression_strategy(png, Z_RLE);
    png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_PAETH);
    png_write_info(png, info);
    for (uint32_t y = 0; y < height; y++)
        png_write_row(png, grey + (size_t)y * width);
    png_write_end(png, info);
    return true;
}

cmir_status
cmir_png_write(const uint8_t *grey, uint32_t width, uint32_t height, cmir_buf *out, cmir_error *err)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, ignore_warning);
    png_infop info = png == NULL ? NULL : png_create_info_struct(png);
    bool ok = info != NULL;

    if (ok) {
        png_set_write_fn(png, out, add_bytes, flush_nothing);
        ok = write_all(png, info, grey, width, height);
    }
    png_destroy_write_struct(&png, &info);
    return ok ? CMIR_OK
              : FAIL(err, CMIR_ENOMEM, "no memory for a picture of %u x %u", width, height);
}
