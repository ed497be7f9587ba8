/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_text.c: names, texts and ages of DICOM files, and freeing what describes them; called by
 * all of the DICOM reader. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/dicom.h"

#define SHOWN_NBYTES 80u

void
cmir_dicom_file_clear(cmir_dicom_file *file)
{
    free(file->path);
    free(file->sop_uid);
    free(file->frames);
    memset(file, 0, sizeof *file);
}

void
cmir_dicom_text_clear(cmir_dicom_text *text)
{
    free(text->series_uid);
    free(text->study_uid);
    free(text->modality);
    free(text->patient_id);
    free(text->patient_sex);
    free(text->study_date);
    free(text->body_part);
    free(text->manufacturer);
    free(text->description);
    memset(text, 0, sizeof *text);
}

void
cmir_dicom_series_clear(cmir_dicom_series *series)
{
    for (size_t i = 0; i < series->n_files; i++)
        cmir_dicom_file_clear(&series->files[i]);
    free(series->files);
    cmir_dicom_text_clear(&series->text);
    memset(series, 0, sizeof *series);
}

const char *
cmir_shown_path(const char *path)
{
    const size_t n = strlen(path);

    if (n <= SHOWN_NBYTES)
        return path;
    const char *tail = path + n - SHOWN_NBYTES, *slash = strchr(tail, '/');
    return slash != NULL ? slash + 1 : tail;
}

char *
cmir_dicom_place(const cmir_dicom_series *series)
{
    char *folder = cmir_strdup(series->files[0].path);
    char *slash = folder == NULL ? NULL : strrchr(folder, '/');

    if (slash == NULL || series->n_files == 1)
        return folder;
    slash[1] = '\0';
    for (size_t i = 1; i < series->n_files; i++) {
        while (strncmp(folder, series->files[i].path, strlen(folder)) != 0) {
            folder[strlen(folder) - 1] = '\0';
            slash = strrchr(folder, '/');
            if (slash == NULL)
                return folder;
            slash[1] = '\0';
        }
    }
    const size_t n = strlen(folder);
    if (n > 1)
        folder[n - 1] = '\0';
    return folder;
}

/* Length of the UTF-8 character at s, 0 if there is none. */
static size_t
utf8_length(const unsigned char *s)
{
    const size_t n = s[0] < 0x80   ? 1
                     : s[0] < 0xC2 ? 0
                     : s[0] < 0xE0 ? 2
                     : s[0] < 0xF0 ? 3
                     : s[0] < 0xF5 ? 4
                                   : 0;

    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return n;
}

void
cmir_dicom_clean_text(char *text)
{
    unsigned char *s = (unsigned char *)text;

    while (*s != '\0') {
        const size_t n = utf8_length(s);
        const bool is_control = *s < 0x20 || *s == 0x7F || (s[0] == 0xC2 && s[1] < 0xA0);
        if (n == 0 || is_control) {
            for (size_t i = 0; i < (n == 0 ? 1 : n); i++)
                s[i] = '?';
        }
        s += n == 0 ? 1 : n;
    }
}

/* A YYYYMMDD date in years; -1 if it is none. */
static double
date_years(const char *date)
{
    int value = 0;

    for (int i = 0; i < 8; i++) {
        if (date[i] < '0' || date[i] > '9')
            return -1;
        value = value * 10 + (date[i] - '0');
    }
    const int year = value / 10000, month = value / 100 % 100, day = value % 100;
    if (month < 1 || month > 12 || day < 1 || day > 31 || year < 1800)
        return -1;
    return year + (month - 1) / 12.0 + (day - 1) / 365.25;
}

double
cmir_dicom_age(const char *age, const char *birth_date, const char *study_date)
{
    static const char units[] = "YMWD";
    static const double per_year[4] = {1, 12, 52.1775, 365.25};
    const char *unit = strlen(age) == 4 ? strchr(units, age[3]) : NULL;

    if (unit != NULL && strspn(age, "0123456789") == 3)
        return ((age[0] - '0') * 100 + (age[1] - '0') * 10 + (age[2] - '0')) /
               per_year[unit - units];
    const double birth = date_years(birth_date), study = date_years(study_date);
    return birth < 0 || study < birth ? NAN : study - birth;
}
