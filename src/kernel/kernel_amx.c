/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_amx.c: AMX int8.  16 candidate rows as they lie in the record are the A tile, 64 dims of a
 * packed group the B tile: a row of C is one candidate row against 16 lanes.
 *
 * A block is one tile of the candidate against up to 4 groups: 5 tile loads for 4 products.  The
 * groups of a pass stay in L1 while the whole candidate streams by from L2, each A tile loaded once
 * a pass, past L1 (the T1 hint: it would push the groups out) and half a step before its use.
 *
 * The C tiles of a block are stored within the first step of the *next* block, each right before its
 * accumulator starts anew, and what AVX-512 does with them (score, maximum, row) is spread over the
 * next block's steps: the products wait for neither.
 *
 * Prefetch instructions cost more than they bring at every distance.  2 x 2 blocks read twice as
 * much from L2 and are a tenth slower. */
#include "kernel/kernel.h"

#if defined(__x86_64__)

#include <string.h>

#include "kernel/kernel_avx512.h"

#define AMX_TARGET CMIR_AVX512 ",amx-tile,amx-int8"
#define AMX_FN __attribute__((target(AMX_TARGET)))
#define AMX_INLINE static inline __attribute__((target(AMX_TARGET), always_inline))

#define STEP_DIMS 64u /* dims of a step: a row of a tile */
#define STEP_NBYTES 1024u /* of a packed group for a step: a B tile */
#define TILE_INTS 256u /* products in a C tile */
#define PART 2u /* rows that are scored at a time */
#define PARTS (CMIR_TILE / PART) /* of a tile */
#define MAX_GROUPS 4u /* of a block */
#define PANEL_NBYTES (40u << 10) /* what may stay in an L1 of 48 KiB */

typedef struct job {
    const cmir_packed *query;
    const cmir_codes *candidate;
    float *best;
    uint32_t *row;
    const cmir_kept *kept;
    int32_t *dots; /* the products of one block, [MAX_GROUPS][16][16] */
} job;

/* A block whose products are being scored, PART rows at a time. */
typedef struct scoring {
    uint32_t group; /* its first */
    uint32_t parts; /* still to do */
    uint32_t j; /* the next row, */
    const int32_t *dots; /* its products, */
    int32_t *keep; /* where they are kept, or NULL, */
    const float *scale, *base; /* and what makes scores of them */
    __m512 lane_scale[MAX_GROUPS];
    cmir_most most[MAX_GROUPS];
    __m512i row;
} scoring;

/* Palette 1, 8 tiles of 16 rows of 64 bytes.  C: 0 to 3.  A: 4 and 7.  B: 5 and 6. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_nbytes[16];
    uint8_t rows[16];
} tile_config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

static size_t
group_nbytes_amx(uint32_t padded_dim)
{
    return (size_t)padded_dim * CMIR_LANES;
}

static void
pack_amx(const int8_t *codes, uint32_t n, uint32_t padded_dim, uint8_t *group)
{
    memset(group, 0, group_nbytes_amx(padded_dim));
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t d = 0; d < padded_dim; d += 4)
            memcpy(group + (size_t)d * CMIR_LANES + i * 4, codes + (size_t)i * padded_dim + d, 4);
}

/* Unrolled by hand: what is indexed by g then lives in registers. */
#define EACH_GROUP(groups, DO)                                                                     \
    do {                                                                                           \
        DO(0);                                                                                     \
        if ((groups) > 1)                                                                          \
            DO(1);                                                                                 \
        if ((groups) > 2)                                                                          \
            DO(2);                                                                                 \
        if ((groups) > 3)                                                                          \
            DO(3);                                                                                 \
    } while (0)

AMX_INLINE void
start_scoring(const job *jb, scoring *s, uint32_t tile, uint32_t group, uint32_t groups)
{
    const float *lane_scale = jb->query->scale + (size_t)group * CMIR_LANES;

    s->group = group;
    s->parts = PARTS;
    s->j = tile * CMIR_TILE;
    s->dots = jb->dots;
    s->keep = jb->kept == NULL
                  ? NULL
                  : jb->kept->dots + ((size_t)tile * jb->query->n_groups + group) * TILE_INTS;
    s->scale = jb->candidate->scale + s->j;
    s->base = jb->candidate->base + s->j;
    s->row = _mm512_set1_epi32((int)s->j);
#define START(g)                                                                                   \
    s->lane_scale[g] = _mm512_load_ps(lane_scale + (g) * CMIR_LANES), s->most[g] = cmir_most_none()
    EACH_GROUP(groups, START);
#undef START
}

