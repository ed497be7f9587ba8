/* SPDX-License-Identifier: Apache-2.0 */
/* standalone.c: runs a fuzz target over files and folders, without libFuzzer.
 *
 * Linked with each fuzz_<word>.c, so that a corpus is a plain test with any compiler.  Each file
 * is copied to a block of exactly its size: a read past its end is seen by the sanitizers. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

static unsigned n_inputs;

static void
die(const char *what, const char *path)
{
    fprintf(stderr, "%s: ", what);
    perror(path);
    exit(1);
}

static void
run_file(const char *path, size_t nbytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(nbytes == 0 ? 1 : nbytes);

    if (file == NULL || data == NULL)
        die("cannot open", path);
    if (fread(data, 1, nbytes, file) != nbytes)
        die("cannot read", path);
    fclose(file);
    LLVMFuzzerTestOneInput(data, nbytes);
    free(data);
    n_inputs++;
}

static void
run_path(const char *path)
{
    struct stat info;
    struct dirent **entries;
    int n;

    if (stat(path, &info) != 0)
        die("cannot find", path);
    if (!S_ISDIR(info.st_mode)) {
        run_file(path, (size_t)info.st_size);
        return;
    }
    n = scandir(path, &entries, NULL, alphasort);
    if (n < 0)
        die("cannot list", path);
    for (int i = 0; i < n; i++) {
        const size_t room = strlen(path) + strlen(entries[i]->d_name) + 2;
        char *inner = malloc(room);

        if (inner == NULL)
            die("no memory for", path);
        snprintf(inner, room, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            run_path(inner);
        free(inner);
        free(entries[i]);
    }
    free(entries);
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    printf("%u inputs\n", n_inputs);
    return n_inputs == 0; /* an empty corpus is no test */
}
