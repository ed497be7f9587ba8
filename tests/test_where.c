/* SPDX-License-Identifier: Apache-2.0 */
/* test_where.c: filters against an evaluation of the same expression tree in this file, over
 * catalogue rows with missing values; and what is refused, with its place. */
#include "synthetic.h"

#include "base/memory.h"
#include "store/fields.h"
#include "store/where.h"

#define N_ROWS 48u

/* Two text fields, two numbers, two labels; NULL is missing. */
enum { MODALITY, PATIENT, AGE, SLICES, ORGAN, SIZE, N_NAMES };
static const char *const names[N_NAMES] = {"Modality", "PatientID", "PatientAge",
                                           "Slices",   "organ",     "\"tumor size, mm\""};

struct row {
    char text[N_NAMES][24]; /* "" : missing */
};

static const char *const modalities[] = {"CT", "MR", "", "PT"};
static const char *const patients[] = {"",   "7",   "007", "7.50", "A7",
                                       "-3", "1e2", "+12", "7 ",   "0x7"};
static const char *const organs[] = {"", "liver", "it's", "Liver", "12", "\xC3\xB6l", "a\"b"};
static const char *const sizes[] = {"", "3.5", "12", "small", "-0.5", ".5", "5."};

#define PICK(list, random) list[below(random, sizeof list / sizeof list[0])]

static void
make_row(struct row *row, uint64_t *random)
{
    snprintf(row->text[MODALITY], 24, "%s", PICK(modalities, random));
    snprintf(row->text[PATIENT], 24, "%s", PICK(patients, random));
    row->text[AGE][0] = '\0';
    if (below(random, 3) != 0)
        snprintf(row->text[AGE], 24, "%u", below(random, 5) * 20);
    snprintf(row->text[SLICES], 24, "%u", 1 + below(random, 4));
    snprintf(row->text[ORGAN], 24, "%s", PICK(organs, random));
    snprintf(row->text[SIZE], 24, "%s", PICK(sizes, random));
}

static void
add_row(cmir_store *store, const struct row *row, unsigned number)
{
    static synthetic s;
    bool added;
    size_t n_labels = 0;

    make_synthetic(&s, 1);
    s.record.n_slices = s.embeddings.n_slices = (uint32_t)atoi(row->text[SLICES]);
    memset(s.marks, 0, sizeof s.marks);
    snprintf(s.id, sizeof s.id, "r%03u", number);
    s.record.info.modality = row->text[MODALITY];
    s.record.info.patient_id = row->text[PATIENT];
    s.record.info.patient_age = row->text[AGE][0] == '\0' ? NAN : atof(row->text[AGE]);
    if (row->text[ORGAN][0] != '\0')
        s.labels[n_labels++] = (cmir_label){"organ", row->text[ORGAN]};
    if (row->text[SIZE][0] != '\0')
        s.labels[n_labels++] = (cmir_label){"tumor size, mm", row->text[SIZE]};
    s.record.n_labels = n_labels;
    assert_ok(cmir_store_add(store, &s.record, &s.embeddings, &added, err));
}

/* An expression, written as text while it is evaluated for every row. */
struct expression {
    cmir_buf text;
    bool holds[N_ROWS];
};

static bool
compare(int order, unsigned op)
{
    return (const bool[]){order == 0, order != 0, order < 0, order <= 0, order > 0, order >= 0}[op];
}

/* Decimal numbers of the plain kind; strtod() in the C locale reads the same. */
static bool
to_number(const char *text, double *out)
{
    char *end;

    *out = strtod(text, &end);
    return *text != '\0' && *end == '\0' && strspn(text, "0123456789+-.eE") == strlen(text);
}

