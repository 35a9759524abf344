/* SPDX-License-Identifier: Apache-2.0 */
/* The reading half of a walk: rows that need work, in key order, without a lock. */
#include "walk.h"
#include "db/internal.h"

#include <stdio.h>
#include <string.h>

static void
qualified(const char *name, char *out, size_t out_max, bool with_t)
{
    struct buf b;

    buf_init(&b, out_max - 1);
    if (with_t)
        buf_str(&b, "t.");
    pg_quote(&b, name);
    snprintf(out, out_max, "%s", buf_cstr(&b));
    buf_wipe(&b);
}

void
pg_walk_cast(const struct pg_walk *walk, const struct pg_type *type, const char *expression,
             struct buf *out)
{
    if (type != NULL && type->citext)
        buf_format(out, "%s::%s", expression, walk->citext);
    else
        buf_str(out, expression);
}

static int
find_citext(struct pg_walk *walk, struct coffer_error *err)
{
    PGresult *result = NULL;
    int rc = pg_exec(pg_of_walk(walk),
                     "SELECT pg_catalog.quote_ident(n.nspname) || '.citext' FROM "
                     "pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n"
                     " ON n.oid = t.typnamespace WHERE t.typname = 'citext' AND t.typtype = 'b'",
                     NULL, &result, err);

    if (rc == COFFER_OK && PQntuples(result) > 0)
        snprintf(walk->citext, sizeof walk->citext, "%s", pg_text(result, 0, 0));
    PQclear(result);
    return rc;
}

static int
open_keys(struct pg_walk *walk, struct coffer_error *err)
{
    size_t i;
    int rc;

    walk->by_ctid = walk->table->key_kind == DB_KEY_ROWID;
    walk->key_count = walk->table->key_count;
    if (walk->by_ctid && walk->rel.partitioned)
        return error_set(err, COFFER_E_UNSUPPORTED,
                         "the partitioned table %s has no unique key over NOT NULL columns: add "
                         "one, row addresses are not unique there",
                         walk->table->name);
    for (i = 0; !walk->by_ctid && i < walk->key_count; i++) {
        struct pg_attribute attribute;

        rc = pg_attribute_find(pg_of_walk(walk), &walk->rel, walk->table->key[i], &attribute, err);
        if (rc != COFFER_OK)
            return rc;
        if (attribute.type == NULL)
            return error_set(err, COFFER_E_CONFLICT,
                             "key column \"%s\" of %s has changed: open the table again",
                             walk->table->key[i], walk->table->name);
        walk->key_types[i] = attribute.type;
        qualified(walk->table->key[i], walk->key_columns[i], sizeof walk->key_columns[i], true);
    }
    return COFFER_OK;
}

static int
open_cell(struct pg_walk *walk, struct pg_walk_cell *cell, const struct db_want *want,
          struct coffer_error *err)
{
    struct pg_attribute attribute;
    const struct pg_type *type;
    bool both_text;
    int rc;

    cell->want = *want;
    cell->in_place = want->cell.sealed == NULL;
    rc = pg_attribute_find(pg_of_walk(walk), &walk->rel, want->cell.plain, &attribute, err);
    if (rc != COFFER_OK)
        return rc;
    if (!attribute.found)
        return error_set(err, COFFER_E_NOTFOUND, "table %s has no column \"%s\" any more",
                         walk->table->name, want->cell.plain);
    type = attribute.type;
    both_text = type != NULL && (type->coffer == COFFER_TEXT || type->coffer == COFFER_JSON) &&
                (want->cell.type == COFFER_TEXT || want->cell.type == COFFER_JSON);
    if (type == NULL || (type->coffer != want->cell.type && !both_text && !cell->in_place))
        return error_set(err, COFFER_E_TYPE,
                         "column %s.%s is %s, which does not hold values of type %s",
                         walk->table->name, want->cell.plain, attribute.declared,
                         coffer_type_name(want->cell.type));
    if (cell->in_place &&
        (want->cell.text_form ? type->coffer != COFFER_TEXT : type->oid != PG_BYTEA))
        return error_set(err, COFFER_E_TYPE,
                         "column %s.%s is %s: envelopes in place need a text or bytea column",
                         walk->table->name, want->cell.plain, attribute.declared);
    cell->type = type;
    qualified(want->cell.plain, cell->plain, sizeof cell->plain, true);
    qualified(want->cell.plain, cell->plain_name, sizeof cell->plain_name, false);
    if (cell->in_place)
        return COFFER_OK;
    rc = pg_attribute_find(pg_of_walk(walk), &walk->rel, want->cell.sealed, &attribute, err);
    if (rc == COFFER_OK &&
        (!attribute.found || attribute.type == NULL || attribute.type->oid != PG_BYTEA))
        return error_set(err, COFFER_E_NOTFOUND,
                         "table %s has no bytea column \"%s\": protect makes it", walk->table->name,
                         want->cell.sealed);
    qualified(want->cell.sealed, cell->sealed, sizeof cell->sealed, true);
    qualified(want->cell.sealed, cell->sealed_name, sizeof cell->sealed_name, false);
    return rc;
}