AMX_INLINE void
score_group(scoring *s, uint32_t r, uint32_t g, __m512 scale, __m512 base, bool with_row)
{
    const size_t at = g * TILE_INTS + r * CMIR_LANES;
    const __m512i dots = _mm512_load_si512(s->dots + at);

    if (s->keep != NULL)
        _mm512_store_si512(s->keep + at, dots);
    cmir_most_take(&s->most[g], cmir_score(dots, scale, s->lane_scale[g], base), s->row, with_row);
}

AMX_INLINE void
score_row(scoring *s, uint32_t r, uint32_t groups, bool with_row)
{
    const __m512 scale = _mm512_set1_ps(s->scale[r]), base = _mm512_set1_ps(s->base[r]);

#define SCORE(g) score_group(s, r, g, scale, base, with_row)
    EACH_GROUP(groups, SCORE);
#undef SCORE
    if (with_row)
        s->row = _mm512_add_epi32(s->row, _mm512_set1_epi32(1));
}

/* All rows are through: the tile's maxima are what it adds to the candidate's. */
AMX_INLINE void
end_scoring(const job *jb, const scoring *s, uint32_t groups, bool with_row)
{
    const size_t tile = s->j / CMIR_TILE - 1, first = (size_t)s->group * CMIR_LANES;
    float *best = jb->best + first;
    uint32_t *row = with_row ? jb->row + first : NULL;

#define MERGE(g)                                                                                   \
    cmir_most_merge(&s->most[g], tile == 0, best + (g) * CMIR_LANES,                               \
                    with_row ? row + (g) * CMIR_LANES : NULL, with_row)
    EACH_GROUP(groups, MERGE);
#undef MERGE
    if (jb->kept != NULL) {
        float *to = jb->kept->tile_best + tile * jb->query->n_groups * CMIR_LANES + first;

#define KEEP(g) _mm512_store_ps(to + (g) * CMIR_LANES, s->most[g].f)
        EACH_GROUP(groups, KEEP);
#undef KEEP
    }
}

/* The next PART rows, without those behind the n-th. */
AMX_INLINE void
score_part(const job *jb, scoring *s, uint32_t groups, bool with_row)
{
    if (s->j < jb->candidate->n)
        score_row(s, 0, groups, with_row);
    if (s->j + 1 < jb->candidate->n)
        score_row(s, 1, groups, with_row);
    s->parts--;
    s->j += PART;
    s->dots += PART * CMIR_LANES;
    if (s->keep != NULL)
        s->keep += PART * CMIR_LANES;
    s->scale += PART;
    s->base += PART;
    if (s->parts == 0)
        end_scoring(jb, s, groups, with_row);
}

/* One C tile's share of a step; in the first step of a block it still holds the block before. */
#define MULTIPLY(c, a, b)                                                                          \
    do {                                                                                           \
        _tile_loadd(b, lanes + (c) * nbytes, 64);                                                  \
        if (dots != NULL) {                                                                        \
            _tile_stored(c, dots + (c) * TILE_INTS, 64);                                           \
            _tile_zero(c);                                                                         \
        }                                                                                          \
        _tile_dpbssd(c, a, b);                                                                     \
    } while (0)

/* A step, A in tile `now`; the next one's A, if any, is loaded into tile `next`. */
#define DEFINE_STEP(name, now, next)                                                               \
    AMX_INLINE void name(const int8_t *next_a, const uint8_t *lanes, size_t dim, int32_t *dots,    \
                         uint32_t groups)                                                          \
    {                                                                                              \
        const size_t nbytes = dim * CMIR_LANES;                                                    \
                                                                                                   \
        MULTIPLY(0, now, 5);                                                                       \
        if (groups > 1)                                                                            \
            MULTIPLY(1, now, 6);                                                                   \
        if (next_a != NULL)                                                                        \
            _tile_stream_loadd(next, next_a, dim);                                                 \
        if (groups > 2)                                                                            \
            MULTIPLY(2, now, 5);                                                                   \
        if (groups > 3)                                                                            \
            MULTIPLY(3, now, 6);                                                                   \
    }
DEFINE_STEP(step_even, 4, 7)
DEFINE_STEP(step_odd, 7, 4)
#undef DEFINE_STEP
#undef MULTIPLY

