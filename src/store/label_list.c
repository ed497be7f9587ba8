/* SPDX-License-Identifier: Apache-2.0 */
/* label_list.c: which labels an archive has, and which values.  Called by engine. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/store_internal.h"

struct list {
    cmir_label_summary *items;
    size_t n, cap;
    size_t values_cap; /* of the last item */
    size_t max_values;
};

void
cmir_label_summaries_free(cmir_label_summary *summaries, size_t n)
{
    for (size_t i = 0; summaries != NULL && i < n; i++) {
        for (size_t v = 0; v < summaries[i].n_values; v++)
            free(summaries[i].values[v]);
        free(summaries[i].values);
        free(summaries[i].name);
    }
    free(summaries);
}

/* Rows come by name, so a new name is a new item. */
static bool
add_row(struct list *list, const char *name, const char *value, uint64_t n_volumes)
{
    cmir_label_summary *item = list->n == 0 ? NULL : &list->items[list->n - 1];

    if (item == NULL || strcmp(item->name, name) != 0) {
        if (!cmir_grow((void **)&list->items, &list->cap, list->n + 1, sizeof *list->items))
            return false;
        item = &list->items[list->n];
        *item = (cmir_label_summary){.name = cmir_strdup(name)};
        if (item->name == NULL)
            return false;
        list->n++;
        list->values_cap = 0;
    }
    item->n_volumes += n_volumes;
    item->n_distinct++;
    if (item->n_values == list->max_values)
        return true;
    if (!cmir_grow((void **)&item->values, &list->values_cap, item->n_values + 1,
                   sizeof *item->values) ||
        (item->values[item->n_values] = cmir_strdup(value)) == NULL)
        return false;
    item->n_values++;
    return true;
}

cmir_status
cmir_store_labels(cmir_store *store, size_t max_values, cmir_label_summary **out, size_t *n,
                  cmir_error *err)
{
    struct list list = {.max_values = max_values};
    cmir_stmt *q = NULL;
    bool row;
    cmir_status st = cmir_stmt_open(store->db,
                                    "SELECT name, value, count(*) FROM labels GROUP BY name, value "
                                    "ORDER BY name, count(*) DESC, value",
                                    &q, err);

    while (st == CMIR_OK && (st = cmir_stmt_step(q, &row, err)) == CMIR_OK && row)
        if (!add_row(&list, cmir_column_text(q, 0), cmir_column_text(q, 1),
                     (uint64_t)cmir_column_int(q, 2)))
            st = FAIL(err, CMIR_ENOMEM, "%s: no memory for a list of labels", store->dir);
    cmir_stmt_close(q);
    if (st != CMIR_OK) {
        cmir_label_summaries_free(list.items, list.n);
        list = (struct list){0};
    }
    *out = list.items;
    *n = list.n;
    return st;
}
