/* SPDX-License-Identifier: Apache-2.0 */
/* builtin.c: the encoder that needs no weights.  encode.c calls it through its class.
 *
 * A slice becomes a picture of SIDE x SIDE pixels of a square box round the body, as wide as the
 * body is large, so that the field of view does not matter.  Two things are told of each cell of
 * some coarse grids: how much of each range of HU it holds (memberships are soft, so noise moves
 * little), and how strong its edges run in each of 8 directions (gradients of a squashed picture,
 * so bone does not drown the rest).  Each grid's numbers are square-rooted and brought to unit
 * length.  Nothing but +, -, *, / and sqrt on IEEE numbers in a fixed order: every machine gives
 * the same bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "encode/encoder_internal.h"
#include "encode/resize.h"

#define SIDE 96
#define PIXELS (SIDE * SIDE)
#define LOW_HU (-1024)  /* clipped; also what lies outside the picture */
#define HIGH_HU 1500
#define OTHER_LOW_HU (-300) /* where there is no HU: the robust ends of the values */
#define OTHER_HIGH_HU 200
#define N_TISSUES 8     /* ranges of HU, between EDGES_HU */
#define EDGES_HU {-700, -300, -120, -20, 40, 90, 200}
#define EDGE_WIDTH_HU 30
#define BODY_EDGE 1     /* the body lies above EDGES_HU[BODY_EDGE] */
#define BOX_PERCENT 70  /* half the box's side, in percent of the root of the body's area */
#define MIN_BODY_PERMILLE 5 /* of the picture; less is taken as this much */
#define SQUASH_HU 400
#define N_DIRECTIONS 8
#define TISSUE_CELLS 4  /* cells per side of the finest grid; coarser: 2, 1 */
#define EDGE_CELLS 6    /* cells per side of the finest grid; coarser: 3 */
#define DIM (N_TISSUES * (1 + 4 + 16) + N_DIRECTIONS * (9 + 36))
#define LEVELS 4096     /* of the tables over LOW_HU..HIGH_HU */
#define ANGLES 1024     /* of the table of arc tangents over 0..1 */
#define RADIUS 4        /* of the smoothing before gradients, sigma 1 pixel */
#define BATCH 8

/* Read-only once made. */
struct builtin {
    float tissue[LEVELS + 1][N_TISSUES]; /* membership; each level's sum is 1 */
    float squashed[LEVELS + 1];          /* tanh(HU / SQUASH_HU) */
    float direction[ANGLES + 1];         /* atan(i / ANGLES) in eighths of a turn */
    float smooth[2 * RADIUS + 1];
};

/* Memory of one encode() call. */
struct work {
    float picture[PIXELS]; /* 0..1 over LOW_HU..HIGH_HU */
    float squashed[PIXELS], smoothed[PIXELS];
    float tissue[TISSUE_CELLS][TISSUE_CELLS][N_TISSUES];
    float edge[EDGE_CELLS][EDGE_CELLS][N_DIRECTIONS];
};

/* exp(x) without libm, whose last bits differ between systems. */
static double
exponential(double x)
{
    double sum = 1.0, term = 1.0;
    int halvings = 0;

    for (; fabs(x) > 0.03125; halvings++)
        x *= 0.5;
    for (int i = 1; i <= 8; i++) {
        term *= x / i;
        sum += term;
    }
    for (; halvings > 0; halvings--)
        sum *= sum;
    return sum;
}

/* atan(t) for t in 0..1, likewise: the angle is halved three times, then a short series. */
static double
arc_tangent(double t)
{
    double power, sum = 0.0;

    for (int i = 0; i < 3; i++)
        t = t / (1.0 + sqrt(1.0 + t * t));
    power = t;
    for (int i = 1; i <= 15; i += 2) {
        sum += (i % 4 == 1 ? power : -power) / i;
        power *= t * t;
    }
    return 8.0 * sum;
}

