/* SPDX-License-Identifier: Apache-2.0 */
/* The application's own SQLite: a connection a thread, prepared statements, WAL, and the
 * busy_timeout of a second that docs/ROTATION.md asks for. */
#include "foreground.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

struct connection {
    sqlite3 *db;
    sqlite3_stmt *read, *write;
};

static int
open_file(const char *url, void **out)
{
    struct connection *c = calloc(1, sizeof *c);

    if (c == NULL)
        abort();
    *out = c;
    return sqlite3_open_v2(url + strlen("sqlite:"), &c->db,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                           NULL) == SQLITE_OK &&
                   sqlite3_busy_timeout(c->db, 1000) == SQLITE_OK &&
                   sqlite3_exec(c->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : -1;
}

static void
close_file(void *connection)
{
    struct connection *c = connection;

    sqlite3_finalize(c->read);
    sqlite3_finalize(c->write);
    sqlite3_close(c->db);
    free(c);
}

static const char *
error(void *connection)
{
    return sqlite3_errmsg(((struct connection *)connection)->db);
}

static int
run(void *connection, const char *sql)
{
    return sqlite3_exec(((struct connection *)connection)->db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : -1;
}

static int
prepare(void *connection)
{
    struct connection *c = connection;

    return sqlite3_prepare_v2(c->db, "SELECT ssn, email FROM " FOREGROUND_TABLE " WHERE id=?", -1,
                              &c->read, NULL) == SQLITE_OK &&
                   sqlite3_prepare_v2(
                       c->db, "UPDATE " FOREGROUND_TABLE " SET email=?, visits=visits+1 WHERE id=?",
                       -1, &c->write, NULL) == SQLITE_OK
               ? 0
               : -1;
}

/* A BLOB can only be an envelope, text only plaintext. */
static struct coffer_stored
stored(sqlite3_stmt *stmt, int column)
{
    struct coffer_stored cell = {0};

    if (sqlite3_column_type(stmt, column) == SQLITE_BLOB) {
        cell.sealed = sqlite3_column_blob(stmt, column);
        cell.sealed_len = (size_t)sqlite3_column_bytes(stmt, column);
    } else if (sqlite3_column_type(stmt, column) == SQLITE_TEXT) {
        cell.plain.type = COFFER_TEXT;
        cell.plain.data = sqlite3_column_text(stmt, column);
        cell.plain.len = (size_t)sqlite3_column_bytes(stmt, column);
    }
    return cell;
}

/* The row stays current only as long as the statement: copied, so that no read transaction is left
 * open while the cells are opened. */
static int
read_row(void *connection, long id, struct coffer_stored cells[2])
{
    static _Thread_local uint8_t room[2][512];
    struct connection *c = connection;
    int rc;

    sqlite3_bind_int64(c->read, 1, id);
    rc = sqlite3_step(c->read) == SQLITE_ROW ? 0 : -1;
    for (int i = 0; rc == 0 && i < 2; i++) {
        cells[i] = stored(c->read, i);
        if (cells[i].sealed_len > sizeof room[i] || cells[i].plain.len > sizeof room[i])
            abort();
        if (cells[i].sealed != NULL)
            cells[i].sealed = memcpy(room[i], cells[i].sealed, cells[i].sealed_len);
        else if (cells[i].plain.data != NULL)
            cells[i].plain.data = memcpy(room[i], cells[i].plain.data, cells[i].plain.len);
    }
    sqlite3_reset(c->read);
    return rc;
}

static int
write_row(void *connection, long id, const struct coffer_stored *email)
{
    struct connection *c = connection;
    int step;

    if (email->sealed != NULL)
        sqlite3_bind_blob(c->write, 1, email->sealed, (int)email->sealed_len, SQLITE_STATIC);
    else
        sqlite3_bind_text(c->write, 1, (const char *)email->plain.data, (int)email->plain.len,
                          SQLITE_STATIC);
    sqlite3_bind_int64(c->write, 2, id);
    step = sqlite3_step(c->write);
    return sqlite3_reset(c->write) == SQLITE_OK && step == SQLITE_DONE &&
                   sqlite3_changes(c->db) == 1
               ? 0
               : -1;
}

const struct foreground_driver foreground_sqlite = {
    .open = open_file,
    .close = close_file,
    .error = error,
    .run = run,
    .prepare = prepare,
    .read = read_row,
    .write = write_row,
    .key_type = "INTEGER",
    .numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%ld)",
};
