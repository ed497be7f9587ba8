/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_values.cc: from the values of a DICOM file to what cmir knows of it; called by
 * dicom_dcmtk.cc and dicom_plain.cc.
 *
 * The one idea: what an attribute means is told here alone, so that a file means the same whoever
 * found its values.  It may throw std::bad_alloc. */
#include "io/dicom_values.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

extern "C" {
#include "base/error.h"
#include "base/memory.h"
}

namespace {

const char kDirectory[] = "1.2.840.10008.1.3.10"; /* the SOP class of a DICOMDIR */

/* The first `n` numbers of an attribute, at most 6, or none. */
bool
get_numbers(cmir_dicom_values &values, uint32_t tag, double *out, unsigned n)
{
    double numbers[6];

    for (unsigned i = 0; i < n; i++) {
        std::string text;
        if (!values.get(tag, i, text) || !cmir_dicom_number(text.c_str(), &numbers[i]) ||
            !std::isfinite(numbers[i]))
            return false;
    }
    std::copy(numbers, numbers + n, out);
    return true;
}

/* A whole number of 0 .. 2^31-1, or -1. */
int32_t
get_count(cmir_dicom_values &values, uint32_t tag)
{
    double value;

    if (!get_numbers(values, tag, &value, 1) || value < 0 || value > INT32_MAX ||
        value != std::floor(value))
        return -1;
    return (int32_t)value;
}

/* Text of any character set as printable UTF-8, without padding. */
char *
get_text(cmir_dicom_values &values, uint32_t tag)
{
    std::string text;

    if (!values.get(tag, 0, text))
        return cmir_strdup("");
    const bool ascii = std::all_of(text.begin(), text.end(),
                                   [](char c) { return (unsigned char)c < 0x80 && c != 0x1B; });
    if (!ascii)
        values.to_utf8(tag, text);
    while (!text.empty() && text.back() == ' ')
        text.pop_back();
    char *copy = cmir_strdup(text.c_str());
    if (copy != nullptr)
        cmir_dicom_clean_text(copy);
    return copy;
}

cmir_status
read_text(cmir_dicom_values &values, cmir_dicom_text &text, cmir_error *err)
{
    std::string age, birth;

    const struct {
        char *&field;
        uint32_t tag;
    } fields[] = {
        {text.series_uid, 0x0020000E},  {text.study_uid, 0x0020000D},
        {text.modality, 0x00080060},    {text.patient_id, 0x00100020},
        {text.patient_sex, 0x00100040}, {text.study_date, 0x00080020},
        {text.body_part, 0x00180015},   {text.manufacturer, 0x00080070},
        {text.description, 0x0008103E},
    };
    for (const auto &f : fields)
        if ((f.field = get_text(values, f.tag)) == nullptr)
            return FAIL(err, CMIR_ENOMEM, "no memory for a DICOM header");
    (void)values.get(0x00101010, 0, age);
    (void)values.get(0x00100030, 0, birth);
    text.patient_age = cmir_dicom_age(age.c_str(), birth.c_str(), text.study_date);
    return CMIR_OK;
}

} // namespace

void
cmir_dicom_values_uid(cmir_dicom_values &values, uint32_t tag, std::string &uid)
{
    uid.clear();
    (void)values.get(tag, 0, uid);
    while (!uid.empty() && (uid.back() == ' ' || uid.back() == '\0'))
        uid.pop_back();
}

void
cmir_dicom_values_place(cmir_dicom_values &values, cmir_dicom_frame &f)
{
    double v[6];

    if (get_numbers(values, 0x00200032, f.position, 3)) /* ImagePositionPatient */
        f.has_position = true;
    if (get_numbers(values, 0x00200037, v, 6)) { /* ImageOrientationPatient */
        std::copy(v, v + 3, f.row);
        std::copy(v + 3, v + 6, f.col);
        f.has_orientation = true;
    }
    if (get_numbers(values, 0x00280030, v, 2)) { /* PixelSpacing */
        f.row_spacing = v[0];
        f.col_spacing = v[1];
    }
    if (get_numbers(values, 0x00180050, v, 1) && v[0] > 0) /* SliceThickness */
        f.thickness = v[0];
    if (get_numbers(values, 0x00281053, v, 1) &&      /* RescaleSlope */
        get_numbers(values, 0x00281052, v + 1, 1)) { /* RescaleIntercept */
        f.slope = v[0];
        f.intercept = v[1];
        f.has_rescale = true;
        std::string type; /* RescaleType */
        f.is_hu = !values.get(0x00281054, 0, type) || type == "HU" || type == "US";
    }
}

void
cmir_dicom_values_header(cmir_dicom_values &values, cmir_dicom_header &h)
{
    std::string text;
    const auto copy = [](char *out, size_t n, const std::string &from) {
        (void)snprintf(out, n, "%s", from.c_str());
        cmir_dicom_clean_text(out);
    };

    cmir_dicom_values_uid(values, 0x00080016, text);
    copy(h.sop_class, sizeof h.sop_class, text);
    if (values.get(0x00080060, 0, text))
        copy(h.modality, sizeof h.modality, text);
    if (values.get(0x00280004, 0, text))
        copy(h.photometric, sizeof h.photometric, text);
    h.rows = get_count(values, 0x00280010);
    h.cols = get_count(values, 0x00280011);
    h.n_frames = get_count(values, 0x00280008);
    h.samples = get_count(values, 0x00280002);
    h.bits_allocated = get_count(values, 0x00280100);
    h.bits_stored = get_count(values, 0x00280101);
    h.high_bit = get_count(values, 0x00280102);
    h.representation = get_count(values, 0x00280103);
    cmir_dicom_values_uid(values, 0x00020002, text); /* MediaStorageSOPClassUID */
    h.is_directory = text == kDirectory || values.has(0x00041220); /* DirectoryRecordSequence */
    h.has_pixels = values.has(0x7FE00010);
    h.has_float_pixels = values.has(0x7FE00008) || values.has(0x7FE00009);
    h.has_lut = values.has(0x00283000); /* ModalityLUTSequence */
    for (unsigned i = 0; i < 8 && values.get(0x00080008, i, text); i++) /* ImageType */
        if (text == "LOCALIZER")
            h.is_localizer = true;
}

cmir_status
cmir_dicom_values_image(cmir_dicom_values &values, const cmir_dicom_header &header,
                        cmir_dicom_file &file, cmir_dicom_text &text, cmir_error *err)
{
    const cmir_status st = read_text(values, text, err);

    if (st != CMIR_OK)
        return st;
    file.sop_uid = get_text(values, 0x00080018);
    if (file.sop_uid != nullptr && file.sop_uid[0] == '\0') {
        free(file.sop_uid);
        file.sop_uid = get_text(values, 0x00020003); /* MediaStorageSOPInstanceUID */
    }
    if (file.sop_uid == nullptr)
        return FAIL(err, CMIR_ENOMEM, "no memory for a DICOM header");
    return cmir_dicom_take_format(&header, &file, err);
}