static void
make_tables(struct builtin *b)
{
    static const int edges[N_TISSUES - 1] = EDGES_HU;
    const double eighth = arc_tangent(1.0); /* of a turn */
    double sum = 0.0;

    for (int i = 0; i <= LEVELS; i++) {
        const double hu = LOW_HU + (HIGH_HU - LOW_HU) * (i / (double)LEVELS);
        double above = 1.0;
        for (int t = 0; t < N_TISSUES - 1; t++) {
            const double next = 1.0 / (1.0 + exponential((edges[t] - hu) / EDGE_WIDTH_HU));
            b->tissue[i][t] = (float)(above - next);
            above = next;
        }
        b->tissue[i][N_TISSUES - 1] = (float)above;
        b->squashed[i] = (float)(1.0 - 2.0 / (exponential(2.0 * hu / SQUASH_HU) + 1.0));
    }
    for (int i = 0; i <= ANGLES; i++)
        b->direction[i] = (float)(arc_tangent(i / (double)ANGLES) / eighth);
    for (int i = -RADIUS; i <= RADIUS; i++)
        sum += exponential(-0.5 * i * i);
    for (int i = -RADIUS; i <= RADIUS; i++)
        b->smooth[i + RADIUS] = (float)(exponential(-0.5 * i * i) / sum);
}

static uint32_t
level(float picture)
{
    return (uint32_t)(picture * LEVELS + 0.5f);
}

/* The box round the body: its centre is the body's centroid, its size follows the body's area. */
static cmir_box
find_box(const struct builtin *b, const float *picture, const cmir_picture *p)
{
    const double least = MIN_BODY_PERMILLE / 1000.0;
    double sum = 0.0, down = 0.0, across = 0.0, y = 0.5, x = 0.5;

    for (int i = 0; i < PIXELS; i++) {
        const float *t = b->tissue[level(picture[i])];
        double body = 0.0;
        for (int j = BODY_EDGE + 1; j < N_TISSUES; j++)
            body += t[j];
        sum += body;
        down += body * (i / SIDE + 0.5);
        across += body * (i % SIDE + 0.5);
    }
    double share = sum / PIXELS;
    if (share < least) {
        share = least;
    } else {
        y = down / sum / SIDE;
        x = across / sum / SIDE;
    }
    /* Only the pixel's shape matters; one that cannot be is taken as square. */
    const double shape = p->col_mm / p->row_mm, sane = shape > 0.01 && shape < 100.0 ? shape : 1.0;
    const double body = share * p->rows * p->cols; /* pixels */
    const double half_rows = BOX_PERCENT / 100.0 * sqrt(body * sane), half_cols = half_rows / sane;
    return (cmir_box){y * p->rows - half_rows, y * p->rows + half_rows,
                      x * p->cols - half_cols, x * p->cols + half_cols};
}

/* w->picture = `box` of the slice, or all of it (NULL). */
static cmir_status
take_picture(struct work *w, float *scratch, const cmir_picture *p, const cmir_box *box,
             cmir_error *err)
{
    const float range = HIGH_HU - LOW_HU, other = OTHER_HIGH_HU - OTHER_LOW_HU;
    cmir_resizer resizer;
    const cmir_status st =
        cmir_resizer_init(&resizer, CMIR_AREA, p->rows, p->cols, box, SIDE, SIDE, err);

    if (st == CMIR_OK && p->has_hu)
        cmir_resize(&resizer, p->pixels, LOW_HU, 1.0f / range, scratch, w->picture);
    else if (st == CMIR_OK)
        cmir_resize(&resizer, p->pixels, (LOW_HU - OTHER_LOW_HU) / other, other / range, scratch,
                    w->picture);
    cmir_resizer_free(&resizer);
    return st;
}

static void
gather_tissue(const struct builtin *b, struct work *w)
{
    const int k = SIDE / TISSUE_CELLS;

    memset(w->tissue, 0, sizeof w->tissue);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            float *cell = w->tissue[y / k][x / k];
            const float *t = b->tissue[level(w->picture[y * SIDE + x])];
            for (int j = 0; j < N_TISSUES; j++)
                cell[j] += t[j];
        }
}

/* Index of a row or column of a picture that is mirrored at its borders. */
static int
mirror(int i)
{
    return i < 0 ? -1 - i : i >= SIDE ? 2 * SIDE - 1 - i : i;
}

