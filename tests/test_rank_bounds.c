/* SPDX-License-Identifier: Apache-2.0 */
/* test_rank_bounds.c: the proven bound of match.c: how far screening is from the truth, against
 * products in integers. */
#include "rank_cases.h"

#include "base/cpu.h"
#include "rank/match.h"

/* f of every query row with row j alone, by lane. */
static void
screen_row(const cmir_prepared *p, const cmir_rows *rows, uint32_t j, float *f)
{
    const uint32_t width = rows->padded_dim;
    int8_t *codes = must_alloc((size_t)16 * width, 1);
    float *scale = must_alloc(16, sizeof *scale), *base = must_alloc(16, sizeof *base);
    int32_t *sum = must_alloc(16, sizeof *sum);
    const cmir_codes one = {codes, scale, base, sum, NULL, NULL, 1, width};

    memcpy(codes, rows->codes + (size_t)j * width, width);
    scale[0] = rows->scale[j];
    base[0] = rows->base[j];
    sum[0] = rows->code_sum[j];
    p->kernels.maxsim(&p->whole, &one, f, NULL, NULL);
    free(codes);
    free(scale);
    free(base);
    free(sum);
}

/* <a, b - mean>; no mean where it is NULL. */
static int64_t
product_less(const int16_t *a, const int16_t *b, const int16_t *mean, uint32_t width)
{
    int64_t sum = 0;

    for (uint32_t d = 0; d < width; d++)
        sum += (int64_t)a[d] * (b[d] - (mean == NULL ? 0 : mean[d]));
    return sum;
}

/* The bound of one row, in one lane; gives the share of it that is used up. */
static double
check_bound_of(const cmir_prepared *p, const cmir_rows *rows, uint32_t j, uint32_t lane, float f)
{
    const uint32_t width = rows->padded_dim;
    const int64_t product = product_less(p->query->rows + (size_t)p->lane_row[lane] * width,
                                         rows->exact + (size_t)j * width, rows->mean, width);
    const double error = fabs((double)f - (double)product / (UNIT * UNIT));
    const double norm = (double)p->whole.norm[lane], residual = (double)p->whole.residual[lane];
    const double bound = norm * (double)rows->row_residual[j] +
                         residual * (double)rows->row_reach[j] + CMIR_SCREENING_SLACK;

    if (!(error <= bound))
        fail_msg("row %u, query row %u: off by %.9g, bound %.9g", j, p->lane_row[lane], error,
                 bound);
    assert_true(cmir_screening_bound(norm, residual, 1.0, rows) >= bound);
    return error / bound;
}

/* As single precision has it: a row passes the thresholds that its own product sets. */
static void
check_thresholds(const cmir_prepared *p, const cmir_rows *rows, uint32_t j, uint32_t group,
                 const float f[CMIR_LANES])
{
    _Alignas(64) float least[CMIR_LANES], threshold[CMIR_LANES];
    const uint32_t width = rows->padded_dim, first = group * CMIR_LANES;
    int32_t product[CMIR_LANES] = {0}, of_mean[CMIR_LANES] = {0};

    for (uint32_t i = 0; i < CMIR_LANES; i++) {
        if (p->lane_row[first + i] == CMIR_NO_ROW)
            continue;
        const int16_t *row = p->query->rows + (size_t)p->lane_row[first + i] * width;
        product[i] = (int32_t)product_less(row, rows->exact + (size_t)j * width, NULL, width);
        of_mean[i] = (int32_t)product_less(row, rows->mean, NULL, width);
    }
    cmir_thresholds(p, rows, group, product, of_mean, least, threshold);
    for (uint32_t i = 0; i < CMIR_LANES; i++)
        if (p->lane_row[first + i] == CMIR_NO_ROW)
            assert_true(least[i] == INFINITY && threshold[i] == INFINITY);
        else
            assert_true(f[i] >= least[i] && fmaf(p->whole.norm[first + i], rows->row_residual[j],
                                                 fmaf(p->whole.residual[first + i],
                                                      rows->row_reach[j], f[i])) >= threshold[i]);
}

/* The sum over the whole query, as screening takes it. */
static void
check_sum(const cmir_prepared *p, const cmir_rows *rows, uint32_t j, const float *f)
{
    const uint32_t width = rows->padded_dim;
    const cmir_stage *all = &p->stages[p->n_stages - 1];
    double sum = 0, truth = 0;

    for (uint32_t lane = 0; lane < p->whole.n_groups * CMIR_LANES; lane++)
        if (p->lane_row[lane] != CMIR_NO_ROW) {
            sum += (double)f[lane];
            truth += (double)product_less(p->query->rows + (size_t)p->lane_row[lane] * width,
                                          rows->exact + (size_t)j * width, rows->mean, width) /
                     (UNIT * UNIT);
        }
    assert_true(fabs(sum - truth) <=
                cmir_screening_bound(all->norm_sum, all->residual_sum, all->n_rows, rows));
}

