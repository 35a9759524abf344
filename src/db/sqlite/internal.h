/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COFFER_DB_SQLITE_INTERNAL_H
#define COFFER_DB_SQLITE_INTERNAL_H

#include "db/internal.h"

#include <sqlite3.h>

struct sqlite_db {
    struct db db;
    sqlite3 *handle;
    int busy_ms;
    int synchronous;  /* what relax() changed; 0: nothing */
    int64_t data_version; /* at the last db_load(); 0: none yet */
    double locked_ms; /* when the write transaction began, by the steady clock */
};

static inline sqlite3 *
handle_of(struct db *db)
{
    return ((struct sqlite_db *)db)->handle;
}

/* Status of a failed call: CONFLICT for busy and locked, CANCELLED for interrupt, else DB; rolls
 * back what is open. */
int sqlite_failed(struct db *db, struct coffer_error *err, const char *doing);
COFFER_MUST_CHECK int sqlite_prepare(struct db *db, const char *sql, sqlite3_stmt **out,
                                     struct coffer_error *err);
/* Run SQL without parameters or rows. */
COFFER_MUST_CHECK int sqlite_exec(struct db *db, const char *sql, struct coffer_error *err);
COFFER_MUST_CHECK int sqlite_exec_buf(struct db *db, struct buf *sql,
                                      struct coffer_error *err); /* wipes `sql` */
void sqlite_bind(sqlite3_stmt *stmt, int index, const struct coffer_value *value);
void sqlite_bind_named(sqlite3_stmt *stmt, const struct coffer_value *params,
                       size_t count); /* $1, $2, … */
void sqlite_column(sqlite3_stmt *stmt, int column,
                   struct coffer_value *out); /* by storage class; borrows until the next step */

/* connection.c */
int sqlite_run(struct db *, const char *, const struct coffer_value *, size_t, struct db_result **,
               struct coffer_error *);
int sqlite_stream(struct db *, const char *, const struct coffer_value *, size_t, db_row_fn, void *,
                  struct coffer_error *);
int sqlite_begin(struct db *, enum db_txn, struct coffer_error *);
int sqlite_commit(struct db *, struct coffer_error *);
void sqlite_rollback(struct db *);
/* Between these, commits in WAL mode do not wait for the disk.  A crash of the machine may undo the
 * last of them, in order; the first commit afterwards makes all durable. */
COFFER_MUST_CHECK int sqlite_relax(struct db *, struct coffer_error *);
void sqlite_unrelax(struct db *);

/* types.c: between a stored value and the plaintext of a column's type, exactly reversible or not
 * at all. */
int sqlite_declared_type(const char *declared); /* coffer type, 0 unsupported */
enum sqlite_affinity {
    AFFINITY_NONE,
    AFFINITY_TEXT,
    AFFINITY_INTEGER,
    AFFINITY_REAL,
    AFFINITY_NUMERIC
};
enum sqlite_affinity sqlite_affinity_of(const char *declared);
/* `text` keeps what the result borrows beyond `stored`.  False: no value of the type that a column
 * of this affinity would give back the same. */
bool sqlite_decode(int type, enum sqlite_affinity affinity, const struct coffer_value *stored,
                   char text[64], struct coffer_value *out);
/* The stored value for a plaintext; `text` keeps what it borrows. */
void sqlite_encode(int type, enum sqlite_affinity affinity, const struct coffer_value *plain,
                   char text[64], struct coffer_value *stored);
/* The decimal of an integer or real; false where it would not read back as the same number. */
bool sqlite_number_text(const struct coffer_value *number, char text[64]);

/* sql.c: pieces of SQL. */
void sql_ident(struct buf *sql, const char *name);
/* Condition that `expr` looks like a stored envelope of this cell. */
void sql_shape(struct buf *sql, const char *expr, const struct db_cell_spec *cell);
/* The key id of an envelope in `expr`, as 8 lower-case hex digits. */
void sql_key_id(struct buf *sql, const char *expr, const struct db_cell_spec *cell);
/* The column that holds envelopes, quoted. */
void sql_sealed(struct buf *sql, const struct db_cell_spec *cell);

int sqlite_table_open(struct db *, const char *, struct db_table **, struct coffer_error *);
/* Name and value of a row's key as people read it: "id 5". */
void sqlite_show_key(const struct db_table *table, const struct coffer_value *key, struct buf *out);
COFFER_MUST_CHECK int sqlite_trigger_names(struct db *, const struct db_table *, struct buf *out,
                                           struct coffer_error *);
int sqlite_obstacles(struct db *, const struct db_table *, const struct db_cell_spec *,
                     struct db_obstacles *, struct coffer_error *);