static void
append_comparison(struct expression *e, const struct row *rows, uint64_t *random)
{
    static const char *const operators[] = {"=", "!=", "<", "<=", ">", ">="}, *const numbers[] = {
                                                                                  "7",    "3.5",
                                                                                  "-0.5", "100",
                                                                                  "12",   "40",
                                                                                  "2",    "+.5e0"};
    const unsigned name = below(random, N_NAMES), op = below(random, 6);
    const bool number = name == AGE || name == SLICES || below(random, 2) == 0;
    const char *value = number             ? PICK(numbers, random)
                        : name == MODALITY ? PICK(modalities, random)
                        : name == PATIENT  ? PICK(patients, random)
                                           : PICK(organs, random);
    double x, y;

    cmir_buf_printf(&e->text, "%s%s%s%s", names[name], below(random, 2) ? " " : "", operators[op],
                    below(random, 2) ? " " : "");
    if (number) {
        cmir_buf_puts(&e->text, value);
    } else {
        cmir_buf_puts(&e->text, "'");
        for (const char *s = value; *s != '\0'; s++)
            cmir_buf_printf(&e->text, *s == '\'' ? "''" : "%c", *s);
        cmir_buf_puts(&e->text, "'");
    }
    for (unsigned r = 0; r < N_ROWS; r++) {
        const char *have = rows[r].text[name];

        e->holds[r] = *have != '\0' && (number ? to_number(have, &x) && to_number(value, &y) &&
                                                     compare((x > y) - (x < y), op)
                                               : compare(strcmp(have, value), op));
    }
}

static void
append_expression(struct expression *e, const struct row *rows, uint64_t *random, unsigned depth)
{
    static const char *const ands[] = {" and ", " AND ", "\nand\t"}, *const ors[] = {" or ",
                                                                                     " Or "};
    struct expression left = {0}, right = {0};
    const unsigned what = depth == 0 ? 9 : below(random, 10);

    if (what > 6) {
        append_comparison(e, rows, random);
        return;
    }
    append_expression(&left, rows, random, depth - 1);
    if (what == 6) {
        cmir_buf_printf(&e->text, "not (%s)", left.text.data);
        for (unsigned r = 0; r < N_ROWS; r++)
            e->holds[r] = !left.holds[r];
    } else {
        append_expression(&right, rows, random, depth - 1);
        cmir_buf_printf(&e->text, "(%s)%s( %s )", left.text.data,
                        what < 3 ? PICK(ands, random) : PICK(ors, random), right.text.data);
        for (unsigned r = 0; r < N_ROWS; r++)
            e->holds[r] =
                what < 3 ? left.holds[r] && right.holds[r] : left.holds[r] || right.holds[r];
    }
    free(left.text.data);
    free(right.text.data);
}

static void
check_filter(cmir_store *store, const char *text, const bool *holds)
{
    char **ids;
    size_t n, at = 0;

    assert_ok(cmir_store_list(store, text, &ids, &n, err));
    for (unsigned r = 0; r < N_ROWS; r++) {
        char id[16];

        snprintf(id, sizeof id, "r%03u", r);
        const bool passed = at < n && strcmp(ids[at], id) == 0;
        if (passed != holds[r])
            fail_msg("%s %s: %s", id, passed ? "passed" : "did not pass", text);
        at += passed;
    }
    assert_int_equal(at, n);
    cmir_ids_free(ids, n);
}

static cmir_store *
make_store(void **state, struct row *rows, uint64_t *random)
{
    cmir_store *store;

    create_archive(in_folder(state, "a"));
    assert_ok(cmir_store_open(in_folder(state, "a"), CMIR_WRITE, &store, err));
    for (unsigned r = 0; r < N_ROWS; r++) {
        make_row(&rows[r], random);
        add_row(store, &rows[r], r);
    }
    return store;
}

static void
test_random_expressions(void **state)
{
    static struct row rows[N_ROWS];
    uint64_t random = 20240301;
    unsigned n_some = 0;

    print_message("seed %llu\n", (unsigned long long)random);
    cmir_store *store = make_store(state, rows, &random);
    for (unsigned i = 0; i < 1500; i++) {
        struct expression e = {0};
        unsigned n = 0;

        append_expression(&e, rows, &random, below(&random, 5));
        check_filter(store, e.text.data, e.holds);
        for (unsigned r = 0; r < N_ROWS; r++)
            n += e.holds[r];
        n_some += n > 0 && n < N_ROWS;
        free(e.text.data);
    }
    assert_true(n_some > 500); /* most tell rows apart */
    cmir_store_close(store);
}

