/* SPDX-License-Identifier: Apache-2.0 */
/* card.c: reads and checks encoder cards; the only file here that uses jansson.
 *
 * Every field goes through one small reader of its kind, which refuses with the card's path, the
 * field's name and what was wanted.  Fields that cmir does not know are welcome at the top level
 * (authors' notes), and refused inside "input", "output" and a window, where one that is misspelt
 * would silently change what the model sees. */
#include "encode/card.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmir/encoder.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#define MAX_CARD_NBYTES ((uint64_t)1 << 20)
#define MAX_TEXT_NBYTES 200u
#define MAX_PATH_NBYTES 4096u
#define MAX_SIDE 2048
#define MAX_HU 1e6

/* An object of the card and what it is called in messages ("", "input.", "windows[0]."). */
struct object {
    const char *path, *prefix;
    const json_t *json;
    cmir_error *err;
};

#define REFUSE(o, field, ...) refuse((o), (field), cmir_asprintf(__VA_ARGS__))

/* Takes `wanted` over. */
static cmir_status
refuse(const struct object *o, const char *field, char *wanted)
{
    const cmir_status st = FAIL(o->err, CMIR_ECORRUPT, "%s: encoder card: %s%s: %s", o->path,
                                o->prefix, field, wanted == NULL ? "out of range" : wanted);
    free(wanted);
    return st;
}

static cmir_status
no_memory(const char *path, cmir_error *err)
{
    return FAIL(err, CMIR_ENOMEM, "%s: no memory for the encoder card", path);
}

/* Index of `word` among `words`, which are separated by spaces; -1 if it is none of them. */
static int
find_word(const char *words, const char *word)
{
    const size_t n = strlen(word);

    for (int i = 0; *words != '\0'; i++) {
        const size_t n_here = strcspn(words, " ");
        if (n_here == n && memcmp(words, word, n) == 0)
            return i;
        words += n_here + (words[n_here] == ' ');
    }
    return -1;
}

static cmir_status
check_keys(const struct object *o, const char *allowed)
{
    void *at = json_object_iter((json_t *)(uintptr_t)o->json);

    for (; at != NULL; at = json_object_iter_next((json_t *)(uintptr_t)o->json, at)) {
        const char *key = json_object_iter_key(at);
        if (find_word(allowed, key) < 0)
            return REFUSE(o, key, "no such field; there are %s", allowed);
    }
    return CMIR_OK;
}

static cmir_status
get_text(const struct object *o, const char *field, size_t max_nbytes, bool required, char **out)
{
    const json_t *value = json_object_get(o->json, field);
    const char *text = json_string_value(value);

    if (value == NULL && !required)
        return CMIR_OK;
    if (text == NULL || *text == '\0' || strlen(text) > max_nbytes)
        return REFUSE(o, field, "%s; a text of 1 to %zu bytes is wanted",
                      value == NULL ? "is missing" : "not right", max_nbytes);
    for (const char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20)
            return REFUSE(o, field, "holds a control character");
    *out = cmir_strdup(text);
    return *out == NULL ? no_memory(o->path, o->err) : CMIR_OK;
}

/* One of `choices` (separated by spaces) as its index; absent: 0. */
static cmir_status
get_choice(const struct object *o, const char *field, const char *choices, int *out)
{
    const json_t *value = json_object_get(o->json, field);
    const char *text = json_string_value(value);

    *out = value == NULL ? 0 : text == NULL ? -1 : find_word(choices, text);
    if (*out < 0)
        return REFUSE(o, field, "not right; one of these is wanted: %s", choices);
    return CMIR_OK;
}

static cmir_status
get_integer(const struct object *o, const char *field, const json_t *value, int64_t low,
            int64_t high, uint32_t *out)
{
    const int64_t v = json_integer_value(value);

    if (!json_is_integer(value) || v < low || v > high)
        return REFUSE(o, field, "%s; an integer from %lld to %lld is wanted",
                      value == NULL ? "is missing" : "not right", (long long)low, (long long)high);
    *out = (uint32_t)v;
    return CMIR_OK;
}

