/* SPDX-License-Identifier: Apache-2.0 */
/* A SQLite file that takes no writes. */
#include "deploy/engines/account.h"
#include "deploy/engines/internal.h"
#include "deploy/engines/sqlite.h"

#include <sqlite3.h>
#include <string.h>

#define WRITE_VERSION_AT 18
#define WAIT_MS 10000
#define TRY_MS 200
#define MODE_FILE "conf/read_only" /* the journal mode to go back to */

static int
failed(sqlite3 *db, const char *doing, struct coffer_error *err)
{
    int code = db != NULL ? sqlite3_errcode(db) : SQLITE_NOMEM;

    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        return error_set(
            err, COFFER_E_CONFLICT,
            "cannot %s: an application has the database open; close it there, and try again",
            doing);
    return error_set(err, COFFER_E_DB, "cannot %s: %s", doing,
                     db != NULL ? sqlite3_errmsg(db) : "out of memory");
}

/* The first value of a statement. */
static int
ask(sqlite3 *db, const char *sql, char *out, size_t max, struct coffer_error *err)
{
    sqlite3_stmt *statement = NULL;
    int rc = COFFER_OK, step;

    out[0] = '\0';
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        return failed(db, "read the database's head", err);
    step = sqlite3_step(statement);
    if (step == SQLITE_ROW && sqlite3_column_text(statement, 0) != NULL)
        (void)sqlite3_snprintf((int)max, out, "%s",
                               (const char *)sqlite3_column_text(statement, 0));
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        rc = failed(db, "read the database's head", err);
    (void)sqlite3_finalize(statement);
    return rc;
}

/* Through SQLite's own handle: a descriptor of ours would, when it is closed, take the locks of other connections of this process along. */
static int
set_write_version(sqlite3 *db, uint8_t version, struct coffer_error *err)
{
    sqlite3_file *file = NULL;

    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        file == NULL || file->pMethods == NULL)
        return error_set(err, COFFER_E_DB, "SQLite does not give its file");
    if (file->pMethods->xWrite(file, &version, 1, WRITE_VERSION_AT) != SQLITE_OK ||
        file->pMethods->xSync(file, SQLITE_SYNC_FULL) != SQLITE_OK)
        return error_set(err, COFFER_E_IO, "cannot write the database's head");
    return COFFER_OK;
}

/* In exclusive mode the lock outlives the transaction, whose commit makes every other connection read the head anew; the byte is written
 * between that and the end of the lock. */
static int
freeze(const struct engine_place *place, sqlite3 *db, struct coffer_error *err)
{
    char mode[16], now[16], version[16], sql[64];
    int rc = ask(db, "PRAGMA journal_mode", mode, sizeof mode, err);

    if (rc == COFFER_OK && !place_has(place, MODE_FILE))
        rc = place_write(place, MODE_FILE, bytes_str(mode), err);
    if (rc == COFFER_OK)
        rc = ask(db, "PRAGMA locking_mode = EXCLUSIVE", now, sizeof now, err);
    if (rc == COFFER_OK)
        rc = ask(db, "PRAGMA journal_mode = DELETE", now, sizeof now, err);
    if (rc == COFFER_OK && strcmp(now, "delete") != 0)
        rc = error_set(err, COFFER_E_CONFLICT,
                       "an application has the database open; close it there, and try again");
    if (rc == COFFER_OK)
        rc = ask(db, "PRAGMA user_version", version, sizeof version, err);
    (void)sqlite3_snprintf(sizeof sql, sql, "BEGIN EXCLUSIVE; PRAGMA user_version = %s; COMMIT",
                           version);
    if (rc == COFFER_OK && sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        rc = failed(db, "stop writes", err);
    return rc != COFFER_OK ? rc : set_write_version(db, 3, err);
}

/* Both versions are 1 while there is no log; the mode that was is set by a connection that finds it so. */
static int
thaw(const struct engine_place *place, const char *path, sqlite3 **db, struct coffer_error *err)
{
    struct buf mode;
    char now[16], sql[64];
    int rc = ask(*db, "PRAGMA schema_version", now, sizeof now, err); /* opens the file */

    if (rc == COFFER_OK)
        rc = set_write_version(*db, 1, err);
    (void)sqlite3_close(*db);
    *db = NULL;
    if (rc == COFFER_OK && sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        rc = failed(*db, "open the database", err);
    buf_init(&mode, 16);
    if (rc == COFFER_OK)
        rc = place_read(place, MODE_FILE, 15, &mode, err);
    (void)sqlite3_snprintf(sizeof sql, sql, "PRAGMA journal_mode = %.10s", buf_cstr(&mode));
    buf_wipe(&mode);
    if (rc == COFFER_OK)
        rc = ask(*db, sql, now, sizeof now, err);
    return rc != COFFER_OK ? rc : place_remove(place, MODE_FILE, err);
}

static int
write_version(sqlite3 *db, uint8_t *version, struct coffer_error *err)
{
    sqlite3_file *file = NULL;

    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        file == NULL || file->pMethods == NULL ||
        file->pMethods->xRead(file, version, 1, WRITE_VERSION_AT) != SQLITE_OK)
        return error_set(err, COFFER_E_IO, "cannot read the database's head");
    return COFFER_OK;
}

/* One try, with a connection of its own: one that has failed may hold what it got. */
static int
change(const struct engine_place *place, const char *path, bool on, struct coffer_error *err)
{
    struct account before;
    uint8_t version = 0;
    sqlite3 *db = NULL;
    int rc = COFFER_OK;

    /* A log that SQLite made as root would lock the application out. */
    account_enter(place->uid, place->gid, &before);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        rc = failed(db, "open the database", err);
    if (rc == COFFER_OK)
        rc = write_version(db, &version, err);
    if (rc == COFFER_OK && (version > 2) != on) {
        (void)sqlite3_busy_timeout(db, TRY_MS);
        rc = on ? freeze(place, db, err) : thaw(place, path, &db, err);
    }
    (void)sqlite3_close(db);
    account_leave(&before);
    return rc;
}

int
sqlite_read_only(const struct engine_place *place, bool on, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    int rc = sqlite_path(place, path, err), tries = WAIT_MS / TRY_MS;

    if (rc != COFFER_OK)
        return rc;
    while ((rc = change(place, path, on, err)) == COFFER_E_CONFLICT && --tries > 0)
        place->os->sleep_ms(place->os, TRY_MS);
    return rc;
}
