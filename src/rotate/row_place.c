/* SPDX-License-Identifier: Apache-2.0 */
#include "rotate/row_place.h"

#include "field/field.h"

#include <string.h>

#define PART_MAX (64u << 20)

void
row_place_init(struct row_place *place)
{
    memset(place, 0, sizeof *place);
    for (size_t i = 0; i < DB_KEY_MAX; i++)
        buf_init(&place->storage[i], PART_MAX);
}

void
row_place_wipe(struct row_place *place)
{
    for (size_t i = 0; i < DB_KEY_MAX; i++)
        buf_wipe(&place->storage[i]);
    place->count = 0;
}

int
row_value(int type, const struct coffer_value *raw, struct buf *storage, struct coffer_value *out, struct coffer_error *err)
{
    *out = *raw;
    if (raw->type == COFFER_NULL || raw->type == type)
        return COFFER_OK;
    if (raw->type == COFFER_TEXT) {
        int rc = value_parse(type, bytes_of(raw->data, raw->len), storage, out, err);

        if (rc != COFFER_OK)
            *out = *raw;
        return rc;
    }
    if (raw->type == COFFER_INT64 && type == COFFER_BOOL && (raw->i64 == 0 || raw->i64 == 1)) {
        out->type = COFFER_BOOL;
        return COFFER_OK;
    }
    if (raw->type == COFFER_INT64 && type == COFFER_FLOAT64) {
        out->type = COFFER_FLOAT64;
        out->f64 = (double)raw->i64;
        return COFFER_OK;
    }
    if (raw->type == COFFER_BYTES && type == COFFER_UUID && raw->len == 16) {
        out->type = COFFER_UUID;
        return COFFER_OK;
    }
    return error_set(err, COFFER_E_TYPE, "a value that is stored as %s is no %s", coffer_type_name(raw->type), coffer_type_name(type));
}

static bool
is_padded(const struct db_column *column)
{
    return strncmp(column->sql_type, "character(", 10) == 0 || strncmp(column->sql_type, "bpchar", 6) == 0;
}

int
row_place_add(struct row_place *place, enum db_engine engine, const struct db_column *column, const struct coffer_value *raw,
              struct coffer_error *err)
{
    struct coffer_value bare = *raw;
    size_t i = place->count;
    int rc = COFFER_OK;

    if (i == DB_KEY_MAX)
        return error_set(err, COFFER_E_LIMIT, "a primary key of more than %d parts", DB_KEY_MAX);
    if (engine == DB_POSTGRESQL && bare.type == COFFER_TEXT && is_padded(column)) {
        while (bare.len > 0 && bare.data[bare.len - 1] == ' ')
            bare.len--;
    }
    place->parts[i] = bare;
    buf_clear(&place->storage[i]);
    if (engine != DB_SQLITE)
        rc = row_value(column->type, &bare, &place->storage[i], &place->parts[i], err);
    if (rc != COFFER_E_NOMEM)
        place->count++;
    return rc;
}

int
row_place_of(struct row_place *place, enum db_engine engine, const struct db_table *table, const struct coffer_value *cells,
             struct coffer_error *err)
{
    place->count = 0;
    for (int position = 1; position <= DB_KEY_MAX; position++) {
        for (size_t i = 0; i < table->column_count; i++) {
            int rc;

            if (table->columns[i].key_position != position)
                continue;
            rc = row_place_add(place, engine, &table->columns[i], &cells[i], err);
            if (rc == COFFER_E_NOMEM || rc == COFFER_E_LIMIT)
                return rc;
        }
    }
    return COFFER_OK;
}
