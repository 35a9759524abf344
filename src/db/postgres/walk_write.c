/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half of a walk: one short transaction, one statement for all rows of the batch.
 *
 * Two round trips: BEGIN, settings, guard and UPDATE go out together; COMMIT follows when what the
 * UPDATE returned was looked at. A crash before COMMIT leaves nothing; after it, every row is as it
 * should be.
 */
#include "walk.h"

#include <stdio.h>
#include <string.h>

/* What the rows of a batch have in common for one cell. */
struct cell_plan {
    bool touched;                   /* some row sets it */
    bool set_plain, set_sealed;     /* some row sets this */
    bool every_plain, every_sealed; /* all rows do */
    bool new_plain_null, new_sealed_null, old_plain_null,
        old_sealed_null; /* NULL in all rows that count */
};

static bool
sets(const struct db_cell *cell)
{
    return cell->set_plain || cell->set_sealed;
}

static bool
row_counts(const struct db_row *row, size_t cells)
{
    size_t i;

    for (i = 0; i < cells; i++) {
        if (sets(&row->cells[i]))
            return true;
    }
    return false;
}

static void
plan_cell(const struct db_batch *batch, size_t index, struct cell_plan *plan)
{
    size_t i;

    *plan = (struct cell_plan){false, false, false, true, true, true, true, true, true};
    for (i = 0; i < batch->count; i++) {
        const struct db_cell *cell = &batch->rows[i].cells[index];

        if (!row_counts(&batch->rows[i], batch->cell_count))
            continue;
        plan->touched |= sets(cell);
        plan->set_plain |= cell->set_plain;
        plan->set_sealed |= cell->set_sealed;
        plan->every_plain &= cell->set_plain;
        plan->every_sealed &= cell->set_sealed;
        plan->new_plain_null &= !cell->set_plain || cell->new_plain.type == COFFER_NULL;
        plan->new_sealed_null &= !cell->set_sealed || cell->new_sealed.ptr == NULL;
        plan->old_plain_null &= cell->stored_plain.ptr == NULL;
        plan->old_sealed_null &= cell->sealed.ptr == NULL;
    }
}

/* ---- parameters: one array a column of the list l ---- */

struct builder {
    const struct pg_walk *walk;
    const struct db_batch *batch;
    struct pg_params *params;
    struct buf from, alias; /* unnest($1), …   and   k0, k1, … */
};

enum field { OLD_PLAIN, OLD_SEALED, NEW_PLAIN, NEW_SEALED, FLAG_PLAIN, FLAG_SEALED };

static void
column_begin(struct builder *b, Oid array, Oid element, const char *name, size_t index)
{
    int number = pg_params_array(b->params, array, element);

    buf_format(&b->from, "%spg_catalog.unnest($%d)", number > 1 ? ", " : "", number);
    buf_format(&b->alias, "%s%s%zu", number > 1 ? ", " : "", name, index);
}

static void
add_keys(struct builder *b)
{
    size_t i, k;

    for (k = 0; k < b->walk->key_count; k++) {
        const struct pg_type *type = b->walk->key_types[k];

        column_begin(b, b->walk->by_ctid ? 1009 : type->array,
                     b->walk->by_ctid ? PG_TEXT : type->oid, "k", k);
        for (i = 0; i < b->batch->count; i++) {
            const struct db_row *row = &b->batch->rows[i];
            char tid[48];

            if (!row_counts(row, b->batch->cell_count))
                continue;
            if (!b->walk->by_ctid) {
                pg_params_element_value(b->params, type->oid, &row->key[k]);
                continue;
            }
            snprintf(tid, sizeof tid, "(%llu,%llu)", (unsigned long long)row->key[0].i64 >> 16,
                     (unsigned long long)row->key[0].i64 & 0xFFFF);
            pg_params_element(b->params, bytes_str(tid));
        }
        pg_params_array_end(b->params);
    }
}

static void
add_flag(struct pg_params *params, bool set)
{
    uint8_t byte = set;

    pg_params_element(params, bytes_of(&byte, 1));
}

