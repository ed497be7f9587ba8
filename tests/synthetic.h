/* SPDX-License-Identifier: Apache-2.0 */
/* synthetic.h: volumes for the tests of the store, all of them determined by a number, and the
 * temporary folder they are kept in.  Included by test_store*.c. */
#ifndef CMIR_TESTS_SYNTHETIC_H
#define CMIR_TESTS_SYNTHETIC_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/half.h"
#include "store/store.h"

#define DIM 20u
#define SHA "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define MAX_N 40u

static inline uint64_t
next_random(uint64_t *state)
{
    uint64_t x = (*state += 0x9E3779B97F4A7C15u); /* SplitMix64 */

    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static inline uint32_t
below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(next_random(state) % n);
}

typedef struct synthetic {
    char id[24], path[60], patient[24], uid_text[MAX_N][40];
    float rows[MAX_N * DIM];
    uint8_t marks[MAX_N];
    double mm[MAX_N];
    const char *uids[MAX_N];
    cmir_label labels[2];
    cmir_record record;
    cmir_embeddings embeddings;
} synthetic;

static inline void
make_rows(synthetic *s, uint64_t *random)
{
    for (uint32_t i = 0; i < s->embeddings.n_slices; i++) {
        float *row = s->rows + i * DIM;
        double sum = 0;

        for (uint32_t k = 0; k < DIM; k++) {
            row[k] = (float)((double)below(random, 2001) - 1000);
            sum += (double)row[k] * (double)row[k];
        }
        row[0] += sum == 0;
        sum += sum == 0;
        for (uint32_t k = 0; k < DIM; k++)
            row[k] = (float)((double)row[k] / sqrt(sum));
    }
}

/* Volume number `number` into *s: id "vNUMBER", 1..MAX_N slices, some of them air, odd numbers are
 * DICOM with UIDs. */
static inline void
make_synthetic(synthetic *s, uint64_t number)
{
    uint64_t random = number * 77 + 1;

    memset(s, 0, sizeof *s);
    const uint32_t n = 1 + below(&random, MAX_N);
    snprintf(s->id, sizeof s->id, "v%llu", (unsigned long long)number);
    snprintf(s->path, sizeof s->path, "/scans/\xC3\xA4 %s.nii", s->id);
    snprintf(s->patient, sizeof s->patient, "P%llu", (unsigned long long)(number / 2));
    s->embeddings = (cmir_embeddings){s->rows, s->marks, n, DIM};
    make_rows(s, &random);
    for (uint32_t i = 0; i < n; i++) {
        s->marks[i] = i != n / 2 && below(&random, 5) == 0 ? CMIR_SLICE_AIR : 0;
        s->record.n_air += s->marks[i];
        s->mm[i] = -100.5 + 2.5 * i;
        snprintf(s->uid_text[i], sizeof s->uid_text[i], "1.2.3.%llu.%u", (unsigned long long)number,
                 (unsigned)i);
        s->uids[i] = number % 2 == 1 && i % 7 != 3 ? s->uid_text[i] : "";
    }
    s->labels[0] = (cmir_label){"organ", number % 3 == 0 ? "liver" : "lung"};
    s->labels[1] = (cmir_label){"size", number % 4 == 0 ? "3.5" : "12"};
    s->record.info =
        (cmir_volume_info){.volume_id = s->id,
                           .path = s->path,
                           .format = number % 2 == 1 ? "DICOM" : "NIfTI",
                           .modality = number % 5 == 0 ? "MR" : "CT",
                           .series_uid = "",
                           .study_uid = s->patient,
                           .patient_id = s->patient,
                           .patient_sex = "",
                           .study_date = "20240229",
                           .body_part = "",
                           .manufacturer = "Maker",
                           .description = "it's \"quoted\"",
                           .patient_age = NAN,
                           .dims = {512, 512, n},
                           .affine = {{0.7, 0, 0, -180}, {0, 0.7, 0, -170}, {0, 0, 2.5, -100.5}},
                           .has_hu = number % 5 != 0,
                           .value_low = -1000,
                           .value_high = 1200.25};
    s->record.n_slices = n;
    s->record.slice_spacing_mm = 2.5;
    s->record.slice_mm = s->mm;
    s->record.slice_marks = s->marks;
    s->record.slice_uids = s->uids;
    s->record.labels = s->labels;
    s->record.n_labels = 2;
}

/* A folder of its own for each test, made by setup and removed by teardown. */
static inline int
make_folder(void **state)
{
    char *folder = strdup("/tmp/cmir_store_XXXXXX");

    *state = folder;
    return folder == NULL || mkdtemp(folder) == NULL;
}

static inline int
remove_folder(void **state)
{
    char command[64];

    snprintf(command, sizeof command, "rm -rf %s", (char *)*state);
    free(*state);
    return system(command);
}

/* FOLDER/name; valid until 64 calls later. */
static inline const char *
in_folder(void **state, const char *name)
{
    static char paths[64][120];
    static unsigned turn;
    char *path = paths[turn++ % 64];

    snprintf(path, sizeof paths[0], "%s/%s", (const char *)*state, name);
    return path;
}

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        cmir_error err_ = {0}, *err = &err_;                                                       \
        const cmir_status st_ = (call);                                                            \
        if (st_ != CMIR_OK)                                                                        \
            fail_msg("%s: %s", cmir_status_name(st_), err_.msg);                                   \
    } while (0)

