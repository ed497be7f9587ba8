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

/* A block whose products are being scored. */
typedef struct scoring {
    place at;
    const int32_t *dots;
    uint32_t part; /* the next one */
    cmir_most most[2];
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

/* Scores PART rows of `groups` groups; the rows behind the n-th are left out. */
AMX_INLINE void
score_rows(const job *jb, scoring *s, const int32_t *dots, uint32_t j, uint32_t rows,
           uint32_t groups, bool with_row)
{
    const float *lane_scale = jb->query->scale + (size_t)s->at.group * CMIR_LANES;
    const __m512 ls0 = _mm512_load_ps(lane_scale);
    const __m512 ls1 = groups > 1 ? _mm512_load_ps(lane_scale + CMIR_LANES) : ls0;
    const __m512i one = _mm512_set1_epi32(1);

    for (uint32_t r = 0; r < rows; r++) {
        const __m512 scale = _mm512_set1_ps(jb->candidate->scale[j + r]);
        const __m512 base = _mm512_set1_ps(jb->candidate->base[j + r]);

        cmir_most_take(&s->most[0], cmir_score(_mm512_load_si512(dots), scale, ls0, base), s->row,
                       with_row);
        if (groups > 1)
            cmir_most_take(&s->most[1],
                           cmir_score(_mm512_load_si512(dots + TILE_INTS), scale, ls1, base),
                           s->row, with_row);
        if (with_row)
            s->row = _mm512_add_epi32(s->row, one);
        dots += CMIR_LANES;
    }
}

AMX_INLINE void
end_tile(const job *jb, const scoring *s, uint32_t tile, uint32_t groups, bool with_row)
{
    for (uint32_t g = 0; g < groups; g++) {
        const size_t first = (size_t)(s->at.group + g) * CMIR_LANES;

        cmir_most_merge(&s->most[g], tile == 0, jb->best + first, with_row ? jb->row + first : NULL,
                        with_row);
        if (jb->keep)
            _mm512_store_ps(jb->tile_best + (size_t)tile * jb->query->n_groups * CMIR_LANES + first,
                            s->most[g].f);
    }
}

AMX_INLINE void
score_part(const job *jb, scoring *s, uint32_t groups, bool with_row)
{
    const uint32_t in_tile = s->part % PARTS, tile = s->at.tile + s->part / PARTS;
    const uint32_t j = tile * CMIR_TILE + in_tile * PART, n = jb->candidate->n;
    const int32_t *dots =
        s->dots + s->part / PARTS * jb->tile_ints + (size_t)in_tile * PART * CMIR_LANES;

    if (in_tile == 0) {
        s->most[0] = s->most[1] = cmir_most_none();
        s->row = _mm512_set1_epi32((int)j);
    }
    if (j + PART <= n)
        score_rows(jb, s, dots, j, PART, groups, with_row);
    else if (j < n)
        score_rows(jb, s, dots, j, n - j, groups, with_row);
    if (in_tile == PARTS - 1)
        end_tile(jb, s, tile, groups, with_row);
    s->part++;
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

AMX_INLINE void
fetch_lines(const void *from, size_t stride, uint32_t n)
{
    const char *p = from;

    for (uint32_t i = 0; i < n; i += 8, p += 8 * stride) {
        _mm_prefetch(p, _MM_HINT_T0);
        _mm_prefetch(p + stride, _MM_HINT_T0);
        _mm_prefetch(p + 2 * stride, _MM_HINT_T0);
        _mm_prefetch(p + 3 * stride, _MM_HINT_T0);
        _mm_prefetch(p + 4 * stride, _MM_HINT_T0);
        _mm_prefetch(p + 5 * stride, _MM_HINT_T0);
        _mm_prefetch(p + 6 * stride, _MM_HINT_T0);
        _mm_prefetch(p + 7 * stride, _MM_HINT_T0);
    }
}

AMX_INLINE int32_t *
dots_of(const job *jb, place at)
{
    return jb->keep ? jb->dots + at.tile * jb->tile_ints + (size_t)at.group * TILE_INTS : jb->dots;
}

/* The products of one block, and meanwhile the scores of the one before it. */
AMX_INLINE void
block(const job *jb, place at, place next, scoring *s, uint32_t tiles, uint32_t groups,
      bool with_row)
{
    const size_t dim = jb->candidate->padded_dim, nbytes = dim * CMIR_LANES;
    const int8_t *a = jb->candidate->codes + at.tile * nbytes;
    const uint8_t *b = jb->query->groups + at.group * nbytes;
    const int8_t *next_a = jb->candidate->codes + next.tile * nbytes;
    const uint8_t *next_b = next.group != at.group ? jb->query->groups + next.group * nbytes : NULL;
    const uint32_t parts = PARTS * tiles;

    load_step(a, b, dim, tiles, groups);
    turn_over(dots_of(jb, s->at), jb->tile_ints, tiles, groups);
    for (uint32_t d = TILE_DIMS;; d += TILE_DIMS) {
        fetch_lines(next_a, dim, CMIR_TILE * tiles);
        next_a += TILE_DIMS;
        if (next_b != NULL) {
            fetch_lines(next_b, 64, 16);
            if (groups > 1)
                fetch_lines(next_b + nbytes, 64, 16);
            next_b += GROUP_STEP;
        }
        if (s->part < parts)
            score_part(jb, s, groups, with_row);
        if (d == dim)
            break;
        a += TILE_DIMS;
        b += GROUP_STEP;
        load_step(a, b, dim, tiles, groups);
        multiply_step(tiles, groups);
    }
    while (s->part < parts)
        score_part(jb, s, groups, with_row);
    s->at = at;
    s->dots = dots_of(jb, at);
    s->part = 0;
}

/* All blocks of a shape: tiles from `from.tile` to `to.tile`, groups alike.  Before the first, the
 * accumulators hold nothing of use: they are stored where the first block's products will be, and
 * what would be scored is marked as done. */
AMX_INLINE void
sweep(const job *jb, place from, place to, uint32_t tiles, uint32_t groups, bool with_row)
{
    scoring s = {.at = from, .part = PARTS * tiles};
    place at = from;

    if (from.tile >= to.tile || from.group >= to.group)
        return;
    while (at.group < to.group) {
        place next = {at.tile + tiles, at.group};

        if (next.tile == to.tile)
            next = (place){from.tile, at.group + groups < to.group ? at.group + groups : at.group};
        block(jb, at, next, &s, tiles, groups, with_row);
        at.tile += tiles;
        if (at.tile == to.tile)
            at = (place){from.tile, at.group + groups};
    }
    store_block(dots_of(jb, s.at), jb->tile_ints, tiles, groups);
    while (s.part < PARTS * tiles)
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
