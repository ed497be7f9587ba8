/* SPDX-License-Identifier: Apache-2.0 */
/* bench_maxsim.c: late interaction of one pair of volumes, one thread, at every level of this CPU.
 *
 *     bench_maxsim QUERY.npy CANDIDATE.npy [CENTER.npy]
 *
 * The archive's center is the mean of CENTER.npy: of the first volume of an archive, which the pair need
 * not hold; without it, of the candidate.  Three cases for each level: "screen", the largest product of
 * codes for each query slice (what most of a search does); "screen + row", with the slice where it is, and
 * all that rechecking needs; "exact", exact similarities and slices (cmir_match_exact()).  Query packed and
 * record built beforehand.  One JSON line per case, as the peers print them (pair.h).  Errors are against
 * float64 over the vectors given, so they hold what storing rounds away. */
#include "base/cpu.h"
#include "pair.h"
#include "peak.h"
#include "rank/match.h"
#include "store/codes.h"
#include "store/segment.h"

struct level {
    const char *name;
    unsigned flags; /* all up to it */
};

static const struct level levels[] = {
    {"amx", CMIR_CPU_AVX2 | CMIR_CPU_AVXVNNI | CMIR_CPU_AVX512VNNI | CMIR_CPU_AMX},
    {"avx512vnni", CMIR_CPU_AVX2 | CMIR_CPU_AVXVNNI | CMIR_CPU_AVX512VNNI},
    {"avxvnni", CMIR_CPU_AVX2 | CMIR_CPU_AVXVNNI},
    {"avx2", CMIR_CPU_AVX2},
    {"dotprod", CMIR_CPU_DOTPROD},
    {"c", 0},
};

struct subject {
    const struct pair *pair;
    const cmir_prepared *prepared;
    const cmir_rows *rows;
    cmir_scratch scratch;
    bool keep;
    double score;
};

static void
must(cmir_status st, const cmir_error *err)
{
    if (st != CMIR_OK)
        die("bench_maxsim", err->msg);
}

static cmir_embeddings
embeddings_of(const struct matrix *a)
{
    uint8_t *marks = must_alloc(a->n);

    memset(marks, 0, a->n);
    return (cmir_embeddings){a->x, marks, a->n, a->dim};
}

/* A record as it lies in an archive. */
static cmir_rows
build_record(const struct matrix *a, int16_t *center, bool center_given)
{
    static const uint8_t tag[CMIR_ENCODER_TAG_NBYTES];
    cmir_embeddings e = embeddings_of(a);
    cmir_record_claim claim;
    cmir_error err = {0};
    cmir_rows rows;
    uint8_t *bytes;

    must(cmir_record_build(&e, tag, center, center_given, &bytes, &claim, &err), &err);
    must(cmir_record_parse(bytes, &claim, "candidate", 0, &rows, &err), &err);
    free(e.marks);
    return rows;
}

static cmir_query
fix_query(const struct matrix *a, uint32_t padded_dim)
{
    int16_t *rows = must_alloc((size_t)a->n * padded_dim * sizeof *rows);
    uint32_t *slice = must_alloc(a->n * sizeof *slice);

    for (uint32_t i = 0; i < a->n; i++) {
        const float *row = a->x + (size_t)i * a->dim;

        cmir_row_fix(row, a->dim, cmir_row_norm(row, a->dim), padded_dim,
                     rows + (size_t)i * padded_dim);
        slice[i] = i;
    }
    return (cmir_query){rows, slice, a->n, padded_dim};
}

static void
screen(void *context)
{
    struct subject *s = context;
    const cmir_prepared *p = s->prepared;
    const cmir_codes codes = cmir_codes_of(s->rows);

    if (!s->keep) {
        p->kernels.maxsim(&p->whole, &codes, s->scratch.best, NULL, NULL);
        return;
    }
    for (uint32_t g = 0; g < p->whole.n_groups; g += s->scratch.groups_at_once) {
        const uint32_t left = p->whole.n_groups - g;
        const uint32_t n = left < s->scratch.groups_at_once ? left : s->scratch.groups_at_once;
        const cmir_packed part = cmir_packed_part(p, g, n);

        p->kernels.maxsim(&part, &codes, s->scratch.best, s->scratch.best_row, &s->scratch.kept);
    }
}

