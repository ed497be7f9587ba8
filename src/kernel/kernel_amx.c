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
 * next block's steps.  Products that are kept are stored where they stay and scored from there.
 *
 * From L2 to L1 prefetch instructions cost more than they bring, at every distance; from memory to
 * L2 they halve the time of a candidate that is not in a cache, and cost 2 % where it is.  2 x 2
 * blocks read twice as much from L2 and take a tenth longer.  A last tile of fewer rows, configured
 * as such, would save less than the second configuration costs. */
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
#define MAX_GROUPS 4u /* of a block */
#define FETCH_TILES 2u /* from memory to L2: so many tiles ahead */
#define PANEL_NBYTES (40u << 10) /* what may stay in an L1 of 48 KiB */

/* A call, in a struct that no pointer leads to: tile stores make the compiler read the rest again. */
typedef struct job {
    const uint8_t *groups;
    const int8_t *codes;
    const float *lane_scale, *scale, *base;
    float *best;
    uint32_t *row;
    float *tile_best; /* where kept, */
    int32_t *keep; /* and the products */
    int32_t *dots; /* the products of one block, [MAX_GROUPS][16][16] */
    size_t dim, n_groups;
    uint32_t n;
} job;

/* The block that is being scored, PART rows at a time. */
typedef struct scoring {
    uint32_t tile, group; /* its first group */
    uint32_t r; /* its next row; CMIR_TILE: all done */
    __m512 lane_scale[MAX_GROUPS];
    cmir_most most[MAX_GROUPS];
    __m512i row;
} scoring;

/* What is compiled: groups in a block, whether the rows are asked for and the products kept. */
typedef struct mode {
    uint32_t groups;
    bool row, keep;
} mode;

/* Palette 1, 8 tiles of 16 rows of 64 bytes.  C: 0 to 3.  A: 4 and 7.  B: 5 and 6.  For candidates of
 * at most 8 rows, as representatives are, a C and an A tile have 8. */
static const struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_nbytes[16];
    uint8_t rows[16];
} whole = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}},
  half = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {8, 8, 8, 8, 8, 16, 16, 8}};

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
start_scoring(const job *jb, scoring *s, uint32_t tile, uint32_t group, mode m)
{
    const float *lane_scale = jb->lane_scale + (size_t)group * CMIR_LANES;

    s->tile = tile;
    s->group = group;
    s->r = 0;
    s->row = _mm512_set1_epi32((int)(tile * CMIR_TILE));
#define START(g)                                                                                   \
    s->lane_scale[g] = _mm512_load_ps(lane_scale + (g) * CMIR_LANES), s->most[g] = cmir_most_none()
    EACH_GROUP(m.groups, START);
#undef START
}

/* Where the products of the block that is scored are. */
AMX_INLINE int32_t *
dots_of(const job *jb, const scoring *s, mode m)
{
    return m.keep ? jb->keep + (s->tile * jb->n_groups + s->group) * TILE_INTS : jb->dots;
}

/* Row r of the block. */
AMX_INLINE void
score_row(const job *jb, scoring *s, uint32_t r, mode m)
{
    const size_t j = (size_t)s->tile * CMIR_TILE + r;
    const __m512 scale = _mm512_set1_ps(jb->scale[j]), base = _mm512_set1_ps(jb->base[j]);
    const int32_t *from = dots_of(jb, s, m) + (size_t)r * CMIR_LANES;

#define SCORE(g)                                                                                   \
    do {                                                                                           \
        const __m512i x = _mm512_load_si512(from + (g) * TILE_INTS);                               \
                                                                                                   \
        cmir_most_take(&s->most[g], cmir_score(x, scale, s->lane_scale[g], base), s->row, m.row);  \
    } while (0)
    EACH_GROUP(m.groups, SCORE);
#undef SCORE
    if (m.row)
        s->row = _mm512_add_epi32(s->row, _mm512_set1_epi32(1));
}

/* All rows are through: the tile's maxima are what it adds to the candidate's. */
AMX_INLINE void
end_scoring(const job *jb, const scoring *s, mode m)
{
    const size_t first = (size_t)s->group * CMIR_LANES;
    float *best = jb->best + first;
    uint32_t *row = m.row ? jb->row + first : NULL;

#define MERGE(g)                                                                                   \
    cmir_most_merge(&s->most[g], s->tile == 0, best + (g) * CMIR_LANES,                            \
                    m.row ? row + (g) * CMIR_LANES : NULL, m.row)
    EACH_GROUP(m.groups, MERGE);
#undef MERGE
    if (m.keep) {
        float *to = jb->tile_best + s->tile * jb->n_groups * CMIR_LANES + first;

#define KEEP(g) _mm512_store_ps(to + (g) * CMIR_LANES, s->most[g].f)
        EACH_GROUP(m.groups, KEEP);
#undef KEEP
    }
}

