/* SPDX-License-Identifier: Apache-2.0 */
/* builtin.c: the encoder that needs no weights.  encode.c calls it through its class.
 *
 * A slice becomes a picture of SIDE x SIDE pixels of a square box round the body, as wide as the
 * body is large, so that the field of view does not matter.  Two things are told of each cell of
 * coarse, overlapping grids: how much of each range of HU it holds (memberships are soft, so noise
 * moves little), and how strong its edges run in each of 8 directions (gradients of a squashed
 * picture, so bone does not drown the rest).  Each grid's numbers are square-rooted and brought to
 * unit length.  Nothing but +, -, *, / and sqrt on IEEE numbers in a fixed order: every machine
 * gives the same bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "encode/encoder_internal.h"
#include "picture/resize.h"

#define SIDE 96
#define PIXELS (SIDE * SIDE)
#define LOW_HU (-1024)  /* clipped; also what lies outside the slice */
#define HIGH_HU 1500
#define LEVELS (HIGH_HU - LOW_HU) /* of the tables: one per HU */
#define OTHER_LOW_HU (-1000) /* where there is no HU: the robust ends of the values, between */
#define OTHER_HIGH_HU 250    /* which their square root runs */
#define N_KINDS 8       /* ranges of HU, between EDGES_HU; also directions */
#define EDGES_HU {-700, -300, -120, -20, 40, 90, 200}
#define EDGE_WIDTH_HU 30
#define BODY_EDGE 1     /* the body lies above EDGES_HU[BODY_EDGE] */
#define REACH_PERCENT 70 /* half the box's side, in percent of the root of the body's area */
#define LEAST_BODY_PERMILLE 5 /* of the slice; with less, the box holds the whole slice */
#define SQUASH_HU 100
#define ANGLES 1024     /* of the table of arc tangents over 0..1 */
#define RADIUS 4        /* of the binomial smoothing before gradients */
#define MAX_GRID 6
#define LEAST_BLOCK_PERMILLE 1 /* added to a block: one with less in it, of air, fades to 0 */
#define N_BLOCKS 4
#define DIM (N_KINDS * (2 * 2 + 4 * 4 + 4 * 4 + 6 * 6))
#define BATCH 2 /* larger ones fall out of the cache and leave workers idle at the end */

/* The blocks of an embedding, in order: ranges of HU or directions over grid x grid cells. */
static const struct {
    bool directions;
    int grid, weight_percent;
} blocks[N_BLOCKS] = {{false, 2, 100}, {false, 4, 150}, {true, 4, 100}, {true, 6, 100}};

static const int edges_hu[N_KINDS - 1] = EDGES_HU;

/* How a row (or column) of the picture is shared by the two rows of cells next to it. */
struct tent {
    int cell; /* and the next one */
    float weight[2];
};

/* Read-only once made. */
struct builtin {
    float range[LEVELS + 2][N_KINDS]; /* membership of each HU; sums to 1.  The last is a copy */
    float squashed[LEVELS + 2];       /* 1 + tanh(HU / SQUASH_HU): exact where it is air */
    float direction[ANGLES + 1];      /* atan(i / ANGLES) in eighths of a turn */
    float smooth[2 * RADIUS + 1];
    struct tent tents[N_BLOCKS][SIDE];
};

/* Memory of one encode() call. */
struct work {
    float picture[PIXELS]; /* 0..1 over LOW_HU..HIGH_HU */
    float squashed[PIXELS], smoothed[PIXELS];
    float row[SIDE][N_KINDS];
    float cells[N_BLOCKS][MAX_GRID * MAX_GRID][N_KINDS];
    float *scratch; /* a row of the slice */
    float *hu;      /* the slice as if in HU, where it is not */
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

/* Pixel r has position p in units of cells; a cell's weights fall off linearly to its neighbours'
 * centres, and sum to 1. */
static void
make_tents(struct tent *tents, int grid)
{
    double sums[MAX_GRID] = {0};

    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < SIDE; r++) {
            double p = (r + 0.5) * grid / SIDE - 0.5;
            p = p < 0.0 ? 0.0 : p > grid - 1 ? grid - 1 : p;
            const int cell = p < grid - 2 ? (int)p : grid - 2;
            const double second = p - cell, first = 1.0 - second;
            if (pass == 0) {
                sums[cell] += first;
                sums[cell + 1] += second;
            } else {
                tents[r] = (struct tent){
                    cell, {(float)(first / sums[cell]), (float)(second / sums[cell + 1])}};
            }
        }
}

