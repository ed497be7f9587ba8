/* SPDX-License-Identifier: Apache-2.0 */
/* bench_search.c: whole searches in a simulated archive (simulate.py --raw).
 *
 *     bench_search RAW VOLUMES SLICES DIM QUERIES [--truth TRUTH.json] [--threads 2] [--archive DIR]
 *
 * Imports the first VOLUMES volumes of RAW into an archive (DIR, kept if it is there; else RAW.cmir, removed
 * in the end), then searches with every .npy file of the folder QUERIES.  Writes the ids of the 50 best
 * of each query by exhaustive search to TRUTH.json, as peers_search.py reads them.  Two JSON lines,
 * "cmir exhaustive" and "cmir" (what `cmir search` does), with the peers' keys:
 *
 *   median_ms, p95_ms      of calls within one process, page cache warm (exhaustive searches go first)
 *   first_ms               of a search through a handle opened anew, opening included
 *   recall_in_candidates   share of the ten best by exhaustive search, by how many are ranked (--rerank)
 *   screened, scored_exactly   share of the products of codes that were computed; volumes scored exactly
 *   build_s, build_mb_per_s    importing, all commits and syncs included; of float32
 *   segments_mb, resident_mb, anonymous_mb   the file; mapped pages touched; other memory
 *   one_by_one_per_s, batch_per_s   64 queries and more, each a call, and together
 *   add_ms, delete_ms      one volume, durable */
#include <dirent.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmir/cmir.h>

#include "base/cpu.h"
#include "engine/engine_internal.h"
#include "rank/rank.h"
#include "store/codes.h"

#define MAX_QUERIES 256u
#define TOP 10u
#define N_TRUTH 50u
#define ROUNDS 3
#define AT_A_TIME 512u

struct query {
    char id[64];
    cmir_embeddings e;
    cmir_result *truth; /* exhaustive */
};

struct bench {
    cmir_archive *archive;
    const char *raw, *dir, *truth;
    uint32_t n_volumes, n_slices, dim, n_threads;
    struct query query[MAX_QUERIES];
    size_t n;
    double build_s;
};

static void
die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_search: %s: %s\n", what, why);
    exit(1);
}

static void
must(cmir_status st, const cmir_error *err)
{
    if (st != CMIR_OK)
        die(cmir_status_name(st), err->msg);
}

static void *
need(void *p)
{
    if (p == NULL)
        die("memory", "there is none");
    return p;
}

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static float
half_to_float(uint16_t h)
{
    const uint32_t e = h >> 10 & 31u, m = h & 1023u;
    const float size = e == 0 ? ldexpf((float)m, -24) : ldexpf((float)(m | 1024u), (int)e - 25);

    return h & 0x8000u ? -size : size;
}

/* Unit rows of float32 from `n` volumes of halves. */
static void
convert(const uint16_t *from, size_t n_rows, uint32_t dim, const float *table, float *to)
{
    for (size_t r = 0; r < n_rows; r++, from += dim, to += dim) {
        double sum = 0;

        for (uint32_t d = 0; d < dim; d++) {
            to[d] = table[from[d]];
            sum += (double)to[d] * (double)to[d];
        }
        const float factor = (float)(1.0 / sqrt(sum));
        for (uint32_t d = 0; d < dim; d++)
            to[d] *= factor;
    }
}

