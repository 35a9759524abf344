/* SPDX-License-Identifier: Apache-2.0 */
/* A database that fails when told to: every call goes to the one it wraps, but for the n-th.
 *
 * A failed call leaves no transaction open, as db.h promises.  With FAULTY_BEFORE nothing of it
 * happened; with FAULTY_AFTER it happened and the answer was lost, which is what a connection that
 * breaks during COMMIT looks like.
 */
#ifndef COFFER_TESTS_FAULTY_DB_H
#define COFFER_TESTS_FAULTY_DB_H

#include "db/db.h"

enum faulty_when { FAULTY_BEFORE = 0, FAULTY_AFTER = 1 };

/* Takes `*inner`, leaves NULL; db_close() closes both.  NULL when out of memory. */
struct db *faulty_db_adopt(struct db **inner);
/* Fail the `nth` call from now (1: the next one; 0: none) with `status`, and count from zero. */
void faulty_db_at(struct db *faulty, unsigned nth, int status, enum faulty_when when);
bool faulty_db_fired(const struct db *faulty); /* since the last faulty_db_at() */
unsigned faulty_db_calls(const struct db *faulty);
/* Called before each call that reaches the inner database, to change things behind a walk's back;
 * `what` is the name of the member ("walk_write"). NULL removes it. */
void faulty_db_watch(struct db *faulty, void (*watch)(void *arg, const char *what), void *arg);

#endif