/* "and" binds tighter than "or", "not" tighter than both. */
static void
test_precedence(void **state)
{
    static struct row rows[N_ROWS];
    uint64_t random = 5;
    bool holds[N_ROWS], all[N_ROWS];
    cmir_store *store = make_store(state, rows, &random);

    for (unsigned r = 0; r < N_ROWS; r++) {
        const bool ct = strcmp(rows[r].text[MODALITY], "CT") == 0,
                   old = atof(rows[r].text[AGE]) >= 40,
                   liver = strcmp(rows[r].text[ORGAN], "liver") == 0;
        holds[r] = ct || (old && !liver);
        all[r] = true;
    }
    check_filter(store, "Modality = 'CT' or PatientAge >= 40 and not organ = 'liver'", holds);
    check_filter(store, "not organ='liver' and PatientAge>=40 or Modality='CT'", holds);
    check_filter(store, "not not (Modality = 'CT' or PatientAge >= 40 and not organ = 'liver')",
                 holds);
    check_filter(store, NULL, all);
    check_filter(store, " \t\n", all);
    check_filter(store, "not nowhere = 1", all);
    cmir_store_close(store);
}

/* Text of the user is never SQL. */
static void
test_no_injection(void **state)
{
    static const char *const harmless[] = {
        "organ = '''; DROP TABLE volumes; --'",
        "\"organ' OR 1=1 --\" = 'x'",
        "\"1) OR (1=1\" != 'x'",
        "Modality = 'CT'') OR (1=1'",
        "\"?1\" = '?2'",
        "\"v.id\" > -1",
        "\"rowid\" > -1",
        "volume_id != ''",
        "\"Modality\" = ''",
    };
    static struct row rows[N_ROWS];
    uint64_t random = 6;
    const bool none[N_ROWS] = {false};
    cmir_store *store = make_store(state, rows, &random);

    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
        check_filter(store, harmless[i], none);
    assert_int_equal(n_problems(store), 0);
    cmir_store_close(store);
}

static void
test_refusals(void **state)
{
    static const struct {
        const char *text, *words;
        uint64_t offset;
    } cases[] = {
        {"Modality", "operator", 8},
        {"Modality = CT", "single quotes", 11},
        {"Modality = \"CT\"", "single quotes", 11},
        {"Modality == 'CT'", "no operator", 9},
        {"Modality <> 'CT'", "no operator", 9},
        {"Modality = 'CT", "closing quote", 11},
        {"\"size = 3", "closing quote", 0},
        {"\"\" = 3", "empty name", 0},
        {"Modality = 'CT' Slices > 3", "'and' or 'or'", 16},
        {"Modality = 'CT' and", "missing", 19},
        {"and Modality = 'CT'", "comparison", 0},
        {"(Modality = 'CT'", "closing parenthesis", 0},
        {"Modality = 'CT')", "'and' or 'or'", 15},
        {"()", "missing", 1},
        {"not", "missing", 3},
        {"'CT' = Modality", "starts with a field", 0},
        {"12 < Slices", "starts with a field", 0},
        {"Slices = '12'", "number only", 9},
        {"PatientAge = 'old'", "number only", 13},
        {"PatientID = 1.2.840", "no number", 12},
        {"PatientID = 12a", "no number", 12},
        {"PatientID = 0x7", "no number", 12},
        {"PatientID = 1e", "no number", 12},
        {"PatientID = -", "no number", 12},
        {"PatientID = 1234567890123456", "15 digits", 12},
        {"Slices > 3; DROP TABLE volumes", "unexpected character", 10},
        {"Slices > 3 -- all", "no number", 11},
        {"Gr\xC3\xB6\xC3\x9F"
         "e = x",
         "at column 9, before: x", 10},
        {"Slices & 3", "unexpected character", 7},
        {"Slices ! 3", "no operator", 7},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cmir_error err = {0};
        cmir_where where;
        const cmir_status st = cmir_where_parse(cases[i].text, &where, &err);

        if (st != CMIR_EINVAL || strstr(err.msg, cases[i].words) == NULL ||
            err.offset != cases[i].offset)
            fail_msg("%s: %s (offset %llu)", cases[i].text, err.msg,
                     (unsigned long long)err.offset);
        assert_null(where.sql);
    }
}

