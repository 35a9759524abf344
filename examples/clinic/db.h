/* SPDX-License-Identifier: Apache-2.0 */
/* The clinic's own way to its database: what its program needs, and one table of functions for each
 * engine behind it.
 *
 * Nothing here opens or seals: cells pass as they are stored, and traffic.c asks libcoffer what
 * they say.  A connection belongs to one thread.
 */
#ifndef CLINIC_DB_H
#define CLINIC_DB_H

#include <coffer.h>

enum clinic_table { CLINIC_PATIENTS, CLINIC_LABS, CLINIC_INVOICES, CLINIC_TABLES };
#define CLINIC_FIELDS_MAX 8

/* The columns that are filled from a seed, in the order of clinic_db_add(). */
extern const char *const clinic_table_name[CLINIC_TABLES];
extern const char *const clinic_table_columns[CLINIC_TABLES]; /* with commas between them */

/* The protected columns that the application uses. */
enum clinic_cell { CLINIC_SSN, CLINIC_EMAIL, CLINIC_CELLS };

enum clinic_result {
    CLINIC_DONE = 0,
    CLINIC_FAILED = -1, /* `error` says why */
    CLINIC_AGAIN =
        1, /* somebody was in the way, or the key is being retired: seal and write again */
};

struct clinic_db {
    const struct clinic_db_ops *ops;
    char error[400];
};

struct clinic_db_ops {
    void (*close)(struct clinic_db *db);
    int (*begin)(struct clinic_db *db);
    int (*add)(struct clinic_db *db, enum clinic_table table, const char *const *fields);
    int (*end)(struct clinic_db *db);
    int (*patients)(struct clinic_db *db, long *count);
    int (*serve)(struct clinic_db *db, const struct coffer_column *const columns[CLINIC_CELLS]);
    int (*read)(struct clinic_db *db, long id, struct coffer_stored stored[CLINIC_CELLS]);
    int (*write_email)(struct clinic_db *db, long id, const struct coffer_stored *email);
};

/* Open by a URL as Coffer takes it: sqlite:PATH, postgresql://… or postgresql:service=NAME.  On
 * failure returns NULL after a message on stderr. */
struct clinic_db *clinic_db_open(const char *url);
void clinic_db_close(struct clinic_db *db); /* NULL is fine */

/* ---- making the database ---- */

/* Take away the clinic that stands there and make empty tables.  Only what was made here is ever
 * taken away: a file, schema or table of somebody else's is a failure, and stays as it is. */
int clinic_db_begin(struct clinic_db *db);
/* One row, each field as text; NULL is SQL NULL. */
int clinic_db_add(struct clinic_db *db, enum clinic_table table, const char *const *fields);
int clinic_db_end(struct clinic_db *db); /* indexes, and all of it is durable */

/* ---- serving requests ---- */

int clinic_db_patients(struct clinic_db *db, long *count);
/* Prepare for read and write; where envelopes stand is asked of the columns. */
int clinic_db_serve(struct clinic_db *db, const struct coffer_column *const columns[CLINIC_CELLS]);
/* What the row holds; borrowed until the next call on this connection. */
int clinic_db_read(struct clinic_db *db, long id, struct coffer_stored stored[CLINIC_CELLS]);
/* Write one cell as stored, plaintext and envelope in one statement, and count the visit. */
int clinic_db_write_email(struct clinic_db *db, long id, const struct coffer_stored *email);

/* For the engines alone. */
struct clinic_db *clinic_sqlite_open(const char *path);
struct clinic_db *clinic_postgres_open(const char *conninfo);
int clinic_db_failed(struct clinic_db *db, const char *what, const char *why);

#endif
