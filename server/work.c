/* SPDX-License-Identifier: Apache-2.0 */
/* work.c: a job's process: `cmir serve-job`, which only the service starts.
 *
 * The one idea: whatever a strange file does to this process, by crash, memory or time, happens to
 * this process alone.  It limits itself before it reads anything, and a thread of it ends it when the
 * service closes its standard input, or when nothing moves any more. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "server.h"
#include "text.h"

#define MAX_CPU_S (6 * 3600)
#define MAX_DATA_NBYTES ((uint64_t)24 << 30)
#define NICENESS 10
#define GRACE_S 5
#define REPORT_NS 200000000 /* between lines of progress */

static const job_kind kinds[] = {
    {"add", work_add, false, "sources"},
    {"upload", work_upload, false, "uploads"},
    {"search", work_search, true, NULL},
    {"report", work_report, true, NULL},
};

static atomic_bool stopping;
static atomic_llong moved; /* seconds of the monotonic clock when something last happened */

const job_kind *
job_kind_find(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

static struct timespec
now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t;
}

/* Takes the reference. */
static void
tell(json_t *line)
{
    char *text =
        cmir_json_need(json_dumps(cmir_json_need(line), JSON_COMPACT | JSON_REAL_PRECISION(9)));

    (void)fprintf(stdout, "%s\n", text);
    (void)fflush(stdout);
    free(text);
    json_decref(line);
}

int
work_progress(void *what, uint64_t done, uint64_t total)
{
    static struct timespec told;
    static const void *of;
    const struct timespec t = now();
    const int64_t since =
        (int64_t)(t.tv_sec - told.tv_sec) * 1000000000 + (t.tv_nsec - told.tv_nsec);

    atomic_store(&moved, (long long)t.tv_sec);
    if (of != what || since >= REPORT_NS || done == total) {
        told = t;
        of = what;
        tell(json_pack("{s:s, s:I, s:I}", "What", (const char *)what, "Done", (json_int_t)done,
                       "Total", (json_int_t)total));
    }
    return atomic_load(&stopping);
}

void
work_at(const char *path)
{
    atomic_store(&moved, (long long)now().tv_sec);
    tell(json_pack("{s:o}", "At", cmir_json_text(path)));
}

void
work_keep(void)
{
    tell(json_pack("{s:b}", "Keep", 1));
}

char *
work_folder(const work *w, const char *folder)
{
    return files_path(w->state, folder, w->job_id, NULL);
}

cmir_status
work_encoder(const work *w, const cmir_archive *archive, cmir_encoder **out, cmir_error *err)
{
    const cmir_encoder_options options = {.struct_nbytes = sizeof options,
                                          .n_threads = w->n_threads};
    const cmir_archive_info *info = cmir_archive_get_info(archive);
    json_t *card = json_loads(info->card_json, 0, NULL);
    const bool external = json_is_true(json_object_get(card, "external"));

    json_decref(card);
    *out = NULL;
    if (external)
        return files_fail(err, CMIR_EUNSUPPORTED,
                          "the archive's encoder %.40s runs outside of cmir: scans cannot be read",
                          info->encoder_name);
    cmir_status st = cmir_encoder_open(info->card_path[0] != '\0' ? info->card_path : "builtin",
                                       &options, out, err);
    if (st == CMIR_OK && (st = cmir_archive_check_encoder(archive, *out, err)) != CMIR_OK) {
        cmir_encoder_close(*out);
        *out = NULL;
    }
    return st;
}

static void
limit(int what, uint64_t most)
{
    struct rlimit old;

    if (getrlimit(what, &old) != 0 || (old.rlim_max != RLIM_INFINITY && old.rlim_max < most))
        return;
    (void)setrlimit(what, &(struct rlimit){.rlim_cur = most, .rlim_max = most});
}

/* No core file (it would hold pictures), bounded time and memory, and behind the searches in the queue
 * for the CPUs.  A sanitizer's shadow memory does not fit under a limit. */
static void
limit_process(void)
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, MAX_CPU_S);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    const uint64_t most =
        pages <= 0 || size <= 0 ? MAX_DATA_NBYTES : (uint64_t)pages * (uint64_t)size / 4 * 3;
    limit(RLIMIT_DATA, most < MAX_DATA_NBYTES ? most : MAX_DATA_NBYTES);
#endif
    if (nice(NICENESS) == -1) /* or it is -1 now; either way the work goes on */
        return;
}

static void *
watch(void *unused)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char rest[64];
    bool closed = false;

    while (!closed) {
        if (poll(&in, 1, 1000) > 0)
            closed = read(STDIN_FILENO, rest, sizeof rest) <= 0;
        if ((long long)now().tv_sec - atomic_load(&moved) > CHILD_STALL_S)
            _exit(CHILD_EXIT_STALLED);
    }
    atomic_store(&stopping, true);
    (void)sleep(GRACE_S);
    _exit(CHILD_EXIT_STOPPED);
    return unused;
}

/* Paths of this machine do not leave it: in a message, the service's folders have no name. */
static json_t *
error_json(const work *w, const cmir_error *err)
{
    char *text = files_without(err->msg, w->state, w->archive);

    text_strip_paths(text);
    json_t *error = json_pack("{s:{s:s, s:o}}", "Error", "Status", cmir_status_name(err->code),
                              "Message", cmir_json_text(text));

    free(text);
    return error;
}

static int
run(json_t *request)
{
    const char *kind_name = NULL;
    const json_t *input = json_object_get(request, "Input");
    cmir_error err = {0};
    json_int_t n_threads = 0;
    work w = {0};

    if (json_unpack(request, "{s:s, s:s, s:s, s:s, s:I}", "Kind", &kind_name, "JobId", &w.job_id,
                    "Archive", &w.archive, "State", &w.state, "Threads", &n_threads) != 0)
        return 2;
    const job_kind *kind = job_kind_find(kind_name);
    if (kind == NULL || !json_is_object(input))
        return 2;
    w.n_threads = (uint32_t)n_threads;
    json_t *result = kind->run(&w, input, &err);
    json_t *last = result != NULL ? json_pack("{s:o}", "Result", result) : error_json(&w, &err);
    if (w.audit != NULL)
        cmir_json_set(last, "Audit", w.audit);
    tell(last);
    return 0;
}

int
server_work(void)
{
    pthread_t thread;

    limit_process();
    /* Who stops the service may signal all of its processes: this one waits to be told by it, so that its
     * end is not taken for a crash. */
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    json_t *request = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, NULL);
    if (!json_is_object(request)) {
        (void)fputs("cmir serve-job: only `cmir serve` starts this\n", stderr);
        json_decref(request);
        return 2;
    }
    atomic_store(&moved, (long long)now().tv_sec);
    if (pthread_create(&thread, NULL, watch, NULL) != 0)
        return 2;
    const int code = run(request);
    json_decref(request);
    return code;
}
