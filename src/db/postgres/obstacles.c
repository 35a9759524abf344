/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in the way of protecting a column, out of the catalogs: each with what it means and
 * what to do.
 *
 * One query: $1 table, $2 column number, $3 column name, $4 in place.  Every branch gives
 * (severity, kind, object, text).
 */
#include "internal.h"

#include "db/internal.h"

#include <stdio.h>
#include <string.h>

static const char table_sql[] =
    "SELECT 'r', 'temporary', c.relname::text, 'a temporary table ends with its session: protect a "
    "permanent one'"
    " FROM pg_catalog.pg_class c WHERE c.oid = $1 AND c.relpersistence = 't'"
    " UNION ALL SELECT 'r', 'partition', c.relname::text, 'this is a partition of ' || "
    "pg_catalog.pg_partition_root(c.oid)::text"
    " || ': protect the parent' FROM pg_catalog.pg_class c WHERE c.oid = $1 AND c.relispartition"
    " UNION ALL SELECT 'r', 'foreign-table', f.relname::text, 'a partition on another server "
    "cannot be walked: detach it or protect it there'"
    " FROM pg_catalog.pg_partition_tree($1) p JOIN pg_catalog.pg_class f ON f.oid = p.relid WHERE "
    "f.relkind = 'f'"
    " UNION ALL SELECT 'r', 'partition', c.relname::text, 'inherits from this table: a walk of one "
    "does not cover the other; protect both apart or"
    " end the inheritance' FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = "
    "i.inhrelid"
    " JOIN pg_catalog.pg_class q ON q.oid = i.inhparent WHERE i.inhparent = $1 AND q.relkind = 'r'"
    " UNION ALL SELECT 'r', 'partition', $3, 'the column is part of the partition key: it cannot "
    "become NULL'"
    " FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = $1 AND $2 = ANY "
    "(p.partattrs::int2[])"
    " UNION ALL SELECT CASE WHEN c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(c.relowner, "
    "'USAGE') THEN 'r' ELSE 'w' END,"
    " 'row-security', c.relname::text, 'row-level security is on: run as the owner or a role with "
    "BYPASSRLS, or rows would be hidden; policies that"
    " read the column see NULL once it is sealed' FROM pg_catalog.pg_class c WHERE c.oid = $1 AND "
    "c.relrowsecurity"
    " UNION ALL SELECT CASE WHEN c.relreplident = 'n' OR (c.relreplident = 'd' AND NOT EXISTS "
    "(SELECT FROM pg_catalog.pg_index x"
    " WHERE x.indrelid = c.oid AND x.indisprimary)) THEN 'r' ELSE 'w' END, 'publication', "
    "p.pubname::text,"
    " 'the table is published: updates need a replica identity, and subscribers hold copies of the "
    "plaintext: protect them too'"
    " FROM pg_catalog.pg_publication_tables p JOIN pg_catalog.pg_class c ON c.oid = $1 JOIN "
    "pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE p.schemaname = n.nspname AND p.tablename = c.relname"
    " UNION ALL SELECT 'r', 'rule', r.rulename::text, 'a rule rewrites statements on this table: "
    "replace it by a trigger or drop it'"
    " FROM pg_catalog.pg_rewrite r WHERE r.ev_class = $1 AND r.rulename <> '_RETURN'"
    " UNION ALL SELECT 'w', 'trigger', t.tgname::text, 'runs for every row that a rotation "
    "touches; leave those out with WHEN"
    " (coalesce(current_setting(''coffer.rotation'', true), '''') = ''''); a trigger that rewrites "
    "the column stops the rotation'"
    " FROM pg_catalog.pg_trigger t WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgname NOT "
    "LIKE 'coffer%' AND (t.tgtype & 16) <> 0"
    " UNION ALL SELECT 'r', 'encoding', pg_catalog.getdatabaseencoding()::text, 'text is sealed as "
    "UTF-8, and this database is not UTF-8'"
    " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE "
    "a.attrelid = $1 AND a.attnum = $2"
    " AND pg_catalog.getdatabaseencoding() <> 'UTF8' AND (t.typcategory = 'S' OR t.typname IN "
    "('json', 'jsonb'))";

