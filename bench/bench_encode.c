/* SPDX-License-Identifier: Apache-2.0 */
/* bench_encode.c: what encoding costs, and how much of reading it hides.
 *
 *     bench_encode [--onnxruntime PATH] [CARD.json...]
 *
 * Writes a CT-like volume of 300 slices of 512 x 512 pixels (seeded) as .nii, as .nii.gz and as 300
 * uncompressed DICOM files, then times, for the built-in encoder and each card: encoding alone (the
 * volume is loaded), reading alone, and both as `cmir add` does them, from the path to the
 * embeddings.  Rounds of all of these follow each other, so that they share the machine's moods;
 * medians of 9 rounds (3 where encoding takes longer than 2 s), wall clock; CPU seconds in brackets.
 * The second ratio is that of CPU seconds: what the wall clock's would be if no core ever waited.
 * "Both" does not load the volume where its slices can be streamed, so it may cost less than its
 * parts. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmir/cmir.h>

#define SIDE 512u
#define N_SLICES 300u
#define N_PIXELS ((size_t)SIDE * SIDE)
#define MAX_ROUNDS 9
#define N_FORMATS 3

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
    int16_t *voxels = malloc(N_PIXELS * N_SLICES * sizeof *voxels), *v = voxels;
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

/* A DICOM file that is being put together. */
struct dicom {
    uint8_t head[8192];
    size_t nbytes;
};

static void
put(struct dicom *d, uint32_t tag, const char *vr, const void *value, size_t nbytes)
{
    const uint32_t padded = (uint32_t)(nbytes + nbytes % 2);
    const uint8_t bytes[8] = {(uint8_t)(tag >> 16), (uint8_t)(tag >> 24),  (uint8_t)tag,
                              (uint8_t)(tag >> 8),  (uint8_t)vr[0],        (uint8_t)vr[1],
                              (uint8_t)padded,      (uint8_t)(padded >> 8)};

    memcpy(d->head + d->nbytes, bytes, sizeof bytes);
    d->nbytes += sizeof bytes;
    if (strcmp(vr, "OW") == 0) { /* its length has 32 bits, and follows; so does its value */
        const uint8_t length[4] = {(uint8_t)padded, (uint8_t)(padded >> 8), (uint8_t)(padded >> 16),
                                   (uint8_t)(padded >> 24)};
        memset(d->head + d->nbytes - 2, 0, 2);
        memcpy(d->head + d->nbytes, length, sizeof length);
        d->nbytes += sizeof length;
        return;
    }
    d->head[d->nbytes + padded - (padded > 0)] = strcmp(vr, "UI") == 0 ? '\0' : ' ';
    memcpy(d->head + d->nbytes, value, nbytes);
    d->nbytes += padded;
}

static void
put_text(struct dicom *d, uint32_t tag, const char *vr, const char *text)
{
    put(d, tag, vr, text, strlen(text));
}

