/* SPDX-License-Identifier: Apache-2.0 */
/* The fence of a table: two BEFORE triggers, replaced together in one short IMMEDIATE transaction.
 */
#include "db/sqlite/internal.h"

#include <stdio.h>

static void
trigger_name(struct buf *sql, const struct db_table *table, const char *event)
{
    char name[DB_NAME_MAX + 32];

    snprintf(name, sizeof name, "coffer_zzz_fence_%s_%s", event, table->name);
    sql_ident(sql, name);
}

/* "table.column" inside a string literal: RAISE takes nothing else. */
static void
cell_name(struct buf *sql, const struct db_table *table, const struct db_fence *fence)
{
    const char *const parts[] = {table->name, ".", fence->cell.plain};
    size_t i;

    for (i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *p;

        for (p = parts[i]; *p != '\0'; p++) {
            if (*p == '\'')
                buf_u8(sql, '\'');
            buf_u8(sql, (uint8_t)*p);
        }
    }
}

/* " WHERE <new cell is refused>" for the key, then for plaintext; one SELECT RAISE each. */
static void
refuse_keys(struct buf *sql, const struct db_table *table, const struct db_fence *fence, bool update)
{
    struct buf expr, old;
    size_t i;

    if (fence->refused_count == 0)
        return;
    buf_init(&expr, 512);
    buf_init(&old, 512);
    buf_str(&expr, "NEW.");
    sql_sealed(&expr, &fence->cell);
    buf_str(&old, "OLD.");
    sql_sealed(&old, &fence->cell);
    buf_str(sql, "SELECT RAISE(ABORT, 'coffer: 40001 ");
    cell_name(sql, table, fence);
    buf_str(sql, ": this value is sealed under a key that is being retired; reload the row, refresh "
                 "the keyring and write again') WHERE ");
    sql_shape(sql, buf_cstr(&expr), &fence->cell);
    buf_str(sql, " AND ");
    sql_key_id(sql, buf_cstr(&expr), &fence->cell);
    buf_str(sql, " IN (");
    for (i = 0; i < fence->refused_count; i++)
        buf_format(sql, "%s'%08x'", i > 0 ? "," : "", fence->refused[i]);
    buf_str(sql, ")");
    if (update)
        buf_format(sql, " AND %s IS NOT %s COLLATE BINARY", buf_cstr(&expr), buf_cstr(&old));
    buf_str(sql, "; ");
    buf_wipe(&expr);
    buf_wipe(&old);
}

static void
refuse_plaintext(struct buf *sql, const struct db_table *table, const struct db_fence *fence, bool update)
{
    struct buf name;

    if (!fence->refuse_plaintext)
        return;
    buf_init(&name, 512);
    sql_ident(&name, fence->cell.plain);
    buf_str(sql, "SELECT RAISE(ABORT, 'coffer: 23514 ");
    cell_name(sql, table, fence);
    buf_format(sql, " is sealed and takes no plaintext; write it through libcoffer') WHERE NEW.%s IS NOT NULL",
               buf_cstr(&name));
    if (fence->cell.sealed == NULL) {
        struct buf expr;

        buf_init(&expr, 512);
        buf_format(&expr, "NEW.%s", buf_cstr(&name));
        buf_str(sql, " AND NOT ");
        sql_shape(sql, buf_cstr(&expr), &fence->cell);
        buf_wipe(&expr);
    }
    if (update)
        buf_format(sql,
                   " AND (NEW.%s IS NOT OLD.%s COLLATE BINARY OR typeof(NEW.%s) <> typeof(OLD.%s))",
                   buf_cstr(&name), buf_cstr(&name), buf_cstr(&name), buf_cstr(&name));
    buf_str(sql, "; ");
    buf_wipe(&name);
}

static int
make_trigger(struct db *db, const struct db_table *table, const struct db_fence *fences,
             size_t count, bool update, struct coffer_error *err)
{
    struct buf sql;
    size_t i;

    buf_init(&sql, 1u << 20);
    buf_str(&sql, "CREATE TRIGGER ");
    trigger_name(&sql, table, update ? "update" : "insert");
    buf_format(&sql, " BEFORE %s ON ", update ? "UPDATE" : "INSERT");
    sql_ident(&sql, table->name);
    buf_str(&sql, " BEGIN ");
    for (i = 0; i < count; i++) {
        refuse_keys(&sql, table, &fences[i], update);
        refuse_plaintext(&sql, table, &fences[i], update);
    }
    buf_str(&sql, "END");
    return sqlite_exec_buf(db, &sql, err);
}

static int
drop_trigger(struct db *db, const struct db_table *table, const char *event,
             struct coffer_error *err)
{
    struct buf sql;

    buf_init(&sql, 4096);
    buf_str(&sql, "DROP TRIGGER IF EXISTS ");
    trigger_name(&sql, table, event);
    return sqlite_exec_buf(db, &sql, err);
}

int
sqlite_fence_set(struct db *db, const struct db_table *table, const struct db_fence *fences,
                 size_t count, struct coffer_error *err)
{
    bool any = false;
    size_t i;
    int rc = sqlite_begin(db, DB_TXN_WRITE, err);

    for (i = 0; i < count; i++)
        any = any || fences[i].refused_count > 0 || fences[i].refuse_plaintext;
    if (rc == COFFER_OK)
        rc = drop_trigger(db, table, "insert", err);
    if (rc == COFFER_OK)
        rc = drop_trigger(db, table, "update", err);
    if (rc == COFFER_OK && any)
        rc = make_trigger(db, table, fences, count, false, err);
    if (rc == COFFER_OK && any)
        rc = make_trigger(db, table, fences, count, true, err);
    return rc == COFFER_OK ? sqlite_commit(db, err) : rc;
}