/* The next PART rows, if there are any, without those behind the n-th. */
AMX_INLINE void
score_part(const job *jb, scoring *s, mode m)
{
    const uint32_t j = s->tile * CMIR_TILE + s->r;

    if (s->r == CMIR_TILE)
        return;
    if (j + 1 < jb->n) {
        score_row(jb, s, s->r, m);
        score_row(jb, s, s->r + 1, m);
    } else if (j < jb->n) {
        score_row(jb, s, s->r, m);
    }
    s->r += PART;
    if (s->r == CMIR_TILE)
        end_scoring(jb, s, m);
}

#define LOAD_LANES(c, b) _tile_loadd(b, lanes + (c) * nbytes, 64)

/* One C tile's share of a step; in a block's first step it still holds the products of the block
 * before. */
#define MULTIPLY(c, a, b)                                                                          \
    do {                                                                                           \
        if (dots != NULL) {                                                                        \
            _tile_stored(c, dots + (c) * TILE_INTS, 64);                                           \
            _tile_zero(c);                                                                         \
        }                                                                                          \
        _tile_dpbssd(c, a, b);                                                                     \
    } while (0)

/* A step with A in tile `now`, the next one's A (if any) loaded into tile `next`.  All loads lie a
 * product or more ahead of their use. */
#define DEFINE_STEP(name, now, next)                                                               \
    AMX_INLINE void name(const int8_t *next_a, const uint8_t *lanes, size_t dim, int32_t *dots,    \
                         uint32_t groups)                                                          \
    {                                                                                              \
        const size_t nbytes = dim * CMIR_LANES;                                                    \
                                                                                                   \
        LOAD_LANES(0, 5);                                                                          \
        if (groups > 1)                                                                            \
            LOAD_LANES(1, 6);                                                                      \
        MULTIPLY(0, now, 5);                                                                       \
        if (groups > 2)                                                                            \
            LOAD_LANES(2, 5);                                                                      \
        if (groups > 1)                                                                            \
            MULTIPLY(1, now, 6);                                                                   \
        if (next_a != NULL)                                                                        \
            _tile_stream_loadd(next, next_a, dim);                                                 \
        if (groups > 3)                                                                            \
            LOAD_LANES(3, 6);                                                                      \
        if (groups > 2)                                                                            \
            MULTIPLY(2, now, 5);                                                                   \
        if (groups > 3)                                                                            \
            MULTIPLY(3, now, 6);                                                                   \
    }
DEFINE_STEP(step_even, 4, 7)
DEFINE_STEP(step_odd, 7, 4)
#undef DEFINE_STEP
#undef MULTIPLY
#undef LOAD_LANES

/* Fetches a step's share of a tile, if there is one, into L2. */
AMX_INLINE const int8_t *
fetch_ahead(const int8_t *codes)
{
    if (codes == NULL)
        return NULL;
    for (size_t i = 0; i < STEP_NBYTES; i += 64)
        _mm_prefetch((const char *)codes + i, _MM_HINT_T1);
    return codes + STEP_NBYTES;
}

/* The products of one block, and meanwhile the scores of the one before it. */
AMX_INLINE void
block(const job *jb, scoring *s, uint32_t tile, uint32_t group, mode m)
{
    const size_t dim = jb->dim;
    const int8_t *a = jb->codes + tile * dim * CMIR_TILE;
    const uint8_t *lanes = jb->groups + group * dim * CMIR_LANES;
    size_t left = dim - STEP_DIMS;

    /* The first pass is where the candidate may still be in memory. */
    const bool fetch = group == 0 && (tile + FETCH_TILES) * CMIR_TILE < jb->n;
    const int8_t *ahead = fetch ? a + FETCH_TILES * dim * CMIR_TILE : NULL;

    _tile_stream_loadd(4, a, dim);
    step_even(left == 0 ? NULL : a + STEP_DIMS, lanes, dim, dots_of(jb, s, m), m.groups);
    while (left != 0) {
        ahead = fetch_ahead(ahead);
        score_part(jb, s, m);
        a += STEP_DIMS;
        lanes += STEP_NBYTES;
        left -= STEP_DIMS;
        step_odd(left == 0 ? NULL : a + STEP_DIMS, lanes, dim, NULL, m.groups);
        ahead = fetch_ahead(ahead);
        score_part(jb, s, m);
        if (left == 0)
            break;
        a += STEP_DIMS;
        lanes += STEP_NBYTES;
        left -= STEP_DIMS;
        step_even(left == 0 ? NULL : a + STEP_DIMS, lanes, dim, NULL, m.groups);
    }
    while (s->r != CMIR_TILE)
        score_part(jb, s, m);
    start_scoring(jb, s, tile, group, m);
}

