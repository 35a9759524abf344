/* SPDX-License-Identifier: Apache-2.0 */
/* A clinic on a real SQLite file, with a keyring in memory, for tests of whole commands.
 *
 * Table patients has 3000 rows and five columns to protect, table wards 499 and one; each has a twin
 * that stays as it was. */
#ifndef COFFER_TESTS_ROTATE_BENCH_H
#define COFFER_TESTS_ROTATE_BENCH_H

#include "support/test.h"

#include "rotate/internal.h"
#include "support/memory_store.h"

#define BENCH_ROWS 3000
#define BENCH_COLUMN_COUNT 6

struct bench {
    char folder[64], path[96], url[112];
    struct memory_store *store;
    struct rotate_env env;
    struct rotate_options options;
    char log[200][160]; /* events, for messages of failing tests */
    size_t logged;
    unsigned stop_after; /* events; 0 never */
    volatile sig_atomic_t stop;
};
extern const struct rotate_column BENCH_COLUMNS[BENCH_COLUMN_COUNT];

int bench_setup(void **state);
int bench_teardown(void **state);
/* Fail with the events so far unless `rc` is COFFER_OK. */
void bench_must(struct bench *b, int rc, const struct coffer_error *err);
void bench_sql(struct bench *b, const char *text);
/* This statement fails, with this in its message. */
void bench_sql_refused(struct bench *b, const char *text, const char *expected);
int64_t bench_number(struct bench *b, const char *text);
/* A backup of the database as it is now, and putting it back over the file. */
void bench_backup(struct bench *b, const char *name);
void bench_restore(struct bench *b, const char *name);
void bench_protect(struct bench *b); /* all columns */
uint32_t bench_active_key(struct bench *b);
enum key_state bench_state_of(struct bench *b, uint32_t id);
/* Every column is sealed, every cell that is not NULL under `key`. */
void bench_assert_all_under(struct bench *b, uint32_t key);
/* Taken back to plaintext, each table is what it was, to the byte and the storage class. */
void bench_unprotect_and_compare(struct bench *b);

#endif