static void
make_tables(struct builtin *b)
{
    const double eighth = arc_tangent(1.0); /* of a turn */
    double binomial = 1.0;

    for (int i = 0; i <= LEVELS + 1; i++) {
        const double hu = i <= LEVELS ? LOW_HU + i : HIGH_HU;
        double above = 1.0;
        for (int t = 0; t < N_KINDS - 1; t++) {
            const double next = 1.0 / (1.0 + exponential((edges_hu[t] - hu) / EDGE_WIDTH_HU));
            b->range[i][t] = (float)fmax(above - next, 0.0);
            above = next;
        }
        b->range[i][N_KINDS - 1] = (float)above;
        b->squashed[i] = (float)(2.0 / (exponential(-2.0 * hu / SQUASH_HU) + 1.0));
    }
    for (int i = 0; i <= ANGLES; i++)
        b->direction[i] = (float)(arc_tangent(i / (double)ANGLES) / eighth);
    for (int i = 0; i <= 2 * RADIUS; i++) {
        b->smooth[i] = (float)(binomial / (1 << 2 * RADIUS));
        binomial = binomial * (2 * RADIUS - i) / (i + 1);
    }
    for (int i = 0; i < N_BLOCKS; i++)
        make_tents(b->tents[i], blocks[i].grid);
}

/* Place of a picture's value in the tables: between levels i and i + 1. */
static int
find_level(float picture, float *part)
{
    const float at = picture * LEVELS;
    const int i = (int)at;

    *part = at - (float)i;
    return i;
}

static void
find_ranges(const struct builtin *b, float picture, float out[N_KINDS])
{
    float part;
    const int i = find_level(picture, &part);

    for (int j = 0; j < N_KINDS; j++)
        out[j] = (1.0f - part) * b->range[i][j] + part * b->range[i + 1][j];
}

/* The box round the body: its centre is the body's centroid, its size follows the body's area. */
static cmir_part
find_box(const struct builtin *b, const float *picture, const cmir_picture *p)
{
    /* Only the pixel's shape matters; one that cannot be is taken as square. */
    const double shape = p->col_mm / p->row_mm, sane = shape > 0.01 && shape < 100.0 ? shape : 1.0;
    const double rows = p->rows, cols = p->cols;
    double sum = 0.0, down = 0.0, across = 0.0;

    for (int i = 0; i < PIXELS; i++) {
        float range[N_KINDS];
        double body = 0.0;
        find_ranges(b, picture[i], range);
        for (int j = BODY_EDGE + 1; j < N_KINDS; j++)
            body += (double)range[j];
        sum += body;
        down += body * (i / SIDE + 0.5);
        across += body * (i % SIDE + 0.5);
    }
    double y = rows / 2, x = cols / 2, half = (rows > cols * sane ? rows : cols * sane) / 2;
    if (sum >= LEAST_BODY_PERMILLE / 1000.0 * PIXELS) {
        y = down / sum / SIDE * rows;
        x = across / sum / SIDE * cols;
        half = REACH_PERCENT / 100.0 * sqrt(sum / PIXELS * rows * cols * sane);
    }
    return (cmir_part){y - half, y + half, x - half / sane, x + half / sane};
}

/* w->picture = `box` of the slice, or all of it (NULL). */
static cmir_status
take_picture(struct work *w, const cmir_picture *p, const cmir_part *box, cmir_error *err)
{
    cmir_resizer resizer;
    const cmir_status st =
        cmir_resizer_init(&resizer, CMIR_AREA, p->rows, p->cols, box, SIDE, SIDE, err);

    if (st == CMIR_OK)
        cmir_resize(&resizer, p->pixels, LOW_HU, 1.0f / LEVELS, w->scratch, w->picture);
    cmir_resizer_free(&resizer);
    return st;
}

/* Adds row y of the picture, w->row, to the cells of a block. */
static void
pool_row(const struct builtin *b, struct work *w, int block, int y)
{
    const struct tent *down = &b->tents[block][y];
    const int grid = blocks[block].grid;
    float line[MAX_GRID][N_KINDS] = {{0}};

    for (int x = 0; x < SIDE; x++) {
        const struct tent *t = &b->tents[block][x];
        for (int j = 0; j < N_KINDS; j++)
            line[t->cell][j] += t->weight[0] * w->row[x][j];
        for (int j = 0; j < N_KINDS; j++)
            line[t->cell + 1][j] += t->weight[1] * w->row[x][j];
    }
    for (int i = 0; i < 2; i++)
        for (int x = 0; x < grid; x++)
            for (int j = 0; j < N_KINDS; j++)
                w->cells[block][(down->cell + i) * grid + x][j] += down->weight[i] * line[x][j];
}

