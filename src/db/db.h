/* SPDX-License-Identifier: Apache-2.0 */
/* A database, behind one interface: SQLite and PostgreSQL so far.
 *
 * An adapter knows SQL, types and catalogs of its engine; it never sees a key: sealing is rotate/'s
 * and the application's work, and cells pass through here as stored bytes.  Adapters are struct
 * db_ops (db_ops.h) behind these functions; tests wrap one to inject faults.
 *
 * A `struct db` is one connection, for one thread at a time; db_cancel() alone may come from
 * another thread or a signal handler. Errors: DB (the engine refused; SQLSTATE or code and its text
 * in the message), LOST (connection gone; open anew), CONFLICT (busy, deadlock, serialisation, lock
 * timeout: try again), CANCELLED, NOMEM.  A statement that failed inside a transaction has rolled
 * it back entirely: after any error no transaction is open.
 */
#ifndef COFFER_DB_DB_H
#define COFFER_DB_DB_H

#include "base/bytes.h"
#include "coffer.h"

#define DB_NAME_MAX 192
#define DB_KEY_MAX 16

struct db;
struct db_ops;

enum db_engine { DB_SQLITE = 1, DB_POSTGRESQL = 2 };

/* ---- connections ---- */

struct db_options {
    const char *application_name; /* shown in pg_stat_activity; NULL: "coffer" */
    unsigned busy_ms;             /* SQLite busy timeout, PostgreSQL connect timeout; 0: 5000 */
    bool read_only;
};

/* `sqlite:PATH` (the file must exist), `postgresql://…`, `postgres://…`, `postgresql:service=…`
 * (anything libpq takes).  A URL with a password in it is REFUSED unless `allow_password` (it came
 * from a file or by --db-url-env). */
COFFER_MUST_CHECK int db_open(const char *url, bool allow_password,
                              const struct db_options *options, struct db **out,
                              struct coffer_error *err);
void db_close(struct db *db); /* accepts NULL; rolls back */
enum db_engine db_engine(const struct db *db);
const char *db_engine_name(const struct db *db); /* "sqlite", "postgresql" */
void
db_url_display(const char *url, char *out,
               size_t out_max); /* without password and query secrets, SQLite paths made absolute */
void db_cancel(struct db *db);

/* What tells this database from a restored or cloned copy, as far as the engine shows: PostgreSQL
 * system identifier and timeline and database oid; SQLite: nothing but what we store, so "sqlite"
 * (the random part lives in table meta, see rotate/). */
COFFER_MUST_CHECK int db_incarnation(struct db *db, char out[DB_NAME_MAX],
                                     struct coffer_error *err);

/* ---- statements: small ones, for working tables and reading ---- */

/* Rows of a result, typed as the engine has them (integers, floats, text, bytes; other types as
 * text).  Owned by the result. */
struct db_result {
    size_t rows, columns;
    char **names;
    struct coffer_value *cells; /* rows × columns; COFFER_NULL for NULL */
    uint64_t affected;
    struct buf storage;
};
void db_result_free(struct db_result *result); /* accepts NULL */

/* Run one statement.  Parameters are $1, $2, … on every engine.  `result` may be NULL. */
COFFER_MUST_CHECK int db_run(struct db *db, const char *sql, const struct coffer_value *params,
                             size_t count, struct db_result **result, struct coffer_error *err);
/* Stream rows to a callback (keeps memory flat); a non-zero return stops and is returned. */
typedef int (*db_row_fn)(void *arg, const struct coffer_value *cells, size_t columns,
                         struct coffer_error *err);
COFFER_MUST_CHECK int db_stream(struct db *db, const char *sql, const struct coffer_value *params,
                                size_t count, db_row_fn fn, void *arg, struct coffer_error *err);