/* Imports from RAW; gives the seconds that importing took, reading and converting left out. */
static double
import(struct bench *b)
{
    const size_t n_rows = b->n_slices, n_values = n_rows * b->dim;
    float *table = need(malloc(65536 * sizeof *table));
    uint16_t *halves = need(malloc(AT_A_TIME * n_values * sizeof *halves));
    float *rows = need(malloc(AT_A_TIME * n_values * sizeof *rows));
    cmir_import_item *items = need(calloc(AT_A_TIME, sizeof *items));
    char (*ids)[16] = need(calloc(AT_A_TIME, sizeof *ids));
    FILE *f = fopen(b->raw, "rb");
    double seconds = 0;
    cmir_error err = {0};

    if (f == NULL)
        die(b->raw, "cannot be read");
    for (uint32_t h = 0; h < 65536; h++)
        table[h] = half_to_float((uint16_t)h);
    for (uint32_t at = 0; at < b->n_volumes; at += AT_A_TIME) {
        const uint32_t n = b->n_volumes - at < AT_A_TIME ? b->n_volumes - at : AT_A_TIME;

        if (fread(halves, sizeof *halves * n_values, n, f) != n)
            die(b->raw, "cut short");
        convert(halves, n * n_rows, b->dim, table, rows);
        for (uint32_t i = 0; i < n; i++) {
            (void)snprintf(ids[i], sizeof ids[i], "v%07u", (at + i) % 10000000u);
            items[i] = (cmir_import_item){.volume_id = ids[i],
                                          .path = "",
                                          .rows = rows + i * n_values,
                                          .n_slices = b->n_slices};
        }
        const double start = now();
        must(cmir_archive_import(b->archive, b->dim, items, n, b->n_threads, &err), &err);
        seconds += now() - start;
        (void)fprintf(stderr, "\rimported %u of %u volumes", at + n, b->n_volumes);
    }
    (void)fprintf(stderr, "\n");
    (void)fclose(f);
    free(table);
    free(halves);
    free(rows);
    free(items);
    free(ids);
    return seconds;
}

static void
open_or_import(struct bench *b)
{
    struct stat info;
    cmir_error err = {0};
    cmir_encoder *encoder;

    if (stat(b->dir, &info) != 0) {
        must(cmir_encoder_external("simulated", "1", b->dim, &encoder, &err), &err);
        must(cmir_archive_create(b->dir, encoder, CMIR_AXIAL, &err), &err);
        cmir_encoder_close(encoder);
        must(cmir_archive_open(b->dir, CMIR_WRITE, &b->archive, &err), &err);
        b->build_s = import(b);
        cmir_archive_close(b->archive);
    }
    must(cmir_archive_open(b->dir, CMIR_READ, &b->archive, &err), &err);
}

static void
read_query(struct query *q, const char *folder, const char *name)
{
    char path[4096], header[256];
    unsigned char start[10];

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    (void)snprintf(q->id, sizeof q->id, "%.*s", (int)(strlen(name) - 4), name);
    FILE *f = fopen(path, "rb");
    if (f == NULL || fread(start, 1, 10, f) != 10)
        die(path, "cannot be read");
    const size_t n = start[8] | (size_t)start[9] << 8;
    if (n >= sizeof header || fread(header, 1, n, f) != n)
        die(path, "its header is too long");
    header[n] = '\0';
    const char *shape = strstr(header, "'shape': (");
    if (shape == NULL || sscanf(shape, "'shape': (%u, %u)", &q->e.n_slices, &q->e.dim) != 2)
        die(path, "it has no shape of two dimensions");
    q->e.rows = need(malloc((size_t)q->e.n_slices * q->e.dim * sizeof(float)));
    q->e.marks = need(calloc(q->e.n_slices, 1));
    if (fread(q->e.rows, sizeof(float) * q->e.dim, q->e.n_slices, f) != q->e.n_slices)
        die(path, "cut short");
    (void)fclose(f);
}

static void
read_queries(struct bench *b, const char *folder)
{
    struct dirent **entries;
    const int n = scandir(folder, &entries, NULL, alphasort);

    for (int i = 0; i < n; i++) {
        if (strlen(entries[i]->d_name) < 60 && strstr(entries[i]->d_name, ".npy") != NULL &&
            b->n < MAX_QUERIES)
            read_query(&b->query[b->n++], folder, entries[i]->d_name);
        free(entries[i]);
    }
    if (b->n == 0)
        die(folder, "no .npy files");
    free(entries);
}