int
pg_walk_open(struct db *db, const struct db_table *table, const struct db_want *wants, size_t count,
             struct db_walk **out, struct coffer_error *err)
{
    struct pg_walk *walk;
    size_t i;
    int rc;

    *out = NULL;
    if (count == 0 || count > PG_WANTS_MAX)
        return error_set(err, COFFER_E_LIMIT,
                         "1 to %d columns of a table can be walked at once, not %zu", PG_WANTS_MAX,
                         count);
    walk = mem_alloc(sizeof *walk);
    if (walk == NULL)
        return error_nomem(err);
    walk->walk.db = db;
    walk->table = table;
    walk->cell_count = count;
    walk->cells = mem_array(count, sizeof *walk->cells);
    rc = walk->cells == NULL ? error_nomem(err)
                             : pg_resolve(pg_of(db), table->name, &walk->rel, err);
    if (rc == COFFER_OK)
        rc = find_citext(walk, err);
    if (rc == COFFER_OK)
        rc = open_keys(walk, err);
    for (i = 0; rc == COFFER_OK && i < count; i++)
        rc = open_cell(walk, &walk->cells[i], &wants[i], err);
    if (rc != COFFER_OK) {
        pg_walk_close(&walk->walk);
        return rc;
    }
    *out = &walk->walk;
    return COFFER_OK;
}

void
pg_walk_close(struct db_walk *base)
{
    struct pg_walk *walk = (struct pg_walk *)base;

    if (walk == NULL)
        return;
    mem_free(walk->cells);
    mem_free(walk);
}

/* ---- SQL ---- */

static void
select_list(const struct pg_walk *walk, struct buf *sql)
{
    size_t i;

    buf_str(sql, "SELECT ");
    if (walk->by_ctid)
        buf_str(sql, "((t.ctid::pg_catalog.text::pg_catalog.point)[0]::pg_catalog.int8 << 16)"
                     " | (t.ctid::pg_catalog.text::pg_catalog.point)[1]::pg_catalog.int8");
    for (i = 0; !walk->by_ctid && i < walk->key_count; i++)
        buf_format(sql, "%s%s", i > 0 ? ", " : "", walk->key_columns[i]);
}

static void
cell_list(const struct pg_walk *walk, struct buf *sql)
{
    size_t i;

    for (i = 0; i < walk->cell_count; i++) {
        const struct pg_walk_cell *c = &walk->cells[i];

        /* citext has the binary form of text, but another type id. */
        buf_format(sql, ", %s%s", c->plain, c->type->citext ? "::pg_catalog.text" : "");
        if (!c->in_place)
            buf_format(sql, ", %s", c->sealed);
    }
}

/* " AND (k1, k2) > ($1, $2)" */
static void
boundary(const struct pg_walk *walk, const char *operator, const struct coffer_value * key,
         struct buf *sql, struct pg_params *params)
{
    size_t i;

    buf_str(sql, " AND (");
    for (i = 0; i < walk->key_count; i++)
        buf_format(sql, "%s%s", i > 0 ? ", " : "", walk->key_columns[i]);
    buf_format(sql, ") %s (", operator);
    for (i = 0; i < walk->key_count; i++) {
        char number[16];

        snprintf(number, sizeof number, "$%d",
                 pg_params_value(params, walk->key_types[i]->oid, &key[i]));
        buf_str(sql, i > 0 ? ", " : "");
        pg_walk_cast(walk, walk->key_types[i], number, sql);
    }
    buf_str(sql, ")");
}