static cmir_status
get_number(const struct object *o, const char *field, const json_t *value, double low, double high,
           double *out)
{
    const double v = json_number_value(value);

    if (!json_is_number(value) || !(v >= low && v <= high))
        return REFUSE(o, field, "%s; a number from %g to %g is wanted",
                      value == NULL ? "is missing" : "not right", low, high);
    *out = v;
    return CMIR_OK;
}

/* [rows, columns] */
static cmir_status
get_size(const struct object *o, const char *field, int64_t high, uint32_t *rows, uint32_t *cols)
{
    const json_t *pair = json_object_get(o->json, field);

    if (json_array_size(pair) != 2)
        return REFUSE(o, field, "%s; [rows, columns] is wanted",
                      pair == NULL ? "is missing" : "not right");
    const cmir_status st = get_integer(o, field, json_array_get(pair, 0), 1, high, rows);
    return st != CMIR_OK ? st : get_integer(o, field, json_array_get(pair, 1), 1, high, cols);
}

static cmir_status
get_channels(const struct object *o, const char *field, double low, double high, float *out,
             uint32_t *n)
{
    const json_t *list = json_object_get(o->json, field);
    double v;

    *n = (uint32_t)json_array_size(list);
    if (*n < 1 || json_array_size(list) > CMIR_MAX_CHANNELS)
        return REFUSE(o, field, "%s; a list of 1 to %u numbers, one per channel, is wanted",
                      list == NULL ? "is missing" : "not right", CMIR_MAX_CHANNELS);
    for (uint32_t i = 0; i < *n; i++) {
        const cmir_status st = get_number(o, field, json_array_get(list, i), low, high, &v);
        if (st != CMIR_OK)
            return st;
        out[i] = (float)v;
    }
    return CMIR_OK;
}

static cmir_status
get_object(const struct object *parent, const char *field, const char *prefix, struct object *out)
{
    *out = (struct object){parent->path, prefix, json_object_get(parent->json, field), parent->err};
    if (!json_is_object(out->json))
        return REFUSE(parent, field, "%s; an object is wanted",
                      out->json == NULL ? "is missing" : "not right");
    return CMIR_OK;
}

static cmir_status
read_input(cmir_card *card, const struct object *top)
{
    static const cmir_filter filters[] = {CMIR_AREA, CMIR_BILINEAR, CMIR_BICUBIC};
    struct object o;
    int layout, filter, colours;
    uint32_t n_std;
    cmir_status st = get_object(top, "input", "input.", &o);

    if (st != CMIR_OK ||
        (st = check_keys(&o, "name layout size resize mean std colour_order")) != CMIR_OK ||
        (st = get_text(&o, "name", MAX_TEXT_NBYTES, true, &card->input)) != CMIR_OK ||
        (st = get_choice(&o, "layout", "NCHW NHWC", &layout)) != CMIR_OK ||
        (st = get_size(&o, "size", MAX_SIDE, &card->rows, &card->cols)) != CMIR_OK ||
        (st = get_choice(&o, "resize", "area bilinear bicubic", &filter)) != CMIR_OK ||
        (st = get_channels(&o, "mean", -1e6, 1e6, card->mean, &card->n_channels)) != CMIR_OK ||
        (st = get_channels(&o, "std", 1e-6, 1e6, card->std, &n_std)) != CMIR_OK ||
        (st = get_choice(&o, "colour_order", "RGB BGR", &colours)) != CMIR_OK)
        return st;
    if (n_std != card->n_channels)
        return REFUSE(&o, "std", "%u numbers, but input.mean has %u", n_std, card->n_channels);
    if (json_object_get(o.json, "colour_order") != NULL && card->n_channels != 3)
        return REFUSE(&o, "colour_order", "makes sense for 3 channels only, there are %u",
                      card->n_channels);
    card->channels_last = layout == 1;
    card->filter = filters[filter];
    card->bgr = colours == 1;
    return CMIR_OK;
}