/* The largest share of the bound that is used up. */
static double
check_bound(const cmir_query *q, const cmir_snapshot *s, unsigned cpu_flags)
{
    cmir_prepared p;
    cmir_error err = {0};
    double worst = 0;

    assert_int_equal(cmir_prepare(q, s->center, cpu_flags, &p, &err), CMIR_OK);
    const uint32_t lanes = p.whole.n_groups * CMIR_LANES;
    float *f = must_alloc(lanes, sizeof *f);
    for (size_t c = 0; c < s->n; c++) {
        const cmir_rows *rows = &s->candidate[c].rows;

        for (uint32_t j = 0; j < rows->n_scored; j++) {
            screen_row(&p, rows, j, f);
            for (uint32_t lane = 0; lane < lanes; lane++)
                if (p.lane_row[lane] != CMIR_NO_ROW)
                    worst = fmax(worst, check_bound_of(&p, rows, j, lane, f[lane]));
            for (uint32_t group = 0; group < p.whole.n_groups; group++)
                check_thresholds(&p, rows, j, group, f + group * CMIR_LANES);
            check_sum(&p, rows, j, f);
        }
    }
    free(f);
    cmir_prepared_free(&p);
    return worst;
}

static void
test_screening_bound(void **state)
{
    static const uint32_t dims[] = {1, 3, 20, 64, 65, 300, 512, 4096};
    double worst[N_KINDS] = {0};

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (size_t d = 0; d < 8; d++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            struct made c = make_case((enum kind)kind, dims[d], 35, dims[d] > 64 ? 3 : 8,
                                      dims[d] > 512 ? 6 : 20);

            for (int cpu = 0; cpu < 2; cpu++)
                worst[kind] = fmax(worst[kind],
                                   check_bound(&c.q.query, &c.s, cpu == 0 ? 0 : cmir_cpu_flags()));
            free_case(&c);
        }
    for (int kind = 0; kind < N_KINDS; kind++)
        print_message("kind %d: at most %.3f of the bound\n", kind, worst[kind]);
    assert_true(worst[RANDOM] > 0.01); /* neither is it empty */
}

/* Errors of codes that all point one way: the query is what the codes of the rows leave out. */
static void
test_screening_bound_adversary(void **state)
{
    enum { DIM = 128, ROWS = 12 };
    double worst = 0;

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (int round = 0; round < 20; round++) {
        cmir_snapshot s = make_snapshot(2, DIM);
        float rows[ROWS * DIM], query[ROWS * DIM];
        uint8_t marks[ROWS] = {0};

        make_rows(round % 2 == 0 ? RANDOM : ONE_HOT, rows, ROWS, DIM, rows);
        for (uint32_t d = 0; d < DIM; d++) /* a center of its own */
            query[d] = d == 5 ? 1.0f : 0.0f;
        add_volume(&s, "center", query, marks, 1);
        add_volume(&s, "v", rows, marks, ROWS);
        const cmir_rows *r = &s.candidate[1].rows;
        for (uint32_t j = 0; j < ROWS; j++) {
            float y[DIM], left[DIM];

            for (uint32_t i = 0; i < DIM; i++) { /* H y, as [64][2] */
                y[i] = 0;
                for (uint32_t k = 0; k < 64; k++) {
                    const uint32_t at = k * 2 + i % 2;
                    const float x = (float)(r->exact[j * DIM + at] - r->mean[at]);

                    y[i] += __builtin_popcount(i / 2 & k) % 2 == 0 ? x : -x;
                }
                left[i] = y[i] / (8.0f * 32767.0f) - (float)r->codes[j * DIM + i] * r->scale[j];
            }
            for (uint32_t i = 0; i < DIM; i++) { /* and back */
                query[j * DIM + i] = 0;
                for (uint32_t k = 0; k < 64; k++)
                    query[j * DIM + i] += __builtin_popcount(i / 2 & k) % 2 == 0
                                              ? left[k * 2 + i % 2]
                                              : -left[k * 2 + i % 2];
            }
            if (!(cmir_row_norm(query + j * DIM, DIM) > 0))
                query[j * DIM] = 1;
        }
        struct query q = make_query(query, ROWS, DIM);
        for (int cpu = 0; cpu < 2; cpu++)
            worst = fmax(worst, check_bound(&q.query, &s, cpu == 0 ? 0 : cmir_cpu_flags()));
        free_query(&q);
        free_snapshot(&s);
    }
    print_message("at most %.3f of the bound\n", worst);
    assert_true(worst > 0.2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_screening_bound),
        cmocka_unit_test(test_screening_bound_adversary),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
