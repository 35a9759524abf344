/* SPDX-License-Identifier: Apache-2.0 */
/* The DDL of a column's phases.  Names never change, so prepared statements and views stay valid.
 *
 *   off ──> shadow   companion and shadow trigger         shadow ──> off   both dropped, NOT NULL
 * restored shadow ──> dual  NOT NULL becomes a CHECK over both   dual ──> shadow  nothing: the
 * CHECK still holds dual ──> sealed  shadow trigger dropped               sealed ──> dual  shadow
 * trigger made again Each is one short transaction and may be repeated.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define PHASE_TRIES 60

struct subject {
    struct pg *pg;
    const struct db_table *table;
    const struct db_cell_spec *cell;
    struct pg_rel rel;
    struct pg_attribute attribute, companion; /* the companion may not be there */
    char plain[2 * DB_NAME_MAX], sealed[2 * DB_NAME_MAX];
    char function[2 * DB_NAME_MAX]; /* of the shadow trigger */
};

static void
quoted(const char *name, char *out, size_t out_max)
{
    struct buf b;

    buf_init(&b, out_max - 1);
    pg_quote(&b, name);
    snprintf(out, out_max, "%s", buf_cstr(&b));
    buf_wipe(&b);
}

static int
open_subject(struct subject *s, struct coffer_error *err)
{
    PGresult *result = NULL;
    char schema[2 * DB_NAME_MAX];
    int rc = pg_resolve(s->pg, s->table->name, &s->rel, err);

    if (rc == COFFER_OK)
        rc = pg_attribute_find(s->pg, &s->rel, s->cell->plain, &s->attribute, err);
    if (rc == COFFER_OK && (!s->attribute.found || s->attribute.type == NULL))
        rc = error_set(err, COFFER_E_NOTFOUND,
                       "table %s has no column \"%s\" of a type that can be protected",
                       s->table->name, s->cell->plain);
    if (rc == COFFER_OK)
        rc = pg_attribute_find(s->pg, &s->rel, s->cell->sealed, &s->companion, err);
    if (rc == COFFER_OK)
        rc = pg_settle_constraint(s->pg, &s->rel, "coffer_notnull", s->attribute.number, s->companion.number, err);
    if (rc == COFFER_OK)
        rc = pg_exec(s->pg, "SELECT pg_catalog.to_regnamespace('coffer') IS NOT NULL", NULL,
                     &result, err);
    if (rc != COFFER_OK)
        return rc;
    quoted(pg_int(result, 0, 0) != 0 ? "coffer" : s->rel.schema, schema, sizeof schema);
    PQclear(result);
    quoted(s->cell->plain, s->plain, sizeof s->plain);
    quoted(s->cell->sealed, s->sealed, sizeof s->sealed);
    snprintf(s->function, sizeof s->function, "%.300s.coffer_shadow_%u_%d", schema, s->rel.oid,
             s->attribute.number);
    return COFFER_OK;
}

static int
ddl(struct subject *s, struct buf *sql, struct coffer_error *err)
{
    int rc = buf_status(sql, err);

    if (rc == COFFER_OK)
        rc = pg_ddl(s->pg, buf_cstr(sql), PHASE_TRIES, err);
    if (rc != COFFER_OK)
        (void)error_prefix(err, "table %s: ", s->table->name);
    buf_wipe(sql);
    return rc;
}

/* A worker says who it is by coffer.rotation and compares what it overwrites: it may clear the
 * plaintext and keep the envelope. */