static char *
repeat(const char *text, size_t n, const char *end)
{
    char *out = malloc(strlen(text) * n + strlen(end) + 1);

    assert_non_null(out);
    out[0] = '\0';
    for (size_t i = 0; i < n; i++)
        strcat(out, text);
    return strcat(out, end);
}

static void
test_limits(void **state)
{
    const struct {
        const char *text;
        size_t n_allowed, n_refused;
        const char *end, *words;
    } cases[] = {{"(", 0, CMIR_WHERE_MAX_DEPTH + 1, "a=1", "12 levels"},
                 {"not ", CMIR_WHERE_MAX_DEPTH, CMIR_WHERE_MAX_DEPTH + 1, "a=1", "12 levels"},
                 {"a=1 or ", CMIR_WHERE_MAX_COMPARISONS - 1, CMIR_WHERE_MAX_COMPARISONS, "a=1",
                  "256 comparisons"},
                 {" ", CMIR_WHERE_MAX_NBYTES - 3, CMIR_WHERE_MAX_NBYTES - 2, "a=1", "bytes"},
                 {"(", 0, CMIR_WHERE_MAX_NBYTES, "", "12 levels"},
                 {"a=1 or a=1 and not (", CMIR_WHERE_MAX_DEPTH / 2, CMIR_WHERE_MAX_DEPTH / 2 + 1,
                  "a=1))))))", "12 levels"},
                 {"a=1 or a=1 and (", CMIR_WHERE_MAX_DEPTH, CMIR_WHERE_MAX_DEPTH + 1,
                  "a=1))))))))))))", "12 levels"}};
    cmir_store *store;

    create_archive(in_folder(state, "a"));
    assert_ok(cmir_store_open(in_folder(state, "a"), CMIR_WRITE, &store, err));
    add_synthetic(store, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *good = repeat(cases[i].text, cases[i].n_allowed, cases[i].end),
             *bad = repeat(cases[i].text, cases[i].n_refused, cases[i].end), **ids;
        size_t n;

        assert_ok(cmir_store_list(store, good, &ids, &n, err)); /* SQLite takes it as well */
        cmir_ids_free(ids, n);
        assert_refused(CMIR_EINVAL, cases[i].words, cmir_store_list(store, bad, &ids, &n, err));
        free(good);
        free(bad);
    }
    cmir_store_close(store);
}

/* The names that search.h promises. */
static void
test_every_field(void **state)
{
    static const char *const promised[] = {
        "Modality",         "BodyPartExamined", "PatientID",    "PatientSex",
        "PatientAge",       "StudyDate",        "Manufacturer", "SeriesDescription",
        "StudyInstanceUID", "VolumeId",         "Slices"};
    cmir_store *store;

    create_archive(in_folder(state, "a"));
    assert_ok(cmir_store_open(in_folder(state, "a"), CMIR_WRITE, &store, err));
    for (size_t i = 0; i < sizeof promised / sizeof promised[0]; i++) {
        char text[64], **ids;
        size_t n;

        assert_non_null(cmir_field_find(promised[i]));
        snprintf(text, sizeof text, "%s >= 1", promised[i]);
        assert_ok(cmir_store_list(store, text, &ids, &n, err));
        cmir_ids_free(ids, n);
    }
    assert_null(cmir_field_find("modality"));
    cmir_store_close(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_expressions, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_precedence, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_no_injection, make_folder, remove_folder),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test_setup_teardown(test_limits, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_every_field, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
