/* SPDX-License-Identifier: Apache-2.0 */
/* peers_maxsim.c: NumKong's MaxSim at every level of this CPU, and OpenBLAS sgemm + row max.
 *
 *     peers_maxsim QUERY.npy CANDIDATE.npy [OPENBLAS.so]
 *
 * Single thread.  Query and candidate are packed beforehand; only the score is timed.  OPENBLAS.so is
 * the library in numpy's wheel (symbols with the prefix scipy_ and 64-bit integers).
 *
 * NumKong returns one sum and no arg-max.  What it chose for a query slice is told by its own figures:
 * the slice scored alone against the whole candidate, and alone against the true winner alone, agree if
 * and only if it chose the winner (or its equal).
 *
 * Built with the headers of NumKong for the CPU of the machine (-march=native), as their static
 * dispatch wants it; the levels are called by name, so no level can stand in for another. */
#include <dlfcn.h>

#include <numkong/capabilities.h>
#include <numkong/maxsim.h>

#include "pair.h"

struct level {
    const char *peer, *isa;
    nk_capability_t capability;
    int bf16;
    nk_size_t (*nbytes)(nk_size_t n, nk_size_t dim);
    void (*pack)(const void *x, nk_size_t n, nk_size_t dim, nk_size_t stride, void *packed);
    double (*distance)(const void *query, const void *candidate, nk_size_t m, nk_size_t n,
                       nk_size_t dim); /* sum of angular distances, 1 - similarity */
};

#define DEFINE(type, result_type, name)                                                            \
    static void pack_##type##_##name(const void *x, nk_size_t n, nk_size_t dim, nk_size_t stride,  \
                                     void *packed)                                                 \
    {                                                                                              \
        nk_maxsim_pack_##type##_##name(x, n, dim, stride, packed);                                 \
    }                                                                                              \
    static double distance_##type##_##name(const void *query, const void *candidate, nk_size_t m,  \
                                           nk_size_t n, nk_size_t dim)                             \
    {                                                                                              \
        result_type sum;                                                                           \
        nk_maxsim_packed_##type##_##name(query, candidate, m, n, dim, &sum);                       \
        return (double)sum;                                                                        \
    }