static cmir_status
read_windows(cmir_card *card, const struct object *top)
{
    const json_t *list = json_object_get(top->json, "windows");
    const size_t n = json_array_size(list);

    if (n != 1 && (n == 0 || n != card->n_channels))
        return REFUSE(top, "windows", "%zu of them; one, or one per channel (%u), is wanted", n,
                      card->n_channels);
    for (uint32_t i = 0; i < card->n_channels; i++) {
        char prefix[32];
        (void)snprintf(prefix, sizeof prefix, "windows[%u].", n == 1 ? 0 : i);
        const struct object o = {top->path, prefix, json_array_get(list, n == 1 ? 0 : i), top->err};
        cmir_window *w = &card->windows[i];
        cmir_status st;
        if (!json_is_object(o.json))
            return REFUSE(&o, "centre", "is missing");
        if ((st = check_keys(&o, "name centre width")) != CMIR_OK ||
            (st = get_number(&o, "centre", json_object_get(o.json, "centre"), -MAX_HU, MAX_HU,
                             &w->centre)) != CMIR_OK ||
            (st = get_number(&o, "width", json_object_get(o.json, "width"), 1e-3, MAX_HU,
                             &w->width)) != CMIR_OK)
            return st;
    }
    return CMIR_OK;
}

static cmir_status
read_output(cmir_card *card, const struct object *top)
{
    static const cmir_pooling poolings[] = {CMIR_POOL_NONE, CMIR_POOL_CLS, CMIR_POOL_MEAN};
    struct object o;
    int pooling;
    cmir_status st = get_object(top, "output", "output.", &o);

    if (st != CMIR_OK ||
        (st = check_keys(&o, "embedding dim pooling patches patch_grid")) != CMIR_OK ||
        (st = get_text(&o, "embedding", MAX_TEXT_NBYTES, true, &card->embedding)) != CMIR_OK ||
        (st = get_integer(&o, "dim", json_object_get(o.json, "dim"), 1, CMIR_MAX_DIM,
                          &card->dim)) != CMIR_OK ||
        (st = get_choice(&o, "pooling", "none cls mean", &pooling)) != CMIR_OK ||
        (st = get_text(&o, "patches", MAX_TEXT_NBYTES, false, &card->patches)) != CMIR_OK)
        return st;
    card->pooling = poolings[pooling];
    if (json_object_get(o.json, "patch_grid") == NULL)
        return CMIR_OK;
    if (card->patches == NULL)
        return REFUSE(&o, "patch_grid", "is of no use without output.patches");
    return get_size(&o, "patch_grid", MAX_SIDE, &card->patch_rows, &card->patch_cols);
}

/* "CT", or ["CT", "MR"] -> "CT, MR" */
static cmir_status
read_modality(cmir_card *card, const struct object *top)
{
    const json_t *value = json_object_get(top->json, "modality");
    const size_t n = json_is_string(value) ? 1 : json_array_size(value);
    cmir_buf text = {0};

    for (size_t i = 0; i < n; i++) {
        const char *code =
            json_string_value(json_is_string(value) ? value : json_array_get(value, i));
        if (code == NULL || *code == '\0' || strlen(code) > 16 || n > 64) {
            free(text.data);
            return REFUSE(top, "modality", "not right; a list such as [\"CT\", \"MR\"] is wanted");
        }
        cmir_buf_printf(&text, "%s%s", i > 0 ? ", " : "", code);
    }
    if (n == 0)
        return REFUSE(top, "modality", "%s; a list such as [\"CT\", \"MR\"] is wanted",
                      value == NULL ? "is missing" : "not right");
    card->modality = text.data;
    return text.failed ? no_memory(top->path, top->err) : CMIR_OK;
}

