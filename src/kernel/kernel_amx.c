/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_amx.c: AMX int8.  16 candidate rows as they lie in the record are the A tile, 64 dims of a
 * packed group the B tile: a row of C is one candidate row against 16 lanes.
 *
 * Blocks of 2 tiles x 2 groups: 4 loads for 4 products, so the products wait for nothing as long as
 * L1 feeds them.  Two groups stay in L1 while the candidate passes by; its next rows are fetched
 * from L2 ahead of their use.  The four C tiles are stored behind the first loads of the *next*
 * block, each right before its accumulator starts anew, and what AVX-512 does with them (score,
 * maximum, row) is spread over the next block's products: neither costs time of its own. */
#include "kernel/kernel.h"

#if defined(__x86_64__)

#include <string.h>

#include "kernel/kernel_avx512.h"

#define AMX_TARGET CMIR_AVX512 ",amx-tile,amx-int8"
#define AMX_FN __attribute__((target(AMX_TARGET)))
#define AMX_INLINE static inline __attribute__((target(AMX_TARGET), always_inline))

#define TILE_DIMS 64u /* dims in a tile's row */
#define TILE_INTS 256u /* products in a C tile */
#define PART 4u /* rows that are scored at a time */
#define PARTS (CMIR_TILE / PART) /* of a tile */
#define GROUP_STEP 1024u /* bytes of a packed group for TILE_DIMS */

typedef struct job {
    const cmir_packed *query;
    const cmir_codes *candidate;
    float *best;
    uint32_t *row;
    float *tile_best; /* kept's, or NULL */
    int32_t *dots; /* kept's, or room for the products of one block */
    size_t tile_ints; /* from one tile's products to the next's */
    bool keep;
} job;

/* Where a block lies: its first tile and first group. */
typedef struct place {
    uint32_t tile, group;
} place;

/* A block whose products are being scored, PART rows at a time. */
typedef struct scoring {
    place at;
    uint32_t parts; /* still to do */
    uint32_t j;     /* the next row, */
    const int32_t *dots;       /* its products, */
    const float *scale, *base; /* and what makes scores of them */
    __m512 lane_scale0, lane_scale1;
    cmir_most most0, most1;
    __m512i row;
} scoring;

/* Palette 1, 8 tiles of 16 rows of 64 bytes. */
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

/* One row; s->row counts along. */
AMX_INLINE void
score_row(scoring *s, uint32_t r, uint32_t groups, bool with_row)
{
    const __m512 scale = _mm512_set1_ps(s->scale[r]), base = _mm512_set1_ps(s->base[r]);
    const int32_t *dots = s->dots + (size_t)r * CMIR_LANES;

    cmir_most_take(&s->most0, cmir_score(_mm512_load_si512(dots), scale, s->lane_scale0, base),
                   s->row, with_row);
    if (groups > 1)
        cmir_most_take(
            &s->most1,
            cmir_score(_mm512_load_si512(dots + TILE_INTS), scale, s->lane_scale1, base), s->row,
            with_row);
    if (with_row)
        s->row = _mm512_add_epi32(s->row, _mm512_set1_epi32(1));
}

AMX_INLINE void
start_scoring(const job *jb, scoring *s, place at, const int32_t *dots, uint32_t tiles,
              uint32_t groups)
{
    const float *lane_scale = jb->query->scale + (size_t)at.group * CMIR_LANES;

    s->at = at;
    s->parts = PARTS * tiles;
    s->j = at.tile * CMIR_TILE;
    s->dots = dots;
    s->scale = jb->candidate->scale + s->j;
    s->base = jb->candidate->base + s->j;
    s->lane_scale0 = _mm512_load_ps(lane_scale);
    if (groups > 1)
        s->lane_scale1 = _mm512_load_ps(lane_scale + CMIR_LANES);
}

