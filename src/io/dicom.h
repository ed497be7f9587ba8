/* SPDX-License-Identifier: Apache-2.0 */
/* dicom.h: what the parts of the DICOM reader tell each other.
 *
 * dicom_dcmtk.cc (with dicom_source.h) is the only file that knows DCMTK: it turns a file into a
 * cmir_dicom_file and decodes frames.  dicom_plain.cc (with dicom_walk.c) does the former for files
 * that are all in order; dicom_values.cc says for both what values mean.  dicom_series.c orders the frames of a series in space;
 * dicom.c makes a volume of them and loads its voxels; scan.c finds the files. */
#ifndef CMIR_IO_DICOM_H
#define CMIR_IO_DICOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A slice larger than this is refused: it bounds what a small file can make us allocate. */
#define CMIR_DICOM_MAX_PIXELS ((uint64_t)1 << 24)
/* A deflated data set larger than this is refused. */
#define CMIR_DICOM_MAX_INFLATED_NBYTES ((uint64_t)256 << 20)

/* Where one frame lies and how its stored values become real ones. */
typedef struct cmir_dicom_frame {
    double position[3];    /* LPS mm of the first voxel's centre */
    double row[3], col[3]; /* directions of rising column and row index; unit vectors */
    double row_spacing, col_spacing; /* mm between rows, between columns; 0: unknown */
    double thickness;                /* mm; 1: unknown */
    double slope, intercept;
    bool has_position, has_orientation, has_rescale;
    bool is_hu; /* the rescale's type is HU or not told */
} cmir_dicom_frame;

/* What is equal in all files of a series; strings owned, never NULL. */
typedef struct cmir_dicom_text {
    char *series_uid, *study_uid, *modality, *patient_id, *patient_sex, *study_date, *body_part,
        *manufacturer, *description;
    double patient_age; /* years; NAN unknown */
} cmir_dicom_text;

typedef enum cmir_dicom_syntax {
    CMIR_DICOM_NATIVE,      /* 1.2, 1.2.1, 1.2.2, 1.2.1.99 */
    CMIR_DICOM_JPEG,        /* .50 .51 .57 .70 */
    CMIR_DICOM_JPEG_LS,     /* .80 .81 */
    CMIR_DICOM_JPEG_2000,   /* .90 .91 */
    CMIR_DICOM_RLE,         /* 1.2.5 */
    CMIR_DICOM_UNSUPPORTED
} cmir_dicom_syntax;

/* Where the pixels of an uncompressed file lie, and what tells that it is still the same file. */
typedef struct cmir_dicom_native {
    uint64_t offset; /* of frame 0; 0: unknown, or other bytes than a volume's */
    uint64_t device, inode, nbytes;
    int64_t seconds, nanoseconds; /* of its last change */
} cmir_dicom_native;

/* One image file. */
typedef struct cmir_dicom_file {
    char *path, *sop_uid; /* owned; sop_uid "" unknown */
    char syntax_uid[65];
    cmir_dicom_syntax syntax;
    uint32_t rows, cols, n_frames;
    uint32_t bits_allocated, bits_stored, high_bit; /* allocated: 8, 16 or 32 */
    bool is_signed, is_monochrome1, is_scout;
    cmir_dicom_native native;
    cmir_dicom_frame *frames; /* owned, [n_frames] */
} cmir_dicom_file;

void cmir_dicom_file_clear(cmir_dicom_file *file); /* a zeroed one is fine */
void cmir_dicom_text_clear(cmir_dicom_text *text); /* a zeroed one is fine */

/* What a file turned out to be. */
typedef enum cmir_dicom_kind {
    CMIR_DICOM_NONE,  /* not DICOM */
    CMIR_DICOM_OTHER, /* DICOM, but nothing that can be part of a scan */
    CMIR_DICOM_IMAGE
} cmir_dicom_kind;

