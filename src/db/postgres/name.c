/* SPDX-License-Identifier: Apache-2.0 */
/* Names: quoting, finding a table by its name, what a column is, and the SQL that recognises an
 * envelope. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

static void
doubled(struct buf *out, const char *text, char quote)
{
    const char *p;

    buf_u8(out, (uint8_t)quote);
    for (p = text; *p != '\0'; p++) {
        if (*p == quote)
            buf_u8(out, (uint8_t)quote);
        buf_u8(out, (uint8_t)*p);
    }
    buf_u8(out, (uint8_t)quote);
}

void
pg_quote(struct buf *out, const char *identifier)
{
    doubled(out, identifier, '"');
}

void
pg_literal(struct buf *out, const char *text)
{
    const char *p;

    if (strchr(text, '\\') == NULL) {
        doubled(out, text, '\'');
        return;
    }
    /* A backslash means itself or an escape by a setting of the session; in E'' it is always an
     * escape. */
    buf_str(out, "E'");
    for (p = text; *p != '\0'; p++) {
        if (*p == '\'' || *p == '\\')
            buf_u8(out, (uint8_t)*p);
        buf_u8(out, (uint8_t)*p);
    }
    buf_u8(out, '\'');
}

static void
near_names(struct pg *pg, const char *name, char *out, size_t out_max)
{
    struct pg_params params;
    PGresult *result = NULL;
    struct coffer_error ignored;

    out[0] = '\0';
    pg_params_init(&params);
    (void)pg_params_text(&params, name);
    if (pg_params_finish(&params, NULL) == COFFER_OK &&
        pg_exec(
            pg,
            "SELECT coalesce(pg_catalog.string_agg(f, ', '), '') FROM (SELECT n.nspname || '.' || "
            "c.relname AS f"
            " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', "
            "'information_schema', 'coffer')"
            " ORDER BY pg_catalog.lower(c.relname::text) = pg_catalog.lower($1) DESC,"
            " pg_catalog.strpos(pg_catalog.lower(c.relname::text), pg_catalog.lower($1)) > 0 DESC,"
            " pg_catalog.left(c.relname::text, 2) = pg_catalog.left($1, 2) DESC, 1 LIMIT 5) s",
            &params, &result, &ignored) == COFFER_OK)
        snprintf(out, out_max, "%s", pg_text(result, 0, 0));
    PQclear(result);
    pg_params_wipe(&params);
}

static void
fill_rel(const PGresult *result, int row, struct pg_rel *rel)
{
    struct buf quoted;

    rel->oid = (Oid)pg_int(result, row, 0);
    snprintf(rel->schema, sizeof rel->schema, "%s", pg_text(result, row, 1));
    snprintf(rel->name, sizeof rel->name, "%s", pg_text(result, row, 2));
    rel->kind = pg_text(result, row, 3)[0];
    rel->partitioned = rel->kind == 'p';
    rel->temporary = pg_text(result, row, 4)[0] == 't';
    rel->partition = pg_int(result, row, 5) != 0;
    rel->row_security = pg_int(result, row, 6) != 0;
    rel->tuples = (double)pg_int(result, row, 7);
    rel->pages = (uint64_t)pg_int(result, row, 8);
    buf_init(&quoted, sizeof rel->quoted - 1);
    pg_quote(&quoted, rel->schema);
    buf_u8(&quoted, '.');
    pg_quote(&quoted, rel->name);
    snprintf(rel->quoted, sizeof rel->quoted, "%s", buf_cstr(&quoted));
    buf_wipe(&quoted);
}

int
pg_resolve(struct pg *pg, const char *name, struct pg_rel *rel, struct coffer_error *err)
{
    /* A dot may be part of either name: every split counts, a full name before one in the search
     * path before any other. */
    static const char sql[] =
        "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, "
        "c.relispartition,"
        " c.relrowsecurity, GREATEST(c.reltuples, 0)::int8, pg_catalog.pg_relation_size(c.oid) / "
        "8192,"
        " CASE WHEN n.nspname || '.' || c.relname = $1 THEN 1 WHEN "
        "pg_catalog.pg_table_is_visible(c.oid) THEN 2 ELSE 3 END AS rank"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE (c.relname = $1 OR n.nspname || '.' || c.relname = $1) AND c.relkind IN ('r', 'p', "
        "'f', 'v', 'm')"
        " ORDER BY rank";
    struct pg_params params;
    PGresult *result = NULL;
    char near[200];
    int rc;

    memset(rel, 0, sizeof *rel);
    pg_params_init(&params);
    (void)pg_params_text(&params, name);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, sql, &params, &result, err);
    if (rc != COFFER_OK)
        goto out;
    if (PQntuples(result) == 0) {
        near_names(pg, name, near, sizeof near);
        rc = error_set(err, COFFER_E_NOTFOUND, "no table \"%s\" in this database%s%s", name,
                       near[0] != '\0' ? "; there are " : "", near);
        pg_rollback(&pg->db);
    } else if (PQntuples(result) > 1 && pg_int(result, 0, 9) == pg_int(result, 1, 9)) {
        rc = error_set(err, COFFER_E_MISUSE,
                       "several tables are called \"%s\" (%s.%s, %s.%s): give the schema", name,
                       pg_text(result, 0, 1), pg_text(result, 0, 2), pg_text(result, 1, 1),
                       pg_text(result, 1, 2));
        pg_rollback(&pg->db);
    } else {
        fill_rel(result, 0, rel);
    }

out:
    PQclear(result);
    pg_params_wipe(&params);
    return rc;
}