static void
smooth(const struct builtin *b, struct work *w)
{
    float row[SIDE + 2 * RADIUS];

    for (int i = 0; i < PIXELS; i++)
        w->squashed[i] = b->squashed[level(w->picture[i])];
    memset(w->smoothed, 0, sizeof w->smoothed);
    for (int y = 0; y < SIDE; y++)
        for (int t = -RADIUS; t <= RADIUS; t++) {
            const float *from = w->squashed + mirror(y + t) * SIDE;
            for (int x = 0; x < SIDE; x++)
                w->smoothed[y * SIDE + x] += b->smooth[t + RADIUS] * from[x];
        }
    for (int y = 0; y < SIDE; y++) {
        float *out = w->smoothed + y * SIDE;
        for (int x = -RADIUS; x < SIDE + RADIUS; x++)
            row[x + RADIUS] = out[mirror(x)];
        memset(out, 0, SIDE * sizeof *out);
        for (int t = 0; t <= 2 * RADIUS; t++)
            for (int x = 0; x < SIDE; x++)
                out[x] += b->smooth[t] * row[x + t];
    }
}

/* Direction of (x, y) in eighths of a turn, 0..8, counted from x towards y. */
static float
direction(const struct builtin *b, float x, float y)
{
    const float ax = fabsf(x), ay = fabsf(y);
    const float low = ax < ay ? ax : ay, high = ax < ay ? ay : ax;
    float a = b->direction[(int)(low / high * ANGLES + 0.5f)];

    a = ay > ax ? 2.0f - a : a;
    a = x < 0.0f ? 4.0f - a : a;
    return y < 0.0f ? 8.0f - a : a;
}

static void
gather_edges(const struct builtin *b, struct work *w)
{
    const int k = SIDE / EDGE_CELLS;

    smooth(b, w);
    memset(w->edge, 0, sizeof w->edge);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            /* One-sided at the borders, as differences of what is there. */
            const int up = y > 0 ? y - 1 : 0, down = y < SIDE - 1 ? y + 1 : y;
            const int left = x > 0 ? x - 1 : 0, right = x < SIDE - 1 ? x + 1 : x;
            const float *s = w->smoothed;
            const float dy = (s[down * SIDE + x] - s[up * SIDE + x]) / (float)(down - up);
            const float dx = (s[y * SIDE + right] - s[y * SIDE + left]) / (float)(right - left);
            const float strength = sqrtf(dx * dx + dy * dy);
            if (!(strength > 0.0f))
                continue;
            const float a = direction(b, dx, dy);
            const int bin = (int)a;
            const float part = a - (float)bin;
            float *cell = w->edge[y / k][x / k];
            cell[bin % N_DIRECTIONS] += strength * (1.0f - part);
            cell[(bin + 1) % N_DIRECTIONS] += strength * part;
        }
}

/* Writes one grid's block: `n` kinds over `grid` x `grid` cells, each the sum of the finest cells
 * it covers; square roots, unit length; an empty block stays 0.  Returns the row's next place. */
static float *
put_block(float *out, const float *finest, int n_finest, int n, int grid)
{
    const int k = n_finest / grid, total = n * grid * grid;
    float sum = 0.0f;

    memset(out, 0, (size_t)total * sizeof *out);
    for (int y = 0; y < n_finest; y++)
        for (int x = 0; x < n_finest; x++)
            for (int j = 0; j < n; j++)
                out[(j * grid + y / k) * grid + x / k] += finest[(y * n_finest + x) * n + j];
    for (int i = 0; i < total; i++)
        sum += out[i];
    for (int i = 0; i < total; i++)
        out[i] = sum > 0.0f ? sqrtf(out[i] / sum) : 0.0f;
    return out + total;
}

static cmir_status
encode_one(const struct builtin *b, struct work *w, float *scratch, const cmir_picture *picture,
           float *row, cmir_error *err)
{
    cmir_status st = take_picture(w, scratch, picture, NULL, err);
    if (st != CMIR_OK)
        return st;
    const cmir_box box = find_box(b, w->picture, picture);
    if ((st = take_picture(w, scratch, picture, &box, err)) != CMIR_OK)
        return st;
    gather_tissue(b, w);
    gather_edges(b, w);
    for (int grid = 1; grid <= TISSUE_CELLS; grid *= 2)
        row = put_block(row, &w->tissue[0][0][0], TISSUE_CELLS, N_TISSUES, grid);
    for (int grid = EDGE_CELLS / 2; grid <= EDGE_CELLS; grid *= 2)
        row = put_block(row, &w->edge[0][0][0], EDGE_CELLS, N_DIRECTIONS, grid);
    return CMIR_OK;
}

