/* SPDX-License-Identifier: Apache-2.0 */
/* search.c ARCHIVE VOLUME: the volumes most like one that is in the archive, best first.
 *
 *     cc search.c $(pkg-config --cflags --libs cmir) -o search */
#include <stdio.h>

#include <cmir/cmir.h>

int
main(int argc, char **argv)
{
    const cmir_search_options options = {.struct_nbytes = sizeof options, .limit = 5};
    cmir_error error = {0};
    cmir_archive *archive = NULL;
    cmir_result *result = NULL;

    if (argc == 3 && cmir_archive_open(argv[1], CMIR_READ, &archive, &error) == CMIR_OK &&
        cmir_search_stored(archive, archive, argv[2], &options, &result, &error) == CMIR_OK) {
        for (size_t i = 0; i < result->n_hits; i++)
            printf("%.4f %s slices %u to %u\n", result->hits[i].score,
                   result->hits[i].record->info.volume_id, result->hits[i].match_first,
                   result->hits[i].match_last);
        puts(CMIR_NOTICE);
    } else {
        fprintf(stderr, "search ARCHIVE VOLUME: %s\n", error.msg);
    }
    cmir_result_free(result);
    cmir_archive_close(archive);
    return result == NULL;
}
