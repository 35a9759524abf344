/* SPDX-License-Identifier: Apache-2.0 */
/* A SQLite file of its own for each test, and short words for what the tests say often. */
#ifndef COFFER_TESTS_SQLITE_FILE_H
#define COFFER_TESTS_SQLITE_FILE_H

#include "db/db.h"

struct sqlite_file {
    char path[64], url[80];
    struct db *db;    /* ours */
    struct db *other; /* an application's */
};

int sqlite_file_setup(void **state); /* for cmocka_unit_test_setup_teardown */
int sqlite_file_teardown(void **state);

/* Run SQL that must succeed; more than one statement is possible. */
void sql_run(struct db *db, const char *sql);
/* The first cell of the first row as text ("" for NULL or no row); static storage. */
const char *sql_text(struct db *db, const char *sql);
/* Status of a statement that may fail; the message in `err`. */
int sql_try(struct db *db, const char *sql, struct coffer_error *err);
struct db_table *table_of(struct db *db, const char *name);

struct coffer_value int_value(int64_t v);
struct coffer_value text_value(const char *text);
/* 64 bytes shaped as an envelope under `key_id`, filled with `fill`; static storage by `fill` % 8.
 */
struct bytes envelope(uint32_t key_id, uint8_t fill);

#endif