static void
needs_in_place(const struct pg_walk_cell *c, struct buf *sql)
{
    uint32_t key = c->want.target_key;
    bool text = c->want.cell.text_form, to_plain = c->want.goal >= DB_GOAL_PLAIN_BESIDE;

    if (c->want.examine_all) {
        buf_format(sql, "%s IS NOT NULL", c->plain);
    } else if (text) {
        buf_format(sql,
                   "(%s IS NOT NULL AND pg_catalog.substr(%s::pg_catalog.text COLLATE "
                   "pg_catalog.\"C\", 1, %d) ",
                   c->plain, c->plain, to_plain ? 5 : 14);
        if (to_plain)
            buf_str(sql, "= 'cfr1.')");
        else
            buf_format(sql, "IS DISTINCT FROM 'cfr1.%08x.')", key);
    } else if (to_plain) {
        buf_format(sql,
                   "(%s IS NOT NULL AND pg_catalog.substr(%s, 1, 1) = '\\xf9'::pg_catalog.bytea)",
                   c->plain, c->plain);
    } else {
        buf_format(sql,
                   "(%s IS NOT NULL AND (pg_catalog.substr(%s, 1, 1) IS DISTINCT FROM "
                   "'\\xf9'::pg_catalog.bytea"
                   " OR pg_catalog.substr(%s, 5, 4) IS DISTINCT FROM '\\x%08x'::pg_catalog.bytea))",
                   c->plain, c->plain, c->plain, key);
    }
}

static void
needs_work(const struct pg_walk_cell *c, struct buf *sql)
{
    uint32_t key = c->want.target_key;

    if (c->in_place) {
        needs_in_place(c, sql);
        return;
    }
    switch (c->want.goal) {
    case DB_GOAL_SEAL_BESIDE:
        buf_format(sql,
                   "((%s IS NOT NULL OR %s IS NOT NULL) AND pg_catalog.substr(%s, 5, 4) IS "
                   "DISTINCT FROM '\\x%08x'::pg_catalog.bytea)",
                   c->plain, c->sealed, c->sealed, key);
        break;
    case DB_GOAL_SEAL:
        buf_format(sql,
                   "(%s IS NOT NULL OR (%s IS NOT NULL AND pg_catalog.substr(%s, 5, 4) IS DISTINCT "
                   "FROM '\\x%08x'::pg_catalog.bytea))",
                   c->plain, c->sealed, c->sealed, key);
        break;
    case DB_GOAL_PLAIN_BESIDE:
        buf_format(sql, "(%s IS NOT NULL AND %s IS NULL)", c->sealed, c->plain);
        break;
    case DB_GOAL_PLAIN:
        buf_format(sql, "%s IS NOT NULL", c->sealed);
        break;
    }
    if (c->want.examine_all)
        buf_format(sql, " OR %s IS NOT NULL OR %s IS NOT NULL", c->plain, c->sealed);
}

static void
where(const struct pg_walk *walk, struct buf *sql)
{
    size_t i;

    buf_format(sql, " FROM %s AS t WHERE (", walk->rel.quoted);
    for (i = 0; i < walk->cell_count; i++) {
        buf_str(sql, i > 0 ? " OR " : "");
        needs_work(&walk->cells[i], sql);
    }
    buf_str(sql, ")");
}

static void
order(const struct pg_walk *walk, struct buf *sql)
{
    size_t i;

    buf_str(sql, " ORDER BY ");
    for (i = 0; i < walk->key_count; i++)
        buf_format(sql, "%s%s", i > 0 ? ", " : "", walk->by_ctid ? "t.ctid" : walk->key_columns[i]);
}

/* ---- rows ---- */

/* Views are offsets plus one while the storage still grows; settle() turns them into addresses. */
static const uint8_t *
keep(struct buf *storage, const void *data, size_t len)
{
    size_t at = storage->len;

    buf_add(storage, data, len);
    return (const uint8_t *)(uintptr_t)(at + 1);
}

static void
settle(const uint8_t **ptr, const struct buf *storage)
{
    if (*ptr != NULL)
        *ptr = storage->ptr + (uintptr_t)*ptr - 1;
}

