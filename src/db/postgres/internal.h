/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the PostgreSQL adapter share.
 *
 * Parameters and results are binary.  Nothing here keeps state in the session outside a transaction
 * (no named statement, no SET without LOCAL), so that a pooler in transaction mode may stand
 * between.
 */
#ifndef COFFER_DB_POSTGRES_INTERNAL_H
#define COFFER_DB_POSTGRES_INTERNAL_H

#include "base/mem.h"
#include "db/db_ops.h"

#include <libpq-fe.h>

#define PG_SQL_MAX (1u << 20)
#define PG_PARAMS_MAX ((size_t)1 << 30)
#define PG_STATEMENTS_MAX 8

struct pg {
    struct db db; /* first: a struct db * is a struct pg * */
    PGconn *conn;
    PGcancel *cancel; /* made once, so that db_cancel() is safe in a signal handler */
};

static inline struct pg *
pg_of(struct db *db)
{
    return (struct pg *)db;
}

/* ---- types (type.c) ---- */

#define PG_BOOL 16
#define PG_BYTEA 17
#define PG_NAME 19
#define PG_INT8 20
#define PG_INT2 21
#define PG_INT4 23
#define PG_TEXT 25
#define PG_OID 26
#define PG_JSON 114
#define PG_FLOAT4 700
#define PG_FLOAT8 701
#define PG_BPCHAR 1042
#define PG_VARCHAR 1043
#define PG_DATE 1082
#define PG_TIMESTAMP 1114
#define PG_TIMESTAMPTZ 1184
#define PG_NUMERIC 1700
#define PG_UUID 2950
#define PG_JSONB 3802

/* A column type as the adapter handles it.  `citext` is sent as text and cast. */
struct pg_type {
    Oid oid;          /* base type; for citext PG_TEXT */
    int coffer;       /* 0: unsupported */
    const char *send; /* qualified function that gives the stored bytes */
    const char *name; /* of the base type, for casts of parameters */
    Oid array;
    bool citext;
};
/* What `oid`, named `name`, is; NULL if no coffer type fits. */
const struct pg_type *pg_type_find(Oid oid, const char *name);
/* "pg_catalog.textsend(EXPR)": the bytes that are stored, never compared by the type's own
 * equality. */
void pg_type_send(const struct pg_type *type, const char *expression, struct buf *out);

/* A value from its binary form.  `storage` receives text made on the way (numerics); its memory
 * must not move afterwards, so its offset plus one is in i64 and the caller sets `data` at the end:
 * pg_value_fix().  FORMAT if the bytes are not of the type. */
COFFER_MUST_CHECK int pg_value_decode(Oid oid, struct bytes raw, struct buf *storage,
                                      struct coffer_value *out);
static inline void
pg_value_fix(struct coffer_value *value, const struct buf *storage)
{
    if (value->type == COFFER_NUMERIC && value->data == NULL) {
        value->data = storage->ptr + value->i64 - 1;
        value->i64 = 0;
    }
}
/* The binary form of `value` for type `oid`; false if the type cannot hold it. */
bool pg_value_encode(Oid oid, const struct coffer_value *value, struct buf *out);

bool pg_numeric_decode(struct bytes raw, struct buf *out);  /* appends decimal text */
bool pg_numeric_encode(struct bytes text, struct buf *out); /* appends the binary form */

/* ---- parameters (param.c) ---- */

#define PG_PARAM_MAX 128
struct pg_params {
    Oid types[PG_PARAM_MAX];
    size_t offset[PG_PARAM_MAX];
    int length[PG_PARAM_MAX]; /* -1: NULL */
    const char *value[PG_PARAM_MAX];
    int format[PG_PARAM_MAX];
    int count;
    bool failed; /* too many, or a value that its type cannot hold */
    struct buf data;
    /* an array under way */
    size_t array_at, array_flags_at;
    uint32_t array_count;
};
void pg_params_init(struct pg_params *params);
void pg_params_wipe(struct pg_params *params);
int pg_params_raw(struct pg_params *params, Oid type, const void *data,
                  size_t len); /* all give the number, from 1 */