static void
shadow_trigger(const struct subject *s, struct buf *sql)
{
    struct buf body, name;
    int number = s->attribute.number;

    buf_init(&body, PG_SQL_MAX);
    buf_init(&name, 4 * DB_NAME_MAX);
    buf_format(&body,
               "BEGIN IF coalesce(pg_catalog.current_setting('coffer.rotation', true), '') = '' "
               "AND NEW.%s IS NOT DISTINCT FROM"
               " OLD.%s AND ",
               s->sealed, s->sealed);
    buf_format(&name, "NEW.%s", s->plain);
    pg_type_send(s->attribute.type, buf_cstr(&name), &body);
    buf_str(&body, " IS DISTINCT FROM ");
    buf_clear(&name);
    buf_format(&name, "OLD.%s", s->plain);
    pg_type_send(s->attribute.type, buf_cstr(&name), &body);
    buf_format(&body, " THEN NEW.%s := NULL; END IF; RETURN NEW; END", s->sealed);

    buf_format(sql, "CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql AS ",
               s->function);
    pg_literal(sql, buf_cstr(&body));
    /* "coffer_shadow" sorts before "coffer_zzz_fence": the fence sees what will be stored. */
    buf_format(sql,
               "; CREATE OR REPLACE TRIGGER coffer_shadow_%d BEFORE UPDATE ON %s FOR EACH ROW"
               " EXECUTE FUNCTION %s(); ",
               number, s->rel.quoted, s->function);
    buf_clear(&body);
    buf_format(&body,
               "DECLARE r pg_catalog.regclass; BEGIN FOR r IN SELECT tgrelid::pg_catalog.regclass "
               "FROM pg_catalog.pg_trigger WHERE tgname ="
               " 'coffer_shadow_%d' AND (tgrelid = %u OR tgrelid IN (SELECT relid FROM "
               "pg_catalog.pg_partition_tree(%u))) LOOP EXECUTE"
               " pg_catalog.format('ALTER TABLE %%s ENABLE ALWAYS TRIGGER coffer_shadow_%d', r); "
               "END LOOP; END",
               number, s->rel.oid, s->rel.oid, number);
    buf_str(sql, "DO ");
    pg_literal(sql, buf_cstr(&body));
    buf_wipe(&name);
    buf_wipe(&body);
}

static void
drop_shadow(const struct subject *s, struct buf *sql)
{
    buf_format(sql, "DROP TRIGGER IF EXISTS coffer_shadow_%d ON %s; DROP FUNCTION IF EXISTS %s()",
               s->attribute.number, s->rel.quoted, s->function);
}

static int
off_to_shadow(struct subject *s, struct coffer_error *err)
{
    struct buf sql;

    buf_init(&sql, PG_SQL_MAX);
    /* EXTERNAL: envelopes do not compress, and trying costs more than sealing. */
    buf_format(&sql,
               "ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s bytea; ALTER TABLE %s ALTER COLUMN %s "
               "SET STORAGE EXTERNAL; ",
               s->rel.quoted, s->sealed, s->rel.quoted, s->sealed);
    pg_drop_strange_shadows(&s->rel, &sql);
    shadow_trigger(s, &sql);
    return ddl(s, &sql, err);
}

static int
shadow_to_dual(struct subject *s, struct coffer_error *err)
{
    struct buf sql;
    int rc;

    if (!s->attribute.not_null)
        return COFFER_OK;
    buf_init(&sql, PG_SQL_MAX);
    buf_format(&sql,
               "ALTER TABLE %s DROP CONSTRAINT IF EXISTS coffer_notnull_%d, ADD CONSTRAINT "
               "coffer_notnull_%d CHECK (%s IS NOT NULL OR %s"
               " IS NOT NULL) NOT VALID, ALTER COLUMN %s DROP NOT NULL",
               s->rel.quoted, s->attribute.number, s->attribute.number, s->plain, s->sealed,
               s->plain);
    rc = ddl(s, &sql, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&sql, PG_SQL_MAX);
    buf_format(&sql, "ALTER TABLE %s VALIDATE CONSTRAINT coffer_notnull_%d", s->rel.quoted,
               s->attribute.number);
    return ddl(s, &sql, err);
}

static int
dual_to_sealed(struct subject *s, struct coffer_error *err)
{
    struct buf sql;

    buf_init(&sql, PG_SQL_MAX);
    drop_shadow(s, &sql);
    return ddl(s, &sql, err);
}

static int
sealed_to_dual(struct subject *s, struct coffer_error *err)
{
    struct buf sql;

    buf_init(&sql, PG_SQL_MAX);
    shadow_trigger(s, &sql);
    return ddl(s, &sql, err);
}

