/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_where.c: any text as a filter.  What the parser lets through, SQLite must take too: the SQL
 * is ours, whatever the text was. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store.h"
#include "store/where.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

static cmir_store *store;
static char folder[] = "/tmp/cmir_fuzz_XXXXXX";

static void
remove_store(void)
{
    char command[64];

    cmir_store_close(store);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0)
        fprintf(stderr, "%s is left over\n", folder);
}

/* An archive with one volume, for all inputs. */
static void
make_store(void)
{
    static const char sha[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const cmir_binding binding = {"tiny", "1", sha, "{}", "", 1, CMIR_AXIAL, CMIR_PREVIEWS_NONE,
                                  NULL};
    cmir_label label = {"size", "3.5"};
    uint8_t mark = 0;
    float one = 1;
    double mm = 0;
    const char *uid = "";
    const cmir_record record = {.info = {.volume_id = "v",
                                         .path = "",
                                         .format = "",
                                         .modality = "CT",
                                         .series_uid = "",
                                         .study_uid = "",
                                         .patient_id = "7",
                                         .patient_sex = "",
                                         .study_date = "",
                                         .body_part = "",
                                         .manufacturer = "",
                                         .description = ""},
                                .n_slices = 1,
                                .labels = &label,
                                .n_labels = 1,
                                .slice_mm = &mm,
                                .slice_marks = &mark,
                                .slice_uids = &uid};
    const cmir_embeddings embeddings = {&one, &mark, 1, 1};
    bool added;

    if (mkdtemp(folder) == NULL || cmir_store_create(folder, &binding, NULL) != CMIR_OK ||
        cmir_store_open(folder, CMIR_WRITE, &store, NULL) != CMIR_OK ||
        cmir_store_add(store, &record, &embeddings, &added, NULL) != CMIR_OK)
        abort();
    atexit(remove_store);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
    cmir_where where;
    cmir_error err = {0};
    char **ids;
    size_t n_ids;
    char *text = malloc(nbytes + 1);

    if (store == NULL)
        make_store();
    if (text == NULL)
        return 0;
    memcpy(text, data, nbytes);
    text[nbytes] = '\0';
    const cmir_status st = cmir_where_parse(text, &where, &err);
    if (st == CMIR_OK)
        cmir_where_free(&where);
    else if (st != CMIR_EINVAL || err.msg[0] == '\0' ||
             (err.offset != UINT64_MAX && err.offset > strlen(text)))
        abort();
    if (cmir_store_list(store, text, &ids, &n_ids, NULL) != st)
        abort();
    cmir_ids_free(ids, n_ids);
    free(text);
    return 0;
}
