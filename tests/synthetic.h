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

#include "store/store_internal.h"

#define DIM 20u
#define WIDTH 64u /* DIM rounded up */
#define UNIT 32767.0
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

#ifndef SYNTHETIC_PREVIEWS /* that archives of this test keep */
#define SYNTHETIC_PREVIEWS CMIR_PREVIEWS_NONE
#endif

static inline void
create_archive(const char *dir)
{
    const cmir_binding binding = {
        "tiny", "1.0", SHA, "{\"name\":\"tiny\"}", "", DIM, CMIR_AXIAL, SYNTHETIC_PREVIEWS, NULL};

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

static inline uint64_t
record_nbytes(uint64_t number)
{
    static synthetic s;

    make_synthetic(&s, number);
    /* docs/format.md, with dim 20: */
    const uint64_t n = s.record.n_slices, column = (4 * n + 63) / 64 * 64;
    return 64 + 128 + 8 * WIDTH + 2 * WIDTH + 6 * column + (n + 15) / 16 * 16 * WIDTH +
           2 * WIDTH * n;
}

static inline cmir_store *
open_small_segments(const char *dir)
{
    cmir_store *store;

    assert_ok(cmir_store_open(dir, CMIR_WRITE, &store, err));
    store->segment_limit = 40000; /* about six records */
    return store;
}

/* ----- A record, from docs/format.md and not from the store's code: every plane of it. ----- */

/* A row in fixed point, and what is stored of it. */
typedef struct model_row {
    int64_t exact[WIDTH], rotated[WIDTH], code_sum;
    float scale, base;
    int codes[WIDTH];
    double norm, residual; /* of the row less the mean, and of what its codes leave out */
} model_row;

typedef struct model_record {
    uint32_t slice[MAX_N], n, n_scored, n_reps;
    int64_t mean[WIDTH];
    model_row row[MAX_N], rep[16];
    double radius, residual; /* not rounded up */
    float base_max;
} model_record;

/* <a, b> of WIDTH elements. */
static inline int64_t
model_dot(const int64_t *a, const int64_t *b)
{
    int64_t sum = 0;

    for (uint32_t k = 0; k < WIDTH; k++)
        sum += a[k] * b[k];
    return sum;
}

static inline void
model_exact(const synthetic *s, model_record *m)
{
    m->n = 0;
    for (uint32_t air = 0; air < 2; air++) {
        for (uint32_t i = 0; i < s->embeddings.n_slices; i++)
            if (s->marks[i] == air)
                m->slice[m->n++] = i;
        m->n_scored = air == 0 ? m->n : m->n_scored;
    }
    m->n_reps = m->n_scored < 8 ? m->n_scored : 8;
    for (uint32_t r = 0; r < m->n; r++) {
        const float *x = s->rows + m->slice[r] * DIM;
        double norm = 0;

        for (uint32_t k = 0; k < DIM; k++)
            norm += (double)x[k] * (double)x[k];
        norm = sqrt(norm);
        for (uint32_t k = 0; k < WIDTH; k++)
            m->row[r].exact[k] = k < DIM ? (int64_t)nearbyint((double)x[k] * (UNIT / norm)) : 0;
    }
    for (uint32_t k = 0; k < WIDTH; k++) {
        int64_t sum = 0;
        const int64_t n = m->n_scored;

        for (uint32_t r = 0; r < m->n_scored; r++)
            sum += m->row[r].exact[k];
        m->mean[k] = sum < 0 ? -((-2 * sum + n) / (2 * n)) : (2 * sum + n) / (2 * n);
    }
}

/* The mean of volume `number`: an archive's center, where that was its first. */
static inline void
model_center(uint64_t number, int64_t center[WIDTH])
{
    static synthetic s;
    static model_record m;

    make_synthetic(&s, number);
    model_exact(&s, &m);
    memcpy(center, m.mean, sizeof m.mean);
}

/* y[i] = sum over j of (-1 to the number of bits that i and j share) * x[j]. */
static inline void
model_rotate(const int64_t x[WIDTH], int64_t y[WIDTH])
{
    for (uint32_t i = 0; i < 64; i++) {
        y[i] = 0;
        for (uint32_t j = 0; j < 64; j++) {
            uint32_t shared = i & j, odd = 0;

            for (; shared != 0; shared >>= 1)
                odd ^= shared & 1;
            y[i] += odd ? -x[j] : x[j];
        }
    }
}

/* Everything that follows from a row in fixed point, coded less `from`. */
static inline void
model_codes(const int64_t from[WIDTH], const int64_t center[WIDTH], model_row *row)
{
    int64_t x[WIDTH], a = 0;
    double left = 0;

    for (uint32_t k = 0; k < WIDTH; k++)
        x[k] = row->exact[k] - from[k];
    model_rotate(x, row->rotated);
    for (uint32_t k = 0; k < WIDTH; k++)
        a = llabs(row->rotated[k]) > a ? llabs(row->rotated[k]) : a;
    row->scale = (float)a / (float)(8 * 127 * 32767);
    row->code_sum = 0;
    for (uint32_t k = 0; k < WIDTH; k++) {
        const float y = (float)row->rotated[k];

        row->codes[k] = a == 0 ? 0 : (int)nearbyintf(y * (127.0f / (float)a));
        row->code_sum += row->codes[k];
        left += pow(
            (double)row->rotated[k] / (8 * UNIT) - (double)row->codes[k] * (double)row->scale, 2);
    }
    row->norm = sqrt((double)model_dot(x, x)) / UNIT;
    row->residual = sqrt(left);
    row->base =
        (float)((double)(model_dot(center, row->exact) - model_dot(center, from)) / (UNIT * UNIT));
}

/* The direction of the sum of rows first to end - 1. */
static inline void
model_direction(const model_record *m, uint32_t first, uint32_t end, int64_t out[WIDTH])
{
    int64_t sum[WIDTH] = {0};

    for (uint32_t r = first; r < end; r++)
        for (uint32_t k = 0; k < WIDTH; k++)
            sum[k] += m->row[r].exact[k];
    const double length = sqrt((double)model_dot(sum, sum));
    for (uint32_t k = 0; k < WIDTH; k++)
        out[k] = length > 0 ? llround((double)sum[k] * (UNIT / length)) : 0;
}

static inline void
make_model_record(const synthetic *s, const int64_t center[WIDTH], model_record *m)
{
    memset(m, 0, sizeof *m);
    model_exact(s, m);
    for (uint32_t r = 0; r < m->n; r++) {
        model_codes(m->mean, center, &m->row[r]);
        if (r >= m->n_scored)
            continue;
        m->radius = fmax(m->radius, m->row[r].norm);
        m->residual = fmax(m->residual, m->row[r].residual);
        m->base_max = r == 0 || m->row[r].base > m->base_max ? m->row[r].base : m->base_max;
    }
    for (uint32_t k = 0; k < m->n_reps; k++) {
        model_direction(m, k * m->n_scored / m->n_reps, (k + 1) * m->n_scored / m->n_reps,
                        m->rep[k].exact);
        model_codes(center, center, &m->rep[k]);
    }
}

/* The codes, scale, sum and base of a record against a row of the model. */
static inline void
check_coded(const model_row *row, float scale, float base, int32_t code_sum, const int8_t *codes)
{
    assert_true(scale == row->scale && base == row->base);
    assert_int_equal(code_sum, row->code_sum);
    for (uint32_t k = 0; k < WIDTH; k++) {
        assert_int_equal(codes[k], row->codes[k]);
        /* An element is half a code off at most, but for rounding. */
        assert_true(fabs((double)codes[k] * (double)scale - (double)row->rotated[k] / (8 * UNIT)) <=
                    0.50001 * (double)scale);
    }
}

/* An upper bound, and a tight one. */
static inline void
check_rounded_up(float bound, double truth)
{
    assert_true((double)bound >= truth && (double)bound <= truth * 1.0000025);
}

static inline void
check_rows_of(const synthetic *s, const cmir_rows *rows, const int64_t center[WIDTH])
{
    static model_record m;

    make_model_record(s, center, &m);
    assert_int_equal(rows->n_rows, m.n);
    assert_int_equal(rows->n_scored, m.n_scored);
    assert_int_equal(rows->dim, DIM);
    assert_int_equal(rows->padded_dim, WIDTH);
    assert_int_equal(rows->n_reps, m.n_reps);
    assert_int_equal((uintptr_t)rows->codes % 64, 0);
    assert_int_equal((uintptr_t)rows->rep_codes % 64, 0);
    assert_int_equal((uintptr_t)rows->exact % 64, 0);
    assert_int_equal((uintptr_t)rows->mean % 64, 0);
    assert_memory_equal(rows->slice, m.slice, m.n * sizeof m.slice[0]);
    assert_true(cmir_rows_slices_rise(rows));
    for (uint32_t k = 0; k < WIDTH; k++)
        assert_int_equal(rows->mean[k], m.mean[k]);
    for (uint32_t r = 0; r < m.n; r++) {
        for (uint32_t k = 0; k < WIDTH; k++)
            assert_int_equal(rows->exact[r * WIDTH + k], m.row[r].exact[k]);
        check_coded(&m.row[r], rows->scale[r], rows->base[r], rows->code_sum[r],
                    rows->codes + r * WIDTH);
        check_rounded_up(rows->row_residual[r], m.row[r].residual);
        check_rounded_up(rows->row_reach[r], m.row[r].norm + m.row[r].residual);
    }
    for (uint32_t i = m.n * WIDTH; i < (m.n + 15) / 16 * 16 * WIDTH; i++)
        assert_int_equal(rows->codes[i], 0);
    for (uint32_t k = 0; k < m.n_reps; k++)
        check_coded(&m.rep[k], rows->rep_scale[k], rows->rep_base[k], rows->rep_sum[k],
                    rows->rep_codes + k * WIDTH);
    for (uint32_t k = m.n_reps; k < 8; k++) {
        assert_true(rows->rep_scale[k] == 0 && rows->rep_base[k] == 0 && rows->rep_sum[k] == 0);
        for (uint32_t i = 0; i < WIDTH; i++)
            assert_int_equal(rows->rep_codes[k * WIDTH + i], 0);
    }
    check_rounded_up(rows->radius, m.radius);
    check_rounded_up(rows->residual, m.residual);
    assert_true(rows->base_max == m.base_max);
}

/* Everything about a stored volume but labels; `snapshot` holds it at `index`.  Volume `first` was
 * the first of the archive. */
static inline void
check_candidate(const cmir_snapshot *snapshot, size_t index, uint64_t number, uint64_t first)
{
    static synthetic s;
    int64_t center[WIDTH];
    cmir_record *r;
    const cmir_candidate *c = cmir_snapshot_get(snapshot, index);

    make_synthetic(&s, number);
    assert_string_equal(c->volume_id, s.id);
    model_center(first, center);
    check_rows_of(&s, &c->rows, center);
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
