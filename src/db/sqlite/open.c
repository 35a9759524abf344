/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a SQLite file, and what the engine answers about itself. */
#include "base/mem.h"
#include "db/sqlite/internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void
close_db(struct db *db)
{
    sqlite_rollback(db);
    sqlite3_close_v2(handle_of(db));
    mem_free(db);
}

static void
cancel(struct db *db)
{
    sqlite3_interrupt(handle_of(db));
}

static int
incarnation(struct db *db, char *out, struct coffer_error *err)
{
    strcpy(out, "sqlite");
    return COFFER_OK;
}

static int
catalog_grants(const char *role, struct buf *out)
{
    return COFFER_OK; /* SQLite has no roles */
}

static int
fence_constrain(struct db *db, const struct db_table *table, const struct db_fence *fence,
                char *name, struct coffer_error *err)
{
    name[0] =
        '\0'; /* the trigger, set in one IMMEDIATE transaction, is all there is and all it needs */
    return COFFER_OK;
}

static int
fence_unconstrain(struct db *db, const struct db_table *table, const struct db_fence *fence,
                  struct coffer_error *err)
{
    return COFFER_OK;
}

static int
mark_now(struct db *db, struct db_mark *mark, struct coffer_error *err)
{
    return COFFER_OK;
}

/* In WAL mode a reader keeps an old snapshot; a RESTART checkpoint succeeds only when no reader
 * uses an older part of the log. With a rollback journal our last commit needed every reader gone,
 * so that there is none. */
static int
mark_passed(struct db *db, const struct db_mark *mark, struct coffer_error *err)
{
    sqlite3_stmt *stmt = NULL;
    int busy = 0, rc;

    sqlite3_busy_timeout(handle_of(db), 100);
    rc = sqlite_prepare(db, "PRAGMA wal_checkpoint(RESTART)", &stmt, err);
    if (rc == COFFER_OK && sqlite3_step(stmt) == SQLITE_ROW)
        busy = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_busy_timeout(handle_of(db), ((struct sqlite_db *)db)->busy_ms);
    if (rc == COFFER_OK && busy != 0)
        rc = error_set(err, COFFER_E_NOTYET,
                       "a connection still reads a snapshot from before the proof, or is writing");
    return rc;
}

static int
replicas(struct db *db, db_line_fn fn, void *arg, struct coffer_error *err)
{
    return COFFER_OK; /* copies of the file are nobody's to list */
}

static int
others(struct db *db, bool *known, size_t *count, struct buf *who, struct coffer_error *err)
{
    return COFFER_OK; /* unknown: SQLite keeps no list of who has the file open */
}

static int
load_figures(struct db *db, const struct db_table *table, struct db_load *load,
             struct coffer_error *err)
{
    struct sqlite_db *sqlite = (struct sqlite_db *)db;
    sqlite3_stmt *stmt;
    int64_t version = 0;
    int rc = sqlite_prepare(db, "PRAGMA data_version", &stmt, err);

    /* No server, no figures.  But the version changes with the commits of others, and only theirs. */
    if (rc != COFFER_OK)
        return rc;
    if (sqlite3_step(stmt) == SQLITE_ROW)
        version = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    load->alone = version != 0 && version == sqlite->data_version;
    sqlite->data_version = version;
    return COFFER_OK;
}

static int
rewrite_file(struct db *db, struct coffer_error *err)
{
    struct db_result *result = NULL;
    int rc = sqlite_exec(db, "PRAGMA secure_delete=ON", err);
    bool busy;

    if (rc == COFFER_OK)
        rc = sqlite_exec(db, "VACUUM", err);
    if (rc == COFFER_OK)
        rc = sqlite_run(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, 0, &result, err);
    busy = rc == COFFER_OK && result->rows == 1 && result->cells[0].i64 != 0;
    db_result_free(result);
    if (busy)
        rc = error_set(err, COFFER_E_CONFLICT,
                       "the file was rewritten, but its -wal file still holds old pages: another "
                       "connection reads from it; close it and run the command again");
    return rc;
}

static int
clean(struct db *db, const struct db_table *table, bool scrub, struct coffer_error *err)
{
    struct db_result *result = NULL;
    struct buf sql;
    bool analyzed;
    int rc = sqlite_run(db, "SELECT 1 FROM sqlite_schema WHERE name='sqlite_stat1'", NULL, 0,
                        &result, err);

    analyzed = rc == COFFER_OK && result->rows > 0;
    db_result_free(result);
    if (analyzed) { /* samples in sqlite_stat4 held old values; who has no statistics gets none */
        buf_init(&sql, 4096);
        buf_str(&sql, "ANALYZE ");
        sql_ident(&sql, table->name);
        rc = sqlite_exec_buf(db, &sql, err);
    }
    return rc == COFFER_OK && scrub ? rewrite_file(db, err) : rc;
}

