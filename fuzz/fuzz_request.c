/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_request.c: any bytes as what a stranger sends to the service: the target of a request, and its
 * headers and file names.
 *
 * What is let through is clean text, whatever came. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/origin.h"
#include "server/router.h"
#include "server/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

static const route table[] = {
    {"GET", "/", ROLE_NONE, BODY_NONE, NULL, "page"},
    {"GET", "/{file}", ROLE_NONE, BODY_NONE, NULL, "file"},
    {"POST", "/v/{volume}", ROLE_NONE, BODY_NONE, NULL, "volume"},
    {"GET", "/v/{volume}/s/{slice}.png", ROLE_NONE, BODY_NONE, NULL, "slice"},
    {"GET", "/c/{cohort}", ROLE_NONE, BODY_NONE, NULL, "cohort"},
    {"GET", "/c/{cohort}.csv", ROLE_NONE, BODY_NONE, NULL, "csv"},
    {NULL, NULL, ROLE_NONE, BODY_NONE, NULL, NULL},
};

static void
check_pairs(const pair *pairs, size_t n, int may_be_empty)
{
    for (size_t i = 0; i < n; i++)
        if (!text_is_clean(pairs[i].name, strlen(pairs[i].name)) ||
            !text_is_clean(pairs[i].value, strlen(pairs[i].value)) ||
            (!may_be_empty && pairs[i].value[0] == '\0'))
            abort();
}

static void
check_target(const char *text)
{
    target t;
    const unsigned status = target_parse(table, "GET", text, &t);

    if (status != 0 && status != 400 && status != 404 && status != 405)
        abort();
    if (status == 0) {
        check_pairs(t.parts, t.n_parts, 0);
        check_pairs(t.params, t.n_params, 1);
    }
    target_free(&t);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
    char *text = malloc(nbytes + 1);

    if (text == NULL)
        return 0;
    memcpy(text, data, nbytes);
    text[nbytes] = '\0';
    check_target(text);
    const char *name = text_file_name(text);
    if (strpbrk(name, "/\\") != NULL || strcmp(name, "..") == 0 ||
        !text_is_clean(name, strlen(name)))
        abort();
    (void)text_list_has_etag(text, "a");
    /* Only the very host is no other site. */
    if (!origin_is_foreign(text, NULL, "host") &&
        (nbytes < 7 || strcasecmp(text + strlen(text) - 7, "://host") != 0))
        abort();
    (void)origin_host_is_local(text);
    free(text);
    return 0;
}