/* About as many elements as scanners write; what is between 0x00180060 and 0x00185100 is not read. */
static void
put_head(struct dicom *d, uint32_t k)
{
    static const uint8_t one[2] = {1, 0}, side[2] = {SIDE & 0xFF, SIDE >> 8},
                         allocated[2] = {16, 0}, stored[2] = {12, 0}, high[2] = {11, 0},
                         zero[2] = {0, 0};
    char uid[64], text[64];

    memset(d->head, 0, 128);
    memcpy(d->head + 128, "DICM", 4);
    d->nbytes = 132;
    (void)snprintf(uid, sizeof uid, "2.25.2025013100000000000000000000000.1.%u", k + 1);
    put_text(d, 0x00020002, "UI", "1.2.840.10008.5.1.4.1.1.2");
    put_text(d, 0x00020003, "UI", uid);
    put_text(d, 0x00020010, "UI", "1.2.840.10008.1.2.1");
    put_text(d, 0x00080005, "CS", "ISO_IR 100");
    put_text(d, 0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL");
    put_text(d, 0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2");
    put_text(d, 0x00080018, "UI", uid);
    for (uint32_t element = 0x20; element <= 0x23; element++)
        put_text(d, 0x00080000 + element, "DA", "20250131");
    for (uint32_t element = 0x30; element <= 0x33; element++)
        put_text(d, 0x00080000 + element, "TM", "120000");
    put_text(d, 0x00080060, "CS", "CT");
    put_text(d, 0x00080070, "LO", "cmir");
    put_text(d, 0x0008103E, "LO", "a benchmark");
    put_text(d, 0x00100010, "PN", "Bench^Mark");
    put_text(d, 0x00100020, "LO", "BENCH");
    put_text(d, 0x00100040, "CS", "O");
    put_text(d, 0x00180050, "DS", "1.0");
    for (uint32_t element = 0x1100; element < 0x1150; element++)
        put_text(d, 0x00180000 + element, "LO", "as many as a scanner");
    put_text(d, 0x00185100, "CS", "HFS");
    put_text(d, 0x0020000D, "UI", "2.25.2025013100000000000000000000000.2");
    put_text(d, 0x0020000E, "UI", "2.25.2025013100000000000000000000000.1");
    (void)snprintf(text, sizeof text, "%u", k + 1);
    put_text(d, 0x00200013, "IS", text);
    (void)snprintf(text, sizeof text, "-179.2\\-179.2\\%u.0", k);
    put_text(d, 0x00200032, "DS", text);
    put_text(d, 0x00200037, "DS", "1\\0\\0\\0\\1\\0");
    put(d, 0x00280002, "US", one, 2);
    put_text(d, 0x00280004, "CS", "MONOCHROME2");
    put(d, 0x00280010, "US", side, 2);
    put(d, 0x00280011, "US", side, 2);
    put_text(d, 0x00280030, "DS", "0.7\\0.7");
    put(d, 0x00280100, "US", allocated, 2);
    put(d, 0x00280101, "US", stored, 2);
    put(d, 0x00280102, "US", high, 2);
    put(d, 0x00280103, "US", zero, 2);
    put_text(d, 0x00281052, "DS", "-1024");
    put_text(d, 0x00281053, "DS", "1");
    put_text(d, 0x00281054, "LO", "HU");
    put(d, 0x7FE00010, "OW", NULL, N_PIXELS * sizeof(uint16_t));
}

/* Slice k as one file: little endian, of 12 bits. */
static void
write_dicom(const char *path, const int16_t *voxels, uint32_t k)
{
    static uint8_t pixels[2 * SIDE * SIDE];
    static struct dicom d;
    FILE *f = fopen(path, "wb");

    for (size_t i = 0; i < N_PIXELS; i++) {
        const int value = voxels[k * N_PIXELS + i] + 1024;
        const unsigned stored = value < 0 ? 0 : (unsigned)value;
        pixels[2 * i] = (uint8_t)stored;
        pixels[2 * i + 1] = (uint8_t)(stored >> 8);
    }
    put_head(&d, k);
    if (f == NULL || fwrite(d.head, 1, d.nbytes, f) != d.nbytes ||
        fwrite(pixels, 1, sizeof pixels, f) != sizeof pixels || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
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

/* What loading and encoding `path` costs; the parts that are not wanted are done, not counted.
 * Encoding alone is that of a loaded volume. */
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
        must(cmir_encode_streamed(encoder, volume, CMIR_AXIAL, NULL, NULL, &embeddings, &err),
             &err);
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
median(const struct cost *costs, size_t n)
{
    double wall[MAX_ROUNDS], cpu[MAX_ROUNDS];

    for (size_t i = 0; i < n; i++) {
        wall[i] = costs[i].wall;
        cpu[i] = costs[i].cpu;
    }
    qsort(wall, n, sizeof wall[0], compare);
    qsort(cpu, n, sizeof cpu[0], compare);
    return (struct cost){wall[n / 2], cpu[n / 2]};
}

static void
bench(const char *card, const char *onnxruntime, const char *const paths[N_FORMATS])
{
    const cmir_encoder_options options = {sizeof options, onnxruntime, 0};
    struct cost encode[MAX_ROUNDS], read[N_FORMATS][MAX_ROUNDS], both[N_FORMATS][MAX_ROUNDS];
    cmir_encoder *encoder;
    cmir_error err = {0};
    size_t n = 0;

    must(cmir_encoder_open(card, &options, &encoder, &err), &err);
    (void)time_once(encoder, paths[0], true, true); /* the first one finds cold caches */
    do {
        encode[n] = time_once(encoder, paths[0], false, true);
        for (int i = 0; i < N_FORMATS; i++) {
            read[i][n] = time_once(encoder, paths[i], true, false);
            both[i][n] = time_once(encoder, paths[i], true, true);
        }
    } while (++n < (encode[0].wall > 2.0 ? 3 : MAX_ROUNDS));
    const struct cost e = median(encode, n);
    printf("%s\n  encode        %7.3f s (%6.3f)  %.0f slices/s\n",
           cmir_encoder_get_info(encoder)->name, e.wall, e.cpu, N_SLICES / e.wall);
    for (int i = 0; i < N_FORMATS; i++) {
        const struct cost r = median(read[i], n), b = median(both[i], n);
        printf("  read %-8s %7.3f s (%6.3f); both %7.3f s (%6.3f), %.2f (%.2f) x encode\n",
               strrchr(paths[i], '/') + 1, r.wall, r.cpu, b.wall, b.cpu, b.wall / e.wall,
               b.cpu / e.cpu);
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

/* The three formats in `folder`, or their removal (voxels NULL). */
static void
write_or_remove(const char *folder, const int16_t *voxels, char paths[N_FORMATS][64])
{
    static const uint32_t dims[3] = {SIDE, SIDE, N_SLICES};
    static const double affine[3][4] = {{0.7, 0, 0, 0}, {0, 0.7, 0, 0}, {0, 0, 1, 0}};
    static const char *const names[N_FORMATS] = {"v.nii", "v.nii.gz", "DICOM"};
    cmir_error err = {0};
    char file[96];

    for (int i = 0; i < N_FORMATS; i++)
        (void)snprintf(paths[i], sizeof paths[i], "%s/%s", folder, names[i]);
    for (int i = 0; i < 2; i++)
        if (voxels == NULL)
            (void)unlink(paths[i]);
        else
            must(cmir_nifti_write(paths[i], voxels, dims, affine, &err), &err);
    if (voxels != NULL && mkdir(paths[2], 0700) != 0)
        exit(1);
    for (uint32_t k = 0; k < N_SLICES; k++) {
        (void)snprintf(file, sizeof file, "%s/%03u.dcm", paths[2], k);
        if (voxels == NULL)
            (void)unlink(file);
        else
            write_dicom(file, voxels, k);
    }
    if (voxels == NULL)
        (void)rmdir(paths[2]);
}

int
main(int argc, char **argv)
{
    char folder[] = "bench_encode.XXXXXX", names[N_FORMATS][64];
    const char *onnxruntime = NULL;
    int first = 1;

    if (argc > 2 && strcmp(argv[1], "--onnxruntime") == 0) {
        onnxruntime = argv[2];
        first = 3;
    }
    if (mkdtemp(folder) == NULL) {
        perror("bench_encode");
        return 1;
    }
    int16_t *voxels = make_voxels();
    write_or_remove(folder, voxels, names);
    free(voxels);
    print_machine();
    const char *const paths[N_FORMATS] = {names[0], names[1], names[2]};
    bench("builtin", NULL, paths);
    for (int i = first; i < argc; i++)
        bench(argv[i], onnxruntime, paths);
    write_or_remove(folder, NULL, names);
    (void)rmdir(folder);
    return 0;
}