enum db_txn {
    DB_TXN_WRITE = 1,
    /* SQLite BEGIN IMMEDIATE, READ COMMITTED */ DB_TXN_SNAPSHOT = 2 /* read-only, one snapshot */
};
COFFER_MUST_CHECK int db_begin(struct db *db, enum db_txn kind, struct coffer_error *err);
COFFER_MUST_CHECK int db_commit(struct db *db, struct coffer_error *err);
void db_rollback(struct db *db);
/* How long the last write transaction kept every other writer out, waiting for its turn not
 * counted; 0 on engines where writers do not exclude each other. */
double db_held_ms(const struct db *db);

void db_quote(const struct db *db, const char *identifier,
              struct buf *out); /* "name", doubled quotes */

/* Name of a working table as written in SQL: "coffer.meta" or "coffer_meta". Static storage;
 * `table` is one of meta rotation chunk client quarantine. */
const char *db_catalog_name(const struct db *db, const char *table);
/* Make the working tables, each (key text primary key, epoch bigint not null, content text not
 * null, mac bytes not null), and on PostgreSQL schema coffer with coffer.key_id(bytea|text) → bytea
 * and coffer.is_sealed(bytea|text) → boolean.  Idempotent.  Needs no superuser. */
COFFER_MUST_CHECK int db_catalog_install(struct db *db, struct coffer_error *err);
COFFER_MUST_CHECK int db_catalog_present(struct db *db, bool *present, struct coffer_error *err);
/* The GRANT statements that an application's role needs, one a line ("" on SQLite). */
int db_catalog_grants(const struct db *db, const char *role, struct buf *out);

/* ---- tables ---- */

enum db_key_kind {
    DB_KEY_PRIMARY = 1,
    DB_KEY_UNIQUE = 2,
    /* unique index over NOT NULL columns */ DB_KEY_ROWID = 3 /* rowid, ctid */
};

struct db_column {
    char name[DB_NAME_MAX];
    char sql_type[DB_NAME_MAX]; /* as declared */
    int type;                   /* coffer type that fits, 0: unsupported */
    bool not_null, generated, has_default;
    int key_position; /* from 1 in the declared primary key; 0 none */
};
struct db_table {
    char name[DB_NAME_MAX]; /* canonical: "table" on SQLite, "schema.table" on PostgreSQL */
    struct db_column *columns;
    size_t column_count;
    enum db_key_kind key_kind;         /* by which the worker walks */
    char key[DB_KEY_MAX][DB_NAME_MAX]; /* walk key, in order; for ROWID one: "rowid" or "ctid" */
    int key_types[DB_KEY_MAX];         /* coffer types */
    size_t key_count;
    bool primary_not_null; /* a declared primary key all of whose parts are NOT NULL: may be used
                              for row binding */
    bool key_generated;    /* the database makes the key (rowid alias, serial, identity, default) */
    bool key_cascades;     /* a foreign key of this table's key columns has ON UPDATE CASCADE */
    bool strict;           /* SQLite STRICT */
    bool partitioned;
    uint64_t estimate_rows, estimate_bytes;
};
/* Find by "table" or "schema.table".  NOTFOUND (lists near names); MISUSE when ambiguous.  Free
 * with db_table_free(). */
COFFER_MUST_CHECK int db_table_open(struct db *db, const char *name, struct db_table **out,
                                    struct coffer_error *err);
void db_table_free(struct db_table *table);
const struct db_column *db_table_column(const struct db_table *table,
                                        const char *name); /* NULL if none */

/* One protected column as the database sees it. */
struct db_cell_spec {
    const char *plain;    /* the column by its own name: plaintext, or (in place) both */
    const char *sealed;   /* companion; NULL: in place */
    int type;             /* coffer type of the plaintext */
    bool text_form;       /* envelopes are stored as text */
    const char *sql_type; /* the declared type, for companions and for writing plaintext back */
};

/* What protect must settle first (specs: PLAN).  `severity`: 'r' refuse, 'w' warn, 'i' information.
 * Kinds: type, length, check, index, generated, default, trigger, rule, view, foreign-key,
 * publication, row-security, grant, copy (a place where plaintext also is), statement, partition,
 * foreign-table, temporary, encoding, collation, lock, not-null, unique, storage-class. */