static void
add_cell(struct builder *b, size_t index, enum field field, const char *name, Oid array,
         Oid element)
{
    size_t i;

    column_begin(b, array, element, name, index);
    for (i = 0; i < b->batch->count; i++) {
        const struct db_cell *cell = &b->batch->rows[i].cells[index];

        if (!row_counts(&b->batch->rows[i], b->batch->cell_count))
            continue;
        switch (field) {
        case OLD_PLAIN:
            pg_params_element(b->params, cell->stored_plain);
            break;
        case OLD_SEALED:
            pg_params_element(b->params, cell->sealed);
            break;
        case NEW_PLAIN:
            pg_params_element_value(b->params, element,
                                    cell->set_plain ? &cell->new_plain : &(struct coffer_value){0});
            break;
        case NEW_SEALED:
            pg_params_element(b->params, cell->set_sealed ? cell->new_sealed : (struct bytes){0});
            break;
        case FLAG_PLAIN:
            add_flag(b->params, cell->set_plain);
            break;
        case FLAG_SEALED:
            add_flag(b->params, cell->set_sealed);
            break;
        }
    }
    pg_params_array_end(b->params);
}

/* ---- the statement ---- */

static void
send(const struct pg_type *type, const char *format, size_t index, struct buf *out)
{
    char expression[32];

    snprintf(expression, sizeof expression, format, index);
    pg_type_send(type, expression, out);
}

/* SET plain = …, sealed = … */
static void
assign(const struct pg_walk *walk, size_t i, const struct cell_plan *plan, bool *first,
       struct buf *set)
{
    const struct pg_walk_cell *c = &walk->cells[i];
    char value[32];

    if (plan->set_plain) {
        buf_format(set, "%s%s = ", *first ? "" : ", ", c->plain_name);
        *first = false;
        snprintf(value, sizeof value, "l.np%zu", i);
        if (!plan->every_plain)
            buf_format(set, "CASE WHEN l.fp%zu THEN ", i);
        if (plan->new_plain_null)
            buf_str(set, "NULL");
        else
            pg_walk_cast(walk, c->type, value, set);
        if (!plan->every_plain && c->in_place && plan->set_sealed)
            buf_format(set, " WHEN l.fs%zu THEN l.ns%zu", i, i);
        if (!plan->every_plain)
            buf_format(set, " ELSE %s END", c->plain);
        if (c->in_place)
            return;
    }
    if (plan->set_sealed) {
        buf_format(set, "%s%s = ", *first ? "" : ", ",
                   c->in_place ? c->plain_name : c->sealed_name);
        *first = false;
        if (!plan->every_sealed)
            buf_format(set, "CASE WHEN l.fs%zu THEN ", i);
        snprintf(value, sizeof value, "l.ns%zu", i);
        if (plan->new_sealed_null)
            buf_str(set, "NULL");
        else if (c->in_place)
            pg_walk_cast(walk, c->type, value, set);
        else
            buf_str(set, value);
        if (!plan->every_sealed)
            buf_format(set, " ELSE %s END", c->in_place ? c->plain : c->sealed);
    }
}

/* AND this column is still NULL.  The list is part of it so that the planner cannot take it for a
 * filter of the table: it knows no values of a new companion, expects next to no row to pass, and
 * would look up the whole batch again for each row that does. */
static void
still_null(const char *column, struct buf *where)
{
    buf_format(where, " AND (%s IS NULL OR l.n < 0)", column);
}

/* AND what is stored is what was read, byte by byte. */
static void
compare_old(const struct pg_walk *walk, size_t i, const struct cell_plan *plan, struct buf *where)
{
    const struct pg_walk_cell *c = &walk->cells[i];

    if (plan->old_plain_null) {
        still_null(c->plain, where);
    } else {
        buf_str(where, " AND ");
        pg_type_send(c->type, c->plain, where);
        buf_format(where, " IS NOT DISTINCT FROM l.op%zu", i);
    }
    if (c->in_place)
        return;
    if (plan->old_sealed_null)
        still_null(c->sealed, where);
    else
        buf_format(where, " AND %s IS NOT DISTINCT FROM l.os%zu", c->sealed, i);
}

/* AND what came back is what was sent. */
static void
compare_new(const struct pg_walk *walk, size_t i, const struct cell_plan *plan,
            struct buf *returning)
{
    const struct pg_walk_cell *c = &walk->cells[i];

    if (plan->set_plain) {
        buf_str(returning, " AND (");
        if (!plan->every_plain)
            buf_format(returning, "NOT l.fp%zu OR ", i);
        if (plan->new_plain_null) {
            buf_format(returning, "%s IS NULL", c->plain);
        } else {
            pg_type_send(c->type, c->plain, returning);
            buf_str(returning, " IS NOT DISTINCT FROM ");
            send(c->type, "l.np%zu", i, returning);
        }
        buf_str(returning, ")");
    }
    if (plan->set_sealed) {
        buf_str(returning, " AND (");
        if (!plan->every_sealed)
            buf_format(returning, "NOT l.fs%zu OR ", i);
        if (plan->new_sealed_null) {
            buf_format(returning, "%s IS NULL", c->in_place ? c->plain : c->sealed);
        } else if (c->in_place) {
            pg_type_send(c->type, c->plain, returning);
            buf_str(returning, " IS NOT DISTINCT FROM ");
            send(c->type, "l.ns%zu", i, returning);
        } else {
            buf_format(returning, "%s IS NOT DISTINCT FROM l.ns%zu", c->sealed, i);
        }
        buf_str(returning, ")");
    }
}

