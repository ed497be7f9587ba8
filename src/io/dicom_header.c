/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_header.c: judges what a DICOM file says about itself; called by dicom_dcmtk.cc, which has
 * read it.  What is no part of a scan is told apart from what is a broken or unsupported image. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmir/volume.h>

#include "base/error.h"
#include "io/dicom.h"

/* Does a file without preamble begin like a data set? */
static bool
looks_like_data_set(const unsigned char *b)
{
    const bool little = (b[0] == 0x02 || b[0] == 0x08) && b[1] == 0;
    const bool big = b[0] == 0 && (b[1] == 0x02 || b[1] == 0x08);
    const bool is_explicit = b[4] >= 'A' && b[4] <= 'Z' && b[5] >= 'A' && b[5] <= 'Z';
    const bool is_implicit = b[6] == 0 && b[7] == 0;

    return (little && (is_explicit || is_implicit)) || (big && is_explicit);
}

cmir_status
cmir_dicom_sniff(const char *path, cmir_dicom_kind *kind, cmir_error *err)
{
    unsigned char head[132] = {0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    ssize_t n = -1;
    int error_number;

    *kind = CMIR_DICOM_IMAGE;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
        n = pread(fd, head, sizeof head, 0);
    error_number = errno;
    if (fd >= 0)
        (void)close(fd);
    if (n < 0)
        return FAIL(err, error_number == ENOENT ? CMIR_ENOTFOUND : CMIR_EIO, "%s: %s",
                    cmir_shown_path(path), strerror(error_number));
    if (memcmp(head + 128, "DICM", 4) == 0)
        return CMIR_OK;
    *kind = CMIR_DICOM_NONE;
    if (!looks_like_data_set(head))
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: neither DICOM nor NIfTI", cmir_shown_path(path));
    return CMIR_OK;
}

cmir_dicom_syntax
cmir_dicom_syntax_of(const char *uid)
{
    static const struct {
        const char *uid;
        cmir_dicom_syntax syntax;
    } known[] = {
        {"1.2.840.10008.1.2", CMIR_DICOM_NATIVE},
        {"1.2.840.10008.1.2.1", CMIR_DICOM_NATIVE},
        {"1.2.840.10008.1.2.1.99", CMIR_DICOM_NATIVE},
        {"1.2.840.10008.1.2.2", CMIR_DICOM_NATIVE},
        {"1.2.840.10008.1.2.4.50", CMIR_DICOM_JPEG},
        {"1.2.840.10008.1.2.4.51", CMIR_DICOM_JPEG},
        {"1.2.840.10008.1.2.4.57", CMIR_DICOM_JPEG},
        {"1.2.840.10008.1.2.4.70", CMIR_DICOM_JPEG},
        {"1.2.840.10008.1.2.4.80", CMIR_DICOM_JPEG_LS},
        {"1.2.840.10008.1.2.4.81", CMIR_DICOM_JPEG_LS},
        {"1.2.840.10008.1.2.4.90", CMIR_DICOM_JPEG_2000},
        {"1.2.840.10008.1.2.4.91", CMIR_DICOM_JPEG_2000},
        {"1.2.840.10008.1.2.5", CMIR_DICOM_RLE},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(uid, known[i].uid) == 0)
            return known[i].syntax;
    return CMIR_DICOM_UNSUPPORTED;
}

cmir_status
cmir_dicom_check_kind(const cmir_dicom_header *h, const char *path, cmir_error *err)
{
    static const char *const modalities[] = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTRECORD",
                                             "PR",  "KO",     "SR",       "REG",    "FID",
                                             "DOC", "RWV",    "AU",       "ECG",    "PLAN"};
    const char *shown = cmir_shown_path(path);

    if (h->is_directory)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: a DICOMDIR, not an image", shown);
    for (size_t i = 0; i < sizeof modalities / sizeof modalities[0]; i++)
        if (strcmp(h->modality, modalities[i]) == 0)
            return FAIL(err, CMIR_EUNSUPPORTED, "%s: %s, not a scan", shown, h->modality);
    if (!h->has_pixels && h->rows < 0)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: no image (SOP class %s)", shown,
                    h->sop_class[0] == '\0' ? "unknown" : h->sop_class);
    if (h->samples == 3 || strcmp(h->photometric, "PALETTE COLOR") == 0)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: a colour image (%s), not a scan", shown,
                    h->photometric);
    return CMIR_OK;
}

