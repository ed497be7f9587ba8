/* SPDX-License-Identifier: Apache-2.0 */
/* bench_encode.c: what encoding costs, and how much of reading it hides.
 *
 *     bench_encode [--onnxruntime PATH] [CARD.json...]
 *
 * Writes a CT-like volume of 300 slices of 512 x 512 pixels (seeded) as .nii and .nii.gz, then
 * times, for the built-in encoder and each card: encoding alone (the volume is loaded), loading
 * alone, and both as `cmir add` does them, from the path to the embeddings.  Medians of 5 runs (3
 * where one takes longer than 20 s), wall clock; CPU seconds in brackets, which a busy machine does
 * not stretch. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmir/cmir.h>

#define SIDE 512u
#define N_SLICES 300u
#define MAX_RUNS 5

static void
must(cmir_status status, const cmir_error *err)
{
    if (status == CMIR_OK)
        return;
    (void)fprintf(stderr, "bench_encode: %s: %s\n", cmir_status_name(status), err->msg);
    exit(1);
}

struct cost {
    double wall, cpu; /* seconds */
};

static struct cost
now(void)
{
    struct timespec wall, cpu;

    clock_gettime(CLOCK_MONOTONIC, &wall);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (struct cost){(double)wall.tv_sec + 1e-9 * (double)wall.tv_nsec,
                         (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec};
}

static uint32_t
rnd(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* A body with lungs and a spine in air, noise of some 20 HU, all changing along the stack. */
static double
tissue(double x, double y, double z)
{
    const double body = x * x / 0.6 + y * y / (0.3 + 0.05 * z);

    if (body > 1.0)
        return -1000.0;
    if (x * x + (y - 0.35) * (y - 0.35) < 0.008)
        return 500.0;
    if ((fabs(x) - 0.35) * (fabs(x) - 0.35) / 0.05 + y * y / 0.1 < 1.0 - z)
        return -850.0;
    return body > 0.9 ? -100.0 : 40.0 + 20.0 * sin(9.0 * x + 7.0 * z) * cos(8.0 * y);
}

static int16_t *
make_voxels(void)
{
    int16_t *voxels = malloc((size_t)SIDE * SIDE * N_SLICES * sizeof *voxels), *v = voxels;
    uint64_t seed = 20250131;

    if (voxels == NULL)
        exit(1);
    for (uint32_t k = 0; k < N_SLICES; k++)
        for (uint32_t j = 0; j < SIDE; j++)
            for (uint32_t i = 0; i < SIDE; i++) {
                const double noise = (double)(rnd(&seed) % 36 + rnd(&seed) % 36) - 35.0;
                *v++ = (int16_t)(tissue(2.0 * i / SIDE - 1.0, 2.0 * j / SIDE - 1.0,
                                        (double)k / N_SLICES) +
                                 noise);
            }
    return voxels;
}

static cmir_volume *
open_volume(const char *path)
{
    const cmir_scan_options options = {.struct_nbytes = sizeof options, .modality = "CT"};
    cmir_scan *scan;
    cmir_volume *volume;
    cmir_error err = {0};

    must(cmir_scan_open(&path, 1, &options, &scan, &err), &err);
    must(cmir_volume_open(scan, 0, &volume, &err), &err);
    cmir_scan_close(scan);
    return volume;
}

/* What loading and encoding `path` costs; the parts that are not wanted are done, not counted. */
static struct cost
time_once(const cmir_encoder *encoder, const char *path, bool count_load, bool count_encode)
{
    cmir_embeddings embeddings;
    cmir_error err = {0};
    struct cost start = now();
    cmir_volume *volume = open_volume(path);

    if (!(count_load && count_encode)) {
        must(cmir_volume_load(volume, NULL, NULL, &err), &err);
        if (!count_load)
            start = now();
    }
    if (count_encode) {
        must(cmir_encode(encoder, volume, CMIR_AXIAL, NULL, NULL, &embeddings, &err), &err);
        cmir_embeddings_free(&embeddings);
    }
    const struct cost end = now();
    cmir_volume_close(volume);
    return (struct cost){end.wall - start.wall, end.cpu - start.cpu};
}

static int
compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static struct cost
median_cost(const cmir_encoder *encoder, const char *path, bool count_load, bool count_encode)
{
    double wall[MAX_RUNS], cpu[MAX_RUNS];
    size_t n = 0;

    do {
        const struct cost c = time_once(encoder, path, count_load, count_encode);
        wall[n] = c.wall;
        cpu[n++] = c.cpu;
    } while (n < (wall[0] > 20.0 ? 3 : MAX_RUNS));
    qsort(wall, n, sizeof wall[0], compare);
    qsort(cpu, n, sizeof cpu[0], compare);
    return (struct cost){wall[n / 2], cpu[n / 2]};
}

static void
bench(const char *card, const char *onnxruntime, const char *const paths[2])
{
    const cmir_encoder_options options = {sizeof options, onnxruntime, 0};
    cmir_encoder *encoder;
    cmir_error err = {0};

    must(cmir_encoder_open(card, &options, &encoder, &err), &err);
    const struct cost alone = median_cost(encoder, paths[0], false, true);
    printf("%s\n  encode          %7.3f s (%7.3f)  %.0f slices/s\n",
           cmir_encoder_get_info(encoder)->name, alone.wall, alone.cpu, N_SLICES / alone.wall);
    for (int i = 0; i < 2; i++) {
        const struct cost load = median_cost(encoder, paths[i], true, false);
        const struct cost both = median_cost(encoder, paths[i], true, true);
        printf("  load    %-7s %7.3f s (%7.3f)\n", strrchr(paths[i], '/') + 1, load.wall, load.cpu);
        printf("  both    %-7s %7.3f s (%7.3f)  %.2f x encode (%.2f), %.2f x load\n",
               strrchr(paths[i], '/') + 1, both.wall, both.cpu, both.wall / alone.wall,
               both.cpu / alone.cpu, both.wall / load.wall);
    }
    (void)fflush(stdout);
    cmir_encoder_close(encoder);
}

static void
print_machine(void)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "model name", 10) == 0) {
            printf("%s", strchr(line, ':') + 2);
            break;
        }
    if (f != NULL)
        (void)fclose(f);
    printf("%ld CPUs; %u slices of %u x %u\n", sysconf(_SC_NPROCESSORS_ONLN), N_SLICES, SIDE, SIDE);
}