static const char column_sql[] =
    " UNION ALL SELECT 'r', 'not-null', $3, 'the column is part of the primary key: it cannot "
    "become NULL; protect another column, or change the key'"
    " FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisprimary AND $2 = ANY "
    "(i.indkey::int2[])"
    " UNION ALL SELECT 'i', 'not-null', $3, 'NOT NULL moves to a CHECK over the column and its "
    "companion'"
    " FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum = $2 AND a.attnotnull AND "
    "NOT $4"
    " UNION ALL SELECT 'r', 'generated', $3, 'the column is generated from others: protect those, "
    "and drop it'"
    " FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum = $2 AND a.attgenerated <> "
    "''"
    " UNION ALL SELECT 'r', 'generated', g.attname::text, 'is generated from the column and holds "
    "its plaintext: drop it (ALTER TABLE … DROP COLUMN)"
    " or DROP EXPRESSION' FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attrdef e ON d.classid = "
    "'pg_catalog.pg_attrdef'::pg_catalog.regclass"
    " AND e.oid = d.objid JOIN pg_catalog.pg_attribute g ON g.attrelid = e.adrelid AND g.attnum = "
    "e.adnum WHERE d.refclassid ="
    " 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 AND d.refobjsubid = $2 AND "
    "g.attgenerated <> '' AND g.attnum <> $2"
    " UNION ALL SELECT 'r', 'default', $3, 'an INSERT that leaves the column out would store this "
    "default as plaintext, which the fence refuses:"
    " ALTER COLUMN DROP DEFAULT' FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum "
    "= $2 AND (a.atthasdef OR a.attidentity <> '')"
    " AND a.attgenerated = ''"
    " UNION ALL SELECT 'r', 'length', $3, 'envelopes in place need room: ' || "
    "pg_catalog.format_type(a.atttypid, a.atttypmod) ||"
    " ' is too narrow; change it to text, or use a companion column' FROM pg_catalog.pg_attribute "
    "a WHERE a.attrelid = $1 AND a.attnum = $2"
    " AND $4 AND a.atttypmod >= 0"
    " UNION ALL SELECT CASE WHEN $4 THEN 'r' ELSE 'w' END, 'check', k.conname::text, "
    "pg_catalog.pg_get_constraintdef(k.oid) || CASE WHEN $4 THEN"
    " ': an envelope would not pass; drop it and let the application check' ELSE ': no longer "
    "checked once the plaintext is NULL;"
    " let the application check' END FROM pg_catalog.pg_constraint k WHERE k.conrelid = $1 AND "
    "k.contype = 'c' AND $2 = ANY (k.conkey)"
    " AND k.conname NOT LIKE 'coffer%'"
    " UNION ALL SELECT CASE WHEN $4 OR t.typnotnull THEN 'r' ELSE 'w' END, 'check', "
    "t.typname::text, 'the type is a domain with constraints of its"
    " own: sealed values are checked by the application, and a NOT NULL domain cannot be emptied' "
    "FROM pg_catalog.pg_attribute a"
    " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE a.attrelid = $1 AND a.attnum = $2 AND "
    "t.typtype = 'd' AND (t.typnotnull OR EXISTS"
    " (SELECT FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid))"
    " UNION ALL SELECT 'r', 'foreign-key', k.conname::text, CASE WHEN k.conrelid = $1 AND $2 = ANY (k.conkey) THEN "
    "'the column refers to ' || k.confrelid::pg_catalog.regclass::text || ' by it, and sealed values match nothing: drop "
    "the foreign key first' ELSE k.conrelid::pg_catalog.regclass::text || ' refers to the column by it, and sealed values "
    "match nothing: protect another column, or end the foreign key in that table' END FROM "
    "pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0"
    " AND ((k.conrelid = $1 AND $2 = ANY (k.conkey)) OR (k.confrelid = $1 AND $2 = ANY "
    "(k.confkey)))"
    " UNION ALL SELECT DISTINCT CASE WHEN x.indisunique THEN 'r' ELSE 'w' END, CASE WHEN "
    "x.indisunique THEN 'unique' ELSE 'index' END, c.relname::text,"
    " CASE WHEN x.indisunique THEN 'uniqueness is no longer enforced once sealed: drop the index "
    "and let the application look' ELSE"
    " 'the index holds plaintext until the column is sealed, and finds nothing after: drop it "
    "then' END FROM pg_catalog.pg_depend d"
    " JOIN pg_catalog.pg_index x ON x.indexrelid = d.objid JOIN pg_catalog.pg_class c ON c.oid = "
    "x.indexrelid"
    " WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 AND "
    "d.refobjsubid = $2 AND NOT x.indisprimary"
    " UNION ALL SELECT DISTINCT 'r', 'unique', k.conname::text, 'uniqueness is no longer enforced "
    "once sealed: drop the constraint and let the"
    " application look' FROM pg_catalog.pg_constraint k WHERE k.conrelid = $1 AND k.contype IN "
    "('u', 'x') AND $2 = ANY (k.conkey)"
    " UNION ALL SELECT DISTINCT 'w', CASE WHEN v.relkind = 'm' THEN 'copy' ELSE 'view' END, "
    "v.oid::pg_catalog.regclass::text, CASE WHEN v.relkind ="
    " 'm' THEN 'a materialised view holds a copy of the plaintext: REFRESH it after the column was "
    "sealed' ELSE 'the view shows NULL for the column"
    " once it is sealed: add the companion to it' END FROM pg_catalog.pg_depend d JOIN "
    "pg_catalog.pg_rewrite r ON r.oid = d.objid"
    " JOIN pg_catalog.pg_class v ON v.oid = r.ev_class WHERE d.classid = "
    "'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refobjid = $1"
    " AND d.refobjsubid = $2 AND v.oid <> $1"
    " UNION ALL SELECT 'w', 'row-security', p.polname::text, 'the policy reads the column, which "
    "is NULL once it is sealed' FROM"
    " pg_catalog.pg_depend d JOIN pg_catalog.pg_policy p ON p.oid = d.objid WHERE d.classid = "
    "'pg_catalog.pg_policy'::pg_catalog.regclass"
    " AND d.refobjid = $1 AND d.refobjsubid = $2"
    " UNION ALL SELECT 'w', 'grant', $3, 'roles hold privileges on this column alone: GRANT the "
    "same on its companion'"
    " FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum = $2 AND a.attacl IS NOT "
    "NULL"
    " UNION ALL SELECT 'i', 'copy', s.stxname::text, 'extended statistics hold values of the "
    "column; they are rebuilt after it was sealed'"
    " FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = $1 AND $2 = ANY (s.stxkeys::int2[])"
    " UNION ALL SELECT 'i', 'copy', 'pg_statistic', 'the planner keeps common values of a "
    "column; they are rebuilt after it was sealed'"
    " FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum = $2"
    " UNION ALL SELECT DISTINCT 'w', 'copy', c.oid::pg_catalog.regclass::text || '.' || a.attname, "
    "'a column of the same name and type: is it a copy?"
    " Audit and history tables often are' FROM pg_catalog.pg_attribute m JOIN "
    "pg_catalog.pg_attribute a ON a.attname = m.attname AND a.atttypid ="
    " m.atttypid AND a.attrelid <> m.attrelid JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND "
    "c.relkind = 'r' AND NOT c.relispartition"
    " JOIN pg_catalog.pg_class o ON o.oid = $1"
    " WHERE m.attrelid = $1 AND m.attnum = $2 AND pg_catalog.strpos(c.relname::text, "
    "o.relname::text) > 0"
    " UNION ALL SELECT 'i', 'collation', l.collname::text, 'the collation calls different bytes "
    "equal; sealed cells are compared by bytes'"
    " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation "
    "WHERE a.attrelid = $1 AND a.attnum = $2"
    " AND NOT l.collisdeterministic";