int
pg_attribute_find(struct pg *pg, const struct pg_rel *rel, const char *column,
                  struct pg_attribute *out, struct coffer_error *err)
{
    static const char sql[] =
        "WITH RECURSIVE base AS (SELECT t.oid, t.typtype, t.typbasetype, t.typname FROM "
        "pg_catalog.pg_attribute a"
        " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE a.attrelid = $1 AND a.attname = $2 "
        "AND a.attnum > 0"
        " AND NOT a.attisdropped UNION ALL SELECT t.oid, t.typtype, t.typbasetype, t.typname FROM "
        "base"
        " JOIN pg_catalog.pg_type t ON t.oid = base.typbasetype WHERE base.typtype = 'd')"
        " SELECT a.attnum, a.attnotnull, pg_catalog.format_type(a.atttypid, a.atttypmod), "
        "base.oid, base.typname::text"
        " FROM pg_catalog.pg_attribute a, base WHERE a.attrelid = $1 AND a.attname = $2 AND NOT "
        "a.attisdropped"
        " AND base.typtype <> 'd'";
    struct pg_params params;
    PGresult *result = NULL;
    int rc;

    memset(out, 0, sizeof *out);
    pg_params_init(&params);
    (void)pg_params_oid(&params, rel->oid);
    (void)pg_params_text(&params, column);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, sql, &params, &result, err);
    if (rc == COFFER_OK && PQntuples(result) == 1) {
        out->found = true;
        out->number = (int)pg_int(result, 0, 0);
        out->not_null = pg_int(result, 0, 1) != 0;
        snprintf(out->declared, sizeof out->declared, "%s", pg_text(result, 0, 2));
        out->type = pg_type_find((Oid)pg_int(result, 0, 3), pg_text(result, 0, 4));
    }
    PQclear(result);
    pg_params_wipe(&params);
    return rc;
}

void
pg_sql_key_id(struct buf *out, const char *c, bool text_form)
{
    if (text_form)
        buf_format(out,
                   "pg_catalog.decode(pg_catalog.substr(%s::pg_catalog.text COLLATE "
                   "pg_catalog.\"C\", 6, 8), 'hex')",
                   c);
    else
        buf_format(out, "pg_catalog.substr(%s, 5, 4)", c);
}

void
pg_sql_is_sealed(struct buf *out, const char *c, bool text_form)
{
    if (text_form) {
        /* 48 bytes are 64 characters; the key id within must be the one before. */
        buf_format(
            out,
            "(CASE WHEN %s::pg_catalog.text COLLATE pg_catalog.\"C\" ~ "
            "'^cfr1[.][0-9a-f]{8}[.][A-Za-z0-9_-]{64,}$'"
            " THEN pg_catalog.encode(pg_catalog.substr(pg_catalog.decode(pg_catalog.translate("
            "pg_catalog.substr(%s::pg_catalog.text COLLATE pg_catalog.\"C\", 15, 12), '-_', '+/'), "
            "'base64'), 5, 4), 'hex')"
            " = pg_catalog.substr(%s::pg_catalog.text COLLATE pg_catalog.\"C\", 6, 8) ELSE false "
            "END)",
            c, c, c);
        return;
    }
    buf_format(
        out,
        "(CASE WHEN pg_catalog.octet_length(%s) >= 48 THEN pg_catalog.get_byte(%s, 0) = 249"
        " AND (pg_catalog.get_byte(%s, 1) = 1 OR (pg_catalog.get_byte(%s, 1) = 2 AND "
        "pg_catalog.octet_length(%s) >= 80))"
        " AND pg_catalog.get_byte(%s, 2) IN (0, 1, 2, 4, 5, 6) AND pg_catalog.get_byte(%s, 3) "
        "BETWEEN 1 AND 10"
        " AND pg_catalog.substr(%s, 5, 4) <> '\\x00000000'::pg_catalog.bytea ELSE false END)",
        c, c, c, c, c, c, c, c);
}
