/* SPDX-License-Identifier: Apache-2.0 */
/* bench_serve.c: how fast `cmir serve` answers searches under load.
 *
 *   bench_serve PORT CLIENTS SECONDS PID < IDS
 *
 * CLIENTS connections, each kept open, search with ids of the list in turn, one after the other, for
 * SECONDS; every ten seconds, and at the end, a line of JSON tells latencies of that time, answers that
 * were not 200, and what memory of its own the service (process PID) holds.  The client takes its share of
 * the service's CPUs: figures are of both. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_IDS 100000
#define MAX_TIMES ((size_t)1 << 22)
#define STEP_S 10

static char *ids[MAX_IDS];
static size_t n_ids;
static uint16_t port;
static double end_s;
static atomic_size_t next_id, n_times, n_errors;
static float *times; /* milliseconds, in order of their end */

static double
now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int
dial(void)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        perror("bench_serve: connect");
        exit(1);
    }
    return fd;
}

static bool
send_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        const ssize_t sent = write(fd, data, n);
        if (sent <= 0)
            return false;
        data += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Reads one answer whole; its status, or 0 where the connection broke. */
static int
read_answer(int fd, char *room, size_t size)
{
    size_t n = 0, length = 0;
    const char *body = NULL;
    int status = 0;

    while (body == NULL || n < (size_t)(body - room) + length) {
        if (body == NULL && n + 1 >= size)
            return 0;
        const bool keep = n + 1 < size;
        const ssize_t got = keep ? read(fd, room + n, size - 1 - n) : 0;
        if (got <= 0)
            return 0;
        n += (size_t)got;
        room[n] = '\0';
        if (body == NULL && (body = strstr(room, "\r\n\r\n")) != NULL) {
            const char *header = strstr(room, "Content-Length:");
            body += 4;
            length = header == NULL ? 0 : strtoul(header + 15, NULL, 10);
            status = atoi(room + 9);
        }
    }
    return status;
}

static void *
client(void *unused)
{
    enum { ROOM = 4 << 20 };
    char *room = malloc(ROOM), text[512], body[256];
    int fd = dial();

    while (room != NULL && now() < end_s) {
        const char *id = ids[atomic_fetch_add(&next_id, 1) % n_ids];
        const int n =
            snprintf(body, sizeof body, "{\"Query\":{\"VolumeId\":\"%.100s\"},\"Limit\":10}", id);
        const int all = snprintf(text, sizeof text,
                                 "POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                                 "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                                 n, body);
        const double start = now();
        const int status = send_all(fd, text, (size_t)all) ? read_answer(fd, room, ROOM) : 0;
        const size_t at = atomic_fetch_add(&n_times, 1);

        if (at >= MAX_TIMES)
            break;
        times[at] = (float)((now() - start) * 1e3);
        if (status != 200)
            atomic_fetch_add(&n_errors, 1);
        if (status == 0) {
            (void)close(fd);
            fd = dial();
        }
    }
    (void)close(fd);
    free(room);
    return unused;
}

static int
by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Memory that is the service's own: the archive's files, which are mapped, do not count. */
static double
own_mb(long pid)
{
    char path[64], line[128];
    unsigned long kb = 0;

    (void)snprintf(path, sizeof path, "/proc/%ld/status", pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        (void)sscanf(line, "RssAnon: %lu", &kb);
    if (file != NULL)
        (void)fclose(file);
    return (double)kb / 1e3;
}

/* Of answers `from` to `to`, which took `seconds` in all. */
static void
report(const char *what, size_t from, size_t to, double seconds, long pid)
{
    const size_t n = to - from;
    float *sorted = malloc((n + 1) * sizeof *sorted);

    if (n == 0 || sorted == NULL) {
        free(sorted);
        return;
    }
    memcpy(sorted, times + from, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    printf("{\"time\": \"%s\", \"answers\": %zu, \"per_second\": %.1f, \"p50_ms\": %.1f, "
           "\"p95_ms\": %.1f, "
           "\"p99_ms\": %.1f, \"max_ms\": %.1f, \"errors\": %zu, \"anonymous_mb\": %.0f}\n",
           what, n, (double)n / seconds, (double)sorted[n / 2], (double)sorted[n * 95 / 100],
           (double)sorted[n * 99 / 100], (double)sorted[n - 1], atomic_load(&n_errors),
           own_mb(pid));
    (void)fflush(stdout);
    free(sorted);
}

int
main(int argc, char **argv)
{
    char line[256], what[32];

    if (argc != 5) {
        (void)fputs("bench_serve PORT CLIENTS SECONDS PID < IDS\n", stderr);
        return 2;
    }
    port = (uint16_t)atoi(argv[1]);
    const size_t n_clients = (size_t)atoi(argv[2]);
    const double seconds = atof(argv[3]);
    const long pid = atol(argv[4]);
    pthread_t *threads = calloc(n_clients + 1, sizeof *threads);
    times = malloc(MAX_TIMES * sizeof *times);
    while (n_ids < MAX_IDS && fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        ids[n_ids++] = strdup(line);
    }
    if (threads == NULL || times == NULL || n_ids == 0)
        return 1;
    const double start = now();
    end_s = start + seconds;
    for (size_t i = 0; i < n_clients; i++)
        if (pthread_create(&threads[i], NULL, client, NULL) != 0)
            return 1;
    size_t before = 0;
    for (double t = start; t + STEP_S < end_s; t += STEP_S) {
        (void)sleep(STEP_S);
        const size_t so_far = atomic_load(&n_times);
        (void)snprintf(what, sizeof what, "%.0f-%.0f s", t - start, t - start + STEP_S);
        report(what, before, so_far < MAX_TIMES ? so_far : MAX_TIMES, STEP_S, pid);
        before = so_far;
    }
    for (size_t i = 0; i < n_clients; i++)
        (void)pthread_join(threads[i], NULL);
    const size_t all = atomic_load(&n_times);
    report("all", 0, all < MAX_TIMES ? all : MAX_TIMES, now() - start, pid);
    return atomic_load(&n_errors) > 0;
}