static void
join_keys(const struct pg_walk *walk, const char *list, struct buf *out)
{
    size_t k;

    for (k = 0; k < walk->key_count; k++) {
        char value[32];

        buf_str(out, k > 0 ? " AND " : "");
        if (walk->by_ctid) {
            buf_format(out, "t.ctid = %s.k%zu::pg_catalog.tid", list, k);
            continue;
        }
        snprintf(value, sizeof value, "%s.k%zu", list, k);
        buf_format(out, "%s = ", walk->key_columns[k]);
        pg_walk_cast(walk, walk->key_types[k], value, out);
        /* Under citext and case-blind collations 'bob' finds 'Bob': another place, for which
         * nothing was sealed. */
        if (walk->key_types[k]->coffer == COFFER_TEXT ||
            walk->key_types[k]->coffer == COFFER_NUMERIC ||
            walk->key_types[k]->coffer == COFFER_FLOAT64) {
            buf_str(out, " AND ");
            pg_type_send(walk->key_types[k], walk->key_columns[k], out);
            buf_str(out, " = ");
            pg_type_send(walk->key_types[k], value, out);
        }
    }
}

static void
build(struct builder *b, bool wait, struct buf *sql)
{
    const struct pg_walk *walk = b->walk;
    struct buf set, where, returning;
    bool first = true;
    size_t i;

    buf_init(&set, PG_SQL_MAX);
    buf_init(&where, PG_SQL_MAX);
    buf_init(&returning, PG_SQL_MAX);
    add_keys(b);
    for (i = 0; i < walk->cell_count; i++) {
        const struct pg_walk_cell *c = &walk->cells[i];
        Oid form = pg_cell_text(c) ? c->type->oid : PG_BYTEA,
            form_array = pg_cell_text(c) ? c->type->array : 1001;
        struct cell_plan plan;

        plan_cell(b->batch, i, &plan);
        if (!plan.touched)
            continue;
        if (!plan.old_plain_null)
            add_cell(b, i, OLD_PLAIN, "op", 1001, PG_BYTEA);
        if (!c->in_place && !plan.old_sealed_null)
            add_cell(b, i, OLD_SEALED, "os", 1001, PG_BYTEA);
        if (plan.set_plain && !plan.new_plain_null)
            add_cell(b, i, NEW_PLAIN, "np", c->type->array, c->type->oid);
        if (plan.set_plain && !plan.every_plain)
            add_cell(b, i, FLAG_PLAIN, "fp", 1000, PG_BOOL);
        if (plan.set_sealed && (!plan.new_sealed_null || c->in_place))
            add_cell(b, i, NEW_SEALED, "ns", form_array, form);
        if (plan.set_sealed && !plan.every_sealed)
            add_cell(b, i, FLAG_SEALED, "fs", 1000, PG_BOOL);
        assign(walk, i, &plan, &first, &set);
        compare_old(walk, i, &plan, &where);
        compare_new(walk, i, &plan, &returning);
    }
    buf_format(sql, "UPDATE %s AS t SET ", walk->rel.quoted);
    buf_bytes(sql, buf_view(&set));
    buf_str(sql, " FROM (SELECT t.ctid AS c, t.tableoid AS o, u.* FROM ");
    buf_format(sql, "%s AS t JOIN ROWS FROM (", walk->rel.quoted);
    buf_bytes(sql, buf_view(&b->from));
    buf_str(sql, ") WITH ORDINALITY AS u(");
    buf_bytes(sql, buf_view(&b->alias));
    buf_str(sql, ", n) ON ");
    join_keys(walk, "u", sql);
    buf_format(
        sql, " ORDER BY u.n FOR NO KEY UPDATE OF t%s) AS l WHERE t.ctid = l.c AND t.tableoid = l.o",
        wait ? "" : " SKIP LOCKED");
    if (walk->rel.partitioned) { /* an address says nothing about the partition; the key prunes */
        buf_str(sql, " AND ");
        join_keys(walk, "l", sql);
    }
    buf_bytes(sql, buf_view(&where));
    buf_str(sql, " RETURNING l.n, (true");
    buf_bytes(sql, buf_view(&returning));
    buf_str(sql, ")");
    if (set.failed != COFFER_OK || where.failed != COFFER_OK || returning.failed != COFFER_OK ||
        b->from.failed != COFFER_OK)
        sql->failed = COFFER_E_LIMIT;
    buf_wipe(&returning);
    buf_wipe(&where);
    buf_wipe(&set);
}

