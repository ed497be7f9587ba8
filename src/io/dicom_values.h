/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_values.h: what the values of a DICOM file mean, whoever has found them in it; C++, part of
 * dicom_dcmtk.cc and dicom_plain.cc. */
#ifndef CMIR_IO_DICOM_VALUES_H
#define CMIR_IO_DICOM_VALUES_H

#include <string>

#include "io/dicom.h"

/* The values of a file, or of one item of a sequence.  Tags are group << 16 | element. */
class cmir_dicom_values {
public:
    virtual ~cmir_dicom_values() = default;
    /* Value `index` as text, without padding; false if absent, empty, or of a kind without text. */
    virtual bool get(uint32_t tag, unsigned index, std::string &out) = 0;
    virtual bool has(uint32_t tag) = 0;
    /* Converts a text of the attribute that is not ASCII, if its character set is known. */
    virtual void to_utf8(uint32_t tag, std::string &text) = 0;
};

extern "C" {

/* The place and scaling that are stated among `values`; the rest of `frame` stays. */
void cmir_dicom_values_place(cmir_dicom_values &values, cmir_dicom_frame &frame);

/* What a file says of its pixels. */
void cmir_dicom_values_header(cmir_dicom_values &values, cmir_dicom_header &header);

/* Text, SOPInstanceUID and format. */
cmir_status cmir_dicom_values_image(cmir_dicom_values &values, const cmir_dicom_header &header,
                                    cmir_dicom_file &file, cmir_dicom_text &text, cmir_error *err);

/* A UID without padding; "" where there is none. */
void cmir_dicom_values_uid(cmir_dicom_values &values, uint32_t tag, std::string &uid);
}

#endif