int sqlite_phase_apply(struct db *, const struct db_table *, const struct db_cell_spec *, int, int,
                       struct coffer_error *);
int sqlite_walk_open(struct db *, const struct db_table *, const struct db_want *, size_t,
                     struct db_walk **, struct coffer_error *);
void sqlite_walk_close(struct db_walk *);
int sqlite_walk_bound(struct db_walk *, const struct coffer_value *, uint64_t, struct db_result **,
                      bool *, struct coffer_error *);
int sqlite_walk_read(struct db_walk *, const struct coffer_value *, const struct coffer_value *,
                     size_t, struct db_batch **, struct coffer_error *);
int sqlite_walk_write(struct db_walk *, struct db_batch *, const struct db_guard *, unsigned,
                      const char *, struct coffer_error *);
int sqlite_count(struct db *, const struct db_table *, const struct db_cell_spec *,
                 struct db_count **, struct coffer_error *);
int sqlite_fence_set(struct db *, const struct db_table *, const struct db_fence *, size_t,
                     struct coffer_error *);
int sqlite_find_envelopes(struct db *, const char *const *, size_t, db_find_fn, void *,
                          struct coffer_error *);
/* not_null.c: of a column with a companion; within the caller's transaction, idempotent.  What cannot be edited is left. */
COFFER_MUST_CHECK int sqlite_not_null_liftable(struct db *, const struct db_table *, const char *column,
                                               bool *can, struct coffer_error *);
COFFER_MUST_CHECK int sqlite_not_null_lift(struct db *, const struct db_table *,
                                           const struct db_cell_spec *, struct coffer_error *);
COFFER_MUST_CHECK int sqlite_not_null_restore(struct db *, const struct db_table *,
                                              const struct db_cell_spec *, struct coffer_error *);
int sqlite_files(struct db *, const struct db_table *, size_t, db_file_fn, void *, bool *,
                 struct coffer_error *);
int sqlite_trial(struct db *, const struct db_table *, const struct db_cell_spec *, unsigned,
                 struct db_trial *, struct coffer_error *);
const char *sqlite_catalog_name(const char *);
int sqlite_catalog_install(struct db *, struct coffer_error *);
int sqlite_catalog_present(struct db *, bool *, struct coffer_error *);

/* The walk's own state. */
struct sqlite_walk {
    struct db_walk walk;
    const struct db_table *table;
    const struct db_want *wants;
    size_t count;
    enum sqlite_affinity affinities[32]; /* of the plaintext columns */
    unsigned number;                     /* of its SQL functions */
    sqlite3_stmt *read[4];               /* [after given | until given << 1] */
    sqlite3_stmt *bound[2];
    struct sqlite_write {
        uint64_t mask; /* bit 2i: the plain column of cell i is set; 2i+1: the sealed one */
        sqlite3_stmt *update, *again;
    } writes[8];
    unsigned next_write;
    struct sqlite_set {
        uint64_t mask, prepared; /* as above; of the batch, and of the statement */
        sqlite3_stmt *update, *triggers;
        struct sqlite_set_slot { /* a column that it sets */
            const struct db_cell_spec *spec;
            size_t cell;
            bool sealed; /* the companion's */
        } slots[64];
        size_t slot_count;
        struct db_batch *batch; /* while the statement runs */
        size_t at, put_at;      /* the row picked last, the row put last */
    } set;
};
void walk_keys(struct buf *sql, const struct sqlite_walk *w); /* "k1, k2" quoted */
/* "(k1, k2) > (?1, ?2)" with parameters from `first`. */
void walk_compare_keys(struct buf *sql, const struct sqlite_walk *w, const char *operation,
                       size_t first);
/* What a cell stores, as values to bind and to compare. */
struct coffer_value sqlite_stored_plain(const struct db_cell *cell);
struct coffer_value sqlite_sealed_value(const struct db_cell_spec *spec, struct bytes sealed);

/* walk_functions.c */
COFFER_MUST_CHECK int walk_functions_add(struct sqlite_walk *w, struct coffer_error *err);
void walk_functions_remove(struct sqlite_walk *w); /* after its statements are gone */

/* walk_set.c: write what can be written by one statement; the outcome of those rows is DONE then,
 * the others are left as they are. */
COFFER_MUST_CHECK int sqlite_set_write(struct sqlite_walk *w, struct db_batch *batch,
                                       struct coffer_error *err);
bool sqlite_set_eligible(const struct sqlite_walk *w, const struct db_row *row);
void sqlite_set_values(const struct db_row *row, const struct sqlite_set_slot *slot,
                       struct coffer_value *before, struct coffer_value *now);
void sqlite_set_forget(struct sqlite_walk *w);

#endif