static cmir_result *
search(const struct bench *b, const cmir_archive *archive, const struct query *q, uint32_t limit,
       bool exhaustive, uint32_t n_rerank)
{
    const cmir_search_options options = {.struct_nbytes = sizeof options,
                                         .limit = limit,
                                         .n_threads = b->n_threads,
                                         .exhaustive = exhaustive,
                                         .n_rerank = n_rerank};
    cmir_result *result;
    cmir_error err = {0};

    must(cmir_search_embeddings(archive, &q->e, q->id, &options, &result, &err), &err);
    return result;
}

static double
recall(const cmir_result *truth, const cmir_result *found)
{
    size_t n = 0;

    for (size_t i = 0; i < TOP; i++)
        for (size_t j = 0; j < found->n_hits; j++)
            n += strcmp(truth->hits[i].record->info.volume_id,
                        found->hits[j].record->info.volume_id) == 0;
    return (double)n / TOP;
}

/* The best of every query, for recall and for the peers. */
static void
find_truth(struct bench *b)
{
    FILE *f = b->truth == NULL ? NULL : fopen(b->truth, "w");

    for (size_t i = 0; i < b->n; i++) {
        const cmir_result *r = b->query[i].truth =
            search(b, b->archive, &b->query[i], N_TRUTH, true, 0);
        if (r->n_hits < TOP)
            die(b->dir, "it holds fewer volumes than are compared");
        if (f == NULL)
            continue;
        (void)fprintf(f, "%s\"%s\": [", i == 0 ? "{" : ",\n", b->query[i].id);
        for (size_t k = 0; k < r->n_hits; k++)
            (void)fprintf(f, "%s%lu", k == 0 ? "" : ", ",
                          strtoul(r->hits[k].record->info.volume_id + 1, NULL, 10));
        (void)fprintf(f, "]");
    }
    if (f != NULL && (fprintf(f, "}\n") < 0 || fclose(f) != 0))
        die(b->truth, "cannot be written");
}

struct timing {
    double median_ms, p95_ms, recall;
    uint64_t n_reranked;
};

static struct timing
time_searches(const struct bench *b, bool exhaustive, uint32_t n_rerank, int rounds)
{
    static double ms[MAX_QUERIES * ROUNDS];
    struct timing t = {0};
    size_t n = 0;

    for (int round = 0; round < rounds; round++)
        for (size_t i = 0; i < b->n; i++) {
            const double start = now();
            cmir_result *r = search(b, b->archive, &b->query[i], TOP, exhaustive, n_rerank);
            ms[n++] = 1e3 * (now() - start);
            t.recall += recall(b->query[i].truth, r) / (double)(b->n * (size_t)rounds);
            t.n_reranked = r->n_reranked;
            cmir_result_free(r);
        }
    qsort(ms, n, sizeof ms[0], compare);
    t.median_ms = ms[n / 2];
    t.p95_ms = ms[(n * 95 + 99) / 100 - 1];
    return t;
}

static void
print_timing(const struct bench *b, const char *peer, struct timing t)
{
    printf("{\"peer\": \"%s\", \"volumes\": %u, \"slices\": %u, \"dim\": %u, \"threads\": %u, "
           "\"queries\": %zu, \"median_ms\": %.3f, \"p95_ms\": %.3f, \"recall_at_10\": %.4f, "
           "\"reranked\": %llu",
           peer, b->n_volumes, b->n_slices, b->dim, b->n_threads, b->n, t.median_ms, t.p95_ms,
           t.recall, (unsigned long long)t.n_reranked);
}