/* ---- after the statement ---- */

static int
mangled(struct pg_walk *walk, struct coffer_error *err)
{
    struct pg_params params;
    PGresult *result = NULL;
    const char *names = "";
    int rc;

    pg_rollback(walk->walk.db);
    pg_params_init(&params);
    (void)pg_params_oid(&params, walk->rel.oid);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg_of_walk(walk),
                     "SELECT coalesce(pg_catalog.string_agg(tgname::text, ', ' ORDER BY tgname), "
                     "'none') FROM pg_catalog.pg_trigger"
                     " WHERE tgrelid = $1 AND NOT tgisinternal AND tgname NOT LIKE 'coffer%'",
                     &params, &result, err);
    if (rc == COFFER_OK) {
        names = pg_text(result, 0, 0);
        rc = error_set(err, COFFER_E_MANGLED,
                       "table %s stored something other than what was sent to it; nothing was "
                       "written. Its triggers: %s. Let them pass"
                       " rows while current_setting('coffer.rotation', true) is set, or leave the "
                       "protected columns alone",
                       walk->table->name, names);
    }
    PQclear(result);
    pg_params_wipe(&params);
    return rc;
}

/* Where the last ordinal was found: results come in the order of the list, so the search is short.
 */
struct hint {
    size_t row;
    int64_t ordinal; /* of the rows before `row` */
};

static void
mark_done(struct db_batch *batch, int64_t ordinal, struct hint *hint)
{
    size_t i;
    int64_t at;

    if (ordinal <= hint->ordinal)
        *hint = (struct hint){0, 0};
    for (i = hint->row, at = hint->ordinal; i < batch->count; i++) {
        if (batch->rows[i].outcome == DB_ROW_UNTOUCHED)
            continue;
        if (++at != ordinal)
            continue;
        batch->rows[i].outcome = DB_ROW_DONE;
        *hint = (struct hint){i + 1, at};
        return;
    }
}

/* Set outcomes from (ordinal, as sent) rows; `*same` false: something came back different. */
static void
outcomes(struct db_batch *batch, const PGresult *result, bool *same)
{
    struct hint hint = {0, 0};
    int row, n = PQntuples(result);
    size_t i;

    *same = true;
    for (i = 0; i < batch->count; i++)
        batch->rows[i].outcome =
            row_counts(&batch->rows[i], batch->cell_count) ? DB_ROW_MOVED : DB_ROW_UNTOUCHED;
    for (row = 0; row < n; row++)
        *same &= pg_int(result, row, 1) != 0;
    /* The ordinal counts the rows that were sent; how many were is known from the batch. */
    for (row = 0; row < n; row++)
        mark_done(batch, pg_int(result, row, 0), &hint);
}

static int
passed_by(struct coffer_error *err)
{
    return error_set(err, COFFER_E_CANCELLED,
                     "the rotation was paused or moved on: nothing was written");
}

static int
finish(struct pg_walk *walk, struct db_batch *batch, const struct db_guard *guard,
       const PGresult *guarded, const PGresult *updated, struct coffer_error *err)
{
    bool same;
    int rc;

    if (guard != NULL && guard->sql != NULL && PQntuples(guarded) == 0) {
        pg_rollback(walk->walk.db);
        return passed_by(err);
    }
    outcomes(batch, updated, &same);
    if (!same)
        rc = mangled(walk, err);
    else if (guard != NULL && guard->rehearse)
        rc = pg_exec(pg_of_walk(walk), "ROLLBACK", NULL, NULL, err);
    else
        rc = pg_commit(walk->walk.db, err);
    return rc;
}

/* All statements are sent at once, so that what a late worker writes may be refused before anybody
 * looks at its guard: by the fence, say, which would look like a busy row for ever. */
static int
why_failed(struct pg_walk *walk, const struct db_guard *guard, struct pg_params *params, int rc,
           struct coffer_error *err)
{
    PGresult *result = NULL;

    if (guard == NULL || guard->sql == NULL || rc == COFFER_E_LOST)
        return rc;
    if (pg_exec(pg_of_walk(walk), guard->sql, params, &result, NULL) == COFFER_OK &&
        PQntuples(result) == 0)
        rc = passed_by(err);
    PQclear(result);
    return rc;
}