/* What the codes alone would say, after screening without rows. */
static struct accuracy
accuracy_of_codes(struct subject *s)
{
    const cmir_prepared *p = s->prepared;
    const double unit = 1.0 / ((double)CMIR_UNIT * CMIR_UNIT);
    struct accuracy a = {.wrong = -1};

    cmir_products_with_mean(p, s->rows, &s->scratch);
    for (uint32_t lane = 0; lane < p->whole.n_groups * CMIR_LANES; lane++) {
        const uint32_t row = p->lane_row[lane];

        if (row != CMIR_NO_ROW)
            accuracy_add(&a, s->pair, row,
                         (double)s->scratch.best[lane] + s->scratch.of_mean[row] * unit);
    }
    return a;
}

static void
match(void *context)
{
    struct subject *s = context;

    s->score = cmir_match_exact(s->prepared, s->rows, &s->scratch);
}

static void
print(const char *what, const struct level *level, const struct pair *p, struct timing t,
      struct accuracy a, double peak)
{
    char peer[64];

    (void)snprintf(peer, sizeof peer, "cmir %s", what);
    print_case(peer, level->name, p, t, a);
    if (peak > 0)
        (void)fprintf(stderr, "%-20s %-10s %7.1f us, MAD %.1f, %7.1f Gop/s, %4.1f %% of %.0f\n",
                      what, level->name, t.median_us, t.mad_us,
                      2e-3 * p->query.n * p->candidate.n * p->query.dim / t.median_us,
                      2e-1 * p->query.n * p->candidate.n * p->query.dim / t.median_us / peak, peak);
}

static void
bench(const struct level *level, const struct pair *p, const cmir_rows *rows, const int16_t *center)
{
    const cmir_query query = fix_query(&p->query, rows->padded_dim);
    const double unit = 1.0 / ((double)CMIR_UNIT * CMIR_UNIT), peak = peak_gops(level->name);
    struct accuracy exact = {0};
    cmir_prepared prepared;
    cmir_error err = {0};
    struct subject s = {.pair = p, .prepared = &prepared, .rows = rows};

    must(cmir_prepare(&query, center, level->flags, &prepared, &err), &err);
    if (strcmp(prepared.kernels.name, level->name) != 0)
        die(level->name, "the table is of another level");
    must(cmir_scratch_make(&prepared, rows->n_scored, &s.scratch, &err), &err);
    const struct timing only = time_calls(screen, &s);
    const struct accuracy screened = accuracy_of_codes(&s);
    print("screen", level, p, only, screened, peak);
    s.keep = true;
    print("screen + row", level, p, time_calls(screen, &s), screened, peak);
    const struct timing timing = time_calls(match, &s);
    for (uint32_t i = 0; i < p->query.n; i++) {
        const uint32_t row = s.scratch.winner_row[i];

        exact.wrong += row != p->row[i] && similarity(p, i, row) < p->best[i] - 1e-5;
        accuracy_add(&exact, p, i, s.scratch.winner[i] * unit);
    }
    print("exact", level, p, timing, exact, peak);
    cmir_scratch_free(&s.scratch);
    cmir_prepared_free(&prepared);
}

int
main(int argc, char **argv)
{
    if (argc < 3 || argc > 4)
        die("usage", "bench_maxsim QUERY.npy CANDIDATE.npy [CENTER.npy]");
    const struct pair p = pair_read(argv[1], argv[2]);
    const unsigned has = cmir_cpu_flags();
    int16_t *center = must_alloc(((size_t)p.query.dim + 64) * sizeof *center);

    if (argc == 4) {
        const struct matrix first = matrix_read(argv[3]);
        (void)build_record(&first, center, false);
    }
    const cmir_rows rows = build_record(&p.candidate, center, argc == 4);
    for (size_t k = 0; k < sizeof levels / sizeof levels[0]; k++)
        if ((has & levels[k].flags) == levels[k].flags)
            bench(&levels[k], &p, &rows, center);
        else
            (void)fprintf(stderr, "%s: this CPU has it not\n", levels[k].name);
    return 0;
}
