/* SPDX-License-Identifier: Apache-2.0 */
/* api_jobs.c: what became of a job, and the report that one made. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "files.h"
#include "server_internal.h"

static const char unknown[] = "no such job";

void
api_jobs(request *r)
{
    reply_json(r, 200, jobs_list(r));
}

void
api_job(request *r)
{
    json_t *o = job_get(r, request_part(r, "job"));

    if (o != NULL)
        reply_json(r, 200, o);
    else
        reply_error(r, 404, unknown);
}

void
api_job_delete(request *r)
{
    if (job_remove(r, request_part(r, "job")))
        reply_nothing(r);
    else
        reply_error(r, 404, unknown);
}

void
api_job_report(request *r)
{
    const char *id = request_part(r, "job");
    json_t *o = job_get(r, id);
    struct stat st;

    json_decref(o);
    if (o == NULL) {
        reply_error(r, 404, unknown);
        return;
    }
    char name[FILES_ID_NCHARS + 8];
    (void)snprintf(name, sizeof name, "%s.html", id);
    char *path = files_path(server_state_dir(request_server(r)), "jobs", name, NULL);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (fd >= 0 && fstat(fd, &st) == 0) {
        reply_file(r, "text/html; charset=utf-8", fd, (uint64_t)st.st_size, "cmir-report.html");
        return;
    }
    if (fd >= 0)
        (void)close(fd);
    reply_error(r, 404, "the job has made no report, or not yet");
}