static bool
has_data(const struct coffer_value *v)
{
    return v->type == COFFER_BYTES || v->type == COFFER_TEXT || v->type == COFFER_NUMERIC ||
           v->type == COFFER_UUID || v->type == COFFER_JSON;
}

static int
take_value(Oid oid, struct bytes raw, struct buf *storage, struct coffer_value *out)
{
    int rc = pg_value_decode(oid, raw, storage, out);

    if (rc != COFFER_OK) {
        *out = (struct coffer_value){0};
        return rc;
    }
    if (out->type == COFFER_NUMERIC) { /* its text is in the storage already */
        out->data = (const uint8_t *)(uintptr_t)out->i64;
        out->i64 = 0;
    } else if (has_data(out)) {
        out->data = keep(storage, out->data, out->len);
    }
    return COFFER_OK;
}

/* A plaintext that would not come back as the same bytes is never sealed. */
static bool
survives(Oid oid, const struct coffer_value *value, const struct buf *storage, struct bytes raw,
         struct buf *scratch)
{
    struct coffer_value settled = *value;

    if (has_data(&settled))
        settle(&settled.data, storage);
    buf_clear(scratch);
    if (!pg_value_encode(oid, &settled, scratch))
        return false;
    /* NaN and the infinities have no digits; the scale that comes with them means nothing. */
    if (oid == PG_NUMERIC && raw.len == 8 && (raw.ptr[4] & 0xC0) == 0xC0)
        return true;
    return bytes_equal(buf_view(scratch), raw);
}

static void
take_cell(const struct pg_walk_cell *c, const PGresult *result, int row, int *column,
          struct db_cell *out, struct buf *storage, struct buf *scratch)
{
    struct bytes raw = pg_field(result, row, (*column)++);
    struct bytes sealed = c->in_place ? raw : pg_field(result, row, (*column)++);

    if (raw.ptr != NULL) {
        out->stored_plain = (struct bytes){keep(storage, raw.ptr, raw.len), raw.len};
        if (take_value(c->type->oid, raw, storage, &out->plain) != COFFER_OK ||
            !survives(c->type->oid, &out->plain, storage, raw, scratch)) {
            out->plain = (struct coffer_value){0};
            out->plain_unsuitable = true;
        } else if (out->plain.type == COFFER_TEXT || out->plain.type == COFFER_JSON) {
            out->plain.type = c->want.cell.type;
        }
    }
    if (sealed.ptr != NULL)
        out->sealed = (struct bytes){keep(storage, sealed.ptr, sealed.len), sealed.len};
}

/* The padding of char(n) is no part of a value, and so not of a place; the key keeps it, to find the row by. */
static int
bare_places(const struct pg_walk *walk, struct db_batch *batch, struct coffer_error *err)
{
    size_t padded = 0;

    for (size_t k = 0; k < walk->key_count && !walk->by_ctid; k++)
        padded += walk->key_types[k]->oid == PG_BPCHAR;
    if (padded == 0 || batch->place_count == 0 || batch->count == 0)
        return COFFER_OK;
    batch->places = mem_array(batch->count, batch->key_count * sizeof *batch->places);
    if (batch->places == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < batch->count; i++) {
        struct coffer_value *place = batch->places + i * batch->key_count;

        memcpy(place, batch->rows[i].key, batch->key_count * sizeof *place);
        for (size_t k = 0; k < batch->key_count; k++)
            while (walk->key_types[k]->oid == PG_BPCHAR && place[k].len > 0 && place[k].data[place[k].len - 1] == ' ')
                place[k].len--;
        batch->rows[i].place = place;
    }
    return COFFER_OK;
}

static int
take_rows(const struct pg_walk *walk, const PGresult *result, struct db_batch *batch,
          struct coffer_error *err)
{
    size_t i, k, n = (size_t)PQntuples(result);
    struct buf scratch;
    int rc = COFFER_OK;