/* The products of one block, and meanwhile the scores of the one before it. */
AMX_INLINE void
block(const job *jb, scoring *s, uint32_t tile, uint32_t group, uint32_t groups, bool with_row)
{
    const size_t dim = jb->candidate->padded_dim;
    const int8_t *a = jb->candidate->codes + tile * dim * CMIR_TILE;
    const int8_t *const last = a + dim - STEP_DIMS;
    const uint8_t *lanes = jb->query->groups + group * dim * CMIR_LANES;

    _tile_stream_loadd(4, a, dim);
    step_even(a == last ? NULL : a + STEP_DIMS, lanes, dim, jb->dots, groups);
    while (a != last) {
        if (s->parts != 0)
            score_part(jb, s, groups, with_row);
        a += STEP_DIMS;
        lanes += STEP_NBYTES;
        step_odd(a == last ? NULL : a + STEP_DIMS, lanes, dim, NULL, groups);
        if (s->parts != 0)
            score_part(jb, s, groups, with_row);
        if (a == last)
            break;
        a += STEP_DIMS;
        lanes += STEP_NBYTES;
        step_even(a == last ? NULL : a + STEP_DIMS, lanes, dim, NULL, groups);
    }
    while (s->parts != 0)
        score_part(jb, s, groups, with_row);
    start_scoring(jb, s, tile, group, groups);
}

/* Passes over the candidate, `groups` groups in each, from group `from` up to `to`.  What the first
 * block stores is of no use, and there is nothing to score yet. */
AMX_INLINE void
sweep(const job *jb, uint32_t from, uint32_t to, uint32_t groups, bool with_row)
{
    const uint32_t tiles = (jb->candidate->n - 1) / CMIR_TILE + 1;
    scoring s;

    start_scoring(jb, &s, 0, from, groups);
    s.parts = 0;
    for (uint32_t group = from; group < to; group += groups)
        for (uint32_t tile = 0; tile < tiles; tile++)
            block(jb, &s, tile, group, groups, with_row);
#define STORE(g) _tile_stored(g, jb->dots + (g) * TILE_INTS, 64)
    EACH_GROUP(groups, STORE);
#undef STORE
    while (s.parts != 0)
        score_part(jb, &s, groups, with_row);
}

#define DEFINE_SWEEP(name, groups, with_row)                                                       \
    AMX_FN static void name(const job *jb, uint32_t from, uint32_t to)                             \
    {                                                                                              \
        sweep(jb, from, to, groups, with_row);                                                     \
    }
DEFINE_SWEEP(sweep1, 1, false)
DEFINE_SWEEP(sweep2, 2, false)
DEFINE_SWEEP(sweep3, 3, false)
DEFINE_SWEEP(sweep4, 4, false)
DEFINE_SWEEP(sweep1_row, 1, true)
DEFINE_SWEEP(sweep2_row, 2, true)
DEFINE_SWEEP(sweep3_row, 3, true)
DEFINE_SWEEP(sweep4_row, 4, true)
#undef DEFINE_SWEEP

/* Groups of a pass, at most: those that stay in L1; where not even two do, the most there can be,
 * as the candidate is the rest of what comes from L2. */
static uint32_t
pass_groups(uint32_t padded_dim)
{
    const size_t fit = PANEL_NBYTES / group_nbytes_amx(padded_dim);

    return fit < 2 || fit > MAX_GROUPS ? MAX_GROUPS : (uint32_t)fit;
}

AMX_FN static void
maxsim_amx(const cmir_packed *query, const cmir_codes *candidate, float *best, uint32_t *row,
           const cmir_kept *kept)
{
    static void (*const sweeps[2][MAX_GROUPS])(const job *, uint32_t, uint32_t) = {
        {sweep1, sweep2, sweep3, sweep4}, {sweep1_row, sweep2_row, sweep3_row, sweep4_row}};
    _Alignas(64) int32_t dots[MAX_GROUPS * TILE_INTS];
    const job jb = {query, candidate, best, row, kept, dots};

    /* As few passes as can be, of `wide` groups or one less: 13 are 4 + 3 + 3 + 3. */
    const uint32_t groups = query->n_groups;
    const uint32_t passes = (groups - 1) / pass_groups(candidate->padded_dim) + 1;
    const uint32_t wide = (groups - 1) / passes + 1, split = wide * (groups - passes * (wide - 1));

    _tile_loadconfig(&tile_config);
    sweeps[row != NULL][wide - 1](&jb, 0, split);
    if (split < groups)
        sweeps[row != NULL][wide - 2](&jb, split, groups);
    _tile_release();
}

void
cmir_kernels_init_amx(cmir_kernels *k)
{
    k->name = "amx";
    k->group_nbytes = group_nbytes_amx;
    k->pack = pack_amx;
    k->maxsim = maxsim_amx;
}

#endif