/* Statements of this database that name the table and the column as words, most often called first, with what they do with
 * it: $1 table, $2 column as a regular expression.  Of an UPDATE only what follows WHERE compares: "SET c = $1" does not.
 * Text of others' statements is shown only to members of pg_read_all_stats. */
static const char statements_sql[] =
    "WITH s AS (SELECT s.calls, s.query, CASE WHEN s.query ~* '^\\s*update\\M' THEN coalesce("
    "pg_catalog.substring(s.query, '(?i)\\mwhere\\M.*'), '') ELSE s.query END AS q, '\\m' || $2 || '\\M\"?' AS c FROM %s s"
    " JOIN pg_catalog.pg_database d ON d.oid = s.dbid WHERE d.datname = pg_catalog.current_database()"
    " AND s.query ~* ('\\m' || $1 || '\\M') AND s.query ~* ('\\m' || $2 || '\\M') AND s.query ~* "
    "'^\\s*(with|select|update|delete|insert|merge|declare)\\M'), k AS (SELECT calls, query,"
    " CASE WHEN q ~* ('\\m(order|group)\\s+by\\M[^;)]*' || c) THEN 'sorts or groups by it'"
    " WHEN q ~* ('\\mdistinct\\M[^;)]*' || c) THEN 'looks for distinct values of it'"
    " WHEN q ~* ('\\mon\\M[^;]*' || c || '\\s*=') OR q ~* ('\\mon\\M[^;]*=\\s*[\\w.\"]*' || c) OR q ~* ('\\musing\\s*[(][^)]*' || c)"
    " THEN 'joins or compares by it'"
    " WHEN q ~* (c || '(::\\w+)?\\s*[)]?\\s*(=|<|>|!=|~|@|[|]{2}|\\m(not\\s+)?(like|ilike|in|between|similar|is\\s+(not\\s+)?distinct)\\M)')"
    " OR q ~* ('(=|<|>|~)\\s*[\\w.\"(]*' || c) THEN 'compares it' END AS does FROM s)"
    " SELECT does, calls::text, pg_catalog.left(pg_catalog.regexp_replace(query, '\\s+', ' ', 'g'), 150),"
    " (count(*) OVER ())::text FROM k WHERE does IS NOT NULL ORDER BY calls DESC, query LIMIT 5";

