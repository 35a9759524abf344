/* SPDX-License-Identifier: Apache-2.0 */
/* The clinic on PostgreSQL: a schema of its own, known by its comment.  Envelopes stand in a
 * companion beside each protected column. */
#include "db.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_BYTES 262144 /* sent at a time */
#define ROW_BYTES 32768   /* the longest row, escaped */
#define TEXT_OID 25
#define BYTEA_OID 17
#define INT8_OID 20
#define SCHEMA_COMMENT "Coffer''s clinic example; made anew, and dropped, without asking"

struct postgres_db {
    struct clinic_db db;
    PGconn *conn;
    PGresult *read; /* what the last read gave borrows from it */
    char *rows[CLINIC_TABLES];
    size_t rows_len[CLINIC_TABLES];
    bool in_place; /* the e-mail's envelope stands in the column itself, in text form */
};

static const char SCHEMA[] =
    "CREATE SCHEMA clinic; COMMENT ON SCHEMA clinic IS '" SCHEMA_COMMENT "';"
    "CREATE TABLE clinic.patients (id bigint PRIMARY KEY, name text NOT NULL, ssn text, born date,"
    " phone text, email text, diagnosis text, notes text, visits integer NOT NULL DEFAULT 0);"
    "CREATE TABLE clinic.labs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " patient_id bigint NOT NULL, code text NOT NULL, value double precision, taken timestamp);"
    "CREATE TABLE clinic.invoices (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " patient_id bigint NOT NULL, amount numeric(10,2), issued date)";
static const char INDEXES[] = "CREATE INDEX labs_patient ON clinic.labs(patient_id);"
                              "CREATE INDEX invoices_patient ON clinic.invoices(patient_id);"
                              "COMMIT; ANALYZE clinic.patients; ANALYZE clinic.labs;"
                              "ANALYZE clinic.invoices";

static struct postgres_db *
of(struct clinic_db *db)
{
    return (struct postgres_db *)db;
}

static int
failed(struct postgres_db *p, const char *what)
{
    return clinic_db_failed(&p->db, what, PQerrorMessage(p->conn));
}

static void
postgres_close(struct clinic_db *db)
{
    struct postgres_db *p = of(db);

    for (int i = 0; i < CLINIC_TABLES; i++)
        free(p->rows[i]);
    PQclear(p->read);
    PQfinish(p->conn);
    free(p);
}

static int
run(struct postgres_db *p, const char *sql, const char *what)
{
    PGresult *result = PQexec(p->conn, sql);
    int rc = PQresultStatus(result) == PGRES_COMMAND_OK ? CLINIC_DONE : failed(p, what);

    PQclear(result);
    return rc;
}

static int
number(struct postgres_db *p, const char *sql, long *out)
{
    PGresult *result = PQexec(p->conn, sql);
    int rc = CLINIC_DONE;

    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
        *out = strtol(PQgetvalue(result, 0, 0), NULL, 10);
    else
        rc = failed(p, "looking at the database");
    PQclear(result);
    return rc;
}

/* Nothing is dropped CASCADE, so that the server itself refuses what somebody built on it. */
static int
remove_old(struct postgres_db *p)
{
    long there = 0, ours = 0;
    int rc = number(p, "SELECT count(*) FROM pg_namespace WHERE nspname = 'clinic'", &there);

    if (rc != CLINIC_DONE || there == 0)
        return rc;
    rc = number(p,
                "SELECT count(*) FROM pg_namespace WHERE nspname = 'clinic' AND "
                "obj_description(oid, 'pg_namespace') = '" SCHEMA_COMMENT "'",
                &ours);
    if (rc == CLINIC_DONE && ours == 0)
        return clinic_db_failed(&p->db, "schema clinic",
                                "it is there, and was not made here: it is left as it is; give "
                                "another database");
    if (rc == CLINIC_DONE)
        rc = run(p,
                 "SET LOCAL lock_timeout = '10s';"
                 "DROP TABLE IF EXISTS clinic.patients, clinic.labs, clinic.invoices;"
                 "DROP SCHEMA clinic",
                 "taking away the clinic that was here");
    return rc;
}

static int
postgres_begin(struct clinic_db *db)
{
    struct postgres_db *p = of(db);
    int i, rc = run(p, "SET client_min_messages = warning; BEGIN", "beginning");

    if (rc == CLINIC_DONE)
        rc = remove_old(p);
    if (rc == CLINIC_DONE)
        rc = run(p, SCHEMA, "making the tables");
    for (i = 0; rc == CLINIC_DONE && i < CLINIC_TABLES; i++) {
        p->rows[i] = malloc(COPY_BYTES + ROW_BYTES);
        if (p->rows[i] == NULL)
            rc = clinic_db_failed(db, "making the tables", "out of memory");
    }
    return rc;
}

