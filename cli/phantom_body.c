/* SPDX-License-Identifier: Apache-2.0 */
/* phantom_body.c: a made-up patient whose inside can be asked for at any point.  Used by
 * phantom.c, phantom_sites.c and phantom_scan.c.
 *
 * The one idea: anatomy as a stack of soft-edged shapes, painted from the outside in: skin and fat,
 * muscle, the cavities, organs, vessels, bones, and last the lesion.  Sizes and places vary with
 * the seed; a smooth deformation of space makes no two patients congruent. */
#include "phantom_body.h"

#include <math.h>

#define PI 3.14159265358979323846

uint64_t
phantom_random(phantom_rng *rng)
{
    uint64_t z = rng->state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

double
phantom_uniform(phantom_rng *rng, double low, double high)
{
    return low + (high - low) * (double)(phantom_random(rng) >> 11) * 0x1p-53;
}

double
phantom_normal(phantom_rng *rng)
{
    /* The sum of four 16-bit uniforms: close to normal, bounded, one draw. */
    const uint64_t r = phantom_random(rng);
    const double sum = (double)((r & 0xFFFF) + (r >> 16 & 0xFFFF) + (r >> 32 & 0xFFFF) + (r >> 48));

    return (sum / 65536.0 - 2.0) * 1.7320508075688772;
}

/* Half-width and half-depth of the average body at height z, piecewise linear. */
static void
outline(double z, double *half_width, double *half_depth)
{
    static const double table[][3] = {
        {-50, 160, 100}, {40, 172, 108},  {110, 176, 114}, {200, 150, 104}, {300, 154, 110},
        {420, 164, 116}, {510, 178, 108}, {570, 200, 92},  {615, 105, 70},  {660, 62, 62},
    };
    const int n = (int)(sizeof table / sizeof table[0]);
    int i = 0;

    while (i < n - 2 && z > table[i + 1][0])
        i++;
    double t = (z - table[i][0]) / (table[i + 1][0] - table[i][0]);
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    t = t * t * (3 - 2 * t);
    *half_width = table[i][1] + t * (table[i + 1][1] - table[i][1]);
    *half_depth = table[i][2] + t * (table[i + 1][2] - table[i][2]);
}

static phantom_ball
ball(phantom_rng *rng, double x, double y, double z, double rx, double ry, double rz)
{
    const double s = phantom_uniform(rng, 0.88, 1.12);

    return (phantom_ball){x + 6 * phantom_normal(rng),
                          y + 4 * phantom_normal(rng),
                          z + 8 * phantom_normal(rng),
                          rx * s,
                          ry * s,
                          rz * phantom_uniform(rng, 0.9, 1.1)};
}

static void
place_lesion(phantom_rng *rng, phantom_organ organ, double diameter_mm, phantom_body *b)
{
    const phantom_ball *host = organ == PHANTOM_LIVER  ? &b->liver
                               : organ == PHANTOM_LUNG ? &b->lung[phantom_random(rng) & 1]
                                                       : &b->kidney[phantom_random(rng) & 1];
    const double r = diameter_mm / 2, a = phantom_uniform(rng, 0, 2 * PI);
    const double far = phantom_uniform(rng, 0.15, 0.5);

    b->lesion_organ = organ;
    b->lesion = (phantom_ball){host->x + far * cos(a) * host->rx,
                               host->y + far * sin(a) * host->ry,
                               host->z + phantom_uniform(rng, -0.3, 0.3) * host->rz,
                               r,
                               r,
                               r};
    b->lesion_hu = organ == PHANTOM_LUNG    ? 45
                   : organ == PHANTOM_LIVER ? b->liver_hu - phantom_uniform(rng, 45, 65)
                                            : 55 + 35 * b->enhancement;
}

/* Everything but lesions; bodies of one seed differ by enhancement only. */
static void
make_anatomy(phantom_rng *rng, double enhancement_low, double enhancement_high, phantom_body *b)
{
    b->width = phantom_uniform(rng, 0.88, 1.16);
    b->depth = b->width * phantom_uniform(rng, 0.92, 1.1);
    b->height = phantom_uniform(rng, 0.93, 1.07);
    b->fat_mm = phantom_uniform(rng, 6, 30) * b->width;
    b->enhancement = phantom_uniform(rng, enhancement_low, enhancement_high);
    b->rib_phase = phantom_uniform(rng, 0, 26);
    for (int i = 0; i < 6; i++)
        b->phase[i] = phantom_uniform(rng, 0, 2 * PI);
    b->liver_hu = 55 + 60 * b->enhancement + 5 * phantom_normal(rng);
    b->lung[0] = ball(rng, -76, -4, 452, 56, 82, 128);
    b->lung[1] = ball(rng, 78, -2, 456, 52, 80, 124);
    b->heart = ball(rng, 22, -30, 398, 54, 44, 58);
    b->liver = ball(rng, -58, -8, 318, 92, 76, 72);
    b->spleen = ball(rng, 92, 42, 322, 28, 38, 50);
    b->stomach = ball(rng, 52, -38, 312, 42, 34, 44);
    b->kidney[0] = ball(rng, -62, 48, 236, 26, 24, 54);
    b->kidney[1] = ball(rng, 64, 48, 246, 26, 24, 56);
    b->bladder = ball(rng, 0, -32, 58, 38, 32, 34);
    for (int i = 0; i < PHANTOM_LOOPS; i++) {
        const double r = phantom_uniform(rng, 9, 19), kind = phantom_uniform(rng, 0, 1);
        b->loop[i] = (phantom_ball){phantom_uniform(rng, -112, 112),
                                    phantom_uniform(rng, -72, 18),
                                    phantom_uniform(rng, 70, 262),
                                    r,
                                    r * 0.9,
                                    r * phantom_uniform(rng, 0.8, 2.2)};
        b->loop_hu[i] = kind < 0.25 ? -880 : kind < 0.85 ? 25 : 40 + 220 * b->enhancement;
    }
}

void
phantom_body_make(uint64_t seed, phantom_organ lesion_organ, double lesion_diameter_mm,
                  phantom_body *out)
{
    phantom_rng rng = {seed * 0xD1342543DE82EF95u + 1};
    phantom_body b = {0};

    make_anatomy(&rng, 0, 1, &b);
    if (lesion_organ != PHANTOM_NO_LESION)
        place_lesion(&rng, lesion_organ, lesion_diameter_mm, &b);
    *out = b;
}

/* About the signed distance in mm from the surface of an ellipsoid, positive inside. */
static double
inside(const phantom_ball *e, double x, double y, double z)
{
    const double dx = (x - e->x) / e->rx, dy = (y - e->y) / e->ry, dz = (z - e->z) / e->rz;
    const double least =
        e->rx < e->ry ? (e->rx < e->rz ? e->rx : e->rz) : (e->ry < e->rz ? e->ry : e->rz);

    return (1 - sqrt(dx * dx + dy * dy + dz * dz)) * least;
}

/* Paints `hu` over *value where the distance `d` is inside, softly at the edge. */
static void
paint(double *value, double hu, double d, double blur_mm)
{
    double t = d / blur_mm + 0.5;

    if (t <= 0)
        return;
    t = t > 1 ? 1 : t;
    *value += (hu - *value) * t;
}

static double
wave(const phantom_body *b, double x, double y, double z)
{
    return sin(x * 0.031 + b->phase[0]) + sin(y * 0.037 + b->phase[1]) +
           sin(z * 0.023 + b->phase[2]) + sin((x + z) * 0.019 + b->phase[3]);
}

/* From the average body's coordinates to where shapes are asked for; gives the bend there. */
static double
deform(const phantom_body *b, double x, double y, double z, double out[3])
{
    const double bend = wave(b, x, y, z);

    out[0] = x + 3.0 * bend;
    out[1] = y + 2.5 * sin(bend + x * 0.02);
    out[2] = z + 4.0 * sin(bend);
    return bend;
}

/* The LPS mm of a point of a shape: the deformation undone by fixed-point steps, as it is a
 * contraction. */
static phantom_ball
to_scanner(const phantom_body *b, phantom_ball at)
{
    double p[3] = {at.x, at.y, at.z}, moved[3];

    for (int i = 0; i < 12; i++) {
        deform(b, p[0], p[1], p[2], moved);
        p[0] += at.x - moved[0];
        p[1] += at.y - moved[1];
        p[2] += at.z - moved[2];
    }
    at.x = p[0] * b->width;
    at.y = p[1] * b->depth;
    at.z = p[2] * b->height;
    return at;
}

/* About how far a point of the average body lies under the skin, in mm; less at the flanks. */
static double
below_skin(double x, double y, double z)
{
    double half_width, half_depth;

    outline(z, &half_width, &half_depth);
    return (1 - pow(pow(fabs(x) / half_width, 2.3) + pow(fabs(y) / half_depth, 2.3), 1 / 2.3)) *
           half_depth;
}

/* Whether the tumour lies inside the body, apart from the others. */
static bool
has_room(const phantom_body *b, const phantom_ball *t)
{
    if (below_skin(t->x / b->width, t->y / b->depth, t->z / b->height) < t->rx)
        return false;
    for (int i = 0; i < b->n_tumours; i++) {
        const phantom_ball *o = &b->tumour[i];
        const double dx = t->x - o->x, dy = t->y - o->y, dz = t->z - o->z;
        if (sqrt(dx * dx + dy * dy + dz * dz) < t->rx + o->rx + PHANTOM_GAP_MM)
            return false;
    }
    return true;
}

static void
place_tumour(phantom_rng *rng, double diameter_mm, phantom_body *b)
{
    double r = diameter_mm / 2;
    phantom_ball t;

    for (int tries = 1;; tries++) {
        const phantom_ball *host = &b->host[phantom_random(rng) % (uint64_t)b->n_hosts];
        const double a = phantom_uniform(rng, 0, 2 * PI), far = phantom_uniform(rng, 0.2, 0.6);
        t = (phantom_ball){host->x + far * cos(a) * host->rx,
                           host->y + far * sin(a) * host->ry,
                           host->z + phantom_uniform(rng, -0.5, 0.5) * host->rz,
                           r,
                           r,
                           r};
        t = to_scanner(b, t);
        if (has_room(b, &t))
            break;
        r *= tries > 50 ? 0.98 : 1;
    }
    b->tumour[b->n_tumours++] = t;
}

void
phantom_body_make_tumours(uint64_t seed, double enhancement, phantom_organ organ,
                          const double *diameters_mm, int n, phantom_body *out)
{
    phantom_rng rng = {seed * 0xD1342543DE82EF95u + 1};
    phantom_body b = {0};

    make_anatomy(&rng, enhancement, enhancement, &b);
    b.has_colon_and_pancreas = true;
    b.colon[0] = ball(&rng, -86, 2, 172, 19, 19, 92);
    b.colon[1] = ball(&rng, 88, 4, 180, 17, 17, 96);
    b.pancreas = ball(&rng, 14, 2, 268, 64, 14, 20);
    b.pancreas_hu = 40 + 70 * b.enhancement + 4 * phantom_normal(&rng);
    b.organ = organ;
    b.n_hosts = organ == PHANTOM_LUNG || organ == PHANTOM_COLON ? 2 : 1;
    b.tumour_hu = organ == PHANTOM_LUNG       ? 45
                  : organ == PHANTOM_LIVER    ? b.liver_hu - phantom_uniform(&rng, 45, 65)
                  : organ == PHANTOM_PANCREAS ? b.pancreas_hu - phantom_uniform(&rng, 35, 55)
                                              : 45 + 35 * b.enhancement;
    for (int i = 0; i < b.n_hosts; i++)
        b.host[i] = organ == PHANTOM_LIVER   ? b.liver
                    : organ == PHANTOM_LUNG  ? b.lung[i]
                    : organ == PHANTOM_COLON ? b.colon[i]
                                             : b.pancreas;
    for (int i = 0; i < n; i++)
        place_tumour(&rng, diameters_mm[i], &b);
    *out = b;
}

/* Lungs stand on the domes of the diaphragm. */
static double
inside_lung(const phantom_ball *lung, double x, double y, double z)
{
    const double dome = 344 + 42 * exp(-(y * y + (fabs(x) - 72) * (fabs(x) - 72)) / 4200);

    return fmin(inside(lung, x, y, z), z - dome);
}

/* The pancreas lies bent over the spine. */
static double
inside_pancreas(const phantom_ball *pancreas, double x, double y, double z)
{
    return inside(pancreas, x, y - 0.004 * x * x, z);
}

static bool
in_organ(const phantom_body *b, double x, double y, double z)
{
    for (int i = 0; i < b->n_hosts; i++)
        if ((b->organ == PHANTOM_LUNG       ? inside_lung(&b->host[i], x, y, z)
             : b->organ == PHANTOM_PANCREAS ? inside_pancreas(&b->host[i], x, y, z)
                                            : inside(&b->host[i], x, y, z)) > 0)
            return true;
    return false;
}

static double
lung_hu(const phantom_body *b, double x, double y, double z)
{
    const double branch = sin(x * 0.21 + 2 * sin(z * 0.07 + b->phase[4])) *
                          sin(y * 0.19 + 2 * sin(z * 0.06 + b->phase[5])) *
                          sin(z * 0.12 + 1.5 * sin(x * 0.09 + b->phase[0]));

    return branch > 0.62 ? -60 : -860 + 0.25 * (y + 80);
}

static void
paint_spine(double *value, double x, double y, double z, double blur, double y0)
{
    const double level = fmod(z + 600, 31), edge = level < 15.5 ? level : 31 - level;
    const double body = 21 - sqrt(x * x + (y - y0) * (y - y0) * 1.3);
    const double canal = 9 - hypot(x, y - y0 - 27);
    const double arch = 17 - hypot(x, y - y0 - 27);
    const double process = fmin(5 - fabs(x), fmin(y - y0 - 38, y0 + 66 - y));

    paint(value, edge < 3.5 ? 75 : 190, body, blur);
    if (edge >= 3.5)
        paint(value, 520, fmin(body, 3.5 - body), blur);
    paint(value, 430, arch, blur);
    if (edge > 6)
        paint(value, 380, process, blur);
    paint(value, 28, canal, blur);
}

static void
paint_chest(const phantom_body *b, double *value, double x, double y, double z, double rim,
            double blur)
{
    /* Ribs: a ring under the skin, hit where a downward-slanting periodic sheet crosses it. */
    const double slant = z + 0.35 * (y + 60) + b->rib_phase;
    const double sheet = 6.5 - fabs(fmod(slant + 520, 26) - 13);

    for (int side = 0; side < 2; side++) {
        const double d = inside_lung(&b->lung[side], x, y, z);
        if (d > -blur)
            paint(value, lung_hu(b, x, y, z), d, blur);
    }
    paint(value, 42 + 110 * b->enhancement, inside(&b->heart, x, y, z), blur);
    if (z > 300 && z < 575)
        paint(value, 420, fmin(fmin(rim - 9, 17 - rim), sheet), blur);
    if (z > 380 && z < 540)
        paint(value, 260, fmin(20 - fabs(x), fmin(rim - 10, 20 - rim)) - (y > 0 ? 1e3 : 0), blur);
    if (z > 505)
        paint(value, 480, fmin(7 - hypot(y + 28, z - 556 - 0.1 * fabs(x)), 150 - fabs(x)), blur);
    if (z > 470)
        paint(value, -990, 9 - hypot(x, y + 2), blur);
}

static void
paint_abdomen(const phantom_body *b, double *value, double x, double y, double z, double blur)
{
    const double psoas = fmin(19 - hypot(fabs(x) - 38, y - 40), fmin(z - 90, 250 - z));

    paint(value, 55, psoas, blur);
    for (int i = 0; i < PHANTOM_LOOPS; i++) {
        if (fabs(z - b->loop[i].z) > b->loop[i].rz + blur ||
            fabs(x - b->loop[i].x) > b->loop[i].rx + 6)
            continue;
        const double d = inside(&b->loop[i], x, y, z);
        paint(value, 45, d + 3, blur);
        paint(value, b->loop_hu[i], d, blur);
    }
    paint(value, 38, inside(&b->stomach, x, y, z), blur);
    paint(value, y < b->stomach.y - 8 ? -900 : 15, inside(&b->stomach, x, y, z) - 5, blur);
    paint(value, b->liver_hu, inside(&b->liver, x, y, z), blur);
    paint(value, b->liver_hu + 45 * b->enhancement,
          fmin(inside(&b->liver, x, y, z),
               5 - fabs(y - b->liver.y - 0.25 * (x - b->liver.x) - 12 * sin(z * 0.05))) -
              1,
          blur);
    paint(value, 50 + 70 * b->enhancement, inside(&b->spleen, x, y, z), blur);
    for (int side = 0; side < 2; side++) {
        const phantom_ball *k = &b->kidney[side];
        const phantom_ball sinus = {k->x * 0.86, k->y - 2,     k->z,
                                    k->rx * 0.5, k->ry * 0.45, k->rz * 0.55};
        paint(value, 35 + 140 * b->enhancement, inside(k, x, y, z), blur);
        paint(value, -70, inside(&sinus, x, y, z), blur);
    }
}

/* Ascending and descending colon with stool and gas, and the pancreas before the spine. */
static void
paint_colon_and_pancreas(const phantom_body *b, double *value, double x, double y, double z,
                         double blur)
{
    for (int side = 0; side < 2; side++) {
        const double d = inside(&b->colon[side], x, y, z) + 2 * sin(z * 0.22);
        paint(value, 42 + 30 * b->enhancement, d, blur);
        paint(value, y < b->colon[side].y - 5 ? -850 : 20, d - 4, blur);
    }
    paint(value, b->pancreas_hu, inside_pancreas(&b->pancreas, x, y, z), blur);
}

static void
paint_pelvis(const phantom_body *b, double *value, double x, double y, double z, double blur)
{
    const double ax = fabs(x);
    const phantom_ball head = {92, 4, 34, 24, 24, 24}, sacrum = {0, 62, 118, 40, 20, 46};
    const double wing = fmin(9 - fabs(ax - 78 - 0.28 * (z - 90) + 0.35 * (y - 20)),
                             fmin(58 - fabs(y - 18), fmin(z - 55, 185 - z)));
    const double gluteus = inside(&(phantom_ball){88, 66, 90, 62, 34, 110}, ax, y, z);

    paint(value, 58, gluteus, blur);
    paint(value, 40, inside(&(phantom_ball){0, 22, 50, 22, 18, 60}, x, y, z), blur);
    paint(value, 45, inside(&b->bladder, x, y, z) + 3, blur);
    paint(value, 6, inside(&b->bladder, x, y, z), blur);
    paint(value, 330, wing, blur);
    paint(value, 260, inside(&sacrum, ax, y, z), blur);
    paint(value, 60, inside(&(phantom_ball){92, 4, 34, 34, 32, 32}, ax, y, z), blur);
    paint(value, 310, inside(&head, ax, y, z), blur);
    paint(value, 350, fmin(18 - hypot(ax - 98, y - 6), 20 - z), blur);
}

double
phantom_body_hu(const phantom_body *b, double x, double y, double z, double blur, int16_t *mask)
{
    double value = -1000;
    const double table = fmin(7 - fabs(y - 150 + 0.0011 * x * x), 215 - fabs(x));
    const double scanner[3] = {x, y, z};
    double bent[3];

    paint(&value, 20, fmin(table, 1.5 - fabs(table - 1.5)), blur);
    /* Into the average body's coordinates, then the smooth deformation. */
    x /= b->width;
    y /= b->depth;
    z /= b->height;
    *mask = 0;
    const double rim = below_skin(x, y, z);
    if (rim < -blur)
        return value;
    const double bend = deform(b, x, y, z, bent), xs = bent[0], ys = bent[1], zs = bent[2];
    const double fat = b->fat_mm * (z < 320 ? 1 : 0.55) / b->depth;
    const double deep = rim - fat;

    paint(&value, -105 + 6 * bend, rim, blur);
    paint(&value, 52 + 2 * bend, deep, blur);
    if (z < 345) /* the abdominal cavity is filled with fat around the organs */
        paint(&value, -98 + 5 * bend, fmin(deep - 13, fmin(42 - ys + 10, zs - 40)), blur);
    if (z > 280)
        paint_chest(b, &value, xs, ys, zs, deep + 6, blur);
    if (z < 420 && z > 30)
        paint_abdomen(b, &value, xs, ys, zs, blur);
    if (b->has_colon_and_pancreas)
        paint_colon_and_pancreas(b, &value, xs, ys, zs, blur);
    if (z < 200)
        paint_pelvis(b, &value, xs, ys, zs, blur);
    if (z > 150 && z < 545)
        paint(&value, 45 + 190 * b->enhancement, 12 - hypot(xs - 14, ys - 30), blur);
    paint_spine(&value, xs, ys, zs, blur, 52 - (z > 560 ? (z - 560) * 0.35 : 0));
    if (b->lesion_organ != PHANTOM_NO_LESION) {
        const double d = inside(&b->lesion, xs, ys, zs) + 0.04 * b->lesion.rx * bend;
        paint(&value, b->lesion_hu, d, blur);
        *mask = d > 0;
    }
    if (in_organ(b, xs, ys, zs))
        *mask = 1;
    for (int i = 0; i < b->n_tumours; i++) {
        const phantom_ball *t = &b->tumour[i];
        const double d = inside(t, scanner[0], scanner[1], scanner[2]);
        paint(&value, b->tumour_hu, d, blur);
        *mask = d > 0 ? 2 : *mask;
    }
    return value;
}
