/* SPDX-License-Identifier: Apache-2.0 */
/* Envelopes where none are registered: every column of every schema that may hold bytes or text,
 * large objects, and a list of what this role cannot read. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

/* Numbers, dates and the like cannot hold an envelope.  A partition counts under its root's name,
 * as columns are registered. */
static const char columns_sql[] =
    "SELECT n.nspname::text, c.relname::text, a.attname::text, coalesce(b.typname, t.typname) = "
    "'bytea',"
    " c.relkind = 'f' OR NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
    " OR NOT pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),"
    " coalesce((SELECT rn.nspname || '.' || rc.relname FROM pg_catalog.pg_class rc JOIN "
    "pg_catalog.pg_namespace rn"
    " ON rn.oid = rc.relnamespace WHERE c.relispartition AND rc.oid = "
    "pg_catalog.pg_partition_root(c.oid)),"
    " n.nspname || '.' || c.relname) || '.' || a.attname"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid JOIN pg_catalog.pg_type t ON t.oid = "
    "a.atttypid"
    " LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'"
    " LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'"
    " WHERE c.relkind IN ('r', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped"
    " AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'coffer') AND "
    "n.nspname NOT LIKE 'pg\\_temp\\_%'"
    " AND n.nspname NOT LIKE 'pg\\_toast\\_temp\\_%'"
    " AND coalesce(e.typcategory, b.typcategory, t.typcategory) IN ('S', 'U', 'A', 'C', 'P')"
    " AND coalesce(e.typname, b.typname, t.typname) <> ALL "
    "('{uuid,name,macaddr,macaddr8,pg_lsn,xid8,txid_snapshot}')"
    " ORDER BY 1, 2, a.attnum";

#define TEXT_SHAPE "cfr1[.][0-9a-f]{8}[.][A-Za-z0-9_-]{64}"

static bool
is_known(const char *name, const char *const *known, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strcmp(name, known[i]) == 0)
            return true;
    }
    return false;
}

static void
search_sql(const char *schema, const char *table, const char *column, bool bytea, struct buf *sql)
{
    struct buf name;
    const char *c;

    buf_init(&name, 4 * DB_NAME_MAX);
    buf_str(&name, "t.");
    pg_quote(&name, column);
    c = buf_cstr(&name);
    if (bytea) {
        buf_format(sql,
                   "SELECT count(*), pg_catalog.min(pg_catalog.encode(pg_catalog.substr(%s, 5, 4), "
                   "'hex')) FROM ONLY ",
                   c);
    } else {
        buf_format(
            sql,
            "SELECT count(*), pg_catalog.min(coalesce(pg_catalog.\"substring\"(%s::pg_catalog.text "
            "COLLATE pg_catalog.\"C\","
            " 'cfr1[.]([0-9a-f]{8})[.]'), pg_catalog.\"substring\"(%s::pg_catalog.text COLLATE "
            "pg_catalog.\"C\","
            " 'xf90[12]0[0-6]0[0-9a]([0-9a-f]{8})'))) FROM ONLY ",
            c, c);
    }
    pg_quote(sql, schema);
    buf_str(sql, ".");
    pg_quote(sql, table);
    buf_str(sql, " AS t WHERE ");
    if (bytea) { /* the marker first, or text form kept in bytes */
        pg_sql_is_sealed(sql, c, false);
    } else {
        buf_format(sql,
                   "%s::pg_catalog.text COLLATE pg_catalog.\"C\" ~ '" TEXT_SHAPE
                   "|xf90[12]0[0-6]0[0-9a][0-9a-f]{88}'",
                   c);
    }
    buf_wipe(&name);
}

static int
give(const char *name, int64_t count, const char *hex, bool unreadable, db_find_fn fn, void *arg,
     struct coffer_error *err)
{
    struct db_find find = {.count = (uint64_t)count, .unreadable = unreadable};
    uint8_t id[4];
    size_t len;

    snprintf(find.column, sizeof find.column, "%s", name);
    if (hex_decode(bytes_str(hex), id, sizeof id, &len) && len == 4)
        find.key_id = get_be32(id);
    return fn(arg, &find, err);
}

