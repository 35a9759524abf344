/* SPDX-License-Identifier: Apache-2.0 */
/* The fence: a trigger that refuses new cells under old keys, and new plaintext.
 *
 * It compares stored bytes, so that an UPDATE of other columns of a row that was not drained yet
 * still passes.  It is ENABLE ALWAYS: replication and session_replication_role = replica do not
 * slip past it.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define FENCE_TRIES 40

static void
field(struct buf *out, const char *row, const char *name)
{
    buf_format(out, "%s.", row);
    pg_quote(out, name);
}

/* The stored bytes of `column` differ between OLD and NEW, or there is no OLD. */
static void
changed(struct buf *out, const struct pg_type *type, const char *column)
{
    struct buf name;

    buf_init(&name, 4 * DB_NAME_MAX);
    buf_str(out, "(TG_OP = 'INSERT' OR ");
    field(&name, "NEW", column);
    pg_type_send(type, buf_cstr(&name), out);
    buf_str(out, " IS DISTINCT FROM ");
    buf_clear(&name);
    field(&name, "OLD", column);
    pg_type_send(type, buf_cstr(&name), out);
    buf_str(out, ")");
    buf_wipe(&name);
}

static void
raise_with(struct buf *out, const char *table, const char *column, const char *state,
           const char *what, const char *hint)
{
    char text[3 * DB_NAME_MAX];

    buf_format(out,
               "RAISE EXCEPTION USING ERRCODE = '%s', TABLE = TG_TABLE_NAME, SCHEMA = "
               "TG_TABLE_SCHEMA, MESSAGE = ",
               state);
    snprintf(text, sizeof text, "coffer: column %s.%s: %s", table, column, what);
    pg_literal(out, text);
    buf_str(out, ", HINT = ");
    pg_literal(out, hint);
    buf_str(out, "; END IF; ");
}

static void
one_fence(struct buf *out, const struct pg_type *plain, const struct db_table *table,
          const struct db_fence *fence)
{
    const struct pg_type *bytea = pg_type_find(PG_BYTEA, NULL);
    const struct db_cell_spec *cell = &fence->cell;
    bool text = cell->sealed == NULL && cell->text_form;
    const char *stored = cell->sealed != NULL ? cell->sealed : cell->plain;
    struct buf name;
    size_t i;

    buf_init(&name, 4 * DB_NAME_MAX);
    field(&name, "NEW", stored);
    if (fence->refused_count > 0) {
        buf_format(out, "IF %s IS NOT NULL AND ", buf_cstr(&name));
        changed(out, cell->sealed != NULL ? bytea : plain, stored);
        if (text)
            buf_format(
                out,
                " AND pg_catalog.substr(%s::pg_catalog.text COLLATE pg_catalog.\"C\", 1, 14) IN (",
                buf_cstr(&name));
        else
            buf_format(out, " AND pg_catalog.substr(%s, 5, 4) IN (", buf_cstr(&name));
        for (i = 0; i < fence->refused_count; i++)
            buf_format(out, text ? "%s'cfr1.%08x.'" : "%s'\\x%08x'::pg_catalog.bytea",
                       i > 0 ? ", " : "", fence->refused[i]);
        buf_str(out, ")");
        if (!text && cell->sealed == NULL) {
            buf_str(out, " AND ");
            pg_sql_is_sealed(out, buf_cstr(&name), false);
        }
        buf_str(out, " THEN ");
        raise_with(out, table->name, cell->plain, "40001",
                   "sealed under a key that is being retired",
                   "reload the row, refresh the keyring and try again");
    }
    if (fence->refuse_plaintext) {
        buf_clear(&name);
        field(&name, "NEW", cell->plain);
        buf_format(out, "IF %s IS NOT NULL AND ", buf_cstr(&name));
        changed(out, plain, cell->plain);
        if (cell->sealed == NULL) {
            buf_str(out, " AND NOT ");
            pg_sql_is_sealed(out, buf_cstr(&name), text);
        }
        buf_str(out, " THEN ");
        raise_with(out, table->name, cell->plain, "23514", "plaintext in a sealed column",
                   "write an envelope, made with libcoffer");
    }
    buf_wipe(&name);
}

