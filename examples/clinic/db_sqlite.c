/* SPDX-License-Identifier: Apache-2.0 */
/* The clinic on SQLite: a file of its own, known by its application id.  Envelopes stand in the
 * columns themselves. */
#include "db.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APPLICATION_ID 1131179619 /* "Clnc" */

struct sqlite_db {
    struct clinic_db db;
    char *path;
    sqlite3 *conn;
    sqlite3_stmt *add[CLINIC_TABLES];
    sqlite3_stmt *read, *write;
    uint8_t cells[CLINIC_CELLS][1024]; /* as they were read last */
};

static const char SCHEMA[] =
    "PRAGMA application_id=1131179619; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
    "CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT NOT NULL, ssn TEXT, born DATE,"
    " phone TEXT, email TEXT, diagnosis TEXT, notes TEXT, visits INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE labs (id INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL, code TEXT NOT NULL,"
    " value REAL, taken TIMESTAMP);"
    "CREATE TABLE invoices (id INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL,"
    " amount DECIMAL(10,2), issued DATE); BEGIN";
static const char INDEXES[] = "COMMIT; CREATE INDEX labs_patient ON labs(patient_id);"
                              "CREATE INDEX invoices_patient ON invoices(patient_id);";

static struct sqlite_db *
of(struct clinic_db *db)
{
    return (struct sqlite_db *)db;
}

static int
failed(struct sqlite_db *s, const char *what)
{
    return clinic_db_failed(&s->db, what, sqlite3_errmsg(s->conn));
}

static void
close_conn(struct sqlite_db *s)
{
    for (int i = 0; i < CLINIC_TABLES; i++) {
        sqlite3_finalize(s->add[i]);
        s->add[i] = NULL;
    }
    sqlite3_finalize(s->read);
    sqlite3_finalize(s->write);
    s->read = s->write = NULL;
    sqlite3_close(s->conn);
    s->conn = NULL;
}

static void
sqlite_close(struct clinic_db *db)
{
    struct sqlite_db *s = of(db);

    close_conn(s);
    free(s->path);
    free(s);
}