static int
run_write(struct pg_walk *walk, struct db_batch *batch, const struct db_guard *guard,
          unsigned wait_ms, const char *rotation_id, const char *sql, struct pg_params *params,
          struct coffer_error *err)
{
    struct pg_params settings, guard_params;
    struct pg_statement all[4];
    size_t count = 0, guard_at = 0, update_at, i;
    char timeout[24];
    int rc;

    pg_params_init(&settings);
    pg_params_init(&guard_params);
    snprintf(timeout, sizeof timeout, "%ums", wait_ms > 0 ? wait_ms : 500);
    (void)pg_params_text(&settings, timeout);
    (void)pg_params_text(&settings, rotation_id != NULL ? rotation_id : "");
    all[count++] = (struct pg_statement){"BEGIN ISOLATION LEVEL READ COMMITTED", NULL, NULL};
    /* A worker that is frozen before its COMMIT would keep its rows, and every transition, waiting:
     * the server ends such a session well before the lease of its chunk runs out. */
    all[count++] = (struct pg_statement){"SELECT pg_catalog.set_config('lock_timeout', $1, true), "
                                         "pg_catalog.set_config('row_security', 'off', true),"
                                         " pg_catalog.set_config("
                                         "'idle_in_transaction_session_timeout', '10s', true),"
                                         " pg_catalog.set_config('coffer.rotation', $2, true)",
                                         &settings, NULL};
    if (guard != NULL && guard->sql != NULL) {
        for (i = 0; i < guard->count; i++)
            (void)pg_params_value(&guard_params, 0, &guard->params[i]);
        guard_at = count;
        all[count++] = (struct pg_statement){guard->sql, &guard_params, NULL};
    }
    update_at = count;
    all[count++] = (struct pg_statement){sql, params, NULL};
    rc = pg_params_finish(&settings, err);
    if (rc == COFFER_OK)
        rc = pg_params_finish(&guard_params, err);
    if (rc == COFFER_OK) {
        rc = pg_pipeline(pg_of_walk(walk), all, count, err);
        if (rc != COFFER_OK)
            rc = why_failed(walk, guard, &guard_params, rc, err);
    }
    if (rc == COFFER_OK) {
        rc = finish(walk, batch, guard, all[guard_at].result, all[update_at].result, err);
        for (i = 0; i < count; i++)
            PQclear(all[i].result);
    }
    pg_params_wipe(&guard_params);
    pg_params_wipe(&settings);
    return rc;
}

static void
all_moved(struct db_batch *batch)
{
    size_t i;

    for (i = 0; i < batch->count; i++)
        batch->rows[i].outcome =
            row_counts(&batch->rows[i], batch->cell_count) ? DB_ROW_MOVED : DB_ROW_UNTOUCHED;
}

int
pg_walk_write(struct db_walk *base, struct db_batch *batch, const struct db_guard *guard,
              unsigned wait_ms, const char *rotation_id, struct coffer_error *err)
{
    struct pg_walk *walk = (struct pg_walk *)base;
    struct pg_params params;
    struct builder b = {.walk = walk, .batch = batch, .params = &params};
    struct buf sql;
    size_t i;
    bool any = false;
    int rc;

    for (i = 0; i < batch->count; i++) {
        batch->rows[i].outcome = DB_ROW_UNTOUCHED;
        any |= row_counts(&batch->rows[i], batch->cell_count);
    }
    if (!any)
        return COFFER_OK;
    if (pg_in_transaction(pg_of_walk(walk)))
        return error_set(err, COFFER_E_MISUSE,
                         "a walk writes in a transaction of its own, but one is open");
    pg_params_init(&params);
    buf_init(&sql, PG_SQL_MAX);
    buf_init(&b.from, PG_SQL_MAX);
    buf_init(&b.alias, PG_SQL_MAX);
    build(&b, wait_ms > 0, &sql);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = run_write(walk, batch, guard, wait_ms, rotation_id, buf_cstr(&sql), &params, err);
    if (rc != COFFER_OK)
        all_moved(batch);
    /* What was sent passes our own constraint; a trigger made something else of it. */
    if (rc == COFFER_E_DB && err != NULL && strstr(err->message, "\"coffer_fence_") != NULL)
        rc = mangled(walk, err);
    /* Somebody held the row for longer than we were told to wait: it comes again in a later sweep.
     */
    if (rc == COFFER_E_CONFLICT && wait_ms > 0)
        rc = COFFER_OK;
    buf_wipe(&b.alias);
    buf_wipe(&b.from);
    buf_wipe(&sql);
    pg_params_wipe(&params);
    return rc;
}