int
main(int argc, char **argv)
{
    static const uint32_t dims[3] = {SIDE, SIDE, N_SLICES};
    static const double affine[3][4] = {{0.7, 0, 0, 0}, {0, 0.7, 0, 0}, {0, 0, 1, 0}};
    char folder[] = "bench_encode.XXXXXX", plain[64], zipped[64];
    const char *onnxruntime = NULL;
    cmir_error err = {0};
    int first = 1;

    if (argc > 2 && strcmp(argv[1], "--onnxruntime") == 0) {
        onnxruntime = argv[2];
        first = 3;
    }
    if (mkdtemp(folder) == NULL) {
        perror("bench_encode");
        return 1;
    }
    (void)snprintf(plain, sizeof plain, "%s/v.nii", folder);
    (void)snprintf(zipped, sizeof zipped, "%s/v.nii.gz", folder);
    int16_t *voxels = make_voxels();
    must(cmir_nifti_write(plain, voxels, dims, affine, &err), &err);
    must(cmir_nifti_write(zipped, voxels, dims, affine, &err), &err);
    free(voxels);
    print_machine();
    const char *const paths[2] = {plain, zipped};
    bench("builtin", NULL, paths);
    for (int i = first; i < argc; i++)
        bench(argv[i], onnxruntime, paths);
    (void)unlink(plain);
    (void)unlink(zipped);
    (void)rmdir(folder);
    return 0;
}
