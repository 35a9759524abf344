/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "db/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
storage_add(struct buf *storage, const void *data, size_t len, const uint8_t **out)
{
    *out = (const uint8_t *)(storage->len + 1);
    buf_add(storage, data, len);
    buf_u8(storage,
           0); /* so that text may be used as a C string, and an empty value still has an address */
}

void
storage_fix(const struct buf *storage, const uint8_t **ptr)
{
    if (*ptr != NULL)
        *ptr = storage->ptr + ((uintptr_t)*ptr - 1);
}

bool
value_borrows(const struct coffer_value *value)
{
    switch (value->type) {
    case COFFER_BYTES:
    case COFFER_TEXT:
    case COFFER_NUMERIC:
    case COFFER_UUID:
    case COFFER_JSON:
        return true;
    default:
        return false;
    }
}

void
value_store(struct buf *storage, struct coffer_value *value)
{
    if (value_borrows(value))
        storage_add(storage, value->data, value->len, &value->data);
    else
        value->data = NULL;
}

int
result_new(size_t columns, struct db_result **out, struct coffer_error *err)
{
    struct db_result *result = mem_alloc(sizeof *result);

    *out = NULL;
    if (result == NULL)
        return error_nomem(err);
    buf_init(&result->storage, DB_STORAGE_MAX);
    result->columns = columns;
    result->names = mem_array(columns + 1, sizeof *result->names);
    if (result->names == NULL) {
        db_result_free(result);
        return error_nomem(err);
    }
    *out = result;
    return COFFER_OK;
}

/* Cells grow by doubling: a power of two of rows is the moment to grow. */
int
result_add(struct db_result *result, const struct coffer_value *cells, struct coffer_error *err)
{
    size_t i;

    if ((result->rows & (result->rows - 1)) == 0) {
        size_t rows = result->rows == 0 ? 1 : result->rows * 2, cells_wanted, size;
        struct coffer_value *grown;

        if (!size_mul(rows, result->columns, &cells_wanted) ||
            !size_mul(cells_wanted, sizeof *grown, &size))
            return error_nomem(err);
        grown = mem_grow(result->cells, size);
        if (grown == NULL)
            return error_nomem(err);
        result->cells = grown;
    }
    for (i = 0; i < result->columns; i++) {
        struct coffer_value *cell = &result->cells[result->rows * result->columns + i];

        *cell = cells[i];
        value_store(&result->storage, cell);
    }
    result->rows++;
    return buf_status(&result->storage, err);
}

int
result_done(struct db_result *result, struct coffer_error *err)
{
    size_t i;
    int rc = buf_status(&result->storage, err);

    for (i = 0; rc == COFFER_OK && i < result->rows * result->columns; i++)
        storage_fix(&result->storage, &result->cells[i].data);
    return rc;
}

void
db_result_free(struct db_result *result)
{
    size_t i;

    if (result == NULL)
        return;
    for (i = 0; result->names != NULL && i < result->columns; i++)
        mem_free(result->names[i]);
    mem_free(result->names);
    mem_free(result->cells);
    buf_wipe(&result->storage);
    mem_free(result);
}

int
batch_new(size_t key_count, bool key_is_place, size_t cell_count, size_t room,
          struct db_batch **out, struct coffer_error *err)
{
    struct db_batch *batch = mem_alloc(sizeof *batch);
    size_t i;

    *out = NULL;
    if (batch == NULL)
        return error_nomem(err);
    buf_init(&batch->storage, DB_STORAGE_MAX);
    batch->key_count = key_count;
    batch->place_count = key_is_place ? key_count : 0;
    batch->cell_count = cell_count;
    batch->rows = mem_array(room, sizeof *batch->rows);
    batch->keys = mem_array(room, key_count * sizeof *batch->keys);
    batch->cells = mem_array(room, cell_count * sizeof *batch->cells);
    if (batch->rows == NULL || batch->keys == NULL || batch->cells == NULL) {
        db_batch_free(batch);
        return error_nomem(err);
    }
    for (i = 0; i < room; i++) {
        batch->rows[i].key = batch->keys + i * key_count;
        batch->rows[i].place = key_is_place ? batch->rows[i].key : NULL;
        batch->rows[i].cells = batch->cells + i * cell_count;
    }
    *out = batch;
    return COFFER_OK;
}

void
db_batch_free(struct db_batch *batch)
{
    if (batch == NULL)
        return;
    mem_free(batch->cells);
    mem_free(batch->keys);
    mem_free(batch->places);
    mem_free(batch->rows);
    buf_wipe(&batch->storage);
    mem_free(batch);
}

void
db_table_free(struct db_table *table)
{
    if (table == NULL)
        return;
    mem_free(table->columns);
    mem_free(table);
}

const struct db_column *
db_table_column(const struct db_table *table, const char *name)
{
    size_t i;

    for (i = 0; i < table->column_count; i++) {
        if (strcmp(table->columns[i].name, name) == 0)
            return &table->columns[i];
    }
    return NULL;
}

void
db_obstacles_free(struct db_obstacles *list)
{
    mem_free(list->items);
    *list = (struct db_obstacles){0};
}

int
obstacle_add(struct db_obstacles *list, char severity, const char *kind, const char *object,
             struct coffer_error *err, const char *format, ...)
{
    struct db_obstacle *grown = mem_grow(list->items, (list->count + 1) * sizeof *grown);
    struct db_obstacle *item;
    va_list args;

    if (grown == NULL)
        return error_nomem(err);
    list->items = grown;
    item = &grown[list->count++];
    memset(item, 0, sizeof *item);
    item->severity = severity;
    snprintf(item->kind, sizeof item->kind, "%s", kind);
    snprintf(item->object, sizeof item->object, "%s", object);
    va_start(args, format);
    vsnprintf(item->text, sizeof item->text, format, args);
    va_end(args);
    return COFFER_OK;
}

void
db_count_free(struct db_count *count)
{
    if (count == NULL)
        return;
    mem_free(count->keys);
    mem_free(count);
}

int
count_add(struct db_count *count, uint32_t key_id, uint64_t cells, struct coffer_error *err)
{
    struct db_key_count *grown;
    size_t i;

    for (i = 0; i < count->key_count; i++) {
        if (count->keys[i].key_id == key_id) {
            count->keys[i].cells += cells;
            return COFFER_OK;
        }
    }
    grown = mem_grow(count->keys, (count->key_count + 1) * sizeof *grown);
    if (grown == NULL)
        return error_nomem(err);
    count->keys = grown;
    count->keys[count->key_count++] = (struct db_key_count){.key_id = key_id, .cells = cells};
    return COFFER_OK;
}
