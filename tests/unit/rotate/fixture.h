/* SPDX-License-Identifier: Apache-2.0 */
/* A keyring with an old and a new key, an SQLite file with a protected table, and its journal. */
#ifndef COFFER_TESTS_ROTATE_FIXTURE_H
#define COFFER_TESTS_ROTATE_FIXTURE_H

#include "rotate/internal.h"

struct fixture {
    char folder[64], flag[96], path[96], url[112];
    struct keyring *keyring;
    uint32_t old_key, new_key; /* draining, active */
    struct codec *codec;
    struct journal_store rows;
    struct host_database database; /* by db_open() and the store above */
    struct keyring_column
        column; /* patients.ssn: text, in place, phase dual, bound to the column */
    struct db_table
        *table;   /* patients(id integer primary key, ssn text not null), after fixture_table() */
    struct os os; /* os_real with a clock that the test moves */
    int64_t skip_us;
    volatile sig_atomic_t stop;
    struct rotate_env env;
    struct rotate_options options;
    struct rotation rotation;
};

void fixture_new(struct fixture *f);
void fixture_free(struct fixture *f);
/* Make the table with `rows` rows "ssn-1", "ssn-2", … and open it. */
void fixture_table(struct fixture *f, unsigned rows);
void fixture_run(struct fixture *f, const char *sql);
int64_t fixture_number(struct fixture *f, const char *sql);
/* Put the rotation's row at its next epoch, as every transition does. */
void fixture_move_on(struct fixture *f);
/* An envelope of `text` under `key` at the column's place. */
size_t fixture_seal(struct fixture *f, uint32_t key, const struct coffer_place *place,
                    const struct coffer_value *value, uint8_t *out, size_t out_max);
/* Cells of the table that open to their own "ssn-<id>" under `key`. */
unsigned fixture_sealed_count(struct fixture *f, uint32_t key);

struct coffer_value fixture_text(const char *text);

#endif
