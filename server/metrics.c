/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c: counters and histograms, written as Prometheus reads them.
 *
 * The one idea: what is counted has the names of routes, statuses and states, never of users,
 * patients or volumes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "audit.h"
#include "files.h"
#include "http_internal.h"
#include "metrics.h"

#define MAX_ROUTES 96
#define MAX_STATUSES 24

static const double bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
#define N_BOUNDS (sizeof bounds / sizeof bounds[0])

typedef struct route_count {
    unsigned statuses[MAX_STATUSES]; /* 0: free */
    uint64_t n_by_status[MAX_STATUSES];
    uint64_t n_within[N_BOUNDS]; /* not added up */
    uint64_t n;
    double seconds;
} route_count;

struct metrics {
    pthread_mutex_t lock;
    double start_s;
    route_count routes[MAX_ROUTES]; /* by place in server_routes; the last: no route */
};

cmir_status
metrics_start(server *s, cmir_error *err)
{
    (void)err;
    s->metrics = cmir_json_need(calloc(1, sizeof *s->metrics));
    (void)pthread_mutex_init(&s->metrics->lock, NULL);
    s->metrics->start_s = server_now();
    return CMIR_OK;
}

void
metrics_stop(server *s)
{
    if (s->metrics == NULL)
        return;
    (void)pthread_mutex_destroy(&s->metrics->lock);
    free(s->metrics);
    s->metrics = NULL;
}

void
metrics_request(server *s, const route *of, unsigned status, double seconds)
{
    const size_t place = of == NULL ? MAX_ROUTES - 1 : (size_t)(of - server_routes);
    size_t i = 0;

    if (place >= MAX_ROUTES)
        return;
    (void)pthread_mutex_lock(&s->metrics->lock);
    route_count *c = &s->metrics->routes[place];
    while (i < MAX_STATUSES - 1 && c->statuses[i] != 0 && c->statuses[i] != status)
        i++;
    c->statuses[i] = status;
    c->n_by_status[i]++;
    c->n++;
    c->seconds += seconds;
    for (i = 0; i < N_BOUNDS; i++)
        if (seconds <= bounds[i]) {
            c->n_within[i]++;
            break;
        }
    (void)pthread_mutex_unlock(&s->metrics->lock);
}

/* ---- Text. */
static void
head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
one(FILE *out, const char *name, const char *type, const char *help, double value)
{
    head(out, name, type, help);
    fprintf(out, "%s %.17g\n", name, value);
}

static const char *
name_of(size_t place)
{
    return place == MAX_ROUTES - 1 ? "none" : server_routes[place].name;
}

static const char *
method_of(size_t place)
{
    return place == MAX_ROUTES - 1 ? "" : server_routes[place].method;
}

/* Counts of the table, copied, so that nobody waits for a slow reader. */
static void
print_requests(FILE *out, const route_count *routes)
{
    static const char total[] = "cmir_http_requests_total";
    static const char latency[] = "cmir_http_request_seconds";

    head(out, total, "counter", "Requests by route, method and status.");
    for (size_t i = 0; i < MAX_ROUTES; i++)
        for (size_t k = 0; k < MAX_STATUSES && routes[i].statuses[k] != 0; k++)
            fprintf(out, "%s{route=\"%s\",method=\"%s\",status=\"%u\"} %llu\n", total, name_of(i),
                    method_of(i), routes[i].statuses[k],
                    (unsigned long long)routes[i].n_by_status[k]);
    head(out, latency, "histogram", "Seconds from the request's first line to its end, by route.");
    for (size_t i = 0; i < MAX_ROUTES; i++) {
        const route_count *c = &routes[i];
        uint64_t sum = 0;
        if (c->n == 0)
            continue;
        for (size_t k = 0; k < N_BOUNDS; k++) {
            sum += c->n_within[k];
            fprintf(out, "%s_bucket{route=\"%s\",method=\"%s\",le=\"%g\"} %llu\n", latency,
                    name_of(i), method_of(i), bounds[k], (unsigned long long)sum);
        }
        fprintf(out, "%s_bucket{route=\"%s\",method=\"%s\",le=\"+Inf\"} %llu\n", latency,
                name_of(i), method_of(i), (unsigned long long)c->n);
        fprintf(out, "%s_sum{route=\"%s\",method=\"%s\"} %.9g\n", latency, name_of(i), method_of(i),
                c->seconds);
        fprintf(out, "%s_count{route=\"%s\",method=\"%s\"} %llu\n", latency, name_of(i),
                method_of(i), (unsigned long long)c->n);
    }
}

static double
resident_nbytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long total = 0, resident = 0;

    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu %lu", &total, &resident) != 2)
        resident = 0;
    (void)fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void
print_archive(FILE *out, server *s)
{
    cmir_archive *archive;
    cmir_error err = {0};

    if (handle_take(s, NULL, &archive, &err) != CMIR_OK)
        return;
    (void)cmir_archive_refresh(archive, NULL); /* else the figures are a little old */
    const cmir_archive_info *info = cmir_archive_get_info(archive);
    one(out, "cmir_archive_volumes", "gauge", "Volumes in the archive.", (double)info->n_volumes);
    one(out, "cmir_archive_slices", "gauge", "Slices in the archive.", (double)info->n_slices);
    one(out, "cmir_archive_embedding_bytes", "gauge", "Bytes in segment files.",
        (double)info->segments_nbytes);
    handle_give(s, NULL, archive);
}

static void
print_jobs(FILE *out, server *s)
{
    uint64_t by_state[JOB_N_STATES], deaths;

    jobs_count(s, by_state, &deaths);
    head(out, "cmir_jobs", "gauge", "Jobs that are kept, by state.");
    for (int i = 0; i < JOB_N_STATES; i++)
        fprintf(out, "cmir_jobs{state=\"%s\"} %llu\n", job_state_names[i],
                (unsigned long long)by_state[i]);
    one(out, "cmir_job_deaths_total", "counter",
        "Processes of jobs that a crash or a limit ended, since the start.", (double)deaths);
}

void
api_metrics(request *r)
{
    server *s = request_server(r);
    route_count *routes = malloc(sizeof s->metrics->routes);
    char *text = NULL;
    size_t n = 0;
    FILE *out = routes == NULL ? NULL : open_memstream(&text, &n);

    if (out == NULL) {
        free(routes);
        reply_error(r, 503, "no memory");
        return;
    }
    (void)pthread_mutex_lock(&s->metrics->lock);
    memcpy(routes, s->metrics->routes, sizeof s->metrics->routes);
    (void)pthread_mutex_unlock(&s->metrics->lock);
    head(out, "cmir_build_info", "gauge", "1, with the version.");
    fprintf(out, "cmir_build_info{version=\"%s\"} 1\n", cmir_version());
    one(out, "cmir_uptime_seconds", "gauge", "Seconds since the start.",
        server_now() - s->metrics->start_s);
    one(out, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_nbytes());
    one(out, "cmir_http_connections", "gauge", "Open connections.", http_connections(s));
    one(out, "cmir_http_requests_in_flight", "gauge", "Requests that are not answered yet.",
        http_in_flight(s));
    one(out, "cmir_audit_lines_total", "counter", "Lines written to the audit log.",
        (double)audit_lines(s));
    print_archive(out, s);
    print_jobs(out, s);
    print_requests(out, routes);
    free(routes);
    if (fclose(out) != 0) {
        free(text);
        reply_error(r, 503, "no memory");
        return;
    }
    reply_bytes(r, 200, "text/plain; version=0.0.4; charset=utf-8", text, n, CACHE_NEVER, NULL);
}