/* The first look at a file: CMIR_OK if it begins with "DICM" after a preamble (*kind is then
 * CMIR_DICOM_IMAGE until more is known) or like a data set without one (CMIR_DICOM_NONE). */
cmir_status cmir_dicom_sniff(const char *path, cmir_dicom_kind *kind, cmir_error *err);

/* What a data set says of its pixels, unchecked; numbers are -1 where absent or not whole. */
typedef struct cmir_dicom_header {
    char sop_class[65], modality[17], photometric[17];
    int32_t rows, cols, n_frames, samples, bits_allocated, bits_stored, high_bit, representation;
    bool is_directory, is_localizer, has_pixels, has_float_pixels, has_lut;
} cmir_dicom_header;

cmir_dicom_syntax cmir_dicom_syntax_of(const char *uid);

/* CMIR_OK unless this is something else than an image that could belong to a scan. */
cmir_status cmir_dicom_check_kind(const cmir_dicom_header *header, const char *path,
                                  cmir_error *err);

/* Checks the header of an image and fills the file's sizes and bits. */
cmir_status cmir_dicom_take_format(const cmir_dicom_header *header, cmir_dicom_file *file,
                                   cmir_error *err);

/* Which fragments make which frame: frame i has those from first[i] to before first[i + 1].
 * `lengths` of all n_items fragments; `offsets`: the basic offset table of n_frames little-endian
 * words, or NULL.  `first` holds n_frames + 1. */
cmir_status cmir_dicom_find_frames(const cmir_dicom_file *file, const uint32_t *lengths,
                                   uint32_t n_items, const uint8_t *offsets, uint32_t *first,
                                   cmir_error *err);

/* Reads everything but the pixels of a regular file.  CMIR_OK only for an image that can be part
 * of a volume (the caller then clears *file and *text); otherwise *kind tells what the file is,
 * and err why it is of no use: CMIR_DICOM_IMAGE is then a broken or unsupported image. */
cmir_status cmir_dicom_file_read(const char *path, cmir_dicom_file *file, cmir_dicom_text *text,
                                 cmir_dicom_kind *kind, cmir_error *err);

/* dicom_plain.cc: the same of an image that is uncompressed, of one frame and all in order, without
 * DCMTK and as DCMTK has it; false, with nothing in *file and *text, leaves the file to DCMTK. */
bool cmir_dicom_plain_read(const char *path, cmir_dicom_file *file, cmir_dicom_text *text);

/* dicom_dcmtk.cc: cmir_dicom_file_read() by DCMTK, whatever the file. */
cmir_status cmir_dicom_file_parse(const char *path, cmir_dicom_file *file, cmir_dicom_text *text,
                                  cmir_dicom_kind *kind, cmir_error *err);

/* A number as DCMTK reads it; false where the text is none. */
bool cmir_dicom_number(const char *text, double *out);

/* One file of several; the caller sets `path` and `named`, which stay his. */
typedef struct cmir_dicom_look {
    char *path;
    bool named; /* by the user */
    cmir_dicom_file file;
    cmir_dicom_text text;
    cmir_dicom_kind kind;
    cmir_status status;
    cmir_error reason;
} cmir_dicom_look;

/* dicom_batch.c: cmir_dicom_file_read() of `n` files, several at a time. */
void cmir_dicom_read_batch(cmir_dicom_look *looks, size_t n);

/* An image file open for decoding; one thread at a time. */
typedef struct cmir_dicom_pixels cmir_dicom_pixels;
cmir_status cmir_dicom_pixels_open(const cmir_dicom_file *file, cmir_dicom_pixels **out,
                                   cmir_error *err);
void cmir_dicom_pixels_close(cmir_dicom_pixels *pixels); /* NULL is fine */

/* Decodes frame `frame` (0-based) into `buffer` of rows * cols * bits_allocated / 8 bytes, native
 * endian, bits as stored: cmir_dicom_unpack() makes numbers of them. */
