/* SPDX-License-Identifier: Apache-2.0 */
/* Working rows that Coffer keeps inside what it works on, each under a MAC.
 *
 * A row is (table, key, epoch, content) with MAC = catalog key id (4 bytes) ‖ HMAC-SHA-256(catalog key, "coffer/v1/row" ‖ lp(table) ‖ lp(database id) ‖
 * lp(key) ‖ epoch ‖ lp32(content)); docs/FORMAT.md "Working rows".  Whoever can write the database can delay a rotation by
 * them, never change what is sealed, opened or believed.  The epoch of a row grows with each put: a compare-and-swap.
 */
#ifndef COFFER_LEDGER_JOURNAL_H
#define COFFER_LEDGER_JOURNAL_H

#include "keyring/keyring.h"

struct journal_row {
    char key[KEYRING_NAME_MAX];
    uint64_t epoch;
    struct bytes content; /* JSON text */
    struct bytes mac;
};
typedef int (*journal_row_fn)(void *arg, const struct journal_row *row, struct coffer_error *err);

/* Where rows are: host/journal_db.h has one over a database's working tables. */
struct journal_store {
    int (*get)(struct journal_store *s, const char *table, const char *key, journal_row_fn fn, void *arg, struct coffer_error *err);
    /* Insert (expect 0) or replace the row whose epoch is `expect`; CONFLICT otherwise. */
    int (*put)(struct journal_store *s, const char *table, const struct journal_row *row, uint64_t expect, struct coffer_error *err);
    int (*list)(struct journal_store *s, const char *table, const char *prefix, journal_row_fn fn, void *arg, struct coffer_error *err);
    int (*remove)(struct journal_store *s, const char *table, const char *key, struct coffer_error *err);
    void *ctx;
};

struct journal {
    struct journal_store *store;
    const struct keyring *keyring; /* borrowed: its catalog keys */
    struct uuid database;
};

/* Tables: "meta", "rotation", "chunk", "client", "quarantine".
 * get: NOTFOUND; TAMPERED if the MAC does not hold.  `content` is filled (cleared first), `*epoch` is the row's. */
COFFER_MUST_CHECK int journal_get(struct journal *j, const char *table, const char *key, struct buf *content, uint64_t *epoch,
                                  struct coffer_error *err);
/* Put with epoch = expect + 1.  CONFLICT when the row is at another epoch (or exists, with expect 0). */
COFFER_MUST_CHECK int journal_put(struct journal *j, const char *table, const char *key, struct bytes content, uint64_t expect,
                                  struct coffer_error *err);
/* Rows whose key begins with `prefix`, in key order.  Rows with a bad MAC are passed over and counted in `*tampered` (NULL allowed). */
COFFER_MUST_CHECK int journal_list(struct journal *j, const char *table, const char *prefix, journal_row_fn fn, void *arg,
                                   size_t *tampered, struct coffer_error *err);
COFFER_MUST_CHECK int journal_remove(struct journal *j, const char *table, const char *key, struct coffer_error *err);

#endif