/* The maxima of a tile whose rows are through. */
AMX_INLINE void
end_tile(const job *jb, scoring *s, uint32_t groups, bool with_row)
{
    const uint32_t tile = s->j / CMIR_TILE - 1;
    const size_t first = (size_t)s->at.group * CMIR_LANES;
    float *best = jb->best + first;
    uint32_t *row = with_row ? jb->row + first : NULL;

    cmir_most_merge(&s->most0, tile == 0, best, row, with_row);
    if (groups > 1)
        cmir_most_merge(&s->most1, tile == 0, best + CMIR_LANES,
                        with_row ? row + CMIR_LANES : NULL, with_row);
    if (jb->keep) {
        float *tile_best = jb->tile_best + (size_t)tile * jb->query->n_groups * CMIR_LANES + first;

        _mm512_store_ps(tile_best, s->most0.f);
        if (groups > 1)
            _mm512_store_ps(tile_best + CMIR_LANES, s->most1.f);
    }
    s->dots += jb->tile_ints - TILE_INTS;
}

/* Scores PART rows, without those behind the n-th. */
AMX_INLINE void
score_part(const job *jb, scoring *s, uint32_t groups, bool with_row)
{
    if (s->j % CMIR_TILE == 0) {
        s->most0 = s->most1 = cmir_most_none();
        if (with_row)
            s->row = _mm512_set1_epi32((int)s->j);
    }
    if (s->j + PART <= jb->candidate->n) {
        score_row(s, 0, groups, with_row);
        score_row(s, 1, groups, with_row);
        score_row(s, 2, groups, with_row);
        score_row(s, 3, groups, with_row);
    } else {
        for (uint32_t r = 0; s->j + r < jb->candidate->n; r++)
            score_row(s, r, groups, with_row);
    }
    s->parts--;
    s->j += PART;
    s->dots += PART * CMIR_LANES;
    s->scale += PART;
    s->base += PART;
    if (s->j % CMIR_TILE == 0)
        end_tile(jb, s, groups, with_row);
}

/* C tiles: 0 and 1 of the first candidate tile, 2 and 3 of the second.  A: 4, 5.  B: 6, 7. */
AMX_INLINE void
load_step(const int8_t *a, const uint8_t *b, size_t dim, uint32_t tiles, uint32_t groups)
{
    _tile_loadd(4, a, dim);
    _tile_loadd(6, b, 64);
    if (groups > 1)
        _tile_loadd(7, b + dim * CMIR_LANES, 64);
    if (tiles > 1)
        _tile_loadd(5, a + dim * CMIR_TILE, dim);
}

AMX_INLINE void
multiply_step(uint32_t tiles, uint32_t groups)
{
    _tile_dpbssd(0, 4, 6);
    if (groups > 1)
        _tile_dpbssd(1, 4, 7);
    if (tiles > 1)
        _tile_dpbssd(2, 5, 6);
    if (tiles > 1 && groups > 1)
        _tile_dpbssd(3, 5, 7);
}

AMX_INLINE void
store_block(int32_t *dots, size_t tile_ints, uint32_t tiles, uint32_t groups)
{
    _tile_stored(0, dots, 64);
    if (groups > 1)
        _tile_stored(1, dots + TILE_INTS, 64);
    if (tiles > 1)
        _tile_stored(2, dots + tile_ints, 64);
    if (tiles > 1 && groups > 1)
        _tile_stored(3, dots + tile_ints + TILE_INTS, 64);
}

/* store_block() and multiply_step() in one, from 0 on. */
AMX_INLINE void
turn_over(int32_t *dots, size_t tile_ints, uint32_t tiles, uint32_t groups)
{
    _tile_stored(0, dots, 64);
    _tile_zero(0);
    _tile_dpbssd(0, 4, 6);
    if (groups > 1) {
        _tile_stored(1, dots + TILE_INTS, 64);
        _tile_zero(1);
        _tile_dpbssd(1, 4, 7);
    }
    if (tiles > 1) {
        _tile_stored(2, dots + tile_ints, 64);
        _tile_zero(2);
        _tile_dpbssd(2, 5, 6);
    }
    if (tiles > 1 && groups > 1) {
        _tile_stored(3, dots + tile_ints + TILE_INTS, 64);
        _tile_zero(3);
        _tile_dpbssd(3, 5, 7);
    }
}

AMX_INLINE int32_t *
dots_of(const job *jb, place at)
{
    return jb->keep ? jb->dots + at.tile * jb->tile_ints + (size_t)at.group * TILE_INTS : jb->dots;
}