static int
connect_file(struct sqlite_db *s, int flags)
{
    if (sqlite3_open_v2(s->path, &s->conn, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(s->conn, 1000) != SQLITE_OK)
        return failed(s, s->path);
    return CLINIC_DONE;
}

static long
number(struct sqlite_db *s, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    long n = -1;

    if (sqlite3_prepare_v2(s->conn, sql, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        n = (long)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

/* Every table of the file is the clinic's, Coffer's or SQLite's own. */
static bool
made_here(struct sqlite_db *s)
{
    return number(s, "PRAGMA application_id") == APPLICATION_ID &&
           number(s, "SELECT count(*) FROM sqlite_master WHERE type IN ('table', 'view') AND name "
                     "NOT IN ('patients', 'labs', 'invoices') AND name NOT LIKE 'coffer%' AND name "
                     "NOT LIKE 'sqlite\\_%' ESCAPE '\\'") == 0;
}

static int
remove_old(struct sqlite_db *s)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    bool ours;

    if (access(s->path, F_OK) != 0)
        return CLINIC_DONE;
    if (connect_file(s, SQLITE_OPEN_READWRITE) != CLINIC_DONE)
        return CLINIC_FAILED;
    ours = made_here(s);
    close_conn(s);
    if (!ours)
        return clinic_db_failed(&s->db, s->path,
                                "this file is there, and is not (or not only) a clinic that was "
                                "made here: it is left as it is; give another path");
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char name[4096];

        snprintf(name, sizeof name, "%s%s", s->path, suffixes[i]);
        unlink(name);
    }
    return CLINIC_DONE;
}

static int
prepare_add(struct sqlite_db *s, enum clinic_table table)
{
    char sql[200] = "";
    const char *comma = clinic_table_columns[table];
    int len = snprintf(sql, sizeof sql, "INSERT INTO %s(%s) VALUES(?", clinic_table_name[table],
                       clinic_table_columns[table]);

    while ((comma = strchr(comma, ',')) != NULL) {
        len += snprintf(sql + len, sizeof sql - (size_t)len, ",?");
        comma++;
    }
    snprintf(sql + len, sizeof sql - (size_t)len, ")");
    if (sqlite3_prepare_v2(s->conn, sql, -1, &s->add[table], NULL) != SQLITE_OK)
        return failed(s, clinic_table_name[table]);
    return CLINIC_DONE;
}

static int
sqlite_begin(struct clinic_db *db)
{
    struct sqlite_db *s = of(db);
    int rc = remove_old(s);

    if (rc == CLINIC_DONE)
        rc = connect_file(s, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (rc == CLINIC_DONE && sqlite3_exec(s->conn, SCHEMA, NULL, NULL, NULL) != SQLITE_OK)
        rc = failed(s, s->path);
    for (int i = 0; rc == CLINIC_DONE && i < CLINIC_TABLES; i++)
        rc = prepare_add(s, (enum clinic_table)i);
    return rc;
}

/* The declared type of a column turns a text that is a number into one. */
static int
sqlite_add(struct clinic_db *db, enum clinic_table table, const char *const *fields)
{
    struct sqlite_db *s = of(db);
    sqlite3_stmt *stmt = s->add[table];
    int i, count = sqlite3_bind_parameter_count(stmt);

    for (i = 0; i < count; i++)
        sqlite3_bind_text(stmt, i + 1, fields[i], -1, SQLITE_STATIC);
    if (sqlite3_step(stmt) != SQLITE_DONE || sqlite3_reset(stmt) != SQLITE_OK)
        return failed(s, clinic_table_name[table]);
    return CLINIC_DONE;
}

static int
sqlite_end(struct clinic_db *db)
{
    struct sqlite_db *s = of(db);

    if (sqlite3_exec(s->conn, INDEXES, NULL, NULL, NULL) != SQLITE_OK)
        return failed(s, s->path);
    close_conn(s);
    return CLINIC_DONE;
}

static int
sqlite_patients(struct clinic_db *db, long *count)
{
    struct sqlite_db *s = of(db);

    if (s->conn == NULL && connect_file(s, SQLITE_OPEN_READWRITE) != CLINIC_DONE)
        return CLINIC_FAILED;
    *count = number(s, "SELECT count(*) FROM patients");
    return *count >= 0 ? CLINIC_DONE : failed(s, s->path);
}

static int
sqlite_serve(struct clinic_db *db, const struct coffer_column *const columns[CLINIC_CELLS])
{
    struct sqlite_db *s = of(db);

    (void)columns; /* envelopes stand where plaintext stood */
    if (s->conn == NULL && connect_file(s, SQLITE_OPEN_READWRITE) != CLINIC_DONE)
        return CLINIC_FAILED;
    if (sqlite3_prepare_v2(s->conn, "SELECT ssn, email FROM patients WHERE id=?", -1, &s->read,
                           NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(s->conn, "UPDATE patients SET email=?, visits=visits+1 WHERE id=?", -1,
                           &s->write, NULL) != SQLITE_OK)
        return failed(s, s->path);
    return CLINIC_DONE;
}

/* A BLOB can only be an envelope, text only plaintext. */
static int
take_cell(struct sqlite_db *s, int i, struct coffer_stored *out)
{
    int type = sqlite3_column_type(s->read, i);
    const void *data = type == SQLITE_BLOB ? sqlite3_column_blob(s->read, i)
                                           : (const void *)sqlite3_column_text(s->read, i);
    size_t len = (size_t)sqlite3_column_bytes(s->read, i);

    *out = (struct coffer_stored){0};
    if (type == SQLITE_NULL)
        return CLINIC_DONE;
    if (len > sizeof s->cells[i])
        return clinic_db_failed(&s->db, "reading a patient", "a cell is longer than this reads");
    if (len > 0)
        memcpy(s->cells[i], data, len);
    if (type == SQLITE_BLOB) {
        out->sealed = s->cells[i];
        out->sealed_len = len;
    } else {
        out->plain = (struct coffer_value){.type = COFFER_TEXT, .data = s->cells[i], .len = len};
    }
    return CLINIC_DONE;
}

/* The cells are copied, for a statement that is not reset keeps old pages from being reused. */
static int
sqlite_read(struct clinic_db *db, long id, struct coffer_stored stored[CLINIC_CELLS])
{
    struct sqlite_db *s = of(db);
    int i, rc = CLINIC_DONE;

    sqlite3_bind_int64(s->read, 1, id);
    if (sqlite3_step(s->read) != SQLITE_ROW)
        rc = failed(s, "reading a patient");
    for (i = 0; rc == CLINIC_DONE && i < CLINIC_CELLS; i++)
        rc = take_cell(s, i, &stored[i]);
    sqlite3_reset(s->read);
    return rc;
}

static int
sqlite_write_email(struct clinic_db *db, long id, const struct coffer_stored *email)
{
    struct sqlite_db *s = of(db);
    int rc = CLINIC_DONE;

    if (email->sealed != NULL)
        sqlite3_bind_blob(s->write, 1, email->sealed, (int)email->sealed_len, SQLITE_STATIC);
    else
        sqlite3_bind_text(s->write, 1, (const char *)email->plain.data, (int)email->plain.len,
                          SQLITE_STATIC);
    sqlite3_bind_int64(s->write, 2, id);
    if (sqlite3_step(s->write) != SQLITE_DONE) {
        /* The fence says 40001 in its text, for want of codes. */
        rc = failed(s, "writing a patient");
        if (strstr(s->db.error, "coffer: 40001") != NULL)
            rc = CLINIC_AGAIN;
    }
    sqlite3_reset(s->write);
    return rc;
}

static const struct clinic_db_ops sqlite_ops = {
    .close = sqlite_close,
    .begin = sqlite_begin,
    .add = sqlite_add,
    .end = sqlite_end,
    .patients = sqlite_patients,
    .serve = sqlite_serve,
    .read = sqlite_read,
    .write_email = sqlite_write_email,
};

struct clinic_db *
clinic_sqlite_open(const char *path)
{
    struct sqlite_db *s = calloc(1, sizeof *s);

    if (s == NULL || (s->path = strdup(path)) == NULL) {
        free(s);
        fputs("clinic: out of memory\n", stderr);
        return NULL;
    }
    s->db.ops = &sqlite_ops;
    return &s->db;
}