#define LEVEL(type, isa, name)                                                                     \
    {"NumKong " #type,                                                                             \
     isa,                                                                                          \
     nk_cap_##name##_k,                                                                            \
     sizeof(nk_##type##_t) == 2,                                                                   \
     nk_maxsim_packed_size_##type##_##name,                                                        \
     pack_##type##_##name,                                                                         \
     distance_##type##_##name}

#if NK_TARGET_SAPPHIREAMX
DEFINE(f32, nk_f64_t, sapphireamx)
DEFINE(bf16, nk_f32_t, sapphireamx)
#endif
#if NK_TARGET_ICELAKE
DEFINE(f32, nk_f64_t, icelake)
#endif
#if NK_TARGET_GENOA
DEFINE(bf16, nk_f32_t, genoa)
#endif
#if NK_TARGET_ALDER
DEFINE(f32, nk_f64_t, alder)
DEFINE(bf16, nk_f32_t, alder)
#endif
#if NK_TARGET_HASWELL
DEFINE(f32, nk_f64_t, haswell)
DEFINE(bf16, nk_f32_t, haswell)
#endif
#if NK_TARGET_NEONSDOT
DEFINE(f32, nk_f64_t, neonsdot)
DEFINE(bf16, nk_f32_t, neonsdot)
#endif
DEFINE(f32, nk_f64_t, serial)
DEFINE(bf16, nk_f32_t, serial)

/* Under the names that our own levels have. */
static const struct level levels[] = {
#if NK_TARGET_SAPPHIREAMX
    LEVEL(f32, "amx", sapphireamx),    LEVEL(bf16, "amx", sapphireamx),
#endif
#if NK_TARGET_ICELAKE
    LEVEL(f32, "avx512vnni", icelake),
#endif
#if NK_TARGET_GENOA
    LEVEL(bf16, "avx512vnni", genoa),
#endif
#if NK_TARGET_ALDER
    LEVEL(f32, "avxvnni", alder),      LEVEL(bf16, "avxvnni", alder),
#endif
#if NK_TARGET_HASWELL
    LEVEL(f32, "avx2", haswell),       LEVEL(bf16, "avx2", haswell),
#endif
#if NK_TARGET_NEONSDOT
    LEVEL(f32, "dotprod", neonsdot),   LEVEL(bf16, "dotprod", neonsdot),
#endif
    LEVEL(f32, "c", serial),           LEVEL(bf16, "c", serial),
};

struct numkong {
    const struct level *level;
    const struct pair *pair;
    void *query, *candidate;
    double distance;
};

/* Rows [first, first + n) of `a`, packed; the caller frees. */
static void *
numkong_pack(const struct level *level, const struct matrix *a, uint32_t first, uint32_t n)
{
    const float *x = a->x + (size_t)first * a->dim;
    void *packed = must_alloc(level->nbytes(n, a->dim));

    if (!level->bf16) {
        level->pack(x, n, a->dim, a->dim * sizeof(float), packed);
        return packed;
    }
    nk_bf16_t *half = must_alloc((size_t)n * a->dim * sizeof *half);
    for (size_t k = 0; k < (size_t)n * a->dim; k++)
        nk_f32_to_bf16_serial(&x[k], &half[k]);
    level->pack(half, n, a->dim, a->dim * sizeof *half, packed);
    free(half);
    return packed;
}

static void
numkong_call(void *context)
{
    struct numkong *c = context;

    c->distance = c->level->distance(c->query, c->candidate, c->pair->query.n, c->pair->candidate.n,
                                     c->pair->query.dim);
}

static void
numkong_bench(const struct level *level, const struct pair *p)
{
    struct numkong c = {level, p, numkong_pack(level, &p->query, 0, p->query.n),
                        numkong_pack(level, &p->candidate, 0, p->candidate.n), 0.0};
    struct accuracy accuracy = {0};
    double sum = 0.0;

    for (uint32_t i = 0; i < p->query.n; i++) {
        void *slice = numkong_pack(level, &p->query, i, 1);
        void *winner = numkong_pack(level, &p->candidate, p->row[i], 1);
        const double found = level->distance(slice, c.candidate, 1, p->candidate.n, p->query.dim);
        accuracy.wrong += found != level->distance(slice, winner, 1, 1, p->query.dim);
        accuracy_add(&accuracy, p, i, 1.0 - found);
        sum += found;
        free(slice);
        free(winner);
    }
    const struct timing timing = time_calls(numkong_call, &c);
    if (fabs(sum - c.distance) > 1e-4 * p->query.n)
        die(level->peer, "slices scored one by one do not add up to the score");
    print_case(level->peer, level->isa, p, timing, accuracy);
    free(c.query);
    free(c.candidate);
}

struct openblas {
    void (*sgemm)(int order, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                  int64_t ldc);
    const struct pair *pair;
    float *similarities; /* [n][m]: candidate slices down, so that maxima run in lanes */
    float *best;
    uint32_t *row;
};

static void
openblas_call(void *context)
{
    enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
    struct openblas *c = context;
    const struct matrix *q = &c->pair->query, *v = &c->pair->candidate;
    float *restrict best = c->best;
    uint32_t *restrict row = c->row;

    c->sgemm(ROW_MAJOR, NO_TRANS, TRANS, v->n, q->n, q->dim, 1.0f, v->x, v->dim, q->x, q->dim, 0.0f,
             c->similarities, q->n);
    for (uint32_t i = 0; i < q->n; i++) {
        best[i] = -INFINITY;
        row[i] = 0;
    }
    for (uint32_t j = 0; j < v->n; j++) {
        const float *restrict s = c->similarities + (size_t)j * q->n;
        for (uint32_t i = 0; i < q->n; i++) {
            row[i] = s[i] > best[i] ? j : row[i];
            best[i] = s[i] > best[i] ? s[i] : best[i];
        }
    }
}

static void *
symbol(void *library, const char *name)
{
    void *p = dlsym(library, name);

    if (p == NULL)
        die(name, "not in the OpenBLAS library");
    return p;
}

static void
openblas_bench(const char *path, const struct pair *p)
{
    void *library = dlopen(path, RTLD_NOW);
    struct accuracy accuracy = {0};
    char peer[300];

    if (library == NULL)
        die(path, dlerror());
    void *sgemm = symbol(library, "scipy_cblas_sgemm64_");
    void *set_threads = symbol(library, "scipy_openblas_set_num_threads64_");
    void *core_name = symbol(library, "scipy_openblas_get_corename64_");
    void (*set_num_threads)(int);
    const char *(*get_core_name)(void);
    struct openblas c = {.pair = p};

    memcpy(&c.sgemm, &sgemm, sizeof sgemm);
    memcpy(&set_num_threads, &set_threads, sizeof set_threads);
    memcpy(&get_core_name, &core_name, sizeof core_name);
    set_num_threads(1);
    c.similarities = must_alloc((size_t)p->query.n * p->candidate.n * sizeof *c.similarities);
    c.best = must_alloc(p->query.n * sizeof *c.best);
    c.row = must_alloc(p->query.n * sizeof *c.row);

    const struct timing timing = time_calls(openblas_call, &c);
    for (uint32_t i = 0; i < p->query.n; i++) {
        accuracy.wrong += similarity(p, i, c.row[i]) < p->best[i];
        accuracy_add(&accuracy, p, i, (double)c.best[i]);
    }
    (void)snprintf(peer, sizeof peer, "OpenBLAS sgemm + max (%s)", get_core_name());
    print_case(peer, "float32", p, timing, accuracy);
    free(c.similarities);
    free(c.best);
    free(c.row);
}

int
main(int argc, char **argv)
{
    if (argc < 3 || argc > 4)
        die("usage", "peers_maxsim QUERY.npy CANDIDATE.npy [OPENBLAS.so]");
    const struct pair p = pair_read(argv[1], argv[2]);
    const nk_capability_t has = nk_capabilities();

    (void)fprintf(stderr, "NumKong's capability mask here: %#llx\n", (unsigned long long)has);
    (void)nk_configure_thread(has);
    for (size_t k = 0; k < sizeof levels / sizeof levels[0]; k++)
        if (has & levels[k].capability)
            numkong_bench(&levels[k], &p);
        else
            (void)fprintf(stderr, "%s %s: this CPU has it not\n", levels[k].peer, levels[k].isa);
    if (argc == 4)
        openblas_bench(argv[3], &p);
    return 0;
}
