/* SPDX-License-Identifier: Apache-2.0 */
/* Statements and transactions on a SQLite connection. */
#include "base/mem.h"
#include "db/sqlite/internal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

int
sqlite_failed(struct db *db, struct coffer_error *err, const char *doing)
{
    sqlite3 *handle = handle_of(db);
    int code = sqlite3_extended_errcode(handle), primary = code & 0xff, status = COFFER_E_DB;
    char message[300];

    snprintf(message, sizeof message, "%s", sqlite3_errmsg(handle));
    if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED ||
        strncmp(message, "coffer: 40001", 13) == 0)
        status = COFFER_E_CONFLICT;
    else if (primary == SQLITE_INTERRUPT)
        status = COFFER_E_CANCELLED;
    else if (primary == SQLITE_NOMEM)
        status = COFFER_E_NOMEM;
    else if (primary == SQLITE_FULL || primary == SQLITE_IOERR)
        status = COFFER_E_IO;
    sqlite_rollback(db);
    return error_set(err, status, "SQLite, %s: %s (code %d)%s", doing, message, code,
                     primary == SQLITE_FULL || code == SQLITE_IOERR_WRITE
                         ? ". Is the disk full? Nothing is lost: make room, and run the command again"
                         : "");
}

int
sqlite_prepare(struct db *db, const char *sql, sqlite3_stmt **out, struct coffer_error *err)
{
    if (sqlite3_prepare_v3(handle_of(db), sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) !=
        SQLITE_OK)
        return sqlite_failed(db, err, "preparing a statement");
    return COFFER_OK;
}

int
sqlite_exec(struct db *db, const char *sql, struct coffer_error *err)
{
    if (sqlite3_exec(handle_of(db), sql, NULL, NULL, NULL) != SQLITE_OK)
        return sqlite_failed(db, err, "running a statement");
    return COFFER_OK;
}

int
sqlite_exec_buf(struct db *db, struct buf *sql, struct coffer_error *err)
{
    int rc = buf_status(sql, err);

    if (rc == COFFER_OK)
        rc = sqlite_exec(db, buf_cstr(sql), err);
    else
        sqlite_rollback(db); /* as after every error */
    buf_wipe(sql);
    return rc;
}

void
sqlite_bind(sqlite3_stmt *stmt, int index, const struct coffer_value *value)
{
    const char *text = (const char *)value->data;

    switch (value->type) {
    case COFFER_BOOL:
    case COFFER_INT64:
    case COFFER_DATE:
    case COFFER_TIMESTAMP:
        sqlite3_bind_int64(stmt, index, value->i64);
        break;
    case COFFER_FLOAT64:
        sqlite3_bind_double(stmt, index, value->f64);
        break;
    case COFFER_TEXT:
    case COFFER_JSON:
    case COFFER_NUMERIC:
        sqlite3_bind_text64(stmt, index, text != NULL ? text : "", value->len, SQLITE_STATIC,
                            SQLITE_UTF8);
        break;
    case COFFER_BYTES:
    case COFFER_UUID:
        if (value->len == 0)
            sqlite3_bind_zeroblob(stmt, index, 0);
        else
            sqlite3_bind_blob64(stmt, index, value->data, value->len, SQLITE_STATIC);
        break;
    default:
        sqlite3_bind_null(stmt, index);
    }
}

void
sqlite_bind_named(sqlite3_stmt *stmt, const struct coffer_value *params, size_t count)
{
    char name[24];
    size_t i;

    for (i = 0; i < count; i++) {
        int index;

        snprintf(name, sizeof name, "$%zu", i + 1);
        index = sqlite3_bind_parameter_index(stmt, name);
        if (index > 0)
            sqlite_bind(stmt, index, &params[i]);
    }
}

void
sqlite_column(sqlite3_stmt *stmt, int column, struct coffer_value *out)
{
    *out = (struct coffer_value){0};
    switch (sqlite3_column_type(stmt, column)) {
    case SQLITE_INTEGER:
        out->type = COFFER_INT64;
        out->i64 = sqlite3_column_int64(stmt, column);
        break;
    case SQLITE_FLOAT:
        out->type = COFFER_FLOAT64;
        out->f64 = sqlite3_column_double(stmt, column);
        break;
    case SQLITE_TEXT:
        out->type = COFFER_TEXT;
        out->data = sqlite3_column_text(stmt, column);
        out->len = (size_t)sqlite3_column_bytes(stmt, column);
        break;
    case SQLITE_BLOB:
        out->type = COFFER_BYTES;
        out->data = sqlite3_column_blob(stmt, column);
        out->len = (size_t)sqlite3_column_bytes(stmt, column);
        if (out->data == NULL)
            out->data = (const uint8_t *)"";
        break;
    default:
        break;
    }
}