struct db_obstacle {
    char severity;
    char kind[24];
    char object[DB_NAME_MAX]; /* its name */
    char text[320];           /* what it means and what to do */
};
struct db_obstacles {
    struct db_obstacle *items;
    size_t count;
};
void db_obstacles_free(struct db_obstacles *list);
COFFER_MUST_CHECK int db_obstacles(struct db *db, const struct db_table *table,
                                   const struct db_cell_spec *cell, struct db_obstacles *out,
                                   struct coffer_error *err);

/* ---- phases: the DDL of a transition, idempotent, each in short transactions with a lock timeout
 * (CONFLICT: try again) ---- */

/* Make `to` possible from `from` (enum coffer_phase), for one column:
 *   → SHADOW  add the companion (bytea STORAGE EXTERNAL; BLOB) and the trigger that sets it NULL
 * when the plaintext changed and it did not → DUAL    drop NOT NULL of the plaintext column, CHECK
 * that not both are NULL where it was NOT NULL; shadow trigger stays → SEALED  drop the shadow
 * trigger (the fence refuses plaintext from here) and backwards.  → OFF drops the companion (when
 * it is empty, else REFUSED) and restores NOT NULL.  In place: mostly nothing to do. */
COFFER_MUST_CHECK int db_phase_apply(struct db *db, const struct db_table *table,
                                     const struct db_cell_spec *cell, int from, int to,
                                     struct coffer_error *err);

/* ---- the walk: what a worker does ---- */

enum db_goal {
    DB_GOAL_SEAL_BESIDE = 1,  /* companion holds an envelope under `target_key`; plaintext stays */
    DB_GOAL_SEAL = 2,         /* an envelope under `target_key`; no plaintext */
    DB_GOAL_PLAIN_BESIDE = 3, /* plaintext restored; envelope stays */
    DB_GOAL_PLAIN = 4,        /* plaintext only */
};
struct db_want {
    struct db_cell_spec cell;
    enum db_goal goal;
    uint32_t target_key;
    bool examine_all; /* give every cell that is not NULL, since its form cannot be told by SQL (in
                         place, bytes or text form) */
};

/* A cell as read.  In place, what is stored is given as `plain` when it can be a plaintext by its
 * storage class, as `sealed` when it can be an envelope; both where the class cannot tell: then the
 * reader decides by opening it. */
struct db_cell {
    struct coffer_value plain;
    struct bytes sealed;       /* ptr NULL: NULL */
    bool plain_unsuitable;     /* stored, but no value of the column's type; `plain` is NULL and the
                                  bytes are left alone */
    struct bytes stored_plain; /* exact stored bytes of both columns, for the conditional update;
                                  adapter's own form */
    int stored_class;
    /* to write: */
    bool set_plain, set_sealed;
    struct coffer_value new_plain; /* COFFER_NULL: NULL */
    struct bytes new_sealed;       /* ptr NULL: NULL */
};
enum db_outcome {
    DB_ROW_UNTOUCHED = 0,
    DB_ROW_DONE = 1,
    DB_ROW_MOVED = 2 /* locked, changed or gone: take it again later */
};
struct db_row {
    struct coffer_value *key;   /* the walk key */
    struct coffer_value *place; /* the declared primary key, for row binding: the walk key, or NULL
                                   (place_count of the batch) */
    struct db_cell *cells;      /* one for each want */
    enum db_outcome outcome;
};
struct db_batch {
    struct db_row *rows;
    size_t count;
    size_t key_count, place_count, cell_count;
    bool end; /* no row after these within the range */
    struct buf storage;
    struct coffer_value *keys; /* of all rows */
    struct coffer_value *places; /* likewise, where they are not the keys; else NULL */
    struct db_cell *cells;
};
void db_batch_free(struct db_batch *batch);

struct db_walk;
/* Prepare; borrows `table` and the strings of `wants` until db_walk_close(). */
COFFER_MUST_CHECK int db_walk_open(struct db *db, const struct db_table *table,
                                   const struct db_want *wants, size_t count, struct db_walk **out,
                                   struct coffer_error *err);
