/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of records.  Nothing secret is held in one: secrets are behind pointers, so that growing
 * leaves no copy. */
#include "base/mem.h"
#include "keyring/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void
list_init(struct list *list, size_t item_size, size_t max)
{
    *list = (struct list){.item_size = item_size, .max = max};
}

void
list_free(struct list *list)
{
    mem_free(list->items);
    list->items = NULL;
    list->count = list->size = 0;
}

void *
list_at(const struct list *list, size_t i)
{
    assert(i < list->count);
    return list->items + i * list->item_size;
}

static int
list_reserve(struct list *list, size_t size, struct coffer_error *err)
{
    uint8_t *items;
    size_t total;

    if (size <= list->size)
        return COFFER_OK;
    if (!size_mul(size, list->item_size, &total))
        return error_nomem(err);
    items = mem_grow(list->items, total);
    if (items == NULL)
        return error_nomem(err);
    list->items = items;
    list->size = size;
    return COFFER_OK;
}

int
list_append(struct list *list, const void *item, struct coffer_error *err)
{
    int rc;

    if (list->count >= list->max)
        return error_set(err, COFFER_E_LIMIT, "the keyring holds at most %zu records of this kind",
                         list->max);
    if (list->count == list->size) {
        rc = list_reserve(list, list->size < 8 ? 8 : list->size * 2, err);
        if (rc != COFFER_OK)
            return rc;
    }
    memcpy(list->items + list->count * list->item_size, item, list->item_size);
    list->count++;
    return COFFER_OK;
}

void
list_remove(struct list *list, size_t i)
{
    uint8_t *at = list_at(list, i);

    memmove(at, at + list->item_size, (list->count - i - 1) * list->item_size);
    list->count--;
}

int
list_copy(struct list *to, const struct list *from, struct coffer_error *err)
{
    int rc;

    assert(to->count == 0 && to->item_size == from->item_size);
    if (from->count == 0)
        return COFFER_OK;
    rc = list_reserve(to, from->count, err);
    if (rc != COFFER_OK)
        return rc;
    memcpy(to->items, from->items, from->count * from->item_size);
    to->count = from->count;
    return COFFER_OK;
}

int
list_repeats(const struct list *list, int (*compare)(const void *, const void *), bool *repeats,
             struct coffer_error *err)
{
    const void **sorted;

    *repeats = false;
    if (list->count < 2)
        return COFFER_OK;
    sorted = mem_array(list->count, sizeof *sorted);
    if (sorted == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < list->count; i++)
        sorted[i] = list_at(list, i);
    qsort(sorted, list->count, sizeof *sorted, compare);
    for (size_t i = 1; i < list->count && !*repeats; i++)
        *repeats = compare(&sorted[i - 1], &sorted[i]) == 0;
    mem_free(sorted);
    return COFFER_OK;
}