int
sqlite_stream(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
              db_row_fn fn, void *arg, struct coffer_error *err)
{
    struct coffer_value *cells = NULL;
    sqlite3_stmt *stmt = NULL;
    size_t columns, i;
    int step = SQLITE_DONE, rc = sqlite_prepare(db, sql, &stmt, err);

    if (rc != COFFER_OK)
        return rc;
    sqlite_bind_named(stmt, params, count);
    columns = (size_t)sqlite3_column_count(stmt);
    cells = mem_array(columns + 1, sizeof *cells);
    if (cells == NULL)
        rc = error_nomem(err);
    while (rc == COFFER_OK && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        for (i = 0; i < columns; i++)
            sqlite_column(stmt, (int)i, &cells[i]);
        rc = fn(arg, cells, columns, err);
    }
    if (rc == COFFER_OK && step != SQLITE_DONE)
        rc = sqlite_failed(db, err, "reading rows");
    sqlite3_finalize(stmt);
    mem_free(cells);
    return rc;
}

static int
collect_row(void *arg, const struct coffer_value *cells, size_t columns, struct coffer_error *err)
{
    return result_add(arg, cells, err);
}

static int
result_names(struct db *db, const char *sql, struct db_result **out, struct coffer_error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite_prepare(db, sql, &stmt, err);
    size_t i;

    if (rc != COFFER_OK)
        return rc;
    rc = result_new((size_t)sqlite3_column_count(stmt), out, err);
    for (i = 0; rc == COFFER_OK && i < (*out)->columns; i++) {
        (*out)->names[i] = mem_strdup(sqlite3_column_name(stmt, (int)i));
        if ((*out)->names[i] == NULL)
            rc = error_nomem(err);
    }
    sqlite3_finalize(stmt);
    return rc;
}

int
sqlite_run(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
           struct db_result **result, struct coffer_error *err)
{
    struct db_result *made = NULL;
    int rc = result_names(db, sql, &made, err);

    if (rc == COFFER_OK)
        rc = sqlite_stream(db, sql, params, count, collect_row, made, err);
    if (rc == COFFER_OK) {
        made->affected = (uint64_t)sqlite3_changes64(handle_of(db));
        rc = result_done(made, err);
    }
    if (rc != COFFER_OK)
        sqlite_rollback(db); /* out of memory for the result, too */
    if (rc == COFFER_OK && result != NULL)
        *result = made;
    else
        db_result_free(made);
    return rc;
}

static double
steady_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1000 + (double)now.tv_nsec / 1e6;
}

int
sqlite_begin(struct db *db, enum db_txn kind, struct coffer_error *err)
{
    int rc = sqlite_exec(db, kind == DB_TXN_WRITE ? "BEGIN IMMEDIATE" : "BEGIN", err);

    ((struct sqlite_db *)db)->locked_ms = steady_ms();
    return rc;
}

int
sqlite_commit(struct db *db, struct coffer_error *err)
{
    int rc = sqlite_exec(db, "COMMIT", err);

    db->held_ms = steady_ms() - ((struct sqlite_db *)db)->locked_ms;
    return rc;
}

int
sqlite_relax(struct db *db, struct coffer_error *err)
{
    struct sqlite_db *sqlite = (struct sqlite_db *)db;
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite_prepare(db,
                            "SELECT synchronous FROM pragma_synchronous, pragma_journal_mode "
                            "WHERE journal_mode = 'wal'",
                            &stmt, err);

    if (rc == COFFER_OK && sqlite->synchronous == 0 && sqlite3_step(stmt) == SQLITE_ROW)
        sqlite->synchronous = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    if (rc == COFFER_OK && sqlite->synchronous > 1)
        rc = sqlite_exec(db, "PRAGMA synchronous=NORMAL", err);
    return rc;
}

void
sqlite_unrelax(struct db *db)
{
    struct sqlite_db *sqlite = (struct sqlite_db *)db;
    char sql[40];

    if (sqlite->synchronous > 1) {
        snprintf(sql, sizeof sql, "PRAGMA synchronous=%d", sqlite->synchronous);
        (void)sqlite3_exec(sqlite->handle, sql, NULL, NULL, NULL);
    }
    sqlite->synchronous = 0;
}

void
sqlite_rollback(struct db *db)
{
    if (!sqlite3_get_autocommit(handle_of(db)))
        (void)sqlite3_exec(handle_of(db), "ROLLBACK", NULL, NULL, NULL);
}