void db_walk_close(struct db_walk *walk);
/* The key of the `rows`-th row after `after` (NULL: from the start), for cutting chunks; `*found`
 * false: fewer are left. */
COFFER_MUST_CHECK int db_walk_bound(struct db_walk *walk, const struct coffer_value *after,
                                    uint64_t rows, struct db_result **key, bool *found,
                                    struct coffer_error *err);
/* Rows that need work in (after, until], in key order, at most `limit`; no lock is held afterwards.
 * NULL: open end. */
COFFER_MUST_CHECK int db_walk_read(struct db_walk *walk, const struct coffer_value *after,
                                   const struct coffer_value *until, size_t limit,
                                   struct db_batch **out, struct coffer_error *err);
/* A statement run first in the writing transaction; if it gives no row, nothing is written:
 * CANCELLED. */
struct db_guard {
    const char *sql;
    const struct coffer_value *params;
    size_t count;
    bool rehearse; /* roll back at the end although all went well: a plan's trial */
};
/* Write the cells that have set_… in one short transaction: lock in key order skipping locked rows
 * (`wait_ms` 0) or waiting at most `wait_ms`, update only rows whose stored bytes are what was
 * read, compare what came back with what was sent. Sets `outcome` of each row.  MANGLED: something
 * came back different, all rolled back, the message names the table's triggers. */
COFFER_MUST_CHECK int db_walk_write(struct db_walk *walk, struct db_batch *batch,
                                    const struct db_guard *guard, unsigned wait_ms,
                                    const char *rotation_id, struct coffer_error *err);

/* ---- counting, fence, proof ---- */

struct db_key_count {
    uint32_t key_id;
    uint64_t cells;
};
struct db_count {
    uint64_t rows, nulls, plaintext; /* plaintext: rows with a plaintext that is not NULL and no
                                        envelope, or (in place) no envelope shape */
    uint64_t both;                   /* companion: rows with both */
    struct db_key_count *keys;       /* envelopes by key id, rows with both included */
    size_t key_count;
};
void db_count_free(struct db_count *count);
/* One statement, one snapshot, row_security=off, constraint_exclusion=off. */
COFFER_MUST_CHECK int db_count(struct db *db, const struct db_table *table,
                               const struct db_cell_spec *cell, struct db_count **out,
                               struct coffer_error *err);
/* Estimate from a sample or statistics, cheap on large tables; same fields. */
COFFER_MUST_CHECK int db_count_estimate(struct db *db, const struct db_table *table,
                                        const struct db_cell_spec *cell, struct db_count **out,
                                        struct coffer_error *err);

struct db_fence {
    struct db_cell_spec cell;
    const uint32_t
        *refused; /* key ids; new cells under them are refused (SQLSTATE 40001 "reload the row") */
    size_t refused_count;
    bool refuse_plaintext; /* sealed phase: new plaintext is refused (23514) */
};
/* Replace the fence triggers of a table by exactly these (0: remove). */
COFFER_MUST_CHECK int db_fence_set(struct db *db, const struct db_table *table,
                                   const struct db_fence *fences, size_t count,
                                   struct coffer_error *err);
/* PostgreSQL: ADD CHECK … NOT VALID and VALIDATE, one constraint a column; partitions too.  NOTYET:
 * an older transaction holds the table (who, since when); CONFLICT: rows violate it (it was dropped
 * again: sweep and come back).  `name` receives the constraint's name. SQLite: OK at once, name "".
 */
COFFER_MUST_CHECK int db_fence_constrain(struct db *db, const struct db_table *table,
                                         const struct db_fence *fence, char name[DB_NAME_MAX],
                                         struct coffer_error *err);
COFFER_MUST_CHECK int db_fence_unconstrain(struct db *db, const struct db_table *table,
                                           const struct db_fence *fence, struct coffer_error *err);

