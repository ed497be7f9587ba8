/* SPDX-License-Identifier: Apache-2.0 */
/* json.c: JSON for machines: valid whatever the strings hold, numbers with 9 significant digits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* jansson refuses invalid UTF-8: bytes that are not part of a character become U+FFFD. */
json_t *
cli_json_text(const char *text)
{
    json_t *string = json_string(text);

    if (string != NULL)
        return string;
    char *fixed = cli_need(malloc(3 * strlen(text) + 1)), *p = fixed;
    while (*text != '\0') {
        uint32_t code;
        const size_t n = cli_decode(text, &code);
        memcpy(p, n > 0 ? text : "\xEF\xBF\xBD", n > 0 ? n : 3);
        p += n > 0 ? n : 3;
        text += n > 0 ? n : 1;
    }
    *p = '\0';
    string = json_string(fixed);
    free(fixed);
    return cli_need(string);
}

json_t *
cli_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *
cli_json_pair(uint32_t a, uint32_t b)
{
    return json_pack("[II]", (json_int_t)a, (json_int_t)b);
}

void
cli_json_set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, cli_need(value)) != 0)
        cli_need(NULL);
}

void
cli_json_add(json_t *array, json_t *value)
{
    if (json_array_append_new(array, cli_need(value)) != 0)
        cli_need(NULL);
}

/* A label's name need not be valid UTF-8 either, nor unique. */
static json_t *
labels_object(const cmir_record *record)
{
    json_t *labels = json_object();

    for (size_t i = 0; i < record->n_labels; i++) {
        json_t *name = cli_json_text(record->labels[i].name);
        cli_json_set(labels, json_string_value(name), cli_json_text(record->labels[i].value));
        json_decref(name);
    }
    return labels;
}

json_t *
cli_json_record(const cmir_record *record)
{
    const cmir_volume_info *info = &record->info;
    json_t *o = cli_need(json_object());

    cli_json_set(o, "VolumeId", cli_json_text(info->volume_id));
    cli_json_set(o, "Path", cli_json_text(info->path));
    cli_json_set(o, "Format", cli_json_text(info->format));
    cli_json_set(o, "Modality", cli_json_text(info->modality));
    cli_json_set(o, "SeriesInstanceUID", cli_json_text(info->series_uid));
    cli_json_set(o, "StudyInstanceUID", cli_json_text(info->study_uid));
    cli_json_set(o, "PatientId", cli_json_text(info->patient_id));
    cli_json_set(o, "PatientSex", cli_json_text(info->patient_sex));
    cli_json_set(o, "PatientAge", cli_json_number(info->patient_age));
    cli_json_set(o, "StudyDate", cli_json_text(info->study_date));
    cli_json_set(o, "BodyPartExamined", cli_json_text(info->body_part));
    cli_json_set(o, "Manufacturer", cli_json_text(info->manufacturer));
    cli_json_set(o, "SeriesDescription", cli_json_text(info->description));
    cli_json_set(o, "Slices", json_integer(record->n_slices));
    cli_json_set(o, "AirSlices", json_integer(record->n_air));
    cli_json_set(o, "SliceSpacing", cli_json_number(record->slice_spacing_mm));
    cli_json_set(o, "Added", cli_json_text(record->added));
    cli_json_set(o, "Labels", labels_object(record));
    return o;
}

/* Characters that a terminal might obey stand in strings only, where they can be escaped. */
void
cli_json_print(cli_args *args, json_t *object)
{
    char *text = cli_need(json_dumps(cli_need(object), JSON_REAL_PRECISION(9)));

    for (const char *p = text; *p != '\0';) {
        uint32_t code;
        const size_t n = cli_decode(p, &code);
        if (cli_is_harmless(code))
            fwrite(p, 1, n, args->out);
        else
            fprintf(args->out, "\\u%04x", (unsigned)code);
        p += n;
    }
    fputc('\n', args->out);
    free(text);
    json_decref(object);
}