    buf_init(&scratch, PG_PARAMS_MAX);
    for (i = 0; rc == COFFER_OK && i < n; i++) {
        struct db_row *row = &batch->rows[i];
        int column = 0;

        batch->count++;
        for (k = 0; k < walk->key_count; k++) {
            Oid oid = walk->by_ctid ? PG_INT8 : walk->key_types[k]->oid;

            if (take_value(oid, pg_field(result, (int)i, column++), &batch->storage,
                           &row->key[k]) != COFFER_OK)
                rc = error_set(err, COFFER_E_FORMAT, "a key of %s cannot be read",
                               walk->table->name);
        }
        for (k = 0; k < walk->cell_count; k++)
            take_cell(&walk->cells[k], result, (int)i, &column, &row->cells[k], &batch->storage,
                      &scratch);
    }
    buf_wipe(&scratch);
    buf_u8(&batch->storage, 0); /* an empty value at the very end has an address too */
    if (rc == COFFER_OK)
        rc = buf_status(&batch->storage, err);
    for (i = 0; rc == COFFER_OK && i < n; i++) {
        struct db_row *row = &batch->rows[i];

        for (k = 0; k < walk->key_count; k++) {
            if (has_data(&row->key[k]))
                settle(&row->key[k].data, &batch->storage);
        }
        for (k = 0; k < walk->cell_count; k++) {
            settle(&row->cells[k].stored_plain.ptr, &batch->storage);
            settle(&row->cells[k].sealed.ptr, &batch->storage);
            if (has_data(&row->cells[k].plain))
                settle(&row->cells[k].plain.data, &batch->storage);
        }
    }
    return rc == COFFER_OK ? bare_places(walk, batch, err) : rc;
}

static int
blocks_of(struct pg_walk *walk, uint64_t *blocks, struct coffer_error *err)
{
    struct pg_params params;
    PGresult *result = NULL;
    int rc;

    pg_params_init(&params);
    (void)pg_params_oid(&params, walk->rel.oid);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg_of_walk(walk),
                     "SELECT pg_catalog.pg_relation_size($1::pg_catalog.regclass) /"
                     " pg_catalog.current_setting('block_size')::pg_catalog.int8",
                     &params, &result, err);
    if (rc == COFFER_OK)
        *blocks = (uint64_t)pg_int(result, 0, 0);
    PQclear(result);
    pg_params_wipe(&params);
    return rc;
}

/* Rows by their address: a window of blocks at a time, since only that is a range scan; an ORDER BY
 * over the whole rest would sort it. */
static int
read_by_ctid(struct pg_walk *walk, const struct coffer_value *after,
             const struct coffer_value *until, size_t limit, PGresult **result, bool *end,
             struct coffer_error *err)
{
    uint64_t from = after != NULL ? (uint64_t)after[0].i64 : 0, blocks = 0, stop, window = 128;
    int rc = blocks_of(walk, &blocks, err);
    struct buf sql;

    stop = blocks << 16;
    if (until != NULL && (uint64_t)until[0].i64 < stop)
        stop = (uint64_t)until[0].i64;
    buf_init(&sql, PG_SQL_MAX);
    *end = false;
    while (rc == COFFER_OK && *result == NULL) {
        uint64_t to = ((from >> 16) + window) << 16;

        if (to >= stop) {
            to = stop;
            *end = true;
        }
        buf_clear(&sql);
        select_list(walk, &sql);
        cell_list(walk, &sql);
        where(walk, &sql);
        buf_format(&sql,
                   " AND t.ctid > '(%llu,%llu)'::pg_catalog.tid AND t.ctid <= "
                   "'(%llu,%llu)'::pg_catalog.tid",
                   (unsigned long long)(from >> 16), (unsigned long long)(from & 0xFFFF),
                   (unsigned long long)(to >> 16), (unsigned long long)(to & 0xFFFF));
        order(walk, &sql);
        buf_format(&sql, " LIMIT %zu", limit);
        rc = buf_status(&sql, err);
        if (rc == COFFER_OK)
            rc = pg_read(pg_of_walk(walk), buf_cstr(&sql), NULL, result, err);
        if (rc != COFFER_OK)
            break;
        if ((size_t)PQntuples(*result) >= limit)
            *end = false;
        if (PQntuples(*result) == 0 && !*end) {
            PQclear(*result);
            *result = NULL;
            from = to;
            window = window < 16384 ? window * 2 : window;
        }
    }
    buf_wipe(&sql);
    return rc;
}