/* What screening left out, over the queries: internal counts. */
static void
count_work(const struct bench *b)
{
    double screened = 0, exact = 0;
    cmir_error err = {0};

    for (size_t i = 0; i < b->n; i++) {
        const cmir_embeddings *e = &b->query[i].e;
        const uint32_t width =
            (e->dim + CMIR_DIM_MULTIPLE - 1) / CMIR_DIM_MULTIPLE * CMIR_DIM_MULTIPLE;
        int16_t *rows = need(aligned_alloc(64, ((size_t)e->n_slices * width * 2 + 63) / 64 * 64));
        uint32_t *slice = need(calloc(e->n_slices, sizeof *slice));
        const cmir_query query = {rows, slice, e->n_slices, width};
        const cmir_rank_options options = {.limit = TOP,
                                           .n_threads = b->n_threads,
                                           .exhaustive = true,
                                           .cpu_flags = cmir_cpu_flags()};
        cmir_ranked ranked[TOP];
        cmir_rank_work work;
        cmir_snapshot *snapshot;
        size_t n;

        for (uint32_t k = 0; k < e->n_slices; k++)
            cmir_row_fix(e->rows + (size_t)k * e->dim, e->dim,
                         cmir_row_norm(e->rows + (size_t)k * e->dim, e->dim), width,
                         rows + (size_t)k * width);
        must(cmir_snapshot_open(b->archive->store, NULL, &snapshot, &err), &err);
        must(cmir_rank(&query, snapshot, &options, ranked, &n, &work, &err), &err);
        cmir_snapshot_close(snapshot);
        screened += work.screened / (double)b->n;
        exact += (double)work.n_exact / (double)b->n;
        free(rows);
        free(slice);
    }
    printf(", \"screened\": %.4f, \"scored_exactly\": %.1f", screened, exact);
}

static void
time_first(const struct bench *b)
{
    cmir_archive *archive;
    cmir_error err = {0};
    const double start = now();

    must(cmir_archive_open(b->dir, CMIR_READ, &archive, &err), &err);
    cmir_result_free(search(b, archive, &b->query[0], TOP, false, 0));
    const double first = now() - start, again = now();
    cmir_result_free(search(b, archive, &b->query[0], TOP, false, 0));
    printf(", \"first_ms\": %.3f, \"next_ms\": %.3f", 1e3 * first, 1e3 * (now() - again));
    cmir_archive_close(archive);
}

/* Queries per second: one call each, and all in one batch. */
static void
time_batch(const struct bench *b)
{
    const cmir_search_options options = {
        .struct_nbytes = sizeof options, .limit = TOP, .n_threads = b->n_threads};
    const size_t copies = (64 + b->n - 1) / b->n, n = copies * b->n;
    cmir_search_query *queries = need(calloc(n, sizeof *queries));
    cmir_result **results = need(calloc(n, sizeof *results));
    cmir_error *errors = need(calloc(n, sizeof *errors)), err = {0};

    for (size_t i = 0; i < n; i++)
        queries[i] = (cmir_search_query){.volume_id = b->query[i % b->n].id,
                                         .embeddings = &b->query[i % b->n].e};
    const double start = now();
    for (size_t i = 0; i < n; i++)
        cmir_result_free(search(b, b->archive, &b->query[i % b->n], TOP, false, 0));
    const double middle = now();
    must(cmir_search_batch(b->archive, queries, n, &options, NULL, NULL, results, errors, &err),
         &err);
    const double end = now();
    for (size_t i = 0; i < n; i++)
        cmir_result_free(results[i]);
    printf(", \"one_by_one_per_s\": %.2f, \"batch_per_s\": %.2f", (double)n / (middle - start),
           (double)n / (end - middle));
    free(queries);
    free(results);
    free(errors);
}

static long
status_kib(const char *key)
{
    char line[256];
    long value = 0;
    FILE *f = fopen("/proc/self/status", "r");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtol(line + strlen(key), NULL, 10);
    if (f != NULL)
        (void)fclose(f);
    return value;
}