static int
search_column(struct pg *pg, const PGresult *columns, int row, db_find_fn fn, void *arg,
              struct coffer_error *err)
{
    char name[2 * DB_NAME_MAX];
    PGresult *result = NULL;
    struct buf sql;
    int rc;

    snprintf(name, sizeof name, "%s.%s.%s", pg_text(columns, row, 0), pg_text(columns, row, 1),
             pg_text(columns, row, 2));
    if (pg_int(columns, row, 4) != 0)
        return give(name, 0, "", true, fn, arg, err);
    buf_init(&sql, PG_SQL_MAX);
    search_sql(pg_text(columns, row, 0), pg_text(columns, row, 1), pg_text(columns, row, 2),
               pg_int(columns, row, 3) != 0, &sql);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = pg_read(pg, buf_cstr(&sql), NULL, &result, err);
    buf_wipe(&sql);
    /* Row-level security, a view that was not refreshed, a type without text: it cannot be read,
     * and that is what is said. */
    if (rc == COFFER_E_DB)
        return give(name, 0, "", true, fn, arg, err);
    if (rc == COFFER_OK && pg_int(result, 0, 0) > 0)
        rc = give(name, pg_int(result, 0, 0), pg_text(result, 0, 1), false, fn, arg, err);
    PQclear(result);
    return rc;
}

static int
search_large_objects(struct pg *pg, db_find_fn fn, void *arg, struct coffer_error *err)
{
    struct buf sql;
    PGresult *result = NULL;
    int rc;

    buf_init(&sql, PG_SQL_MAX);
    buf_str(&sql, "SELECT count(*) FILTER (WHERE NOT mine), count(*) FILTER (WHERE ");
    pg_sql_is_sealed(&sql, "b", false);
    buf_str(&sql, "), min(pg_catalog.encode(pg_catalog.substr(b, 5, 4), 'hex')) FROM (SELECT mine, "
                  "CASE WHEN mine THEN"
                  " pg_catalog.lo_get(oid, 0, 128) END AS b FROM (SELECT oid, "
                  "pg_catalog.pg_has_role(lomowner, 'USAGE') AS mine"
                  " FROM pg_catalog.pg_largeobject_metadata) m) s");
    rc = pg_read(pg, buf_cstr(&sql), NULL, &result, err);
    buf_wipe(&sql);
    if (rc == COFFER_OK && pg_int(result, 0, 0) > 0)
        rc = give("large objects of other roles", 0, "", true, fn, arg, err);
    if (rc == COFFER_OK && pg_int(result, 0, 1) > 0)
        rc =
            give("large objects", pg_int(result, 0, 1), pg_text(result, 0, 2), false, fn, arg, err);
    PQclear(result);
    return rc;
}

static int
list_databases(struct pg *pg, db_find_fn fn, void *arg, struct coffer_error *err)
{
    PGresult *result = NULL;
    int row, rc = pg_exec(pg,
                          "SELECT 'database ' || datname FROM pg_catalog.pg_database WHERE "
                          "datallowconn AND NOT datistemplate"
                          " AND datname <> pg_catalog.current_database() ORDER BY 1",
                          NULL, &result, err);

    /* One connection sees one database: the others are for a run of their own. */
    for (row = 0; rc == COFFER_OK && row < PQntuples(result); row++)
        rc = give(pg_text(result, row, 0), 0, "", true, fn, arg, err);
    PQclear(result);
    return rc;
}

int
pg_find_envelopes(struct db *db, const char *const *known, size_t known_count, db_find_fn fn,
                  void *arg, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    PGresult *columns = NULL;
    int row, rc = pg_exec(pg, columns_sql, NULL, &columns, err);

    for (row = 0; rc == COFFER_OK && row < PQntuples(columns); row++) {
        if (!is_known(pg_text(columns, row, 5), known, known_count))
            rc = search_column(pg, columns, row, fn, arg, err);
    }
    PQclear(columns);
    if (rc == COFFER_OK)
        rc = search_large_objects(pg, fn, arg, err);
    if (rc == COFFER_OK)
        rc = list_databases(pg, fn, arg, err);
    return rc;
}
