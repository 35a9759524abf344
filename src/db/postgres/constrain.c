/* SPDX-License-Identifier: Apache-2.0 */
/* The CHECK constraint behind a proof: added NOT VALID in an instant, validated beside readers and
 * writers.
 *
 *   absent ── add_constraint() ──> not valid ── VALIDATE ──> valid
 *     ^                               │ a row violates it
 *     └────────── drop at once ───────┘
 * ADD takes ACCESS EXCLUSIVE: while it waits, readers queue behind it.  So it never waits longer
 * than 50 ms, and not at all behind a transaction that has held the table for a second.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define CONSTRAIN_TRIES 12
#define DROP_TRIES 200

/* Built-ins only: a dump restores and a replica checks without anything of ours. */
static void
condition(const struct db_fence *fence, struct buf *out)
{
    const struct db_cell_spec *cell = &fence->cell;
    bool text = cell->sealed == NULL && cell->text_form;
    struct buf name;
    size_t i;

    buf_init(&name, 4 * DB_NAME_MAX);
    pg_quote(&name, cell->sealed != NULL ? cell->sealed : cell->plain);
    buf_str(out, "(true");
    if (fence->refused_count > 0) {
        buf_format(out, " AND (%s IS NULL OR ", buf_cstr(&name));
        if (text)
            buf_format(out,
                       "pg_catalog.substr(%s::pg_catalog.text COLLATE pg_catalog.\"C\", 1, 14)",
                       buf_cstr(&name));
        else
            buf_format(out, "pg_catalog.substr(%s, 5, 4)", buf_cstr(&name));
        buf_str(out, " NOT IN (");
        for (i = 0; i < fence->refused_count; i++)
            buf_format(out, text ? "%s'cfr1.%08x.'" : "%s'\\x%08x'::pg_catalog.bytea",
                       i > 0 ? ", " : "", fence->refused[i]);
        buf_str(out, "))");
    }
    if (fence->refuse_plaintext) {
        buf_clear(&name);
        pg_quote(&name, cell->plain);
        buf_format(out, " AND (%s IS NULL", buf_cstr(&name));
        if (cell->sealed == NULL) {
            buf_str(out, " OR ");
            pg_sql_is_sealed(out, buf_cstr(&name), text);
        }
        buf_str(out, ")");
    }
    buf_str(out, ")");
    buf_wipe(&name);
}

struct standing {
    bool present, valid, same;
};

static int
look(struct pg *pg, const struct pg_rel *rel, const char *name, const char *comment,
     struct standing *out, struct coffer_error *err)
{
    struct pg_params params;
    PGresult *result = NULL;
    int rc;

    *out = (struct standing){false, false, false};
    pg_params_init(&params);
    (void)pg_params_oid(&params, rel->oid);
    (void)pg_params_text(&params, name);
    (void)pg_params_text(&params, comment);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg,
                     "SELECT convalidated, coalesce(pg_catalog.obj_description(oid, "
                     "'pg_constraint') = $3, false)"
                     " FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND conname = $2",
                     &params, &result, err);
    if (rc == COFFER_OK && PQntuples(result) == 1)
        *out = (struct standing){true, pg_int(result, 0, 0) != 0, pg_int(result, 0, 1) != 0};
    PQclear(result);
    pg_params_wipe(&params);
    return rc;
}

/* Who holds the table longest; *since < 0: nobody (of whom we know). */
static int
holder(struct pg *pg, const struct pg_rel *rel, double older_than, char *who, size_t who_max,
       struct coffer_error *err)
{
    struct pg_params params;
    PGresult *result = NULL;
    int rc;

    who[0] = '\0';
    pg_params_init(&params);
    (void)pg_params_oid(&params, rel->oid);
    (void)pg_params_int(&params, (int64_t)(older_than * 1000));
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = pg_exec(
            pg,
            "SELECT 'pid ' || coalesce(l.pid::text, '(prepared)') || coalesce(' (' || "
            "nullif(a.application_name, '') || ')', '')"
            " || coalesce(', since ' || pg_catalog.to_char(a.xact_start, 'HH24:MI:SS') || ', '"
            " || pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)::int8 "
            "|| ' s',"
            " ', since when cannot be seen by this role')"
            " FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
            " WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM "
            "pg_catalog.pg_backend_pid()"
            " AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = "
            "pg_catalog.current_database())"
            " AND (l.relation = $1 OR l.relation IN (SELECT relid FROM "
            "pg_catalog.pg_partition_tree($1)))"
            " AND ($2 = 0 OR a.xact_start < pg_catalog.clock_timestamp() - "
            "pg_catalog.make_interval(secs => $2 / 1000.0))"
            " ORDER BY a.xact_start NULLS LAST LIMIT 1",
            &params, &result, err);
    if (rc == COFFER_OK && PQntuples(result) == 1)
        snprintf(who, who_max, "%s", pg_text(result, 0, 0));
    PQclear(result);
    pg_params_wipe(&params);
    return rc;
}

static int
not_yet(const struct db_table *table, const char *who, struct coffer_error *err)
{
    return error_set(
        err, COFFER_E_NOTYET,
        "table %s is held by an older transaction (%s): the constraint waits until it ends",
        table->name, who[0] != '\0' ? who : "it ended just now");
}

static int
add_constraint(struct pg *pg, const struct db_table *table, const struct pg_rel *rel,
               const struct db_fence *fence, const char *name, const char *comment,
               struct coffer_error *err)
{
    struct buf sql;
    char who[200];
    int rc = holder(pg, rel, 1, who, sizeof who, err);

