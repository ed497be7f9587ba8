/* SPDX-License-Identifier: Apache-2.0 */
/* gzip.h: streams of bytes from and to files that may be gzipped; for NIfTI. */
#ifndef CMIR_IO_GZIP_H
#define CMIR_IO_GZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmir/status.h>

typedef struct cmir_gzip_reader cmir_gzip_reader;

/* Opens a regular file; that it is gzipped is told by its first two bytes, not by its name. */
cmir_status cmir_gzip_open(const char *path, cmir_gzip_reader **out, cmir_error *err);
void cmir_gzip_close(cmir_gzip_reader *reader); /* NULL is fine */

bool cmir_gzip_is_compressed(const cmir_gzip_reader *reader);
uint64_t cmir_gzip_file_nbytes(const cmir_gzip_reader *reader); /* as it lies on disk */

/* Reads, or skips, exactly `nbytes` of content; CMIR_ECORRUPT where it ends earlier. */
cmir_status cmir_gzip_read(cmir_gzip_reader *reader, void *out, size_t nbytes, cmir_error *err);
cmir_status cmir_gzip_skip(cmir_gzip_reader *reader, uint64_t nbytes, cmir_error *err);

/* Verifies the checksum of what was read where the stream ends within the next MiB of content;
 * looks no further, so that whatever follows in the file costs nothing. */
cmir_status cmir_gzip_finish(cmir_gzip_reader *reader, cmir_error *err);

typedef struct cmir_gzip_writer cmir_gzip_writer;

/* Writes to a temporary name beside `path`; cmir_gzip_commit() syncs it and gives it the name. */
cmir_status cmir_gzip_create(const char *path, bool compress, cmir_gzip_writer **out,
                             cmir_error *err);
cmir_status cmir_gzip_write(cmir_gzip_writer *writer, const void *data, size_t nbytes,
                            cmir_error *err);
cmir_status cmir_gzip_commit(cmir_gzip_writer *writer, cmir_error *err);
void cmir_gzip_discard(cmir_gzip_writer *writer); /* always last; removes what is uncommitted */

#endif
