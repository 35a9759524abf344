/* SPDX-License-Identifier: Apache-2.0 */
/* Our objects on a table after a dump and a restore.
 *
 * Constraints and triggers are named by the number of the column they are about, which a rename does not change; but a
 * dump leaves out the numbers of dropped columns, so that a restored table may have other numbers than the names say.
 * What a constraint covers tells whose it is.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

/* Constraints of one kind on the table: name, oid, about this column, bearing its name.  Those that are about it come last,
 * so that the name is free when they take it. */
static int
list(struct pg *pg, const struct pg_rel *rel, const char *kind, int plain, int sealed,
     PGresult **result, struct coffer_error *err)
{
    struct pg_params params;
    char own[DB_NAME_MAX];
    int rc;

    snprintf(own, sizeof own, "%s_%d", kind, plain);
    pg_params_init(&params);
    (void)pg_params_oid(&params, rel->oid);
    (void)pg_params_text(&params, kind);
    (void)pg_params_text(&params, own);
    (void)pg_params_int(&params, plain);
    (void)pg_params_int(&params, sealed);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg,
                     "SELECT conname::text, oid::int8, conkey && ARRAY[$4::int2, $5::int2] AS "
                     "about, conname = $3 AS named"
                     " FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND contype = 'c' AND "
                     "pg_catalog.starts_with(conname::text, $2 || '_') ORDER BY 3, 4 DESC",
                     &params, result, err);
    pg_params_wipe(&params);
    return rc;
}

int
pg_settle_constraint(struct pg *pg, const struct pg_rel *rel, const char *kind, int plain,
                     int sealed, struct coffer_error *err)
{
    PGresult *result = NULL;
    struct buf sql;
    bool have = false;
    int row, rc = list(pg, rel, kind, plain, sealed, &result, err);

    buf_init(&sql, PG_SQL_MAX);
    for (row = 0; rc == COFFER_OK && row < PQntuples(result); row++) {
        bool about = pg_int(result, row, 2) != 0, named = pg_int(result, row, 3) != 0;
        const char *name = pg_text(result, row, 0);

        if (about && !have) {
            have = true;
            if (named)
                continue;
            buf_format(&sql, "%sALTER TABLE %s RENAME CONSTRAINT ", sql.len > 0 ? "; " : "",
                       rel->quoted);
            pg_quote(&sql, name);
            buf_format(&sql, " TO %s_%d", kind, plain);
        } else if (about) {
            buf_format(&sql, "%sALTER TABLE %s DROP CONSTRAINT ", sql.len > 0 ? "; " : "",
                       rel->quoted);
            pg_quote(&sql, name);
        } else if (named) { /* another column's: its own turn comes */
            buf_format(&sql, "%sALTER TABLE %s RENAME CONSTRAINT ", sql.len > 0 ? "; " : "",
                       rel->quoted);
            pg_quote(&sql, name);
            buf_format(&sql, " TO %s_moved_%lld", kind, (long long)pg_int(result, row, 1));
        }
    }
    PQclear(result);
    if (rc == COFFER_OK)
        rc = buf_status(&sql, err);
    if (rc == COFFER_OK && sql.len > 0)
        rc = pg_ddl(pg, buf_cstr(&sql), 200, err);
    buf_wipe(&sql);
    return rc;
}

void
pg_drop_strange_shadows(const struct pg_rel *rel, struct buf *sql)
{
    struct buf block;

    buf_init(&block, PG_SQL_MAX);
    buf_format(
        &block,
        "DECLARE r record; BEGIN FOR r IN SELECT t.tgname, t.tgfoid::pg_catalog.regprocedure AS f "
        "FROM "
        "pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = "
        "%u AND "
        "t.tgparentid = 0 AND pg_catalog.starts_with(t.tgname::text, 'coffer_shadow_') AND NOT "
        "pg_catalog.starts_with(p.proname::text, 'coffer_shadow_%u_') LOOP EXECUTE "
        "pg_catalog.format('DROP TRIGGER %%I ON %%s', r.tgname, %u::pg_catalog.regclass); EXECUTE "
        "pg_catalog.format('DROP FUNCTION IF EXISTS %%s', r.f); END LOOP; END",
        rel->oid, rel->oid, rel->oid);
    buf_str(sql, "DO ");
    pg_literal(sql, buf_cstr(&block));
    buf_str(sql, "; ");
    buf_wipe(&block);
}