    if (rc != COFFER_OK)
        return rc;
    if (who[0] != '\0')
        return not_yet(table, who, err);
    buf_init(&sql, PG_SQL_MAX);
    buf_format(&sql, "ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s, ADD CONSTRAINT %s CHECK ",
               rel->quoted, name, name);
    condition(fence, &sql);
    buf_format(&sql, " NOT VALID; COMMENT ON CONSTRAINT %s ON %s IS ", name, rel->quoted);
    pg_literal(&sql, comment);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = pg_ddl(pg, buf_cstr(&sql), CONSTRAIN_TRIES, err);
    buf_wipe(&sql);
    if (rc == COFFER_E_CONFLICT && holder(pg, rel, 0, who, sizeof who, NULL) == COFFER_OK)
        rc = not_yet(table, who, err);
    return rc;
}

static int
drop_constraint(struct pg *pg, const struct pg_rel *rel, const char *name, struct coffer_error *err)
{
    char sql[6 * DB_NAME_MAX];

    snprintf(sql, sizeof sql, "ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s", rel->quoted, name);
    return pg_ddl(pg, sql, DROP_TRIES, err);
}

static int
validate(struct pg *pg, const struct db_table *table, const struct pg_rel *rel, const char *name,
         struct coffer_error *err)
{
    char sql[6 * DB_NAME_MAX];
    PGresult *result;
    const char *state;
    bool violated;
    int rc;

    /* VALIDATE lets readers and writers go on, and may take as long as it takes. */
    snprintf(sql, sizeof sql, "ALTER TABLE %s VALIDATE CONSTRAINT %s", rel->quoted, name);
    result = PQexec(pg->conn, sql);
    if (PQresultStatus(result) == PGRES_COMMAND_OK) {
        PQclear(result);
        return COFFER_OK;
    }
    state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    violated = state != NULL && strcmp(state, "23514") == 0;
    rc = pg_fail(pg, result, err);
    PQclear(result);
    if (!violated)
        return rc;
    rc = drop_constraint(pg, rel, name, err);
    if (rc != COFFER_OK) {
        (void)error_prefix(err,
                           "rows of %s violate constraint %s, and it could not be dropped again "
                           "(drop it by hand): ",
                           table->name, name);
        return rc;
    }
    return error_set(err, COFFER_E_CONFLICT,
                     "rows of %s are still under an old key or in plaintext: sweep again; the "
                     "constraint was dropped",
                     table->name);
}

/* Refused keys and plaintext as words: says what the constraint means to whoever looks at it, and
 * whether it is the one wanted. */
static void
describe_fence(const struct db_fence *fence, char *out, size_t out_max)
{
    size_t i, at = (size_t)snprintf(out, out_max, "coffer: refuses");

    for (i = 0; i < fence->refused_count && at + 12 < out_max; i++)
        at += (size_t)snprintf(out + at, out_max - at, " %08x", fence->refused[i]);
    if (fence->refuse_plaintext && at < out_max)
        (void)snprintf(out + at, out_max - at, " plaintext");
}

static int
prepare(struct pg *pg, const struct db_table *table, const struct db_fence *fence,
        struct pg_rel *rel, char *name, struct coffer_error *err)
{
    struct pg_attribute attribute, companion = {0};
    int rc = pg_resolve(pg, table->name, rel, err);

    if (rc == COFFER_OK)
        rc = pg_attribute_find(pg, rel, fence->cell.plain, &attribute, err);
    if (rc == COFFER_OK && !attribute.found)
        rc = error_set(err, COFFER_E_NOTFOUND, "table %s has no column \"%s\" any more",
                       table->name, fence->cell.plain);
    if (rc == COFFER_OK && fence->cell.sealed != NULL)
        rc = pg_attribute_find(pg, rel, fence->cell.sealed, &companion, err);
    if (rc != COFFER_OK)
        return rc;
    snprintf(name, DB_NAME_MAX, "coffer_fence_%d", attribute.number);
    return pg_settle_constraint(pg, rel, "coffer_fence", attribute.number, companion.number, err);
}

int
pg_fence_constrain(struct db *db, const struct db_table *table, const struct db_fence *fence,
                   char *name, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    struct standing standing;
    struct pg_rel rel;
    char comment[1024], own_name[DB_NAME_MAX];
    int rc;

    name[0] = '\0';
    if (fence->refused_count == 0 && !fence->refuse_plaintext)
        return pg_fence_unconstrain(db, table, fence, err);
    rc = prepare(pg, table, fence, &rel, own_name, err);
    describe_fence(fence, comment, sizeof comment);
    if (rc == COFFER_OK)
        rc = look(pg, &rel, own_name, comment, &standing, err);
    if (rc == COFFER_OK && !(standing.present && standing.same))
        rc = add_constraint(pg, table, &rel, fence, own_name, comment, err);
    if (rc == COFFER_OK && !(standing.present && standing.same && standing.valid))
        rc = validate(pg, table, &rel, own_name, err);
    if (rc == COFFER_OK)
        snprintf(name, DB_NAME_MAX, "%s", own_name);
    return rc;
}

int
pg_fence_unconstrain(struct db *db, const struct db_table *table, const struct db_fence *fence,
                     struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    struct standing standing;
    struct pg_rel rel;
    char name[DB_NAME_MAX];
    int rc = prepare(pg, table, fence, &rel, name, err);

    if (rc == COFFER_OK)
        rc = look(pg, &rel, name, "", &standing, err);
    return rc != COFFER_OK || !standing.present ? rc : drop_constraint(pg, &rel, name, err);
}