static int
clamp(int i)
{
    return i < 0 ? 0 : i < SIDE ? i : SIDE - 1;
}

static void
add_weighted(float *restrict out, const float *restrict in, float weight)
{
    for (int x = 0; x < SIDE; x++)
        out[x] += weight * in[x];
}

/* w->smoothed: borders are repeated outwards. */
static void
smooth(const struct builtin *b, struct work *w)
{
    float row[SIDE + 2 * RADIUS];

    for (int i = 0; i < PIXELS; i++) {
        float part;
        const int at = find_level(w->picture[i], &part);
        w->squashed[i] = (1.0f - part) * b->squashed[at] + part * b->squashed[at + 1];
    }
    memset(w->smoothed, 0, sizeof w->smoothed);
    for (int y = 0; y < SIDE; y++) {
        float *out = w->smoothed + y * SIDE;
        for (int t = -RADIUS; t <= RADIUS; t++)
            add_weighted(out, w->squashed + clamp(y + t) * SIDE, b->smooth[t + RADIUS]);
        for (int x = -RADIUS; x < SIDE + RADIUS; x++)
            row[x + RADIUS] = out[clamp(x)];
        memset(out, 0, SIDE * sizeof *out);
        for (int t = 0; t <= 2 * RADIUS; t++)
            add_weighted(out, row + t, b->smooth[t]);
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

/* w->row = the strength of row y's edges, shared by the two nearest directions. */
static void
find_edges(const struct builtin *b, struct work *w, int y)
{
    /* One-sided at the borders. */
    const int up = clamp(y - 1), down = clamp(y + 1);
    const float *above = w->smoothed + up * SIDE, *below = w->smoothed + down * SIDE;
    const float *here = w->smoothed + y * SIDE;

    memset(w->row, 0, sizeof w->row);
    for (int x = 0; x < SIDE; x++) {
        const int left = clamp(x - 1), right = clamp(x + 1);
        const float dy = (below[x] - above[x]) / (float)(down - up);
        const float dx = (here[right] - here[left]) / (float)(right - left);
        const float strength = sqrtf(dx * dx + dy * dy);
        if (!(strength > 0.0f))
            continue;
        const float a = direction(b, dx, dy);
        const int bin = (int)a;
        const float part = a - (float)bin;
        w->row[x][bin % N_KINDS] += strength * (1.0f - part);
        w->row[x][(bin + 1) % N_KINDS] += strength * part;
    }
}

/* The cells of a block as a part of the embedding: square roots of their shares, so of unit
 * length, then weighted. */
static void
put_block(const struct work *w, int block, float *out)
{
    const int n_cells = blocks[block].grid * blocks[block].grid;
    const float weight = (float)blocks[block].weight_percent / 100.0f;
    float sum = LEAST_BLOCK_PERMILLE / 1000.0f;

    for (int i = 0; i < n_cells; i++)
        for (int j = 0; j < N_KINDS; j++)
            sum += w->cells[block][i][j];
    for (int j = 0; j < N_KINDS; j++)
        for (int i = 0; i < n_cells; i++)
            *out++ = weight * sqrtf(w->cells[block][i][j] / sum);
}

/* Values without HU, 0..1, as HU that spread likewise. */
static cmir_picture
as_hu(const struct work *w, const cmir_picture *picture)
{
    const size_t n = (size_t)picture->rows * picture->cols;
    cmir_picture out = *picture;

    if (picture->has_hu)
        return out;
    for (size_t i = 0; i < n; i++)
        w->hu[i] = OTHER_LOW_HU + (OTHER_HIGH_HU - OTHER_LOW_HU) * sqrtf(picture->pixels[i]);
    out.pixels = w->hu;
    return out;
}

static cmir_status
encode_one(const struct builtin *b, struct work *w, const cmir_picture *picture, float *row,
           cmir_error *err)
{
    const cmir_picture slice = as_hu(w, picture);
    cmir_status st = take_picture(w, &slice, NULL, err);

    if (st != CMIR_OK)
        return st;
    const cmir_part box = find_box(b, w->picture, &slice);
    if ((st = take_picture(w, &slice, &box, err)) != CMIR_OK)
        return st;
    smooth(b, w);
    memset(w->cells, 0, sizeof w->cells);
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++)
            find_ranges(b, w->picture[y * SIDE + x], w->row[x]);
        for (int i = 0; i < N_BLOCKS; i++) {
            if (i > 0 && blocks[i].directions && !blocks[i - 1].directions)
                find_edges(b, w, y);
            pool_row(b, w, i, y);
        }
    }
    for (int i = 0; i < N_BLOCKS; i++) {
        put_block(w, i, row);
        row += blocks[i].grid * blocks[i].grid * N_KINDS;
    }
    return CMIR_OK;
}