/* The function lives in schema coffer, or beside the table where that schema is missing. */
static int
function_name(struct pg *pg, const struct pg_rel *rel, char *out, size_t out_max,
              struct coffer_error *err)
{
    PGresult *result = NULL;
    struct buf name;
    int rc =
        pg_exec(pg, "SELECT pg_catalog.to_regnamespace('coffer') IS NOT NULL", NULL, &result, err);

    if (rc != COFFER_OK)
        return rc;
    buf_init(&name, 4 * DB_NAME_MAX);
    pg_quote(&name, pg_int(result, 0, 0) != 0 ? "coffer" : rel->schema);
    buf_format(&name, ".coffer_fence_%u", rel->oid);
    snprintf(out, out_max, "%s", buf_cstr(&name));
    buf_wipe(&name);
    PQclear(result);
    return COFFER_OK;
}

static int
body_of(struct pg *pg, const struct pg_rel *rel, const struct db_table *table,
        const struct db_fence *fences, size_t count, struct buf *body, struct coffer_error *err)
{
    size_t i;

    buf_str(body, "BEGIN ");
    for (i = 0; i < count; i++) {
        struct pg_attribute attribute;
        int rc = pg_attribute_find(pg, rel, fences[i].cell.plain, &attribute, err);

        if (rc != COFFER_OK)
            return rc;
        if (!attribute.found || attribute.type == NULL)
            return error_set(err, COFFER_E_NOTFOUND,
                             "table %s has no column \"%s\" of a type that can be fenced",
                             table->name, fences[i].cell.plain);
        one_fence(body, attribute.type, table, &fences[i]);
    }
    buf_str(body, "RETURN NEW; END");
    return buf_status(body, err);
}

/* Partitions have clones of the trigger, each with a firing mode of its own. */
static void
enable_always(const struct pg_rel *rel, struct buf *sql)
{
    buf_format(sql, "DO ");
    {
        struct buf block;

        buf_init(&block, PG_SQL_MAX);
        buf_format(
            &block,
            "DECLARE r pg_catalog.regclass; BEGIN FOR r IN SELECT tgrelid::pg_catalog.regclass "
            "FROM pg_catalog.pg_trigger"
            " WHERE tgname = 'coffer_zzz_fence' AND (tgrelid = %u OR tgrelid IN (SELECT relid FROM"
            " pg_catalog.pg_partition_tree(%u))) LOOP"
            " EXECUTE pg_catalog.format('ALTER TABLE %%s ENABLE ALWAYS TRIGGER coffer_zzz_fence', "
            "r); END LOOP; END",
            rel->oid, rel->oid);
        pg_literal(sql, buf_cstr(&block));
        buf_wipe(&block);
    }
}

int
pg_fence_set(struct db *db, const struct db_table *table, const struct db_fence *fences,
             size_t count, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    char function[2 * DB_NAME_MAX];
    struct pg_rel rel;
    struct buf sql, body;
    int rc = pg_resolve(pg, table->name, &rel, err);

    if (rc == COFFER_OK)
        rc = function_name(pg, &rel, function, sizeof function, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&sql, PG_SQL_MAX);
    buf_init(&body, PG_SQL_MAX);
    /* The lock waits for every writer under way: one that passed the old fence could otherwise
     * commit after the new one was counted on.  It lets readers pass, and so does all that follows:
     * a DROP TRIGGER would take ACCESS EXCLUSIVE. */
    buf_format(&sql, "LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE; ", rel.quoted);
    if (count == 0) {
        buf_format(&sql,
                   "DROP TRIGGER IF EXISTS coffer_zzz_fence ON %s; DROP FUNCTION IF EXISTS %s()",
                   rel.quoted, function);
    } else {
        rc = body_of(pg, &rel, table, fences, count, &body, err);
        buf_format(&sql, "CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql AS ",
                   function);
        pg_literal(&sql, buf_cstr(&body));
        buf_format(&sql,
                   "; CREATE OR REPLACE TRIGGER coffer_zzz_fence BEFORE INSERT OR UPDATE ON %s"
                   " FOR EACH ROW EXECUTE FUNCTION %s(); ",
                   rel.quoted, function);
        enable_always(&rel, &sql);
    }
    if (rc == COFFER_OK)
        rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = pg_ddl(pg, buf_cstr(&sql), FENCE_TRIES, err);
    buf_wipe(&body);
    buf_wipe(&sql);
    return rc;
}
