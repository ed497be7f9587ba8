/* SPDX-License-Identifier: Apache-2.0 */
/* fields.c: the names by which people speak of the catalogue's columns.  Called by where, labels
 * and catalog. */
#include "store/fields.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"

static const cmir_field fields[] = {
    {"VolumeId", "volume_id", false, 0},           {"Modality", "modality", false, 4},
    {"BodyPartExamined", "body_part", false, 64},  {"PatientID", "patient_id", false, 1},
    {"PatientSex", "patient_sex", false, 8},       {"PatientAge", "patient_age", true, 16},
    {"StudyDate", "study_date", false, 32},        {"StudyInstanceUID", "study_uid", false, 2},
    {"SeriesInstanceUID", "series_uid", false, 0}, {"SeriesDescription", "description", false, 0},
    {"Manufacturer", "manufacturer", false, 0},    {"Slices", "n_slices", true, 0},
};

const cmir_field *
cmir_field_find(const char *name)
{
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* YYYYMMDD or YYYY-MM-DD. */
static bool
parse_date(const char *s, char *out)
{
    const bool dashes = strlen(s) == 10 && s[4] == '-' && s[7] == '-';
    size_t n = 0;

    for (; *s != '\0'; s++) {
        if (dashes && *s == '-')
            continue;
        if (!is_digit(*s) || n == 8)
            return false;
        out[n++] = *s;
    }
    out[n] = '\0';
    if (n != 8)
        return false;
    const int month = (out[4] - '0') * 10 + out[5] - '0', day = (out[6] - '0') * 10 + out[7] - '0';
    return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/* Digits, perhaps with a fraction, then a DICOM unit or none; no locale takes part. */
static bool
parse_age(const char *s, double *years)
{
    double value = 0, place = 1;
    bool digits = false;

    for (; is_digit(*s) && value < 1e6; s++, digits = true)
        value = value * 10 + (*s - '0');
    if (*s == '.')
        for (s++; is_digit(*s); s++, digits = true)
            value += (place /= 10) * (*s - '0');
    if (*s == 'M')
        value /= 12;
    else if (*s == 'W')
        value /= 365.25 / 7;
    else if (*s == 'D')
        value /= 365.25;
    else if (*s != 'Y' && *s != '\0')
        return false;
    *years = value;
    return digits && (*s == '\0' || s[1] == '\0') && value <= 150;
}

cmir_status
cmir_field_parse(const cmir_field *field, const char *text, cmir_field_value *out, cmir_error *err)
{
    *out = (cmir_field_value){.text = text, .number = NAN};
    if (strcmp(field->name, "PatientAge") == 0) {
        if (!parse_age(text, &out->number))
            return FAIL(err, CMIR_EINVAL, "PatientAge '%s' is no age in years, such as 63 or 063Y",
                        text);
    } else if (strcmp(field->name, "StudyDate") == 0) {
        if (!parse_date(text, out->buf))
            return FAIL(err, CMIR_EINVAL, "StudyDate '%s' is no date of the form YYYYMMDD", text);
        out->text = out->buf;
    } else if (strcmp(field->name, "PatientSex") == 0) {
        static const char known[] = "MmFfOo";
        const char *at = text[0] != '\0' && text[1] == '\0' ? strchr(known, text[0]) : NULL;

        if (at == NULL)
            return FAIL(err, CMIR_EINVAL, "PatientSex '%s' is none of M, F and O", text);
        out->buf[0] = known[(at - known) & ~(ptrdiff_t)1];
        out->text = out->buf;
    }
    return CMIR_OK;
}