static int
flush_rows(struct postgres_db *p, enum clinic_table table)
{
    PGresult *result;
    char sql[200];
    int rc = CLINIC_DONE;

    snprintf(sql, sizeof sql, "COPY clinic.%s(%s) FROM STDIN", clinic_table_name[table],
             clinic_table_columns[table]);
    result = PQexec(p->conn, sql);
    if (PQresultStatus(result) != PGRES_COPY_IN ||
        PQputCopyData(p->conn, p->rows[table], (int)p->rows_len[table]) != 1 ||
        PQputCopyEnd(p->conn, NULL) != 1)
        rc = failed(p, clinic_table_name[table]);
    PQclear(result);
    while ((result = PQgetResult(p->conn)) != NULL) {
        if (rc == CLINIC_DONE && PQresultStatus(result) != PGRES_COMMAND_OK)
            rc = failed(p, clinic_table_name[table]);
        PQclear(result);
    }
    p->rows_len[table] = 0;
    return rc;
}

/* What COPY writes after a backslash for this byte; 0: the byte stands for itself. */
static char
escape_of(char byte)
{
    switch (byte) {
    case '\\':
        return '\\';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static char *
put_field(char *to, const char *field)
{
    if (field == NULL)
        return stpcpy(to, "\\N");
    for (; *field != '\0'; field++) {
        char escape = escape_of(*field);

        if (escape != 0)
            *to++ = '\\';
        *to++ = escape != 0 ? escape : *field;
    }
    return to;
}

static int
postgres_add(struct clinic_db *db, enum clinic_table table, const char *const *fields)
{
    struct postgres_db *p = of(db);
    const char *comma = clinic_table_columns[table];
    char *to = p->rows[table] + p->rows_len[table];
    size_t room = 2; /* each byte may become two */
    int i, count = 1;

    for (; (comma = strchr(comma, ',')) != NULL; comma++)
        count++;
    for (i = 0; i < count; i++)
        room += 2 * (fields[i] != NULL ? strlen(fields[i]) : 1) + 1;
    if (room > ROW_BYTES)
        return clinic_db_failed(db, clinic_table_name[table], "a row is too long");
    for (i = 0; i < count; i++) {
        to = put_field(to, fields[i]);
        *to++ = i + 1 < count ? '\t' : '\n';
    }
    p->rows_len[table] = (size_t)(to - p->rows[table]);
    return p->rows_len[table] < COPY_BYTES ? CLINIC_DONE : flush_rows(p, table);
}

static int
postgres_end(struct clinic_db *db)
{
    struct postgres_db *p = of(db);
    int i, rc = CLINIC_DONE;

    for (i = 0; rc == CLINIC_DONE && i < CLINIC_TABLES; i++)
        rc = flush_rows(p, (enum clinic_table)i);
    return rc == CLINIC_DONE ? run(p, INDEXES, "making the indexes") : rc;
}

static int
postgres_patients(struct clinic_db *db, long *count)
{
    return number(of(db), "SELECT count(*) FROM clinic.patients", count);
}

/* ---- serving ---- */

static int
prepare(struct postgres_db *p, const char *name, const char *sql, int count, const Oid *types)
{
    PGresult *result = PQprepare(p->conn, name, sql, count, types);
    int rc = PQresultStatus(result) == PGRES_COMMAND_OK ? CLINIC_DONE : failed(p, name);

    PQclear(result);
    return rc;
}

/* Each protected column and its companion, as the keyring names them; in place they are one. */
static int
read_sql(struct postgres_db *p, const struct coffer_column_info *info, char *out, size_t out_max)
{
    size_t len = (size_t)snprintf(out, out_max, "SELECT ");
    int i;

    for (i = 0; i < CLINIC_CELLS && len < out_max; i++) {
        char *plain = PQescapeIdentifier(p->conn, info[i].name, strlen(info[i].name));
        char *sealed =
            PQescapeIdentifier(p->conn, info[i].sealed_name, strlen(info[i].sealed_name));

        len += (size_t)snprintf(out + len, out_max - len, "%s%s, %s", i > 0 ? ", " : "",
                                plain != NULL ? plain : "", sealed != NULL ? sealed : "");
        PQfreemem(plain);
        PQfreemem(sealed);
    }
    if (len < out_max)
        len += (size_t)snprintf(out + len, out_max - len, " FROM clinic.patients WHERE id=$1");
    return len < out_max ? CLINIC_DONE
                         : clinic_db_failed(&p->db, "reading a patient", "names are too long");
}

static int
write_sql(struct postgres_db *p, const struct coffer_column_info *email, char *out, size_t out_max)
{
    char *sealed = PQescapeIdentifier(p->conn, email->sealed_name, strlen(email->sealed_name));
    int len;

    p->in_place = strcmp(email->sealed_name, email->name) == 0;
    /* Both in one statement: nobody may see a new plaintext beside an old envelope. */
    len = snprintf(out, out_max,
                   "UPDATE clinic.patients SET email=$2%s%s%s, visits=visits+1 WHERE id=$1",
                   p->in_place ? "" : ", ", p->in_place || sealed == NULL ? "" : sealed,
                   p->in_place ? "" : "=$3");
    PQfreemem(sealed);
    return len < (int)out_max ? CLINIC_DONE
                              : clinic_db_failed(&p->db, "writing a patient", "names are too long");
}

static int
postgres_serve(struct clinic_db *db, const struct coffer_column *const columns[CLINIC_CELLS])
{
    static const Oid types[] = {INT8_OID, TEXT_OID, BYTEA_OID};
    struct postgres_db *p = of(db);
    struct coffer_column_info info[CLINIC_CELLS];
    char sql[1000];
    int i, rc;

    for (i = 0; i < CLINIC_CELLS; i++)
        coffer_column_info(columns[i], &info[i]);
    rc = read_sql(p, info, sql, sizeof sql);
    if (rc == CLINIC_DONE)
        rc = prepare(p, "read", sql, 1, types);
    if (rc == CLINIC_DONE)
        rc = write_sql(p, &info[CLINIC_EMAIL], sql, sizeof sql);
    if (rc == CLINIC_DONE)
        rc = prepare(p, "write", sql, p->in_place ? 2 : 3, types);
    return rc;
}

/* The row's key as PostgreSQL's binary form of a bigint has it. */
static void
put_id(long id, char out[8])
{
    for (int i = 0; i < 8; i++)
        out[i] = (char)((unsigned long long)id >> (56 - 8 * i));
}

static int
postgres_read(struct clinic_db *db, long id, struct coffer_stored stored[CLINIC_CELLS])
{
    struct postgres_db *p = of(db);
    char key[8];
    const char *const values[] = {key};
    const int lengths[] = {sizeof key}, binary[] = {1};
    int i;

    put_id(id, key);
    PQclear(p->read);
    p->read = PQexecPrepared(p->conn, "read", 1, values, lengths, binary, 1);
    if (PQresultStatus(p->read) != PGRES_TUPLES_OK)
        return failed(p, "reading a patient");
    if (PQntuples(p->read) != 1)
        return clinic_db_failed(db, "reading a patient", "there is no such patient");
    for (i = 0; i < CLINIC_CELLS; i++) {
        int plain = 2 * i, sealed = 2 * i + 1;

        stored[i] = (struct coffer_stored){0};
        if (!PQgetisnull(p->read, 0, plain))
            stored[i].plain =
                (struct coffer_value){.type = COFFER_TEXT,
                                      .data = (const uint8_t *)PQgetvalue(p->read, 0, plain),
                                      .len = (size_t)PQgetlength(p->read, 0, plain)};
        if (!PQgetisnull(p->read, 0, sealed)) {
            stored[i].sealed = (const uint8_t *)PQgetvalue(p->read, 0, sealed);
            stored[i].sealed_len = (size_t)PQgetlength(p->read, 0, sealed);
        }
    }
    return CLINIC_DONE;
}

static int
postgres_write_email(struct clinic_db *db, long id, const struct coffer_stored *email)
{
    struct postgres_db *p = of(db);
    char key[8];
    const char *plain = email->plain.type == COFFER_TEXT ? (const char *)email->plain.data : NULL;
    const char *sealed = (const char *)email->sealed;
    const char *values[] = {key, plain, sealed};
    int lengths[] = {sizeof key, (int)email->plain.len, (int)email->sealed_len};
    const int binary[] = {1, 1, 1};
    PGresult *result;
    int rc = CLINIC_DONE;

    put_id(id, key);
    if (p->in_place && sealed != NULL) {
        values[1] = sealed;
        lengths[1] = (int)email->sealed_len;
    }
    result = PQexecPrepared(p->conn, "write", p->in_place ? 2 : 3, values, lengths, binary, 0);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

        rc = failed(p, "writing a patient");
        /* The fence and every serialisation failure say 40001; a deadlock 40P01. */
        if (state != NULL && (strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0))
            rc = CLINIC_AGAIN;
    }
    PQclear(result);
    return rc;
}

static const struct clinic_db_ops postgres_ops = {
    .close = postgres_close,
    .begin = postgres_begin,
    .add = postgres_add,
    .end = postgres_end,
    .patients = postgres_patients,
    .serve = postgres_serve,
    .read = postgres_read,
    .write_email = postgres_write_email,
};

struct clinic_db *
clinic_postgres_open(const char *conninfo)
{
    /* libpq takes apart a dbname that is a connection string; what follows it wins. */
    const char *const keys[] = {"dbname", "application_name", "client_encoding", NULL};
    const char *const values[] = {conninfo, "clinic", "UTF8", NULL};
    struct postgres_db *p = calloc(1, sizeof *p);

    if (p == NULL) {
        fputs("clinic: out of memory\n", stderr);
        return NULL;
    }
    p->db.ops = &postgres_ops;
    p->conn = PQconnectdbParams(keys, values, 1);
    if (PQstatus(p->conn) != CONNECTION_OK) {
        fprintf(stderr, "clinic: %s", PQerrorMessage(p->conn));
        postgres_close(&p->db);
        return NULL;
    }
    return &p->db;
}
