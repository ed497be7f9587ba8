/* SPDX-License-Identifier: Apache-2.0 */
/* progress.c: one line on the terminal that says how far a long verb is, and Ctrl-C.
 *
 * The one idea: the same callback that draws the line tells the library to stop. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define REDRAW_S 0.1

struct cli_progress {
    const char *what;      /* of items */
    uint64_t n_items, done_items;
    uint64_t done_slices;  /* of items that are done */
    uint64_t slice, n_slices; /* of the item at work */
    double start, drawn;
};

static volatile sig_atomic_t interrupted;

static void
on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

void
cli_catch_interrupts(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

bool
cli_interrupted(void)
{
    return interrupted != 0;
}

static double
now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

cli_progress *
cli_progress_start(const cli_args *args, const char *what, uint64_t n_items)
{
    if (args->quiet || !isatty(STDERR_FILENO))
        return NULL;
    cli_progress *p = cli_need(calloc(1, sizeof *p));
    p->what = what;
    p->n_items = n_items;
    p->start = now();
    return p;
}

static bool
is_due(cli_progress *p)
{
    const double t = now();

    if (t - p->drawn < REDRAW_S)
        return false;
    p->drawn = t;
    return true;
}

static void
draw(const cli_progress *p)
{
    const double elapsed = p->drawn - p->start;
    const double part = p->n_slices == 0 ? 0 : (double)p->slice / (double)p->n_slices;
    const double done = (double)p->done_items + part;
    const double slices = (double)(p->done_slices + p->slice);

    fprintf(stderr, "\r\033[K%llu of %llu %s", (unsigned long long)p->done_items,
            (unsigned long long)p->n_items, p->what);
    if (slices > 0 && elapsed > 0)
        fprintf(stderr, ", %.0f slices/s", slices / elapsed);
    if (done > 0) {
        const double left = elapsed / done * ((double)p->n_items - done);
        fprintf(stderr, ", %d:%02d left", (int)(left / 60), (int)left % 60);
    }
    fflush(stderr);
}

int
cli_progress_step(void *progress, uint64_t done, uint64_t total)
{
    cli_progress *p = progress;

    if (p != NULL) {
        p->slice = done;
        p->n_slices = total;
        if (is_due(p))
            draw(p);
    }
    return interrupted != 0;
}

int
cli_progress_count(void *progress, uint64_t done, uint64_t total)
{
    cli_progress *p = progress;

    if (p != NULL && is_due(p)) {
        fprintf(stderr, "\r\033[K%llu", (unsigned long long)done);
        if (total > 0)
            fprintf(stderr, " of %llu", (unsigned long long)total);
        fprintf(stderr, " %s", p->what);
        const double elapsed = p->drawn - p->start;
        if (total > 0 && done > 0 && elapsed > 0) {
            const double left = elapsed / (double)done * (double)(total - done);
            fprintf(stderr, ", %.1f/s, %d:%02d left", (double)done / elapsed, (int)(left / 60),
                    (int)left % 60);
        }
        fflush(stderr);
    }
    return interrupted != 0;
}

void
cli_progress_item(cli_progress *p, uint64_t n_slices)
{
    if (p == NULL)
        return;
    p->done_items++;
    p->done_slices += n_slices;
    p->slice = p->n_slices = 0;
    if (is_due(p))
        draw(p);
}

void
cli_progress_clear(const cli_progress *p)
{
    if (p != NULL && p->drawn > 0)
        fputs("\r\033[K", stderr);
}

void
cli_progress_end(cli_progress *p)
{
    cli_progress_clear(p);
    free(p);
}
