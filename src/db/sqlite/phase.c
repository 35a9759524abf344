/* SPDX-License-Identifier: Apache-2.0 */
/* The DDL of a phase, for columns with a companion; in place there is nothing to do. */
#include "db/sqlite/internal.h"

#include <stdio.h>
#include <string.h>

static void
shadow_name(struct buf *sql, const struct db_table *table, const struct db_cell_spec *cell)
{
    char name[2 * DB_NAME_MAX + 32];

    snprintf(name, sizeof name, "coffer_shadow_%s_%s", table->name, cell->plain);
    sql_ident(sql, name);
}

static int
drop_shadow(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
            struct coffer_error *err)
{
    struct buf sql;

    buf_init(&sql, 4096);
    buf_str(&sql, "DROP TRIGGER IF EXISTS ");
    shadow_name(&sql, table, cell);
    return sqlite_exec_buf(db, &sql, err);
}

/* Whoever changes the plaintext and knows nothing of the companion makes its envelope stale: it
 * goes. */
static int
make_shadow(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
            struct coffer_error *err)
{
    struct buf sql, plain, sealed;
    size_t i;
    int rc = drop_shadow(db, table, cell, err);

    if (rc != COFFER_OK)
        return rc;
    buf_init(&sql, 1u << 16);
    buf_init(&plain, 1024);
    buf_init(&sealed, 1024);
    sql_ident(&plain, cell->plain);
    sql_ident(&sealed, cell->sealed);
    buf_str(&sql, "CREATE TRIGGER ");
    shadow_name(&sql, table, cell);
    buf_format(&sql, " AFTER UPDATE OF %s ON ", buf_cstr(&plain));
    sql_ident(&sql, table->name);
    buf_format(&sql,
               " WHEN NEW.%s IS NOT NULL AND NEW.%s IS OLD.%s AND (NEW.%s IS NOT OLD.%s COLLATE "
               "BINARY OR typeof(NEW.%s)<>typeof(OLD.%s))",
               buf_cstr(&sealed), buf_cstr(&sealed), buf_cstr(&sealed), buf_cstr(&plain),
               buf_cstr(&plain), buf_cstr(&plain), buf_cstr(&plain));
    buf_str(&sql, " BEGIN UPDATE ");
    sql_ident(&sql, table->name);
    buf_format(&sql, " SET %s=NULL WHERE ", buf_cstr(&sealed));
    for (i = 0; i < table->key_count; i++) {
        buf_str(&sql, i > 0 ? " AND " : "");
        sql_ident(&sql, table->key[i]);
        buf_str(&sql, "=NEW.");
        sql_ident(&sql, table->key[i]);
    }
    buf_str(&sql, "; END");
    buf_wipe(&plain);
    buf_wipe(&sealed);
    return sqlite_exec_buf(db, &sql, err);
}

/* Asked of the database, not of `table`, which may be from before the last phase. */
static int
has_column(struct db *db, const struct db_table *table, const char *name, bool *has,
           struct coffer_error *err)
{
    struct coffer_value params[] = {
        {.type = COFFER_TEXT, .data = (const uint8_t *)table->name, .len = strlen(table->name)},
        {.type = COFFER_TEXT, .data = (const uint8_t *)name, .len = strlen(name)},
    };
    struct db_result *result = NULL;
    int rc = sqlite_run(db, "SELECT 1 FROM pragma_table_xinfo($1) WHERE name=$2 COLLATE NOCASE",
                        params, 2, &result, err);

    *has = rc == COFFER_OK && result->rows > 0;
    db_result_free(result);
    return rc;
}

static int
add_companion(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
              struct coffer_error *err)
{
    struct buf sql;
    bool has;
    int rc = has_column(db, table, cell->sealed, &has, err);

    if (rc != COFFER_OK || has)
        return rc;
    buf_init(&sql, 4096);
    buf_str(&sql, "ALTER TABLE ");
    sql_ident(&sql, table->name);
    buf_str(&sql, " ADD COLUMN ");
    sql_ident(&sql, cell->sealed);
    buf_str(&sql, " BLOB");
    return sqlite_exec_buf(db, &sql, err);
}

static int
drop_companion(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
               struct coffer_error *err)
{
    struct db_result *result = NULL;
    struct buf sql;
    bool empty, has;
    int rc = has_column(db, table, cell->sealed, &has, err);

    if (rc != COFFER_OK || !has)
        return rc;
    buf_init(&sql, 4096);
    buf_str(&sql, "SELECT 1 FROM ");
    sql_ident(&sql, table->name);
    buf_str(&sql, " WHERE ");
    sql_ident(&sql, cell->sealed);
    buf_str(&sql, " IS NOT NULL LIMIT 1");
    rc = sqlite_run(db, buf_cstr(&sql), NULL, 0, &result, err);
    empty = rc == COFFER_OK && result->rows == 0;
    db_result_free(result);
    buf_clear(&sql);
    if (rc == COFFER_OK && !empty)
        rc = error_set(err, COFFER_E_REFUSED,
                       "%s.%s still holds envelopes; unprotect the column first", table->name,
                       cell->sealed);
    if (rc == COFFER_OK)
        rc = drop_shadow(db, table, cell, err);
    buf_str(&sql, "ALTER TABLE ");
    sql_ident(&sql, table->name);
    buf_str(&sql, " DROP COLUMN ");
    sql_ident(&sql, cell->sealed);
    if (rc == COFFER_OK)
        return sqlite_exec_buf(db, &sql, err);
    buf_wipe(&sql);
    return rc;
}

int
sqlite_phase_apply(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                   int from, int to, struct coffer_error *err)
{
    int rc;

    if (cell->sealed == NULL)
        return COFFER_OK;
    rc = sqlite_begin(db, DB_TXN_WRITE, err); /* nobody fills a companion while it is dropped */
    if (rc == COFFER_OK && to == COFFER_OFF) {
        rc = sqlite_not_null_restore(db, table, cell, err);
        if (rc == COFFER_OK)
            rc = drop_companion(db, table, cell, err);
    } else if (rc == COFFER_OK) {
        rc = add_companion(db, table, cell, err);
        if (rc == COFFER_OK && to >= COFFER_DUAL)
            rc = sqlite_not_null_lift(db, table, cell, err);
        if (rc == COFFER_OK)
            rc = to == COFFER_SEALED ? drop_shadow(db, table, cell, err)
                                     : make_shadow(db, table, cell, err);
    }
    if (rc == COFFER_OK)
        return sqlite_commit(db, err);
    sqlite_rollback(db);
    return rc;
}