static cmir_status
builtin_encode(const cmir_encoder *encoder, const cmir_picture *pictures, uint32_t n, float *rows,
               cmir_error *err)
{
    const size_t n_pixels = (size_t)pictures[0].rows * pictures[0].cols;
    struct work *w = malloc(sizeof *w);
    cmir_status st = CMIR_OK;

    if (w == NULL)
        return FAIL(err, CMIR_ENOMEM, "no memory to encode a slice");
    w->scratch = cmir_alloc(pictures[0].cols, sizeof *w->scratch);
    w->hu = cmir_alloc(pictures[0].has_hu ? 0 : n_pixels, sizeof *w->hu);
    if (w->scratch == NULL || w->hu == NULL)
        st = FAIL(err, CMIR_ENOMEM, "no memory to encode a slice");
    for (uint32_t i = 0; st == CMIR_OK && i < n; i++)
        st = encode_one(encoder->state, w, &pictures[i], rows + (size_t)i * DIM, err);
    free(w->scratch);
    free(w->hu);
    free(w);
    return st;
}

static cmir_status
builtin_describe(const cmir_encoder *encoder, char **out, cmir_error *err)
{
    (void)encoder;
    *out = cmir_asprintf(
        "input:     any slice; a square box round the body, resized to %d x %d by area\n"
        "windows:   HU clipped to %d..%d; without HU, the square root of the robust range as "
        "%d..%d\n"
        "output:    shares of %d ranges of HU and of %d directions of edges over coarse grids\n"
        "run time:  none; the same bits on every machine\n",
        SIDE, SIDE, LOW_HU, HIGH_HU, OTHER_LOW_HU, OTHER_HIGH_HU, N_KINDS, N_KINDS);
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
    cmir_buf card = {0};

    cmir_buf_printf(&card, "{\"angles\":%d,\"blocks\":[", ANGLES);
    for (int i = 0; i < N_BLOCKS; i++)
        cmir_buf_printf(&card, "%s[\"%s\",%d,%d]", i > 0 ? "," : "",
                        blocks[i].directions ? "directions" : "ranges", blocks[i].grid,
                        blocks[i].weight_percent);
    cmir_buf_printf(&card, "],\"body_edge\":%d,\"dim\":%d,\"edge_width_hu\":%d,\"edges_hu\":[",
                    BODY_EDGE, DIM, EDGE_WIDTH_HU);
    for (int i = 0; i < N_KINDS - 1; i++)
        cmir_buf_printf(&card, "%s%d", i > 0 ? "," : "", edges_hu[i]);
    cmir_buf_printf(&card,
                    "],\"high_hu\":%d,\"least_block_permille\":%d,\"least_body_permille\":%d,",
                    HIGH_HU, LEAST_BLOCK_PERMILLE, LEAST_BODY_PERMILLE);
    cmir_buf_printf(&card, "\"licence\":\"Apache-2.0\",\"low_hu\":%d,", LOW_HU);
    cmir_buf_printf(&card, "\"modality\":[\"CT\",\"MR\"],\"name\":\"builtin\",");
    cmir_buf_printf(&card, "\"other_high_hu\":%d,\"other_low_hu\":%d,\"reach_percent\":%d,",
                    OTHER_HIGH_HU, OTHER_LOW_HU, REACH_PERCENT);
    if (sha256 != NULL)
        cmir_buf_printf(&card, "\"sha256\":\"%s\",", sha256);
    cmir_buf_printf(&card, "\"side\":%d,\"smooth_radius\":%d,\"squash_hu\":%d,", SIDE, RADIUS,
                    SQUASH_HU);
    cmir_buf_puts(&card, "\"version\":\"1\"}");
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
        ok = card != NULL &&
             cmir_encoder_identify(encoder, "builtin", "1", "Apache-2.0", sha256, card, "");
    }
    free(bare);
    free(card);
    if (!ok)
        return FAIL(err, CMIR_ENOMEM, "no memory for the built-in encoder");
    return CMIR_OK;
}
