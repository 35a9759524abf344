/* SPDX-License-Identifier: Apache-2.0 */
/* The clinic's database from a seed: names of several scripts, skewed diagnoses, NULLs, empty
 * strings and long notes. */
#include "clinic.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char SCHEMA[] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
                             "CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT NOT NULL, "
                             "ssn TEXT, born DATE, phone TEXT, email TEXT, "
                             "  diagnosis TEXT, notes TEXT, visits INTEGER NOT NULL DEFAULT 0);"
                             "CREATE TABLE labs (id INTEGER PRIMARY KEY, patient_id INTEGER NOT "
                             "NULL, code TEXT NOT NULL, value REAL, taken TIMESTAMP);"
                             "CREATE TABLE invoices (id INTEGER PRIMARY KEY, patient_id INTEGER "
                             "NOT NULL, amount DECIMAL(10,2), issued DATE);";
static const char INDEXES[] = "CREATE INDEX labs_patient ON labs(patient_id); CREATE INDEX "
                              "invoices_patient ON invoices(patient_id);";

/* SplitMix64: small, and the same on every machine. */
static uint64_t
next(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static unsigned
below(uint64_t *state, unsigned n)
{
    return (unsigned)(next(state) % n);
}

/* The square of a uniform number leans to the front of a list, as names and diagnoses do. */
static const char *
skewed(uint64_t *state, const char *const *list, size_t n)
{
    double u = (double)(next(state) >> 11) / 9007199254740992.0;

    return list[(size_t)(u * u * (double)n)];
}

static const char *const FIRST[] = {"Maria",  "José",   "Anna",   "Peter", "Zoë",
                                    "Łukasz", "Sofía",  "Jürgen", "Aoife", "Noah",
                                    "Fatma",  "Øyvind", "Chloé",  "Ivan",  "Amélie",
                                    "Ngozi",  "王伟",   "さくら", "Ольга", "Δημήτρης"};
static const char *const LAST[] = {"García",  "Müller", "Smith",    "Nowak",   "Ångström",
                                   "O'Neill", "Dvořák", "Kowalski", "Jensen",  "Okafor",
                                   "Yılmaz",  "Rossi",  "Silva",    "Nguyễn",  "Иванова",
                                   "李",      "田中",   "Weiß",     "Lefèvre", "van Dijk"};
static const char *const ICD10[] = {"I10",   "E11.9", "Z00.0", "J06.9", "M54.5", "E78.5", "F41.1",
                                    "K21.9", "J45.9", "N39.0", "F32.9", "R51",   "I25.1", "G43.9",
                                    "C50.9", "B20",   "S52.5", "O80",   "L40.0", "Q21.0"};
static const char *const NOTES[] = {"Follow-up in three months.",
                                    "Blood pressure controlled; continue lisinopril.",
                                    "Patient reports improved sleep — no side effects.",
                                    "Überweisung an die Kardiologie 🫀.",
                                    "Allergic to penicillin!",
                                    "Lab results discussed; diet advice given.",
                                    "Vaccination up to date."};
static const char *const LABS[] = {"HbA1c", "LDL", "TSH", "CRP", "K", "Na", "Hb", "eGFR"};

static int
failed(sqlite3 *db, const char *what)
{
    fprintf(stderr, "clinic: %s: %s\n", what, sqlite3_errmsg(db));
    return 1;
}

static void
make_notes(uint64_t *state, char *out, size_t max)
{
    unsigned sentences = below(state, 100) == 0 ? 60 : 1 + below(state, 5);
    size_t len = 0;

    out[0] = '\0';
    while (sentences-- > 0 && len + 80 < max)
        len += (size_t)snprintf(out + len, max - len, "%s%s", len > 0 ? " " : "",
                                NOTES[below(state, COUNT(NOTES))]);
}

static int
add_patient(sqlite3_stmt *stmt, uint64_t *state, long id)
{
    char name[128], ssn[16], born[16], phone[24], email[64], notes[8192];
    unsigned dice;

    snprintf(name, sizeof name, "%s %s", skewed(state, FIRST, COUNT(FIRST)),
             skewed(state, LAST, COUNT(LAST)));
    snprintf(ssn, sizeof ssn, "%03u-%02u-%04u", 1 + below(state, 898), 1 + below(state, 98),
             1 + below(state, 9998));
    snprintf(born, sizeof born, "%04u-%02u-%02u", 1925 + below(state, 98), 1 + below(state, 12),
             1 + below(state, 28));
    snprintf(phone, sizeof phone, "+1-%03u-555-%04u", 201 + below(state, 700), below(state, 10000));
    snprintf(email, sizeof email, "patient%ld@example.org", id);
    make_notes(state, notes, sizeof notes);
    dice = below(state, 100);
    sqlite3_bind_int64(stmt, 1, id);
    sqlite3_bind_text(stmt, 2, name, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(stmt, 3, dice < 3 ? NULL : ssn, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(stmt, 4, born, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(stmt, 5, phone, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(stmt, 6,
                      dice % 20 == 4   ? NULL
                      : dice % 20 == 5 ? ""
                                       : email,
                      -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(stmt, 7, skewed(state, ICD10, COUNT(ICD10)), -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(stmt, 8, dice % 10 == 7 ? "" : notes, -1, SQLITE_TRANSIENT);
    return sqlite3_step(stmt) == SQLITE_DONE && sqlite3_reset(stmt) == SQLITE_OK ? 0 : 1;
}

static int
add_lab(sqlite3_stmt *stmt, uint64_t *state, long patient)
{
    char taken[32];

    snprintf(taken, sizeof taken, "20%02u-%02u-%02u %02u:%02u:%02u", 15 + below(state, 11),
             1 + below(state, 12), 1 + below(state, 28), below(state, 24), below(state, 60),
             below(state, 60));
    sqlite3_bind_int64(stmt, 1, patient);
    sqlite3_bind_text(stmt, 2, LABS[below(state, COUNT(LABS))], -1, SQLITE_STATIC);
    if (below(state, 50) == 0)
        sqlite3_bind_null(stmt, 3);
    else
        sqlite3_bind_double(
            stmt, 3,
            round(exp(1.5 + 0.8 * ((double)below(state, 4001) / 1000.0 - 2.0)) * 100.0) / 100.0);
    sqlite3_bind_text(stmt, 4, taken, -1, SQLITE_TRANSIENT);
    return sqlite3_step(stmt) == SQLITE_DONE && sqlite3_reset(stmt) == SQLITE_OK ? 0 : 1;
}

static int
add_invoice(sqlite3_stmt *stmt, uint64_t *state, long patient)
{
    char issued[16], amount[16];

    snprintf(amount, sizeof amount, "%u.%02u",
             20 + below(state, below(state, 10) == 0 ? 9000 : 400), below(state, 100));
    snprintf(issued, sizeof issued, "20%02u-%02u-%02u", 15 + below(state, 11), 1 + below(state, 12),
             1 + below(state, 28));
    sqlite3_bind_int64(stmt, 1, patient);
    sqlite3_bind_text(stmt, 2, amount, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(stmt, 3, issued, -1, SQLITE_TRANSIENT);
    return sqlite3_step(stmt) == SQLITE_DONE && sqlite3_reset(stmt) == SQLITE_OK ? 0 : 1;
}

static int
fill(sqlite3 *db, long rows, uint64_t seed)
{
    sqlite3_stmt *patient = NULL, *lab = NULL, *invoice = NULL;
    uint64_t state = seed;
    int rc = 0;
    long id;

    if (sqlite3_prepare_v2(db,
                           "INSERT INTO patients(id,name,ssn,born,phone,email,diagnosis,notes) "
                           "VALUES(?,?,?,?,?,?,?,?)",
                           -1, &patient, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "INSERT INTO labs(patient_id,code,value,taken) VALUES(?,?,?,?)", -1,
                           &lab, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "INSERT INTO invoices(patient_id,amount,issued) VALUES(?,?,?)", -1,
                           &invoice, NULL) != SQLITE_OK)
        rc = 1;
    for (id = 1; rc == 0 && id <= rows; id++) {
        rc = add_patient(patient, &state, id);
        if (rc == 0 && below(&state, 2) == 0)
            rc = add_lab(lab, &state, id);
        if (rc == 0 && below(&state, 3) == 0)
            rc = add_invoice(invoice, &state, id);
    }
    sqlite3_finalize(patient);
    sqlite3_finalize(lab);
    sqlite3_finalize(invoice);
    return rc;
}

int
clinic_make(const char *path, long rows, uint64_t seed)
{
    char side[4096];
    sqlite3 *db = NULL;
    int rc = 0;

    unlink(path);
    snprintf(side, sizeof side, "%s-wal", path);
    unlink(side);
    snprintf(side, sizeof side, "%s-shm", path);
    unlink(side);
    if (rows < 1 || sqlite3_open(path, &db) != SQLITE_OK ||
        sqlite3_exec(db, SCHEMA, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK || fill(db, rows, seed) != 0 ||
        sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db, INDEXES, NULL, NULL, NULL) != SQLITE_OK)
        rc = failed(db, "cannot make the database");
    sqlite3_close(db);
    return rc;
}