/* A name as a regular expression: everything but letters, digits and _ escaped. */
static void
as_expression(const char *name, struct buf *out)
{
    const char *p;

    for (p = name; *p != '\0'; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || *p == '_' || (unsigned char)*p >= 0x80;

        if (!plain)
            buf_u8(out, '\\');
        buf_u8(out, (uint8_t)*p);
    }
}

static int
view_name(struct pg *pg, char *out, size_t out_max, struct coffer_error *err)
{
    PGresult *result = NULL;
    int rc = pg_exec(pg,
                     "SELECT coalesce((SELECT pg_catalog.quote_ident(n.nspname) || "
                     "'.pg_stat_statements' FROM pg_catalog.pg_extension e"
                     " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = "
                     "'pg_stat_statements'), '')",
                     NULL, &result, err);

    snprintf(out, out_max, "%s", rc == COFFER_OK ? pg_text(result, 0, 0) : "");
    PQclear(result);
    return rc;
}

/* The view may be missing, or not ours to read: then that is said, since nothing is known. */
static int
statements(struct pg *pg, const struct pg_rel *rel, const char *column, struct db_obstacles *out,
           struct coffer_error *err)
{
    struct coffer_error reason = {0};
    PGresult *result = NULL;
    struct pg_params params;
    struct buf sql, table, name;
    char view[2 * DB_NAME_MAX];
    int row, rc = view_name(pg, view, sizeof view, err);