static cmir_status
builtin_encode(const cmir_encoder *encoder, const cmir_picture *pictures, uint32_t n, float *rows,
               cmir_error *err)
{
    struct work *w = malloc(sizeof *w);
    float *scratch = cmir_alloc(pictures[0].cols, sizeof *scratch);
    cmir_status st = CMIR_OK;

    if (w == NULL || scratch == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory to encode a slice");
    for (uint32_t i = 0; st == CMIR_OK && i < n; i++)
        st = encode_one(encoder->state, w, scratch, &pictures[i], rows + (size_t)i * DIM, err);
    free(scratch);
    free(w);
    return st;
}

static cmir_status
builtin_describe(const cmir_encoder *encoder, char **out, cmir_error *err)
{
    (void)encoder;
    *out = cmir_asprintf(
        "input:     any slice; a square box round the body, resized to %d x %d by area\n"
        "windows:   HU clipped to %d..%d; without HU, the robust range of values as %d..%d\n"
        "output:    tissue shares (%d ranges of HU) and edge directions (%d) over coarse grids\n"
        "run time:  none; the same bits on every machine\n",
        SIDE, SIDE, LOW_HU, HIGH_HU, OTHER_LOW_HU, OTHER_HIGH_HU, N_TISSUES, N_DIRECTIONS);
    if (*out == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to describe the encoder");
    return CMIR_OK;
}

static void
builtin_close(cmir_encoder *encoder)
{
    free(encoder->state);
}

/* The card as canonical JSON (keys sorted, no spaces), with or without its own hash. */
static char *
make_card(const char *sha256)
{
    static const int edges[N_TISSUES - 1] = EDGES_HU;
    cmir_buf card = {0};

    cmir_buf_printf(&card, "{\"angles\":%d,\"body_edge\":%d,\"box_percent\":%d,\"dim\":%d,",
                    ANGLES, BODY_EDGE, BOX_PERCENT, DIM);
    cmir_buf_printf(&card, "\"directions\":%d,\"edge_cells\":%d,\"edge_width_hu\":%d,",
                    N_DIRECTIONS, EDGE_CELLS, EDGE_WIDTH_HU);
    cmir_buf_puts(&card, "\"edges_hu\":[");
    for (int i = 0; i < N_TISSUES - 1; i++)
        cmir_buf_printf(&card, "%s%d", i > 0 ? "," : "", edges[i]);
    cmir_buf_printf(&card, "],\"high_hu\":%d,\"levels\":%d,", HIGH_HU, LEVELS);
    cmir_buf_printf(&card, "\"licence\":\"Apache-2.0\",\"low_hu\":%d,", LOW_HU);
    cmir_buf_printf(&card, "\"min_body_permille\":%d,\"modality\":[\"CT\",\"MR\"],",
                    MIN_BODY_PERMILLE);
    cmir_buf_printf(&card, "\"name\":\"builtin\",\"other_high_hu\":%d,\"other_low_hu\":%d,",
                    OTHER_HIGH_HU, OTHER_LOW_HU);
    if (sha256 != NULL)
        cmir_buf_printf(&card, "\"sha256\":\"%s\",", sha256);
    cmir_buf_printf(&card, "\"side\":%d,\"squash_hu\":%d,\"tissue_cells\":%d,\"version\":\"1\"}",
                    SIDE, SQUASH_HU, TISSUE_CELLS);
    if (card.failed) {
        free(card.data);
        return NULL;
    }
    return card.data;
}

static const cmir_encoder_class builtin_class = {builtin_encode, builtin_describe, builtin_close};

cmir_status
cmir_builtin_init(cmir_encoder *encoder, cmir_error *err)
{
    char sha256[CMIR_SHA256_HEX_NBYTES] = "";
    struct builtin *b = malloc(sizeof *b);
    char *bare = make_card(NULL), *card = NULL;
    bool ok = b != NULL && bare != NULL;

    encoder->class_ = &builtin_class;
    encoder->state = b;
    encoder->batch = BATCH;
    encoder->info.dim = DIM;
    if (ok) {
        make_tables(b);
        cmir_sha256(bare, strlen(bare), sha256);
        card = make_card(sha256);
        ok = card != NULL && cmir_encoder_identify(encoder, "builtin", "1", "Apache-2.0", sha256,
                                                   card, "");
    }
    free(bare);
    free(card);
    if (!ok)
        return FAIL(err, CMIR_ENOMEM, "no memory for the built-in encoder");
    return CMIR_OK;
}