static cmir_status
take_bits(const cmir_dicom_header *h, cmir_dicom_file *file, cmir_error *err)
{
    const int32_t allocated = h->bits_allocated;
    const int32_t stored = h->bits_stored < 0 ? allocated : h->bits_stored;
    const int32_t high = h->high_bit < 0 ? stored - 1 : h->high_bit;

    if (allocated != 8 && allocated != 16 && allocated != 32)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: BitsAllocated is not 8, 16 or 32",
                    cmir_shown_path(file->path));
    if (stored < 1 || high >= allocated || high + 1 < stored || h->representation > 1)
        return FAIL(err, CMIR_ECORRUPT,
                    "%s: BitsAllocated %d, BitsStored %d, HighBit %d and "
                    "PixelRepresentation %d contradict each other",
                    cmir_shown_path(file->path), allocated, stored, high, h->representation);
    file->bits_allocated = (uint32_t)allocated;
    file->bits_stored = (uint32_t)stored;
    file->high_bit = (uint32_t)high;
    file->is_signed = h->representation == 1;
    return CMIR_OK;
}

cmir_status
cmir_dicom_take_format(const cmir_dicom_header *h, cmir_dicom_file *file, cmir_error *err)
{
    const char *shown = cmir_shown_path(file->path);
    const bool inverted = strcmp(h->photometric, "MONOCHROME1") == 0;

    if (!h->has_pixels)
        return FAIL(err, h->has_float_pixels ? CMIR_EUNSUPPORTED : CMIR_ECORRUPT,
                    "%s: no PixelData", shown);
    if (h->rows < 1 || h->cols < 1)
        return FAIL(err, CMIR_ECORRUPT, "%s: no valid Rows and Columns", shown);
    if (h->rows > (int32_t)CMIR_MAX_SIDE || h->cols > (int32_t)CMIR_MAX_SIDE ||
        (uint64_t)h->rows * (uint64_t)h->cols > CMIR_DICOM_MAX_PIXELS)
        return FAIL(err, CMIR_ELIMIT, "%s: a slice of %d x %d pixels is too large", shown, h->rows,
                    h->cols);
    if ((h->samples >= 0 && h->samples != 1) ||
        (!inverted && strcmp(h->photometric, "MONOCHROME2") != 0))
        return FAIL(err, CMIR_EUNSUPPORTED,
                    "%s: PhotometricInterpretation '%s' with %d samples "
                    "per pixel is not supported",
                    shown, h->photometric, h->samples);
    if (h->n_frames > (int32_t)CMIR_MAX_SLICES)
        return FAIL(err, CMIR_ELIMIT, "%s: %d frames are too many", shown, h->n_frames);
    if (h->has_lut)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: a ModalityLUTSequence is not supported", shown);
    file->rows = (uint32_t)h->rows;
    file->cols = (uint32_t)h->cols;
    file->n_frames = h->n_frames < 1 ? 1 : (uint32_t)h->n_frames; /* 0 is written for 1 */
    file->is_monochrome1 = inverted;
    file->is_scout = h->is_localizer;
    return take_bits(h, file, err);
}

static uint32_t
le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

cmir_status
cmir_dicom_find_frames(const cmir_dicom_file *file, const uint32_t *lengths, uint32_t n_items,
                       const uint8_t *offsets, uint32_t *first, cmir_error *err)
{
    const char *shown = cmir_shown_path(file->path);
    const uint32_t n = file->n_frames;
    uint64_t offset = 0;
    uint32_t item = 0;

    first[n] = n_items;
    if (n_items < n)
        return FAIL(err, CMIR_ECORRUPT, "%s: %u compressed fragments for %u frames", shown, n_items,
                    n);
    if (n == 1 || n_items == n) {
        for (uint32_t i = 0; i < n; i++)
            first[i] = i;
        return CMIR_OK;
    }
    if (offsets == NULL)
        return FAIL(err, CMIR_ECORRUPT,
                    "%s: %u compressed fragments for %u frames, and no offset "
                    "table",
                    shown, n_items, n);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t want = le32(offsets + 4 * (size_t)i);
        while (item < n_items && offset < want)
            offset += 8 + (uint64_t)lengths[item++];
        if (item == n_items || offset != want || (i > 0 && first[i - 1] == item) ||
            (i == 0 && item != 0))
            return FAIL(err, CMIR_ECORRUPT, "%s: the offset table does not point at frame %u",
                        shown, i + 1);
        first[i] = item;
    }
    return CMIR_OK;
}