/* Adds query 0 as a volume and removes it again, ROUNDS * 3 times: medians, with their syncs. */
static void
time_changes(struct bench *b)
{
    double add[ROUNDS * 3], take[ROUNDS * 3];
    cmir_error err = {0};

    cmir_archive_close(b->archive);
    must(cmir_archive_open(b->dir, CMIR_WRITE, &b->archive, &err), &err);
    for (int i = 0; i < ROUNDS * 3; i++) {
        cmir_import_item item = {.volume_id = "added",
                                 .path = "",
                                 .rows = b->query[0].e.rows,
                                 .n_slices = b->query[0].e.n_slices};
        const double start = now();
        must(cmir_archive_import(b->archive, b->dim, &item, 1, b->n_threads, &err), &err);
        const double middle = now();
        must(cmir_archive_remove(b->archive, "added", &err), &err);
        add[i] = middle - start;
        take[i] = now() - middle;
    }
    qsort(add, ROUNDS * 3, sizeof add[0], compare);
    qsort(take, ROUNDS * 3, sizeof take[0], compare);
    printf(", \"add_ms\": %.3f, \"delete_ms\": %.3f", 1e3 * add[ROUNDS * 3 / 2],
           1e3 * take[ROUNDS * 3 / 2]);
}

static void
run(struct bench *b)
{
    static const uint32_t candidates[] = {10, 20, 50, 100, 200, 500, 1000, 2000};

    open_or_import(b);
    const double mb = 1e-6 * (double)cmir_archive_get_info(b->archive)->segments_nbytes;
    find_truth(b);
    const long resident = status_kib("RssFile:") + status_kib("RssShmem:");
    print_timing(b, "cmir exhaustive", time_searches(b, true, 0, ROUNDS));
    count_work(b);
    printf(", \"segments_mb\": %.1f, \"resident_mb\": %.1f, \"anonymous_mb\": %.1f}\n", mb,
           1.024e-3 * (double)resident, 1.024e-3 * (double)status_kib("RssAnon:"));
    print_timing(b, "cmir", time_searches(b, false, 0, ROUNDS));
    printf(", \"recall_in_candidates\": {");
    for (size_t k = 0; k < sizeof candidates / sizeof candidates[0]; k++)
        if (candidates[k] <= b->n_volumes)
            printf("%s\"%u\": %.4f", k == 0 ? "" : ", ", candidates[k],
                   time_searches(b, false, candidates[k], 1).recall);
    printf("}");
    time_batch(b);
    time_first(b);
    if (b->build_s > 0)
        printf(", \"build_s\": %.3f, \"build_mb_per_s\": %.1f", b->build_s,
               4e-6 * b->n_volumes * b->n_slices * b->dim / b->build_s);
    time_changes(b);
    printf("}\n");
}

static void
remove_archive(const char *dir)
{
    char command[4200];

    (void)snprintf(command, sizeof command, "rm -rf -- '%s'", dir);
    if (strchr(dir, '\'') != NULL || system(command) != 0)
        (void)fprintf(stderr, "bench_search: %s stays\n", dir);
}

int
main(int argc, char **argv)
{
    static struct bench b = {.n_threads = 2};
    static char dir[4096];

    if (argc < 6 || argc % 2 != 0)
        die("usage", "bench_search RAW VOLUMES SLICES DIM QUERIES [--truth FILE] [--threads N] "
                     "[--archive DIR]");
    b.raw = argv[1];
    b.n_volumes = (uint32_t)strtoul(argv[2], NULL, 10);
    b.n_slices = (uint32_t)strtoul(argv[3], NULL, 10);
    b.dim = (uint32_t)strtoul(argv[4], NULL, 10);
    for (int i = 6; i < argc; i += 2)
        if (strcmp(argv[i], "--truth") == 0)
            b.truth = argv[i + 1];
        else if (strcmp(argv[i], "--threads") == 0)
            b.n_threads = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--archive") == 0)
            b.dir = argv[i + 1];
        else
            die(argv[i], "no such option");
    const bool kept = b.dir != NULL;
    (void)snprintf(dir, sizeof dir, "%s.cmir", b.raw);
    if (!kept) {
        b.dir = dir;
        remove_archive(dir);
    }
    read_queries(&b, argv[5]);
    run(&b);
    for (size_t i = 0; i < b.n; i++) {
        cmir_result_free(b.query[i].truth);
        cmir_embeddings_free(&b.query[i].e);
    }
    cmir_archive_close(b.archive);
    if (!kept)
        remove_archive(dir);
    return 0;
}