cmir_status cmir_dicom_pixels_frame(cmir_dicom_pixels *pixels, uint32_t frame, void *buffer,
                                    size_t nbytes, cmir_error *err);

/* dicom_native.c: the same for a file whose pixels can be read as they lie there; *done is false
 * where they cannot, or where the file has changed since it was parsed. */
cmir_status cmir_dicom_native_frame(const cmir_dicom_file *file, uint32_t frame, void *buffer,
                                    size_t nbytes, bool *done, cmir_error *err);
struct stat;
void cmir_dicom_native_stamp(cmir_dicom_native *native, const struct stat *info);

/* Cuts the stored bits (high_bit and below) out of every word and extends their sign. */
void cmir_dicom_unpack(const cmir_dicom_file *file, void *buffer, size_t n);

/* dicom_jpeg.c: a JPEG or JPEG-LS stream, checked before a decoder sees it: sizes as the data set
 * says, one component, one scan, a process that belongs to the transfer syntax, tables within what
 * it allows.  *precision is 2 .. 16. */
cmir_status cmir_dicom_check_jpeg(const cmir_dicom_file *file, const uint8_t *data, size_t nbytes,
                                  uint32_t *precision, cmir_error *err);

/* dicom_rle.c: decodes one RLE frame. */
cmir_status cmir_dicom_unpack_rle(const cmir_dicom_file *file, const uint8_t *data, size_t nbytes,
                                  uint8_t *buffer, cmir_error *err);

/* jpeg2000.c: decodes one component into rows * cols words of file->bits_allocated. */
cmir_status cmir_jpeg2000_decode(const cmir_dicom_file *file, const uint8_t *data, size_t nbytes,
                                 void *buffer, cmir_error *err);

/* Inflates the rest of a file from `offset` on into an anonymous file in memory; the caller
 * closes *out. */
cmir_status cmir_dicom_inflate(const char *path, uint64_t offset, int *out, cmir_error *err);

/* Years from PatientAge ("045Y", "018M", ...), or between two dates (YYYYMMDD); NAN unknown. */
double cmir_dicom_age(const char *age, const char *birth_date, const char *study_date);

/* Replaces what is not printable, or not UTF-8, by '?'. */
void cmir_dicom_clean_text(char *text);

/* The files of one SeriesInstanceUID. */
typedef struct cmir_dicom_series {
    cmir_dicom_text text;
    cmir_dicom_file *files;
    size_t n_files, files_cap;
    uint64_t n_slices; /* frames that are no scouts */
} cmir_dicom_series;

void cmir_dicom_series_clear(cmir_dicom_series *series); /* a zeroed one is fine */

/* One slice: a frame of a file. */
typedef struct cmir_dicom_slice {
    const cmir_dicom_file *file;
    uint32_t frame;
    double along; /* mm along the normal */
} cmir_dicom_slice;

struct cmir_volume;

/* dicom_series.c: the slices of a series in order along their normal.  Fills the geometry of
 * `volume` (dims, affine, slice_position) and its warnings; the caller frees *slices. */
cmir_status cmir_dicom_order(const cmir_dicom_series *series, struct cmir_volume *volume,
                             cmir_dicom_slice **slices, cmir_error *err);

/* Are two frames equal, voxel by voxel? */
cmir_status cmir_dicom_same_pixels(const cmir_dicom_slice *a, const cmir_dicom_slice *b, bool *same,
                                   cmir_error *err);

/* dicom.c: a volume of a series, voxels still to be loaded; it keeps nothing of `series`. */
cmir_status cmir_dicom_open(const cmir_dicom_series *series, struct cmir_volume **out,
                            cmir_error *err);

/* The only file of a series, or the folder that holds them all; absolute if they are.  The caller
 * frees it. */
char *cmir_dicom_place(const cmir_dicom_series *series);

/* The end of a path, short enough to leave room for a reason in an error's sentence. */
const char *cmir_shown_path(const char *path);

#ifdef __cplusplus
}
#endif
#endif
