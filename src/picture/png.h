/* SPDX-License-Identifier: Apache-2.0 */
/* png.h: grey pictures as PNG in memory.  The one file behind it that sees libpng is png.c. */
#ifndef CMIR_PICTURE_PNG_H
#define CMIR_PICTURE_PNG_H

#include <stdint.h>

#include <cmir/status.h>

#include "base/memory.h"

/* Appends `width` x `height` 8-bit grey pixels, row-major, to `out` as one PNG file. */
cmir_status cmir_png_write(const uint8_t *grey, uint32_t width, uint32_t height, cmir_buf *out,
                           cmir_error *err);

#endif