static int
sizes(struct db *db, uint64_t *database_bytes, uint64_t *written_bytes, struct coffer_error *err)
{
    struct db_result *result = NULL;
    int current = 0, high = 0;
    uint64_t page = 0;
    int rc = db_run(db, "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size",
                    NULL, 0, &result, err);

    if (rc == COFFER_OK && result->rows == 1) {
        page = (uint64_t)result->cells[1].i64;
        *database_bytes = (uint64_t)result->cells[0].i64 * page;
    }
    db_result_free(result);
    if (sqlite3_db_status(handle_of(db), SQLITE_DBSTATUS_CACHE_WRITE, &current, &high, 0) ==
        SQLITE_OK)
        *written_bytes = (uint64_t)current * page;
    return rc;
}

static const struct db_ops SQLITE_OPS = {
    .close = close_db,
    .cancel = cancel,
    .incarnation = incarnation,
    .run = sqlite_run,
    .stream = sqlite_stream,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .catalog_name = sqlite_catalog_name,
    .catalog_install = sqlite_catalog_install,
    .catalog_present = sqlite_catalog_present,
    .catalog_grants = catalog_grants,
    .table_open = sqlite_table_open,
    .obstacles = sqlite_obstacles,
    .phase_apply = sqlite_phase_apply,
    .walk_open = sqlite_walk_open,
    .walk_close = sqlite_walk_close,
    .walk_bound = sqlite_walk_bound,
    .walk_read = sqlite_walk_read,
    .walk_write = sqlite_walk_write,
    .count = sqlite_count,
    .count_estimate = sqlite_count, /* a scan is what a sample would cost: SQLite keeps no
                                       statistics of its own */
    .fence_set = sqlite_fence_set,
    .fence_constrain = fence_constrain,
    .fence_unconstrain = fence_unconstrain,
    .mark_now = mark_now,
    .mark_passed = mark_passed,
    .replicas = replicas,
    .others = others,
    .find_envelopes = sqlite_find_envelopes,
    .load = load_figures,
    .clean = clean,
    .files = sqlite_files,
    .trial = sqlite_trial,
    .sizes = sizes,
};

static const char LOOK[] = "SELECT count(*) FROM sqlite_schema";

/* A writer that died has left a journal that has to be rolled back first, which a connection that may
 * only read cannot do. */
static void
roll_back_for_reader(const char *path, int busy_ms)
{
    sqlite3 *writer = NULL;

    if (sqlite3_open_v2(path, &writer, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(writer, busy_ms);
        (void)sqlite3_exec(writer, LOOK, NULL, NULL, NULL); /* the reader's next look says how it went */
    }
    sqlite3_close_v2(writer);
}

static int
first_look(const struct sqlite_db *sqlite, const char *path, struct coffer_error *err)
{
    int got = sqlite3_exec(sqlite->handle, LOOK, NULL, NULL, NULL);

    if (got == SQLITE_READONLY_ROLLBACK || got == SQLITE_READONLY_RECOVERY) {
        roll_back_for_reader(path, sqlite->busy_ms);
        got = sqlite3_exec(sqlite->handle, LOOK, NULL, NULL, NULL);
    }
    switch (got & 0xff) {
    case SQLITE_OK:
        return COFFER_OK;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return error_set(err, COFFER_E_DB, "%s is no SQLite database, or is damaged: %s", path,
                         sqlite3_errmsg(sqlite->handle));
    case SQLITE_BUSY:
        return error_set(err, COFFER_E_CONFLICT, "%s is held by another connection: %s; try again", path,
                         sqlite3_errmsg(sqlite->handle));
    case SQLITE_READONLY:
        return error_set(err, COFFER_E_DB,
                         "%s was being written when a program died, and must be rolled back first, "
                         "which needs the right to write it: %s",
                         path, sqlite3_errmsg(sqlite->handle));
    default:
        return error_set(err, COFFER_E_DB, "%s cannot be read: %s", path,
                         sqlite3_errmsg(sqlite->handle));
    }
}

int
db_sqlite_open(const char *path, const struct db_options *options, struct db **out,
               struct coffer_error *err)
{
    /* A connection is one thread's at a time, so that SQLite's own mutex has nothing to do. */
    int flags = options->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE, rc = COFFER_OK;
    struct sqlite_db *sqlite;

    *out = NULL;
    if (access(path, F_OK) != 0)
        return error_set(err, COFFER_E_NOTFOUND, "there is no database file %s: %s", path,
                         strerror(errno));
    sqlite = mem_alloc(sizeof *sqlite);
    if (sqlite == NULL)
        return error_nomem(err);
    sqlite->db.ops = &SQLITE_OPS;
    sqlite->db.engine = DB_SQLITE;
    if (sqlite3_open_v2(path, &sqlite->handle, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        rc = error_set(err, COFFER_E_IO, "cannot open %s: %s", path,
                       sqlite->handle != NULL ? sqlite3_errmsg(sqlite->handle) : "out of memory");
    } else {
        sqlite3_extended_result_codes(sqlite->handle, 1);
        sqlite->busy_ms = (int)(options->busy_ms != 0 ? options->busy_ms : 5000);
        sqlite3_busy_timeout(sqlite->handle, sqlite->busy_ms);
        rc = first_look(sqlite, path, err);
    }
    if (rc != COFFER_OK) {
        sqlite3_close_v2(sqlite->handle);
        mem_free(sqlite);
        return rc;
    }
    *out = &sqlite->db;
    return COFFER_OK;
}
