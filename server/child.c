/* SPDX-License-Identifier: Apache-2.0 */
/* child.c: starts and hears a job's process: see child.h.  Called by jobs.c. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

#define MAX_LINE_NBYTES ((size_t)256 << 20)

extern char **environ;

static void
close_both(const int fds[2])
{
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
}

/* Both ends are closed by exec; the spawned process gets its end by dup2(). */
static bool
open_pipe(int fds[2])
{
    if (pipe(fds) != 0) {
        fds[0] = fds[1] = -1;
        return false;
    }
    return fcntl(fds[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(fds[1], F_SETFD, FD_CLOEXEC) == 0;
}

/* Signals are as at a program's start there, whatever the service ignores or blocks. */
static int
spawn(const int in[2], const int out[2], pid_t *pid)
{
    char name[] = "cmir", verb[] = "serve-job", *const argv[] = {name, verb, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setpgroup(&attr, 0); /* Ctrl-C is for the service, which ends it in order */
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    const int rc = posix_spawn(pid, "/proc/self/exe", &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return rc;
}

/* A process that dies meanwhile is noticed when it is waited for; SIGPIPE is ignored by the
 * service. */
static void
send_request(int fd, const json_t *request)
{
    char *text = cmir_json_need(json_dumps(request, JSON_COMPACT));
    size_t n = strlen(text), done = 0;

    text[n++] = '\n';
    while (done < n) {
        const ssize_t wrote = write(fd, text + done, n - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            break;
        done += (size_t)wrote;
    }
    free(text);
}

cmir_status
child_start(const json_t *request, child *out, cmir_error *err)
{
    int in[2] = {-1, -1}, from[2] = {-1, -1};
    cmir_status st = CMIR_OK;
    int rc;

    *out = (child){.in = -1};
    if (!open_pipe(in) || !open_pipe(from))
        st = files_fail(err, CMIR_EIO, "a job's process cannot be started: %s", strerror(errno));
    else if ((rc = spawn(in, from, &out->pid)) != 0)
        st = files_fail(err, CMIR_EIO, "a job's process cannot be started: %s", strerror(rc));
    if (st != CMIR_OK) {
        close_both(in);
        close_both(from);
        return st;
    }
    (void)close(in[0]);
    (void)close(from[1]);
    out->in = in[1];
    out->out = cmir_json_need(fdopen(from[0], "r"));
    send_request(out->in, request);
    return CMIR_OK;
}

json_t *
child_read(child *c)
{
    char *line = NULL;
    size_t cap = 0;
    json_t *value = NULL;

    while (value == NULL) {
        const ssize_t n = getline(&line, &cap, c->out);
        if (n < 0 || cap > MAX_LINE_NBYTES)
            break;
        value = json_loads(line, 0, NULL); /* what is no JSON came from some library's printf */
        if (!json_is_object(value)) {
            json_decref(value);
            value = NULL;
        }
    }
    free(line);
    return value;
}

int
child_end(child *c)
{
    int status = 0;

    (void)fclose(c->out);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}