int pg_params_text(struct pg_params *params, const char *text);
int pg_params_int(struct pg_params *params, int64_t v);
int pg_params_oid(struct pg_params *params, Oid oid);
int pg_params_bytes(struct pg_params *params, struct bytes data);
int pg_params_value(struct pg_params *params, Oid type,
                    const struct coffer_value *value); /* type 0: as the value is */
int pg_params_array(struct pg_params *params, Oid array_type,
                    Oid element_type); /* then elements, then _array_end */
void pg_params_element(struct pg_params *params, struct bytes data); /* ptr NULL: NULL */
void pg_params_element_value(struct pg_params *params, Oid type, const struct coffer_value *value);
void pg_params_array_end(struct pg_params *params);
COFFER_MUST_CHECK int
pg_params_finish(struct pg_params *params,
                 struct coffer_error *err); /* pointers are valid after this */

/* ---- statements (statement.c) ---- */

/* Run one statement with finished parameters (NULL: none).  On failure no transaction is open. */
COFFER_MUST_CHECK int pg_exec(struct pg *pg, const char *sql, struct pg_params *params,
                              PGresult **out, struct coffer_error *err);

struct pg_statement {
    const char *sql;
    struct pg_params *params; /* NULL: none */
    PGresult *result;         /* out; PQclear() it */
};
/* Run several in one round trip.  The first that fails decides; on failure all results are cleared
 * and no transaction is open. */
COFFER_MUST_CHECK int pg_pipeline(struct pg *pg, struct pg_statement *statements, size_t count,
                                  struct coffer_error *err);
/* One reading statement with row_security=off, constraint_exclusion=off, in a transaction of its
 * own unless one is open. */
COFFER_MUST_CHECK int pg_read(struct pg *pg, const char *sql, struct pg_params *params,
                              PGresult **out, struct coffer_error *err);
/* Statements (separated by ;) in one transaction with a lock timeout of 50 ms; a timeout is tried
 * again `tries` times with growing, random pauses, so that readers never queue behind us for long.
 * Then CONFLICT. */
COFFER_MUST_CHECK int pg_ddl(struct pg *pg, const char *sql, unsigned tries,
                             struct coffer_error *err);

int pg_fail(struct pg *pg, const PGresult *result,
            struct coffer_error *err); /* set error, end the transaction */
bool pg_in_transaction(const struct pg *pg);

int pg_run(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
           struct db_result **result, struct coffer_error *err);
int pg_stream(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
              db_row_fn fn, void *arg, struct coffer_error *err);
int pg_begin(struct db *db, enum db_txn kind, struct coffer_error *err);
int pg_commit(struct db *db, struct coffer_error *err);
void pg_rollback(struct db *db);

/* A result as the interface gives it. */
COFFER_MUST_CHECK int pg_result_of(const PGresult *result, struct db_result **out,
                                   struct coffer_error *err);

/* Fields of a result. */
struct bytes pg_field(const PGresult *result, int row, int column); /* ptr NULL: NULL */
const char *pg_text(const PGresult *result, int row,
                    int column); /* "" for NULL; text columns only */
int64_t pg_int(const PGresult *result, int row,
               int column); /* int2, int4, int8, bool, oid; 0 for NULL */

/* ---- names ---- */

void pg_quote(struct buf *out, const char *identifier);
void pg_literal(struct buf *out, const char *text); /* 'text', E'' where needed */

struct pg_rel {
    Oid oid;
    char kind; /* pg_class.relkind */
    char schema[DB_NAME_MAX], name[DB_NAME_MAX];
    char quoted[4 * DB_NAME_MAX]; /* "schema"."name" */
    bool partitioned, temporary, partition, row_security;
    uint64_t pages;
    double tuples;
};
/* Find by "schema.table", or "table" in the search path (else anywhere).  NOTFOUND with near names,
 * MISUSE if ambiguous. */
COFFER_MUST_CHECK int pg_resolve(struct pg *pg, const char *name, struct pg_rel *rel,
                                 struct coffer_error *err);

struct pg_attribute {
    const struct pg_type *type; /* NULL: unsupported */
    int number;
    bool not_null, found;
    char declared[DB_NAME_MAX];
};
COFFER_MUST_CHECK int pg_attribute_find(struct pg *pg, const struct pg_rel *rel, const char *column,
                                        struct pg_attribute *out, struct coffer_error *err);