static int
query_bool(struct subject *s, const char *sql, bool *yes, struct coffer_error *err)
{
    PGresult *result = NULL;
    int rc = pg_read(s->pg, sql, NULL, &result, err);

    *yes = rc == COFFER_OK && pg_int(result, 0, 0) != 0;
    PQclear(result);
    return rc;
}

/* A proven CHECK lets SET NOT NULL skip the scan that it would else do under ACCESS EXCLUSIVE. */
static int
restore_not_null(struct subject *s, struct coffer_error *err)
{
    struct buf sql;
    bool moved;
    int rc, number = s->attribute.number;

    buf_init(&sql, PG_SQL_MAX);
    buf_format(&sql,
               "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = %u AND "
               "conname = 'coffer_notnull_%d')",
               s->rel.oid, number);
    rc = query_bool(s, buf_cstr(&sql), &moved, err);
    buf_clear(&sql);
    if (rc != COFFER_OK || !moved) {
        buf_wipe(&sql);
        return rc;
    }
    buf_format(&sql,
               "ALTER TABLE %s DROP CONSTRAINT IF EXISTS coffer_plain_%d, ADD CONSTRAINT "
               "coffer_plain_%d CHECK (%s IS NOT NULL) NOT VALID",
               s->rel.quoted, number, number, s->plain);
    rc = ddl(s, &sql, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&sql, PG_SQL_MAX);
    buf_format(&sql, "ALTER TABLE %s VALIDATE CONSTRAINT coffer_plain_%d", s->rel.quoted, number);
    rc = ddl(s, &sql, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&sql, PG_SQL_MAX);
    buf_format(&sql,
               "ALTER TABLE %s ALTER COLUMN %s SET NOT NULL; ALTER TABLE %s DROP CONSTRAINT "
               "coffer_plain_%d, DROP CONSTRAINT"
               " coffer_notnull_%d",
               s->rel.quoted, s->plain, s->rel.quoted, number, number);
    return ddl(s, &sql, err);
}

static int
shadow_to_off(struct subject *s, struct coffer_error *err)
{
    struct buf sql;
    bool held;
    int rc;

    if (!s->companion.found)
        return COFFER_OK;
    buf_init(&sql, PG_SQL_MAX);
    /* Only a value that is nowhere else keeps the companion: in shadow the plaintext is the truth.
     */
    buf_format(&sql, "SELECT EXISTS (SELECT FROM %s WHERE %s IS NOT NULL)", s->rel.quoted,
               s->sealed);
    rc = query_bool(s, buf_cstr(&sql), &held, err);
    buf_wipe(&sql);
    if (rc != COFFER_OK)
        return rc;
    if (held)
        return error_set(
            err, COFFER_E_REFUSED,
            "%s.%s still holds envelopes: unprotect moves them back to plaintext first",
            s->table->name, s->cell->sealed);
    rc = restore_not_null(s, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&sql, PG_SQL_MAX);
    drop_shadow(s, &sql);
    buf_format(&sql, "; ALTER TABLE %s DROP COLUMN IF EXISTS %s", s->rel.quoted, s->sealed);
    return ddl(s, &sql, err);
}

int
pg_phase_apply(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
               int from, int to, struct coffer_error *err)
{
    struct subject s = {.pg = pg_of(db), .table = table, .cell = cell};
    int rc = COFFER_OK, at;

    if (cell->sealed ==
        NULL) /* in place: the column stays as it is, plaintext and envelope are both text */
        return COFFER_OK;
    rc = open_subject(&s, err);
    for (at = from; rc == COFFER_OK && at < to; at++)
        rc = at == COFFER_OFF      ? off_to_shadow(&s, err)
             : at == COFFER_SHADOW ? shadow_to_dual(&s, err)
                                   : dual_to_sealed(&s, err);
    for (at = from; rc == COFFER_OK && at > to; at--)
        rc = at == COFFER_SEALED   ? sealed_to_dual(&s, err)
             : at == COFFER_SHADOW ? shadow_to_off(&s, err)
                                   : COFFER_OK;
    return rc;
}