/* The products of one block, and meanwhile the scores of the one before it. */
AMX_INLINE void
block(const job *jb, place at, scoring *s, uint32_t tiles, uint32_t groups, bool with_row)
{
    const size_t dim = jb->candidate->padded_dim, nbytes = dim * CMIR_LANES;
    const int8_t *a = jb->candidate->codes + at.tile * nbytes;
    const uint8_t *b = jb->query->groups + at.group * nbytes;

    load_step(a, b, dim, tiles, groups);
    turn_over(dots_of(jb, s->at), jb->tile_ints, tiles, groups);
    for (size_t left = dim - TILE_DIMS; left != 0; left -= TILE_DIMS) {
        if (s->parts != 0)
            score_part(jb, s, groups, with_row);
        a += TILE_DIMS;
        b += GROUP_STEP;
        load_step(a, b, dim, tiles, groups);
        multiply_step(tiles, groups);
    }
    while (s->parts != 0)
        score_part(jb, s, groups, with_row);
    start_scoring(jb, s, at, dots_of(jb, at), tiles, groups);
}

/* All blocks of a shape, from `from` up to `to`.  Before the first, the accumulators hold nothing of
 * use: they are stored where the first block's products will be, and there is nothing to score. */
AMX_INLINE void
sweep(const job *jb, place from, place to, uint32_t tiles, uint32_t groups, bool with_row)
{
    scoring s;

    if (from.tile >= to.tile || from.group >= to.group)
        return;
    start_scoring(jb, &s, from, dots_of(jb, from), tiles, groups);
    s.most0 = s.most1 = cmir_most_none();
    s.row = _mm512_setzero_si512();
    s.parts = 0;
    for (place at = from; at.group < to.group; at.group += groups)
        for (at.tile = from.tile; at.tile < to.tile; at.tile += tiles)
            block(jb, at, &s, tiles, groups, with_row);
    store_block(dots_of(jb, s.at), jb->tile_ints, tiles, groups);
    while (s.parts != 0)
        score_part(jb, &s, groups, with_row);
}

#define DEFINE_SWEEP(name, tiles, groups, with_row)                                                \
    AMX_FN static void name(const job *jb, place from, place to)                                   \
    {                                                                                              \
        sweep(jb, from, to, tiles, groups, with_row);                                              \
    }
DEFINE_SWEEP(sweep11, 1, 1, false)
DEFINE_SWEEP(sweep12, 1, 2, false)
DEFINE_SWEEP(sweep21, 2, 1, false)
DEFINE_SWEEP(sweep22, 2, 2, false)
DEFINE_SWEEP(sweep11_row, 1, 1, true)
DEFINE_SWEEP(sweep12_row, 1, 2, true)
DEFINE_SWEEP(sweep21_row, 2, 1, true)
DEFINE_SWEEP(sweep22_row, 2, 2, true)
#undef DEFINE_SWEEP

AMX_FN static void
maxsim_amx(const cmir_packed *query, const cmir_codes *candidate, float *best, uint32_t *row,
           const cmir_kept *kept)
{
    _Alignas(64) int32_t scratch[4 * TILE_INTS];
    const uint32_t tiles = (candidate->n - 1) / CMIR_TILE + 1, groups = query->n_groups;
    const uint32_t even_tiles = tiles & ~1u, even_groups = groups & ~1u;
    const job jb = {query,
                    candidate,
                    best,
                    row,
                    kept != NULL ? kept->tile_best : NULL,
                    kept != NULL ? kept->dots : scratch,
                    kept != NULL ? (size_t)groups * TILE_INTS : 2 * TILE_INTS,
                    kept != NULL};

    _tile_loadconfig(&tile_config);
    (row != NULL ? sweep22_row : sweep22)(&jb, (place){0, 0}, (place){even_tiles, even_groups});
    (row != NULL ? sweep21_row : sweep21)(&jb, (place){0, even_groups},
                                          (place){even_tiles, groups});
    (row != NULL ? sweep12_row : sweep12)(&jb, (place){even_tiles, 0}, (place){tiles, even_groups});
    (row != NULL ? sweep11_row : sweep11)(&jb, (place){even_tiles, even_groups},
                                          (place){tiles, groups});
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