static cmir_status
read_hash(cmir_card *card, const struct object *top)
{
    char *text = NULL;
    const cmir_status st = get_text(top, "sha256", 64, true, &text);
    bool ok = st == CMIR_OK && strspn(text, "0123456789abcdefABCDEF") == 64;

    for (size_t i = 0; ok && i < 64; i++)
        card->sha256[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
    free(text);
    if (st == CMIR_OK && !ok)
        return REFUSE(top, "sha256", "not right; 64 hexadecimal digits are wanted");
    return st;
}

/* A relative path lies in the card's folder and cannot leave it. */
static cmir_status
read_weights_path(cmir_card *card, const struct object *top)
{
    const int folder = (int)(strrchr(card->path, '/') - card->path);
    char *file = NULL;
    cmir_status st = get_text(top, "file", MAX_PATH_NBYTES, true, &file);

    if (st != CMIR_OK)
        return st;
    if (file[0] == '/') {
        card->weights_path = file;
        return CMIR_OK;
    }
    for (const char *part = file; st == CMIR_OK && part != NULL; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
            st = REFUSE(top, "file", "leaves the card's folder; give an absolute path instead");
    }
    if (st == CMIR_OK) {
        card->weights_path = cmir_asprintf("%.*s/%s", folder, card->path, file);
        if (card->weights_path == NULL)
            st = no_memory(top->path, top->err);
    }
    free(file);
    return st;
}

static cmir_status
read_fields(cmir_card *card, const struct object *top)
{
    cmir_status st;

    if (!json_is_object(top->json))
        return FAIL(top->err, CMIR_ECORRUPT, "%s: encoder card: not a JSON object", top->path);
    if ((st = get_text(top, "name", MAX_TEXT_NBYTES, true, &card->name)) != CMIR_OK ||
        (st = get_text(top, "version", MAX_TEXT_NBYTES, true, &card->version)) != CMIR_OK ||
        (st = get_text(top, "licence", MAX_TEXT_NBYTES, true, &card->licence)) != CMIR_OK ||
        (st = read_hash(card, top)) != CMIR_OK || (st = read_modality(card, top)) != CMIR_OK ||
        (st = read_weights_path(card, top)) != CMIR_OK || (st = read_input(card, top)) != CMIR_OK ||
        (st = read_windows(card, top)) != CMIR_OK)
        return st;
    return read_output(card, top);
}

cmir_status
cmir_card_parse(cmir_card *card, const char *path, const char *text, size_t nbytes, cmir_error *err)
{
    json_error_t why;
    json_t *json = json_loadb(text, nbytes, JSON_REJECT_DUPLICATES, &why);
    const struct object top = {path, "", json, err};
    cmir_status st;

    *card = (cmir_card){0};
    if (json == NULL)
        return FAIL_AT(err, CMIR_ECORRUPT, (uint64_t)why.position,
                       "%s: encoder card: line %d: not JSON: %s", path, why.line, why.text);
    card->path = cmir_strdup(path);
    card->json = json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY);
    if (card->path == NULL || card->json == NULL)
        st = no_memory(path, err);
    else
        st = read_fields(card, &top);
    json_decref(json);
    return st;
}

cmir_status
cmir_card_read(cmir_card *card, const char *path, cmir_error *err)
{
    char *text;
    size_t nbytes;
    cmir_status st = cmir_file_read(path, MAX_CARD_NBYTES, &text, &nbytes, err);

    *card = (cmir_card){0};
    if (st != CMIR_OK)
        return st;
    char *absolute = realpath(path, NULL);
    if (absolute == NULL)
        st = FAIL(err, CMIR_EIO, "%s: encoder card: cannot tell its folder", path);
    else
        st = cmir_card_parse(card, absolute, text, nbytes, err);
    free(absolute);
    free(text);
    return st;
}

void
cmir_card_free(cmir_card *card)
{
    free(card->path);
    free(card->json);
    free(card->name);
    free(card->version);
    free(card->licence);
    free(card->modality);
    free(card->weights_path);
    free(card->input);
    free(card->embedding);
    free(card->patches);
    *card = (cmir_card){0};
}