/* Numbers of columns change with a dump and a restore.  Give the constraint of `kind` ("coffer_fence") that covers this
 * column, by its number or its companion's (0: none), the name of its number, and take that from any other; one is kept. */
COFFER_MUST_CHECK int pg_settle_constraint(struct pg *pg, const struct pg_rel *rel, const char *kind, int plain,
                                           int sealed, struct coffer_error *err);
/* SQL that drops shadow triggers that were made for a table of another oid; ends in "; ". */
void pg_drop_strange_shadows(const struct pg_rel *rel, struct buf *sql);

/* SQL over one cell: is it an envelope, and under which key. `c` is a quoted, qualified column. */
void pg_sql_key_id(struct buf *out, const char *c, bool text_form); /* bytea, of anything at all */
void pg_sql_is_sealed(struct buf *out, const char *c,
                      bool text_form); /* boolean: it has an envelope's shape */

/* ---- members of db_ops ---- */

void pg_close(struct db *db);
void pg_cancel(struct db *db);
int pg_incarnation(struct db *db, char *out, struct coffer_error *err);
const char *pg_catalog_name(const char *table);
int pg_catalog_install(struct db *db, struct coffer_error *err);
int pg_catalog_present(struct db *db, bool *present, struct coffer_error *err);
int pg_catalog_grants(const char *role, struct buf *out);
int pg_table_open(struct db *db, const char *name, struct db_table **out, struct coffer_error *err);
int pg_obstacles(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                 struct db_obstacles *out, struct coffer_error *err);
int pg_phase_apply(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                   int from, int to, struct coffer_error *err);
int pg_walk_open(struct db *db, const struct db_table *table, const struct db_want *wants,
                 size_t count, struct db_walk **out, struct coffer_error *err);
void pg_walk_close(struct db_walk *walk);
int pg_walk_bound(struct db_walk *walk, const struct coffer_value *after, uint64_t rows,
                  struct db_result **key, bool *found, struct coffer_error *err);
int pg_walk_read(struct db_walk *walk, const struct coffer_value *after,
                 const struct coffer_value *until, size_t limit, struct db_batch **out,
                 struct coffer_error *err);
int pg_walk_write(struct db_walk *walk, struct db_batch *batch, const struct db_guard *guard,
                  unsigned wait_ms, const char *rotation_id, struct coffer_error *err);
int pg_count(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
             struct db_count **out, struct coffer_error *err);
int pg_count_estimate(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                      struct db_count **out, struct coffer_error *err);
int pg_fence_set(struct db *db, const struct db_table *table, const struct db_fence *fences,
                 size_t count, struct coffer_error *err);
int pg_fence_constrain(struct db *db, const struct db_table *table, const struct db_fence *fence,
                       char *name, struct coffer_error *err);
int pg_fence_unconstrain(struct db *db, const struct db_table *table, const struct db_fence *fence,
                         struct coffer_error *err);
int pg_mark_now(struct db *db, struct db_mark *mark, struct coffer_error *err);
int pg_mark_passed(struct db *db, const struct db_mark *mark, struct coffer_error *err);
int pg_replicas(struct db *db, db_line_fn fn, void *arg, struct coffer_error *err);
int pg_others(struct db *db, bool *known, size_t *count, struct buf *who, struct coffer_error *err);
int pg_find_envelopes(struct db *db, const char *const *known, size_t known_count, db_find_fn fn,
                      void *arg, struct coffer_error *err);
int pg_load(struct db *db, const struct db_table *table, struct db_load *load,
            struct coffer_error *err);
int pg_clean(struct db *db, const struct db_table *table, bool scrub, struct coffer_error *err);
int pg_files(struct db *db, const struct db_table *table, size_t overlap, db_file_fn fn, void *arg,
             bool *readable, struct coffer_error *err);
int pg_trial(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
             unsigned rows, struct db_trial *out, struct coffer_error *err);
int pg_sizes(struct db *db, uint64_t *database_bytes, uint64_t *written_bytes,
             struct coffer_error *err);

#endif