/* Where the database stands: for waiting until nothing older is left. */
struct db_mark {
    char position[64]; /* LSN, or "" */
    uint64_t xid;      /* 0 where there is none */
};
COFFER_MUST_CHECK int db_mark_now(struct db *db, struct db_mark *mark, struct coffer_error *err);
/* OK when no snapshot, prepared transaction, slot or standby is older than the mark; NOTYET with
 * who and since when. */
COFFER_MUST_CHECK int db_mark_passed(struct db *db, const struct db_mark *mark,
                                     struct coffer_error *err);

/* Standbys that read from here and replication slots, one line each for people; none on SQLite. */
typedef int (*db_line_fn)(void *arg, const char *line, struct coffer_error *err);
COFFER_MUST_CHECK int db_replicas(struct db *db, db_line_fn fn, void *arg, struct coffer_error *err);

/* Other connections to this database, for people and for "nobody else is connected".  SQLite cannot
 * tell: count 0, `*known` false. */
COFFER_MUST_CHECK int db_others(struct db *db, bool *known, size_t *count, struct buf *who,
                                struct coffer_error *err);

/* Envelope-shaped cells in columns that are not registered: each find, and each place that this
 * role cannot read (count 0). */
struct db_find {
    char column[2 * DB_NAME_MAX]; /* "schema.table.column" */
    uint64_t count;
    uint32_t key_id; /* of one of them */
    bool unreadable;
};
typedef int (*db_find_fn)(void *arg, const struct db_find *find, struct coffer_error *err);
/* `known` lists the columns that are registered, as "table.column" in canonical names. */
COFFER_MUST_CHECK int db_find_envelopes(struct db *db, const char *const *known, size_t known_count,
                                        db_find_fn fn, void *arg, struct coffer_error *err);

/* Load figures for the throttle. */
struct db_load {
    double active_sessions; /* running now, ours not counted; 0 on SQLite */
    double replica_lag_seconds;
    uint64_t dead_tuples;
    uint64_t wal_bytes; /* since the server began; differences matter */
    /* No sign of anybody else: on PostgreSQL no other client is connected to this database, on SQLite nobody else has committed
     * since the last call on this connection (false at the first). */
    bool alone;
};
COFFER_MUST_CHECK int db_load(struct db *db, const struct db_table *table, struct db_load *load,
                              struct coffer_error *err);

/* ANALYZE, VACUUM and statistics after plaintext was NULLed (level 2); `scrub`: rewrite files
 * (level 3). */
COFFER_MUST_CHECK int db_clean(struct db *db, const struct db_table *table, bool scrub,
                               struct coffer_error *err);
/* Give every byte of the files that hold the table (SQLite: the database, its -wal and its -journal; PostgreSQL: the table's,
 * its TOAST's and its indexes'), in pieces; each but the first of a file begins `overlap` bytes before the last one's end.
 * `*readable` false: this role cannot read them, and nothing was given. */
typedef int (*db_file_fn)(void *arg, const char *file, uint64_t offset, struct bytes piece,
                          struct coffer_error *err);
COFFER_MUST_CHECK int db_files(struct db *db, const struct db_table *table, size_t overlap,
                               db_file_fn fn, void *arg, bool *readable, struct coffer_error *err);

/* Rewrite up to `rows` rows as they are, in a transaction that is rolled back: what a walk will cost. */
struct db_trial {
    uint64_t rows; /* that were rewritten */
    double seconds;
    uint64_t wal_bytes;              /* 0 on SQLite */
    uint64_t row_bytes, value_bytes; /* mean of a sample: of whole rows, and of the column */
};
COFFER_MUST_CHECK int db_trial(struct db *db, const struct db_table *table,
                               const struct db_cell_spec *cell, unsigned rows, struct db_trial *out,
                               struct coffer_error *err);

/* Size of the database's files and of what was written since it began (WAL or file pages), in
 * bytes, for the "what it cost" figure. */
COFFER_MUST_CHECK int db_sizes(struct db *db, uint64_t *database_bytes, uint64_t *written_bytes,
                               struct coffer_error *err);

#endif
