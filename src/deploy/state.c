/* SPDX-License-Identifier: Apache-2.0 */
/* state.db.  docs/FORMAT.md "State of cofferd".
 *
 * One connection, one lock: whoever changes several tables does so in one transaction, which is durable when it returns
 * (write-ahead log, synchronous FULL).
 */
#include "deploy/internal.h"

#include "base/error.h"

#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

static const char SCHEMA[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE stacks(name TEXT PRIMARY KEY, version INTEGER NOT NULL, created INTEGER NOT "
    "NULL) WITHOUT ROWID;"
    "CREATE TABLE databases(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, engine TEXT NOT NULL, "
    "major INTEGER NOT NULL,"
    " version TEXT NOT NULL, programs TEXT NOT NULL, stack TEXT NOT NULL REFERENCES stacks(name), "
    "generation INTEGER NOT NULL,"
    " state TEXT NOT NULL, wanted TEXT NOT NULL, listen TEXT NOT NULL, port INTEGER NOT NULL, "
    "memory INTEGER NOT NULL,"
    " size_limit INTEGER NOT NULL, archive INTEGER NOT NULL, secret BLOB NOT NULL, error TEXT NOT "
    "NULL DEFAULT '',"
    " size INTEGER NOT NULL DEFAULT 0, size_at INTEGER NOT NULL DEFAULT 0, doctor TEXT, created "
    "INTEGER NOT NULL);"
    "CREATE TABLE generations(database TEXT NOT NULL REFERENCES databases(id), generation INTEGER "
    "NOT NULL, volume TEXT NOT NULL,"
    " key_bits INTEGER NOT NULL, state TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY "
    "KEY(database, generation)) WITHOUT ROWID;"
    "CREATE TABLE jobs(id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, database TEXT NOT "
    "NULL, name TEXT NOT NULL,"
    " who TEXT NOT NULL, state TEXT NOT NULL, step TEXT NOT NULL, undo INTEGER NOT NULL DEFAULT 0, "
    "request TEXT NOT NULL,"
    " memory TEXT NOT NULL, result TEXT, error TEXT NOT NULL DEFAULT '', messages TEXT NOT NULL "
    "DEFAULT '[]',"
    " done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, unit TEXT NOT NULL "
    "DEFAULT '',"
    " created INTEGER NOT NULL, updated INTEGER NOT NULL);"
    "CREATE INDEX jobs_open ON jobs(database, state);"
    "CREATE TABLE approvals(key_id INTEGER NOT NULL, who TEXT NOT NULL, at INTEGER NOT NULL, "
    "PRIMARY KEY(key_id, who)) WITHOUT ROWID;"
    "PRAGMA application_id=1128547889;"
    "PRAGMA user_version=1;";

/* Since backups: whose copy a database is.  Not in SCHEMA, which state folders of before have already. */
static const char SCHEMA_COPIES[] = "CREATE TABLE IF NOT EXISTS copies(database TEXT PRIMARY KEY, "
                                    "known TEXT NOT NULL) WITHOUT ROWID";

static int
state_failed(struct deploy *deploy, struct coffer_error *err)
{
    int code = sqlite3_errcode(deploy->db) & 0xff;

    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return error_set(err, COFFER_E_FORMAT,
                         "%s/state.db is damaged (%s).  Nothing was changed.  Bring it back from "
                         "your copy of the folder; the "
                         "volumes and the keyring beside it do not need it",
                         deploy->dir, sqlite3_errmsg(deploy->db));
    if (code == SQLITE_NOMEM)
        return error_nomem(err);
    if (code == SQLITE_CONSTRAINT)
        return error_set(err, COFFER_E_EXISTS, "state.db: %s", sqlite3_errmsg(deploy->db));
    return error_set(err, COFFER_E_IO, "%s/state.db: %s", deploy->dir, sqlite3_errmsg(deploy->db));
}

/* ---- statements ---- */

static int
bind_all(struct deploy *deploy, sqlite3_stmt *statement, const char *types, va_list ap,
         struct coffer_error *err)
{
    int rc = SQLITE_OK;

    for (int i = 0; rc == SQLITE_OK && types[i] != '\0'; i++) {
        if (types[i] == 's') {
            const char *text = va_arg(ap, const char *);

            rc = text == NULL ? sqlite3_bind_null(statement, i + 1)
                              : sqlite3_bind_text(statement, i + 1, text, -1, SQLITE_TRANSIENT);
        } else if (types[i] == 'i') {
            rc = sqlite3_bind_int64(statement, i + 1, va_arg(ap, int64_t));
        } else {
            const struct bytes *blob = va_arg(ap, const struct bytes *);

            rc = sqlite3_bind_blob64(statement, i + 1, blob->ptr, blob->len, SQLITE_TRANSIENT);
        }
    }
    return rc == SQLITE_OK ? COFFER_OK : state_failed(deploy, err);
}

/* Parsing a statement costs ten times as much as running it, so those that were run are kept, by their text.  One that is being
 * stepped through is not there for whoever asks for it meanwhile: he gets one of his own. */
static struct state_statement *
kept_place(struct deploy *deploy, const char *sql)
{
    uint32_t hash = 2166136261U; /* FNV-1a */

    for (const char *p = sql; *p != '\0'; p++)
        hash = (hash ^ (uint8_t)*p) * 16777619U;
    return &deploy->statements[hash % STATE_STATEMENTS];
}

static int
statement_take(struct deploy *deploy, const char *sql, sqlite3_stmt **out, struct coffer_error *err)
{
    struct state_statement *kept = kept_place(deploy, sql);

    *out = NULL;
    if (!kept->busy && kept->statement != NULL && strcmp(sqlite3_sql(kept->statement), sql) == 0) {
        kept->busy = true;
        *out = kept->statement;
        return COFFER_OK;
    }
    return sqlite3_prepare_v3(deploy->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK
               ? COFFER_OK
               : state_failed(deploy, err);
}

static void
statement_give(struct deploy *deploy, const char *sql, sqlite3_stmt *statement)
{
    struct state_statement *kept = kept_place(deploy, sql);

    if (statement == NULL)
        return;
    if (kept->busy && kept->statement != statement) {
        (void)sqlite3_finalize(statement);
        return;
    }
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    if (kept->statement != statement)
        (void)sqlite3_finalize(kept->statement);
    *kept = (struct state_statement){.statement = statement};
}

static int
run_each(struct deploy *deploy, state_row_fn fn, void *arg, struct coffer_error *err,
         const char *sql, const char *types, va_list ap)
{
    sqlite3_stmt *statement = NULL;
    int rc, step;

    (void)pthread_mutex_lock(&deploy->lock);
    rc = statement_take(deploy, sql, &statement, err);
    if (rc == COFFER_OK)
        rc = bind_all(deploy, statement, types, ap, err);
    while (rc == COFFER_OK) {
        step = sqlite3_step(statement);
        if (step == SQLITE_DONE)
            break;
        if (step != SQLITE_ROW)
            rc = state_failed(deploy, err);
        else if (fn != NULL)
            rc = fn(arg, statement, err);
    }
    statement_give(deploy, sql, statement);
    (void)pthread_mutex_unlock(&deploy->lock);
    return rc;
}

int
state_run(struct deploy *deploy, struct coffer_error *err, const char *sql, const char *types, ...)
{
    va_list ap;
    int rc;

    va_start(ap, types);
    rc = run_each(deploy, NULL, NULL, err, sql, types, ap);
    va_end(ap);
    return rc;
}

int
state_each(struct deploy *deploy, state_row_fn fn, void *arg, struct coffer_error *err,
           const char *sql, const char *types, ...)
{
    va_list ap;
    int rc;

    va_start(ap, types);
    rc = run_each(deploy, fn, arg, err, sql, types, ap);
    va_end(ap);
    return rc;
}

struct number {
    int64_t value;
    bool found;
};

static int
take_number(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct number *number = arg;

    (void)err;
    if (!number->found)
        number->value = sqlite3_column_int64(row, 0);
    number->found = true;
    return COFFER_OK;
}

int
state_number(struct deploy *deploy, int64_t *out, bool *found, struct coffer_error *err,
             const char *sql, const char *types, ...)
{
    struct number number = {0};
    va_list ap;
    int rc;

    va_start(ap, types);
    rc = run_each(deploy, take_number, &number, err, sql, types, ap);
    va_end(ap);
    *out = number.value;
    if (found != NULL)
        *found = number.found;
    return rc;
}

const char *
state_text(sqlite3_stmt *row, int column)
{
    const unsigned char *text = sqlite3_column_text(row, column);

    return text == NULL ? "" : (const char *)text;
}

/* ---- transactions ---- */

static int
exec(struct deploy *deploy, const char *sql, struct coffer_error *err)
{
    return sqlite3_exec(deploy->db, sql, NULL, NULL, NULL) == SQLITE_OK ? COFFER_OK
                                                                        : state_failed(deploy, err);
}

int
state_begin(struct deploy *deploy, struct coffer_error *err)
{
    int rc;

    (void)pthread_mutex_lock(&deploy->lock);
    rc = deploy->depth > 0 ? COFFER_OK : exec(deploy, "BEGIN IMMEDIATE", err);
    if (rc == COFFER_OK)
        deploy->depth++;
    else
        (void)pthread_mutex_unlock(&deploy->lock);
    return rc;
}

int
state_end(struct deploy *deploy, int rc, struct coffer_error *err)
{
    if (--deploy->depth == 0) {
        if (rc == COFFER_OK)
            rc = exec(deploy, "COMMIT", err);
        if (rc != COFFER_OK && sqlite3_get_autocommit(deploy->db) == 0)
            (void)sqlite3_exec(deploy->db, "ROLLBACK", NULL, NULL, NULL);
    }
    (void)pthread_mutex_unlock(&deploy->lock);
    return rc;
}

int
deploy_state(struct deploy *deploy,
             int (*fn)(void *arg, struct sqlite3 *db, struct coffer_error *err), void *arg,
             struct coffer_error *err)
{
    int rc = state_begin(deploy, err);

    if (rc != COFFER_OK)
        return rc;
    return state_end(deploy, fn(arg, deploy->db, err), err);
}

/* ---- opening ---- */

static int
take_check(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct deploy *deploy = arg;

    if (strcmp(state_text(row, 0), "ok") == 0)
        return COFFER_OK;
    return error_set(err, COFFER_E_FORMAT,
                     "%s/state.db is damaged (%s).  Nothing was changed.  Bring it back from your "
                     "copy of the folder; the "
                     "volumes and the keyring beside it do not need it",
                     deploy->dir, state_text(row, 0));
}

static int
take_id(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct deploy *deploy = arg;

    if (uuid_parse(bytes_str(state_text(row, 0)), &deploy->id))
        return COFFER_OK;
    return error_set(err, COFFER_E_FORMAT, "%s/state.db: its id is no id", deploy->dir);
}

static int
make_tables(struct deploy *deploy, struct coffer_error *err)
{
    struct uuid id;
    char text[37];
    int rc = state_begin(deploy, err);

    if (rc != COFFER_OK)
        return rc;
    rc = uuid_new(&id, err);
    if (rc == COFFER_OK)
        rc = exec(deploy, SCHEMA, err);
    if (rc == COFFER_OK) {
        uuid_format(&id, text);
        rc = state_run(deploy, err, "INSERT INTO meta(name, value) VALUES('id', ?)", "s", text);
    }
    if (rc == COFFER_OK)
        rc = state_run(deploy, err,
                       "INSERT INTO stacks(name, version, created) VALUES('main', 2, ?)", "i",
                       deploy->os->now_us(deploy->os));
    return state_end(deploy, rc, err);
}

int
state_open(struct deploy *deploy, struct coffer_error *err)
{
    char path[DEPLOY_PATH_MAX + 16];
    int64_t version = 0, tables = 0;
    mode_t before;
    int rc;

    (void)snprintf(path, sizeof path, "%s/state.db", deploy->dir);
    before = umask(0077); /* SQLite makes its log with the mode of the file */
    rc = sqlite3_open_v2(path, &deploy->db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                         NULL) == SQLITE_OK
             ? COFFER_OK
             : state_failed(deploy, err);
    (void)umask(before);
    if (rc != COFFER_OK)
        return rc;
    (void)chmod(path, 0600);
    (void)sqlite3_extended_result_codes(deploy->db, 1);
    (void)sqlite3_busy_timeout(deploy->db, 10000);
    rc = state_number(deploy, &version, NULL, err, "PRAGMA user_version", "");
    if (rc == COFFER_OK && version > STATE_VERSION)
        return error_set(err, COFFER_E_FORMAT,
                         "%s is of version %lld, newer than this build, which knows up to %d.  "
                         "Nothing was changed: "
                         "run the newer coffer",
                         path, (long long)version, STATE_VERSION);
    if (rc == COFFER_OK)
        rc = state_each(deploy, take_check, deploy, err, "PRAGMA quick_check(1)", "");
    if (rc == COFFER_OK)
        rc = state_number(deploy, &tables, NULL, err, "SELECT count(*) FROM sqlite_master", "");
    if (rc == COFFER_OK && version == 0 && tables > 0)
        return error_set(err, COFFER_E_FORMAT,
                         "%s is an SQLite database, but not one of cofferd; nothing was changed",
                         path);
    if (rc == COFFER_OK)
        rc = exec(deploy,
                  "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
                  "PRAGMA secure_delete=ON",
                  err);
    if (rc == COFFER_OK && version == 0)
        rc = make_tables(deploy, err);
    if (rc == COFFER_OK)
        rc = exec(deploy, SCHEMA_COPIES, err);
    if (rc == COFFER_OK)
        rc = state_each(deploy, take_id, deploy, err, "SELECT value FROM meta WHERE name = 'id'",
                        "");
    if (rc == COFFER_OK && uuid_zero(&deploy->id))
        rc = error_set(err, COFFER_E_FORMAT, "%s has no id", path);
    return rc;
}

void
state_close(struct deploy *deploy)
{
    for (size_t i = 0; i < STATE_STATEMENTS; i++)
        (void)sqlite3_finalize(deploy->statements[i].statement);
    memset(deploy->statements, 0, sizeof deploy->statements);
    (void)sqlite3_close_v2(deploy->db);
    deploy->db = NULL;
}
