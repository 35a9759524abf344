/* SPDX-License-Identifier: Apache-2.0 */
/* A table as rotate/ wants to know it: columns, their types, and the key by which it can be walked.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

/* Base types through any depth of domains; key_position is the place in the primary key. */
static const char columns_sql[] =
    "WITH RECURSIVE base AS (SELECT a.attnum, t.oid, t.typtype, t.typbasetype, t.typname FROM "
    "pg_catalog.pg_attribute a"
    " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE a.attrelid = $1 AND a.attnum > 0 AND "
    "NOT a.attisdropped UNION ALL"
    " SELECT base.attnum, t.oid, t.typtype, t.typbasetype, t.typname FROM base JOIN "
    "pg_catalog.pg_type t"
    " ON t.oid = base.typbasetype WHERE base.typtype = 'd')"
    " SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), base.oid, "
    "base.typname::text, a.attnotnull,"
    " a.attgenerated <> '', a.atthasdef OR a.attidentity <> '',"
    " coalesce(pg_catalog.array_position(i.indkey::int2[], a.attnum)::int4 + 1, 0),"
    " a.attidentity <> '' OR (a.atthasdef AND a.attgenerated = '')"
    " FROM pg_catalog.pg_attribute a JOIN base ON base.attnum = a.attnum AND base.typtype <> 'd'"
    " LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary"
    " WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/* Unique indexes over plain NOT NULL columns, the primary key first, then the shortest. */
static const char keys_sql[] =
    "SELECT i.indexrelid, i.indisprimary, a.attname::text, k.ord::int4 FROM pg_catalog.pg_index i,"
    " LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, ord), "
    "pg_catalog.pg_attribute a"
    " WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS "
    "NULL AND i.indexprs IS NULL"
    " AND k.ord <= i.indnkeyatts AND a.attrelid = $1 AND a.attnum = k.attnum"
    " AND NOT EXISTS (SELECT FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS x(n, o) "
    "JOIN pg_catalog.pg_attribute b"
    " ON b.attrelid = $1 AND b.attnum = x.n WHERE x.o <= i.indnkeyatts AND NOT b.attnotnull)"
    " ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid, k.ord";

static int
query(struct pg *pg, const char *sql, Oid oid, PGresult **out, struct coffer_error *err)
{
    struct pg_params params;
    int rc;

    pg_params_init(&params);
    (void)pg_params_oid(&params, oid);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, sql, &params, out, err);
    pg_params_wipe(&params);
    return rc;
}

static int
fill_columns(struct db_table *table, const PGresult *result, struct coffer_error *err)
{
    size_t i, n = (size_t)PQntuples(result);

    table->columns = mem_array(n, sizeof *table->columns);
    if (table->columns == NULL)
        return error_nomem(err);
    table->column_count = n;
    for (i = 0; i < n; i++) {
        struct db_column *c = &table->columns[i];
        int row = (int)i;
        const struct pg_type *type =
            pg_type_find((Oid)pg_int(result, row, 2), pg_text(result, row, 3));

        snprintf(c->name, sizeof c->name, "%s", pg_text(result, row, 0));
        snprintf(c->sql_type, sizeof c->sql_type, "%s", pg_text(result, row, 1));
        c->type = type != NULL ? type->coffer : 0;
        c->not_null = pg_int(result, row, 4) != 0;
        c->generated = pg_int(result, row, 5) != 0;
        c->has_default = pg_int(result, row, 6) != 0;
        c->key_position = (int)pg_int(result, row, 7);
        if (c->key_position > 0 && pg_int(result, row, 8) != 0)
            table->key_generated = true;
    }
    return COFFER_OK;
}

/* Take the first index whose parts we can all carry. */
static void
choose_key(struct db_table *table, const PGresult *result)
{
    int row, n = PQntuples(result), first = 0;

    while (first < n) {
        int64_t index = pg_int(result, first, 0);
        bool usable = true;

        table->key_count = 0;
        for (row = first; row < n && pg_int(result, row, 0) == index; row++) {
            const struct db_column *c = db_table_column(table, pg_text(result, row, 2));

            if (c == NULL || c->type == 0 || c->type == COFFER_JSON ||
                table->key_count >= DB_KEY_MAX) {
                usable = false;
                continue;
            }
            snprintf(table->key[table->key_count], DB_NAME_MAX, "%s", c->name);
            table->key_types[table->key_count++] = c->type;
        }
        if (usable) {
            table->key_kind = pg_int(result, first, 1) != 0 ? DB_KEY_PRIMARY : DB_KEY_UNIQUE;
            table->primary_not_null = table->key_kind == DB_KEY_PRIMARY;
            return;
        }
        first = row;
    }
    table->key_kind = DB_KEY_ROWID;
    table->key_count = 1;
    table->key_types[0] = COFFER_INT64;
    snprintf(table->key[0], DB_NAME_MAX, "ctid");
}

int
pg_table_open(struct db *db, const char *name, struct db_table **out, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    struct db_table *table = NULL;
    PGresult *columns = NULL, *keys = NULL, *more = NULL;
    struct pg_rel rel;
    int rc;

    *out = NULL;
    rc = pg_resolve(pg, name, &rel, err);
    if (rc != COFFER_OK)
        return rc;
    if (rel.kind != 'r' && rel.kind != 'p')
        return error_set(err, COFFER_E_UNSUPPORTED,
                         "\"%s\" is a %s; only tables can be protected: name the table under it",
                         name, rel.kind == 'f' ? "foreign table" : "view");
    table = mem_alloc(sizeof *table);
    if (table == NULL)
        return error_nomem(err);
    snprintf(table->name, sizeof table->name, "%.95s.%.95s", rel.schema, rel.name);
    table->partitioned = rel.partitioned;

    rc = query(pg, columns_sql, rel.oid, &columns, err);
    if (rc == COFFER_OK)
        rc = fill_columns(table, columns, err);
    if (rc == COFFER_OK)
        rc = query(pg, keys_sql, rel.oid, &keys, err);
    if (rc == COFFER_OK)
        choose_key(table, keys);
    if (rc == COFFER_OK)
        rc = query(
            pg,
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint f JOIN pg_catalog.pg_index i ON "
            "i.indrelid = f.conrelid"
            " AND i.indisprimary WHERE f.conrelid = $1 AND f.contype = 'f' AND f.confupdtype = 'c'"
            " AND f.conkey && i.indkey::int2[]),"
            " coalesce(sum(GREATEST(c.reltuples, 0))::int8, 0),"
            " coalesce(sum(pg_catalog.pg_table_size(c.oid))::int8, 0)"
            " FROM pg_catalog.pg_class c WHERE c.oid = $1"
            " OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1))",
            rel.oid, &more, err);
    if (rc == COFFER_OK) {
        table->key_cascades = pg_int(more, 0, 0) != 0;
        table->estimate_rows = (uint64_t)pg_int(more, 0, 1);
        table->estimate_bytes = (uint64_t)pg_int(more, 0, 2);
        *out = table;
        table = NULL;
    }
    PQclear(more);
    PQclear(keys);
    PQclear(columns);
    db_table_free(table);
    return rc;
}