/* The call fails with `status` and a sentence that holds `words`. */
#define assert_refused(status, words, call)                                                        \
    do {                                                                                           \
        cmir_error err_ = {0}, *err = &err_;                                                       \
        const cmir_status st_ = (call);                                                            \
        if (st_ != (status) || err_.code != st_ || strstr(err_.msg, (words)) == NULL)              \
            fail_msg("wanted %s with '%s', got %s: %s", cmir_status_name(status), (words),         \
                     cmir_status_name(st_), err_.msg);                                             \
    } while (0)

static inline void
create_archive(const char *dir)
{
    const cmir_binding binding = {"tiny", "1.0", SHA, "{\"name\":\"tiny\"}", "", DIM, CMIR_AXIAL};

    assert_ok(cmir_store_create(dir, &binding, err));
}

static inline void
add_synthetic(cmir_store *store, uint64_t number)
{
    static synthetic s;
    bool added;

    make_synthetic(&s, number);
    assert_ok(cmir_store_add(store, &s.record, &s.embeddings, &added, err));
    assert_true(added);
}

/* Rows against the embeddings they were made of: from the definition, not from the store's code. */
static inline void
check_rows_of(const synthetic *s, const cmir_rows *rows)
{
    uint32_t expected[MAX_N], n_scored = 0, at = 0;

    for (uint32_t air = 0; air < 2; air++)
        for (uint32_t i = 0; i < s->embeddings.n_slices; i++)
            if (s->marks[i] == air) {
                expected[at++] = i;
                n_scored += air == 0;
            }
    assert_int_equal(rows->n_rows, s->embeddings.n_slices);
    assert_int_equal(rows->n_scored, n_scored);
    assert_int_equal(rows->dim, DIM);
    assert_int_equal(rows->padded_dim, 64);
    assert_int_equal((uintptr_t)rows->codes % 64, 0);
    assert_int_equal((uintptr_t)rows->exact % 64, 0);
    assert_memory_equal(rows->slice, expected, at * sizeof expected[0]);
    for (uint32_t r = 0; r < rows->n_rows; r++) {
        const float *x = s->rows + expected[r] * DIM;
        int32_t sum = 0;

        for (uint32_t k = 0; k < rows->padded_dim; k++) {
            const int8_t code = rows->codes[r * rows->padded_dim + k];
            sum += code;
            if (k >= DIM) {
                assert_int_equal(code, 0);
                continue;
            }
            const float half = cmir_half_to_float(rows->exact[r * DIM + k]);
            assert_true(fabsf(half - x[k]) <= fabsf(x[k]) / 2048 + 0x1p-25f);
            assert_true(fabsf((float)code * rows->scale[r] - half) <= 0.5001f * rows->scale[r]);
        }
        assert_int_equal(rows->code_sum[r], sum);
    }
}

/* Everything about a stored volume but labels; `snapshot` holds it at `index`. */
static inline void
check_candidate(const cmir_snapshot *snapshot, size_t index, uint64_t number)
{
    static synthetic s;
    cmir_record *r;
    const cmir_candidate *c = cmir_snapshot_get(snapshot, index);

    make_synthetic(&s, number);
    assert_string_equal(c->volume_id, s.id);
    check_rows_of(&s, &c->rows);
    assert_ok(cmir_snapshot_record(snapshot, index, &r, err));
    assert_string_equal(r->info.volume_id, s.id);
    assert_string_equal(r->info.path, s.path);
    assert_string_equal(r->info.format, s.record.info.format);
    assert_string_equal(r->info.patient_id, s.patient);
    assert_string_equal(r->info.description, s.record.info.description);
    assert_memory_equal(r->info.dims, s.record.info.dims, sizeof r->info.dims);
    assert_memory_equal(r->info.affine, s.record.info.affine, sizeof r->info.affine);
    assert_true(r->info.has_hu == s.record.info.has_hu && r->info.value_high == 1200.25);
    assert_int_equal(r->n_slices, s.record.n_slices);
    assert_int_equal(r->n_air, s.record.n_air);
    assert_int_equal(strlen(r->added), 20);
    assert_memory_equal(r->slice_mm, s.mm, r->n_slices * sizeof(double));
    assert_memory_equal(r->slice_marks, s.marks, r->n_slices);
    for (uint32_t i = 0; i < r->n_slices; i++)
        assert_string_equal(r->slice_uids[i], s.uids[i]);
    cmir_record_free(r);
}

static inline void
print_problem(void *ctx, const char *sentence)
{
    char *first = ctx;

    if (first != NULL && first[0] == '\0')
        snprintf(first, 240, "%s", sentence);
    if (first == NULL)
        print_message("%s\n", sentence);
}

static inline uint64_t
n_problems(cmir_store *store)
{
    uint64_t n = 0;

    assert_ok(cmir_store_verify(store, print_problem, NULL, &n, err));
    return n;
}

#endif