/* Passes over the candidate, from group `from` up to `to`.  What the first block stores is of no
 * use, and there is nothing to score yet. */
AMX_INLINE void
sweep(const job *call, uint32_t from, uint32_t to, mode m)
{
    const job jb = *call;
    scoring s;

    start_scoring(&jb, &s, 0, from, m);
    s.r = CMIR_TILE;
    for (uint32_t group = from; group < to; group += m.groups)
        for (uint32_t tile = 0; tile * CMIR_TILE < jb.n; tile++)
            block(&jb, &s, tile, group, m);
#define STORE(g) _tile_stored(g, dots_of(&jb, &s, m) + (g) * TILE_INTS, 64)
    EACH_GROUP(m.groups, STORE);
#undef STORE
    while (s.r != CMIR_TILE)
        score_part(&jb, &s, m);
}

typedef void sweep_fn(const job *jb, uint32_t from, uint32_t to);

#define DEFINE_SWEEP(groups, row, keep)                                                            \
    AMX_FN static void sweep##groups##row##keep(const job *jb, uint32_t from, uint32_t to)         \
    {                                                                                              \
        sweep(jb, from, to, (mode){groups, row, keep});                                            \
    }
#define DEFINE_SWEEPS(row, keep)                                                                   \
    DEFINE_SWEEP(1, row, keep)                                                                     \
    DEFINE_SWEEP(2, row, keep)                                                                     \
    DEFINE_SWEEP(3, row, keep)                                                                     \
    DEFINE_SWEEP(4, row, keep)                                                                     \
    static sweep_fn *const sweeps##row##keep[MAX_GROUPS] = {sweep1##row##keep, sweep2##row##keep,  \
                                                            sweep3##row##keep, sweep4##row##keep};
DEFINE_SWEEPS(0, 0)
DEFINE_SWEEPS(0, 1)
DEFINE_SWEEPS(1, 0)
DEFINE_SWEEPS(1, 1)
#undef DEFINE_SWEEPS
#undef DEFINE_SWEEP

/* Groups of a pass, at most: those that stay in L1; where not even two do, the most there can be,
 * as the candidate is the rest of what comes from L2. */
static uint32_t
pass_groups(uint32_t padded_dim)
{
    const size_t fit = PANEL_NBYTES / cmir_signed_group_nbytes(padded_dim);

    return fit < 2 || fit > MAX_GROUPS ? MAX_GROUPS : (uint32_t)fit;
}

AMX_FN static void
maxsim_amx(const cmir_packed *query, const cmir_codes *candidate, float *best, uint32_t *row,
           const cmir_kept *kept)
{
    sweep_fn *const *sweeps = row == NULL    ? kept == NULL ? sweeps00 : sweeps01
                              : kept == NULL ? sweeps10
                                             : sweeps11;
    _Alignas(64) int32_t dots[MAX_GROUPS * TILE_INTS];
    const job jb = {.groups = query->groups,
                    .codes = candidate->codes,
                    .lane_scale = query->scale,
                    .scale = candidate->scale,
                    .base = candidate->base,
                    .best = best,
                    .row = row,
                    .tile_best = kept == NULL ? NULL : kept->tile_best,
                    .keep = kept == NULL ? NULL : kept->dots,
                    .dots = dots,
                    .dim = candidate->padded_dim,
                    .n_groups = query->n_groups,
                    .n = candidate->n};

    /* As few passes as can be, of `wide` groups or one less: 13 are 4 + 3 + 3 + 3. */
    const uint32_t groups = query->n_groups;
    const uint32_t passes = (groups - 1) / pass_groups(candidate->padded_dim) + 1;
    const uint32_t wide = (groups - 1) / passes + 1, split = wide * (groups - passes * (wide - 1));

    _tile_loadconfig(candidate->n <= 8 ? &half : &whole);
    sweeps[wide - 1](&jb, 0, split);
    if (split < groups)
        sweeps[wide - 2](&jb, split, groups);
    _tile_release();
}

void
cmir_kernels_init_amx(cmir_kernels *k)
{
    k->name = "amx";
    k->group_nbytes = cmir_signed_group_nbytes;
    k->pack = cmir_signed_pack;
    k->maxsim = maxsim_amx;
}

#endif