static int
read_by_key(struct pg_walk *walk, const struct coffer_value *after,
            const struct coffer_value *until, size_t limit, PGresult **result, bool *end,
            struct coffer_error *err)
{
    struct pg_params params;
    struct buf sql;
    int rc;

    pg_params_init(&params);
    buf_init(&sql, PG_SQL_MAX);
    select_list(walk, &sql);
    cell_list(walk, &sql);
    where(walk, &sql);
    if (after != NULL)
        boundary(walk, ">", after, &sql, &params);
    if (until != NULL)
        boundary(walk, "<=", until, &sql, &params);
    order(walk, &sql);
    buf_format(&sql, " LIMIT %zu", limit);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = pg_read(pg_of_walk(walk), buf_cstr(&sql), &params, result, err);
    if (rc == COFFER_OK)
        *end = (size_t)PQntuples(*result) < limit;
    buf_wipe(&sql);
    pg_params_wipe(&params);
    return rc;
}

int
pg_walk_read(struct db_walk *base, const struct coffer_value *after,
             const struct coffer_value *until, size_t limit, struct db_batch **out,
             struct coffer_error *err)
{
    struct pg_walk *walk = (struct pg_walk *)base;
    struct db_batch *batch = NULL;
    PGresult *result = NULL;
    bool end = false;
    int rc;

    *out = NULL;
    rc = walk->by_ctid ? read_by_ctid(walk, after, until, limit, &result, &end, err)
                       : read_by_key(walk, after, until, limit, &result, &end, err);
    if (rc == COFFER_OK)
        rc = batch_new(walk->key_count, walk->table->key_kind == DB_KEY_PRIMARY, walk->cell_count,
                       (size_t)PQntuples(result), &batch, err);
    if (rc == COFFER_OK) {
        batch->end = end;
        rc = take_rows(walk, result, batch, err);
    }
    PQclear(result);
    if (rc == COFFER_OK)
        *out = batch;
    else
        db_batch_free(batch);
    return rc;
}

/* By address a chunk is cut by blocks: as many as hold that many rows on average. */
static int
bound_by_ctid(struct pg_walk *walk, const struct coffer_value *after, uint64_t rows,
              struct db_result **key, bool *found, struct coffer_error *err)
{
    uint64_t blocks = 0, from = after != NULL ? (uint64_t)after[0].i64 >> 16 : 0, step;
    struct coffer_value at = {.type = COFFER_INT64};
    int rc = blocks_of(walk, &blocks, err);
    double density = walk->rel.pages > 0 && walk->rel.tuples > 0
                         ? walk->rel.tuples / (double)walk->rel.pages
                         : 50;

    if (rc != COFFER_OK)
        return rc;
    step = (uint64_t)((double)rows / density) + 1;
    *found = from + step < blocks;
    if (!*found)
        return COFFER_OK;
    at.i64 = (int64_t)((from + step) << 16);
    return pg_run(walk->walk.db, "SELECT $1", &at, 1, key, err);
}

int
pg_walk_bound(struct db_walk *base, const struct coffer_value *after, uint64_t rows,
              struct db_result **key, bool *found, struct coffer_error *err)
{
    struct pg_walk *walk = (struct pg_walk *)base;
    struct pg_params params;
    PGresult *result = NULL;
    struct buf sql;
    int rc;

    *key = NULL;
    *found = false;
    if (rows == 0)
        return error_set(err, COFFER_E_MISUSE, "a chunk needs at least one row");
    if (walk->by_ctid)
        return bound_by_ctid(walk, after, rows, key, found, err);
    pg_params_init(&params);
    buf_init(&sql, PG_SQL_MAX);
    select_list(walk, &sql);
    buf_format(&sql, " FROM %s AS t WHERE true", walk->rel.quoted);
    if (after != NULL)
        boundary(walk, ">", after, &sql, &params);
    order(walk, &sql);
    buf_format(&sql, " OFFSET %llu LIMIT 1", (unsigned long long)(rows - 1));
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = pg_read(pg_of_walk(walk), buf_cstr(&sql), &params, &result, err);
    if (rc == COFFER_OK && PQntuples(result) == 1) {
        *found = true;
        rc = pg_result_of(result, key, err);
    }
    PQclear(result);
    buf_wipe(&sql);
    pg_params_wipe(&params);
    return rc;
}