    if (rc != COFFER_OK)
        return rc;
    if (view[0] == '\0')
        return obstacle_add(out, 'i', "statement", "pg_stat_statements", err,
                            "is not installed here: which statements compare, sort or join by a column is "
                            "for you to find");
    buf_init(&sql, PG_SQL_MAX);
    buf_init(&table, 4 * DB_NAME_MAX);
    buf_init(&name, 4 * DB_NAME_MAX);
    buf_format(&sql, statements_sql, view);
    as_expression(rel->name, &table);
    as_expression(column, &name);
    pg_params_init(&params);
    (void)pg_params_text(&params, buf_cstr(&table));
    (void)pg_params_text(&params, buf_cstr(&name));
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, buf_cstr(&sql), &params, &result, &reason);
    pg_params_wipe(&params);
    if (rc == COFFER_E_DB) /* not loaded by the server, or not ours to read */
        rc = obstacle_add(out, 'i', "statement", "pg_stat_statements", err, "cannot be read: %.200s", reason.message);
    else if (rc != COFFER_OK)
        error_set(err, rc, "%s", reason.message);
    for (row = 0; rc == COFFER_OK && result != NULL && row < PQntuples(result); row++)
        rc = obstacle_add(out, 'w', "statement", pg_text(result, row, 0), err,
                          "(called %s times, one of %s such statements): %s. Sealed, it finds nothing that way", pg_text(result, row, 1),
                          pg_text(result, row, 3), pg_text(result, row, 2));
    PQclear(result);
    buf_wipe(&sql);
    buf_wipe(&table);
    buf_wipe(&name);
    return rc;
}

static int
query(struct pg *pg, const struct pg_rel *rel, const struct pg_attribute *attribute,
      const struct db_cell_spec *cell, struct db_obstacles *out, struct coffer_error *err)
{
    struct pg_params params;
    PGresult *result = NULL;
    uint8_t number[2], in_place = cell->sealed == NULL;
    struct buf sql;
    int rc, row;

    buf_init(&sql, PG_SQL_MAX);
    buf_str(&sql, "SELECT * FROM (");
    buf_str(&sql, table_sql);
    buf_str(&sql, column_sql);
    buf_str(&sql, ") AS o(severity, kind, object, text) ORDER BY pg_catalog.strpos('rwi', "
                  "severity), kind, object");
    pg_params_init(&params);
    put_be16(number, (uint16_t)attribute->number);
    (void)pg_params_oid(&params, rel->oid);
    (void)pg_params_raw(&params, PG_INT2, number, sizeof number);
    (void)pg_params_text(&params, cell->plain);
    (void)pg_params_raw(&params, PG_BOOL, &in_place, 1);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, buf_cstr(&sql), &params, &result, err);
    for (row = 0; rc == COFFER_OK && row < PQntuples(result); row++)
        rc = obstacle_add(out, pg_text(result, row, 0)[0], pg_text(result, row, 1),
                          pg_text(result, row, 2), err, "%s", pg_text(result, row, 3));
    PQclear(result);
    buf_wipe(&sql);
    pg_params_wipe(&params);
    return rc;
}

int
pg_obstacles(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
             struct db_obstacles *out, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    struct pg_attribute attribute;
    struct pg_rel rel;
    int rc = pg_resolve(pg, table->name, &rel, err);

    if (rc == COFFER_OK)
        rc = pg_attribute_find(pg, &rel, cell->plain, &attribute, err);
    if (rc != COFFER_OK)
        return rc;
    if (!attribute.found)
        return error_set(err, COFFER_E_NOTFOUND, "table %s has no column \"%s\"", table->name,
                         cell->plain);
    if (attribute.type == NULL)
        rc = obstacle_add(out, 'r', "type", cell->plain, err,
                          "type %s cannot be protected; possible are boolean, integers, float, "
                          "numeric, text, varchar, char, citext, bytea,"
                          " date, timestamp, uuid, json, jsonb and domains over them",
                          attribute.declared);
    if (rc == COFFER_OK && rel.partitioned && table->key_kind == DB_KEY_ROWID)
        rc = obstacle_add(
            out, 'r', "partition", rel.name, err,
            "a partitioned table needs a unique key over NOT NULL columns to be walked: add one");
    if (rc == COFFER_OK)
        rc = query(pg, &rel, &attribute, cell, out, err);
    if (rc == COFFER_OK)
        rc = statements(pg, &rel, cell->plain, out, err);
    return rc;
}
